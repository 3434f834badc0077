"""Reads a record for each parameter from the graph of a forward pass.

Every use of a parameter as a kernel is found and its output followed (``kernel_uses``). From all of
these it is told which biases belong to which kernel (``other_roles``), what each kernel takes
(``kernel_inputs``) and feeds (``fused_blocks``), and which residual branch it ends (``branches``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import _text
from .._program.ir import Op
from .._schemes.fans import Layout
from .attention import logits_of
from .branches import adapters, branch_of, branches
from .dataflow import Graph
from .fused_blocks import blocks
from .gated_units import gated_units
from .kernel_fans import KernelFans
from .kernel_inputs import Taken, fed_by, is_state, takers
from .kernel_uses import KernelUse, kernel_uses
from .other_roles import bias_owners, other_parameter, with_layer
from .parameter import Branch, Parameter
from .residual import signal
from .signal_sizes import SignalSizes


@dataclass(frozen=True, eq=False)
class Reader:
    """What is known of the kernels of a graph, before the record of each parameter is written.

    Attributes:
      graph: the graph.
      paths: the path of each parameter.
      kernels: for each parameter, its uses as a kernel or table. Where a part of it is used again,
        only the first use has a trail.
      taken: the outputs of kernels that each operation takes up.
      sums: the sums that end residual branches.
      adapters: the products of low-rank adapters, with their roles.
      sizes: the second moments of signals.
      gated: the kernels, by index, of gated units, and the names of these.
    """

    graph: Graph
    paths: Sequence[str]
    kernels: Sequence[Sequence[KernelUse]]
    taken: Mapping[Op, Sequence[Taken]]
    sums: Mapping[Op, Branch]
    adapters: Mapping[Op, str]
    sizes: SignalSizes
    gated: Mapping[int, str]

    @staticmethod
    def of(graph: Graph, paths: Sequence[str]) -> Reader:
        """The reader of a graph whose parameters have these paths."""
        parameters = _text.watched("following the signal", range(len(paths)))
        every = [kernel_uses(graph, i) for i in parameters]
        kernels = [[u._replace(trail=None) if u.again else u for u in uses] for uses in every]
        taken = takers(kernels)
        return Reader(
            graph=graph,
            paths=paths,
            kernels=kernels,
            taken=taken,
            sums=branches(graph, itertools.chain(*every)),
            adapters=adapters(graph, itertools.chain(*kernels)),
            sizes=SignalSizes.of(graph, (use.trail for uses in every for use in uses if use.trail)),
            gated=gated_units(graph, kernels, taken),
        )

    def parameters(self) -> list[Parameter]:
        """A record for each parameter."""
        owners = bias_owners(self.kernels)
        records = [
            self._kernel(i, self.kernels[i])
            if self.kernels[i]
            else other_parameter(self.graph, i, self.paths[i], owners)
            for i in _text.watched("reading the model", range(len(self.paths)))
        ]
        return [with_layer(record, owners.get(i), records) for i, record in enumerate(records)]

    def _kernel(self, i: int, uses: Sequence[KernelUse]) -> Parameter:
        """The record of a kernel or table."""
        linear = [use for use in uses if use.trail and not use.fans.looks_up]
        first = linear[0] if linear else uses[0]
        value, fans = self.graph.parameters[i].aval, first.fans
        found = blocks(self.graph, linear, fans, value.shape)
        names = [feeds.name for feeds in found.feeds]
        apart = found.sizes and len({use.fans.outputs.selected for use in linear}) > 1
        ops = tuple(use.op.primitive.name for use in uses)
        candidates = [c for use in linear if use.trail for c in use.trail.candidates]
        return Parameter(
            path=self.paths[i],
            shape=tuple(value.shape),
            dtype=value.dtype,
            role="embedding" if any(use.fans.looks_up for use in uses) else self._role(first),
            op=first.op.primitive.name,
            fan_in=_tidy(fans.fan_in),
            fan_out=_tidy(sum(use.fans.fan_out for use in linear) if apart else fans.fan_out),
            layout=_layout(fans, value.ndim),
            activation=names[0] if len(set(names)) == 1 else ", ".join(names),
            blocks=found.sizes,
            block_axis=found.axis,
            ties=ops if len(ops) > 1 else (),
            residual=branch_of(linear, self.sums),
            fed_by=fed_by(self.graph, first, self.taken, self.paths, self.sizes),
            takers=sum(c.strong for c in candidates),
            is_output=any(c.value in self.graph.outputs for c in candidates),
            logits=logits_of(self.graph, linear, self.taken, self.paths),
            gated=self.gated.get(i, ""),
            evidence="; ".join(dict.fromkeys(use.fans.evidence for use in uses)),
            functions=tuple(feeds.activation for feeds in found.feeds),
        )

    def _role(self, kernel: KernelUse) -> str:
        op, contribution, fans = kernel.op, kernel.use.contribution, kernel.fans
        if op in self.adapters:
            return self.adapters[op]
        if contribution.contracted > 1:  # a product of two parameters, added to a third: LoRA
            if contribution.through:  # or a statistic of them, as the norm that SpectralNorm takes
                return "unknown"
            others = self.graph.contributions.get(op.inputs[kernel.use.position], ())
            if any(other.contracted == 1 for other in others):
                return "lora_a" if fans.in_axis else "lora_b"
        named = {*fans.in_axis, *fans.out_axis, *fans.window}
        whole = len(named) == self.graph.parameters[contribution.parameter].aval.ndim
        start = signal(self.graph, op)
        carried = whole and start is not None and is_state(self.graph, start)
        return "recurrent" if carried else "kernel"


def _layout(fans: KernelFans, rank: int) -> Layout:
    named = {*fans.in_axis, *fans.out_axis, *fans.window}
    return Layout(
        in_axis=fans.in_axis,
        out_axis=fans.out_axis,
        batch_axis=tuple(n for n in range(rank) if n not in named),
        groups=fans.groups,
        in_stride=fans.in_stride,
        out_stride=fans.out_stride,
    )


def _tidy(fan: float) -> float:
    """The fan as an int where it is a whole number."""
    return int(fan) if fan == int(fan) else fan

"""Tells what a parameter is for that is no kernel: a bias, a scale, a position table, ..."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program.ir import Value
from .axis_origin import AxisOrigins
from .dataflow import Graph, Kind, Link, Use, is_linear
from .follow_output import slopes
from .kernel_uses import KernelUse
from .parameter import Parameter


class Owner(NamedTuple):
    """The kernel, by its index, to whose output a bias is added.

    ``normalized`` tells that a normalization stands between, so the bias is that of the
    normalization.
    """

    kernel: int
    normalized: bool


def bias_owners(kernels: Sequence[Sequence[KernelUse]]) -> dict[int, Owner]:
    """The parameters that are added to a kernel's output along its features, with that kernel."""
    found: dict[int, Owner] = {}
    for i, uses in enumerate(kernels):
        for trail in (use.trail for use in uses if use.trail):
            for added in trail.added:
                followed = [trail.axes[v] for v in added.op.inputs if v in trail.axes]
                adds = added.op.primitive.name in ("add", "sub", "add_any")
                if adds and _lies_along(added.contribution.axes, followed[0]):
                    owner = Owner(i, added.normalized)
                    found.setdefault(added.contribution.parameter, owner)
    return found


def _lies_along(bias: AxisOrigins, outputs: AxisOrigins) -> bool:
    """Whether a parameter varies only along axes that hold the kernel's outputs, in their place."""
    if len(bias.axes) != len(outputs.axes):
        return False
    pairs = [
        (b, o) for b, o in zip(bias.axes, outputs.axes, strict=True) if b.is_origin and b.extent > 1
    ]
    return all(
        o.is_origin and b.offset < o.offset + o.extent and o.offset < b.offset + b.extent
        for b, o in pairs
    )


def with_layer(record: Parameter, owner: Owner | None, records: Sequence[Parameter]) -> Parameter:
    """A bias's record with the path and activation of its kernel."""
    if record.role != "bias" or owner is None or owner.normalized:
        return record
    kernel = records[owner.kernel]
    return replace(
        record,
        layer=kernel.path,
        activation=kernel.activation,
        functions=kernel.functions,
        evidence=f"{record.evidence} of {kernel.path}",
    )


def other_parameter(graph: Graph, i: int, path: str, biases: Collection[int]) -> Parameter:
    """The record of parameter ``i``, which is not a kernel; ``biases`` are added to kernels."""
    value = graph.parameters[i]
    uses = graph.uses.get(i, [])
    base = Parameter(
        path=path, shape=tuple(value.aval.shape), dtype=value.aval.dtype, role="unused", op="none"
    )
    if not internals.is_float(value.aval):
        return replace(base, role="state", evidence=f"holds {value.aval.dtype}")
    if not uses:
        return replace(base, evidence="no output depends on it")
    ops = tuple("loop" if isinstance(u.op, Link) else u.op.primitive.name for u in uses)
    op = ops[0]
    through = "".join(f", after {name}" for name in uses[0].contribution.through)
    return replace(
        base,
        role=_role(graph, uses[0], i in biases),
        op=op,
        ties=ops if len(ops) > 1 else (),
        evidence=f"{op} with the signal{through}",
    )


def _role(graph: Graph, use: Use, is_bias: bool) -> str:
    if isinstance(use.op, Link):
        return "state"
    name, through = use.op.primitive.name, use.contribution.through
    if {"rsqrt", "sqrt"} & set(through):
        return "variance"
    if name == "sub" and use.position == 1:
        return "mean"
    maker = use.op.inputs[use.position].op
    decayed = maker is not None and maker.primitive.name == "mul"
    if decayed and not graph.consumers.get(use.op.outputs[0]):  # a running average is returned
        return _statistic(graph, use.op.inputs[1 - use.position])
    if through:
        return "unknown"
    if name in ("add", "add_any", "sub"):
        wide = sum(axis.is_origin and axis.extent > 1 for axis in use.contribution.axes.axes)
        return "bias" if is_bias or wide < 2 else "position"
    if name == "mul" and slopes(graph, use.op):
        return "slope"
    if is_linear(use.op):
        return "scale"  # of the kernel's outputs
    return {"mul": "scale", "div": "scale", "concatenate": "token"}.get(name, "unknown")


def _statistic(graph: Graph, value: Value) -> str:
    """Whether a statistic of the signal is a "mean" or, being of squares, a "variance"."""
    while value.op is not None and value.aval.size == value.op.outputs[0].aval.size:
        if value.op.primitive.name in ("max", "square", "integer_pow"):
            return "variance"
        wide = [v for v in value.op.inputs if graph.kind(v) is Kind.SIGNAL]
        if not wide or value.op.primitive.name.startswith("reduce_"):
            squared = wide and wide[0].op and wide[0].op.primitive.name
            return "variance" if squared in ("square", "integer_pow") else "mean"
        value = wide[0]
    return "mean"

"""Roles: what each parameter of a graph is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .._schemes.fans import Layout
from .activation_match import IDENTITY, UNKNOWN, Recognised, recognise
from .axis_origin import Axes, Selection
from .dataflow import Graph, Kind, Link, Use, is_linear
from .follow_output import Candidate, Trail, follow, slopes
from .kernel_fans import Geometry, geometry
from .parameter import Branch, Parameter, Source
from .residual import chains, descends, signal, source


class Kernel(NamedTuple):
    """A use of a parameter as a kernel or table, its geometry, and what follows."""

    op: Op
    use: Use
    geometry: Geometry
    trail: Trail | None


class _Taken(NamedTuple):
    """A kernel's output as an operation takes it up."""

    value: Value
    kernel: int
    trail: Trail


class Reader:
    """Reads the records of a graph; holds what is found on the way."""

    def __init__(self, found: Graph, paths: Sequence[str]) -> None:
        self.graph, self.paths = found, paths
        self.sums: dict[Op, Branch] = {}  # sums that end a residual branch
        self.adapters: dict[Op, str] = {}  # operations of low-rank adapters -> role
        self.biases: dict[int, tuple[int, bool]] = {}  # parameter -> kernel, after a normalization
        self.after: dict[Op, str] = {}
        self.taken: dict[Op, list[_Taken]] = {}  # by what takes them
        self.kernels: list[list[Kernel]] = []  # of each parameter

    def read(self) -> list[Parameter]:
        """A record for each parameter."""
        self.kernels = kernels = [self._kernels(i) for i in range(len(self.paths))]
        for i, found in enumerate(kernels):
            for kernel in found:
                self._attach(i, kernel)
                self._take(i, kernel)
        self._number(kernels)
        records = [
            self._kernel(i, found) if found else self._other(i) for i, found in enumerate(kernels)
        ]
        return [self._with_layer(i, record, records) for i, record in enumerate(records)]

    def _kernels(self, i: int) -> list[Kernel]:
        """The uses as a kernel or table; each is followed once for each part that is used."""
        found: list[Kernel] = []
        seen = set()
        for use in self.graph.uses.get(i, ()):
            shape = geometry(use)
            if shape is None:
                continue
            assert isinstance(use.op, Op)
            trail = None
            if is_linear(use.op) and (shape.outputs.selected, use.op.primitive) not in seen:
                seen.add((shape.outputs.selected, use.op.primitive))
                trail = follow(self.graph, use.op, shape.outputs, self._is_residual)
            found.append(Kernel(use.op, use, shape, trail))
        return found

    def _attach(self, i: int, kernel: Kernel) -> None:
        """Note the biases that are added to the kernel's output."""
        if (trail := kernel.trail) is None:
            return
        for added in trail.added:
            followed = [trail.axes[v] for v in added.op.inputs if v in trail.axes]
            adds = added.op.primitive.name in ("add", "sub", "add_any")
            if adds and _aligned(added.view.axes, followed[0]):
                self.biases.setdefault(added.view.parameter, (i, added.normalized))

    def _take(self, i: int, kernel: Kernel) -> None:
        """Note what takes up the kernel's output."""
        if (trail := kernel.trail) is None:
            return
        for found in trail.candidates:
            if found.taker is not None and found.strong and not found.residual:
                self.taken.setdefault(found.taker, []).append(_Taken(found.value, i, trail))

    def _fed_by(self, kernel: Kernel) -> Source:
        """What a kernel takes."""
        start = signal(self.graph, kernel.op)
        if start is None:
            return Source("")
        found = [t for t in self.taken.get(kernel.op, ()) if t.value is start][:1]
        while (
            not found
            and start.op is not None
            and start.op.primitive.name in primitives.KEEPS_SIGNAL
        ):
            start = start.op.inputs[0]
        if not found and start.op is not None and start.op.primitive.name == "mul":
            factors = self.taken.get(start.op, [])
            found = factors if {t.value for t in factors} == set(start.op.inputs) else []
        if not found:
            return Source(self._origin(start))
        if any(t.trail.met for t in found):
            return Source("sum")
        read = [recognise(t.trail, t.value) for t in found]
        marks = [t.value in t.trail.normalized for t in found]
        return Source(
            " * ".join(r.name for r in read),
            tuple(
                t.trail.function(t.value) if mark else r.activation
                for t, r, mark in zip(found, read, marks, strict=True)
            ),
            tuple(self.paths[t.kernel] for t in found),
            any(marks),
        )

    def _origin(self, value: Value) -> str:
        """Whether a signal is an input, or normalized."""
        if value.op is None:
            return "data" if value not in self.graph.sources else ""
        while value.op is not None and value.op.primitive.name in primitives.AFFINE:
            if any(v.op and v.op.primitive.name in ("rsqrt", "sqrt") for v in value.op.inputs):
                return "normalized"
            same = [v for v in value.op.inputs if v.aval.size == value.aval.size]
            if len(same) != 1:
                break
            value = same[0]
        # The factor of a normalization may have been scaled first.
        factors = value.op.inputs if value.op and value.op.primitive.name == "mul" else ()
        makers = [v.op for f in factors for v in (f.op.inputs if f.op else ()) if v.op]
        return "normalized" * any(op.primitive.name in ("rsqrt", "sqrt") for op in makers)

    def _is_residual(self, op: Op, other: Value) -> bool:
        """Whether ``op`` was computed from ``other``, or from what ``other`` is a projection of."""
        start = signal(self.graph, op)
        if start is None:
            return False
        if descends(self.graph, start, other):
            return True
        projection = source(self.graph, other)
        if projection is None or projection is op:
            return False
        root = signal(self.graph, projection)
        if root is None or root is start or self._pair(op) is not None:
            return False
        return descends(self.graph, start, root)

    def _pair(self, op: Op) -> Op | None:
        """The operation whose output ``op`` takes with nothing but affine maps between."""
        start = signal(self.graph, op)
        return None if start is None else source(self.graph, start)

    def _kernel(self, i: int, found: Sequence[Kernel]) -> Parameter:
        """The record of a kernel or table."""
        linear = [k for k in found if k.trail and not k.geometry.looks_up]
        first = linear[0] if linear else found[0]
        table = any(k.geometry.looks_up for k in found)
        shape, value = first.geometry, self.graph.parameters[i].aval
        named = {*shape.in_axis, *shape.out_axis, *shape.window}
        blocks, axis, read = self._blocks(linear, shape, value.shape)
        names = [found.name for found in read]
        apart = blocks and len({k.geometry.outputs.selected for k in linear}) > 1
        fan_out = sum(k.geometry.fan_out for k in linear if k.trail) if apart else shape.fan_out
        ops = tuple(k.op.primitive.name for k in found)
        return Parameter(
            path=self.paths[i],
            shape=tuple(value.shape),
            dtype=value.dtype,
            role="embedding" if table else self._role(first),
            op=first.op.primitive.name,
            fan_in=_tidy(shape.fan_in),
            fan_out=_tidy(fan_out),
            layout=Layout(
                shape.in_axis,
                shape.out_axis,
                tuple(n for n in range(len(value.shape)) if n not in named),
                shape.groups,
                shape.in_stride,
                shape.out_stride,
            ),
            activation=names[0] if len(set(names)) == 1 else ", ".join(names),
            blocks=blocks,
            block_axis=axis,
            ties=ops if len(ops) > 1 else (),
            residual=self._branch(linear),
            fed_by=self._fed_by(first),
            evidence="; ".join(dict.fromkeys(k.geometry.evidence for k in found)),
            is_output=any(
                c.value in self.graph.outputs for k in linear if k.trail for c in k.trail.candidates
            ),
            takers=sum(c.strong for k in linear if k.trail for c in k.trail.candidates),
            functions=tuple(found.activation for found in read),
        )

    def _role(self, kernel: Kernel) -> str:
        op, view, shape = kernel.op, kernel.use.view, kernel.geometry
        if op in self.adapters:
            return self.adapters[op]
        if view.contracted > 1:  # multiplied with another before the signal, then added to a third
            others = self.graph.views.get(op.inputs[kernel.use.position], ())
            if any(other.contracted == 1 for other in others):
                return "lora_a" if shape.in_axis else "lora_b"
        start = signal(self.graph, op)
        every = {*shape.in_axis, *shape.out_axis, *shape.window}
        alone = len(every) == len(self.graph.parameters[view.parameter].aval.shape)
        return "recurrent" if alone and start is not None and self._carried(start) else "kernel"

    def _carried(self, value: Value) -> bool:
        """Whether the value is the state of a loop, but for moves."""
        while value not in self.graph.looped:
            if value.op is None or value.op.primitive.name not in primitives.AFFINE:
                return False
            value = value.op.inputs[0]
        return True

    def _number(self, kernels: Sequence[Sequence[Kernel]]) -> None:
        """Number the residual branches, and find the adapters."""
        ends: dict[Op, Value] = {}  # sums, and the trunk that each adds to
        for kernel in (k for found in kernels for k in found if k.trail):
            assert kernel.trail is not None
            for c in kernel.trail.candidates:
                if c.residual and c.taker is not None:
                    (ends[c.taker],) = (v for v in c.taker.inputs if v is not c.value)
            self._find_adapter(kernel, kernel.trail)
        self.sums = chains(self.graph, ends)

    def _find_adapter(self, kernel: Kernel, trail: Trail) -> None:
        """A low-rank pair without a nonlinearity, added to a kernel of the same input (LoRA)."""
        second, first = kernel.op, self._pair(kernel.op)
        rank = kernel.geometry.fan_in
        start = None if first is None else signal(self.graph, first)
        if first is None or start is None or rank >= kernel.geometry.fan_out:
            return
        for other in trail.met:
            beside = source(self.graph, other)
            root = None if beside is None else signal(self.graph, beside)
            if root is not None and descends(self.graph, start, root):
                self.adapters |= {first: "lora_a", second: "lora_b"}

    def _branch(self, kernels: Sequence[Kernel]) -> Branch | None:
        """The residual branch that the kernel ends."""
        for kernel in kernels:
            for c in kernel.trail.candidates if kernel.trail else ():
                if c.residual and c.taker is not None and kernel.trail is not None:
                    normalized = c.value in kernel.trail.normalized
                    return self.sums[c.taker]._replace(normalized=normalized)
        return None

    def _blocks(
        self, kernels: Sequence[Kernel], shape: Geometry, size: Sequence[int]
    ) -> tuple[tuple[int, ...], int | None, list[Recognised]]:
        """Sizes of the fused kernels, the axis along which they lie, and what each feeds."""
        found: dict[tuple[Selection, ...], list[tuple[Candidate, Trail]]] = {}
        for kernel in kernels:
            assert kernel.trail is not None
            for candidate in kernel.trail.candidates:
                outs = tuple(s for s in candidate.selected if s.axis in shape.out_axis)
                found.setdefault(outs, []).append((candidate, kernel.trail))
        strong = {s: c for s, c in found.items() if any(x.strong for x, _ in c)}
        places = {s[-1].axis for s in strong if s}
        if len(strong) < 2 or () in strong or len(places) != 1:
            every = [item for items in found.values() for item in items]
            return (), None, [self._feeds(every)]
        (axis,) = places
        ordered = sorted(strong, key=lambda s: s[-1].start)
        sizes = tuple((s[-1].stop - s[-1].start) * s[-1].stride for s in ordered)
        whole = size[axis]
        if sum(sizes) != whole:  # interleaved
            sizes = tuple(whole // len(ordered) for _ in ordered)
        return sizes, axis, [self._feeds(strong[s]) for s in ordered]

    def _feeds(self, candidates: Sequence[tuple[Candidate, Trail]]) -> Recognised:
        """The activation among what takes up a kernel's output: known before unknown before none.

        Where only statistics are taken up, as of a pooled output, the last of them.
        """
        chosen = _ranked(candidates)
        read = [self._recognised(candidate, trail) for candidate, trail in chosen]
        read = [found for found in read if found != IDENTITY]
        return next((x for x in read if x.name != UNKNOWN), next(iter(read), IDENTITY))

    def activated(self, kernel: Kernel) -> Value | None:
        """The kernel's output after the activation that it feeds; None of fused kernels."""
        if kernel.trail is None or len({c.selected for c in kernel.trail.candidates}) > 1:
            return None
        chosen = _ranked([(c, kernel.trail) for c in kernel.trail.candidates])
        names = {c.value: self._recognised(c, trail).name for c, trail in chosen}
        known = [v for v, name in names.items() if name not in (IDENTITY.name, UNKNOWN)]
        return next(iter([*known, *names]), None)

    def _recognised(self, candidate: Candidate, trail: Trail) -> Recognised:
        value = candidate.value
        found = recognise(trail, value)
        taker = candidate.taker
        if found == IDENTITY and taker is not None and self._bilinear(taker):
            if taker not in self.after:
                self.after[taker] = ""  # in case it meets itself
                axes = Axes.unknown(taker.outputs[0].aval.shape)
                trail = follow(self.graph, taker, axes, lambda op, other: False)
                self.after[taker] = self._feeds([(c, trail) for c in trail.candidates]).name
            if self.after[taker] == "softmax":
                return Recognised("softmax", "softmax")
        return found

    def _bilinear(self, op: Op) -> bool:
        return is_linear(op) and all(self.graph.kind(v) is Kind.SIGNAL for v in op.inputs[:2])

    def _other(self, i: int) -> Parameter:
        """The record of a parameter that is no kernel."""
        value = self.graph.parameters[i]
        uses = self.graph.uses.get(i, ())
        base = Parameter(self.paths[i], tuple(value.aval.shape), value.aval.dtype, "unused")
        if not internals.is_float(value.aval):
            return replace(base, role="state", op="none", evidence=f"holds {value.aval.dtype}")
        if not uses:
            return replace(base, op="none", evidence="no output depends on it")
        use = uses[0]
        op = "loop" if isinstance(use.op, Link) else use.op.primitive.name
        ops = tuple("loop" if isinstance(u.op, Link) else u.op.primitive.name for u in uses)
        through = "".join(f", after {name}" for name in use.view.through)
        return replace(
            base,
            role=self._plain_role(i, use),
            op=op,
            ties=ops if len(ops) > 1 else (),
            evidence=f"{op} with the signal{through}",
        )

    def _plain_role(self, i: int, use: Use) -> str:
        if isinstance(use.op, Link):
            return "state"
        name, through = use.op.primitive.name, use.view.through
        if {"rsqrt", "sqrt"} & set(through):
            return "variance"
        if name == "sub" and use.position == 1:
            return "mean"
        maker = use.op.inputs[use.position].op
        decayed = maker is not None and maker.primitive.name == "mul"
        if decayed and not self.graph.consumers.get(use.op.outputs[0]):  # and handed back
            return self._statistic(use.op.inputs[1 - use.position])
        if through:
            return "unknown"
        if name in ("add", "add_any", "sub"):
            wide = sum(axis.is_origin and axis.extent > 1 for axis in use.view.axes.axes)
            return "bias" if i in self.biases or wide < 2 else "position"
        if name == "mul" and slopes(self.graph, use.op):
            return "slope"
        if is_linear(use.op):
            return "scale"  # of the kernel's outputs
        return {"mul": "scale", "div": "scale", "concatenate": "token"}.get(name, "unknown")

    def _statistic(self, value: Value) -> str:
        """Whether a statistic of the signal is of squares."""
        while value.op is not None and value.aval.size == value.op.outputs[0].aval.size:
            if value.op.primitive.name in ("max", "square", "integer_pow"):
                return "variance"
            wide = [v for v in value.op.inputs if self.graph.kind(v) is Kind.SIGNAL]
            if not wide or value.op.primitive.name.startswith("reduce_"):
                squared = wide and wide[0].op and wide[0].op.primitive.name
                return "variance" if squared in ("square", "integer_pow") else "mean"
            value = wide[0]
        return "mean"

    def _with_layer(self, i: int, record: Parameter, records: Sequence[Parameter]) -> Parameter:
        """A bias's record with its kernel's path, fan and activation."""
        if record.role != "bias" or i not in self.biases:
            return record
        owner, normalized = self.biases[i]
        if normalized:
            return record
        kernel = records[owner]
        return replace(
            record,
            layer=kernel.path,
            activation=kernel.activation,
            functions=kernel.functions,
            evidence=f"{record.evidence} of {kernel.path}",
        )


def _ranked(candidates: Sequence[tuple[Candidate, Trail]]) -> list[tuple[Candidate, Trail]]:
    """Those taken up whole; where there are none, statistics, the last first."""
    return [item for item in candidates if item[0].strong] or list(candidates)[::-1]


def _aligned(bias: Axes, outputs: Axes) -> bool:
    """Whether a parameter lies along the kernel's outputs alone, and where they are."""
    if len(bias.axes) != len(outputs.axes):
        return False
    pairs = [
        (b, o) for b, o in zip(bias.axes, outputs.axes, strict=True) if b.is_origin and b.extent > 1
    ]
    return all(
        o.is_origin and b.offset < o.offset + o.extent and o.offset < b.offset + b.extent
        for b, o in pairs
    )


def _tidy(fan: float) -> float:
    """An int where it is one."""
    return int(fan) if fan == int(fan) else fan

"""Tells what a kernel takes: the activated output of other kernels, or something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .activation_match import recognise
from .dataflow import Graph, Kind
from .kernel_uses import KernelUse
from .parameter import NO_SOURCE, Source
from .residual import signal
from .signal_sizes import SignalSizes
from .trail import Trail


class Taken(NamedTuple):
    """The output of parameter ``kernel`` as an operation takes it up."""

    value: Value
    kernel: int
    trail: Trail


def takers(kernels: Sequence[Sequence[KernelUse]]) -> dict[Op, list[Taken]]:
    """The outputs of kernels that each operation takes up."""
    found: dict[Op, list[Taken]] = {}
    for i, uses in enumerate(kernels):
        for trail in (use.trail for use in uses if use.trail):
            for c in trail.candidates:
                if c.taker is not None and c.strong and not c.residual:
                    found.setdefault(c.taker, []).append(Taken(c.value, i, trail))
    return found


def fed_by(
    graph: Graph,
    kernel: KernelUse,
    taken: Mapping[Op, Sequence[Taken]],
    paths: Sequence[str],
    sizes: SignalSizes,
) -> Source:
    """What a kernel takes."""
    start = signal(graph, kernel.op)
    if start is None:
        return NO_SOURCE
    found = [t for t in taken.get(kernel.op, ()) if t.value is start][:1]
    while not found and start.op is not None and start.op.primitive.name in primitives.KEEPS_SIGNAL:
        start = start.op.inputs[0]
    if not found and start.op is not None and start.op.primitive.name == "mul":
        factors = list(taken.get(start.op, ()))
        found = factors if {t.value for t in factors} == set(start.op.inputs) else []
    if not found or any(t.trail.met for t in found):
        name = "sum" if found else _origin(graph, start)
        known = None if name in ("data", "normalized") else sizes.second_moment(start)
        return Source(name, second_moment=known)
    read = [recognise(t.trail, t.value) for t in found]
    marks = [t.value in t.trail.normalized for t in found]
    return Source(
        name=" * ".join(r.name for r in read),
        functions=tuple(
            t.trail.function(t.value) if mark else r.activation
            for t, r, mark in zip(found, read, marks, strict=True)
        ),
        kernels=tuple(paths[t.kernel] for t in found),
        normalized=any(marks),
        pooled=any(t.value in t.trail.pooled for t in found),
    )


def _origin(graph: Graph, value: Value) -> str:
    """Whether a signal is an input ("data"), or normalized ("normalized"); else ""."""
    if value.op is None:
        return "data" if value not in graph.sources else ""
    while value.op is not None and value.op.primitive.name in primitives.AFFINE:
        if any(v.op and v.op.primitive.name in ("rsqrt", "sqrt") for v in value.op.inputs):
            return "normalized"
        same = [v for v in value.op.inputs if v.aval.size == value.aval.size]
        if len(same) != 1:
            break
        value = same[0]
    # The factor of a normalization may have been multiplied with its scale first.
    factors = value.op.inputs if value.op and value.op.primitive.name == "mul" else ()
    makers = [v.op for f in factors for v in (f.op.inputs if f.op else ()) if v.op]
    return "normalized" * any(op.primitive.name in ("rsqrt", "sqrt") for op in makers)


def is_state(graph: Graph, value: Value) -> bool:
    """Whether the value is the state that a loop carries.

    It may be gated, as by the reset gate of a GRU, or replaced where an episode begins; a sum with
    another signal is a new signal.
    """
    seen, stack = {value}, [value]
    while stack:
        here = stack.pop()
        if here in graph.looped:
            return True
        if here.op is None or here.op.primitive.name not in primitives.AFFINE:
            continue
        signals = [
            v for v in here.op.inputs if graph.kind(v) is Kind.SIGNAL and internals.is_float(v.aval)
        ]
        if here.op.primitive.name in primitives.SUMS and len(signals) > 1:
            continue
        fresh = [v for v in signals if v not in seen]
        seen.update(fresh)
        stack += fresh
    return False

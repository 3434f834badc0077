"""The trunk: what a kernel is applied to, what comes from what, and where residual branches end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._program import primitives
from .._program.ir import Op, Value
from .dataflow import Graph, Kind, is_linear
from .parameter import Branch


def signal(graph: Graph, op: Op) -> Value | None:
    """What a kernel is applied to; None where the operation has no kernel, or two."""
    weights = [i for i in (0, 1) if graph.kind(op.inputs[i]) is Kind.WEIGHT]
    return op.inputs[1 - weights[0]] if len(weights) == 1 else None


def source(graph: Graph, value: Value) -> Op | None:
    """The kernel's operation whose output the value is, but for affine maps."""
    while value.op is not None and value.op in graph.position:
        op = value.op
        if is_linear(op):
            return op if signal(graph, op) is not None else None
        inputs = [
            v for v in op.inputs if graph.kind(v) is Kind.SIGNAL and v.aval.size == value.aval.size
        ]
        if len(inputs) != 1 or op.primitive.name not in primitives.AFFINE:
            return None
        value = inputs[0]
    return None


def _before(graph: Graph, value: Value) -> list[Value]:
    """What a value is computed from, or handed on from."""
    return [*graph.sources.get(value, ()), *(value.op.inputs if value.op else ())]


def descends(graph: Graph, value: Value, target: Value) -> bool:
    """Whether ``value`` is computed from ``target``, or is it."""
    least = graph.position.get(target, -1)
    seen, stack = {value}, [value]
    while stack:
        here = stack.pop()
        if here is target:
            return True
        for v in _before(graph, here):
            if v not in seen and graph.kind(v) and graph.position.get(v, -1) >= least:
                seen.add(v)
                stack.append(v)
    return False


def chains(graph: Graph, trunks: Mapping[Op, Value]) -> dict[Op, Branch]:
    """The sums that end residual branches, numbered along each trunk.

    ``trunks`` maps each sum to the value that the branch is added to.
    """
    found: list[list[Op]] = []
    chain_of: dict[Op, list[Op]] = {}
    for op in sorted(trunks, key=graph.position.__getitem__):
        before = _latest(graph, trunks[op], chain_of)
        if before is None:
            found.append([])
        chain = found[-1] if before is None else chain_of[before]
        chain.append(op)
        chain_of[op] = chain
    totals = [sum(graph.repeats(op) for op in chain) for chain in found]
    return {
        op: Branch(n, total)
        for chain, total in zip(found, totals, strict=True)
        for n, op in enumerate(chain, 1)
    }


def _latest(graph: Graph, value: Value, sums: Mapping[Op, Any]) -> Op | None:
    """The last of the sums that the value is computed from."""
    found: list[Op] = []
    seen, stack = {value}, [value]
    while stack:
        here = stack.pop()
        if here.op is not None and here.op in sums:
            found.append(here.op)
            continue
        before = _before(graph, here)
        fresh = [v for v in before if v not in seen and graph.kind(v) is Kind.SIGNAL]
        seen.update(fresh)
        stack += fresh
    return max(found, key=graph.position.__getitem__, default=None)

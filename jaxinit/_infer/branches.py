"""Numbers the residual branches of a model and finds its low-rank adapters (LoRA).

A transformer of two blocks adds four branches to one residual stream::

    x = x + attention(x);  x = x + mlp(x);  x = x + attention(x);  x = x + mlp(x)

``branches`` maps these sums to ``Branch(1, 4)`` ... ``Branch(4, 4)``. A sum in a loop is numbered
as in the loop's first turn, and the total counts all turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._program.ir import Op, Value
from .dataflow import Graph, Kind
from .kernel_uses import KernelUse
from .parameter import Branch
from .residual import descends, kernel_before, made_from, signal, source


def branches(graph: Graph, kernels: Iterable[KernelUse]) -> dict[Op, Branch]:
    """The sums that end residual branches, numbered along each residual stream."""
    streams: dict[Op, Value] = {}  # what the sum adds the branch to
    for kernel in kernels:
        for c in kernel.trail.candidates if kernel.trail else ():
            if c.residual and c.taker is not None:
                (streams[c.taker],) = (v for v in c.taker.inputs if v is not c.value)
    return _numbered(graph, streams)


def _numbered(graph: Graph, streams: Mapping[Op, Value]) -> dict[Op, Branch]:
    """Each sum with its number: it continues the stream of the latest sum that it adds to."""
    found: list[list[Op]] = []
    stream_of: dict[Op, list[Op]] = {}
    for op in sorted(streams, key=graph.position.__getitem__):
        before = _latest(graph, streams[op], stream_of)
        if before is None:
            found.append([])
        stream = found[-1] if before is None else stream_of[before]
        stream.append(op)
        stream_of[op] = stream
    totals = [sum(graph.repeats(op) for op in stream) for stream in found]
    return {
        op: Branch(n, total)
        for stream, total in zip(found, totals, strict=True)
        for n, op in enumerate(stream, 1)
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
        before = made_from(graph, here)
        fresh = [v for v in before if v not in seen and graph.kind(v) is Kind.SIGNAL]
        seen.update(fresh)
        stack += fresh
    return max(found, key=graph.position.__getitem__, default=None)


def branch_of(kernels: Sequence[KernelUse], sums: Mapping[Op, Branch]) -> Branch | None:
    """The residual branch that a kernel ends."""
    for kernel in kernels:
        for c in kernel.trail.candidates if kernel.trail else ():
            if c.residual and c.taker is not None and kernel.trail is not None:
                return sums[c.taker]._replace(normalized=c.value in kernel.trail.normalized)
    return None


def adapters(graph: Graph, kernels: Iterable[KernelUse]) -> dict[Op, str]:
    """The products of low-rank adapters, with their roles "lora_a" and "lora_b".

    In ``x @ w + (x @ a) @ b`` the product with b takes that with a, nothing nonlinear between; its
    fan_in, the rank, is less than its fan_out; and both terms of the sum come from one x.
    """
    found: dict[Op, str] = {}
    for kernel in kernels:
        first = kernel_before(graph, kernel.op) if kernel.trail else None
        start = None if first is None else signal(graph, first)
        if first is None or start is None or kernel.fans.fan_in >= kernel.fans.fan_out:
            continue
        assert kernel.trail is not None
        for other in kernel.trail.met:
            beside = source(graph, other)
            root = None if beside is None else signal(graph, beside)
            if root is not None and descends(graph, start, root):
                found |= {first: "lora_a", kernel.op: "lora_b"}
    return found

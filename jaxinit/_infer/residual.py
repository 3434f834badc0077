"""Tells what a kernel is applied to and recognises residual additions ``x + f(x)``.

Of a block that is written as::

    h = normalize(x)
    y = jax.nn.relu(h @ params["up"]) @ params["down"]
    x = x + y                                   # residual: y was computed from x

``signal`` of the product with "down" is the relu's output, and that descends from x, the other term
of the sum. Where the shortcut has a kernel of its own, ``x @ params["shortcut"] + y``, the other
term is a projection of a value that y was computed from; that is residual too.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._program import primitives
from .._program.ir import Op, Value
from .dataflow import Graph, Kind, is_linear


def signal(graph: Graph, op: Op) -> Value | None:
    """What a kernel is applied to; None where the operation has no kernel, or two."""
    weights = [i for i in (0, 1) if graph.kind(op.inputs[i]) is Kind.WEIGHT]
    return op.inputs[1 - weights[0]] if len(weights) == 1 else None


def source(graph: Graph, value: Value) -> Op | None:
    """The product with a kernel that the value comes from, with only affine maps between."""
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


def kernel_before(graph: Graph, op: Op) -> Op | None:
    """The product with a kernel whose output ``op`` takes, with only affine maps between."""
    start = signal(graph, op)
    return None if start is None else source(graph, start)


def made_from(graph: Graph, value: Value) -> list[Value]:
    """The values that a value is computed from, or that a link hands on as this value."""
    return [*graph.sources.get(value, ()), *(value.op.inputs if value.op else ())]


def descends(graph: Graph, value: Value, target: Value) -> bool:
    """Whether ``value`` is computed from ``target``, or is it."""
    least = graph.position.get(target, -1)
    seen, stack = {value}, [value]
    while stack:
        here = stack.pop()
        if here is target:
            return True
        for v in made_from(graph, here):
            if v not in seen and graph.kind(v) and graph.position.get(v, -1) >= least:
                seen.add(v)
                stack.append(v)
    return False


def _terms(graph: Graph, value: Value) -> Iterator[Value]:
    """The value and the signals that it is a sum of."""
    stack = [value]
    while stack:
        here = stack.pop()
        yield here
        if here.op is not None and here.op.primitive.name in primitives.SUMS:
            stack += [v for v in here.op.inputs if graph.kind(v) is Kind.SIGNAL]


def _stream(graph: Graph, value: Value) -> Iterator[Value]:
    """The value and, where it is a residual sum, what that adds to, back along the stream."""
    here: Value | None = value
    while here is not None:
        yield here
        signals = [v for v in here.op.inputs if graph.kind(v) is Kind.SIGNAL] if here.op else []
        adds = here.op is not None and here.op.primitive.name in primitives.SUMS
        pairs = (signals, signals[::-1]) if adds and len(signals) == 2 else ()
        here = next((u for u, v in pairs if _is_branch(graph, v, u)), None)


def _is_branch(graph: Graph, value: Value, stream: Value) -> bool:
    """Whether a term of a sum is computed from the other, or from what that adds branches to."""
    return any(descends(graph, value, term) for term in _terms(graph, stream))


def is_residual(graph: Graph, op: Op, other: Value) -> bool:
    """Whether ``op`` was computed from ``other``, or from what ``other`` is a projection of.

    Of parallel branches, as ``x + a(x) + b(x)``, the second is added to the sum with the first.
    """
    start = signal(graph, op)
    if start is None:
        return False
    if any(descends(graph, start, value) for value in _stream(graph, other)):
        return True
    projection = source(graph, other)
    if projection is None or projection is op:
        return False
    root = signal(graph, projection)
    if root is None or root is start or kernel_before(graph, op) is not None:
        return False
    return descends(graph, start, root)

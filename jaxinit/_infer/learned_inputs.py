"""Finds parameters that take the place of an input, such as the learned queries of attention.

Both of these multiply two parameters before any signal comes in::

    q = params["probe"] @ params["wq"] + params["bias"]     # then q meets keys: q @ k.T
    w = params["kernel"] + params["a"] @ params["b"]        # then a signal meets w: x @ w

In the first, "probe" holds latent vectors to which the kernel "wq" is applied: the product is a
signal of its own that meets another layer's output, or is added to a signal. In the second, the
product is a kernel, the merged form of a low-rank adapter. ``learned_inputs`` finds "probe".
"""

from __future__ import annotations

from collections.abc import Iterator

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .dataflow import Contribution, Graph, Kind, Link, is_linear
from .kernel_fans import kernel_fans
from .residual import source


def learned_inputs(graph: Graph) -> frozenset[int]:
    """The parameters, by index, to which kernels are applied as if they were inputs."""
    products = [op for op in graph.steps if isinstance(op, Op) and _multiplies_weights(graph, op)]
    found = set()
    for op in products:
        if _is_signal(graph, op):
            found.add(_main(graph, op, _input_side(graph, op, products)).parameter)
    return frozenset(found)


def _multiplies_weights(graph: Graph, op: Op) -> bool:
    """Whether the operation is the first matrix product of two weights that share no parameter."""
    if internals.contraction(op.primitive, op.params) is None:
        return False
    if any(graph.kind(value) is not Kind.WEIGHT for value in op.inputs[:2]):
        return False
    sides = [graph.contributions.get(value, ()) for value in op.inputs[:2]]
    one, other = ({c.parameter for c in side} for side in sides)
    first = all(c.contracted == 1 for side in sides for c in side)
    return first and bool(one) and bool(other) and one.isdisjoint(other)


def _main(graph: Graph, op: Op, side: int) -> Contribution:
    """The largest of the parameters that one side of a product is made of."""
    found = graph.contributions[op.inputs[side]]
    return max(found, key=lambda c: graph.parameters[c.parameter].aval.size)


def _is_signal(graph: Graph, product: Op) -> bool:
    """Whether a product of weights acts as a signal, not as a kernel.

    It does if, followed through operations on weights, it is added to a signal, or multiplied with
    one that is a kernel's output. It does not if a signal that is no such output is multiplied with
    it, or if it is added to a third parameter of its own shape.
    """
    acts = False
    seen = {product.outputs[0]}
    stack = list(seen)
    while stack:
        value = stack.pop()
        for step in graph.consumers.get(value, ()):
            if isinstance(step, Op):
                verdict = _verdict(graph, product, step, value)
                if verdict is False:
                    return False
                acts |= bool(verdict)
            fresh = [v for v in _carried_on(graph, step, value, product) if v not in seen]
            seen.update(fresh)
            stack += fresh
    return acts


def _verdict(graph: Graph, product: Op, step: Op, value: Value) -> bool | None:
    """What one operation on the product tells: a signal (True), a kernel (False), or nothing."""
    others = [other for other in step.inputs if other is not value]
    if is_linear(step) and len(step.inputs) > 1 and others:
        if graph.kind(others[0]) is Kind.SIGNAL:
            return source(graph, others[0]) is not None
        return None
    if step.primitive.name not in primitives.SUMS or not others:
        return None
    if graph.kind(others[0]) is Kind.SIGNAL:
        return True
    is_vector = any(_width(product, side) == 1 for side in (0, 1))
    own = _parameters(graph, product)
    third = (c for c in graph.contributions.get(others[0], ()) if c.parameter not in own)
    merged = not is_vector and any(_covers(contribution, value) for contribution in third)
    return False if merged else None


def _parameters(graph: Graph, op: Op) -> set[int]:
    """The parameters that the inputs of an operation are made of."""
    return {c.parameter for value in op.inputs for c in graph.contributions.get(value, ())}


def _width(op: Op, side: int) -> int:
    """How many rows one side of a product has, over which nothing is summed."""
    numbers = internals.contraction(op.primitive, op.params)
    assert numbers is not None
    shape, width = op.inputs[side].aval.shape, 1
    for axis, size in enumerate(shape):
        if axis not in (*numbers.contracted[side], *numbers.batched[side]):
            width *= size
    return width


def _covers(given: Contribution, value: Value) -> bool:
    """Whether a parameter varies along every axis of a value, as a kernel does and no bias."""
    pairs = zip(given.axes.axes, value.aval.shape, strict=True)
    return given.contracted == 1 and all(axis.is_origin for axis, size in pairs if size > 1)


def _carried_on(graph: Graph, step: Op | Link, value: Value, product: Op) -> Iterator[Value]:
    """The weights that a step makes of the product; none where it only scales another weight."""
    if isinstance(step, Link):
        yield step.target
        return
    mine = _parameters(graph, product)
    for made in step.outputs:
        axes = [c.axes.axes for c in graph.contributions.get(made, ()) if c.parameter in mine]
        varies = any(axis.is_origin and axis.size > 1 for found in axes for axis in found)
        if graph.kind(made) is Kind.WEIGHT and varies:
            yield made


def _input_side(graph: Graph, op: Op, products: list[Op]) -> int:
    """Which side of a product is the input, the other being the kernel.

    A parameter that is a kernel of a signal elsewhere is the kernel; one that several kernels are
    applied to is the input, and so is a single vector. Without such evidence the input stands left.
    """
    parameters = [_main(graph, op, side).parameter for side in (0, 1)]
    uses = [
        [u for u in graph.uses.get(p, ()) if u.contribution.contracted == 1] for p in parameters
    ]
    elsewhere = [any(kernel_fans(use) for use in found) for found in uses]
    if elsewhere[0] != elsewhere[1]:
        return elsewhere.index(False)
    sides = [[_main(graph, other, side).parameter for side in (0, 1)] for other in products]
    counts = [sum(p in found for found in sides) for p in parameters]
    if counts[0] != counts[1]:
        return counts.index(max(counts))
    widths = [_width(op, side) for side in (0, 1)]
    if 1 in widths and widths[0] != widths[1]:
        return widths.index(1)
    return 0

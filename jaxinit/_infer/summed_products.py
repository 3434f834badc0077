"""Reads contractions that are written as a product and a sum, and products that widen a signal.

These two compute the same, and in both the kernel has 16 inputs and 10 outputs::

    y = x @ params["kernel"]                                # (8, 16) @ (16, 10)
    y = (x[:, :, None] * params["kernel"]).sum(1)           # (8, 16, 10), of which axis 1 is summed

The signal does not vary along axis 2 of the product, which holds the kernel's outputs. An axis that
is not summed and along which both vary is a batch axis.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .axis_origin import Axis, AxisOrigins, blank
from .dataflow import Graph, Kind, Link, Use
from .kernel_fans import KernelFans, origins, sizes_text


class SummedProduct(NamedTuple):
    """A contraction: the fans of its kernel, and the sum, whose output is that of the kernel."""

    fans: KernelFans
    sum: Op


def summed_product(graph: Graph, use: Use) -> SummedProduct | None:
    """The contraction that a product of a parameter and a signal is a part of, or None."""
    if not is_product(graph, use) or use.contribution.through:
        return None
    assert isinstance(use.op, Op)
    total = _sum_after(graph, use.op.outputs[0])
    if total is None:
        return None
    given, shape = use.contribution.axes, use.op.outputs[0].aval.shape
    (summed,) = internals.geometry(total.primitive, total.params)
    kept = [i for i in range(len(shape)) if i not in summed]
    mine, same = varies(given), constant_along(use.op.inputs[1 - use.position], shape)
    if not mine & set(summed) or mine & same & set(summed):
        return None
    outs = [i for i in kept if i in mine & same]
    return SummedProduct(
        KernelFans(
            math.prod(shape[i] for i in summed),
            math.prod(given.axes[i].extent for i in outs),
            origins(given, summed),
            origins(given, outs),
            (),
            AxisOrigins(tuple(_output(given.axes[i], shape[i]) for i in kept), given.selected),
            f"a product of which axes {', '.join(f'{i} ({shape[i]})' for i in summed)} of "
            f"{sizes_text(shape)} are summed",
        ),
        total,
    )


def widens(graph: Graph, use: Use) -> bool:
    """Whether a parameter is multiplied with a signal that does not vary along axes of its own.

    A factor of a normalization, which is constant along the features, counts only where the product
    is not multiplied with what varies along them: ``rsqrt(variance)[:, None] * scale * x``.
    """
    assert isinstance(use.op, Op)
    mine = varies(use.contribution.axes)
    numbers = internals.contraction(use.op.primitive, use.op.params)
    if numbers is not None and use.position < 2 and not numbers.contracted[use.position]:
        return bool(mine - set(numbers.batched[use.position]))
    if not is_product(graph, use):
        return False
    made = use.op.outputs[0]
    own = mine & constant_along(use.op.inputs[1 - use.position], made.aval.shape)
    return bool(own) and not _is_factor_of_wider(graph, made, own)


def _output(axis: Axis, size: int) -> Axis:
    """The axis of a product, which may be larger than that of one factor."""
    return axis if axis.size == size else blank(size)


def is_product(graph: Graph, use: Use) -> bool:
    """Whether a parameter is multiplied with a signal, element by element."""
    if not isinstance(use.op, Op) or use.op.primitive.name != "mul":
        return False
    return graph.kind(use.op.inputs[1 - use.position]) is Kind.SIGNAL


def varies(axes: AxisOrigins) -> set[int]:
    """The axes along which a parameter varies."""
    return {i for i, axis in enumerate(axes.axes) if axis.is_origin and axis.extent > 1}


def constant_along(value: Value, shape: Sequence[int]) -> set[int]:
    """The axes of a product of this shape along which one of its factors was broadcast."""
    mine = tuple(value.aval.shape)
    if len(mine) != len(shape):  # a number
        return {i for i, size in enumerate(shape) if size > 1}
    while value.op is not None and value.op.primitive.name in primitives.KEEPS_PLACES:
        value = value.op.inputs[0]
    own = set(range(len(shape)))
    if value.op is not None and value.op.primitive.name == "broadcast_in_dim":
        (places,) = internals.geometry(value.op.primitive, value.op.params)
        sizes = value.op.inputs[0].aval.shape
        own = {place for place, size in zip(places, sizes, strict=True) if size == mine[place]}
    return {i for i, n in enumerate(shape) if n > 1 and (i not in own or mine[i] != n)}


def _sum_after(graph: Graph, value: Value) -> Op | None:
    """The sum that alone takes a value."""
    while True:
        takers = graph.consumers.get(value, ())
        if len(takers) != 1 or isinstance(takers[0], Link) or value in graph.outputs:
            return None
        if takers[0].primitive.name == "reduce_sum":
            return takers[0]
        if takers[0].primitive.name not in primitives.KEEPS_PLACES:
            return None
        value = takers[0].outputs[0]


def _is_factor_of_wider(graph: Graph, value: Value, axes: Collection[int]) -> bool:
    """Whether all that takes a value multiplies it with a signal that varies along these axes."""
    takers = graph.consumers.get(value, ())
    return bool(takers) and all(_is_scaled(graph, taker, value, axes) for taker in takers)


def _is_scaled(graph: Graph, taker: Op | Link, value: Value, axes: Collection[int]) -> bool:
    if isinstance(taker, Link):
        return False
    if taker.primitive.name in primitives.KEEPS_PLACES:
        return _is_factor_of_wider(graph, taker.outputs[0], axes)
    others = [v for v in taker.inputs if v is not value]
    if taker.primitive.name == "broadcast_in_dim":  # along more axes, as of places
        (places,) = internals.geometry(taker.primitive, taker.params)
        return _is_factor_of_wider(graph, taker.outputs[0], [places[i] for i in axes])
    if taker.primitive.name not in ("mul", "div") or len(others) != 1:
        return False
    same = constant_along(others[0], taker.outputs[0].aval.shape)
    return graph.kind(others[0]) is Kind.SIGNAL and not same & set(axes)

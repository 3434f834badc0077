"""Reads linear reductions of a signal: sums, means, pooling, running sums and fixed filters.

Average pooling is recorded by JAX as a sum over windows and a division::

    s = reduce_window_sum(z, window=(1, 2, 2, 1))     # a factor of 4, where neighbours are alike
    y = s / 4                                         # y is z again, at fewer places

so what follows, such as ``silu(y)``, is the activation of z. A filter whose taps are constants
(a blur, the interpolation of ``jax.image.resize``) has the sum of its taps as its factor. Where the
weights of the sum are an input of the model, as in ``adjacency @ z``, the factor is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value, evaluate, order
from .._random.stream import is_typed_key
from .axis_origin import AxisOrigins, blank
from .dataflow import Graph, Kind, Link, is_linear, product_axes
from .residual import descends

_LARGEST = 1 << 16  # elements of a constant that is computed to see what it holds


class Reduction(NamedTuple):
    """A linear reduction of a signal.

    Attributes:
      factor: its factor where neighbouring elements are alike.
      axes: the axes of its result.
      sums: whether several elements become one.
      varies: whether the factor is another one at each place, or is not known.
    """

    factor: float
    axes: AxisOrigins
    sums: bool = True
    varies: bool = False


def linear_reduction(
    graph: Graph, op: Op, position: int, axes: AxisOrigins, start: Value
) -> Reduction | None:
    """The linear reduction that an operation is of its input; None where it is anything else.

    A product with a constant, element by element, counts as one too, if it is written as a matrix
    product, as in ``einsum("bthd,td->bthd", q, cosines)`` of rotary embeddings.

    ``start`` is the kernel's output from which the input was followed, with these axes.
    Sums over the kernel's own outputs are not meant, nor the statistics of a normalization, which
    meet the signal again.
    """
    name = op.primitive.name
    if name == "cumsum":
        return Reduction(1.0, axes, varies=True)  # how many terms are summed depends on the place
    if name == "reduce_window_sum":
        (window,) = internals.geometry(op.primitive, op.params)
        return Reduction(float(math.prod(window)), axes)
    if name == "reduce_sum":
        (summed,) = internals.geometry(op.primitive, op.params)
        if any(axes.axes[i].is_origin for i in summed) or _meets_again(graph, op, position, start):
            return None
        kept = tuple(axis for i, axis in enumerate(axes.axes) if i not in summed)
        terms = math.prod(op.inputs[0].aval.shape[i] for i in summed)
        return Reduction(float(terms), AxisOrigins(kept))
    if name == "scatter-add" and position == 2 and graph.kind(op.inputs[0]) is Kind.CONSTANT:
        return _by_segment(op, axes)
    if not is_linear(op):
        return None
    if (found := _by_element(graph, op, position, axes)) is not None:
        return found
    if graph.kind(op.inputs[1 - position]) is Kind.CONSTANT:
        return _fixed_filter(graph, op, position, axes)
    return _by_input(graph, op, position, axes, start)


def _by_element(graph: Graph, op: Op, position: int, axes: AxisOrigins) -> Reduction | None:
    """A matrix product that sums nothing, with a constant or what no parameter reaches."""
    numbers, other = internals.contraction(op.primitive, op.params), op.inputs[1 - position]
    if numbers is None or numbers.contracted[position] or other in graph.trained:
        return None
    return Reduction(
        typical_factor(graph, other), product_axes(op, numbers, position, axes)[0], sums=False
    )


def _by_input(
    graph: Graph, op: Op, position: int, axes: AxisOrigins, start: Value
) -> Reduction | None:
    """A matrix product over examples or nodes, with what no parameter reaches."""
    numbers, other = internals.contraction(op.primitive, op.params), op.inputs[1 - position]
    if numbers is None or other in graph.trained or _meets_again(graph, op, position, start):
        return None
    if any(axes.axes[i].is_origin for i in numbers.contracted[position]):
        return None
    return Reduction(1.0, product_axes(op, numbers, position, axes)[0], varies=True)


def _by_segment(op: Op, axes: AxisOrigins) -> Reduction | None:
    """Rows that are added up where indices say, as ``jax.ops.segment_sum`` does."""
    (numbers,) = internals.geometry(op.primitive, op.params)
    apart, shape = numbers.update_window_dims, op.outputs[0].aval.shape
    if any(axis.is_origin and i not in apart for i, axis in enumerate(axes.axes)):
        return None
    gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    places = [blank(n) for n in shape]
    kept = (i for i in range(len(shape)) if i not in gone)
    for i, given in zip(kept, apart, strict=True):
        if axes.axes[given].size == shape[i]:
            places[i] = axes.axes[given]
    return Reduction(1.0, AxisOrigins(tuple(places)), varies=True)


def _meets_again(graph: Graph, op: Op, position: int, start: Value) -> bool:
    """Whether a sum meets other values that are made from ``start``, as in a normalization."""
    size = op.inputs[position].aval.size
    seen, stack = set(op.outputs), list(op.outputs)
    while stack:
        for step in graph.consumers.get(stack.pop(), ()):
            if isinstance(step, Link) or step.primitive.name not in _ELEMENT_BY_ELEMENT:
                continue
            others = [v for v in step.inputs if v not in seen and v.aval.size >= size]
            if any(descends(graph, other, start) for other in others):
                return True
            fresh = [v for v in step.outputs if v not in seen]
            seen.update(fresh)
            stack += fresh
    return False


_ELEMENT_BY_ELEMENT = primitives.ELEMENTWISE | primitives.KEEPS_SIGNAL | {"reduce_sum"}


def _fixed_filter(graph: Graph, op: Op, position: int, axes: AxisOrigins) -> Reduction | None:
    """A product with a constant array that leaves the kernel's outputs apart."""
    taps = constant_array(graph, op.inputs[1 - position])
    units = [i for i, axis in enumerate(axes.axes) if axis.is_origin]
    if taps is None or np.iscomplexobj(taps):
        return None
    numbers = internals.contraction(op.primitive, op.params)
    if numbers is not None:
        if set(units) & set(numbers.contracted[position]):
            return None
        factor = _level(taps, numbers.contracted[1 - position])
        outputs, _ = product_axes(op, numbers, position, axes)
        return None if factor is None else Reduction(factor, outputs)
    conv = internals.convolution(op.primitive, op.params)
    assert conv is not None
    shape = op.outputs[0].aval.shape
    if position != 0 or len(units) > 1 or conv.groups != shape[conv.features]:
        return None
    factor = _level(taps, (conv.in_axis, *conv.window))
    places = [blank(n) for n in shape]
    if units and axes.axes[units[0]].size == shape[conv.features]:
        places[conv.features] = axes.axes[units[0]]
    return None if factor is None else Reduction(factor, AxisOrigins(tuple(places)))


def _level(taps: np.ndarray, summed: Sequence[int]) -> float | None:
    """The typical sum of the taps of one output; None where they cancel, as in a difference."""
    total = np.median(taps.sum(tuple(summed)))
    return float(total) if total > 0.5 * np.median(np.abs(taps).sum(tuple(summed))) else None


def typical_factor(graph: Graph, value: Value) -> float:
    """The typical size of a constant factor that is nowhere negative, zeros left out; else 1.

    The counts by which average pooling divides are smaller at borders, and a mask has zeros.
    """
    found = constant_array(graph, value)
    if found is None or np.iscomplexobj(found) or not (found >= 0).all() or not found.any():
        return 1.0
    return float(np.median(found[found > 0]))


def constant_array(graph: Graph, value: Value) -> np.ndarray | None:
    """What a constant value holds; None where it is large, or not made from constants alone."""
    key = "constant", value
    if key not in graph.memo:
        graph.memo[key] = _computed(value) if graph.kind(value) is Kind.CONSTANT else None
    return graph.memo[key]


def _computed(value: Value) -> np.ndarray | None:
    steps = order([value])
    made = [v for op in steps for v in op.outputs]
    taken = [v for op in steps for v in op.inputs if v.op is None]
    is_whole = all(v.is_const for v in (taken if steps else [value]))
    plain = not any(is_typed_key(v.aval) for v in (*made, *taken, value))
    plain &= not any(op.primitive.name in primitives.SHARDED for op in steps)
    if not is_whole or not plain or any(v.aval.size > _LARGEST for v in (*made, *taken)):
        return None
    with jax.enable_x64(False):
        (found,) = evaluate([value], {})
    array = np.asarray(found)
    return array.astype(np.float64) if array.dtype.kind not in "c" else array

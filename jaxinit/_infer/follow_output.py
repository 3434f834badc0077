"""Follows a kernel's output until another operation takes it up.

Of a layer that is written as::

    z = x @ params["kernel"]                    # followed from here
    y = normalize(z + params["bias"])           # passed: the bias is noted
    a = y * jax.nn.sigmoid(y)                   # passed: elementwise, a = silu(z) on the grid
    b = a.reshape(n, -1) @ params["next"]       # ends: a candidate for what the kernel feeds

the trail holds the bias, the elementwise steps and the candidate ``a`` with its taker, the second
product. The statistics that a normalization or a softmax takes of the signal are those of
z ~ N(0, 1).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._choose.recognise import GRID
from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .axis_origin import AxisOrigins, moved
from .dataflow import Graph, Kind, Link, is_linear, shift
from .linear_reductions import linear_reduction, typical_factor
from .trail import Added, Step, Trail, common, mean_on_grid


class _Walk(NamedTuple):
    """What every step of following one kernel's output needs."""

    graph: Graph
    trail: Trail
    origin: Op  # whose output is followed
    is_residual: Callable[[Op, Value], bool]


def follow(
    graph: Graph, op: Op, outputs: AxisOrigins, is_residual: Callable[[Op, Value], bool]
) -> Trail:
    """The trail from the first output of ``op``, whose axes are ``outputs``.

    ``is_residual(op, other)`` tells whether ``other``, which is added to a value made from ``op``,
    is what ``op`` was computed from.
    """
    start = op.outputs[0]
    trail = Trail(start, graph.memo, axes={start: outputs}, values={start: GRID})
    walk = _Walk(graph, trail, op, is_residual)
    ends = {*graph.outputs, *graph.looped.values()}
    heap: list[tuple[int, int, Any]] = []
    count, queued = itertools.count(), set()

    def push(value: Value) -> None:
        if value in ends:
            trail.end(value, None)
        for step in graph.consumers.get(value, ()):
            place = graph.position[step]
            if step not in queued and place > graph.position[start]:
                queued.add(step)
                heapq.heappush(heap, (place, next(count), step))

    push(start)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        while heap:
            _, _, step = heapq.heappop(heap)
            for value in _pass(walk, step):
                push(value)
    return trail


def _pass(walk: _Walk, step: Op | Link) -> list[Value]:
    """The values to follow beyond a step; where following ends, a candidate is noted."""
    trail = walk.trail
    if isinstance(step, Link):
        return trail.move(step.source, step.target, shift(trail.axes[step.source], step))
    mine = [i for i, value in enumerate(step.inputs) if value in trail.axes]
    first = step.inputs[mine[0]]
    name = step.primitive.name
    if name in ("sharding_constraint", "optimization_barrier") or (
        name not in ("convert_element_type", "stop_gradient") and len(mine) == 1
    ):
        after = moved(step, mine[0], trail.axes[first])
        if after is not None:
            pairs = zip(step.outputs, after, strict=True)
            return [v for made, axes in pairs for v in trail.move(first, made, axes)]
    if name in primitives.JOINS:
        return _joined(trail, step, [step.inputs[i] for i in mine])
    if name == "reduce_window_max":
        trail.end_in_statistic(first, step)
        return trail.move(first, step.outputs[0], trail.axes[first])
    if len(mine) == 1 and trail.is_function(first):
        found = linear_reduction(walk.graph, step, mine[0], trail.axes[first], trail.start)
        if found is not None:
            trail.rescaled |= found.varies
            return trail.reduce(first, step, found.factor, found.axes, found.sums)
    if name in primitives.STATISTICS:
        return _reduce(trail, step, first)
    if is_linear(step) or name not in primitives.ELEMENTWISE or _counts(step):
        for i in mine:
            trail.end(step.inputs[i], step)
        return []
    return _elementwise(walk, step, mine)


def _counts(step: Op) -> bool:
    """Whether the result is of integers, which are no signal any more."""
    return all(jnp.issubdtype(value.aval.dtype, jnp.integer) for value in step.outputs)


def _joined(trail: Trail, step: Op, parts: Sequence[Value]) -> list[Value]:
    """Follow parts of the kernel's output that are joined as one value."""
    selected = common([trail.axes[part].selected for part in parts])
    axes = AxisOrigins.unknown(step.outputs[0].aval.shape)
    if len(parts) > 1:
        trail.shuffled.add(step.outputs[0])
    return trail.move(parts[0], step.outputs[0], AxisOrigins(axes.axes, selected))


def _reduce(trail: Trail, step: Op, value: Value) -> list[Value]:
    """Replace a sum or a largest element by the number that it is for z ~ N(0, 1)."""
    made, f = step.outputs[0], trail.on_grid(value)
    kind = primitives.STATISTICS[step.primitive.name]
    (axes,) = internals.geometry(step.primitive, step.params)
    terms = math.prod(step.inputs[0].aval.shape[i] for i in axes)
    if trail.is_function(value):
        trail.end_in_statistic(value, step)
        f = mean_on_grid(f) if kind == "sum" else float(getattr(np.asarray(f), kind)())
    f = terms * f if kind == "sum" else f
    trail.axes[made], trail.values[made] = AxisOrigins.unknown(made.aval.shape), f
    trail.reduced.append(step.primitive.name)
    return [made]


def _elementwise(walk: _Walk, step: Op, mine: Sequence[int]) -> list[Value]:
    """Pass an elementwise operation, of whose inputs those at ``mine`` are followed."""
    graph, trail = walk.graph, walk.trail
    name, made, first = step.primitive.name, step.outputs[0], step.inputs[mine[0]]
    functions = [i for i in mine if trail.is_function(step.inputs[i])]
    values = [step.inputs[i] for i in functions]
    parts = {(trail.axes[value].selected, value in trail.shuffled) for value in values}
    if len(parts) > 1:
        return _parts_meet(trail, step, values)
    others = [value for i, value in enumerate(step.inputs) if i not in mine]
    if name in primitives.SUMS:
        signals = [other for other in others if graph.kind(other) is Kind.SIGNAL]
        if any(walk.is_residual(walk.origin, other) for other in signals):
            trail.end(first, step, residual=True)
            return []
        trail.met += signals
    inputs: list[Value | float] = []
    for i, value in enumerate(step.inputs):
        number = trail.root(value) if i in mine else _number(walk, step, i, first)
        if number is None:
            for i in functions:
                trail.end(step.inputs[i], step)
            return []
        inputs.append(number)
    if name == "select_n" and 0 not in mine:  # something else chooses, such as a mask
        # A batch's variance rather than the part of it in a running one (Equinox): the largest.
        chosen = max(mine, key=lambda i: np.abs(trail.on_grid(step.inputs[i])).max())
        trail.rescaled |= 0.0 in inputs[1:] or len({id(trail.on_grid(v)) for v in values}) > 1
        return trail.move(step.inputs[chosen], made, trail.axes[step.inputs[chosen]])
    if name == "add":
        trail.shifts += [x for x in inputs if isinstance(x, float) and x]
    _evaluate(trail, Step(step, tuple(inputs), made), step.inputs, mine, functions)
    weights = (c for other in others for c in graph.contributions.get(other, ()))
    if any({"rsqrt", "sqrt"} & set(c.through) for c in weights):  # a running variance
        trail.normalized.add(made)
    return [made]


def _parts_meet(trail: Trail, step: Op, values: Sequence[Value]) -> list[Value]:
    """Pass a sum of different parts of the kernel's output; anything else takes them up."""
    if step.primitive.name in primitives.SUMS or step.primitive.name == "select_n":
        selected = common([trail.axes[value].selected for value in values])
        first = min(values, key=lambda value: value in trail.shuffled)
        return trail.move(first, step.outputs[0], AxisOrigins(trail.axes[first].axes, selected))
    for value in values:
        trail.end(value, step)
    return []


def _evaluate(
    trail: Trail, step: Step, inputs: Sequence[Value], mine: Sequence[int], functions: Sequence[int]
) -> None:
    """Evaluate a step, and note the axes of its result and whether its scale is fixed."""
    made = step.output
    trail.evaluate(step, bool(functions))
    shape = made.aval.shape
    like = [trail.axes[inputs[i]] for i in functions or mine]
    fitting = (a for a in like if len(a.axes) == len(shape))
    trail.axes[made] = next(fitting, AxisOrigins.unknown(shape))
    trail.mark(made, [inputs[i] for i in mine])
    if functions and len(mine) > len(functions):  # a statistic of the value normalizes it
        trail.normalized.add(made)
        trail.standardized.add(made)


def _number(walk: _Walk, step: Op, i: int, value: Value) -> float | None:
    """The number that stands for an input that does not come from the kernel.

    A constant is itself. Other inputs are taken as what leaves ``value`` as it is: 0 in a sum and 1
    in a product. A factor that no parameter reaches, such as the sines and cosines of rotary
    embeddings, a mask or noise, is passed, too. Returns None where following ends because another
    signal is a factor.
    """
    graph, trail = walk.graph, walk.trail
    name, other = step.primitive.name, step.inputs[i]
    if (number := graph.number(other)) is not None:
        return number
    kind = graph.kind(other)
    if kind is Kind.WEIGHT and name in (*primitives.SUMS, "mul", "div"):
        normalized = value in trail.normalized
        found = graph.contributions.get(other, ())
        trail.added += [Added(contribution, step, normalized) for contribution in found]
    if name in primitives.SUMS or name == "select_n":
        return 0.0
    if name in ("mul", "div") and kind is Kind.SIGNAL and other not in graph.trained:
        trail.rescaled = True
        return 1.0
    if name in ("mul", "div") and kind is Kind.CONSTANT:
        return typical_factor(graph, other)
    if name in ("mul", "div") and kind is Kind.WEIGHT:
        return 0.25 if slopes(graph, step) else 1.0  # the slope of a PReLU starts as 0.25
    return None


def slopes(graph: Graph, op: Op) -> bool:
    """Whether a factor is used in one case of a choice only, as the slope of a PReLU is."""
    takers = graph.consumers.get(op.outputs[0], ())
    return any(not isinstance(t, Link) and t.primitive.name == "select_n" for t in takers)

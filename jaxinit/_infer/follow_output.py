"""Following: what becomes of a kernel's output until something else takes it up.

Biases, normalizations and moves are passed through; the elementwise function that is left is
evaluated on a grid. Statistics of the signal (the mean of a normalization, the sum of a softmax)
are those of N(0, 1).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .axis_origin import Axes, Selection, moved
from .dataflow import Graph, Kind, Link, View, is_linear, shift

GRID = np.linspace(-8.0, 8.0, 641)
_DENSITY = np.exp(-GRID * GRID / 2)
_DENSITY /= _DENSITY.sum()


class Step(NamedTuple):
    """An elementwise operation on followed values and on numbers."""

    op: Op
    inputs: tuple[Value | float, ...]
    output: Value


class Candidate(NamedTuple):
    """A value as something takes it up: what does, and whether more than its statistics count."""

    value: Value
    taker: Op | None
    selected: tuple[Selection, ...]
    strong: bool
    residual: bool


class Added(NamedTuple):
    """A parameter that was added to the followed value, or multiplied with it."""

    view: View
    op: Op
    normalized: bool


@dataclass(eq=False)
class Trail:
    """What was found on the way from one kernel's output."""

    start: Value
    memo: dict[Any, Any]  # of all trails of a graph
    candidates: list[Candidate] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    axes: dict[Value, Axes] = field(default_factory=dict)
    same: dict[Value, Value] = field(default_factory=dict)  # a moved value -> what it is
    values: dict[Value, Any] = field(default_factory=dict)  # on the grid; a statistic is a number
    normalized: set[Value] = field(default_factory=set)
    rescaled: bool = False  # by dropout, which scales up what it keeps, or by a sum over a window
    shifts: list[float] = field(default_factory=list)  # numbers added before any function
    reduced: list[str] = field(default_factory=list)
    met: list[Value] = field(default_factory=list)  # other signals that were added on the way

    def root(self, value: Value) -> Value:
        """The value that ``value`` is a moved part of."""
        while value in self.same:
            value = self.same[value]
        return value

    def on_grid(self, value: Value) -> Any:
        """The followed value as a function of z on the grid, or a statistic."""
        return self.values[self.root(value)]

    def with_bias(self) -> Value:
        """The kernel's output once its bias is added."""
        made = self.start
        biased = {added.op for added in self.added if not added.normalized}
        for step in self.steps:
            plain = step.op in biased and step.op.primitive.name in ("add", "add_any")
            if plain and self.root(made) in step.inputs:
                made = step.output
        return made

    def units(self, value: Value) -> tuple[int, ...]:
        """The axes of a followed value that hold the kernel's outputs."""
        return tuple(i for i, axis in enumerate(self.axes[value].axes) if axis.is_origin)

    def is_rescaled(self, value: Value) -> bool:
        """Whether the scale of the value says nothing, as after a normalization or dropout."""
        return self.rescaled or value in self.normalized

    def function(self, value: Value) -> Callable[[Any], Any]:
        """The elementwise function from the kernel's output to the value."""
        target, known = self.root(value), self.values
        numbers = {v: x for v, x in known.items() if np.ndim(x) == 0}
        needed, wanted = [], {target}
        for step in reversed(self.steps):
            if step.output in wanted:
                wanted.update(v for v in step.inputs if isinstance(v, Value))
                needed.append(step)
        needed.reverse()

        def phi(z: Any) -> Any:
            made: dict[Value, Any] = {**numbers, self.start: z}
            for step in needed:
                if step.output not in numbers:
                    made[step.output] = _apply(step, made, jnp.asarray(z))
            return made[target]

        return phi


def _apply(step: Step, made: dict[Value, Any], z: Any) -> Any:
    """One step, its numbers spread to the shape of z."""
    args = []
    for item in step.inputs:
        x = jnp.asarray(made[item] if isinstance(item, Value) else item)
        args.append(jnp.broadcast_to(x if x.dtype == bool else x.astype(z.dtype), z.shape))
    if step.op.primitive.name == "convert_element_type":
        (kind,) = internals.geometry(step.op.primitive, step.op.params)
        return args[0] != 0 if np.dtype(kind) == bool else jnp.asarray(args[0], z.dtype)
    if step.op.primitive.name == "stop_gradient":
        return args[0]
    return internals.apply(step.op.primitive, step.op.params, args)


def follow(graph: Graph, op: Op, outputs: Axes, is_residual: Callable[[Op, Value], bool]) -> Trail:
    """The trail from the first output of ``op``, whose axes are ``outputs``.

    ``is_residual(op, other)`` says whether ``other``, added to the value that comes from ``op``, is
    what ``op`` was computed from.
    """
    start = op.outputs[0]
    trail = Trail(start, graph.memo, axes={start: outputs}, values={start: GRID})
    ends = {*graph.outputs, *graph.looped.values()}
    heap: list[tuple[int, int, Any]] = []
    count, queued = itertools.count(), set()

    def push(value: Value) -> None:
        if value in ends:
            _end(trail, value, None)
        for step in graph.consumers.get(value, ()):
            place = graph.position[step]
            if step not in queued and place > graph.position[start]:
                queued.add(step)
                heapq.heappush(heap, (place, next(count), step))

    push(start)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        while heap:
            _, _, step = heapq.heappop(heap)
            for value in _pass(graph, trail, step, op, is_residual):
                push(value)
    return trail


def _end(trail: Trail, value: Value, taker: Op | None, residual: bool = False) -> None:
    """Something takes the value up: a candidate for the activation."""
    if np.ndim(trail.on_grid(value)):
        selected = trail.axes[value].selected
        trail.candidates.append(Candidate(value, taker, selected, True, residual))


def _pass(
    graph: Graph,
    trail: Trail,
    step: Op | Link,
    origin: Op,
    is_residual: Callable[[Op, Value], bool],
) -> list[Value]:
    """The values to follow beyond a step; where it ends, a candidate is noted."""
    if isinstance(step, Link):
        return _same(trail, step.source, step.target, shift(trail.axes[step.source], step))
    mine = [i for i, value in enumerate(step.inputs) if value in trail.axes]
    first = step.inputs[mine[0]]
    name = step.primitive.name
    if name in ("sharding_constraint", "optimization_barrier") or (
        name not in ("convert_element_type", "stop_gradient") and len(mine) == 1
    ):
        after = moved(step, mine[0], trail.axes[first])
        if after is not None:
            pairs = zip(step.outputs, after, strict=True)
            return [v for made, axes in pairs for v in _same(trail, first, made, axes)]
    if name == "concatenate":
        axes = Axes.unknown(step.outputs[0].aval.shape)
        common = _common([trail.axes[step.inputs[i]].selected for i in mine])
        return _same(trail, first, step.outputs[0], replace(axes, selected=common))
    if name in primitives.STATISTICS:
        return _reduce(trail, step, first)
    if name in primitives.POOLS:
        trail.candidates.append(Candidate(first, step, trail.axes[first].selected, False, False))
        trail.rescaled |= "max" not in name
        return _same(trail, first, step.outputs[0], trail.axes[first])
    if is_linear(step) or name not in primitives.ELEMENTWISE:
        for i in mine:
            _end(trail, step.inputs[i], step)
        return []
    return _elementwise(graph, trail, step, mine, origin, is_residual)


def _common(parts: Sequence[tuple[Selection, ...]]) -> tuple[Selection, ...]:
    """What was selected of all of several parts."""
    alike = itertools.takewhile(lambda items: len(set(items)) == 1, zip(*parts, strict=False))
    return tuple(items[0] for items in alike)


def _same(trail: Trail, value: Value, made: Value, axes: Axes | None) -> list[Value]:
    """``made`` is ``value``, moved."""
    if axes is None or made in trail.axes:
        return []
    trail.axes[made], trail.same[made] = axes, value
    if value in trail.normalized:
        trail.normalized.add(made)
    return [made]


def _reduce(trail: Trail, step: Op, value: Value) -> list[Value]:
    """A statistic, as it is for z ~ N(0, 1)."""
    made, f = step.outputs[0], trail.on_grid(value)
    kind = primitives.STATISTICS[step.primitive.name]
    if np.ndim(f):
        trail.candidates.append(Candidate(value, step, trail.axes[value].selected, False, False))
        (axes,) = internals.geometry(step.primitive, step.params)
        terms = math.prod(step.inputs[0].aval.shape[i] for i in axes)
        f = np.asarray(f, np.float64)
        f = terms * float(_DENSITY @ f) if kind == "sum" else float(getattr(f, kind)())
    trail.axes[made], trail.values[made] = Axes.unknown(made.aval.shape), f
    trail.reduced.append(step.primitive.name)
    return [made]


def _elementwise(
    graph: Graph,
    trail: Trail,
    step: Op,
    mine: Sequence[int],
    origin: Op,
    is_residual: Callable[[Op, Value], bool],
) -> list[Value]:
    name, made, first = step.primitive.name, step.outputs[0], step.inputs[mine[0]]
    followed = [i for i in mine if np.ndim(trail.on_grid(step.inputs[i]))]
    parts = {trail.axes[step.inputs[i]].selected for i in followed}
    if len(parts) > 1:  # different blocks meet
        if name in primitives.SUMS or name == "select_n":
            value = step.inputs[followed[0]]
            return _same(trail, value, made, Axes(trail.axes[value].axes, _common(list(parts))))
        for i in followed:
            _end(trail, step.inputs[i], step)
        return []
    others = [value for i, value in enumerate(step.inputs) if i not in mine]
    if name in primitives.SUMS and any(
        graph.kind(other) is Kind.SIGNAL and is_residual(origin, other) for other in others
    ):
        _end(trail, first, step, residual=True)
        return []
    if name in primitives.SUMS:
        trail.met += [other for other in others if graph.kind(other) is Kind.SIGNAL]
    inputs: list[Value | float] = []
    for i, value in enumerate(step.inputs):
        if i in mine:
            inputs.append(trail.root(value))
        elif (number := graph.number(value)) is not None:
            inputs.append(number)
        elif (neutral := _neutral(graph, trail, step, i, first)) is not None:
            inputs.append(neutral)
        else:
            for i in followed:
                _end(trail, step.inputs[i], step)
            return []
    if name == "select_n" and 0 not in mine:  # chosen by something else, as by a mask
        chosen = next(i for i in mine if i)
        trail.rescaled |= 0.0 in inputs[1:]
        return _same(trail, step.inputs[chosen], made, trail.axes[step.inputs[chosen]])
    if name == "add":
        trail.shifts += [x for x in inputs if isinstance(x, float) and x]
    value = _evaluated(trail, Step(step, tuple(inputs), made), step.inputs, mine, followed)
    if any({"rsqrt", "sqrt"} & set(v.through) for x in others for v in graph.views.get(x, ())):
        trail.normalized.add(value)  # by a running variance
    return [value]


def _evaluated(
    trail: Trail, step: Step, inputs: Sequence[Value], mine: Sequence[int], followed: Sequence[int]
) -> Value:
    """The result of a step on the grid."""
    made = step.output
    trail.steps.append(step)
    trail.values[made] = _on_grid(trail, step, bool(followed))
    shape = made.aval.shape
    like = [trail.axes[inputs[i]] for i in followed or mine]
    trail.axes[made] = next((a for a in like if len(a.axes) == len(shape)), Axes.unknown(shape))
    if any(inputs[i] in trail.normalized for i in mine) or (followed and len(mine) > len(followed)):
        trail.normalized.add(made)
    return made


def _on_grid(trail: Trail, step: Step, spread: bool) -> Any:
    """The value of a step; layers that are alike share it, as one object."""
    args = [trail.values[x] if isinstance(x, Value) else x for x in step.inputs]
    marks = tuple(x if isinstance(x, float) else id(x) for x in args)
    key = step.op.primitive, str(step.op.params), marks
    if key not in trail.memo:
        given = {x: v for x, v in zip(step.inputs, args, strict=True) if isinstance(x, Value)}
        z = jnp.asarray(GRID) if spread else jnp.zeros((), jnp.float64)
        found = np.asarray(_apply(step, given, z))
        trail.memo[key] = args, found if spread else float(found)
    return trail.memo[key][1]


def _neutral(graph: Graph, trail: Trail, step: Op, i: int, value: Value) -> float | None:
    """The number that leaves ``value`` as it is, for an input that does not come from the kernel.

    None where the followed value ends.
    """
    name, other = step.primitive.name, step.inputs[i]
    kind = graph.kind(other)
    if kind is Kind.WEIGHT and name in (*primitives.SUMS, "mul", "div"):
        for view in graph.views.get(other, ()):
            trail.added.append(Added(view, step, value in trail.normalized))
    if name in primitives.SUMS or name == "select_n":
        return 0.0
    if name in ("mul", "div") and kind is not Kind.SIGNAL:
        return 0.25 if kind is Kind.WEIGHT and slopes(graph, step) else 1.0  # as PReLU starts
    return None


def slopes(graph: Graph, op: Op) -> bool:
    """Whether a factor holds in one case of a choice only, as PReLU's slope does."""
    takers = graph.consumers.get(op.outputs[0], ())
    return any(not isinstance(t, Link) and t.primitive.name == "select_n" for t in takers)

"""The record of what becomes of a kernel's output, and its evaluation as a function of z.

Every followed value that has one element for each element of the kernel's output z is held as a
function of z, by its values on ``GRID``. A statistic of z, such as the mean that a normalization
subtracts, is held as the number that it is for z ~ N(0, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .._choose.quadrature import normal_weights
from .._choose.recognise import GRID
from .._program import jax_internals as internals
from .._program.ir import Op, Value
from .axis_origin import AxisOrigins, Selection
from .dataflow import Contribution

_WEIGHTS = normal_weights(GRID)


class Step(NamedTuple):
    """An elementwise operation on followed values and on numbers.

    Where ``factor`` is given, the operation is a linear reduction, which multiplies its one input
    by that number if neighbouring elements are alike.
    """

    op: Op
    inputs: tuple[Value | float, ...]
    output: Value
    factor: float | None = None


class Candidate(NamedTuple):
    """A followed value that an operation takes up, so that it may be the activation's result.

    Attributes:
      value: the value.
      taker: the operation; None where the value is a result of the model or the state of a loop.
      selected: which part of the kernel's outputs the value holds.
      strong: False where only a statistic of the value is taken up, such as its mean, and where the
        value is a condition.
      residual: whether the operation adds the value to a residual stream.
    """

    value: Value
    taker: Op | None
    selected: tuple[Selection, ...]
    strong: bool
    residual: bool


class Added(NamedTuple):
    """A parameter that was added to the followed value, or multiplied with it.

    ``normalized`` tells that a normalization came before.
    """

    contribution: Contribution
    op: Op
    normalized: bool


@dataclass(eq=False)
class Trail:
    """What was found on the way from one kernel's output.

    Attributes:
      start: the kernel's output.
      memo: evaluations, shared by all trails of a graph.
      candidates: where the followed value was taken up.
      added: the parameters that were added or multiplied on the way.
      steps: the elementwise operations that were passed, in order.
      axes: for each followed value, which of its axes hold the kernel's outputs.
      same: for a value that was only moved, the value that it was.
      values: the values on the grid; a statistic is a number.
      shuffled: values that hold parts of the kernel's outputs in another order, such as a vector
        whose halves are swapped.
      normalized: values whose scale a normalization has fixed.
      standardized: those of which it was by statistics of the signal itself.
      pooled: values that are sums over several elements of the output, as average pooling makes.
      rescaled: whether something on the way changes the scale at random or by position, such as
        dropout, which scales up what it keeps.
      shifts: numbers that were added before any function.
      reduced: the reductions that were met.
      met: other signals that were added on the way.
    """

    start: Value
    memo: dict[Any, Any]
    candidates: list[Candidate] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    axes: dict[Value, AxisOrigins] = field(default_factory=dict)
    same: dict[Value, Value] = field(default_factory=dict)
    values: dict[Value, Any] = field(default_factory=dict)
    shuffled: set[Value] = field(default_factory=set)
    normalized: set[Value] = field(default_factory=set)
    standardized: set[Value] = field(default_factory=set)
    pooled: set[Value] = field(default_factory=set)
    rescaled: bool = False
    shifts: list[float] = field(default_factory=list)
    reduced: list[str] = field(default_factory=list)
    met: list[Value] = field(default_factory=list)

    def root(self, value: Value) -> Value:
        """The value that ``value`` is a moved part of."""
        while value in self.same:
            value = self.same[value]
        return value

    def on_grid(self, value: Value) -> Any:
        """The followed value as a function of z on the grid, or a statistic as a number."""
        return self.values[self.root(value)]

    def is_function(self, value: Value) -> bool:
        """Whether the value has an element for each element of z, unlike a statistic."""
        return np.ndim(self.on_grid(value)) > 0

    def with_bias(self) -> Value:
        """The kernel's output after its bias is added."""
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

    def end(self, value: Value, taker: Op | None, residual: bool = False) -> None:
        """Note that an operation takes the value up, and stop following it there."""
        if self.is_function(value):
            selected = self.axes[value].selected
            strong = internals.is_float(value.aval)
            self.candidates.append(Candidate(value, taker, selected, strong, residual))

    def end_in_statistic(self, value: Value, taker: Op) -> None:
        """Note that an operation takes up a statistic of the value."""
        selected = self.axes[value].selected
        self.candidates.append(Candidate(value, taker, selected, False, False))

    def move(self, value: Value, made: Value, axes: AxisOrigins | None) -> list[Value]:
        """Follow ``made``, which is ``value`` moved; nothing where it holds none of it."""
        if axes is None or made in self.axes:
            return []
        self.axes[made], self.same[made] = axes, value
        self.mark(made, [value])
        return [made]

    def mark(self, made: Value, inputs: Iterable[Any]) -> None:
        """Hand on to a value what is known of the values that it is made from."""
        for marks in (self.normalized, self.standardized, self.shuffled, self.pooled):
            if not marks.isdisjoint(inputs):
                marks.add(made)

    def evaluate(self, step: Step, spread: bool) -> None:
        """Append a step and evaluate it: on the grid if ``spread``, else as a statistic.

        Layers that are alike share one evaluation, and so hold one object as their value.
        """
        self.steps.append(step)
        args = [self.values[x] if isinstance(x, Value) else x for x in step.inputs]
        marks = tuple(id(x) if np.ndim(x) else (type(x), x) for x in args)
        key = step.op.primitive, str(step.op.params), step.factor, marks
        if key not in self.memo:
            given = {x: v for x, v in zip(step.inputs, args, strict=True) if isinstance(x, Value)}
            z = jnp.asarray(GRID) if spread else jnp.zeros((), jnp.float64)
            found = np.asarray(_apply(step, given, z))
            self.memo[key] = args, found if spread else found.item()
        self.values[step.output] = self.memo[key][1]

    def reduce(
        self, value: Value, op: Op, factor: float, axes: AxisOrigins, sums: bool
    ) -> list[Value]:
        """Follow the result of a linear reduction of the value."""
        made = op.outputs[0]
        if made in self.axes:
            return []
        if sums:
            self.end_in_statistic(value, op)
            self.pooled.add(made)
        self.evaluate(Step(op, (self.root(value),), made, factor), spread=True)
        self.mark(made, [value])
        self.axes[made] = AxisOrigins(axes.axes, self.axes[value].selected)
        return [made]

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


def mean_on_grid(f: Any) -> float:
    """The mean of f(z) over z ~ N(0, 1)."""
    return float(_WEIGHTS @ np.asarray(f, np.float64))


def _apply(step: Step, made: dict[Value, Any], z: Any) -> Any:
    """The result of one step, its numbers broadcast to the shape of z."""
    if step.factor is not None:
        (value,) = (v for v in step.inputs if isinstance(v, Value))
        return jnp.asarray(made[value]) * step.factor
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


def common(parts: Sequence[tuple[Selection, ...]]) -> tuple[Selection, ...]:
    """The leading selections that several parts share."""
    shared = []
    for items in zip(*parts, strict=False):
        if len(set(items)) > 1:
            break
        shared.append(items[0])
    return tuple(shared)

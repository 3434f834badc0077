"""The graph of a forward pass: which values are weights, which are signal, and where they meet.

Loops and branches are laid open: their bodies' operations stand among the others, and links carry
values in and out. A weight is what parameters and constants alone make; where it meets a signal, or
a constant array that stands for one, the parameter is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Program, Value, order
from .._random.stream import is_typed_key
from .axis_origin import Axes, blank, moved


class Kind(IntEnum):
    """What a value depends on: constants alone, parameters too, inputs too."""

    CONSTANT = 0
    WEIGHT = 1
    SIGNAL = 2


class Link(NamedTuple):
    """A value handed into a loop or branch (``shift`` -1: without its leading axis) or out (+1)."""

    source: Value
    target: Value
    shift: int


class View(NamedTuple):
    """A parameter as part of a weight: its axes there, and the functions it went through.

    ``contracted`` counts the terms of a product with another parameter on the way (1: none).
    """

    parameter: int
    axes: Axes
    through: tuple[str, ...] = ()
    contracted: int = 1


class Use(NamedTuple):
    """A parameter that meets a signal: in input ``position`` of an operation."""

    op: Op | Link
    position: int
    view: View


@dataclass(eq=False)
class Graph:
    """Operations and links in order, with what is known of each value."""

    parameters: tuple[Value, ...]
    outputs: tuple[Value, ...]
    steps: list[Op | Link] = field(default_factory=list)
    position: dict[Any, int] = field(default_factory=dict)  # of steps, and of the values they make
    turns: dict[Op, tuple[int, ...]] = field(default_factory=dict)  # of the loops around it
    loops: dict[Op, int] = field(default_factory=dict)  # where the outermost of them starts
    consumers: dict[Value, list[Op | Link]] = field(default_factory=dict)
    sources: dict[Value, list[Value]] = field(default_factory=dict)  # through links
    looped: dict[Value, Value] = field(default_factory=dict)  # carried input -> output of the body
    kinds: dict[Value, Kind] = field(default_factory=dict)
    views: dict[Value, tuple[View, ...]] = field(default_factory=dict)
    uses: dict[int, list[Use]] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)  # of evaluations, by their inputs

    def kind(self, value: Value) -> Kind:
        """The kind of a value."""
        return self.kinds.get(value, Kind.CONSTANT)

    def repeats(self, op: Op) -> int:
        """How often the operation runs."""
        return math.prod(self.turns[op])

    def number(self, value: Value) -> float | None:
        """A constant number, through casts and broadcasts; None for anything else."""
        while value.op is not None:
            if value.op.primitive.name not in primitives.KEEPS_NUMBER or self.kind(value):
                return None
            value = value.op.inputs[0]
        if not value.is_const or value.aval.size != 1 or is_typed_key(value.aval):
            return None
        return float(value.const)


def graph(program: Program, parameters: Sequence[int]) -> Graph:
    """The graph of a forward pass, of whose inputs those at ``parameters`` are parameters."""
    found = Graph(tuple(program.inputs[i] for i in parameters), program.outputs)
    _collect(found, program.outputs, ())
    for i, value in enumerate(program.inputs):
        found.kinds[value] = Kind.SIGNAL
        found.position.setdefault(value, -1)
        if i in parameters and internals.is_float(value.aval):
            found.kinds[value] = Kind.WEIGHT
    _classify(found)
    _see(found)
    return found


def _collect(
    found: Graph, outputs: Sequence[Value], turns: tuple[int, ...], loop: int | None = None
) -> None:
    """Add the operations that make ``outputs``, those of loops and branches included."""
    for op in order(outputs):
        if op in found.turns:
            continue
        found.turns[op] = turns
        found.loops[op] = len(found.steps) if loop is None else loop
        if op.part is not None:
            _open(found, op, turns)
        else:
            _add(found, op, op.inputs, op.outputs)


def _add(found: Graph, step: Op | Link, inputs: Sequence[Value], made: Sequence[Value]) -> None:
    found.position[step] = len(found.steps)
    for value in made:
        found.position.setdefault(value, len(found.steps))
    found.steps.append(step)
    for value in dict.fromkeys(inputs):
        found.consumers.setdefault(value, []).append(step)


def _link(found: Graph, source: Value, target: Value, shift: int) -> None:
    _add(found, Link(source, target, shift), (source,), (target,))
    found.sources.setdefault(target, []).append(source)


def _open(found: Graph, op: Op, turns: tuple[int, ...]) -> None:
    """A loop or branch: links in, its body, links out."""
    assert op.part is not None
    control, kept = op.part.control, op.part.kept_inputs
    scanned = control.options.get("first_scanned", len(op.inputs) + max(kept, default=0) + 1)
    length = control.options.get("length")
    inner = turns if length is None else (*turns, length)
    for body, reads in zip(op.part.bodies, control.reads, strict=True):
        given = [(p, value) for p, value in zip(kept, op.inputs, strict=True) if p in reads]
        for (p, value), target in zip(given, body.inputs, strict=True):
            if value not in found.sources.get(target, ()):
                _link(found, value, target, -1 if p >= scanned else 0)
        _collect(found, body.outputs, inner, found.loops[op])
    for n, (body, reads) in enumerate(zip(op.part.bodies, control.reads, strict=True)):
        if n == control.tests:
            continue
        inputs = dict(zip([p for p in kept if p in reads], body.inputs, strict=True))
        for i, value, made in zip(op.part.kept_outputs, body.outputs, op.outputs, strict=True):
            carried = i in control.carried
            stacked = "first_scanned" in control.options and not carried
            _link(found, value, made, 1 if stacked else 0)
            if carried:
                found.looped[inputs[control.carried[i]]] = value


def _classify(found: Graph) -> None:
    """The kind of every value, once around each loop and again until nothing changes."""
    changed = True
    while changed:
        changed = False
        for step in found.steps:
            inputs = (step.source,) if isinstance(step, Link) else step.inputs
            made = (step.target,) if isinstance(step, Link) else step.outputs
            kind = max(map(found.kind, inputs), default=Kind.CONSTANT)
            if not isinstance(step, Link) and kind is Kind.WEIGHT and _meets_array(found, step):
                kind = Kind.SIGNAL
            if not isinstance(step, Link) and step.primitive is internals.RANDOM_BITS:
                kind = Kind.SIGNAL
            for value in made:
                if kind > found.kind(value):
                    found.kinds[value], changed = kind, True
        for value, again in found.looped.items():
            if found.kind(again) > found.kind(value):
                found.kinds[value], changed = found.kind(again), True


def is_linear(op: Op) -> bool:
    """Whether the operation sums products of its inputs."""
    return (
        internals.contraction(op.primitive, op.params) is not None
        or internals.convolution(op.primitive, op.params) is not None
    )


def _meets_array(found: Graph, op: Op) -> bool:
    """Whether a weight is used on a constant array, as on a state of zeros or on positions."""
    if is_linear(op):
        return any(found.kind(value) is Kind.CONSTANT for value in op.inputs[:2])
    return op.primitive.name == "gather" and is_lookup(op)


def is_lookup(op: Op) -> bool:
    """Whether a gather takes several rows, rather than the one that an index names."""
    return math.prod(op.inputs[1].aval.shape[:-1]) > 1


def _see(found: Graph) -> None:
    """The parameters in every weight, and where they are used."""
    for i, value in enumerate(found.parameters):
        if found.kind(value) is Kind.WEIGHT:
            found.views[value] = (View(i, Axes.of(value.aval.shape)),)
    for step in found.steps:
        if isinstance(step, Link):
            _see_link(found, step)
        else:
            _see_op(found, step)


def _see_link(found: Graph, link: Link) -> None:
    views = found.views.get(link.source, ())
    if found.kind(link.target) is Kind.WEIGHT:
        shifted = tuple(v._replace(axes=shift(v.axes, link)) for v in views)
        found.views[link.target] = found.views.get(link.target, ()) + shifted
    else:
        for view in views:
            found.uses.setdefault(view.parameter, []).append(Use(link, 0, view))


def shift(axes: Axes, link: Link) -> Axes:
    """The axes beyond the link."""
    if link.shift < 0:
        return Axes(axes.axes[1:], axes.selected)
    if link.shift > 0:
        return Axes((blank(link.target.aval.shape[0]), *axes.axes), axes.selected)
    return axes


def _see_op(found: Graph, op: Op) -> None:
    signal = any(found.kind(value) is Kind.SIGNAL for value in op.outputs)
    for i, value in enumerate(op.inputs):
        views = found.views.get(value, ())
        for view in views:
            if signal:
                found.uses.setdefault(view.parameter, []).append(Use(op, i, view))
                continue
            for made, after in zip(op.outputs, _viewed(op, i, view), strict=True):
                if after is not None:
                    found.views[made] = (*found.views.get(made, ()), after)


def _viewed(op: Op, i: int, view: View) -> Sequence[View | None]:
    """The parameter in each output of an operation on weights alone."""
    if (axes := moved(op, i, view.axes)) is not None:
        return [a and view._replace(axes=a) for a in axes]
    numbers = internals.contraction(op.primitive, op.params)
    if numbers is not None and i < 2:
        axes, terms = product_axes(op, numbers, i, view.axes)
        return [view._replace(axes=axes, contracted=view.contracted * terms)]
    if op.primitive.name.startswith(("reduce_", "arg")):  # a norm of the weight is no weight
        return [None] * len(op.outputs)
    unary = op.primitive.name
    same = all(made.aval.shape == op.inputs[i].aval.shape for made in op.outputs)
    through = view.through if unary in primitives.ARITHMETIC else (*view.through, unary)
    blanks = [Axes.unknown(made.aval.shape) for made in op.outputs]
    return [view._replace(axes=view.axes if same else a, through=through) for a in blanks]


def product_axes(
    op: Op, numbers: internals.Contraction, side: int, given: Axes
) -> tuple[Axes, int]:
    """The axes of one side in a dot_general's output, and how many terms were summed."""
    shape = op.inputs[side].aval.shape
    contracted, batched = numbers.contracted[side], numbers.batched[side]
    free = [i for i in range(len(shape)) if i not in contracted and i not in batched]
    axes = [blank(n) for n in op.outputs[0].aval.shape]
    shared = len(numbers.batched[0])
    for place, i in enumerate(batched[:shared]):
        axes[place] = given.axes[i]
    start = shared if side == 0 else len(axes) - len(free)
    for place, i in enumerate(free, start):
        axes[place] = given.axes[i]
    return Axes(tuple(axes), given.selected), math.prod(shape[i] for i in contracted)

"""Classifies every value of a forward pass as constant, weight or signal.

What only constants and parameters make is a *weight*; what inputs reach is a *signal*. A parameter
is used where the two meet. Of::

    def apply(params, x):
        kernel = params["a"].T * 2      # a weight: parameter "a" with its axes swapped
        y = x @ kernel                  # a signal: here "a" is used, in input 1 of dot_general
        return y + params["bias"]       # a signal: here "bias" is used, in input 1 of add

``graph`` finds ``uses = {a: [(dot_general, 1)], bias: [(add, 1)]}``. Loops and branches are opened:
the operations of their bodies stand among the others, and a ``Link`` carries each value in or out.
Where no input reaches, a weight that is multiplied with a constant array counts as used too: the
constant stands for a signal, as an initial state of zeros does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Builder, Op, Program, Value, order
from .._random.stream import is_typed_key
from .axis_origin import AxisOrigins, blank, moved, resized


class Kind(IntEnum):
    """What a value depends on: constants alone, also parameters, or also inputs."""

    CONSTANT = 0
    WEIGHT = 1
    SIGNAL = 2


class Link(NamedTuple):
    """A value that is handed into a loop or branch, or out of it.

    ``shift`` is -1 where a scanned input loses its leading axis, +1 where a stacked output gains
    one, and 0 where the axes are the same; a shard_map divides their sizes among devices.
    """

    source: Value
    target: Value
    shift: int


class Contribution(NamedTuple):
    """A parameter that a weight is made of.

    Attributes:
      parameter: its index.
      axes: which axes of the weight come from which axes of the parameter.
      through: the functions that it went through, in order; scaling and shifting are left out.
      contracted: how many terms a matrix product with another parameter summed on the way; 1 where
        there was none.
      shards: pairs of an axis of the parameter and the number of parts into which it is divided
        among devices; the weight is one of them.
      mixed: whether an exponential was taken of it together with another parameter.
    """

    parameter: int
    axes: AxisOrigins
    through: tuple[str, ...] = ()
    contracted: int = 1
    mixed: bool = False
    shards: tuple[tuple[int, int], ...] = ()


class Use(NamedTuple):
    """A parameter that meets a signal, as input ``position`` of an operation.

    The operation is a ``Link`` where the parameter is the initial state of a loop.
    """

    op: Op | Link
    position: int
    contribution: Contribution


@dataclass(eq=False)
class Graph:
    """The operations and links of a forward pass in order, and what is known of each value.

    Attributes:
      parameters, outputs: the values that are parameters, and the results.
      steps: operations and links, each after what it needs.
      position: the place of each step among the steps, and of each value that a step makes.
      turns: for each operation, the lengths of the scans around it, outermost first.
      loops: for each operation, the position at which the outermost loop around it starts.
      bodies: for each operation and the values that it makes, the bodies of loops and branches in
        which it stands, outermost first.
      consumers: the steps that take a value.
      sources: for a value that links hand on, where it comes from.
      looped: for the state that a loop's body is given, the state that the body returns.
      kinds: the kind of each value; what is absent is constant.
      trained: the values that depend on parameters.
      inputs: the parameters, by index, that kernels are applied to as if they were inputs.
      contributions: for each weight, the parameters that it is made of.
      uses: for each parameter, where it meets a signal.
      memo: results that several readers share.
    """

    parameters: tuple[Value, ...]
    outputs: tuple[Value, ...]
    steps: list[Op | Link] = field(default_factory=list)
    position: dict[Any, int] = field(default_factory=dict)
    turns: dict[Op, tuple[int, ...]] = field(default_factory=dict)
    loops: dict[Op, int] = field(default_factory=dict)
    bodies: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    consumers: dict[Value, list[Op | Link]] = field(default_factory=dict)
    sources: dict[Value, list[Value]] = field(default_factory=dict)
    looped: dict[Value, Value] = field(default_factory=dict)
    kinds: dict[Value, Kind] = field(default_factory=dict)
    trained: set[Value] = field(default_factory=set)
    inputs: frozenset[int] = frozenset()
    contributions: dict[Value, tuple[Contribution, ...]] = field(default_factory=dict)
    uses: dict[int, list[Use]] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)

    def kind(self, value: Value) -> Kind:
        """The kind of a value."""
        return self.kinds.get(value, Kind.CONSTANT)

    def repeats(self, op: Op) -> int:
        """How often the operation runs: the product of the lengths of the scans around it."""
        return math.prod(self.turns[op])

    def number(self, value: Value) -> float | None:
        """The number that fills a constant value; None where the value is anything else."""
        while value.op is not None:
            if value.op.primitive.name not in primitives.KEEPS_NUMBER or self.kind(value):
                return None
            value = value.op.inputs[0]
        if not value.is_const or value.aval.size != 1 or is_typed_key(value.aval):
            return None
        return float(value.const)


def graph(
    program: Program, parameters: Sequence[int], inputs: frozenset[int] = frozenset()
) -> Graph:
    """The graph of a forward pass.

    ``parameters`` are the positions of the program's inputs that are parameters; of these,
    ``inputs`` are taken as signals, because kernels are applied to them.
    """
    found = Graph(tuple(program.inputs[i] for i in parameters), program.outputs, inputs=inputs)
    _collect(found, program.outputs, (), ())
    for value in program.inputs:
        found.kinds[value] = Kind.SIGNAL
        found.position.setdefault(value, -1)
    for i, value in enumerate(found.parameters):
        if internals.is_float(value.aval):
            found.trained.add(value)
            found.kinds[value] = Kind.SIGNAL if i in inputs else Kind.WEIGHT
    _classify(found)
    _find_uses(found)
    return found


def _collect(
    found: Graph,
    outputs: Sequence[Value],
    turns: tuple[int, ...],
    bodies: tuple[Any, ...],
    loop: int | None = None,
) -> None:
    """Add the operations that make ``outputs``, those of loops and branches included."""
    for op in order(outputs):
        if op in found.turns:
            continue
        found.turns[op] = turns
        found.bodies |= dict.fromkeys((op, *op.outputs), bodies)
        found.loops[op] = len(found.steps) if loop is None else loop
        if op.part is not None:
            _open(found, op, turns)
        elif (body := internals.enclosed(op.primitive, op.params)) is not None:
            _open_enclosed(found, op, body)
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
    """Add a loop or branch: links into it, the operations of its bodies, and links out of it."""
    assert op.part is not None
    control, kept = op.part.control, op.part.kept_inputs
    scanned = control.options.get("first_scanned", len(op.inputs) + max(kept, default=0) + 1)
    length = control.options.get("length")
    inner = turns if length is None else (*turns, length)
    for n, (body, reads) in enumerate(zip(op.part.bodies, control.reads, strict=True)):
        given = [(p, value) for p, value in zip(kept, op.inputs, strict=True) if p in reads]
        for (p, value), target in zip(given, body.inputs, strict=True):
            if value not in found.sources.get(target, ()):
                _link(found, value, target, -1 if p >= scanned else 0)
        bodies = (*found.bodies[op], (id(control), n))  # the parts of one loop share its control
        found.bodies |= dict.fromkeys(body.inputs, bodies)
        _collect(found, body.outputs, inner, bodies, found.loops[op])
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


def _open_enclosed(found: Graph, op: Op, body: ClosedJaxpr) -> None:
    """Add an operation that encloses a computation, such as a shard_map."""
    program = Builder(shared=False).program(body)
    bodies = (*found.bodies[op], (id(op), 0))
    for value, target in zip(op.inputs, program.inputs, strict=True):
        _link(found, value, target, 0)
    found.bodies |= dict.fromkeys(program.inputs, bodies)
    _collect(found, program.outputs, found.turns[op], bodies, found.loops[op])
    for value, made in zip(program.outputs, op.outputs, strict=True):
        _link(found, value, made, 0)


def _classify(found: Graph) -> None:
    """Find the kind of every value: go around each loop until nothing changes."""
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
            trained = not found.trained.isdisjoint(inputs)
            for value in made:
                if kind > found.kind(value):
                    found.kinds[value], changed = kind, True
                if trained and value not in found.trained:
                    found.trained.add(value)
                    changed = True
        for value, again in found.looped.items():
            if found.kind(again) > found.kind(value):
                found.kinds[value], changed = found.kind(again), True
            if again in found.trained and value not in found.trained:
                found.trained.add(value)
                changed = True


def is_linear(op: Op) -> bool:
    """Whether the operation is a matrix product or a convolution."""
    return (
        internals.contraction(op.primitive, op.params) is not None
        or internals.convolution(op.primitive, op.params) is not None
    )


def _meets_array(found: Graph, op: Op) -> bool:
    """Whether a weight is multiplied with a constant array, such as a state of zeros."""
    if is_linear(op):
        return any(found.kind(value) is Kind.CONSTANT for value in op.inputs[:2])
    return op.primitive.name == "gather" and is_lookup(op)


def is_lookup(op: Op) -> bool:
    """Whether a gather takes several rows, unlike the indexing ``x[i]``, which takes one."""
    return math.prod(op.inputs[1].aval.shape[:-1]) > 1


def _find_uses(found: Graph) -> None:
    """Find the parameters that every weight is made of, and where they meet a signal."""
    for i, value in enumerate(found.parameters):
        if found.kind(value) is Kind.WEIGHT:
            found.contributions[value] = (Contribution(i, AxisOrigins.of(value.aval.shape)),)
    for step in found.steps:
        if isinstance(step, Link):
            _find_uses_in_link(found, step)
        else:
            _find_uses_in_op(found, step)


def _find_uses_in_link(found: Graph, link: Link) -> None:
    contributions = found.contributions.get(link.source, ())
    if found.kind(link.target) is Kind.WEIGHT:
        shifted = tuple(_across(c, link) for c in contributions)
        found.contributions[link.target] = found.contributions.get(link.target, ()) + shifted
    else:
        for c in contributions:
            found.uses.setdefault(c.parameter, []).append(Use(link, 0, c))


def _across(given: Contribution, link: Link) -> Contribution:
    """What a parameter contributes to a weight on the other side of a link."""
    if link.shift:
        return given._replace(axes=shift(given.axes, link))
    sizes = zip(given.axes.axes, link.source.aval.shape, link.target.aval.shape, strict=True)
    parts = [(axis.digits[0].axis, whole // n) for axis, whole, n in sizes if 0 < n < whole]
    shards = tuple((axis, count) for axis, count in parts if axis >= 0)
    return given._replace(axes=shift(given.axes, link), shards=(*given.shards, *shards))


def shift(axes: AxisOrigins, link: Link) -> AxisOrigins:
    """The axes of a value on the other side of the link."""
    if link.shift < 0:
        return AxisOrigins(axes.axes[1:], axes.selected)
    if link.shift > 0:
        return AxisOrigins((blank(link.target.aval.shape[0]), *axes.axes), axes.selected)
    return AxisOrigins(resized(axes.axes, link.target.aval.shape), axes.selected)


def _find_uses_in_op(found: Graph, op: Op) -> None:
    signal = any(found.kind(value) is Kind.SIGNAL for value in op.outputs)
    for i, value in enumerate(op.inputs):
        contributions = found.contributions.get(value, ())
        mixed = len({c.parameter for c in contributions}) > 1
        for contribution in contributions:
            if signal:
                found.uses.setdefault(contribution.parameter, []).append(Use(op, i, contribution))
                continue
            if mixed and op.primitive.name == "exp":
                contribution = contribution._replace(mixed=True)
            for made, after in zip(op.outputs, _contributed(op, i, contribution), strict=True):
                if after is not None:
                    found.contributions[made] = (*found.contributions.get(made, ()), after)


def _contributed(op: Op, i: int, given: Contribution) -> Sequence[Contribution | None]:
    """What a parameter in input ``i`` contributes to each output of an operation on weights."""
    if (axes := moved(op, i, given.axes)) is not None:
        shards = () if op.primitive.name == "all_gather" else given.shards
        return [a and given._replace(axes=a, shards=shards) for a in axes]
    numbers = internals.contraction(op.primitive, op.params)
    if numbers is not None and i < 2:
        axes, terms = product_axes(op, numbers, i, given.axes)
        return [given._replace(axes=axes, contracted=given.contracted * terms)]
    name = op.primitive.name
    if name.startswith(("reduce_", "arg")):  # the norm of a weight is not that weight
        return [None] * len(op.outputs)
    same = all(made.aval.shape == op.inputs[i].aval.shape for made in op.outputs)
    through = given.through if name in primitives.ARITHMETIC else (*given.through, name)
    blanks = [AxisOrigins.unknown(made.aval.shape) for made in op.outputs]
    return [given._replace(axes=given.axes if same else a, through=through) for a in blanks]


def product_axes(
    op: Op, numbers: internals.Contraction, side: int, given: AxisOrigins
) -> tuple[AxisOrigins, int]:
    """The axes of a dot_general's output that one side gives, and how many terms were summed."""
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
    return AxisOrigins(tuple(axes), given.selected), math.prod(shape[i] for i in contracted)

"""Slices: an init function's computation as a graph, in which a leaf is its output and what that
needs.

Wrappers are inlined as the graph is built, and every output of a loop or branch gets the part of it
that it needs, so that a slice takes no rewriting: it is what can be reached from an output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Primitive

from .._random.stream import Pair, flat_index, is_typed_key, split, threefry2x32
from . import jax_internals as internals

_SMALL = 4096  # elements of a value that may be made on its own, before the leaves


@dataclass(eq=False, slots=True)
class Value:
    """An array of the computation: an operation's result, a constant, or an input."""

    aval: Any
    op: Op | None = None
    index: int = 0
    const: Any = None

    @property
    def is_const(self) -> bool:
        return self.const is not None


@dataclass(eq=False, slots=True)
class Op:
    """One operation. ``part`` is what is left of a loop or branch."""

    primitive: Primitive
    params: Mapping[str, Any]
    inputs: tuple[Value, ...]
    context: Any  # the settings under which it was recorded
    part: Part | None = None
    outputs: tuple[Value, ...] = ()
    exact: bool = False  # made of integers and keys alone, and small
    rooted: bool = False  # depends on an input


@dataclass(eq=False, slots=True)
class Program:
    """A computation: inputs, and outputs that are reached from them."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(eq=False, slots=True)
class Part:
    """What is left of a loop or a branch: positions of the inputs and outputs that are kept."""

    control: internals.Control
    bodies: tuple[Program, ...]
    kept_inputs: tuple[int, ...]
    kept_outputs: tuple[int, ...]


@dataclass(eq=False)
class Builder:
    """Turns jaxprs into programs, each once; or, if not ``shared``, loops of one body apart.

    Where the ``platform`` is known, what chooses by it is opened and the choice made.
    """

    shared: bool = True
    platform: str | None = None
    effects: set[Any] = field(default_factory=set)  # of all equations that were met
    _built: dict[int, tuple[ClosedJaxpr, Program]] = field(default_factory=dict)
    _consts: dict[int, Value] = field(default_factory=dict)

    def program(self, jaxpr: ClosedJaxpr) -> Program:
        """The program of a jaxpr."""
        if self.shared and (found := self._built.get(id(jaxpr))) is not None:
            return found[1]
        inputs = tuple(Value(var.aval) for var in jaxpr.jaxpr.invars)
        program = Program(inputs, tuple(self._inline(jaxpr, inputs)))
        self._built[id(jaxpr)] = jaxpr, program
        return program

    def _inline(self, jaxpr: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
        """The outputs of ``jaxpr`` on ``args``, its operations made on the way."""
        env: dict[Any, Value] = dict(zip(jaxpr.jaxpr.invars, args, strict=True))
        for var, const in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True):
            if id(const) not in self._consts:
                self._consts[id(const)] = Value(var.aval, const=const)
            env[var] = self._consts[id(const)]

        def read(atom: Any) -> Value:
            return Value(atom.aval, const=atom.val) if isinstance(atom, Literal) else env[atom]

        for eqn in self._needed(jaxpr):
            inputs = tuple(read(atom) for atom in eqn.invars)
            env.update(zip(eqn.outvars, self._apply(eqn, inputs), strict=True))
        return [read(atom) for atom in jaxpr.jaxpr.outvars]

    def _needed(self, jaxpr: ClosedJaxpr) -> list[JaxprEqn]:
        """The equations that the outputs need, by and large; of all, the effects are noted."""
        needed = {atom for atom in jaxpr.jaxpr.outvars if not isinstance(atom, Literal)}
        found = []
        for eqn in reversed(jaxpr.jaxpr.eqns):
            self.effects |= eqn.effects
            if not needed.isdisjoint(eqn.outvars):
                needed.update(atom for atom in eqn.invars if not isinstance(atom, Literal))
                found.append(eqn)
        return found[::-1]

    def _apply(self, eqn: JaxprEqn, inputs: tuple[Value, ...]) -> Sequence[Value]:
        if (body := internals.wrapped(eqn, kernels=self.platform is not None)) is not None:
            return self._inline(body, inputs)
        if self.platform is not None:
            branch = internals.branch_for(eqn.primitive, eqn.params, self.platform)
            if branch is not None:
                return self._inline(branch, inputs[1:])
        avals = [var.aval for var in eqn.outvars]
        if (control := internals.control(eqn)) is not None:
            return self._parts(eqn, control, inputs, avals)
        op = Op(eqn.primitive, eqn.params, inputs, internals.context(eqn))
        return _op(op, avals).outputs

    def _parts(
        self,
        eqn: JaxprEqn,
        control: internals.Control,
        inputs: tuple[Value, ...],
        avals: Sequence[Any],
    ) -> list[Value]:
        """Each output from the least part of the loop or branch that makes it."""
        bodies = [self.program(body) for body in control.bodies]
        reached = [_reached(body) for body in bodies]
        parts: dict[tuple[int, ...], Op] = {}
        results = []
        for i in range(len(avals)):
            outputs, positions = _closure(control, reached, i)
            if outputs not in parts:
                kept = tuple(
                    Program(
                        tuple(body.inputs[reads.index(p)] for p in positions if p in reads),
                        body.outputs if n == control.tests else _pick(body.outputs, outputs),
                    )
                    for n, (body, reads) in enumerate(zip(bodies, control.reads, strict=True))
                )
                part = Part(control, kept, positions, outputs)
                left, recorded = _pick(inputs, positions), internals.context(eqn)
                op = Op(eqn.primitive, control.options, left, recorded, part)
                parts[outputs] = _op(op, _pick(avals, outputs))
            results.append(parts[outputs].outputs[outputs.index(i)])
        return results


def _pick(items: Sequence[Any], positions: Sequence[int]) -> tuple[Any, ...]:
    return tuple(items[i] for i in positions)


def _op(op: Op, avals: Sequence[Any]) -> Op:
    """The operation with its outputs and marks."""
    op.outputs = tuple(Value(aval, op, i) for i, aval in enumerate(avals))
    op.rooted = any(v.op.rooted if v.op else not v.is_const for v in op.inputs)
    op.exact = (
        op.part is None
        and op.primitive is not internals.RANDOM_BITS
        and op.primitive.name != internals.PLATFORM_INDEX
        and not internals.is_kernel(op.primitive)
        and all(v.op.exact if v.op else not internals.is_float(v.aval) for v in op.inputs)
        and all(not internals.is_float(aval) and aval.size <= _SMALL for aval in avals)
    )
    return op


def _reached(program: Program) -> list[frozenset[int]]:
    """For each output, the positions of the inputs it depends on."""
    sets: dict[Value, int] = {value: 1 << i for i, value in enumerate(program.inputs)}
    for op in order(program.outputs):
        mask = 0
        for value in op.inputs:
            mask |= sets.get(value, 0)
        sets.update(dict.fromkeys(op.outputs, mask))
    return [
        frozenset(i for i in range(len(program.inputs)) if sets.get(value, 0) >> i & 1)
        for value in program.outputs
    ]


def _closure(
    control: internals.Control, reached: Sequence[Sequence[frozenset[int]]], output: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The outputs that must be kept to make one, and the inputs they need, as positions."""
    back = {position: i for i, position in control.carried.items()}
    outputs: set[int] = set()
    positions = set(control.always)
    if control.tests is not None:
        reads = control.reads[control.tests]
        positions |= {reads[i] for i in reached[control.tests][0]}
    todo = {output} | {back[p] for p in positions if p in back}
    while todo:
        i = todo.pop()
        outputs.add(i)
        fresh = {control.carried[i]} if i in control.carried else set()
        for n, (body, reads) in enumerate(zip(reached, control.reads, strict=True)):
            if n != control.tests:
                fresh |= {reads[p] for p in body[i]}
        positions |= fresh
        todo |= {back[p] for p in fresh if p in back} - outputs
    return tuple(sorted(outputs)), tuple(sorted(positions))


def order(outputs: Iterable[Value], known: Container[Value] = ()) -> list[Op]:
    """The operations that make ``outputs`` from ``known``, each after what it needs."""
    ready: set[Op] = set()
    found: list[Op] = []
    for output in outputs:
        stack = [(output.op, False)] if output.op and output not in known else []
        while stack:
            op, done = stack.pop()
            if op in ready:
                continue
            if done:
                ready.add(op)
                found.append(op)
                continue
            stack.append((op, True))
            stack.extend(
                (value.op, False)
                for value in reversed(op.inputs)
                if value.op is not None and value.op not in ready and value not in known
            )
    return found


def is_cut(value: Value) -> bool:
    """Whether leaf programs start from the value: a key, or integers that come from the inputs.

    Both are exact, so nothing changes where they are made; integers that come from constants alone
    stay, because a compiler folds them into the arithmetic that follows.
    """
    op = value.op
    return op is not None and op.exact and (op.rooted or is_typed_key(value.aval))


def cuts(output: Value) -> list[Value]:
    """The values that the leaf's program starts from, apart from inputs and constants."""
    if output.op is not None and output.op.exact:
        return [output]
    found: dict[Value, None] = {}
    seen: set[Op] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if is_cut(value):
            found[value] = None
        elif value.op is not None and value.op not in seen:
            seen.add(value.op)
            stack.extend(value.op.inputs)
    return list(found)


Rule = Callable[[Op, list[Any]], list[Any] | None]


def evaluate(
    outputs: Sequence[Value], env: Mapping[Value, Any], rule: Rule | None = None
) -> list[Any]:
    """The values of ``outputs`` given those in ``env``; ``rule`` may make some in another way."""
    known = dict(env)

    def read(value: Value) -> Any:
        return known.get(value, value.const)

    for op in order(outputs, env):
        args = [read(value) for value in op.inputs]
        found = rule(op, args) if rule else None
        if found is None:
            found = _run(op, args, rule)
        known.update(
            (value, x) for value, x in zip(op.outputs, found, strict=True) if value not in env
        )
    return [read(value) for value in outputs]


def _run(op: Op, args: list[Any], rule: Rule | None) -> list[Any]:
    part = op.part
    if part is None:
        return internals.bind(op.primitive, op.params, op.context, args)

    def body(n: int) -> Callable[[Mapping[int, Any]], list[Any]]:
        reads, program = part.control.reads[n], part.bodies[n]
        positions = [p for p in part.kept_inputs if p in reads]

        def call(given: Mapping[int, Any]) -> list[Any]:
            env = {v: given[p] for v, p in zip(program.inputs, positions, strict=True)}
            return evaluate(program.outputs, env, rule)

        return call

    return internals.run_control(
        op.primitive,
        op.params,
        [body(n) for n in range(len(part.bodies))],
        dict(zip(part.kept_inputs, args, strict=True)),
        part.control.carried,
        part.kept_outputs,
    )


def fused_bits(op: Op, args: list[Any]) -> list[Any] | None:
    """JAX's own threefry bits, elementwise: what a CPU makes in one pass with what follows.

    JAX lowers them to a rolled loop there, which streams the array through memory five times.
    """
    if op.primitive is internals.THREEFRY:
        k0, k1, c0, c1 = args
        return list(threefry2x32((k0, k1), (c0, c1)))
    if not draws_threefry(op):
        return None
    shape = internals.random_bits(op.params, op.context).shape
    words = jax.random.key_data(args[0]).reshape(*op.inputs[0].aval.shape, *(1,) * len(shape), 2)
    return [_bits(op, (words[..., 0], words[..., 1]), flat_index(shape, len(shape)))]


def draws_threefry(op: Op) -> bool:
    """Whether the operation draws threefry bits in the way whose words know their index."""
    if op.primitive is not internals.RANDOM_BITS or not internals.is_threefry(op.inputs[0].aval):
        return False
    _, shape, partitionable = internals.random_bits(op.params, op.context)
    return partitionable and bool(shape) and math.prod(shape) > 0


def random_words(op: Op, keys: jax.Array, index: jax.Array) -> jax.Array:
    """The bits that the operation draws at flat indices of its result."""
    size = math.prod(internals.random_bits(op.params, op.context).shape)
    words = jax.random.key_data(keys).reshape(-1, 2)
    number = index.dtype.type
    key = words[index // number(size)] if words.shape[0] > 1 else words[0]
    return _bits(op, (key[..., 0], key[..., 1]), split(index % number(size)))


def _bits(op: Op, key: Pair, index: Pair) -> jax.Array:
    """JAX's words of a width, from 64-bit indices."""
    high, low = threefry2x32(key, index)
    width = internals.random_bits(op.params, op.context).width
    if width == 64:
        wide, narrow = (lax.convert_element_type(x, np.uint64) for x in (high, low))
        return (wide << np.uint64(32)) | narrow
    dtype = {8: np.uint8, 16: np.uint16, 32: np.uint32}[width]
    return lax.convert_element_type(high ^ low, dtype)

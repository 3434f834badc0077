"""A small intermediate representation over jaxprs, in which each output can be computed alone.

``jax.jit``, ``jax.checkpoint`` and custom derivatives are inlined; scan, while and cond are split
so that each output keeps only the part of the loop or branch that it needs. A parameter's program
is then the operations that can be reached from it, and nothing has to be rewritten to get it:

    def init(key):
        first, second = jax.random.split(key)
        return {"bias": jnp.zeros(4), "kernel": 0.1 * jax.random.normal(second, (8, 4))}

    bias, kernel = Builder().program(jax.make_jaxpr(init)(key)).outputs
    order([bias])  # broadcast_in_dim, and nothing that has to do with keys
    order([kernel])  # random_split, slice, squeeze, random_bits, ..., erf_inv, mul, mul
    evaluate([bias], {})  # the array of zeros
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Primitive

from .._random.notes import note
from .._random.stream import is_typed_key
from . import jax_internals as internals

SMALL = 4096  # the most elements of a value that is computed once, before all leaves


@dataclass(eq=False, slots=True)
class Value:
    """An array of the computation: the result of ``op``, a constant, or else an input.

    Attributes:
      aval: its abstract value (shape and dtype).
      op: the operation that computes it; None for a constant or an input.
      index: its position among the outputs of ``op``.
      const: the array itself, for a constant.
      asked: what was asked of the initializer that made it, if one of ours did.
    """

    aval: Any
    op: Op | None = None
    index: int = 0
    const: Any = None
    asked: Mapping[str, Any] | None = None

    @property
    def is_const(self) -> bool:
        return self.const is not None


@dataclass(eq=False, slots=True)
class Op:
    """One operation: a JAX primitive with its parameters and inputs.

    Attributes:
      context: the JAX settings under which it was recorded.
      part: for a scan, while or cond, the part of it that is kept; None for other operations.
      exact: whether it, and all that it depends on, computes only keys and small integer arrays.
      rooted: whether it depends on an input of the program.
    """

    primitive: Primitive
    params: Mapping[str, Any]
    inputs: tuple[Value, ...]
    context: Any
    part: Part | None = None
    outputs: tuple[Value, ...] = ()
    exact: bool = False
    rooted: bool = False


@dataclass(eq=False, slots=True)
class Program:
    """A computation, given by its inputs and by the outputs that are computed from them."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(eq=False, slots=True)
class Part:
    """The part of a loop or branch that some of its outputs need.

    Attributes:
      control: the whole loop or branch.
      bodies: the programs of its bodies, each reduced to the kept inputs and outputs.
      kept_inputs: positions, among the inputs of the whole, of those that are kept.
      kept_outputs: positions, among the outputs of the whole, of those that are kept.
    """

    control: internals.Control
    bodies: tuple[Program, ...]
    kept_inputs: tuple[int, ...]
    kept_outputs: tuple[int, ...]


@dataclass(eq=False)
class Builder:
    """Turns jaxprs into programs.

    Attributes:
      shared: whether a jaxpr that occurs several times, as the body of several loops, becomes one
        program; if not, each occurrence gets its own.
      platform: if given, each ``lax.platform_dependent`` is replaced by its branch for it.
      effects: the effects of all equations met so far.
    """

    shared: bool = True
    platform: str | None = None
    effects: set[Any] = field(default_factory=set)
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
        """The outputs of ``jaxpr`` applied to ``args``; creates its operations."""
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
        """The equations that some output needs. Notes the effects of all equations.

        An equation whose several results are needed in part counts as needed as a whole.
        """
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
        if (asked := note(internals.name_given(eqn))) is not None:
            inputs[0].asked = {**(inputs[0].asked or {}), **asked}
            return inputs
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
        """Each output of a loop or branch, from the smallest part that computes it."""
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
    """Completes an operation: creates its outputs and sets ``rooted`` and ``exact``."""
    op.outputs = tuple(Value(aval, op, i) for i, aval in enumerate(avals))
    op.rooted = any(v.op.rooted if v.op else not v.is_const for v in op.inputs)
    op.exact = (
        op.part is None
        and op.primitive is not internals.RANDOM_BITS
        and op.primitive.name != internals.PLATFORM_INDEX
        and not internals.is_kernel(op.primitive)
        and all(v.op.exact if v.op else not internals.is_float(v.aval) for v in op.inputs)
        and all(not internals.is_float(aval) and aval.size <= SMALL for aval in avals)
    )
    return op


def _reached(program: Program) -> list[frozenset[int]]:
    """For each output, the positions of the inputs that it depends on."""
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
    """The outputs and inputs, as positions, that a loop or branch keeps to compute one output.

    An output that is carried from step to step needs all that its next value depends on, so the two
    sets grow together until neither changes.
    """
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
    """The operations that compute ``outputs`` from ``known``, each after those it depends on."""
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
    """Whether the value is computed once, ahead of the leaves, and handed to their programs.

    Keys are, and small integer arrays that depend on the inputs: integer arithmetic is exact, so
    they are the same wherever they are computed. Integers that depend on constants alone stay in
    the program, because a compiler folds them into the arithmetic that follows.
    """
    op = value.op
    return op is not None and op.exact and (op.rooted or is_typed_key(value.aval))


def cuts(output: Value) -> list[Value]:
    """The values that the program of an output is given, apart from inputs and constants."""
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
    """Computes ``outputs``, given the values in ``env``.

    ``rule`` is asked first about each operation: it returns the results, computed in another way,
    or None for the operation's own.
    """
    return extend(dict(env), outputs, rule)


def extend(known: dict[Value, Any], outputs: Sequence[Value], rule: Rule | None) -> list[Any]:
    """As ``evaluate``, and keeps in ``known`` all that is computed on the way."""

    def read(value: Value) -> Any:
        return known.get(value, value.const)

    for op in order(outputs, known):
        args = [read(value) for value in op.inputs]
        found = rule(op, args) if rule else None
        if found is None:
            found = run(op, args, rule)
        for value, x in zip(op.outputs, found, strict=True):
            known.setdefault(value, x)
    return [read(value) for value in outputs]


def run(op: Op, args: list[Any], rule: Rule | None) -> list[Any]:
    """The results of one operation; ``rule`` is for those inside a loop or branch."""
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

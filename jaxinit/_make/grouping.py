"""Grouping: which leaves are made by the same program.

The same means structurally equal: equations, parameters and inner programs, and every captured
constant equal in dtype, shape and bytes. A constant from which nothing is computed that could round
otherwise may differ: it is lifted into an argument.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Builder, Op, Program, Value, cuts, order
from .._random.stream import is_typed_key


class Signature(NamedTuple):
    """What a leaf's program is, and what it is given."""

    key: int
    slots: tuple[Value, ...]  # inputs and cut values, in the program's order
    lifted: tuple[Value, ...]  # constants that may differ, likewise
    size: int  # operations


class Group(NamedTuple):
    """One program and the leaves that it makes."""

    template: Signature
    output: Value
    leaves: tuple[int, ...]
    arguments: tuple[Signature, ...]  # of each leaf
    lifted: tuple[int, ...]  # which of the constants are arguments


@dataclass(eq=False)
class Keys:
    """Keys of programs and their parts: equal exactly where the parts are.

    A key is a small number that stands for a nested tuple, so that comparing is one lookup.
    """

    builder: Builder
    _numbers: dict[Any, int] = field(default_factory=dict)
    _of_object: dict[tuple[str, int], tuple[Any, int]] = field(default_factory=dict)

    def leaf(self, output: Value) -> Signature:
        """The signature of the program of one output."""
        return self._program((output,), tuple(cuts(output)), cut=True)

    def _intern(self, parts: Any) -> int:
        return self._numbers.setdefault(parts, len(self._numbers))

    def _once(self, kind: str, thing: Any, key: Callable[[Any], Any]) -> int:
        """The number of ``key(thing)``, computed once for the object and kept with it."""
        found = self._of_object.get((kind, id(thing)))
        if found is None:
            found = thing, self._intern((kind, key(thing)))
            self._of_object[kind, id(thing)] = found
        return found[1]

    def _program(
        self, outputs: Sequence[Value], known: Sequence[Value], cut: bool = False
    ) -> Signature:
        """The signature of the program that makes ``outputs`` from ``known``.

        In a leaf's program (``cut``) inputs are numbered as they are met, so that it is the same
        whichever of the function's arguments it reads; elsewhere they are in order.
        """
        ops = order(outputs, frozenset(known))
        may_lift = _lifting(ops) if cut else {}
        numbers: dict[Value, int] = {} if cut else {v: i for i, v in enumerate(known)}
        slots: list[Value] = [] if cut else list(known)
        lifted: list[Value] = []

        def atom(value: Value, lift: bool) -> tuple[Any, ...]:
            if value in numbers:
                return ("value", numbers[value])
            if value.is_const and not lift:
                return ("const", self._aval(value.aval), self._const(value.const))
            (lifted if value.is_const else slots).append(value)
            numbers[value] = len(numbers)
            return ("lifted" if value.is_const else "input", self._aval(value.aval))

        parts: list[Any] = []
        for op in ops:
            inputs = tuple(atom(value, may_lift.get(op, False)) for value in op.inputs)
            parts.append((self._operation(op), inputs))
            for value in op.outputs:
                numbers.setdefault(value, len(numbers))
        parts.append(tuple(atom(value, cut) for value in outputs))
        return Signature(self._intern(tuple(parts)), tuple(slots), tuple(lifted), len(ops))

    def _operation(self, op: Op) -> tuple[Any, ...]:
        avals = tuple(self._aval(value.aval) for value in op.outputs)
        if op.part is None:
            params = self._once("params", op.params, self._static)
            return op.primitive, params, op.context, avals
        bodies = tuple(self._program(b.outputs, b.inputs).key for b in op.part.bodies)
        kept = op.part.kept_inputs, op.part.kept_outputs
        return op.primitive, self._static(op.params), op.context, kept, bodies, avals

    def _aval(self, aval: Any) -> int:
        return self._once("aval", aval, lambda aval: (type(aval), aval, aval.weak_type))

    def _const(self, value: Any) -> int:
        if isinstance(value, bool | int | float | complex):
            return self._intern(self._static(value))
        return self._once("const", value, self._static)

    def _jaxpr(self, jaxpr: ClosedJaxpr) -> int:
        program: Program = self.builder.program(jaxpr)
        return self._program(program.outputs, program.inputs).key

    def _static(self, x: Any) -> Any:
        """A hashable that is equal for equal parameters; what cannot be compared equals itself."""
        kind = type(x)
        if isinstance(x, float | complex):
            return kind, np.asarray(x).tobytes(), getattr(x, "dtype", None)
        if x is None or isinstance(x, bool | int | str | bytes | Enum | type | np.dtype):
            return kind, x, getattr(x, "dtype", None)
        if isinstance(x, tuple | list):
            return kind, tuple(self._static(item) for item in x)
        if isinstance(x, dict):
            return kind, tuple((self._static(k), self._static(v)) for k, v in x.items())
        if isinstance(x, ClosedJaxpr | Jaxpr):
            return "jaxpr", self._once("jaxpr", x, lambda x: self._jaxpr(internals.closed(x)))
        if isinstance(x, jax.Array | np.ndarray | np.generic) or hasattr(x, "__array__"):
            return "array", *content(x)
        if dataclasses.is_dataclass(x) and not isinstance(x, type):
            fields = tuple((f.name, getattr(x, f.name, None)) for f in dataclasses.fields(x))
            return kind, self._static(fields), self._equal(x)
        return kind, self._equal(x)

    def _equal(self, x: Any) -> Any:
        """The object itself where it hashes, its identity where it does not."""
        try:
            hash(x)
        except TypeError:
            self._of_object["alive", id(x)] = x, 0
            return "identity", id(x)
        return x


def content(array: Any) -> tuple[Any, ...]:
    """An array's dtype, shape and bytes, these as a digest."""
    kind = ""
    if isinstance(array, jax.Array) and is_typed_key(array):
        kind, array = str(jax.random.key_impl(array)), jax.random.key_data(array)
    known = np.asarray(array)
    digest = hashlib.sha256(np.ascontiguousarray(known).tobytes()).digest()
    return kind, str(known.dtype), known.shape, digest


def _lifting(ops: Sequence[Op]) -> dict[Op, bool]:
    """For each operation, whether a constant given to it may become an argument.

    A compiler that knows a constant folds it into the arithmetic that follows (x * c * d becomes
    x * (c * d)), and rounds otherwise. So it may where all that follows moves numbers or computes
    with integers, up to random bits, which no compiler foresees.
    """
    fine: dict[Op, bool] = {}
    spoilt: set[Op] = set()  # something that follows computes with floats
    for op in reversed(ops):
        bits = op.primitive in (internals.RANDOM_BITS, internals.THREEFRY)
        moves = op.primitive.name in primitives.MOVES or internals.is_kernel(op.primitive)
        exact = op.part is None and not any(internals.is_float(v.aval) for v in op.outputs)
        fine[op] = bits or ((moves or exact) and op not in spoilt)
        if not fine[op]:
            spoilt.update(value.op for value in op.inputs if value.op is not None)
    return fine


def group(outputs: Sequence[Value], builder: Builder) -> list[Group]:
    """The leaves, by program, in order of first appearance."""
    keys = Keys(builder)
    members: dict[int, list[tuple[int, Signature]]] = {}
    for i, output in enumerate(outputs):
        signature = keys.leaf(output)
        members.setdefault(signature.key, []).append((i, signature))
    return [_group(outputs, found, keys) for found in members.values()]


def _group(outputs: Sequence[Value], found: list[tuple[int, Signature]], keys: Keys) -> Group:
    leaves, signatures = zip(*found, strict=True)
    first: Signature = signatures[0]

    def varies(n: int) -> bool:
        """An array is handed over rather than written into the program; a number if it differs."""
        wanted = keys._const(first.lifted[n].const)
        return first.lifted[n].aval.ndim > 0 or any(
            keys._const(other.lifted[n].const) != wanted for other in signatures
        )

    lifted = tuple(n for n in range(len(first.lifted)) if varies(n))
    return Group(first, outputs[leaves[0]], leaves, signatures, lifted)

"""Groups the arrays of a tree by the program that makes them, so that each is compiled once.

    def init(key):
        a, b, c = jax.random.split(key, 3)
        q, k = 0.1 * normal(a, (8, 4)), 0.1 * normal(b, (8, 4))
        return {"q": q, "k": k, "out": 0.2 * normal(c, (8, 4))}

The programs of q and k have the same operations on the same shapes and differ only in the key they
are given: one group, whose program takes the key as an argument. The program of out multiplies by
another constant, so it is a second group.

Programs are the same if their operations, the parameters of these and their inner programs are
equal, and every captured constant is equal in dtype, shape and bytes. Constants may differ where no
result depends on whether the compiler knows them: such a constant becomes an argument of the
program, which is called lifting. The seeds that flax folds into its keys are lifted.
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
    """The program of one array, and the values that it is called with.

    Attributes:
      number: equal for equal programs.
      slots: the inputs, keys and integers that the program is given, in the order it meets them.
      lifted: the constants that may differ between arrays, in the same order.
      size: the number of operations.
    """

    number: int
    slots: tuple[Value, ...]
    lifted: tuple[Value, ...]
    size: int


class Group(NamedTuple):
    """One program and the arrays that it makes.

    Attributes:
      template: the signature of the first of them, whose program is compiled.
      output: the output of that program.
      leaves: the arrays, as positions in the tree.
      arguments: the signature of each.
      lifted: which of the liftable constants are arguments, as positions in ``Signature.lifted``.
    """

    template: Signature
    output: Value
    leaves: tuple[int, ...]
    arguments: tuple[Signature, ...]
    lifted: tuple[int, ...]


@dataclass(eq=False)
class Numbering:
    """Numbers for programs and their parts, such that equal parts have equal numbers.

    A number stands for a nested tuple that describes the part, so comparing two is cheap.
    """

    builder: Builder
    _numbers: dict[Any, int] = field(default_factory=dict)
    _of_object: dict[tuple[str, int], tuple[Any, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many numbers were given."""
        return len(self._numbers)

    def forget(self) -> None:
        """Lets go of the objects that were numbered by their values; equal ones get the number."""
        self._of_object = {at: x for at, x in self._of_object.items() if at[0] == "alive"}

    def leaf(self, output: Value) -> Signature:
        """The signature of the program of one output."""
        return self._program((output,), tuple(cuts(output)), cut=True)

    def program(self, outputs: Sequence[Value], inputs: Sequence[Value]) -> int:
        """The number of the program that makes ``outputs`` from ``inputs``, in their order."""
        return self._program(outputs, inputs).number

    def _intern(self, parts: Any) -> int:
        return self._numbers.setdefault(parts, len(self._numbers))

    def _once(self, kind: str, thing: Any, key: Callable[[Any], Any]) -> int:
        """The number of ``key(thing)``, computed once for each object.

        The object is kept, so that its id is not given to another.
        """
        found = self._of_object.get((kind, id(thing)))
        if found is None:
            found = thing, self._intern((kind, key(thing)))
            self._of_object[kind, id(thing)] = found
        return found[1]

    def _program(
        self, outputs: Sequence[Value], known: Sequence[Value], cut: bool = False
    ) -> Signature:
        """The signature of the program that makes ``outputs`` from ``known``.

        In the program of an array (``cut``) inputs are numbered as they are met, so that it does
        not matter which of the function's arguments it reads. In an inner program they are numbered
        in their own order.
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
        bodies = tuple(self._program(b.outputs, b.inputs).number for b in op.part.bodies)
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
        return self.program(program.outputs, program.inputs)

    def _static(self, x: Any) -> Any:
        """A hashable description of a parameter, equal for equal parameters.

        A parameter that cannot be compared is equal to itself only.
        """
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
        """The object itself if it can be hashed, else its identity."""
        try:
            hash(x)
        except TypeError:
            self._of_object["alive", id(x)] = x, 0
            return "identity", id(x)
        return x


def content(array: Any) -> tuple[Any, ...]:
    """An array's dtype, shape and a digest of its bytes; for random keys, their kind too."""
    kind = ""
    if isinstance(array, jax.Array) and is_typed_key(array):
        kind, array = str(jax.random.key_impl(array)), jax.random.key_data(array)
    known = np.asarray(array)
    digest = hashlib.sha256(np.ascontiguousarray(known).tobytes()).digest()
    return kind, str(known.dtype), known.shape, digest


def _lifting(ops: Sequence[Op]) -> dict[Op, bool]:
    """For each operation, whether a constant that it reads may become an argument (be lifted).

    A compiler that knows a constant may fold it into the arithmetic that follows: x * c * d becomes
    x * (c * d), which rounds differently. So a constant may be lifted only if what follows moves
    numbers or computes with integers, as far as the next random bits, which no compiler knows.
    """
    fine: dict[Op, bool] = {}
    spoilt: set[Op] = set()  # operations whose results are used in floating-point arithmetic
    for op in reversed(ops):
        bits = op.primitive in (internals.RANDOM_BITS, internals.THREEFRY)
        moves = op.primitive.name in primitives.MOVES or internals.is_kernel(op.primitive)
        exact = op.part is None and not any(internals.is_float(v.aval) for v in op.outputs)
        fine[op] = bits or ((moves or exact) and op not in spoilt)
        if not fine[op]:
            spoilt.update(value.op for value in op.inputs if value.op is not None)
    return fine


def group(outputs: Sequence[Value], builder: Builder) -> list[Group]:
    """The groups of these outputs, in the order in which their programs first appear."""
    numbering = Numbering(builder)
    members: dict[int, list[tuple[int, Signature]]] = {}
    for i, output in enumerate(outputs):
        signature = numbering.leaf(output)
        members.setdefault(signature.number, []).append((i, signature))
    return [_group(outputs, found, numbering) for found in members.values()]


def _group(
    outputs: Sequence[Value], found: list[tuple[int, Signature]], numbering: Numbering
) -> Group:
    leaves, signatures = zip(*found, strict=True)
    first: Signature = signatures[0]

    def varies(n: int) -> bool:
        """Whether a liftable constant becomes an argument: arrays do, and numbers that differ."""
        wanted = numbering._const(first.lifted[n].const)
        return first.lifted[n].aval.ndim > 0 or any(
            numbering._const(other.lifted[n].const) != wanted for other in signatures
        )

    lifted = tuple(n for n in range(len(first.lifted)) if varies(n))
    return Group(first, outputs[leaves[0]], leaves, signatures, lifted)

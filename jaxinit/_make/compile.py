"""Making single leaves of a plan: what they start from, and the compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import PartitionSpec, Sharding

from .._program.ir import Value, evaluate, fused_bits, order
from .._random.draw import CPU_OPTIONS
from .._random.stream import is_typed_key
from . import partial
from .grouping import Group, Signature
from .recording import Recording

LeafSharding = Sharding | PartitionSpec | None


class Maker:
    """Makes the leaves of one recording, each program compiled once for each placement."""

    def __init__(self, recording: Recording, call: str) -> None:
        self._recording = recording
        self._inputs = _values(call, recording)
        names = dict(zip(recording.program.inputs, recording.argument_names, strict=True))
        self.arguments = {names[value]: x for value, x in self._inputs.items()}
        self._where = {i: (g, n) for g in recording.groups for n, i in enumerate(g.leaves)}
        self._compiled: dict[tuple[int, Any, int | None], Any] = {}

    @cached_property
    def _start(self) -> dict[Value, _Given]:
        """The inputs, and the keys and integers that leaf programs start from."""
        slots = {v: None for g in self._recording.groups for s in g.arguments for v in s.slots}
        first = [value for value in slots if value.op is not None]
        made = evaluate(first, self._inputs)
        values, known = [*first, *self._inputs], [*made, *self._inputs.values()]
        return dict(zip(values, map(_given, known), strict=True))

    def leaf(self, index: int, sharding: LeafSharding = None) -> jax.Array:
        """One leaf, made alone."""
        return self._run(index, sharding, None)

    def window(self, index: int, start: int, length: int) -> jax.Array:
        """Elements of one leaf from a flat index on, made without the rest; within a ``block``."""
        return self._run(index, None, length, np.uint32(start >> 32), np.uint32(start & 0xFFFFFFFF))

    def _run(
        self, index: int, sharding: LeafSharding, length: int | None, *start: Any
    ) -> jax.Array:
        owner, n = self._where[index]
        signature = owner.arguments[n]
        args = [self._start[value] for value in signature.slots]
        constants = [signature.lifted[i] for i in owner.lifted]
        args += [_given(value.const, value.aval) for value in constants]
        at = self._recording.leaves[index].group, sharding, length
        if at not in self._compiled:
            self._compiled[at] = _compile(owner, args, sharding, length)
        return self._compiled[at](*start, *(x.data for x in args))

    def whole(self, shardings: Sequence[LeafSharding]) -> Sequence[jax.Array]:
        """All leaves by one program, as the function stands."""
        function = jaxpr_as_fun(self._recording.trace.jaxpr)
        return jax.jit(function, out_shardings=list(shardings))(*self._recording.trace.arguments)


def _compile(
    owner: Group, args: Sequence[_Given], sharding: LeafSharding, length: int | None
) -> Callable[..., jax.Array]:
    """The group's program, or that of a window of ``length``, compiled for its place."""
    template: Signature = owner.template
    values = (*template.slots, *(template.lifted[i] for i in owner.lifted))
    platform = _platform(sharding)

    def env(data: Sequence[Any]) -> dict[Value, Any]:
        return {v: given.typed(x) for v, given, x in zip(values, args, data, strict=True)}

    def leaf_program(*data: Any) -> jax.Array:
        rule = fused_bits if platform == "cpu" else None
        (made,) = evaluate((owner.output,), env(data), rule)
        return made

    def window_program(high: Any, low: Any, *data: Any) -> jax.Array:
        place = partial.Place(platform)
        return partial.make(owner.output, env(data), (high, low), length or 0, place)

    options: dict[str, Any] = {"compiler_options": CPU_OPTIONS} if platform == "cpu" else {}
    structs = [_struct(v, x.data) for v, x in zip(values, args, strict=True)]
    program, start = (leaf_program, ()) if length is None else (window_program, (np.uint32(0),) * 2)
    lowered = jax.jit(program, out_shardings=sharding, **options).lower(*start, *structs)
    return lowered.compile()


def _struct(value: Value, x: Any) -> Any:
    """What to compile for: an array where it lies, or one of the value's own weak type."""
    if isinstance(x, jax.Array):
        return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=getattr(value.aval, "weak_type", False))


class _Given(NamedTuple):
    """An argument of a leaf's program: keys as their data, of which kind."""

    data: Any
    impl: Any = None

    def typed(self, x: Any) -> Any:
        """The keys of such data."""
        return x if self.impl is None else jax.random.wrap_key_data(x, impl=self.impl)


def _given(x: Any, aval: Any = None) -> _Given:
    """The argument; keys and what is small as NumPy arrays, which any mesh and process takes."""
    if not isinstance(x, jax.Array):
        return _Given(np.asarray(x, aval and aval.dtype))
    if is_typed_key(x):
        return _Given(np.asarray(jax.random.key_data(x)), jax.random.key_impl(x))
    return _Given(np.asarray(x) if x.size <= 1 else x)


def _platform(sharding: LeafSharding) -> str:
    if isinstance(sharding, Sharding):
        return next(iter(sharding.device_set)).platform
    return jax.default_backend()


def block(recording: Recording, index: int, limit: int) -> int | None:
    """The size of the blocks within which windows of a leaf lie; None where there are none."""
    output = recording.program.outputs[index]
    return partial.unit(output, limit, partial.Place(jax.default_backend()))


def _values(call: str, recording: Recording) -> dict[Value, Any]:
    """The values of the inputs that some leaf depends on."""
    slots = {value for g in recording.groups for s in g.arguments for value in s.slots}
    reached = slots.union(*(op.inputs for op in order(slots)))
    names, given = recording.argument_names, recording.trace.arguments
    inputs = {}
    for value, name, x in zip(recording.program.inputs, names, given, strict=True):
        if value in reached or recording.whole:
            _check_value(call, name, x)
            inputs[value] = x
    return inputs


def _check_value(call: str, name: str, x: Any) -> None:
    if isinstance(x, jax.core.Tracer):
        raise ValueError(
            f"{call}: expected arrays with values; got {name} that is being traced. Call it "
            f"outside jax.jit, which would make one program of all leaves again."
        )
    if not isinstance(x, jax.Array | np.ndarray | np.generic):
        raise ValueError(
            f"{call}: expected arrays with values; got {name} = a {type(x).__name__}, which "
            f"has a shape only. Plan with the real argument, as jax.random.key(0)."
        )

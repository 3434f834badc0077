"""Compiles and runs the programs that make the arrays of a plan, one array at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import PartitionSpec, Sharding

from .._program.host_keys import HostKeys, hosted, on_host
from .._program.ir import Value, evaluate, extend, order
from .._program.misuse import kind
from .._program.threefry import fused_bits
from .._random.draw import CPU_OPTIONS
from .._random.stream import is_typed_key
from . import partial
from .grouping import Group, Signature
from .recording import Recording
from .sharded_orthogonal import sharded_orthogonal
from .shardings import default_device

LeafSharding = Sharding | PartitionSpec | None
_Place = tuple[int, Any, int | None]  # of a program: its group, its sharding, a window's length


class Maker:
    """Makes the arrays of one recording; compiles each program once for each sharding."""

    def __init__(self, recording: Recording, call: str) -> None:
        self._recording = recording
        self._inputs = _values(call, recording)
        names = dict(zip(recording.program.inputs, recording.argument_names, strict=True))
        self.arguments = {names[value]: x for value, x in self._inputs.items()}
        self._where = {i: (g, n) for g in recording.groups for n, i in enumerate(g.leaves)}
        # The inputs, and the keys and integers that were computed so far.
        self._known = {value: hosted(x) for value, x in self._inputs.items()}
        self._given: dict[Value, _Given] = {}
        self._compiled: dict[_Place, Any] = {}
        self._ahead: dict[_Place, Future[Any]] = {}  # being compiled

    def _argument(self, value: Value) -> _Given:
        """An input; or a key or integers, computed at its first use together with what it needs."""
        if value not in self._given:
            (made,) = extend(self._known, [value], on_host)
            self._given[value] = _given(made)
        return self._given[value]

    def leaf(self, index: int, sharding: LeafSharding = None) -> jax.Array:
        """Makes one array, placed as ``sharding`` says."""
        return self._run(index, sharding, None)

    def window(self, index: int, start: int, length: int) -> jax.Array:
        """Makes ``length`` elements of an array from a flat index on, within a ``window_block``."""
        return self._run(index, None, length, np.uint32(start >> 32), np.uint32(start & 0xFFFFFFFF))

    def _run(
        self, index: int, sharding: LeafSharding, length: int | None, *start: Any
    ) -> jax.Array:
        args = (x.data for x in self._arguments(index))
        with jax.disable_jit(False):  # JAX refuses to run what is compiled under JAX_DISABLE_JIT
            return self.program(index, sharding, length)(*start, *args)

    def program(self, index: int, sharding: LeafSharding, length: int | None = None) -> Any:
        """The compiled program of one array, or of a window of it."""
        at = self._place(index, sharding, length)
        if at not in self._compiled:
            ahead = self._ahead.pop(at, None)
            made = ahead.result() if ahead else self._lowered(index, sharding, length).compile()
            self._compiled[at] = made
        return self._compiled[at]

    @contextmanager
    def compiling(self, shardings: Sequence[LeafSharding]) -> Iterator[None]:
        """Compiles the programs of all arrays, as many at a time as there are cores.

        They are lowered here, as the settings of JAX belong to a thread, and compiled by others,
        while the block makes arrays by those that are ready.
        """
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for index, sharding in enumerate(shardings):
                at = self._place(index, sharding)
                if at not in self._compiled and at not in self._ahead:
                    self._ahead[at] = pool.submit(self._lowered(index, sharding).compile)
            yield
        finally:
            pool.shutdown(cancel_futures=True)

    def _place(self, index: int, sharding: LeafSharding, length: int | None = None) -> _Place:
        return self._recording.leaves[index].group, sharding, length

    def _lowered(
        self, index: int, sharding: LeafSharding, length: int | None = None
    ) -> jax.stages.Lowered:
        owner, _ = self._where[index]
        return _lower(owner, self._arguments(index), sharding, length)

    def _arguments(self, index: int) -> list[_Given]:
        owner, n = self._where[index]
        signature = owner.arguments[n]
        constants = [signature.lifted[i] for i in owner.lifted]
        given = [self._argument(value) for value in signature.slots]
        return [*given, *(_given(value.const, value.aval) for value in constants)]

    def whole(self, shardings: Sequence[LeafSharding]) -> Sequence[jax.Array]:
        """Makes all arrays by one program: the init function as it was traced."""
        function = jaxpr_as_fun(self._recording.trace.jaxpr)
        with jax.disable_jit(False):
            made = jax.jit(function, out_shardings=list(shardings))
            return made(*self._recording.trace.arguments)


def _lower(
    owner: Group, args: Sequence[_Given], sharding: LeafSharding, length: int | None
) -> jax.stages.Lowered:
    """The program of a group, or that of a window of ``length`` elements, ready to be compiled."""
    template: Signature = owner.template
    values = (*template.slots, *(template.lifted[i] for i in owner.lifted))
    platform = _platform(sharding)

    def env(data: Sequence[Any]) -> dict[Value, Any]:
        return {v: given.typed(x) for v, given, x in zip(values, args, data, strict=True)}

    def leaf_program(*data: Any) -> jax.Array:
        rule, known = (fused_bits if platform == "cpu" else None), env(data)
        if (found := sharded_orthogonal(owner.output, sharding)) is not None:
            (gaussian,) = evaluate((found.gaussian,), known, rule)
            known[found.value] = found.make(gaussian)
        (made,) = evaluate((owner.output,), known, rule)
        return made

    def window_program(high: Any, low: Any, *data: Any) -> jax.Array:
        setting = partial.Setting(platform)
        return partial.make(owner.output, env(data), (high, low), length or 0, setting)

    options: dict[str, Any] = {"compiler_options": CPU_OPTIONS} if platform == "cpu" else {}
    structs = [_struct(v, x.data) for v, x in zip(values, args, strict=True)]
    program, start = (leaf_program, ()) if length is None else (window_program, (np.uint32(0),) * 2)
    return jax.jit(program, out_shardings=sharding, **options).lower(*start, *structs)


def _struct(value: Value, x: Any) -> Any:
    """What to compile for: the array itself if it is on a device, else its shape and dtype."""
    if isinstance(x, jax.Array):
        return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=getattr(value.aval, "weak_type", False))


class _Given(NamedTuple):
    """An argument of a program. A random key is given as its data, with its implementation."""

    data: Any
    impl: Any = None

    def typed(self, x: Any) -> Any:
        """The argument as the program needs it: data of a key made a key again."""
        return x if self.impl is None else jax.random.wrap_key_data(x, impl=self.impl)


def _given(x: Any, aval: Any = None) -> _Given:
    """Wraps an argument. Keys and scalars become NumPy arrays, which fit any mesh and process."""
    if isinstance(x, jax.Array) and is_typed_key(x):
        x = HostKeys.of(x)
    if isinstance(x, HostKeys):
        return _Given(*x)
    if not isinstance(x, jax.Array):
        return _Given(np.asarray(x, aval and aval.dtype))
    return _Given(np.asarray(x) if x.size <= 1 else x)


def _platform(sharding: LeafSharding) -> str:
    if isinstance(sharding, Sharding):
        return next(iter(sharding.device_set)).platform
    return default_device().platform


def window_block(recording: Recording, index: int, limit: int) -> int | None:
    """The size of the blocks that windows of an array must not cross; None if it has no windows."""
    output = recording.program.outputs[index]
    return partial.window_block(output, limit, partial.Setting(_platform(None)))


def _values(call: str, recording: Recording) -> dict[Value, Any]:
    """The inputs that some array depends on, with their values."""
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
            f"outside jax.jit, which would compile all arrays into one program again."
        )
    if not isinstance(x, jax.Array | np.ndarray | np.generic):
        raise ValueError(
            f"{call}: expected arrays with values; got {name} = {kind(x)}, which "
            f"has a shape only. Call plan with the array itself, such as jax.random.key(0)."
        )

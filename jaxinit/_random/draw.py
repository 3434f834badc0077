"""Drawing: law x scale x dtype x sharding -> array. The one place that makes random arrays.

The value of an element is cast(law(word) * float32(scale)): the scale is rounded to float32 once,
the product once, and the cast, in the same kernel, once. Float64 likewise in its own width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from . import stream
from .laws import Law
from .stream import LOW_TAG, WEIGHTS_TAG, Pair, Words

Sharding = NamedSharding | PartitionSpec
OutSharding = Sharding | None

# Nearly twice as fast where a CPU has 512-bit vectors, without effect elsewhere. JAX takes compiler
# options on a top-level jit only.
CPU_OPTIONS = {"xla_cpu_prefer_vector_width": "512"}


class _Spec(NamedTuple):
    """What is drawn, all static; no law means the words themselves."""

    law: Law | None
    shape: tuple[int, ...]
    dtype: np.dtype
    out_sharding: OutSharding

    @property
    def double(self) -> bool:
        return self.dtype in (np.float64, np.complex128)

    @property
    def complex(self) -> bool:
        return self.dtype.kind == "c"


def bits(key: jax.Array, shape: tuple[int, ...], out_sharding: OutSharding = None) -> jax.Array:
    """The words themselves, uint32."""
    return draw(key, None, shape, np.dtype(np.uint32), 1.0, out_sharding)


def draw(
    key: jax.Array,
    law: Law | None,
    shape: Sequence[int],
    dtype: np.dtype,
    scale: float = 1.0,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """``scale`` times independent values of ``law``; the caller has checked the arguments."""
    spec = _Spec(law, tuple(shape), np.dtype(dtype), out_sharding)
    rounded = (np.float64 if spec.double else np.float32)(scale)
    compiled = _traced if _is_tracing() else _eager
    with _mesh_of(out_sharding):
        return compiled(_keys(key, spec.double), rounded, spec)


@partial(jax.jit, static_argnums=1)
def _keys(key: jax.Array, double: bool) -> tuple[Pair, ...]:
    """The stream's keys; apart from the draw, so that a new shape does not compile them again."""
    tags = (WEIGHTS_TAG, LOW_TAG) if double else (WEIGHTS_TAG,)
    return tuple(stream.stream_key(key, tag) for tag in tags)


def jaxinit_draw(keys: tuple[Pair, ...], scale: jax.Array, spec: _Spec) -> jax.Array:
    """A draw as profiles and jaxprs name it; each element is the same wherever it is made."""
    placement = _placement(spec)

    @jax.jit  # traced once for both platforms
    def kernel(keys: tuple[Pair, ...], scale: jax.Array) -> jax.Array:
        words = _words(keys, placement, spec.complex)
        if spec.law is None:
            return words[0]
        parts = spec.law(*words)
        return _cast([part * scale for part in parts], spec.dtype)

    view = lax.platform_dependent(
        keys, scale, cpu=partial(_apart, kernel, placement, spec.dtype), default=kernel
    )
    return placement.finish(view, spec.shape)


_traced = jax.jit(jaxinit_draw, static_argnums=2)
_eager = jax.jit(jaxinit_draw, static_argnums=2, compiler_options=CPU_OPTIONS)


def _apart(
    kernel: Callable[..., jax.Array],
    placement: _Placement,
    dtype: np.dtype,
    keys: tuple[Pair, ...],
    scale: jax.Array,
) -> jax.Array:
    """``kernel(keys, scale)`` in a computation of its own.

    XLA's CPU compiler fuses the final reshape into the loop, which then has no inner loop over
    the two words of a block and computes each block twice; and it shares the kernel's constants
    with the key's scalar arithmetic, which then reach the loop as variables. It does neither
    across a conditional. A word has at most 32 bits set, so the other branch is never taken.
    """
    (first, _), *_ = keys

    def never(keys: tuple[Pair, ...], scale: jax.Array) -> jax.Array:
        word = lax.convert_element_type(keys[0][0], dtype)
        return lax.broadcast_in_dim(word, placement.view, (), out_sharding=placement.explicit)

    return lax.cond(lax.population_count(first) <= np.uint32(32), kernel, never, keys, scale)


class _Placement(NamedTuple):
    """How the array is computed: as which view, with which sharding.

    A view whose last axis is the two words of a block lets one block serve both. Not in double
    precision, whose loop of two is too long for LLVM to unroll, and then is not made of vectors.
    """

    view: tuple[int, ...]
    paired: bool
    explicit: PartitionSpec | None  # of the view, where the mesh's axes are explicit
    spec: PartitionSpec | None  # of the array, likewise
    auto: NamedSharding | None  # of the array, where they are not

    def finish(self, x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The array from its view."""
        x = lax.reshape(x, shape, out_sharding=self.spec)
        return x if self.auto is None else lax.with_sharding_constraint(x, self.auto)


def _placement(spec: _Spec) -> _Placement:
    shape = spec.shape or (1,)
    even = not (spec.complex or spec.double) and shape[-1] % 2 == 0
    paired_view = (*shape[:-1], shape[-1] // 2, 2)
    if spec.out_sharding is None or not spec.shape:
        return _Placement(paired_view if even else shape, even, None, None, None)
    named = _named(spec.out_sharding)
    parts = (*named.spec, *[None] * (len(shape) - len(named.spec)))
    last = parts[-1] if isinstance(parts[-1], tuple) else (parts[-1],)
    shards = math.prod(named.mesh.shape[axis] for axis in last if axis is not None)
    paired = even and shape[-1] // 2 % shards == 0
    view, view_parts = (paired_view, (*parts, None)) if paired else (shape, parts)
    if _explicit(named):
        return _Placement(view, paired, PartitionSpec(*view_parts), PartitionSpec(*parts), None)
    return _Placement(view, paired, None, None, named)


def _named(out_sharding: Sharding) -> NamedSharding:
    """The sharding with its mesh; a bare PartitionSpec takes the mesh of the context."""
    if isinstance(out_sharding, NamedSharding):
        return out_sharding
    return NamedSharding(jax.sharding.get_abstract_mesh(), out_sharding)


def _words(keys: tuple[Pair, ...], placement: _Placement, complex: bool) -> Words:
    """The words of every element: one for a real, two for a complex number."""
    view, sharding = placement.view, placement.explicit
    last = len(view) - 1
    if placement.paired:
        block = stream.flat_index(view, last, sharding)
        parity = lax.broadcasted_iota(np.uint32, view, last, out_sharding=sharding)
    else:
        index = stream.flat_index(view, last + 1, sharding)
        block, parity = (index, None) if complex else stream.halve(index)
    blocks = [stream.threefry2x32(key, block) for key in keys]
    if parity is None:
        return tuple(_join([pair[i] for pair in blocks]) for i in (0, 1))
    first = parity == 0
    return (_join([jnp.where(first, *pair) for pair in blocks]),)


def _join(words: list[jax.Array]) -> jax.Array:
    """One 32-bit word as it is, or (high, low) as a 64-bit word."""
    if len(words) == 1:
        return words[0]
    high, low = (lax.convert_element_type(word, np.uint64) for word in words)
    return (high << np.uint64(32)) | low


def _cast(parts: list[jax.Array], dtype: np.dtype) -> jax.Array:
    """Round to the dtype once, to nearest even; XLA's own cast to bfloat16 is slow on CPUs."""
    if len(parts) == 2:
        return lax.complex(*parts)
    (x,) = parts
    if dtype != jnp.bfloat16:
        return lax.convert_element_type(x, dtype)
    return lax.platform_dependent(
        x, cpu=_to_bfloat16, default=partial(lax.convert_element_type, new_dtype=dtype)
    )


def _to_bfloat16(x: jax.Array) -> jax.Array:
    bits = lax.bitcast_convert_type(x, np.uint32)
    lowest = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + (lowest + np.uint32(0x7FFF))) >> np.uint32(16)
    return lax.bitcast_convert_type(lax.convert_element_type(rounded, np.uint16), jnp.bfloat16)


def saturate(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """The cast, but what the dtype cannot hold becomes its largest value; float8 would have NaN."""
    if dtype.kind != "c" and jnp.finfo(dtype).max < jnp.finfo(x.dtype).max:
        limit = float(jnp.finfo(dtype).max)
        x = jnp.clip(x, -limit, limit)
    return x.astype(dtype)


def fill(
    value: ArrayLike, shape: tuple[int, ...], dtype: np.dtype, out_sharding: OutSharding = None
) -> jax.Array:
    """``value``, a number or an array of ``shape``, in every element, made where it belongs."""
    if out_sharding is None:
        return jnp.full(shape, value, dtype)
    with _mesh_of(out_sharding):
        return _fill(value, shape, dtype, out_sharding)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _fill(
    value: jax.Array, shape: tuple[int, ...], dtype: np.dtype, out_sharding: Sharding
) -> jax.Array:
    return place(jnp.full(shape, value, dtype), out_sharding)


def assemble(
    make: Callable[..., jax.Array],
    spec: Hashable,
    *parts: ArrayLike,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """``make(spec, *parts)`` as one program, its result where it belongs.

    A compiler places the operations of ``make``, also where the mesh's axes are explicit.
    """
    with _mesh_of(out_sharding):
        return _assemble(make, spec, out_sharding, *parts)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _assemble(
    make: Callable[..., jax.Array], spec: Hashable, out_sharding: OutSharding, *parts: ArrayLike
) -> jax.Array:
    if out_sharding is None:
        return make(spec, *parts)
    named = _named(out_sharding)
    if _explicit(named):
        placed: Any = jax.sharding.auto_axes(partial(make, spec), out_sharding=named.spec)
        return placed(*parts)
    return lax.with_sharding_constraint(make(spec, *parts), named)


def place(x: jax.Array, out_sharding: OutSharding) -> jax.Array:
    """The array where it belongs."""
    if out_sharding is None:
        return x
    named = _named(out_sharding)
    with _mesh_of(out_sharding):
        if _explicit(named):
            return jax.sharding.reshard(x, named.spec)
        return lax.with_sharding_constraint(x, named)


def across(out_sharding: OutSharding, shape: Sequence[int], axes: Sequence[int]) -> OutSharding:
    """A sharding of an intermediate of ``shape`` over the same devices: all along one axis.

    The first of ``axes`` whose size they divide; else as many as divide the last.
    """
    if out_sharding is None:
        return None
    named = _named(out_sharding)
    used = [
        name
        for part in named.spec
        if part is not None
        for name in (part if isinstance(part, tuple) else (part,))
    ]
    size = math.prod(named.mesh.shape[name] for name in used)
    axis = next((axis for axis in axes if shape[axis] % size == 0), axes[-1])
    taken: list[str] = []
    for name in used:
        if shape[axis] % math.prod(named.mesh.shape[n] for n in (*taken, name)) == 0:
            taken.append(name)
    spec = PartitionSpec(*(tuple(taken) if i == axis else None for i in range(len(shape))))
    return NamedSharding(named.mesh, spec) if isinstance(out_sharding, NamedSharding) else spec


def unsharded(out_sharding: OutSharding, axis: int) -> OutSharding:
    """The sharding with one axis left whole."""
    if out_sharding is None:
        return None
    named = _named(out_sharding)
    spec = PartitionSpec(*(None if i == axis else part for i, part in enumerate(named.spec)))
    return NamedSharding(named.mesh, spec) if isinstance(out_sharding, NamedSharding) else spec


def _is_tracing() -> bool:
    """Whether operations are being recorded rather than run."""
    return isinstance(_nothing(), jax.core.Tracer)


@jax.jit
def _nothing() -> jax.Array:
    """An array that depends on nothing; compiled, as that is the quickest call there is."""
    return jnp.zeros(())


def _mesh_of(out_sharding: OutSharding) -> AbstractContextManager:
    """Enter the sharding's mesh where its axes are explicit and nothing is being traced."""
    if not isinstance(out_sharding, NamedSharding) or _is_tracing():
        return nullcontext()
    mesh = out_sharding.mesh
    return (
        jax.set_mesh(mesh) if isinstance(mesh, Mesh) and _explicit(out_sharding) else nullcontext()
    )


def _explicit(named: NamedSharding) -> bool:
    return AxisType.Explicit in named.mesh.axis_types

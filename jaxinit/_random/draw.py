"""Making random arrays: a distribution, a scale, a dtype and a sharding give an array.

Each element is cast(law(word) * float32(scale)), computed in one kernel: the scale is rounded to
float32, then the product, and then the result is cast to the dtype. For float64 the scale and the
product are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.typing import ArrayLike

from . import stream
from .laws import Law
from .sharding import OutSharding, Sharding, axes_of, is_tracing, mesh_of, named, place, sharded
from .stream import LOW_TAG, WEIGHTS_TAG, Pair, Words

# Nearly twice as fast on CPUs with 512-bit vectors, and without effect on others. JAX accepts
# compiler options only on a jit that no other jit contains.
CPU_OPTIONS = {"xla_cpu_prefer_vector_width": "512"}


class _Spec(NamedTuple):
    """What is drawn. All of it is static; without a law, the random words themselves are drawn."""

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
    """The random words of the key, in uint32."""
    return draw(key, None, shape, np.dtype(np.uint32), 1.0, out_sharding)


def draw(
    key: jax.Array,
    law: Law | None,
    shape: Sequence[int],
    dtype: np.dtype,
    scale: float = 1.0,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """Independent values of the distribution ``law``, times ``scale``.

    The caller has checked the arguments.
    """
    spec = _Spec(law, tuple(shape), np.dtype(dtype), out_sharding)
    rounded = (np.float64 if spec.double else np.float32)(scale)
    compiled = _traced if is_tracing() else _eager
    with mesh_of(out_sharding):
        return compiled(_keys(key, spec.double), rounded, spec)


@partial(jax.jit, static_argnums=1)
def _keys(key: jax.Array, double: bool) -> tuple[Pair, ...]:
    """The keys of the stream. They are compiled apart from the draw, once for all shapes."""
    tags = (WEIGHTS_TAG, LOW_TAG) if double else (WEIGHTS_TAG,)
    return tuple(stream.stream_key(key, tag) for tag in tags)


def jaxinit_draw(keys: tuple[Pair, ...], scale: jax.Array, spec: _Spec) -> jax.Array:
    """A draw; profiles and jaxprs show it under this name."""
    view, paired = _view(spec)

    @jax.jit  # so that it is traced once for both platforms
    def kernel(keys: tuple[Pair, ...], scale: jax.Array) -> jax.Array:
        words = _words(keys, view, paired, spec.complex)
        if spec.law is None:
            return words[0]
        parts = spec.law(*words)
        return _cast([part * scale for part in parts], spec.dtype)

    def array(keys: tuple[Pair, ...], scale: jax.Array) -> jax.Array:
        x = lax.platform_dependent(keys, scale, cpu=partial(_apart, kernel), default=kernel)
        return lax.reshape(x, spec.shape)

    return sharded(array, spec.out_sharding)(keys, scale)


_traced = jax.jit(jaxinit_draw, static_argnums=2)
_eager = jax.jit(jaxinit_draw, static_argnums=2, compiler_options=CPU_OPTIONS)


def _apart(kernel: Callable[..., jax.Array], keys: tuple[Pair, ...], scale: jax.Array) -> jax.Array:
    """``kernel(keys, scale)`` as a call that XLA does not inline.

    XLA's CPU compiler would do two things that make the loop slow. It fuses the final reshape into
    the loop, which then has no inner loop over the two words of a block and computes each block
    twice. And it shares the kernel's constants with the scalar arithmetic of the key, so that they
    reach the loop as variables. It does neither across a call.
    """
    marked: Any = set_xla_metadata(kernel(keys, scale), inlineable="false")
    return marked


def _view(spec: _Spec) -> tuple[tuple[int, ...], bool]:
    """The shape with which an array is computed, and whether its last axis is a pair of words.

    An array of shape (4, 6) is computed as a *view* of shape (4, 3, 2): its last axis is the two
    words of a block, so that each block is computed once. This is not done where a device would get
    half a block, nor in double precision, where LLVM finds the loop over two words too long to
    unroll, and then does not vectorize it.
    """
    *lead, last = spec.shape or (1,)
    pairs, rest = divmod(last, 2)
    paired = not (spec.complex or spec.double or rest or pairs % _shards_of_last_axis(spec))
    return ((*lead, pairs, 2) if paired else (*lead, last)), paired


def _shards_of_last_axis(spec: _Spec) -> int:
    """Over how many devices the last axis of the array lies."""
    if spec.out_sharding is None:
        return 1
    sharding = named(spec.out_sharding)
    if not spec.shape or len(sharding.spec) < len(spec.shape):
        return 1
    return math.prod(sharding.mesh.shape[axis] for axis in axes_of(sharding.spec[-1]))


def _words(keys: tuple[Pair, ...], view: tuple[int, ...], paired: bool, complex: bool) -> Words:
    """The random words of every element: one for a real number, two for a complex number."""
    last = len(view) - 1
    if paired:
        block = stream.flat_index(view, last)
        parity = lax.broadcasted_iota(np.uint32, view, last)
    else:
        index = stream.flat_index(view, last + 1)
        block, parity = (index, None) if complex else stream.halve(index)
    blocks = [stream.threefry2x32(key, block) for key in keys]
    if parity is None:
        return tuple(_join([pair[i] for pair in blocks]) for i in (0, 1))
    first = parity == 0
    return (_join([jnp.where(first, *pair) for pair in blocks]),)


def _join(words: list[jax.Array]) -> jax.Array:
    """One 32-bit word as it is, or a high and a low word as one 64-bit word."""
    if len(words) == 1:
        return words[0]
    high, low = (lax.convert_element_type(word, np.uint64) for word in words)
    return (high << np.uint64(32)) | low


def _cast(parts: list[jax.Array], dtype: np.dtype) -> jax.Array:
    """The real value, or real and imaginary part, rounded to the dtype (to nearest, ties to even).

    On CPUs XLA's own conversion to bfloat16 is slow, so it is done by integer arithmetic there.
    """
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
    """``x`` cast to the dtype, with values beyond its range set to its largest or smallest.

    A plain cast would give infinity, or NaN in a float8 type without infinity.
    """
    if dtype.kind != "c" and jnp.finfo(dtype).max < jnp.finfo(x.dtype).max:
        limit = float(jnp.finfo(dtype).max)
        x = jnp.clip(x, -limit, limit)
    return x.astype(dtype)


def fill(
    value: ArrayLike, shape: tuple[int, ...], dtype: np.dtype, out_sharding: OutSharding = None
) -> jax.Array:
    """An array filled with ``value``, a number or an array that broadcasts to ``shape``."""
    if out_sharding is None:
        return jnp.full(shape, value, dtype)
    with mesh_of(out_sharding):
        return _fill(value, shape, dtype, out_sharding)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _fill(
    value: jax.Array, shape: tuple[int, ...], dtype: np.dtype, out_sharding: Sharding
) -> jax.Array:
    return place(jnp.full(shape, value, dtype), out_sharding)

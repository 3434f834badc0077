"""The stream: which 32-bit word stands at which flat index.

    block(j) = threefry2x32, 20 rounds, key k', counter (j >> 32, j mod 2^32)
    word(i)  = block(i >> 1)[i & 1]

where ``k'`` is derived from the caller's key under a tag, so that drawing weights from a key and
splitting the same key never meet. The generator is that of Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3" (SC 2011), and of ``jax.random``; what is done here is to unroll it,
so that a compiler can fuse a whole draw into one pass without a temporary.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

Pair = tuple[jax.Array, jax.Array]
Words = tuple[jax.Array, ...]

WEIGHTS_TAG = 0x6A617869  # "jaxi": the words of float32 values, the high words of float64
LOW_TAG = 0x6A61786A  # "jaxj": the low words of float64

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA  # Threefish key schedule constant, 32-bit form
# Words of a key: philox2x32; threefry2x32, philox4x32; threefry4x32, rbg. A raw key is taken for:
_RAW_KINDS = {1: "philox2x32", 2: "threefry2x32", 4: "rbg"}


def threefry2x32(key: Pair, counter: Pair) -> Pair:
    """One unrolled 20-round Threefry-2x32 block, elementwise over uint32 arrays."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(_PARITY))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance))
            x1 = x1 ^ x0
        # Two sums: one of the key alone would be a scalar, which XLA gives a GPU kernel of its own.
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def is_typed_key(x: Any) -> bool:
    """Whether an array, or its abstract value, is of typed random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def check_key(name: str, key: Any) -> None:
    """Raises unless ``key`` is one JAX key, typed or raw; ``name`` is the call to name."""
    expected = f"{name}: expected one JAX random key, as jax.random.key(0) makes"
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"{expected}; got {_describe(key)}.")
    if is_typed_key(key):
        if key.shape != ():
            raise ValueError(
                f"{expected}; got an array of keys of shape {key.shape}. "
                f"Use jax.vmap over the keys, or index one."
            )
    elif key.dtype != jnp.uint32 or key.ndim != 1 or key.shape[0] not in _RAW_KINDS:
        raise ValueError(
            f"{expected}; got {key.dtype}{list(key.shape)}. A raw key is uint32 of 1, 2 or 4 words."
        )


def _describe(key: object) -> str:
    if isinstance(key, int):
        return f"the int {key}; write jax.random.key({key})"
    return "None" if key is None else f"a {type(key).__name__}"


def fold_in(key: jax.Array, data: int) -> jax.Array:
    """``jax.random.fold_in`` of a key of any kind, typed or raw."""
    if not is_typed_key(key):
        key = jax.random.wrap_key_data(key, impl=_RAW_KINDS[key.shape[0]])
    return jax.random.fold_in(key, data)


def stream_key(key: jax.Array, tag: int = WEIGHTS_TAG) -> Pair:
    """The pair ``k'`` under ``tag`` from a key of any kind; for threefry2x32, JAX's fold_in."""
    data = jax.random.key_data(key) if is_typed_key(key) else jnp.asarray(key)
    words = [data[i] for i in range(data.shape[0])]
    words += [jnp.zeros_like(words[0])] * (len(words) % 2)
    state = (words[0], words[1])
    for pair in zip(words[2::2], words[3::2], strict=True):
        state = threefry2x32(state, pair)
    return threefry2x32(state, (jnp.zeros_like(state[0]), jnp.full_like(state[1], tag)))


def flat_index(shape: tuple[int, ...], counted: int, sharding: PartitionSpec | None = None) -> Pair:
    """The row-major flat index over the first ``counted`` axes, as (high, low) uint32 of ``shape``.

    One iota an axis, so that a partitioner gives each device its own part of the sum; 64 bits
    wide only where the shape needs it.
    """
    wide = math.prod(shape[:counted]) > 2**32
    dtype = np.uint64 if wide else np.uint32
    with jax.enable_x64(True) if wide else nullcontext():
        iotas = [
            lax.broadcasted_iota(dtype, shape, axis, out_sharding=sharding)
            * dtype(math.prod(shape[axis + 1 : counted]))
            for axis in range(counted)
            if shape[axis] > 1 or axis == 0
        ]
        return split(sum(iotas[1:], start=iotas[0]))


def split(index: jax.Array) -> Pair:
    """An index of 32 or 64 bits as (high, low) uint32."""
    if index.dtype == np.uint32:
        return jnp.zeros_like(index), index
    high, low = index >> np.uint64(32), index & np.uint64(0xFFFFFFFF)
    return lax.convert_element_type(high, np.uint32), lax.convert_element_type(low, np.uint32)


def halve(index: Pair) -> tuple[Pair, jax.Array]:
    """From element indices to (block indices, parity)."""
    high, low = index
    one = np.uint32(1)
    return (high >> one, (high << np.uint32(31)) | (low >> one)), low & one

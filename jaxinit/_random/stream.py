"""The random bits: which 32-bit word a key gives to each element of an array.

The element at flat index i (row-major) takes one half of a block of the Threefry generator:

    block(j) = threefry2x32, 20 rounds, key k', counter (j >> 32, j mod 2^32)
    word(i)  = block(i >> 1)[i & 1]

For example, elements 6 and 7 are the two words of block 3, whatever the shape of the array. So a
value depends on the key and the flat index alone, and any part of an array can be made by itself.

``k'`` is derived from the caller's key and a tag. This makes it independent of the keys that
``jax.random.split`` derives, so a key may be used both to draw and to split.

The generator is that of ``jax.random`` (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011). Here its rounds are unrolled, so that a compiler can fuse a whole draw into one pass
without temporary arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Pair = tuple[jax.Array, jax.Array]
Words = tuple[jax.Array, ...]

WEIGHTS_TAG = 0x6A617869  # "jaxi": for the words of float32 values, and the high words of float64
LOW_TAG = 0x6A61786A  # "jaxj": for the low words of float64 values

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA  # the constant of the Threefish key schedule, in its 32-bit form
# The kind that a raw key is taken for, by its number of words. It matters to ``fold_in`` alone.
_RAW_KINDS = {1: "philox2x32", 2: "threefry2x32", 4: "rbg"}


def threefry2x32(key: Pair, counter: Pair) -> Pair:
    """One block of the Threefry-2x32 generator with 20 rounds, elementwise over uint32 arrays."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(_PARITY))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance))
            x1 = x1 ^ x0
        # Added one after the other: the sum of schedule and group would be a scalar of its own,
        # for which XLA starts another kernel on a GPU.
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def is_typed_key(x: Any) -> bool:
    """Whether an array, or its abstract value, holds typed random keys (``jax.random.key``)."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def check_key(name: str, key: Any) -> None:
    """Raise an error unless ``key`` is one JAX key, typed or raw. ``name`` is the call it names."""
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
    if isinstance(key, int) and not isinstance(key, bool) and abs(key) < 2**64:
        return f"the int {key}; write jax.random.key({key})"
    if type(key).__name__ in ("Rngs", "RngStream"):  # of flax.nnx
        return f"a {type(key).__name__}; call it for a key, as rngs.params()"
    if isinstance(key, Mapping):
        return f"a {type(key).__name__}; give one of its keys, as rngs['params']"
    return "None" if key is None else f"a {type(key).__name__}"


def fold_in(key: jax.Array, data: int) -> jax.Array:
    """``jax.random.fold_in`` of a key of any kind, typed or raw."""
    if not is_typed_key(key):
        key = jax.random.wrap_key_data(key, impl=_RAW_KINDS[key.shape[0]])
    return jax.random.fold_in(key, data)


def stream_key(key: jax.Array, tag: int = WEIGHTS_TAG) -> Pair:
    """The pair ``k'`` of the stream, from a key of any kind and a tag.

    For a threefry2x32 key this is ``jax.random.fold_in(key, tag)``.
    """
    data = jax.random.key_data(key) if is_typed_key(key) else jnp.asarray(key)
    words = [data[i] for i in range(data.shape[0])]
    words += [jnp.zeros_like(words[0])] * (len(words) % 2)
    state = (words[0], words[1])
    for pair in zip(words[2::2], words[3::2], strict=True):
        state = threefry2x32(state, pair)
    return threefry2x32(state, (jnp.zeros_like(state[0]), jnp.full_like(state[1], tag)))


def flat_index(shape: tuple[int, ...], counted: int) -> Pair:
    """The flat index of each element, counted over the first ``counted`` axes of ``shape``.

    For example, with shape (2, 3, 2) and ``counted`` 2, the element (1, 0, 1) has index 3.

    It is the sum of one iota for each axis, which XLA shards without communication: each device
    computes its own part. It is 64 bits wide only if the shape has more than 2^32 elements, and is
    returned as two uint32 arrays of ``shape``, the high and the low half.
    """
    wide = math.prod(shape[:counted]) > 2**32
    dtype = np.uint64 if wide else np.uint32
    with jax.enable_x64(True) if wide else nullcontext():
        iotas = [
            lax.broadcasted_iota(dtype, shape, axis) * dtype(math.prod(shape[axis + 1 : counted]))
            for axis in range(counted)
            if shape[axis] > 1 or axis == 0
        ]
        return split(sum(iotas[1:], start=iotas[0]))


def split(index: jax.Array) -> Pair:
    """An index of 32 or 64 bits as its high and low halves, in uint32."""
    if index.dtype == np.uint32:
        return jnp.zeros_like(index), index
    high, low = index >> np.uint64(32), index & np.uint64(0xFFFFFFFF)
    return lax.convert_element_type(high, np.uint32), lax.convert_element_type(low, np.uint32)


def halve(index: Pair) -> tuple[Pair, jax.Array]:
    """The block of each element, index >> 1, and which of its two words it takes, index & 1."""
    high, low = index
    one = np.uint32(1)
    return (high >> one, (high << np.uint32(31)) | (low >> one)), low & one

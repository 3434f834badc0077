"""Computes the random bits that JAX's threefry keys draw, all of them or those at some indices."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax import lax

from .._random.stream import Pair, flat_index, split, threefry2x32
from . import jax_internals as internals
from .ir import Op


def fused_bits(op: Op, args: list[Any]) -> list[Any] | None:
    """A rule for ``evaluate``: JAX's own threefry bits, computed by elementwise operations.

    A CPU fuses these with the operations that follow, in one pass. JAX itself lowers threefry there
    to a loop that streams the array through memory five times. The bits are the same.
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
    """Whether the operation draws threefry bits, each a function of the key and its index only.

    That is so for JAX's partitionable threefry, its default.
    """
    if op.primitive is not internals.RANDOM_BITS or not internals.is_threefry(op.inputs[0].aval):
        return False
    _, shape, partitionable = internals.random_bits(op.params, op.context)
    return partitionable and bool(shape) and math.prod(shape) > 0


def random_words(op: Op, keys: jax.Array, index: jax.Array) -> jax.Array:
    """The random bits that the operation draws at these flat indices of its result."""
    size = math.prod(internals.random_bits(op.params, op.context).shape)
    words = jax.random.key_data(keys).reshape(-1, 2)
    number = index.dtype.type
    key = words[index // number(size)] if words.shape[0] > 1 else words[0]
    return _bits(op, (key[..., 0], key[..., 1]), split(index % number(size)))


def _bits(op: Op, key: Pair, index: Pair) -> jax.Array:
    """The random bits, of the operation's bit width, at 64-bit indices given as (high, low)."""
    high, low = threefry2x32(key, index)
    width = internals.random_bits(op.params, op.context).width
    if width == 64:
        wide, narrow = (lax.convert_element_type(x, np.uint64) for x in (high, low))
        return (wide << np.uint64(32)) | narrow
    dtype = {8: np.uint8, 16: np.uint16, 32: np.uint32}[width]
    return lax.convert_element_type(high ^ low, dtype)

"""Derives and picks random keys in NumPy, for the many small programs that JAX would run.

A model splits a key into one for each layer and picks them one by one. JAX compiles a program for
each size of a split and for each position that is picked. And an initializer of jaxinit prepares
its key by a hundred operations on single words, each of which JAX would start as a program. All
that takes longer than the arrays do.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from .._random.stream import is_typed_key, threefry2x32
from . import jax_internals as internals
from .ir import SMALL, Op, run

# NumPy's functions for operations on 32-bit words. As in XLA, sums wrap around and a shift by 32 or
# more gives 0.
_OF_WORDS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "shift_left": np.left_shift,
    "shift_right_logical": np.right_shift,
}  # fmt: skip


class HostKeys(NamedTuple):
    """Random keys in NumPy: the words of each along the last axis, and their implementation."""

    words: np.ndarray
    impl: Any

    @staticmethod
    def of(keys: jax.Array) -> HostKeys:
        """Those of an array of typed keys, which this process has."""
        return HostKeys(np.asarray(jax.random.key_data(keys)), jax.random.key_impl(keys))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.words.shape[:-1]

    def typed(self) -> jax.Array:
        """The same keys, as JAX has them."""
        return jax.random.wrap_key_data(jax.numpy.asarray(self.words), impl=self.impl)


def hosted(x: Any) -> Any:
    """An array of random keys as ``HostKeys`` if it is small and here; anything else as it is."""
    typed = isinstance(x, jax.Array) and is_typed_key(x)
    return HostKeys.of(x) if typed and x.size <= SMALL and _is_here(x) else x


def on_host(op: Op, args: list[Any]) -> list[Any] | None:
    """A rule for ``extend`` outside any jit: words, slices, and keys of threefry keys, in NumPy.

    The values are JAX's own. Large arrays, and those of which this process has only a part, are
    left to JAX.
    """
    small = all(value.aval.size <= SMALL for value in op.inputs)
    found = _in_numpy(op, args) if args and small and all(map(_is_here, args)) else None
    if found is None and any(isinstance(x, HostKeys) for x in args):
        return run(op, [x.typed() if isinstance(x, HostKeys) else x for x in args], None)
    return found


def _in_numpy(op: Op, args: list[Any]) -> list[Any] | None:
    """The results of an operation on small arrays, or None if it is not one of those known here."""
    name, x = op.primitive.name, hosted(args[0])
    if name in _OF_WORDS and all(value.aval.dtype == np.uint32 for value in op.inputs):
        return [_OF_WORDS[name](*(np.asarray(arg, np.uint32) for arg in args))]
    if name in ("slice", "squeeze"):
        if isinstance(x, HostKeys):
            return [x._replace(words=_picked(op, x.words))]
        return [_picked(op, np.asarray(x))]
    if not isinstance(x, HostKeys):
        return None
    if name == "random_unwrap":
        return [x.words]
    if not internals.is_threefry(op.inputs[0].aval):
        return None
    if name == "random_split" and (shape := internals.split_shape(op.params, op.context)):
        index = np.arange(math.prod(shape), dtype=np.uint64).reshape(shape)
        return [_derived(x, (index >> np.uint64(32)).astype(np.uint32), index.astype(np.uint32))]
    if name == "random_fold_in":
        low = np.asarray(args[1]).astype(np.uint32)
        if not x.shape or low.ndim in (0, len(x.shape)):
            return [_derived(x, np.zeros_like(low), low, elementwise=True)]
    return None


def _is_here(x: Any) -> bool:
    """Whether this process has all elements of an array, be it one of several that do."""
    return getattr(x, "is_fully_addressable", True) or x.is_fully_replicated


def _picked(op: Op, x: np.ndarray) -> np.ndarray:
    """The slice or squeeze of an array, or of the words of keys, which are along its last axis."""
    if op.primitive.name == "slice":
        start, limit, strides = internals.geometry(op.primitive, op.params)
        return x[tuple(map(slice, start, limit, strides or (None,) * len(start)))]
    (dimensions,) = internals.geometry(op.primitive, op.params)
    return np.squeeze(x, tuple(dimensions))


def _derived(
    keys: HostKeys, high: np.ndarray, low: np.ndarray, elementwise: bool = False
) -> HostKeys:
    """Of each key the blocks at all counters, or the one at its own (``elementwise``)."""
    words = keys.words.reshape(*keys.shape, *(1,) * (0 if elementwise else low.ndim), 2)
    # Arrays of one element, as NumPy warns where sums of its scalars wrap around.
    key: Any = words[..., :1], words[..., 1:]
    counter: Any = high[..., None], low[..., None]
    return keys._replace(words=np.concatenate(threefry2x32(key, counter), axis=-1))

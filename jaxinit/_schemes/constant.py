"""Constants: every element the same number, or the elements of an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .._random import draw
from .._random.sharding import OutSharding
from .base import Initializer, Moments, given_options
from .checks import DType, check_array, check_dtype, dtype_name
from .ranges import check_constant
from .static_array import StaticArray, static_value


@dataclass(frozen=True, repr=False)
class Constant(Initializer):
    """Every element the same value, or an array broadcast to the shape."""

    factory = "constant"
    value: bool | int | float | complex | StaticArray

    def _dtype(self, dtype: DType) -> np.dtype:
        return check_dtype(self.name, dtype, self.dtype)

    def call(self) -> tuple[str, dict[str, Any]]:
        if self.dtype is None and self in (zeros, ones):
            return ("ones" if self.value else "zeros"), {}
        return self.factory, given_options(self)

    def __repr__(self) -> str:
        name, options = self.call()
        return super().__repr__() if options else name

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_constant(self.name, self.value, dtype)
        if not isinstance(self.value, StaticArray):
            real = isinstance(self.value, complex) and dtype.kind != "c"
            value = self.value.real if real else self.value
            return draw.fill(value, shape, dtype, out_sharding)
        array = self.value.array
        try:
            whole = np.broadcast_to(array, shape)
        except ValueError:
            raise ValueError(
                f"{self.name}: a value of shape {array.shape} does not broadcast to {shape}."
            ) from None
        return draw.fill(whole if array.ndim else array, shape, dtype, out_sharding)

    def moments(self, shape: tuple[int, ...]) -> Moments | None:
        if isinstance(self.value, StaticArray | complex):
            return None
        return Moments("constant", float(self.value), 0.0)


zeros: Initializer = Constant(0.0)
ones: Initializer = Constant(1.0)


def zeros_init() -> Initializer:
    """``zeros`` itself, as ``flax.linen`` spells it."""
    return zeros


def ones_init() -> Initializer:
    """``ones`` itself, as ``flax.linen`` spells it."""
    return ones


def constant(value: Any, dtype: DType = None) -> Initializer:
    """Every element is ``value``: a number, or an array that broadcasts to the shape.

    The key is not used.

    Args:
      value: a number, or an array of numbers of any dtype, which is copied.
      dtype: the dtype where the call gives none; any dtype, integers too.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: the value is not a number or an array of numbers.
      ValueError: at the call, the value does not broadcast to the shape, or the dtype cannot hold
        it: it overflows, has a fraction or an imaginary part that would be lost, or is NaN or
        infinite where the dtype has no such number.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.constant(0.5)(jax.random.key(0), (2,)).tolist()
      [0.5, 0.5]

    Source: ``jax.nn.initializers.constant``, which takes numbers alone.
    """
    checked = static_value(check_array("constant", "value", value, "numbers"))
    return Constant(checked, dtype=dtype_name("constant", dtype))

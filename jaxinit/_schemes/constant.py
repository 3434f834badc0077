"""Constants: every element the same number, or the elements of an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._random import draw
from .._random.sharding import OutSharding
from .base import Initializer, Moments, given_options
from .checks import DType, check_concrete, check_dtype, dtype_name, refuse_key, shown
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
        if not isinstance(self.value, StaticArray):
            return draw.fill(self.value, shape, dtype, out_sharding)
        array = self.value.array
        try:
            value = np.broadcast_to(array, shape)
        except ValueError:
            raise ValueError(
                f"{self.name}: a value of shape {array.shape} does not broadcast to {shape}."
            ) from None
        return draw.fill(value if array.ndim else array, shape, dtype, out_sharding)

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
      ValueError: at the call, the value does not broadcast to the shape.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.constant(0.5)(jax.random.key(0), (2,)).tolist()
      [0.5, 0.5]

    Source: ``jax.nn.initializers.constant``, which takes numbers alone.
    """
    check_concrete("constant", "value", value)
    refuse_key("constant", value)
    checked = static_value(_check_numbers(value))
    return Constant(checked, dtype=dtype_name("constant", dtype))


def _check_numbers(value: Any) -> np.ndarray:
    """The value as an array of NumPy."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise TypeError(
            f"constant: value must be a number or an array of numbers; got {shown(value)}."
        )
    return array

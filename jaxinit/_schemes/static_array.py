"""Arrays as options: kept as bytes, so that they hash and compare by value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

_MOST_SHOWN = 1000  # elements that a repr writes out


@dataclass(frozen=True, repr=False)
class StaticArray:
    """An array that does not change: equal to another where dtype, shape and bytes are equal."""

    data: bytes
    dtype: str
    shape: tuple[int, ...]

    @staticmethod
    def of(array: np.ndarray) -> StaticArray:
        """From an array of NumPy; its elements are copied, in the byte order of this machine."""
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return StaticArray(array.tobytes(), array.dtype.name, array.shape)

    @property
    def array(self) -> np.ndarray:
        """The array, which cannot be written to."""
        return np.frombuffer(self.data, jnp.dtype(self.dtype)).reshape(self.shape)

    def __repr__(self) -> str:
        if math.prod(self.shape) > _MOST_SHOWN:
            return f"<{self.dtype} array of shape {self.shape}>"
        return f"array({self.array.tolist()!r}, dtype={self.dtype!r})"


def static_value(value: Any) -> Any:
    """A plain number as itself, anything else as a ``StaticArray``.

    Equal plain numbers give equal arrays. -0.0 and NaN are not plain: the one equals 0.0 and makes
    other bits, the other does not equal itself.
    """
    array = np.asarray(value)
    if array.ndim or array.dtype.name not in _PLAIN:
        return StaticArray.of(array)
    number = array.item()
    parts = (number.real, number.imag) if isinstance(number, complex) else (number,)
    odd = any(part != part or (part == 0 and math.copysign(1, part) < 0) for part in parts)
    return StaticArray.of(array) if odd else number


# Of these a Python number has the same value.
_PLAIN = frozenset(
    (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128", "bfloat16"),
    )
)

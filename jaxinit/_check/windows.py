"""Arrays that are read a window at a time, so that a large one is never held whole.

An array on disk and an array in memory look the same to who reads them: a shape, a dtype, and an
iterator over the elements in row-major order, in pieces of at most some 128 MiB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Windowed:
    """An array by its windows.

    Attributes:
      shape, dtype: those of the array.
      windows: a function that gives an iterator over flat pieces, which in order make the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    windows: Callable[[], Iterator[np.ndarray]]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @staticmethod
    def of(array: Any) -> Windowed:
        """An array that is in memory already; its one window is the array."""
        held = np.asarray(array)
        return Windowed(held.shape, held.dtype, lambda: iter([held.reshape(-1)]))

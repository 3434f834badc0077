"""Recognises tables that a formula computed and no random key drew.

For example the row t of a table of sines and cosines holds sin(w t) beside cos(w t), so that the
squares of the two add up to 1 in every row. Such a table is the same in every layer, has columns
that are alike, and need not be centred: none of that is a fault.
"""

from __future__ import annotations

import numpy as np

_FEWEST = 8  # entries in a row that are in order by chance once in 8! draws
_CLOSE = 0.02  # by how much of it sums of two squares may differ, as after rounding to bfloat16


def recognise(matrix: np.ndarray) -> str | None:
    """How the table was computed, or None where it may be a draw."""
    values = matrix.astype(np.float64)
    if _is_one_hot(values):
        return "one-hot"
    if _is_waves(values):
        return "a table of sines and cosines"
    if _is_sorted(values) or _is_sorted(values.T):
        return "a sorted table"
    if _is_triangle(values):
        return "a triangular table of rank one"
    return None


def _is_one_hot(values: np.ndarray) -> bool:
    """Whether each row has one entry at most that is not zero, all of them equal."""
    filled = values != 0
    entries = values[filled]
    one_each = values.shape[1] > 1 and bool((filled.sum(1) <= 1).all())
    return one_each and entries.size > 0 and bool((entries == entries[0]).all())


def _is_waves(values: np.ndarray) -> bool:
    """Whether the squares of paired columns have one sum: neighbours, or halves, or quarters."""
    rows, columns = values.shape
    if rows < _FEWEST or columns < 4 or columns % 2:
        return False
    squares = values**2
    for apart in {1, columns // 2, columns // 4}:
        if columns % (2 * apart):
            continue
        sums = squares.reshape(rows, -1, 2, apart).sum(2)
        if np.ptp(sums) < _CLOSE * sums.max():
            return True
    return False


def _is_sorted(values: np.ndarray) -> bool:
    """Whether every row is strictly in order, in one direction, as of arange or its logarithm."""
    if values.shape[1] < _FEWEST:
        return False
    steps = np.diff(values, axis=1)
    return bool((steps > 0).all() or (steps < 0).all())


def _is_triangle(values: np.ndarray) -> bool:
    """Whether it is a square, or a stack of one, with a triangle of zeros and one of rank one.

    HiPPO's matrix is: below its diagonal, the element n, k is a product of a number of n and one of
    k, so that it follows from the first column and the last row.
    """
    size = values.shape[1]
    if size < _FEWEST or len(values) % size:
        return False
    first, *others = values.reshape(-1, size, size)
    square = first.T if np.any(np.triu(first, 1)) else first
    column, row = square[1:, 0], square[-1, :-1]
    if np.any(np.triu(square, 1)) or not (column.all() and row.all()):
        return False
    product = np.tril(np.outer(column, row) / row[0])
    apart = np.abs(np.tril(square[1:, :-1]) - product)
    return bool((apart <= _CLOSE * np.abs(product)).all()) and all(
        np.array_equal(first, other) for other in others
    )

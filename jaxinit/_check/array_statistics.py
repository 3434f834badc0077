"""Statistics of one array: its moments, its range, what kind of distribution it looks drawn from.

An array is read once, window by window, so that memory does not grow with its size. The elements of
a complex array are looked at as their real and imaginary parts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import patterns, resemblance
from .windows import Windowed

SAMPLE = 4096  # the first values of an array, by which arrays are compared with one another
_COUNTED = 1 << 16  # values of which the distinct ones are counted
_PART = 1 << 20  # values that are looked at together
_FEW = 16  # with no more distinct values than these, an array is no continuous draw
_COARSE = 4.0  # how many times fewer distinct values than rounding leaves make a coarse draw
_HELD = 1 << 22  # elements up to which a whole matrix is kept, to look at its spectrum
_CORNER = 512  # rows and columns that are kept of a larger one


@dataclass(frozen=True, eq=False, kw_only=True)
class Statistics:
    """What is known of one array; moments and range are those of its finite values.

    Attributes:
      path, shape, dtype, size: of the array.
      mean, std, low, high: the standard deviation of a complex array is that of the whole number.
      kurtosis: the fourth moment over the squared second: 3 of a normal distribution, 1.8 of a
        uniform one.
      zeros: the share of zeros.
      bad: how many values are NaN or infinite.
      distinct, counted: how many distinct values there are among the first ``counted``.
      rounded: how many of those a normal draw, rounded to the dtype, would have.
      norm, spectral: the Frobenius norm, and the largest singular value of the array as a matrix
        whose columns are its last axis, from below; None of a large array.
      head: its first values.
      pattern: how a table that no key drew was computed, as "a table of sines and cosines".
      rank: how many singular values hold 99 % of its energy, where they are few.
      is_orthogonal: whether all its singular values are equal.
      is_scattered: whether nine in ten values are zero, at places that chance chose.
      uneven: the parts along its first axis whose standard deviation is far from the others'.
      repeats: which of its own parts are equal or correlated.
      sample, corners, digest: by which arrays are compared with one another.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    mean: float
    std: float
    low: float
    high: float
    kurtosis: float
    zeros: float
    bad: int
    distinct: int
    counted: int
    rounded: int
    norm: float
    spectral: float | None
    head: np.ndarray
    pattern: str | None
    rank: int | None
    is_orthogonal: bool
    is_scattered: bool
    uneven: str | None
    repeats: resemblance.Repeats | None
    sample: np.ndarray = field(repr=False)
    corners: tuple[np.ndarray, ...] = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def is_constant(self) -> bool:
        return self.low == self.high

    @property
    def is_drawn(self) -> bool:
        """Whether it can be a draw from a continuous distribution."""
        return self.distinct > _FEW and self.pattern is None

    @property
    def is_coarse(self) -> bool:
        """Whether it was drawn in a coarser dtype than the one it is in, or with too few bits."""
        return self.is_drawn and self.distinct * _COARSE < self.rounded

    @property
    def sampling_error(self) -> float:
        """The relative error of the standard deviation of a sample of this size."""
        return math.sqrt(max(self.kurtosis - 1, 0.2) / (4 * max(self.size, 1)))

    @property
    def distribution(self) -> str:
        """The distribution that the values look drawn from; empty where they do not tell."""
        if self.is_constant:
            return f"all {self.high:.3g}"
        if self.pattern:
            return self.pattern
        if not self.is_drawn or self.size < 256 or self.std == 0:
            return ""
        reach = max(self.high - self.mean, self.mean - self.low) / self.std
        if abs(self.kurtosis - 1.8) < 0.1 + 3 / math.sqrt(self.size) and reach < 1.8:
            return "uniform"
        if self.is_orthogonal:
            return "orthogonal"
        if self.is_cut_at_two:
            return "truncated normal"
        near = abs(self.kurtosis - 3) < 0.15 + 5 * math.sqrt(24 / self.size)
        return "normal" if near else ""

    @property
    def is_cut_at_two(self) -> bool:
        """Whether it ends where a normal truncated at two standard deviations does."""
        reach = max(self.high - self.mean, self.mean - self.low)
        return self.size >= 1024 and 2.1 < reach / max(self.std, 1e-300) < 2.29


class _Moments:
    """The running moments of real values, in units that keep their squares finite."""

    def __init__(self) -> None:
        self.count = self.bad = self.zeros = 0
        self.low, self.high = math.inf, -math.inf
        self.unit = self.centre = 0.0
        self.sums = np.zeros(4)  # of the powers of (x - centre) / unit

    def add(self, values: np.ndarray) -> None:
        """Takes in some values."""
        wide = values.astype(np.float64)
        fine = wide[np.isfinite(wide)]
        self.bad += wide.size - fine.size
        if not fine.size:
            return
        self.zeros += int((fine == 0).sum())
        self.low, self.high = min(self.low, float(fine.min())), max(self.high, float(fine.max()))
        largest = max(abs(self.low), abs(self.high))
        if not self.count:
            self.unit = _power_of_two(largest)
            self.centre = float(np.mean(fine / self.unit)) * self.unit
        elif largest > 2.0**60 * self.unit:
            finer, self.unit = self.unit, _power_of_two(largest)
            self.sums *= (finer / self.unit) ** np.arange(1, 5)
        scaled = (fine - self.centre) / self.unit
        square = scaled * scaled
        self.sums += scaled.sum(), square.sum(), (square * scaled).sum(), (square * square).sum()
        self.count += fine.size

    @property
    def moments(self) -> tuple[float, float, float]:
        """Mean, standard deviation, kurtosis."""
        if not self.count:
            return math.nan, math.nan, math.nan
        m1, m2, m3, m4 = self.sums / self.count
        variance = max(m2 - m1 * m1, 0.0)
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        kurtosis = fourth / variance**2 if variance > 0 else math.nan
        return self.centre + m1 * self.unit, math.sqrt(variance) * self.unit, kurtosis

    @property
    def norm(self) -> float:
        """The square root of the sum of squares."""
        c = self.centre / self.unit if self.count else 0.0
        square = self.sums[1] + 2 * c * self.sums[0] + c * c * self.count
        return math.sqrt(max(square, 0.0)) * self.unit


def _power_of_two(x: float) -> float:
    return 2.0 ** min(max(math.frexp(x)[1], -1000), 1000) if x else 1.0


class _Gathered:
    """The elements at some flat indices, collected while an array goes by."""

    def __init__(self, indices: np.ndarray, dtype: np.dtype) -> None:
        self._indices = indices
        self.values = np.zeros(indices.size, dtype)

    def add(self, start: int, window: np.ndarray) -> None:
        first, last = np.searchsorted(self._indices, (start, start + window.size))
        self.values[first:last] = window[self._indices[first:last] - start]


def describe(path: str, array: Any) -> Statistics | None:
    """The statistics of an array; None of one that is empty or holds no floating values.

    ``array`` is an array in memory, or a ``Windowed`` one.
    """
    if not isinstance(array, Windowed):
        if jnp.issubdtype(array.dtype, jax.dtypes.extended):
            return None  # random keys
        array = Windowed.of(array)
    if array.size == 0 or not _is_floating(array.dtype):
        return None
    shape, size, dtype = array.shape, array.size, array.dtype
    rows, columns = size // shape[-1] if shape else 1, shape[-1] if shape else 1
    is_whole = size <= _HELD
    parts = {
        "head": np.arange(min(size, _COUNTED)),
        "matrix": np.arange(size) if is_whole else _corner(rows, columns),
        "slices": _slice_heads(shape),
        "rows": _row_heads(rows, columns),
        "tops": _corner(min(rows, 64), columns, widest=columns)
        if rows * columns >= 128
        else _NOTHING,
    }
    gathered = {name: _Gathered(indices, dtype) for name, indices in parts.items()}
    moments, digest, start = _Moments(), hashlib.sha256(), 0
    for window in array.windows():
        for first in range(0, window.size, _PART):
            part = np.ascontiguousarray(window[first : first + _PART])
            digest.update(part.tobytes())
            moments.add(_real(part))
            for found in gathered.values():
                found.add(start, part)
            start += part.size
    values = {name: _real(found.values) for name, found in gathered.items()}
    return _summary(path, array, moments, values, digest.digest(), is_whole)


_NOTHING = np.empty(0, np.int64)


def _is_floating(dtype: np.dtype) -> bool:
    small = dtype.name.startswith(("bfloat16", "float8", "float4", "float6"))
    return dtype.kind in "fc" or small


def _real(x: np.ndarray) -> np.ndarray:
    """The values; of complex ones, their real and imaginary parts side by side."""
    return x.view(f"f{x.dtype.itemsize // 2}") if x.dtype.kind == "c" else x


def _corner(rows: int, columns: int, widest: int = _CORNER) -> np.ndarray:
    """The flat indices of the first rows and columns of a matrix."""
    inner = np.arange(min(columns, widest))
    return (np.arange(min(rows, _CORNER))[:, None] * columns + inner).reshape(-1)


def _row_heads(rows: int, columns: int) -> np.ndarray:
    """The flat indices of the beginnings of all rows."""
    if columns < 8 or rows < 2 or rows > 1 << 20:
        return _NOTHING
    return (np.arange(rows)[:, None] * columns + np.arange(min(columns, 32))).reshape(-1)


def _slice_heads(shape: tuple[int, ...]) -> np.ndarray:
    """The flat indices of the beginnings of all slices along the first axis."""
    if len(shape) < 3 or not 2 <= shape[0] <= 512:
        return _NOTHING
    each = math.prod(shape[1:])
    if each < 64:
        return _NOTHING
    return (np.arange(shape[0])[:, None] * each + np.arange(min(each, SAMPLE))).reshape(-1)


def _summary(
    path: str,
    array: Windowed,
    moments: _Moments,
    values: dict[str, np.ndarray],
    digest: bytes,
    is_whole: bool,
) -> Statistics:
    """The statistics of what went by."""
    shape, dtype = array.shape, array.dtype
    per = 2 if dtype.kind == "c" else 1
    mean, std, kurtosis = moments.moments
    head = values["head"].astype(np.float64)
    distinct = len(np.unique(head))
    is_random = not moments.bad and moments.low < moments.high
    is_continuous = is_random and distinct > _FEW
    columns = (shape[-1] if shape else 1) * per
    wide = columns if is_whole else min(shape[-1], _CORNER) * per
    matrix = _bounded(values["matrix"]).reshape(-1, wide)
    pattern = patterns.recognise(matrix) if is_random else None
    is_drawn = is_continuous and pattern is None
    spectrum = resemblance.spectrum(matrix) if is_drawn and min(matrix.shape) >= 2 else None
    slices = values["slices"].reshape(shape[0], -1) if values["slices"].size else None
    repeats = uneven = None
    if is_drawn:
        repeats = resemblance.repeats(
            slices, values["tops"].reshape(-1, columns), values["rows"], columns
        )
        uneven = None if slices is None else resemblance.uneven(slices)
    scale = float(np.max(np.abs(matrix), initial=0.0))
    return Statistics(
        path=path,
        shape=shape,
        dtype=str(dtype),
        size=array.size,
        mean=mean,
        std=std * math.sqrt(per),
        low=moments.low if moments.count else math.nan,
        high=moments.high if moments.count else math.nan,
        kurtosis=kurtosis,
        zeros=moments.zeros / (array.size * per),
        bad=moments.bad,
        distinct=distinct,
        counted=head.size,
        rounded=_rounded(head.size, values["head"].dtype, std) if is_continuous else 0,
        norm=moments.norm,
        spectral=spectrum.largest * _unit(values["matrix"]) if spectrum and is_whole else None,
        head=head[:SAMPLE],
        pattern=pattern,
        rank=spectrum.rank if spectrum else None,
        is_orthogonal=spectrum is not None and spectrum.is_flat,
        is_scattered=bool(scale) and resemblance.is_scattered(matrix),
        uneven=uneven,
        repeats=repeats,
        sample=resemblance.standardized(head[:SAMPLE]) if is_drawn else np.empty(0),
        corners=tuple(_corners(shape, matrix)) if is_drawn and is_whole and per == 1 else (),
        digest=digest,
    )


def _unit(values: np.ndarray) -> float:
    """The power of two by which values are divided, so that their squares stay finite."""
    finite = np.abs(values[np.isfinite(values.astype(np.float64))].astype(np.float64))
    return _power_of_two(float(finite.max(initial=0.0)))


def _bounded(values: np.ndarray) -> np.ndarray:
    """The values in float32, in units of ``_unit``."""
    return (values.astype(np.float64) / _unit(values)).astype(np.float32)


def _corners(shape: tuple[int, ...], matrix: np.ndarray) -> Iterator[np.ndarray]:
    """The square corners of the array as a matrix, of its last axis or after its first."""
    for columns in dict.fromkeys((shape[-1], matrix.size // shape[0]) if len(shape) > 1 else ()):
        view = matrix.reshape(-1, columns)
        side = min(*view.shape, 64)
        if side >= 8:
            yield view[:side, :side]


def _rounded(n: int, dtype: np.dtype, std: float) -> int:
    """How many distinct values n normal draws have when each is rounded once to the dtype."""
    draws = np.random.default_rng(0).standard_normal(n) * std
    with np.errstate(over="ignore"):
        return len(np.unique(draws.astype(dtype).astype(np.float64)))

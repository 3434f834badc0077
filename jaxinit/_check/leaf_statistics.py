"""Leaves: what one array of weights looks like, and which law it could come from."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np

SAMPLE = 4096  # values kept of each leaf, to compare leaves with one another
_COUNTED = 1 << 16  # values of which the distinct ones are counted
_CHUNK = 1 << 22  # values looked at together
_FEW = 16  # distinct values, up to which a leaf is no draw from a continuous law
_COARSE = 4.0  # how many times fewer distinct values than rounding leaves make a coarse draw
_STEPS = 12  # of the power iteration
_WIDEST = 1 << 24  # elements of a matrix whose spectral norm is estimated


class Leaf(NamedTuple):
    """What was seen of one array; numbers are of its finite values."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    bad: int  # NaN or infinite
    distinct: int  # of the first ``counted``
    counted: int
    expected: int  # how many distinct values a normal draw would have, rounded to the dtype
    norm: float
    spectral: float | None
    sample: np.ndarray  # the first values, standardized; empty where they tell nothing
    digest: bytes
    twins: str | None  # which of its own slices are alike

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.low == self.high

    @property
    def is_random(self) -> bool:
        """Whether it can be a draw from a continuous law."""
        return self.distinct > _FEW

    @property
    def is_coarse(self) -> bool:
        """Whether it was drawn in a coarser dtype than the one it is in, or with too few bits."""
        return self.is_random and self.distinct * _COARSE < self.expected

    @property
    def is_truncated(self) -> bool:
        """Whether it ends where a normal law truncated at two standard deviations does."""
        reach = max(self.high - self.mean, self.mean - self.low)
        return self.size >= SAMPLE and 2.2 < reach / max(self.std, 1e-300) < 2.29


def look(path: str, array: Any) -> Leaf | None:
    """What an array is; None of one that holds no real numbers, or nothing."""
    x = np.asarray(array)
    if x.size == 0 or (x.dtype.kind not in "fV" and not _is_small_float(x.dtype)):
        return None
    flat = x.reshape(-1)
    count, total, square, bad, zeros = 0, 0.0, 0.0, 0, 0
    low, high = math.inf, -math.inf
    head = flat[:SAMPLE].astype(np.float64)
    centre = float(head[np.isfinite(head)].mean()) if np.isfinite(head).any() else 0.0
    digest = hashlib.sha256()
    for start in range(0, flat.size, _CHUNK):
        part = np.asarray(flat[start : start + _CHUNK])
        digest.update(np.ascontiguousarray(part).tobytes())
        wide = part.astype(np.float64)
        fine = wide[np.isfinite(wide)]
        bad += wide.size - fine.size
        zeros += int((fine == 0).sum())
        if fine.size:
            count += fine.size
            total += float((fine - centre).sum())
            square += float(((fine - centre) ** 2).sum())
            low, high = min(low, float(fine.min())), max(high, float(fine.max()))
    mean = centre + total / count if count else math.nan
    std = math.sqrt(max(square / count - (total / count) ** 2, 0.0)) if count else math.nan
    first = np.asarray(flat[:_COUNTED])
    random = count == flat.size and low < high
    return Leaf(
        path,
        x.shape,
        str(x.dtype),
        mean,
        std,
        low if count else math.nan,
        high if count else math.nan,
        zeros / flat.size,
        bad,
        len(np.unique(first.astype(np.float64))),
        first.size,
        _expected(first.size, x.dtype, std) if random else 0,
        math.sqrt(max(square + 2 * centre * total + count * centre**2, 0.0)),
        _spectral(x) if random else None,
        _sample(flat) if random and flat.size >= 64 else np.empty(0),
        digest.digest(),
        _twins(x) if random else None,
    )


def _is_small_float(dtype: np.dtype) -> bool:
    return dtype.name.startswith(("bfloat16", "float8", "float4"))


def _expected(n: int, dtype: np.dtype, std: float) -> int:
    """Distinct values of n normal draws, each rounded once to the dtype."""
    draws = np.random.default_rng(0).standard_normal(n) * std
    return len(np.unique(draws.astype(dtype).astype(np.float64)))


def _sample(flat: np.ndarray) -> np.ndarray:
    """The first values, of mean 0 and norm 1; none where they are few-valued."""
    values = np.asarray(flat[:SAMPLE]).astype(np.float64)
    values = values - values.mean()
    norm = np.linalg.norm(values)
    if norm == 0 or len(np.unique(values[:256])) <= _FEW // 2:
        return np.empty(0)
    return (values / norm).astype(np.float32)


def matrix(x: np.ndarray) -> np.ndarray:
    """The array as a matrix, its last axis the columns."""
    return x.reshape(-1, x.shape[-1])


def _spectral(x: np.ndarray) -> float | None:
    """The largest singular value, from below, by power iteration."""
    if x.ndim < 2 or x.size > _WIDEST:
        return None
    a = matrix(x).astype(np.float32)
    v = np.random.default_rng(0).standard_normal(a.shape[1]).astype(np.float32)
    for _ in range(_STEPS):
        v = a.T @ (a @ v)
        norm = np.linalg.norm(v)
        if norm == 0:
            return 0.0
        v = v / norm
    return float(np.linalg.norm(a @ v))


def _twins(x: np.ndarray) -> str | None:
    """Which slices of the array are alike: along its first axis, its columns, or equal blocks."""
    if x.ndim < 2 or x.size < 128:
        return None
    if x.ndim >= 3 and x.shape[0] <= 512 and x[0].size >= 64:
        found = alike([_sample(part.reshape(-1)) for part in x])
        if found:
            return f"slices {found[0][0]} and {found[0][1]} of axis 0"
    columns = matrix(x)
    if columns.shape[0] >= 8:
        head = columns[: min(len(columns), 64)].astype(np.float64)
        unique = np.unique(head, axis=1).shape[1]
        if unique < head.shape[1]:
            return f"{head.shape[1] - unique + 1} of its {head.shape[1]} columns"
    for blocks in (2, 3, 4):
        if x.shape[-1] % blocks == 0 and x.shape[-1] >= 8 * blocks:
            parts = np.split(columns, blocks, 1)
            found = alike([_sample(np.ascontiguousarray(part).reshape(-1)) for part in parts])
            if found:
                return f"blocks {found[0][0]} and {found[0][1]} of {blocks} along the last axis"
    return None


def alike(samples: list[np.ndarray]) -> list[tuple[int, int, float]]:
    """Pairs of samples that are strongly correlated, as from one key: (i, j, correlation).

    Samples of different lengths are compared by what they have in common.
    """
    found = []
    lengths = sorted({len(s) for s in samples if len(s)})
    for length in lengths:
        mine = [i for i, s in enumerate(samples) if len(s) >= length]
        rows = np.array([samples[i][:length] for i in mine], np.float32)
        rows = rows - rows.mean(1, keepdims=True)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        correlation = rows @ rows.T
        threshold = max(0.5, 7 / math.sqrt(length))
        for a, b in zip(*np.nonzero(np.triu(np.abs(correlation) > threshold, 1)), strict=True):
            i, j = mine[a], mine[b]
            if min(len(samples[i]), len(samples[j])) == length:
                found.append((i, j, float(correlation[a, b])))
    return sorted(found)

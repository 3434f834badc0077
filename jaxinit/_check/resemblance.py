"""Finds parts of arrays that are alike: equal slices and columns, correlated draws, low rank.

Two arrays that were drawn from one key are correlated even where their shapes or scales differ, as
both begin with the same random numbers. So the first values of each are compared, centred and
brought to norm 1: the product of two such vectors is their correlation, which for independent draws
is within a few 1/sqrt(n) of zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# From these correlations on, two arrays are copies: EXACT up to sign and factor; COPY where one key
# was drawn by two distributions, as a normal and a uniform one, whose correlation is 0.977.
EXACT, COPY = 0.999, 0.95
_STEPS = 12  # of the power iteration
_VECTORS = 8  # that it follows
_ENERGY = 0.99  # of a matrix, which a few singular values hold where its rank is low
_FEW = 8  # distinct values among the first 256, with which a sample tells nothing


class Pair(NamedTuple):
    """Two samples that are alike, by their positions."""

    first: int
    second: int
    correlation: float


class Repeats(NamedTuple):
    """Parts of an array that are alike.

    Attributes:
      parts: which they are, as "64 of its 64 columns".
      correlation: of two of them; 1 where they are equal.
      copies: how many times each part is there, where it is the same number for all; else 0.
    """

    parts: str
    correlation: float
    copies: int = 0


def standardized(values: np.ndarray) -> np.ndarray:
    """The values with mean 0 and norm 1; empty where they are too few to tell anything."""
    wide = values.astype(np.float64)
    largest = np.max(np.abs(wide), initial=0.0)
    if wide.size < 64 or not largest or len(np.unique(wide[:256])) <= _FEW:
        return np.empty(0)
    wide = wide / largest
    if (wide == 0).mean() > 0.5:  # where most are zero, the zeros alone make a correlation
        return np.empty(0)
    wide = wide - wide.mean()
    norm = np.linalg.norm(wide)
    return (wide / norm).astype(np.float32) if norm else np.empty(0)


def alike(samples: Sequence[np.ndarray]) -> list[Pair]:
    """The pairs of samples that are strongly correlated, as draws from one key are.

    Samples of different lengths are compared by what they have in common.
    """
    found = []
    for length in sorted({len(s) for s in samples if len(s)}):
        mine = [i for i, s in enumerate(samples) if len(s) >= length]
        rows = np.array([samples[i][:length] for i in mine], np.float32)
        rows = rows - rows.mean(1, keepdims=True)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        correlation = rows @ rows.T
        threshold = max(0.5, 7 / math.sqrt(length))
        for a, b in zip(*np.nonzero(np.triu(np.abs(correlation) > threshold, 1)), strict=True):
            i, j = mine[a], mine[b]
            if min(len(samples[i]), len(samples[j])) == length:
                found.append(Pair(i, j, float(correlation[a, b])))
    return sorted(found)


def repeats(
    slices: np.ndarray | None, tops: np.ndarray, row_heads: np.ndarray, columns: int
) -> Repeats | None:
    """Which parts of an array are alike: slices, columns, rows, or equal blocks.

    Args:
      slices: the first values of each slice along axis 0, one a row.
      tops: the first rows of the array as a matrix whose columns are its last axis.
      row_heads: the first values of each row, flat.
      columns: how many columns the matrix has.
    """
    if slices is not None and (found := alike([standardized(part) for part in slices])):
        first, second, correlation = max(found, key=lambda pair: pair.correlation)
        parts = f"slices {first} and {second} of axis 0"
        return Repeats(parts, correlation, _equal(slices).copies)
    if tops.size >= 128 and len(tops) >= 8 and (equal := _equal(tops.T)).count:
        return Repeats(f"{equal.count} of its {columns} columns", 1.0, equal.copies)
    if row_heads.size:
        rows = row_heads.reshape(-1, min(columns, 32))
        if (equal := _equal(rows)).count:
            return Repeats(f"{equal.count} of its {len(rows)} rows", 1.0)
    for blocks in (2, 3, 4):
        if columns % blocks == 0 and columns >= 8 * blocks and tops.size:
            parts = np.split(tops, blocks, 1)
            if found := alike([standardized(part.reshape(-1)[:4096]) for part in parts]):
                first, second, correlation = max(found, key=lambda pair: pair.correlation)
                parts = f"blocks {first} and {second} of {blocks} along the last axis"
                return Repeats(parts, correlation)
    return None


class _Equal(NamedTuple):
    """How many vectors equal another one, and how many times each is there, if all are alike."""

    count: int
    copies: int


def _equal(vectors: np.ndarray) -> _Equal:
    """Counts equal vectors; those that are all zero do not count."""
    bits = np.ascontiguousarray(vectors.astype(np.float64)).view(np.uint64)
    weights = np.random.default_rng(0).integers(0, 2**63, bits.shape[1], np.uint64) * 2 + 1
    mixed = (bits ^ (bits >> np.uint64(29))) * weights
    prints = mixed.sum(1)[np.any(vectors != 0, 1)]
    _, counts = np.unique(prints, return_counts=True)
    copies = int(counts[0]) if len(set(counts.tolist())) == 1 and len(counts) > 1 else 0
    return _Equal(int(counts[counts > 1].sum()), copies)


def uneven(slices: np.ndarray) -> str | None:
    """The slice along axis 0 whose standard deviation is far from that of all others, in words."""
    stds = slices.astype(np.float64).std(1)
    median = float(np.median(stds))
    if len(stds) < 3 or not median:
        return None
    error = 8 / math.sqrt(2 * slices.shape[1])
    far = np.abs(stds / median - 1) > max(error, 0.3)
    if not far.any() or far.sum() > len(stds) // 3 or stds.min() == 0:
        return None
    worst = int(np.argmax(np.abs(np.log(stds / median))))
    return f"slice {worst} of axis 0 has std {stds[worst]:.3g}, the median slice {median:.3g}"


class Spectrum(NamedTuple):
    """The largest singular value, from below; the rank where it is low; whether all are equal."""

    largest: float
    rank: int | None
    is_flat: bool


def spectrum(matrix: np.ndarray) -> Spectrum:
    """The largest singular values, by a few steps of power iteration on several vectors."""
    a = matrix.astype(np.float32)
    energy = float(np.sum(a.astype(np.float64) ** 2))
    count = min(_VECTORS, *a.shape)
    basis = np.random.default_rng(0).standard_normal((a.shape[1], count)).astype(np.float32)
    for _ in range(_STEPS):
        basis = np.linalg.qr(a.T @ (a @ basis))[0]
    values = np.linalg.svd(a @ basis, compute_uv=False).astype(np.float64)
    held = np.cumsum(values**2) / max(energy, 1e-300)
    rank = int(np.searchsorted(held, _ENERGY)) + 1
    is_low = rank <= count and 4 * rank <= min(a.shape)
    is_flat = float(values[0]) ** 2 * min(a.shape) < 1.02 * energy
    return Spectrum(float(values[0]), rank if is_low else None, is_flat)


def is_scattered(matrix: np.ndarray) -> bool:
    """Whether nine in ten values are zero, and not by whole rows, blocks or equal counts."""
    filled = matrix != 0
    if filled.mean() > 0.1:
        return False
    rows, columns = filled.sum(1), filled.sum(0)
    in_used_rows = filled[rows > 0].mean() if rows.any() else 1.0
    equal_counts = len(np.unique(rows)) == 1 or len(np.unique(columns)) == 1
    return in_used_rows < 0.5 and not equal_counts

"""How large the values of a distribution are: the largest, and what share of them is near zero.

For example, 68 % of the values of a standard normal are at most 1 in magnitude. If a dtype rounds
everything up to 1e-3 to zero, then normal(1e-3) loses 68 % of its values there. So what a dtype
loses is known before anything is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

_MIDDLES = (np.arange(4096) + 0.5) / 4096  # of 4096 parts of [0, 1], for integrals


class Spread(NamedTuple):
    """The magnitudes of values: ``factor`` times those of a distribution of unit scale.

    Attributes:
      bound: the largest magnitude at unit scale.
      within: the share of values at unit scale whose magnitude is at most a number, a function of
        that number and of ``parameters``; of complex values both parts are. Values that are zero by
        design do not count.
      parameters: of the distribution.
      factor: what multiplies the values.
    """

    bound: float
    within: Callable[..., float]
    parameters: tuple[Any, ...] = ()
    factor: float = 1.0

    def times(self, factor: float) -> Spread:
        """The spread of ``factor`` times the values."""
        return self._replace(factor=self.factor * abs(factor))

    def up_to(self, cap: float) -> Spread:
        """The spread of the values, those beyond ``cap`` or its negative set to these."""
        return Spread(min(cap, self.largest), _capped, (cap, self))

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return self.bound * self.factor

    def share(self, limit: float) -> float:
        """The share of values whose magnitude is at most ``limit``."""
        return self.within(limit / self.factor, *self.parameters) if self.factor else 0.0


def _capped(limit: float, cap: float, inner: Spread) -> float:
    return 1.0 if limit >= cap else inner.share(limit)


def _point(limit: float) -> float:
    return float(limit >= 1)


def _uniform(limit: float) -> float:
    return min(limit, 1.0)


def _disk(limit: float) -> float:
    """The area of the disk within a square of sides 2 limit, over that of the disk."""
    if limit >= 1:
        return 1.0
    if limit <= math.sqrt(0.5):
        return 4 * limit**2 / math.pi
    return 1 - 4 * (math.acos(limit) - limit * math.sqrt(1 - limit**2)) / math.pi


def _normal(limit: float, lower: float, upper: float) -> float:
    """Of the standard normal truncated to [lower, upper]."""
    if limit >= max(abs(lower), abs(upper)):
        return 1.0
    low, high = max(lower, -limit), min(upper, limit)
    return _mass(low, high) / (_mass(lower, upper) or 1.0) if low < high else 0.0


def _mass(low: float, high: float) -> float:
    """P(low < Z < high) for a standard normal Z; from the tail where the interval is far out."""
    if low > 1:
        return (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2))) / 2
    if high < -1:
        return _mass(-high, -low)
    return (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2


def _complex_normal(limit: float, bound: float) -> float:
    """Of the complex normal with E|z|^2 = 1, truncated to |z| <= bound."""
    mass = -math.expm1(-(bound**2))
    if limit * math.sqrt(2) <= bound:  # the whole square lies in the disk
        return math.erf(limit) ** 2 / mass
    radius = np.sqrt(-np.log1p(-mass * _MIDDLES))
    return float(_inside(np.minimum(limit / radius, 1)).mean())


def _inside(ratio: np.ndarray) -> np.ndarray:
    """The share of a circle inside a square, whose half side over the radius is ``ratio``."""
    return np.maximum(1 - 4 * np.arccos(ratio) / math.pi, 0)


@lru_cache(maxsize=256)
def _direction(limit: float, size: int, complex: bool) -> float:
    """Of one coordinate of a unit vector of ``size`` coordinates, uniform in its direction.

    In three dimensions the coordinate is uniform on [-1, 1] (Archimedes). In m its density is in
    proportion to (1 - x^2)^((m - 3)/2); with x = sin(t) that is cos(t)^(m - 2) for t.
    """
    if limit >= 1 or (size == 1 and not complex):
        return float(limit >= 1)
    if complex:  # |z|^2 is Beta(1, size - 1), and 1 if the size is 1
        radius = np.sqrt(-np.expm1(np.log1p(-_MIDDLES) / max(size - 1, 1e-9)))
        return float(_inside(np.minimum(limit / radius, 1)).mean())
    end = math.asin(limit)
    inner = end * (np.cos(_MIDDLES * end) ** (size - 2)).mean()
    norm = math.lgamma(size / 2) - math.lgamma((size - 1) / 2)
    return 2 * inner * math.exp(norm) / math.sqrt(math.pi)


POINT = Spread(1.0, _point)  # every value is 1 or -1
UNIFORM = Spread(1.0, _uniform)  # on [0, 1] or [-1, 1]
DISK = Spread(1.0, _disk)  # uniform on |z| <= 1


def normal(lower: float = -math.inf, upper: float = math.inf, largest: float = 6.34) -> Spread:
    """The standard normal truncated to [lower, upper]; no word gives a value above ``largest``."""
    return Spread(min(max(abs(lower), abs(upper)), largest), _normal, (lower, upper))


def complex_normal(bound: float = math.inf) -> Spread:
    """The complex normal with E|z|^2 = 1, truncated to |z| <= bound."""
    return Spread(min(bound, 6.34), _complex_normal, (bound,))


def direction(size: int, complex: bool) -> Spread:
    """One coordinate of a uniformly distributed unit vector of ``size`` coordinates."""
    return Spread(1.0, _direction, (size, complex))


def moments(lower: float, upper: float) -> tuple[float, float]:
    """The mean and the standard deviation of the standard normal truncated to [lower, upper]."""
    if lower + upper < 0:
        mean, std = moments(-upper, -lower)
        return -mean, std
    if upper - lower < 1e-3:  # so narrow that it is uniform, and the formula would cancel
        return (lower + upper) / 2, (upper - lower) / math.sqrt(12)
    a, b = max(lower, -40.0), min(upper, 40.0)
    mass = _mass(a, b)
    low, high = (math.exp(-x * x / 2) / math.sqrt(math.tau) / mass for x in (a, b))
    mean = low - high
    return mean, math.sqrt(1 + a * low - b * high - mean**2)

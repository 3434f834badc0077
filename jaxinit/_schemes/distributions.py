"""Uniform, normal and truncated normal, with a scale of their own whatever the shape."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import numpy as np

from .._random import laws
from .._random.laws import Law
from .base import Drawn, Initializer
from .checks import DType, check_bound, check_positive, dtype_name, shown


@dataclass(frozen=True, repr=False)
class Uniform(Drawn):
    """Uniform on [0, scale]."""

    factory = "uniform"
    scale: float = 1e-2

    def law(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
        return laws.UNIFORM, self.scale


@dataclass(frozen=True, repr=False)
class SymmetricUniform(Drawn):
    """Uniform on [-bound, bound]."""

    factory = "symmetric_uniform"
    bound: float = 1e-2

    def law(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
        return laws.SYMMETRIC_UNIFORM, self.bound


@dataclass(frozen=True, repr=False)
class Normal(Drawn):
    """Normal with mean 0."""

    factory = "normal"
    stddev: float = 1e-2

    def law(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
        return laws.NORMAL, self.stddev


@dataclass(frozen=True, repr=False)
class TruncatedNormal(Drawn):
    """A multiple of a standard normal truncated to [lower, upper]."""

    factory = "truncated_normal"
    stddev: float = 1e-2
    lower: float = -2.0
    upper: float = 2.0

    def law(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
        return laws.truncated_normal(self.lower, self.upper), self.stddev


def uniform(scale: float = 1e-2, dtype: DType = None) -> Initializer:
    """Uniform on [0, scale]: mean scale/2, variance scale^2/12.

    Both ends can occur, after rounding to float32. With a complex dtype the values are uniform on
    the disk |z| <= scale, and E|z|^2 = scale^2/2.

    Args:
      scale: the upper end, above 0.
      dtype: the dtype where the call gives none.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: scale is not a number.
      ValueError: scale is not finite or not above 0; at the call, a dtype that is not floating or
        complex, or too narrow for the values.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.uniform(2.0)(jax.random.key(0), (512, 512))
      >>> f"{x.mean():.2f} {x.std():.2f}"
      '1.00 0.58'

    Source: ``jax.nn.initializers.uniform``, whose distribution this is.
    """
    if isinstance(dtype, numbers.Real):
        raise TypeError(
            f"uniform: takes one number, for values on [0, scale]; got {shown(scale)} and "
            f"{shown(dtype)}. For values on [-b, b] write symmetric_uniform(b)."
        )
    checked = check_positive("uniform", "scale", scale)
    return Uniform(checked, dtype=dtype_name("uniform", dtype))


def symmetric_uniform(bound: float = 1e-2, dtype: DType = None) -> Initializer:
    """Uniform on [-bound, bound]: mean 0, variance bound^2/3.

    What PyTorch's ``uniform_(-bound, bound)`` and Keras's ``RandomUniform(-bound, bound)`` draw.
    With a complex dtype the values are uniform on the disk |z| <= bound, and E|z|^2 = bound^2/2.

    Args:
      bound: the largest magnitude, above 0.
      dtype: the dtype where the call gives none.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: bound is not a number.
      ValueError: bound is not finite or not above 0; at the call, a dtype that is not floating or
        complex, or too narrow for the values.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.symmetric_uniform(0.05)(jax.random.key(0), (512, 512))
      >>> f"{x.min():.3f} {x.max():.3f}"
      '-0.050 0.050'

    Source: the default of PyTorch's layers and of Keras's embeddings.
    """
    checked = check_positive("symmetric_uniform", "bound", bound)
    return SymmetricUniform(checked, dtype=dtype_name("symmetric_uniform", dtype))


def normal(stddev: float = 1e-2, dtype: DType = None) -> Initializer:
    """Normal with mean 0 and standard deviation ``stddev``; magnitudes are at most 6.34 stddev.

    With a complex dtype the distribution is circular, and E|z|^2 = stddev^2.

    Args:
      stddev: the standard deviation, above 0.
      dtype: the dtype where the call gives none.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: stddev is not a number.
      ValueError: stddev is not finite or not above 0; at the call, a dtype that is not floating or
        complex, or too narrow for the values.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.normal(0.02)(jax.random.key(0), (512, 512))
      >>> f"{x.std():.3f}"
      '0.020'

    Source: ``jax.nn.initializers.normal``, whose distribution this is.
    """
    checked = check_positive("normal", "stddev", stddev)
    return Normal(checked, dtype=dtype_name("normal", dtype))


def truncated_normal(
    stddev: float = 1e-2, dtype: DType = None, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """``stddev`` times a standard normal truncated to [lower, upper].

    As in JAX, ``stddev`` is the standard deviation of the normal *before* truncation: with the
    bounds -2 and 2 the values have standard deviation 0.8796 stddev. The bounds are in units of
    ``stddev`` and may be infinite, and values are right far out in the tail. With a complex dtype
    and bounds -b and b the distribution is circular, truncated to |z| <= b stddev.

    Args:
      stddev: the standard deviation before truncation, above 0.
      dtype: the dtype where the call gives none.
      lower: the lower bound, in units of stddev.
      upper: the upper bound, above the lower one; the interval reaches within 37 of 0.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: stddev or a bound is not a number.
      ValueError: stddev is not finite or not above 0, bounds out of order, beyond 37 or within
        1e-6 of each other; at the call, a dtype that is not floating or complex, or too narrow for
        the values.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.truncated_normal(1.0, lower=5.0, upper=7.0)
      >>> x = init(jax.random.key(0), (64, 64))
      >>> bool((x >= 5).all() and (x <= 7).all()), f"{x.mean():.1f}"
      (True, '5.2')

    Source: ``jax.nn.initializers.truncated_normal``, whose distribution this is.
    """
    name = "truncated_normal"
    checked = check_positive(name, "stddev", stddev)
    low, high = check_bound(name, "lower", lower), check_bound(name, "upper", upper)
    if not low < high or low > 37 or high < -37:
        raise ValueError(
            f"{name}: expected lower < upper, reaching within 37 standard deviations of 0; "
            f"got lower={low}, upper={high}."
        )
    if high - low < 1e-6:
        raise ValueError(
            f"{name}: the bounds lie within 1e-6 of each other, too near to tell values apart; got "
            f"lower={low}, upper={high}."
        )
    return TruncatedNormal(checked, low, high, dtype=dtype_name(name, dtype))

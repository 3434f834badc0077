"""Mean field: what a wide layer of an activation does to the variance of signal and gradient.

With weights of variance sigma_w^2 / fan_in and biases of variance sigma_b^2, pre-activations of
variance q become sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2, z ~ N(0, 1), and a gradient's second
moment is multiplied by chi = sigma_w^2 E[phi'(sqrt(q) z)^2] on its way back. The edge of chaos is
where q is kept and chi is 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .activations import Activation, gain, resolve, values

_STEP = 1e-3  # of q, for the slope of the variance map; its error is of the square


class MeanField(NamedTuple):
    """An activation at pre-activations of variance ``q``.

    Attributes:
      q: the variance of the pre-activations.
      moment: E[phi(sqrt(q) z)^2].
      slope_moment: E[phi'(sqrt(q) z)^2].
      weight_variance: the critical sigma_w^2 = 1 / slope_moment: gradients are kept.
      bias_variance: the critical sigma_b^2 = q - weight_variance * moment: q is kept. Below zero,
        no edge of chaos has this q.
      stability: the slope of the variance map at q with these two; above 1, a deviation of q grows
        from layer to layer.
    """

    q: float
    moment: float
    slope_moment: float
    weight_variance: float
    bias_variance: float
    stability: float


def mean_field(activation: Activation, q: float = 1.0) -> MeanField:
    """The mean-field numbers of an activation, by quadrature to 1e-6.

    Args:
      activation: a name, a function of jax.nn or Flax, a ``functools.partial`` of one, any
        elementwise callable, or None (identity).
      q: the variance of the pre-activations, above 0.

    Returns:
      MeanField(q, moment, slope_moment, weight_variance, bias_variance, stability).

    Raises:
      ValueError: as ``gain`` does; q that is not positive and finite.
      TypeError: neither a name nor a callable.

    Example:
      >>> import jaxinit
      >>> found = jaxinit.mean_field("tanh")
      >>> f"{found.weight_variance:.4f} {found.bias_variance:.4f} {found.stability:.2f}"
      '2.1533 0.1510 0.39'

    Source: Poole et al. 2016, eq. 3 and 5; Schoenholz et al. 2017, eq. 3 to 5.
    """
    if not (isinstance(q, int | float) and math.isfinite(q) and q > 0):
        raise ValueError(f"mean_field: q must be a variance above 0; got {q!r}.")
    value, slope = moments(activation, float(q))
    weight = 1 / slope
    higher, lower = (moments(activation, q * (1 + step))[0] for step in (_STEP, -_STEP))
    stability = weight * (higher - lower) / (2 * _STEP * q)
    return MeanField(float(q), value, slope, weight, q - weight * value, stability)


def moments(activation: Activation, q: float = 1.0) -> tuple[float, float]:
    """E[phi(sqrt(q) z)^2] and E[phi'(sqrt(q) z)^2]."""
    if q == 1.0:
        return gain(activation) ** -2, gain(activation, "backward") ** -2
    function = resolve("mean_field", activation).function
    if function is None:
        gain(activation)  # raises, and says why
        raise AssertionError
    scaled = _scaled(function, math.sqrt(q))
    return gain(scaled) ** -2, gain(scaled, "backward") ** -2 / q


_Z = np.linspace(-8.5, 8.5, 4001)  # P(|z| > 8.5) < 1e-16
_WEIGHTS = np.exp(-_Z * _Z / 2) / np.exp(-_Z * _Z / 2).sum()


def moments_on_grid(activation: Activation, q: float) -> tuple[float, float]:
    """``moments`` on a grid, to 1e-4: quick enough for every layer of a deep model."""
    function = resolve("mean_field", activation).function
    if function is None:
        return q, 1.0
    z = math.sqrt(q) * _Z
    value, slope = values(function, z), values(function, z, derivative=True)
    return float(_WEIGHTS @ (value * value)), float(_WEIGHTS @ (slope * slope))


@functools.lru_cache(maxsize=512)
def _scaled(function: Callable[[Any], Any], factor: float) -> Callable[[Any], Any]:
    """phi(factor z); the same object each time, so that its quadrature is done once."""

    @functools.wraps(function)
    def scaled(z: Any) -> Any:
        return function(factor * z)

    return scaled

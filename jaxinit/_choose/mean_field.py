"""Mean-field theory: how a wide layer changes the variance of the signal and of the gradient.

Let weights have variance sigma_w^2/fan_in and biases variance sigma_b^2. A layer turns
pre-activations of variance q into pre-activations of variance

    sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2,  z ~ N(0, 1),

and multiplies the second moment of the gradient by chi = sigma_w^2 E[phi'(sqrt(q) z)^2] on its way
back. For example, for relu with sigma_w^2 = 2 and sigma_b^2 = 0 both are kept, at every q. The
*edge of chaos* is where q is kept and chi is 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .._schemes.checks import check_number, shown
from .activations import Activation, moment, moment_of, resolve, written

_STEP = 1e-3  # relative to q, for the slope of the variance map, whose error is of the order 1e-6


class MeanField(NamedTuple):
    """What ``mean_field`` returns: an activation, fed with pre-activations of variance ``q``.

    Attributes:
      q: the variance of the pre-activations.
      moment: E[phi(sqrt(q) z)^2].
      slope_moment: E[phi'(sqrt(q) z)^2].
      weight_variance: the critical sigma_w^2, 1/slope_moment, which keeps gradients.
      bias_variance: the critical sigma_b^2, q - weight_variance * moment, which keeps q. If it is
        negative, there is no edge of chaos with this q.
      stability: the slope of the variance map at q, with these two variances. Above 1, a deviation
        from q grows from layer to layer.
    """

    q: float
    moment: float
    slope_moment: float
    weight_variance: float
    bias_variance: float
    stability: float


def mean_field(activation: Activation, q: float = 1.0) -> MeanField:
    """The mean-field numbers of an activation, with a relative error below 1e-6.

    Args:
      activation: a name; a function or module of JAX, Flax or your own that maps each value by
        itself; a ``functools.partial`` of one; or None, which is the identity.
      q: the variance of the pre-activations, a positive number.

    Returns:
      MeanField(q, moment, slope_moment, weight_variance, bias_variance, stability).

    Raises:
      ValueError: the activation has no gain (see ``gain``), or q is not positive and finite.
      TypeError: the activation is neither a name nor callable.

    Example:
      >>> import jaxinit
      >>> found = jaxinit.mean_field("tanh")
      >>> f"{found.weight_variance:.4f} {found.bias_variance:.4f} {found.stability:.2f}"
      '2.1533 0.1510 0.39'

    Source: Poole et al. 2016, eq. 3 and 5; Schoenholz et al. 2017, eq. 3 to 5.
    """
    variance = check_variance("mean_field", q)
    value, slope = (moment_at("mean_field", activation, variance, back) for back in (False, True))
    weight = 1 / slope
    ends = (variance * (1 + step) for step in (_STEP, -_STEP))
    higher, lower = (moment_at("mean_field", activation, end) for end in ends)
    stability = weight * (higher - lower) / (2 * _STEP * variance)
    return MeanField(variance, value, slope, weight, variance - weight * value, stability)


def check_variance(name: str, q: Any) -> float:
    """The variance of pre-activations, a finite number above 0, as a float."""
    variance = check_number(name, "q", q)
    if variance <= 0:
        raise ValueError(f"{name}: q must be a variance above 0; got {shown(q)}.")
    return variance


def moment_at(name: str, activation: Activation, q: float = 1.0, backward: bool = False) -> float:
    """E[phi(sqrt(q) z)^2], or E[phi'(sqrt(q) z)^2]. ``name`` is the call that an error names."""
    if q == 1.0:
        return moment(name, activation, backward)
    found, text = resolve(name, activation), written(activation)
    if found.function is not None:
        found = found._replace(known=None, function=_scaled(found.function, math.sqrt(q)))
    return moment_of(name, found, text, backward) / (q if backward else 1)


@functools.lru_cache(maxsize=512)
def _scaled(function: Callable[[Any], Any], factor: float) -> Callable[[Any], Any]:
    """phi(factor * z). It is the same object each time, so that it is integrated only once."""

    @functools.wraps(function)
    def scaled(z: Any) -> Any:
        return function(factor * z)

    return scaled

"""Choosing: from an activation to the initializer that suits it, with the reason and the source."""

from __future__ import annotations

from typing import NamedTuple

from .. import initializers
from .._schemes.base import Initializer
from .._schemes.variance import DISTRIBUTIONS, MODES, DistributionName, Mode
from .activations import Activation, Resolved, gain, resolve


class Recommendation(NamedTuple):
    """An initializer, why it is the one, and where that is said."""

    initializer: Initializer
    reason: str
    source: str

    def __str__(self) -> str:
        return f"{self.initializer!r}\n  {self.reason}\n  Source: {self.source}."


def recommend(
    activation: Activation,
    distribution: DistributionName = "truncated_normal",
    mode: Mode | None = None,
) -> Recommendation:
    """The initializer for the kernel of a layer that feeds ``activation``.

    - relu, leaky_relu, prelu, rrelu, elu: He, variance 2/((1 + a^2) fan_in), a the slope below 0.
    - selu: LeCun, variance 1/fan_in.
    - sigmoid, tanh, softmax, log_softmax, identity or None: Glorot, variance 2/(fan_in + fan_out).
    - relu6, celu, gelu, silu, mish, softplus and any other elementwise function: variance
      gain^2/fan_in, ``gain`` as ``jaxinit.gain`` computes it.

    Args:
      activation: a name, a function of jax.nn or Flax, a ``functools.partial`` of one (leaky_relu's
        slope counts), any elementwise callable, or None. As a name, "prelu" has slope 0.25.
      distribution: "truncated_normal" (Keras calls it "normal"), "normal" or "uniform".
      mode: in place of the family's own fan. "fan_avg" is the advice for consecutive ReLU layers
        of very different sizes.

    Returns:
      Recommendation(initializer, reason, source).

    Raises:
      ValueError: an unknown name, distribution or mode; a function that is not elementwise and not
        softmax, or not finite.
      TypeError: neither a name nor a callable.

    Example:
      >>> import jaxinit
      >>> jaxinit.recommend("relu").initializer
      he_normal()

    Source: He et al. 2015; Klambauer et al. 2017; Glorot & Bengio 2010.
    """
    for option, value, known in (
        ("distribution", distribution, DISTRIBUTIONS),
        ("mode", mode, (None, *MODES)),
    ):
        if value not in known:
            names = ", ".join(name for name in known if name)
            raise ValueError(f"recommend: {option} must be one of {names}; got {value!r}.")
    found = resolve("recommend", activation)
    scale, own_mode, reason = _advise(found, activation)
    source = found.known.source if found.known else "He et al. 2015, eq. 8"
    if mode is not None and mode != own_mode:
        reason += f" Asked for {mode} in place of {own_mode}."
    init = initializers.variance_scaling(scale, mode or own_mode, distribution)
    return Recommendation(init, reason, source)


def for_activation(
    activation: Activation,
    distribution: DistributionName = "truncated_normal",
    mode: Mode | None = None,
) -> Initializer:
    """``recommend(...).initializer``.

    Example:
      >>> import jaxinit
      >>> jaxinit.for_activation("tanh", distribution="uniform")
      glorot_uniform()
    """
    return recommend(activation, distribution, mode).initializer


def _advise(found: Resolved, activation: Activation) -> tuple[float, Mode, str]:
    """(scale, mode, reason)."""
    known = found.known
    advice = known.advice if known else "gain"
    if advice == "none" and known:
        raise ValueError(
            f"recommend: {known.name} combines several inputs into one output, so the fan does not "
            f"settle its variance; give initializers.variance_scaling a scale yourself."
        )
    if advice == "he" and known:
        return _advise_he(found, activation)
    if advice == "lecun":
        return 1.0, "fan_in", "SELU normalises itself when weights have variance 1/fan_in."
    if advice == "glorot" and known:
        why = (
            "A softmax wants logits of moderate size in both directions"
            if "softmax" in known.name
            else f"{known.name} is near linear at 0"
        )
        return 1.0, "fan_avg", f"{why}: variance 2/(fan_in + fan_out) serves both passes."
    value = gain(activation)
    name = known.name if known else "This function"
    return value**2, "fan_in", (
        f"{name} has no scheme of its own: by E[phi(z)^2] = {value**-2:.4f} the variance "
        f"{value**2:.4f}/fan_in keeps the second moment."
    )  # fmt: skip


def _advise_he(found: Resolved, activation: Activation) -> tuple[float, Mode, str]:
    assert found.known is not None
    name, slope = found.known.name, found.parameter
    avg = " Between layers of very different sizes mode='fan_avg' balances the two passes."
    if name == "elu":
        exact = gain(activation) ** 2
        why = f"By the field's advice as for ReLU; elu's exact factor is {exact:.2f}."
        return 2.0, "fan_in", why + avg
    if found.known.parameter:
        scale = 2 / (1 + slope**2)
        why = f"{name} with slope {slope:g} below 0 keeps (1 + {slope:g}^2)/2 of the second moment"
        return scale, "fan_in", f"{why}: scale {scale:.4g}." + avg
    return 2.0, "fan_in", f"{name} halves the second moment, so the variance doubles." + avg

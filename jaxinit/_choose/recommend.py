"""Choosing an initializer for an activation function, with the reason and the source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .. import _text, initializers
from .._schemes.base import Initializer
from .._schemes.checks import check_choice
from .._schemes.variance import DISTRIBUTIONS, MODES, NAMED, DistributionName, Mode
from .activations import Activation, Resolved, moment_of, resolve, written
from .gating import gated_scale, maxout_moment

_CLOSE = 1e-5  # a scale that is as near as this to a named scheme's is that scheme
_SAME_OPTION = 1e-2  # as the option may have been read from values in bfloat16


class Recommendation(NamedTuple):
    """An initializer, why it is the right one, and where that is said."""

    initializer: Initializer
    reason: str
    source: str

    def __str__(self) -> str:
        told = _text.wrapped(self.reason, "  ") + _text.wrapped(f"Source: {self.source}.", "  ")
        return "\n".join([repr(self.initializer), *told])

    def _repr_html_(self) -> str:
        return _text.notebook(repr(self.initializer), (), (), notes=(self.reason, self.source))


def recommend(
    activation: Activation,
    distribution: DistributionName = "truncated_normal",
    mode: Mode | None = None,
) -> Recommendation:
    """The initializer for the kernel of a layer that feeds an activation.

    A function is recognised by its values, so ``jnp.tanh``, ``jax.jit(jnp.tanh)`` and
    ``lambda x: jnp.tanh(x)`` get the same answer.

    - relu, leaky_relu, prelu, rrelu, relu6, and elu and celu with alpha 1: He, with variance
      2/((1 + a^2) fan_in), a the slope below 0.
    - selu: LeCun, with variance 1/fan_in.
    - sigmoid, tanh and their relatives (hard_sigmoid, hard_tanh, softsign, log_sigmoid), softmax,
      log_softmax, identity or None: Glorot, with variance 2/(fan_in + fan_out).
    - gelu, silu, mish: variance gain^2/fan_in, where ``jaxinit.gain`` computes the gain. Many
      models use ``he_normal`` here; the reason says what each does to the signal.
    - any other elementwise function, such as softplus, or elu with another alpha: variance
      gain^2/fan_in.
    - glu, swiglu, geglu, reglu, maxout: the variance with which the combined output keeps the
      second moment.

    Args:
      activation: a name; a function or module of JAX, Flax or your own; a ``functools.partial``,
        where the slope of a leaky_relu counts; or None, which is the identity. By its name, "prelu"
        has slope 0.25.
      distribution: "truncated_normal" (Keras calls it "normal"), "normal" or "uniform".
      mode: which fan to divide by, instead of the one named above. "fan_avg" is advised between
        consecutive ReLU layers of very different sizes.

    Returns:
      Recommendation(initializer, reason, source).

    Raises:
      ValueError: the name, the distribution or the mode is unknown; or the function is not
        elementwise and not a known one, is not finite, or has an infinite second moment.
      TypeError: the activation is neither a name nor callable.

    Example:
      >>> import jaxinit
      >>> jaxinit.recommend("relu").initializer
      he_normal()

    Source: He et al. 2015; Klambauer et al. 2017; Glorot & Bengio 2010.
    """
    return _recommended("recommend", activation, distribution, mode)


def for_activation(
    activation: Activation,
    distribution: DistributionName = "truncated_normal",
    mode: Mode | None = None,
) -> Initializer:
    """The initializer of ``recommend``, without the reason.

    Args:
      activation: as ``recommend`` takes it.
      distribution: as ``recommend`` takes it.
      mode: as ``recommend`` takes it.

    Returns:
      The initializer.

    Raises:
      ValueError, TypeError: as ``recommend`` does.

    Example:
      >>> import jaxinit
      >>> jaxinit.for_activation("tanh", distribution="uniform")
      glorot_uniform()

    Source: as ``recommend`` gives it.
    """
    return _recommended("for_activation", activation, distribution, mode).initializer


def _recommended(
    name: str, activation: Activation, distribution: DistributionName, mode: Mode | None
) -> Recommendation:
    """``recommend``; errors name the call ``name``."""
    check_choice(name, "distribution", distribution, DISTRIBUTIONS)
    if mode is not None:
        check_choice(name, "mode", mode, MODES)
    found = resolve(name, activation)
    advice = _ADVICE[found.known.advice if found.known else "gain"]
    scale, own_mode, reason = advice(name, found, written(activation))
    source = found.known.source if found.known else "He et al. 2015, eq. 7"
    if mode is not None and mode != own_mode:
        reason += f" You asked for {mode} instead of {own_mode}."
    init = initializers.variance_scaling(_as_named(scale), mode or own_mode, distribution)
    return Recommendation(init, reason, source)


_Advised = tuple[float, Mode, str]  # scale, mode, reason
_AVERAGE = " Between layers of very different sizes, mode='fan_avg' balances the two passes."


def _he(call: str, found: Resolved, text: str) -> _Advised:
    assert found.known is not None
    name, slope = found.known.name, found.parameter
    if name in ("elu", "celu"):
        if not math.isclose(slope, found.known.default, rel_tol=_SAME_OPTION):
            why = f"The field initialises {name} as ReLU for alpha = 1, and here it is {slope:g}."
            return _by_moment(call, found, text, why)
        exact = 1 / moment_of(call, found, text)
        return 2.0, "fan_in", (
            f"The field initialises {name} as ReLU, which it resembles; the scale that keeps the "
            f"second moment exactly would be {exact:.2f}.{_AVERAGE}"
        )  # fmt: skip
    if name == "relu6":
        return 2.0, "fan_in", (
            f"relu6 is ReLU for all but very large values: it halves the second moment, so the "
            f"variance doubles.{_AVERAGE}"
        )  # fmt: skip
    if found.known.parameter:
        return 2 / (1 + slope**2), "fan_in", (
            f"{name} with slope {slope:g} below 0 keeps (1 + {slope:g}^2)/2 of the second moment, "
            f"so the scale is 2/(1 + {slope:g}^2).{_AVERAGE}"
        )  # fmt: skip
    return 2.0, "fan_in", f"{name} halves the second moment, so the variance doubles.{_AVERAGE}"


def _lecun(call: str, found: Resolved, text: str) -> _Advised:
    return 1.0, "fan_in", "SELU normalises itself if weights have variance 1/fan_in."


def _glorot(call: str, found: Resolved, text: str) -> _Advised:
    assert found.known is not None
    name = found.known.name
    if name in ("softmax", "log_softmax", "log_sigmoid"):
        why = f"{name} needs inputs of moderate size"
    elif name == "identity":
        why = "Without an activation a layer is linear"
    else:
        why = f"{name} is nearly linear around 0"
    return 1.0, "fan_avg", (
        f"{why}: variance 2/(fan_in + fan_out) is a compromise between the forward and the "
        f"backward pass."
    )  # fmt: skip


def _gain(call: str, found: Resolved, text: str) -> _Advised:
    name = found.known.name if found.known else "This function"
    return _by_moment(call, found, text, f"{name} has no scheme of its own.")


def _by_moment(call: str, found: Resolved, text: str, why: str) -> _Advised:
    """The scale that keeps the second moment, and why it is that."""
    moment = moment_of(call, found, text)
    return 1 / moment, "fan_in", (
        f"{why} It keeps E[phi(z)^2] = {moment:.4f} of the second "
        f"moment, so the scale is its inverse, {_short(1 / moment):g}."
    )  # fmt: skip


# What 50 layers without normalization make of pre-activations of variance 1 with he_normal, and of
# variance 1.1 with the exact gain: by iterating the variance map of mean-field theory.
_AFTER_50_LAYERS = {"gelu": ("3e-14", "270"), "silu": ("3e-15", "1.7e5"), "mish": ("8e-7", "8.8")}


def _both(call: str, found: Resolved, text: str) -> _Advised:
    assert found.known is not None
    name, moment = found.known.name, moment_of(call, found, text)
    falls, grows = _AFTER_50_LAYERS[name]
    return 1 / moment, "fan_in", (
        f"Two choices are common. The field mostly takes he_normal() (scale 2), because {name} "
        f"resembles ReLU. The exact scale is 1/E[phi(z)^2] = {_short(1 / moment):g}; it is the one "
        f"given here, because it keeps the second moment from layer to layer. Over 50 layers "
        f"without normalization or residual branches, he_normal() lets a variance of 1 fall to "
        f"{falls}; the exact scale keeps it, but a variance of 1.1 grows to {grows}. With "
        f"normalization, or with few layers, both work."
    )  # fmt: skip


def _gated(call: str, found: Resolved, text: str) -> _Advised:
    assert found.known is not None
    name = found.known.name
    scale, growth = gated_scale(name)
    return scale, "fan_in", (
        f"{name} multiplies one output of the layer with a function of another, its gate. If the "
        f"two are independent with variance {_short(scale):g}, their product has second moment 1, "
        f"so this scale, for both kernels, keeps the second moment. A deviation from 1 grows "
        f"{growth:.2g}-fold in each such layer, so normalise its input."
    )  # fmt: skip


def _maxout(call: str, found: Resolved, text: str) -> _Advised:
    more = ", ".join(f"{_short(1 / maxout_moment(k)):.3g} for {k}" for k in (3, 4, 5))
    return 1 / maxout_moment(2), "fan_in", (
        f"The larger of two independent outputs has the second moment of one, so variance 1/fan_in "
        f"keeps it. With more pieces the scale is 1/E[max^2]: {more}."
    )  # fmt: skip


_ADVICE: dict[str, Callable[[str, Resolved, str], _Advised]] = {
    "he": _he,
    "lecun": _lecun,
    "glorot": _glorot,
    "gain": _gain,
    "both": _both,
    "gated": _gated,
    "maxout": _maxout,
}


def _as_named(scale: float) -> float:
    """The scale of a named scheme, if it is as good as that, else the scale in few digits."""
    named = (scheme[0] for scheme in NAMED.values())
    return next((x for x in named if math.isclose(scale, x, rel_tol=_CLOSE)), _short(scale))


def _short(scale: float) -> float:
    """A scale with six significant digits, which is as accurate as the integral behind it."""
    return float(f"{scale:.6g}")

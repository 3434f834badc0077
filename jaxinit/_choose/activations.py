"""Activations: what is known of each, and its gain.

An activation is a name, a function of jax.nn, jax.numpy, jax.lax or Flax, a
``functools.partial`` of one, or any elementwise callable. The gain of phi is 1/sqrt(E[phi(z)^2])
for z ~ N(0, 1): weights of variance gain^2/fan_in keep the second moment of what passes phi.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Activation = str | Callable[..., Any] | None
Direction = Literal["forward", "backward"]
Advice = Literal["he", "lecun", "glorot", "gain", "none"]

_REACH = 13.0  # P(|z| > 13) < 1e-37
_TOLERANCE = 1e-9  # of the whole integral
_MOST_PANELS = 20_000


class Known(NamedTuple):
    """What is known of a named activation.

    ``function`` is None where one output depends on several inputs. ``parameter`` is the option
    that shapes it, with its default. ``moments`` gives E[phi^2] and E[phi'^2] from it, exactly.
    """

    name: str
    advice: Advice
    source: str
    function: Callable[..., Any] | None
    parameter: str = ""
    default: float = 0.0
    moments: Callable[[float], tuple[float, float]] | None = None


class Resolved(NamedTuple):
    """An activation as given: its record if it is a known one, its function, its parameter."""

    known: Known | None
    function: Callable[[Any], Any] | None
    parameter: float


def _leaky_moments(slope: float) -> tuple[float, float]:
    return (1 + slope**2) / 2, (1 + slope**2) / 2


def _below(x: float) -> float:
    """P(z < x)."""
    return math.erfc(-x / math.sqrt(2)) / 2


def _elu_moments(alpha: float, scale: float = 1.0) -> tuple[float, float]:
    """From E[e^(tz); z < 0] = e^(t^2/2) P(z < -t)."""
    twice = math.exp(2) * _below(-2)
    value = twice - 2 * math.exp(0.5) * _below(-1) + 0.5
    return scale**2 * (0.5 + alpha**2 * value), scale**2 * (0.5 + alpha**2 * twice)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _selu_moments(_: float) -> tuple[float, float]:
    return _elu_moments(_SELU_ALPHA, _SELU_SCALE)


def _mish(x: Any) -> Any:
    return x * jnp.tanh(jax.nn.softplus(x))


def _squared_relu(x: Any) -> Any:
    return jnp.square(jax.nn.relu(x))


def _prelu(x: Any, negative_slope: float = 0.25) -> Any:
    return jax.nn.leaky_relu(x, negative_slope)


def _identity(x: Any) -> Any:
    return x


_HE = "He et al. 2015, eq. 10 and 14"
_PRELU = "He et al. 2015, eq. 15"
_GLOROT = "Glorot & Bengio 2010, eq. 12 and 16"
_ELU = "Clevert et al. 2016, eq. 1; initialised as in He et al. 2015"
_SELU = "Klambauer et al. 2017, eq. 2 and section 3, 'Initialization'"
_GAIN = "He et al. 2015, eq. 8, with E[phi^2] of the activation"

_ROWS = (
    Known("identity", "glorot", _GLOROT, _identity, moments=lambda _: (1.0, 1.0)),
    Known("relu", "he", _HE, jax.nn.relu, moments=lambda _: (0.5, 0.5)),
    Known("leaky_relu", "he", _PRELU, jax.nn.leaky_relu, "negative_slope", 0.01, _leaky_moments),
    Known("prelu", "he", _PRELU, _prelu, "negative_slope", 0.25, _leaky_moments),
    # Slope uniform on [1/8, 1/3] while training, its mean otherwise (Xu et al. 2015).
    Known("rrelu", "he", _HE, _prelu, "negative_slope", 11 / 48, _leaky_moments),
    Known("elu", "he", _ELU, jax.nn.elu, "alpha", 1.0, _elu_moments),
    Known("selu", "lecun", _SELU, jax.nn.selu, moments=_selu_moments),
    Known("sigmoid", "glorot", _GLOROT, jax.nn.sigmoid),
    Known("tanh", "glorot", _GLOROT, jnp.tanh),
    Known("softmax", "glorot", _GLOROT, None),
    Known("log_softmax", "glorot", _GLOROT, None),
    Known("relu6", "gain", _GAIN, jax.nn.relu6),
    Known("celu", "gain", _GAIN, jax.nn.celu, "alpha", 1.0),
    Known("gelu", "gain", _GAIN, jax.nn.gelu, "approximate", 1.0),
    Known("silu", "gain", _GAIN, jax.nn.silu),
    Known("mish", "gain", _GAIN, _mish),
    Known("softplus", "gain", _GAIN, jax.nn.softplus),
    Known("squareplus", "gain", _GAIN, jax.nn.squareplus, "b", 4.0),
    Known("squared_relu", "gain", _GAIN, _squared_relu),
    Known("softsign", "gain", _GAIN, jax.nn.soft_sign),
    Known("hard_tanh", "gain", _GAIN, jax.nn.hard_tanh),
    Known("hard_sigmoid", "gain", _GAIN, jax.nn.hard_sigmoid),
    Known("hard_silu", "gain", _GAIN, jax.nn.hard_silu),
    Known("log_sigmoid", "gain", _GAIN, jax.nn.log_sigmoid),
    Known("glu", "none", "", None),
    Known("maxout", "none", "", None),
)
_BY_NAME = {row.name: row for row in _ROWS}
_ALIASES = {
    "linear": "identity",
    "none": "identity",
    "swish": "silu",
    "soft_sign": "softsign",
    "hard_swish": "hard_silu",
    "hardtanh": "hard_tanh",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_silu",
    "leakyrelu": "leaky_relu",
    "logistic": "sigmoid",
    "relu2": "squared_relu",
}
_BY_FUNCTION: dict[Any, str] = {
    **{row.function: row.name for row in _ROWS if row.name != "rrelu" and row.function},
    jax.nn.softmax: "softmax",
    jax.nn.log_softmax: "log_softmax",
    jax.nn.glu: "glu",
    jax.nn.identity: "identity",
    jax.nn.tanh: "tanh",
    jax.nn.mish: "mish",
    jax.nn.swish: "silu",
    jax.nn.hard_swish: "hard_silu",
    lax.tanh: "tanh",
    lax.logistic: "sigmoid",
}


def resolve(name: str, activation: Activation) -> Resolved:
    """What an activation is; ``name`` is the call to name in an error."""
    if activation is None:
        activation = "identity"
    if isinstance(activation, str):
        known = _lookup(name, activation)
        return Resolved(known, known.function, known.default)
    if not callable(activation):
        raise TypeError(
            f"{name}: activation must be a name, a function or None; got {activation!r}."
        )
    options: dict[str, Any] = {}
    bare: Any = activation
    while isinstance(bare, functools.partial) and not bare.args:
        options = {**bare.keywords, **options}
        bare = bare.func
    try:
        known = _BY_NAME.get(_BY_FUNCTION.get(bare, ""))
    except TypeError:  # not hashable
        known = None
    if known is None or known.function is None:
        return Resolved(known, activation if known is None else None, 0.0)
    return Resolved(known, activation, _parameter(known, options))


def _parameter(known: Known, options: Mapping[str, Any]) -> float:
    return float(options.get(known.parameter, known.default))


def _lookup(name: str, activation: str) -> Known:
    key = activation.strip().lower().replace("-", "_")
    key = _ALIASES.get(key, key)
    if key not in _BY_NAME:
        names = sorted({*_BY_NAME, *_ALIASES})
        close = difflib.get_close_matches(key, names, 3) or names
        raise ValueError(
            f"{name}: unknown activation {activation!r}; did you mean {', '.join(close)}? "
            f"Any elementwise function is taken as it is."
        )
    return _BY_NAME[key]


def gain(activation: Activation, direction: Direction = "forward") -> float:
    """1/sqrt(E[phi(z)^2]) for z ~ N(0, 1), or of the derivative phi' for "backward".

    Weights of variance gain^2/fan_in keep the second moment from layer to layer. In closed form for
    the piecewise linear functions, ELU and SELU; otherwise by adaptive quadrature to 1e-6, wherever
    the function has its kinks. Works under any trace and returns a Python float.

    Args:
      activation: a name, a function of jax.nn or Flax, a ``functools.partial`` of one, any
        elementwise callable, or None (identity).
      direction: "forward" or "backward".

    Returns:
      The gain, a float.

    Raises:
      ValueError: an unknown name or direction; a function that is not elementwise (softmax), not
        finite, or zero everywhere.
      TypeError: neither a name nor a callable.

    Example:
      >>> import jaxinit
      >>> f"{jaxinit.gain('relu'):.4f} {jaxinit.gain('tanh'):.4f}"
      '1.4142 1.5925'

    Source: He et al. 2015, eq. 8 and 14; for ``direction`` Schoenholz et al. 2017, eq. 5.
    """
    if direction not in ("forward", "backward"):
        raise ValueError(f"gain: direction must be forward or backward; got {direction!r}.")
    found = resolve("gain", activation)
    backward = direction == "backward"
    if found.function is None:
        raise ValueError(
            f"gain: {_written(activation)} is not elementwise, so it has no gain; "
            f"use recommend for an initializer, or give the scale yourself."
        )
    if found.known is not None and found.known.moments is not None:
        moment = found.known.moments(found.parameter)[backward]
    else:
        moment = _second_moment(found.function, backward, _written(activation))
    if moment <= 1e-30:
        what = "derivative" if backward else "value"
        raise ValueError(
            f"gain: the {what} of {_written(activation)} is zero on N(0, 1), so no gain keeps it; "
            f"give the scale yourself."
        )
    return 1 / math.sqrt(moment)


def _written(activation: Activation) -> str:
    if isinstance(activation, str) or activation is None:
        return repr(activation)
    return getattr(activation, "__name__", repr(activation))


@functools.lru_cache(maxsize=512)
def _second_moment(function: Callable[[Any], Any], derivative: bool, written: str) -> float:
    """E[phi(z)^2] by Gauss-Legendre panels, each halved until its halves agree with it."""
    _check_elementwise(function, written)
    nodes, weights = np.polynomial.legendre.leggauss(12)

    def integrate(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        half = (right - left) / 2
        z = (left + right)[:, None] / 2 + half[:, None] * nodes
        values = _evaluate(function, z.reshape(-1), derivative, written).reshape(z.shape)
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return half * ((values * values * density) @ weights)

    edges = np.linspace(-_REACH, _REACH, 53)
    left, right = edges[:-1], edges[1:]
    whole, settled, panels = integrate(left, right), 0.0, 0
    while left.size:
        middle = (left + right) / 2
        first, second = integrate(left, middle), integrate(middle, right)
        scale = settled + float(np.sum(first + second))
        panels += left.size
        rough = np.abs(first + second - whole) > _TOLERANCE * max(scale, 1e-300) / 64
        rough &= (right - left > 1e-9) & (panels < _MOST_PANELS)
        settled += float(np.sum((first + second)[~rough]))
        left, right = (
            np.concatenate([left[rough], middle[rough]]),
            np.concatenate([middle[rough], right[rough]]),
        )
        whole = np.concatenate([first[rough], second[rough]])
    return settled


def _evaluate(
    function: Callable[[Any], Any], z: np.ndarray, derivative: bool, written: str
) -> np.ndarray:
    """phi or phi' at z in float64, now, whatever is being traced around."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        x = jnp.asarray(z, jnp.float64)
        if derivative:
            _, y = jax.jvp(function, (x,), (jnp.ones_like(x),))
        else:
            y = function(x)
        values = np.asarray(y, np.float64)
    if values.shape != z.shape:
        raise ValueError(
            f"gain: {written} is not elementwise: it maps shape {z.shape} to {values.shape}; "
            f"give a function of one value, or the scale yourself."
        )
    if not np.isfinite(values).all():
        bad = z[~np.isfinite(values)][0]
        raise ValueError(f"gain: {written} is not finite at {bad:.3g}; give the scale yourself.")
    return values


def _check_elementwise(function: Callable[[Any], Any], written: str) -> None:
    """Each output must depend on its own input alone: the same among other neighbours."""
    z = np.linspace(-3.0, 3.0, 32)
    together = _evaluate(function, z, False, written)
    apart = _evaluate(function, z[::-3], False, written)
    if not np.allclose(together[::-3], apart, rtol=1e-6, atol=1e-12):
        raise ValueError(
            f"gain: {written} is not elementwise: its value at one input depends on the others; "
            f"give a function of one value, or the scale yourself."
        )


def elementwise() -> dict[str, Callable[[Any], Any]]:
    """The known functions of one value, by name; of a family the member its defaults give."""
    return {row.name: row.function for row in _ROWS if row.function and row.name != "rrelu"}


def values(function: Callable[[Any], Any], z: np.ndarray, derivative: bool = False) -> np.ndarray:
    """A function of one value, or its derivative, in float64."""
    return _evaluate(function, z, derivative, _written(function))

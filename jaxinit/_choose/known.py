"""The table of known activations: names, formulas, and the initializer the literature pairs with
each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Advice = Literal["he", "lecun", "glorot", "gain", "both", "gated", "maxout"]


class Known(NamedTuple):
    """One row of the table.

    Attributes:
      name: the name of the activation.
      advice: which initializer goes with it; ``recommend`` says what each word means.
      source: where that is said.
      function: the function of one value; None if an output depends on several inputs.
      parameter: the option that gives the function its shape, such as a slope.
      default: the value of that option if it is not given.
      moments: E[phi^2] and E[phi'^2] for z ~ N(0, 1), exactly, as a function of the parameter.
    """

    name: str
    advice: Advice
    source: str
    function: Callable[..., Any] | None
    parameter: str = ""
    default: float = 0.0
    moments: Callable[[float], tuple[float, float]] | None = None


def _leaky_moments(slope: float) -> tuple[float, float]:
    return (1 + slope**2) / 2, (1 + slope**2) / 2


def _below(x: float) -> float:
    """P(z < x) for a standard normal z."""
    return math.erfc(-x / math.sqrt(2)) / 2


def _elu_moments(alpha: float, scale: float = 1.0) -> tuple[float, float]:
    """By E[e^(tz); z < 0] = e^(t^2/2) P(z < -t)."""
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
_CELU = "Barron 2017, eq. 2; initialised as in He et al. 2015"
_RELU6 = "Howard et al. 2017 (MobileNets); initialised as in He et al. 2015"
_SELU = "Klambauer et al. 2017, eq. 2 and section 3, 'Initialization'"
_GAIN = "He et al. 2015, eq. 7, with E[phi^2] of the activation"
_GATED = "Dauphin et al. 2017 (GLU); Shazeer 2020 (its variants); He et al. 2015, eq. 7"
_MAXOUT = "Goodfellow et al. 2013, eq. 1; He et al. 2015, eq. 7"

ROWS = (
    Known("identity", "glorot", _GLOROT, _identity, moments=lambda _: (1.0, 1.0)),
    Known("relu", "he", _HE, jax.nn.relu, moments=lambda _: (0.5, 0.5)),
    Known("leaky_relu", "he", _PRELU, jax.nn.leaky_relu, "negative_slope", 0.01, _leaky_moments),
    Known("prelu", "he", _PRELU, _prelu, "negative_slope", 0.25, _leaky_moments),
    # While training, the slope is uniform on [1/8, 1/3]; otherwise its mean (Xu et al. 2015).
    Known("rrelu", "he", _HE, _prelu, "negative_slope", 11 / 48, _leaky_moments),
    Known("relu6", "he", _RELU6, jax.nn.relu6),
    Known("elu", "he", _ELU, jax.nn.elu, "alpha", 1.0, _elu_moments),
    Known("celu", "he", _CELU, jax.nn.celu, "alpha", 1.0),
    Known("selu", "lecun", _SELU, jax.nn.selu, moments=_selu_moments),
    Known("sigmoid", "glorot", _GLOROT, jax.nn.sigmoid),
    Known("tanh", "glorot", _GLOROT, jnp.tanh),
    Known("softsign", "glorot", _GLOROT, jax.nn.soft_sign),
    Known("hard_tanh", "glorot", _GLOROT, jax.nn.hard_tanh),
    Known("hard_sigmoid", "glorot", _GLOROT, jax.nn.hard_sigmoid),
    Known("log_sigmoid", "glorot", _GLOROT, jax.nn.log_sigmoid),
    Known("softmax", "glorot", _GLOROT, None),
    Known("log_softmax", "glorot", _GLOROT, None),
    Known("gelu", "both", _GAIN, jax.nn.gelu, "approximate", 1.0),
    Known("silu", "both", _GAIN, jax.nn.silu),
    Known("mish", "both", _GAIN, _mish),
    Known("softplus", "gain", _GAIN, jax.nn.softplus),
    Known("squareplus", "gain", _GAIN, jax.nn.squareplus, "b", 4.0),
    Known("squared_relu", "gain", _GAIN, _squared_relu),
    Known("hard_silu", "gain", _GAIN, jax.nn.hard_silu),
    Known("glu", "gated", _GATED, None),
    Known("swiglu", "gated", _GATED, None),
    Known("geglu", "gated", _GATED, None),
    Known("reglu", "gated", _GATED, None),
    Known("maxout", "maxout", _MAXOUT, None),
)
BY_NAME = {row.name: row for row in ROWS}
ALIASES = {
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
    "logsigmoid": "log_sigmoid",
    "logsoftmax": "log_softmax",
    "relu2": "squared_relu",
}
# Several names may stand for one function, and a function of another name for one of the rows.
BY_FUNCTION: dict[Any, str] = {
    **{row.function: row.name for row in ROWS if row.name != "rrelu" and row.function},
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
# The function that gates the other factor of the product, by the name of the product.
GATES: dict[str, Callable[[Any], Any]] = {
    "glu": jax.nn.sigmoid,
    "swiglu": jax.nn.silu,
    "geglu": jax.nn.gelu,
    "reglu": jax.nn.relu,
}


def elementwise() -> dict[str, Callable[[Any], Any]]:
    """The known functions of one value, by name. Each has the default of its parameter."""
    return {row.name: row.function for row in ROWS if row.function and row.name != "rrelu"}

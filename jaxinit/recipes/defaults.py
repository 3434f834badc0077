"""The default initializers of PyTorch, Keras and Flax, by role."""

from __future__ import annotations

import math

from .._schemes import frameworks
from .._schemes.base import Initializer
from .._schemes.checks import check_choice, check_count, check_number
from ..initializers import symmetric_uniform, variance_scaling
from .layers import forget_bias


def torch_defaults(fan_in: int = 1, hidden: int = 1) -> dict[str, Initializer]:
    """PyTorch's default initializers by role.

    - "kernel" (Linear and Conv): uniform on +-1/sqrt(fan_in), which is kaiming_uniform with
      a = sqrt(5).
    - "bias": the same, with the ``fan_in`` of the kernel, which a bias's shape does not tell.
    - "embedding": normal with stddev 1.
    - "recurrent" (every weight and bias of RNN, LSTM and GRU): uniform on +-1/sqrt(hidden).

    Args:
      fan_in: of the kernel that a bias belongs to.
      hidden: the hidden units of a recurrent cell.

    Returns:
      The initializers by role.

    Raises:
      TypeError, ValueError: one of them is no positive int.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.torch_defaults(hidden=100)["recurrent"]
      symmetric_uniform(bound=0.1)

    Source: ``reset_parameters`` of ``torch.nn``'s layers, version 2.13.
    """
    into, size = (
        check_count("torch_defaults", "fan_in", fan_in),
        check_count("torch_defaults", "hidden", hidden),
    )
    return {
        "kernel": frameworks.defaults("torch", "kernel").kernel,
        "bias": symmetric_uniform(1 / math.sqrt(into)),
        "embedding": frameworks.defaults("torch", "embedding").kernel,
        "recurrent": symmetric_uniform(1 / math.sqrt(size)),
    }


def torch_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that ``torch.nn.init.calculate_gain`` gives, to port a model with its own scales.

    linear, conv and sigmoid 1, tanh 5/3, relu sqrt(2), leaky_relu sqrt(2/(1 + slope^2)), selu 3/4.
    Those of tanh, sigmoid and selu are conventions; ``jaxinit.gain`` computes the exact ones.

    Args:
      nonlinearity: a name of that table; conv stands for conv1d, conv_transpose1d and so on.
      param: the slope of leaky_relu below 0; without it 0.01.

    Returns:
      The gain, a float.

    Raises:
      TypeError: param is not a number.
      ValueError: another name.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.torch_gain("leaky_relu", 1.0), recipes.torch_gain("selu")
      (1.0, 0.75)

    Source: PyTorch 2.11, torch/nn/init.py, ``calculate_gain``.
    """
    name = "torch_gain"
    check_choice(name, "nonlinearity", nonlinearity, frameworks.TORCH_GAINS)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else check_number(name, "param", param)
        return math.sqrt(2 / (1 + slope * slope))
    return frameworks.TORCH_GAINS[nonlinearity]


def keras_defaults() -> dict[str, Initializer]:
    """Keras's default initializers by role.

    "lstm_bias" is that of an LSTM with unit_forget_bias, whose gates are i, f, c, o.

    Returns:
      The initializers by role.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.keras_defaults()["kernel"]
      glorot_uniform()

    Source: the defaults of ``keras.layers``, version 3.15.
    """
    return {**_by_role("keras"), "lstm_bias": forget_bias()}


def flax_defaults() -> dict[str, Initializer]:
    """Flax's default initializers by role.

    "embedding" is for a table of shape (tokens, width), and has variance 1/width.

    Returns:
      The initializers by role.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.flax_defaults()["kernel"]
      lecun_normal()

    Source: the defaults of ``flax.linen``'s layers, version 0.12.
    """
    by_width = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    return {**_by_role("jax"), "embedding": by_width}


def _by_role(framework: frameworks.Framework) -> dict[str, Initializer]:
    roles: tuple[frameworks.Kind, ...] = ("kernel", "recurrent", "embedding")
    found = {role: frameworks.defaults(framework, role).kernel for role in roles}
    return {**found, "bias": frameworks.defaults(framework, "kernel").bias}

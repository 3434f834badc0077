"""Recipes for wide networks: what stays right at any width."""

from __future__ import annotations

import math
from typing import NamedTuple

from .._schemes.base import Initializer
from .._schemes.checks import check_count, check_positive
from ..initializers import normal, variance_scaling


class Role(NamedTuple):
    """What the parameters of one role need.

    Attributes:
      initializer: of the kernel.
      multiplier: multiplies the layer's output.
      learning_rate: multiplies Adam's learning rate.
    """

    initializer: Initializer
    multiplier: float
    learning_rate: float


def mup(width: int, base_width: int) -> dict[str, Role]:
    """Maximal update parametrization (muP): activations and updates keep their size at any width.

    - "input": variance 1/fan_in. Biases have its learning rate too.
    - "hidden": variance 1/fan_in, with Adam's learning rate times base_width/width.
    - "output": variance 1/base_width at every width, with the output times base_width/width.

    At width = base_width this is the standard parametrization, so hyperparameters that were tuned
    there carry over to other widths.

    Args:
      width: the width of the model.
      base_width: the width at which the learning rate was tuned.

    Returns:
      A ``Role`` under "input", "hidden" and "output".

    Raises:
      TypeError, ValueError: one of them is no positive int.

    Example:
      >>> from jaxinit import recipes
      >>> hidden = recipes.mup(width=1024, base_width=256)["hidden"]
      >>> hidden.learning_rate, hidden.multiplier
      (0.25, 1.0)

    Source: Yang et al. 2022 (Tensor Programs V), table 8.
    """
    ratio = check_count("mup", "base_width", base_width) / check_count("mup", "width", width)
    fan_in = variance_scaling(1.0, "fan_in", "normal")
    return {
        "input": Role(fan_in, 1.0, 1.0),
        "hidden": Role(fan_in, 1.0, ratio),
        "output": Role(normal(1 / math.sqrt(base_width)), ratio, 1.0),
    }


def spectral(fan_in: int, fan_out: int) -> Initializer:
    """Normal, with a spectral norm near sqrt(fan_out/fan_in), which feature learning needs.

    The norm of a Gaussian matrix is near stddev (sqrt(fan_in) + sqrt(fan_out)), so stddev is
    sqrt(fan_out/fan_in) divided by that sum. Updates need the same norm, so the learning rate of
    gradient descent is proportional to fan_out/fan_in.

    Args:
      fan_in: the inputs of the kernel.
      fan_out: its outputs.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: one of them is no positive int.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.spectral(fan_in=100, fan_out=100)
      normal(stddev=0.05)

    Source: Yang, Simon & Bernstein 2023, condition 1 (spectral scaling).
    """
    into, out = (
        check_count("spectral", "fan_in", fan_in),
        check_count("spectral", "fan_out", fan_out),
    )
    return normal(math.sqrt(out / into) / (math.sqrt(into) + math.sqrt(out)))


def rms_embedding(rms: float = 1.0) -> Initializer:
    """Normal with stddev ``rms``: an embedded token has that root mean square at any width.

    Args:
      rms: the root mean square of an embedded token.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: rms is not above 0.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.rms_embedding()
      normal(stddev=1.0)

    Source: Yang, Simon & Bernstein 2023, on one-hot inputs; torch's Embedding has rms 1.
    """
    return normal(check_positive("rms_embedding", "rms", rms))

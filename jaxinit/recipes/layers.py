"""Recipes for layers of special kinds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .._random import laws
from .._random.spread import POINT
from .._random.stream import check_key, fold_in
from .._schemes.base import Init, Initializer
from .._schemes.checks import (
    check_count,
    check_flag,
    check_initializer,
    check_number,
    check_positive,
    is_sequence,
    shown,
)
from .._schemes.ranges import check_spread
from ..initializers import blocks, constant, normal, repeated, variance_scaling, zeros


def siren_first(fan_in: int) -> Initializer:
    """Uniform on +-1/fan_in, for the first layer of a network of sines, sin(30 (Wx + b)).

    Args:
      fan_in: the inputs of the kernel, as 2 for the points of an image.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: fan_in is no positive int.

    Example:
      >>> import jax
      >>> from jaxinit import recipes
      >>> f"{recipes.siren_first(2)(jax.random.key(0), (2, 256)).max():.2f}"
      '0.50'

    Source: Sitzmann et al. 2020, section 3.2, and the supplement on omega_0.
    """
    return variance_scaling(
        1 / (3 * check_count("siren_first", "fan_in", fan_in)), "fan_in", "uniform"
    )


def siren(omega: float = 30.0) -> Initializer:
    """Uniform on +-sqrt(6/fan_in)/omega, for the other layers of a network of sines.

    The layers compute sin(omega Wx). What enters the second sine is then standard normal; deeper,
    the standard deviation settles at 0.893, the fixed point of q = 1 - e^-2q.

    Args:
      omega: the frequency that multiplies the layer's output.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: omega is not above 0.

    Example:
      >>> import jax
      >>> from jaxinit import recipes
      >>> f"{recipes.siren()(jax.random.key(0), (256, 256)).max():.4f}"
      '0.0051'

    Source: Sitzmann et al. 2020, theorem 1.8 and supplement 1.5.
    """
    return variance_scaling(2 / check_positive("siren", "omega", omega) ** 2, "fan_in", "uniform")


def icnr(init: Init, factor: int, tiled: bool = False) -> Initializer:
    """ICNR, for a convolution before a sub-pixel shuffle: the r^2 kernels of a channel are equal.

    It is ``initializers.repeated`` with ``factor`` squared; see there for ``tiled``.

    Args:
      init: draws one kernel of each channel.
      factor: by how much the shuffle enlarges each side.
      tiled: how equal kernels lie along the last axis; see ``repeated``.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: init is no initializer, factor is no positive int; at the call, outputs
        that the square of factor does not divide.

    Example:
      >>> import jax
      >>> from jaxinit import initializers, recipes
      >>> init = recipes.icnr(initializers.he_normal(), factor=2)
      >>> w = init(jax.random.key(0), (3, 3, 16, 32))
      >>> bool((w[..., 0] == w[..., 3]).all())
      True

    Source: Aitken et al. 2017 (ICNR).
    """
    inner, ratio = check_initializer("icnr", "init", init), check_count("icnr", "factor", factor)
    return repeated(inner, ratio**2, tiled=check_flag("icnr", "tiled", tiled))


def forget_bias(order: str = "ifgo", value: float = 1.0) -> Initializer:
    """An LSTM's bias: ``value`` for the forget gates, zero for the others.

    Args:
      order: the gates in the order of the bias, one letter each, with one "f".
      value: of the forget gates.

    Returns:
      The initializer, for a bias of all gates.

    Raises:
      TypeError, ValueError: order does not name one gate f.

    Example:
      >>> import jax
      >>> from jaxinit import recipes
      >>> recipes.forget_bias()(jax.random.key(0), (8,)).tolist()
      [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    Source: Gers et al. 2000; Jozefowicz et al. 2015.
    """
    if not isinstance(order, str) or order.count("f") != 1:
        raise ValueError(f"forget_bias: order must name one gate f; got {shown(order)}.")
    forget = constant(check_number("forget_bias", "value", value))
    return blocks(tuple(forget if gate == "f" else zeros for gate in order), len(order))


def mimetic_attention(
    key: jax.Array,
    width: int,
    heads: int = 1,
    query_key: tuple[float, float] = (0.7, 0.7),
    value_out: tuple[float, float] = (0.4, 0.4),
) -> dict[str, jax.Array]:
    """Attention weights that look like trained ones: W_q W_k^T = a Z + b I, W_v W_o = a Z - b I.

    Z is Gaussian with variance 1/width, different for each head and product. Queries and keys are
    the best factors of rank width/heads, from the singular value decomposition.

    Args:
      key: one JAX random key.
      width: the width of the model.
      heads: the number of heads, which divides the width.
      query_key: a and b of the first product.
      value_out: a and b of the second product.

    Returns:
      "query" and "key", (width, heads, width/heads), "value" and "out", (width, width): float32.

    Raises:
      TypeError: a key that is not one, or no pair of numbers.
      ValueError: a count that is no positive int, or heads that do not divide the width.

    Example:
      >>> import jax
      >>> from jaxinit import recipes
      >>> made = recipes.mimetic_attention(jax.random.key(0), width=32, heads=4)
      >>> made["query"].shape, made["out"].shape
      ((32, 4, 8), (32, 32))

    Source: Trockman & Kolter 2023, section 3.
    """
    name = "mimetic_attention"
    check_key(name, key)
    size, count = check_count(name, "width", width), check_count(name, "heads", heads)
    if size % count:
        raise ValueError(f"{name}: heads={count} does not divide width={size}.")
    first, second = _mixed("query_key", query_key), _mixed("value_out", value_out)
    a, b = (max(abs(pair[i]) for pair in (first, second)) for i in (0, 1))
    # No singular value is above the sum of a row's magnitudes.
    largest = size * (a * laws.NORMAL.spread.bound / math.sqrt(size) + b)
    check_spread(name, POINT.times(largest), np.dtype(np.float32))
    gaussian = normal(1 / math.sqrt(size))

    def product(number: int, mixed: tuple[float, float], sign: float) -> jax.Array:
        a, b = mixed
        return a * gaussian(fold_in(key, number), (size, size)) + sign * b * jnp.eye(size)

    def factors(matrix: jax.Array, rank: int) -> tuple[jax.Array, jax.Array]:
        left, values, right = jnp.linalg.svd(matrix)
        root = jnp.sqrt(values[:rank])
        return left[:, :rank] * root[None], right[:rank].T * root[None]

    pairs = [factors(product(1 + head, first, 1.0), size // count) for head in range(count)]
    query, keys = (jnp.stack(each, axis=1) for each in zip(*pairs, strict=True))
    value, out = factors(product(0, second, -1.0), size)
    return {"query": query, "key": keys, "value": value, "out": out.T}


def _mixed(option: str, value: tuple[float, float]) -> tuple[float, float]:
    """The two numbers of a product of ``mimetic_attention``."""
    name = "mimetic_attention"
    if not is_sequence(value) or len(value) != 2:
        raise TypeError(f"{name}: {option} must be two numbers; got {shown(value)}.")
    a, b = (check_number(name, f"each of {option}", number) for number in value)
    return a, b

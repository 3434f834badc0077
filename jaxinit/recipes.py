"""Recipes: what papers and frameworks prescribe, as initializers of this package.

    from jaxinit import recipes
    nn.Dense(width, kernel_init=recipes.gpt2_residual(layers=12))

Each function returns an initializer, or a mapping of them by role, composed of those in
``jaxinit.initializers``: they print, compare, and go to configs as their parts do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ._random.stream import check_key, fold_in
from ._schemes.base import Initializer, check_positive
from ._schemes.blocks import Init
from ._schemes.fans import check_count
from .initializers import (
    blocks,
    constant,
    glorot_uniform,
    lecun_normal,
    normal,
    ones,
    orthogonal,
    repeated,
    shifted,
    truncated_normal,
    uniform,
    variance_scaling,
    zeros,
)

__all__ = [
    "DeepNet",
    "Role",
    "deepnet",
    "fixup",
    "flax_defaults",
    "forget_bias",
    "gpt2_residual",
    "icnr",
    "keras_defaults",
    "layerwise_residual",
    "mimetic_attention",
    "mitchell",
    "mup",
    "rms_embedding",
    "siren",
    "siren_first",
    "small_init",
    "spectral",
    "sub_ln",
    "t_fixup",
    "torch_defaults",
    "wang",
]


# Depth ------------------------------------------------------------------------------------------


def gpt2_residual(layers: int, stddev: float = 0.02) -> Initializer:
    """Normal, stddev/sqrt(2 layers): the last kernel of each of a transformer's 2L branches.

    The stream then grows by the same amount whatever the depth: 2L branches of variance
    proportional to 1/(2L).

    Source: Radford et al. 2019, section 2.3; GPT-NeoX.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.gpt2_residual(8)
      normal(stddev=0.005)
    """
    count = check_count("gpt2_residual", "layers", layers)
    return normal(check_positive("gpt2_residual", "stddev", stddev) / math.sqrt(2 * count))


def layerwise_residual(layer: int, stddev: float = 0.02) -> Initializer:
    """Normal, stddev/sqrt(2 (layer + 1)), layer counted from 0: later branches are smaller.

    Source: Zhang et al. 2019 (DS-Init, depth-scaled initialization); torchtitan.
    """
    depth = _layer("layerwise_residual", layer)
    checked = check_positive("layerwise_residual", "stddev", stddev)
    return normal(checked / math.sqrt(2 * (depth + 1)))


def small_init(width: int) -> Initializer:
    """Normal, variance 2/(5 width): Glorot's for a feed-forward layer of 4 widths, used everywhere.

    Source: Nguyen & Salazar 2019, section 2.2.
    """
    return normal(math.sqrt(2 / (5 * check_count("small_init", "width", width))))


def wang(layers: int, width: int) -> Initializer:
    """Normal, stddev 2/(layers sqrt(width)): the last kernel of each residual branch.

    Source: Wang & Komatsuzaki 2021 (GPT-J); GPT-NeoX's ``wang_init``.
    """
    count, size = check_count("wang", "layers", layers), check_count("wang", "width", width)
    return normal(2 / (count * math.sqrt(size)))


def mitchell(fan_in: int, layer: int | None = None) -> Initializer:
    """Normal truncated at 3, stddev 1/sqrt(fan_in); 1/sqrt(2 fan_in (layer + 1)) for the kernels
    that end a residual branch, their layer counted from 0.

    Source: Groeneveld et al. 2024 (OLMo), "mitchell" initialization.
    """
    fan = check_count("mitchell", "fan_in", fan_in)
    depth = 1 if layer is None else 2 * (_layer("mitchell", layer) + 1)
    return truncated_normal(1 / math.sqrt(fan * depth), lower=-3.0, upper=3.0)


def _layer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}: layer must be an int from 0; got {value!r}.")
    return value


class DeepNet(NamedTuple):
    """``scaled`` is for values, outputs and feed-forward kernels, ``plain`` for queries and keys;
    ``residual`` multiplies the stream before each branch is added."""

    scaled: Initializer
    plain: Initializer
    residual: float


def deepnet(layers: int, encoder_layers: int = 0, *, side: str = "decoder") -> DeepNet:
    """DeepNet: Glorot normal, kernels of values, outputs and feed-forward times beta.

    An encoder or a decoder alone has beta = (8L)^-1/4 and residual (2L)^1/4. In an encoder-decoder
    of N and M layers the encoder has 0.87 (N^4 M)^-1/16 and 0.81 (N^4 M)^1/16, the decoder
    (12M)^-1/4 and (3M)^1/4.

    Args:
      layers: of the stack, or of the decoder where there are two.
      encoder_layers: of the encoder in an encoder-decoder.
      side: "encoder" or "decoder", which of the two.

    Source: Wang et al. 2022, figure 2.
    """
    count = check_count("deepnet", "layers", layers)
    if side not in ("encoder", "decoder"):
        raise ValueError(f"deepnet: side must be encoder or decoder; got {side!r}.")
    if not encoder_layers:
        beta, residual = (8 * count) ** -0.25, (2 * count) ** 0.25
    elif side == "decoder":
        beta, residual = (12 * count) ** -0.25, (3 * count) ** 0.25
    else:
        both = check_count("deepnet", "encoder_layers", encoder_layers) ** 4 * count
        beta, residual = 0.87 * both ** (-1 / 16), 0.81 * both ** (1 / 16)
    return DeepNet(variance_scaling(beta**2, "fan_avg", "normal"), _GLOROT, residual)


_GLOROT = variance_scaling(1.0, "fan_avg", "normal")


def sub_ln(layers: int) -> Initializer:
    """Sub-LN: Glorot normal times sqrt(log(2 layers)), for values, outputs and feed-forward.

    Source: Wang et al. 2022 (Magneto), figure 2.
    """
    count = check_count("sub_ln", "layers", layers)
    return variance_scaling(math.log(2 * count), "fan_avg", "normal")


def t_fixup(layers: int, side: str = "encoder") -> Initializer:
    """T-Fixup: Glorot normal times 0.67 N^-1/4 in the encoder, (9N)^-1/4 in the decoder.

    For the kernels of values, outputs and feed-forward; embeddings are normal with stddev
    d^-1/2 (9N)^-1/4. No warmup and no normalisation is needed then.

    Source: Huang et al. 2020 (T-Fixup), section 3.
    """
    count = check_count("t_fixup", "layers", layers)
    if side not in ("encoder", "decoder"):
        raise ValueError(f"t_fixup: side must be encoder or decoder; got {side!r}.")
    factor = 0.67 * count**-0.25 if side == "encoder" else (9 * count) ** -0.25
    return variance_scaling(factor**2, "fan_avg", "normal")


def fixup(branches: int, convolutions: int = 2) -> dict[str, Initializer]:
    """Fixup: He normal times L^(-1/(2m-2)) within a branch of m kernels, the last one zero.

    Keys: "inner" and "last"; the classifier is zero too.

    Source: Zhang et al. 2019 (Fixup), section 3, rules 1 and 2.
    """
    count = check_count("fixup", "branches", branches)
    kernels = check_count("fixup", "convolutions", convolutions)
    if kernels < 2:
        raise ValueError(f"fixup: a branch needs at least two kernels; got {kernels}.")
    factor = count ** (-1 / (2 * kernels - 2))
    return {"inner": variance_scaling(2 * factor**2, "fan_in", "normal"), "last": zeros}


# Width ------------------------------------------------------------------------------------------


class Role(NamedTuple):
    """What a role needs: its initializer, what multiplies its output, and its learning rate's
    factor for Adam."""

    initializer: Initializer
    multiplier: float
    learning_rate: float


def mup(width: int, base_width: int) -> dict[str, Role]:
    """Maximal update parametrization: by role what keeps activations and updates at any width.

    "input" (and biases: learning rate 1): variance 1/fan_in. "hidden": variance 1/fan_in, Adam's
    learning rate times base_width/width. "output": variance 1/base_width at every width, the
    output times base_width/width. At width = base_width it is the standard parametrization, so
    hyperparameters tuned there carry over.

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
    """Normal whose kernel has spectral norm near sqrt(fan_out/fan_in), as feature learning asks.

    stddev = sqrt(fan_out/fan_in)/(sqrt(fan_in) + sqrt(fan_out)), for a Gaussian matrix's norm is
    near stddev times that sum; the update needs the same norm, so the learning rate is in
    proportion to fan_out/fan_in for gradient descent.

    Source: Yang, Simon & Bernstein 2023, condition 1 (spectral scaling).
    """
    into, out = (
        check_count("spectral", "fan_in", fan_in),
        check_count("spectral", "fan_out", fan_out),
    )
    return normal(math.sqrt(out / into) / (math.sqrt(into) + math.sqrt(out)))


def rms_embedding(rms: float = 1.0) -> Initializer:
    """Normal with stddev ``rms``: an embedded token has that root mean square at any width.

    Source: Yang, Simon & Bernstein 2023, on one-hot inputs; torch's Embedding has rms 1.
    """
    return normal(check_positive("rms_embedding", "rms", rms))


# Kinds of layers --------------------------------------------------------------------------------


def siren_first(fan_in: int) -> Initializer:
    """Uniform on +-1/fan_in: the first layer of a network of sines, sin(30 (Wx + b)).

    Source: Sitzmann et al. 2020, section 3.2, and the supplement on omega_0.
    """
    return variance_scaling(
        1 / (3 * check_count("siren_first", "fan_in", fan_in)), "fan_in", "uniform"
    )


def siren(omega: float = 30.0) -> Initializer:
    """Uniform on +-sqrt(6/fan_in)/omega: the other layers of a network of sines, sin(omega Wx).

    What enters the second sine is then standard normal, and further on normal with a standard
    deviation that settles at 0.893, the fixed point of q = 1 - e^-2q: the same at any depth.

    Source: Sitzmann et al. 2020, theorem 1.8 and supplement 1.5.
    """
    return variance_scaling(2 / check_positive("siren", "omega", omega) ** 2, "fan_in", "uniform")


def icnr(init: Init, factor: int, tiled: bool = False) -> Initializer:
    """``init`` for a convolution before a sub-pixel shuffle: the r^2 kernels of a channel equal.

    ``initializers.repeated`` with ``factor`` squared, which says what ``tiled`` is.

    Source: Aitken et al. 2017 (ICNR).
    """
    return repeated(init, check_count("icnr", "factor", factor) ** 2, tiled=tiled)


def forget_bias(order: str = "ifgo", value: float = 1.0) -> Initializer:
    """An LSTM's bias: ``value`` for the forget gates, zero for the others.

    Source: Gers et al. 2000; Jozefowicz et al. 2015.
    """
    if not isinstance(order, str) or order.count("f") != 1:
        raise ValueError(f"forget_bias: order must name one gate f; got {order!r}.")
    forget = ones if value == 1 else constant(value)
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
      width: of the model.
      heads: divides the width.
      query_key, value_out: (a, b) of the two products.

    Returns:
      "query" and "key", (width, heads, width/heads), "value" and "out", (width, width): float32.

    Source: Trockman & Kolter 2023, section 3.
    """
    name = "mimetic_attention"
    check_key(name, key)
    size, count = check_count(name, "width", width), check_count(name, "heads", heads)
    if size % count:
        raise ValueError(f"{name}: heads={count} does not divide width={size}.")
    gaussian = normal(1 / math.sqrt(size))

    def product(number: int, mixed: tuple[float, float], sign: float) -> jax.Array:
        a, b = mixed
        return a * gaussian(fold_in(key, number), (size, size)) + sign * b * jnp.eye(size)

    def factors(matrix: jax.Array, rank: int) -> tuple[jax.Array, jax.Array]:
        left, values, right = jnp.linalg.svd(matrix)
        root = jnp.sqrt(values[:rank])
        return left[:, :rank] * root, right[:rank].T * root

    pairs = [factors(product(1 + head, query_key, 1.0), size // count) for head in range(count)]
    query, keys = (jnp.stack(each, axis=1) for each in zip(*pairs, strict=True))
    value, out = factors(product(0, value_out, -1.0), size)
    return {"query": query, "key": keys, "value": value, "out": out.T}


# Frameworks -------------------------------------------------------------------------------------


def torch_defaults(fan_in: int = 1, hidden: int = 1) -> dict[str, Initializer]:
    """PyTorch's default initializers by role.

    "kernel" (Linear, Conv): uniform on +-1/sqrt(fan_in), which is kaiming_uniform with a = sqrt 5.
    "bias": the same with the kernel's ``fan_in``, which a bias cannot know. "embedding": normal(1).
    "recurrent" (every weight and bias of RNN, LSTM, GRU): uniform on +-1/sqrt(hidden).
    """
    into, size = (
        check_count("torch_defaults", "fan_in", fan_in),
        check_count("torch_defaults", "hidden", hidden),
    )
    return {
        "kernel": variance_scaling(1 / 3, "fan_in", "uniform"),
        "bias": _symmetric(1 / math.sqrt(into)),
        "embedding": normal(1.0),
        "recurrent": _symmetric(1 / math.sqrt(size)),
    }


def keras_defaults() -> dict[str, Initializer]:
    """Keras's default initializers by role; "lstm_bias" with unit_forget_bias, gates i, f, c, o."""
    return {
        "kernel": glorot_uniform(),
        "recurrent": orthogonal(),
        "bias": zeros,
        "lstm_bias": forget_bias(),
        "embedding": _symmetric(0.05),
    }


def flax_defaults() -> dict[str, Initializer]:
    """Flax's default initializers by role; an embedding (tokens, width) has variance 1/width."""
    return {
        "kernel": lecun_normal(),
        "recurrent": orthogonal(),
        "bias": zeros,
        "embedding": variance_scaling(1.0, "fan_in", "normal", out_axis=0),
    }


def _symmetric(bound: float) -> Initializer:
    return shifted(uniform(2 * bound), -bound)

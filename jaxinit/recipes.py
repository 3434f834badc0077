"""Recipes: the initializations that papers and frameworks prescribe.

    from jaxinit import recipes
    nn.Dense(width, kernel_init=recipes.gpt2_residual(layers=12))

Each function returns an initializer, or several by role, made of those in
``jaxinit.initializers``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._random import laws
from ._random.spread import POINT
from ._random.stream import check_key, fold_in
from ._schemes import frameworks
from ._schemes.base import Init, Initializer
from ._schemes.checks import (
    check_choice,
    check_count,
    check_flag,
    check_initializer,
    check_number,
    check_positive,
    is_sequence,
    shown,
)
from ._schemes.ranges import check_spread
from .initializers import (
    blocks,
    constant,
    normal,
    repeated,
    symmetric_uniform,
    truncated_normal,
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
    "torch_gain",
    "wang",
]


def __dir__() -> list[str]:
    return __all__


# Depth ------------------------------------------------------------------------------------------


def gpt2_residual(layers: int, stddev: float = 0.02) -> Initializer:
    """Normal with stddev/sqrt(2 layers), for the kernels that end a transformer's branches.

    A transformer of L layers adds 2L branches to its residual stream. With variances proportional
    to 1/(2L) the stream grows by the same amount whatever the depth.

    Source: Radford et al. 2019, section 2.3; GPT-NeoX.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.gpt2_residual(8)
      normal(stddev=0.005)
    """
    count = check_count("gpt2_residual", "layers", layers)
    return normal(check_positive("gpt2_residual", "stddev", stddev) / math.sqrt(2 * count))


def layerwise_residual(layer: int, stddev: float = 0.02) -> Initializer:
    """Normal with stddev/sqrt(2 (layer + 1)), so that later branches are smaller.

    Layers are counted from 0.

    Source: Zhang et al. 2019 (DS-Init, depth-scaled initialization); torchtitan.
    """
    depth = check_count("layerwise_residual", "layer", layer, least=0)
    checked = check_positive("layerwise_residual", "stddev", stddev)
    return normal(checked / math.sqrt(2 * (depth + 1)))


def small_init(width: int) -> Initializer:
    """Normal with variance 2/(5 width), for every kernel of a transformer.

    This is Glorot's variance for a feed-forward layer from ``width`` to four times that.

    Source: Nguyen & Salazar 2019, section 2.2.
    """
    return normal(math.sqrt(2 / (5 * check_count("small_init", "width", width))))


def wang(layers: int, width: int) -> Initializer:
    """Normal with stddev 2/(layers sqrt(width)), for the last kernel of each residual branch.

    Source: Wang & Komatsuzaki 2021 (GPT-J); GPT-NeoX's ``wang_init``.
    """
    count, size = check_count("wang", "layers", layers), check_count("wang", "width", width)
    return normal(2 / (count * math.sqrt(size)))


def mitchell(fan_in: int, layer: int | None = None) -> Initializer:
    """Normal with stddev 1/sqrt(fan_in), truncated at three standard deviations.

    For the kernels that end a residual branch give their ``layer``, counted from 0: they have
    stddev 1/sqrt(2 fan_in (layer + 1)).

    Source: Groeneveld et al. 2024 (OLMo), "mitchell" initialization.
    """
    fan = check_count("mitchell", "fan_in", fan_in)
    depth = 1 if layer is None else 2 * (check_count("mitchell", "layer", layer, least=0) + 1)
    return truncated_normal(1 / math.sqrt(fan * depth), lower=-3.0, upper=3.0)


class DeepNet(NamedTuple):
    """The initializers of DeepNet, and what multiplies its residual stream.

    Attributes:
      scaled: for the kernels of values, outputs and feed-forward layers.
      plain: for the kernels of queries and keys.
      residual: multiplies the stream before each branch is added.
    """

    scaled: Initializer
    plain: Initializer
    residual: float


def deepnet(layers: int, encoder_layers: int = 0, *, side: str = "decoder") -> DeepNet:
    """DeepNet: Glorot normal, with the kernels of values, outputs and feed-forward times beta.

    An encoder or a decoder alone, of L layers, has beta = (8L)^-1/4 and residual (2L)^1/4. In an
    encoder-decoder of N and M layers the encoder has beta = 0.87 (N^4 M)^-1/16 and residual
    0.81 (N^4 M)^1/16, the decoder beta = (12M)^-1/4 and residual (3M)^1/4.

    Args:
      layers: the number of layers, those of the decoder where there are two stacks.
      encoder_layers: the number of layers of the encoder in an encoder-decoder.
      side: which of the two, "encoder" or "decoder".

    Source: Wang et al. 2022, figure 2.
    """
    count = check_count("deepnet", "layers", layers)
    check_choice("deepnet", "side", side, ("encoder", "decoder"))
    others = check_count("deepnet", "encoder_layers", encoder_layers, least=0)
    if not others:
        beta, residual = (8 * count) ** -0.25, (2 * count) ** 0.25
    elif side == "decoder":
        beta, residual = (12 * count) ** -0.25, (3 * count) ** 0.25
    else:
        both = others**4 * count
        beta, residual = 0.87 * both ** (-1 / 16), 0.81 * both ** (1 / 16)
    return DeepNet(variance_scaling(beta**2, "fan_avg", "normal"), _GLOROT, residual)


_GLOROT = variance_scaling(1.0, "fan_avg", "normal")


def sub_ln(layers: int) -> Initializer:
    """Sub-LN: Glorot normal times sqrt(log(2 layers)).

    For the kernels of values, outputs and feed-forward layers.

    Source: Wang et al. 2022 (Magneto), figure 2.
    """
    count = check_count("sub_ln", "layers", layers)
    return variance_scaling(math.log(2 * count), "fan_avg", "normal")


def t_fixup(layers: int, side: str = "encoder") -> Initializer:
    """T-Fixup: Glorot normal times 0.67 N^-1/4 in the encoder, (9N)^-1/4 in the decoder.

    For the kernels of values, outputs and feed-forward layers, in a model of N layers. Embeddings
    are normal with stddev d^-1/2 (9N)^-1/4. Then neither warmup nor normalization is needed.

    Source: Huang et al. 2020 (T-Fixup), section 3.
    """
    count = check_count("t_fixup", "layers", layers)
    check_choice("t_fixup", "side", side, ("encoder", "decoder"))
    factor = 0.67 * count**-0.25 if side == "encoder" else (9 * count) ** -0.25
    return variance_scaling(factor**2, "fan_avg", "normal")


def fixup(branches: int, convolutions: int = 2) -> dict[str, Initializer]:
    """Fixup: He normal times L^(-1/(2m-2)) in the L branches of m kernels, the last one zero.

    Returns the initializers under "inner" and "last". The classifier is zero too.

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
    """Uniform on +-1/fan_in, for the first layer of a network of sines, sin(30 (Wx + b)).

    Source: Sitzmann et al. 2020, section 3.2, and the supplement on omega_0.
    """
    return variance_scaling(
        1 / (3 * check_count("siren_first", "fan_in", fan_in)), "fan_in", "uniform"
    )


def siren(omega: float = 30.0) -> Initializer:
    """Uniform on +-sqrt(6/fan_in)/omega, for the other layers of a network of sines.

    The layers compute sin(omega Wx). What enters the second sine is then standard normal; deeper,
    the standard deviation settles at 0.893, the fixed point of q = 1 - e^-2q.

    Source: Sitzmann et al. 2020, theorem 1.8 and supplement 1.5.
    """
    return variance_scaling(2 / check_positive("siren", "omega", omega) ** 2, "fan_in", "uniform")


def icnr(init: Init, factor: int, tiled: bool = False) -> Initializer:
    """ICNR, for a convolution before a sub-pixel shuffle: the r^2 kernels of a channel are equal.

    It is ``initializers.repeated`` with ``factor`` squared; see there for ``tiled``.

    Source: Aitken et al. 2017 (ICNR).
    """
    inner, ratio = check_initializer("icnr", "init", init), check_count("icnr", "factor", factor)
    return repeated(inner, ratio**2, tiled=check_flag("icnr", "tiled", tiled))


def forget_bias(order: str = "ifgo", value: float = 1.0) -> Initializer:
    """An LSTM's bias: ``value`` for the forget gates, zero for the others.

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


# Frameworks -------------------------------------------------------------------------------------


def torch_defaults(fan_in: int = 1, hidden: int = 1) -> dict[str, Initializer]:
    """PyTorch's default initializers by role.

    - "kernel" (Linear and Conv): uniform on +-1/sqrt(fan_in), which is kaiming_uniform with
      a = sqrt(5).
    - "bias": the same, with the ``fan_in`` of the kernel, which a bias's shape does not tell.
    - "embedding": normal with stddev 1.
    - "recurrent" (every weight and bias of RNN, LSTM and GRU): uniform on +-1/sqrt(hidden).
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
    """
    return {**_by_role("keras"), "lstm_bias": forget_bias()}


def flax_defaults() -> dict[str, Initializer]:
    """Flax's default initializers by role.

    "embedding" is for a table of shape (tokens, width), and has variance 1/width.
    """
    by_width = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    return {**_by_role("jax"), "embedding": by_width}


def _by_role(framework: frameworks.Framework) -> dict[str, Initializer]:
    roles: tuple[frameworks.Kind, ...] = ("kernel", "recurrent", "embedding")
    found = {role: frameworks.defaults(framework, role).kernel for role in roles}
    return {**found, "bias": frameworks.defaults(framework, "kernel").bias}

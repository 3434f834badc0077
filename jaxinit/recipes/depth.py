"""Recipes for deep networks: what keeps a residual stream in bounds."""

from __future__ import annotations

import math
from typing import NamedTuple

from .._schemes.base import Initializer
from .._schemes.checks import check_choice, check_count, check_positive
from ..initializers import normal, truncated_normal, variance_scaling, zeros


def gpt2_residual(layers: int, stddev: float = 0.02) -> Initializer:
    """Normal with stddev/sqrt(2 layers), for the kernels that end a transformer's branches.

    A transformer of L layers adds 2L branches to its residual stream. With variances proportional
    to 1/(2L) the stream grows by the same amount whatever the depth.

    Args:
      layers: the number of transformer blocks.
      stddev: of the model's other kernels.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: layers is no positive int, or stddev is not above 0.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.gpt2_residual(8)
      normal(stddev=0.005)

    Source: Radford et al. 2019, section 2.3; GPT-NeoX.
    """
    count = check_count("gpt2_residual", "layers", layers)
    return normal(check_positive("gpt2_residual", "stddev", stddev) / math.sqrt(2 * count))


def layerwise_residual(layer: int, stddev: float = 0.02) -> Initializer:
    """Normal with stddev/sqrt(2 (layer + 1)), so that later branches are smaller.

    Layers are counted from 0.

    Args:
      layer: the number of the block, from 0.
      stddev: of the model's other kernels.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: layer is no int from 0, or stddev is not above 0.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.layerwise_residual(layer=7)
      normal(stddev=0.005)

    Source: Zhang et al. 2019 (DS-Init, depth-scaled initialization); torchtitan.
    """
    depth = check_count("layerwise_residual", "layer", layer, least=0)
    checked = check_positive("layerwise_residual", "stddev", stddev)
    return normal(checked / math.sqrt(2 * (depth + 1)))


def small_init(width: int) -> Initializer:
    """Normal with variance 2/(5 width), for every kernel of a transformer.

    This is Glorot's variance for a feed-forward layer from ``width`` to four times that.

    Args:
      width: the width of the residual stream.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: width is no positive int.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.small_init(width=1000)
      normal(stddev=0.02)

    Source: Nguyen & Salazar 2019, section 2.2.
    """
    return normal(math.sqrt(2 / (5 * check_count("small_init", "width", width))))


def wang(layers: int, width: int) -> Initializer:
    """Normal with stddev 2/(layers sqrt(width)), for the last kernel of each residual branch.

    Args:
      layers: the number of transformer blocks.
      width: the width of the residual stream.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: one of them is no positive int.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.wang(layers=10, width=100)
      normal(stddev=0.02)

    Source: Wang & Komatsuzaki 2021 (GPT-J); GPT-NeoX's ``wang_init``.
    """
    count, size = check_count("wang", "layers", layers), check_count("wang", "width", width)
    return normal(2 / (count * math.sqrt(size)))


def mitchell(fan_in: int, layer: int | None = None) -> Initializer:
    """Normal with stddev 1/sqrt(fan_in), truncated at three standard deviations.

    For the kernels that end a residual branch give their ``layer``, counted from 0: they have
    stddev 1/sqrt(2 fan_in (layer + 1)).

    Args:
      fan_in: the inputs of the kernel.
      layer: the number of the block, from 0, where the kernel ends a branch.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: fan_in is no positive int, or layer is no int from 0.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.mitchell(fan_in=400)
      truncated_normal(stddev=0.05, lower=-3.0, upper=3.0)

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

    Returns:
      A ``DeepNet`` of two initializers and the factor of the stream.

    Raises:
      TypeError, ValueError: a count that is no positive int, or another side.

    Example:
      >>> from jaxinit import recipes
      >>> found = recipes.deepnet(layers=8)
      >>> found.residual, found.plain
      (2.0, variance_scaling(1.0, 'fan_avg', 'normal'))

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

    Args:
      layers: the number of transformer blocks.

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: layers is no positive int.

    Example:
      >>> from jaxinit import recipes
      >>> f"{recipes.sub_ln(layers=12).scale:.3f}"
      '3.178'

    Source: Wang et al. 2022 (Magneto), figure 2.
    """
    count = check_count("sub_ln", "layers", layers)
    return variance_scaling(math.log(2 * count), "fan_avg", "normal")


def t_fixup(layers: int, side: str = "encoder") -> Initializer:
    """T-Fixup: Glorot normal times 0.67 N^-1/4 in the encoder, (9N)^-1/4 in the decoder.

    For the kernels of values, outputs and feed-forward layers, in a model of N layers. Embeddings
    are normal with stddev d^-1/2 (9N)^-1/4. Then neither warmup nor normalization is needed.

    Args:
      layers: the number of layers of the model.
      side: "encoder" or "decoder".

    Returns:
      The initializer.

    Raises:
      TypeError, ValueError: layers is no positive int, or another side.

    Example:
      >>> from jaxinit import recipes
      >>> f"{recipes.t_fixup(layers=6).scale:.3f}"
      '0.183'

    Source: Huang et al. 2020 (T-Fixup), section 3.
    """
    count = check_count("t_fixup", "layers", layers)
    check_choice("t_fixup", "side", side, ("encoder", "decoder"))
    factor = 0.67 * count**-0.25 if side == "encoder" else (9 * count) ** -0.25
    return variance_scaling(factor**2, "fan_avg", "normal")


def fixup(branches: int, convolutions: int = 2) -> dict[str, Initializer]:
    """Fixup: He normal times L^(-1/(2m-2)) in the L branches of m kernels, the last one zero.

    The classifier is zero too.

    Args:
      branches: the number of residual branches.
      convolutions: the number of kernels in each.

    Returns:
      The initializers under "inner" and "last".

    Raises:
      TypeError, ValueError: branches is no positive int, or convolutions no int from 2.

    Example:
      >>> from jaxinit import recipes
      >>> recipes.fixup(branches=16)
      {'inner': variance_scaling(0.125, 'fan_in', 'normal'), 'last': zeros}

    Source: Zhang et al. 2019 (Fixup), section 3, rules 1 and 2.
    """
    count = check_count("fixup", "branches", branches)
    kernels = check_count("fixup", "convolutions", convolutions)
    if kernels < 2:
        raise ValueError(f"fixup: a branch needs at least two kernels; got {kernels}.")
    factor = count ** (-1 / (2 * kernels - 2))
    return {"inner": variance_scaling(2 * factor**2, "fan_in", "normal"), "last": zeros}

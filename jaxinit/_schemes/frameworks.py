"""The default initializers of Flax, Keras and PyTorch, for layers and recipes alike.

What a framework uses for a parameter goes by the parameter's kind: the kernel of a dense layer or a
convolution, of a transposed convolution, of a query, key or value, of an output projection, of a
recurrent cell's input ("cell") or carry ("recurrent"), and the table of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from .base import Initializer
from .constant import zeros
from .distributions import normal, symmetric_uniform
from .named import glorot_uniform, lecun_normal
from .orthogonal import orthogonal
from .variance import variance_scaling

Framework = Literal["jax", "keras", "torch"]
Kind = Literal["kernel", "transposed", "projection", "output", "cell", "recurrent", "embedding"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)


class Defaults(NamedTuple):
    """The initializers of a kernel and of its bias."""

    kernel: Initializer
    bias: Initializer


_LECUN, _GLOROT = lecun_normal(), glorot_uniform()
# PyTorch draws uniformly on +-1/sqrt(fan_in). Of a transposed convolution it takes the outputs for
# fan_in, and of a cell the number of hidden units throughout, which is the fan_out of one gate.
_TORCH = variance_scaling(1 / 3, "fan_in", "uniform")
_TORCH_OUT = variance_scaling(1 / 3, "fan_out", "uniform")

_BY_KIND: dict[Framework, dict[Kind, Defaults]] = {
    "jax": {
        "kernel": Defaults(_LECUN, zeros),
        "recurrent": Defaults(orthogonal(), zeros),
        # By the layout of an embedding, in which fan_in is the number of features.
        "embedding": Defaults(variance_scaling(1.0, "fan_in", "normal"), zeros),
    },
    "keras": {
        "kernel": Defaults(_GLOROT, zeros),
        "recurrent": Defaults(orthogonal(), zeros),
        "embedding": Defaults(symmetric_uniform(0.05), zeros),
    },
    "torch": {
        "kernel": Defaults(_TORCH, _TORCH),
        "transposed": Defaults(_TORCH_OUT, _TORCH_OUT),
        "projection": Defaults(_GLOROT, zeros),
        "output": Defaults(_TORCH, zeros),
        "cell": Defaults(_TORCH_OUT, _TORCH_OUT),
        "recurrent": Defaults(_TORCH_OUT, _TORCH_OUT),
        "embedding": Defaults(normal(1.0), zeros),
    },
}
# The bias of an LSTM's forget gate; the other frameworks treat it as any bias.
FORGET_BIAS: Mapping[Framework, float] = {"keras": 1.0}


def defaults(framework: Framework, kind: Kind) -> Defaults:
    """A framework's initializers for a kind; kinds without a row are as "kernel"."""
    rows = _BY_KIND[framework]
    return rows.get(kind, rows["kernel"])


# What torch.nn.init.calculate_gain gives.
_CONVOLUTIONS = [f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3)]
TORCH_GAINS = {
    **dict.fromkeys(["linear", *_CONVOLUTIONS, "sigmoid"], 1.0),
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "selu": 0.75,
}

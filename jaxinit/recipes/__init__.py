"""Recipes: the initializations that papers and frameworks prescribe.

    from jaxinit import recipes
    nn.Dense(width, kernel_init=recipes.gpt2_residual(layers=12))

Each function returns an initializer, or several by role, made of those in
``jaxinit.initializers``.
"""

from .defaults import flax_defaults, keras_defaults, torch_defaults, torch_gain
from .depth import (
    DeepNet,
    deepnet,
    fixup,
    gpt2_residual,
    layerwise_residual,
    mitchell,
    small_init,
    sub_ln,
    t_fixup,
    wang,
)
from .layers import forget_bias, icnr, mimetic_attention, siren, siren_first
from .width import Role, mup, rms_embedding, spectral

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

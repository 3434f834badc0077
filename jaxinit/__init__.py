"""Weight initialization for JAX: choose the right law, make the weights fast, check them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import initializers, layouts
from ._fans import Fans, Layout, fans
from ._functions import (
    bits,
    blocks,
    constant,
    delta_orthogonal,
    dirac,
    glorot_normal,
    glorot_uniform,
    hadamard,
    he_normal,
    he_uniform,
    identity,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    sparse,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zer_o,
    zeros,
)
from .initializers import Initializer

if TYPE_CHECKING:
    from . import linen, nnx, recipes
    from ._activations import gain
    from ._choose import Recommendation, for_activation, recommend
    from ._plan import Plan, materialize, plan
    from ._tree import tree_init

__version__ = "0.1.0"

__all__ = [
    "Fans",
    "Initializer",
    "Layout",
    "Plan",
    "Recommendation",
    "bits",
    "blocks",
    "constant",
    "delta_orthogonal",
    "dirac",
    "fans",
    "for_activation",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "hadamard",
    "he_normal",
    "he_uniform",
    "identity",
    "initializers",
    "kaiming_normal",
    "kaiming_uniform",
    "layouts",
    "lecun_normal",
    "lecun_uniform",
    "linen",
    "materialize",
    "nnx",
    "normal",
    "ones",
    "orthogonal",
    "plan",
    "recipes",
    "recommend",
    "sparse",
    "tree_init",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zer_o",
    "zeros",
]


# Loaded on first use: together they would be a tenth of the import of JAX.
_ROOMS = {
    "Plan": "_plan",
    "Recommendation": "_choose",
    "for_activation": "_choose",
    "gain": "_activations",
    "materialize": "_plan",
    "plan": "_plan",
    "recommend": "_choose",
    "tree_init": "_tree",
}


def __getattr__(name: str) -> Any:
    if name in ("linen", "nnx", "recipes"):  # the first two import Flax
        return import_module(f"jaxinit.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module 'jaxinit' has no attribute {name!r}")
    return getattr(import_module(f"jaxinit.{_ROOMS[name]}"), name)

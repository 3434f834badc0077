"""Weight initialization for JAX: choose the right law, make the weights fast, check them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import initializers
from ._fans import Fans, Layout, fans
from ._functions import (
    bits,
    blocks,
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from .initializers import Initializer

if TYPE_CHECKING:
    from ._activations import gain
    from ._choose import Recommendation, for_activation, recommend
    from ._infer import Inferred, infer
    from ._plan import Plan, materialize, plan
    from ._roles import Parameter
    from ._tree import tree_init

__version__ = "0.1.0"

__all__ = [
    "Fans",
    "Inferred",
    "Initializer",
    "Layout",
    "Parameter",
    "Plan",
    "Recommendation",
    "bits",
    "blocks",
    "constant",
    "fans",
    "for_activation",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "infer",
    "initializers",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "materialize",
    "normal",
    "ones",
    "plan",
    "recommend",
    "tree_init",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


# Loaded on first use: together they would be a tenth of the import of JAX.
_ROOMS = {
    "Inferred": "_infer",
    "Parameter": "_roles",
    "Plan": "_plan",
    "Recommendation": "_choose",
    "for_activation": "_choose",
    "gain": "_activations",
    "infer": "_infer",
    "materialize": "_plan",
    "plan": "_plan",
    "recommend": "_choose",
    "tree_init": "_tree",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'jaxinit' has no attribute {name!r}")
    return getattr(import_module(f"jaxinit.{_ROOMS[name]}"), name)

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
    from ._audit import audit
    from ._autoinit import Advice, Choice, autoinit
    from ._calibrate import calibrate
    from ._choose import Recommendation, for_activation, recommend
    from ._infer import Inferred, infer
    from ._meanfield import MeanField, mean_field
    from ._plan import Plan, materialize, plan
    from ._records import Parameter
    from ._report import Finding, Report
    from ._signal import propagate
    from ._tree import tree_init

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Choice",
    "Fans",
    "Finding",
    "Inferred",
    "Initializer",
    "Layout",
    "MeanField",
    "Parameter",
    "Plan",
    "Recommendation",
    "Report",
    "audit",
    "autoinit",
    "bits",
    "blocks",
    "calibrate",
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
    "infer",
    "initializers",
    "kaiming_normal",
    "kaiming_uniform",
    "layouts",
    "lecun_normal",
    "lecun_uniform",
    "linen",
    "materialize",
    "mean_field",
    "nnx",
    "normal",
    "ones",
    "orthogonal",
    "plan",
    "propagate",
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
    "Advice": "_autoinit",
    "Choice": "_autoinit",
    "Finding": "_report",
    "Inferred": "_infer",
    "MeanField": "_meanfield",
    "Parameter": "_records",
    "Plan": "_plan",
    "Recommendation": "_choose",
    "Report": "_report",
    "audit": "_audit",
    "autoinit": "_autoinit",
    "calibrate": "_calibrate",
    "for_activation": "_choose",
    "gain": "_activations",
    "infer": "_infer",
    "materialize": "_plan",
    "mean_field": "_meanfield",
    "plan": "_plan",
    "propagate": "_signal",
    "recommend": "_choose",
    "tree_init": "_tree",
}


def __getattr__(name: str) -> Any:
    if name in ("linen", "nnx", "recipes"):  # the first two import Flax
        return import_module(f"jaxinit.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module 'jaxinit' has no attribute {name!r}")
    return getattr(import_module(f"jaxinit.{_ROOMS[name]}"), name)

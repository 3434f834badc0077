"""Weight initialization for JAX: choose the initializer, make the weights fast, check them."""

from importlib import import_module
from typing import TYPE_CHECKING

from . import initializers, layouts
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
    symmetric_uniform,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zer_o,
    zeros,
)
from ._schemes.fans import Fans, Layout, fans
from .initializers import Initializer

if TYPE_CHECKING:
    from . import linen, nnx, recipes
    from ._check.audit import audit
    from ._check.autoinit import autoinit
    from ._check.calibrate import calibrate
    from ._check.findings import Finding
    from ._check.propagate import propagate
    from ._check.report import Report
    from ._choose.activations import gain
    from ._choose.mean_field import MeanField, mean_field
    from ._choose.recommend import Recommendation, for_activation, recommend
    from ._infer.advice import Advice, Choice
    from ._infer.infer import Inferred, infer
    from ._infer.parameter import Parameter
    from ._make.init import init
    from ._make.plan import Plan, materialize, plan
    from ._make.tree_init import tree_init

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
    "init",
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
    "symmetric_uniform",
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
    "Advice": "_infer.advice",
    "Choice": "_infer.advice",
    "Finding": "_check.findings",
    "Inferred": "_infer.infer",
    "MeanField": "_choose.mean_field",
    "Parameter": "_infer.parameter",
    "Plan": "_make.plan",
    "Recommendation": "_choose.recommend",
    "Report": "_check.report",
    "audit": "_check.audit",
    "autoinit": "_check.autoinit",
    "calibrate": "_check.calibrate",
    "for_activation": "_choose.recommend",
    "gain": "_choose.activations",
    "infer": "_infer.infer",
    "init": "_make.init",
    "materialize": "_make.plan",
    "mean_field": "_choose.mean_field",
    "plan": "_make.plan",
    "propagate": "_check.propagate",
    "recommend": "_choose.recommend",
    "tree_init": "_make.tree_init",
}


if not TYPE_CHECKING:  # to a type checker, a name that is not imported above is a mistake

    def __getattr__(name: str) -> object:
        if name in ("linen", "nnx", "haiku", "equinox", "keras", "recipes"):  # on use
            return import_module(f"jaxinit.{name}")
        if name not in _ROOMS:
            raise AttributeError(f"module 'jaxinit' has no attribute {name!r}")
        return getattr(import_module(f"jaxinit.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__

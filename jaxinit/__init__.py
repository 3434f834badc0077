"""Weight initialization for JAX: choose the right law, make the weights fast, check them."""

from . import initializers
from ._activations import gain
from ._choose import Recommendation, for_activation, recommend
from ._fans import Fans, Layout, fans
from ._functions import (
    bits,
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
from ._plan import Plan, materialize, plan
from ._tree import tree_init
from .initializers import Initializer

__version__ = "0.1.0"

__all__ = [
    "Fans",
    "Initializer",
    "Layout",
    "Plan",
    "Recommendation",
    "bits",
    "constant",
    "fans",
    "for_activation",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
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

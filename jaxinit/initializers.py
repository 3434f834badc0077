"""The factories: the names, signatures and distributions of ``jax.nn.initializers``, and more.

Each returns an ``Initializer``, a function ``(key, shape, dtype=None, out_sharding=None) -> Array``
that is also a value: hashable, comparable, picklable, printed as the call that makes it.

    from jaxinit import initializers
    nn.Dense(256, kernel_init=initializers.he_normal())

What all of them have in common:

- dtype is any of float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 and
  complex128 (constants: any dtype), as a type or a string; without one, JAX's default float.
- Values are computed in float32 (float64 in float64) and rounded to the dtype once.
- A dtype that cannot hold the values is an error before any work. If it would round a tenth of them
  or more to zero, a warning says how many, and which dtype holds them.
- ``out_sharding`` is a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
  device makes its own part.
- For a complex dtype the variance is E|z|^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._schemes import config
from ._schemes.base import Init, Initializer
from ._schemes.blocks import blocks, repeated
from ._schemes.combinators import clipped, masked, scaled, shifted
from ._schemes.constant import constant, ones, ones_init, zeros, zeros_init
from ._schemes.distributions import normal, symmetric_uniform, truncated_normal, uniform
from ._schemes.fans import Layout as Layout
from ._schemes.named import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    xavier_normal,
    xavier_uniform,
)
from ._schemes.orthogonal import delta_orthogonal, orthogonal
from ._schemes.sparse import sparse
from ._schemes.structured import dirac, hadamard, identity, zer_o
from ._schemes.time_scales import chrono, hippo, mamba_a_log, mamba_dt_bias
from ._schemes.variance import variance_scaling

__all__ = [
    "Initializer",
    "blocks",
    "chrono",
    "clipped",
    "constant",
    "delta_orthogonal",
    "dirac",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "hadamard",
    "he_normal",
    "he_uniform",
    "hippo",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "mamba_a_log",
    "mamba_dt_bias",
    "masked",
    "normal",
    "ones",
    "ones_init",
    "orthogonal",
    "repeated",
    "scaled",
    "shifted",
    "sparse",
    "symmetric_uniform",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zer_o",
    "zeros",
    "zeros_init",
]


def __dir__() -> list[str]:
    return __all__


_FACTORIES = {name: globals()[name] for name in __all__ if name not in ("get", "Initializer")}


def get(identifier: str | Mapping[str, Any] | Init) -> Init:
    """The initializer of a name or a config; a function is handed back as it is.

    Args:
      identifier: a name, as "he_normal" or Keras's "HeNormal"; what ``to_config`` gives, a dict of
        "name" and options; or Keras's config, a dict of "class_name" and "config". Keras's
        distribution "normal" is a truncated normal, and is read as one; its seed is left out.

    Returns:
      The initializer.

    Raises:
      TypeError: neither a name, a config, nor a function; an option that the factory does not have.
      ValueError: an unknown name, or option of Keras; what the factory itself refuses.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.get("he_normal") == initializers.he_normal()
      True
      >>> initializers.get({"class_name": "VarianceScaling", "config": {"distribution": "normal"}})
      lecun_normal()
    """
    return config.build(identifier, _FACTORIES)

"""The layers of ``flax.linen``, with initializers that know the right fans.

Change ``import flax.linen as nn`` to ``import jaxinit.linen as nn``. Names that are not defined
here (``Module``, ``compact``, ``LayerNorm``, ``relu``, ...) are Flax's own. Each layer here is a
subclass of Flax's layer of the same name, with the same arguments, parameters, shapes and names, so
a checkpoint fits both. What they add:

- ``activation``: a name, a function or a module. It is applied to the output, and the kernel is
  initialized for it as ``jaxinit.recommend`` says, with the layer's true fans.
- ``mode``: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg", to divide by that fan instead of the
  one that ``recommend`` takes. "fan_avg" is advised between consecutive ReLU layers of very
  different sizes.
- ``kernel_init`` and ``bias_init``: a jaxinit initializer that was given no axes and no layout
  takes the layer's own. The bias's takes the fans of the kernel, so
  ``bias_init=initializers.variance_scaling(1 / 3, "fan_in", "uniform")`` is PyTorch's
  U(-1/sqrt(fan_in), 1/sqrt(fan_in)). Any other function is used unchanged.
- ``defaults``: "jax", "keras" or "torch", whose default initializers are used for the kernel, the
  bias and the embedding where none are given.
- ``layout``: in place of what the layer knows, as ``layouts.fused(3)`` for queries, keys and values
  in one dense layer.
- Any ``param_dtype``. The carry of a recurrent cell keeps the dtype that it came with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as _flax

if TYPE_CHECKING:
    from flax.linen import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]
    from flax.linen.spmd import logical_to_mesh as logical_to_mesh
    from flax.linen.spmd import logical_to_mesh_axes as logical_to_mesh_axes
    from flax.linen.spmd import logical_to_mesh_sharding as logical_to_mesh_sharding
    from flax.linen.spmd import with_logical_constraint as with_logical_constraint
    from flax.linen.summary import tabulate as tabulate
    from flax.linen.transforms import add_metadata_axis as add_metadata_axis

from ._layers import describe, public_names
from ._linen.compound import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    MGUCell,
    MultiHeadAttention,
    MultiHeadDotProductAttention,
    OptimizedLSTMCell,
    SimpleCell,
)
from ._linen.layers import (
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DenseGeneral,
    Einsum,
    Embed,
)

__all__ = [
    "Conv",
    "ConvLSTMCell",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "Einsum",
    "Embed",
    "GRUCell",
    "LSTMCell",
    "MGUCell",
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "OptimizedLSTMCell",
    "SimpleCell",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return getattr(_flax, name)


def __dir__() -> list[str]:
    return public_names(_flax, __all__)


for _name in __all__:
    describe(globals()[_name], getattr(_flax, _name), __name__)

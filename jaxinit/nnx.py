"""The layers of ``flax.nnx``, with initializers that know the right fans.

Change ``from flax import nnx`` to ``from jaxinit import nnx``. Names that are not defined here
(``Module``, ``Rngs``, ``jit``, ...) are Flax's own. Each layer here is a subclass of Flax's layer
of the same name, with the same arguments, parameters, shapes and names. ``jaxinit.linen`` says what
they add: ``activation``, ``mode``, ``defaults``, ``layout``, ``forget_bias``, and what
``kernel_init`` and ``bias_init`` may be. The fused kernels of OptimizedLSTMCell and GRUCell are
drawn gate by gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.nnx as _flax

if TYPE_CHECKING:
    from flax.nnx import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]

from ._layers import describe, public_names
from ._nnx.cells import (
    GRUCell,
    LSTMCell,
    OptimizedLSTMCell,
    SimpleCell,
)
from ._nnx.layers import (
    Conv,
    ConvTranspose,
    Einsum,
    Embed,
    Linear,
    LinearGeneral,
    MultiHeadAttention,
)

__all__ = [
    "Conv",
    "ConvTranspose",
    "Einsum",
    "Embed",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "LinearGeneral",
    "MultiHeadAttention",
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

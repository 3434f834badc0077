"""The layers of ``jaxinit.linen`` that are made of layers: attention and recurrent cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from flax.linen import recurrent

from .. import layouts
from .._choose.activations import Activation
from .._layers import forget_init, kept_dtype, projection_layout
from .._schemes.base import Init
from .._schemes.frameworks import Framework
from .._schemes.variance import Mode
from .layers import Conv, Dense, DenseGeneral, DenseParams, adopt, check_given, made

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dense: Dense,
    nn.DenseGeneral: DenseGeneral,
    nn.Conv: Conv,
    recurrent.DenseParams: DenseParams,
}


class _Compound(nn.Module):
    """A layer made of layers: those that Flax makes inside it become our own of the same name."""

    defaults: Framework = "jax"
    kernel_init: Init | str | None = None

    def __post_init__(self) -> None:
        check_given(self)
        super().__post_init__()

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        """What a layer inside is given beyond its own fields."""
        raise NotImplementedError

    @nn.nowrap
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        def adopted(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            child = context.module
            if child.parent is not self or type(child) not in _OURS:
                return method(*args, **kwargs)
            options = {"defaults": self.defaults, **self.options_of(child)}
            adopt(_OURS[type(child)], child, **options)
            return child.activated(method(*args, **kwargs))

        with nn.intercept_methods(adopted):
            return super().__call__(*args, **kwargs)  # type: ignore[misc]


class MultiHeadDotProductAttention(_Compound, nn.MultiHeadDotProductAttention):
    """Multi-head attention; ``activation`` and ``mode`` are the output projection's.

    The kernels of queries, keys and values are (in, heads, head size), with fan_in = in; that of
    the output is (heads, head size, out), with fan_in = heads x head size.
    """

    bias_init: Init | str | None = None
    activation: Activation = None
    mode: Mode | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", made(self, self.activation))
        super().__post_init__()

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        if child.name == "out":
            return {"kind": "output", "activation": self.activation, "mode": self.mode}
        own = layouts.attention("query")
        layout = projection_layout(own, self.defaults, self.kernel_init)
        return {"kind": "projection", "layout": layout}


class MultiHeadAttention(MultiHeadDotProductAttention):
    """Multi-head attention, by Flax's other name."""


class _Cell(_Compound):
    """A recurrent cell: a kernel of the input and one of the carry for each gate."""

    recurrent_kernel_init: Init | str | None = None

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        return {"kind": "recurrent" if str(child.name).startswith("h") else "cell"}

    @nn.nowrap
    def __call__(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        return kept_dtype(carry, *super().__call__(carry, inputs))


class _Biased(_Cell):
    """A recurrent cell whose biases have one initializer."""

    bias_init: Init | str | None = None


class _LSTM(_Biased):
    """A cell whose forget gate's bias is ``forget_bias``, or that of ``defaults``."""

    forget_bias: float | None = None

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        options = super().options_of(child)
        forget = forget_init(self.defaults, self.forget_bias, self.bias_init)
        if child.name == "hf" and forget is not None:
            options["bias_init"] = forget
        return options


class LSTMCell(_LSTM, nn.LSTMCell):
    """A long short-term memory cell, with a kernel of the input and of the carry for each gate."""


class OptimizedLSTMCell(_LSTM, nn.OptimizedLSTMCell):
    """A long short-term memory cell that multiplies all its gates at once.

    Each gate has its own kernels, as in ``LSTMCell``, and is drawn by itself.
    """


class SimpleCell(_Biased, nn.SimpleCell):
    """A simple recurrent cell, with a kernel of the input and one of the carry."""


class GRUCell(_Biased, nn.GRUCell):
    """A gated recurrent unit, with a kernel of the input and of the carry for each gate."""


class MGUCell(_Cell, nn.MGUCell):
    """A minimal gated unit; its biases are ``forget_bias_init`` and ``activation_bias_init``."""


class ConvLSTMCell(_Biased, nn.ConvLSTMCell):
    """A convolutional LSTM cell: each kernel holds four gates, and each gate is drawn by itself."""

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        own = layouts.conv(self.strides or 1, axes=len(self.kernel_size))
        carried = child.name == "hh"
        return {
            "kind": "recurrent" if carried and self.defaults == "keras" else "kernel",
            "layout": layouts.fused(4, own),
            "kernel_init": self.recurrent_kernel_init if carried else self.kernel_init,
            "bias_init": self.bias_init,
        }

"""The layers of ``flax.linen``, with initializers that know the right fans.

Change ``import flax.linen as nn`` to ``import jaxinit.linen as nn``. Names that are not defined
here (``Module``, ``compact``, ``LayerNorm``, ``relu``, ...) are Flax's own. Each layer here is a
subclass of Flax's layer of the same name, with the same arguments, parameters, shapes and names, so
a checkpoint fits both. What they add:

- ``activation``: a name or a function. It is applied to the output, and the kernel is initialized
  for it as ``jaxinit.recommend`` says, with the layer's true fans.
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

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax.linen.recurrent import DenseParams

from . import layouts
from ._choose.activations import Activation
from ._layers import (
    Options,
    check_groups,
    forget_init,
    function_of,
    kept_dtype,
    labelled,
    projection_layout,
)
from ._schemes.base import Init
from ._schemes.fans import Layout
from ._schemes.frameworks import Framework, Kind

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


class _Layer(nn.Module):
    """A layer of one kernel: when it asks for a parameter, its initializer is chosen.

    ``kind`` says which of a framework's defaults it takes.
    """

    activation: Activation = None
    defaults: Framework = "jax"
    layout: Layout | None = None
    kernel_init: Init | None = None
    bias_init: Init | None = None
    kind: Kind = "kernel"

    @nn.nowrap
    def own_layout(self) -> Layout:
        """The layout of the layer's kernel."""
        return layouts.dense()

    @nn.nowrap
    def param(self, name: str, init_fn: Init, *args: Any, **kwargs: Any) -> Any:
        """A parameter, as Flax's method of the same name makes it."""
        settled = self._settled(name)
        return super().param(name, settled or init_fn, *args, **kwargs)

    @nn.nowrap
    def _settled(self, name: str) -> Init | None:
        """The initializer to use instead of the one given; None where that one stays."""
        with labelled(_label(self)):
            layout = self.own_layout() if self.layout is None else self.layout
        options = Options(_label(self), self.kind, layout, self.activation, self.defaults)
        given = getattr(self, f"{name}_init")
        if name == "bias":
            kernel = nn.meta.unbox(self.get_variable("params", "kernel"))
            settled = options.bias(given, kernel.shape)
        else:
            settled = options.kernel(given)
        return None if settled is given else settled

    @nn.nowrap
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output, with the activation."""
        outputs = super().__call__(*args, **kwargs)  # type: ignore[misc]
        return function_of(_label(self), self.activation)(outputs)


def __getattr__(name: str) -> Any:
    return getattr(nn, name)


def __dir__() -> list[str]:
    return sorted({*dir(nn), *__all__})


def _label(module: nn.Module) -> str:
    """The layer and its path, for errors."""
    path = "/".join(module.path)
    return f"linen.{type(module).__name__.lstrip('_')}" + (f" at {path!r}" if path else "")


def _axes(value: int | Sequence[int]) -> int:
    """How many axes an int or a sequence names."""
    return 1 if isinstance(value, int) else len(value)


class Dense(_Layer, nn.Dense):
    """A dense layer: kernel (in, features)."""


class _DenseParams(_Layer, DenseParams):
    """The part of OptimizedLSTMCell that holds the parameters of one gate."""


class DenseGeneral(_Layer, nn.DenseGeneral):
    """A dense layer over several axes: kernel (*batch, *in, *features); a batch adds no fan."""

    @nn.nowrap
    def own_layout(self) -> Layout:
        return layouts.general_dense(_axes(self.axis), _axes(self.features), _axes(self.batch_dims))


class Einsum(_Layer, nn.Einsum):
    """An einsum with a kernel: each of its axes has the role that the equation gives it."""

    @nn.nowrap
    def __call__(self, inputs: jax.Array, einsum_str: str | None = None) -> Any:
        equation = einsum_str or self.einsum_str
        if self.layout is None and equation is not None:
            with labelled(_label(self)):
                layout = layouts.einsum(equation, inputs.shape, self.shape)
            return _twin(Einsum, self, layout=layout)(inputs, einsum_str)
        return super().__call__(inputs, einsum_str)


class _Convolution(_Layer):
    """The check of groups that Conv and ConvLocal share."""

    @nn.nowrap
    def __call__(self, inputs: jax.Array) -> Any:
        layer: Any = self
        check_groups(_label(self), layer.feature_group_count, inputs.shape[-1], layer.features)
        return super().__call__(inputs)


class Conv(_Convolution, nn.Conv):
    """A convolution: kernel (*window, in/groups, features)."""

    @nn.nowrap
    def own_layout(self) -> Layout:
        return layouts.conv(
            self.strides or 1,
            self.feature_group_count,
            input_dilation=self.input_dilation or 1,
            axes=_axes(self.kernel_size),
        )


class ConvLocal(_Convolution, nn.ConvLocal):
    """A local convolution: kernel (*places, window * in, features), one for each place."""

    @nn.nowrap
    def own_layout(self) -> Layout:
        size = (self.kernel_size,) if isinstance(self.kernel_size, int) else self.kernel_size
        dilated = layouts.conv(input_dilation=self.input_dilation or 1, axes=len(size))
        local = layouts.conv_local(size, self.strides or 1)
        return dataclasses.replace(local, in_stride=dilated.in_stride)


class ConvTranspose(_Layer, nn.ConvTranspose):
    """A transposed convolution: kernel (*window, in, features), or as its convolution's."""

    kind: Kind = "transposed"

    @nn.nowrap
    def own_layout(self) -> Layout:
        axes = _axes(self.kernel_size)
        return layouts.conv_transpose(self.strides or 1, self.transpose_kernel, axes=axes)


class Embed(_Layer, nn.Embed):
    """An embedding: table (num_embeddings, features)."""

    embedding_init: Init | None = None
    kind: Kind = "embedding"

    @nn.nowrap
    def own_layout(self) -> Layout:
        return layouts.embedding()


def _twin(cls: type[nn.Module], module: nn.Module, **changes: Any) -> Any:
    """A layer of class ``cls`` with the fields of ``module``, some changed, in its place."""
    fields = (f.name for f in dataclasses.fields(module) if f.init)
    same = {name: getattr(module, name) for name in fields if name not in ("parent", "name")}
    return cls(**{**same, **changes}, parent=module.scope)


_TWINS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dense: Dense,
    nn.DenseGeneral: DenseGeneral,
    nn.Conv: Conv,
    DenseParams: _DenseParams,
}


class _Compound(nn.Module):
    """A layer made of layers: those that Flax makes inside it are replaced by the ones above."""

    defaults: Framework = "jax"
    kernel_init: Init | None = None
    bias_init: Init | None = None

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        """What a layer inside is given beyond its own fields."""
        raise NotImplementedError

    @nn.nowrap
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        def exchanged(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            child = context.module
            if child.parent is not self or type(child) not in _TWINS:
                return method(*args, **kwargs)
            options = {"defaults": self.defaults, **self.options_of(child)}
            return _twin(_TWINS[type(child)], child, **options)(*args, **kwargs)

        with nn.intercept_methods(exchanged):
            return super().__call__(*args, **kwargs)  # type: ignore[misc]


class MultiHeadDotProductAttention(_Compound, nn.MultiHeadDotProductAttention):
    """Multi-head attention; ``activation`` is the output projection's."""

    activation: Activation = None

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        if child.name == "out":
            return {"kind": "output", "activation": self.activation}
        own = layouts.attention("query")
        layout = projection_layout(own, self.defaults, self.kernel_init)
        return {"kind": "projection", "layout": layout}


class MultiHeadAttention(MultiHeadDotProductAttention):
    """Multi-head attention, by Flax's other name."""


class _Cell(_Compound):
    """A recurrent cell: a kernel of the input and one of the carry for each gate."""

    recurrent_kernel_init: Init | None = None

    @nn.nowrap
    def options_of(self, child: nn.Module) -> dict[str, Any]:
        return {"kind": "recurrent" if str(child.name).startswith("h") else "cell"}

    @nn.nowrap
    def __call__(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        return kept_dtype(carry, *super().__call__(carry, inputs))


class _LSTM(_Cell):
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
    """A long short-term memory cell."""


class OptimizedLSTMCell(_LSTM, nn.OptimizedLSTMCell):
    """A long short-term memory cell that multiplies all its gates at once."""


class SimpleCell(_Cell, nn.SimpleCell):
    """A simple recurrent cell."""


class GRUCell(_Cell, nn.GRUCell):
    """A gated recurrent unit."""


class MGUCell(_Cell, nn.MGUCell):
    """A minimal gated unit; its biases are ``forget_bias_init`` and ``activation_bias_init``."""


class ConvLSTMCell(_Cell, nn.ConvLSTMCell):
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

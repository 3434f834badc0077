"""The layers of ``jaxinit.linen`` that have one kernel."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
from flax.linen import recurrent

from .. import layouts
from .._choose.activations import Activation
from .._layer_options import check_options
from .._layers import Options, check_groups, function_of, instance, labelled, sizes
from .._schemes.base import Init
from .._schemes.fans import Layout
from .._schemes.frameworks import Framework, Kind
from .._schemes.variance import Mode


class _Layer(nn.Module):
    """A layer: when it asks for a parameter, its initializer is chosen.

    ``kind`` says which of a framework's defaults it takes.
    """

    activation: Activation = None
    mode: Mode | None = None
    defaults: Framework = "jax"
    layout: Layout | None = None
    kind: Kind = "kernel"

    def __post_init__(self) -> None:
        check_given(self)
        object.__setattr__(self, "activation", made(self, self.activation))
        super().__post_init__()

    @nn.nowrap
    def own_layout(self) -> Layout:
        """The layout of the layer's kernel."""
        return layouts.dense()

    @nn.nowrap
    def param(self, name: str, init_fn: Init, *args: Any, **kwargs: Any) -> Any:
        """A parameter, as Flax's method of the same name makes it."""
        settled = self._settled(name) if hasattr(self, f"{name}_init") else None
        return super().param(name, settled or init_fn, *args, **kwargs)

    @nn.nowrap
    def _settled(self, name: str) -> Init | None:
        """The initializer to use instead of the one given; None where that one stays."""
        with labelled(label_of(self)):
            layout = self.own_layout() if self.layout is None else self.layout
        own = (self.activation, self.mode, self.defaults)
        options = Options(label_of(self), self.kind, layout, *own)
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
        return self.activated(super().__call__(*args, **kwargs))  # type: ignore[misc]

    @nn.nowrap
    def activated(self, outputs: Any) -> Any:
        """The activation of the outputs."""
        return function_of(label_of(self), self.activation)(outputs)


class _Dense(_Layer):
    """A layer of one kernel and a bias."""

    kernel_init: Init | str | None = None
    bias_init: Init | str | None = None


def check_given(module: nn.Module) -> None:
    """Raises where an option of a layer is of the wrong kind."""
    given = {f.name: getattr(module, f.name) for f in dataclasses.fields(module)}
    check_options(f"linen.{type(module).__name__}", given)


def label_of(module: nn.Module) -> str:
    """The layer and its path, for errors."""
    path = "/".join(module.path)
    return f"linen.{type(module).__name__.lstrip('_')}" + (f" at {path!r}" if path else "")


def made(layer: nn.Module, activation: Activation) -> Activation:
    """The activation, a class as a module; one of Linen becomes a part of the layer."""
    linen = isinstance(activation, type) and issubclass(activation, nn.Module)
    options = {"parent": None} if linen else {}
    return instance(f"linen.{type(layer).__name__}", activation, **options)


def adopt(cls: type[nn.Module], module: nn.Module, **options: Any) -> None:
    """Turns a layer of Flax into one of its subclass ``cls``, in place, with more options.

    A new layer in its stead would be recorded beside it, wherever Flax records calls.
    """
    for name, value in {"__class__": cls, **options}.items():
        object.__setattr__(module, name, value)


class Dense(_Dense, nn.Dense):
    """A dense layer: kernel (in, features), with fan_in = in and fan_out = features.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxinit import linen
      >>> layer = linen.Dense(256, activation="relu")  # its kernel is that of he_normal
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 512)))["params"]
      >>> f"{params['kernel'].std() * (512 / 2) ** 0.5:.2f}"
      '1.00'
    """


class DenseParams(_Dense, recurrent.DenseParams):
    """The part of OptimizedLSTMCell that holds the parameters of one gate."""


class DenseGeneral(_Dense, nn.DenseGeneral):
    """A dense layer over several axes: kernel (*batch, *in, *features); a batch adds no fan.

    So fan_in is the product of the input axes and fan_out that of ``features``.
    """

    @nn.nowrap
    def own_layout(self) -> Layout:
        axes = (self.axis, self.features, self.batch_dims)
        return layouts.general_dense(*(len(sizes(named)) for named in axes))


class Einsum(_Dense, nn.Einsum):
    """An einsum with a kernel: each of its axes has the role that the equation gives it.

    fan_in is the number of products that one output sums, as ``layouts.einsum`` counts them.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxinit import linen
      >>> layer = linen.Einsum((512, 8, 64), "bti,ihd->bthd")  # fan_in is 512
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 1, 512)))["params"]
      >>> f"{params['kernel'].std() * 512 ** 0.5:.2f}"
      '1.00'
    """

    @nn.nowrap
    def own_layout(self) -> Layout:
        return self._layout

    @nn.nowrap
    def __call__(self, inputs: jax.Array, einsum_str: str | None = None) -> Any:
        equation = einsum_str or self.einsum_str
        if self.layout is None and equation is not None:
            with labelled(label_of(self)):
                layout = layouts.einsum(equation, inputs.shape, sizes(self.shape))
            object.__setattr__(self, "_layout", layout)
        return super().__call__(inputs, einsum_str)


class _Convolution(_Dense):
    """The check of groups that Conv and ConvLocal share."""

    @nn.nowrap
    def __call__(self, inputs: jax.Array) -> Any:
        layer: Any = self
        check_groups(label_of(self), layer.feature_group_count, inputs.shape[-1], layer.features)
        return super().__call__(inputs)


class Conv(_Convolution, nn.Conv):
    """A convolution: kernel (*window, in/groups, features).

    fan_in is the size of the window times in/groups. fan_out is the size of the window times
    features/groups, divided by the strides.
    """

    @nn.nowrap
    def own_layout(self) -> Layout:
        return layouts.conv(
            self.strides or 1,
            self.feature_group_count,
            input_dilation=self.input_dilation or 1,
            axes=len(sizes(self.kernel_size)),
        )


class ConvLocal(_Convolution, nn.ConvLocal):
    """A local convolution: kernel (*places, window * in, features), one for each place.

    The fans are those of the convolution at one place.
    """

    @nn.nowrap
    def own_layout(self) -> Layout:
        window = sizes(self.kernel_size)
        dilated = layouts.conv(input_dilation=self.input_dilation or 1, axes=len(window))
        local = layouts.conv_local(window, self.strides or 1)
        return dataclasses.replace(local, in_stride=dilated.in_stride)


class ConvTranspose(_Dense, nn.ConvTranspose):
    """A transposed convolution: kernel (*window, in, features).

    With ``transpose_kernel`` the kernel is (*window, features, in), as that of the convolution that
    is transposed. Each output sees only one part in strides of the window, so fan_in is the size of
    the window times in, divided by the strides.
    """

    kind: Kind = "transposed"

    @nn.nowrap
    def own_layout(self) -> Layout:
        axes = len(sizes(self.kernel_size))
        return layouts.conv_transpose(self.strides or 1, self.transpose_kernel, axes=axes)


class Embed(_Layer, nn.Embed):
    """An embedding: table (num_embeddings, features), by default with variance 1/features."""

    embedding_init: Init | str | None = None
    kind: Kind = "embedding"

    @nn.nowrap
    def own_layout(self) -> Layout:
        return layouts.embedding()

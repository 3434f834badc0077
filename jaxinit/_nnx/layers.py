"""The layers of ``jaxinit.nnx`` that are not recurrent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Unpack

from flax import linen, nnx

from .. import layouts
from .._choose.activations import Activation
from .._layer_options import checked
from .._layers import (
    Options,
    Reshaped,
    check_groups,
    function_of,
    instance,
    labelled,
    projection_layout,
    sizes,
)
from .._schemes.einsum import read_einsum
from .._schemes.fans import Layout
from .._schemes.frameworks import Kind
from .._schemes.variance import VarianceScaling
from . import options

Sizes = int | Sequence[int]
Given = Mapping[str, Any]  # keyword arguments: ours and Flax's


def label_of(module: nnx.Module, shape: Sequence[int]) -> str:
    """The layer and its kernel's shape, for errors: while it is made, a module has no path."""
    return f"nnx.{type(module).__name__} with kernel {'x'.join(map(str, shape))}"


def made(label: str, activation: Activation) -> Activation:
    """The activation, a class as a module."""
    found = instance(label, activation)
    if isinstance(found, linen.Module):
        raise TypeError(
            f"{label}: {type(found).__name__} is a module of flax.linen; give a function, or a "
            f"module of flax.nnx, as activation."
        )
    return found


class _Layer(nnx.Module):
    """A layer of one kernel, with an activation."""

    __signature__ = options.Signature()
    activation: Activation

    def _settle(
        self, given: Given, layout: Layout, shape: Sequence[int], kind: Kind = "kernel"
    ) -> dict[str, Any]:
        """Flax's keyword arguments, with the initializers chosen."""
        label, theirs = label_of(self, shape), dict(given)
        self.activation = made(label, theirs.pop("activation", None))
        own = (self.activation, theirs.pop("mode", None), theirs.pop("defaults", "jax"))
        chosen = Options(label, kind, theirs.pop("layout", None) or layout, *own)
        if kind == "embedding":
            return {**theirs, "embedding_init": chosen.kernel(given.get("embedding_init"))}
        return {
            **theirs,
            "kernel_init": chosen.kernel(given.get("kernel_init")),
            "bias_init": chosen.bias(given.get("bias_init"), shape),
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output, with the activation."""
        outputs = super().__call__(*args, **kwargs)  # type: ignore[misc]
        return function_of(f"nnx.{type(self).__name__}", self.activation)(outputs)


class Linear(_Layer, nnx.Linear):
    """A dense layer: kernel (in, out), with fan_in = in and fan_out = out.

    Example:
      >>> from jaxinit import nnx
      >>> layer = nnx.Linear(512, 256, activation="relu", rngs=nnx.Rngs(0))  # as he_normal
      >>> f"{layer.kernel[...].std() * (512 / 2) ** 0.5:.2f}"
      '1.00'
    """

    @checked
    def __init__(
        self, in_features: int, out_features: int, **given: Unpack[options.Linear]
    ) -> None:
        shape = (in_features, out_features)
        super().__init__(*shape, **self._settle(given, layouts.dense(), shape))


class LinearGeneral(_Layer, nnx.LinearGeneral):
    """A dense layer over several axes: kernel (*batch, *in, *out); a batch adds no fan.

    So fan_in is the product of the input axes and fan_out that of the output axes.
    """

    @checked
    def __init__(
        self,
        in_features: Sizes,
        out_features: Sizes,
        *,
        batch_axis: Mapping[int, int] = MappingProxyType({}),
        **given: Unpack[options.LinearGeneral],
    ) -> None:
        axes = (sizes(in_features), sizes(out_features), tuple(batch_axis.values()))
        layout = layouts.general_dense(*map(len, axes))
        shape = (*axes[2], *axes[0], *axes[1])
        foreign, settled = given.get("kernel_init"), self._settle(given, layout, shape)
        if settled["kernel_init"] is not foreign:  # Flax asks for (batch * in, out)
            settled["kernel_init"] = Reshaped(settled["kernel_init"], shape)
        super().__init__(in_features, out_features, batch_axis=batch_axis, **settled)


class Einsum(_Layer, nnx.Einsum):
    """An einsum with a kernel: each of its axes has the role that the equation gives it.

    fan_in is the number of products that one output sums. While the layer is made, the shape of its
    inputs is not known. So where the equation sums the input over an axis that the kernel does not
    have, fan_in counts the kernel's axes alone; to count all, give
    ``layout=layouts.einsum(equation, input_shape)``.

    Example:
      >>> from jaxinit import nnx
      >>> layer = nnx.Einsum("bti,ihd->bthd", (512, 8, 64), rngs=nnx.Rngs(0))  # fan_in is 512
      >>> f"{layer.kernel[...].std() * 512 ** 0.5:.2f}"
      '1.00'
    """

    @checked
    def __init__(
        self,
        einsum_str: str,
        kernel_shape: Sizes,
        bias_shape: Sizes | None = None,
        **given: Unpack[options.Einsum],
    ) -> None:
        shape = sizes(kernel_shape)
        with labelled(label_of(self, shape)):
            layout = given.get("layout") or read_einsum(einsum_str, None, shape)[0]
        settled = self._settle(given, layout, shape)
        super().__init__(einsum_str, shape, bias_shape, **settled)  # type: ignore[arg-type]


class Conv(_Layer, nnx.Conv):
    """A convolution: kernel (*window, in/groups, out).

    fan_in is the size of the window times in/groups. fan_out is the size of the window times
    out/groups, divided by the strides.
    """

    @checked
    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        strides: Sizes | None = 1,
        *,
        feature_group_count: int = 1,
        input_dilation: Sizes | None = 1,
        **given: Unpack[options.Conv],
    ) -> None:
        window, groups = sizes(kernel_size), feature_group_count
        shape = (*window, in_features // groups, out_features)
        check_groups(label_of(self, shape), groups, in_features, out_features)
        layout = layouts.conv(
            strides or 1, groups, input_dilation=input_dilation or 1, axes=len(window)
        )
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            feature_group_count=groups,
            input_dilation=input_dilation,
            **self._settle(given, layout, shape),
        )


class ConvTranspose(_Layer, nnx.ConvTranspose):
    """A transposed convolution: kernel (*window, in, out).

    With ``transpose_kernel`` the kernel is (*window, out, in), as that of the convolution that is
    transposed. Each output sees only one part in strides of the window, so fan_in is the size of
    the window times in, divided by the strides.
    """

    @checked
    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        strides: Sizes | None = None,
        *,
        transpose_kernel: bool = False,
        **given: Unpack[options.ConvTranspose],
    ) -> None:
        window, pair = sizes(kernel_size), (in_features, out_features)
        shape = (*window, *(pair[::-1] if transpose_kernel else pair))
        layout = layouts.conv_transpose(strides or 1, transpose_kernel, axes=len(window))
        settled = self._settle(given, layout, shape, "transposed")
        super().__init__(*pair, kernel_size, strides, transpose_kernel=transpose_kernel, **settled)


class Embed(_Layer, nnx.Embed):
    """An embedding: table (num_embeddings, features), by default with variance 1/features."""

    @checked
    def __init__(self, num_embeddings: int, features: int, **given: Unpack[options.Embed]) -> None:
        shape = (num_embeddings, features)
        settled = self._settle(given, layouts.embedding(), shape, "embedding")
        super().__init__(*shape, **settled)


class MultiHeadAttention(nnx.MultiHeadAttention):
    """Multi-head attention; ``activation`` and ``mode`` are the output projection's.

    The kernels of queries, keys and values are (in, heads, head size), with fan_in = in; that of
    the output is (heads, head size, out), with fan_in = heads x head size.
    """

    __signature__ = options.Signature()

    @checked
    def __init__(
        self,
        num_heads: int,
        in_features: int,
        qkv_features: int | None = None,
        out_features: int | None = None,
        num_kv_heads: int | None = None,
        in_kv_features: int | None = None,
        **given: Unpack[options.MultiHeadAttention],
    ) -> None:
        inner, outer = qkv_features or in_features, out_features or in_features
        shape, theirs = (in_features, inner), dict[str, Any](given)
        label = label_of(self, shape)
        self.activation = made(label, theirs.pop("activation", None))
        mode, defaults = theirs.pop("mode", None), theirs.pop("defaults", "jax")
        ours = {role: theirs.pop(role, None) for role in _ATTENTION}
        layout = projection_layout(layouts.dense(), defaults, ours["kernel_init"])
        projected = Options(label, "projection", layout, defaults=defaults)
        out = Options(label, "output", layouts.dense(), self.activation, mode, defaults)
        bias = projected.bias(ours["bias_init"], shape)
        if in_kv_features not in (None, in_features) and isinstance(bias, VarianceScaling):
            raise ValueError(
                f"{label}: bias_init asks for the kernel's fans, and queries have {in_features} "
                f"inputs, keys and values {in_kv_features}; give one that needs no fans."
            )
        super().__init__(
            num_heads,
            in_features,
            qkv_features,
            out_features,
            num_kv_heads,
            in_kv_features,
            kernel_init=projected.kernel(ours["kernel_init"]),
            bias_init=bias,
            out_kernel_init=out.kernel(ours["out_kernel_init"] or ours["kernel_init"]),
            out_bias_init=out.bias(ours["out_bias_init"] or ours["bias_init"], (inner, outer)),
            **theirs,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output, with the activation."""
        return function_of("nnx.MultiHeadAttention", self.activation)(
            super().__call__(*args, **kwargs)
        )


_ATTENTION = ("kernel_init", "bias_init", "out_kernel_init", "out_bias_init")

"""The layers of ``flax.nnx``, with initializers that know the right fans.

Change ``from flax import nnx`` to ``from jaxinit import nnx``. Names that are not defined here
(``Module``, ``Rngs``, ``jit``, ...) are Flax's own. Each layer here is a subclass of Flax's layer
of the same name, with the same arguments, parameters, shapes and names. ``jaxinit.linen`` says what
they add: ``activation``, ``defaults``, ``layout``, ``forget_bias``, and what ``kernel_init`` and
``bias_init`` may be. The fused kernels of OptimizedLSTMCell and GRUCell are drawn gate by gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
from flax import nnx

from . import layouts
from ._choose.activations import Activation
from ._layers import (
    Options,
    Reshaped,
    check_groups,
    forget_init,
    function_of,
    kept_dtype,
    labelled,
    projection_layout,
)
from ._schemes.base import Init
from ._schemes.fans import Layout
from ._schemes.frameworks import Kind
from ._schemes.variance import VarianceScaling

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

Sizes = int | Sequence[int]
Given = dict[str, Any]  # keyword arguments: ours and Flax's


def __getattr__(name: str) -> Any:
    return getattr(nnx, name)


def __dir__() -> list[str]:
    return sorted({*dir(nnx), *__all__})


def _tuple(value: Sizes) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _label(module: nnx.Module, shape: Sequence[int]) -> str:
    """The layer and its kernel's shape, for errors: while it is made, a module has no path."""
    return f"nnx.{type(module).__name__} with kernel {'x'.join(map(str, shape))}"


class _Layer(nnx.Module):
    """A layer of one kernel, with an activation."""

    activation: Activation

    def _settle(
        self, given: Given, layout: Layout, shape: Sequence[int], kind: Kind = "kernel"
    ) -> Given:
        """Flax's keyword arguments, with the initializers chosen."""
        label, self.activation = _label(self, shape), given.pop("activation", None)
        layout, defaults = given.pop("layout", None) or layout, given.pop("defaults", "jax")
        options = Options(label, kind, layout, self.activation, defaults)
        if kind == "embedding":
            return {**given, "embedding_init": options.kernel(given.get("embedding_init"))}
        return {
            **given,
            "kernel_init": options.kernel(given.get("kernel_init")),
            "bias_init": options.bias(given.get("bias_init"), shape),
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output, with the activation."""
        outputs = super().__call__(*args, **kwargs)  # type: ignore[misc]
        return function_of(f"nnx.{type(self).__name__}", self.activation)(outputs)


class Linear(_Layer, nnx.Linear):
    """A dense layer: kernel (in, out)."""

    def __init__(self, in_features: int, out_features: int, **given: Any):
        shape = (in_features, out_features)
        super().__init__(*shape, **self._settle(given, layouts.dense(), shape))


class LinearGeneral(_Layer, nnx.LinearGeneral):
    """A dense layer over several axes: kernel (*batch, *in, *out); a batch adds no fan."""

    def __init__(
        self,
        in_features: Sizes,
        out_features: Sizes,
        *,
        batch_axis: Mapping[int, int] = MappingProxyType({}),
        **given: Any,
    ):
        axes = (_tuple(in_features), _tuple(out_features), tuple(batch_axis.values()))
        layout = layouts.general_dense(*map(len, axes))
        shape = (*axes[2], *axes[0], *axes[1])
        foreign, settled = given.get("kernel_init"), self._settle(given, layout, shape)
        if settled["kernel_init"] is not foreign:  # Flax asks for (batch * in, out)
            settled["kernel_init"] = Reshaped(settled["kernel_init"], shape)
        super().__init__(in_features, out_features, batch_axis=batch_axis, **settled)


class Einsum(_Layer, nnx.Einsum):
    """An einsum with a kernel: each of its axes has the role that the equation gives it."""

    def __init__(
        self,
        einsum_str: str,
        kernel_shape: Sequence[int],
        bias_shape: Sequence[int] | None = None,
        **given: Any,
    ):
        shape = tuple(kernel_shape)
        with labelled(_label(self, shape)):
            layout = given.pop("layout", None) or layouts.einsum(einsum_str, None, shape)
        settled = self._settle(given, layout, shape)
        super().__init__(einsum_str, shape, bias_shape, **settled)  # type: ignore[arg-type]


class Conv(_Layer, nnx.Conv):
    """A convolution: kernel (*window, in/groups, out)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        strides: Sizes | None = 1,
        *,
        feature_group_count: int = 1,
        input_dilation: Sizes | None = 1,
        **given: Any,
    ):
        window, groups = _tuple(kernel_size), feature_group_count
        shape = (*window, in_features // groups, out_features)
        check_groups(_label(self, shape), groups, in_features, out_features)
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
    """A transposed convolution: kernel (*window, in, out), or as its convolution's."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        strides: Sizes | None = None,
        *,
        transpose_kernel: bool = False,
        **given: Any,
    ):
        window, pair = _tuple(kernel_size), (in_features, out_features)
        shape = (*window, *(pair[::-1] if transpose_kernel else pair))
        layout = layouts.conv_transpose(strides or 1, transpose_kernel, axes=len(window))
        settled = self._settle(given, layout, shape, "transposed")
        super().__init__(*pair, kernel_size, strides, transpose_kernel=transpose_kernel, **settled)


class Embed(_Layer, nnx.Embed):
    """An embedding: table (num_embeddings, features)."""

    def __init__(self, num_embeddings: int, features: int, **given: Any):
        shape = (num_embeddings, features)
        settled = self._settle(given, layouts.embedding(), shape, "embedding")
        super().__init__(*shape, **settled)


class MultiHeadAttention(nnx.MultiHeadAttention):
    """Multi-head attention; ``activation`` is the output projection's."""

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        qkv_features: int | None = None,
        out_features: int | None = None,
        num_kv_heads: int | None = None,
        in_kv_features: int | None = None,
        **given: Any,
    ):
        inner, outer = qkv_features or in_features, out_features or in_features
        shape = (in_features, inner)
        label = _label(self, shape)
        self.activation, defaults = given.pop("activation", None), given.pop("defaults", "jax")
        ours = {role: given.pop(role, None) for role in _ATTENTION}
        layout = projection_layout(layouts.dense(), defaults, ours["kernel_init"])
        projected = Options(label, "projection", layout, None, defaults)
        out = Options(label, "output", layouts.dense(), self.activation, defaults)
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
            **given,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output, with the activation."""
        return function_of("nnx.MultiHeadAttention", self.activation)(
            super().__call__(*args, **kwargs)
        )


_ATTENTION = ("kernel_init", "bias_init", "out_kernel_init", "out_bias_init")


class _Cell(nnx.Module):
    """A recurrent cell whose kernels hold ``gates`` blocks.

    ``carried`` says whether its bias belongs to the kernel of the carry.
    """

    gates: int = 1
    carried: bool = False

    def __init__(self, in_features: int, hidden_features: int, **given: Any):
        defaults, layout = given.pop("defaults", "jax"), layouts.fused(self.gates)
        features = self.gates * hidden_features
        shape, carried_shape = (in_features, features), (hidden_features, features)
        label = _label(self, shape)
        cell = Options(label, "cell", layout, None, defaults)
        carried = Options(label, "recurrent", layout, None, defaults)
        biased, bias_shape = (carried, carried_shape) if self.carried else (cell, shape)
        super().__init__(
            in_features,  # type: ignore[call-arg]
            hidden_features,
            kernel_init=cell.kernel(given.pop("kernel_init", None)),
            recurrent_kernel_init=carried.kernel(given.pop("recurrent_kernel_init", None)),
            bias_init=biased.bias(given.pop("bias_init", None), bias_shape),
            **given,
        )

    def __call__(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        return kept_dtype(carry, *super().__call__(carry, inputs))  # type: ignore[misc]


class SimpleCell(_Cell, nnx.SimpleCell):
    """A simple recurrent cell."""


class GRUCell(_Cell, nnx.GRUCell):
    """A gated recurrent unit."""

    gates = 3


class LSTMCell(_Cell, nnx.LSTMCell):
    """A long short-term memory cell."""

    carried = True

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        forget_bias: float | None = None,
        **given: Any,
    ):
        forget = forget_init(given.get("defaults"), forget_bias, given.get("bias_init"))
        super().__init__(in_features, hidden_features, **given)
        if forget is not None:
            _fill(self.hf.bias, slice(None), forget)


class OptimizedLSTMCell(_Cell, nnx.OptimizedLSTMCell):
    """A long short-term memory cell with its gates in one kernel: input, forget, cell, output."""

    gates = 4
    carried = True

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        forget_bias: float | None = None,
        **given: Any,
    ):
        forget = forget_init(given.get("defaults"), forget_bias, given.get("bias_init"))
        super().__init__(in_features, hidden_features, **given)
        if forget is not None:
            _fill(self.dense_h.bias, slice(hidden_features, 2 * hidden_features), forget)


def _fill(bias: Any, gate: slice, init: Init) -> None:
    """Make one gate's part of a bias again, by another initializer."""
    old = bias[...]
    bias[...] = old.at[gate].set(init(None, old[gate].shape, old.dtype))

"""The recurrent cells of ``jaxinit.nnx``."""

from __future__ import annotations

from typing import Any, Unpack

import jax
from flax import nnx

from .. import layouts
from .._layer_options import checked
from .._layers import Options, forget_init, kept_dtype
from . import options
from .layers import label_of


class _Cell(nnx.Module):
    """A recurrent cell whose kernels hold ``gates`` blocks.

    ``carried`` says whether its bias belongs to the kernel of the carry.
    """

    __signature__ = options.Signature()
    gates: int = 1
    carried: bool = False

    def __init__(self, in_features: int, hidden_features: int, **given: Any) -> None:
        defaults, layout = given.pop("defaults", "jax"), layouts.fused(self.gates)
        features = self.gates * hidden_features
        shape, carried_shape = (in_features, features), (hidden_features, features)
        label = label_of(self, shape)
        cell = Options(label, "cell", layout, defaults=defaults)
        carried = Options(label, "recurrent", layout, defaults=defaults)
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
    """A simple recurrent cell, with a kernel of the input and one of the carry."""

    @checked
    def __init__(
        self, in_features: int, hidden_features: int, **given: Unpack[options.SimpleCell]
    ) -> None:
        super().__init__(in_features, hidden_features, **given)


class GRUCell(_Cell, nnx.GRUCell):
    """A gated recurrent unit with its gates in one kernel: reset, update, new."""

    gates = 3

    @checked
    def __init__(
        self, in_features: int, hidden_features: int, **given: Unpack[options.GatedCell]
    ) -> None:
        super().__init__(in_features, hidden_features, **given)


class _LSTM(_Cell):
    """A cell whose forget gate's bias is ``forget_bias``, or that of ``defaults``."""

    carried = True

    @checked
    def __init__(
        self, in_features: int, hidden_features: int, **given: Unpack[options.LSTMCell]
    ) -> None:
        theirs = dict[str, Any](given)
        forget_bias = theirs.pop("forget_bias", None)
        init = forget_init(given.get("defaults"), forget_bias, given.get("bias_init"))
        super().__init__(in_features, hidden_features, **theirs)
        if init is not None:
            bias, gate = self.forget_gate()
            old = bias[...]
            bias[...] = old.at[gate].set(init(None, old[gate].shape, old.dtype))

    def forget_gate(self) -> tuple[Any, slice]:
        """The bias that holds the forget gate's, and where it does."""
        raise NotImplementedError


class LSTMCell(_LSTM, nnx.LSTMCell):
    """A long short-term memory cell, with a kernel of the input and of the carry for each gate."""

    def forget_gate(self) -> tuple[Any, slice]:
        return self.hf.bias, slice(None)


class OptimizedLSTMCell(_LSTM, nnx.OptimizedLSTMCell):
    """A long short-term memory cell with its gates in one kernel: input, forget, cell, output."""

    gates = 4

    def forget_gate(self) -> tuple[Any, slice]:
        return self.dense_h.bias, slice(self.hidden_features, 2 * self.hidden_features)

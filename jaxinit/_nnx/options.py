"""The keyword arguments of the layers of ``jaxinit.nnx``: Flax's, and ours.

A type checker and an editor read them here; ``signature`` shows them when the program runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Required, TypedDict, get_args, get_type_hints

import jax
from flax import nnx
from flax.typing import DotGeneralT, Dtype, PaddingLike, PrecisionLike, PromoteDtypeFn

from .._choose.activations import Activation
from .._schemes.base import Init
from .._schemes.fans import Layout
from .._schemes.frameworks import Framework
from .._schemes.variance import Mode

Metadata = Mapping[str, Any]


class _Parameter(TypedDict, total=False):
    """Of every layer."""

    rngs: Required[nnx.Rngs]
    dtype: Dtype | None
    param_dtype: Dtype
    promote_dtype: PromoteDtypeFn
    defaults: Framework


class _Kernel(_Parameter, total=False):
    """Of a layer with a kernel and a bias."""

    precision: PrecisionLike
    preferred_element_type: Dtype | None
    kernel_init: Init | str | None
    kernel_metadata: Metadata
    bias_init: Init | str | None
    bias_metadata: Metadata
    activation: Activation
    mode: Mode | None
    layout: Layout | None


class Linear(_Kernel, total=False):
    use_bias: bool
    dot_general: DotGeneralT


class LinearGeneral(_Kernel, total=False):
    axis: int | tuple[int, ...] | list[int]
    use_bias: bool
    dot_general: DotGeneralT | None
    dot_general_cls: Any


class Einsum(_Kernel, total=False):
    einsum_op: Callable[..., jax.Array]


class ConvTranspose(_Kernel, total=False):
    use_bias: bool
    padding: PaddingLike
    kernel_dilation: int | tuple[int, ...] | list[int] | None
    mask: jax.Array | None


class Conv(ConvTranspose, total=False):
    conv_general_dilated: Callable[..., jax.Array]


class Embed(_Parameter, total=False):
    embedding_init: Init | str | None
    embedding_metadata: Metadata
    activation: Activation
    mode: Mode | None
    layout: Layout | None


class MultiHeadAttention(TypedDict, total=False):
    rngs: Required[nnx.Rngs]
    keep_rngs: bool
    dtype: Dtype | None
    param_dtype: Dtype
    precision: PrecisionLike
    broadcast_dropout: bool
    dropout_rate: float
    deterministic: bool | None
    use_bias: bool
    attention_fn: Callable[..., jax.Array]
    decode: bool | None
    normalize_qk: bool
    qkv_promote_dtype: PromoteDtypeFn
    out_promote_dtype: PromoteDtypeFn
    ln_promote_dtype: PromoteDtypeFn
    qkv_dot_general: DotGeneralT | None
    out_dot_general: DotGeneralT | None
    qkv_dot_general_cls: Any
    out_dot_general_cls: Any
    kernel_init: Init | str | None
    kernel_metadata: Metadata
    out_kernel_init: Init | str | None
    out_kernel_metadata: Metadata
    bias_init: Init | str | None
    bias_metadata: Metadata
    out_bias_init: Init | str | None
    out_bias_metadata: Metadata
    query_ln_scale_metadata: Metadata
    key_ln_scale_metadata: Metadata
    activation: Activation
    mode: Mode | None
    defaults: Framework


class Cell(_Parameter, total=False):
    activation_fn: Callable[..., Any]
    kernel_init: Init | str | None
    kernel_metadata: Metadata
    recurrent_kernel_init: Init | str | None
    recurrent_kernel_metadata: Metadata
    bias_init: Init | str | None
    bias_metadata: Metadata
    carry_init: Init | None
    keep_rngs: bool


class SimpleCell(Cell, total=False):
    residual: bool


class GatedCell(Cell, total=False):
    gate_fn: Callable[..., Any]


class LSTMCell(GatedCell, total=False):
    forget_bias: float | None


class Signature:
    """What ``help`` and completion show of a layer's constructor: Flax's arguments, then ours.

    Without it they show (*args, **kwargs), which is what NNX's metaclass takes. It stands in a
    class as ``__signature__``; a user's subclass shows its own ``__init__``.
    """

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        own = inspect.signature(owner.__init__)
        if "given" not in own.parameters or not owner.__init__.__module__.startswith("jaxinit."):
            return own.replace(parameters=list(own.parameters.values())[1:])
        flax = next(base for base in owner.__mro__ if base.__module__.startswith("flax."))
        theirs = list(inspect.signature(flax.__init__).parameters.values())[1:]
        (keywords,) = get_args(get_type_hints(owner.__init__)["given"])
        known = {parameter.name for parameter in theirs}
        ours = [_keyword(*x) for x in keywords.__annotations__.items() if x[0] not in known]
        return inspect.Signature([*map(_unset, theirs), *ours])


def _unset(parameter: inspect.Parameter) -> inspect.Parameter:
    """Flax's parameter; an initializer is None by default, and the layer chooses."""
    return parameter.replace(default=None) if parameter.name.endswith("_init") else parameter


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default="jax" if name == "defaults" else None,
        annotation=getattr(annotation, "__forward_arg__", annotation),
    )

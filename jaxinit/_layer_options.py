"""Checks of what a layer of ``jaxinit.linen`` and ``jaxinit.nnx`` is given: one for each option.

    >>> from jaxinit import linen
    >>> linen.Dense("8")
    Traceback (most recent call last):
    ValueError: linen.Dense: features must be a positive int; got '8'.

Flax checks few of its options, and finds out late: while it computes, or not at all.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import jax
import jax.core
import numpy as np

from ._schemes.checks import (
    check_axes,
    check_bound,
    check_count,
    check_flag,
    dtype_name,
    is_sequence,
    shown,
)
from ._schemes.layout_options import check_layout

F = TypeVar("F", bound=Callable[..., None])
Check = Callable[[str, str, Any], object]  # of the call, the option and its value


def check_options(call: str, options: Mapping[str, Any]) -> None:
    """Raises where an option has a value of the wrong kind; options that are unknown here pass."""
    general = call.endswith("General")  # a layer over several axes, which takes several features
    for option, value in options.items():
        several = general and option in ("features", "in_features", "out_features")
        kind = _sizes if several else _KINDS.get(option)
        if kind is not None and not isinstance(value, jax.core.Tracer):
            kind(call, option, value)


def checked(init: F) -> F:
    """A constructor of a layer of NNX that first checks what it is given."""
    taken = inspect.signature(init)

    @functools.wraps(init)
    def checking(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            given = taken.bind(self, *args, **kwargs).arguments
        except TypeError:  # which Python raises again, in its own words
            given = {}
        options = {**given, **given.get("given", {})}
        call = f"nnx.{type(self).__name__}"
        _check_rngs(call, options.get("rngs"))
        check_options(call, options)
        init(self, *args, **kwargs)

    return cast(F, checking)


def _check_rngs(call: str, rngs: Any) -> None:
    """Raises where a key, perhaps a traced one, or a seed is in the place of ``nnx.Rngs``."""
    if isinstance(rngs, int | jax.Array | np.ndarray):
        given, write = ("a seed", shown(rngs)) if isinstance(rngs, int) else ("a key", "key")
        raise TypeError(
            f"{call}: expected rngs to be nnx.Rngs; got {given}; write rngs=nnx.Rngs({write})."
        )


def _sizes(call: str, option: str, value: Any) -> None:
    """One positive int, or several."""
    for size in check_axes(call, option, value):
        check_count(call, option, size)


def _dtype(call: str, option: str, value: Any) -> None:
    dtype_name(call, value, option)


def _function(call: str, option: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{call}: {option} must be a function; got {shown(value)}.")


def _initializer(call: str, option: str, value: Any) -> None:
    if not (callable(value) or isinstance(value, str)):
        raise TypeError(f"{call}: {option} must be an initializer or its name; got {shown(value)}.")


def _activation(call: str, option: str, value: Any) -> None:
    if not (callable(value) or isinstance(value, str)) and not hasattr(value, "apply"):
        raise TypeError(
            f"{call}: {option} must be a name, a function or a module; got {shown(value)}."
        )


def _mapping(call: str, option: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{call}: {option} must be a dict; got {shown(value)}.")


def _padding(call: str, option: str, value: Any) -> None:
    if not (isinstance(value, str) or is_sequence(value)):
        check_count(call, option, value, least=0)


def _mask(call: str, option: str, value: Any) -> None:
    if not isinstance(value, jax.Array | np.ndarray):
        raise TypeError(f"{call}: {option} must be an array; got {shown(value)}.")


def _share(call: str, option: str, value: Any) -> None:
    if not 0 <= check_bound(call, option, value) <= 1:
        raise ValueError(f"{call}: {option} must be from 0 to 1; got {shown(value)}.")


def _text(call: str, option: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{call}: {option} must be text; got {shown(value)}.")


def _precision(call: str, option: str, value: Any) -> None:
    kinds = jax.lax.Precision | jax.lax.DotAlgorithm | jax.lax.DotAlgorithmPreset | str
    if not (isinstance(value, kinds) or is_sequence(value)):
        raise TypeError(
            f"{call}: {option} must be what jax.lax.dot takes, as 'highest'; got {shown(value)}."
        )


def _or_none(check: Check) -> Check:
    return lambda call, option, value: value is None or check(call, option, value)


def _each(check: Check, names: str) -> dict[str, Check]:
    return dict.fromkeys(names.split(), check)


_KINDS: dict[str, Check] = {
    **_each(_sizes, "kernel_size"),
    **_each(check_count, "features in_features hidden_features num_embeddings num_heads"),
    **_each(check_count, "feature_group_count"),
    **_each(_or_none(check_count), "out_features qkv_features num_kv_heads in_kv_features"),
    **_each(_or_none(_sizes), "strides input_dilation kernel_dilation"),
    **_each(check_axes, "axis batch_dims shape kernel_shape"),
    **_each(_or_none(check_axes), "bias_shape"),
    **_each(
        check_flag,
        "use_bias broadcast_dropout normalize_qk force_fp32_for_softmax residual reset_gate "
        "transpose_kernel keep_rngs",
    ),
    **_each(_or_none(check_flag), "deterministic decode"),
    **_each(_dtype, "dtype param_dtype preferred_element_type"),
    **_each(
        _or_none(_initializer),
        "kernel_init bias_init embedding_init recurrent_kernel_init out_kernel_init out_bias_init "
        "forget_bias_init activation_bias_init",
    ),
    **_each(
        _function,
        "promote_dtype gate_fn activation_fn attention_fn einsum_op qkv_promote_dtype "
        "out_promote_dtype ln_promote_dtype",
    ),
    **_each(
        _or_none(_function),
        "carry_init dot_general dot_general_cls conv_general_dilated conv_general_dilated_cls "
        "qkv_dot_general out_dot_general qkv_dot_general_cls out_dot_general_cls "
        "qk_attn_weights_einsum_cls attn_weights_value_einsum_cls",
    ),
    **_each(
        _mapping,
        "kernel_metadata bias_metadata embedding_metadata recurrent_kernel_metadata "
        "out_kernel_metadata out_bias_metadata query_ln_scale_metadata key_ln_scale_metadata "
        "batch_axis",
    ),
    "padding": _padding,
    "mask": _or_none(_mask),
    "dropout_rate": _share,
    "forget_bias": _or_none(check_bound),
    "precision": _or_none(_precision),
    "einsum_str": _or_none(_text),
    "activation": _or_none(_activation),
    "mode": _or_none(_text),
    "layout": lambda call, option, value: check_layout(call, value),
    "defaults": _text,
}

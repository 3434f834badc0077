"""Tells which of a model's own values ``autoinit`` keeps.

What starts as nothing, such as a scale of ones or a bias of zeros, is drawn as that. Where the
model's author gave it other values, these say what the author wants: a residual branch that starts
switched off, a forget gate that starts open, the step sizes of a state-space model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.core
import numpy as np

from .infer import Inferred
from .parameter import Parameter

_STARTS_NEUTRAL = ("scale", "lora_b", "bias")
_STATISTICS = ("mean", "variance")


def kept(p: Parameter, found: Inferred, own: Mapping[str, Any]) -> str:
    """Why a parameter keeps the values that it has, for people; "" where it does not.

    ``own`` holds the values of each parameter that has any.
    """
    if p.path not in own:
        return ""
    if is_state(p.path, found) and p.role not in _STATISTICS:
        return "a state of the model, no parameter: as the model has it"
    if p.role not in _STARTS_NEUTRAL and not _is_weighting(p):
        return ""
    values = _values(own[p.path])
    if values is None:
        return "as the model has it"
    if not values.size or not np.isfinite(values).all():
        return ""
    is_kept = _is_deliberate(p, found, values) if p.role in _STARTS_NEUTRAL else _is_filled(values)
    return f"as the model has it: {_range(values)}" if is_kept else ""


def is_state(path: str, found: Inferred) -> bool:
    """Whether an array stands beside the parameters, in another collection of a Flax model."""
    collections = {other.partition("/")[0] for other in found if "/" in other}
    return "params" in collections and path.partition("/")[0] != "params"


def _is_weighting(p: Parameter) -> bool:
    """Whether a kernel has one output, so that it may hold the weights of a mean."""
    return p.role == "kernel" and p.layout is not None and not p.layout.out_axis


def _is_filled(values: np.ndarray) -> bool:
    """Whether one number other than 0 fills an array, which no kernel is drawn as."""
    first = values.flat[0]
    return bool(first) and bool((values == first).all())


def _is_deliberate(p: Parameter, found: Inferred, values: np.ndarray) -> bool:
    """Whether values are others than a parameter of this role starts with by itself.

    Biases that differ and are small, as PyTorch and Equinox draw them, uniform within
    1/sqrt(fan_in), are that library's choice for any layer.
    """
    if (values == (p.neutral if p.role == "scale" else 0.0)).all():
        return False
    fan_in = found[p.layer].fan_in if p.layer else None
    if p.role != "bias" or not fan_in:
        return True
    low, high = values.min(), values.max()
    return low == high or max(-low, high) > 1 / math.sqrt(fan_in)


def _values(x: Any) -> np.ndarray | None:
    """The numbers of an array; None where they cannot be read here."""
    if isinstance(x, jax.core.Tracer) or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return None
    array = np.asarray(x)
    return array if array.dtype.kind == "c" else array.astype(np.float64)


def _range(values: np.ndarray) -> str:
    """The smallest and the largest value, or the one that there is."""
    if values.dtype.kind == "c":
        return "complex numbers"
    low, high = values.min(), values.max()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"

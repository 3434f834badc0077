"""Whether a dtype holds the values of an initializer, before they are made.

Values that overflow the dtype are an error. If a tenth or more of them would be rounded to zero,
there is a warning, which says how many and which dtype holds them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._random.spread import Spread
from .._text import warn
from .static_array import StaticArray

_LOST = 0.1  # the least share of zeros that is worth a warning
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def check_spread(name: str, spread: Spread, dtype: np.dtype, factor: float = 1.0) -> None:
    """Checks ``factor`` times values of a spread.

    Raises where they overflow the dtype; warns where many of them are rounded to zero.
    """
    problem = _problem(spread, dtype, factor)
    if problem is not None:
        _report(name, *problem)


def check_option(name: str, option: str, value: float, dtype: np.dtype) -> None:
    """Raises where a number to compute with is beyond the dtype, or so small that it is 0 there."""
    info = jnp.finfo(dtype)
    if not float(info.tiny) <= abs(value) <= float(info.max):
        raise ValueError(
            f"{name}: {option}={value:.4g} is not a normal number of {info.dtype}, in which it is "
            f"computed; use one between {float(info.tiny):.4g} and {float(info.max):.4g}."
        )


def _report(name: str, error: str | None, warning: str | None) -> None:
    if error:
        raise ValueError(f"{name}: {error}")
    warn(name, warning)


@lru_cache(maxsize=1024)
def _problem(
    spread: Spread, dtype: np.dtype, factor: float
) -> tuple[str | None, str | None] | None:
    """The error and the warning, if there is one or the other."""
    scaled = spread.times(factor)
    found = _overflow(scaled, dtype), loss(scaled, dtype)
    return found if any(found) else None


def _overflow(spread: Spread, dtype: np.dtype) -> str | None:
    info = jnp.finfo(dtype)
    limit = float(info.max)
    if float(info.min) >= 0:
        return f"{dtype} holds no zero and no negative numbers; use another dtype, as bfloat16."
    if spread.largest > limit:
        return (
            f"values up to {spread.largest:.4g} overflow {dtype}, whose largest is {limit:.4g}; "
            f"use a smaller scale or a wider dtype."
        )
    return None


def loss(spread: Spread, dtype: np.dtype) -> str | None:
    """What is lost where many values are rounded to zero in the dtype; None where few are."""
    share = spread.share(_zero(dtype))
    if share < _LOST:
        return None
    return f"{_percent(share)} of the values are rounded to 0 in {dtype}; {_remedy(spread, dtype)}"


def _remedy(spread: Spread, dtype: np.dtype) -> str:
    names = ("complex64", "complex128") if dtype.kind == "c" else _FLOATS
    for wider in map(jnp.dtype, names):
        if spread.largest <= float(jnp.finfo(wider).max) and spread.share(_zero(wider)) < _LOST:
            return f"{wider} holds them, or use a larger scale."
    return "no dtype holds them; use a larger scale."


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _zero(dtype: np.dtype) -> float:
    """The largest magnitude that becomes zero.

    CPUs compute without subnormal numbers in float32 and float64, and bfloat16 has the exponents of
    float32. Narrower types have subnormal numbers; half of the least is rounded to even, to zero.
    """
    info = jnp.finfo(dtype)
    if float(info.tiny) <= float(jnp.finfo(np.float32).tiny):
        return float(info.tiny)
    return float(info.smallest_subnormal) / 2


def check_constant(name: str, value: Any, dtype: np.dtype) -> None:
    """Raises where the dtype cannot hold a constant, a number or a StaticArray; warns if it is 0
    there."""
    held = _array_held if isinstance(value, StaticArray) else _number_held
    _report(name, *held(value, dtype))


@lru_cache(maxsize=256)
def _number_held(value: complex, dtype: np.dtype) -> tuple[str | None, str | None]:
    return _held(np.asarray(value), dtype)


def _array_held(value: StaticArray, dtype: np.dtype) -> tuple[str | None, str | None]:
    return _held(value.array, dtype)  # not cached: a cache would keep the array alive


def _held(given: np.ndarray, dtype: np.dtype) -> tuple[str | None, str | None]:
    """The error and the warning, if there is one or the other."""
    if given.dtype == dtype:
        return None, None
    with np.errstate(all="ignore"):  # casts of NumPy warn of what is checked here
        complex = np.iscomplexobj(given)
        if complex and dtype.kind != "c" and np.imag(given).any():
            return f"{dtype} has no imaginary part, which the value has; use a complex dtype.", None
        parts = [np.real(given), np.imag(given)] if complex else [given]
        part_dtype = jnp.finfo(dtype).dtype if dtype.kind == "c" else dtype
        pairs = [(part, part.astype(part_dtype)) for part in parts]
    lost = [_not_held(part, cast) for part, cast in pairs]
    if any(bad.any() for bad in lost):
        part, bad = next((p, b) for (p, _), b in zip(pairs, lost, strict=True) if b.any())
        return f"{dtype} cannot hold {part[bad].flat[0]:.6g}; use another dtype.", None
    zero = sum(((cast == 0) & (part != 0)).sum() for part, cast in pairs)
    total = sum((part != 0).sum() for part, _ in pairs)
    if total and zero / total >= _LOST:
        return None, f"{_percent(zero / total)} of the values are rounded to 0 in {dtype}."
    return None, None


def _not_held(part: np.ndarray, cast: np.ndarray) -> np.ndarray:
    """Where the dtype of ``cast`` has no number for one in ``part``; floats may be rounded."""
    if not jnp.issubdtype(cast.dtype, jnp.inexact):
        return np.asarray(cast.astype(part.dtype) != part)
    wide = cast.astype(np.float64)
    same = np.where(
        np.isfinite(part), np.isfinite(wide), (wide == part) | (np.isnan(wide) & np.isnan(part))
    )
    return ~same | ((part == 0) & (wide != 0))

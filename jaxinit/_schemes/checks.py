"""Checks of what a user gives: each returns the value in its canonical form, or raises one line.

Every message names the call as the user wrote it, what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from .._random.sharding import OutSharding
from .._random.stream import is_typed_key

DType = Any  # what jnp.dtype accepts: a type, a string, a dtype
Shape = int | Sequence[int]

_SHOWN = 60  # characters of a value in a message


def shown(value: object) -> str:
    """A value as a message shows it, on one line and not too long."""
    if isinstance(value, jax.core.Tracer):
        return "a traced value"
    if isinstance(value, jax.Array | np.ndarray) and np.ndim(value):
        return f"{value.dtype}{list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


# Numbers ------------------------------------------------------------------------------------------


def refuse_key(name: str, option: object) -> None:
    """Raises where a factory was handed a random key: it was meant to be called first."""
    if is_key(option):
        factory = name.rpartition(".")[2]
        raise TypeError(
            f"{name}: this factory takes options and was handed a random key, as if it were the "
            f"initializer; write initializers.{factory}() or jaxinit.{factory}."
        )


def is_key(x: object) -> bool:
    """Whether it is a random key, typed or raw."""
    if not isinstance(x, jax.Array):
        return False
    return is_typed_key(x) or (x.dtype == np.uint32 and x.ndim == 1)


def check_concrete(name: str, option: str, value: Any) -> None:
    """Raises where the option is a value that is being traced, as by ``jax.jit``."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name}: {option} must be known when the initializer is made; got a traced value. "
            f"Make the initializer outside the traced function, or change what it returns."
        )


def check_number(name: str, option: str, value: Any) -> float:
    """The option as a finite float; NumPy's scalars and arrays of no axes are numbers too."""
    check_concrete(name, option, value)
    refuse_key(name, value)
    if isinstance(value, jax.Array | np.ndarray) and np.ndim(value) == 0:
        value = value.item() if value.dtype != bool else bool(value)
    if isinstance(value, complex | np.complexfloating):
        raise TypeError(
            f"{name}: {option} must be a real number; got {shown(value)}. Give a real one, as its "
            f"magnitude {abs(value):.4g}."
        )
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: {option} must be a number; got {shown(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: {option} must be finite; got {shown(value)}.")
    return number


def check_positive(name: str, option: str, value: Any) -> float:
    """The option as a finite float above 0."""
    number = check_number(name, option, value)
    if number <= 0:
        raise ValueError(
            f"{name}: {option} must be above 0; got {number}. For zeros use jaxinit.zeros."
        )
    return number


def check_nonzero(name: str, option: str, value: Any) -> float:
    """The option as a finite float that is not 0."""
    number = check_number(name, option, value)
    if number == 0:
        raise ValueError(f"{name}: {option} must not be 0. For zeros use jaxinit.zeros.")
    return number


def check_bound(name: str, option: str, value: Any) -> float:
    """The option as a float, infinite ones too."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isinf(value):
        return float(value)
    return check_number(name, option, value)


def check_int(name: str, option: str, value: Any) -> int:
    """The option as an int; NumPy's integers too."""
    refuse_key(name, value)
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: {option} must be an int; got {value!r}.")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {option} must be an int; got {shown(value)}.") from None


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """The rest of an error's sentence: names that resemble what was given; "" if none does."""
    close = difflib.get_close_matches(str(given).lower(), list(names), 3)
    return f"; did you mean {', '.join(close)}?" if close else ""


def check_choice(name: str, option: str, value: Any, known: Sequence[str]) -> str:
    """The option as one of the known words; a word that is nearly one of them is suggested."""
    if isinstance(value, str) and value in known:
        return value
    meant = did_you_mean(value, known) or "."
    raise ValueError(
        f"{name}: {option} must be one of {', '.join(known)}; got {shown(value)}{meant}"
    )


def check_initializer(name: str, option: str, value: Any) -> Any:
    """The option as a function that makes weights."""
    if not callable(value):
        raise TypeError(f"{name}: {option} must be an initializer; got {shown(value)}.")
    return value


# Arguments of a call ------------------------------------------------------------------------------


def check_shape(name: str, shape: Shape) -> tuple[int, ...]:
    """The shape as a tuple of nonnegative ints; a single int is a shape of one axis."""
    try:
        if isinstance(shape, str | bytes):
            raise TypeError
        sizes = shape if isinstance(shape, Sequence) or np.ndim(shape) else (shape,)
        checked = tuple(operator.index(size) for size in sizes)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: shape must be a sequence of ints; got {shown(shape)}.") from None
    if any(size < 0 for size in checked):
        raise ValueError(
            f"{name}: shape {checked} has a negative dimension; use sizes of 0 or more."
        )
    return checked


def check_dtype(name: str, *given: DType) -> np.dtype:
    """The first dtype that is given, or JAX's default float; canonical for this process."""
    choice = next((dtype for dtype in given if dtype is not None), float)
    asked = _as_dtype(name, choice)
    canonical = np.dtype(jax.dtypes.canonicalize_dtype(asked))
    if canonical != asked and choice is not float:
        warnings.warn(
            f"{name}: {asked} needs 64-bit types, which are off; {canonical} is used. "
            f"Turn them on with jax.config.update('jax_enable_x64', True).",
            stacklevel=3,
        )
    return canonical


def _as_dtype(name: str, choice: DType) -> np.dtype:
    refuse_key(name, choice)
    try:
        asked = jnp.dtype(choice)
        jax.dtypes.canonicalize_dtype(asked)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: dtype must name a dtype, as jnp.float32 or 'bfloat16'; got {shown(choice)}."
        ) from None
    return asked


def dtype_name(name: str, dtype: DType) -> str | None:
    """A dtype by its name, so that equal ones compare equal."""
    return None if dtype is None else _as_dtype(name, dtype).name


def check_inexact(name: str, dtype: np.dtype) -> np.dtype:
    """The dtype, if it is of real or complex numbers."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"{name}: draws real or complex numbers, not {dtype}; use a floating dtype, as "
            f"jnp.float32."
        )
    return dtype


def check_held(name: str, option: str, value: float, dtype: np.dtype) -> None:
    """Raises where an integer dtype does not hold the number, or float32 on its way there."""
    limits = jnp.iinfo(dtype)
    if not (limits.min <= value <= limits.max and value == int(value) == np.float32(value)):
        raise ValueError(
            f"{name}: {dtype} does not hold {option}={value:g}; use a floating dtype, as "
            f"jnp.float32."
        )


def check_range(name: str, largest: float, dtype: np.dtype) -> None:
    """Raises where the largest magnitude is beyond what the dtype holds."""
    limit = float(jnp.finfo(dtype).max)
    if largest > limit:
        raise ValueError(
            f"{name}: values up to {largest:.4g} overflow {dtype}, whose largest is "
            f"{limit:.4g}; use a smaller scale or a wider dtype."
        )


def check_sharding(name: str, shape: tuple[int, ...], out_sharding: OutSharding) -> OutSharding:
    """The sharding, if it is of a known kind, has a mesh and fits the shape; an empty one is None.

    JAX gives arrays that lie on no mesh a NamedSharding of an empty mesh.
    """
    if out_sharding is None:
        return None
    if isinstance(out_sharding, jax.sharding.PartitionSpec):
        if jax.sharding.get_abstract_mesh().empty:
            raise ValueError(
                f"{name}: out_sharding={out_sharding} names axes of a mesh, and none is set; "
                f"pass a NamedSharding, or enter jax.set_mesh(mesh)."
            )
        spec = out_sharding
    elif isinstance(out_sharding, jax.sharding.NamedSharding):
        if out_sharding.mesh.empty:
            return None
        spec = out_sharding.spec
    else:
        raise TypeError(
            f"{name}: out_sharding must be a NamedSharding or a PartitionSpec; "
            f"got {type(out_sharding).__name__}."
        )
    if len(spec) > len(shape):
        raise ValueError(
            f"{name}: out_sharding {spec} has {len(spec)} entries, shape {shape} has "
            f"{len(shape)} axes."
        )
    return out_sharding

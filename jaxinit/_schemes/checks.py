"""Checks of options and dtypes: each returns the canonical form, or raises one line.

Every message names the call as the user wrote it, what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from .._random.stream import is_typed_key
from .._text import warn

DType = Any  # what jnp.dtype accepts: a type, a string, a dtype

_SHOWN = 60  # characters of a value in a message
MOST_AXES = 64  # of an array of NumPy, which JAX's arrays do not exceed
INTS = 2**63  # an index has 64 bits


def shown(value: object) -> str:
    """A value as a message shows it, on one line and not too long."""
    if isinstance(value, jax.core.Tracer):
        return "a traced value"
    if isinstance(value, jax.Array) and is_typed_key(value):
        return f"random keys of shape {value.shape}" if value.shape else "a random key"
    if isinstance(value, jax.Array | np.ndarray) and np.ndim(value):
        return f"{value.dtype}{list(value.shape)}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # the repr of an int may be too long for Python, others are the user's own
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def is_sequence(value: object) -> bool:
    """Whether it is a list, a tuple or the like; text and bytes are not."""
    return isinstance(value, Sequence) and not isinstance(
        value, str | bytes | bytearray | memoryview
    )


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """Errors within name the call."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{label}: {error}") from None


# Numbers ------------------------------------------------------------------------------------------


def refuse_key(name: str, option: object) -> None:
    """Raises where a factory was handed a random key: it was meant to be called first."""
    if is_key(option) and "." not in name:  # with a dot it is a layout, a layer
        raise TypeError(
            f"{name}: this factory takes options and was handed a random key, as if it were the "
            f"initializer; write initializers.{name}() or jaxinit.{name}."
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
    number = _real(name, option, value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: {option} must be finite; got {shown(value)}.")
    return number


def _real(name: str, option: str, value: Any) -> float:
    """The option as a float; a number beyond the range of floats is infinite."""
    check_concrete(name, option, value)
    refuse_key(name, value)
    number: Any = (
        value.item()
        if isinstance(value, jax.Array | np.ndarray) and value.size == 1 and not value.ndim
        else value
    )
    if isinstance(number, complex):
        raise TypeError(
            f"{name}: {option} must be a real number; got {shown(value)}. Give a real one, as its "
            f"magnitude {abs(number):.4g}."
        )
    if isinstance(number, bool | np.bool_) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name}: {option} must be a number; got {shown(value)}.")
    try:
        return float(number)
    except OverflowError:
        return -math.inf if number < 0 else math.inf


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
    number = _real(name, option, value)
    return number if math.isinf(number) else check_number(name, option, value)


def check_int(name: str, option: str, value: Any) -> int:
    """The option as an int of 64 bits; NumPy's integers too."""
    check_concrete(name, option, value)
    refuse_key(name, value)
    found = _index(value)
    if found is None:
        raise TypeError(f"{name}: {option} must be an int; got {shown(value)}.")
    return found


def _index(value: Any) -> int | None:
    """An int of 64 bits from any kind of integer; None from anything else."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        found = operator.index(value)
    except TypeError:
        return None
    return found if -INTS <= found < INTS else None


def check_count(name: str, option: str, value: Any, least: int = 1) -> int:
    """The option as an int of ``least`` or more; NumPy's integers too."""
    check_concrete(name, option, value)
    count = _index(value)
    if count is None or count < least:
        kind = "a positive int" if least == 1 else f"an int from {least}"
        raise ValueError(f"{name}: {option} must be {kind}; got {shown(value)}.")
    return count


def check_flag(name: str, option: str, value: Any) -> bool:
    """The option as a bool; NumPy's too."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: {option} must be True or False; got {shown(value)}.")
    return bool(value)


def check_counts(name: str, option: str, value: Any) -> tuple[int, ...]:
    """The option, a sequence, as a tuple of ints of 1 or more."""
    if not is_sequence(value):
        raise TypeError(f"{name}: {option} must be a tuple of ints; got {shown(value)}.")
    return tuple(check_count(name, f"each of {option}", size) for size in value)


def check_axis_count(name: str, option: str, value: Any, least: int = 1) -> int:
    """The option as the number of axes of an array."""
    count = check_count(name, option, value, least)
    if count > MOST_AXES:
        raise ValueError(
            f"{name}: {option} must be at most {MOST_AXES}, the most axes that an array has; "
            f"got {count}."
        )
    return count


def check_axes(name: str, option: str, value: Any) -> tuple[int, ...]:
    """One axis or several as a tuple of ints."""
    given = value if is_sequence(value) else (value,)
    found = [_index(axis) for axis in given]
    if None in found:
        raise TypeError(f"{name}: {option} must be an int or a tuple of ints; got {shown(value)}.")
    return tuple(axis for axis in found if axis is not None)


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """The rest of an error's sentence: names that resemble what was given; "" if none does."""
    if not isinstance(given, str):
        return ""
    close = difflib.get_close_matches(given.lower(), list(names), 3, cutoff=0.7)
    return f"; did you mean {', '.join(close)}?" if close else ""


def check_choice(name: str, option: str, value: Any, known: Collection[str]) -> str:
    """The option as one of the known words; a word that is nearly one of them is suggested."""
    if isinstance(value, str) and value in known:
        return value
    meant = did_you_mean(value, known) or "."
    raise ValueError(
        f"{name}: {option} must be one of {', '.join(known)}; got {shown(value)}{meant}"
    )


def check_initializer(name: str, option: str, value: Any) -> Any:
    """The option as a function of a key, a shape and a dtype."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name}: {option} must be an initializer; got {shown(value)}.")
    try:
        inspect.signature(value).bind(None, (), None)
    except TypeError:
        raise TypeError(
            f"{name}: {option} must be an initializer, a function of (key, shape, dtype); got "
            f"{shown(value)}, which takes other arguments."
        ) from None
    except ValueError:  # one written in C, say, does not tell what it takes
        pass
    return value


def check_array(name: str, option: str, value: Any, kind: str) -> np.ndarray:
    """The option as an array of NumPy, of ``kind`` "numbers" or "booleans"."""
    check_concrete(name, option, value)
    refuse_key(name, value)
    try:
        array = np.asarray(value)
    except Exception:  # rows of different lengths, or an object that is no array after all
        array = np.asarray(None)
    numeric = kind == "numbers" and jnp.issubdtype(array.dtype, jnp.number)
    if not (numeric or array.dtype == bool):
        of = f"a number or an array of {kind}" if kind == "numbers" else f"an array of {kind}"
        raise TypeError(f"{name}: {option} must be {of}; got {shown(value)}.")
    return array


# Dtypes -------------------------------------------------------------------------------------------


def check_dtype(name: str, *given: DType) -> np.dtype:
    """The first dtype that is given, or JAX's default float; canonical for this process."""
    choice = next((dtype for dtype in given if dtype is not None), float)
    asked = _as_dtype(name, choice)
    canonical = np.dtype(jax.dtypes.canonicalize_dtype(asked))
    if canonical != asked and choice is not float:
        warn(
            name,
            f"{asked} needs 64-bit types, which are off; {canonical} is used. Turn them on with "
            f"jax.config.update('jax_enable_x64', True).",
        )
    return canonical


def _as_dtype(name: str, choice: DType, option: str = "dtype") -> np.dtype:
    refuse_key(name, choice)
    try:
        asked = jnp.dtype(choice)
        if not (jnp.issubdtype(asked, jnp.number) or asked == np.dtype(bool)):
            raise TypeError
        jax.dtypes.canonicalize_dtype(asked)
    except Exception:  # NumPy raises many kinds, and what an object of the user's own raises
        raise TypeError(
            f"{name}: {option} must name a dtype, as jnp.float32 or 'bfloat16'; got "
            f"{shown(choice)}."
        ) from None
    return asked


def dtype_name(name: str, dtype: DType, option: str = "dtype") -> str | None:
    """A dtype by its name, so that equal ones compare equal."""
    return None if dtype is None else _as_dtype(name, dtype, option).name


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
    if not (limits.min <= value <= limits.max and value == int(value) == float(np.float32(value))):
        raise ValueError(
            f"{name}: {dtype} does not hold {option}={value:g}; use a floating dtype, as "
            f"jnp.float32."
        )

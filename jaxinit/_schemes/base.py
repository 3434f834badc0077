"""The schemes: an initializer is a frozen value that maps (key, shape, dtype) to an array.

Each is hashable, comparable and picklable; two are equal when they give the same weights. Options
are checked when the initializer is built, arguments when it is called, both before any work.
"""

from __future__ import annotations

import math
import numbers
import operator
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from .._random import draw, laws
from .._random.draw import OutSharding
from .._random.laws import Law
from .._random.stream import check_key
from . import config
from .fans import Layout

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")

_MOST_SHOWN = 1000  # elements of an array
DType = Any  # what jnp.dtype accepts: a type, a string, a dtype


@dataclass(frozen=True, repr=False)
class Initializer(ABC):
    """A function of ``(key, shape, dtype=None, out_sharding=None)`` that makes weights.

    ``call`` is the call that made it, its repr; ``dtype`` is used where the call gives none.
    """

    call: str = field(compare=False, kw_only=True)
    dtype: DType = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        return self.call

    @property
    def name(self) -> str:
        """The function's name, as errors say it."""
        return self.call.partition("(")[0]

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        dtype: DType = None,
        out_sharding: OutSharding = None,
    ) -> jax.Array:
        """The array; arguments are checked before any work."""
        shape = check_shape(self.name, shape)
        checked = self._dtype(dtype)
        check_sharding(self.name, shape, out_sharding)
        return self._make(key, shape, checked, out_sharding)

    def _dtype(self, dtype: DType) -> np.dtype:
        """The call's dtype, this initializer's, or JAX's default, if it can draw such numbers."""
        return check_inexact(self.name, check_dtype(self.name, dtype, self.dtype))

    @abstractmethod
    def _make(
        self,
        key: Any,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        """The array, of checked arguments but for the key, which constants do not need."""

    def to_config(self) -> dict[str, Any]:
        """The call that made it in JSON's types; ``initializers.get`` reads it back.

        Raises:
          ValueError: a part that JSON cannot hold, as a function that is not of jaxinit.

        Example:
          >>> from jaxinit import initializers
          >>> initializers.normal(0.02).to_config()
          {'name': 'normal', 'stddev': 0.02}
        """
        return config.read(self.call)

    @property
    def plain(self) -> bool:
        """Whether it was given no axes, layout or blocks of its own."""
        return getattr(self, "layout", None) in (None, Layout())

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        """This initializer for a layer's parameter, ``label`` before its name in errors.

        Where it goes by axes and was given none, it takes those of ``layout``; and the fans of a
        kernel of shape ``kernel`` where the parameter is another, as a bias.
        """
        axes = {"layout": layout} if self.plain and hasattr(self, "layout") else {}
        return replace(self, call=f"{label}: {self.call}", **axes)


def check_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape as a tuple of nonnegative ints."""
    try:
        checked = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(f"{name}: shape must be a sequence of ints; got {shape!r}.") from None
    if any(size < 0 for size in checked):
        raise ValueError(
            f"{name}: shape {checked} has a negative dimension; use sizes of 0 or more."
        )
    return checked


def check_dtype(name: str, *given: DType) -> np.dtype:
    """The first dtype that is given, or JAX's default float; canonical for this process."""
    choice = next((dtype for dtype in given if dtype is not None), float)
    try:
        asked = jnp.dtype(choice)
    except TypeError:
        raise TypeError(
            f"{name}: dtype must name a dtype, as jnp.float32 or 'bfloat16'; got {choice!r}."
        ) from None
    canonical = np.dtype(jax.dtypes.canonicalize_dtype(asked))
    if canonical != asked and choice is not float:
        warnings.warn(
            f"{name}: {asked} needs 64-bit types, which are off; {canonical} is used. "
            f"Turn them on with jax.config.update('jax_enable_x64', True).",
            stacklevel=3,
        )
    return canonical


def check_inexact(name: str, dtype: np.dtype) -> np.dtype:
    """The dtype, if it is of real or complex numbers."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"{name}: draws real or complex numbers, not {dtype}; use a floating dtype, as "
            f"jnp.float32."
        )
    return dtype


def refuse_key(name: str, option: object) -> None:
    """A factory that was handed a key was meant to be called first."""
    if isinstance(option, jax.Array):
        raise TypeError(
            f"{name}: this factory takes options and was handed an array, as if it were the "
            f"initializer; write initializers.{name}() or jaxinit.{name}."
        )


def dtype_name(name: str, dtype: DType) -> DType:
    """A dtype by its name, so that equal ones compare equal."""
    if dtype is None:
        return None
    check_dtype(name, dtype)
    return jnp.dtype(dtype).name


def shown(value: object) -> str:
    """The value as a call shows it: arrays in full, so that the call can be read back."""
    if not isinstance(value, np.ndarray | jax.Array):
        return repr(value)
    if value.size > _MOST_SHOWN:
        return f"<{value.dtype} array of shape {value.shape}>"
    return f"array({value.tolist()!r}, dtype={value.dtype.name!r})"


def as_call(name: str, *positional: object, **options: tuple[Any, Any]) -> str:
    """The call as a user would write it; ``options`` are (value, default)."""
    given = [shown(value) for value in positional]
    for option, (value, default) in options.items():
        if option == "dtype" and value is not None:
            given.append(f"dtype={jnp.dtype(value).name!r}")
        elif value is not default and value != default:
            given.append(f"{option}={value!r}")
    return f"{name}({', '.join(given)})"


def check_number(name: str, option: str, value: object) -> float:
    """The option as a float, finite."""
    refuse_key(name, value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | np.ndarray | np.generic):
        raise TypeError(f"{name}: {option} must be a Python number; got {value!r}.")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: {option} must be finite; got {number}.")
    return number


def check_positive(name: str, option: str, value: object) -> float:
    """The option as a float, finite and above zero."""
    number = check_number(name, option, value)
    if number <= 0:
        raise ValueError(
            f"{name}: {option} must be above 0; got {number}. For zeros use jaxinit.zeros."
        )
    return number


def _random(
    init: Initializer,
    key: jax.Array,
    law: Law,
    shape: tuple[int, ...],
    dtype: np.dtype,
    stddev: float,
    out_sharding: OutSharding,
) -> jax.Array:
    """Check what only the whole call knows, then draw."""
    check_key(init.name, key)
    if dtype.kind == "c" and law.circular is None:
        raise ValueError(
            f"{init.name}: a complex value is truncated by its modulus, so the bounds must be "
            f"-b and b; got {law.name}. Use a real dtype or symmetric bounds."
        )
    check_range(init.name, law.bound * stddev, dtype)
    if math.prod(shape) == 0:
        return draw.fill(0, shape, dtype, out_sharding)
    return draw.draw(key, law, shape, dtype, stddev, out_sharding)


def check_range(name: str, largest: float, dtype: np.dtype) -> None:
    """Raises where the largest magnitude is beyond what the dtype holds."""
    limit = float(jnp.finfo(dtype).max)
    if largest > limit:
        raise ValueError(
            f"{name}: values up to {largest:.4g} overflow {dtype}, whose largest is "
            f"{limit:.4g}; use a smaller scale or a wider dtype."
        )


def check_sharding(name: str, shape: tuple[int, ...], out_sharding: OutSharding) -> None:
    """Raises unless the sharding is of a known kind, has a mesh and fits the shape."""
    if out_sharding is None:
        return
    if isinstance(out_sharding, jax.sharding.PartitionSpec):
        if jax.sharding.get_abstract_mesh().empty:
            raise ValueError(
                f"{name}: out_sharding={out_sharding} names axes of a mesh, and none is set; "
                f"pass a NamedSharding, or enter jax.set_mesh(mesh)."
            )
        spec = out_sharding
    elif isinstance(out_sharding, jax.sharding.NamedSharding):
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


@dataclass(frozen=True, repr=False)
class Constant(Initializer):
    """Every element the same value, or an array broadcast to the shape."""

    value: bytes
    value_dtype: str
    value_shape: tuple[int, ...]

    @staticmethod
    def of(value: Any, call: str, dtype: DType = None) -> Constant:
        """From any array-like; it is kept as bytes, so that equality and hashing are by value."""
        array = np.asarray(value)
        if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
            raise TypeError(
                f"constant: value must be a number or an array of numbers; got {value!r}."
            )
        return Constant(array.tobytes(), array.dtype.name, array.shape, call=call, dtype=dtype)

    def _dtype(self, dtype: DType) -> np.dtype:
        return check_dtype(self.name, dtype, self.dtype)

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        flat = np.frombuffer(self.value, jnp.dtype(self.value_dtype))
        try:
            value = np.broadcast_to(flat.reshape(self.value_shape), shape)
        except ValueError:
            raise ValueError(
                f"{self.name}: a value of shape {self.value_shape} does not broadcast to {shape}."
            ) from None
        return draw.fill(value if self.value_shape else flat[0], shape, dtype, out_sharding)


@dataclass(frozen=True, repr=False)
class Scaled(Initializer):
    """``stddev`` times a unit law, whatever the shape."""

    law: Law
    stddev: float

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        return _random(self, key, self.law, shape, dtype, self.stddev, out_sharding)


@dataclass(frozen=True, repr=False)
class VarianceScaling(Initializer):
    """Mean zero and variance scale / n, n the fan that ``mode`` names."""

    scale: float
    mode: str
    distribution: str
    layout: Layout
    kernel: tuple[int, ...] | None = None  # the shape whose fans count, if not the array's own

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        law, unit = _unit(self.distribution, dtype.kind == "c")
        stddev = self.stddev(shape) / unit
        return _random(self, key, law, shape, dtype, stddev, out_sharding)

    def stddev(self, shape: Sequence[int]) -> float:
        """The standard deviation asked for a kernel of this shape; of no elements, 0."""
        return self.of_fans(*self.layout.fans(self.kernel or shape, self.name))

    def of_fans(self, fan_in: float, fan_out: float) -> float:
        """The standard deviation asked for a kernel of these fans; of none, 0."""
        fan = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": math.sqrt(fan_in * fan_out),
        }[self.mode]
        return math.sqrt(self.scale / fan) if fan else 0.0

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        fitted = super().fitted(label, layout, kernel)
        return replace(fitted, kernel=kernel) if self.plain else fitted

    @property
    def plain(self) -> bool:
        return super().plain and self.kernel is None


def of_stddev(distribution: str, stddev: float, call: str, complex: bool = False) -> Initializer:
    """The distribution with this standard deviation, whatever the shape."""
    law, unit = _unit(distribution, complex)
    return Scaled(law, stddev / unit, call=call)


def _unit(distribution: str, complex: bool) -> tuple[Law, float]:
    """The law of a distribution and its standard deviation (complex: root of E|z|^2)."""
    if distribution == "normal":
        return laws.NORMAL, 1.0
    if distribution == "uniform":
        return laws.SYMMETRIC_UNIFORM, math.sqrt(1 / 2 if complex else 1 / 3)
    law = laws.truncated_normal(-2.0, 2.0)
    return law, laws.COMPLEX_TRUNCATED_STDDEV if complex else laws.TRUNCATED_STDDEV

"""An initializer is a frozen dataclass whose fields are its options, and a function of a key.

    >>> from jaxinit import initializers
    >>> init = initializers.normal(0.02)
    >>> init, init.to_config(), init == initializers.normal(stddev=0.02)
    (normal(stddev=0.02), {'name': 'normal', 'stddev': 0.02}, True)

Its repr, its config, equality and hashing are read from the fields. Options are checked when the
initializer is made, the arguments of a call when it is called, both before any work.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import jax
import numpy as np

from .._random import draw
from .._random.laws import Law
from .._random.notes import noted
from .._random.sharding import OutSharding, is_tracing
from .._random.spread import Spread
from .._random.stream import check_key
from . import config
from .arguments import Shape, check_shape, check_sharding
from .checks import (
    DType,
    check_dtype,
    check_inexact,
    is_key,
    is_sequence,
    shown,
)
from .fans import DENSE, Layout
from .ranges import check_spread

Init = Callable[..., jax.Array]

_LONGEST = 500  # characters of an initializer that a note holds


class Moments(NamedTuple):
    """The distribution that an initializer is asked for: its name, mean and standard deviation."""

    law: str
    mean: float
    std: float


@dataclass(frozen=True, repr=False)
class Initializer(ABC):
    """A function of ``(key, shape, dtype=None, out_sharding=None)`` that makes weights.

    Attributes:
      dtype: the dtype where the call gives none.
      label: what errors call it, where that is not its name; no part of its identity.
    """

    factory: ClassVar[str]  # the function of jaxinit.initializers that makes it

    dtype: DType = field(default=None, kw_only=True)
    label: str | None = field(default=None, kw_only=True, compare=False)

    def __call__(
        self,
        key: Any,
        shape: Shape,
        dtype: DType = None,
        out_sharding: OutSharding = None,
    ) -> jax.Array:
        """Makes the array. Arguments are checked before any work.

        Args:
          key: one JAX random key; constants need none.
          shape: the sizes of the array.
          dtype: by default the initializer's own, or else JAX's default float.
          out_sharding: where the array goes; each device makes its own part.

        Returns:
          An array of this shape and dtype, sharded as asked.

        Raises:
          TypeError, ValueError: a key, shape, dtype or sharding that does not fit.

        Example:
          >>> import jax
          >>> from jaxinit import initializers
          >>> initializers.he_normal()(jax.random.key(0), (784, 256), "bfloat16").dtype
          dtype(bfloat16)
        """
        if is_sequence(key) and not is_key(shape):
            raise TypeError(
                f"{self.name}: expected (key, shape, dtype); got a shape first. Haiku calls "
                f"initializers with (shape, dtype): wrap it by jaxinit.haiku.initializer(...)."
            )
        if isinstance(key, float | str):
            raise TypeError(
                f"{self.name}: expected (key, shape, dtype); got {shown(key)} first. With options "
                f"alone, jaxinit.initializers makes an initializer."
            )
        sizes = check_shape(self.name, shape)
        checked = self._dtype(dtype)
        made = self._make(key, sizes, checked, check_sharding(self.name, sizes, out_sharding))
        return noted(made, self._asked(sizes, checked)) if is_tracing() else made

    def _asked(self, shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
        """What ``Plan.save`` writes down of an array that this initializer made."""
        text, real = repr(self), dtype.kind != "c"
        moments = self.moments(shape) if real else None
        return {
            "initializer": text if len(text) <= _LONGEST else f"{self.call()[0]}(...)",
            **(moments._asdict() if moments else {}),
        }

    def moments(self, shape: tuple[int, ...]) -> Moments | None:
        """The distribution of the elements of a real array.

        Args:
          shape: the sizes of the array.

        Returns:
          Its name, mean and standard deviation; None where no formula is known.

        Example:
          >>> from jaxinit import initializers
          >>> f"{initializers.he_normal().moments((512, 256)).std:.4f}"
          '0.0625'
        """
        return None

    @abstractmethod
    def _make(
        self,
        key: Any,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        """The array, of checked arguments but for the key, which constants do not need."""

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread | None:
        """The magnitudes of the values before they are rounded to the dtype; None if unknown."""
        return None

    def _dtype(self, dtype: DType) -> np.dtype:
        """The dtype of the call, of this initializer, or JAX's default, if numbers can be drawn."""
        return check_inexact(self.name, check_dtype(self.name, dtype, self.own_dtype))

    @property
    def own_dtype(self) -> DType:
        """The dtype where a call gives none; None for JAX's default float."""
        return self.dtype

    def call(self) -> tuple[str, dict[str, Any]]:
        """The call that makes it: the factory's name, and the options that it needs to be given."""
        return self.factory, given_options(self)

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.label or self.call()[0]

    @property
    def __name__(self) -> str:  # type: ignore[override]
        return self.call()[0]

    def __repr__(self) -> str:
        name, options = self.call()
        required = required_options(self)
        positional = [written(options.pop(option)) for option in required if option in options]
        named = [f"{option}={written(value)}" for option, value in options.items()]
        return f"{name}({', '.join([*positional, *named])})"

    def to_config(self) -> dict[str, Any]:
        """The call that makes it in JSON's types; ``initializers.get`` reads it back.

        Raises:
          ValueError: it holds something that JSON cannot, as a function that is not of jaxinit.

        Example:
          >>> from jaxinit import initializers
          >>> initializers.normal(0.02).to_config()
          {'name': 'normal', 'stddev': 0.02}
        """
        return config.encode(self, self.call)

    @property
    def takes_layout(self) -> bool:
        """Whether a layer may give it the layer's own layout: it was given no axes of its own."""
        return getattr(self, "layout", None) in (None, DENSE)

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        """This initializer for a layer's parameter, with ``label`` before its name in errors.

        Where it goes by axes and was given none, it takes those of ``layout``; and the fans of a
        kernel of shape ``kernel`` where the parameter is another, as a bias.
        """
        axes = {"layout": layout} if self.takes_layout and hasattr(self, "layout") else {}
        return replace(self, label=f"{label}: {self.name}", **axes)


def shared_dtype(inits: Iterable[Init]) -> DType:
    """The own dtype of these initializers where it is the same of all; else None."""
    first, *others = (getattr(i, "own_dtype", getattr(i, "dtype", None)) for i in inits)
    return first if all(other == first for other in others) else None


def given_options(init: Any) -> dict[str, Any]:
    """The fields of a dataclass that have no default or another value, in order; no labels."""
    found = [(f.name, getattr(init, f.name), f.default) for f in fields(init) if f.compare]
    found.sort(key=lambda entry: entry[0] == "dtype")  # inherited, but written last
    return {name: value for name, value, default in found if _differs(value, default)}


def _differs(value: Any, default: Any) -> bool:
    return default is MISSING or (value is not default and value != default)


def required_options(init: Any) -> list[str]:
    """The fields that have no default: a call gives them by position."""
    return [f.name for f in fields(init) if f.default is MISSING]


def written(value: Any) -> str:
    """An option as a call writes it."""
    if isinstance(value, tuple):
        inner = ", ".join(map(written, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if callable(value) and not isinstance(value, Initializer):
        return getattr(value, "__qualname__", None) or shown(value)
    return repr(value)


class Drawn(Initializer):
    """Independent values: a factor times those of a distribution of unit scale."""

    @property
    def name(self) -> str:
        return self.label or _name(self)

    @abstractmethod
    def law(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
        """The distribution of unit scale, and the factor."""

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread | None:
        law, factor = self.law(shape, dtype)
        return law.magnitudes(dtype.kind == "c").times(factor)

    def moments(self, shape: tuple[int, ...]) -> Moments | None:
        law, factor = self.law(shape, np.dtype(np.float32))
        return Moments(self.factory, factor * law.mean, factor * law.std)

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        law, factor = _law(self, shape, dtype)
        check_key(self.name, key)
        if dtype.kind == "c" and law.circular is None:
            raise ValueError(
                f"{self.name}: a complex value is truncated by its modulus, so the bounds must be "
                f"-b and b; got {law.name}. Use a real dtype or symmetric bounds."
            )
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        check_spread(self.name, law.magnitudes(dtype.kind == "c"), dtype, factor)
        return draw.draw(key, law, shape, dtype, factor, out_sharding)


@lru_cache(maxsize=4096)
def _name(init: Drawn) -> str:
    """The factory's name, cached.

    Without the cache, reading the options to find the name took a fifth of the time of a small
    call.
    """
    return init.call()[0]


@lru_cache(maxsize=4096)
def _law(init: Drawn, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
    """``init.law``, which counts fans, once for each shape."""
    return init.law(shape, dtype)

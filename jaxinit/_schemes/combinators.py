"""Initializers made of another one: what it makes, scaled, shifted, clipped or masked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw, portable, sharding
from .._random.sharding import OutSharding
from .._random.spread import Spread
from .._text import warn
from .base import Init, Initializer, Moments, shared_dtype
from .checks import (
    DType,
    check_array,
    check_initializer,
    check_nonzero,
    check_number,
    dtype_name,
)
from .fans import Layout
from .ranges import check_option, loss
from .static_array import StaticArray


@dataclass(frozen=True, repr=False)
class Changed(Initializer):
    """What another initializer makes, each element changed, and then rounded to the dtype."""

    init: Init

    @property
    @abstractmethod
    def step(self) -> Hashable:
        """The function that is applied to the values: hashable, so that it compiles once."""

    def _check(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Raises where the change does not fit the array, whose dtype in computing is ``dtype``."""

    def _spread_of(self, inner: Spread) -> Spread | None:
        """The magnitudes of the changed values, from those before."""
        return inner

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread | None:
        wide = _wide(dtype)
        inner = self.init.spread(shape, wide) if isinstance(self.init, Initializer) else None
        if inner is None or loss(inner, wide):  # of which the inner initializer warns
            return None
        return self._spread_of(inner)

    def _lost(self, shape: tuple[int, ...], dtype: np.dtype) -> str | None:
        """What is lost where many of the values are rounded to zero."""
        try:
            return _lost(self, shape, dtype)
        except TypeError:  # it holds a function without a hash; nothing is known of its values
            return None

    @property
    def own_dtype(self) -> DType:
        return self.dtype or shared_dtype([self.init])

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        wide = _wide(dtype)
        self._check(shape, wide)
        warn(self.name, self._lost(shape, dtype))  # what overflows becomes the largest value
        options = {} if out_sharding is None else {"out_sharding": out_sharding}
        made = self.init(key, shape, wide, **options)
        return sharding.assemble(_changed, (self.step, dtype), made, out_sharding=out_sharding)

    def moments(self, shape: tuple[int, ...]) -> Moments | None:
        step, init = self.step, self.init
        inner = init.moments(shape) if isinstance(init, Initializer) else None
        if inner is None or not isinstance(step, _Affine):
            return None
        mean = step.factor * inner.mean + step.offset
        return Moments(inner.law, mean, abs(step.factor) * inner.std)

    @property
    def takes_layout(self) -> bool:
        return not isinstance(self.init, Initializer) or self.init.takes_layout

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Changed:
        named = super().fitted(label, layout, kernel)
        if not isinstance(self.init, Initializer):
            return named
        return replace(named, init=self.init.fitted(label, layout, kernel))


@lru_cache(maxsize=1024)
def _lost(init: Changed, shape: tuple[int, ...], dtype: np.dtype) -> str | None:
    spread = init.spread(shape, dtype)
    return None if spread is None else loss(spread, dtype)


def _wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which values of a dtype are computed."""
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)


def _changed(spec: tuple[Any, np.dtype], made: jax.Array) -> jax.Array:
    step, dtype = spec
    # The barrier keeps a compiler from folding this factor into that of the values.
    return draw.saturate(step(lax.optimization_barrier(made)), dtype)


@dataclass(frozen=True)
class _Affine:
    """x times ``factor`` plus ``offset``."""

    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, x: jax.Array) -> jax.Array:
        scaled = x * jnp.asarray(self.factor, x.dtype)
        return _finite(_plus(scaled, self.offset) if self.offset else scaled)


def _plus(x: jax.Array, offset: float) -> jax.Array:
    """The sum, with x rounded first: a compiler could fuse it with the product that x is."""
    if x.dtype.kind == "c":
        return lax.complex(_plus(jnp.real(x), offset), jnp.imag(x))
    words = lax.bitcast_convert_type(x, {4: np.uint32, 8: np.uint64}[x.dtype.itemsize])
    return portable.guard_of(words)(x) + jnp.asarray(offset, x.dtype)


def _finite(x: jax.Array) -> jax.Array:
    """x, its infinities set to the largest number of the dtype."""
    if x.dtype.kind == "c":
        return lax.complex(_finite(jnp.real(x)), _finite(jnp.imag(x)))
    limit = jnp.finfo(x.dtype).max
    return jnp.clip(x, -limit, limit)


@dataclass(frozen=True)
class _Clip:
    """x, but no less than ``lower`` and no more than ``upper``."""

    lower: float
    upper: float

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, self.lower, self.upper)


@dataclass(frozen=True)
class _Keep:
    """x where the mask is true, else zero."""

    mask: StaticArray

    def __call__(self, x: jax.Array) -> jax.Array:
        kept = np.broadcast_to(self.mask.array, x.shape)
        return jnp.where(kept, x, jnp.zeros((), x.dtype))


@dataclass(frozen=True, repr=False)
class Scaled(Changed):
    """``factor`` times what ``init`` makes."""

    factory = "scaled"
    factor: float

    @property
    def step(self) -> _Affine:
        return _Affine(factor=self.factor)

    def _check(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        check_option(self.name, "factor", self.factor, dtype)

    def _spread_of(self, inner: Spread) -> Spread:
        return inner.times(self.factor)


@dataclass(frozen=True, repr=False)
class Shifted(Changed):
    """What ``init`` makes plus ``offset``."""

    factory = "shifted"
    offset: float

    @property
    def step(self) -> _Affine:
        return _Affine(offset=self.offset)

    def _check(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if self.offset:
            check_option(self.name, "offset", self.offset, dtype)

    def _spread_of(self, inner: Spread) -> Spread | None:
        return None if self.offset else inner


@dataclass(frozen=True, repr=False)
class Clipped(Changed):
    """What ``init`` makes, set to the bounds beyond them."""

    factory = "clipped"
    lower: float
    upper: float

    @property
    def step(self) -> _Clip:
        return _Clip(self.lower, self.upper)

    def _check(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if dtype.kind == "c":
            raise ValueError(f"{self.name}: complex numbers have no order; use a real dtype.")
        for option, value in (("lower", self.lower), ("upper", self.upper)):
            if value:
                check_option(self.name, option, value, dtype)

    def _spread_of(self, inner: Spread) -> Spread | None:
        inside = self.lower <= 0 <= self.upper
        return inner.up_to(max(-self.lower, self.upper)) if inside else None


@dataclass(frozen=True, repr=False)
class Masked(Changed):
    """What ``init`` makes where the mask is true, zero elsewhere."""

    factory = "masked"
    mask: StaticArray

    @property
    def step(self) -> _Keep:
        return _Keep(self.mask)

    def _check(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        mask = self.mask.shape
        try:
            fits = np.broadcast_shapes(mask, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{self.name}: a mask of shape {mask} does not broadcast to {shape}.")


def scaled(init: Init, factor: float, dtype: DType = None) -> Initializer:
    """``factor`` times what ``init`` makes: the mean times factor, the variance times factor^2.

    The product is taken in float32 or wider and rounded to the dtype once; what the dtype cannot
    hold becomes its largest value.

    Args:
      init: an initializer: ours, JAX's, any function of key, shape, dtype.
      factor: any finite number but 0.
      dtype: the dtype where the call gives none; without it, that of ``init``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: init is not a function, factor is not a number.
      ValueError: factor is 0 or not finite; at the call, what ``init`` raises, a dtype that is not
        floating or complex, and a factor that is no normal number of the dtype in computing.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.scaled(initializers.lecun_normal(), 0.5)(jax.random.key(0), (400, 400))
      >>> f"{w.std():.3f}"
      '0.025'
    """
    name = "scaled"
    inner, checked = check_initializer(name, "init", init), check_nonzero(name, "factor", factor)
    return Scaled(inner, checked, dtype=dtype_name(name, dtype))


def shifted(init: Init, offset: float, dtype: DType = None) -> Initializer:
    """What ``init`` makes plus ``offset``: the mean moves by it, the variance stays.

    ``shifted(uniform(b - a), a)`` is uniform on [a, b]. The sum is taken in float32 or wider and
    rounded to the dtype once; what the dtype cannot hold becomes its largest value.

    Args:
      init: an initializer: ours, JAX's, any function of key, shape, dtype.
      offset: any finite number.
      dtype: the dtype where the call gives none; without it, that of ``init``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: init is not a function, offset is not a number.
      ValueError: offset is not finite; at the call, what ``init`` raises, a dtype that is not
        floating or complex, and an offset that is no normal number of the dtype in computing.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.shifted(initializers.uniform(2.0), -1.0)(jax.random.key(0), (512, 512))
      >>> f"{x.min():.2f} {x.max():.2f}"
      '-1.00 1.00'
    """
    name = "shifted"
    inner, checked = check_initializer(name, "init", init), check_number(name, "offset", offset)
    return Shifted(inner, checked, dtype=dtype_name(name, dtype))


def clipped(init: Init, lower: float, upper: float, dtype: DType = None) -> Initializer:
    """What ``init`` makes, with values below ``lower`` and above ``upper`` set to these.

    This is not a truncation: the ends have positive probability, and the variance shrinks. The
    bounds are absolute. For a truncated normal use ``truncated_normal``, whose bounds are in units
    of its stddev.

    Args:
      init: an initializer: ours, JAX's, any function of key, shape, dtype.
      lower: a finite number.
      upper: a finite number above ``lower``.
      dtype: the dtype where the call gives none; without it, that of ``init``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: init is not a function, a bound is not a number.
      ValueError: bounds that are not finite or out of order; at the call, a complex dtype, and a
        bound that is no normal number of the dtype in computing.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.clipped(initializers.normal(1.0), -0.5, 0.5)
      >>> f"{abs(init(jax.random.key(0), (64, 64))).max():.1f}"
      '0.5'
    """
    name = "clipped"
    inner = check_initializer(name, "init", init)
    low, high = check_number(name, "lower", lower), check_number(name, "upper", upper)
    if not low < high:
        raise ValueError(f"clipped: expected lower < upper; got lower={low}, upper={high}.")
    return Clipped(inner, low, high, dtype=dtype_name(name, dtype))


def masked(init: Init, mask: Any, dtype: DType = None) -> Initializer:
    """What ``init`` makes where ``mask`` is true, exact zeros elsewhere.

    The values that are kept are those of ``init``. Its fans do not know of the mask, so the
    variance of an output falls by the share that is kept; ``scaled`` makes up for it.

    Args:
      init: an initializer: ours, JAX's, any function of key, shape, dtype.
      mask: an array of booleans that broadcasts to the shape; it is copied.
      dtype: the dtype where the call gives none; without it, that of ``init``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: init is not a function, mask is not an array of booleans.
      ValueError: at the call, a mask that does not broadcast to the shape.

    Example:
      >>> import jax, numpy as np
      >>> from jaxinit import initializers
      >>> init = initializers.masked(initializers.normal(1.0), np.tri(3, dtype=bool))
      >>> (init(jax.random.key(0), (3, 3)) != 0).sum().item()
      6
    """
    name = "masked"
    inner = check_initializer(name, "init", init)
    array = check_array(name, "mask", mask, "booleans")
    return Masked(inner, StaticArray.of(array), dtype=dtype_name(name, dtype))

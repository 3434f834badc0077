"""Combinators: what another initializer makes, scaled, shifted, clipped or masked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw
from .._random.draw import OutSharding
from .base import DType, Initializer, as_call, check_dtype, check_inexact, check_number, dtype_name
from .blocks import Init
from .fans import Layout


@dataclass(frozen=True)
class _Affine:
    """x times ``factor`` plus ``offset``."""

    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, x: jax.Array) -> jax.Array:
        scaled = x * jnp.asarray(self.factor, x.dtype)
        return scaled + jnp.asarray(self.offset, x.dtype) if self.offset else scaled


@dataclass(frozen=True)
class _Clip:
    """x, but no less than ``lower`` and no more than ``upper``."""

    lower: float
    upper: float

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, self.lower, self.upper)


@dataclass(frozen=True)
class _Mask:
    """x where the mask is true, else zero; the mask kept as bytes, so that equality is by value."""

    bits: bytes
    shape: tuple[int, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        size = math.prod(self.shape)
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=size)
        mask = np.broadcast_to(flat.reshape(self.shape).astype(bool), x.shape)
        return jnp.where(mask, x, jnp.zeros((), x.dtype))


_Step = _Affine | _Clip | _Mask


@dataclass(frozen=True, repr=False)
class Changed(Initializer):
    """What another initializer makes, each element changed, and then rounded to the dtype."""

    init: Init
    step: _Step

    def _dtype(self, dtype: DType) -> np.dtype:
        inner = getattr(self.init, "dtype", None)
        return check_inexact(self.name, check_dtype(self.name, dtype, self.dtype, inner))

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        if isinstance(self.step, _Clip) and dtype.kind == "c":
            raise ValueError(f"{self.name}: complex numbers have no order; use a real dtype.")
        if isinstance(self.step, _Mask):
            self._check_mask(self.step.shape, shape)
        wide = dtype if dtype.itemsize >= 4 else np.dtype(np.float32)
        options = {} if out_sharding is None else {"out_sharding": out_sharding}
        made = self.init(key, shape, wide, **options)
        return draw.assemble(_changed, (self.step, dtype), made, out_sharding=out_sharding)

    def _check_mask(self, mask: tuple[int, ...], shape: tuple[int, ...]) -> None:
        try:
            fits = np.broadcast_shapes(mask, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{self.name}: a mask of shape {mask} does not broadcast to {shape}.")

    @property
    def plain(self) -> bool:
        return not isinstance(self.init, Initializer) or self.init.plain

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Changed:
        named = super().fitted(label, layout, kernel)
        if not isinstance(self.init, Initializer):
            return named
        return replace(named, init=self.init.fitted(label, layout, kernel))


def _changed(spec: tuple[_Step, np.dtype], made: jax.Array) -> jax.Array:
    """The barrier keeps a compiler from folding this factor into that of the values."""
    step, dtype = spec
    return draw.saturate(step(lax.optimization_barrier(made)), dtype)


def scaled(init: Init, factor: float, dtype: DType = None) -> Initializer:
    """``factor`` times what ``init`` makes: mean times factor, variance times factor^2.

    The product is taken in float32 or wider and rounded to the dtype once; what the dtype cannot
    hold becomes its largest value.

    Args:
      init: an initializer: ours, JAX's, any function of (key, shape, dtype).
      factor: any finite number but 0.
      dtype: used where the call gives none; without it, that of ``init``.

    Raises:
      TypeError: an init that is no function.
      ValueError: a factor of 0, or not finite; at the call what ``init`` raises, and a dtype that
        is not floating or complex.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.scaled(initializers.lecun_normal(), 0.5)(jax.random.key(0), (400, 400))
      >>> f"{w.std():.3f}"
      '0.025'
    """
    checked = check_number("scaled", "factor", factor)
    if checked == 0:
        raise ValueError("scaled: factor must not be 0. For zeros use jaxinit.zeros.")
    return _change("scaled", _Affine(checked), init, dtype, checked)


def shifted(init: Init, offset: float, dtype: DType = None) -> Initializer:
    """What ``init`` makes plus ``offset``: the mean moves by it, the variance stays.

    ``shifted(uniform(b - a), a)`` is uniform on [a, b]. Rounding, arguments and errors: as for
    ``scaled``; any finite offset.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.shifted(initializers.uniform(2.0), -1.0)(jax.random.key(0), (512, 512))
      >>> f"{x.min():.2f} {x.max():.2f}"
      '-1.00 1.00'
    """
    checked = check_number("shifted", "offset", offset)
    return _change("shifted", _Affine(1.0, checked), init, dtype, checked)


def clipped(init: Init, lower: float, upper: float, dtype: DType = None) -> Initializer:
    """What ``init`` makes, values below ``lower`` and above ``upper`` set to these.

    Not a truncation: the ends have positive probability, and the variance shrinks. The bounds are
    absolute. For a truncated normal use ``truncated_normal``, whose bounds are in units of stddev.

    Args:
      init: an initializer.
      lower, upper: finite numbers, lower < upper.
      dtype: used where the call gives none; without it, that of ``init``.

    Raises:
      TypeError: an init that is no function.
      ValueError: bounds not finite or out of order; at the call a complex dtype.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.clipped(initializers.normal(1.0), -0.5, 0.5)
      >>> f"{abs(init(jax.random.key(0), (64, 64))).max():.1f}"
      '0.5'
    """
    low, high = (check_number("clipped", o, v) for o, v in (("lower", lower), ("upper", upper)))
    if not low < high:
        raise ValueError(f"clipped: expected lower < upper; got lower={low}, upper={high}.")
    return _change("clipped", _Clip(low, high), init, dtype, low, high)


def masked(init: Init, mask: Any, dtype: DType = None) -> Initializer:
    """What ``init`` makes where ``mask`` is true, exact zeros elsewhere.

    The kept values are those of ``init``; its fans are not told of the mask, so the variance of an
    output falls by the share that is kept (``scaled`` makes up for it).

    Args:
      init: an initializer.
      mask: an array of booleans that broadcasts to the shape; it is copied.
      dtype: used where the call gives none; without it, that of ``init``.

    Raises:
      TypeError: an init that is no function, a mask that is not of booleans.
      ValueError: at the call, a mask that does not broadcast to the shape.

    Example:
      >>> import jax, numpy as np
      >>> from jaxinit import initializers
      >>> init = initializers.masked(initializers.normal(1.0), np.tri(3, dtype=bool))
      >>> (init(jax.random.key(0), (3, 3)) != 0).sum().item()
      6
    """
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"masked: mask must be an array of booleans; got {array.dtype}.")
    step = _Mask(np.packbits(array).tobytes(), array.shape)
    return _change("masked", step, init, dtype, array)


def _change(name: str, step: _Step, init: Init, dtype: DType, *shown: object) -> Initializer:
    """The initializer, printed as its call."""
    if not callable(init):
        raise TypeError(f"{name}: init must be an initializer; got {init!r}.")
    call = as_call(name, init, *shown, dtype=(dtype, None))
    return Changed(init, step, call=call, dtype=dtype_name(name, dtype))

"""Combinators: initializers made of initializers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import _draw, _fans
from ._draw import OutSharding
from ._fans import Layout
from ._schemes import (
    DType,
    Initializer,
    as_call,
    check_dtype,
    check_number,
    check_shape,
    check_sharding,
    dtype_name,
)
from ._stream import check_key, fold_in

Init = Callable[..., jax.Array]


@dataclass(frozen=True, repr=False)
class Blocks(Initializer):
    """Kernels side by side along ``axis``, each drawn apart from a key of its own."""

    inits: tuple[Init, ...]  # one for all blocks, or one for each
    sizes: int | Sequence[int]
    axis: int

    def __call__(
        self,
        key: jax.Array,
        shape: Sequence[int],
        dtype: DType = None,
        out_sharding: OutSharding = None,
    ) -> jax.Array:
        shape = check_shape(self.name, shape)
        checked = check_dtype(self.name, dtype, self.dtype)
        check_key(self.name, key)
        check_sharding(self.name, shape, out_sharding)
        shapes = _fans.block_shapes(self.name, shape, self.sizes, self.axis)
        if len(self.inits) not in (1, len(shapes)):
            raise ValueError(
                f"{self.name}: {len(self.inits)} initializers for {len(shapes)} blocks of shape "
                f"{shape}; give one, or one for each block."
            )
        each = self.inits * len(shapes) if len(self.inits) == 1 else self.inits
        axis = self.axis % len(shape)
        # A block is made whole along its axis on every device, so that placing it moves nothing.
        inner = _draw.unsharded(out_sharding, axis)
        options = {} if inner is None else {"out_sharding": inner}
        made = [
            init(fold_in(key, b), block, checked, **options)
            for b, (init, block) in enumerate(zip(each, shapes, strict=True))
        ]
        return _draw.place(_draw.place(lax.concatenate(made, axis), inner), out_sharding)

    @property
    def plain(self) -> bool:
        return False

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Blocks:
        inits = tuple(
            init.fitted(label, layout.block, kernel) if isinstance(init, Initializer) else init
            for init in self.inits
        )
        return replace(super().fitted(label, layout, kernel), inits=inits)


def blocks(
    init: Init | Sequence[Init],
    sizes: int | Sequence[int],
    axis: int = -1,
    dtype: DType = None,
) -> Initializer:
    """Several kernels fused into one array, block b made by ``init`` from ``fold_in(key, b)``.

    Each block has the fans of its own shape, and the values that ``init`` gives for it alone: a
    fused kernel of queries, keys and values, or of a recurrent cell's gates, is what the separate
    kernels would be. Variance-scaling initializers do the same when ``layout`` has blocks.

    Args:
      init: an initializer, or one for each block (ours, JAX's, any function of key, shape, dtype).
      sizes: the blocks' sizes along ``axis``, or the number of equal blocks.
      axis: the axis along which the blocks stand.
      dtype: used where the call gives none.

    Returns:
      An initializer: shape and dtype as asked, ``out_sharding`` honoured.

    Raises:
      TypeError: an init that is no function.
      ValueError: sizes that are not positive; at the call: sizes that do not fill the axis, or
        not one init, nor one for each block.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.blocks(initializers.glorot_normal(), 3)
      >>> w = init(jax.random.key(0), (512, 3 * 512))
      >>> f"{w.std() * 512**0.5:.2f}"
      '1.00'

    Source: pytorch/pytorch issue 166378, on what is lost when a fused kernel is drawn as one.
    """
    inits = tuple(init) if isinstance(init, Sequence) else (init,)
    for one in inits:
        if not callable(one):
            raise TypeError(f"blocks: init must be an initializer; got {one!r}.")
    checked = _fans.check_blocks("blocks", "sizes", sizes)
    call = as_call("blocks", init, checked, axis=(axis, -1), dtype=(dtype, None))
    return Blocks(inits, checked, axis, call=call, dtype=dtype_name("blocks", dtype))


# Repeated -----------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Repeated(Initializer):
    """One smaller kernel, each slice of it ``times`` times along ``axis``."""

    init: Init
    times: int
    axis: int
    tiled: bool

    def __call__(
        self,
        key: jax.Array | None,
        shape: Sequence[int],
        dtype: DType = None,
        out_sharding: OutSharding = None,
    ) -> jax.Array:
        shape = check_shape(self.name, shape)
        checked = check_dtype(self.name, dtype, self.dtype, getattr(self.init, "dtype", None))
        check_sharding(self.name, shape, out_sharding)
        smaller = _fans.block_shapes(self.name, shape, self.times, self.axis)[0]
        made = self.init(key, smaller, checked)
        spec = (self.times, self.axis % len(shape), self.tiled)
        return _draw.assemble(_repeated, spec, made, out_sharding=out_sharding)


def _repeated(spec: tuple[int, int, bool], made: jax.Array) -> jax.Array:
    times, axis, tiled = spec
    if tiled:
        return jnp.concatenate([made] * times, axis)
    return jnp.repeat(made, times, axis)


def repeated(
    init: Init, times: int, axis: int = -1, tiled: bool = False, dtype: DType = None
) -> Initializer:
    """A kernel that holds each slice of a smaller one ``times`` times along ``axis``.

    The smaller one is made by ``init``, by its own fans. With ``times`` = r^2 on a convolution
    before a sub-pixel shuffle of factor r this is ICNR: all r x r outputs of a channel are equal,
    what nearest-neighbour upsampling would give, and no checkerboard appears.

    Args:
      init: an initializer.
      times: how often, at least 1; divides the axis.
      axis: the axis that grows.
      tiled: False for copies side by side (a shuffle whose channels are (c, r, r), torch's and
        Flux's), True for the whole kernel again and again ((r, r, c), as depth_to_space).
      dtype: used where the call gives none; without it, that of ``init``.

    Raises:
      TypeError: an init that is no function.
      ValueError: times that is no positive int; at the call, an axis it does not divide.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.repeated(initializers.he_normal(), 4)(jax.random.key(0), (3, 3, 8, 16))
      >>> bool((w[..., 0] == w[..., 3]).all()), bool((w[..., 0] == w[..., 4]).any())
      (True, False)

    Source: Aitken et al. 2017, section 3.1.
    """
    if not callable(init):
        raise TypeError(f"repeated: init must be an initializer; got {init!r}.")
    count = _fans.check_count("repeated", "times", times)
    call = as_call(
        "repeated", init, count, axis=(axis, -1), tiled=(tiled, False), dtype=(dtype, None)
    )
    return Repeated(init, count, axis, bool(tiled), call=call, dtype=dtype_name("repeated", dtype))


# Changed after they are made ----------------------------------------------------------------------


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

    def __call__(
        self,
        key: jax.Array | None,
        shape: Sequence[int],
        dtype: DType = None,
        out_sharding: OutSharding = None,
    ) -> jax.Array:
        shape = check_shape(self.name, shape)
        checked = check_dtype(self.name, dtype, self.dtype, getattr(self.init, "dtype", None))
        check_sharding(self.name, shape, out_sharding)
        if not jnp.issubdtype(checked, jnp.inexact):
            raise ValueError(
                f"{self.name}: makes real or complex numbers, not {checked}; use a floating "
                f"dtype, as jnp.float32."
            )
        if isinstance(self.step, _Clip) and checked.kind == "c":
            raise ValueError(f"{self.name}: complex numbers have no order; use a real dtype.")
        if isinstance(self.step, _Mask):
            self._check_mask(self.step.shape, shape)
        wide = checked if checked.itemsize >= 4 else np.dtype(np.float32)
        options = {} if out_sharding is None else {"out_sharding": out_sharding}
        made = self.init(key, shape, wide, **options)
        return _draw.assemble(_changed, (self.step, checked), made, out_sharding=out_sharding)

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
    return _draw.saturate(step(lax.optimization_barrier(made)), dtype)


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

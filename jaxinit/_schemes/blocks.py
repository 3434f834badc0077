"""Kernels made of kernels: several side by side, or one smaller kernel repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw, sharding
from .._random.sharding import OutSharding
from .._random.stream import check_key, fold_in
from . import fans
from .base import Init, Initializer, shared_dtype
from .checks import (
    DType,
    check_count,
    check_dtype,
    check_flag,
    check_initializer,
    check_int,
    dtype_name,
)
from .fans import Layout


@dataclass(frozen=True, repr=False)
class Blocks(Initializer):
    """Kernels side by side along ``axis``, each drawn from a key of its own."""

    factory = "blocks"
    init: Init | tuple[Init, ...]  # one for all blocks, or one for each
    sizes: int | Sequence[int]
    axis: int = -1

    @property
    def own_dtype(self) -> DType:
        inits = self.init if isinstance(self.init, tuple) else (self.init,)
        return self.dtype or shared_dtype(inits)

    def _dtype(self, dtype: DType) -> np.dtype:
        return check_dtype(self.name, dtype, self.own_dtype)

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_key(self.name, key)
        shapes = fans.block_shapes(self.name, shape, self.sizes, self.axis)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        each = self.init if isinstance(self.init, tuple) else (self.init,) * len(shapes)
        if len(each) != len(shapes):
            raise ValueError(
                f"{self.name}: {len(each)} initializers for {len(shapes)} blocks of shape "
                f"{shape}; give one, or one for each block."
            )
        axis = self.axis % len(shape)
        # A block is made whole along its axis on every device, so that placing it moves nothing.
        inner = sharding.unsharded(out_sharding, axis)
        options = {} if inner is None else {"out_sharding": inner}
        made = [
            init(fold_in(key, b), block, dtype, **options)
            for b, (init, block) in enumerate(zip(each, shapes, strict=True))
        ]
        return sharding.place(sharding.place(lax.concatenate(made, axis), inner), out_sharding)

    @property
    def takes_layout(self) -> bool:
        return False

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Blocks:
        def fit(init: Init) -> Init:
            if not isinstance(init, Initializer):
                return init
            return init.fitted(label, layout.block, kernel)

        inner = tuple(map(fit, self.init)) if isinstance(self.init, tuple) else fit(self.init)
        return replace(super().fitted(label, layout, kernel), init=inner)


def blocks(
    init: Init | Sequence[Init],
    sizes: int | Sequence[int],
    axis: int = -1,
    dtype: DType = None,
) -> Initializer:
    """Several kernels fused into one array; block b is made by ``init`` from ``fold_in(key, b)``.

    Each block has the fans of its own shape, and the values that ``init`` gives for it alone. So a
    fused kernel of queries, keys and values, or of a recurrent cell's gates, is what the separate
    kernels would be. Initializers that take a ``layout`` do the same when it has blocks.

    Args:
      init: an initializer, or one for each block: ours, JAX's, any function of key, shape, dtype.
      sizes: the sizes of the blocks along ``axis``, or the number of equal blocks.
      axis: the axis along which the blocks lie.
      dtype: the dtype where the call gives none; without it, that of ``init``, if it is the same
        for all blocks.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: init is not a function.
      ValueError: no initializer, or sizes that are not positive; at the call, sizes that do not
        fill the axis, or a number of initializers that is neither 1 nor that of the blocks.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.blocks(initializers.glorot_normal(), 3)
      >>> w = init(jax.random.key(0), (512, 3 * 512))
      >>> f"{w.std() * 512**0.5:.2f}"
      '1.00'

    Source: pytorch/pytorch issue 166378, on what is lost when a fused kernel is drawn as one.
    """
    inits: tuple[Init, ...] = tuple(init) if isinstance(init, list | tuple) else (init,)  # type: ignore
    if not inits:
        raise ValueError("blocks: init must be an initializer, or one for each block; got none.")
    for one in inits:
        check_initializer("blocks", "init", one)
    checked = fans.check_blocks("blocks", "sizes", sizes)
    inner = inits[0] if len(inits) == 1 else inits
    place = check_int("blocks", "axis", axis)
    return Blocks(inner, checked, place, dtype=dtype_name("blocks", dtype))


@dataclass(frozen=True, repr=False)
class Repeated(Initializer):
    """One smaller kernel, each slice of it ``times`` times along ``axis``."""

    factory = "repeated"
    init: Init
    times: int
    axis: int = -1
    tiled: bool = False

    @property
    def own_dtype(self) -> DType:
        return self.dtype or shared_dtype([self.init])

    def _dtype(self, dtype: DType) -> np.dtype:
        return check_dtype(self.name, dtype, self.own_dtype)

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        smaller = fans.block_shapes(self.name, shape, self.times, self.axis)[0]
        made = self.init(key, smaller, dtype)
        spec = (self.times, self.axis % len(shape), self.tiled)
        return sharding.assemble(_repeated, spec, made, out_sharding=out_sharding)


def _repeated(spec: tuple[int, int, bool], made: jax.Array) -> jax.Array:
    times, axis, tiled = spec
    if tiled:
        return jnp.concatenate([made] * times, axis)
    return jnp.repeat(made, times, axis)


def repeated(
    init: Init, times: int, axis: int = -1, tiled: bool = False, dtype: DType = None
) -> Initializer:
    """A kernel that holds each slice of a smaller one ``times`` times along ``axis``.

    The smaller kernel is made by ``init``, with its own fans. With ``times`` = r^2 on a convolution
    before a sub-pixel shuffle of factor r this is ICNR: all r x r outputs of a channel are equal,
    as after nearest-neighbour upsampling, so no checkerboard appears.

    Args:
      init: an initializer: ours, JAX's, any function of key, shape, dtype.
      times: how often, at least 1; it divides the axis.
      axis: the axis that grows.
      tiled: False for copies next to each other, which suits a shuffle whose channels are
        (c, r, r), as torch's and Flux's; True for the whole kernel again and again, (r, r, c), as
        in depth_to_space.
      dtype: the dtype where the call gives none; without it, that of ``init``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: init is not a function.
      ValueError: times is not a positive int; at the call, an axis that it does not divide.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.repeated(initializers.he_normal(), 4)(jax.random.key(0), (3, 3, 8, 16))
      >>> bool((w[..., 0] == w[..., 3]).all()), bool((w[..., 0] == w[..., 4]).any())
      (True, False)

    Source: Aitken et al. 2017 (ICNR).
    """
    name = "repeated"
    return Repeated(
        check_initializer(name, "init", init),
        check_count(name, "times", times),
        check_int(name, "axis", axis),
        check_flag(name, "tiled", tiled),
        dtype=dtype_name(name, dtype),
    )

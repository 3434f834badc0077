"""Kernels of kernels: blocks side by side, or one smaller kernel repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw
from .._random.draw import OutSharding
from .._random.stream import check_key, fold_in
from . import fans
from .base import DType, Initializer, as_call, check_dtype, dtype_name
from .fans import Layout

Init = Callable[..., jax.Array]


@dataclass(frozen=True, repr=False)
class Blocks(Initializer):
    """Kernels side by side along ``axis``, each drawn apart from a key of its own."""

    inits: tuple[Init, ...]  # one for all blocks, or one for each
    sizes: int | Sequence[int]
    axis: int

    def _dtype(self, dtype: DType) -> np.dtype:
        return check_dtype(self.name, dtype, self.dtype)

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_key(self.name, key)
        shapes = fans.block_shapes(self.name, shape, self.sizes, self.axis)
        if len(self.inits) not in (1, len(shapes)):
            raise ValueError(
                f"{self.name}: {len(self.inits)} initializers for {len(shapes)} blocks of shape "
                f"{shape}; give one, or one for each block."
            )
        each = self.inits * len(shapes) if len(self.inits) == 1 else self.inits
        axis = self.axis % len(shape)
        # A block is made whole along its axis on every device, so that placing it moves nothing.
        inner = draw.unsharded(out_sharding, axis)
        options = {} if inner is None else {"out_sharding": inner}
        made = [
            init(fold_in(key, b), block, dtype, **options)
            for b, (init, block) in enumerate(zip(each, shapes, strict=True))
        ]
        return draw.place(draw.place(lax.concatenate(made, axis), inner), out_sharding)

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
    checked = fans.check_blocks("blocks", "sizes", sizes)
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

    def _dtype(self, dtype: DType) -> np.dtype:
        return check_dtype(self.name, dtype, self.dtype, getattr(self.init, "dtype", None))

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
        return draw.assemble(_repeated, spec, made, out_sharding=out_sharding)


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

    Source: Aitken et al. 2017 (ICNR).
    """
    if not callable(init):
        raise TypeError(f"repeated: init must be an initializer; got {init!r}.")
    count = fans.check_count("repeated", "times", times)
    call = as_call(
        "repeated", init, count, axis=(axis, -1), tiled=(tiled, False), dtype=(dtype, None)
    )
    return Repeated(init, count, axis, bool(tiled), call=call, dtype=dtype_name("repeated", dtype))

"""Combinators: initializers made of initializers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from jax import lax

from . import _draw, _fans
from ._draw import OutSharding
from ._schemes import (
    DType,
    Initializer,
    as_call,
    check_dtype,
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

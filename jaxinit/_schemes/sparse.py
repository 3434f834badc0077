"""Sparse random matrices: each output has a fixed number of inputs that are exactly zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._random import draw, laws, sharding
from .._random.sharding import OutSharding
from .._random.spread import Spread
from .._random.stream import check_key, fold_in
from . import layout_options
from .base import Initializer, given_options
from .checks import DType, check_number, check_positive, dtype_name
from .fans import DENSE, Axes, Layout
from .matrix_view import MatrixView, matrix_view
from .ranges import check_spread


class _Thinning(NamedTuple):
    """How many inputs of each output become zero; all of it is static."""

    view: MatrixView
    zeros: int


def _thinned(spec: _Thinning, values: jax.Array, words: jax.Array) -> jax.Array:
    """The values, but zero where the word is among the least ``zeros`` of its output's words."""
    view = spec.view
    order = (*view.roles.batch_axis, *view.roles.out_axis, *view.inputs)
    sizes = [view.shape[axis] for axis in order]
    flat = words.transpose(order).reshape(-1, view.size(view.inputs))
    rank = jnp.argsort(jnp.argsort(flat, axis=-1, stable=True), axis=-1, stable=True)
    kept = (rank >= spec.zeros).reshape(sizes).transpose(np.argsort(order))
    return jnp.where(kept, values, jnp.zeros((), values.dtype))


@dataclass(frozen=True, repr=False)
class Sparse(Initializer):
    """Normal values, of which each output keeps a fixed number."""

    factory = "sparse"
    sparsity: float
    stddev: float = 1e-2
    layout: Layout = DENSE

    def call(self) -> tuple[str, dict[str, Any]]:
        return self.factory, layout_options.axes_as_options(given_options(self))

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread:
        return laws.NORMAL.magnitudes(dtype.kind == "c").times(self.stddev)

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_key(self.name, key)
        check_spread(self.name, self.spread(shape, dtype), dtype)
        view = matrix_view(self.name, self.layout, shape)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        values = draw.draw(key, laws.NORMAL, shape, dtype, self.stddev, out_sharding)
        words = draw.bits(fold_in(key, 0), shape, out_sharding)
        # Of the decimal number as it is written: in floats 0.07 times 100 is above 7.
        zeros = math.ceil(Fraction(repr(self.sparsity)) * view.size(view.inputs))
        spec = _Thinning(view, zeros)
        return sharding.assemble(_thinned, spec, values, words, out_sharding=out_sharding)


def sparse(
    sparsity: float,
    stddev: float = 1e-2,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """Each output has ceil(sparsity n) of its n inputs exactly zero, and the others normal.

    Which inputs are zero is uniformly random, and independent from output to output; the values are
    those of ``normal(stddev)`` with the same key. The variance is (1 - sparsity) stddev^2. As in
    Martens' paper the limit is on what comes *in* to a unit. PyTorch's ``sparse_``, on (out, in)
    weights, limits what goes *out* of one; here that is ``sparse(s, in_axis=-1, out_axis=-2)``.

    Args:
      sparsity: the share of zeros, at least 0 and below 1.
      stddev: the standard deviation of the values that are not zero, above 0.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose inputs count too.
      dtype: the dtype where the call gives none.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: sparsity outside [0, 1), stddev not above 0, a layout together with axes; at the
        call, fewer than two axes, axes out of range, or both in and out; a dtype that is not
        floating or complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.sparse(0.9)(jax.random.key(0), (100, 50))
      >>> (w == 0).sum(axis=0).tolist() == [90] * 50
      True

    Source: Martens 2010, section 5.
    """
    name = "sparse"
    share, std = check_number(name, "sparsity", sparsity), check_positive(name, "stddev", stddev)
    if not 0 <= share < 1:
        raise ValueError(
            f"{name}: sparsity must be at least 0 and below 1; got {share}. For zeros use "
            f"jaxinit.zeros."
        )
    own = dtype_name(name, dtype)
    given = layout_options.layout_of(name, layout, in_axis, out_axis, batch_axis)
    return layout_options.by_block(lambda one: Sparse(share, std, one, dtype=own), given)

"""Orthogonal matrices, as products of random reflections (Stewart 1980).

They are what a QR decomposition of a Gaussian matrix would find, without decomposing one: all the
work is in matrix products. The Gaussian comes from the stream and has the same bits everywhere; the
products follow the backend's linear algebra, and so may the last bits of an orthogonal matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw, laws
from .._random.draw import OutSharding
from .._random.stream import check_key
from . import matrix_view
from .base import DType, Initializer, as_call, check_positive, check_range, dtype_name
from .fans import Layout
from .matrix_view import View

Array = jax.Array

# Reflections are applied in panels, by three matrix products each: at most so many, at least so
# wide. Fewer panels waste products, more leave them too small; over devices a panel is also what
# each must hold whole.
_PANELS, _LEAST_WIDTH = 8, 32
_SPREAD_PANELS, _LEAST_SPREAD_WIDTH = 32, 8


def haar(gaussian: Array, spread: bool = False) -> Array:
    """Haar-distributed orthonormal columns, (..., m, n) with m >= n, from a standard Gaussian.

    The first n columns of H_1 H_2 ... H_n D: H_k reflects the part of column k on and below the
    diagonal onto e_k, D makes the diagonal of R, of the QR that this would be, positive. A panel of
    reflections meets only the columns from its own on, and the rows below its first; where the rows
    are ``spread`` over devices, all of them, in a loop that holds one panel at a time.
    """
    *batch, m, n = gaussian.shape
    v, phase = _reflectors(gaussian)
    if spread:
        return _in_a_loop(v) * phase
    width = max(_LEAST_WIDTH, -(-n // _PANELS))
    q = jnp.zeros((*batch, 0, 0), gaussian.dtype)
    for start in reversed(range(0, n, width)):
        panel = v[..., start:, start : start + width]
        unit = jnp.broadcast_to(jnp.eye(*panel.shape[-2:], dtype=v.dtype), panel.shape)
        above = [(0, 0)] * len(batch) + [(panel.shape[-1] if start + width < n else m - start, 0)]
        q = _reflect(panel, jnp.concatenate([unit, jnp.pad(q, [*above, (0, 0)])], axis=-1))
    return q * phase


def _in_a_loop(v: Array) -> Array:
    """The columns before their phases, panel by panel; columns of zeros reflect nothing."""
    *batch, m, n = v.shape
    width = max(_LEAST_SPREAD_WIDTH, -(-n // _SPREAD_PANELS))
    panels = -(-n // width)
    padded = jnp.pad(v, [(0, 0)] * (len(batch) + 1) + [(0, panels * width - n)])

    def step(i: Array, q: Array) -> Array:
        start = (panels - 1 - i) * width
        return _reflect(lax.dynamic_slice_in_dim(padded, start, width, axis=-1), q)

    unit = jnp.broadcast_to(jnp.eye(m, n, dtype=v.dtype), v.shape)
    return lax.fori_loop(0, panels, step, unit)


def _reflect(v: Array, q: Array) -> Array:
    """H_1 ... H_b q = q - V S^-1 V^H q, S = I + the strict upper triangle of V^H V (|v|^2 = 2)."""
    adjoint = jnp.conj(v.swapaxes(-1, -2))
    upper = jnp.triu(_product(adjoint, v), 1)
    met = _product(adjoint, q)
    solved = lax.linalg.triangular_solve(
        upper, met, left_side=True, lower=False, unit_diagonal=True
    )
    return q - _product(v, solved)


def _reflectors(x: Array) -> tuple[Array, Array]:
    """The vectors v_k, |v_k|^2 = 2, as columns, and the diagonal of D as a row."""
    low = jnp.tril(x)
    norm = jnp.sqrt(jnp.sum(jnp.real(low * jnp.conj(low)), axis=-2, keepdims=True))
    diagonal = jnp.diagonal(x, axis1=-2, axis2=-1)[..., None, :]
    size = jnp.abs(diagonal)
    phase = diagonal / size
    v = low + jnp.eye(*x.shape[-2:], dtype=x.dtype) * (phase * norm)
    return v / jnp.sqrt(norm * (norm + size)), -phase


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


class _Assembly(NamedTuple):
    """What turns a Gaussian stack into an orthogonal kernel, all static."""

    view: View
    dtype: np.dtype
    delta: bool
    spread: bool = False

    @property
    def places(self) -> tuple[int, ...]:
        """The axes along which there are several matrices."""
        return self.view.roles.batch_axis if self.delta else self.view.places

    @property
    def stack(self) -> tuple[int, int, int]:
        """The shape of the Gaussian: how many, the longer side, the shorter."""
        view = self.view
        tall, thin = sorted((view.rows, view.columns), reverse=True)
        return view.size(self.places) * view.groups, tall, thin


def _kernel(spec: _Assembly, gaussian: Array, scale: Array) -> Array:
    view = spec.view
    q = haar(gaussian, spec.spread) * scale
    if view.rows < view.columns:
        q = q.swapaxes(-1, -2)
    kernel = view.kernel(q.astype(spec.dtype), spec.places)
    if not spec.delta:
        return kernel
    before = [(size - 1) // 2 if a in view.roles.window else 0 for a, size in enumerate(view.shape)]
    after = [
        size - 1 - first if a in view.roles.window else 0
        for a, (size, first) in enumerate(zip(view.shape, before, strict=True))
    ]
    return jnp.pad(kernel, list(zip(before, after, strict=True)))


# From the in and out axis of a dense layer or a convolution to the axis of the columns.
_COLUMNS: dict[object, int] = {((-2,), (-1,)): -1, ((-1,), (-2,)): -2}


@dataclass(frozen=True, repr=False)
class Orthogonal(Initializer):
    """Orthonormal rows or columns; with ``delta`` at the window's centre, zero elsewhere."""

    scale: float
    layout: Layout | int  # an int is the axis of the columns, all others are rows
    delta: bool

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_key(self.name, key)
        check_range(self.name, self.scale, dtype)
        view = matrix_view.view(self.name, self._layout(shape), shape)
        if self.delta and view.rows > view.columns:
            raise ValueError(
                f"{self.name}: shape {shape} has {view.rows} inputs for {view.columns} outputs; "
                f"a map that keeps lengths needs as many outputs as inputs."
            )
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        wide = dtype if dtype.kind == "c" or dtype == np.float64 else np.dtype(np.float32)
        spec = _Assembly(view, dtype, self.delta)
        work = draw.across(out_sharding, spec.stack, (0, 1))
        gaussian = draw.draw(key, laws.NORMAL, spec.stack, wide, 1.0, work)
        spec, scale = spec._replace(spread=work is not None), wide.type(self.scale)
        return draw.assemble(_kernel, spec, gaussian, scale, out_sharding=out_sharding)

    @property
    def plain(self) -> bool:
        return self.layout == -1

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        fitted = super().fitted(label, layout, kernel)
        columns = _COLUMNS.get((layout.in_axis, layout.out_axis))
        if columns is None or layout.batch_axis or self.delta or not self.plain:
            return fitted
        return replace(fitted, layout=columns)  # a window stays among the rows

    def _layout(self, shape: tuple[int, ...]) -> Layout:
        if isinstance(self.layout, Layout):
            return self.layout
        rank, columns = len(shape), self.layout
        if rank < 2:
            raise ValueError(
                f"{self.name}: shape {shape} is no matrix; it needs at least two axes. For a bias "
                f"use jaxinit.zeros."
            )
        if not -rank <= columns < rank:
            raise ValueError(
                f"{self.name}: column_axis {columns} is out of range for shape {shape}; use "
                f"{-rank} to {rank - 1}."
            )
        if self.delta:
            return Layout()
        rows = tuple(axis for axis in range(rank) if axis != columns % rank)
        return Layout(in_axis=rows, out_axis=columns)


def orthogonal(
    scale: float = 1.0,
    column_axis: int = -1,
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """``scale`` times a matrix with orthonormal columns, or rows where there are fewer of those.

    Distributed by Haar's measure: no rotation is likelier than another. Each element has mean 0 and
    variance scale^2/m, m the larger side; every singular value is ``scale``. Computed in
    float32 (float64, complex64 and complex128 in their own precision; complex: unitary) and rounded
    to the dtype once; before that |Q^H Q - I| <= 1e-5. The last bits follow the backend's linear
    algebra.

    Without a layout all axes but ``column_axis`` together are the rows, as in JAX: a convolution's
    kernel is one matrix. With one, in axes are rows and out axes columns, and every place along the
    window and batch axes, every group and every block has a matrix of its own.

    Args:
      scale: above 0; the gain.
      column_axis: the axis of the columns.
      dtype: used where the call gives none.
      layout: the axes by role, in place of ``column_axis``.

    Raises:
      ValueError: a scale that is not above 0; at the call: fewer than two axes, an axis out of
        range, or both in and out; a dtype that is not floating or complex or too narrow.
      TypeError: a column_axis that is no int, a layout that is none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxinit import initializers
      >>> w = initializers.orthogonal()(jax.random.key(0), (256, 64))
      >>> bool(abs(w.T @ w - jnp.eye(64)).max() < 1e-5)
      True

    Source: Saxe et al. 2014, section 3; drawn as in Stewart 1980.
    """
    return _orthogonal("orthogonal", scale, column_axis, dtype, layout, delta=False)


def delta_orthogonal(
    scale: float = 1.0,
    column_axis: int = -1,
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """A convolution that is, at its window's centre, an orthonormal map of channels; else zero.

    The centre of a window axis of k is (k - 1)//2, as in JAX. There the kernel is ``scale`` times a
    Haar-distributed matrix with orthonormal rows, so a circular convolution keeps lengths. Works in
    any number of dimensions, by groups and by blocks with a layout.

    Args:
      scale: above 0; the gain.
      column_axis: as JAX has it; rows and columns of a Haar matrix have the same law.
      dtype: used where the call gives none.
      layout: the axes by role.

    Raises:
      ValueError: as for ``orthogonal``; at the call, more inputs than outputs.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.delta_orthogonal()(jax.random.key(0), (3, 3, 8, 16))
      >>> f"{(w[1, 1] ** 2).sum():.3f} {abs(w[0]).max():.3f}"
      '8.000 0.000'

    Source: Xiao et al. 2018, algorithm 1.
    """
    return _orthogonal("delta_orthogonal", scale, column_axis, dtype, layout, delta=True)


def _orthogonal(
    name: str,
    scale: float,
    column_axis: int,
    dtype: DType,
    layout: Layout | None,
    delta: bool,
) -> Initializer:
    checked = check_positive(name, "scale", scale)
    if isinstance(column_axis, bool) or not isinstance(column_axis, int):
        raise TypeError(f"{name}: column_axis must be an int; got {column_axis!r}.")
    call = as_call(
        name,
        scale=(checked, 1.0),
        column_axis=(column_axis, -1),
        dtype=(dtype, None),
        layout=(layout, None),
    )

    def make(axes: Layout | int) -> Initializer:
        return Orthogonal(checked, axes, delta, call=call, dtype=dtype_name(name, dtype))

    given = matrix_view.check_layout(name, layout, column_axis=(column_axis, -1))
    return matrix_view.by_block(make, given) if given else make(column_axis)

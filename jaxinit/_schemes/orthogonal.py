"""Random orthogonal matrices, as products of random reflections (Stewart 1980).

A QR decomposition of a Gaussian matrix would find the same matrix Q: a product of reflections, one
for each column. Here the reflections are drawn and multiplied, with no decomposition, so all the
work is in matrix products. The Gaussian has the same bits everywhere; the products are those of the
backend's linear algebra, whose order of addition is its own. So one machine with one version of JAX
computes the same bits eagerly, under jit, vmap and scan, and others may differ in the last bits, as
does a matrix that is sharded over devices, whose products are added device by device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw, laws, sharding
from .._random.notes import ASSEMBLED, GAUSSIAN, noted
from .._random.sharding import OutSharding
from .._random.spread import Spread, direction
from .._random.stream import check_key
from . import layout_options
from .base import Initializer
from .checks import DType, check_int, check_positive, dtype_name
from .fans import Layout
from .matrix_view import MatrixView, check_matrix, matrix_view
from .ranges import check_spread

Array = jax.Array

# A panel of reflections is applied by three matrix products. There are at most so many panels, each
# at least so wide: fewer panels waste work, more make the products too small to be fast. Where the
# rows are sharded over devices, each device holds a whole panel, so panels are narrower there.
_PANELS, _LEAST_WIDTH = 8, 32
_SHARDED_PANELS, _LEAST_SHARDED_WIDTH = 32, 8


def haar(gaussian: Array, sharded: bool = False) -> Array:
    """Uniformly distributed orthonormal columns, (..., m, n) with m >= n, from a standard Gaussian.

    The result is the first n columns of H_1 H_2 ... H_n D. H_k reflects the part of column k on and
    below the diagonal onto the axis e_k, and D makes the diagonal of R positive, R of the QR
    decomposition that this would be. Reflections are applied in panels. A panel changes only the
    columns from its own on and the rows below its first; where the rows are ``sharded`` over
    devices, it is applied to all of them, in a loop that holds one panel at a time.
    """
    *batch, m, n = gaussian.shape
    v, phase = _reflectors(gaussian)
    if sharded:
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
    """The columns before their phases, panel by panel; a column of zeros reflects nothing."""
    *batch, m, n = v.shape
    width = max(_LEAST_SHARDED_WIDTH, -(-n // _SHARDED_PANELS))
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
    phase = diagonal / size.astype(x.dtype)
    unit = jnp.broadcast_to(jnp.eye(*x.shape[-2:], dtype=x.dtype), x.shape)
    v = low + unit * (phase * norm.astype(x.dtype))
    return v / jnp.sqrt(norm * (norm + size)).astype(x.dtype), -phase


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


class _Assembly(NamedTuple):
    """How a stack of Gaussian matrices becomes an orthogonal kernel; all of it is static."""

    view: MatrixView
    dtype: np.dtype
    delta: bool
    sharded: bool = False

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
    q = haar(gaussian, spec.sharded) * scale
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
    """Orthonormal columns or rows, of whichever there are fewer."""

    factory = "orthogonal"
    scale: float = 1.0
    column_axis: int = -1
    layout: Layout | None = None

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread:
        view = self._view(shape)
        return direction(max(view.rows, view.columns), dtype.kind == "c").times(self.scale)

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_key(self.name, key)
        view = self._view(shape)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        check_spread(self.name, self.spread(shape, dtype), dtype)
        wide = dtype if dtype.kind == "c" or dtype == np.float64 else np.dtype(np.float32)
        spec = _Assembly(view, dtype, isinstance(self, DeltaOrthogonal))
        work = sharding.across(out_sharding, spec.stack, (0, 1))
        gaussian = draw.draw(key, laws.NORMAL, spec.stack, wide, 1.0, work)
        spec, scale = spec._replace(sharded=work is not None), wide.type(self.scale)
        if out_sharding is not None or not sharding.is_tracing():
            return sharding.assemble(_kernel, spec, gaussian, scale, out_sharding=out_sharding)
        kernel = sharding.assemble(_kernel, spec, noted(gaussian, {GAUSSIAN: True}), scale)
        how = {"config": self.to_config(), "shape": shape, "dtype": dtype.name}
        return noted(kernel, {ASSEMBLED: how})

    def kernel_of_gaussian(
        self,
        gaussian: Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: sharding.Sharding,
    ) -> Array:
        """The kernel that ``_make`` makes of this Gaussian, in the way of a sharded one.

        Axes of the Gaussian before those of a kernel's are of ``vmap``, and become axes of the
        result. Only the work is sharded here; whoever compiles it says where the result goes.
        """
        spec = _Assembly(self._view(shape), dtype, isinstance(self, DeltaOrthogonal), sharded=True)
        outer = gaussian.ndim - len(spec.stack)
        work = sharding.across(out_sharding, gaussian.shape, range(outer + 2))
        make = partial(_kernel, spec, scale=gaussian.dtype.type(self.scale))
        for _ in range(outer):
            make = jax.vmap(make)
        return make(sharding.place(gaussian, work))

    @property
    def takes_layout(self) -> bool:
        return self.layout is None and self.column_axis == -1

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        columns = _COLUMNS.get((layout.in_axis, layout.out_axis))
        if columns is None or layout.batch_axis or not self.takes_layout:
            return super().fitted(label, layout, kernel)
        return replace(self, column_axis=columns, label=f"{label}: {self.name}")

    def _view(self, shape: tuple[int, ...]) -> MatrixView:
        """The matrices; without a layout one of all axes, those of a window among the rows."""
        if self.layout is not None:
            return matrix_view(self.name, self.layout, shape)
        columns = self._column_axis(shape)
        rows = tuple(axis for axis in range(len(shape)) if axis != columns)
        return matrix_view(self.name, Layout(in_axis=rows, out_axis=columns), shape)

    def _column_axis(self, shape: tuple[int, ...]) -> int:
        check_matrix(self.name, shape)
        rank, columns = len(shape), self.column_axis
        if not -rank <= columns < rank:
            raise ValueError(
                f"{self.name}: column_axis {columns} is out of range for shape {shape}; use "
                f"{-rank} to {rank - 1}."
            )
        return columns % rank


@dataclass(frozen=True, repr=False)
class DeltaOrthogonal(Orthogonal):
    """Orthonormal rows at the centre of the window, zero elsewhere."""

    factory = "delta_orthogonal"

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        return super(Orthogonal, self).fitted(label, layout, kernel)

    def _view(self, shape: tuple[int, ...]) -> MatrixView:
        if self.layout is None:
            self._column_axis(shape)
        view = matrix_view(self.name, self.layout or Layout(), shape)
        if view.rows > view.columns:
            raise ValueError(
                f"{self.name}: shape {shape} has {view.rows} inputs for {view.columns} outputs; "
                f"a map that keeps lengths needs as many outputs as inputs."
            )
        return view


def orthogonal(
    scale: float = 1.0,
    column_axis: int = -1,
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """``scale`` times a matrix with orthonormal columns, or rows where there are fewer of those.

    The matrix is uniformly distributed (by Haar's measure): no rotation is likelier than another.
    Each element has mean 0 and variance scale^2/m, m the larger side, and every singular value is
    ``scale``. It is computed in float32 (in float64, complex64 and complex128 in their own
    precision; a complex one is unitary) and rounded to the dtype once; before that
    |Q^H Q - I| <= 1e-5. The bits are the same eagerly, under jit, vmap, scan and ``materialize`` on
    one machine with one version of JAX. Elsewhere, and sharded over devices, the last bits may
    differ: the order in which the backend adds up matrix products is its own.

    Without a layout all axes but ``column_axis`` together are the rows, as in JAX: the kernel of a
    convolution is one matrix. With a layout, input axes are rows and output axes columns, and every
    place along the window and batch axes, every group and every block has a matrix of its own.

    Args:
      scale: the gain, above 0.
      column_axis: the axis of the columns.
      dtype: the dtype where the call gives none.
      layout: in place of ``column_axis``, what each axis is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is not above 0; at the call, fewer than two axes, an axis out of range, or
        both in and out; a dtype that is not floating or complex, or too narrow.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxinit import initializers
      >>> w = initializers.orthogonal()(jax.random.key(0), (256, 64))
      >>> bool(abs(w.T @ w - jnp.eye(64)).max() < 1e-5)
      True

    Source: Saxe et al. 2014, section 3; drawn as in Stewart 1980.
    """
    return _orthogonal(Orthogonal, scale, column_axis, dtype, layout)


def delta_orthogonal(
    scale: float = 1.0,
    column_axis: int = -1,
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """A convolution with an orthonormal map of channels at the window's centre, zero elsewhere.

    The centre of a window axis of size k is (k - 1)//2, as in JAX. There the kernel is ``scale``
    times a uniformly distributed matrix with orthonormal rows, so a circular convolution keeps
    lengths. It works in any number of dimensions, and by groups and blocks with a layout.

    Args:
      scale: the gain, above 0.
      column_axis: as in JAX; rows and columns of such a matrix have the same distribution.
      dtype: the dtype where the call gives none.
      layout: in place of ``column_axis``, what each axis is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is not above 0; at the call, as for ``orthogonal``, and a shape with more
        inputs than outputs.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.delta_orthogonal()(jax.random.key(0), (3, 3, 8, 16))
      >>> f"{(w[1, 1] ** 2).sum():.3f} {abs(w[0]).max():.3f}"
      '8.000 0.000'

    Source: Xiao et al. 2018, algorithm 1.
    """
    return _orthogonal(DeltaOrthogonal, scale, column_axis, dtype, layout)


def _orthogonal(
    kind: type[Orthogonal], scale: float, column_axis: int, dtype: DType, layout: Layout | None
) -> Initializer:
    name = kind.factory
    checked = check_positive(name, "scale", scale)
    columns = check_int(name, "column_axis", column_axis)
    own_dtype = dtype_name(name, dtype)
    given = layout_options.check_layout(name, layout, column_axis=(columns, -1))
    if given is None:
        return kind(checked, columns, dtype=own_dtype)
    return layout_options.by_block(lambda one: kind(checked, -1, one, dtype=own_dtype), given)

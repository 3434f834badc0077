"""Matrices that are exact: the identity and its kin, and sparse ones.

Every element follows from its own coordinates and, of a sparse one, from the stream: their bits are
the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw, laws
from .._random.draw import OutSharding
from .._random.stream import check_key, fold_in
from . import matrix_view
from .base import (
    DType,
    Initializer,
    as_call,
    check_number,
    check_positive,
    check_range,
    dtype_name,
    refuse_key,
)
from .fans import Axes, Layout
from .matrix_view import View

Array = jax.Array

# Deterministic patterns -------------------------------------------------------------------------


def _identity(row: Array, column: Array, rows: int, columns: int) -> Array:
    return jnp.where(row == column, np.float32(1), np.float32(0))


def _hadamard(row: Array, column: Array, rows: int, columns: int) -> Array:
    """Sylvester's matrix, element (-1)^(common bits of row and column), with unit rows."""
    order = 2 ** math.ceil(math.log2(max(rows, columns, 1)))
    odd = lax.population_count(row & column) & 1
    return jnp.where(odd == 1, np.float32(-1), np.float32(1)) * np.float32(order**-0.5)


def _zer_o(row: Array, column: Array, rows: int, columns: int) -> Array:
    pattern = _hadamard if columns > rows else _identity
    return pattern(row, column, rows, columns)


_PATTERNS: dict[str, Callable[[Array, Array, int, int], Array]] = {
    "identity": _identity,
    "hadamard": _hadamard,
    "zer_o": _zer_o,
}


class _Placed(NamedTuple):
    """A pattern in a kernel, all static."""

    pattern: str
    view: View
    dtype: np.dtype
    shift: tuple[int, ...]


def _patterned_kernel(spec: _Placed, scale: Array) -> Array:
    """Each element from its own coordinates, so that each device makes its own part."""
    view, shape = spec.view, spec.view.shape
    where = [
        (lax.broadcasted_iota(np.int32, shape, axis) - shift) % size
        for axis, (size, shift) in enumerate(zip(shape, spec.shift, strict=True))
    ]

    def flat(axes: Sequence[int]) -> Array:
        index = jnp.zeros(shape, np.int32)
        for axis in axes:
            index = index * shape[axis] + where[axis]
        return index

    row, column = flat(view.roles.in_axis), flat(view.roles.out_axis) % view.columns
    value = _PATTERNS[spec.pattern](row, column, view.rows, view.columns) * scale
    for axis in view.roles.window:
        value = jnp.where(where[axis] == shape[axis] // 2, value, np.float32(0))
    return value.astype(spec.dtype)


@dataclass(frozen=True, repr=False)
class Pattern(Initializer):
    """A matrix whose elements follow from their coordinates, at the window's centre."""

    pattern: str
    scale: float
    shift: int | tuple[int, ...]
    layout: Layout

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_range(self.name, abs(self.scale), dtype)
        view = matrix_view.view(self.name, self.layout, shape)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        spec = _Placed(self.pattern, view, dtype, self._shifts(view))
        wide = np.float64 if dtype in (np.float64, np.complex128) else np.float32
        return draw.assemble(_patterned_kernel, spec, wide(self.scale), out_sharding=out_sharding)

    def _shifts(self, view: View) -> tuple[int, ...]:
        """One for each axis; a lone int shifts the outputs."""
        rank = len(view.shape)
        if isinstance(self.shift, int):
            last = view.roles.out_axis[-1:]
            return tuple(self.shift if axis in last else 0 for axis in range(rank))
        if len(self.shift) != rank:
            raise ValueError(
                f"{self.name}: shift {self.shift} has {len(self.shift)} entries, shape "
                f"{view.shape} has {rank} axes; give one an axis, or one int for the outputs."
            )
        return self.shift


def identity(
    gain: float = 1.0,
    shift: int | Sequence[int] = 0,
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """``gain`` times the identity: output j is input j.

    A rectangular matrix has ones on its main diagonal. A convolution has the identity at its
    window's centre, k//2 along an axis of k, and zeros elsewhere, in each group by itself; a
    batched kernel has it in each place. The key is not used, and the values are exact.

    Args:
      gain: any finite number but 0.
      shift: turns the kernel along its axes, around the ends: one int moves the outputs (output
        j + shift is input j), a tuple has one entry an axis.
      dtype: used where the call gives none.
      layout: the axes by role.

    Raises:
      ValueError: a gain of 0 or not finite; at the call: fewer than two axes, a shift whose length
        is not the rank, a dtype that is not floating or complex.
      TypeError: a shift that is no int or tuple of ints.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.identity(shift=1)(None, (2, 3)).tolist()
      [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Source: Le et al. 2015 (IRNN); for residual nets Bartlett et al. 2018.
    """
    name = "identity"
    moved = _check_shift(name, shift)
    options = {"gain": (gain, 1.0), "shift": (moved, 0)}
    return _pattern(name, "identity", "gain", gain, moved, options, dtype, layout)


def dirac(groups: int = 1, dtype: DType = None, *, layout: Layout | None = None) -> Initializer:
    """A convolution that hands channels through: the identity at the window's centre.

    ``identity`` with the groups of a grouped convolution, whose kernel (*window, in/groups, out)
    then hands the channels of every group through.

    Args:
      groups: the number of groups; divides the outputs.
      dtype: used where the call gives none.
      layout: the axes by role, in place of ``groups``.

    Raises:
      ValueError: groups not a positive int, or given with a layout; at the call as for
        ``identity``, and groups that do not divide the outputs.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.dirac()(None, (3, 1, 2))[:, 0].tolist()
      [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]

    Source: Zagoruyko & Komodakis 2017 (DiracNets).
    """
    name = "dirac"
    refuse_key(name, groups)
    matrix_view.check_layout(name, layout, groups=(groups, 1))
    options = {"groups": (groups, 1)}
    return _pattern(name, "identity", "gain", 1.0, 0, options, dtype, layout, groups)


def hadamard(
    scale: float = 1.0, dtype: DType = None, *, layout: Layout | None = None
) -> Initializer:
    """``scale`` times a corner of Sylvester's Hadamard matrix over the root of its order.

    The order is p, the next power of two from the larger side; each element is scale/sqrt(p) in
    magnitude. Where the larger side is a power of two the shorter side's vectors are orthogonal. In
    a convolution, at the window's centre, as ``identity``. The key is not used.

    Args:
      scale: any finite number but 0.
      dtype: used where the call gives none.
      layout: the axes by role.

    Raises:
      ValueError: as for ``identity``.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.hadamard(2.0)(None, (4, 4))[1].tolist()
      [1.0, -1.0, 1.0, -1.0]

    Source: Sylvester 1867; as weights Zhao et al. 2022, definition 1.
    """
    return _pattern(
        "hadamard", "hadamard", "scale", scale, 0, {"scale": (scale, 1.0)}, dtype, layout
    )


def zer_o(dtype: DType = None, *, layout: Layout | None = None) -> Initializer:
    """ZerO: the identity where outputs are no more than inputs, ``hadamard`` where they are.

    Only zeros and ones (up to the Hadamard matrix's scale), no randomness; made for networks with
    skip connections. We scale by 2^(-m/2), m = ceil(log2 out), as the authors' code does, which
    makes the map an isometry for out = 2^m; the paper's text has 2^(-(m-1)/2). The key is not used.

    Args:
      dtype: used where the call gives none.
      layout: the axes by role.

    Raises:
      ValueError: as for ``identity``.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.zer_o()(None, (1, 4)).tolist()
      [[0.5, 0.5, 0.5, 0.5]]

    Source: Zhao et al. 2022, algorithm 1.
    """
    refuse_key("zer_o", dtype)
    return _pattern("zer_o", "zer_o", "scale", 1.0, 0, {}, dtype, layout)


def _pattern(
    name: str,
    pattern: str,
    option: str,
    scale: float,
    shift: int | tuple[int, ...],
    options: dict[str, tuple[Any, Any]],
    dtype: DType,
    layout: Layout | None,
    groups: int = 1,
) -> Initializer:
    checked = check_number(name, option, scale)
    if checked == 0:
        raise ValueError(f"{name}: {option} must not be 0. For zeros use jaxinit.zeros.")
    matrix_view.check_layout(name, layout)
    call = as_call(name, **options, dtype=(dtype, None), layout=(layout, None))

    def make(layout: Layout) -> Initializer:
        default_dtype = dtype_name(name, dtype)
        return Pattern(pattern, checked, shift, layout, call=call, dtype=default_dtype)

    return matrix_view.by_block(make, layout or Layout.of(name, groups=groups))


def _check_shift(name: str, shift: object) -> int | tuple[int, ...]:
    refuse_key(name, shift)
    if isinstance(shift, int) and not isinstance(shift, bool):
        return shift
    if isinstance(shift, Sequence) and all(type(entry) is int for entry in shift):
        return tuple(shift)
    raise TypeError(f"{name}: shift must be an int or a tuple of ints; got {shift!r}.")


# Sparse -----------------------------------------------------------------------------------------


class _Thinning(NamedTuple):
    view: View
    zeros: int


def _thinned(spec: _Thinning, values: Array, words: Array) -> Array:
    """The values, but zero where the word is among the least ``zeros`` of its output's."""
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

    sparsity: float
    stddev: float
    layout: Layout

    def _make(
        self,
        key: jax.Array,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        check_key(self.name, key)
        check_range(self.name, laws.NORMAL.bound * self.stddev, dtype)
        view = matrix_view.view(self.name, self.layout, shape)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        values = draw.draw(key, laws.NORMAL, shape, dtype, self.stddev, out_sharding)
        words = draw.bits(fold_in(key, 0), shape, out_sharding)
        spec = _Thinning(view, math.ceil(self.sparsity * view.size(view.inputs)))
        return draw.assemble(_thinned, spec, values, words, out_sharding=out_sharding)


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
    """Each output has ceil(sparsity * n) of its n inputs exactly zero, the others normal.

    Which ones is uniformly random, and independent from output to output; the values are those of
    ``normal(stddev)`` at the same key. Variance (1 - sparsity) stddev^2. As Martens has it, the
    limit is on what comes *in* to a unit; torch's ``sparse_``, on (out, in) weights, limits what
    goes *out* of one: that is ``sparse(s, in_axis=-1, out_axis=-2)`` here.

    Args:
      sparsity: at least 0, below 1.
      stddev: of the values that are not zero, above 0.
      in_axis, out_axis, batch_axis: axes by role; the window's inputs count too.
      dtype: used where the call gives none.
      layout: the axes by role, in place of the three.

    Raises:
      ValueError: sparsity outside [0, 1), stddev not above 0; at the call as for ``orthogonal``.

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
    axes = {
        "in_axis": (in_axis, -2),
        "out_axis": (out_axis, -1),
        "batch_axis": (batch_axis, ()),
    }
    matrix_view.check_layout(name, layout, **axes)
    options = {"stddev": (std, 1e-2), **axes, "dtype": (dtype, None), "layout": (layout, None)}
    call = as_call(name, share, **options)

    def make(layout: Layout) -> Initializer:
        return Sparse(share, std, layout, call=call, dtype=dtype_name(name, dtype))

    return matrix_view.by_block(make, layout or Layout.of(name, in_axis, out_axis, batch_axis))

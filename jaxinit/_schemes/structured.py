"""Matrices that are not random: the identity, Dirac and Hadamard matrices, ZerO.

Every element follows from its own coordinates, so each device makes its own part, and the bits are
the same everywhere.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._random import draw, sharding
from .._random.sharding import OutSharding
from .._random.spread import POINT, Spread
from . import layout_options
from .base import Initializer
from .checks import (
    DType,
    check_axes,
    check_count,
    check_dtype,
    check_held,
    check_inexact,
    check_nonzero,
    dtype_name,
    is_sequence,
    refuse_key,
    shown,
)
from .fans import DENSE, Layout
from .matrix_view import MatrixView, matrix_view
from .ranges import check_spread

Array = jax.Array

Element = Callable[[Array, Array], Array]  # -1, 0 or 1, of row and column


def _identity(row: Array, column: Array) -> Array:
    return jnp.where(row == column, np.float32(1), np.float32(0))


def _hadamard(row: Array, column: Array) -> Array:
    """Sylvester's matrix: element (-1)^(common bits of row and column)."""
    odd = lax.population_count(row & column) & 1
    return jnp.where(odd == 1, np.float32(-1), np.float32(1))


def _unit_rows(view: MatrixView) -> float:
    """What gives unit rows to the least Hadamard matrix that is no smaller than the view's."""
    order = 2 ** math.ceil(math.log2(max(view.rows, view.columns, 1)))
    return order**-0.5


class _Placed(NamedTuple):
    """A matrix in a kernel; all of it is static."""

    element: Element
    view: MatrixView
    dtype: np.dtype
    shift: tuple[int, ...]


def _patterned_kernel(spec: _Placed, scale: Array) -> Array:
    """The kernel, each element computed from its own coordinates."""
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
    value = spec.element(row, column).astype(scale.dtype) * scale
    for axis in view.roles.window:
        value = jnp.where(where[axis] == shape[axis] // 2, value, jnp.zeros((), value.dtype))
    return value.astype(spec.dtype)


class Pattern(Initializer):
    """A matrix whose elements follow from their coordinates, at the centre of the window."""

    layout: Layout

    @abstractmethod
    def element(self, view: MatrixView) -> Element:
        """The element at a row and a column."""

    @abstractmethod
    def factors(self, view: MatrixView) -> tuple[float, ...]:
        """What every element is multiplied by; each is rounded to the computing dtype first."""

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread:
        view = matrix_view(self.name, self.layout, shape)
        return POINT.times(math.prod(self.factors(view)))

    def _shifts(self, view: MatrixView) -> tuple[int, ...]:
        """By how much the kernel is turned along each of its axes."""
        return (0,) * len(view.shape)

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        view = matrix_view(self.name, self.layout, shape)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        if jnp.issubdtype(dtype, jnp.inexact):
            check_spread(self.name, self.spread(shape, dtype), dtype)
        spec = _Placed(self.element(view), view, dtype, self._shifts(view))
        wide = np.float64 if dtype in (np.float64, np.complex128) else np.float32
        scale = math.prod(map(wide, self.factors(view)), start=wide(1))
        return sharding.assemble(_patterned_kernel, spec, scale, out_sharding=out_sharding)


@dataclass(frozen=True, repr=False)
class Identity(Pattern):
    """A multiple of the identity, turned along its axes."""

    factory = "identity"
    gain: float = 1.0
    shift: int | tuple[int, ...] = 0
    layout: Layout = DENSE

    def element(self, view: MatrixView) -> Element:
        return _identity

    def factors(self, view: MatrixView) -> tuple[float, ...]:
        return (self.gain,)

    def _dtype(self, dtype: DType) -> np.dtype:
        """The dtype; one of integers too, if it holds the gain."""
        checked = check_dtype(self.name, dtype, self.dtype)
        if not jnp.issubdtype(checked, jnp.integer):
            return check_inexact(self.name, checked)
        check_held(self.name, "gain", self.gain, checked)
        return checked

    def _shifts(self, view: MatrixView) -> tuple[int, ...]:
        """One for each axis; a single int shifts the outputs."""
        rank = len(view.shape)
        shifts = self.shift
        if isinstance(shifts, int):
            last = view.roles.out_axis[-1:]
            shifts = tuple(shifts if axis in last else 0 for axis in range(rank))
        if len(shifts) != rank:
            raise ValueError(
                f"{self.name}: shift {shown(shifts)} has {len(shifts)} entries, shape "
                f"{view.shape} has {rank} axes; give one an axis, or one int for the outputs."
            )
        return tuple(shift % size for shift, size in zip(shifts, view.shape, strict=True))


@dataclass(frozen=True, repr=False)
class Hadamard(Pattern):
    """A multiple of a corner of the orthonormal Hadamard matrix."""

    factory = "hadamard"
    scale: float = 1.0
    layout: Layout = DENSE

    def element(self, view: MatrixView) -> Element:
        return _hadamard

    def factors(self, view: MatrixView) -> tuple[float, ...]:
        return _unit_rows(view), self.scale


@dataclass(frozen=True, repr=False)
class ZerO(Pattern):
    """The identity, or a Hadamard matrix where there are more outputs than inputs."""

    factory = "zer_o"
    layout: Layout = DENSE

    def element(self, view: MatrixView) -> Element:
        return _hadamard if view.columns > view.rows else _identity

    def factors(self, view: MatrixView) -> tuple[float, ...]:
        return (_unit_rows(view),) if view.columns > view.rows else ()


def identity(
    gain: float = 1.0,
    shift: int | Sequence[int] = 0,
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """``gain`` times the identity: output j is input j.

    A rectangular matrix has ones on its main diagonal. A convolution has the identity at the centre
    of its window, k//2 along an axis of size k, and zeros elsewhere, in each group by itself; a
    batched kernel has it in each place. The key is not used, and the values are exact.

    Args:
      gain: any finite number but 0.
      shift: turns the kernel along its axes, around the ends. One int moves the outputs, so that
        output j + shift is input j; a tuple has one entry for each axis.
      dtype: the dtype where the call gives none.
      layout: what each axis is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: gain is 0 or not finite; at the call, fewer than two axes, a shift whose length
        is not the number of axes, an integer dtype that does not hold gain, a bool dtype.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.identity(shift=1)(jax.random.key(0), (2, 3)).tolist()
      [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Source: Le et al. 2015 (IRNN); for residual networks Bartlett et al. 2018.
    """
    return _identity_of("identity", gain, shift, dtype, layout)


def dirac(groups: int = 1, dtype: DType = None, *, layout: Layout | None = None) -> Initializer:
    """A convolution that hands channels through: the identity at the centre of the window.

    It is ``identity`` with the groups of a grouped convolution, whose kernel
    (*window, in/groups, out) then hands the channels of every group through. The key is not used.

    Args:
      groups: the number of groups; it divides the outputs.
      dtype: the dtype where the call gives none.
      layout: in place of ``groups``, what each axis is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: groups is not a positive int, or given with a layout; at the call, as for
        ``identity``, and groups that do not divide the outputs.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.dirac()(jax.random.key(0), (3, 1, 2))[:, 0].tolist()
      [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]

    Source: Zagoruyko & Komodakis 2017 (DiracNets).
    """
    refuse_key("dirac", groups)
    count = check_count("dirac", "groups", groups)
    given = layout_options.check_layout("dirac", layout, groups=(count, 1))
    return _identity_of("dirac", 1.0, 0, dtype, given or Layout(groups=count))


def hadamard(
    scale: float = 1.0, dtype: DType = None, *, layout: Layout | None = None
) -> Initializer:
    """``scale`` times a corner of Sylvester's Hadamard matrix, divided by the root of its order.

    The order p is the next power of two from the larger side on, and each element is
    scale/sqrt(p) in magnitude. Where the larger side is a power of two, the vectors along the
    shorter side are orthogonal. In a convolution it stands at the centre of the window, as
    ``identity`` does. The key is not used.

    Args:
      scale: any finite number but 0.
      dtype: the dtype where the call gives none.
      layout: what each axis is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is 0 or not finite; at the call, fewer than two axes, a dtype that is not
        floating or complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.hadamard(2.0)(jax.random.key(0), (4, 4))[1].tolist()
      [1.0, -1.0, 1.0, -1.0]

    Source: Sylvester 1867; as weights Zhao et al. 2022, definition 1.
    """
    checked, own = check_nonzero("hadamard", "scale", scale), dtype_name("hadamard", dtype)
    given = layout_options.check_layout("hadamard", layout) or Layout()
    return layout_options.by_block(lambda one: Hadamard(checked, one, dtype=own), given)


def zer_o(dtype: DType = None, *, layout: Layout | None = None) -> Initializer:
    """ZerO: the identity, or ``hadamard`` where there are more outputs than inputs.

    Only zeros and ones (up to the scale of the Hadamard matrix) and no randomness; it was made for
    networks with skip connections. The scale is 2^(-m/2), m = ceil(log2 out), as in the authors'
    code, which makes the map an isometry where out = 2^m; the paper's text has 2^(-(m-1)/2). The
    key is not used.

    Args:
      dtype: the dtype where the call gives none.
      layout: what each axis is; see ``jaxinit.layouts``.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: at the call, fewer than two axes, a dtype that is not floating or complex.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.zer_o()(jax.random.key(0), (1, 4)).tolist()
      [[0.5, 0.5, 0.5, 0.5]]

    Source: Zhao et al. 2022, algorithm 1.
    """
    own = dtype_name("zer_o", dtype)
    given = layout_options.check_layout("zer_o", layout) or Layout()
    return layout_options.by_block(lambda one: ZerO(one, dtype=own), given)


def _identity_of(
    name: str, gain: float, shift: int | Sequence[int], dtype: DType, layout: Layout | None
) -> Initializer:
    checked, own = check_nonzero(name, "gain", gain), dtype_name(name, dtype)
    moved = _check_shift(name, shift)
    given = layout_options.check_layout(name, layout) or Layout()
    return layout_options.by_block(
        lambda one: Identity(checked, moved, one, dtype=own, label=name), given
    )


def _check_shift(name: str, shift: int | Sequence[int]) -> int | tuple[int, ...]:
    checked = check_axes(name, "shift", shift)
    return checked if is_sequence(shift) else checked[0]

"""A kernel of any shape, seen as a stack of matrices by the roles of its axes.

The kernel (3, 3, 8, 16) of a convolution is nine matrices of 8 inputs by 16 outputs, one for each
place of the window. With two groups it is eighteen, of 8 inputs by 8 outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from .fans import DENSE, Layout, Roles


class MatrixView(NamedTuple):
    """A kernel seen as matrices of rows (inputs) by columns (outputs), one for each place."""

    shape: tuple[int, ...]
    roles: Roles
    groups: int

    def size(self, axes: Sequence[int]) -> int:
        """How many elements along these axes."""
        return math.prod(self.shape[axis] for axis in axes)

    @property
    def rows(self) -> int:
        """The number of inputs."""
        return self.size(self.roles.in_axis)

    @property
    def columns(self) -> int:
        """The number of outputs of one group."""
        return self.size(self.roles.out_axis) // self.groups

    @property
    def inputs(self) -> tuple[int, ...]:
        """The axes that one output sums over."""
        return (*self.roles.window, *self.roles.in_axis)

    @property
    def places(self) -> tuple[int, ...]:
        """The axes along which there are several matrices."""
        return tuple(sorted((*self.roles.batch_axis, *self.roles.window)))

    def kernel(self, stack: jax.Array, places: Sequence[int]) -> jax.Array:
        """The kernel that a stack makes, whose axes are (places and groups, rows, columns).

        The places come in the order of ``places``; axes that are neither places nor of a matrix
        get the size 1.
        """
        matrix = (*self.roles.in_axis, *self.roles.out_axis)
        rest = tuple(a for a in range(len(self.shape)) if a not in (*places, *matrix))
        order = (*places, *rest, *matrix)
        sizes = [1 if axis in rest else self.shape[axis] for axis in order]
        grouped = stack.reshape(-1, self.groups, self.rows, self.columns).swapaxes(1, 2)
        return grouped.reshape(sizes).transpose(np.argsort(order))


def check_matrix(name: str, shape: tuple[int, ...]) -> None:
    """Raises where a shape has too few axes for a matrix."""
    if len(shape) < 2:
        raise ValueError(
            f"{name}: shape {shape} is no matrix; it needs at least two axes. For a bias use "
            f"jaxinit.zeros."
        )


def matrix_view(name: str, layout: Layout, shape: tuple[int, ...]) -> MatrixView:
    """The view of a kernel by a layout, in which each axis has one role."""
    if layout == DENSE:
        check_matrix(name, shape)
    layout.fans(shape, name)
    roles = layout.roles(shape, name)
    both = set(roles.in_axis) & set(roles.out_axis)
    if both:
        raise ValueError(
            f"{name}: axis {min(both)} of shape {shape} is both an in and an out axis; a matrix "
            f"needs rows and columns."
        )
    return MatrixView(shape, roles, layout.groups)

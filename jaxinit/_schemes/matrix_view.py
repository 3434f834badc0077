"""Views: a kernel of any shape as a stack of matrices, by the roles of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from .base import Initializer
from .blocks import Blocks
from .fans import Layout, Roles


class View(NamedTuple):
    """A kernel seen as matrices of rows (inputs) by columns (outputs), one for each place."""

    shape: tuple[int, ...]
    roles: Roles
    groups: int

    def size(self, axes: Sequence[int]) -> int:
        """How many elements along these axes."""
        return math.prod(self.shape[axis] for axis in axes)

    @property
    def rows(self) -> int:
        """The inputs."""
        return self.size(self.roles.in_axis)

    @property
    def columns(self) -> int:
        """The outputs of one group."""
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
        """The kernel of a stack, (places and groups, rows, columns), in the order of ``places``.

        Axes that are neither places nor of a matrix get the size 1.
        """
        matrix = (*self.roles.in_axis, *self.roles.out_axis)
        rest = tuple(a for a in range(len(self.shape)) if a not in (*places, *matrix))
        order = (*places, *rest, *matrix)
        sizes = [1 if axis in rest else self.shape[axis] for axis in order]
        grouped = stack.reshape(-1, self.groups, self.rows, self.columns).swapaxes(1, 2)
        return grouped.reshape(sizes).transpose(np.argsort(order))


def view(name: str, layout: Layout, shape: tuple[int, ...]) -> View:
    """The view by a layout; an axis has one role here, and groups divide the outputs."""
    layout.fans(shape, name)
    roles = layout.roles(shape, name)
    both = set(roles.in_axis) & set(roles.out_axis)
    if both:
        raise ValueError(
            f"{name}: axis {min(both)} of shape {shape} is both an in and an out axis; a matrix "
            f"needs rows and columns."
        )
    return View(shape, roles, layout.groups)


def by_block(make: Callable[[Layout], Initializer], layout: Layout) -> Initializer:
    """The initializer of a layout; where it has blocks, one for each."""
    one = make(layout.block)
    if layout.blocks == 1:
        return one
    return Blocks((one,), layout.blocks, layout.block_axis, call=one.call, dtype=one.dtype)


def check_layout(name: str, given: Layout | None, **others: tuple[object, object]) -> Layout | None:
    """The layout, if one is given, and then alone; ``others`` are (value, default)."""
    if given is None:
        return None
    if not isinstance(given, Layout):
        raise TypeError(
            f"{name}: layout must be a jaxinit.Layout, as jaxinit.layouts makes; got {given!r}."
        )
    also = [option for option, (value, default) in others.items() if value != default]
    if also:
        raise ValueError(
            f"{name}: layout already says what each axis is; leave out {', '.join(also)}, "
            f"or the layout."
        )
    return given

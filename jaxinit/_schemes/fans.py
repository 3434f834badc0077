"""The fans of a kernel: how many inputs one output sums, and how many outputs one input reaches.

The kernel (3, 3, 64, 128) of a convolution has the receptive field 3 x 3, 64 inputs and 128
outputs, so fan_in = 3 * 3 * 64 = 576 and fan_out = 3 * 3 * 128 = 1152. Which axis is which depends
on the layer: a kernel's axes are *in* axes (summed over), *out* axes (kept), *batch* axes (along
which independent kernels lie) and, all the others, *window* axes (the receptive field).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from .arguments import check_shape
from .checks import (
    check_axes,
    check_count,
    check_counts,
    check_int,
    is_sequence,
    shown,
)

Axes = int | Sequence[int]

_ROLES = ("in_axis", "out_axis", "batch_axis")


class Fans(NamedTuple):
    """How many inputs one output sums, and how many outputs one input reaches."""

    fan_in: float
    fan_out: float


class Roles(NamedTuple):
    """The axes of one kernel by role, as positions from the front."""

    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...]
    window: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Layout:
    """What each axis of a layer's kernel is; every axis that is not named is part of the window.

    Initializers that count fans take one as ``layout=``; ``jaxinit.layouts`` makes them from what
    a layer is.

    Attributes:
      in_axis: the input axis, or a tuple of them; negative ones are counted from the end.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie.
      groups: the number of groups of a grouped convolution, whose kernel holds the inputs of one
        group and the outputs of all.
      in_stride: the product of a transposed convolution's strides: each output sees 1/in_stride of
        the kernel, so fan_in is divided by it.
      out_stride: the product of a convolution's strides: each input reaches 1/out_stride of the
        kernel, so fan_out is divided by it.
      in_repeat: how many times one output sums what the axes say, as in an einsum that also sums
        over an axis that the kernel does not have; fan_in is multiplied by it.
      out_repeat: how many times one input is used, as where an input axis holds the flattened
        patches of a local convolution; fan_out is multiplied by it.
      blocks: several kernels fused side by side along ``block_axis``: how many equal ones, or
        their sizes. Fans are those of one block (of unequal blocks, the mean), and an initializer
        draws each block by itself.
      block_axis: the axis along which the blocks lie.

    Raises:
      TypeError: axes that are not ints.
      ValueError: counts that are not positive.

    Example:
      >>> import jaxinit
      >>> jaxinit.Layout(blocks=4).fans((256, 1024))
      Fans(fan_in=256.0, fan_out=256.0)
    """

    in_axis: Axes = (-2,)
    out_axis: Axes = (-1,)
    batch_axis: Axes = ()
    groups: int = 1
    in_stride: int = 1
    out_stride: int = 1
    in_repeat: int = 1
    out_repeat: int = 1
    blocks: int | Sequence[int] = 1
    block_axis: int = -1

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            role: check_axes("Layout", role, getattr(self, role)) for role in _ROLES
        }
        for option in ("groups", "in_stride", "out_stride", "in_repeat", "out_repeat"):
            checked[option] = check_count("Layout", option, getattr(self, option))
        checked["blocks"] = check_blocks("Layout", "blocks", self.blocks)
        checked["block_axis"] = check_int("Layout", "block_axis", self.block_axis)
        for option, value in checked.items():
            object.__setattr__(self, option, value)

    def __repr__(self) -> str:
        return f"Layout({', '.join(f'{name}={value!r}' for name, value in self.given().items())})"

    def given(self) -> dict[str, Any]:
        """The fields that differ from those of a dense layer."""
        found = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        return {name: value for name, value, default in found if value != default}

    @staticmethod
    def of(
        name: str, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), groups: int = 1
    ) -> Layout:
        """A layout from ints or tuples; errors name the call ``name``."""
        return Layout(
            check_axes(name, "in_axis", in_axis),
            check_axes(name, "out_axis", out_axis),
            check_axes(name, "batch_axis", batch_axis),
            check_count(name, "groups", groups),
        )

    @property
    def block(self) -> Layout:
        """The layout of one block."""
        if (self.blocks, self.block_axis) == (1, -1):
            return self
        return replace(self, blocks=1, block_axis=-1)

    def fans(self, shape: Sequence[int], name: str = "fans") -> Fans:
        """The fans of a kernel of ``shape``; errors name the call ``name``."""
        shapes = block_shapes(name, check_shape(name, shape), self.blocks, self.block_axis)
        found = [self._fans(block, name) for block in set(shapes)]
        if len(found) == 1:
            return found[0]
        each = [self._fans(block, name) for block in shapes]
        return Fans(*(math.fsum(fan) / len(each) for fan in zip(*each, strict=True)))

    def roles(self, shape: Sequence[int], name: str = "Layout") -> Roles:
        """The role of each axis of a kernel of ``shape``."""
        sizes = check_shape(name, shape)
        into, out, batch = (_positions(name, role, getattr(self, role), sizes) for role in _ROLES)
        both = set(batch) & {*into, *out}
        if both:
            raise ValueError(
                f"{name}: axis {min(both)} of shape {tuple(shape)} is a batch axis and also an "
                f"in or out axis; give each axis one role."
            )
        window = tuple(a for a in range(len(shape)) if a not in {*into, *out, *batch})
        return Roles(into, out, batch, window)

    def _fans(self, shape: Sequence[int], name: str) -> Fans:
        """The fans of one block."""
        roles = self.roles(shape, name)
        size_in, size_out, size_batch = (
            math.prod(shape[axis] for axis in role) for role in roles[:3]
        )
        if size_out % self.groups:
            raise ValueError(
                f"{name}: groups={self.groups} does not divide the {size_out} outputs of shape "
                f"{tuple(shape)}."
            )
        if math.prod(shape) == 0:
            return Fans(0.0, 0.0)
        # As in JAX, an axis that is both in and out (Flax's Embed) divides the window twice.
        window = math.prod(shape) / (size_in * size_out * size_batch)
        return Fans(
            size_in * window * self.in_repeat / self.in_stride,
            size_out * window * self.out_repeat / self.groups / self.out_stride,
        )


def check_blocks(name: str, option: str, value: int | Sequence[int]) -> int | tuple[int, ...]:
    """The option as a number of equal blocks, or as the size of each block."""
    if is_sequence(value) and value:  # type: ignore[truthy-function]
        return check_counts(name, option, value)
    try:
        return check_count(name, option, value)
    except ValueError:
        raise ValueError(
            f"{name}: {option} must be a number of equal blocks or a tuple of their sizes; "
            f"got {shown(value)}."
        ) from None


DENSE = Layout()  # of a dense layer, whose kernel is (in, out)


def block_shapes(
    name: str, shape: Sequence[int], blocks: int | Sequence[int], axis: int
) -> list[tuple[int, ...]]:
    """The shape of each block along ``axis``."""
    rank = len(shape)
    if blocks == 1:
        return [tuple(shape)]
    if not -rank <= axis < rank:
        raise ValueError(f"{name}: shape {tuple(shape)} has no axis {axis} to divide into blocks.")
    axis, whole = axis % rank, shape[axis]
    if isinstance(blocks, int) and whole == 0:
        return [tuple(shape)]  # however many there are, they are empty
    if isinstance(blocks, int):
        if whole % blocks:
            raise ValueError(
                f"{name}: {blocks} equal blocks do not divide axis {axis} of shape {tuple(shape)}; "
                f"give the sizes of the blocks."
            )
        blocks = (whole // blocks,) * blocks
    if sum(blocks) != whole:
        raise ValueError(
            f"{name}: blocks of sizes {tuple(blocks)} fill {sum(blocks)} of axis {axis} of shape "
            f"{tuple(shape)}; they must fill it."
        )
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in blocks]


def _positions(
    name: str, role: str, given: tuple[int, ...], shape: Sequence[int]
) -> tuple[int, ...]:
    """The axes as positions from the front, checked against the shape."""
    rank = len(shape)
    for axis in given:
        if rank < 2 and not -rank <= axis < rank:
            kind = {"in_axis": "input", "out_axis": "output", "batch_axis": "batch"}[role]
            raise ValueError(
                f"{name}: shape {tuple(shape)} has no {kind} axis {axis}; fans need at least two "
                f"axes. For a bias use jaxinit.zeros, or name the axes: "
                f"{name}(..., in_axis=0, out_axis=())."
            )
        if not -rank <= axis < rank:
            raise ValueError(
                f"{name}: {role} {axis} is out of range for shape {tuple(shape)}; "
                f"use {-rank} to {rank - 1}."
            )
    places = tuple(axis % rank for axis in given)
    if len(set(places)) < len(places):
        raise ValueError(
            f"{name}: {role} {given} names an axis of shape {tuple(shape)} twice; name it once."
        )
    return places


def fans(
    shape: Sequence[int],
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    groups: int = 1,
) -> Fans:
    """The fan_in and fan_out of a kernel.

    Every axis that is not an input, output or batch axis belongs to the window, whose size
    multiplies both fans. In a grouped convolution, whose kernel is ``(*window, in/groups, out)``,
    one input reaches ``out/groups`` outputs. A layout of ``jaxinit.layouts`` counts the fans of its
    layer: ``layouts.conv_transpose(strides=2).fans(shape)``.

    Args:
      shape: the shape of the kernel.
      in_axis: the input axis, or a tuple of them; negative ones are counted from the end.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie.
      groups: the number of groups of a grouped convolution; it divides the outputs.

    Returns:
      Fans(fan_in, fan_out), two floats.

    Raises:
      TypeError: axes that are not ints.
      ValueError: fewer than two axes, an axis out of range, repeated within one role, or both
        batch and in or out; groups that do not divide the outputs.

    Example:
      >>> import jaxinit
      >>> jaxinit.fans((3, 3, 64, 128))
      Fans(fan_in=576.0, fan_out=1152.0)
      >>> jaxinit.fans((3, 3, 1, 256), groups=256)
      Fans(fan_in=9.0, fan_out=9.0)

    Source: Glorot & Bengio 2010, section 4.2.1; He et al. 2015, section 2.2, for convolutions.
    """
    return Layout.of("fans", in_axis, out_axis, batch_axis, groups).fans(shape)

"""Fans: the axes of a kernel by role, and how many terms meet in one output.

A kernel's axes are *in* axes (summed over), *out* axes (kept), *batch* axes (independent kernels
side by side) and, all the rest, *window* axes (the receptive field of a convolution).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields, replace
from typing import Any, NamedTuple

Axes = int | Sequence[int]


class Fans(NamedTuple):
    """How many kernel terms one output sums, and how many outputs one input reaches."""

    fan_in: float
    fan_out: float


class Roles(NamedTuple):
    """The axes of one kernel, counted from the front, by role."""

    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...]
    window: tuple[int, ...]


def axes(name: str, role: str, value: Axes) -> tuple[int, ...]:
    """One axis or several as a tuple of ints."""
    try:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(operator.index(axis) for axis in value)
        return (operator.index(value),)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{name}: {role} must be an int or a tuple of ints; got {value!r}."
        ) from None


def check_count(name: str, option: str, value: object) -> int:
    """The option as an int of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: {option} must be a positive int; got {value!r}.")
    return value


@dataclass(frozen=True, repr=False)
class Layout:
    """The axes of a layer's kernel by role; every axis not named is part of the window.

    Every variance-scaling initializer takes one as ``layout=``.

    Attributes:
      in_axis, out_axis, batch_axis: an axis or a tuple of them, negative ones counted from the end.
      groups: the number of groups of a grouped convolution, whose kernel holds the inputs of one
        group and the outputs of all.
      in_stride: how many phases a transposed convolution's stride divides the window into: one
        output meets one phase of it, so fan_in is divided by this.
      out_stride: the same of a strided convolution for fan_out.
      in_repeat: how many times one output sums what the axes say, as an einsum that also sums over
        an axis the kernel does not have; multiplies fan_in.
      out_repeat: how many times one input is met, as where an in axis holds the flattened patches
        of a local convolution; multiplies fan_out.
      blocks: several kernels fused side by side along ``block_axis``: how many equal ones, or
        their sizes. Fans are those of a block (of unequal blocks, the mean), and an initializer
        draws each block apart.

    Raises:
      TypeError, ValueError: axes that are no ints, counts that are not positive.

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
        for role in ("in_axis", "out_axis", "batch_axis"):
            object.__setattr__(self, role, axes("Layout", role, getattr(self, role)))
        for option in ("groups", "in_stride", "out_stride", "in_repeat", "out_repeat"):
            check_count("Layout", option, getattr(self, option))
        object.__setattr__(self, "blocks", check_blocks("Layout", "blocks", self.blocks))

    def __repr__(self) -> str:
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if self._has(f))
        return f"Layout({', '.join(given)})"

    def _has(self, field: Field[Any]) -> bool:
        return getattr(self, field.name) != field.default

    @staticmethod
    def of(
        name: str, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), groups: int = 1
    ) -> Layout:
        """A layout from ints or tuples; ``name`` is the call to name in an error."""
        return Layout(
            axes(name, "in_axis", in_axis),
            axes(name, "out_axis", out_axis),
            axes(name, "batch_axis", batch_axis),
            check_count(name, "groups", groups),
        )

    @property
    def block(self) -> Layout:
        """The layout of one block."""
        return replace(self, blocks=1, block_axis=-1)

    def fans(self, shape: Sequence[int], name: str = "fans") -> Fans:
        """The fans of a kernel of ``shape``; ``name`` is the call to name in an error."""
        shapes = block_shapes(name, shape, self.blocks, self.block_axis)
        found = [self._fans(block, name) for block in set(shapes)]
        if len(found) == 1:
            return found[0]
        each = [self._fans(block, name) for block in shapes]
        return Fans(*(math.fsum(fan) / len(each) for fan in zip(*each, strict=True)))

    def roles(self, shape: Sequence[int], name: str = "Layout") -> Roles:
        """Each axis of a kernel of ``shape``, counted from the front, by role."""
        into, out, batch = (
            _positions(name, role, axes(name, role, getattr(self, role)), shape)
            for role in ("in_axis", "out_axis", "batch_axis")
        )
        both = set(batch) & {*into, *out}
        if both:
            raise ValueError(
                f"{name}: axis {min(both)} of shape {tuple(shape)} is a batch axis and also an "
                f"in or out axis; give each axis one role."
            )
        window = tuple(a for a in range(len(shape)) if a not in {*into, *out, *batch})
        return Roles(into, out, batch, window)

    def _fans(self, shape: Sequence[int], name: str) -> Fans:
        """Of one block."""
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
        # As JAX has it: an axis that is both in and out (Flax's Embed) counts twice below.
        window = math.prod(shape) / (size_in * size_out * size_batch)
        return Fans(
            size_in * window * self.in_repeat / self.in_stride,
            size_out * window * self.out_repeat / self.groups / self.out_stride,
        )


def check_blocks(name: str, option: str, value: int | Sequence[int]) -> int | tuple[int, ...]:
    """How many equal blocks, or the size of each."""
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return tuple(check_count(name, f"each of {option}", size) for size in value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(
        f"{name}: {option} must be a number of equal blocks or a tuple of their sizes; "
        f"got {value!r}."
    )


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
    """The axes as places from the front, checked against the shape."""
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
    """The fan-in and fan-out of a kernel.

    Every axis that is not an in, out or batch axis belongs to the window, whose size multiplies
    both fans. For a grouped convolution (kernel ``(*window, in/groups, out)``) one input reaches
    ``out/groups`` outputs.

    Args:
      shape: the kernel's shape.
      in_axis, out_axis, batch_axis: an axis or a tuple of them, negative or not.
      groups: the convolution's number of groups; divides the outputs.

    Returns:
      Fans(fan_in, fan_out), floats.

    Raises:
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

"""Fans: the axes of a kernel by role, and how many terms meet in one output.

A kernel's axes are *in* axes (summed over), *out* axes (kept), *batch* axes (independent kernels
side by side) and, all the rest, *window* axes (the receptive field of a convolution).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Axes = int | Sequence[int]


class Fans(NamedTuple):
    """How many kernel terms one output sums, and how many outputs one input reaches."""

    fan_in: float
    fan_out: float


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


@dataclass(frozen=True)
class Layout:
    """The axes of a layer's kernel by role; every axis not named is part of the window.

    Attributes:
      in_axis, out_axis, batch_axis: axes, negative ones counted from the end.
      groups: the number of groups of a grouped convolution, whose kernel holds the inputs of one
        group and the outputs of all.
      in_stride: how many phases a transposed convolution's stride divides the window into: one
        output meets one phase of it, so fan_in is divided by this.
      out_stride: the same of a strided convolution for fan_out.
    """

    in_axis: tuple[int, ...] = (-2,)
    out_axis: tuple[int, ...] = (-1,)
    batch_axis: tuple[int, ...] = ()
    groups: int = 1
    in_stride: int = 1
    out_stride: int = 1

    @staticmethod
    def of(
        name: str, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), groups: int = 1
    ) -> Layout:
        """A layout from ints or tuples; ``name`` is the call to name in an error."""
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise ValueError(f"{name}: groups must be a positive int; got {groups!r}.")
        return Layout(
            axes(name, "in_axis", in_axis),
            axes(name, "out_axis", out_axis),
            axes(name, "batch_axis", batch_axis),
            groups,
        )

    def fans(self, shape: Sequence[int], name: str = "fans") -> Fans:
        """The fans of a kernel of ``shape``; ``name`` is the call to name in an error."""
        roles = {
            role: _positions(name, role, getattr(self, role), shape)
            for role in ("in_axis", "out_axis", "batch_axis")
        }
        both = set(roles["batch_axis"]) & {*roles["in_axis"], *roles["out_axis"]}
        if both:
            raise ValueError(
                f"{name}: axis {min(both)} of shape {tuple(shape)} is a batch axis and also an "
                f"in or out axis; give each axis one role."
            )
        size_in, size_out, size_batch = (
            math.prod(shape[axis] for axis in roles[role]) for role in roles
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
            size_in * window / self.in_stride,
            size_out * window / self.groups / self.out_stride,
        )


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

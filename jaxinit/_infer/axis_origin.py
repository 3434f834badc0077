"""Tracks which axis of the source each axis of an array comes from.

An operation that only moves numbers (reshape, transpose, slice, concatenate, ...) is described by
what it does to axes. Each axis is a tuple of *digits*, as in a number of mixed radix::

    w                  (6, 4)     axis 0: all of source axis 0;  axis 1: all of source axis 1
    reshape            (2, 3, 4)  axis 0 is split in two digits: stride 3 of size 2 for the first
                                  new axis, stride 1 of size 3 for the second
    transpose(2, 0, 1) (4, 2, 3)  the digits are permuted with their axes
    reshape            (4, 6)     the two digits are merged: this is source axis 0 again

A slice keeps some places of the leading digit, which is noted as a ``Selection``. Where the origin
of an axis cannot be written in this way, its digit has axis -1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op


class Digit(NamedTuple):
    """A part of the source's axis ``axis``: ``size`` steps of ``stride``, from step ``start`` on.

    Axis -1 means that the origin is not known.
    """

    axis: int
    stride: int
    size: int
    start: int = 0


class Selection(NamedTuple):
    """A slice ``start:stop:step`` on the way, of the digit ``stride`` of axis ``axis``.

    Axis -1 means an axis whose origin is not known, which is sliced along its places.
    """

    axis: int
    stride: int
    start: int
    stop: int
    step: int = 1


@dataclass(frozen=True)
class Axis:
    """One axis: its digits, leading digit first, fill the places from ``offset`` on.

    The other places of its ``size`` come from elsewhere, as after a concatenation or padding.
    """

    digits: tuple[Digit, ...]
    size: int
    offset: int = 0

    @property
    def extent(self) -> int:
        """How many places of the axis the digits fill."""
        return math.prod(digit.size for digit in self.digits)

    @property
    def is_whole(self) -> bool:
        """Whether the digits fill the axis."""
        return self.extent == self.size

    @property
    def is_origin(self) -> bool:
        """Whether any part of the axis comes from the source."""
        return any(digit.axis >= 0 for digit in self.digits)


@dataclass(frozen=True)
class AxisOrigins:
    """The origin of every axis of an array, and what was selected of the source on the way."""

    axes: tuple[Axis, ...]
    selected: tuple[Selection, ...] = ()

    @staticmethod
    def of(shape: Sequence[int]) -> AxisOrigins:
        """The axes of the source itself."""
        return AxisOrigins(tuple(Axis((Digit(i, 1, n),), n) for i, n in enumerate(shape)))

    @staticmethod
    def unknown(shape: Sequence[int]) -> AxisOrigins:
        """Axes whose origin is not known."""
        return AxisOrigins(tuple(blank(n) for n in shape))


def blank(size: int) -> Axis:
    """An axis whose origin is not known."""
    return Axis((Digit(-1, 1, size),), size)


def moved(op: Op, position: int, given: AxisOrigins) -> list[AxisOrigins | None] | None:
    """The axes of each output of an operation that only moves its input at ``position``.

    Returns None where the operation does more than move that input. Within the list, None stands
    for an output that holds nothing of the input.
    """
    name = op.primitive.name
    shapes = [tuple(value.aval.shape) for value in op.outputs]
    if name in _KEEPS_AXES and len(shapes) == 1:
        return [given]
    if name in primitives.STATISTICS and not any(internals.geometry(op.primitive, op.params)):
        return [given]  # a reduction over no axes, as under jax.vmap
    if name in ("sharding_constraint", "optimization_barrier"):
        return [given if i == position or len(shapes) == 1 else None for i in range(len(shapes))]
    if name == "all_gather":
        same = len(shapes[0]) == len(given.axes)
        axes = resized(given.axes, shapes[0]) if same else AxisOrigins.unknown(shapes[0]).axes
        return [replace(given, axes=axes)]
    rule = _RULES.get(name)
    if rule is None or (position and name not in ("concatenate", "stack")):
        return None
    return rule(internals.geometry(op.primitive, op.params), op, position, given, shapes)


_KEEPS_AXES = frozenset(
    (
        *("copy", "copy_p", "convert_element_type", "reduce_precision", "stop_gradient"),
        *("real", "imag", "conj"),
        *primitives.COLLECTIVES,
    )
)


def _reshape(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    axes = reshaped(given.axes, shapes[0])
    return [AxisOrigins.unknown(shapes[0]) if axes is None else replace(given, axes=axes)]


def reshaped(axes: Sequence[Axis], shape: Sequence[int]) -> tuple[Axis, ...] | None:
    """The axes after a reshape; None where a new axis would begin in the middle of a digit.

    All digits are laid in one row and dealt out to the new axes in order. A digit that is too large
    for what is left of an axis is split in two. An axis that its digits do not fill is dealt as one
    piece, because where its other places come from is not known.
    """
    todo: list[Digit | Axis] = []
    for axis in axes:
        pieces = axis.digits if axis.is_whole else (axis,)
        todo.extend(piece for piece in pieces if piece.size > 1)
    todo.reverse()
    found = []
    for size in shape:
        digits: list[Digit] = []
        left = size
        while left > 1:
            if not todo:
                return None
            piece = todo.pop()
            if isinstance(piece, Axis):
                if digits or piece.size != size:
                    return None
                found.append(piece)
                break
            if left % piece.size == 0:
                digits.append(piece)
                left //= piece.size
            elif piece.size % left == 0 and piece.start % (piece.size // left) == 0:
                rest = piece.size // left
                digits.append(Digit(piece.axis, piece.stride * rest, left, piece.start // rest))
                todo.append(Digit(piece.axis, piece.stride, rest))
                left = 1
            else:
                return None
        else:
            found.append(Axis(tuple(digits) or (Digit(-1, 1, 1),), size))
    return tuple(found)


def _transpose(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    (permutation,) = params
    return [replace(given, axes=tuple(given.axes[i] for i in permutation))]


def _broadcast(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    (places,) = params
    axes = [blank(n) for n in shapes[0]]
    for axis, place in zip(given.axes, places, strict=True):
        if axis.size == shapes[0][place]:
            axes[place] = axis
    return [replace(given, axes=tuple(axes))]


def _squeeze(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    (gone,) = params
    rank = len(given.axes)
    dropped = {axis % rank for axis in gone}
    kept = tuple(axis for i, axis in enumerate(given.axes) if i not in dropped)
    return [replace(given, axes=kept)]


def _rev(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    return [given]


def _slice(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    starts, stops, strides = params
    found: AxisOrigins | None = given
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        step = strides[i] if strides else 1
        found = found and cut(found, i, start, stop, step)
    return [found]


def _split(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    sizes, axis = params
    found, start = [], 0
    for size in sizes:
        found.append(cut(given, int(axis), start, start + int(size)))
        start += int(size)
    return found


def _same_sizes(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    """Of an operation that may move things along some axes: those that keep their size are kept."""
    axes = tuple(
        axis if axis.size == size else blank(size)
        for axis, size in zip(given.axes, shapes[0], strict=True)
    )
    return [replace(given, axes=axes)]


def _gather(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    numbers, sizes = params
    dropped = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [i for i in range(len(given.axes)) if i not in dropped]
    axes = [blank(n) for n in shapes[0]]
    for place, i in zip(numbers.offset_dims, kept, strict=True):
        if given.axes[i].size == sizes[i]:
            axes[place] = given.axes[i]
    return [replace(given, axes=tuple(axes))]


def _concatenate(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    (dimension,) = params
    before = sum(value.aval.shape[dimension] for value in op.inputs[:position])
    axes = list(given.axes)
    axis = axes[dimension]
    size = shapes[0][dimension]
    axes[dimension] = replace(axis, size=size, offset=axis.offset + before)
    return [replace(given, axes=tuple(axes))]


def _stack(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    (place,) = params
    axes = list(given.axes)
    axes.insert(place, blank(len(op.inputs)))
    return [replace(given, axes=tuple(axes))]


def resized(axes: Sequence[Axis], shape: Sequence[int]) -> tuple[Axis, ...]:
    """The axes of the part of an array that one device has, or of the whole of such parts.

    The leading digit of an axis is divided among devices.
    """
    found = []
    for axis, size in zip(axes, shape, strict=True):
        lead = axis.digits[0]
        whole, rest = divmod(lead.size * size, axis.size) if axis.size else (0, 1)
        if axis.size == size:
            found.append(axis)
        elif rest or not whole or not axis.is_whole:
            found.append(blank(size))
        else:
            found.append(Axis((lead._replace(size=whole), *axis.digits[1:]), size))
    return tuple(found)


def _pad(params: tuple, op: Op, position: int, given: AxisOrigins, shapes: list) -> list:
    (config,) = params
    axes = tuple(
        axis if (low, high, inner) == (0, 0, 0) else _padded(axis, low, inner, size)
        for axis, (low, high, inner), size in zip(given.axes, config, shapes[0], strict=True)
    )
    return [replace(given, axes=axes)]


def _padded(axis: Axis, low: int, inner: int, size: int) -> Axis:
    if inner or low < 0 or axis.offset + low + axis.extent > size:
        return blank(size)
    return replace(axis, size=size, offset=axis.offset + low)


def cut(given: AxisOrigins, place: int, start: int, stop: int, step: int = 1) -> AxisOrigins | None:
    """The axes after the slice ``start:stop:step`` of one axis.

    Returns None where the slice holds nothing of the source. The leading digit alone can be sliced;
    an axis that is cut across the digits below it, or by a step, has no known origin from then on.
    """
    axis = given.axes[place]
    if (start, stop, step) == (0, axis.size, 1):
        return given
    first, last = max(start, axis.offset), min(stop, axis.offset + axis.extent)
    if first >= last and axis.is_origin:
        return None
    size = -(-(stop - start) // step)
    axes, selected = list(given.axes), given.selected
    if not axis.is_origin:
        axes[place] = blank(size)
        return AxisOrigins(tuple(axes), (*selected, Selection(-1, place, start, stop, step)))
    lead, inner = axis.digits[0], axis.extent // axis.digits[0].size
    low, high = first - axis.offset, last - axis.offset
    if step != 1:
        axes[place] = blank(size)
        if inner == 1:
            part = Selection(lead.axis, lead.stride, low + lead.start, high + lead.start, step)
            selected = (*selected, part)
        return AxisOrigins(tuple(axes), selected)
    if (low, high) == (0, axis.extent):
        axes[place] = replace(axis, size=size, offset=first - start)
    elif low % inner or high % inner:
        axes[place] = blank(size)
    else:
        low, high = low // inner, high // inner
        low, high = low + lead.start, high + lead.start
        part = lead._replace(size=high - low, start=low)
        axes[place] = Axis((part, *axis.digits[1:]), size, first - start)
        if lead.axis >= 0:
            selected = (*selected, Selection(lead.axis, lead.stride, low, high))
    return AxisOrigins(tuple(axes), selected)


_RULES = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "dynamic_slice": _same_sizes,
    "tile": _same_sizes,
    "gather": _gather,
    "concatenate": _concatenate,
    "stack": _stack,
    "pad": _pad,
}

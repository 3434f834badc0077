"""Axes: where the axes of an array come from, through the operations that only move it.

Each axis of a value is written as atoms: digits of an axis of the array it came from, in row-major
order. Reshapes split and merge atoms, transposes permute them, slices and concatenations say which
part is meant; what cannot be said becomes an atom of no origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program.ir import Op


class Atom(NamedTuple):
    """A digit of axis ``axis`` of the origin (-1: of none): ``size`` steps of ``stride``."""

    axis: int
    stride: int
    size: int
    start: int = 0


class Selection(NamedTuple):
    """Of the digits ``stride`` of axis ``axis``, those from ``start`` to ``stop``."""

    axis: int
    stride: int
    start: int
    stop: int


@dataclass(frozen=True)
class Axis:
    """An axis of a value: its atoms lie at ``offset`` in its ``size``."""

    atoms: tuple[Atom, ...]
    size: int
    offset: int = 0

    @property
    def extent(self) -> int:
        """How many places of the axis the atoms fill."""
        return math.prod(atom.size for atom in self.atoms)

    @property
    def is_whole(self) -> bool:
        """Whether the atoms fill the axis."""
        return self.extent == self.size

    @property
    def is_origin(self) -> bool:
        """Whether any of it comes from the origin."""
        return any(atom.axis >= 0 for atom in self.atoms)


@dataclass(frozen=True)
class Axes:
    """The axes of a value, and what was selected of the origin on the way."""

    axes: tuple[Axis, ...]
    selected: tuple[Selection, ...] = ()

    @staticmethod
    def of(shape: Sequence[int]) -> Axes:
        """The axes of the origin itself."""
        return Axes(tuple(Axis((Atom(i, 1, n),), n) for i, n in enumerate(shape)))

    @staticmethod
    def unknown(shape: Sequence[int]) -> Axes:
        """Axes that come from nowhere known."""
        return Axes(tuple(blank(n) for n in shape))

    def sizes(self, places: Sequence[int]) -> int:
        """How many elements of the origin lie along these axes."""
        atoms = [a for i in places for a in self.axes[i].atoms if a.axis >= 0]
        return math.prod(atom.size for atom in atoms)


def blank(size: int) -> Axis:
    """An axis of no origin."""
    return Axis((Atom(-1, 1, size),), size)


def moved(op: Op, position: int, given: Axes) -> list[Axes | None] | None:
    """The axes of each output of an operation that only moves its input at ``position``.

    None where it does more than that; within the list None for an output that holds none of it.
    """
    name = op.primitive.name
    shapes = [tuple(value.aval.shape) for value in op.outputs]
    if name in ("copy", "convert_element_type", "reduce_precision", "stop_gradient", "copy_p"):
        return [given]
    if name in ("sharding_constraint", "optimization_barrier"):
        return [given if i == position or len(shapes) == 1 else None for i in range(len(shapes))]
    rule = _RULES.get(name)
    if rule is None or (position and name != "concatenate"):
        return None
    return rule(internals.geometry(op.primitive, op.params), op, position, given, shapes)


def _reshape(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    axes = reshaped(given.axes, shapes[0])
    return [Axes.unknown(shapes[0]) if axes is None else replace(given, axes=axes)]


def reshaped(axes: Sequence[Axis], shape: Sequence[int]) -> tuple[Axis, ...] | None:
    """The axes after a reshape; None where its places cut across atoms."""
    todo: list[Atom | Axis] = []
    for axis in axes:
        atoms = axis.atoms if axis.is_whole else (axis,)
        todo.extend(item for item in atoms if item.size > 1)
    todo.reverse()
    found = []
    for size in shape:
        parts: list[Atom] = []
        left = size
        while left > 1:
            if not todo:
                return None
            item = todo.pop()
            if isinstance(item, Axis):
                if parts or item.size != size:
                    return None
                found.append(item)
                break
            if left % item.size == 0:
                parts.append(item)
                left //= item.size
            elif item.size % left == 0 and item.start % (item.size // left) == 0:
                rest = item.size // left
                parts.append(Atom(item.axis, item.stride * rest, left, item.start // rest))
                todo.append(Atom(item.axis, item.stride, rest))
                left = 1
            else:
                return None
        else:
            found.append(Axis(tuple(parts) or (Atom(-1, 1, 1),), size))
    return tuple(found)


def _transpose(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    (permutation,) = params
    return [replace(given, axes=tuple(given.axes[i] for i in permutation))]


def _broadcast(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    (places,) = params
    axes = [blank(n) for n in shapes[0]]
    for axis, place in zip(given.axes, places, strict=True):
        if axis.size == shapes[0][place]:
            axes[place] = axis
    return [replace(given, axes=tuple(axes))]


def _squeeze(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    (gone,) = params
    rank = len(given.axes)
    dropped = {axis % rank for axis in gone}
    kept = tuple(axis for i, axis in enumerate(given.axes) if i not in dropped)
    return [replace(given, axes=kept)]


def _rev(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    return [given]


def _slice(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    starts, stops, strides = params
    found: Axes | None = given
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        step = strides[i] if strides else 1
        found = found and cut(found, i, start, stop, step)
    return [found]


def _split(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    sizes, axis = params
    found, start = [], 0
    for size in sizes:
        found.append(cut(given, int(axis), start, start + int(size)))
        start += int(size)
    return found


def _same_sizes(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    axes = tuple(
        axis if axis.size == size else blank(size)
        for axis, size in zip(given.axes, shapes[0], strict=True)
    )
    return [replace(given, axes=axes)]


def _gather(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    numbers, sizes = params
    dropped = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [i for i in range(len(given.axes)) if i not in dropped]
    axes = [blank(n) for n in shapes[0]]
    for place, i in zip(numbers.offset_dims, kept, strict=True):
        if given.axes[i].size == sizes[i]:
            axes[place] = given.axes[i]
    return [replace(given, axes=tuple(axes))]


def _concatenate(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
    (dimension,) = params
    before = sum(value.aval.shape[dimension] for value in op.inputs[:position])
    axes = list(given.axes)
    axis = axes[dimension]
    size = shapes[0][dimension]
    axes[dimension] = replace(axis, size=size, offset=axis.offset + before)
    return [replace(given, axes=tuple(axes))]


def _pad(params: tuple, op: Op, position: int, given: Axes, shapes: list) -> list:
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


def cut(given: Axes, place: int, start: int, stop: int, step: int = 1) -> Axes | None:
    """The axes of the part from ``start`` to ``stop`` of one axis; None where it holds nothing."""
    axis = given.axes[place]
    if (start, stop, step) == (0, axis.size, 1):
        return given
    first, last = max(start, axis.offset), min(stop, axis.offset + axis.extent)
    if first >= last and axis.is_origin:
        return None
    size = -(-(stop - start) // step)
    axes, selected = list(given.axes), given.selected
    if not axis.is_origin or step != 1:
        axes[place] = blank(size)
        return replace(given, axes=tuple(axes))
    lead, inner = axis.atoms[0], axis.extent // axis.atoms[0].size
    low, high = first - axis.offset, last - axis.offset
    if (low, high) == (0, axis.extent):
        axes[place] = replace(axis, size=size, offset=first - start)
    elif low % inner or high % inner:
        axes[place] = blank(size)
    else:
        low, high = low // inner, high // inner
        low, high = low + lead.start, high + lead.start
        part = lead._replace(size=high - low, start=low)
        axes[place] = Axis((part, *axis.atoms[1:]), size, first - start)
        if lead.axis >= 0:
            selected = (*selected, Selection(lead.axis, lead.stride, low, high))
    return Axes(tuple(axes), selected)


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
    "pad": _pad,
}

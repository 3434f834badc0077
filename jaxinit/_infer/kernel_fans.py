"""Reads the fans of a kernel from the operation that uses it.

The dimension numbers of a matrix product or a convolution tell which axes are summed. With x of
shape (batch, 16) and a kernel of shape (16, 4, 8)::

    jnp.einsum("bi,ihd->bhd", x, kernel)     # dot_general: axis 0 is contracted, 1 and 2 are free

``fan_in`` is 16, the number of terms that one output sums, and ``fan_out`` is 4 * 8 = 32, the
number of outputs that one input reaches. A convolution with window (3, 3) from 16 to 8 features has
fan_in 9 * 16 and fan_out 9 * 8; strides and dilations are counted by ``taps``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program.ir import Op
from .axis_origin import AxisOrigins, blank
from .dataflow import Use, is_lookup, product_axes


class KernelFans(NamedTuple):
    """How an operation uses a parameter as a kernel.

    Attributes:
      fan_in: how many kernel terms one output sums, on average and away from borders.
      fan_out: how many outputs one input reaches, likewise.
      in_axis, out_axis, window: the axes of the parameter, as it is stored, by their role; the
        remaining ones are batch axes.
      outputs: the axes of the operation's output; those that come from the parameter hold the
        kernel's outputs.
      evidence: how this was read, for people.
      looks_up: whether the operation takes rows of the parameter, as of an embedding table.
      groups: how many groups of features a convolution keeps apart.
      in_stride: the product of a transposed convolution's strides: each output sees 1/in_stride of
        the kernel, so fan_in is divided by it.
      out_stride: the product of a convolution's strides: each input reaches 1/out_stride of the
        kernel, so fan_out is divided by it.
    """

    fan_in: float
    fan_out: float
    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    window: tuple[int, ...]
    outputs: AxisOrigins
    evidence: str
    looks_up: bool = False
    groups: int = 1
    in_stride: int = 1
    out_stride: int = 1


def kernel_fans(use: Use) -> KernelFans | None:
    """How a parameter is used as a kernel or a table; None where it is neither."""
    if not isinstance(use.op, Op):
        return None
    op, position = use.op, use.position
    numbers = internals.contraction(op.primitive, op.params)
    if numbers is not None and position < 2:
        return _dot(op, numbers, use)
    conv = internals.convolution(op.primitive, op.params)
    if conv is not None and position == 1:
        return _conv(op, conv, use)
    if position == 0 and op.primitive.name in ("gather", "dynamic_slice"):
        return _table(op, use)
    return None


def origins(axes: AxisOrigins, places: Collection[int]) -> tuple[int, ...]:
    """The parameter's axes that lie along these axes of the weight, in order."""
    return tuple(sorted({a.axis for i in places for a in axes.axes[i].digits if a.axis >= 0}))


def _extent(axes: AxisOrigins, places: Sequence[int]) -> int:
    """How many elements of this parameter lie along these axes of the weight."""
    found = (axes.axes[i] for i in places)
    return math.prod(axis.extent if axis.is_origin else axis.size for axis in found)


def _dot(op: Op, numbers: internals.Contraction, use: Use) -> KernelFans | None:
    side, given = use.position, use.contribution
    shape = op.inputs[side].aval.shape
    contracted, batched = numbers.contracted[side], numbers.batched[side]
    free = [i for i in range(len(shape)) if i not in contracted and i not in batched]
    in_axis, out_axis = origins(given.axes, contracted), origins(given.axes, free)
    if not in_axis and given.contracted == 1 and _scales(shape, contracted):
        return None
    parts = dict(given.shards)  # what one device sums is a part of the sum of all
    fan_in = math.prod(shape[i] for i in contracted) * math.prod(parts.get(i, 1) for i in in_axis)
    fan_out = _extent(given.axes, free) * math.prod(parts.get(i, 1) for i in out_axis)
    if given.contracted > 1:  # one of a low-rank pair
        fan_in = fan_in if in_axis else given.contracted
        fan_out = fan_out if out_axis else given.contracted
    outputs, _ = product_axes(op, numbers, side, given.axes)
    names = ", ".join(f"{i} ({shape[i]})" for i in contracted) or "none"
    evidence = f"{op.primitive.name} sums over axes {names} of {sizes_text(shape)}"
    looks_up = _is_one_hot(op, 1 - side)
    if looks_up:
        fan_in = fan_out
        evidence += ", of a one-hot signal"
    return KernelFans(fan_in, fan_out, in_axis, out_axis, (), outputs, evidence, looks_up)


def _scales(shape: Sequence[int], summed: Sequence[int]) -> bool:
    """Whether a parameter that does not vary along the summed axes of a weight only scales it."""
    return not summed or any(shape[i] > 1 for i in summed)


def sizes_text(shape: Sequence[int]) -> str:
    """Sizes as they are written in evidence: 3x3x16."""
    return "x".join(map(str, shape)) or "a scalar"


def _is_one_hot(op: Op, side: int) -> bool:
    """Whether the signal is a comparison turned into numbers."""
    source = op.inputs[side].op
    while source is not None and source.primitive.name in ("convert_element_type", "reshape"):
        source = source.inputs[0].op
    return source is not None and source.primitive.name == "eq"


def _conv(op: Op, conv: internals.Convolution, use: Use) -> KernelFans | None:
    shape, axes = op.inputs[1].aval.shape, use.contribution.axes
    summed = (conv.in_axis, *conv.window)
    if not origins(axes, summed) and use.contribution.contracted == 1 and _scales(shape, summed):
        return None
    taps_in, taps_out = 1.0, 1.0
    for i, axis in enumerate(conv.window):
        step_in, step_out = taps(
            shape[axis],
            conv.strides[i],
            conv.padding[i][0],
            conv.lhs_dilation[i],
            conv.rhs_dilation[i],
        )
        taps_in, taps_out = taps_in * step_in, taps_out * step_out
    window = math.prod(shape[axis] for axis in conv.window)
    groups = conv.groups * conv.batch_groups
    outputs = [blank(n) for n in op.outputs[0].aval.shape]
    outputs[conv.features] = axes.axes[conv.out_axis]
    parts = [
        f"window {sizes_text([shape[i] for i in conv.window])}",
        f"{shape[conv.in_axis]} inputs",
    ]
    parts += [f"{groups} groups"] * (groups > 1)
    parts += [f"strides {sizes_text(conv.strides)}"] * (max(conv.strides, default=1) > 1)
    parts += [f"input dilation {sizes_text(conv.lhs_dilation)}"] * (
        max(conv.lhs_dilation, default=1) > 1
    )
    return KernelFans(
        shape[conv.in_axis] * taps_in,
        _extent(axes, [conv.out_axis]) / groups * taps_out,
        origins(axes, [conv.in_axis]),
        origins(axes, [conv.out_axis]),
        origins(axes, conv.window),
        AxisOrigins(tuple(outputs), axes.selected),
        f"{op.primitive.name}: {', '.join(parts)}",
        groups=groups,
        in_stride=_phases(window, taps_in),
        out_stride=_phases(window, taps_out),
    )


def _phases(window: int, taps: float) -> int:
    """The product of strides that leaves ``taps`` of the places of a window, on average."""
    return round(window / taps) if taps else 1


def taps(
    window: int, stride: int, padding: int, lhs_dilation: int, rhs_dilation: int
) -> tuple[float, float]:
    """How many taps one output sums, and how many outputs one input reaches, along one axis.

    Tap ``t`` of output ``o`` reads the place ``stride o + rhs_dilation t - padding`` of the dilated
    input, in which every place that is a multiple of ``lhs_dilation`` holds an input and the others
    hold zeros. The count is averaged over ``lhs_dilation`` outputs and over ``stride`` inputs,
    after which it repeats.
    """
    offsets = [rhs_dilation * t - padding for t in range(window)]
    met = sum((stride * o + x) % lhs_dilation == 0 for o in range(lhs_dilation) for x in offsets)
    reached = sum((lhs_dilation * i - x) % stride == 0 for i in range(stride) for x in offsets)
    return met / lhs_dilation, reached / stride


def _table(op: Op, use: Use) -> KernelFans | None:
    """A lookup of rows; as in Flax, the fan_in of a table is its number of features."""
    if op.primitive.name == "gather" and not is_lookup(op) and op.inputs[1].is_const:
        return None
    if op.primitive.name == "gather":
        numbers, sizes = internals.geometry(op.primitive, op.params)
        dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    else:
        (sizes,) = internals.geometry(op.primitive, op.params)
        dropped = [i for i, n in enumerate(sizes) if n != op.inputs[0].aval.shape[i]]
    kept = [i for i in range(len(sizes)) if i not in dropped]
    features = math.prod(sizes[i] for i in kept)
    return KernelFans(
        features,
        features,
        origins(use.contribution.axes, dropped),
        origins(use.contribution.axes, kept),
        (),
        AxisOrigins.unknown(op.outputs[0].aval.shape),
        f"{op.primitive.name} looks up rows of {features}",
        looks_up=True,
    )

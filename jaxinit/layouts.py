"""Layouts: what each axis of a layer's kernel is, for layers of every kind.

A layout is an option of every initializer that counts fans, with or without Flax:

    initializers.he_normal(layout=layouts.einsum("bti,ihd->bthd"))
    layouts.conv((2, 2), groups=64).fans((3, 3, 1, 64))

fan_in is the number of products that one output sums, away from borders and averaged over the
positions of a stride; fan_out is the same for the transposed map, which carries gradients. So with
independent inputs of variance 1, a kernel of variance 1/fan_in gives outputs of variance 1. Kernels
have Flax's shapes. The layers of ``jaxinit.linen`` and ``jaxinit.nnx`` know their own layouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ._schemes.checks import (
    check_axis_count,
    check_choice,
    check_count,
    check_counts,
    check_flag,
    check_int,
    is_sequence,
)
from ._schemes.einsum import read_einsum
from ._schemes.fans import Layout, check_blocks
from ._schemes.layout_options import check_layout

__all__ = [
    "attention",
    "conv",
    "conv_local",
    "conv_transpose",
    "dense",
    "einsum",
    "embedding",
    "fused",
    "general_dense",
    "stacked",
]


def __dir__() -> list[str]:
    return __all__


Sizes = int | Sequence[int]


def dense() -> Layout:
    """A dense layer's kernel (in, out).

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.dense().fans((256, 512))
      Fans(fan_in=256.0, fan_out=512.0)
    """
    return Layout()


def general_dense(in_axes: int = 1, out_axes: int = 1, batch_axes: int = 0) -> Layout:
    """A dense layer over several axes: kernel (*batch, *in, *out).

    Args:
      in_axes: the number of input axes.
      out_axes: the number of output axes.
      batch_axes: the number of batch axes.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: a count that is not positive (batch_axes: negative).

    Example:
      >>> from jaxinit import layouts
      >>> layouts.general_dense(2, 1, batch_axes=1).fans((8, 4, 16, 512))
      Fans(fan_in=64.0, fan_out=512.0)
    """
    call = "layouts.general_dense"
    into, out = (
        check_axis_count(call, "in_axes", in_axes),
        check_axis_count(call, "out_axes", out_axes),
    )
    batch = check_axis_count(call, "batch_axes", batch_axes, 0)
    inner = into + out
    return Layout(
        tuple(range(-inner, -out)),
        tuple(range(-out, 0)),
        tuple(range(-inner - batch, -inner)),
    )


def conv(
    strides: Sizes = 1, groups: int = 1, *, input_dilation: Sizes = 1, axes: int = 2
) -> Layout:
    """A convolution's kernel (*window, in/groups, out).

    fan_in is the size of the window times in/groups. fan_out is the size of the window times
    out/groups, divided by the strides. A dilated kernel has the fans of one that is not dilated.

    Args:
      strides: the stride of each window axis, or one for all.
      groups: the number of groups; the number of inputs for a depthwise convolution.
      input_dilation: the dilation of the input along each window axis, or one for all; it divides
        fan_in, like the stride of a transposed convolution.
      axes: the number of window axes, which an int for all of them stands for.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: a number that is not a positive int.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.conv(strides=2, groups=256).fans((4, 4, 1, 256))
      Fans(fan_in=16.0, fan_out=4.0)
    """
    call = "layouts.conv"
    return Layout(
        groups=check_count(call, "groups", groups),
        in_stride=_product(call, "input_dilation", input_dilation, axes),
        out_stride=_product(call, "strides", strides, axes),
    )


def conv_transpose(strides: Sizes = 1, transpose_kernel: bool = False, *, axes: int = 2) -> Layout:
    """A transposed convolution's kernel (*window, in, out), or (*window, out, in).

    Each output sees only one part in strides of the window, so fan_in is the size of the window
    times in, divided by the strides.

    Args:
      strides: the stride of each window axis, or one for all.
      transpose_kernel: whether the kernel has the shape of the convolution that it transposes.
      axes: the number of window axes, which an int for all of them stands for.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: a number that is not a positive int.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.conv_transpose(2).fans((4, 4, 64, 32))
      Fans(fan_in=256.0, fan_out=512.0)
    """
    stride = _product("layouts.conv_transpose", "strides", strides, axes)
    swapped = check_flag("layouts.conv_transpose", "transpose_kernel", transpose_kernel)
    in_axis, out_axis = (-1, -2) if swapped else (-2, -1)
    return Layout(in_axis, out_axis, in_stride=stride)


def conv_local(kernel_size: Sequence[int], strides: Sizes = 1) -> Layout:
    """A local convolution's kernel (*places, window * in, out): one for each place of the output.

    Args:
      kernel_size: the sizes of the window.
      strides: the stride of each window axis, or one for all.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: a number that is not a positive int.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.conv_local((3, 3)).fans((14, 14, 9 * 8, 16))
      Fans(fan_in=72.0, fan_out=144.0)
    """
    call = "layouts.conv_local"
    window = check_counts(call, "kernel_size", kernel_size)
    axes = check_axis_count(call, "the length of kernel_size", len(window), 0)
    return Layout(
        batch_axis=tuple(range(-axes - 2, -2)),
        out_repeat=math.prod(window),
        out_stride=_product(call, "strides", strides, axes),
    )


def embedding() -> Layout:
    """An embedding's table (vocabulary, features): fan_in and fan_out are features.

    A lookup sums nothing, so this fan_in is a convention, that of Flax: the rows of a table of
    variance 1/features have length 1.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.embedding().fans((50257, 768))
      Fans(fan_in=768.0, fan_out=768.0)
    """
    return Layout(in_axis=-2, out_axis=-2)


def attention(projection: str) -> Layout:
    """A projection's kernel of multi-head attention, with its heads apart.

    Args:
      projection: "query", "key" or "value", kernel (in, heads, head size); or "out", kernel (heads,
        head size, out).

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: another projection.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.attention("out").fans((12, 64, 768))
      Fans(fan_in=768.0, fan_out=768.0)
    """
    check_choice("layouts.attention", "projection", projection, ("query", "key", "value", "out"))
    return general_dense(2, 1) if projection == "out" else general_dense(1, 2)


def fused(blocks: Sizes, layout: Layout | None = None, axis: int = -1) -> Layout:
    """Several kernels fused along one axis, as queries, keys and values, or the gates of a cell.

    Fans are those of one block, and an initializer draws each block by itself.

    Args:
      blocks: the number of equal blocks, or their sizes along ``axis``.
      layout: the layout of one block; without one, that of a dense layer.
      axis: the axis along which the blocks lie.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: numbers or sizes that are not positive ints.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.fused(3).fans((512, 1536))
      Fans(fan_in=512.0, fan_out=512.0)
    """
    call = "layouts.fused"
    one = check_layout(call, layout) or dense()
    place = check_int(call, "axis", axis)
    return replace(one, blocks=check_blocks(call, "blocks", blocks), block_axis=place)


def stacked(layout: Layout | None = None) -> Layout:
    """Kernels stacked along a new first axis: experts, layers, ensembles.

    Args:
      layout: the layout of one kernel; without one, that of a dense layer.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      TypeError: ``layout`` is no Layout.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.stacked().fans((8, 512, 2048))  # eight experts
      Fans(fan_in=512.0, fan_out=2048.0)
    """
    one = check_layout("layouts.stacked", layout) or dense()

    def moved(axes: Sizes) -> tuple[int, ...]:
        given = (axes,) if isinstance(axes, int) else axes
        return tuple(axis if axis < 0 else axis + 1 for axis in given)

    return replace(
        one,
        in_axis=moved(one.in_axis),
        out_axis=moved(one.out_axis),
        batch_axis=(0, *moved(one.batch_axis)),
        block_axis=moved(one.block_axis)[0],
    )


def einsum(
    equation: str,
    input_shape: Sequence[int] | None = None,
    kernel_shape: Sequence[int] | None = None,
) -> Layout:
    """The kernel of an einsum, whose equation is "input,kernel->output".

    Each axis of the kernel is summed over together with the input (an input axis), kept in the
    output (an output axis), shared by input and output (a batch axis), or summed over alone (part
    of the window). Where the input is also summed over an axis that the kernel does not have, or
    has with size 1, one output sums its products that many times, and ``input_shape`` is needed. Of
    an index that the kernel repeats only the diagonal is used: its first axis counts.

    Args:
      equation: two operands and an explicit output. An ellipsis may stand in the input and the
        output; one in the kernel needs ``kernel_shape``.
      input_shape: the shape of the input, checked against the equation.
      kernel_shape: the shape of the kernel, checked against the equation.

    Returns:
      The layout, for ``layout=`` of an initializer or a layer.

    Raises:
      ValueError: an equation without two operands or an output, with an index that is no letter,
        or is repeated or unknown in the output; shapes that do not fit, or that are needed and not
        given.

    Example:
      >>> from jaxinit import layouts
      >>> layouts.einsum("bti,ihd->bthd").fans((256, 8, 64))
      Fans(fan_in=256.0, fan_out=512.0)
    """
    layout, unknown = read_einsum(equation, input_shape, kernel_shape)
    if unknown:
        what = next((repr(index) for index in unknown if index.isalpha()), "an ellipsis")
        raise ValueError(
            f"layouts.einsum: {equation!r} sums its input over {what}, which the kernel does not "
            f"have; give input_shape, whose size there multiplies fan_in."
        )
    return layout


def _product(call: str, option: str, value: Sizes, axes: int) -> int:
    """The product over the window's axes."""
    rank = check_axis_count(call, "axes", axes, 0)
    if is_sequence(value):
        return check_count(call, option, math.prod(check_counts(call, option, value)))
    return check_count(call, option, check_count(call, option, value) ** rank)

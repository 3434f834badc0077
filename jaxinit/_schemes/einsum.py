"""Reads the equation of an einsum: what each axis of its kernel is."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

from .arguments import check_shape
from .checks import shown
from .fans import Layout


def read_einsum(
    equation: str, input_shape: Sequence[int] | None, kernel_shape: Sequence[int] | None
) -> tuple[Layout, list[str]]:
    """The layout of an einsum's kernel, and the indices whose unknown size multiplies fan_in."""
    shapes = (input_shape, kernel_shape)
    input_shape, kernel_shape = (
        x if x is None else check_shape("layouts.einsum", x) for x in shapes
    )
    inputs, kernel, output = _operands(equation)
    inputs = _lettered(equation, "input", inputs, input_shape)
    kernel = _lettered(equation, "kernel", kernel, kernel_shape)
    output = output.replace("...", string.digits)
    sizes = _sizes(equation, (inputs, kernel), (input_shape, kernel_shape))
    lost = [c for c in dict.fromkeys(inputs) if c not in kernel and c not in output]
    axes: dict[tuple[bool, bool], list[int]] = {}
    for axis, index in enumerate(kernel):
        repeated = index in kernel[:axis]
        role = (True, True) if repeated else (index in inputs, index in output)
        axes.setdefault(role, []).append(axis)
    summed = axes.get((True, False), ())
    thin = [kernel[a] for a in summed if kernel_shape is not None and kernel_shape[a] == 1]
    layout = Layout(
        in_axis=summed,
        out_axis=axes.get((False, True), ()),
        batch_axis=axes.get((True, True), ()),
        in_repeat=math.prod(sizes.get(index, 1) for index in (*lost, *thin)),
    )
    return layout, [index for index in lost if index not in sizes]


def _operands(equation: str) -> tuple[str, str, str]:
    """(input, kernel, output), without spaces."""
    text = equation if isinstance(equation, str) else ""
    left, arrow, output = text.replace(" ", "").partition("->")
    operands = left.split(",")
    if not arrow or len(operands) != 2:
        raise ValueError(
            f"layouts.einsum: expected 'input,kernel->output', as 'bti,ihd->bthd'; "
            f"got {shown(equation)}."
        )
    for operand in (*operands, output):
        letters = operand.replace("...", "")
        if operand.count("...") > 1 or any(not index.isalpha() for index in letters):
            raise ValueError(
                f"layouts.einsum: {operand!r} in {equation!r} must have a letter for each index, "
                f"and at most one ellipsis."
            )
    kept = output.replace("...", "")
    if unknown := set(kept) - set(left):
        raise ValueError(
            f"layouts.einsum: {min(unknown)!r} must stand on both sides of {equation!r}."
        )
    if len(set(kept)) < len(kept):
        raise ValueError(
            f"layouts.einsum: the output {output!r} of {equation!r} must have each index once."
        )
    return operands[0], operands[1], output


def _lettered(equation: str, role: str, operand: str, shape: Sequence[int] | None) -> str:
    """The operand with a digit for each axis of its ellipsis, counted from the right."""
    named = len(operand.replace("...", ""))
    if "..." not in operand:
        if shape is not None and len(shape) != named:
            raise ValueError(
                f"layouts.einsum: {equation!r} has {named} axes for its {role}, whose shape is "
                f"{tuple(shape)}."
            )
        return operand
    if shape is None and role == "input":
        return operand.replace("...", "9876543210")
    if shape is None:
        raise ValueError(
            f"layouts.einsum: the kernel of {equation!r} has an ellipsis; give kernel_shape, which "
            f"says how many axes that is."
        )
    hidden = len(shape) - named
    if not 0 <= hidden <= 10:
        raise ValueError(
            f"layouts.einsum: {equation!r} has {named} axes or more for its {role}, whose shape is "
            f"{tuple(shape)}."
        )
    return operand.replace("...", string.digits[:hidden][::-1])


def _sizes(
    equation: str, operands: tuple[str, str], shapes: tuple[Sequence[int] | None, ...]
) -> dict[str, int]:
    """The size of each index; where one operand has 1, it is that of the other, as in einsum."""
    sizes: dict[str, int] = {}
    for operand, shape in zip(operands, shapes, strict=True):
        for index, size in zip(operand, shape or (), strict=False):
            known = sizes.get(index, 1)
            if 1 not in (known, size) and known != size:
                what = f"index {index!r}" if index.isalpha() else "an axis of the ellipsis"
                raise ValueError(
                    f"layouts.einsum: {equation!r} gives {what} two sizes, {known} and {size}."
                )
            sizes[index] = max(known, size)
    return sizes

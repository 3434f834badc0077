"""Finds where a parameter is used as a kernel or a table, and follows what it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .._program.ir import Op, Value
from .dataflow import Graph, Use, is_linear
from .follow_output import follow
from .kernel_fans import KernelFans, kernel_fans
from .residual import is_residual
from .summed_products import summed_product
from .trail import Trail
from .weight_factors import Share, share


class KernelUse(NamedTuple):
    """A use of a parameter as a kernel or table.

    Attributes:
      op: the operation, a matrix product, convolution or lookup; of a product element by element
        that is summed, the product.
      use: the parameter in it.
      fans: the fans and axes of the kernel.
      trail: what becomes of the output; None of a lookup.
      again: whether the same part of the parameter was used before, as by a block that is called
        several times.
    """

    op: Op
    use: Use
    fans: KernelFans
    trail: Trail | None
    again: bool


def kernel_uses(graph: Graph, parameter: int) -> list[KernelUse]:
    """The uses of a parameter as a kernel or table."""
    found: list[KernelUse] = []
    seen = set()
    for use in graph.uses.get(parameter, ()):
        if not isinstance(use.op, Op) or _only_scales(graph, use):
            continue
        fans, maker = kernel_fans(use), use.op
        if fans is None and (summed := summed_product(graph, use)) is not None:
            fans, maker = summed
        if fans is None:
            continue
        trail = None
        if is_linear(use.op) or maker is not use.op:
            trail = follow(graph, maker, fans.outputs, _residual_to(graph, use.op))
        part = fans.outputs.selected, use.op.primitive
        found.append(KernelUse(use.op, use, fans, trail, again=part in seen))
        seen.add(part)
    return found


def _only_scales(graph: Graph, use: Use) -> bool:
    """Whether the parameter multiplies the kernel that is used, or may do so."""
    assert isinstance(use.op, Op)
    weight = use.op.inputs[use.position]
    return share(graph, weight, use.contribution.parameter) is not Share.TERM


def _residual_to(graph: Graph, op: Op) -> Callable[[Op, Value], bool]:
    """Tells of what is added to the output of ``op`` whether ``op`` was computed from it."""
    return lambda _, other: is_residual(graph, op, other)

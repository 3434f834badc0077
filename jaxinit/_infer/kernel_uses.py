"""Finds where a parameter is used as a kernel or a table, and follows what it makes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from .._program.ir import Op
from .dataflow import Graph, Use, is_linear
from .follow_output import follow
from .kernel_fans import KernelFans, kernel_fans
from .residual import is_residual
from .trail import Trail


class KernelUse(NamedTuple):
    """A use of a parameter as a kernel or table.

    Attributes:
      op: the operation.
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
        fans = kernel_fans(use)
        if fans is None:
            continue
        assert isinstance(use.op, Op)
        trail = None
        if is_linear(use.op):
            trail = follow(graph, use.op, fans.outputs, partial(is_residual, graph))
        part = fans.outputs.selected, use.op.primitive
        found.append(KernelUse(use.op, use, fans, trail, again=part in seen))
        seen.add(part)
    return found

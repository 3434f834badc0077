"""Reads what a kernel feeds, and how one kernel is divided into several that are fused.

Attention often computes query, key and value by one product::

    q, k, v = jnp.split(x @ params["qkv"], 3, axis=-1)      # a kernel of shape (16, 48)

The three parts are taken up by different operations, so "qkv" holds three blocks of 16 outputs
along its axis 1: the first two feed a softmax and the third feeds nothing nonlinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._program.ir import Op, Value
from .activation_match import IDENTITY, UNKNOWN, Recognised, recognise
from .axis_origin import AxisOrigins, Selection
from .dataflow import Graph, Kind, is_linear
from .follow_output import follow
from .kernel_fans import KernelFans
from .kernel_uses import KernelUse
from .trail import Candidate, Trail


class Blocks(NamedTuple):
    """The fused kernels of one parameter.

    Attributes:
      sizes: their sizes along ``axis``; empty where there is one kernel.
      axis: the axis of the parameter along which they lie.
      feeds: what each feeds; one item where there is one kernel.
    """

    sizes: tuple[int, ...]
    axis: int | None
    feeds: tuple[Recognised, ...]


def blocks(
    graph: Graph, kernels: Sequence[KernelUse], fans: KernelFans, shape: Sequence[int]
) -> Blocks:
    """The blocks of a parameter of this shape, by the parts of its outputs that are taken up."""
    found: dict[tuple[Selection, ...], list[tuple[Candidate, Trail]]] = {}
    for kernel in kernels:
        assert kernel.trail is not None
        for candidate in kernel.trail.candidates:
            outs = tuple(s for s in candidate.selected if s.axis in fans.out_axis)
            found.setdefault(outs, []).append((candidate, kernel.trail))
    strong = {s: items for s, items in found.items() if any(c.strong for c, _ in items)}
    places = {s[-1].axis for s in strong if s}
    if len(strong) < 2 or () in strong or len(places) != 1:
        every = [item for items in found.values() for item in items]
        return Blocks((), None, (_feeds(graph, every),))
    (axis,) = places
    ordered = sorted(strong, key=lambda s: s[-1].start)
    sizes = tuple(len(range(*s[-1][2:])) * s[-1].stride for s in ordered)
    if sum(sizes) != shape[axis]:  # the blocks alternate, as head by head
        sizes = (shape[axis] // len(ordered),) * len(ordered)
    return Blocks(sizes, axis, tuple(_feeds(graph, strong[s]) for s in ordered))


def activated(graph: Graph, kernel: KernelUse) -> Value | None:
    """The kernel's output after the activation that it feeds; None of fused kernels.

    The value stands in the same loops and branches as the kernel.
    """
    if kernel.trail is None or len({c.selected for c in kernel.trail.candidates}) > 1:
        return None
    chosen = [
        (c, trail)
        for c, trail in _ranked([(c, kernel.trail) for c in kernel.trail.candidates])
        if graph.bodies.get(c.value) == graph.bodies[kernel.op]
    ]
    names = {c.value: _recognised(graph, c, trail).name for c, trail in chosen}
    known = [v for v, name in names.items() if name not in (IDENTITY.name, UNKNOWN)]
    return next(iter([*known, *names]), None)


def _feeds(graph: Graph, candidates: Sequence[tuple[Candidate, Trail]]) -> Recognised:
    """The activation that a kernel's output goes through.

    Among several, a known activation is preferred to an unknown function, and that to none.
    """
    read = [_recognised(graph, candidate, trail) for candidate, trail in _ranked(candidates)]
    read = [found for found in read if found != IDENTITY]
    return next((x for x in read if x.name != UNKNOWN), next(iter(read), IDENTITY))


def _ranked(candidates: Sequence[tuple[Candidate, Trail]]) -> list[tuple[Candidate, Trail]]:
    """The values that are taken up; where only statistics are, as by pooling, the last first."""
    return [item for item in candidates if item[0].strong] or list(candidates)[::-1]


def _recognised(graph: Graph, candidate: Candidate, trail: Trail) -> Recognised:
    """What a candidate's function is; queries and keys feed the softmax of their product."""
    found = recognise(trail, candidate.value)
    taker = candidate.taker
    if found != IDENTITY or taker is None or not is_bilinear(graph, taker):
        return found
    made = after_product(graph, taker)[1]
    return found if made is None else Recognised("softmax", "softmax")


def after_product(graph: Graph, product: Op) -> tuple[Trail, Value | None]:
    """What becomes of a product of two signals, and the softmax that is taken of it, if one is."""
    key = "after", product
    if key not in graph.memo:
        axes = AxisOrigins.unknown(product.outputs[0].aval.shape)
        after = follow(graph, product, axes, lambda op, other: False)
        graph.memo[key] = after, None  # in case the product meets itself, as in a loop
        ranked = [c for c, _ in _ranked([(c, after) for c in after.candidates])]
        names = {c.value: _recognised(graph, c, after).name for c in ranked}
        graph.memo[key] = after, next((v for v, n in names.items() if n == "softmax"), None)
    return graph.memo[key]


def is_bilinear(graph: Graph, op: Op) -> bool:
    """Whether the operation multiplies two signals, as attention does."""
    return is_linear(op) and all(graph.kind(v) is Kind.SIGNAL for v in op.inputs[:2])

"""Tells the kernel from its factors where a weight is a product of several parameters.

Weight normalization multiplies a kernel with a gain for each output before a signal comes in::

    y = conv(x, params["kernel"] / norm * params["gain"])

Along the axes of the weight that "gain" varies along, "kernel" varies too, and along others
besides; so "gain" is a factor. Of two parameters that each vary along an axis of their own, or both
along the same ones, as in ``jnp.kron(a, b)`` and ``u[:, None] * v``, neither is the kernel alone.
"""

from __future__ import annotations

from enum import Enum

from .._program.ir import Value
from .dataflow import Graph
from .residual import made_from


class Share(Enum):
    """What a parameter is in a weight."""

    TERM = "the weight itself, or a term or matrix factor of it"
    FACTOR = "a factor of what varies along more axes"
    UNCLEAR = "one of several factors that may each be the kernel"


def share(graph: Graph, weight: Value, parameter: int) -> Share:
    """What a parameter is in a weight that meets a signal."""
    key = "shares", weight
    if key not in graph.memo:
        graph.memo[key] = _shares(graph, weight)
    return graph.memo[key].get(parameter, Share.TERM)


def _shares(graph: Graph, weight: Value) -> dict[int, Share]:
    """The parameters that are factors in the products that make a weight, element by element."""
    found: dict[int, Share] = {}
    seen, stack = {weight}, [weight]
    while stack:
        value = stack.pop()
        sides = [v for v in made_from(graph, value) if graph.contributions.get(v)]
        if value.op is not None and value.op.primitive.name in ("mul", "div") and len(sides) == 2:
            found |= _apart(graph, *sides)
            factors = {p for p, kind in found.items() if kind is Share.FACTOR}
            sides = [v for v in sides if not _parameters(graph, v) <= factors]
        fresh = [v for v in sides if v not in seen]
        seen.update(fresh)
        stack += fresh
    return found


def _apart(graph: Graph, one: Value, other: Value) -> dict[int, Share]:
    """What the parameters of each side of a product are that the other side does not hold."""
    mine, others = _parameters(graph, one), _parameters(graph, other)
    axes, other_axes = _varies(graph, one), _varies(graph, other)
    if axes is None or other_axes is None:
        return dict.fromkeys(mine ^ others, Share.UNCLEAR)
    if axes < other_axes:
        return dict.fromkeys(mine - others, Share.FACTOR)
    if other_axes < axes:
        return dict.fromkeys(others - mine, Share.FACTOR)
    return dict.fromkeys(mine ^ others, Share.UNCLEAR)


def _parameters(graph: Graph, weight: Value) -> set[int]:
    return {c.parameter for c in graph.contributions[weight]}


def _varies(graph: Graph, weight: Value) -> frozenset[int] | None:
    """The axes of a weight along which a parameter is known to vary; None where none is known."""
    given = graph.contributions[weight]
    axes = (enumerate(c.axes.axes) for c in given)
    found = frozenset(i for each in axes for i, a in each if a.is_origin and a.extent > 1)
    is_lost = not found and any(graph.parameters[c.parameter].aval.size > 1 for c in given)
    return None if is_lost and weight.aval.size > 1 else found

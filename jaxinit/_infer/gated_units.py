"""Finds gated units: the product of one linear output of a signal with a function of another.

A feed-forward layer of many transformers is::

    y = (jax.nn.silu(x @ params["gate"]) * (x @ params["up"])) @ params["down"]

so "gate" and "up" are the kernels of one unit, "swiglu".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from .._choose.activations import resolve
from .._choose.known import GATES
from .._program.ir import Op, Value
from .activation_match import IDENTITY, recognise
from .dataflow import Graph, is_linear
from .kernel_inputs import Taken
from .kernel_uses import KernelUse
from .residual import signal


def gated_units(
    graph: Graph, kernels: Sequence[Sequence[KernelUse]], taken: Mapping[Op, Sequence[Taken]]
) -> dict[int, str]:
    """The kernels, by index, all of whose outputs go into gated units of one kind, and its name."""
    units = {op: _unit(graph, op, sides) for op, sides in taken.items()}
    found = {}
    for i, uses in enumerate(kernels):
        candidates = [c for use in uses if use.trail for c in use.trail.candidates if c.strong]
        names = {units.get(c.taker, "") if c.taker else "" for c in candidates}
        if len(names) == 1 and (name := names.pop()):
            found[i] = name
    return found


def _unit(graph: Graph, op: Op, taken: Sequence[Taken]) -> str:
    """The name of the gated unit that an operation computes; "" where it computes none."""
    sides = list({t.value: t for t in taken}.values())
    if op.primitive.name != "mul" or {t.value for t in sides} != set(op.inputs):
        return ""
    if any(t.trail.met or t.value in t.trail.normalized for t in sides):
        return ""
    sources = {_applied_to(graph, t) for t in sides}
    gates = [found for t in sides if (found := recognise(t.trail, t.value)) != IDENTITY]
    if len(sides) != 2 or len(gates) != 1 or len(sources) != 1 or None in sources:
        return ""
    return _units().get(gates[0].name, "")


def _applied_to(graph: Graph, side: Taken) -> Value | None:
    """The signal that the kernel is applied to."""
    op = side.trail.start.op
    value = signal(graph, op) if op is not None and is_linear(op) else None
    while value is not None and value.op and value.op.primitive.name == "convert_element_type":
        value = value.op.inputs[0]
    return value


@functools.cache
def _units() -> dict[str, str]:
    """The gated units by the names of their gates."""
    known = ((resolve("infer", gate).known, unit) for unit, gate in GATES.items())
    return {row.name: unit for row, unit in known if row is not None}

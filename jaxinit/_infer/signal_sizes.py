"""Estimates the mean and second moment of any signal, if every kernel's output is N(0, 1).

A kernel often takes more than one kernel's activated output: a residual stream, features side by
side, a signal times a gate. For example, of kernels' outputs a, b and c::

    x = a + jax.nn.relu(b)              # second moment 1 + 0.5, as a has mean 0
    y = jnp.concatenate([x, c], -1)     # of equal widths: (1.5 + 1) / 2
    z = y * jax.nn.sigmoid(c)           # the product of the moments, 1.25 * 0.293

The parts of a sum and the factors of a product are taken to be independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from .._choose.recognise import GRID
from .._program import primitives
from .._program.ir import Op, Value
from .axis_origin import AxisOrigins
from .dataflow import Graph, Kind, is_linear
from .follow_output import follow
from .trail import Trail, mean_on_grid


class Size(NamedTuple):
    """The mean and the second moment of a signal."""

    mean: float
    square: float


_UNIT = Size(0.0, 1.0)
_MOVES = primitives.KEEPS_SIGNAL | {"slice", "dynamic_slice", "gather", "pad", "rev"}
_DEEPEST = 400  # how far back a signal is followed


@dataclass(eq=False)
class SignalSizes:
    """The sizes of a graph's signals, computed when they are asked for.

    Attributes:
      graph: the graph.
      trails: for each value that was followed from a kernel, its trail.
      known: the sizes that were computed; None where a signal is not understood.
    """

    graph: Graph
    trails: dict[Value, Trail]
    known: dict[Value, Size | None] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph, trails: Iterable[Trail]) -> SignalSizes:
        """The sizes where kernels' outputs were followed along these trails."""
        found: dict[Value, Trail] = {}
        for trail in trails:
            for value in trail.axes:
                found.setdefault(value, trail)
        return SignalSizes(graph, found)

    def second_moment(self, value: Value) -> float | None:
        """The second moment of a signal; None where it is not understood."""
        found = self.size(value)
        return None if found is None or not 0 < found.square < np.inf else found.square

    def size(self, value: Value, depth: int = 0) -> Size | None:
        """The size of a signal; None where it is not understood."""
        if value not in self.known:
            self.known[value] = None  # in case it comes from itself, as in a loop
            if depth < _DEEPEST:
                self.known[value] = self._size(value, depth)
        return self.known[value]

    def _size(self, value: Value, depth: int) -> Size | None:
        op = value.op
        if op is None or op not in self.graph.position:
            return self._handed_on(value, depth)
        signals = [v for v in op.inputs if self.graph.kind(v) is Kind.SIGNAL]
        name = op.primitive.name
        if is_linear(op):
            return _UNIT
        if name == "gather" and self.graph.kind(op.inputs[0]) is Kind.WEIGHT:
            return Size(0.0, 1 / value.aval.shape[-1])  # rows of a table, of norm 1
        meeting = self._meeting(value)
        if meeting is op:
            return self._met(op, depth)
        if meeting is not None:
            self.size(meeting.outputs[0], depth + 1)
        trail = self.trails.get(value)
        if trail is not None and trail.is_function(value):
            return self._on_trail(trail, value, depth)
        if name in _MOVES and signals:
            return self.size(signals[0], depth + 1)
        if name == "mul" and len(signals) == 2:
            return self._product(signals, depth)
        if name in primitives.ARITHMETIC and len(signals) == 1:
            return self.size(signals[0], depth + 1)
        return None

    def _handed_on(self, value: Value, depth: int) -> Size | None:
        """An input of the model, of size 1; or what a link hands on, at first."""
        sources = self.graph.sources.get(value)
        return self.size(sources[0], depth + 1) if sources else _UNIT

    def _meeting(self, value: Value) -> Op | None:
        """The last operation on the way to a value that adds other signals or joins several."""
        trail, seen, stack = self.trails.get(value), {value}, [value]
        while stack:
            op = (here := stack.pop()).op
            if op is None or (trail is not None and here is trail.start):
                continue
            signals = {v for v in op.inputs if self.graph.kind(v) is Kind.SIGNAL}
            others = [v for v in signals if trail is None or v not in trail.axes]
            adds = op.primitive.name in primitives.SUMS and len(others) > (trail is None)
            if adds or (op.primitive.name in primitives.JOINS and len(signals) > 1):
                return op
            mine = (v for v in signals if trail is not None and v in trail.axes and v not in seen)
            for v in mine:
                seen.add(v)
                stack.append(v)
        return None

    def _met(self, op: Op, depth: int) -> Size | None:
        """A sum or a mixture; what follows it is followed from it, as from a kernel's output."""
        joins = op.primitive.name in primitives.JOINS
        size = self._mixture(op.inputs, depth) if joins else self._sum(op, depth)
        axes = AxisOrigins.unknown(op.outputs[0].aval.shape)
        after = follow(self.graph, op, axes, lambda op, other: False)
        for value in after.axes:
            self.trails[value] = after
        return size

    def _sum(self, op: Op, depth: int) -> Size | None:
        one, other = (self.size(v, depth + 1) for v in op.inputs)
        if one is None or other is None:
            return None
        sign = -1 if op.primitive.name == "sub" else 1
        square = one.square + other.square + 2 * sign * one.mean * other.mean
        return Size(one.mean + sign * other.mean, square)

    def _on_trail(self, trail: Trail, value: Value, depth: int) -> Size | None:
        """A function of where the trail starts: of a kernel's output, or of a sum."""
        begun = self._begun(trail, depth)
        if begun is None:
            return None
        f = np.asarray(trail.on_grid(value), np.float64)
        if begun != _UNIT and value not in trail.standardized:
            spread = max(begun.square - begun.mean**2, 0.0) ** 0.5
            with jax.enable_x64(True), jax.ensure_compile_time_eval():
                f = np.asarray(trail.function(value)(begun.mean + spread * GRID), np.float64)
        if not np.isfinite(f).all():
            return None
        return Size(mean_on_grid(f), mean_on_grid(f * f))

    def _begun(self, trail: Trail, depth: int) -> Size | None:
        op = trail.start.op
        return _UNIT if op is None or is_linear(op) else self.size(trail.start, depth + 1)

    def _mixture(self, parts: Sequence[Value], depth: int) -> Size | None:
        sizes = [
            self.size(v, depth + 1) if self.graph.kind(v) is Kind.SIGNAL else Size(0.0, 0.0)
            for v in parts
        ]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            return None
        weights = np.array([v.aval.size for v in parts], np.float64)
        mean, square = np.average(np.array(known), axis=0, weights=weights)
        return Size(float(mean), float(square))

    def _product(self, signals: Sequence[Value], depth: int) -> Size | None:
        one, other = (self.size(v, depth + 1) for v in signals)
        if one is None or other is None:
            return None
        return Size(one.mean * other.mean, one.square * other.square)

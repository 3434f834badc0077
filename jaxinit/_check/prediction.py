"""Predicts signal and gradient from layer to layer by mean-field theory.

The second moment q of a layer's output follows from that of the layer before:
q' = fan_in E[w^2] E[phi(sqrt(q) z)^2] + E[b^2], z ~ N(0, 1). That of a gradient follows from the
layers after: g = E[phi'(sqrt(q) z)^2] sum fan_out E[w^2] g'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._choose.activations import Activation, resolve
from .._choose.quadrature import moment_on_grid
from .._infer.infer import Reading
from .._infer.parameter import Parameter
from .measure import Layer, Seen


@dataclass(eq=False)
class Spot:
    """A layer in one turn of the loop around it.

    Attributes:
      layer: the layer.
      turn: the turn, for layers that are stacked in a loop.
      seen: what was measured.
      weight, bias: the second moments of its kernel and bias.
      before: the spots whose activated outputs it takes.
      after: the spots that take its activated output.
      q: the predicted second moment of its output.
      gradient: the predicted second moment of the gradient at its output.
    """

    layer: Layer
    turn: int | None
    seen: Seen
    weight: float
    bias: float
    before: tuple[Spot, ...] = ()
    after: tuple[Spot, ...] = ()
    q: float | None = None
    gradient: float | None = None

    @property
    def parameter(self) -> Parameter:
        return self.layer.parameter

    @property
    def path(self) -> str:
        path = self.parameter.path
        return path if self.turn is None else f"{path}[{self.turn}]"

    @property
    def place(self) -> tuple[int, int, int]:
        loop, position = self.layer.place
        return loop, self.turn or 0, position

    @property
    def std(self) -> float:
        return root(self.seen.square - self.seen.mean**2)

    @property
    def gradient_std(self) -> float:
        return root(self.seen.gradient_square - self.seen.gradient_mean**2)

    @property
    def gradient_norm(self) -> float:
        """The norm for one example, so that layers of different sizes can be compared."""
        shape = self.layer.made.aval.shape
        return root(self.seen.gradient_square) * math.sqrt(math.prod(shape[1:]))

    def row(self) -> dict[str, Any]:
        """The row of the report."""
        return {
            "path": self.path,
            "feeds": self.parameter.activation,
            "mean": self.seen.mean,
            "std": self.std,
            "predicted": None if self.q is None else math.sqrt(self.q),
            "dead": _known(self.seen.dead),
            "saturated": _known(self.seen.saturated),
            "cosine": _known(self.seen.cosine),
            "gradient": _known(self.gradient_std),
            "predicted_gradient": _known(math.nan if (g := self.gradient) is None else root(g)),
        }


def root(x: float) -> float:
    return math.sqrt(max(x, 0.0)) if math.isfinite(x) else x


def _known(x: float) -> float | None:
    return None if math.isnan(x) else x


def spots_of(
    reading: Reading,
    found: Sequence[Layer],
    seen: Sequence[list[Seen] | None],
    weights: Mapping[str, Any],
) -> Iterator[Spot]:
    biases = {p.layer: p.path for p in reading.inferred.values() if p.layer}
    for layer, turns in zip(found, seen, strict=True):
        if turns is None:
            continue
        path = layer.parameter.path
        bias = weights[biases[path]] if path in biases else None
        if not layer.stacked:
            mean = Seen(*np.mean(np.array(turns), 0).tolist())
            yield Spot(layer, None, mean, _square(weights[path]), _square(bias))
            continue
        for turn, numbers in enumerate(turns):
            place = turn // (len(turns) // layer.turns[0])
            one = None if bias is None else bias[place]
            yield Spot(layer, turn, numbers, _square(weights[path][place]), _square(one))


def _square(x: Any) -> float:
    """The second moment."""
    return 0.0 if x is None else float(np.mean(np.square(np.abs(np.asarray(x)).astype(np.float64))))


def predict(spots: Sequence[Spot]) -> None:
    """Fill in what mean-field theory predicts, forwards and then backwards."""
    by_path = {(s.parameter.path, s.turn): s for s in spots}
    for spot in spots:
        fed = spot.parameter.fed_by
        before = [by_path.get((path, spot.turn)) for path in fed.kernels]
        spot.before = tuple(b for b in before if b is not None and b.place < spot.place)
        taken = spot.seen.taken
        if fed.functions and len(spot.before) == len(fed.functions) and not fed.pooled:
            scales = [1.0 if fed.normalized else b.q or b.seen.square for b in spot.before]
            moments = [_moment(f, q) for f, q in zip(fed.functions, scales, strict=True)]
            known = [moment for moment in moments if moment is not None]
            taken = math.prod(known) if len(known) == len(moments) else taken
        spot.q = (spot.parameter.fan_in or 1) * spot.weight * taken + spot.bias
        if len(fed.functions) == 1 and not fed.normalized and not fed.pooled:
            for b in spot.before:
                b.after += (spot,)
    for spot in reversed(spots):
        if spot.after and spot.parameter.takers == len(spot.after) and spot.q is not None:
            slope = _moment(spot.after[0].parameter.fed_by.functions[0], spot.q, backward=True)
            returned = [
                s.weight * (s.parameter.fan_out or 1) * (s.gradient or s.seen.gradient_square)
                for s in spot.after
            ]
            spot.gradient = None if slope is None else slope * sum(returned)


def _moment(activation: Activation, q: float, backward: bool = False) -> float | None:
    """E[phi(sqrt(q) z)^2], or that of the slope; None where it cannot be told.

    A softmax or the like is taken to keep the second moment of its input.
    """
    function = resolve("propagate", activation).function
    if function is None:
        return 1.0 if backward else q
    return moment_on_grid(function, math.sqrt(q), backward)

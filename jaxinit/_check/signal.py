"""Runs a model once and looks at what each kernel takes, and at what becomes of its output.

This tells apart what the weights alone cannot: a scale of zero that closes a residual branch on
purpose, and one that lets nothing through to the layers behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._infer.infer import Reading
from .._program.ir import Value
from .._program.probe import run
from .measure import Layer, layers

_ENOUGH = 16  # places at which a unit is seen, for it to be called dead


class Observed(NamedTuple):
    """What was seen of one kernel.

    Attributes:
      taken: the second moment of its input.
      varies: whether its input differs from one example to the next.
      mean, std: of its output with the bias, over all units.
      dead: the share of its units whose activated output is the same at every place; NaN where
        there are too few places to tell.
    """

    taken: float
    varies: bool
    mean: float
    std: float
    dead: float


def has_values(reading: Reading) -> bool:
    """Whether all arguments of the forward pass are arrays, not only their shapes."""
    return all(isinstance(x, jax.Array | np.ndarray | np.generic) for x in reading.arguments)


class Run:
    """A model that can be run again with other parameters, and what is seen of its kernels."""

    def __init__(self, reading: Reading) -> None:
        self._layers = sorted(layers(reading), key=lambda layer: layer.place)
        self._arguments = tuple(reading.arguments)
        paths = list(reading.inferred)
        self._place = dict(zip(paths, reading.mine, strict=True))
        looks: dict[Value, dict[str, Callable[[Any], Any]]] = {}
        for layer in self._layers:
            looks.setdefault(layer.taken, {})["taken"] = _second_moment_and_range
            looks.setdefault(layer.made, {})["made"] = _mean_and_second_moment
            looks.setdefault(layer.activated, {})["dead"] = partial(_dead, layer.live)

        def tap(mine: Mapping[str, Callable[[Any], Any]], x: Any, _: Any) -> tuple[Any, Any]:
            return x, {name: look(x) for name, look in mine.items()}

        self._taps = {value: partial(tap, mine) for value, mine in looks.items()}

        def forward(arguments: Any) -> list[Any]:
            env = dict(zip(reading.program.inputs, arguments, strict=True))
            _, seen = run(reading.program.outputs, env, self._taps, {})
            return [seen.get(value) for value in self._taps]

        self._forward = jax.jit(forward)
        self.seen = self._observe(self._arguments)

    def _observe(self, arguments: tuple[Any, ...]) -> dict[str, Observed]:
        seen = dict(zip(self._taps, self._forward(arguments), strict=True))
        return {
            layer.parameter.path: observed
            for layer in self._layers
            if (observed := _observed(layer, seen)) is not None
        }

    def fed_without(self, path: str) -> list[str]:
        """The kernels that take no signal because this parameter is all zero, first ones first.

        They take only zeros, or the same numbers in every example, and would not. The model is run again with other numbers in its place: ones, or random ones for a matrix.
        """
        place = self._place[path]
        zero = np.asarray(self._arguments[place])
        random = np.random.default_rng(0).standard_normal(zero.shape)
        other = np.asarray(random if zero.ndim > 1 else np.ones(zero.shape), zero.dtype)
        changed = (*self._arguments[:place], other, *self._arguments[place + 1 :])
        after = self._observe(changed)
        return [
            path
            for path, before in self.seen.items()
            if (before.taken == 0 < after[path].taken) or (not before.varies and after[path].varies)
        ]


def _observed(layer: Layer, seen: Mapping[Value, Any]) -> Observed | None:
    parts = [seen[value] for value in (layer.taken, layer.made, layer.activated)]
    if any(part is None for part in parts):
        return None  # within a branch or a while loop
    taken, widest = np.asarray(parts[0]["taken"], np.float64).reshape(-1, 2).max(0)
    mean, square = np.asarray(parts[1]["made"], np.float64).reshape(-1, 2).mean(0)
    dead = float(np.max(np.asarray(parts[2]["dead"])))
    return Observed(
        float(taken), widest > 0, float(mean), math.sqrt(max(square - mean**2, 0.0)), dead
    )


def _real(x: Any) -> Any:
    return jnp.asarray(jnp.abs(x) if jnp.iscomplexobj(x) else x, jnp.float32)


def _second_moment(x: Any) -> Any:
    return jnp.mean(jnp.square(_real(x)))


def _second_moment_and_range(x: Any) -> Any:
    """The second moment, and how far an element differs between examples, the first axis."""
    real = _real(x)
    widest = jnp.max(jnp.max(real, 0) - jnp.min(real, 0)) if real.ndim else jnp.float32(0)
    return jnp.stack([_second_moment(x), widest])


def _mean_and_second_moment(x: Any) -> Any:
    return jnp.stack([jnp.mean(_real(x)), _second_moment(x)])


def _dead(units: tuple[int, ...], x: Any) -> Any:
    """The share of units that have one value everywhere."""
    others = tuple(i for i in range(x.ndim) if i not in units)
    if not units or math.prod(x.shape[i] for i in others) < _ENOUGH:
        return jnp.float32(jnp.nan)
    real = _real(x)
    return jnp.mean(jnp.max(real, others) == jnp.min(real, others))

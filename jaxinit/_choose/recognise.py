"""Recognising an activation function by its values, however it is written or wrapped.

The function is evaluated on a grid and compared with the known activations. For example,
``lambda x: jnp.maximum(x, 0)``, ``jax.jit(jax.nn.relu)`` and ``flax.nnx.relu`` have the values of
relu, so they are relu. A function with a parameter is compared after the parameter has been solved
for: from f(-8) = -0.8 and f(8) = 8 follows the slope 0.1 of a leaky relu. A function that computes
in bfloat16 is compared up to what that rounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .known import GATES, elementwise
from .precision import precision
from .quadrature import Function, UnsuitableError, evaluate, evaluate_all, is_constant

# An even number of points, as gated units split their input; so 0 is not among them.
GRID = np.linspace(-8.0, 8.0, 640)
_CLOSE = 1e-5  # relative to the largest value


class Match(NamedTuple):
    """A known activation with the values that were seen, and the parameter that gives them."""

    name: str
    function: Function
    parameter: float | None = None


def recognise(function: Function) -> Match | None:
    """The known activation that a function computes, or None."""
    return _cached(function) if is_constant(function) else _recognise(function)


def match(values: np.ndarray, grid: np.ndarray, eps: float) -> Match | None:
    """The known function of one value that has these values on the grid, or None.

    ``grid`` is symmetric about 0, and ``eps`` is the precision of what computed the values.
    """
    if not np.isfinite(values).all():
        return None
    close = _CLOSE * max(float(np.abs(values).max()), 1e-30)
    tolerance = close + eps * (np.abs(grid) + np.abs(values))  # as both ends may have been rounded
    best, error = None, 1.0
    for found, expected in candidates(values, grid, max(_CLOSE, eps)):
        apart = float((np.abs(values - expected) / tolerance).max())
        if apart < error:
            best, error = found, apart
    return best


def _recognise(function: Function) -> Match | None:
    try:
        values = evaluate(function, GRID)
    except UnsuitableError:
        return None
    eps = precision(function, len(GRID))
    if values.shape == GRID.shape and (found := match(values, GRID, eps)):
        return found
    close = _CLOSE + 2 * eps
    for name, other in _of_several_inputs():
        expected = evaluate(other, GRID)
        if values.shape == expected.shape and np.allclose(values, expected, close, atol=1e-7):
            return Match(name, other)
    return None


_cached = functools.lru_cache(maxsize=512)(_recognise)


def candidates(
    values: np.ndarray, grid: np.ndarray, close: float
) -> Iterator[tuple[Match, np.ndarray]]:
    """Known activations, with their values on the grid; last those whose option fits the values."""
    yield from _fixed(tuple(grid))
    for name, function, parameter in _families(float(values[0]), float(values[-1]), grid, close):
        if math.isfinite(parameter):
            shaped = functools.partial(function, **{_OPTION[name]: parameter})
            yield Match(name, shaped, parameter), evaluate(shaped, grid)


@functools.lru_cache(maxsize=8)
def _fixed(grid: tuple[float, ...]) -> tuple[tuple[Match, np.ndarray], ...]:
    """The activations with the default of their parameter, and the exact gelu."""
    exact = functools.partial(jax.nn.gelu, approximate=False)
    named = [*elementwise().items(), ("gelu", exact)]
    found = [Match(name, function) for name, function in named if name != "prelu"]
    expected = evaluate_all([match.function for match in found], np.asarray(grid))
    return tuple(zip(found, expected, strict=True))


_OPTION = {"leaky_relu": "negative_slope", "elu": "alpha", "celu": "alpha"}


def _families(
    first: float, last: float, grid: np.ndarray, close: float
) -> Iterator[tuple[str, Any, float]]:
    """The parameter of each family that would give the first and the last value on the grid."""
    low, high = float(grid[0]), float(grid[-1])
    if not math.isclose(last, high, rel_tol=close):
        return
    # Many digits are noise: a slope of 0.1 comes out as 0.10000000000000002.
    if first < 0:
        yield "leaky_relu", jax.nn.leaky_relu, float(f"{first / low:.7g}")
        yield "elu", jax.nn.elu, float(f"{first / math.expm1(low):.7g}")
        if first > low:
            yield "celu", jax.nn.celu, float(f"{_celu_alpha(first, low):.7g}")


def _celu_alpha(value: float, x: float) -> float:
    """The alpha > 0 with alpha (exp(x/alpha) - 1) = value, for x < value < 0, by bisection."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if middle * math.expm1(x / middle) > value else (low, middle)
    return math.sqrt(low * high)


@functools.cache
def _of_several_inputs() -> tuple[tuple[str, Function], ...]:
    """Known functions whose outputs depend on several inputs; a gate may be either half."""
    halves = [(name, _gated(gate, first)) for name, gate in GATES.items() for first in (0, 1)]
    return ("softmax", jax.nn.softmax), ("log_softmax", jax.nn.log_softmax), *halves


def _gated(gate: Callable[[Any], Any], position: int) -> Function:
    """The product of one half of the input and the gate of the other half."""

    def product(x: Any) -> Any:
        halves = jnp.split(x, 2, axis=-1)
        return halves[1 - position] * gate(halves[position])

    return product

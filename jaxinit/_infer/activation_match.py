"""Recognises an activation function by the values that it computes.

The values of the followed function on a grid are compared with those of every activation that is
known, up to a scale. So ``x * jax.nn.sigmoid(x)`` is recognised as silu however it is written.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._choose.activations import Activation
from .._choose.quadrature import evaluate
from .._choose.recognise import GRID, candidates
from .._program.ir import Value
from .trail import Trail

# As a share of the largest value, because an activation may be traced in low precision.
_CLOSE = 2e-4


class Recognised(NamedTuple):
    """An activation: its name for people, and the form that ``recommend`` and ``gain`` take."""

    name: str
    activation: Activation


UNKNOWN = "function"
IDENTITY = Recognised("identity", None)


def recognise(trail: Trail, value: Value) -> Recognised:
    """The activation that makes the value from the kernel's output."""
    f = np.broadcast_to(np.asarray(trail.on_grid(value), np.float64), GRID.shape)
    phi = trail.function(value)
    if {"reduce_sum", "reduce_max"} <= set(trail.reduced):  # as softmax subtracts the largest
        if (f > 0).all() and _is_line(np.log(f)):
            return Recognised("softmax", "softmax")
        if _is_line(f):
            return Recognised("log_softmax", "log_softmax")
    if not np.isfinite(f).all():
        return Recognised(UNKNOWN, phi)
    if _is_line(f):
        return IDENTITY
    shifts, normalized = tuple(trail.shifts), value in trail.normalized
    key = "recognised", id(trail.on_grid(value)), shifts, normalized, trail.is_rescaled(value)
    if key not in trail.memo:
        name, function = _match(f, normalized, trail.is_rescaled(value), shifts)
        trail.memo[key] = Recognised(name, phi if function is None else function)
    return trail.memo[key]


def _match(
    f: np.ndarray, normalized: bool, rescaled: bool, shifts: tuple[float, ...]
) -> tuple[str, Activation]:
    """The name of the function with these values, and the known function that it equals, if any."""
    close = _CLOSE * np.abs(f).max()
    for found, g in candidates(_as_at_the_end(f), GRID, _CLOSE):
        function, option = found.function, found.parameter
        name = found.name if option is None else f"{found.name}({option:.3g})"
        scale = float(f @ g / (g @ g))
        if scale > 0 and np.abs(f - scale * g).max() <= close:
            plain = abs(scale - 1) <= _CLOSE or rescaled
            return (name, function) if plain else (f"{scale:.3g} * {name}", None)
        if normalized and _is_affine(f, g):
            return name, function
        for shift in shifts:  # a bias written into the model, as of a forget gate
            if np.abs(f - evaluate(function, GRID + shift)).max() <= close:
                return name, function
    return UNKNOWN, None


def _as_at_the_end(f: np.ndarray) -> np.ndarray:
    """f, or if it grows to the right, a multiple of it that is z at the end of the grid.

    There relu is z, and leaky_relu, elu and celu whatever their option.
    """
    grows = f[-1] > _CLOSE * np.abs(f).max()
    return f * (GRID[-1] / f[-1]) if grows else f


def _is_affine(f: np.ndarray, g: np.ndarray) -> bool:
    """Whether f is a positive multiple of g plus a constant."""
    basis = np.stack([g, np.ones_like(g)])
    scale, shift = np.linalg.lstsq(basis.T, f, rcond=None)[0]
    return scale > 0 and np.abs(f - scale * g - shift).max() <= _CLOSE * np.abs(f).max()


def _is_line(f: np.ndarray) -> bool:
    slope = (f[-1] - f[0]) / (GRID[-1] - GRID[0])
    line = f[0] + slope * (GRID - GRID[0])
    return bool(slope) and bool(np.abs(f - line).max() <= _CLOSE * np.abs(slope * GRID).max())

"""Integrals over the normal distribution: E[phi(z)^2] for z ~ N(0, 1), and the same of phi'.

The range [-16, 16] is cut into panels, and a Gauss-Legendre rule with 12 nodes integrates each. A
panel whose two halves do not agree with it is halved, so kinks and jumps may lie anywhere. For
example, relu settles at once except in the panel that ends at its kink. What a function rounds to
bounds how well the halves can agree, and what is asked of them.

Where many integrals are wanted and a few digits are enough, as for every layer of a deep model,
the function is summed on one fixed grid: ``NODES`` with ``WEIGHTS``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .precision import precision

Function = Callable[[Any], Any]

_REACH = 16.0  # P(|z| > 16) < 2e-57
_TOLERANCE = 1e-9  # relative to the whole integral
_UNRESOLVED = 1e-6  # relative to the whole integral: an error beyond this is reported
_ROUNDED = 1 / 128  # of the function's own precision: a tolerance below this would ask too much
_NARROWEST = 1e-9
_MOST_PANELS = 20_000
_SIZE = 1024  # of an array that a function is evaluated on, at least


def normal_weights(z: np.ndarray) -> np.ndarray:
    """How much each point of an even grid counts in a mean over N(0, 1)."""
    density = np.exp(-z * z / 2)
    return density / density.sum()


# An even number of nodes, so that a kink or a jump at 0 lies midway between two of them; and of
# every third a grid of the same kind can be made, as their number is a multiple of 6.
NODES = np.linspace(-8.5, 8.5, 4092)  # P(|z| > 8.5) < 2e-17
WEIGHTS = normal_weights(NODES)
_THIRD = slice(1, None, 3)
_ALIKE = 0.05  # what the two grids may differ by, as a share


class UnsuitableError(ValueError):
    """A function has no gain. The text continues a sentence that begins with the function's
    name."""


def second_moment(function: Function, derivative: bool = False) -> float:
    """E[phi(z)^2], or E[phi'(z)^2], for z ~ N(0, 1).

    The relative error is below 1e-6, or of the order of the function's own rounding.

    Raises:
      UnsuitableError: the function is not elementwise, is not finite, or its integral is infinite.
    """
    integrate = _cached_moment if is_constant(function) else _integrate
    value = integrate(function, derivative)
    if math.isinf(value):
        what = "derivative" if derivative else "value"
        raise UnsuitableError(
            f"has a {what} whose second moment under N(0, 1) is infinite, or cannot be computed; "
            f"give the scale yourself."
        )
    return value


def moment_on_grid(function: Function, scale: float, derivative: bool = False) -> float | None:
    """E[phi(scale z)^2], or E[phi'(scale z)^2], summed on the fixed grid.

    The relative error is below 1e-5 for smooth functions and for kinks and jumps at 0, and below
    1e-2 for jumps elsewhere, as of the slope of a hard tanh. None where a value is not finite, or
    where a coarser grid does not agree, as the moment may be infinite: of the slope of sqrt(|z|).
    """
    try:
        values = evaluate_finite(function, scale * NODES, derivative)
    except UnsuitableError:
        return None
    fine = float(WEIGHTS @ (values * values))
    coarse = 3 * float(WEIGHTS[_THIRD] @ (values[_THIRD] * values[_THIRD]))
    return fine if abs(fine - coarse) <= _ALIKE * fine else None


def is_constant(function: object) -> bool:
    """Whether a function always computes the same, so that results may be kept.

    An instance of a class may have parameters that change, as the slope of an NNX PReLU does.
    """
    has_python_call = hasattr(type(function).__call__, "__code__")
    return not has_python_call and type(function).__hash__ is not None


def evaluate(function: Function, z: np.ndarray, derivative: bool = False) -> np.ndarray:
    """phi(z) or phi'(z), in float64. It runs at once, even while JAX traces the caller."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        x = jnp.asarray(z, jnp.float64)
        try:
            y = jax.jvp(function, (x,), (jnp.ones_like(x),))[1] if derivative else function(x)
            values = np.asarray(y)
            if values.dtype.kind != "c":
                return values.astype(np.float64)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnsuitableError(f"cannot be applied to an array: {reason}") from error
    raise UnsuitableError("has complex values; give a function with real ones.")


def evaluate_all(functions: Sequence[Function], z: np.ndarray) -> list[np.ndarray]:
    """phi(z) of several functions, in float64; they are compiled as one program."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        together = jax.jit(lambda x: [function(x) for function in functions])
        return [np.asarray(y, np.float64) for y in together(jnp.asarray(z, jnp.float64))]


def evaluate_finite(function: Function, z: np.ndarray, derivative: bool = False) -> np.ndarray:
    """``evaluate`` of a row of numbers, but an error if the result is no such row of finite ones.

    The row is made longer, to one of few sizes, as JAX compiles each operation for each size.
    """
    if not z.size:
        return z
    size = max(_SIZE, 1 << (z.size - 1).bit_length())
    values = evaluate(function, np.pad(z, (0, size - z.size), mode="edge"), derivative)
    if values.shape != (size,):
        raise UnsuitableError(
            f"is not elementwise: it maps shape {z.shape} to {evaluate(function, z).shape}; "
            f"give a function of one value, or the scale yourself."
        )
    values = values[: z.size]
    if not np.isfinite(values).all():
        bad = z[~np.isfinite(values)][0]
        raise UnsuitableError(f"is not finite at {bad:.3g}; give the scale yourself.")
    return values


def _integrate(function: Function, derivative: bool) -> float:
    """The second moment; infinite where it is not finite, or cannot be computed."""
    _check_elementwise(function)
    eps = precision(function, _SIZE)
    tolerance, most = max(_TOLERANCE, _ROUNDED * eps), max(_UNRESOLVED, eps)
    nodes, weights = np.polynomial.legendre.leggauss(12)

    def panels(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        half = (right - left) / 2
        z = (left + right)[:, None] / 2 + half[:, None] * nodes
        values = evaluate_finite(function, z.reshape(-1), derivative).reshape(z.shape)
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return half * ((values * values * density) @ weights)

    edges = np.linspace(-_REACH, _REACH, 65)
    left, right = edges[:-1], edges[1:]
    whole = panels(left, right)
    # What lies beyond the range is judged by the outermost panels.
    unresolved = float(whole[0] + whole[-1])
    settled, count = 0.0, 0
    while left.size:
        middle = (left + right) / 2
        first, second = panels(left, middle), panels(middle, right)
        halves = first + second
        total = settled + float(np.sum(halves))
        count += left.size
        rough = np.abs(halves - whole) > tolerance * max(total, 1e-300) / 64
        again = rough & (right - left > _NARROWEST) & (count < _MOST_PANELS)
        settled += float(np.sum(halves[~again]))
        unresolved += float(np.sum(np.abs(halves - whole)[rough & ~again]))
        left, right = (
            np.concatenate([left[again], middle[again]]),
            np.concatenate([middle[again], right[again]]),
        )
        whole = np.concatenate([first[again], second[again]])
    resolved = math.isfinite(settled) and unresolved <= most * settled
    return settled if resolved else math.inf


_cached_moment = functools.lru_cache(maxsize=512)(_integrate)


def _check_elementwise(function: Function) -> None:
    """Each output must depend on its own input alone: it is the same among other neighbours."""
    z = np.linspace(-3.0, 3.0, 32)
    together, apart = evaluate_finite(function, z), evaluate_finite(function, z[::-3])
    if not np.allclose(together[::-3], apart, rtol=1e-6, atol=1e-12):
        raise UnsuitableError(
            "is not elementwise: its value at one input depends on the others; "
            "give a function of one value, or the scale yourself."
        )

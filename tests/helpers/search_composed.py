"""Search for short polynomials P(q(x)), q of degree 4, for the truncated or the whole normal.

    python tests/helpers/search_composed.py truncated --terms 8 --seconds 60

Chooses powers of P at random, no two neighbours more than 2 apart, and then the coefficients of q
by the Nelder-Mead method, as those that give the best P. Prints the best: the relative error, the
powers, and q without its leading coefficient, 1, from the lowest power up. It is how the inner
polynomial and the powers in derive_coefficients.py were found, which then derives P. Needs SciPy.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from scipy import optimize, special

Array = np.ndarray
MASS = math.erf(math.sqrt(2))


def truncated(square: Array) -> Array:
    """x/|u| of the normal truncated at +-2, as a function of u^2."""
    v = MASS * np.sqrt(np.maximum(square, 1e-20))
    return MASS * math.sqrt(2) * special.erfinv(v) / v


def normal(level: Array) -> Array:
    """x/|u| of the normal, as a function of level/22.2 = -log(1 - u^2)/22.2."""
    rest = np.exp(-22.2 * level)
    u = np.sqrt(np.maximum(1 - rest, 1e-20))
    tail = special.erfcinv(rest / (1 + u))
    return math.sqrt(2) * np.where(rest > 0.5, special.erfinv(np.minimum(u, 0.99)), tail) / u


FUNCTIONS: dict[str, Callable[[Array], Array]] = {"truncated": truncated, "normal": normal}


def error(inner: Array, powers: Array, x: Array, f: Array, rounds: int) -> float:
    """The least maximum relative error of P(q(x)), by Lawson's method."""
    z = np.polyval([1, *inner[::-1]], x)
    if np.abs(z).max() > 20:
        return 9.0
    rows = z[:, None] ** powers / f[:, None]
    rows, weights, least = rows / np.abs(rows).max(0), np.ones_like(f), 9.0
    for _ in range(rounds):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(rows * root[:, None], root, rcond=1e-13)[0]
        errors = np.abs(rows @ solution - 1)
        least, weights = min(least, errors.max()), weights * errors
        weights /= weights.sum()
    return least


def search(name: str, terms: int, seconds: float, seed: int) -> list[tuple[float, list, list]]:
    """The best few of what is found in so many seconds."""
    draw, found, end = np.random.default_rng(seed), [], time.monotonic() + seconds
    x = (1 - np.cos(np.pi * np.arange(64) / 63)) / 2
    f = FUNCTIONS[name](x)
    while time.monotonic() < end:
        powers = np.cumsum([0, *draw.choice([1, 1, 2], size=terms - 1)])
        if powers[-1] > 12:
            continue
        inner = np.array([-1.9, 1.2, 1.0, 0.9]) * (1 + 0.3 * draw.normal(size=4))
        for rounds, steps in ((4, 100), (7, 250)):
            made = optimize.minimize(
                lambda q, p=powers, n=rounds: math.log(error(q, p, x, f, n)),
                inner,
                method="Nelder-Mead",
                options={"maxiter": steps, "xatol": 1e-4, "fatol": 1e-3, "adaptive": True},
            )
            inner = made.x
        found.append((math.exp(made.fun), powers.tolist(), inner.round(4).tolist()))
    return sorted(found)[:5]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("function", choices=FUNCTIONS)
    parser.add_argument("--terms", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for least, powers, inner in search(asked.function, asked.terms, asked.seconds, asked.seed):
        print(f"{least:.2e}", powers, inner)

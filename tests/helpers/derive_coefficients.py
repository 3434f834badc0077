"""Derive the coefficients in jaxinit/_random/coefficients.py, by Remez exchange in 50 digits.

    python tests/helpers/derive_coefficients.py > jaxinit/_random/coefficients.py

Of all polynomials of its degree, each has the smallest maximum *relative* error on its interval. It
is written in powers of ``x - center``. Needs mpmath.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp
import numpy as np

mp.mp.dps = 50

TRUNCATED_MASS = mp.erf(mp.sqrt(2))  # P(|z| < 2)
# The values of L = -log(1 - u^2) up to which CENTRAL, TAIL and FAR are used.
SPLIT, SPLIT_FAR, FAR_END = {32: mp.mpf("6.5"), 64: 6}, {32: 22, 64: 44}, 700


class Spec(NamedTuple):
    """What to approximate, on which interval, about which center, and with which degree."""

    name: str
    function: Callable[[mp.mpf], mp.mpf]
    lower: mp.mpf
    upper: mp.mpf
    center: float
    degree: int


def remez(spec: Spec, rounds: int = 12) -> tuple[mp.mpf, list[mp.mpf]]:
    """The maximum relative error, and the coefficients from the lowest power up."""
    lower, upper, n = mp.mpf(spec.lower), mp.mpf(spec.upper), spec.degree + 2
    center, half = mp.mpf(spec.center), (upper - lower) / 2

    def chebyshev(count: int) -> list[mp.mpf]:
        return [lower + half * (1 - mp.cos(mp.pi * k / (count - 1))) for k in range(count)]

    nodes, grid = chebyshev(n), chebyshev(16 * n)
    values = [spec.function(x) for x in grid]
    worst, coefficients = mp.inf, []
    for _ in range(rounds):
        system = mp.matrix(n, n)
        for i, x in enumerate(nodes):
            for power in range(n - 1):
                system[i, power] = (x - center) ** power / spec.function(x)
            system[i, n - 1] = (-1) ** i
        solution = mp.lu_solve(system, mp.ones(n, 1))
        coefficients, level = list(solution[: n - 1]), abs(solution[n - 1])
        errors = [
            _polynomial(coefficients, x - center) / value - 1
            for x, value in zip(grid, values, strict=True)
        ]
        worst, extremes = max(map(abs, errors)), _extremes(errors, n)
        if len(extremes) < n or worst < 1.02 * level:
            break
        nodes = [grid[k] for k in extremes]
    return worst, coefficients


def _polynomial(coefficients: list[mp.mpf], x: mp.mpf) -> mp.mpf:
    total = mp.mpf(0)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def _extremes(errors: list[mp.mpf], count: int) -> list[int]:
    """Where the error is largest in each run of errors of one sign.

    If there are more than ``count``, the weaker of the two ends is dropped until there are not.
    """
    places, start = [], 0
    while start < len(errors):
        stop = start
        while stop < len(errors) and (errors[stop] >= 0) == (errors[start] >= 0):
            stop += 1
        places.append(max(range(start, stop), key=lambda k: abs(errors[k])))
        start = stop
    while len(places) > count:
        places.pop(0 if abs(errors[places[0]]) < abs(errors[places[-1]]) else -1)
    return places


def upper_quantile(mass: mp.mpf) -> mp.mpf:
    """z with P(|Z| > z) = mass, by Newton's method on log erfc."""
    z = mp.sqrt(-2 * mp.log(mass))
    for _ in range(100):
        tail = mp.erfc(z / mp.sqrt(2))
        step = mp.log(tail / mass) * tail * mp.sqrt(mp.pi / 2) * mp.exp(z * z / 2)
        z += step
        if abs(step) < mp.mpf(10) ** (8 - mp.mp.dps) * z:
            break
    return z


def quantile_ratio(level: mp.mpf) -> mp.mpf:
    """x/|u| of the normal quantile x at |u|, as a function of L = -log(1 - u^2)."""
    level = mp.mpf(level)
    if level < mp.mpf(10) ** -25:
        return mp.mpf(mp.sqrt(mp.pi / 2))
    u = mp.sqrt(-mp.expm1(-level))
    if level < 1:
        return mp.sqrt(2) * mp.erfinv(u) / u
    return upper_quantile(mp.exp(-level) / (1 + u)) / u


def truncated_ratio(s: mp.mpf) -> mp.mpf:
    """x/|u| of the quantile x of the normal truncated at +-2, as a function of
    s = sqrt(1/c^2 - u^2), c = P(|Z| < 2)."""
    v = TRUNCATED_MASS * mp.sqrt(max(mp.mpf(0), 1 / TRUNCATED_MASS**2 - s * s))
    if v < mp.mpf(10) ** -20:
        return TRUNCATED_MASS * mp.sqrt(mp.pi / 2)
    return TRUNCATED_MASS * mp.sqrt(2) * mp.erfinv(v) / v


def _over(x: mp.mpf, function: Callable[[mp.mpf], mp.mpf]) -> mp.mpf:
    return function(x) / x if abs(x) > mp.mpf(10) ** -20 else mp.mpf(1)


def specs(bits: int) -> list[Spec]:
    """The polynomials of one float width."""
    single, split, far = bits == 32, SPLIT[bits], SPLIT_FAR[bits]
    root, octant = mp.sqrt, (mp.pi / 4) ** 2

    def by_root(t: mp.mpf) -> mp.mpf:
        return quantile_ratio(t * t)

    tail = (
        Spec("TAIL", quantile_ratio, split, far, 14, 8)
        if single  # no square root, which is expensive on GPUs: it has to be rounded by hand there
        else Spec("TAIL", by_root, root(split), root(far), 4.5, 28)
    )
    common = [
        Spec(
            "LOG", lambda f: _over(f, mp.log1p), root(0.5) - 1, root(2) - 1, 0, 6 if single else 20
        ),
        Spec("CENTRAL", quantile_ratio, 0, split, 3, 8 if single else 22),
        tail,
        Spec("FAR", by_root, root(far), root(FAR_END), 15.5, 11 if single else 27),
        Spec("SINE", lambda y: _over(root(y), mp.sin), 0, octant, 0, 3 if single else 7),
        Spec("COSINE", lambda y: mp.cos(root(y)), 0, octant, 0, 4 if single else 8),
    ]
    start = root(1 / TRUNCATED_MASS**2 - 1)
    truncated = Spec("TRUNCATED", truncated_ratio, start, 1 / TRUNCATED_MASS, 0.65625, 9)
    return [*common, truncated] if single else common


def rounded(coefficients: list[mp.mpf], bits: int) -> tuple[str, ...]:
    """Shortest decimals that read back as the nearest float of the width."""
    dtype = np.float32 if bits == 32 else np.float64
    return tuple(str(dtype(mp.nstr(c, 25))) for c in coefficients)


def module() -> str:
    """The text of jaxinit/_random/coefficients.py."""
    lines = [
        '"""The polynomials of the distributions, as derived by tests/helpers.',
        "",
        "``tests/helpers/derive_coefficients.py`` writes this file. Coefficients are",
        "given from the lowest power up.",
        '"""',
        "",
        "from typing import NamedTuple",
        "",
        "",
        "class Polynomial(NamedTuple):",
        '    """A polynomial in powers of x - center."""',
        "",
        "    center: float",
        "    coefficients: tuple[float, ...]",
        "",
    ]
    for bits in (32, 64):
        for spec in specs(bits):
            worst, coefficients = remez(spec)
            lines += [
                "",
                f"# relative error {mp.nstr(worst, 2)} on "
                f"[{mp.nstr(spec.lower, 6)}, {mp.nstr(spec.upper, 6)}]",
                f"{spec.name}_{bits} = Polynomial(",
                f"    {spec.center},",
                "    (",
                *(f"        {text}," for text in rounded(coefficients, bits)),
                "    ),",
                ")",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(module(), end="")

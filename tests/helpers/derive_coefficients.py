"""Derive the coefficients in jaxinit/_random/coefficients.py, in 50 digits.

    python tests/helpers/derive_coefficients.py > jaxinit/_random/coefficients.py

Of all polynomials of its form, each has the smallest maximum *relative* error on its interval. It
is written in powers of ``x - center``, or, where it is composed, in some powers of a polynomial in
x. Needs mpmath.
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


# The truncated normal's inner polynomial, from the lowest power up, its leading coefficient 1 left
# out, and the powers of the outer one: search_composed.py found them.
INNER = (-266 / 128, 207 / 128, 137 / 128, 134 / 128)
POWERS = (0, 1, 2, 3, 5, 7, 9, 10)


class Spec(NamedTuple):
    """What to approximate, on which interval, and in which powers of which polynomial of x.

    The latter is given without its leading coefficient, 1: (-3,) stands for x - 3.
    """

    name: str
    function: Callable[[mp.mpf], mp.mpf]
    lower: mp.mpf
    upper: mp.mpf
    inner: tuple[float, ...]
    powers: tuple[int, ...]


def centered(
    name: str,
    function: Callable[[mp.mpf], mp.mpf],
    lower: mp.mpf,
    upper: mp.mpf,
    center: float,
    degree: int,
) -> Spec:
    """A plain polynomial in x - center."""
    return Spec(name, function, lower, upper, (-center,), tuple(range(degree + 1)))


def remez(spec: Spec, rounds: int = 12) -> tuple[mp.mpf, list[mp.mpf]]:
    """The maximum relative error, and the coefficients from the lowest power up."""
    lower, upper, n = mp.mpf(spec.lower), mp.mpf(spec.upper), len(spec.powers) + 1
    half = (upper - lower) / 2

    def chebyshev(count: int) -> list[mp.mpf]:
        return [lower + half * (1 - mp.cos(mp.pi * k / (count - 1))) for k in range(count)]

    nodes, grid = chebyshev(n), chebyshev(16 * n)
    values = [spec.function(x) for x in grid]
    worst, coefficients = mp.inf, []
    for _ in range(rounds):
        system = mp.matrix(n, n)
        for i, x in enumerate(nodes):
            for column, power in enumerate(spec.powers):
                system[i, column] = _inner(spec, x) ** power / spec.function(x)
            system[i, n - 1] = (-1) ** i
        solution = mp.lu_solve(system, mp.ones(n, 1))
        coefficients, level = list(solution[: n - 1]), abs(solution[n - 1])
        errors = [
            _polynomial(spec.powers, coefficients, _inner(spec, x)) / value - 1
            for x, value in zip(grid, values, strict=True)
        ]
        worst, extremes = max(map(abs, errors)), _extremes(errors, n)
        if len(extremes) < n or worst < 1.02 * level:
            break
        nodes = [grid[k] for k in extremes]
    return worst, coefficients


def lawson(spec: Spec, rounds: int = 100) -> tuple[mp.mpf, list[mp.mpf]]:
    """What ``remez`` gives, by least squares whose weights grow where the error is large.

    Remez exchange needs errors that alternate in sign, which gaps between the powers do not grant
    (C. L. Lawson, "Contributions to the theory of linear least maximum approximation", 1961).
    """
    lower, half, count = spec.lower, (spec.upper - spec.lower) / 2, 16 * len(spec.powers)
    grid = [lower + half * (1 - mp.cos(mp.pi * k / (count - 1))) for k in range(count)]
    rows = np.array(
        [[_inner(spec, x) ** power / spec.function(x) for power in spec.powers] for x in grid]
    )
    weights, best = np.full(count, mp.mpf(1)), (mp.inf, [])
    for _ in range(rounds):
        weighted = rows * weights[:, None]
        solution = mp.lu_solve(mp.matrix(weighted.T @ rows), mp.matrix(weighted.sum(0)))
        errors = np.abs(rows @ np.array(list(solution)) - 1)
        best = min(best, (errors.max(), list(solution)), key=lambda found: found[0])
        weights = weights * errors
        weights = weights / weights.sum()
    return best


def _inner(spec: Spec, x: mp.mpf) -> mp.mpf:
    return _polynomial(tuple(range(len(spec.inner) + 1)), [*map(mp.mpf, spec.inner), mp.mpf(1)], x)


def _polynomial(powers: tuple[int, ...], coefficients: list[mp.mpf], x: mp.mpf) -> mp.mpf:
    terms = (a * x**power for power, a in zip(powers, coefficients, strict=True))
    return sum(terms, start=mp.mpf(0))


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


def truncated_ratio(square: mp.mpf) -> mp.mpf:
    """x/|u| of the quantile x of the normal truncated at +-2, as a function of u^2."""
    v = TRUNCATED_MASS * mp.sqrt(square)
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
        centered("TAIL", quantile_ratio, split, far, 14, 8)
        if single  # no square root, which is expensive on GPUs: it has to be rounded by hand there
        else centered("TAIL", by_root, root(split), root(far), 4.5, 28)
    )
    common = [
        centered(
            "LOG", lambda f: _over(f, mp.log1p), root(0.5) - 1, root(2) - 1, 0, 6 if single else 20
        ),
        centered("CENTRAL", quantile_ratio, 0, split, 3, 8 if single else 22),
        tail,
        centered("FAR", by_root, root(far), root(FAR_END), 15.5, 11 if single else 27),
        centered("SINE", lambda y: _over(root(y), mp.sin), 0, octant, 0, 3 if single else 7),
        centered("COSINE", lambda y: mp.cos(root(y)), 0, octant, 0, 4 if single else 8),
    ]
    truncated = Spec("TRUNCATED", truncated_ratio, mp.mpf(0), mp.mpf(1), INNER, POWERS)
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
        "",
        "class Composed(NamedTuple):",
        '    """A polynomial in some powers of another, whose leading coefficient is 1.',
        "",
        "    That coefficient is not among those of ``inner``. No two neighbours among the powers",
        "    are more than 2 apart.",
        '    """',
        "",
        "    inner: tuple[float, ...]",
        "    powers: tuple[int, ...]",
        "    coefficients: tuple[float, ...]",
        "",
    ]
    for bits in (32, 64):
        for spec in specs(bits):
            worst, coefficients = (lawson if spec.inner == INNER else remez)(spec)
            lines += [
                "",
                f"# relative error {mp.nstr(worst, 2)} on "
                f"[{mp.nstr(spec.lower, 6)}, {mp.nstr(spec.upper, 6)}]",
                *_opening(spec, bits),
                "    (",
                *(f"        {text}," for text in rounded(coefficients, bits)),
                "    ),",
                ")",
            ]
    return "\n".join(lines) + "\n"


def _opening(spec: Spec, bits: int) -> list[str]:
    name = f"{spec.name}_{bits}"
    if spec.inner == INNER:
        return [f"{name} = Composed(", f"    {spec.inner},", f"    {spec.powers},"]
    return [f"{name} = Polynomial(", f"    {-spec.inner[0] if spec.inner[0] else 0},"]


if __name__ == "__main__":
    print(module(), end="")

"""The laws: from a word to a value, by arithmetic that is the same everywhere.

A law takes ``w``, one word of the stream, and stands for Q((1 + u)/2) with u = (2 int(w) + 1)/2^B:
Q is the quantile function of its distribution, int(w) the word as a signed integer, B its width.
Words are uint32 and give float32, or uint64 and give float64.

Every operation is one IEEE-754 operation, rounded to nearest; ``portable`` sees to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import coefficients as c
from .coefficients import Polynomial
from .portable import Guard, guard_of, horner, sqrt

Array = jax.Array


class _Width(NamedTuple):
    """A float type, the integers of its width, and its polynomials."""

    bits: int
    mantissa: int
    float: type[np.floating]
    int: type[np.signedinteger]
    uint: type[np.unsignedinteger]
    sqrt_half: int  # the bits of sqrt(1/2)
    split: float  # of L = -log(1 - u^2): below it CENTRAL holds, above it TAIL
    split_far: float  # up to here TAIL holds, from here on FAR
    tail_of: Callable[[Array], Array]  # what TAIL is a polynomial of: L itself, or its root
    log: Polynomial
    central: Polynomial
    tail: Polynomial
    far: Polynomial
    sine: Polynomial
    cosine: Polynomial


_SINGLE = _Width(
    32, 23, np.float32, np.int32, np.uint32, 0x3F3504F3, 6.5, 22.0, lambda level: level,
    c.LOG_32, c.CENTRAL_32, c.TAIL_32, c.FAR_32, c.SINE_32, c.COSINE_32,
)  # fmt: skip
_DOUBLE = _Width(
    64, 52, np.float64, np.int64, np.uint64, 0x3FE6A09E667F3BCD, 6.0, 44.0, sqrt,
    c.LOG_64, c.CENTRAL_64, c.TAIL_64, c.FAR_64, c.SINE_64, c.COSINE_64,
)  # fmt: skip

_TRUNCATED_MASS = math.erf(math.sqrt(2.0))  # P(|Z| < 2)
TRUNCATED_STDDEV = 0.87962566103423978  # of the unit normal truncated at +-2
COMPLEX_TRUNCATED_STDDEV = 0.96196182800821354  # sqrt(1 - 4/(e^4 - 1)): circular, |z| <= 2


def _width(w: Array) -> _Width:
    return _SINGLE if w.dtype == jnp.uint32 else _DOUBLE


def _evaluate(polynomial: Polynomial, x: Array, width: _Width, guard: Guard) -> Array:
    if polynomial.center:
        x = x - width.float(polynomial.center)
    return horner(x, [width.float(a) for a in polynomial.coefficients], guard)


def _signed_parts(w: Array) -> tuple[Array, Array]:
    """(|u|, sign bit in place) of u = (2 int(w) + 1)/2^B; odd under w -> ~w."""
    return _magnitude(_fold(w), _width(w)), _sign(w)


def _sign(w: Array) -> Array:
    """The sign bit of a word, in its place."""
    width = _width(w)
    return w & width.uint(1 << (width.bits - 1))


def _fold(w: Array) -> Array:
    """The nonnegative integer m with 2m + 1 = |2 int(w) + 1|."""
    width = _width(w)
    signed = lax.bitcast_convert_type(w, width.int)
    return signed ^ (signed >> width.int(width.bits - 1))


def _magnitude(m: Array, width: _Width) -> Array:
    """(m + 1/2)/2^(B-1), for m of B - 1 bits."""
    return _plus_half(m, width) * width.float(2.0 ** (1 - width.bits))


def _plus_half(m: Array, width: _Width) -> Array:
    return lax.convert_element_type(m, width.float) + width.float(0.5)


def _mirrored(m: Array, width: _Width) -> Array:
    """2^(B-1) - 1 - m: where m stands for |u|, this stands for 1 - |u|, exact in the tail."""
    return m ^ width.int(2 ** (width.bits - 1) - 1)


def _with_sign(x: Array, sign: Array) -> Array:
    """x with the sign bit flipped where asked; an integer operation, so nothing reassociates."""
    width = _width(sign)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, width.uint) ^ sign, width.float)


def _minus_log(y: Array, width: _Width, guard: Guard, power: int = 0) -> Array:
    """-log(y/2^power) for normal y, y/2^power in (0, 1], as -e log 2 - log(m) with
    y = m 2^(e + power), m in [sqrt(1/2), sqrt 2)."""
    bits = lax.bitcast_convert_type(y, width.int)
    above = bits - width.int(width.sqrt_half + (power << width.mantissa))
    e = lax.convert_element_type(above >> width.int(width.mantissa), width.float)
    mantissa = (above & width.int((1 << width.mantissa) - 1)) + width.int(width.sqrt_half)
    f = lax.bitcast_convert_type(mantissa, width.float) - width.float(1)
    return guard(e * width.float(-math.log(2))) - guard(f * _evaluate(width.log, f, width, guard))


def _quantile_ratio(
    level: Array, width: _Width, guard: Guard, *, unit: float = 1.0, far: bool = False
) -> Array:
    """unit x/|u| of the normal quantile x at |u|, from L = -log(1 - u^2); a power of two."""
    central = level < width.float(width.split)
    center = jnp.where(central, width.float(width.central.center), width.float(width.tail.center))
    x = jnp.where(central, level, width.tail_of(level)) - center
    pairs = zip_longest(width.central.coefficients, width.tail.coefficients, fillvalue=0.0)
    chosen = [jnp.where(central, width.float(a * unit), width.float(b * unit)) for a, b in pairs]
    ratio = horner(x, chosen, guard)
    if far:
        beyond = _evaluate(width.far, sqrt(level), width, guard)
        ratio = jnp.where(level < width.float(width.split_far), ratio, beyond)
    return ratio


# Laws of one word -------------------------------------------------------------------------------


def uniform(w: Array) -> Array:
    """Uniform on [0, 1]: (w + 1/2)/2^B, w unsigned; mean 1/2, variance 1/12."""
    width = _width(w)
    return _plus_half(w, width) * width.float(2.0**-width.bits)


def symmetric_uniform(w: Array) -> Array:
    """Uniform on [-1, 1]: u itself; mean 0, variance 1/3."""
    return _with_sign(*_signed_parts(w))


def normal(w: Array) -> Array:
    """Standard normal: mean 0, variance 1."""
    return _with_sign(*_normal_parts(w))


def _normal_parts(w: Array) -> tuple[Array, Array]:
    """The normal's magnitude and its sign bit in place."""
    width, guard = _width(w), guard_of(w)
    power, m = width.bits - 1, _fold(w)
    # |u| and 1 - |u| in units of 2^(1-B), which cost nothing.
    u, rest = _plus_half(m, width), _plus_half(_mirrored(m, width), width)
    y = rest * (width.float(1) + u * width.float(2.0**-power))
    level = _minus_log(y, width, guard, power=power)
    return u * _quantile_ratio(level, width, guard, unit=2.0**-power), _sign(w)


def _truncated_at_two(w: Array) -> Array:
    """Standard normal truncated at +-2, float32: no logarithm, one square root."""
    width, guard = _SINGLE, guard_of(w)
    u, sign = _signed_parts(w)
    s = sqrt(width.float(_TRUNCATED_MASS**-2) - guard(u * u))
    x = u * _evaluate(c.TRUNCATED_32, s, width, guard)
    return _with_sign(x, sign)


def _truncated_symmetric(w: Array, bound: float) -> Array:
    """Standard normal truncated at +-bound."""
    width, guard = _width(w), guard_of(w)
    if bound == 2 and width is _SINGLE:
        return _truncated_at_two(w)
    mass, outside = math.erf(bound / math.sqrt(2)), math.erfc(bound / math.sqrt(2))
    m = _fold(w)
    u = _magnitude(m, width) * width.float(mass)
    inner = _magnitude(_mirrored(m, width), width)
    rest = guard(inner * width.float(mass)) + width.float(outside)  # 1 - mass |u|
    level = _minus_log(rest * (width.float(1) + guard(u)), width, guard)
    x = u * _quantile_ratio(level, width, guard)
    return _with_sign(lax.min(x, width.float(bound)), _sign(w))


def _upper(x: float) -> float:
    """P(Z > x)."""
    return math.erfc(x / math.sqrt(2)) / 2


def _truncated(w: Array, lower: float, upper: float) -> Array:
    """Standard normal truncated to [lower, upper], right in either tail.

    The mass outside the value is taken from the nearer end, relative to ``scale``, the largest
    it can be, so that neither cancels nor underflows: q = scale * p, and
    L = -log(4 q (1 - q)) = -log(4 scale) - log(p (1 - q)). Below zero, the mirror image.
    """
    if upper <= 0:
        return -_truncated(~w, -upper, -lower)
    width, guard = _width(w), guard_of(w)
    number = width.float
    scale = min(0.5, max(_upper(lower) if lower > 0 else 0.5, 0.0))
    first, last = _upper(lower), _upper(upper)
    rank = w ^ width.uint(1 << (width.bits - 1))  # unsigned, in the order of int(w)
    above_last = uniform(~rank) * number((first - last) / scale)  # mass between value and upper
    p = guard(above_last) + number(last / scale)
    sign = jnp.zeros_like(w)
    if lower < 0:
        below = guard(uniform(rank) * number((first - last) / scale)) + number(
            _upper(-lower) / scale
        )
        sign = jnp.where(below < p, width.uint(1 << (width.bits - 1)), sign)
        p = lax.min(p, below)
    q = guard(p * number(scale))
    # p <= 1 but for rounding, and the mass at the median is exactly one half.
    y = lax.min(p * (number(1) - q), number(1 if scale < 0.5 else 0.5))
    level = guard(_minus_log(y, width, guard)) + number(-math.log(4 * scale))
    u = number(1) - number(2) * q
    x = u * _quantile_ratio(lax.max(level, number(0)), width, guard, far=True)
    return lax.clamp(number(lower), _with_sign(x, sign), number(upper))


# Laws of two words, complex ---------------------------------------------------------------------


def _rotate(radius: Array, w: Array) -> tuple[Array, Array]:
    """radius * exp(2 pi i V), V the uniform of w: the octant by integers, sine and cosine there."""
    width, guard = _width(w), guard_of(w)
    number, bits = width.float, width.bits
    # A quarter turn is 2^(B-2) words; count them, and fold the rest into [-1/8, 1/8] of a turn.
    shifted = w + width.uint(1 << (bits - 3))
    quarter = shifted >> width.uint(bits - 2)
    rest = lax.bitcast_convert_type(
        (shifted & width.uint((1 << (bits - 2)) - 1)) - width.uint(1 << (bits - 3)), width.int
    )
    angle = _plus_half(rest, width) * number(math.tau * 2.0**-bits)
    square = guard(angle * angle)
    sine = guard(angle) * _evaluate(width.sine, square, width, guard)
    cosine = _evaluate(width.cosine, square, width, guard)
    odd = (quarter & width.uint(1)) == 1
    top = width.uint(bits - 1)
    real_sign = ((quarter ^ (quarter >> width.uint(1))) & width.uint(1)) << top
    imag_sign = (quarter >> width.uint(1)) << top
    real = _with_sign(radius * jnp.where(odd, sine, cosine), real_sign)
    imag = _with_sign(radius * jnp.where(odd, cosine, sine), imag_sign)
    return real, imag


def _disk(a: Array, b: Array) -> tuple[Array, Array]:
    """Uniform on the disk |z| <= 1: E|z|^2 = 1/2."""
    return _rotate(sqrt(uniform(a)), b)


def _complex_normal(a: Array, b: Array) -> tuple[Array, Array]:
    """Circular normal, E|z|^2 = 1: real and imaginary part each of variance 1/2."""
    half = _width(a).float(math.sqrt(0.5))
    # The sign, an integer operation, keeps a compiler from multiplying half with the scale first.
    real, imag = (_with_sign(x * half, sign) for x, sign in map(_normal_parts, (a, b)))
    return real, imag


def _complex_truncated(a: Array, b: Array, bound: float) -> tuple[Array, Array]:
    """Circular normal with |z| <= bound: |z|^2 = -log(1 - U (1 - exp(-bound^2)))."""
    width, guard = _width(a), guard_of(a)
    mass, outside = -math.expm1(-(bound**2)), math.exp(-(bound**2))
    y = guard(uniform(~a) * width.float(mass)) + width.float(outside)  # 1 - U is exact
    radius = sqrt(lax.max(_minus_log(y, width, guard), width.float(0)))
    return _rotate(lax.min(radius, width.float(bound)), b)


# The laws as values -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """A unit distribution: how one element is made of its words, and what is known of it.

    ``real`` maps a word to a value, ``circular`` two words to real and imaginary part; ``bound``
    is the largest magnitude of a real value. Two laws are equal when their names are.
    """

    name: str
    real: Callable[[Array], Array] = field(compare=False)
    circular: Callable[[Array, Array], tuple[Array, Array]] | None = field(compare=False)
    bound: float = field(compare=False)

    def __call__(self, *words: Array) -> tuple[Array, ...]:
        """The value of one word, or the real and imaginary part of two."""
        if len(words) == 1:
            return (self.real(*words),)
        assert self.circular is not None  # the caller has checked
        return self.circular(*words)


UNIFORM = Law("uniform", uniform, _disk, 1.0)
SYMMETRIC_UNIFORM = Law("symmetric_uniform", symmetric_uniform, _disk, 1.0)
NORMAL = Law("normal", normal, _complex_normal, 6.34)


def truncated_normal(lower: float, upper: float) -> Law:
    """The standard normal truncated to [lower, upper]; complex, to |z| <= upper if symmetric."""
    if -lower == upper == math.inf:
        return NORMAL
    name = f"truncated_normal({lower}, {upper})"
    if -lower == upper:
        real = partial(_truncated_symmetric, bound=upper)
        return Law(name, real, partial(_complex_truncated, bound=upper), upper)
    bound = min(max(abs(lower), abs(upper)), 40.0)  # beyond 37 no word leads
    return Law(name, partial(_truncated, lower=lower, upper=upper), None, bound)

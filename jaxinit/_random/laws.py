"""Random values from random bits: the uniform, normal and truncated normal distributions.

A *law* is a distribution in the form in which it is computed here: a function that turns one random
word (32 random bits) into one value of the distribution. It is the inverse of the distribution
function. With u = (2 int(w) + 1)/2^32 in (-1, 1), where int(w) is the word as a signed integer, the
value is Q((1 + u)/2), and Q is the quantile function. For example:

    word w        u           normal(w)
    0x00000000    2^-32       2.9e-10    just above the middle of the distribution
    0x40000000    0.5         0.6745     the quantile at 3/4
    0x7fffffff    1 - 2^-32   6.338      the largest value
    0x80000000    2^-32 - 1   -6.338     the complement of a word gives the negative value

Words of 32 bits (uint32) give float32, words of 64 bits (uint64) give float64; B is the number of
bits. A complex value takes two words. All arithmetic goes through ``portable``: each operation is
one IEEE-754 operation, rounded to nearest, so that every backend computes the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import zip_longest

import jax
import jax.numpy as jnp
from jax import lax

from . import coefficients as c
from . import spread
from .elementary import SINGLE, Width, evaluate, evaluate_composed, minus_log, width_of
from .portable import Guard, guard_of, horner, sqrt
from .spread import Spread

Array = jax.Array


# The standard deviation of a standard normal truncated to [-2, 2], and of a complex normal of unit
# variance truncated to |z| <= 2, which is sqrt(1 - 4/(e^4 - 1)).
TRUNCATED_STDDEV = 0.87962566103423978
COMPLEX_TRUNCATED_STDDEV = 0.96196182800821354


def _signed_parts(w: Array) -> tuple[Array, Array]:
    """|u|, and the sign of u as a word with only the sign bit; ``~w`` has the same |u|."""
    return _magnitude(_fold(w), width_of(w)), _sign(w)


def _sign(w: Array) -> Array:
    """The word with all bits but the sign bit cleared."""
    width = width_of(w)
    return w & width.uint(1 << (width.bits - 1))


def _fold(w: Array) -> Array:
    """The nonnegative integer m with 2m + 1 = |2 int(w) + 1|."""
    width = width_of(w)
    signed = lax.bitcast_convert_type(w, width.int)
    return signed ^ (signed >> width.int(width.bits - 1))


def _magnitude(m: Array, width: Width) -> Array:
    """(m + 1/2)/2^(B-1), between 0 and 1, for a nonnegative integer m of B - 1 bits."""
    return _plus_half(m, width) * width.float(2.0 ** (1 - width.bits))


def _plus_half(m: Array, width: Width) -> Array:
    return lax.convert_element_type(m, width.float) + width.float(0.5)


def _mirrored(m: Array, width: Width) -> Array:
    """2^(B-1) - 1 - m. If m stands for |u|, this integer stands for 1 - |u|, without rounding."""
    return m ^ width.int(2 ** (width.bits - 1) - 1)


def _with_sign(x: Array, sign: Array) -> Array:
    """x, negated where ``sign`` has its sign bit set.

    This is an integer operation, so a compiler cannot merge the constant factor before it with the
    one after it: it would turn (x * a) * b into x * (a * b), which rounds differently.
    """
    width = width_of(sign)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, width.uint) ^ sign, width.float)


def _quantile_ratio(
    level: Array, width: Width, guard: Guard, *, unit: float = 1.0, far: bool = False
) -> Array:
    """unit * x/|u|, where x is the normal quantile of |u|, from ``level``, L = -log(1 - u^2).

    ``unit`` is a power of two, so it rounds nothing. ``far`` says that L may exceed ``split_far``.
    """
    central = level < width.float(width.split)
    center = jnp.where(central, width.float(width.central.center), width.float(width.tail.center))
    x = jnp.where(central, level, width.tail_of(level)) - center
    pairs = zip_longest(width.central.coefficients, width.tail.coefficients, fillvalue=0.0)
    chosen = [jnp.where(central, width.float(a * unit), width.float(b * unit)) for a, b in pairs]
    ratio = horner(x, chosen, guard)
    if far:
        beyond = evaluate(width.far, sqrt(level), width, guard)
        ratio = jnp.where(level < width.float(width.split_far), ratio, beyond)
    return ratio


# One word to one real value ---------------------------------------------------------------------


def uniform(w: Array) -> Array:
    """Uniform on [0, 1]: (w + 1/2)/2^B with w unsigned. The mean is 1/2, the variance 1/12."""
    width = width_of(w)
    return _plus_half(w, width) * width.float(2.0**-width.bits)


def symmetric_uniform(w: Array) -> Array:
    """Uniform on [-1, 1]: the value is u itself. The mean is 0, the variance 1/3."""
    return _with_sign(*_signed_parts(w))


def normal(w: Array) -> Array:
    """The standard normal distribution, with mean 0 and variance 1."""
    return _with_sign(*_normal_parts(w))


def _normal_parts(w: Array) -> tuple[Array, Array]:
    """The magnitude of the normal value, and its sign as ``_sign`` gives it."""
    width, guard = width_of(w), guard_of(w)
    power, m = width.bits - 1, _fold(w)
    # |u| and 1 - |u| in units of 2^(1-B): the factor is folded into constants below.
    u, rest = _plus_half(m, width), _plus_half(_mirrored(m, width), width)
    y = rest * (width.float(1) + u * width.float(2.0**-power))
    level = minus_log(y, width, guard, power=power)
    return u * _quantile_ratio(level, width, guard, unit=2.0**-power), _sign(w)


def _truncated_at_two(w: Array) -> Array:
    """The standard normal truncated to [-2, 2], in float32.

    x/|u| is a smooth function of u^2, which needs no logarithm and no root. But it is steep near
    |u| = 1: one polynomial takes 17 products. One of degree 10 in another of degree 4 takes 11.
    """
    u, sign = _signed_parts(w)
    guard = guard_of(w)
    return _with_sign(u * evaluate_composed(c.TRUNCATED_32, guard(u * u), SINGLE, guard), sign)


def _truncated_symmetric(w: Array, bound: float) -> Array:
    """The standard normal truncated to [-bound, bound]."""
    width, guard = width_of(w), guard_of(w)
    if bound == 2 and width is SINGLE:
        return _truncated_at_two(w)
    mass, outside = math.erf(bound / math.sqrt(2)), math.erfc(bound / math.sqrt(2))
    m = _fold(w)
    u = _magnitude(m, width) * width.float(mass)
    inner = _magnitude(_mirrored(m, width), width)
    rest = guard(inner * width.float(mass)) + width.float(outside)  # 1 - mass |u|
    level = minus_log(rest * (width.float(1) + guard(u)), width, guard)
    x = u * _quantile_ratio(level, width, guard)
    return _with_sign(lax.min(x, width.float(bound)), _sign(w))


def _upper(x: float) -> float:
    """P(Z > x) for a standard normal Z."""
    return math.erfc(x / math.sqrt(2)) / 2


def _truncated(w: Array, lower: float, upper: float) -> Array:
    """The standard normal truncated to [lower, upper], accurate also far in either tail.

    For example, between 5 and 7 the tail probability q = P(Z > x) lies between 1.3e-12 and 2.9e-7,
    where 1 - q would round to 1 and lose it. So the word gives q itself: it is drawn uniformly
    between P(Z > upper) and P(Z > lower), and x is the normal quantile of u = 1 - 2q.

    To keep q from underflowing it is stored as p = q/scale, where ``scale`` is the largest value
    of q. Then L = -log(1 - u^2) = -log(4 q (1 - q)) = -log(4 scale) - log(p (1 - q)). If the
    interval contains 0, q is measured from the nearer end and the sign is set apart. An interval
    below 0 is the mirror image of one above it.
    """
    if upper <= 0:
        return -_truncated(~w, -upper, -lower)
    width, guard = width_of(w), guard_of(w)
    number = width.float
    scale = min(0.5, max(_upper(lower) if lower > 0 else 0.5, 0.0))
    first, last = _upper(lower), _upper(upper)
    rank = w ^ width.uint(1 << (width.bits - 1))  # unsigned, and ordered as int(w) is
    above_last = uniform(~rank) * number((first - last) / scale)  # P(x < Z < upper)/scale
    p = guard(above_last) + number(last / scale)
    sign = jnp.zeros_like(w)
    if lower < 0:
        below = guard(uniform(rank) * number((first - last) / scale)) + number(
            _upper(-lower) / scale
        )
        sign = jnp.where(below < p, width.uint(1 << (width.bits - 1)), sign)
        p = lax.min(p, below)
    q = guard(p * number(scale))
    # By rounding p may exceed 1, and at the median q is exactly 1/2: keep L from going below 0.
    y = lax.min(p * (number(1) - q), number(1 if scale < 0.5 else 0.5))
    level = guard(minus_log(y, width, guard)) + number(-math.log(4 * scale))
    u = number(1) - number(2) * q
    x = u * _quantile_ratio(lax.max(level, number(0)), width, guard, far=True)
    x = _with_sign(x, sign)
    # Selections, not ``lax.clamp``: with that, LLVM as of JAX 0.11 takes minutes to compile this.
    x = jnp.where(x < number(lower), number(lower), x)
    return jnp.where(x > number(upper), number(upper), x)


# Two words to one complex value -----------------------------------------------------------------


def _rotate(radius: Array, w: Array) -> tuple[Array, Array]:
    """The real and imaginary part of radius * exp(2 pi i V), where V is uniform(w).

    The top bits of the word say which quarter turn the angle is nearest to. The rest of the angle
    is at most an eighth of a turn, where short polynomials give sine and cosine. For example, 0.3
    turns is one quarter turn and 0.05: the sine and cosine of 0.05 turns change places, and signs.
    """
    width, guard = width_of(w), guard_of(w)
    number, bits = width.float, width.bits
    # A quarter turn is 2^(B-2) words. Count the quarters; the rest lies within 1/8 turn of 0.
    shifted = w + width.uint(1 << (bits - 3))
    quarter = shifted >> width.uint(bits - 2)
    rest = lax.bitcast_convert_type(
        (shifted & width.uint((1 << (bits - 2)) - 1)) - width.uint(1 << (bits - 3)), width.int
    )
    angle = _plus_half(rest, width) * number(math.tau * 2.0**-bits)
    square = guard(angle * angle)
    sine = guard(angle) * evaluate(width.sine, square, width, guard)
    cosine = evaluate(width.cosine, square, width, guard)
    odd = (quarter & width.uint(1)) == 1
    top = width.uint(bits - 1)
    real_sign = ((quarter ^ (quarter >> width.uint(1))) & width.uint(1)) << top
    imag_sign = (quarter >> width.uint(1)) << top
    real = _with_sign(radius * jnp.where(odd, sine, cosine), real_sign)
    imag = _with_sign(radius * jnp.where(odd, cosine, sine), imag_sign)
    return real, imag


def _disk(a: Array, b: Array) -> tuple[Array, Array]:
    """Uniform on the disk |z| <= 1, so E|z|^2 = 1/2."""
    return _rotate(sqrt(uniform(a)), b)


def _complex_normal(a: Array, b: Array) -> tuple[Array, Array]:
    """The complex normal with E|z|^2 = 1: real and imaginary part each have variance 1/2."""
    half = width_of(a).float(math.sqrt(0.5))
    # Setting the sign last keeps a compiler from multiplying ``half`` with the scale first.
    real, imag = (_with_sign(x * half, sign) for x, sign in map(_normal_parts, (a, b)))
    return real, imag


def _complex_truncated(a: Array, b: Array, bound: float) -> tuple[Array, Array]:
    """The complex normal truncated to |z| <= bound: |z|^2 = -log(1 - U (1 - exp(-bound^2)))."""
    width, guard = width_of(a), guard_of(a)
    mass, outside = -math.expm1(-(bound**2)), math.exp(-(bound**2))
    if outside >= math.sqrt(0.5):  # then LOG serves, and 1 - y does not lose the digits of y
        x = uniform(a) * width.float(mass)
        square = x * evaluate(width.log, -x, width, guard)
    else:
        y = guard(uniform(~a) * width.float(mass)) + width.float(outside)  # 1 - U is exact
        square = lax.max(minus_log(y, width, guard), width.float(0))
    return _rotate(lax.min(sqrt(square), width.float(bound)), b)


# The distributions as objects -------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """A distribution of unit scale, as a function from random words to values.

    Two laws are equal if their names are equal.

    Attributes:
      name: the name of the distribution, with its parameters.
      real: maps one word to one real value.
      circular: maps two words to a real and an imaginary part; None if there is no complex form.
      spread: the magnitudes of real values.
      disk: the magnitudes of complex values, if there is a complex form.
      mean, std: the mean and the standard deviation of real values.
    """

    name: str
    real: Callable[[Array], Array] = field(compare=False)
    circular: Callable[[Array, Array], tuple[Array, Array]] | None = field(compare=False)
    spread: Spread = field(compare=False)
    disk: Spread | None = field(default=None, compare=False)
    mean: float = field(default=0.0, compare=False)
    std: float = field(default=1.0, compare=False)

    def magnitudes(self, complex: bool) -> Spread:
        """Of its real or its complex values."""
        return self.disk if complex and self.disk is not None else self.spread

    def __call__(self, *words: Array) -> tuple[Array, ...]:
        """The real value of one word, or the real and imaginary part for two words."""
        if len(words) == 1:
            return (self.real(*words),)
        assert self.circular is not None  # the initializer has checked it
        return self.circular(*words)


UNIFORM = Law("uniform", uniform, _disk, spread.UNIFORM, spread.DISK, 0.5, math.sqrt(1 / 12))
SYMMETRIC_UNIFORM = Law(
    "symmetric_uniform", symmetric_uniform, _disk, spread.UNIFORM, spread.DISK, std=math.sqrt(1 / 3)
)
NORMAL = Law("normal", normal, _complex_normal, spread.normal(), spread.complex_normal())


@lru_cache(maxsize=256)
def truncated_normal(lower: float, upper: float) -> Law:
    """The standard normal truncated to [lower, upper].

    If the bounds are symmetric there is a complex form too, truncated to |z| <= upper.
    """
    # No word gives a value beyond 37.
    lower, upper = (b if abs(b) <= 40 else math.copysign(math.inf, b) for b in (lower, upper))
    if -lower == upper == math.inf:
        return NORMAL
    name = f"truncated_normal({lower}, {upper})"
    mean, std = spread.moments(lower, upper)
    if -lower == upper:
        real = partial(_truncated_symmetric, bound=upper)
        circular = partial(_complex_truncated, bound=upper)
        sizes = spread.normal(lower, upper), spread.complex_normal(upper)
        return Law(name, real, circular, *sizes, mean, std)
    real = partial(_truncated, lower=lower, upper=upper)
    return Law(name, real, None, spread.normal(lower, upper, largest=40.0), None, mean, std)

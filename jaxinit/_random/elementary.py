"""Logarithms and exponentials with the same bits on every backend, in float32 and float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import coefficients as c
from .coefficients import Composed, Polynomial
from .portable import Guard, guard_of, horner, sqrt

Array = jax.Array


class Width(NamedTuple):
    """What depends on the precision: the types, and the polynomials that are accurate enough.

    The polynomials take L = -log(1 - u^2), which grows from 0 in the middle of the normal
    distribution to (B - 1) log 2 at its end. CENTRAL is used below ``split``, TAIL from there on,
    and FAR beyond ``split_far``, which only truncation far in the tail reaches.
    """

    bits: int
    mantissa: int  # the number of explicit bits of the significand
    terms: int  # of the Taylor series of the exponential, up to log(2)/2
    log_two: float  # log(2) in so few bits that its product with an exponent is exact
    float: type[np.floating]
    int: type[np.signedinteger]
    uint: type[np.unsignedinteger]
    sqrt_half: int  # the float sqrt(1/2), its bits read as an integer
    split: float
    split_far: float
    tail_of: Callable[[Array], Array]  # TAIL is a polynomial in L, or in its square root
    log: Polynomial
    central: Polynomial
    tail: Polynomial
    far: Polynomial
    sine: Polynomial
    cosine: Polynomial


SINGLE = Width(
    32, 23, 8, 355 / 512, np.float32, np.int32, np.uint32, 0x3F3504F3,
    6.5, 22.0, lambda level: level,
    c.LOG_32, c.CENTRAL_32, c.TAIL_32, c.FAR_32, c.SINE_32, c.COSINE_32,
)  # fmt: skip
DOUBLE = Width(
    64, 52, 15, 0x162E42FEE / 2**33, np.float64, np.int64, np.uint64, 0x3FE6A09E667F3BCD,
    6.0, 44.0, sqrt,
    c.LOG_64, c.CENTRAL_64, c.TAIL_64, c.FAR_64, c.SINE_64, c.COSINE_64,
)  # fmt: skip


def width_of(x: Array) -> Width:
    """Of a word or a float of 32 or 64 bits."""
    return SINGLE if x.dtype.itemsize == 4 else DOUBLE


def evaluate(polynomial: Polynomial, x: Array, width: Width, guard: Guard) -> Array:
    if polynomial.center:
        x = x - width.float(polynomial.center)
    return horner(x, [width.float(a) for a in polynomial.coefficients], guard)


def evaluate_composed(polynomial: Composed, x: Array, width: Width, guard: Guard) -> Array:
    """P(q(x)) in Horner's form: from one power to the next by q(x), or by its square."""
    inner = [width.float(a) for a in polynomial.inner]
    z = horner(x, [*inner[:-1], x + inner[-1]], guard)
    by = {1: z, 2: z * z}
    terms = list(zip(polynomial.powers, polynomial.coefficients, strict=True))
    power, last = terms[-1]
    total: Any = width.float(last)
    for lower, coefficient in terms[-2::-1]:
        total = guard(total * by[power - lower]) + width.float(coefficient)
        power = lower
    return total


def minus_log(y: Array, width: Width, guard: Guard, power: int = 0) -> Array:
    """-log(y/2^power), for a positive normal float y.

    Writes y = m 2^(e + power) with m in [sqrt(1/2), sqrt(2)) and returns -e log(2) - log(m), the
    latter by a polynomial in f = m - 1. For example, y = 0.3 is 1.2 * 2^-2, so the result is
    2 log(2) - log(1.2) = 1.204.
    """
    bits = lax.bitcast_convert_type(y, width.int)
    above = bits - width.int(width.sqrt_half + (power << width.mantissa))
    e = lax.convert_element_type(above >> width.int(width.mantissa), width.float)
    mantissa = (above & width.int((1 << width.mantissa) - 1)) + width.int(width.sqrt_half)
    f = lax.bitcast_convert_type(mantissa, width.float) - width.float(1)
    return guard(e * width.float(-math.log(2))) - guard(f * evaluate(width.log, f, width, guard))


def guard_from(x: Array) -> Guard:
    """A guard (see ``portable``) made from the bits of a float."""
    return guard_of(lax.bitcast_convert_type(x, width_of(x).uint))


def log1p(x: Array, guard: Guard) -> Array:
    """log(1 + x) for x >= 0, which is the result of no product or is guarded."""
    width = width_of(x)
    near = x * evaluate(width.log, x, width, guard)
    far = -minus_log(x + width.float(1), width, guard)
    return jnp.where(x < width.float(0.4), near, far)


def exp(x: Array, guard: Guard) -> Array:
    """e^x where that is a normal number.

    Writes x = n log(2) + r with |r| <= log(2)/2 and returns 2^n e^r, the latter by its Taylor
    series. log(2) is split in two, the first part of so few bits that its product with n is exact.
    """
    width = width_of(x)
    number = width.float
    n = lax.floor(guard(x * number(1 / math.log(2))) + number(0.5))
    n = lax.min(n, number(2 ** (width.bits - width.mantissa - 2) - 1))
    r = (x - n * number(width.log_two)) - guard(n * number(math.log(2) - width.log_two))
    mantissa = horner(r, [number(1 / math.factorial(k)) for k in range(width.terms)], guard)
    power = lax.convert_element_type(n, width.int) << width.int(width.mantissa)
    return lax.bitcast_convert_type(
        lax.bitcast_convert_type(mantissa, width.int) + power, width.float
    )


def inverse_softplus(log_y: Array, guard: Guard, largest: float) -> Array:
    """log(e^y - 1), the number whose softplus is y, from the logarithm of y.

    For a small y it is log(y) + log((e^y - 1)/y), with the Taylor series of the quotient; else
    y + log(1 - e^-y), which is not computed if the largest y is small.
    """
    width = width_of(log_y)
    number = width.float
    y = exp(log_y, guard)
    few = [number(1 / math.factorial(k + 1)) for k in range(width.terms)]
    quotient = horner(lax.min(y, number(0.5)), few, guard)
    if largest < 0.34:
        return log_y - minus_log(quotient, width, guard)
    rest = number(1) - exp(-lax.min(y, number(80)), guard)
    small = y < number(0.35)
    return jnp.where(small, log_y, y) - minus_log(jnp.where(small, quotient, rest), width, guard)

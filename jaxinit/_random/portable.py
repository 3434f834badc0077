"""Floating-point arithmetic that gives the same bits on every backend.

Each operation must be rounded to nearest by itself. A compiler breaks this when it turns ``a*b +
c`` into a fused multiply-add, which rounds once instead of twice. For example, with three decimal
digits and a = b = 1.01, c = -1.02: a*b rounds to 1.02, so the sum is 0, but fused it is 0.0001.

So every product that feeds a sum goes through a *guard* first, which adds a zero that no compiler
can prove to be zero. If the compiler fuses the product with that zero, the result is the product
rounded by itself, which is what is wanted; and the guard then costs nothing. XLA's compiler for
CUDA does not fuse products and sums (``tests/cuda`` reads the programs it makes), so there the
guard is left out. A product that feeds no sum, a product with a power of two, and integer
operations need no guard.

Division, and the logarithm, sine and cosine of the platform's library, differ from backend to
backend and are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Guard = Callable[[Array], Array]


def guard_of(w: Array) -> Guard:
    """A function that returns its argument, through a sum with a zero made from the word ``w``.

    The zero is the last bit of w(w + 1), which is always even; no compiler is known to notice. The
    sum turns -0 into 0, but not on CUDA, so no result may depend on the sign of a zero.
    """
    one = w.dtype.type(1)
    dtype = {4: np.float32, 8: np.float64}[w.dtype.itemsize]

    def opaque(w: Array) -> Array:
        return lax.bitcast_convert_type((w * (w + one)) & one, dtype)

    def plain(w: Array) -> Array:
        return lax.full_like(w, 0, dtype)

    zero = lax.platform_dependent(w, cuda=plain, default=opaque)
    return lambda x: x + zero


def horner(x: Array, coefficients: Sequence[Any], guard: Guard) -> Array:
    """The value of a polynomial whose coefficients are given from the lowest power up."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = guard(x * total) + coefficient
    return total


def sqrt(x: Array) -> Array:
    """The square root, rounded to nearest, of 0 and of values between 2^-80 and 2^100.

    In float32, XLA uses an approximate root on GPUs, so on any platform but the CPU the root is
    rounded here.
    """
    if x.dtype == np.float64:
        return lax.sqrt(x)
    return lax.platform_dependent(x, cpu=lax.sqrt, default=rounded_sqrt)


def rounded_sqrt(x: Array, rsqrt: Guard = lax.rsqrt) -> Array:
    """The float32 square root, rounded to nearest, from a reciprocal root accurate to 20 bits.

    For example, for x = 2 the first guess is cut to 12 bits, h = 1.41406. Its square has at most 24
    bits, so x - h^2 is exact, and t = h + (x - h^2)/(2h) is the root to within one unit in the last
    place. Which of t and its neighbour n is the rounded root?

    Write t = h + low, two numbers of few bits. Then the error x - t^2 is exact too, or so large
    that its rounding does not matter. n is the neighbour on the side that the error points to, and
    by Tuckerman's test n is the rounded root if x lies beyond t n, and t otherwise (Markstein,
    "Computation of elementary functions on the IBM RISC System/6000 processor", 1990).

    No product here needs a guard: all that feed a sum are exact, except the one in t, which need
    not be.
    """
    inverse = rsqrt(lax.max(x, np.finfo(np.float32).tiny))
    h = _as_float(_as_int(x * (inverse * np.float32(1 + 2**-13))) & np.int32(-(2**12)))
    rest = x - h * h
    t = h + rest * (inverse * np.float32(0.5))
    low = t - h
    error = (rest - (h + h) * low) - low * low
    step = (_as_int(error) >> np.int32(31)) | np.int32(1)  # -1 for a negative error, else 1
    neighbour = _as_float(_as_int(t) + step)
    beyond = error > t * (neighbour - t)
    return jnp.where(beyond == (error >= 0), neighbour, t)


def _as_int(x: Array) -> Array:
    return lax.bitcast_convert_type(x, np.int32)


def _as_float(x: Array) -> Array:
    return lax.bitcast_convert_type(x, np.float32)

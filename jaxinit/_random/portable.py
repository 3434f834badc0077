"""Arithmetic that is the same on every backend: rounded to nearest, operation by operation.

A compiler may turn ``a*b + c`` into a fused multiply-add, which rounds once instead of twice; so to
each product that feeds a sum a guard adds a zero first that no compiler can prove to be one. Fused
with that, the product is rounded alone, and the guard costs nothing. XLA's compiler for CUDA was
never seen to fuse the two (``tests/cuda`` reads its programs), and is spared the zero. A
product outside a sum, a product by a power of two, and integers need no guard. Divisions, and the
library's log, sin and cos, are not the same on every backend and are not used.
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
    """x -> x + 0, the zero opaque to compilers: w(w + 1) is even, but none is known to see it.

    It makes 0 of -0, which it keeps on CUDA: no law may depend on the sign of a zero.
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
    """The polynomial, its coefficients from the lowest power on."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = guard(x * total) + coefficient
    return total


def sqrt(x: Array) -> Array:
    """The square root, rounded to nearest; XLA has GPUs approximate it in float32.

    Of x = 0 and of 2^-80 to 2^100, which is more than any law needs.
    """
    if x.dtype == np.float64:
        return lax.sqrt(x)
    return lax.platform_dependent(x, cpu=lax.sqrt, default=rounded_sqrt)


def rounded_sqrt(x: Array, rsqrt: Guard = lax.rsqrt) -> Array:
    """The float32 square root, rounded to nearest, from a reciprocal root good to 20 bits.

    A root h of 12 bits has an exact square, so x - h^2 is exact and gives the root t to within an
    ulp; and as t = h + low in two short parts, its own error x - t^2 is exact again, or so large
    that its rounding decides nothing. By Tuckerman's test the root is t and not its neighbour n on
    the side of the error unless x is beyond t n (Markstein, "Computation of elementary functions
    on the IBM RISC System/6000 processor", 1990). No product that feeds a sum needs a guard: all
    are exact but that of t, which need not be.
    """
    inverse = rsqrt(lax.max(x, np.finfo(np.float32).tiny))
    h = _as_float(_as_int(x * (inverse * np.float32(1 + 2**-13))) & np.int32(-(2**12)))
    rest = x - h * h
    t = h + rest * (inverse * np.float32(0.5))
    low = t - h
    error = (rest - (h + h) * low) - low * low
    step = (_as_int(error) >> np.int32(31)) | np.int32(1)  # -1 or 1
    neighbour = _as_float(_as_int(t) + step)
    beyond = error > t * (neighbour - t)
    return jnp.where(beyond == (error >= 0), neighbour, t)


def _as_int(x: Array) -> Array:
    return lax.bitcast_convert_type(x, np.int32)


def _as_float(x: Array) -> Array:
    return lax.bitcast_convert_type(x, np.float32)

"""The distributions that tests run through, and words to give them."""

import numpy as np
import oracle

from jaxinit._random import laws

TWO = laws.truncated_normal(-2.0, 2.0)
THREE = laws.truncated_normal(-3.0, 3.0)
EDGES = np.array([0, 1, 2, 2**31 - 2, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1])

REAL_LAWS = {
    "uniform": (laws.UNIFORM, {}),
    "symmetric_uniform": (laws.SYMMETRIC_UNIFORM, {}),
    "normal": (laws.NORMAL, {}),
    "truncated": (TWO, {}),
    "truncated ": (THREE, {"bound": 3.0}),
    "truncated_between": (laws.truncated_normal(-1.0, 3.0), {"lower": -1.0, "upper": 3.0}),
    "truncated_between ": (laws.truncated_normal(5.0, 7.0), {"lower": 5.0, "upper": 7.0}),
    "truncated_between  ": (laws.truncated_normal(-9.0, -2.0), {"lower": -9.0, "upper": -2.0}),
}
COMPLEX_LAWS = {
    "complex_uniform": (laws.UNIFORM, {}),
    "complex_normal": (laws.NORMAL, {}),
    "complex_truncated": (TWO, {}),
    "complex_truncated ": (THREE, {"bound": 3.0}),
    "complex_truncated  ": (laws.truncated_normal(-1e-3, 1e-3), {"bound": 1e-3}),
}


def some_words(bits, count):
    generator = np.random.Generator(np.random.SFC64(5))
    dtype = oracle.UNSIGNED[bits]
    w = generator.integers(0, 2**bits, 2**17, dtype=dtype)
    small = np.arange(64, dtype=dtype)
    w = np.concatenate([w, small, ~small, small ^ dtype(1 << (bits - 1)), w >> dtype(9)])
    return [np.roll(w, 13 * i) for i in range(count)]

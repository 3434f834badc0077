"""The conformance table: every public scheme, as function and as factory, with its oracle law.

``law`` names the oracle's law; ``factor`` gives the scale it is multiplied by, from the shape and
whether the dtype is complex. Constants have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinit
from jaxinit import initializers

TRUNCATED = 0.87962566103423978
COMPLEX_TRUNCATED = 0.96196182800821354


class Row(NamedTuple):
    """One scheme: how to call it, and what must come out."""

    name: str
    options: dict
    law: str | None
    factor: Callable[[tuple, bool], float] | None

    def function(self, key, shape, dtype=None, out_sharding=None):
        return getattr(jaxinit, self.name)(key, shape, dtype, out_sharding, **self.options)

    def factory(self):
        made = getattr(initializers, self.name)
        return made if self.name in ("zeros", "ones") else made(**self.options)


def fan(shape, mode):
    window = math.prod(shape[:-2])
    fan_in, fan_out = shape[-2] * window, shape[-1] * window
    return {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }[mode]


def scaling(name, scale, mode, distribution, options):
    law = {"uniform": "symmetric_uniform", "truncated_normal": "truncated", "normal": "normal"}

    def factor(shape, is_complex):
        unit = {
            "normal": (1, 1),
            "uniform": (math.sqrt(1 / 3), math.sqrt(1 / 2)),
            "truncated_normal": (TRUNCATED, COMPLEX_TRUNCATED),
        }[distribution][is_complex]
        return math.sqrt(scale / fan(shape, mode)) / unit

    return Row(name, options, law[distribution], factor)


def general(scale, mode, distribution):
    options = {"scale": scale, "mode": mode, "distribution": distribution}
    return scaling("variance_scaling", scale, mode, distribution, options)


def fixed(name, law, factor, **options):
    return Row(name, options, law, lambda shape, is_complex: factor)


NAMED = {
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "kaiming_normal": (2.0, "fan_in", "truncated_normal"),
    "kaiming_uniform": (2.0, "fan_in", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "xavier_normal": (1.0, "fan_avg", "truncated_normal"),
    "xavier_uniform": (1.0, "fan_avg", "uniform"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
}
ROWS = [
    Row("zeros", {}, None, None),
    Row("ones", {}, None, None),
    Row("constant", {"value": 0.75}, None, None),
    fixed("uniform", "uniform", 0.01),
    fixed("symmetric_uniform", "symmetric_uniform", 0.01),
    fixed("normal", "normal", 0.01),
    fixed("truncated_normal", "truncated", 0.01),
    *(scaling(name, *law, {}) for name, law in NAMED.items()),
    *(
        general(1.3, mode, distribution)
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
        for distribution in ("truncated_normal", "normal", "uniform")
    ),
]
HE = initializers.he_normal()
COMBINED = [  # their oracle: tests/schemes/test_combinators.py
    Row("blocks", {"init": HE, "sizes": 2}, None, None),
    Row("blocks", {"init": [HE, initializers.glorot_uniform()], "sizes": (4, 30)}, None, None),
]
CHANGED = [  # likewise; factories alone
    Row("scaled", {"init": HE, "factor": 0.3}, None, None),
    Row("shifted", {"init": HE, "offset": 0.7}, None, None),
    Row("clipped", {"init": HE, "lower": -0.1, "upper": 0.2}, None, None),
    Row("repeated", {"init": HE, "times": 2}, None, None),
    Row("masked", {"init": HE, "mask": np.tri(65, 34, dtype=bool)}, None, None),
]
EXACT = [  # their oracle: tests/schemes/test_matrices.py
    Row("identity", {}, None, None),
    Row("identity", {"gain": -0.3, "shift": (2, 1)}, None, None),
    Row("dirac", {"groups": 2}, None, None),
    Row("hadamard", {"scale": 1.7}, None, None),
    Row("zer_o", {}, None, None),
    Row("sparse", {"sparsity": 0.8, "stddev": 0.02}, None, None),
]
ORTHOGONAL = [  # their last bits follow the backend's linear algebra
    Row("orthogonal", {"scale": 1.3}, None, None),
    Row("delta_orthogonal", {}, None, None),
]
DYNAMICS = [  # tested in test_recipes.py; factories alone
    Row("chrono", {"t_max": 50.0}, None, None),
    Row("mamba_dt_bias", {}, None, None),
    Row("mamba_a_log", {}, None, None),
    Row("hippo", {}, None, None),
]
IDS = ["-".join([row.name, *map(str, row.options.values())]) for row in ROWS]
RANDOM = [row for row in ROWS if row.law]
RANDOM_IDS = [name for row, name in zip(ROWS, IDS, strict=True) if row.law]
DTYPES = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "complex64"]
WIDE_DTYPES = ["float64", "complex128"]
SHAPES = [(16, 8), (3, 3, 4, 6), (5, 7), (2, 1)]


IMPLEMENTATIONS = ["threefry2x32", "threefry4x32", "philox2x32", "philox4x32", "rbg", "unsafe_rbg"]


def key_of(kind, seed):
    """A key of some kind; skips the test where JAX does not know it, as 0.10.0 three of the six."""
    try:
        return jax.random.key(seed, impl=kind)
    except ValueError:
        pytest.skip(f"this JAX has no {kind}")


def gaussian(key, shape, dtype="float32"):
    """Standard normal values by NumPy, to save the half second in which JAX compiles its own."""
    seed = np.asarray(jax.random.key_data(key)).tolist()
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def raw(x):
    """The bytes of an array, so that equality is of bits."""
    return np.asarray(x).tobytes()


def key_data(key):
    return np.asarray(jax.random.key_data(key))


def slow_but(names, quick):
    """Parameters of a test, of which all but the quick ones are behind the slow marker."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]

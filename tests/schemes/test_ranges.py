"""What a dtype cannot hold is an error; what is rounded to zero in it is counted in a warning."""

import gc
import math
import re
import warnings
import weakref
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxinit import initializers, recipes
from jaxinit._random import laws, spread
from jaxinit._schemes import ranges

KEY = jax.random.key(9)
NORMAL, ONE = initializers.normal(1.0), initializers.identity()

REFUSED = [
    (lambda: initializers.scaled(ONE, 1e39), "float32", r"scaled: factor=1e\+39 is not a normal number of float32, in which it is computed; use one between 1\.175e-38 and 3\.403e\+38\."),
    (lambda: initializers.scaled(ONE, 1e-39), "bfloat16", r"scaled: factor=1e-39 is not a normal number of float32"),
    (lambda: initializers.shifted(NORMAL, -1e39), "float32", r"shifted: offset=-1e\+39 is not a normal number of float32"),
    (lambda: initializers.clipped(NORMAL, 0, 1e39), "float16", r"clipped: upper=1e\+39 is not a normal number of float32"),
    (lambda: initializers.chrono(1e39), "float32", r"chrono: t_max=1e\+39 is not a normal number of float32"),
    (lambda: initializers.mamba_dt_bias(dt_max=1e308), "float32", r"mamba_dt_bias: dt_max=1e\+308 is not a normal number"),
    (lambda: initializers.mamba_dt_bias(floor=1e-300), "float32", r"mamba_dt_bias: floor=1e-300 is not a normal number"),
    (lambda: initializers.mamba_dt_bias(dt_max=1e6), "float16", r"mamba_dt_bias: values up to 1e\+06 overflow float16"),
    (lambda: initializers.constant(500), "float8_e4m3fn", r"constant: float8_e4m3fn cannot hold 500; use another dtype\."),
    (lambda: initializers.constant(-math.inf), "float8_e4m3fn", r"constant: float8_e4m3fn cannot hold -inf"),
    (lambda: initializers.constant(1e6), "float16", r"constant: float16 cannot hold 1e\+06"),
    (lambda: initializers.constant(np.array([1, 300] * 4)), "int8", r"constant: int8 cannot hold 300"),
    (lambda: initializers.constant(0.5), "int32", r"constant: int32 cannot hold 0\.5"),
    (lambda: initializers.constant(-1), "uint8", r"constant: uint8 cannot hold -1"),
    (lambda: initializers.constant(math.nan), "int32", r"constant: int32 cannot hold nan"),
    (lambda: initializers.constant(1 + 2j), "float32", r"constant: float32 has no imaginary part, which the value has; use a complex dtype\."),
    (lambda: initializers.constant(1j * 1e39), "complex64", r"constant: complex64 cannot hold 1e\+39"),
    (lambda: initializers.zeros, "float8_e8m0fnu", r"zeros: float8_e8m0fnu cannot hold 0"),
    (lambda: NORMAL, "float8_e8m0fnu", r"normal: float8_e8m0fnu holds no zero and no negative numbers; use another dtype, as bfloat16\."),
    (lambda: initializers.repeated(initializers.constant(500), 2), "float8_e4m3fn", r"constant: float8_e4m3fn cannot hold 500"),
    (lambda: initializers.truncated_normal(lower=1.0, upper=1 + 1e-7), "float32", r"truncated_normal: the bounds lie within 1e-6 of each other, too near to tell values apart; got lower=1\.0, upper=1\.0000001\."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "dtype", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_a_dtype_cannot_hold_is_refused(make, dtype, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        make()(KEY, (8,) if "mamba" in text or "chrono" in text else (8, 8), dtype)


def test_the_spectrum_of_a_mimetic_product_is_finite():
    with pytest.raises(ValueError, match=r"^mimetic_attention: values up to .* overflow float32"):
        recipes.mimetic_attention(KEY, 8, 1, (1e38, 0.0))
    with pytest.raises(ValueError, match=r"^hippo: values up to 998 overflow float8_e4m3fn"):
        initializers.hippo()(KEY, (500, 500), "float8_e4m3fn")


LOST = [
    (initializers.normal(1e-3), "float8_e4m3fn", "float16"),
    (initializers.normal(1e-4), "float8_e4m3fn", "float16"),
    (initializers.normal(1e-39), "float32", "float64"),
    (initializers.normal(1e-7), "float16", "bfloat16"),
    (initializers.variance_scaling(5e-324), "float32", None),
    (initializers.he_normal(fans=(2**20, 1)), "float8_e4m3fn", "float16"),
    (initializers.he_normal(fans=(1e76, 1)), "complex64", "complex128"),
    (initializers.variance_scaling(1e-76, distribution="uniform", fans=(1, 1)), "complex64", "complex128"),
    (initializers.orthogonal(1e-38), "complex64", "complex128"),
    (initializers.uniform(3e-3), "float8_e4m3fn", "float16"),
    (initializers.truncated_normal(1e-3, lower=-1.0, upper=3.0), "float8_e4m3fn", "float16"),
    (initializers.orthogonal(0.05), "float8_e4m3fn", "float16"),
    (initializers.sparse(0.0, 1e-3), "float8_e4m3fn", "float16"),
    (initializers.hadamard(1e-3), "float8_e4m3fn", "float16"),
    (initializers.scaled(NORMAL, 1e-3), "float8_e4m3fn", "float16"),
    (initializers.masked(initializers.shifted(initializers.uniform(2e-3), 0.0), np.ones(1, bool)), "float8_e4m3fn", "float16"),
    (initializers.clipped(NORMAL, -1e-5, 1e-4), "float8_e4m3fn", "float16"),
    (initializers.constant(1e-9), "float16", None),
]  # fmt: skip


@pytest.mark.parametrize(("init", "dtype", "holder"), LOST, ids=lambda value: str(value)[:30])
def test_what_vanishes_is_counted(init, dtype, holder):
    shape = (64, 96)
    with pytest.warns(UserWarning, match=r"are rounded to 0 in") as caught:
        made = np.asarray(init(KEY, shape, dtype)).astype(np.complex128)
    (warned,) = caught
    assert warned.filename == __file__
    text = str(warned.message)
    share = float(re.search(r": ([\d.]+) % of the values", text)[1]) / 100
    zeros = (made == 0).mean()
    assert zeros == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / made.size) + 5e-4)
    if holder:
        assert f"in {dtype}; {holder} holds them" in text
    if holder and "64" not in dtype and "64" not in holder:  # and it does hold them
        assert (np.asarray(init(KEY, shape, holder)) == 0).mean() < 0.1


@pytest.mark.parametrize("size", [1, 2, 3, 8, 500])
def test_shares_of_a_direction(size):
    for limit in (0.01, 0.3, 0.9):
        exact = stats.beta(1 / 2, (size - 1) / 2).cdf(limit**2) if size > 1 else 0.0
        assert spread.direction(size, False).share(limit) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("sizes", "square"),
    [
        (spread.complex_normal(), lambda u: -np.log1p(-u)),
        (spread.complex_normal(1.5), lambda u: -np.log1p(u * math.expm1(-(1.5**2)))),
        (spread.DISK, lambda u: u),
        (spread.direction(3, True), lambda u: 1 - np.sqrt(1 - u)),
        (spread.direction(1, True), np.ones_like),
    ],
    ids=range(5),
)
def test_shares_of_complex_values(sizes, square):
    generator = np.random.default_rng(0)
    radius = np.sqrt(square(generator.random(200_000)))
    turn = math.tau * generator.random(200_000)
    part = np.maximum(abs(radius * np.cos(turn)), abs(radius * np.sin(turn)))
    for limit in (0.1, 0.3, 0.75, 0.95, 1.2):
        assert sizes.share(limit) == pytest.approx((part <= limit).mean(), abs=0.006)


@pytest.mark.parametrize("bounds", [(-2, 2), (-1, 3), (5, 7), (-7, -5), (-math.inf, 0.5)])
def test_shares_of_a_truncated_normal(bounds):
    law, sizes = stats.truncnorm(*bounds), laws.truncated_normal(*map(float, bounds)).spread
    for limit in (1e-3, 0.3, 1.5, 5.5, 6.9, 8.0):
        exact = law.cdf(limit) - law.cdf(-limit)
        assert sizes.share(limit) == pytest.approx(exact, rel=1e-9, abs=1e-12)


def test_nothing_is_said_of_ordinary_values():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in ("float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32"):
            initializers.he_normal()(KEY, (4096, 4), dtype)
            initializers.zeros(KEY, (4,), dtype)
            initializers.scaled(initializers.zeros, 1e-30)(KEY, (4,), dtype)
            initializers.masked(NORMAL, np.zeros(1, bool))(KEY, (4,), dtype)
            initializers.constant(np.array([0.0, 0.0, 1.0]))(KEY, (3,), dtype)
        initializers.constant(math.nan)(KEY, (2,), "float32")
        assert (initializers.constant(math.inf)(KEY, (2,), "bfloat16") == jnp.inf).all()


def test_checking_a_constant_leaves_pythons_warnings_as_they_are(monkeypatch):
    """What changes them changes them for all threads."""
    numbers = (0.5, 2**40, 1e300 + 1j, np.array([math.nan, 1e300, -math.inf]), np.array([-3, 250]))
    for number in numbers:
        value = initializers.constant(number).value
        for dtype in map(jnp.dtype, ("float8_e4m3fn", "bfloat16", "float16", "int8", "complex64")):
            with monkeypatch.context() as patch, suppress(ValueError):
                patch.delattr(warnings, "catch_warnings")
                ranges.check_constant("constant", value, dtype)


def test_an_array_of_a_constant_goes_with_it():
    init = initializers.constant(np.arange(12.0))
    init(KEY, (12,), "float16")
    array = weakref.ref(init.value)
    del init
    gc.collect()
    assert array() is None


def test_sums_and_products_beyond_the_computing_dtype_are_its_largest():
    huge = initializers.constant(3e38)
    largest = float(jnp.finfo(np.float32).max)
    for init in (initializers.shifted(huge, 3e38), initializers.scaled(ONE, 3e38)):
        made = np.asarray(initializers.scaled(init, 2.0)(KEY, (4, 4)))
        assert made.max() == largest
        assert not np.isnan(made).any()

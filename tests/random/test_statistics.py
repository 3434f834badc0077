"""Statistics with fixed keys: two-sided tests under one error budget, each with a power twin.

The suite may fail a right implementation with probability ``BUDGET`` in all, divided evenly among
its checks; a twin shows that the same check rejects a scale that is 2 % wrong.
"""

import math

import jax
import numpy as np
import pytest
from scipy import stats
from table import RANDOM, ROWS

import jaxinit

BUDGET = 1e-3
KEY = jax.random.key(20260)
SHAPE = (1024, 1024)
DISTINCT = list({row.factory(): row for row in ROWS if row.law}.values())
CHECKS = 3 * len(DISTINCT) + 4
LEVEL = BUDGET / CHECKS
LAWS = {
    "uniform": stats.uniform(0, 1),
    "symmetric_uniform": stats.uniform(-1, 2),
    "normal": stats.norm(),
    "truncated": stats.truncnorm(-2, 2),
}


def p_mean(x, law):
    z = (x.mean() - law.mean()) / (law.std() / math.sqrt(x.size))
    return 2 * stats.norm.sf(abs(z))


def p_variance(x, law):
    """By the exact fourth moment of the distribution."""
    central = ((x - law.mean()) ** 2).mean()
    fourth = law.expect(lambda t: (t - law.mean()) ** 4)
    z = (central / law.var() - 1) / math.sqrt((fourth / law.var() ** 2 - 1) / x.size)
    return 2 * stats.norm.sf(abs(z))


def p_shape(x, law):
    """Kolmogorov and Smirnov's test of the whole distribution."""
    return stats.kstest(x, law.cdf).pvalue


CHECKED = {"mean": p_mean, "variance": p_variance, "shape": p_shape}


@pytest.mark.parametrize("check", CHECKED)
@pytest.mark.parametrize("row", DISTINCT, ids=lambda row: repr(row.factory()))
def test_a_scheme_has_its_law(row, check):
    x = np.asarray(row.function(KEY, SHAPE), np.float64).reshape(-1)
    unit, law = x / row.factor(SHAPE, False), LAWS[row.law]
    assert CHECKED[check](unit, law) > LEVEL
    wrong = unit + 0.02 * law.std() if check == "mean" else unit * 1.02
    assert CHECKED[check](wrong, law) < LEVEL  # the power twin


def test_the_variance_of_variance_scaling_is_that_asked():
    for row in RANDOM:
        if "scal" in row.name or row.name.startswith(("he", "glorot", "lecun")):
            x = np.asarray(row.function(KEY, (3, 3, 96, 512)), np.float64)
            asked = row.factory().stddev(x.shape) ** 2
            assert x.var() == pytest.approx(asked, rel=5 * math.sqrt(2 / x.size))
            assert 1.02**2 * x.var() != pytest.approx(asked, rel=5 * math.sqrt(2 / x.size))


def p_neighbours(x):
    """Correlation of neighbours in a row and in a column."""
    pairs = [(x[:, 1:], x[:, :-1]), (x[1:], x[:-1])]
    scores = [abs((a * b).mean()) * math.sqrt(a.size) / (x.std() ** 2) for a, b in pairs]
    return 2 * stats.norm.sf(max(scores))


def test_neighbours_are_independent():
    x = np.asarray(jaxinit.normal(KEY, SHAPE, stddev=1.0), np.float64)
    assert p_neighbours(x) > LEVEL
    assert p_neighbours(x + 0.15 * np.roll(x, 1, axis=1)) < LEVEL


def test_keys_are_independent():
    a, b = (
        np.asarray(jaxinit.normal(key, SHAPE, stddev=1.0), np.float64)
        for key in jax.random.split(KEY)
    )
    assert 2 * stats.norm.sf(abs((a * b).mean()) * 1024) > LEVEL
    assert 2 * stats.norm.sf(abs((a * (b + 0.02 * a)).mean()) * 1024) < LEVEL


def test_words_have_every_bit_fair():
    words = np.asarray(jaxinit.bits(KEY, (2**20,)))
    ones = np.array([int(((words >> bit) & 1).sum()) for bit in range(32)])
    z = (ones - 2**19) / 2**9
    assert stats.chi2.sf((z**2).sum(), 32) > LEVEL
    assert stats.chi2.sf(((z + 2**10 * 0.02) ** 2).sum(), 32) < LEVEL


@pytest.mark.parametrize("law", ["uniform", "normal", "truncated"])
def test_complex_laws(law):
    scheme = {"uniform": "he_uniform", "normal": None, "truncated": "he_normal"}[law]
    if scheme:
        z = np.asarray(getattr(jaxinit, scheme)(KEY, SHAPE, "complex64"), np.complex128)
        asked = 2 / 1024
    else:
        z, asked = np.asarray(jaxinit.normal(KEY, SHAPE, "complex64", stddev=1.0)), 1.0
    size = z.size
    assert (abs(z) ** 2).mean() == pytest.approx(asked, rel=5 / math.sqrt(size))
    assert (abs(1.02 * z) ** 2).mean() != pytest.approx(asked, rel=5 / math.sqrt(size))
    angle = np.angle(z).reshape(-1)
    assert stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > LEVEL
    radius2 = (abs(z) ** 2).reshape(-1) / asked
    top = -math.expm1(-4)
    cdf = {
        "uniform": lambda t: np.clip(t / 2, 0, 1),
        "normal": lambda t: -np.expm1(-t),
        "truncated": lambda t: -np.expm1(-np.minimum(t * (1 - 4 / math.expm1(4)), 4)) / top,
    }[law]
    assert stats.kstest(radius2, cdf).pvalue > LEVEL
    assert stats.kstest(radius2 * 1.02, cdf).pvalue < LEVEL

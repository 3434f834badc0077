"""Values from words: against the exact quantile, against NumPy bit for bit, and by enumeration."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from law_table import COMPLEX_LAWS, EDGES, REAL_LAWS, THREE, TWO, some_words
from scipy import special, stats

from jaxinit._random import laws, spread

CHUNK = 2**24
STRIDE = 4099  # prime, so that the words of a stride end in everything


def exact_symmetric(u, bound):
    """Quantile of the normal truncated at +-bound, at |u|, without cancellation."""
    mass, outside = (1.0, 0.0)
    if bound < math.inf:
        mass, outside = special.erf(bound / 2**0.5), special.erfc(bound / 2**0.5)
    a = np.abs(u)
    with np.errstate(divide="ignore"):
        central = special.erfinv(np.minimum(mass * a, 0.9))
        tail = special.erfcinv(outside + mass * (1 - a))
    return np.sign(u) * math.sqrt(2) * np.where(mass * a < 0.5, central, tail)


SYMMETRIC = {
    "symmetric_uniform": (laws.SYMMETRIC_UNIFORM, lambda u: u),
    "normal": (laws.NORMAL, lambda u: exact_symmetric(u, math.inf)),
    "truncated at 2": (TWO, lambda u: exact_symmetric(u, 2.0)),
    "truncated at 3": (THREE, lambda u: exact_symmetric(u, 3.0)),
}
VARIANCES = {
    "symmetric_uniform": 1 / 3,
    "normal": 1.0,
    "truncated at 2": stats.truncnorm(-2, 2).var(),
    "truncated at 3": stats.truncnorm(-3, 3).var(),
}


def chunks(exhaustive):
    """All words in order of int(w), or a stride of them, in chunks, with u."""
    step = 1 if exhaustive else STRIDE
    for start in range(-(2**31), 2**31, CHUNK * step):
        signed = np.arange(start, min(start + CHUNK * step, 2**31), step)
        yield signed.astype(np.int32).view(np.uint32), (2.0 * signed + 1) / 2**32


def check_law(law, exact, exhaustive):
    """Check error, oddness, order and finiteness; return E[x] and E[x^2] over the words seen."""
    evaluate = jax.jit(lambda w: (law(w)[0], law(~w)[0]))
    first = second = count = 0.0
    previous = -math.inf
    for w, u in chunks(exhaustive):
        value, mirrored = (np.asarray(x) for x in evaluate(jnp.asarray(w)))
        truth = exact(u)
        np.testing.assert_array_equal(mirrored, -value)
        assert np.isfinite(value).all()
        x = value.astype(np.float64)
        assert np.abs(x / truth - 1).max() <= 1e-6
        order = np.concatenate([[previous], x])
        assert (np.diff(order) >= -1e-6 * np.abs(x)).all()
        first, second, count = first + x.sum(), second + (x * x).sum(), count + x.size
        previous = x[-1]
    return first / count, second / count


@pytest.mark.parametrize("name", SYMMETRIC)
def test_accuracy_on_a_stride(name):
    law, exact = SYMMETRIC[name]
    _, variance = check_law(law, exact, exhaustive=False)
    assert variance == pytest.approx(VARIANCES[name], rel=1e-4)


@pytest.mark.enumeration
@pytest.mark.parametrize("name", SYMMETRIC)
def test_accuracy_and_moments_on_all_words(name):
    law, exact = SYMMETRIC[name]
    mean, variance = check_law(law, exact, exhaustive=True)
    assert abs(mean) < 1e-12  # exactly zero by oddness; the sum in float64 rounds
    assert math.sqrt(variance) == pytest.approx(math.sqrt(VARIANCES[name]), rel=1e-6)


def test_accuracy_at_the_edges():
    w = EDGES.astype(np.uint32)
    u = (2.0 * w.view(np.int32) + 1) / 2**32
    for law, exact in SYMMETRIC.values():
        np.testing.assert_allclose(law(jnp.asarray(w))[0], exact(u), rtol=1e-6)


def test_the_accuracy_check_has_power():
    wrong = laws.Law(
        "wrong", lambda w: laws.normal(w) * np.float32(1.000002), None, spread.normal()
    )
    with pytest.raises(AssertionError):
        check_law(wrong, SYMMETRIC["normal"][1], exhaustive=False)


def test_uniform_endpoints_and_grid():
    w = EDGES.astype(np.uint32)
    value = np.asarray(laws.UNIFORM(jnp.asarray(w))[0], np.float64)
    np.testing.assert_allclose(value, (w + 0.5) / 2**32, rtol=1e-7)
    assert value[0] == 2.0**-33
    assert value[-1] == 1.0


def test_the_last_bit_of_uniform_values():
    """docs/stream.md: ties of a word's conversion go to even before the half is added."""
    w = np.arange(2**31, 2**32, 4099, dtype=np.uint64).astype(np.uint32)
    for law, ties in ((laws.UNIFORM, 1 / 256), (laws.SYMMETRIC_UNIFORM, 1 / 128)):
        value = np.abs(np.asarray(law(jnp.asarray(w))[0]))
        above = value[value >= 0.5].view(np.uint32)
        assert (above & 1).mean() == pytest.approx((1 - ties) / 2, abs=5e-4)
    value = np.asarray(laws.UNIFORM(jnp.asarray(w))[0])
    exact = (w + 0.5) / 2**32
    assert (np.abs(value - exact) < np.spacing(value)).all()
    assert (value != exact.astype(np.float32)).any()


BOUNDS = [(5, 7), (-7, -5), (-1, 3), (0, 1), (-1, 8), (2, math.inf), (-math.inf, 2), (30, 31), (36, 37)]  # fmt: skip # noqa: E501


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_any_bounds_are_right_in_the_tail(lower, upper):
    law = laws.truncated_normal(float(lower), float(upper))
    signed = np.linspace(-(2**31), 2**31 - 1, 20001).astype(np.int64)
    value = np.asarray(law(jnp.asarray(signed.astype(np.int32).view(np.uint32)))[0], np.float64)
    rank = (2.0 * signed + 1 + 2**32) / 2**33
    if lower >= 0:  # from the upper tail, where the complement is exact
        above, below = stats.norm.sf(lower), stats.norm.sf(upper)
        complement = (2.0 * (-1 - signed) + 1 + 2**32) / 2**33
        truth = stats.norm.isf(below + complement * (above - below))
    else:
        truth = stats.truncnorm.ppf(rank, lower, upper)
    np.testing.assert_allclose(value, truth, rtol=1e-6, atol=2e-6)
    assert value.min() >= lower
    assert value.max() <= upper
    assert (np.diff(value) >= -1e-6 * np.abs(value[1:])).all()


def test_any_bounds_compile_quickly():
    """With a clamp, LLVM as of JAX 0.11 needs up to 80 seconds for one draw (see docs/notes)."""
    for bounds in BOUNDS:
        law = laws.truncated_normal(*map(float, bounds))
        with jax.enable_x64(True):
            for dtype in (jnp.uint32, jnp.uint64):
                assert "clamp" not in str(jax.make_jaxpr(law.real)(jnp.zeros(8, dtype)))


def test_tail_values_are_many():
    law = laws.truncated_normal(5.0, 7.0)
    w = jax.random.bits(jax.random.key(0), (10_000,), "uint32")
    assert len(np.unique(law(w)[0])) > 9_900  # jax.random.truncated_normal: 10


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", [*REAL_LAWS, *COMPLEX_LAWS])
def test_equals_numpy_bit_for_bit(name, bits):
    law, options = (REAL_LAWS | COMPLEX_LAWS)[name]
    words = some_words(bits, 2 if name in COMPLEX_LAWS else 1)
    with jax.enable_x64(True):
        expected = getattr(oracle.Arithmetic(bits), name.strip())(*words, **options)
        expected = expected if isinstance(expected, tuple) else (expected,)
        arrays = [jnp.asarray(w) for w in words]
        for evaluate in (law, jax.jit(law.__call__), jax.vmap(law.__call__)):
            for got, want in zip(evaluate(*arrays), expected, strict=True):
                chex.assert_trees_all_equal(np.asarray(got), want)
                assert got.dtype == oracle.FLOATS[bits]


@pytest.mark.parametrize("bound", [2.0, 3.0, 5.0])
def test_the_modulus_of_a_complex_truncated_normal(bound):
    """Right in the tail; near zero 1 - |z|^2 is rounded before its logarithm."""
    (w,) = some_words(32, 1)
    real, imag = laws.truncated_normal(-bound, bound)(jnp.asarray(w), jnp.zeros_like(w))
    modulus = np.hypot(np.asarray(real, np.float64), np.asarray(imag, np.float64))
    exact = np.sqrt(-np.log1p((w + 0.5) / 2**32 * math.expm1(-(bound**2))))
    np.testing.assert_allclose(modulus[exact > 0.5], exact[exact > 0.5], rtol=1e-6)
    np.testing.assert_allclose(modulus, exact, atol=2e-4)


@pytest.mark.parametrize("bound", [1e-6, 1e-4, 0.5])
def test_the_modulus_is_as_exact_where_all_of_it_is_small(bound):
    (w,) = some_words(32, 1)
    real, imag = laws.truncated_normal(-bound, bound)(jnp.asarray(w), jnp.zeros_like(w))
    modulus = np.hypot(np.asarray(real, np.float64), np.asarray(imag, np.float64))
    exact = np.sqrt(-np.log1p((w + 0.5) / 2**32 * math.expm1(-(bound**2))))
    np.testing.assert_allclose(modulus, exact, rtol=2e-6)


@pytest.mark.parametrize("name", ["normal", "truncated at 2", "truncated at 3"])
def test_float64_is_exact_to_1e_13_and_agrees_with_float32(name):
    law, exact = SYMMETRIC[name]
    (w,) = some_words(64, 1)
    with jax.enable_x64(True):
        value = np.asarray(law(jnp.asarray(w))[0])
        single = np.asarray(law(jnp.asarray((w >> np.uint64(32)).astype(np.uint32)))[0])
    u = (2.0 * w.view(np.int64) + 1) / 2.0**64
    middle = np.abs(u) < 0.99  # where float64 still holds u itself
    np.testing.assert_allclose(value[middle], exact(u[middle]), rtol=1e-13)
    apart = np.abs(u) > 2.0**-16  # a word has 32 bits, so near 0 and 1 its halves show
    apart &= np.abs(u) < 1 - 2.0**-16
    np.testing.assert_allclose(value[apart], single[apart], rtol=2e-5)


def test_truncated_deviations():
    assert pytest.approx(stats.truncnorm(-2, 2).std(), rel=1e-12) == laws.TRUNCATED_STDDEV
    # E|z|^2 of the circular normal with |z| <= 2: integral of t exp(-t) over [0, 4], normalised
    mean = (1 - 5 * math.exp(-4)) / (1 - math.exp(-4))
    assert math.sqrt(mean) == pytest.approx(laws.COMPLEX_TRUNCATED_STDDEV, rel=1e-14)
    assert math.sqrt(mean) == pytest.approx(0.96196182800821, rel=1e-13)


@pytest.mark.slow
def test_coefficients_are_what_their_derivation_gives():
    import derive_coefficients

    from jaxinit._random import coefficients

    with open(coefficients.__file__) as file:
        assert file.read() == derive_coefficients.module()

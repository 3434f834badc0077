"""The arithmetic that replaces operations which differ between backends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinit._random import portable

# Every mantissa, under an even and an odd exponent.
NUMBERS = np.arange(0x3F800000, 0x40800000, dtype=np.int32).view(np.float32)


@pytest.mark.parametrize("error", [0.0, 2**-21, -(2**-21), "random"])
def test_a_root_is_rounded_to_nearest_whatever_the_error_of_the_reciprocal(error):
    generator = np.random.default_rng(0)
    rounded = jax.jit(lambda x, y: portable.rounded_sqrt(x, lambda _: y))
    for x in np.split(NUMBERS, 4):
        wrong = generator.uniform(-(2**-21), 2**-21, x.shape) if error == "random" else error
        reciprocal = ((1 + wrong) / np.sqrt(x.astype(np.float64))).astype(np.float32)
        np.testing.assert_array_equal(rounded(x, reciprocal), np.sqrt(x))


def test_that_check_has_power():
    x = NUMBERS[: 2**20]
    rough = (1 / np.sqrt(x.astype(np.float64)) * (1 + 2**-10)).astype(np.float32)
    assert (np.asarray(portable.rounded_sqrt(jnp.asarray(x), lambda _: rough)) != np.sqrt(x)).any()


def test_roots_of_zero_and_at_the_ends_of_the_domain():
    ends = [n * 2.0**e for n in (1.0, 1.1, 1.9999999, 3.3) for e in (-80, -33, 0, 9, 98)]
    x = np.array([0, *ends], np.float32)
    for root in (portable.sqrt, portable.rounded_sqrt, jax.jit(portable.rounded_sqrt)):
        np.testing.assert_array_equal(root(jnp.asarray(x)), np.sqrt(x))


def test_a_guard_changes_no_value_and_forbids_contraction():
    generator = np.random.default_rng(1)
    w = jnp.asarray(generator.integers(0, 2**32, 2**16, dtype=np.uint32))
    x, y, z = (generator.standard_normal(2**16).astype(np.float32) for _ in range(3))
    guarded = jax.jit(lambda w, x, y, z: portable.guard_of(w)(x * y) + z)
    np.testing.assert_array_equal(guarded(w, x, y, z), x * y + z)
    bare = jax.jit(lambda x, y, z: x * y + z)(x, y, z)
    if (np.asarray(bare) == x * y + z).all():
        pytest.skip("nothing is contracted here, so nothing was forbidden")

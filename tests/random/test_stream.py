"""The random words: known answers, JAX's own words, every kind of key, any part of any array."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from table import IMPLEMENTATIONS

import jaxinit
from jaxinit._random import stream

# Random123's kat_vectors, threefry2x32 with 20 rounds: counter, key, expected.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def test_the_kinds_of_key_under_test():
    assert {"threefry2x32", "rbg", "unsafe_rbg"} <= set(IMPLEMENTATIONS)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    as_words = [tuple(jnp.uint32(word) for word in pair) for pair in (key, counter)]
    assert tuple(int(word) for word in stream.threefry2x32(*as_words)) == expected
    assert tuple(int(word) for word in oracle.threefry(key, counter)) == expected


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (4, 6), (3, 5), (2, 3, 4), ()])
def test_is_jax_random_bits_of_the_folded_key(shape):
    key, n = jax.random.key(42), int(np.prod(shape))
    folded = jax.random.fold_in(key, 0x6A617869)
    with jax.enable_x64(True):
        pairs = np.asarray(jax.random.bits(folded, (-(-n // 2),), "uint64"))
    expected = np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)], -1)
    expected = expected.astype(np.uint32).reshape(-1)[:n].reshape(shape)
    np.testing.assert_array_equal(jaxinit.bits(key, shape), expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", [(6,), (3, 5)])
def test_every_kind_of_key(implementation, shape):
    key = jax.random.key(7, impl=implementation)
    data = np.asarray(jax.random.key_data(key))
    expected = oracle.words(data, np.arange(np.prod(shape))).reshape(shape)
    np.testing.assert_array_equal(jaxinit.bits(key, shape), expected)
    np.testing.assert_array_equal(jaxinit.bits(jnp.asarray(data), shape), expected)
    np.testing.assert_array_equal(jaxinit.bits(data, shape), expected)
    np.testing.assert_array_equal(jax.jit(lambda k: jaxinit.bits(k, shape))(key), expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_vmap_over_keys_is_one_draw_a_key(implementation):
    keys = jax.random.split(jax.random.key(7, impl=implementation), 3)
    expected = np.stack([jaxinit.bits(key, (4, 6)) for key in keys])
    assert len(np.unique(expected)) == expected.size
    np.testing.assert_array_equal(jax.vmap(lambda k: jaxinit.bits(k, (4, 6)))(keys), expected)
    batched = jax.jit(jax.vmap(lambda k: jaxinit.bits(k, (4, 6))))
    np.testing.assert_array_equal(batched(keys), expected)


def test_drawing_never_meets_splitting():
    key = jax.random.key(0)
    drawn = set(np.asarray(jaxinit.bits(key, (4096,))).tolist())
    children = jax.random.key_data(jax.random.split(key, 2048))
    assert not drawn & set(np.asarray(children).reshape(-1).tolist())


def test_a_value_depends_on_its_flat_index_alone():
    key = jax.random.key(3)
    flat = np.asarray(jaxinit.bits(key, (3 * 8 * 10,)))
    for shape in [(240,), (24, 10), (3, 8, 10), (10, 24), (48, 5), (2, 120)]:
        np.testing.assert_array_equal(jaxinit.bits(key, shape), flat.reshape(shape))
    np.testing.assert_array_equal(jaxinit.bits(key, (77,)), flat[:77])


@pytest.mark.parametrize("shape", [(2**17, 2**16), (2**33,), (3, 2**32 + 2), (5, 7, 2**29)])
def test_index_is_64_bits_wide_where_it_must(shape):
    # XLA computes only the slice that is asked for.
    lead = tuple(slice(size - 1, size) for size in shape[:-1])
    part = jax.jit(
        lambda: [w[(*lead, slice(-3, None))] for w in stream.flat_index(shape, len(shape))]
    )
    high, low = (np.asarray(word).reshape(-1).astype(np.uint64) for word in part())
    expected = np.uint64(np.prod(shape, dtype=object)) - np.arange(3, 0, -1).astype(np.uint64)
    np.testing.assert_array_equal((high << np.uint64(32)) | low, expected)


def test_more_than_2_to_the_32_elements_lower():
    text = jax.jit(lambda k: jaxinit.bits(k, (2**20, 2**14))).lower(jax.random.key(0)).as_text()
    assert "1048576x" in text


def test_halving_a_64_bit_index():
    index = np.array([0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 5], np.uint64)
    pair = tuple(jnp.asarray(w.astype(np.uint32)) for w in (index >> 32, index & 0xFFFFFFFF))
    (high, low), parity = stream.halve(pair)
    halves = (np.asarray(high).astype(np.uint64) << np.uint64(32)) | np.asarray(low)
    np.testing.assert_array_equal(halves, index >> np.uint64(1))
    np.testing.assert_array_equal(parity, index & 1)

"""Windows and pieces: parts of an array, computed without the rest, have the bits of the whole."""

import math

import jax
import jax.numpy as jnp
import models
import numpy as np
import oracle
import pytest
from jax import lax
from table import key_data

import jaxinit
from jaxinit._make import partial, pieces
from jaxinit._make.compile import Maker

KEY = jax.random.key(3)
CAPTURED = np.random.default_rng(0).normal(size=(40, 40)).astype("float32")


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)


def joined(maker, index, entry):
    return np.concatenate([pieces.make(maker, p) for p in pieces.cut(index, entry)])


@pytest.mark.parametrize("name", models.STRIDE)
def test_pieces_have_the_bits_of_the_whole(name, small_pieces):
    case = models.MODELS[name]()
    planned = jaxinit.plan(case.init, *case.args)
    maker = Maker(planned._recording, "test")
    entries = pieces.entries(planned._recording)
    for i, entry in enumerate(entries):
        whole = pieces.stored(maker.leaf(i))
        assert joined(maker, i, entry).tobytes() == whole.tobytes(), entry.path
        if entry.nbytes > 1000:
            assert entry.box != entry.shape  # none of these must be made whole


LAWS = {
    "stock normal": lambda key, shape: jax.random.normal(key, shape),
    "stock bfloat16": lambda key, shape: jax.random.normal(key, shape, "bfloat16"),
    "stock uniform": lambda key, shape: jax.random.uniform(key, shape),
    "stock bits": lambda key, shape: jax.random.bits(key, shape, "uint8"),
    "he_normal": jaxinit.he_normal,
    "complex": lambda key, shape: jaxinit.normal(key, shape, "complex64"),
    "bfloat16": lambda key, shape: jaxinit.he_uniform(key, shape, "bfloat16"),
    "odd": lambda key, shape: jaxinit.he_normal(key, (*shape[:-1], shape[-1] - 1)),
    "shifted": lambda key, shape: jax.random.normal(key, shape) * 3.3 + 1.7,
    "two draws": lambda key, shape: jaxinit.normal(key, shape) * jax.random.uniform(key, shape),
    "reshaped": lambda key, shape: jaxinit.he_normal(key, (shape[0], shape[1] * shape[2])),
    "constant": lambda key, shape: jnp.full(shape, 0.3),
    "vmapped": lambda key, shape: jax.vmap(lambda k: jax.random.normal(k, shape[1:]))(
        jax.random.split(key, shape[0])
    ),
    "scanned": lambda key, shape: lax.scan(
        lambda c, k: (c, jaxinit.he_normal(k, shape[1:])), 0, jax.random.split(key, shape[0])
    )[1],
    "vmapped, ours": lambda key, shape: jax.vmap(lambda k: jaxinit.he_normal(k, (4, 40)))(
        jax.random.split(key, 42)
    ),
    "a draw chosen by platform": lambda key, shape: lax.platform_dependent(
        key,
        cpu=lambda key: jaxinit.normal(key, shape),
        default=lambda key: jaxinit.he_normal(key, shape),
    ),
    "branch": lambda key, shape: lax.cond(
        jax.random.uniform(key) > 0.5,
        lambda: jax.random.normal(key, shape),
        lambda: jnp.zeros(shape),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_windows_of_every_kind_of_program(name, small_pieces):
    planned = jaxinit.plan(lambda key: LAWS[name](key, (7, 24, 40)), KEY)
    maker, (entry,) = Maker(planned._recording, "test"), pieces.entries(planned._recording)
    assert entry.box != entry.shape
    whole = pieces.stored(maker.leaf(0))
    assert joined(maker, 0, entry).tobytes() == whole.tobytes()
    for i in range(len(maker._compiled)):  # the pieces share one program without large temporaries
        assert len(maker._compiled) == 2
        program = list(maker._compiled.values())[i]
        assert program.memory_analysis().temp_size_in_bytes < 8 * whole.nbytes


WHOLE = {
    "orthogonal": lambda key: jax.nn.initializers.orthogonal()(key, (40, 40)),
    "a carry": lambda key: lax.scan(lambda c, k: (c + 1, c), jnp.zeros(500), None, length=7)[1],
    "after a loop": lambda key: (
        lax.map(lambda k: jax.random.normal(k, (24, 40)), jax.random.split(key, 5)) * 0.5 + 1
    ),
    "blocks that do not nest": lambda key: lax.map(
        lambda k: jax.random.normal(k, (600,)), jax.random.split(key, 4)
    ).reshape(6, 400),
    "repeated integers": lambda key: (
        jax.random.normal(key, (40, 40))
        * jnp.broadcast_to(jnp.arange(40)[:, None], (40, 40)).astype("float32")
    ),
    "captured": lambda key: jnp.asarray(CAPTURED) * 1.5 * 2.7,
    "captured in a sum": lambda key: CAPTURED / 3.7 + jax.random.normal(key, (40, 40)) * 1.3,
    "whole and window": lambda key: (
        CAPTURED.reshape(50, 32)
        + lax.scan(lambda c, x: (c, x * 2), 0.0, CAPTURED)[1].reshape(50, 32)
    ),
    "keys": lambda key: jax.random.split(key, 400),
    "narrow bits": lambda key: lax.bitcast_convert_type(jax.random.bits(key, (40, 40)), jnp.uint16),
    "repeated rows": lambda key: jax.random.normal(key, (40, 40)) * jnp.arange(40.0)[:, None],
    "transposed": lambda key: jax.random.normal(key, (40, 60)).T,
    "rbg": lambda key: jax.random.normal(jax.random.key(0, impl="rbg"), (40, 60)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_cannot_be_cut_is_made_whole(name, small_pieces):
    planned = jaxinit.plan(WHOLE[name], KEY)
    maker, (entry,) = Maker(planned._recording, "test"), pieces.entries(planned._recording)
    whole = pieces.stored(jax.jit(WHOLE[name])(KEY))
    assert joined(maker, 0, entry).tobytes() == whole.tobytes()
    assert entry.box == entry.shape


def test_beyond_32_bits_of_index():
    """The last elements of an array of 2^33, compared with the oracle and with JAX's own words."""
    shape = (2**17, 2**16)
    planned = jaxinit.plan(
        lambda key: {"ours": jaxinit.he_uniform(key, shape), "jax": jax.random.uniform(key, shape)},
        KEY,
    )
    maker, length = Maker(planned._recording, "test"), 1000
    start = 2**33 - length
    index = np.arange(start, 2**33, dtype=np.uint64)
    by_path = {leaf.path: maker.window(i, start, length) for i, leaf in enumerate(planned.leaves)}
    words = oracle.words(key_data(KEY), index)
    u = (2 * words.view(np.int32).astype(np.float64) + 1) / 2**32
    np.testing.assert_allclose(by_path["ours"], u * np.sqrt(6 / 2**17), rtol=1e-6)
    counter = (index >> np.uint64(32)).astype(np.uint32), index.astype(np.uint32)
    high, low = oracle.threefry(key_data(KEY), counter)
    expected = ((high ^ low) >> np.uint32(9)).astype(np.float64) / 2**23
    np.testing.assert_array_equal(np.asarray(by_path["jax"], np.float64), expected)


@pytest.mark.parametrize("shape", [(2**16, 2**16), (1, 2**16, 2**16)])
@pytest.mark.parametrize("init", [jax.random.normal, jaxinit.normal])
def test_just_at_32_bits_of_index(init, shape):
    planned = jaxinit.plan(lambda key: init(key, shape), KEY)
    maker = Maker(planned._recording, "test")
    assert np.isfinite(maker.window(0, 2**32 - 100, 100)).all()


@pytest.mark.parametrize("init", [jaxinit.normal, jaxinit.he_normal])
def test_windows_on_a_default_device_of_another_platform(init, monkeypatch):
    """As on a machine with a GPU, under jax.default_device of a CPU: guards keep the bits there."""
    planned = jaxinit.plan(lambda key: init(key, (64, 64)), KEY)
    whole = pieces.stored(Maker(planned._recording, "test").leaf(0))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    part = Maker(planned._recording, "test").window(0, 1024, 2048)
    assert np.asarray(part).tobytes() == whole[1024 : 1024 + 2048].tobytes()


def test_a_window_needs_no_temporary():
    planned = jaxinit.plan(lambda key: jaxinit.he_normal(key, (4096, 4096)), KEY)
    maker = Maker(planned._recording, "test")
    maker.window(0, 0, 2**16)
    (program,) = maker._compiled.values()
    assert program.memory_analysis().temp_size_in_bytes < 2**12


def test_boxes_are_rows_that_fit():
    limit = pieces.PIECE_BYTES // 4
    assert pieces._box((1000, limit // 100), 4, 10 * (limit // 100) * 100) == (
        100,
        limit // 100,
    )
    assert pieces._box((3, 7, limit // 2), 4, 21 * limit // 2) == (1, 2, limit // 2)
    layers = 50, limit // 100, 10  # each layer is a block, which a window must not cross
    assert pieces._box(layers, 4, limit // 100 * 10) == (1, limit // 100, 10)
    assert pieces._box((5 * limit,), 4, 5 * limit) == (limit,)
    tiny = 2**20, 64  # pieces of one row each would be too many
    assert pieces._box(tiny, 4, 64) == tiny
    for shape in [(32, 4096, 7168), (100, 33_200_000), (5, 26_000_000), (7, 11, 13, 17, 4001)]:
        assert math.prod(pieces._box(shape, 4, math.prod(shape))) <= limit


def test_the_rule_against_repeated_floats_is_needed():
    """XLA rounds differently where rows are repeated, so such a product has no windows.

    It does so in JAX 0.10; the rule does no harm in later versions.
    """
    function = WHOLE["repeated rows"]
    x, rows = jax.random.normal(KEY, (40, 40)), np.arange(40.0, dtype=np.float32)[:, None]
    if jax.__version_info__ < (0, 11):
        assert not np.array_equal(jax.jit(function)(KEY), np.asarray(x) * rows)
    output = jaxinit.plan(function, KEY)._recording.program.outputs[0]
    assert partial.window_block(output, 100, partial.Setting("cpu")) is None

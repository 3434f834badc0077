"""Combinators: blocks are what their initializers give alone, on every device and by every call."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import COMBINED, raw

import jaxinit
from jaxinit import Layout, initializers

KEY = jax.random.key(7)
HE, GLOROT = initializers.he_normal(), initializers.glorot_uniform()


def expected(inits, shapes, axis, dtype=None):
    """Each block made alone."""
    made = [
        np.asarray(init(jax.random.fold_in(KEY, b), shape, dtype))
        for b, (init, shape) in enumerate(zip(inits, shapes, strict=True))
    ]
    return np.concatenate(made, axis)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_each_block_is_its_initializer_alone(dtype):
    init = initializers.blocks(GLOROT, 3)
    assert raw(init(KEY, (8, 12), dtype)) == raw(expected([GLOROT] * 3, [(8, 4)] * 3, 1, dtype))
    init = initializers.blocks([HE, GLOROT], (2, 6), axis=0)
    assert raw(init(KEY, (8, 5), dtype)) == raw(expected([HE, GLOROT], [(2, 5), (6, 5)], 0, dtype))


def test_any_function_makes_a_block():
    theirs = jax.nn.initializers.orthogonal()
    made = initializers.blocks(theirs, 4)(KEY, (16, 64))
    for block in jnp.split(made, 4, axis=1):
        assert np.linalg.svd(block)[1] == pytest.approx(np.ones(16), abs=1e-5)
    assert np.linalg.svd(theirs(KEY, (16, 64)).reshape(16, 4, 16)[:, 0])[1].min() < 0.5


def test_a_layout_with_blocks_is_the_same_mechanism():
    layout = Layout(blocks=(4, 8), block_axis=0)
    init = initializers.glorot_uniform(layout=layout)
    assert init == initializers.blocks(GLOROT, (4, 8), axis=0)
    assert repr(init) == "glorot_uniform(layout=Layout(blocks=(4, 8), block_axis=0))"
    assert raw(init(KEY, (12, 4))) == raw(expected([GLOROT] * 2, [(4, 4), (8, 4)], 0))
    assert layout.fans((12, 4)) == (6.0, 4.0)
    assert raw(jaxinit.glorot_uniform(KEY, (12, 4), layout=layout)) == raw(init(KEY, (12, 4)))


@pytest.mark.parametrize("row", COMBINED, ids=lambda row: repr(row.factory()))
def test_is_a_value_and_called_every_way_gives_the_same_bits(row):
    init, shape = row.factory(), (6, 34)
    eager = init(KEY, shape, "bfloat16")
    ways = {
        "function": row.function(KEY, shape, "bfloat16"),
        "jit": jax.jit(lambda key: init(key, shape, "bfloat16"))(KEY),
        "vmap": jax.vmap(lambda key: init(key, shape, "bfloat16"))(KEY[None])[0],
        "raw key": init(jax.random.key_data(KEY), shape, "bfloat16"),
    }
    assert {name: raw(way) for name, way in ways.items()} == dict.fromkeys(ways, raw(eager))
    read = eval(repr(init), dict(vars(initializers)))
    for twin in (pickle.loads(pickle.dumps(init)), copy.deepcopy(init), read):
        assert (twin, hash(twin), repr(twin)) == (init, hash(init), repr(init))


@pytest.mark.parametrize("kind", ["rbg", "philox2x32", "threefry4x32"])
def test_keys_of_any_kind(kind):
    key = jax.random.key(3, impl=kind)
    made = initializers.blocks(HE, 2)(key, (4, 6))
    assert raw(made[:, 3:]) == raw(HE(jax.random.fold_in(key, 1), (4, 3)))
    assert initializers.blocks(HE, 2)(jax.random.key_data(key), (4, 6)).shape == (4, 6)


@pytest.mark.parametrize("spec", [P("d", "m"), P("m"), P(None, ("d", "m")), P()], ids=str)
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_out_sharding(spec, axis_type, axis):
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(axis_type,) * 2)
    init, shape = initializers.blocks(HE, (8, 16), axis), ((24, 16), (16, 24))[axis]
    sharding, plain = NamedSharding(mesh, spec), init(KEY, shape)
    made = [init(KEY, shape, None, sharding)]
    with jax.set_mesh(mesh):
        jitted = jax.jit(lambda key: init(key, shape, None, spec))
        made += [init(KEY, shape, None, spec), jitted(KEY)]
        text = jitted.lower(KEY).compile().as_text()
    for array in made:
        assert array.sharding.is_equivalent_to(sharding, 2)
        assert raw(array) == raw(plain)
    assert not any(f"{word}(" in text for word in ("all-gather", "all-reduce", "all-to-all"))

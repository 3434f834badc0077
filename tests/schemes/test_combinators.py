"""Combinators: blocks are what their initializers give alone, on every device and by every call."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import COMBINED, key_of, raw

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
    assert repr(init) == "blocks(glorot_uniform(), (4, 8), axis=0)"
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
    key = key_of(kind, 3)
    made = initializers.blocks(HE, 2)(key, (4, 6))
    assert raw(made[:, 3:]) == raw(HE(jax.random.fold_in(key, 1), (4, 3)))
    assert initializers.blocks(HE, 2)(jax.random.key_data(key), (4, 6)).shape == (4, 6)


@pytest.mark.parametrize(
    "spec",
    [P("d", "m"), *(pytest.param(P(*s), marks=pytest.mark.slow) for s in (["m"], [None, "d"], []))],
    ids=str,
)
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


# Changed after they are made ----------------------------------------------------------------------

NORMAL = initializers.normal(1.0)
TRIANGLE = np.tri(6, 34, dtype=bool)
CHANGED = [
    (initializers.scaled(NORMAL, -0.3), lambda x: x * np.float32(-0.3)),
    (initializers.shifted(NORMAL, 0.7), lambda x: x + np.float32(0.7)),
    (initializers.clipped(NORMAL, -0.5, 1.0), lambda x: np.clip(x, -0.5, 1.0)),
    (initializers.masked(NORMAL, TRIANGLE), lambda x: np.where(TRIANGLE, x, 0)),
    (
        initializers.scaled(initializers.shifted(NORMAL, 1.0), 3.0),
        lambda x: (x + 1) * np.float32(3),
    ),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize(("init", "change"), CHANGED, ids=[repr(init)[:40] for init, _ in CHANGED])
def test_a_change_is_made_in_float32_and_rounded_once(init, change, dtype):
    shape = (6, 34)
    wide = np.asarray(NORMAL(KEY, shape))
    expected = change(wide).astype(np.float32).astype(jnp.dtype(dtype))
    ways = {
        "eager": init(KEY, shape, dtype),
        "jit": jax.jit(lambda key: init(key, shape, dtype))(KEY),
        "vmap": jax.vmap(lambda key: init(key, shape, dtype))(KEY[None])[0],
    }
    assert {name: raw(way) for name, way in ways.items()} == dict.fromkeys(ways, raw(expected))


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize(("init", "change"), CHANGED, ids=[repr(init)[:40] for init, _ in CHANGED])
def test_a_change_honours_out_sharding(init, change, axis_type):
    mesh, shape = jax.make_mesh((2, 2), ("d", "m"), axis_types=(axis_type,) * 2), (6, 34)
    sharding = NamedSharding(mesh, P("d", "m"))
    made = init(KEY, shape, None, sharding)
    assert made.sharding.is_equivalent_to(sharding, 2)
    assert raw(made) == raw(change(np.asarray(NORMAL(KEY, shape))).astype(np.float32))
    with jax.set_mesh(mesh):
        assert raw(init(KEY, shape, None, P("d", "m"))) == raw(made)


def test_changes_are_values():
    names = dict(vars(initializers), array=np.array)
    for init, _ in CHANGED:
        twins = (pickle.loads(pickle.dumps(init)), copy.deepcopy(init), eval(repr(init), names))
        for twin in twins:
            assert (twin, hash(twin), repr(twin)) == (init, hash(init), repr(init))
    assert repr(CHANGED[0][0]) == "scaled(normal(stddev=1.0), -0.3)"
    assert CHANGED[0][0] != initializers.scaled(NORMAL, 0.3)
    assert initializers.masked(NORMAL, TRIANGLE) != initializers.masked(NORMAL, ~TRIANGLE)


def test_any_function_is_changed_and_dtypes_are_inherited():
    theirs = jax.nn.initializers.he_normal()
    assert raw(initializers.scaled(theirs, 2.0)(KEY, (4, 4))) == raw(2 * theirs(KEY, (4, 4)))
    inner = initializers.normal(1.0, dtype="bfloat16")
    assert initializers.scaled(inner, 2.0)(KEY, (4,)).dtype == jnp.bfloat16
    assert initializers.scaled(inner, 2.0, dtype="float16")(KEY, (4,)).dtype == jnp.float16


def test_what_is_made_of_initializers_has_their_dtype():
    narrow = initializers.he_normal(dtype="bfloat16")
    fused = initializers.he_normal(dtype="bfloat16", layout=jaxinit.layouts.fused(3))

    def dtype_of(init, dtype=None):
        return jax.eval_shape(lambda key: init(key, (8, 24), dtype), KEY).dtype

    for init in (
        fused,
        initializers.blocks([narrow, initializers.normal(dtype=jnp.bfloat16)], 2),
        initializers.blocks(initializers.blocks(narrow, 2), 3),
        initializers.scaled(fused, 2.0),
        initializers.scaled(initializers.scaled(narrow, 2.0), 2.0),
        initializers.repeated(initializers.scaled(narrow, 2.0), 2),
    ):
        assert dtype_of(init) == jnp.bfloat16
        assert dtype_of(init, "float16") == jnp.float16
    assert fused == initializers.get(fused.to_config())
    assert dtype_of(initializers.blocks(narrow, 3, dtype="float16")) == jnp.float16
    for others in (HE, initializers.he_normal(dtype="float16")):
        assert dtype_of(initializers.blocks([narrow, others], 2)) == jnp.float32
    assert dtype_of(initializers.blocks(initializers.identity(dtype="int8"), 2)) == jnp.int8


def test_what_a_narrow_dtype_cannot_hold_is_its_largest_value():
    made = initializers.scaled(NORMAL, 1e4)(KEY, (64,), "float8_e4m3fn").astype(np.float32)
    wide = 1e4 * np.asarray(NORMAL(KEY, (64,)))
    beyond = np.abs(wide) > 448
    assert beyond.any()
    assert np.asarray(made)[beyond].tolist() == (448 * np.sign(wide[beyond])).tolist()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: initializers.scaled(NORMAL, 0), ValueError, r"^scaled: factor must not be 0\. For zeros use jaxinit\.zeros\.$"),
        (lambda: initializers.scaled(3, 1.0), TypeError, r"^scaled: init must be an initializer; got 3\.$"),
        (lambda: initializers.shifted(NORMAL, float("nan")), ValueError, r"^shifted: offset must be finite; got nan\.$"),
        (lambda: initializers.clipped(NORMAL, 1, 1), ValueError, r"^clipped: expected lower < upper; got lower=1\.0, upper=1\.0\.$"),
        (lambda: initializers.masked(NORMAL, np.ones(3)), TypeError, r"^masked: mask must be an array of booleans; got float64\[3\]\.$"),
        (lambda: initializers.masked(NORMAL, TRIANGLE)(KEY, (3, 3)), ValueError, r"^masked: a mask of shape \(6, 34\) does not broadcast to \(3, 3\)\.$"),
        (lambda: initializers.scaled(NORMAL, 2.0)(KEY, (3,), "int32"), ValueError, r"^scaled: draws real or complex numbers, not int32; use a floating dtype, as jnp\.float32\.$"),
        (lambda: initializers.clipped(NORMAL, -1, 1)(KEY, (3,), "complex64"), ValueError, r"^clipped: complex numbers have no order; use a real dtype\.$"),
    ],
    ids=range(8),
)  # fmt: skip
def test_what_changes_refuse(call, error, text):
    with pytest.raises(error, match=text):
        call()

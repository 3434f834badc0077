"""Sharding over eight devices: the same bits, each device makes its own part, no temporaries."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import ROWS, raw, slow_but

import jaxinit

KEY = jax.random.key(5)
SPECS = [P("d", "m"), P("m"), P(None, "d"), P(("d", "m")), P(None, ("d", "m")), P()]
TYPES = [AxisType.Auto, AxisType.Explicit]
KIB_64 = 2**16
DISTINCT = list({row.factory(): row for row in ROWS}.values())


def mesh_of(axis_type):
    return jax.make_mesh((4, 2), ("d", "m"), axis_types=(axis_type,) * 2)


def assert_placed(array, sharding, expected):
    assert array.sharding.is_equivalent_to(sharding, array.ndim)
    assert raw(array) == raw(expected)


def assert_local(jitted):
    """The program has no collective operation and no temporaries."""
    compiled = jitted.lower(KEY).compile()
    pattern = r"\b(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\("
    assert not re.findall(pattern, compiled.as_text())
    assert compiled.memory_analysis().temp_size_in_bytes <= KIB_64


@pytest.mark.parametrize("axis_type", TYPES, ids=str)
@pytest.mark.parametrize("row", DISTINCT, ids=lambda row: repr(row.factory()))
def test_every_scheme_honours_out_sharding(row, axis_type):
    mesh, shape = mesh_of(axis_type), (16, 24)
    sharding = NamedSharding(mesh, P("d", "m"))
    for dtype in ("bfloat16", "complex64"):
        expected = row.function(KEY, shape, dtype)
        assert_placed(row.function(KEY, shape, dtype, sharding), sharding, expected)
        with jax.set_mesh(mesh):
            assert_placed(row.function(KEY, shape, dtype, P("d", "m")), sharding, expected)


@pytest.mark.parametrize("axis_type", TYPES, ids=str)
@pytest.mark.parametrize(
    "dtype", slow_but(["float32", "float16", "float8_e5m2", "complex64"], ["float32", "complex64"])
)
@pytest.mark.parametrize("name", ["zeros", "uniform", "normal", "he_normal", "he_uniform"])
def test_out_sharding_under_a_trace(name, dtype, axis_type):
    mesh, shape, init = mesh_of(axis_type), (16, 24), getattr(jaxinit, name)
    with jax.set_mesh(mesh):
        jitted = jax.jit(lambda key: init(key, shape, dtype, P("d", "m")))
        assert_placed(jitted(KEY), NamedSharding(mesh, P("d", "m")), init(KEY, shape, dtype))


@pytest.mark.parametrize("axis_type", TYPES, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(64, 48), (64, 8), (8, 64, 16)], ids=str)
def test_each_device_makes_its_own_part(shape, spec, axis_type):
    mesh = mesh_of(axis_type)
    sharding = NamedSharding(mesh, spec)
    expected = jaxinit.he_normal(KEY, shape)
    with jax.set_mesh(mesh):
        inside = jax.jit(lambda key: jaxinit.he_normal(key, shape, None, spec))
        assert_placed(inside(KEY), sharding, expected)
        assert_local(inside)
    if axis_type == AxisType.Auto:  # the sharding a user's own jit asks for
        outside = jax.jit(lambda key: jaxinit.he_normal(key, shape), out_shardings=sharding)
        assert_placed(outside(KEY), sharding, expected)
        assert_local(outside)


@pytest.mark.parametrize("name", ["normal", "orthogonal"])
@pytest.mark.parametrize("spec", [P("d", P.UNCONSTRAINED), P(P.UNCONSTRAINED, "m")], ids=str)
def test_an_axis_that_is_left_to_the_compiler(name, spec):
    init = getattr(jaxinit, name)
    sharding = NamedSharding(mesh_of(AxisType.Auto), spec)
    made = jax.jit(lambda key: init(key, (8, 16), None, sharding))(KEY)
    axis = 0 if spec[0] == "d" else 1
    assert made.sharding.spec[axis] == spec[axis]
    np.testing.assert_allclose(made, init(KEY, (8, 16)), atol=1e-6)


def test_large_sharded_draw_is_local():
    sharding = NamedSharding(mesh_of(AxisType.Auto), P("d", "m"))
    for dtype in ("float32", "bfloat16"):
        init = functools.partial(jaxinit.he_normal, shape=(4096, 4096), dtype=dtype)
        assert_local(jax.jit(init, out_shardings=sharding))


def test_inside_shard_map_a_draw_is_of_the_local_key():
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    keys = jax.random.split(KEY, 8)
    local = jax.shard_map(
        lambda k: jaxinit.he_normal(k[0], (4, 6)), mesh=mesh, in_specs=P("d"), out_specs=P("d")
    )
    expected = np.concatenate([jaxinit.he_normal(key, (4, 6)) for key in keys])
    assert raw(jax.jit(local)(keys)) == raw(expected)


@pytest.mark.parametrize("axis_type", TYPES, ids=str)
def test_vmap_over_keys_on_a_mesh(axis_type):
    keys = jax.random.split(KEY, 8)
    placed = jax.device_put(keys, NamedSharding(mesh_of(axis_type), P(("d", "m"))))
    made = jax.vmap(lambda key: jaxinit.he_normal(key, (4, 6)))(placed)
    assert raw(made) == raw(np.stack([jaxinit.he_normal(key, (4, 6)) for key in keys]))


@pytest.mark.parametrize("axis_type", TYPES, ids=str)
def test_vmap_with_out_sharding(axis_type):
    keys, mesh, shape = jax.random.split(KEY, 3), mesh_of(axis_type), (16, 24)

    def batch(init, sharding):
        return jax.vmap(lambda key: init(key, shape, "bfloat16", sharding))

    with jax.set_mesh(mesh):
        for row in DISTINCT if axis_type == AxisType.Explicit else ():
            made = jax.eval_shape(batch(row.function, P("d", "m")), keys)
            assert made.sharding.spec == P(None, "d", "m")  # it is part of the type
        expected = np.stack([jaxinit.he_normal(key, shape, "bfloat16") for key in keys])
        sharding = NamedSharding(mesh, P("d", "m"))
        for given in (P("d", "m"), sharding):
            made = batch(jaxinit.he_normal, given)(keys)
            assert_placed(made, NamedSharding(mesh, P(None, "d", "m")), expected)
    if axis_type == AxisType.Explicit:
        with pytest.raises(ValueError, match=r"^he_normal: inside jit or vmap a sharding over exp"):
            batch(jaxinit.he_normal, sharding)(keys)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_no_temporaries_on_one_device(dtype):
    for shape in [(2048, 2048), (2048, 2047)]:
        jitted = jax.jit(lambda key, s=shape: jaxinit.normal(key, s, dtype))
        assert_local(jitted)
        compiled = jitted.lower(KEY).compile()
        size = math.prod(shape) * jnp.dtype(dtype).itemsize
        assert compiled.memory_analysis().output_size_in_bytes == size

"""Initializers that a function wraps, to add partitioning metadata, in layers of both doors."""

import functools

import flax.linen as flax_linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from table import raw

import jaxinit
from jaxinit import initializers, linen, nnx

KEY = jax.random.key(0)
X = jnp.ones((2, 5, 6))
FAN_BIAS = initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # U(-1/sqrt(fan_in), ...)


def rngs():
    return flax_nnx.Rngs(0)


@pytest.mark.parametrize(
    "bias",
    [FAN_BIAS, jaxinit.he_normal, initializers.scaled(FAN_BIAS, 2.0)],
    ids=["an initializer", "a function", "scaled"],
)
def test_the_bias_inside_metadata_has_the_fans_of_the_kernel(bias):
    named = flax_linen.with_partitioning(bias, ("mlp",))
    plain = linen.Dense(8, bias_init=bias).init(KEY, X)["params"]["bias"]
    layer = linen.Dense(8, bias_init=named)
    for init in (layer.init, jax.jit(layer.init)):
        made = init(KEY, X)["params"]["bias"]
        assert made.names == ("mlp",)
        assert raw(made.value) == raw(plain)
    planned = jaxinit.plan(layer.init, KEY, X).materialize()["params"]["bias"]
    assert raw(planned.value) == raw(plain)


@pytest.mark.parametrize("meshed", [False, True])
def test_the_bias_inside_metadata_of_nnx(meshed):
    named = nnx.with_partitioning(FAN_BIAS, ("mlp",), eager_sharding=meshed)
    plain = nnx.Linear(6, 8, bias_init=FAN_BIAS, rngs=rngs()).bias[...]
    mesh = jax.make_mesh((8 if meshed else 1,), ("mlp",))
    with jax.set_mesh(mesh):
        for make in (lambda make: make(), lambda make: flax_nnx.jit(make)()):
            layer = make(lambda: nnx.Linear(6, 8, bias_init=named, rngs=rngs()))
            assert layer.bias.get_metadata("out_sharding") == ("mlp",)
            assert raw(layer.bias[...]) == raw(plain)
            assert not meshed or layer.bias[...].sharding.spec == jax.P("mlp")


def test_a_bias_that_counts_no_fans_is_asked_for_its_own_shape():
    asked = []

    def boxing(init):
        @functools.wraps(init)
        def boxed(key, shape, dtype):
            asked.append(shape)
            return flax_linen.Partitioned(init(key, shape, dtype), ("mlp",))

        return boxed

    values = np.arange(8.0, dtype=np.float32)
    layer = linen.ConvTranspose(
        8, (3,), transpose_kernel=True, bias_init=boxing(initializers.constant(values))
    )
    made = layer.init(KEY, X)["params"]["bias"]
    np.testing.assert_array_equal(made.value, values)
    assert set(asked) == {(8,)}


def test_a_function_that_changes_values_stays_as_it_is():
    @functools.wraps(jaxinit.he_normal)
    def halved(key, shape, dtype):
        return jaxinit.he_normal(key, shape, dtype) / 2

    plain = linen.Dense(8, kernel_init=jaxinit.he_normal).init(KEY, X)["params"]["kernel"]
    made = linen.Dense(8, kernel_init=halved).init(KEY, X)["params"]["kernel"]
    assert raw(made) == raw(plain / 2)

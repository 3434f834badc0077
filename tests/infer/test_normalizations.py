"""Normalizations are seen however they get their statistics, and the activation behind them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jax import lax
from table import gaussian

import jaxinit

KEY = jax.random.key(0)
X = gaussian(KEY, (16, 8))


class Normalized(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    last: eqx.nn.Linear

    def __init__(self, mode):
        keys = jax.random.split(KEY)
        self.first = eqx.nn.Linear(8, 16, key=keys[0])
        self.norm = eqx.nn.BatchNorm(16, axis_name="batch", mode=mode)
        self.last = eqx.nn.Linear(16, 2, key=keys[1])

    def __call__(self, x, state):
        x, state = self.norm(self.first(x), state)
        return self.last(jax.nn.relu(x)), state


@pytest.mark.parametrize("mode", ["batch", "ema"])
def test_equinox_batch_norm(mode):
    """Its mean over the examples is a psum that jax.vmap has made a sum over an axis."""
    model, state = eqx.nn.make_with_state(Normalized)(mode)

    def apply(model, state, x):
        outputs = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return outputs(x, state)[0]

    found = jaxinit.infer(apply, model, state, X)
    assert found["first/weight"].activation == "relu"
    assert found["norm/weight"].role == "scale"
    chosen = jaxinit.autoinit.explain(apply, model, state, X)["first/weight"].initializer
    assert chosen == jaxinit.initializers.he_normal(in_axis=1, out_axis=0)


def softmax_over_units(z):
    """Along an axis that jax.vmap has given a name."""

    def one(z):
        e = jnp.exp(z - lax.pmax(z, "units"))
        return e / lax.psum(e, "units")

    return jax.vmap(one, in_axes=1, out_axes=1, axis_name="units")(z)


CHOICES = {  # something chooses that does not come from the signal
    "first is twice": lambda p, z: jnp.where(p, 2 * z, z),
    "second is thrice": lambda p, z: jnp.where(p, z, 3 * z),
    "statistics": lambda p, z: z / jnp.sqrt(jnp.where(p, 0.01 * (z**2).mean(0), (z**2).mean(0))),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_between_affine_maps_is_an_affine_map(name):
    def apply(p, x, flag):
        return jax.nn.relu(CHOICES[name](flag, x @ p["w"])) @ p["out"]

    parameters = {"w": jnp.ones((8, 16)), "out": jnp.ones((16, 2))}
    assert jaxinit.infer(apply, parameters, X, jnp.array(True))["w"].activation == "relu"


def test_a_softmax_over_a_named_axis():
    found = jaxinit.infer(
        lambda p, x: softmax_over_units(x @ p["w"]) @ p["out"],
        {"w": jnp.ones((8, 16)), "out": jnp.ones((16, 2))},
        X,
    )
    assert found["w"].activation == "softmax"

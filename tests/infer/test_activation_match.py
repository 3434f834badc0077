"""Activations with other options than their usual ones, recognised up to a scale."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxinit import autoinit, gain, infer

SHAPES = {name: jax.ShapeDtypeStruct((4, 4), jnp.float32) for name in ("first", "last")}
X = jax.ShapeDtypeStruct((2, 4), jnp.float32)
STEEP = functools.partial(jax.nn.elu, alpha=5.0)
ACTIVATIONS = {
    "elu(5)": STEEP,
    "celu(20)": functools.partial(jax.nn.celu, alpha=20.0),
    "3 * leaky_relu(0.2)": lambda x: 3 * jax.nn.leaky_relu(x, 0.2),
}


def model(params, x, activation):
    return activation(x @ params["first"]) @ params["last"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_options_are_found(name):
    found = infer(functools.partial(model, activation=ACTIVATIONS[name]), SHAPES, X)
    assert found["first"].activation == name


def test_autoinit_takes_their_own_gain():
    advice = autoinit.explain(functools.partial(model, activation=STEEP), SHAPES, X)
    assert advice["first"].stddev == pytest.approx(gain(STEEP) / 2, rel=1e-5)

"""Calibrate: unit variance layer by layer, also where layers are stacked in a loop."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from table import gaussian

import jaxinit
from jaxinit import calibrate, propagate

KEY = jax.random.key(0)
X = gaussian(KEY, (64, 32))


def apply(params, x):
    for layer in params:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
    return x


def tower(depth=4, stddev=0.05):
    keys = jax.random.split(KEY, depth)
    return [
        {"kernel": jaxinit.normal(key, (32, 32), stddev=stddev), "bias": jnp.full(32, 0.1)}
        for key in keys
    ]


@pytest.mark.parametrize("std", [1.0, np.float32(0.5)])
def test_every_layer_has_the_deviation_asked_for(std):
    params = tower()
    tuned = calibrate(apply, params, X, std=std)
    for row in propagate(apply, tuned, X).rows:
        assert row["std"] == pytest.approx(std, rel=0.025)
    assert tuned[0]["bias"] is params[0]["bias"]
    directions = [np.asarray(t["kernel"] / p["kernel"]) for t, p in zip(tuned, params, strict=True)]
    for factor in directions:
        np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-4)
    assert any(abs(row["std"] / std - 1) > 0.5 for row in propagate(apply, params, X).rows)


def test_stacked_layers_one_by_one():
    params = tower()
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

    def scanned(params, x):
        return lax.scan(lambda h, p: (apply([p], h), None), x, params)[0]

    one, other = calibrate(apply, params, X), calibrate(scanned, stacked, X)
    for i in range(4):
        np.testing.assert_allclose(other["kernel"][i], one[i]["kernel"], rtol=1e-4)


def test_it_leaves_zeros_embeddings_and_dtypes_alone():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(32, 16)(tokens)
            zero = nn.Dense(16, kernel_init=nn.initializers.zeros, name="zero")
            return x + zero(nn.relu(nn.Dense(16, param_dtype=jnp.bfloat16, name="up")(x)))

    tokens = jnp.arange(32)[None]
    params = Model().init(KEY, tokens)
    tuned = calibrate(Model().apply, params, tokens)["params"]
    assert tuned["Embed_0"]["embedding"] is params["params"]["Embed_0"]["embedding"]
    assert tuned["zero"]["kernel"] is params["params"]["zero"]["kernel"]
    assert tuned["up"]["kernel"].dtype == jnp.bfloat16
    assert propagate(Model().apply, {"params": tuned}, tokens).rows[0]["std"] == pytest.approx(
        1, rel=0.03
    )


def test_complex_kernels():
    def linear(params, x):
        return x.astype(jnp.complex64) @ params

    kernel = jaxinit.lecun_normal(KEY, (32, 16), jnp.complex64)
    tuned = calibrate(linear, kernel * 0.1j, X)
    assert float(jnp.std(linear(tuned, X))) == pytest.approx(1, rel=0.02)


ERRORS = [
    (lambda: calibrate(apply, tower(), X, std=0), "calibrate: std must be above 0; got 0."),
    (lambda: calibrate(apply, tower(), X, std=True), "calibrate: std must be a number; got True."),
    (lambda: calibrate(apply, tower(), X, tolerance="1"), "tolerance must be a number; got"),
    (
        lambda: calibrate(apply, tower(), X, passes=-1),
        "calibrate: passes must be a positive int; got -1.",
    ),
    (
        lambda: calibrate(apply, tower(), X, passes=1.5),
        "calibrate: passes must be a positive int; got 1.5",
    ),
    (
        lambda: calibrate(apply, tower(), jax.eval_shape(lambda: X)),
        "calibrate: expected arrays wit",
    ),
    (
        lambda: calibrate(lambda p, x: x @ p, jnp.ones((32, 4)), 0 * X),
        "has standard deviation 0.0 on this batch, which no factor can mend",
    ),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, text):
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call()

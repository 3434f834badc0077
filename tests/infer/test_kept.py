"""What is no kernel, bias or scale for certain keeps the model's own values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import gaussian

import jaxinit
from jaxinit import autoinit, infer

KEY = jax.random.key(0)
X = gaussian(KEY, (8, 16))


def test_the_state_of_spectral_norm():
    """Its u is made of by products with the kernel, as an adapter is, but is a direction."""
    model = nn.SpectralNorm(nn.Dense(32))
    variables = model.init(KEY, X, update_stats=False)

    def apply(variables, x):
        return model.apply(variables, x, update_stats=False)

    made = autoinit(KEY, apply, variables, X)
    assert infer(apply, variables, X)["params/layer_instance/kernel"].role == "kernel"
    for name, x in made["batch_stats"].items():
        np.testing.assert_array_equal(x, variables["batch_stats"][name])


@pytest.mark.parametrize("layer", [nn.Conv(32, (3, 3)), nn.Dense(32)])
def test_the_gain_of_weight_norm(layer):
    x = gaussian(KEY, (4, 8, 8, 16))
    model = nn.WeightNorm(layer)
    params = model.init(KEY, x)
    found = infer(model.apply, params, x)
    assert {p: r.role for p, r in found.items() if p.endswith("scale")} == {
        p: "scale" for p in found if p.endswith("scale")
    }
    made = autoinit(KEY, model.apply, params, x)
    assert 0.7 < model.apply(made, x).std() / model.apply(params, x).std() < 1.4


def test_the_gain_of_a_convolution():
    def apply(params, x):
        w, g = params["w"], params["g"]
        return jax.lax.conv_general_dilated(
            x, w * g, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x = gaussian(KEY, (4, 8, 8, 16))
    params = {"w": jaxinit.lecun_normal(KEY, (3, 3, 16, 32)), "g": jnp.ones(32)}
    found = infer(apply, params, x)
    assert (found["w"].role, found["w"].fan_in, found["g"].role) == ("kernel", 144, "scale")


@pytest.mark.parametrize(
    ("apply", "shape", "fans"),
    [
        (lambda w, x: jax.nn.relu((x[:, :, None] * w).sum(1)), (16, 10), (16, 10)),
        (lambda w, x: jnp.sum(w * jnp.tanh(x), -1), (16,), (16, 1)),
        (
            lambda w, x: (jnp.tanh(x)[:, None].astype(jnp.float16) * w).sum(-1),
            (5, 16),
            (16, 5),
        ),
    ],
)
def test_kernels_written_as_products_and_sums(apply, shape, fans):
    found = infer(apply, jax.ShapeDtypeStruct(shape, jnp.float32), X)[""]
    assert (found.role, found.fan_in, found.fan_out) == ("kernel", *fans)


def test_a_scale_before_a_sum_over_examples_is_a_scale():
    found = infer(lambda g, x: (x[:, None] * g).sum(0), jnp.ones(16), X)
    assert found[""].role == "scale"

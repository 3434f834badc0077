"""What looks at a model and draws it anew, for parameters that lie on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from table import gaussian, raw

import jaxinit

KEY = jax.random.key(0)
X = gaussian(KEY, (8, 16))
SPECS = {"w": jax.P(None, "m"), "b": jax.P("m"), "v": jax.P(), "scale": jax.P("m")}


def apply(p, x):
    h = jax.nn.relu(x @ p["w"] + p["b"]) * p["scale"]
    return jnp.tanh(h @ p["v"])


def model():
    return {
        "w": jaxinit.he_normal(KEY, (16, 32)),
        "b": jnp.zeros(32),
        "scale": jnp.full(32, 0.5),
        "v": jaxinit.glorot_normal(KEY, (32, 8)),
    }


def sharded(kind):
    """The same parameters and inputs over eight devices."""
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(kind, kind))
    params = {
        name: jax.device_put(x, NamedSharding(mesh, SPECS[name])) for name, x in model().items()
    }
    return params, jax.device_put(X, NamedSharding(mesh, jax.P("d")))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_propagate_measures_the_same(kind):
    expected = jaxinit.propagate(apply, model(), X)
    found = jaxinit.propagate(apply, *sharded(kind))
    assert str(found) == str(expected)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_autoinit_draws_on_the_same_devices(kind):
    params, x = sharded(kind)
    made = jaxinit.autoinit(KEY, apply, params, x)
    assert {name: x.sharding for name, x in made.items()} == {
        name: x.sharding for name, x in params.items()
    }
    expected = jaxinit.autoinit(KEY, apply, model(), X)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, expected)
    assert made["scale"] is params["scale"]  # an author's own values
    np.testing.assert_array_equal(made["b"], 0)

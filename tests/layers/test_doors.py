"""jaxinit.equinox and jaxinit.keras: initializers as other libraries call them."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import raw

import jaxinit.equinox
from jaxinit import initializers

KEY = jax.random.key(0)


class Model(eqx.Module):
    linear: eqx.nn.Linear
    table: object


KEPT = [
    np.arange(3),
    np.arange(3.0),
    np.float64(3.0),
    jnp.ones(3, "bfloat16"),
    jax.random.key(1),
    jax.nn.relu,
    None,
]


@pytest.mark.parametrize("table", KEPT, ids=lambda x: type(x).__name__)
def test_equinox_keeps_what_it_does_not_draw(table):
    old = Model(eqx.nn.Linear(4, 8, key=KEY), table)
    made = jaxinit.equinox.initialize(jax.random.key(1), old, "he_normal")
    assert made.table is table
    assert made.linear.bias is old.linear.bias
    he = initializers.he_normal(in_axis=1, out_axis=0)
    shapes = {"linear": {"weight": old.linear.weight}}
    expected = jaxinit.tree_init(jax.random.key(1), shapes, {".": he})
    assert raw(made.linear.weight) == raw(expected["linear"]["weight"])


def test_equinox_says_which_array_it_cannot_keep():
    shapes = eqx.filter_eval_shape(eqx.nn.Linear, 4, 8, key=KEY)
    made = jaxinit.equinox.initialize(KEY, shapes, "he_normal", "zeros")
    assert made.weight.shape == (8, 4)
    with pytest.raises(ValueError, match=r"^tree_init: no rule matches bias; add one"):
        jaxinit.equinox.initialize(KEY, shapes, "he_normal")


def test_keras_takes_pure_functions_and_no_other():
    keras = pytest.importorskip("jaxinit.keras", exc_type=ImportError)
    for name in ("zeros", "he_uniform", "orthogonal", "variance_scaling"):
        assert keras.Initializer(getattr(jaxinit, name)).init == initializers.get(name)

    @functools.wraps(jaxinit.he_normal)
    def halved(key, shape, dtype=None):
        return jaxinit.he_normal(key, shape, dtype) / 2

    for function in (halved, jaxinit.constant, jaxinit.bits):
        with pytest.raises(TypeError, match=r"^keras\.Initializer: expected an initializer of"):
            keras.Initializer(function)

"""Second moments of mixtures of signals, and what the forward rule makes of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import gaussian

import jaxinit

X = gaussian(jax.random.key(0), (64, 128))
SHAPES = {name: jax.ShapeDtypeStruct((128, 128), jnp.float32) for name in "abc"}


def mixed(combine, width=128):
    """What is known of a kernel that takes a combination of three kernels' outputs."""

    def apply(params, x):
        a, b, c = (x @ params[name] for name in "abc")
        return combine(a, b, c) @ params["last"]

    shapes = {**SHAPES, "last": jax.ShapeDtypeStruct((width, 8), jnp.float32)}
    return jaxinit.infer(apply, shapes, X)["last"].fed_by.second_moment


@pytest.mark.parametrize(
    ("combine", "width", "expected"),
    [
        (lambda a, b, c: a + b + c, 128, 3),
        (lambda a, b, c: a + jax.nn.relu(b), 128, 1.5),
        (lambda a, b, c: jnp.concatenate([a + b, c], -1), 256, 1.5),
        # of a normal signal of variance 2 its relu has half
        (lambda a, b, c: jax.nn.relu(a + b), 128, 1),
        (lambda a, b, c: (a + b) * jax.nn.sigmoid(c), 128, 2 * 0.2934),
        (lambda a, b, c: jax.nn.standardize(a + b) + c, 128, 2),
    ],
)
def test_second_moments(combine, width, expected):
    assert mixed(combine, width) == pytest.approx(expected, rel=0.01)


def test_jumps_and_poles_at_zero():
    assert mixed(lambda a, b, c: jnp.sign(a) + b) == pytest.approx(2, rel=1e-6)
    exact = 1 + ((np.euler_gamma + np.log(2)) / 2) ** 2 + np.pi**2 / 8  # 1 + E[log|z|^2]
    assert mixed(lambda a, b, c: jnp.log(jnp.abs(a)) + b) == pytest.approx(exact, rel=0.05)


class Stream(nn.Module):
    """Residual blocks without normalization."""

    @nn.compact
    def __call__(self, x):
        for _ in range(8):
            x = x + nn.Dense(128)(nn.gelu(nn.Dense(256)(x)))
        return nn.Dense(8)(x)


def test_the_forward_rule_keeps_pre_activations_of_a_residual_stream():
    shapes = jax.eval_shape(Stream().init, jax.random.key(0), X)
    apply = Stream().apply
    params = jaxinit.autoinit(jax.random.key(1), apply, shapes, X, rule="forward", check=False)
    last = np.asarray(apply(params, X))
    assert 0.6 < last.std() < 1.6  # where a sum counts as 1, it is about 16

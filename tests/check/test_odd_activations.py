"""Activations whose slope, or value, has a second moment that is 0 or infinite: plain rules."""

import math

import jax
import jax.numpy as jnp
import pytest
from table import gaussian

import jaxinit
from jaxinit import autoinit

WIDTH = 16
X = gaussian(jax.random.key(1), (8, WIDTH))
LAYERS = [
    {"kernel": jaxinit.lecun_normal(key, (WIDTH, WIDTH)), "bias": jnp.zeros(WIDTH)}
    for key in jax.random.split(jax.random.key(0), 5)
]
# Activations, and E[phi(z)^2] in closed form; that of the last is infinite.
ODD = (
    (jnp.sign, 1.0),
    (lambda h: jnp.sign(h) * jnp.sqrt(jnp.abs(h)), math.sqrt(2 / math.pi)),
    (
        lambda h: jnp.log(jnp.abs(h)),
        math.pi**2 / 8 + (0.5772156649 + math.log(2)) ** 2 / 4,
    ),
    (lambda h: 1 / h, None),
)


def apply(layers, x):
    for layer, (phi, _) in zip(layers, ODD, strict=False):
        x = phi(x @ layer["kernel"] + layer["bias"])
    return x @ layers[-1]["kernel"]


@pytest.mark.parametrize("rule", ["forward", "critical"])
def test_the_rules_fall_back_and_say_so(rule):
    advice = autoinit.explain(apply, LAYERS, X, rule=rule)
    for n, (_, moment) in enumerate(ODD, 1):
        kernel = advice[f"{n}/kernel"]
        assert kernel.stddev == pytest.approx(1 / math.sqrt(WIDTH * (moment or 1)), rel=1e-5)
        if moment is None:
            assert "whose second moment is 0 or infinite: taken to be 1" in kernel.reason
        else:
            told = "that of its slope is 0 or infinite: only q is kept" in kernel.reason
            assert told == (rule == "critical")
    assert all(advice[f"{n}/bias"].stddev == 0 for n in range(4))


def test_they_are_measured_and_audited():
    rows = jaxinit.propagate(apply, LAYERS, X).rows
    assert all(row["predicted"] > 0 for row in rows)
    assert [row["predicted_gradient"] for row in rows[:4]] == [0, None, None, None]
    jaxinit.audit(LAYERS, apply, X)

"""Choosing: the field's advice, by name, function and partial; and the command line."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxinit import for_activation, gain, initializers, recommend
from jaxinit.__main__ import main

HE, LECUN, GLOROT = (getattr(initializers, f"{n}_normal")() for n in ("he", "lecun", "glorot"))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", HE),
        (jax.nn.relu, HE),
        (nn.relu, HE),
        ("elu", HE),
        ("selu", LECUN),
        (nn.selu, LECUN),
        *((name, GLOROT) for name in ("sigmoid", "tanh", "softmax", "identity", "log_softmax")),
        *((f, GLOROT) for f in (None, nn.sigmoid, nn.tanh, jnp.tanh, nn.softmax, jax.nn.identity)),
    ],
)
def test_the_fields_advice(activation, expected):
    found = recommend(activation)
    assert found.initializer == expected
    assert repr(found.initializer) == repr(expected)
    assert found.reason
    assert found.source


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("leaky_relu", 0.01),
        ("prelu", 0.25),
        ("rrelu", 11 / 48),
        (functools.partial(nn.leaky_relu, negative_slope=0.3), 0.3),
    ],
)
def test_leaky_kin_count_their_slope(activation, slope):
    expected = initializers.variance_scaling(2 / (1 + slope**2), "fan_in", "truncated_normal")
    assert recommend(activation).initializer == expected


def shifted(z):
    return jnp.where(z > 0.3, z, 0)


@pytest.mark.parametrize(
    "activation", ["relu6", "celu", "gelu", "silu", "swish", "mish", "softplus", nn.gelu, shifted]
)
def test_the_rest_by_gain(activation):
    found = recommend(activation)
    scale = gain(activation) ** 2
    assert found.initializer == initializers.variance_scaling(scale, "fan_in", "truncated_normal")
    assert "has no scheme of its own" in found.reason


def test_distribution_and_mode():
    assert for_activation("relu", "uniform") == initializers.he_uniform()
    assert for_activation("relu", "normal") == initializers.variance_scaling(2, "fan_in", "normal")
    assert for_activation("tanh", "uniform") == initializers.glorot_uniform()
    found = recommend("relu", mode="fan_avg")
    assert found.initializer == initializers.variance_scaling(2, "fan_avg", "truncated_normal")
    assert "fan_avg" in recommend("relu").reason
    assert "Asked for fan_avg in place of fan_in" in found.reason


def test_resolves_under_a_trace():
    def init(key):
        return for_activation(lambda z: jnp.sin(z))(key, (8, 8))

    key = jax.random.key(0)
    assert (jax.jit(init)(key) == init(key)).all()


ERRORS = [
    (lambda: recommend("glu"), ValueError, r"^recommend: glu combines several inputs into one"),
    (lambda: recommend("reluu"), ValueError, r"^recommend: unknown activation 'reluu'; did you"),
    (lambda: recommend(jnp.log), ValueError, r"log is not finite"),
    (lambda: recommend(jnp.cumsum), ValueError, r"cumsum is not elementwise"),
    (
        lambda: recommend("relu", "cauchy"),
        ValueError,
        r"^recommend: distribution must be one of tr",
    ),
    (
        lambda: recommend("relu", mode="fan"),
        ValueError,
        r"^recommend: mode must be one of fan_in, ",
    ),
    (lambda: recommend(1.5), TypeError, r"^recommend: activation must be a name, a function or No"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_command_line(capsys):
    assert main(["recommend", "relu"]) == 0
    printed = capsys.readouterr().out
    assert "initializers.he_normal()" in printed
    assert "He et al. 2015" in printed
    assert main(["recommend", "gelu", "--distribution", "uniform", "--mode", "fan_avg"]) == 0
    assert "E[phi(z)^2]" in capsys.readouterr().out
    assert main(["recommend", "relo"]) == 2
    assert "did you mean relu" in capsys.readouterr().err

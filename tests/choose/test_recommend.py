"""Choosing: one answer however an activation is written; gated units; and the command line."""

import functools
import math

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, optimize, special, stats
from table import gaussian

from jaxinit import for_activation, gain, initializers, recommend
from jaxinit.__main__ import main

HE, LECUN, GLOROT = (getattr(initializers, f"{n}_normal")() for n in ("he", "lecun", "glorot"))


def scaling(scale):
    return initializers.variance_scaling(scale, "fan_in", "truncated_normal")


FAMILIES = {  # the initializer of each known activation of jax.nn
    **dict.fromkeys(["relu", "relu6", "elu", "celu"], HE),
    "leaky_relu": scaling(1.9998),
    "selu": LECUN,
    **dict.fromkeys(["sigmoid", "tanh", "softmax", "log_softmax", "identity"], GLOROT),
    **dict.fromkeys(["hard_sigmoid", "hard_tanh", "soft_sign", "log_sigmoid"], GLOROT),
    "gelu": scaling(2.35187),
    "silu": scaling(2.81076),
    "mish": scaling(2.21072),
    "softplus": scaling(1.08549),
    "hard_silu": scaling(3.01598),
    "squareplus": scaling(0.666667),
    "glu": scaling(2.98162),
}
# Ways to write one function. The last is another object each time, and does other operations.
WAYS = {
    "by name": lambda name: name,
    "function": lambda name: getattr(jax.nn, name),
    "jit": lambda name: jax.jit(getattr(jax.nn, name)),
    "lambda": lambda name: lambda x: getattr(jax.nn, name)(x),
    "float32": lambda name: lambda x: getattr(jax.nn, name)(x.astype(jnp.float32)) * 1.0,
    "rounded": lambda name: (
        lambda x: getattr(jax.nn, name)(x.astype(jnp.float32)).astype(jnp.bfloat16)
    ),
    "float16": lambda name: lambda x: getattr(jax.nn, name)(x).astype(jnp.float16).astype(x.dtype),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_way_to_write_an_activation_has_the_same_answer(name):
    for way, write in WAYS.items():
        found = recommend(write(name))
        assert found.initializer == FAMILIES[name], way
        assert repr(found.initializer) == repr(FAMILIES[name]), way
        if name != "celu":  # with its default it is elu
            assert found == recommend(name), way


def double_layer(x):
    return eqx.nn.Lambda(jnp.tanh)(x)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (None, GLOROT),
        (lambda x: x, GLOROT),
        (nnx.identity, GLOROT),
        (lambda x: jnp.where(x > 0, x, 0), HE),
        (lambda x: jnp.maximum(x, 0), HE),
        (lambda x: (x + jnp.abs(x)) / 2, HE),
        (lambda x: jnp.clip(x, -1, 1), GLOROT),
        (lambda x: 1 / (1 + jnp.exp(-x)), GLOROT),
        (double_layer, GLOROT),
        (np.tanh, GLOROT),
        (lambda x: jnp.where(x > 0, x, 0.1 * x), scaling(1.9802)),
        (functools.partial(nn.celu, alpha=1.0), HE),
        (lambda x: nn.elu(x, 1), HE),
        (functools.partial(jax.nn.gelu, approximate=False), scaling(2.35172)),
        (nn.PReLU(), scaling(1.9998)),
        (nn.PReLU, scaling(1.9998)),
        (nn.PReLU(negative_slope_init=0.25), scaling(1.88235)),
        (nnx.PReLU(), scaling(1.9998)),
        (nnx.PReLU, scaling(1.9998)),
        (eqx.nn.PReLU(0.25), scaling(1.88235)),
        (eqx.nn.PReLU, scaling(1.88235)),
    ],
    ids=range(21),
)
def test_a_function_is_recognised_by_its_values(activation, expected):
    assert recommend(activation).initializer == expected


@pytest.mark.parametrize(
    "activation", [lambda x: x * jax.nn.sigmoid(1.702 * x), lambda x: jnp.maximum(x - 0.01, 0)]
)
def test_a_function_that_is_near_a_known_one_is_not_that(activation):
    found = recommend(activation)
    assert "This function has no scheme of its own" in found.reason
    assert found.initializer.scale == pytest.approx(gain(activation) ** 2, rel=1e-5)


def test_every_way_to_compute_in_bfloat16():
    for name in set(FAMILIES) - {"glu", "softmax", "log_softmax"}:
        found = recommend(lambda x, name=name: getattr(jax.nn, name)(x.astype(jnp.bfloat16)))
        assert found.initializer == FAMILIES[name], name


@pytest.mark.parametrize(
    "activation",
    [jnp.sin, lambda x: x * jax.nn.sigmoid(1.702 * x), lambda x: jnp.cos(2 * x) + 0.1 * x**2],
)
def test_a_function_that_is_no_known_one_may_round_to_bfloat16(activation):
    found = recommend(lambda x: activation(x.astype(jnp.float32)).astype(jnp.bfloat16))
    assert "This function has no scheme of its own" in found.reason
    assert found.initializer.scale == pytest.approx(gain(activation) ** 2, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.7, 5.0])
def test_an_elu_of_another_alpha_gets_its_own_gain(alpha):
    """However it is written; He's scale with alpha = 5 would multiply the variance by 8."""
    elu = [functools.partial(nn.elu, alpha=alpha), lambda x: nn.elu(x, alpha)]
    celu = [functools.partial(nn.celu, alpha=alpha), lambda x: nn.celu(x, alpha)]
    for ways, factor in ((elu, 1.0), (celu, alpha)):

        def below(z, factor=factor):
            return (alpha * math.expm1(z / factor)) ** 2 * stats.norm.pdf(z)

        moment = 0.5 + integrate.quad(below, -13, 0, epsabs=1e-13)[0]
        for way in ways:
            found = recommend(way)
            assert found.initializer.scale == pytest.approx(1 / moment, rel=1e-5)
            assert f"for alpha = 1, and here it is {alpha:g}." in found.reason


def test_a_scale_next_to_a_named_scheme_is_that_scheme():
    assert recommend(lambda z: jnp.where(z > 0, z, 0.0 * z + 1e-9)).initializer == HE
    assert recommend(jnp.abs).initializer == LECUN
    assert recommend(lambda z: 1.001 * jnp.abs(z)).initializer == scaling(0.998003)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("leaky_relu", 0.01),
        ("prelu", 0.25),
        ("rrelu", 11 / 48),
        (functools.partial(nn.leaky_relu, negative_slope=0.3), 0.3),
    ],
)
def test_the_slope_of_a_leaky_relu_counts(activation, slope):
    found = recommend(activation)
    assert found.initializer.scale == pytest.approx(2 / (1 + slope**2), rel=5e-6)
    assert f"with slope {slope:g} below 0" in found.reason


# Pre-activations of variance 1 with he_normal, of 1.1 with the exact scale, after 50 layers.
SOFT = {
    "gelu": (lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))),
    "silu": lambda z: z * special.expit(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
}
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(180)


def second_moment(function, variance=1.0):
    return WEIGHTS @ function(np.sqrt(variance) * NODES) ** 2 / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("name", SOFT)
def test_both_answers_are_named_and_what_fifty_layers_make_of_them(name):
    reason, function = recommend(name).reason, SOFT[name]
    exact = 1 / second_moment(function)
    he, own = 1.0, 1.1
    for _ in range(50):
        he, own = 2 * second_moment(function, he), exact * second_moment(function, own)
    assert "he_normal() (scale 2)" in reason
    assert f"{exact:.6g}" in reason
    falls = float(reason.partition("fall to ")[2].partition(";")[0])
    grows = float(reason.partition("grows to ")[2].partition(". ")[0])
    assert falls == pytest.approx(he, rel=0.2, abs=0)
    assert grows == pytest.approx(own, rel=0.02)


GATES = {
    "glu": special.expit,
    "swiglu": SOFT["silu"],
    "geglu": SOFT["gelu"],
    "reglu": lambda z: np.maximum(z, 0),
}


@pytest.mark.parametrize("name", GATES)
def test_the_scale_of_a_gated_unit_keeps_the_second_moment(name):
    def product(s):
        """E[(a gate(b))^2] over the half planes of b, a and b of variance s."""

        def integrand(b):
            return s * GATES[name](np.sqrt(s) * b) ** 2 * stats.norm.pdf(b)

        return sum(integrate.quad(integrand, *ends)[0] for ends in ((-12, 0), (0, 12)))

    exact = optimize.brentq(lambda s: product(s) - 1, 0.1, 10)
    found = recommend(name)
    assert found.initializer.scale == pytest.approx(exact, rel=1e-5)
    assert "normalise its input" in found.reason


def test_a_gated_layer_as_it_is_written_keeps_the_second_moment():
    keys = jax.random.split(jax.random.key(1), 3)
    x = gaussian(keys[0], (256, 2048))
    init = for_activation("swiglu")
    a, b = (x @ init(key, (2048, 2048)) for key in keys[1:])
    assert float(jnp.mean((a * jax.nn.silu(b)) ** 2)) == pytest.approx(1, abs=0.02)


def swiglu(x):
    first, second = jnp.split(x, 2, -1)
    return jax.nn.silu(first) * second


def test_a_gated_function_is_recognised():
    assert recommend(swiglu) == recommend("swiglu")
    assert recommend(jax.jit(swiglu)) == recommend("swiglu")


def test_maxout_by_its_number_of_pieces():
    def moment(pieces):
        def integrand(z):
            return z * z * pieces * stats.norm.cdf(z) ** (pieces - 1) * stats.norm.pdf(z)

        return integrate.quad(integrand, -12, 12)[0]

    found = recommend("maxout")
    assert found.initializer == LECUN
    assert moment(2) == pytest.approx(1)
    for pieces in (3, 4, 5):
        assert f"{1 / moment(pieces):.3g} for {pieces}" in found.reason


def test_distribution_and_mode():
    assert for_activation("relu", "uniform") == initializers.he_uniform()
    assert for_activation("relu", "normal") == initializers.variance_scaling(2, "fan_in", "normal")
    assert for_activation("tanh", "uniform") == initializers.glorot_uniform()
    found = recommend("relu", mode="fan_avg")
    assert found.initializer == initializers.variance_scaling(2, "fan_avg", "truncated_normal")
    assert "fan_avg" in recommend("relu").reason
    assert "You asked for fan_avg instead of fan_in" in found.reason


def test_resolves_under_a_trace():
    def init(key):
        return for_activation(lambda z: jnp.sin(z))(key, (8, 8))

    key = jax.random.key(0)
    assert (jax.jit(init)(key) == init(key)).all()


ERRORS = [
    (lambda: recommend("reluu"), ValueError, r"^recommend: unknown activation 'reluu'; did you"),
    (lambda: recommend(jnp.log), ValueError, r"^recommend: log is not finite"),
    (lambda: recommend(jnp.cumsum), ValueError, r"^recommend: cumsum is not elementwise"),
    (lambda: recommend(lambda z: 1 / z), ValueError, r"^recommend: <lambda> has a value whose sec"),
    (lambda: recommend(nn.Dense), TypeError, r"^recommend: Dense is a class that needs arguments;"),
    (lambda: recommend("relu", "unifrom"), ValueError, r"got 'unifrom'; did you mean uniform\?$"),
    (lambda: recommend("relu", mode="fan-in"), ValueError, r"got 'fan-in'; did you mean fan_in\?$"),
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
    assert "he_normal() (scale 2)" in " ".join(capsys.readouterr().out.split())
    assert main(["recommend", "relo"]) == 2
    assert "did you mean relu" in capsys.readouterr().err

"""Gains: against scipy's quadrature, closed forms and the mean-field table."""

import functools
import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, special, stats

from jaxinit import gain
from jaxinit._choose.known import BY_NAME

# E[phi^2] and E[phi'^2], z ~ N(0, 1), to four digits
MEAN_FIELD = {
    "relu": (0.5, 0.5),
    "tanh": (0.3943, 0.4644),
    "silu": (0.3558, 0.3795),
    "elu": (0.6449, 0.6681),
    "selu": (1.0, 1.0716),
}


def by_scipy(function, kinks=()):
    """E[f(z)^2] by scipy, split at the kinks."""
    edges = [-13.0, *sorted(kinks), 13.0]

    def integrand(z):
        return function(z) ** 2 * stats.norm.pdf(z)

    parts = itertools.pairwise(edges)
    return sum(integrate.quad(integrand, a, b, epsabs=1e-13, limit=200)[0] for a, b in parts)


NUMPY = {
    "identity": (lambda z: z, ()),
    "relu": (lambda z: max(z, 0.0), (0,)),
    "leaky_relu": (lambda z: z if z > 0 else 0.01 * z, (0,)),
    "prelu": (lambda z: z if z > 0 else 0.25 * z, (0,)),
    "rrelu": (lambda z: z if z > 0 else 11 / 48 * z, (0,)),
    "elu": (lambda z: z if z > 0 else math.expm1(z), (0,)),
    "celu": (lambda z: z if z > 0 else math.expm1(z), (0,)),
    "selu": (
        lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * math.expm1(z)),
        (0,),
    ),
    "sigmoid": (special.expit, ()),
    "tanh": (math.tanh, ()),
    "relu6": (lambda z: min(max(z, 0.0), 6.0), (0, 6)),
    "gelu": (lambda z: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))), ()),
    "silu": (lambda z: z * special.expit(z), ()),
    "mish": (lambda z: z * math.tanh(np.logaddexp(0, z)), ()),
    "softplus": (lambda z: np.logaddexp(0, z), ()),
    "squareplus": (lambda z: (z + math.sqrt(z * z + 4)) / 2, ()),
    "squared_relu": (lambda z: max(z, 0.0) ** 2, (0,)),
    "softsign": (lambda z: z / (1 + abs(z)), (0,)),
    "hard_tanh": (lambda z: min(max(z, -1.0), 1.0), (-1, 1)),
    "hard_sigmoid": (lambda z: min(max(z + 3, 0.0), 6.0) / 6, (-3, 3)),
    "hard_silu": (lambda z: z * min(max(z + 3, 0.0), 6.0) / 6, (-3, 3)),
    "log_sigmoid": (lambda z: -np.logaddexp(0, -z), ()),
}


def test_every_elementwise_name_has_an_oracle():
    assert set(NUMPY) == {row.name for row in BY_NAME.values() if row.function}


@pytest.mark.parametrize("name", NUMPY)
def test_forward_gain(name):
    function, kinks = NUMPY[name]
    exact = by_scipy(function, kinks) ** -0.5
    assert gain(name) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("name", NUMPY)
def test_backward_gain(name):
    function, kinks = NUMPY[name]
    h = 1e-5

    def slope(z):
        return (function(z + h) - function(z - h)) / (2 * h)

    edges = [x for kink in kinks for x in (kink - h, kink + h)]
    exact = by_scipy(slope, edges) ** -0.5
    assert gain(name, "backward") == pytest.approx(exact, rel=3e-5)


@pytest.mark.parametrize("name", MEAN_FIELD)
def test_mean_field_table(name):
    found = gain(name) ** -2, gain(name, "backward") ** -2
    assert found == pytest.approx(MEAN_FIELD[name], abs=6e-5)


def test_kinks_and_jumps_anywhere():
    for at in (0.3, -1.7321, 1 / 3, 4.0):
        exact = stats.norm.sf(at) + at * stats.norm.pdf(at)
        assert gain(lambda z, at=at: jnp.where(z > at, z, 0)) == pytest.approx(
            exact**-0.5, rel=1e-6
        )
        step = stats.norm.sf(at)
        assert gain(lambda z, at=at: (z > at) * 1.0) == pytest.approx(step**-0.5, rel=1e-6)


def test_partials_and_functions_of_every_library():
    slope = functools.partial(jax.nn.leaky_relu, negative_slope=0.2)
    assert gain(slope) == pytest.approx(math.sqrt(2 / 1.04))
    steeper = functools.partial(slope, negative_slope=0.5)
    assert gain(steeper) == pytest.approx(math.sqrt(2 / 1.25))
    exact = functools.partial(jax.nn.gelu, approximate=False)
    assert gain(exact) ** -2 == pytest.approx(by_scipy(lambda z: z * special.ndtr(z)), rel=2e-6)
    assert gain(functools.partial(nn.elu, alpha=2.0)) ** -2 == pytest.approx(
        by_scipy(lambda z: z if z > 0 else 2 * math.expm1(z), (0,)), rel=1e-6
    )
    for function in (nn.relu, nnx.relu, jax.nn.relu, "ReLU", jax.jit(lambda x: jnp.maximum(x, 0))):
        assert gain(function) == pytest.approx(math.sqrt(2))
    for function in (jnp.tanh, jax.lax.tanh, nn.tanh, np.tanh, "Tanh"):
        assert gain(function) == pytest.approx(gain("tanh"), rel=1e-6)
    assert gain(None) == gain("linear") == 1.0


def test_under_a_trace_it_is_a_python_float():
    def traced(x):
        found = gain(lambda z: jnp.sin(3 * z)), gain("silu", "backward")
        assert all(isinstance(value, float) for value in found)
        return x * found[0]

    exact = 1 / math.sqrt((1 - math.exp(-18)) / 2)
    assert jax.jit(traced)(1.0) == pytest.approx(exact, rel=1e-6)
    assert jax.vmap(traced)(jnp.ones(2))[0] == pytest.approx(exact, rel=1e-6)
    assert jax.grad(traced)(1.0) == pytest.approx(exact, rel=1e-6)


def test_a_large_but_finite_moment_is_computed():
    double_factorial = math.prod(range(1, 80, 2))  # E[z^80]
    assert gain(lambda z: z**40) ** -2 == pytest.approx(double_factorial, rel=1e-6)
    assert gain(lambda z: jnp.exp(2 * z)) ** -2 == pytest.approx(math.exp(8), rel=1e-6)


def test_a_module_that_changes_is_integrated_again():
    module = nnx.PReLU(0.1)
    assert gain(module) == pytest.approx(math.sqrt(2 / 1.01), rel=1e-6)
    module.negative_slope[...] = 0.5
    assert gain(module) == pytest.approx(math.sqrt(2 / 1.25), rel=1e-6)


def test_a_float32_function_is_enough():
    assert gain(lambda z: jnp.tanh(z.astype(jnp.float32))) == pytest.approx(gain("tanh"), rel=1e-6)


ERRORS = [
    (
        lambda: gain("softmax"),
        ValueError,
        r"^gain: 'softmax' is not elementwise, so it has no gain; use recommend",
    ),
    (lambda: gain(jax.nn.glu), ValueError, r"^gain: glu is not elementwise, so it has no gain"),
    (
        lambda: gain(lambda z: z / jnp.sum(z * z)),
        ValueError,
        r"is not elementwise: its value at one input depends on the others",
    ),
    (
        lambda: gain(lambda z: z.sum()),
        ValueError,
        r"is not elementwise: it maps shape \(32,\) to \(\)",
    ),
    (
        lambda: gain(jnp.log),
        ValueError,
        r"^gain: log is not finite at -3; give the scale yourself\.$",
    ),
    (lambda: gain(lambda z: 0 * z), ValueError, r"is zero on N\(0, 1\), so no gain keeps it"),
    (lambda: gain(lambda z: jnp.ones_like(z), "backward"), ValueError, r"^gain: the derivative of"),
    (lambda: gain("relo"), ValueError, r"^gain: unknown activation 'relo'; did you mean relu"),
    (
        lambda: gain("relu", "sideways"),
        ValueError,
        r"^gain: direction must be one of forward, backward; got 'sideways'\.$",
    ),
    (
        lambda: gain("relu", "foward"),
        ValueError,
        r"got 'foward'; did you mean forward\?$",
    ),
    (
        lambda: gain(lambda z: jnp.exp(z**2)),
        ValueError,
        r"^gain: <lambda> has a value whose second moment under N\(0, 1\) is infinite",
    ),
    (lambda: gain(lambda z: 1 / z), ValueError, r"second moment under N\(0, 1\) is infinite"),
    (lambda: gain(lambda z: jnp.abs(z) ** -0.5), ValueError, r"under N\(0, 1\) is infinite"),
    (lambda: gain(math.tanh), ValueError, r"^gain: tanh cannot be applied to an array: "),
    (lambda: gain(nn.Dense), TypeError, r"^gain: Dense is a class that needs arguments; give an "),
    (lambda: gain(dict), TypeError, r"got an instance of dict, which cannot be called\.$"),
    (lambda: gain(3), TypeError, r"^gain: activation must be a name, a function or None; got 3\.$"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()

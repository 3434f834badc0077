"""Mean field: against SciPy's quadrature, and a wide random layer."""

import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxinit import mean_field
from jaxinit._choose.quadrature import moment_on_grid

FUNCTIONS = {
    "relu": (lambda z: max(z, 0), lambda z: float(z > 0)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "gelu": (
        lambda z: float(jax.nn.gelu(z)),
        lambda z: float(jax.grad(jax.nn.gelu)(z)),
    ),
    "silu": (
        lambda z: z / (1 + np.exp(-z)),
        lambda z: (1 + np.exp(-z) + z * np.exp(-z)) / (1 + np.exp(-z)) ** 2,
    ),
    "elu": (lambda z: z if z > 0 else np.expm1(z), lambda z: 1.0 if z > 0 else np.exp(z)),
}


def expectation(f, q):
    def integrand(z):
        return f(np.sqrt(q) * z) ** 2 * stats.norm.pdf(z)

    return sum(integrate.quad(integrand, *ends, limit=200)[0] for ends in ((-12, 0), (0, 12)))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "gelu"])
@pytest.mark.parametrize("q", [1.0, 0.3, 4.0])
def test_against_scipy(name, q):
    phi, slope = FUNCTIONS[name]
    found = mean_field(name, q)
    assert found.moment == pytest.approx(expectation(phi, q), rel=1e-6)
    assert found.slope_moment == pytest.approx(expectation(slope, q), rel=1e-6)
    assert found.weight_variance == pytest.approx(1 / found.slope_moment)
    assert found.bias_variance == pytest.approx(q - found.weight_variance * found.moment, abs=1e-9)


DOCS = pathlib.Path(__file__).parents[2] / "docs" / "checking.md"
ROW = re.compile(r"^\| (relu|tanh|gelu|silu|elu|selu) \| ([-\d.]+ \| ){4}.*$", re.MULTILINE)


def test_the_table_of_the_docs():
    """Every figure, to as many digits as it has."""
    rows = [match[0].strip("| ").split(" | ") for match in ROW.finditer(DOCS.read_text("utf-8"))]
    assert {name for name, *_ in rows} == {"selu", *FUNCTIONS}
    for name, *told in rows:
        for figure, found in zip(told, mean_field(name)[1:], strict=True):
            digits = len(figure.partition(".")[2])
            assert abs(found - float(figure)) < 0.501 * 10**-digits, (name, figure)


@pytest.mark.parametrize("q", [1.0, 0.3, 4.0])
def test_the_fixed_grid(q):
    """As exact as it says, for what is smooth, for kinks at 0, and for jumps elsewhere."""
    for name in ("relu", "tanh", "elu"):
        function = getattr(jax.nn, name)
        for backward, exact in enumerate(FUNCTIONS[name]):
            found = moment_on_grid(function, math.sqrt(q), bool(backward))
            assert found == pytest.approx(expectation(exact, q), rel=1e-5)
    inside = 1 - 2 * stats.norm.sf(1 / math.sqrt(q))
    found = moment_on_grid(jax.nn.hard_tanh, math.sqrt(q), True)
    assert found == pytest.approx(inside, rel=1e-2)


@pytest.mark.parametrize("phi", [jnp.log, lambda z: 1 / z, lambda z: jnp.sqrt(jnp.abs(z))])
def test_the_fixed_grid_tells_no_infinite_moment(phi):
    assert moment_on_grid(phi, 1.0, derivative=True) is None


def test_a_wide_random_layer_keeps_q():
    """The variance map itself, by a layer of 4,096 units; and a wrong scale does not."""
    found = mean_field("tanh", 1.0)
    keys = jax.random.split(jax.random.key(0), 3)
    h = jax.random.normal(keys[0], (64, 4096))

    def layer(weight_variance):
        w = jax.random.normal(keys[1], (4096, 4096)) * (weight_variance / 4096) ** 0.5
        b = jax.random.normal(keys[2], (4096,)) * found.bias_variance**0.5
        return float(jnp.var(jnp.tanh(h) @ w + b))

    assert layer(found.weight_variance) == pytest.approx(1, abs=0.01)
    assert layer(1.04 * found.weight_variance) != pytest.approx(1, abs=0.01)


def test_errors():
    for q in (0, -1.0):
        with pytest.raises(ValueError, match=r"^mean_field: q must be a variance above 0; got"):
            mean_field("relu", q)
    with pytest.raises(TypeError, match=r"^mean_field: q must be a number; got '1'\.$"):
        mean_field("relu", "1")
    for q in (1.0, 2.0):
        with pytest.raises(ValueError, match=r"^mean_field: 'softmax' is not elementwise"):
            mean_field("softmax", q)
        with pytest.raises(ValueError, match=r"^mean_field: log is not finite at -"):
            mean_field(jnp.log, q)

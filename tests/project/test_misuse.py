"""Misuse: any option with any value works, or is one line that names the call, before any work."""

import fractions
import inspect
import re
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

import jaxinit
from jaxinit import Layout, _functions, initializers, layouts, linen, nnx, recipes

KEY = jax.random.key(0)
HE = initializers.he_normal()
LONGEST = 600  # characters of an error


class Odd:
    """An object whose repr has lines, or fails."""

    def __init__(self, text=None):
        self.text = text

    def __repr__(self):
        return "a\n" * 99 if self.text is None else self.text.missing


# Values that are right for few options.
ODD = [
    None, True, False, "", "x", "3", "relu", "he_normal", "a\nb", "\ud800", "long" * 999, b"x", bytearray(b"x"),
    float("nan"), float("inf"), 0, 0.0, -0.0, -1, 1, 2, 3, 0.5, 1e300, 5e-324, 10**400, -(10**5000), 2**31, 2**63,
    np.float32(2), np.float64("nan"), np.int64(1), np.bool_(True), np.array(2.0), np.array([1, 2]), np.zeros((2, 2)),
    np.array("x"), np.array(None, object), np.datetime64("2020-01-01"), jnp.array(2.0), jnp.array([1, 2]), KEY,
    jax.random.PRNGKey(0), jax.random.split(KEY), jnp.float32, "bfloat16", np.dtype("int32"), object, 1 + 2j,
    fractions.Fraction(1, 2), (), [], {}, set(), (1,), [1], (None,), (0, 1), (-1,), (0.5, 0.5), (2**31, 2**31),
    [[1], [2, 3]], {"a": 1}, {"name": "he_normal"}, {"name": 3}, {"class_name": "x"}, lambda x: x, lambda: None,
    jnp.tanh, HE, initializers.he_normal, int, Odd(), Odd("fails"), Layout(), PartitionSpec("d"), Ellipsis, slice(None),
    range(3), list(range(9999)), jax.ShapeDtypeStruct((2,), jnp.float32), re,
]  # fmt: skip
NUMBERS = st.integers() | st.floats() | st.complex_numbers() | st.fractions()
VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)

# A value that is right, for options without a default.
RIGHT = {
    "activation": "relu", "base_width": 4, "blocks": 2, "branches": 2, "equation": "bti,ihd->bthd", "factor": 2,
    "fan_in": 4, "fan_out": 4, "identifier": "zeros", "init": HE, "kernel_size": (2, 2), "key": KEY, "layer": 1,
    "layers": 4, "lower": -1.0, "mask": np.ones((8, 8), bool), "nonlinearity": "relu", "offset": 0.5,
    "projection": "query", "shape": (8, 8), "sizes": 2, "sparsity": 0.5, "t_max": 9.0, "times": 2, "upper": 1.0,
    "value": 1.0, "width": 4,
}  # fmt: skip
SHAPES = {"chrono": (8,), "forget_bias": (8,)}


def traced(function, key):
    """The function of a key, traced, so that nothing is computed."""
    if isinstance(key, jax.Array):
        return jax.eval_shape(function, key)
    return jax.eval_shape(lambda: function(key))


def used(name, function):
    """What a factory returns, made and traced."""

    def call(**options):
        found = function(**options)
        for made in found.values() if isinstance(found, dict) else [found]:
            init = getattr(made, "initializer", made)
            if isinstance(init, initializers.Initializer):
                traced(lambda key, init=init: init(key, SHAPES.get(name, (8, 8))), KEY)

    return call


def drawn(function):
    """A pure function, traced over its key."""
    return lambda key, **options: traced(lambda k: function(k, **options), key)


def public():
    """(name, call, parameters) of the whole surface, layers apart."""
    for module in (initializers, recipes, layouts):
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isfunction(function) and name != "mimetic_attention":
                yield name, used(name, function), inspect.signature(function).parameters
    for name, function in vars(_functions).items():
        if inspect.isfunction(function) and function.__module__ == _functions.__name__:
            yield name, drawn(function), inspect.signature(function).parameters
    for name in ("fans", "Layout", "recommend", "for_activation", "gain", "mean_field"):
        function = getattr(jaxinit, name)
        yield name, function, inspect.signature(function).parameters
    attention = recipes.mimetic_attention
    yield "mimetic_attention", drawn(attention), inspect.signature(attention).parameters


SURFACE = [
    (name, call, parameters, option) for name, call, parameters in public() for option in parameters
]
# The names that a call's error may begin with: of two names for one law, say, its first.
NAMES = {name for name, *_ in SURFACE} | {"ones", "zeros"}


def refused(call):
    """The error of a call, or None; no value sends it on a long computation."""
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        return None
    except (TypeError, ValueError) as error:
        return error
    finally:
        assert time.process_time() - start < 10


def assert_clear(error):
    text = str(error)
    assert type(error) in (TypeError, ValueError), repr(error)
    assert "\n" not in text
    assert len(text) < LONGEST
    named = re.match(r"(?:layouts\.|linen\.|nnx\.)?(\w+)", text)
    assert named is not None, text
    assert named[1] in NAMES | {name.split(".")[1] for name in LAYERS}, text


def check(data):
    _, call, parameters, option = data.draw(st.sampled_from(SURFACE))
    needed = {p: RIGHT[p] for p, x in parameters.items() if x.default is x.empty}
    options = {**needed, option: data.draw(VALUES)}
    error = refused(lambda: call(**options))
    if error is not None:
        assert_clear(error)


FEW = settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)


@FEW
@given(st.data())
def test_any_option_with_any_value(data):
    check(data)


@pytest.mark.slow
@settings(FEW, max_examples=6000)
@given(st.data())
def test_any_option_with_many_values(data):
    check(data)


LAYERS = {
    "linen.Dense": {"features": 4}, "linen.DenseGeneral": {"features": 4}, "linen.Einsum": {"shape": (4, 4)},
    "linen.Conv": {"features": 4, "kernel_size": 3}, "linen.ConvTranspose": {"features": 4, "kernel_size": (3,)},
    "linen.Embed": {"num_embeddings": 4, "features": 4}, "linen.LSTMCell": {"features": 4},
    "linen.MultiHeadDotProductAttention": {"num_heads": 2}, "nnx.Linear": {"in_features": 4, "out_features": 4},
    "nnx.LinearGeneral": {"in_features": 4, "out_features": 4},
    "nnx.Conv": {"in_features": 4, "out_features": 4, "kernel_size": 3},
    "nnx.Embed": {"num_embeddings": 4, "features": 4}, "nnx.LSTMCell": {"in_features": 4, "hidden_features": 4},
    "nnx.MultiHeadAttention": {"num_heads": 2, "in_features": 4},
}  # fmt: skip
# Wrong for every option of a layer.
WRONG = [
    b"x", 1 + 2j, float("nan"), (None,), [[1], [2, 3]], Ellipsis, set(), slice(None), Odd(), Odd("fails"), KEY,
    np.array([1.5, 2.5]), fractions.Fraction(1, 2),
]  # fmt: skip
# Those that JAX and Flax read alone, and of which some of these values are right.
THEIRS = {"padding", "precision", "mask", "parent", "name", "kind", "rngs", "dropout_rate"}
OPTIONS = [
    (layer, option)
    for layer in LAYERS
    for option in inspect.signature(
        getattr({"linen": linen, "nnx": nnx}[layer.split(".")[0]], layer.split(".")[1])
    ).parameters
    if option not in THEIRS | {"forget_bias"}
]


@settings(FEW, max_examples=100)
@given(st.sampled_from(OPTIONS), st.sampled_from(WRONG))
def test_a_wrong_option_of_a_layer(place, value):
    layer, option = place
    door, name = layer.split(".")
    options = {**LAYERS[layer], option: value}
    rngs = {"rngs": flax_nnx.Rngs(0)} if door == "nnx" else {}
    error = refused(lambda: getattr({"linen": linen, "nnx": nnx}[door], name)(**options, **rngs))
    assert error is not None
    assert str(error).startswith(f"{layer}: {option} must "), error
    assert_clear(error)

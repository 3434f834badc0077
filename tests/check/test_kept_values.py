"""Autoinit: which of a model's own values it keeps, and what gated units and factors get."""

import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import gaussian

import jaxinit
from jaxinit import autoinit, initializers

KEY = jax.random.key(7)


def drawn(apply, params, *inputs, **options):
    """What autoinit makes of values, without its check."""
    return autoinit(KEY, apply, params, *inputs, check=False, **options)


def test_an_authors_scales_are_kept():
    def apply(p, x):
        before = jnp.pad(x, ((1, 0), (0, 0)))[:-1]
        x = x * p["mix"] + before * (1 - p["mix"])
        x = x + p["rezero"] * (jax.nn.relu(x @ p["up"]) @ p["down"])
        return x * p["plain"] + p["layerscale"] * (x @ p["w"])

    own = {"mix": 0.5, "plain": 1.0, "layerscale": 1e-5}
    params = {name: jnp.full(16, value) for name, value in own.items()}
    params |= {"rezero": jnp.zeros(()), "w": jnp.ones((16, 16))}
    params |= {"up": jnp.zeros((16, 32)), "down": jnp.zeros((32, 16))}
    x = gaussian(KEY, (8, 16))
    made = drawn(apply, params, x)
    for name in (*own, "rezero"):
        assert (made[name] == params[name]).all(), name
    assert made["w"].std() > 0
    assert made["up"].std() > 0
    filled = drawn(apply, params, x, default=initializers.constant(7))
    assert (filled["layerscale"] == params["layerscale"]).all()
    assert (filled["mix"] == 7).all()
    advice = autoinit.explain(apply, params, x)
    assert advice["layerscale"].reason == "as the model has it: 1e-05"
    assert (advice["layerscale"].initializer, advice["layerscale"].kept) == (None, True)
    assert advice["plain"].initializer == initializers.ones
    assert re.search(r"layerscale +scale.*\n? *as it is", str(advice))
    inside = jax.jit(lambda params: drawn(apply, params, x))(params)
    assert (inside["mix"] == 0.5).all()
    with pytest.raises(ValueError, match=r"not understood: mix \(unknown\); give params"):
        drawn(apply, jax.eval_shape(lambda: params), x)
    broken = drawn(apply, params | {"plain": jnp.full(16, jnp.nan)}, x)
    assert (broken["plain"] == 1).all()


def test_a_scale_that_is_added_to_one_starts_as_zero():
    """As in the normalizations of Gemma, whose scale is x * (1 + scale)."""

    def apply(p, x):
        x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True)) * (1 + p["scale"])
        return x @ p["w"]

    sizes = {"scale": (16,), "w": (16, 4)}
    shapes = {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in sizes.items()}
    assert (drawn(apply, shapes, jnp.ones((2, 16)))["scale"] == 0).all()
    own = {"scale": jnp.zeros(16), "w": jnp.ones((16, 4))}
    assert not autoinit.explain(apply, own, jnp.ones((2, 16)))["scale"].kept
    own["scale"] += 0.5
    assert (drawn(apply, own, jnp.ones((2, 16)))["scale"] == 0.5).all()


BIASES = {
    "a forget gate that starts open": (jnp.repeat(jnp.array([0.0, 1.0, 0.0]), 4), True),
    "step sizes": (jnp.linspace(-7, -2, 12), True),
    "a prior": (jnp.full(12, -4.6), True),
    "a small constant": (jnp.full(12, 0.1), True),
    "PyTorch's": (jax.random.uniform(KEY, (12,), minval=-0.25, maxval=0.25), False),
    "PyTorch's, of one sign": (jax.random.uniform(KEY, (12,), maxval=0.25), False),
    "zeros": (jnp.zeros(12), False),
    "not finite": (jnp.full(12, jnp.inf), False),
}


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("rule", ["standard", "critical"])
def test_an_authors_biases_are_kept(name, rule):
    def apply(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w"] + p["first"]) @ p["v"] + p["bias"])

    bias, is_kept = BIASES[name]
    params = {"w": jnp.ones((8, 16)), "first": jnp.zeros(16), "v": jnp.ones((16, 12)), "bias": bias}
    made = drawn(apply, params, jnp.ones((2, 8)), rule=rule)["bias"]
    assert bool((made == bias).all()) == (is_kept or (name == "zeros" and rule == "standard"))
    assert jnp.isfinite(made).all()


def test_weights_of_a_mean_are_kept():
    """Four experts whose mean is learned; and the same array where it is drawn as a kernel."""

    def apply(p, x):
        return (x * p["w"][:, None]).sum(1)

    x = jnp.ones((2, 4, 8))
    assert (drawn(apply, {"w": jnp.full(4, 0.25)}, x)["w"] == 0.25).all()
    assert (drawn(apply, {"w": jnp.arange(4.0)}, x)["w"] != jnp.arange(4.0)).all()


def test_the_state_of_a_spectral_norm_is_kept():
    module = nn.SpectralNorm(nn.Dense(32))
    x = gaussian(KEY, (8, 16))
    variables = module.init(KEY, x, update_stats=False)

    def apply(v, x):
        return module.apply(v, x, update_stats=False)

    made = drawn(apply, variables, x)
    assert all(
        map(np.array_equal, *map(jax.tree.leaves, (made["batch_stats"], variables["batch_stats"])))
    )
    assert autoinit.explain(apply, variables, x)["batch_stats/layer_instance/kernel/u"].kept
    for _ in range(20):
        _, state = module.apply(made, x, update_stats=True, mutable=["batch_stats"])
        made = {**made, **state}
    kernel = made["params"]["layer_instance"]["kernel"]
    sigma = made["batch_stats"]["layer_instance/kernel/sigma"]
    assert sigma == pytest.approx(float(jnp.linalg.norm(kernel, 2)), rel=1e-2)


def test_weight_normalization_of_a_convolution_keeps_the_signal():
    module = nn.WeightNorm(nn.Conv(32, (3, 3)))
    x = gaussian(KEY, (4, 8, 8, 16))
    made = drawn(module.apply, module.init(KEY, x), x)
    assert module.apply(made, x).std() == pytest.approx(1, abs=0.2)


def swiglu(p, x):
    return (jax.nn.silu(x @ p["gate"] + p["bias"]) * (x @ p["up"])) @ p["down"]


def fused_swiglu(p, x):
    gate, up = jnp.split(x @ p["both"], 2, -1)
    return (jax.nn.silu(gate) * up) @ p["down"]


SWIGLU = {"gate": (64, 256), "up": (64, 256), "bias": (256,), "down": (256, 64)}


@pytest.mark.parametrize(
    ("apply", "shapes", "names"),
    [
        (swiglu, SWIGLU, ("gate", "up")),
        (fused_swiglu, {"both": (64, 512), "down": (256, 64)}, ("both",)),
    ],
)
def test_a_gated_unit_has_the_advice_of_recommend(apply, shapes, names):
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    x = gaussian(KEY, (256, 64))
    advice = autoinit.explain(apply, params, x)
    expected = jaxinit.recommend("swiglu")
    for name in names:
        assert advice[name].stddev == pytest.approx(math.sqrt(1.60989 / 64))
        assert advice[name].reason == expected.reason
        assert advice.inferred[name].gated == "swiglu"
    assert advice["down"].initializer == initializers.glorot_normal()
    made = drawn(apply, params, x)
    last = {**made, "down": jnp.eye(256)}
    assert jnp.mean(apply(last, x) ** 2) == pytest.approx(1, abs=0.2)
    forward = autoinit.explain(apply, params, x, rule="forward")
    assert forward["down"].initializer != advice["down"].initializer


def test_what_only_looks_like_a_gated_unit():
    """Factors that are made from different signals, or that something else takes too."""

    def apart(p, x, y):
        return (jax.nn.silu(x @ p["a"]) * (y @ p["b"])) @ p["c"]

    def taken_twice(p, x, y):
        up = x @ p["b"]
        return (jax.nn.silu(x @ p["a"]) * up) @ p["c"] + jnp.tanh(up)

    params = {name: jax.ShapeDtypeStruct((16, 16), jnp.float32) for name in "abc"}
    x = jnp.ones((2, 16))
    found = autoinit.explain(apart, params, x, x)
    assert found.inferred["a"].gated == found.inferred["b"].gated == ""
    assert autoinit.explain(taken_twice, params, x, x).inferred["b"].gated == ""

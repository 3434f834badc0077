"""Autoinit: what it chooses, that it draws what it says, and that signal goes through."""

import functools
import itertools
import math
import re
import warnings

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_models
from table import gaussian, raw

import jaxinit
from jaxinit import autoinit, initializers
from jaxinit._program.trees import arrays

KEY = jax.random.key(7)


def mlp(activation, depth=12, width=256):
    """A plain MLP, its shapes and its input."""

    def apply(params, x):
        for layer in params:
            x = activation(x @ layer["kernel"] + layer["bias"])
        return x

    layer = {
        "bias": jax.ShapeDtypeStruct((width,), jnp.float32),
        "kernel": jax.ShapeDtypeStruct((width, width), jnp.float32),
    }
    return apply, [dict(layer) for _ in range(depth)], jax.ShapeDtypeStruct((8, width), jnp.float32)


QUICK = ("equinox", "nnx_mlp", "lora", "fused_lstm", "grouped_queries", "scanned", "tied", "vae")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in zoo_models.KINDS],
)
def test_every_model_is_drawn_as_explained(name):
    model = zoo_models.KINDS[name]()
    values = jax.tree.map(_small, model.params)
    advice = autoinit.explain(model.apply, values, *model.inputs)
    params = autoinit(KEY, model.apply, values, *model.inputs, default=jaxinit.ones, check=False)
    assert jax.tree.structure(params) == jax.tree.structure(values)
    for (path, leaf), (_, given) in zip(arrays(params), arrays(values), strict=True):
        assert (leaf.shape, leaf.dtype) == (given.shape, given.dtype)
        stddev = advice[path].stddev
        if stddev and leaf.size >= 64:
            assert leaf.std() == pytest.approx(stddev, rel=5 / math.sqrt(leaf.size))
        elif stddev == 0:
            assert leaf.std() == 0
    eqx.filter_eval_shape(model.apply, params, *model.inputs)


@pytest.mark.parametrize("name", zoo_models.KINDS)
def test_every_model_has_advice_by_the_critical_rule(name):
    model = zoo_models.KINDS[name]()
    advice = autoinit.explain(model.apply, model.params, *model.inputs, rule="critical")
    assert str(advice).count("\n") >= len(advice)


def _small(x):
    """An array for a leaf that holds no floats, which autoinit keeps."""
    keyed = hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, jnp.inexact)
    return x if keyed or not hasattr(x, "dtype") else jax.ShapeDtypeStruct(x.shape, x.dtype)


def chosen(name, path, **options):
    model = zoo_models.KINDS[name]()
    return autoinit.explain(model.apply, model.params, *model.inputs, **options)[path]


def test_the_standard_advice():
    relu = chosen("mnist", "params/Conv_1/kernel")
    assert repr(relu.initializer) == "he_normal()"
    assert relu.stddev == pytest.approx(math.sqrt(2 / 288))
    grouped = chosen("convolutions", "params/grouped/kernel")
    assert grouped.stddev == pytest.approx(jaxinit.gain("silu") / math.sqrt(18))
    transposed = chosen("convolutions", "params/up/kernel")
    assert transposed.stddev == pytest.approx(math.sqrt(2 / 32))
    assert chosen("tied", "params/token/embedding").stddev == pytest.approx(1 / 4)
    assert chosen("lora", "b").initializer == initializers.zeros
    assert chosen("imagenet", "batch_stats/norm/var").initializer == initializers.ones
    assert chosen("attention", "params/query/bias").initializer == initializers.zeros


def test_residual_branches_are_divided():
    plain, deep = (zoo_models.KINDS[n]() for n in ("fused_attention", "scanned"))
    down = autoinit.explain(plain.apply, plain.params, *plain.inputs)["down"]
    assert down.stddev == pytest.approx(math.sqrt(2 / (64 + 16)) / math.sqrt(2))
    layers = autoinit.explain(deep.apply, deep.params, *deep.inputs)
    down = layers["params/layers/down/kernel"]
    assert down.stddev == pytest.approx(math.sqrt(2 / (32 + 16)) / math.sqrt(3))
    assert "Ends branch 1 of 3" in down.reason
    # but not where a normalization follows
    third = chosen("imagenet", "params/block0/c3/kernel")
    assert third.stddev == pytest.approx(math.sqrt(2 / (8 + 32)))


def test_fused_blocks_have_their_own_fans():
    # q and k are half of v: their logits, of 16 products each, are not divided by 4
    advice = chosen("fused_attention", "qkv").initializer
    q, k, v = np.split(np.asarray(advice(KEY, (16, 48), jnp.float32)), 3, axis=1)
    assert v.std() == pytest.approx(math.sqrt(2 / (16 + 16)), rel=0.1)
    assert q.std() == pytest.approx(v.std() / 2, rel=0.2)
    assert k.std() == pytest.approx(v.std() / 2, rel=0.2)
    mixed = chosen("fused_attention", "gated")  # silu(gate) * up: one scale for both
    assert mixed.stddev == pytest.approx(math.sqrt(1.60989 / 16))

    def apply(p, x):
        one, other = jnp.split(x @ p["both"], 2, -1)
        return jax.nn.silu(one) @ p["a"] + other @ p["b"]

    sizes = {"both": (16, 128), "a": (64, 4), "b": (64, 4)}
    shapes = {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in sizes.items()}
    w = autoinit(KEY, apply, shapes, jnp.ones((2, 16)), check=False)["both"]
    silu, linear = jaxinit.gain("silu") / 4, math.sqrt(2 / (16 + 64))
    assert w[:, :64].std() == pytest.approx(silu, rel=0.1)
    assert w[:, 64:].std() == pytest.approx(linear, rel=0.1)


def test_leaves_are_keyed_by_their_paths():
    apply, shapes, x = mlp(jax.nn.relu, depth=2)
    params = autoinit(KEY, apply, shapes, x)
    expected = jaxinit.tree_init(KEY, shapes, [("bias", jaxinit.zeros), ("", jaxinit.he_normal)])
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(expected)))
    deeper = autoinit(KEY, *mlp(jax.nn.relu, depth=3))
    assert raw(deeper[1]["kernel"]) == raw(params[1]["kernel"])


def signal(activation, rule, depth=12, width=256):
    """Pre-activation variances and gradient second moments, layer by layer."""
    apply, shapes, x = mlp(activation, depth, width)
    params = autoinit(KEY, apply, shapes, x, rule=rule)
    x = gaussian(jax.random.key(1), (64, width))

    def forward(offsets):
        h, seen = x, []
        for layer, offset in zip(params, offsets, strict=True):
            seen.append(h @ layer["kernel"] + layer["bias"] + offset)
            h = activation(seen[-1])
        return jnp.vdot(jax.random.normal(jax.random.key(2), h.shape), h), seen

    zeros = [jnp.zeros_like(x)] * depth
    gradients, seen = jax.grad(forward, has_aux=True)(zeros)
    return [float(jnp.mean(h**2)) for h in seen], [float(jnp.mean(g**2)) for g in gradients]


# Nothing brings a deviation of q back for relu; for the others it fades.
@pytest.mark.parametrize(
    ("activation", "tolerance"),
    [(jax.nn.relu, 0.6), (jnp.tanh, 0.2), (jax.nn.elu, 0.3), (jax.nn.selu, 0.2)],
)
def test_critical_keeps_signal_and_gradient(activation, tolerance):
    forward, backward = signal(activation, "critical")
    assert np.allclose(forward, 1, rtol=tolerance)
    assert max(backward) / min(backward) < 2


@pytest.mark.parametrize("activation", [jax.nn.gelu, jax.nn.silu, jnp.tanh])
def test_forward_keeps_the_variance(activation):
    forward, _ = signal(activation, "forward", depth=6)
    assert np.allclose(forward, 1, rtol=0.3)


def test_the_same_network_by_a_wrong_rule_does_not():
    """A power twin: Glorot's own advice lets tanh fade."""
    forward, _ = signal(jnp.tanh, "standard")
    assert forward[-1] < 0.2


def test_where_there_is_no_edge_of_chaos_it_says_so():
    apply, shapes, x = mlp(jax.nn.softplus, depth=2)
    choice = autoinit.explain(apply, shapes, x, rule="critical")["1/kernel"]
    assert "no edge of chaos has q = 1" in choice.reason

    def unbiased(params, x):
        return jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"])

    shapes = {n: jax.ShapeDtypeStruct((64, 64), jnp.float32) for n in "ab"}
    choice = autoinit.explain(unbiased, shapes, jnp.ones((2, 64)), rule="critical")["b"]
    assert "without a bias" in choice.reason
    assert choice.stddev == pytest.approx(jaxinit.gain("tanh") / 8)


def test_q_scales_the_signal():
    apply, shapes, x = mlp(jnp.tanh, depth=2)
    field = jaxinit.mean_field("tanh", 0.25)
    advice = autoinit.explain(apply, shapes, x, rule="critical", q=0.25)
    assert advice["1/kernel"].stddev == pytest.approx(math.sqrt(field.weight_variance / 256))
    assert advice["1/bias"].stddev == pytest.approx(math.sqrt(field.bias_variance))
    assert advice["0/kernel"].stddev == pytest.approx(math.sqrt(0.25 / 256))


def test_distributions():
    apply, shapes, x = mlp(jax.nn.relu, depth=1)
    w = autoinit(KEY, apply, shapes, x, distribution="uniform")[0]["kernel"]
    assert jnp.abs(w).max() <= math.sqrt(3 * 2 / 256) * (1 + 1e-6)
    assert repr(autoinit.explain(apply, shapes, x, distribution="uniform")["0/kernel"][0]) == (
        "he_uniform()"
    )


def test_keys_and_counters_are_kept():
    model = zoo_models.nnx_mlp()
    params = autoinit(KEY, model.apply, model.params, *model.inputs, default=jaxinit.zeros)
    assert params["drop"]["rngs"]["key"][...] == model.params["drop"]["rngs"]["key"][...]


def test_it_explains_itself_in_a_table():
    apply, shapes, x = mlp(jnp.tanh, depth=2)
    printed = str(autoinit.explain(apply, shapes, x, rule="critical"))
    assert re.search(
        r"1/kernel +kernel +dot_general +256, 256 +tanh +[\d.]+\n +variance_scaling\(2\.1533",
        printed,
    )
    assert "E[phi" in str(autoinit.explain(*mlp(jax.nn.gelu, depth=1)))
    assert repr(autoinit.explain(apply, shapes, x)) == "Advice(4 parameters, rule='standard')"


def unknown(params, x):
    return x * jnp.exp(params["log_scale"]), params["w"].shape


STRUCTS = {"log_scale": jax.ShapeDtypeStruct((), jnp.float32), "w": zoo_models.X}
ERRORS = [
    (
        lambda: autoinit(KEY, unknown, STRUCTS, zoo_models.X),
        ValueError,
        "autoinit: not understood: log_scale (log scale), w (unused); give params with the values",
    ),
    (
        lambda: autoinit(KEY, unknown, STRUCTS, zoo_models.X, rule="best"),
        ValueError,
        "autoinit: rule must be one of standard, forward, critical; got 'best'.",
    ),
    (
        lambda: autoinit.explain(unknown, STRUCTS, zoo_models.X, distribution="cauchy"),
        ValueError,
        "autoinit: distribution must be one of truncated_normal, normal, uniform; got 'cauchy'.",
    ),
    (
        lambda: autoinit(KEY, unknown, STRUCTS, zoo_models.X, mode="fan"),
        ValueError,
        "autoinit: mode must be one of fan_in, fan_out, fan_avg, fan_geo_avg; got 'fan'.",
    ),
    (
        lambda: autoinit(KEY, unknown, STRUCTS, zoo_models.X, q=-1),
        ValueError,
        "autoinit: q must be a variance above 0; got -1.",
    ),
    (
        lambda: autoinit(None, unknown, STRUCTS, zoo_models.X),
        TypeError,
        "autoinit: expected one JAX random key",
    ),
    (lambda: autoinit(KEY, 3, STRUCTS), TypeError, "autoinit: expected a function of (params,"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_what_is_not_understood_keeps_its_values():
    given = {"log_scale": jnp.float32(-3), "w": jnp.full((2, 16), 7.0)}
    kept = autoinit(KEY, unknown, given, zoo_models.X)
    assert (kept["log_scale"], kept["w"][0, 0]) == (-3, 7)
    reason = autoinit.explain(unknown, given, zoo_models.X)["log_scale"].reason
    assert reason.endswith("keeps the model's own init, or default=")
    assert autoinit(KEY, unknown, given, zoo_models.X, default=jaxinit.ones)["log_scale"] == 1


def amplified(params, x):
    """A factor that is not understood, between two layers."""
    return jnp.tanh(x @ params["a"]) * jnp.exp(params["rate"]) @ params["b"]


def test_the_result_is_checked():
    shapes = {name: jax.ShapeDtypeStruct((32, 32), jnp.float32) for name in "ab"}
    shapes["rate"] = jax.ShapeDtypeStruct((), jnp.float32)
    x, default = jax.random.normal(KEY, (8, 32)), initializers.constant(5)
    with pytest.warns(UserWarning, match=r"autoinit: explodes at b: std 97\.3, 91\.7 times that"):
        autoinit(KEY, amplified, shapes, x, default=default)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        autoinit(KEY, amplified, shapes, x, default=default, check=False)
        autoinit(KEY, amplified, shapes, jax.ShapeDtypeStruct((8, 32), x.dtype), default=default)
        jax.jit(lambda key: autoinit(key, amplified, shapes, x, default=default))(KEY)
        autoinit(KEY, amplified, shapes, x, default=jaxinit.zeros)


def widths(*sizes):
    """The advice for a chain of relu layers of these widths."""

    def apply(params, x):
        for w in params[:-1]:
            x = jax.nn.relu(x @ w)
        return x @ params[-1]

    pairs = itertools.pairwise(sizes)
    shapes = [jax.ShapeDtypeStruct(pair, jnp.float32) for pair in pairs]
    return apply, shapes, jax.ShapeDtypeStruct((1, sizes[0]), jnp.float32)


def test_the_mode_and_what_it_costs():
    chain = widths(64, 64, 1024, 1024, 8)
    assert autoinit.explain(*chain)["1"].stddev == pytest.approx(math.sqrt(2 / 64))
    by_average = autoinit.explain(*chain, mode="fan_avg")["1"]
    assert by_average.stddev == pytest.approx(math.sqrt(2 / (64 + 1024) * 2))
    by_out = autoinit.explain(*chain, rule="forward", mode="fan_out")["1"]
    assert by_out.stddev == pytest.approx(math.sqrt(2 / 1024))
    told = autoinit.explain(*chain)["1"].reason
    assert "the gradient's second moment by 16; fan_avg multiplies the signal's by 0.12" in told
    assert told.endswith("choose by mode=.")
    cancelling = autoinit.explain(*widths(64, 64, 1024, 64, 8))
    assert cancelling["1"].reason.endswith("keep fan_in.")
    assert cancelling["2"].reason.endswith("keep fan_in.")
    assert "multiplies" not in autoinit.explain(*widths(8, 1024, 4))["0"].reason


def test_a_default_makes_what_is_not_recognised():
    params = autoinit(KEY, unknown, STRUCTS, zoo_models.X, default=jaxinit.ones)
    assert params["log_scale"] == 1
    assert functools.reduce(lambda a, b: a * b, params["w"].shape) == params["w"].sum()
    assert nn.tanh(params["w"]).shape == (2, 16)


@pytest.mark.parametrize(
    ("name", "path", "gates"),
    [("lstm", "params/cell/hf/kernel", 1), ("fused_lstm", "cell/dense_h/kernel", 4)],
)
def test_recurrent_kernels_are_orthogonal_gate_by_gate(name, path, gates):
    model = zoo_models.KINDS[name]()
    values = jax.tree.map(_small, model.params)
    params = dict(arrays(autoinit(KEY, model.apply, values, *model.inputs, default=jaxinit.ones)))
    for gate in np.split(np.asarray(params[path]), gates, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(gate.shape[1]), atol=1e-5)
    assert "carried" not in chosen(name, path, rule="forward").reason


def test_recurrent_windows_and_branches_are_not_taken_for_states():
    """A kernel over places, and one that makes a branch wider, keep the advice of their kind."""
    cell = nn.RNN(nn.ConvLSTMCell(8, (3, 3)))
    x = jax.ShapeDtypeStruct((1, 3, 6, 6, 4), jnp.float32)
    shapes = jax.eval_shape(cell.init, KEY, x)
    path = "params/cell/hh/kernel"
    choice = autoinit.explain(cell.apply, shapes, x)[path]
    drawn = dict(arrays(autoinit(KEY, cell.apply, shapes, x)))[path]
    assert drawn.std() == pytest.approx(choice.stddev, rel=0.1)

    def scanned(params, x):
        def block(h, _):
            return h + jax.nn.relu(h @ params["up"]) @ params["down"], None

        return jax.lax.scan(block, x, length=3)[0]

    struct = jax.ShapeDtypeStruct
    shapes = {"up": struct((16, 64), jnp.float32), "down": struct((64, 16), jnp.float32)}
    advice = autoinit.explain(scanned, shapes, struct((2, 16), jnp.float32))
    assert advice["up"].stddev == pytest.approx(math.sqrt(2 / 16))

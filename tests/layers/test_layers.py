"""jaxinit.linen and jaxinit.nnx: right fans, Flax's parameters, defaults, errors."""

import functools
import math
import re

import flax.linen as flax_linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from layer_table import LIBRARIES, ROWS, WRONG, run
from table import gaussian, raw, slow_but

import jaxinit
from jaxinit import initializers, layouts, linen, nnx

KEY = jax.random.key(0)
FAN_BIAS = initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # U(-1/sqrt(fan_in), ...)
IMAGE, SEQUENCE = jnp.ones((2, 8, 8, 6)), jnp.ones((2, 5, 6))
CELLS = ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "MGUCell", "SimpleCell"]
NNX_CELLS = ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"]


def rngs():
    return flax_nnx.Rngs(0)


def flat(variables):
    """Path -> parameter, of linen's variables or an nnx module."""
    if isinstance(variables, flax_nnx.Module):
        state = flax_nnx.to_flat_state(flax_nnx.state(variables, flax_nnx.Param))
        return {"/".join(map(str, path)): leaf[...] for path, leaf in state}
    leaves = jax.tree_util.tree_leaves_with_path(flax_linen.meta.unbox(variables))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.library} {row.name}")
def test_outputs_have_the_variance_asked(row):
    theirs, ours = (run(row, library) for library in LIBRARIES[row.library])
    assert ours.outputs >= 2**16
    assert abs(ours.variance - row.asked) < ours.tolerance
    assert abs(ours.variance * (1 + WRONG) ** 2 - row.asked) > ours.tolerance  # the power twin
    right = ("Dense", "DenseGeneral", "Conv", "Linear", "Dense, nn.vmap")  # as facts go, Flax's too
    assert (abs(theirs.variance - row.asked) < theirs.tolerance) == (row.name in right)


# What a layer makes: parameters, names and shapes of Flax's.

SWAPS = [
    ("Dense", (4,), {}, IMAGE),
    ("DenseGeneral", ((4, 6),), {"axis": (1, -1), "batch_dims": (0,)}, IMAGE),
    ("Einsum", ((6, 4, 3), "bti,ihd->bthd"), {}, SEQUENCE),
    ("Einsum", ((6, 4), "...i,ij->...j"), {"use_bias": False}, IMAGE),
    ("Conv", (12, (3, 3)), {"strides": 2, "feature_group_count": 6}, IMAGE),
    ("Conv", (12, 3), {"input_dilation": 2, "padding": 1}, SEQUENCE),
    ("ConvLocal", (4, (3, 3)), {"strides": (2, 1)}, IMAGE),
    ("ConvTranspose", (4, (4, 4)), {"strides": (2, 2)}, IMAGE),
    ("ConvTranspose", (4, (4, 4)), {"transpose_kernel": True}, IMAGE),
    ("Embed", (10, 6), {}, jnp.zeros((2, 3), jnp.int32)),
    ("MultiHeadDotProductAttention", (2,), {}, SEQUENCE),
    ("MultiHeadAttention", (2,), {"qkv_features": 8, "out_features": 4}, SEQUENCE),
]


def described(tree):
    return jax.tree.map(lambda p: (p.shape, p.dtype), tree)


@pytest.mark.parametrize(("name", "args", "options", "x"), SWAPS, ids=[s[0] for s in SWAPS])
def test_a_linen_layer_has_flax_parameters(name, args, options, x):
    def layers(**more):
        return [getattr(m, name)(*args, **options, **more) for m in LIBRARIES["linen"]]

    for dtype in ("float32", "bfloat16"):
        theirs, ours = (
            described(jax.eval_shape(layer.init, KEY, x)) for layer in layers(param_dtype=dtype)
        )
        assert ours == theirs
    parameter = "embedding_init" if name == "Embed" else "kernel_init"
    theirs, ours = layers(**{parameter: jax.nn.initializers.normal()})

    @jax.jit
    def run(key, x):
        expected = theirs.init(key, x)
        return (ours.init(key, x), ours.apply(expected, x)), (expected, theirs.apply(expected, x))

    made, expected = run(KEY, x)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, expected)  # another function as it is


@pytest.mark.parametrize("name", slow_but([*CELLS, "ConvLSTMCell"], ["OptimizedLSTMCell"]))
def test_a_linen_cell_has_flax_parameters(name):
    args, x = ((4, (3, 3)), IMAGE[None]) if name == "ConvLSTMCell" else ((4,), SEQUENCE)

    def cells(**more):
        return [flax_linen.RNN(getattr(m, name)(*args, **more)) for m in LIBRARIES["linen"]]

    theirs, ours = cells()
    (_, narrow) = cells(param_dtype="bfloat16")  # Flax's fails: no orthogonal kernel

    @jax.jit
    def run(key, x):
        expected, made = theirs.init(key, x), narrow.init(key, x)
        outputs = ours.apply(expected, x), theirs.apply(expected, x), narrow.apply(made, x)
        return ours.init(key, x), expected, made, outputs

    made, expected, narrow_made, outputs = run(KEY, x)
    assert described(made) == described(expected)
    assert jax.tree.map(jnp.shape, narrow_made) == jax.tree.map(jnp.shape, expected)
    assert {p.dtype for p in jax.tree.leaves(narrow_made)} == {jnp.dtype("bfloat16")}
    assert raw(outputs[0]) == raw(outputs[1])
    assert np.isfinite(outputs[2]).all()


NNX_SWAPS = [
    ("Linear", (6, 4), {}),
    ("LinearGeneral", ((8, 6), (4, 3)), {"axis": (1, -1), "batch_axis": {0: 2}}),
    ("Einsum", ("bti,ihd->bthd", (6, 4, 3), (4, 3)), {}),
    ("Conv", (6, 12, (3, 3)), {"strides": 2, "feature_group_count": 6}),
    ("ConvTranspose", (6, 4, (4, 4), (2, 2)), {}),
    ("ConvTranspose", (6, 4, (4, 4)), {"transpose_kernel": True}),
    ("Embed", (10, 6), {}),
    ("MultiHeadAttention", (2, 6), {"num_kv_heads": 1, "in_kv_features": 4, "decode": False}),
    *((name, (6, 4), {}) for name in NNX_CELLS),
]


@pytest.mark.parametrize(("name", "args", "options"), NNX_SWAPS, ids=[s[0] for s in NNX_SWAPS])
def test_an_nnx_layer_has_flax_parameters(name, args, options):
    def shapes(library, **more):
        make = getattr(library, name)
        module = flax_nnx.eval_shape(lambda: make(*args, **options, **more, rngs=rngs()))
        state = flax_nnx.to_flat_state(flax_nnx.state(module, flax_nnx.Param))
        return {path: (leaf.shape, leaf.dtype) for path, leaf in state}

    theirs = shapes(flax_nnx)
    assert shapes(nnx) == theirs
    narrow = {path: (shape, jnp.dtype("bfloat16")) for path, (shape, _) in theirs.items()}
    assert shapes(nnx, param_dtype="bfloat16") == narrow


@pytest.mark.parametrize("name", slow_but(NNX_CELLS, ["GRUCell"]))
def test_an_nnx_cell_runs_in_bfloat16(name):
    cell = getattr(nnx, name)(6, 4, param_dtype="bfloat16", rngs=rngs())
    assert np.isfinite(flax_nnx.RNN(cell, rngs=rngs())(SEQUENCE)).all()


# Which initializer a parameter has.


def test_a_kernel_is_that_of_its_initializer_with_the_layout():
    init = initializers.he_uniform(layout=layouts.einsum("bti,ihd->bthd"))
    for given in ({"activation": "relu"}, {"kernel_init": jaxinit.he_normal}, {}):
        layer = linen.Einsum((6, 4, 3), "bti,ihd->bthd", **given)
        scale = 1.0 if not given else 2.0
        expected = initializers.variance_scaling(
            scale, "fan_in", "truncated_normal", layout=layouts.einsum("bti,ihd->bthd")
        )
        theirs = flax_linen.Einsum((6, 4, 3), "bti,ihd->bthd", kernel_init=expected)
        assert raw(flat(layer.init(KEY, SEQUENCE))["params/kernel"]) == raw(
            flat(theirs.init(KEY, SEQUENCE))["params/kernel"]
        )
    own = linen.Einsum((6, 4, 3), "bti,ihd->bthd", kernel_init=init)
    theirs = flax_linen.Einsum((6, 4, 3), "bti,ihd->bthd", kernel_init=init)
    assert jax.tree.map(raw, own.init(KEY, SEQUENCE)) == jax.tree.map(
        raw, theirs.init(KEY, SEQUENCE)
    )


def singular(kernel, rows):
    return np.linalg.svd(np.asarray(kernel).reshape(rows, -1))[1]


def test_matrices_take_the_layout_too():
    init = initializers.orthogonal()
    einsum = linen.Einsum((6, 4, 3), "bti,ihd->bthd", kernel_init=init).init(KEY, SEQUENCE)
    assert singular(einsum["params"]["kernel"], 6) == pytest.approx(np.ones(6), abs=1e-5)
    conv = linen.Conv(4, (3, 3), kernel_init=init).init(KEY, IMAGE)["params"]["kernel"]
    assert singular(conv, 9 * 6) == pytest.approx(np.ones(4), abs=1e-5)
    up = nnx.ConvTranspose(6, 4, (3, 3), transpose_kernel=True, kernel_init=init, rngs=rngs())
    kernel = np.moveaxis(up.kernel[...], -2, -1)
    assert singular(kernel, 9 * 6) == pytest.approx(np.ones(4), abs=1e-5)
    local = linen.ConvLocal(4, (1, 1), kernel_init=init).init(KEY, IMAGE)["params"]["kernel"]
    assert singular(local[3, 5], 6) == pytest.approx(np.ones(4), abs=1e-5)
    grouped = initializers.delta_orthogonal()
    kernel = nnx.Conv(6, 6, (3,), feature_group_count=3, kernel_init=grouped, rngs=rngs()).kernel
    assert singular(kernel[1].reshape(2, 3, 2)[:, 1], 2) == pytest.approx(np.ones(2), abs=1e-5)


def test_an_equation_given_at_the_call_counts():
    layer = linen.Einsum((6, 4, 3))
    made = layer.init(KEY, SEQUENCE, "bti,ihd->bthd")
    expected = linen.Einsum((6, 4, 3), "bti,ihd->bthd").init(KEY, SEQUENCE)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, expected)
    summed = linen.Einsum((512, 64), "bti,ij->bj", use_bias=False)
    kernel = flat(summed.init(KEY, jnp.ones((2, 16, 512))))["params/kernel"]
    assert kernel.std() == pytest.approx((512 * 16) ** -0.5, rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "gelu", jnp.tanh, "selu", None, "softmax", "silu"])
def test_activation_is_applied_and_sets_the_kernel(activation):
    x = gaussian(KEY, (64, 256))
    layer = linen.Dense(512, activation=activation)
    plain = linen.Dense(512, kernel_init=jaxinit.for_activation(activation or "relu"))
    if activation is None:
        plain = linen.Dense(512)
    variables = layer.init(KEY, x)
    assert jax.tree.map(raw, variables) == jax.tree.map(raw, plain.init(KEY, x))
    function = getattr(jax.nn, activation) if isinstance(activation, str) else activation
    expected = plain.apply(variables, x)
    assert raw(layer.apply(variables, x)) == raw(function(expected) if function else expected)
    module = nnx.Linear(256, 512, activation=activation, rngs=rngs())
    bare = flax_nnx.Linear(256, 512, rngs=rngs())
    bare.kernel[...] = module.kernel[...]
    assert raw(module(x)) == raw(function(bare(x)) if function else bare(x))


def test_mode_is_the_fan_of_the_recommendation():
    expected = initializers.variance_scaling(2.0, "fan_avg", "truncated_normal")
    x = jnp.ones((1, 16))
    made = linen.Dense(256, activation="relu", mode="fan_avg").init(KEY, x)
    plain = linen.Dense(256, kernel_init=expected).init(KEY, x)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, plain)
    alone = linen.Dense(256, mode="fan_avg").init(KEY, x)  # no activation: as recommend(None)
    plain = linen.Dense(256, kernel_init=initializers.glorot_normal()).init(KEY, x)
    assert jax.tree.map(raw, alone) == jax.tree.map(raw, plain)
    module = nnx.Linear(16, 256, activation="relu", mode="fan_avg", rngs=rngs())
    plain = nnx.Linear(16, 256, kernel_init=expected, rngs=rngs())
    assert raw(module.kernel[...]) == raw(plain.kernel[...])
    attention = nnx.MultiHeadAttention(2, 16, 64, mode="fan_out", rngs=rngs())
    assert attention.out.kernel[...].std() == pytest.approx(16**-0.5, rel=0.05)
    attention = linen.MultiHeadAttention(2, mode="fan_out", out_kernel_init=jaxinit.normal)
    with pytest.raises(ValueError, match=r"^linen\.DenseGeneral at 'out': mode='fan_out' is for"):
        jax.eval_shape(attention.init, KEY, SEQUENCE)


def test_an_activation_may_be_the_class_of_a_module():
    """Its parameters are part of the layer, as those of an instance are."""
    layer = linen.Dense(4, activation=flax_linen.PReLU)
    params = layer.init(KEY, SEQUENCE)["params"]
    assert list(params["activation"]) == ["negative_slope"]
    plain = linen.Dense(4).apply({"params": params}, SEQUENCE)
    got = layer.apply({"params": params}, SEQUENCE)
    np.testing.assert_allclose(got, np.where(plain < 0, 0.01 * plain, plain), rtol=1e-6)
    module = nnx.Linear(6, 4, activation=flax_nnx.PReLU, rngs=rngs())
    assert "activation/negative_slope" in flat(module)


def test_a_bias_may_have_the_kernels_fans():
    bound = 1 / math.sqrt(512)
    made = [
        linen.Dense(4096, bias_init=FAN_BIAS).init(KEY, jnp.ones((1, 512)))["params"]["bias"],
        nnx.Linear(512, 4096, bias_init=FAN_BIAS, rngs=rngs()).bias[...],
        nnx.MultiHeadAttention(
            8, 512, 4096, bias_init=FAN_BIAS, rngs=rngs()
        ).query.bias[...],
    ]  # fmt: skip
    attention = linen.MultiHeadAttention(8, qkv_features=4096, bias_init=FAN_BIAS)
    params = attention.init(KEY, jnp.ones((1, 2, 512)))["params"]
    made += [params[name]["bias"] for name in ("query", "key", "value")]
    for bias in made:
        assert bias.size == 4096
        assert np.abs(bias).max() == pytest.approx(bound, rel=0.01)
        assert bias.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert np.abs(params["out"]["bias"]).max() == pytest.approx(1 / 64, rel=0.01)
    conv = linen.Conv(4096, (3, 3), bias_init=FAN_BIAS, feature_group_count=2)
    bias = conv.init(KEY, jnp.ones((1, 4, 4, 16)))["params"]["bias"]
    assert np.abs(bias).max() == pytest.approx(72**-0.5, rel=0.01)


def gates(name, params):
    """The recurrent kernels of each gate of an nnx cell."""
    if name in ("LSTMCell", "SimpleCell"):
        return [
            v for k, v in params.items() if k.endswith("kernel") and k[0] in "hd" and "_i" not in k
        ]
    fused = params["dense_h/kernel"]
    return jnp.split(fused, fused.shape[1] // fused.shape[0], axis=1)


@pytest.mark.parametrize("name", NNX_CELLS)
def test_recurrent_kernels_are_orthogonal_gate_by_gate(name):
    for gate in gates(name, flat(getattr(nnx, name)(6, 16, rngs=rngs()))):
        assert gate.shape == (16, 16)
        assert np.linalg.svd(gate)[1] == pytest.approx(np.ones(16), abs=1e-5)


def test_fused_gates_have_the_fans_of_one():
    cell = nnx.OptimizedLSTMCell(64, 256, kernel_init=jaxinit.glorot_normal, rngs=rngs())
    kernel = cell.dense_i.kernel[...]
    assert kernel.std() == pytest.approx(math.sqrt(2 / (64 + 256)), rel=0.02)
    cell = linen.ConvLSTMCell(32, (3, 3), kernel_init=jaxinit.glorot_normal)
    params = jax.jit(flax_linen.RNN(cell).init)(KEY, IMAGE[None])["params"]
    kernel = params["cell"]["ih"]["kernel"]
    assert kernel.std() == pytest.approx(math.sqrt(2 / (9 * (6 + 32))), rel=0.03)


def test_fused_queries_keys_and_values():
    layer = linen.Dense(3 * 64, layout=layouts.fused(3), kernel_init=jaxinit.glorot_uniform)
    kernel = layer.init(KEY, jnp.ones((1, 64)))["params"]["kernel"]
    assert np.abs(kernel).max() == pytest.approx(math.sqrt(6 / 128), rel=0.01)
    module = nnx.Linear(64, 192, layout=layouts.fused(3), activation="tanh", rngs=rngs())
    assert module.kernel[...].std() == pytest.approx(math.sqrt(2 / 128), rel=0.03)


@pytest.mark.parametrize("name", ["LSTMCell", "OptimizedLSTMCell"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 0.0), ({"forget_bias": 2.0}, 2.0), ({"defaults": "keras"}, 1.0),
     ({"defaults": "keras", "bias_init": jax.nn.initializers.zeros}, 0.0)],
)  # fmt: skip
def test_forget_bias(name, options, expected):
    cell = getattr(linen, name)(4, **options)
    params = flax_linen.RNN(cell).init(KEY, SEQUENCE)["params"]["cell"]
    assert params["hf"]["bias"].tolist() == [expected] * 4
    assert params["hi"]["bias"].tolist() == [0.0] * 4
    module = flat(getattr(nnx, name)(6, 4, **options, rngs=rngs()))
    forget = module["hf/bias"] if name == "LSTMCell" else module["dense_h/bias"][4:8]
    assert forget.tolist() == [expected] * 4


# What a framework's default layers do: variance, and the largest magnitude in standard deviations.
UNIFORM, TRUNCATED = math.sqrt(3), 2 / 0.87962566
LAWS = {
    ("jax", "Dense"): (1 / 256, TRUNCATED, 0),
    ("keras", "Dense"): (2 / (256 + 512), UNIFORM, 0),
    ("torch", "Dense"): (1 / (3 * 256), UNIFORM, 1 / (3 * 256)),
    ("jax", "Conv"): (1 / (9 * 64), TRUNCATED, 0),
    ("keras", "Conv"): (2 / (9 * (64 + 128)), UNIFORM, 0),  # whatever the stride
    ("torch", "Conv"): (1 / (3 * 9 * 64), UNIFORM, 1 / (3 * 9 * 64)),
    ("jax", "ConvTranspose"): (1 / (4 * 64), TRUNCATED, 0),
    ("keras", "ConvTranspose"): (2 / (16 * (64 + 128)), UNIFORM, 0),
    ("torch", "ConvTranspose"): (1 / (3 * 16 * 128), UNIFORM, 1 / (3 * 16 * 128)),
    ("jax", "Embed"): (1 / 128, None, None),
    ("keras", "Embed"): (0.05**2 / 3, UNIFORM, None),
    ("torch", "Embed"): (1.0, None, None),
}
MADE = {
    "Dense": (lambda d: linen.Dense(512, defaults=d), lambda d: nnx.Linear(256, 512, defaults=d, rngs=rngs()), jnp.ones((1, 256))),
    "Conv": (lambda d: linen.Conv(128, (3, 3), strides=2, defaults=d), lambda d: nnx.Conv(64, 128, (3, 3), 2, defaults=d, rngs=rngs()), jnp.ones((1, 4, 4, 64))),
    "ConvTranspose": (lambda d: linen.ConvTranspose(128, (4, 4), (2, 2), defaults=d), lambda d: nnx.ConvTranspose(64, 128, (4, 4), (2, 2), defaults=d, rngs=rngs()), jnp.ones((1, 4, 4, 64))),
    "Embed": (lambda d: linen.Embed(1000, 128, defaults=d), lambda d: nnx.Embed(1000, 128, defaults=d, rngs=rngs()), jnp.zeros((1,), jnp.int32)),
}  # fmt: skip


@pytest.mark.parametrize(("framework", "layer"), LAWS)
def test_a_frameworks_defaults(framework, layer):
    variance, reach, bias = LAWS[framework, layer]
    ours, module, x = (MADE[layer][0](framework), MADE[layer][1](framework), MADE[layer][2])
    for params in (ours.init(KEY, x)["params"], flat(module)):
        kernel = np.asarray(params["embedding" if layer == "Embed" else "kernel"])
        assert kernel.var() == pytest.approx(variance, rel=0.03)
        if reach:
            assert np.abs(kernel).max() == pytest.approx(reach * math.sqrt(variance), rel=0.01)
        if bias is not None:
            assert np.asarray(params["bias"]).var() == pytest.approx(bias, rel=0.3)


def test_torch_draws_attention_and_cells_its_way():
    x = jnp.ones((1, 2, 128))
    for params in (
        linen.MultiHeadAttention(4, defaults="torch").init(KEY, x)["params"],
        flax_nnx.to_pure_dict(
            flax_nnx.state(nnx.MultiHeadAttention(4, 128, defaults="torch", rngs=rngs()))
        ),
    ):
        for name, bound in {
            **dict.fromkeys(("query", "key", "value"), math.sqrt(6 / (4 * 128))),
            "out": 1 / math.sqrt(128),
        }.items():
            assert np.abs(params[name]["kernel"]).max() == pytest.approx(bound, rel=0.01)
            assert not np.any(params[name]["bias"])
    bound = 1 / math.sqrt(256)
    for name in ("OptimizedLSTMCell", "GRUCell"):
        module = flat(getattr(nnx, name)(64, 256, defaults="torch", rngs=rngs()))
        cell = flax_linen.RNN(getattr(linen, name)(256, defaults="torch"))
        params = jax.jit(cell.init)(KEY, x)
        for leaf in (*module.values(), *flat(params).values()):
            assert np.abs(leaf).max() == pytest.approx(bound, rel=0.05)


# Flax's machinery works through them.


def test_partitioning_metadata_is_kept_and_the_layout_taken():
    shape, equation = (6, 4, 3), "bti,ihd->bthd"
    boxed = flax_linen.with_partitioning(initializers.he_normal(), (None, "h", None))
    params = linen.Einsum(shape, equation, kernel_init=boxed).init(KEY, SEQUENCE)["params"]
    assert params["kernel"].names == (None, "h", None)
    plain = linen.Einsum(shape, equation, activation="relu").init(KEY, SEQUENCE)["params"]
    assert raw(params["kernel"].value) == raw(plain["kernel"])
    logical = flax_linen.with_logical_partitioning(jaxinit.he_normal, ("in", "out"))
    params = linen.Dense(4, kernel_init=logical).init(KEY, SEQUENCE)["params"]
    assert params["kernel"].names == ("in", "out")
    marked = flax_nnx.with_partitioning(jaxinit.he_normal, (None, "h", None), eager_sharding=False)
    module = nnx.Einsum(equation, shape, kernel_init=marked, rngs=rngs())
    assert module.kernel.get_metadata("out_sharding") == (None, "h", None)
    plain = nnx.Einsum(equation, shape, activation="relu", rngs=rngs())
    assert raw(module.kernel[...]) == raw(plain.kernel[...])
    general = nnx.LinearGeneral((8, 6), (4, 3), axis=(-2, -1), kernel_init=marked, rngs=rngs())
    assert general.kernel.shape == (8, 6, 4, 3)


class Mlp(flax_linen.Module):
    layers: object = linen
    wrap: object = lambda layer: layer
    kernel_init: object = jaxinit.lecun_normal

    @flax_linen.compact
    def __call__(self, x):
        for _ in range(2):
            x = self.wrap(self.layers.Dense)(6, kernel_init=self.kernel_init)(x)
        return x


@pytest.mark.parametrize("wrap", [flax_linen.remat, flax_linen.jit], ids=["remat", "jit"])
def test_lifted_transforms(wrap):
    theirs, ours = (Mlp(m, wrap, initializers.he_normal()) for m in LIBRARIES["linen"])
    variables = ours.init(KEY, SEQUENCE)
    assert jax.tree.map(raw, variables) == jax.tree.map(raw, theirs.init(KEY, SEQUENCE))
    assert raw(ours.apply(variables, SEQUENCE)) == raw(theirs.apply(variables, SEQUENCE))


PURE = {
    "transposed": lambda init: linen.ConvTranspose(8, (3, 3), transpose_kernel=True, kernel_init=init).init(KEY, IMAGE),
    "cell": lambda init: flax_nnx.state(nnx.GRUCell(6, 8, recurrent_kernel_init=init, rngs=rngs())),
    "einsum": lambda init: flax_nnx.state(nnx.Einsum("bti,hid->bthd", (4, 6, 3), kernel_init=init, rngs=rngs())),
}  # fmt: skip


@pytest.mark.parametrize("name", ["normal", "orthogonal", "variance_scaling", "zeros"])
@pytest.mark.parametrize("layer", PURE)
def test_a_pure_function_is_its_initializer(layer, name):
    of_name, of_function = (PURE[layer](init) for init in (name, getattr(jaxinit, name)))
    assert jax.tree.map(raw, of_function) == jax.tree.map(raw, of_name)


def test_a_pure_function_that_needs_options_stays_as_it_is():
    bias = linen.Dense(4, bias_init=functools.partial(jaxinit.constant, value=2.0))
    np.testing.assert_array_equal(bias.init(KEY, SEQUENCE)["params"]["bias"], 2)
    with pytest.raises(
        TypeError, match=r"^constant: missing .* initializers\.constant\(\.\.\.\) takes"
    ):
        linen.Dense(4, bias_init=jaxinit.constant).init(KEY, SEQUENCE)


def test_scanned_layers_differ():
    class Block(flax_linen.Module):
        @flax_linen.compact
        def __call__(self, x, _):
            return linen.Dense(6, activation="gelu")(x), None

    scanned = flax_linen.scan(
        Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
    )()
    kernel = scanned.init(KEY, SEQUENCE, None)["params"]["Dense_0"]["kernel"]
    assert kernel.shape == (3, 6, 6)
    assert len({raw(layer) for layer in kernel}) == 3


def test_checkpoint_names_intermediates_and_tables_are_those_of_flax():
    theirs, ours = Mlp(flax_linen), Mlp(linen)
    variables = theirs.init(KEY, SEQUENCE)
    assert list(flat(ours.init(KEY, SEQUENCE))) == list(flat(variables))
    captured = [m.apply(variables, SEQUENCE, capture_intermediates=True) for m in (theirs, ours)]
    assert jax.tree.map(raw, captured[0]) == jax.tree.map(raw, captured[1])
    assert "Dense_1" in ours.tabulate(KEY, SEQUENCE)


def test_nnx_jit_and_grad():
    @flax_nnx.jit
    def make():
        return nnx.Linear(6, 4, activation="relu", rngs=rngs())

    module = make()
    assert raw(module.kernel[...]) == raw(
        nnx.Linear(6, 4, activation="relu", rngs=rngs()).kernel[...]
    )
    grads = flax_nnx.grad(lambda m: m(SEQUENCE).sum())(module)
    assert grads["kernel"].shape == (6, 4)


PLANNED = {
    "linen": lambda key: Mlp().init(key, SEQUENCE),
    "attention": lambda key: linen.MultiHeadAttention(2, defaults="torch").init(key, SEQUENCE),
    "convolutions": lambda key: linen.ConvLocal(4, (3, 3), activation="relu").init(key, IMAGE),
    "cell": lambda key: flax_linen.RNN(linen.OptimizedLSTMCell(4, forget_bias=1.0)).init(key, SEQUENCE),
    "fused cell": lambda key: flax_nnx.state(nnx.OptimizedLSTMCell(6, 4, forget_bias=1.0, rngs=flax_nnx.Rngs(key))),
    "nnx": lambda key: flax_nnx.state(nnx.Einsum("bi,ij->bj", (6, 4), (4,), bias_init=FAN_BIAS, rngs=flax_nnx.Rngs(key))),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_makes_the_same_bits(name):
    expected = jax.jit(PLANNED[name])(KEY)
    made = jaxinit.materialize(PLANNED[name], KEY)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, expected)


# Errors: they name the layer, and where it stands.


class Net(flax_linen.Module):
    layer: object

    @flax_linen.compact
    def __call__(self, x):
        return self.layer(name="up")(x)


def placed(make, x=SEQUENCE):
    return lambda: Net(make).init(KEY, x)


ERRORS = [
    (placed(lambda name: linen.Dense(4, activation="swiglu", name=name)), r"^linen\.Dense at 'up': 'swiglu' is no function of one array; apply it yourself, with kernel_init=jaxinit\.for_activation\('swiglu'\) for the layer's kernel\.$"),
    (placed(lambda name: linen.Dense(4, activation="reluu", name=name)), r"^linen\.Dense at 'up': recommend: unknown activation 'reluu'; did you mean"),
    (placed(lambda name: linen.Dense(4, activation="maxout", kernel_init=jaxinit.he_normal, name=name)), r"^linen\.Dense at 'up': 'maxout' is no function of one array; apply it yourself, with kernel_init=jaxinit\.for_activation\('maxout'\) for the layer's kernel\.$"),
    (placed(lambda name: linen.Dense(4, activation="relu", mode="fan_average", name=name)), r"^linen\.Dense at 'up': recommend: mode must be one of fan_in, fan_out, fan_avg, fan_geo_avg; got 'fan_average'; did you mean"),
    (placed(lambda name: linen.Dense(4, kernel_init=jaxinit.he_normal, mode="fan_avg", name=name)), r"^linen\.Dense at 'up': mode='fan_avg' is for the initializer that activation chooses, and another one was given; give mode to that one, and leave it out here\.$"),
    (lambda: nnx.Linear(6, 4, kernel_init=jaxinit.he_normal, mode="fan_avg", rngs=rngs()), r"^nnx\.Linear with kernel 6x4: mode='fan_avg' is for the initializer"),
    (lambda: nnx.MultiHeadAttention(2, 6, kernel_init=jaxinit.he_normal, mode="fan_avg", rngs=rngs()), r"^nnx\.MultiHeadAttention with kernel 6x6: mode='fan_avg' is for the initializer"),
    (placed(lambda name: linen.Dense(4, defaults="tf", name=name)), r"^linen\.Dense at 'up': defaults must be one of jax, keras, torch; got 'tf'\.$"),
    (placed(lambda name: linen.Einsum((6, 4), "bti,ihd->bthd", name=name)), r"^linen\.Einsum at 'up': layouts\.einsum: 'bti,ihd->bthd' has 3 axes for its kernel, whose shape is \(6, 4\)\.$"),
    (placed(lambda name: linen.Einsum((7, 4), "bti,ij->btj", name=name)), r"^linen\.Einsum at 'up': layouts\.einsum: 'bti,ij->btj' gives index 'i' two sizes, 6 and 7\.$"),
    (placed(lambda name: linen.Conv(4, (3, 3), feature_group_count=4, name=name), IMAGE), r"^linen\.Conv at 'up': feature_group_count=4 does not divide the 6 input features\.$"),
    (placed(lambda name: linen.Conv(4, (3, 3), feature_group_count=3, name=name), IMAGE), r"^linen\.Conv at 'up': feature_group_count=3 does not divide the 4 output features\.$"),
    (placed(lambda name: linen.Dense(4, layout=layouts.fused(3), name=name)), r"^linen\.Dense at 'up': lecun_normal: 3 equal blocks do not divide axis 1 of shape \(6, 4\)"),
    (placed(lambda name: linen.Dense(4, kernel_init=jaxinit.normal, param_dtype="int8", name=name)), r"^linen\.Dense at 'up': normal: draws real or complex numbers, not int8"),
    (placed(lambda name: linen.Dense(4, kernel_init=initializers.normal(), param_dtype="int8", name=name)), r"^linen\.Dense at 'up': normal: draws real or complex numbers, not int8"),
    (lambda: nnx.Linear(6, 4, activation="reluu", rngs=rngs()), r"^nnx\.Linear with kernel 6x4: recommend: unknown activation 'reluu'; did you mean"),
    (lambda: nnx.Linear(6, 4, defaults="tf", rngs=rngs()), r"^nnx\.Linear with kernel 6x4: defaults must be one of"),
    (lambda: nnx.Einsum("bti,ihd->bthd", (6, 4), rngs=rngs()), r"^nnx\.Einsum with kernel 6x4: layouts\.einsum: 'bti,ihd->bthd' has 3 axes"),
    (lambda: nnx.Conv(6, 4, (3, 3), feature_group_count=4, rngs=rngs()), r"^nnx\.Conv with kernel 3x3x1x4: feature_group_count=4 does not divide the 6 input features\.$"),
    (lambda: nnx.MultiHeadAttention(2, 6, in_kv_features=4, bias_init=FAN_BIAS, rngs=rngs()), r"^nnx\.MultiHeadAttention with kernel 6x6: bias_init asks for the kernel's fans, and queries have 6 inputs, keys and values 4; give one that needs no fans\.$"),
]  # fmt: skip


TYPE_ERRORS = [
    (lambda: nnx.LSTMCell(4, 4, carry_init="ones", rngs=rngs()), r"^nnx\.LSTMCell: carry_init must be a function; got 'ones'\.$"),
    (lambda: nnx.Linear(4, 4, rngs=KEY), r"^nnx\.Linear: expected rngs to be nnx\.Rngs; got a key; write rngs=nnx\.Rngs\(key\)\.$"),
    (lambda: jax.jit(lambda key: nnx.GRUCell(4, 4, rngs=key))(jax.random.PRNGKey(0)), r"^nnx\.GRUCell: expected rngs to be nnx\.Rngs; got a key; write rngs=nnx\.Rngs\(key\)\."),
    (lambda: nnx.MultiHeadAttention(2, 4, rngs=3), r"^nnx\.MultiHeadAttention: expected rngs to be nnx\.Rngs; got a seed; write rngs=nnx\.Rngs\(3\)\.$"),
    (lambda: linen.Dense(4, activation=flax_linen.Dense), r"^linen\.Dense: Dense is a class that needs arguments; give an instance as activation, or a function of one value\.$"),
    (lambda: nnx.Linear(6, 4, activation=flax_linen.PReLU, rngs=rngs()), r"^nnx\.Linear with kernel 6x4: PReLU is a module of flax\.linen; give a function, or a module of flax\.nnx, as activation\.$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), TYPE_ERRORS, ids=range(len(TYPE_ERRORS)))
def test_type_errors(call, text):
    with pytest.raises(TypeError, match=text):
        call()


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    line, _, note = str(caught.value).partition("\n")
    assert re.search(text, line)
    assert not note or note.startswith("-----")  # JAX's, on its traceback


@pytest.mark.parametrize("name", ["GRUCell", "OptimizedLSTMCell"])
def test_a_carry_that_becomes_complex_keeps_its_imaginary_part(name):
    """The cell's own real carry meets complex inputs; Flax's cell on the same parameters agrees."""
    inputs = jax.random.normal(KEY, (2, 3), jnp.complex64)
    ours, theirs = getattr(linen, name)(4), getattr(flax_linen, name)(4)
    carry = ours.initialize_carry(KEY, (2, 3))
    params = ours.init(KEY, carry, inputs)
    new, outputs = ours.apply(params, carry, inputs)
    expected = theirs.apply(params, carry, inputs)
    assert jnp.iscomplexobj(outputs)
    for got, wanted in zip(jax.tree.leaves((new, outputs)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert np.abs(np.imag(got)).max() > 0

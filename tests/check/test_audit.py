"""Audit: every planted fault is found and nothing else; nothing on healthy models; checkpoints."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import models
import numpy as np
import orbax.checkpoint as ocp
import pytest
import zoo_models
from flax import nnx
from safetensors.flax import save_file

import jaxinit
from jaxinit import audit, autoinit, initializers
from jaxinit.__main__ import main
from jaxinit._check.array_statistics import describe

KEY = jax.random.key(0)
X = jnp.ones((2, 8, 8, 16))


class Net(nn.Module):
    """A bit of everything whose fan can be mistaken."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(64, (3, 3), name="conv")(x))
        x = nn.relu(nn.Conv(64, (3, 3), feature_group_count=8, name="grouped")(x))
        x = nn.relu(nn.ConvTranspose(64, (4, 4), (2, 2), name="up")(x))
        x = x.mean((1, 2))[:, None]
        x = nn.Einsum((64, 8, 16), "bti,ihd->bthd", name="heads")(x).reshape(2, 1, 128)
        x = x + nn.Dense(128, name="branch")(nn.silu(nn.Dense(128, name="hidden")(x)))
        return nn.Dense(32, name="head")(nn.LayerNorm(name="norm")(x))


NET = Net()
SHAPES = jax.eval_shape(NET.init, KEY, X)


@functools.cache
def drawn(dtype):
    shapes = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype), SHAPES)
    return autoinit(KEY, NET.apply, shapes, X, check=False)


def healthy(dtype=jnp.float32):
    return jax.tree.map(lambda x: x, drawn(dtype))  # of dicts that may be changed


def kernel(path, make):
    """Plant what ``make`` gives for the old kernel."""

    def plant(params):
        leaf = params["params"][path]["kernel"]
        params["params"][path]["kernel"] = make(leaf)

    return plant


def stock(init):
    """What an initializer of JAX gives for the leaf."""
    return lambda w: init(KEY, w.shape, w.dtype)


def reused(params):
    params["params"]["hidden"]["kernel"] = jaxinit.he_normal(KEY, (128, 128))
    params["params"]["branch"]["kernel"] = 0.5 * jaxinit.he_normal(KEY, (128, 128))


jaxs = jax.nn.initializers
FLOAT8 = jnp.float8_e4m3fn
FAULTS = {
    "a NaN": ("conv", "not_finite", kernel("conv", lambda w: w.at[0, 0, 0, 0].set(jnp.nan))),
    "an infinity": ("up", "not_finite", kernel("up", lambda w: w.at[1].mul(jnp.inf))),
    "a draw in float8": (
        "hidden",
        "not_finite",
        kernel("hidden", lambda w: jaxs.he_normal()(KEY, w.shape, FLOAT8).astype(w.dtype)),
    ),
    "all zero": ("hidden", "zero", kernel("hidden", jnp.zeros_like)),
    "all one number": ("hidden", "constant", kernel("hidden", lambda w: 0.1 * jnp.ones_like(w))),
    "one key for two layers": ("hidden", "reused_key", reused),
    "one key for every slice": (
        "conv",
        "reused_key",
        kernel("conv", lambda w: jnp.broadcast_to(w[:1], w.shape)),
    ),
    "fused blocks that are the same": (
        "branch",
        "reused_key",
        kernel("branch", lambda w: jnp.tile(w[:, :64], 2)),
    ),
    "a draw in bfloat16": (
        "hidden",
        "coarse",
        kernel("hidden", lambda w: jaxs.he_normal()(KEY, w.shape, jnp.bfloat16)),
    ),
    "a draw in bfloat16, cast up": (
        "hidden",
        "coarse",
        kernel("hidden", lambda w: jaxs.he_normal()(KEY, w.shape, jnp.bfloat16).astype(w.dtype)),
    ),
    "truncated, not scaled up": (
        "branch",
        "truncated",
        kernel("branch", stock(jaxs.truncated_normal(0.02))),
    ),
    "an einsum's fan from its shape": (
        "heads",
        "wrong_fan",
        kernel("heads", stock(jaxs.lecun_normal())),
    ),
    "a stride ignored": ("up", "wrong_fan", kernel("up", stock(jaxs.he_normal()))),
    "the groups ignored": (
        "grouped",
        "wrong_fan",
        kernel("grouped", stock(initializers.variance_scaling(2 / 8, "fan_in", "normal"))),
    ),
    "far too large": ("head", "wrong_std", kernel("head", stock(jaxs.normal(1.0)))),
    "not centered": ("hidden", "shifted", kernel("hidden", stock(jaxs.uniform(0.1)))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found_and_nothing_else(name):
    path, kind, plant = FAULTS[name]
    params = healthy()
    plant(params)
    report = audit(params, NET.apply, X)
    found = [(f.path, f.kind) for f in report.findings]
    assert found == [(f"params/{path}/kernel", kind)], f"\n{report}"
    assert report.findings[0].remedy


# What needs no computation is found without it.
ALONE = [n for n in FAULTS if FAULTS[n][1] not in ("wrong_fan",) and n != "all zero"]


@pytest.mark.parametrize("name", ALONE)
def test_planted_faults_are_found_in_the_tree_alone(name):
    path, kind, plant = FAULTS[name]
    params = healthy()
    plant(params)
    found = [(f.path, f.kind) for f in audit(params).findings]
    assert found == [(f"params/{path}/kernel", kind)]


def test_which_fan_explains_it():
    params = healthy()
    kernel("heads", stock(jaxs.lecun_normal()))(params)
    (finding,) = audit(params, NET.apply, X).findings
    assert "lecun with the shape's own fan_in 512" in finding.message
    assert "its fan_in is 64" in finding.message
    assert "Layout(in_axis=(0,), out_axis=(1, 2))" in finding.remedy
    params = healthy()
    kernel("branch", stock(jaxs.truncated_normal(0.02)))(params)
    assert "0.8796 of 0.02 (normal(0.02))" in audit(params, NET.apply, X).findings[0].message


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_healthy_in_every_dtype(dtype):
    params = healthy(dtype)
    assert audit(params).findings == []
    assert audit(params, NET.apply, X).findings == []


@pytest.mark.slow
def test_healthy_models_of_flax():
    """Flax's own laws; N(0, 0.02) with divided branches; the rules of autoinit."""
    model = models.LinenTransformer(64, 2, 128)
    params = jax.jit(model.init)(KEY, models.TOKENS)
    assert audit(params, model.apply, models.TOKENS).findings == []
    gpt = models.LinenTransformer(64, 2, 128, kernel_init=initializers.normal(0.02))
    params = jax.jit(gpt.init)(KEY, models.TOKENS)
    assert audit(params, gpt.apply, models.TOKENS).findings == []
    scanned = models.LinenTransformer(64, 3, 128, scan=True)
    params = jax.jit(scanned.init)(KEY, models.TOKENS)
    assert audit(params).findings == []
    assert audit(params, scanned.apply, models.TOKENS).findings == []
    resnet = models.ResNet(16, 2)
    params = jax.jit(lambda key, x: resnet.init(key, x, train=True))(KEY, X[..., :3])
    assert audit(params, resnet.apply, X[..., :3], train=False).findings == []


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mnist", "wmt", "seq2seq")]


@pytest.mark.parametrize("name", ["vae", "lora", "fused_attention", *SLOW])
def test_healthy_whatever_the_rule(name):
    model = zoo_models.KINDS[name]()
    for rule in ("standard", "critical"):
        params = autoinit(KEY, model.apply, model.params, *model.inputs, rule=rule)
        found = [f.kind for f in audit(params, model.apply, *model.inputs).findings]
        # That model does not divide its logits, which a note says.
        assert found == (["undivided_logits"] if name == "fused_attention" else []), rule


def test_layers_that_share_a_key_under_scan():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(64)(x)), None

    def stacked(split):
        options = {"variable_axes": {"params": 0}, "length": 3}
        model = nn.scan(Layer, split_rngs={"params": split}, **options)()
        return model.init(KEY, jnp.ones((1, 64)), None)

    assert audit(stacked(True)).findings == []
    (finding,) = audit(stacked(False)).findings
    assert finding.kind == "reused_key"
    assert "slices 0 and 1 of axis 0" in finding.message


def test_zero_kernels_at_the_end_of_branches_are_meant():
    params = healthy()
    params["params"]["branch"]["kernel"] *= 0
    params["params"]["head"]["kernel"] *= 0
    (finding,) = audit(params, NET.apply, X).findings
    assert (finding.severity, finding.kind) == ("note", "zero")
    assert (finding.path, finding.also) == ("params/branch/kernel", ("params/head/kernel",))
    found = {f.path: f.severity for f in audit(params).findings}
    assert found == {"params/branch/kernel": "warning", "params/head/kernel": "note"}


def test_a_running_variance_of_zeros():
    model = models.ResNet(8, 1)
    x = X[..., :3]
    variables = jax.jit(lambda key, x: model.init(key, x, train=True))(KEY, x)
    var = variables["batch_stats"]["Block_0"]["BatchNorm_0"]["var"]
    variables["batch_stats"]["Block_0"]["BatchNorm_0"]["var"] = 0 * var
    (finding,) = audit(variables, model.apply, x, train=False).findings
    assert (finding.severity, finding.message) == (
        "error",
        "a running variance that is not positive",
    )


def test_what_is_measured():
    w = np.random.default_rng(1).standard_normal((300, 200)).astype(np.float32) + 5
    w[0, :10] = 0
    leaf = describe("w", w)
    wide = w.astype(np.float64)
    assert leaf.mean == pytest.approx(wide.mean())
    assert leaf.std == pytest.approx(wide.std())
    assert (leaf.low, leaf.high) == (wide.min(), wide.max())
    assert leaf.zeros == 10 / 60_000
    assert leaf.norm == pytest.approx(np.linalg.norm(wide))
    assert leaf.spectral == pytest.approx(np.linalg.norm(wide, 2), rel=0.02)
    assert leaf.distinct == len(np.unique(w))
    assert describe("counter", np.arange(3)) is None
    assert describe("empty", np.empty((0, 3))) is None
    assert describe("tiny", w.astype(ml_dtypes.float8_e5m2)).dtype == "float8_e5m2"


def saved(tmp_path, format, tree):
    if format == "safetensors":
        flat = jax.tree_util.tree_leaves_with_path(tree)
        named = {jax.tree_util.keystr(p, simple=True, separator="."): x for p, x in flat}
        save_file(named, tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", tree)
    return tmp_path / "step"


@pytest.mark.parametrize("format", ["safetensors", "orbax"])
def test_checkpoints_are_read_leaf_by_leaf(tmp_path, format):
    tree = {
        "a": {"kernel": jaxinit.he_normal(KEY, (64, 64), jnp.bfloat16), "bias": jnp.zeros(3)},
        "b": [jaxinit.he_normal(jax.random.key(1), (64, 32))],
    }
    path = saved(tmp_path, format, tree)
    report = audit(path)
    assert report.findings == []
    assert {row["path"]: row["dtype"] for row in report.rows} == {
        "a/kernel": "bfloat16",
        "a/bias": "float32",
        "b/0": "float32",
    }
    tree["b"].append(tree["b"][0])
    (finding,) = audit(
        str(saved(tmp_path / "again" if format == "orbax" else tmp_path, format, tree))
    ).findings
    assert (finding.path, finding.kind, finding.message) == ("b/1", "reused_key", "equal to b/0")


def test_command_line(tmp_path, capsys):
    path = saved(tmp_path, "safetensors", {"w": jnp.full((4, 4), jnp.nan)})
    assert main(["audit", str(path), "--html", str(tmp_path / "page.html")]) == 1
    printed = capsys.readouterr().out
    assert "16 of 16 values are NaN or infinite" in printed.replace("\n", " ")
    page = (tmp_path / "page.html").read_text()
    assert "16 of 16 values are NaN" in page
    assert main(["audit", str(tmp_path / "absent")]) == 2
    assert re.search(r"^audit: there is no checkpoint '.*absent'\.", capsys.readouterr().err)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"^audit: '.*' is no checkpoint: it holds neither safete"):
        audit(tmp_path)
    with pytest.raises(ValueError, match=r"^audit: apply_fn goes with a tree of parameters; got a"):
        audit(tmp_path, NET.apply, X)
    with pytest.raises(FileNotFoundError, match=r"^audit: there is no checkpoint "):
        audit(tmp_path / "absent")
    with pytest.raises(TypeError, match=r"^audit: expected a function of \(params, \*inputs\)"):
        audit({"w": jnp.ones(3)}, 3)
    with pytest.raises(ValueError, match=r"^audit: 'w' is a ShapeDtypeStruct, which has no values"):
        audit({"w": jax.ShapeDtypeStruct((3,), jnp.float32)})


@pytest.mark.parametrize(
    ("nothing", "what"),
    [
        (None, "an empty tree"),
        ({}, "an empty tree"),
        (3, "an int"),
        (nn.Dense(8), "a Dense"),
        (NET.apply, "a method"),
    ],
)
def test_nothing_to_audit_is_an_error(nothing, what):
    with pytest.raises(
        TypeError, match=rf"^audit: expected a tree of arrays, .* got {what}, which"
    ):
        audit(nothing)


def test_trees_with_keys_and_counters():
    tree = {"key": jax.random.key(0), "keys": jax.random.split(KEY, 3), "count": jnp.int32(3)}
    report = audit({**tree, "w": jaxinit.he_normal(KEY, (32, 32))})
    assert [row["path"] for row in report.rows] == ["w"]
    assert report.findings == []


def test_an_nnx_model_with_dropout():
    state = nnx.state(nnx.MultiHeadAttention(4, 16, dropout_rate=0.5, rngs=nnx.Rngs(0)))
    assert audit(state).findings == []


def test_complex_parameters():
    w = jaxinit.lecun_normal(KEY, (64, 64), jnp.complex64)
    (row,) = audit({"w": w}).rows
    assert row["std"] == pytest.approx(1 / 8, rel=0.02)
    assert audit({"w": w}).findings == []
    assert [f.kind for f in audit({"w": w.at[3, 3].set(jnp.nan)}).findings] == ["not_finite"]
    assert [f.kind for f in audit({"w": w, "v": w[:32]}).findings] == ["reused_key"]


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_numbers_whose_squares_overflow(scale):
    x = np.random.default_rng(0).standard_normal((64, 48)) * scale
    found = describe("w", x)
    assert found.std == pytest.approx(x.std() if scale < 1 else scale, rel=0.05)
    assert found.norm / scale == pytest.approx(np.linalg.norm(x / scale))
    assert found.spectral / scale == pytest.approx(np.linalg.norm(x / scale, 2), rel=0.02)
    assert found.kurtosis == pytest.approx(3, abs=0.3)


def test_values_that_grow_from_window_to_window():
    x = np.concatenate([np.ones(2**20), 1e200 * np.ones(2**20)])
    found = describe("x", x)
    assert (found.mean, found.std) == pytest.approx((5e199, 5e199))

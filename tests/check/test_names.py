"""What the words of a path say, and that they hide no faults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinit
from jaxinit import audit
from jaxinit._check import names

KEY = jax.random.key(0)


def draw(seed, *shape, std=0.125):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def kinds(params, *model):
    return [(f.severity, f.kind, f.path) for f in audit(params, *model).findings]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("decoder/LayerNorm_0/scale", ("decoder", "layer", "norm", "0", "scale")),
        ("RMSNorm.qkNorm1", ("rms", "norm", "qk", "norm", "1")),
        ("wQ/größe", ("w", "q", "größe")),
    ],
)
def test_words(path, words):
    assert names.words(path) == words


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("normal_head/kernel", "kernel"),
        ("decomposition/w", "kernel"),
        ("post_attention/kernel", "kernel"),
        ("variational/kernel", "kernel"),
        ("variational", "kernel"),
        ("pos_embed", "embedding"),
        ("PositionEmbedding_0/table", "embedding"),
        ("wte/weight", "embedding"),
        ("norm_1/weight", "scale"),
        ("layernorm/0/weight", "scale"),
        ("BatchNorm_0/mean", ""),
        ("block/A_log", ""),
        ("dt_proj", ""),
        ("attention/in_proj_bias", "bias"),
        ("linear/b", "bias"),
    ],
)
def test_roles_of_arrays_of_two_axes(path, role):
    assert names.role(path, 2) == role


def test_roles_of_vectors():
    paths = ("blocks_0/ln_f/weight", "bn1/weight", "linear/weight", "normal/g", "b2")
    assert [names.role(path, 1) for path in paths] == ["scale", "scale", "", "scale", "bias"]


def test_a_fault_in_a_kernel_whose_name_holds_another_word():
    for path in ("normal_head/kernel", "abnormal/kernel", "decomposition/kernel"):
        assert kinds({path: np.full((64, 64), 0.1, np.float32)}) == [("error", "constant", path)]
    params = {name: draw(n, 64, 64) for n, name in enumerate(("module/a/w", "module/b/w"))}
    params["module/gather/w"] = np.zeros((64, 64), np.float32)
    assert kinds(params) == [("warning", "zero", "module/gather/w")]
    bias = {"sentiment/kernel": draw(0, 64, 64), "sentiment/bias": np.full(64, -20, np.float32)}
    assert kinds(bias) == [("warning", "dead", "sentiment/bias")]


def test_what_the_computation_says_goes_before_a_name():
    """Two kernels that are correlated, whose names are those of a norm's parameters."""
    one, other = draw(0, 64, 64, std=1.0), draw(1, 64, 64, std=1.0)
    params = {"norm_a/scale": 0.125 * one, "norm_b/scale": 0.125 * (0.6 * one + 0.8 * other)}
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)

    def apply(params, x):
        return jnp.tanh(x @ params["norm_a/scale"]) @ params["norm_b/scale"]

    assert kinds(params) == []
    assert kinds(params, apply, x) == [("warning", "reused_key", "norm_b/scale")]


def test_biases_of_a_hidden_layer_that_is_called_a_gate():
    def apply(params, x):
        return jax.nn.relu(x @ params["gate/kernel"] + params["gate/bias"])

    params = {"gate/kernel": draw(0, 64, 64), "gate/bias": np.full(64, -20, np.float32)}
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)
    assert kinds(params) == []
    assert kinds(params, apply, x) == [("warning", "dead", "gate/bias")]
    assert jaxinit.infer(apply, params, x)["gate/bias"].layer == "gate/kernel"

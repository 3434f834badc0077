"""What audit says of an optimizer's state, of moving averages, and of layers that are equal."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

import jaxinit
from jaxinit import audit

MODEL = nn.Sequential([nn.Dense(64), nn.LayerNorm(), nn.relu, nn.Dense(64), nn.relu, nn.Dense(8)])
X = jnp.asarray(np.random.default_rng(1).normal(size=(32, 16)), jnp.float32)
KEY = jax.random.key(0)
SHAPES = jax.eval_shape(MODEL.init, KEY, X)


def weights(seed):
    """Parameters as Flax draws them, but by NumPy, so that nothing is compiled."""
    rng = np.random.default_rng(seed)

    def made(path, struct):
        if path[-1].key == "kernel":
            return jnp.asarray(rng.normal(size=struct.shape) / struct.shape[0] ** 0.5, jnp.float32)
        return jnp.full(struct.shape, float(path[-1].key == "scale"), jnp.float32)

    return jax.tree_util.tree_map_with_path(made, SHAPES)


PARAMS, OTHER = weights(0), weights(2)


def fresh(key, tx=None) -> Any:
    tx = tx or optax.adam(1e-2)
    return TrainState.create(apply_fn=MODEL.apply, params=MODEL.init(key, X), tx=tx)


def trained(state):
    def loss(params):
        return jnp.mean((MODEL.apply(params, X) - jnp.ones(8)) ** 2)

    for _ in range(3):
        state = state.apply_gradients(grads=jax.grad(loss)(state.params))
    return state


def told(tree):
    return [(f.severity, f.kind, f.path) for f in audit(tree).findings]


def test_a_fresh_train_state_in_a_checkpoint(tmp_path):
    jaxinit.plan(fresh, KEY).save(tmp_path / "m", format="safetensors")
    report = audit(tmp_path / "m")
    assert report.findings == []
    assert len(report.rows) == 24
    assert "16 arrays of an optimizer's state, as opt_state/0/mu/params/layers" in report.notes[0]


@pytest.mark.parametrize("tx", [optax.adam(1e-2), optax.sgd(1e-2, momentum=0.9)])
def test_the_state_of_a_train_state_that_was_trained(tx):
    state = trained(fresh(KEY, tx))
    assert told(state) == []
    by_hand = {"params": state.params, "optimizer": state.opt_state}
    assert told(by_hand) == []


def test_moments_by_their_names():
    adam = trained(fresh(KEY)).opt_state[0]
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    for m, v in ((zeros, zeros), (adam.mu, adam.nu)):
        assert told({"params": PARAMS, "m": m, "v": v}) == []
    # A network for a mean beside one for a deviation is no moment.
    broken = jax.tree.map(lambda x: x[:, :1] + 0 * x if x.ndim > 1 else x, OTHER)
    assert "error" in {f[0] for f in told({"mu": broken, "sigma": PARAMS})}


def test_a_model_that_is_called_as_an_optimizer_state_may_be():
    """OPT is a language model; its weights are judged, and its optimizer's state is not."""
    large = jax.tree.map(lambda x: 50 * x, PARAMS)
    assert "warning" in {f[0] for f in told({"opt": large, "head": OTHER})}
    state = trained(fresh(KEY, optax.sgd(1e-2, momentum=0.9)))
    assert told({"params": state.params, "opt": state.opt_state}) == []


def test_what_a_model_uses_is_no_state():
    large = jax.tree.map(lambda x: 50 * x, PARAMS)
    x = jax.ShapeDtypeStruct(X.shape, X.dtype)

    def apply(params, x):
        return MODEL.apply(params["optimizer"], x)

    found = audit({"optimizer": large, "head": OTHER}, apply, x)
    assert [f.path.split("/")[0] for f in found.findings] == ["optimizer"] * len(found.findings)
    assert found.notes == ()
    assert len(found.findings) > 0


def test_a_copy_at_a_word_that_holds_another():
    """ "semantic" holds "ema"; it is no moving average's name."""
    assert told({"params": PARAMS, "semantic": PARAMS}) == [("warning", "mirrored", "semantic")]
    assert told({"params": PARAMS, "paramsEMA": PARAMS}) == [("note", "mirrored", "paramsEMA")]


def test_an_optimizer_state_that_is_not_finite():
    state = fresh(KEY)
    broken = jax.tree.map(lambda x: x * jnp.nan, state.opt_state)
    found = told(state.replace(opt_state=broken))
    assert {f[:2] for f in found} == {("error", "not_finite")}


@pytest.mark.parametrize(
    ("name", "severity"), [("ema", "note"), ("target_params", "note"), ("second", "warning")]
)
def test_a_copy_of_all_weights_is_one_finding(name, severity):
    assert told({"params": PARAMS, name: PARAMS}) == [(severity, "mirrored", name)]
    nearly = jax.tree.map(lambda x, y: 0.9 * x + 0.1 * y, PARAMS, OTHER)
    assert told({"params": PARAMS, name: nearly}) == [(severity, "mirrored", name)]
    assert told({"params": PARAMS, name: OTHER}) == []


def test_what_is_wrong_with_both_is_told_once():
    large = jax.tree.map(lambda x: x, PARAMS)
    large["params"]["layers_3"]["kernel"] *= 20  # pyright: ignore[reportIndexIssue]
    found = told({"params": large, "ema": large})
    assert found == [
        ("warning", "wrong_std", "params/params/layers_3/kernel"),
        ("note", "mirrored", "ema"),
    ]


def test_layers_and_members_that_are_equal_are_errors():
    for one, other in (("layers_0", "layers_1"), ("critic1", "critic2"), ("0", "1")):
        (finding,) = audit({one: PARAMS, other: PARAMS}).findings
        assert (finding.severity, finding.kind) == ("error", "reused_key")
        layers = (0, 3, 5)
        assert {finding.path, *finding.also} == {
            f"{other}/params/layers_{n}/kernel" for n in layers
        }
    # Two layers of one kernel each, as queries and keys.
    dense = PARAMS["params"]["layers_3"]
    assert told({"query": dense, "key": dense}) == [("error", "reused_key", "query/kernel")]


def test_a_critic_and_its_target_beside_an_actor():
    tree = {"agent": {"actor": OTHER, "critic": PARAMS, "target_critic": PARAMS}}
    assert told(tree) == [("note", "mirrored", "agent/target_critic")]


def test_reports_show_a_finding_of_a_folder(tmp_path):
    report = audit({"params": PARAMS, "ema": PARAMS})
    report.to_html(tmp_path / "page.html")
    report.plot(tmp_path / "x.svg")
    assert "equal to params throughout" in (tmp_path / "page.html").read_text()
    assert len(report.to_dict()["rows"]) == 16

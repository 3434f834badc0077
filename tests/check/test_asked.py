"""What was asked: initializers note it, a save writes it down, and an audit of the file uses it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from table import CHANGED, EXACT, ROWS

import jaxinit
from jaxinit import initializers

KEY = jax.random.key(0)
ODD = initializers.scaled(initializers.he_normal(), 7.0)  # as no initializer in common use is


def init(key):
    """Kernels on which the note is behind a reshape, a cast, a jit and a loop, or is lost."""
    keys = jax.random.split(key, 5)

    def layer(_, key):
        return None, jax.jit(lambda key: initializers.normal(0.9)(key, (64, 64)))(key)

    return {
        "of_jax/kernel": jax.nn.initializers.he_normal()(keys[0], (64, 64)),
        "odd/kernel": ODD(keys[1], (64, 64)).reshape(64, 8, 8).astype(jnp.bfloat16),
        "stack/kernel": jax.lax.scan(layer, None, keys[2][None])[1],
        "tripled/kernel": 3 * jaxinit.he_normal(keys[3], (64, 64)),
        "vmapped/kernel": jax.vmap(lambda k: jaxinit.he_normal(k, (64, 64)))(keys[4][None]),
    }


@pytest.fixture
def saved(tmp_path):
    jaxinit.plan(init, KEY).save(tmp_path / "m", format="safetensors")
    return tmp_path / "m"


def test_a_checkpoint_says_what_was_asked(saved):
    leaves = json.loads((saved / "jaxinit.json").read_text())["leaves"]
    assert {path: leaf.get("asked") for path, leaf in leaves.items()} == {
        "of_jax/kernel": None,
        "odd/kernel": {
            "initializer": "scaled(he_normal(), 7.0)",
            "law": "truncated_normal",
            "mean": 0.0,
            "std": 7 * (2 / 64) ** 0.5,
        },
        "stack/kernel": {
            "initializer": "normal(stddev=0.9)", "law": "normal", "mean": 0.0, "std": 0.9
        },
        "tripled/kernel": None,
        "vmapped/kernel": {
            "initializer": "he_normal()",
            "law": "truncated_normal",
            "mean": 0.0,
            "std": (2 / 64) ** 0.5,
        },
    }  # fmt: skip


def test_audit_compares_with_what_was_asked(saved):
    """No false alarm of kernels of an unusual size; and one that was changed since is found."""
    clean = jaxinit.audit(saved)
    assert [f.path for f in clean.findings if f.path in ("odd/kernel", "stack/kernel")] == []
    rows = {row["path"]: row["asked"] for row in clean.rows}
    assert rows["odd/kernel"] == "scaled(he_normal(), 7.0)"
    file = saved / "model.safetensors"
    arrays = load_file(file)
    save_file(arrays | {"stack.kernel": 1.2 * arrays["stack.kernel"]}, file)
    (found,) = (f for f in jaxinit.audit(saved).findings if f.path == "stack/kernel")
    assert found.kind == "wrong_std"
    assert found.message.endswith("times what was asked of normal(stddev=0.9)")


HOSTILE = [b"", b"[]", b"{" * 10_000, b'{"leaves": {"odd/kernel": {"asked": {"std": "x"}}}}']


def test_a_damaged_manifest_is_not_believed(saved):
    for text in HOSTILE:
        (saved / "jaxinit.json").write_bytes(text)
        assert all(row["asked"] is None for row in jaxinit.audit(saved).rows)


@pytest.mark.parametrize("row", [*ROWS, *CHANGED, *EXACT], ids=lambda row: repr(row.factory()))
def test_the_moments_are_those_of_what_is_drawn(row):
    shape = (512, 256)
    asked = row.factory().moments(shape) if row.name != "masked" else None
    if asked is None:
        return
    x = np.asarray(row.factory()(KEY, shape), np.float64)
    assert x.mean() == pytest.approx(asked.mean, abs=5 * max(asked.std, 1e-6) / x.size**0.5)
    assert x.std() == pytest.approx(asked.std, rel=0.01)


@pytest.mark.parametrize("bounds", [(-1.0, 3.0), (2.0, np.inf), (-9.0, -8.0), (0.5, 0.5002)])
def test_the_moments_of_a_truncated_normal(bounds):
    scipy_stats = pytest.importorskip("scipy.stats")
    asked = initializers.truncated_normal(2.0, lower=bounds[0], upper=bounds[1]).moments((3, 3))
    law = scipy_stats.truncnorm(*bounds)
    assert asked.mean == pytest.approx(2 * law.mean(), rel=1e-6)
    assert asked.std == pytest.approx(2 * law.std(), rel=3e-3)

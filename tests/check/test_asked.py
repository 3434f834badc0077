"""What was asked: initializers note it, a save writes it down, and an audit of the file uses it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from table import CHANGED, COMBINED, DYNAMICS, EXACT, ORTHOGONAL, ROWS

import jaxinit
from jaxinit import initializers, recipes
from jaxinit._check.asked import Asked

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


HE = initializers.he_normal()
CHOSEN = {  # what a user may choose, and no initializer in common use gives
    "icnr": (recipes.icnr(HE, 2), (3, 3, 16, 32)),
    "repeated": (initializers.repeated(HE, 2), (64, 64)),
    "chrono": (initializers.chrono(100.0), (512,)),
    "sparse": (initializers.sparse(0.9), (128, 128)),
    "hippo": (initializers.hippo(), (64, 64)),
    "clipped": (initializers.clipped(initializers.normal(1.0), -0.5, 0.5), (64, 64)),
    "shifted": (initializers.shifted(initializers.normal(0.1), 1.0), (64, 64)),
    "large": (initializers.normal(5.0), (64, 64)),
    "constant": (initializers.constant(0.3), (64, 64)),
    "zeros": (initializers.zeros, (64, 64)),
    "dead": (initializers.constant(-20.0), (64,)),
    "masked": (initializers.masked(HE, np.tri(64, dtype=bool)), (64, 64)),
}


def of_choice(key):
    """Each initializer twice, and in a stack; attention whose queries are made with its keys."""
    drawn = {}
    for n, (name, (init, shape)) in enumerate(CHOSEN.items()):
        one, two, three = jax.random.split(jax.random.fold_in(key, n), 3)
        leaf = "bias" if len(shape) == 1 else "kernel"
        drawn[f"{name}/a/{leaf}"] = init(one, shape)
        drawn[f"{name}/b/{leaf}"] = init(two, shape)
        drawn[f"{name}/stack/{leaf}"] = jax.lax.map(
            lambda k, init=init, shape=shape: init(k, shape), jax.random.split(three, 2)
        )
    attention = recipes.mimetic_attention(key, width=64, heads=4)
    return drawn | {f"attention/{name}/kernel": x for name, x in attention.items()}


@pytest.mark.parametrize("format", ["safetensors", "orbax"])
def test_an_initializer_of_your_own_choice_raises_no_warning(tmp_path, format):
    jaxinit.plan(of_choice, KEY).save(tmp_path / "m", format=format)
    found = jaxinit.audit(tmp_path / "m").findings
    assert [(f.severity, f.path, f.also) for f in found] == [
        ("note", "attention/query/kernel", ()),
        ("note", "attention/value/kernel", ()),
    ]


def test_without_a_record_they_are_no_errors():
    """But for constants, and a kernel whose units are all there twice."""
    found = jaxinit.audit(of_choice(KEY)).findings
    worst = {f.path.split("/")[0]: f for f in reversed(found)}
    severities = {name: f.severity for name, f in worst.items()}
    assert {name for name, s in severities.items() if s == "error"} == {"constant", "repeated"}
    assert not {"chrono", "hippo"} & set(severities)
    assert severities["icnr"] == "warning"
    assert worst["icnr"].message == "32 of its 32 columns are equal, 4 each"
    assert worst["icnr"].remedy.startswith("nothing, if a pixel shuffle follows")


def test_reused_keys_are_errors_whatever_was_asked(tmp_path):
    def init(key):
        one, other = jax.random.split(key)

        def layer(_, __):
            return None, initializers.orthogonal()(other, (64, 64))

        return {
            "a/kernel": HE(one, (64, 64)),
            "b/kernel": initializers.normal(2.0)(one, (64, 64)),
            "c/kernel": jax.lax.scan(layer, None, None, 3)[1],
            "d/kernel": recipes.icnr(HE, 2)(key, (3, 3, 8, 32)),
            "e/kernel": recipes.icnr(HE, 2)(key, (3, 3, 8, 32)),
        }

    jaxinit.plan(init, KEY).save(tmp_path / "m", format="safetensors")
    found = jaxinit.audit(tmp_path / "m").findings
    assert {(f.severity, f.kind, f.path) for f in found} == {
        ("error", "reused_key", f"{name}/kernel") for name in "bce"
    }


@pytest.mark.parametrize("made", [0.5, "drawn"])
def test_a_constant_that_was_changed_since(tmp_path, made):
    def init(key):
        return {"a/kernel": initializers.constant(0.3)(key, (64, 64))}

    jaxinit.plan(init, KEY).save(tmp_path / "m", format="safetensors")
    w = HE(KEY, (64, 64)) if made == "drawn" else jnp.full((64, 64), made)
    save_file({"a.kernel": np.asarray(w)}, tmp_path / "m" / "model.safetensors")
    (finding,) = jaxinit.audit(tmp_path / "m").findings
    if made == "drawn":
        assert finding.kind == "shifted"
        assert finding.message.endswith(", and 0.3 was asked of constant(0.3)")
    else:
        assert (finding.severity, finding.kind) == ("error", "constant")


EVERY = [*ROWS, *COMBINED, *CHANGED, *EXACT, *ORTHOGONAL, *DYNAMICS]


@pytest.mark.parametrize("row", EVERY, ids=lambda row: repr(row.factory()))
def test_which_initializers_no_key_changes(row):
    init = row.factory()
    shape = {"chrono": (64,), "mamba_dt_bias": (64,), "hippo": (34, 34), "masked": (65, 34)}
    shape["delta_orthogonal"] = (3, 8, 16)
    one, other = (init(jax.random.key(n), shape.get(row.name, (66, 34))) for n in (0, 1))
    assert Asked(repr(init)).is_fixed == np.array_equal(one, other)


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

"""The logits of attention: by what they are divided, and what follows from that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import gaussian

import jaxinit

SHAPES = {name: jax.ShapeDtypeStruct((32, 2, 16), jnp.float32) for name in "qkv"}
X = gaussian(jax.random.key(0), (4, 12, 32))


def logits(params, x, *, divided, late=False):
    q, k = (jnp.einsum("bti,ihd->bthd", x, params[name]) for name in "qk")
    if divided and not late:
        q = q / jnp.sqrt(16.0)
    found = jnp.einsum("bqhd,bkhd->bhqk", q, k)
    return found / 4 if divided and late else found


def attention(divided, late=False):
    def apply(params, x):
        v = jnp.einsum("bti,ihd->bthd", x, params["v"])
        weights = jax.nn.softmax(logits(params, x, divided=divided, late=late))
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v)

    return apply


@pytest.mark.parametrize(("divided", "late"), [(True, False), (True, True), (False, False)])
def test_the_factor_is_read(divided, late):
    found = jaxinit.infer(attention(divided, late), SHAPES, X)
    assert found["q"].logits == found["k"].logits
    assert found["q"].logits.size == 16
    assert found["q"].logits.factor == pytest.approx(0.25 if divided else 1)
    assert set(found["q"].logits.kernels) == {"q", "k"}
    assert found["v"].logits is None


def test_undivided_logits_get_smaller_kernels():
    """So that the logits have the same size, and no softmax is one value."""
    made = {}
    for divided in (True, False):
        advice = jaxinit.autoinit.explain(attention(divided), SHAPES, X)
        assert ("not divided" in advice["q"].reason) == (not divided)
        assert advice["v"].stddev == pytest.approx(1 / 32**0.5)
        params = jaxinit.autoinit(jax.random.key(1), attention(divided), SHAPES, X, check=False)
        made[divided] = np.asarray(logits(params, X, divided=divided)).std()
    assert made[False] == pytest.approx(made[True], rel=0.1)
    by_forward = jaxinit.autoinit.explain(attention(False), SHAPES, X, rule="forward")
    assert by_forward["k"].stddev == pytest.approx(1 / 32**0.5 / 2)


def test_audit_says_what_undivided_logits_come_to():
    keys = jax.random.split(jax.random.key(2), 3)
    params = {
        name: jaxinit.lecun_normal(key, (32, 2, 16), in_axis=0, out_axis=(1, 2))
        for name, key in zip("qkv", keys, strict=True)
    }
    assert jaxinit.audit(params, attention(True), X).findings == []
    (sharp,) = jaxinit.audit(params, attention(False), X).findings
    assert (sharp.severity, sharp.kind) == ("warning", "undivided_logits")
    assert sharp.where in ("k and 1 more", "q and 1 more")
    params["q"] /= 4  # as T5 does
    found = jaxinit.audit(params, attention(False), X).findings
    assert [(f.severity, f.kind) for f in found] == [("note", "undivided_logits")]

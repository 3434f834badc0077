"""Initializers in common use, by the standard deviations that they give."""

import jax
import jax.numpy as jnp
from table import gaussian

import jaxinit

WIDTH, HEADS, SIZE = 96, 2, 48


def attention(params, x):
    q, k = (jnp.einsum("bti,ihd->bthd", x, params[name]) for name in "qk")
    return jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))


def test_attention_in_the_kernel_of_queries_whatever_the_head_size():
    """As in T5: the logits are not divided, but the queries' kernel is, by sqrt(48)."""
    keys = jax.random.split(jax.random.key(0), 3)
    q, k = (
        jaxinit.lecun_normal(key, (WIDTH, HEADS, SIZE), in_axis=0, out_axis=(1, 2))
        for key in keys[:2]
    )
    x = gaussian(keys[2], (2, 6, WIDTH))
    found = jaxinit.audit({"q": q / SIZE**0.5, "k": k}, attention, x).findings
    assert [(f.severity, f.kind) for f in found] == [("note", "undivided_logits")]

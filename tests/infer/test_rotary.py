"""Rotary embeddings divide queries and keys in halves that meet again: these are no blocks."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxinit import infer


def angles(positions):
    return positions[..., None, None] * 10.0 ** -jnp.arange(4.0)


def halves(x, positions):
    cos, sin = jnp.cos(angles(positions)), jnp.sin(angles(positions))
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def rotated(x, positions):
    cos, sin = (jnp.tile(f(angles(positions)), 2) for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def by_einsum(x, positions):
    cos, sin = (jnp.tile(f(angles(positions)), 2)[..., 0, :] for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(x, 2, -1)
    turned = jnp.concatenate([-second, first], -1)
    return jnp.einsum("bthd,btd->bthd", x, cos) + jnp.einsum("bthd,btd->bthd", turned, sin)


def by_constants(x, positions):
    return by_einsum(x, jnp.arange(5)[None] + jnp.zeros((2, 1), int))


def interleaved(x, positions):
    cos, sin = jnp.cos(angles(positions)), jnp.sin(angles(positions))
    first, second = x[..., ::2], x[..., 1::2]
    pairs = [first * cos - second * sin, second * cos + first * sin]
    return jnp.stack(pairs, -1).reshape(x.shape)


def complex_pairs(x, positions):
    pairs = x.reshape(*x.shape[:-1], 4, 2)
    turned = lax.complex(pairs[..., 0], pairs[..., 1]) * jnp.exp(1j * angles(positions))
    return jnp.stack([turned.real, turned.imag], -1).reshape(x.shape)


def partial(x, positions):
    wide = jnp.concatenate([x, x], -1)  # so that half of the features is as wide as a head
    return jnp.concatenate([halves(wide[..., :8], positions), wide[..., 8:]], -1)


@pytest.mark.parametrize(
    "rotate",
    [halves, rotated, by_einsum, by_constants, interleaved, complex_pairs, partial],
)
@pytest.mark.parametrize("fused", [True, False])
def test_halves_are_no_blocks(rotate, fused):
    def apply(p, x, positions):
        if fused:
            q, k, v = jnp.split(x @ p["q"], 3, -1)
        else:
            q, k, v = x @ p["q"][:, :16], x @ p["k"], x
        q, k, v = (t.reshape(2, 5, 2, 8) for t in (q, k, v))
        logits = jnp.einsum("bthd,bshd->bhts", rotate(q, positions), rotate(k, positions))
        return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v)

    kernels = {"q": jnp.ones((16, 48)), "k": jnp.ones((16, 16))}
    if not fused:
        kernels["q"] = jnp.ones((16, 16))
    found = infer(apply, kernels, jnp.ones((2, 5, 16)), jnp.ones((2, 5), int))
    if fused:
        assert (found["q"].blocks, found["q"].activation) == (
            (16, 16, 16),
            "softmax, softmax, identity",
        )
    else:
        for name in "qk":
            assert (found[name].blocks, found[name].activation) == ((), "softmax")

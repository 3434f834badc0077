"""Llama 3 in flax.linen, in its three sizes, to plan and to make.

    jaxinit init examples.llama:b405 --dtype bfloat16 --mesh fsdp=64,model=8 --dry-run
    jaxinit init examples.llama:b8 --dtype bfloat16 --format safetensors --out llama-8b

The first shows the plan of 405 billion parameters, of which it allocates none; the second makes
those of 8 billion, 16 GB, in less than 1 GB of memory.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import jaxinit
from jaxinit import initializers


class Layer(nn.Module):
    """Grouped-query attention and a gated MLP, each after an RMSNorm."""

    width: int
    hidden: int
    heads: int
    groups: int  # of heads that share a key and a value
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        head = self.width // self.heads
        ends = initializers.variance_scaling(1 / (2 * self.layers), "fan_in", "truncated_normal")

        def dense(name: str, size: int, inputs: jax.Array, init: Any = jaxinit.lecun_normal) -> Any:
            return nn.Dense(size, use_bias=False, kernel_init=init, name=name)(inputs)

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:-1], -1, head)

        h = nn.RMSNorm(name="attention_norm")(x)
        q = split(dense("query", self.width, h))
        k = split(dense("key", self.groups * head, h))
        v = split(dense("value", self.groups * head, h))
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x = x + dense("out", self.width, mixed, ends)
        h = nn.RMSNorm(name="mlp_norm")(x)
        gated = nn.silu(dense("gate", self.hidden, h)) * dense("up", self.hidden, h)
        return x + dense("down", self.width, gated, ends)


class Llama(nn.Module):
    """The language model, without its rotary embedding, which has no parameters."""

    width: int
    hidden: int
    heads: int
    layers: int
    groups: int = 8
    vocabulary: int = 128_256

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        small = initializers.normal(0.02)
        x = nn.Embed(self.vocabulary, self.width, embedding_init=small, name="embed")(tokens)
        for i in range(self.layers):
            size = self.width, self.hidden, self.heads, self.groups, self.layers
            x = Layer(*size, name=f"layer_{i:03}")(x)
        x = nn.RMSNorm(name="norm")(x)
        return nn.Dense(self.vocabulary, use_bias=False, kernel_init=small, name="head")(x)


def _factory(model: Llama) -> tuple[Any, ...]:
    return model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 16), jnp.int32)


def b8() -> tuple[Any, ...]:
    """8 billion parameters."""
    return _factory(Llama(4096, 14336, 32, 32))


def b70() -> tuple[Any, ...]:
    """70 billion parameters."""
    return _factory(Llama(8192, 28672, 64, 80))


def b405() -> tuple[Any, ...]:
    """405 billion parameters."""
    return _factory(Llama(16384, 53248, 128, 126))

"""The models whose trees are made: a transformer in Linen and NNX, and the matrices of Llamas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

VOCABULARY = 1000


class Layer(nn.Module):
    """Attention and an MLP, each after a norm."""

    width: int
    init: Callable[..., Any]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def dense(size: int, inputs: jax.Array) -> jax.Array:
            return nn.Dense(size, use_bias=False, kernel_init=self.init)(inputs)

        h = nn.LayerNorm()(x)
        q, k, v = (dense(self.width, h) for _ in range(3))
        x = x + dense(self.width, jax.nn.softmax(q @ k.swapaxes(-1, -2)) @ v)
        return x + dense(self.width, nn.gelu(dense(4 * self.width, nn.RMSNorm()(x))))


class Model(nn.Module):
    """The language model."""

    layers: int
    width: int
    source: Any  # of initializers

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        small = self.source.normal(0.02)
        x = nn.Embed(VOCABULARY, self.width, embedding_init=small)(tokens)
        for _ in range(self.layers):
            x = Layer(self.width, self.source.he_normal())(x)
        return nn.Dense(VOCABULARY, kernel_init=self.source.he_normal())(x)


class NnxLayer(nnx.Module):
    """The same block in NNX."""

    def __init__(self, width: int, source: Any, rngs: nnx.Rngs):
        def dense(inputs: int, outputs: int) -> nnx.Linear:
            init = source.he_normal()
            return nnx.Linear(inputs, outputs, use_bias=False, kernel_init=init, rngs=rngs)

        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs), nnx.RMSNorm(width, rngs=rngs)])
        self.attention = nnx.List([dense(width, width) for _ in range(4)])
        self.up, self.down = dense(width, 4 * width), dense(4 * width, width)


class NnxModel(nnx.Module):
    """The language model in NNX."""

    def __init__(self, layers: int, width: int, source: Any, rngs: nnx.Rngs):
        small = source.normal(0.02)
        self.embed = nnx.Embed(VOCABULARY, width, embedding_init=small, rngs=rngs)
        self.layers = nnx.List([NnxLayer(width, source, rngs) for _ in range(layers)])
        self.head = nnx.Linear(width, VOCABULARY, kernel_init=source.he_normal(), rngs=rngs)


def _block(width: int) -> dict[str, tuple[int, int]]:
    """The seven matrices of a block of Llama, by name."""
    square = dict.fromkeys(("query", "key", "value", "out"), (width, width))
    return {
        **square,
        "gate": (width, 4 * width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
    }


def _llama(blocks: int, source: Any, width: int) -> Any:
    """An init function of separate matrices, seven in each block."""
    make, shapes = source.he_normal(), _block(width)

    def init(key: jax.Array) -> Any:
        return {
            f"block_{i}": {
                name: make(k, shapes[name], jnp.float32)
                for name, k in zip(shapes, jax.random.split(block_key, len(shapes)), strict=True)
            }
            for i, block_key in enumerate(jax.random.split(key, blocks))
        }

    return init


def _stack(blocks: int, source: Any, width: int) -> Any:
    """An init function of the same matrices stacked over the blocks, as ``nn.scan`` makes them."""
    make, shapes = source.he_normal(), _block(width)

    def init(key: jax.Array) -> Any:
        keys = zip(shapes, jax.random.split(key, len(shapes)), strict=True)
        return {
            name: jax.vmap(lambda k, name=name: make(k, shapes[name], jnp.float32))(
                jax.random.split(k, blocks)
            )
            for name, k in keys
        }

    return init


def initial(kind: str, layers: int, source: Any, width: int = 512) -> tuple[Any, tuple[Any, ...]]:
    """(init function, its arguments)."""
    key = jax.random.key(0)
    if kind in ("llama", "stack"):
        return {"llama": _llama, "stack": _stack}[kind](layers, source, width), (key,)
    if kind == "linen":
        return Model(layers, width, source).init, (key, jnp.zeros((1, 8), jnp.int32))

    def init(key: Any) -> Any:
        return nnx.state(NnxModel(layers, width, source, nnx.Rngs(key)))

    return init, (key,)

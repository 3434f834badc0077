"""Small models in several frameworks, each a function of width and depth that returns a Case.

The transformers have nine arrays in each layer, and three more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from table import gaussian

VOCABULARY = 8192


class Case(NamedTuple):
    """An init function and what it is called with."""

    init: Callable[..., Any]
    args: tuple[Any, ...]


class LinenLayer(nn.Module):
    width: int
    kernel_init: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, x, _=None):
        def dense(size, name):
            return nn.Dense(size, use_bias=False, kernel_init=self.kernel_init, name=name)

        h = nn.RMSNorm()(x)
        q, k, v = (dense(self.width, name)(h) for name in "qkv")
        x = x + dense(self.width, "o")(jax.nn.softmax(q @ k.swapaxes(-1, -2) / self.width**0.5) @ v)
        h = nn.RMSNorm()(x)
        gated = nn.silu(dense(4 * self.width, "gate")(h)) * dense(4 * self.width, "up")(h)
        return x + dense(self.width, "down")(gated), None


class LinenTransformer(nn.Module):
    width: int
    layers: int
    vocabulary: int = VOCABULARY
    layer: Any = LinenLayer
    scan: bool = False
    kernel_init: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(self.vocabulary, self.width)(tokens)
        if self.scan:
            layer = nn.scan(
                self.layer,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=self.layers,
            )
            x, _ = layer(self.width)(x, None)
        else:
            for _ in range(self.layers):
                x, _ = self.layer(self.width, self.kernel_init)(x)
        x = nn.RMSNorm()(x)
        return nn.Dense(self.vocabulary, use_bias=False, kernel_init=self.kernel_init)(x)


TOKENS = jnp.zeros((1, 8), jnp.int32)


def linen_transformer(width=16, layers=2, vocabulary=32, **options) -> Case:
    model = LinenTransformer(width, layers, vocabulary, **options)
    return Case(model.init, (jax.random.key(0), TOKENS))


def scan_transformer(width=16, layers=3, vocabulary=32) -> Case:
    return linen_transformer(width, layers, vocabulary, scan=True)


def remat_transformer(width=16, layers=2, vocabulary=32) -> Case:
    return linen_transformer(width, layers, vocabulary, layer=nn.remat(LinenLayer))


class NnxLayer(nnx.Module):
    def __init__(self, width, rngs):
        def dense(inputs, outputs):
            return nnx.Linear(inputs, outputs, use_bias=False, rngs=rngs)

        self.norm1, self.norm2 = nnx.RMSNorm(width, rngs=rngs), nnx.RMSNorm(width, rngs=rngs)
        self.q, self.k, self.v, self.o = (dense(width, width) for _ in range(4))
        self.gate, self.up = (dense(width, 4 * width) for _ in range(2))
        self.down = dense(4 * width, width)


class NnxTransformer(nnx.Module):
    def __init__(self, width, layers, vocabulary, rngs):
        self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
        self.layers = nnx.List([NnxLayer(width, rngs) for _ in range(layers)])
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, vocabulary, use_bias=False, rngs=rngs)


def nnx_transformer(width=16, layers=2, vocabulary=32) -> Case:
    def init(key):
        return nnx.split(NnxTransformer(width, layers, vocabulary, nnx.Rngs(key)))

    return Case(init, (jax.random.key(0),))


def nnx_jitted(width=16, layers=2, vocabulary=32) -> Case:
    @nnx.jit
    def make(key):
        return NnxTransformer(width, layers, vocabulary, nnx.Rngs(key))

    return Case(lambda key: nnx.split(make(key)), (jax.random.key(0),))


def nnx_sharded(width=16) -> Case:
    """A parameter with sharding metadata, and a key among the leaves."""

    def init(key):
        rngs = nnx.Rngs(key)
        init = nnx.with_partitioning(
            nnx.initializers.lecun_normal(), (None, "model"), eager_sharding=False
        )
        layer = nnx.Linear(width, width, kernel_init=init, rngs=rngs)
        return nnx.split((layer, nnx.Dropout(0.5, rngs=rngs)))

    return Case(init, (jax.random.key(0),))


class Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, train):
        y = nn.Conv(self.features, (3, 3), use_bias=False)(x)
        y = nn.relu(nn.BatchNorm(use_running_average=not train)(y))
        y = nn.Conv(self.features, (3, 3), use_bias=False)(y)
        y = nn.BatchNorm(use_running_average=not train)(y)
        return nn.relu(x + y)


class ResNet(nn.Module):
    features: int
    blocks: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.features, (7, 7), strides=2)(x)
        for _ in range(self.blocks):
            x = Block(self.features)(x, train)
        return nn.Dense(10)(x.mean((1, 2)))


def resnet(features=8, blocks=2) -> Case:
    init = ResNet(features, blocks).init
    return Case(
        lambda key, x: init(key, x, train=False), (jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    )


def lstm(width=8) -> Case:
    model = nn.RNN(nn.OptimizedLSTMCell(width))
    return Case(model.init, (jax.random.key(0), jnp.ones((1, 3, 5))))


def equinox_mlp(width=16) -> Case:
    return Case(lambda key: eqx.nn.MLP(4, 3, width, 3, key=key), (jax.random.key(0),))


def haiku_mlp(width=16) -> Case:
    model = hk.transform(lambda x: hk.nets.MLP([width, width, 3])(x))
    return Case(model.init, (jax.random.PRNGKey(0), jnp.ones((1, 5))))


def haiku_batch_norm(width=8, layers=3) -> Case:
    """A model whose state depends on the forward pass."""

    def net(x):
        for _ in range(layers):
            x = hk.Conv2D(width, 3, with_bias=False)(x)
            x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, is_training=True))
        return hk.Linear(10)(x.mean((1, 2)))

    x = gaussian(jax.random.key(1), (2, 8, 8, 3))
    return Case(hk.transform_with_state(net).init, (jax.random.PRNGKey(0), x))


def train_state(width=16, layers=2) -> Case:
    model = LinenTransformer(width, layers, 32)

    def init(key, tokens):
        params = model.init(key, tokens)["params"]
        return TrainState.create(apply_fn=model.apply, params=params, tx=optax.adamw(1e-3))

    return Case(init, (jax.random.key(0), TOKENS))


def partitioned(width=16) -> Case:
    """Parameters in flax's metadata boxes."""
    kernel = nn.with_partitioning(nn.initializers.he_normal(), (None, "model"))
    bias = nn.with_logical_partitioning(nn.initializers.zeros, ("embed",))
    model = nn.Dense(width, kernel_init=kernel, bias_init=bias)
    return Case(model.init, (jax.random.key(0), jnp.ones((1, width))))


MODELS: dict[str, Callable[[], Case]] = {
    maker.__name__: maker
    for maker in (
        linen_transformer,
        nnx_transformer,
        nnx_jitted,
        nnx_sharded,
        remat_transformer,
        scan_transformer,
        resnet,
        lstm,
        equinox_mlp,
        haiku_mlp,
        train_state,
        partitioned,
    )
}

# For the quick tests a few of them; the slow marker selects all.
_OFTEN = ("linen_transformer", "nnx_sharded", "scan_transformer", "resnet", "equinox_mlp")
STRIDE = [n if n in _OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]

"""GPT-2 small (124 M parameters) in flax.linen, every kernel initialised by jaxinit.

    jaxinit init examples.gpt2:factory --out gpt2-checkpoint
    python examples/gpt2.py

The first makes a checkpoint of it. The second prints each parameter with its scheme, fan, and
standard deviation as asked and as measured; then how long ``jit(model.init)`` takes, next to the
same model with jax.nn.initializers.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import jaxinit
from jaxinit import initializers

Init = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class Schemes:
    """Which initializer serves which role."""

    token: Init
    position: Init
    query_key: Init
    value: Init
    up: Init  # feeds GELU
    residual: Init  # ends a residual branch: attention's output, the MLP's second matrix
    bias: Init
    norm: Init


def ours(layers: int) -> Schemes:
    """By role; branch ends are divided by sqrt(2 layers), as GPT-2 does."""
    return Schemes(
        token=initializers.normal(0.02),
        position=initializers.normal(0.01),
        query_key=jaxinit.for_activation("softmax"),
        value=initializers.lecun_normal(),
        up=jaxinit.for_activation(nn.gelu),
        residual=initializers.variance_scaling(1 / (2 * layers), "fan_in", "truncated_normal"),
        bias=initializers.zeros,
        norm=initializers.ones,
    )


def theirs(layers: int) -> Schemes:
    """The same distributions from jax.nn.initializers."""
    jaxs = jax.nn.initializers
    up = jaxinit.gain(nn.gelu) ** 2
    return Schemes(
        token=jaxs.normal(0.02),
        position=jaxs.normal(0.01),
        query_key=jaxs.glorot_normal(),
        value=jaxs.lecun_normal(),
        up=jaxs.variance_scaling(up, "fan_in", "truncated_normal"),
        residual=jaxs.variance_scaling(1 / (2 * layers), "fan_in", "truncated_normal"),
        bias=jaxs.zeros,
        norm=jaxs.ones,
    )


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    width: int
    heads: int
    schemes: Schemes

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s, head = self.schemes, self.width // self.heads

        def dense(name: str, size: int, init: Init, inputs: jax.Array) -> jax.Array:
            return nn.Dense(size, kernel_init=init, bias_init=s.bias, name=name)(inputs)

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:-1], self.heads, head)

        h = nn.LayerNorm(scale_init=s.norm, bias_init=s.bias, name="norm_1")(x)
        q = split(dense("query", self.width, s.query_key, h))
        k = split(dense("key", self.width, s.query_key, h))
        v = split(dense("value", self.width, s.value, h))
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x = x + dense("out", self.width, s.residual, mixed)
        h = nn.LayerNorm(scale_init=s.norm, bias_init=s.bias, name="norm_2")(x)
        h = nn.gelu(dense("up", 4 * self.width, s.up, h))
        return x + dense("down", self.width, s.residual, h)


class GPT2(nn.Module):
    """The language model; the output shares the token embedding."""

    schemes: Schemes
    vocabulary: int = 50257
    context: int = 1024
    width: int = 768
    heads: int = 12
    layers: int = 12

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        s = self.schemes
        token = nn.Embed(self.vocabulary, self.width, embedding_init=s.token, name="token")
        position = nn.Embed(self.context, self.width, embedding_init=s.position, name="position")
        x = token(tokens) + position(jnp.arange(tokens.shape[-1]))
        for layer in range(self.layers):
            x = Block(self.width, self.heads, s, name=f"block_{layer:02}")(x)
        return token.attend(nn.LayerNorm(scale_init=s.norm, bias_init=s.bias, name="norm")(x))


def factory() -> tuple[Any, ...]:
    """The init function and its arguments, for ``jaxinit init``."""
    return GPT2(ours(GPT2.layers)).init, jax.random.key(0), jnp.zeros((1, 16), jnp.int32)


ROLES = {
    "token": "token",
    "position": "position",
    "query": "query_key",
    "key": "query_key",
    "value": "value",
    "up": "up",
    "out": "residual",
    "down": "residual",
}


def role(path: tuple[str, ...]) -> str:
    """The role of a parameter from its path."""
    if path[-1] in ("bias", "scale"):
        return "norm" if path[-1] == "scale" else "bias"
    return ROLES[path[-2]]


def asked(init: Any, shape: tuple[int, ...]) -> float:
    """The standard deviation an initializer promises for a shape."""
    if hasattr(init, "layout"):
        return init.stddev(shape)
    return getattr(init, "stddev", 0.0)


def report(params: Any, schemes: Schemes) -> Table:
    """A row for each parameter of the embeddings, the first block and the end."""
    table = Table(title="GPT-2 small, by jaxinit", title_justify="left")
    for heading in ("path", "shape", "dtype", "scheme", "fan_in", "std asked", "measured"):
        right = heading in ("fan_in", "std asked", "measured")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "scheme")
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = tuple(key.key for key in keys)
        if path[0].startswith("block_") and path[0] != "block_00":
            continue
        init = getattr(schemes, role(path))
        fan = f"{jaxinit.fans(leaf.shape).fan_in:.0f}" if path[-1] == "kernel" else ""
        table.add_row(
            "/".join(path),
            "x".join(map(str, leaf.shape)),
            str(leaf.dtype),
            repr(init),
            fan,
            f"{asked(init, leaf.shape):.5f}",
            f"{float(leaf.std()):.5f}",
        )
    return table


def timed(schemes: Schemes) -> tuple[Any, float, float]:
    """(parameters, seconds of the first call, seconds of the second)."""
    init = jax.jit(GPT2(schemes).init)
    seconds = []
    for seed in (0, 1):
        start = time.perf_counter()
        params = jax.block_until_ready(init(jax.random.key(seed), jnp.zeros((1, 16), jnp.int32)))
        seconds.append(time.perf_counter() - start)
    return params["params"], seconds[0], seconds[1]


def main() -> None:
    """Initialise, show, compare."""
    console, layers = Console(width=120), GPT2.layers
    params, first, again = timed(ours(layers))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    _, their_first, their_again = timed(theirs(layers))
    console.print(report(params, ours(layers)))
    console.print(f"... and blocks 01 to {layers - 1} likewise: {count / 1e6:.1f} M parameters\n")
    table = Table(title="jit(model.init), seconds", title_justify="left")
    for heading in ("", "first call, with compilation", "again", "M parameters/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one, two in (
        ("jaxinit", first, again),
        ("jax.nn.initializers", their_first, their_again),
    ):
        table.add_row(name, f"{one:.2f}", f"{two:.2f}", f"{count / two / 1e6:.0f}")
    console.print(table)
    assert math.isclose(count, 124_439_808)


if __name__ == "__main__":
    main()

"""Two tables of docs/choosing.md: relu layers of different sizes, and fifty layers in theory.

python docs/widths.py  # prints them
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Literal, get_args

import jax
import jax.numpy as jnp

import jaxinit
from jaxinit import initializers

BATCH, SEEDS, DEPTH = 512, range(5), 50
WIDTHS = (
    (256, 4096), (4096, 256), (256, 4096, 256, 4096, 256), (4096, 1024, 256, 64),
    (64, 256, 1024, 4096),
)  # fmt: skip
Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]


def passes(widths: tuple[int, ...], mode: Mode, seed: int) -> tuple[float, float]:
    """By how much relu layers change the second moment forward, and the gradient's backward."""
    init = initializers.variance_scaling(2.0, mode, "normal")
    x_key, g_key, *keys = jax.random.split(jax.random.key(seed), 1 + len(widths))
    kernels = [init(key, shape) for key, shape in zip(keys, pairwise(widths), strict=True)]

    def network(x: jax.Array) -> jax.Array:
        for kernel in kernels:
            x = jax.nn.relu(x) @ kernel
        return x

    x = jax.random.normal(x_key, (BATCH, widths[0]))
    y, pull = jax.vjp(network, x)
    gradient = jax.random.normal(g_key, y.shape)
    backward = jnp.mean(pull(gradient)[0] ** 2) / jnp.mean(gradient**2)
    return float(jnp.mean(y**2) / jnp.mean(x**2)), float(backward)


def widths_table() -> None:
    """Medians over seeds: forward, backward for each mode."""
    for widths in WIDTHS:
        cells = []
        for mode in get_args(Mode):
            both = zip(*(passes(widths, mode, seed) for seed in SEEDS), strict=True)
            cells.append(", ".join(f"{statistics.median(values):.2g}" for values in both))
        print(f"| {' → '.join(map(str, widths))} | {' | '.join(cells)} |")


def variance(name: str, scale: float, start: float) -> float:
    """The variance of the pre-activations after fifty layers, by mean field."""
    for _ in range(DEPTH):
        start = scale * jaxinit.mean_field(name, start).moment
    return start


def depth_table() -> None:
    """He's scale from 1, and the exact scale from 1 and from 1.1."""
    for name in ("gelu", "silu", "mish"):
        exact = jaxinit.gain(name) ** 2
        cells = [variance(name, s, q) for s, q in ((2.0, 1.0), (exact, 1.0), (exact, 1.1))]
        print(f"| {name} | {' | '.join(f'{cell:.2g}' for cell in cells)} |")


if __name__ == "__main__":
    widths_table()
    depth_table()

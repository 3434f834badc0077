"""Fifty layers deep: the second moment of the signal stays, whatever the kind of layer.

python tests/test_depth.py  # the table, with tanh and sigmoid next to mean-field theory
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinit
from jaxinit import linen

DEPTH, SEEDS = 50, range(5)
ACTIVATIONS = ["relu", "leaky_relu", "elu", "selu"]


def vectors(key, width):
    return jax.random.normal(key, (64, width))


def images(key, width):
    return jax.random.normal(key, (4, 8, 8, width))


def circular(width, activation, **options):
    return linen.Conv(width, (3, 3), padding="CIRCULAR", activation=activation, **options)


class Up(nn.Module):
    """A transposed convolution of stride 2, then every second pixel: each sums one phase."""

    width: int
    activation: str

    @nn.compact
    def __call__(self, x):
        layer = linen.ConvTranspose(
            self.width, (4, 4), (2, 2), padding="CIRCULAR", activation=self.activation
        )
        return layer(x)[:, ::2, ::2]


KINDS = {
    "Dense": (2048, vectors, lambda w, a: linen.Dense(w, activation=a)),
    "DenseGeneral": (
        1024, lambda key, w: vectors(key, w).reshape(8, 8, w),
        lambda w, a: linen.DenseGeneral(w, batch_dims=(0,), activation=a),
    ),
    "Einsum": (
        2048, lambda key, w: vectors(key, w).reshape(64, 16, w // 16),
        lambda w, a: linen.Einsum((16, w // 16, 16, w // 16), "bhd,hdij->bij", activation=a),
    ),
    "Conv": (512, images, circular),
    "Conv, depthwise": (512, images, lambda w, a: circular(w, a, feature_group_count=w)),
    "Conv, 8 groups": (512, images, lambda w, a: circular(w, a, feature_group_count=8)),
    "ConvLocal": (
        512, lambda key, w: jax.random.normal(key, (4, 4, 4, w)),
        lambda w, a: linen.ConvLocal(w, (1, 1), activation=a),
    ),
    "ConvTranspose": (512, images, Up),
}  # fmt: skip


def ratio(kind, activation, seed):
    """E[y^2] after fifty layers over E[x^2]."""
    width, inputs, make = KINDS[kind]
    layer = make(width, activation)

    @jax.jit
    def step(key, x):
        return layer.init_with_output(key, x)[0]

    key = jax.random.key(seed)
    x = inputs(key, width)
    before = jnp.mean(x**2)
    for depth in range(DEPTH):
        x = step(jax.random.fold_in(key, depth), x)
    return float(jnp.mean(x**2) / before)


def ratios(kind, activation):
    return [ratio(kind, activation, seed) for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_second_moment_stays(kind, activation):
    assert 0.5 <= np.median(ratios(kind, activation)) <= 2


def test_ten_layers_of_relu_keep_it():
    layer = linen.Dense(512, activation="relu")
    x = vectors(jax.random.key(1), 512)
    y = x
    for depth in range(10):
        y = layer.init_with_output(jax.random.key(depth), y)[0]
    assert 0.6 < float(jnp.mean(y**2) / jnp.mean(x**2)) < 1.6


def predicted(activation, second=1.0):
    """E[y^2] after fifty layers of infinite width: q <- scale E[phi(sqrt(q) z)^2]."""
    z, weight = np.polynomial.hermite_e.hermegauss(201)
    weight = weight / weight.sum()
    function = getattr(jax.nn, activation)
    scale = jaxinit.recommend(activation).initializer.scale
    for _ in range(DEPTH):
        second = float(weight @ np.asarray(function(np.sqrt(scale * second) * z)) ** 2)
    return second


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="E[y^2] / E[x^2] after 50 layers: median of five seeds (least, most)")
    table.add_column("layer")
    for name in (*ACTIVATIONS, "tanh", "sigmoid"):
        table.add_column(name, justify="right")
    console = Console(width=130)
    for kind in KINDS:
        cells = []
        for activation in (*ACTIVATIONS, "tanh", "sigmoid"):
            found = ratios(kind, activation)
            cells.append(f"{np.median(found):.3g} ({min(found):.2g}, {max(found):.2g})")
        table.add_row(kind, *cells)
    theory = [f"{predicted(name):.3g}" for name in (*ACTIVATIONS, "tanh", "sigmoid")]
    table.add_row("mean field", *theory)
    console.print(table)


if __name__ == "__main__":
    main()

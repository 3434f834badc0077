"""Fifty layers deep: the second moment of the signal stays, whatever the kind of layer.

python tests/layers/test_layer_depth.py  # the table, with tanh and sigmoid next to theory
"""

from __future__ import annotations

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinit
from jaxinit import initializers, linen
from jaxinit._layers import function_of

DEPTH, SEEDS = 50, range(5)
# The field's advice for elu is He's 2/fan_in, which grows (mean field: 18); its gain is held.
EXACT_ELU = initializers.variance_scaling(jaxinit.gain("elu") ** 2, "fan_in", "truncated_normal")
ACTIVATIONS = ["relu", "leaky_relu", "prelu", "selu", "elu by its gain"]


def vectors(key, width):
    return jax.random.normal(key, (64, width))


def images(key, width):
    """One image: more tell the same, as the signal of one network differs little between images."""
    return jax.random.normal(key, (1, 8, 8, width))


def circular(width, how, **options):
    return linen.Conv(width, (3, 3), padding="CIRCULAR", **how, **options)


class Separable(nn.Module):
    """A depthwise convolution and a pointwise one: nine terms a channel are too few alone."""

    width: int
    how: dict

    @nn.compact
    def __call__(self, x):
        x = circular(self.width, self.how, feature_group_count=self.width)(x)
        return linen.Conv(self.width, (1, 1), **self.how)(x)


class Up(nn.Module):
    """A transposed convolution of stride 2, then every second pixel: each sums one phase."""

    width: int
    how: dict

    @nn.compact
    def __call__(self, x):
        layer = linen.ConvTranspose(self.width, (4, 4), (2, 2), padding="CIRCULAR", **self.how)
        return layer(x)[:, ::2, ::2]


KINDS = {
    "Dense": (2048, vectors, lambda w, a: linen.Dense(w, **a)),
    "DenseGeneral": (
        1024, lambda key, w: vectors(key, w).reshape(8, 8, w),
        lambda w, a: linen.DenseGeneral(w, batch_dims=(0,), **a),
    ),
    "Einsum": (
        2048, lambda key, w: vectors(key, w).reshape(64, 16, w // 16),
        lambda w, a: linen.Einsum((16, w // 16, 16, w // 16), "bhd,hdij->bij", **a),
    ),
    "Conv": (512, images, circular),
    # The signal's typical size falls with depth over width, below its mean: at 512 the medians were
    # 0.21 for relu here, and 0.32 for eight groups, each of them a network 64 wide.
    "Conv, depthwise and pointwise": (2048, images, Separable),
    "Conv, 2 groups": (1024, images, lambda w, a: circular(w, a, feature_group_count=2)),
    "ConvLocal": (
        512, lambda key, w: jax.random.normal(key, (4, 4, 4, w)),
        lambda w, a: linen.ConvLocal(w, (1, 1), **a),
    ),
    "ConvTranspose": (512, images, Up),
}  # fmt: skip


@cache
def layer_step(kind, activation):
    """A layer with fresh weights, compiled once for all depths and seeds."""
    width, _, make = KINDS[kind]
    name, exact = activation.partition(" ")[0], " " in activation
    layer = make(width, {"activation": name, "kernel_init": EXACT_ELU if exact else None})
    return jax.jit(lambda key, x: layer.init_with_output(key, x)[0])


def ratio(kind, activation, seed):
    """E[y^2] after fifty layers over E[x^2]."""
    width, inputs, make = KINDS[kind]
    step = layer_step(kind, activation)
    key = jax.random.key(seed)
    x = inputs(key, width)
    before = jnp.mean(x**2)
    for depth in range(DEPTH // 2 if make is Separable else DEPTH):
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
    name = activation.partition(" ")[0]
    function = function_of("predicted", name)
    scale = (EXACT_ELU if " " in activation else jaxinit.for_activation(name)).scale
    for _ in range(DEPTH):
        second = float(weight @ np.asarray(function(np.sqrt(scale * second) * z)) ** 2)
    return second


def main() -> None:
    """E[y^2] / E[x^2] after fifty layers: the median of five seeds (the least, the most)."""
    names = (*ACTIVATIONS, "elu", "tanh", "sigmoid")
    line = "{:30}" + " {:>22}" * len(names)
    print(line.format("", *names))
    print(line.format("mean field", *(f"{predicted(name):.3g}" for name in names)))
    for kind in KINDS:
        found = [ratios(kind, name) for name in names]
        cells = [f"{np.median(r):.3g} ({min(r):.2g}, {max(r):.2g})" for r in found]
        print(line.format(kind, *cells), flush=True)


if __name__ == "__main__":
    main()

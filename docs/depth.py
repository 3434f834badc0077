"""The picture of docs/choosing.md: signal and gradient through fifty layers.

python docs/depth.py  # writes docs/depth.png
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import jaxinit
from jaxinit import Initializer, initializers

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DEPTH, WIDTH, BATCH = 50, 1024, 128
Function = Callable[[jax.Array], jax.Array]


def layer_norm(x: jax.Array) -> jax.Array:
    """Each example to mean 0 and variance 1."""
    return jax.nn.standardize(x, axis=-1)


def batch_norm(x: jax.Array) -> jax.Array:
    """Each feature to mean 0 and variance 1 over the batch."""
    return jax.nn.standardize(x, axis=0)


def identity(x: jax.Array) -> jax.Array:
    return x


# Title -> activation and what stands before it.
COLUMNS: dict[str, tuple[str, Function]] = {
    "relu\n(recommended:\nhe_normal())": ("relu", identity),
    "gelu\n(recommended:\nvariance 2.35/fan_in)": ("gelu", identity),
    "tanh\n(recommended:\nglorot_normal())": ("tanh", identity),
    "relu after layer norm\n(all four lines\ncoincide)": ("relu", layer_norm),
    "relu after batch norm\n(all four lines\ncoincide)": ("relu", batch_norm),
}
FIXED = {  # label -> initializer, colour (Okabe & Ito, told apart by the colour-blind)
    "normal(0.02)": (initializers.normal(0.02), "#D55E00"),
    "glorot_normal()": (initializers.glorot_normal(), "#E69F00"),
    "he_normal()": (initializers.he_normal(), "#56B4E9"),
}
RECOMMENDED = ("what recommend(activation) gives", "#000000")
BAND = "within a factor of two"


def signal(
    init: Initializer, activation: str, normalise: Function
) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square of the signal after each layer, and of the gradient before it."""
    function = getattr(jax.nn, activation)

    @jax.jit
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return function(normalise(x @ kernel))

    @jax.jit
    def backward(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: forward(x, kernel), x)[1](gradient)[0]

    key = jax.random.key(0)
    x = jax.random.normal(jax.random.fold_in(key, DEPTH), (BATCH, WIDTH))
    kernels = [init(jax.random.fold_in(key, i), (WIDTH, WIDTH)) for i in range(DEPTH)]
    before = [x]
    for kernel in kernels:
        before.append(forward(before[-1], kernel))
    gradient = jax.random.normal(jax.random.fold_in(key, DEPTH + 1), x.shape)
    gradients = [gradient]
    for x, kernel in zip(before[-2::-1], kernels[::-1], strict=True):
        gradients.append(backward(x, kernel, gradients[-1]))
    return _rms(before), _rms(gradients[::-1])


def _rms(arrays: list[jax.Array]) -> np.ndarray:
    return np.asarray([float(jnp.sqrt(jnp.mean(a**2))) for a in arrays])


def main() -> None:
    """Draw it."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(
        2, len(COLUMNS), figsize=(12, 5.6), sharex=True, sharey=True, layout="constrained"
    )
    for column, (title, (activation, normalise)) in enumerate(COLUMNS.items()):
        chosen = jaxinit.for_activation(activation)
        lines = {**FIXED, RECOMMENDED[0]: (chosen, RECOMMENDED[1])}
        for label, (init, colour) in lines.items():
            for row, values in enumerate(signal(init, activation, normalise)):
                same = label != RECOMMENDED[0] and init == chosen
                width = 1.2 if label != RECOMMENDED[0] else 2.0
                if not same:
                    axes[row, column].semilogy(values, color=colour, linewidth=width, label=label)
        axes[0, column].set_title(title, fontsize=9)
        axes[1, column].set_xlabel("layer")
    for row, what in enumerate(("signal after the layer", "gradient before the layer")):
        axes[row, 0].set_ylabel(f"{what},\nroot mean square")
        for panel in axes[row]:
            panel.axhspan(0.5, 2, color="#000000", alpha=0.08, linewidth=0, label=BAND)
            panel.set_ylim(1e-6, 1e5)
            panel.set_xlim(0, DEPTH)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(pathlib.Path(__file__).with_name("depth.png"), dpi=110)


if __name__ == "__main__":
    main()

"""Two small modern networks on a small real task: does the initialization change the training?

    python -m benchmarks.digits_models                          # the table; some four minutes
    python -m benchmarks.digits_models --figure docs/digits.png    # and its picture

scikit-learn's digits (1,437 images of 8 x 8 to train on, 360 to test): a network of residual
convolutions without normalization and a small vision transformer, each from Flax's defaults and
from two rules of autoinit. Adam at one rate for all, the same 200 batches of 32, five seeds. No
setting was chosen by looking at the results.
"""

from __future__ import annotations

import argparse
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import jaxinit

from .digits import Part, data

SEEDS, STEPS, BATCH, RATE, EVERY = 5, 200, 32, 1e-3, 20
STARTS = {
    "own": "Flax's defaults",
    "standard": "autoinit, standard",
    "critical": "autoinit, critical",
}


class ResNet(nn.Module):
    """Five residual blocks of two convolutions, without normalization."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(16, (3, 3), name="stem")(x)
        for width, stride in ((16, 1), (16, 1), (32, 2), (32, 1), (32, 1)):
            y = nn.Conv(width, (3, 3), stride)(nn.relu(x))
            y = nn.Conv(width, (3, 3))(nn.relu(y))
            x = (x if x.shape == y.shape else nn.Conv(width, (1, 1), stride)(x)) + y
        return nn.Dense(10, name="head")(nn.relu(x).mean((1, 2)))


class Vit(nn.Module):
    """Sixteen patches of 2 x 2, four blocks of width 32."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(32, (2, 2), (2, 2), name="patches")(x).reshape(x.shape[0], 16, 32)
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, 16, 32))
        for _ in range(4):
            x = x + nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x))
            y = nn.gelu(nn.Dense(64)(nn.LayerNorm()(x)))
            x = x + nn.Dense(32)(y)
        return nn.Dense(10, name="head")(nn.LayerNorm()(x).mean(1))


MODELS: dict[str, nn.Module] = {"residual convolutions": ResNet(), "vision transformer": Vit()}


def start(model: nn.Module, how: str, seed: int, x: Any) -> Any:
    """Parameters by Flax's defaults, or by a rule of autoinit."""
    key = jax.random.key(seed)
    if how == "own":
        return model.init(key, x)
    shapes = jax.eval_shape(model.init, key, x)
    return jaxinit.autoinit(key, model.apply, shapes, x, rule=how, check=False)  # type: ignore[arg-type]


def curves(model: nn.Module, sets: tuple[Part, Part]) -> dict[str, np.ndarray]:
    """For each start, the test accuracy of each seed after every so many steps."""
    (images, labels), (unseen, truth) = (
        (jnp.asarray(part.images.reshape(-1, 8, 8, 1)), jnp.asarray(part.labels)) for part in sets
    )
    optimizer = optax.adam(RATE)

    def loss(params: Any, batch: Any) -> Any:
        logits = model.apply(params, images[batch])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

    @jax.jit
    def step(params: Any, held: Any, batch: Any) -> tuple[Any, Any]:
        changes, held = optimizer.update(jax.grad(loss)(params, batch), held)
        return optax.apply_updates(params, changes), held

    @jax.jit
    def accuracy(params: Any) -> Any:
        return jnp.mean(jnp.argmax(model.apply(params, unseen), -1) == truth)

    def run(params: Any, batches: np.ndarray) -> list[float]:
        held, found = optimizer.init(params), [float(accuracy(params))]
        for part in batches:
            for batch in part:  # a loop in Python: in one of JAX, convolutions are slow on a CPU
                params, held = step(params, held, batch)
            found.append(float(accuracy(params)))
        return found

    orders = [
        np.random.default_rng(seed).integers(0, len(images), (STEPS // EVERY, EVERY, BATCH))
        for seed in range(SEEDS)
    ]
    return {
        how: np.array(
            [run(start(model, how, s, images[:1]), orders[s]) for s in range(SEEDS)], np.float64
        )
        for how in STARTS
    }


def figure(found: dict[str, dict[str, np.ndarray]], path: str) -> None:
    """Test error by step: the median of the seeds, and the band from the best to the worst."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(found), figsize=(9, 3.6), sharey=True, layout="constrained")
    steps = np.arange(STEPS // EVERY + 1) * EVERY
    for axis, (name, each) in zip(axes, found.items(), strict=True):
        for (how, seeds), colour in zip(
            each.items(), ("#E69F00", "#0072B2", "#009E73"), strict=True
        ):
            error = 1 - seeds
            axis.plot(steps, np.median(error, 0), color=colour, label=STARTS[how])
            axis.fill_between(
                steps, error.min(0), error.max(0), color=colour, alpha=0.2, linewidth=0
            )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("training step")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    axes[0].set_yticks(
        [0.02, 0.05, 0.1, 0.2, 0.5, 1], ["2 %", "5 %", "10 %", "20 %", "50 %", "100 %"]
    )
    axes[0].minorticks_off()
    axes[0].set_ylabel("test error; band: five seeds")
    axes[0].legend(frameon=False, fontsize=9)
    fig.savefig(path, dpi=150)


def main() -> None:
    """Train from each start, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", help="where to draw the picture")
    chosen = parser.parse_args()
    sets = data()
    train = Part(*(np.concatenate(pair) for pair in zip(*sets[:2], strict=True)))
    found = {name: curves(model, (train, sets.test)) for name, model in MODELS.items()}
    table = Table("network", "start", "after 100 steps", "after 200", "five seeds, after 200")
    for name, each in found.items():
        for how, seeds in each.items():
            early, late = np.median(seeds[:, 100 // EVERY]), np.median(seeds[:, -1])
            last = ", ".join(f"{100 * x:.1f}" for x in seeds[:, -1])
            table.add_row(name, STARTS[how], f"{early:.1%}", f"{late:.1%}", last)
    Console(width=110).print(table)
    if chosen.figure:
        figure(found, chosen.figure)


if __name__ == "__main__":
    main()

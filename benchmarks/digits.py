"""A deep plain network on a small real task: does it train from its initialization?

    python -m benchmarks.digits

scikit-learn's digits (1,797 images of 8 x 8, no download): a 30-layer MLP of width 128, plain SGD
without momentum, its rate going down to zero in a line, five seeds. Every start is given the same
first rates; the one with the best median on the validation set is kept, and with it the network
is trained again, on the validation images too. Only then is the test set looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinit

DEPTH, WIDTH, BATCH, EPOCHS = 30, 128, 64, 50
RATES = (0.01, 0.03, 0.1)
SEEDS = 5
STARTS = ("critical", "standard", "flax")
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": nn.relu, "tanh": nn.tanh}


class Mlp(nn.Module):
    """Thirty layers, and the logits."""

    activation: Callable[[Any], Any]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(DEPTH - 1):
            x = self.activation(nn.Dense(WIDTH)(x))
        return nn.Dense(10)(x)


class Part(NamedTuple):
    """Standardized images, and which digits they are."""

    images: np.ndarray
    labels: np.ndarray


class Data(NamedTuple):
    """1,197 images to train on, 240 to choose the learning rate by, 360 to test."""

    train: Part
    validation: Part
    test: Part


def data() -> Data:
    """scikit-learn's digits in three, standardized by the first."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x, y, test_size=360, random_state=0, stratify=y)
    x, held_x, y, held_y = train_test_split(x, y, test_size=240, random_state=0, stratify=y)
    parts = ((x, y), (held_x, held_y), (test_x, test_y))
    return Data(*(Part((images - x.mean()) / x.std(), labels) for images, labels in parts))


def start(model: Mlp, rule: str, seed: int, x: Any) -> Any:
    """Parameters as a rule of autoinit, or Flax's defaults, make them."""
    key = jax.random.key(seed)
    if rule == "flax":
        return model.init(key, x)
    shapes = jax.eval_shape(model.init, key, x)
    return jaxinit.autoinit(key, model.apply, shapes, x, rule=rule)


def trained(model: Mlp, params: Any, rate: Any, seed: Any, train: Part, unseen: Part) -> Any:
    """Accuracy on what was not trained on, after the last epoch."""
    images, labels = map(jnp.asarray, train)
    steps = len(images) // BATCH

    def loss(params: Any, batch: Any) -> Any:
        logits = model.apply(params, images[batch])
        return -jnp.take_along_axis(nn.log_softmax(logits), labels[batch][:, None], 1).mean()

    def step(params: Any, now: Any) -> tuple[Any, None]:
        left, batch = now
        gradients = jax.grad(loss)(params, batch)
        return jax.tree.map(lambda p, g: p - left * rate * g, params, gradients), None

    def order(key: Any) -> Any:
        return jax.random.permutation(key, len(images))[: steps * BATCH].reshape(steps, BATCH)

    batches = jax.vmap(order)(jax.random.split(jax.random.key(seed), EPOCHS)).reshape(-1, BATCH)
    left = 1 - jnp.arange(len(batches)) / len(batches)
    params, _ = jax.lax.scan(step, params, (left, batches))
    return jnp.mean(jnp.argmax(model.apply(params, unseen.images), -1) == unseen.labels)


class Row(NamedTuple):
    """The rate that the validation set chose, and each seed's accuracy on it and on the test."""

    rate: float
    validation: list[float]
    test: list[float]


def accuracies(name: str, rule: str, sets: Data) -> Row:
    """Five seeds at the learning rate with the best median validation accuracy."""
    model = Mlp(ACTIVATIONS[name])
    starts = [start(model, rule, seed, sets.train.images[:1]) for seed in range(SEEDS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)

    @jax.jit
    def run(rate: Any, train: Part, unseen: Part) -> Any:
        one = lambda params, seed: trained(model, params, rate, seed, train, unseen)  # noqa: E731
        return jax.vmap(one)(stacked, jnp.arange(SEEDS))

    tried = {rate: np.asarray(run(rate, sets.train, sets.validation)).tolist() for rate in RATES}
    best = max(tried, key=lambda rate: float(np.median(tried[rate])))
    both = Part(*(np.concatenate(pair) for pair in zip(*sets[:2], strict=True)))
    return Row(best, tried[best], np.asarray(run(best, both, sets.test)).tolist())


def main() -> None:
    """Train from each start, print the table."""
    sets = data()
    title = f"digits, {DEPTH} layers, SGD: test accuracy by seed"
    table = Table(title=title, title_justify="left")
    seeds = map(str, range(SEEDS))
    for heading in ("activation", "start", "rate", "validation", *seeds, "median"):
        table.add_column(heading, justify="left" if heading in ("activation", "start") else "right")
    for name in ACTIVATIONS:
        for rule in STARTS:
            row = accuracies(name, rule, sets)
            print(name, rule, row, flush=True)
            shares = (float(np.median(row.validation)), *row.test, float(np.median(row.test)))
            table.add_row(name, rule, f"{row.rate:g}", *(f"{x:.1%}" for x in shares))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

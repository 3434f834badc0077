"""A deep plain network on a small real task: does it train from where it starts?

    python -m benchmarks.digits

scikit-learn's digits (1,797 images of 8 x 8, no download): a 30-layer MLP of width 128, plain SGD
without momentum, the same learning rates tried for every start and the best reported, five seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinit

Sets = tuple[Any, Any, Any, Any]  # train, labels, test, answers

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


def data() -> Sets:
    """Standardized images and labels: 1,437 to train on, 360 to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    split = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    train, test, labels, answers = (np.asarray(part) for part in split)
    mean, std = train.mean(), train.std()
    return (train - mean) / std, labels, (test - mean) / std, answers


def start(model: Mlp, rule: str, seed: int, x: Any) -> Any:
    """Parameters as a rule of autoinit, or Flax's defaults, make them."""
    key = jax.random.key(seed)
    if rule == "flax":
        return model.init(key, x)
    shapes = jax.eval_shape(model.init, key, x)
    return jaxinit.autoinit(key, model.apply, shapes, x, rule=rule)


def trained(
    model: Mlp, params: Any, rate: float, seed: int, sets: tuple[Any, Any, Any, Any]
) -> Any:
    """Test accuracy after the last epoch."""
    train, labels, test, answers = map(jnp.asarray, sets)
    steps = len(train) // BATCH

    def loss(params: Any, batch: Any) -> Any:
        logits = model.apply(params, train[batch])
        return -jnp.take_along_axis(nn.log_softmax(logits), labels[batch][:, None], 1).mean()

    def step(params: Any, batch: Any) -> tuple[Any, None]:
        gradients = jax.grad(loss)(params, batch)
        return jax.tree.map(lambda p, g: p - rate * g, params, gradients), None

    def epoch(params: Any, key: Any) -> tuple[Any, None]:
        order = jax.random.permutation(key, len(train))[: steps * BATCH].reshape(steps, BATCH)
        return jax.lax.scan(step, params, order)[0], None

    params, _ = jax.lax.scan(epoch, params, jax.random.split(jax.random.key(seed), EPOCHS))
    return jnp.mean(model.apply(params, test).argmax(-1) == answers)


def accuracies(name: str, rule: str, sets: Sets) -> tuple[float, list[float]]:
    """The learning rate with the best median, and the test accuracy of each seed at it."""
    model = Mlp(ACTIVATIONS[name])
    starts = [start(model, rule, seed, sets[0][:1]) for seed in range(SEEDS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)

    @jax.jit
    def run(rate: Any) -> Any:
        one = lambda params, seed: trained(model, params, rate, seed, sets)  # noqa: E731
        return jax.vmap(one)(stacked, jnp.arange(SEEDS))

    found = {rate: np.asarray(run(rate)).tolist() for rate in RATES}
    best = max(found, key=lambda rate: float(np.median(found[rate])))
    return best, found[best]


def main() -> None:
    """Train from each start, print the table."""
    sets = data()
    table = Table(title=f"digits, {DEPTH} layers, SGD: test accuracy by seed", title_justify="left")
    for heading in ("activation", "start", "rate", *map(str, range(SEEDS)), "median"):
        table.add_column(heading, justify="left" if heading.isalpha() else "right")
    for name in ACTIVATIONS:
        for rule in STARTS:
            rate, found = accuracies(name, rule, sets)
            print(name, rule, rate, found, flush=True)
            cells = [f"{x:.1%}" for x in (*found, float(np.median(found)))]
            table.add_row(name, rule, f"{rate:g}", *cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

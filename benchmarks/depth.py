"""Signal through deep plain networks: autoinit's critical rule beside Flax's defaults.

    python -m benchmarks.depth            # prints the table, writes docs/signal.png
    python -m benchmarks.depth --quick    # two seeds, a tenth of the size, no files

What was measured is kept in benchmarks/depth.json; only what that file lacks is measured. Remove it
to measure everything again.

A 100-layer MLP of width 1,024 and a 50-layer CNN of 512 channels on 8 x 8 places, no norms and no
residual branches; medians of five seeds of what ``jaxinit.propagate`` measures and predicts. The
CNN pads around the edges, as the theory has it (Xiao et al. 2018); "zeros" is the same network with
zeros at the borders, which take a share of the signal at every layer, and "narrow" has 64 channels:
the logarithm of the signal's size wanders by a variance of about 5 depth/channels for relu, where
the theory has infinitely many.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinit

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "selu": nn.selu,
    "elu": nn.elu,
    "gelu": nn.gelu,
    "silu": nn.silu,
}
Case = tuple[str, str, str]  # network, activation, rule
Results = dict[Case, dict[str, np.ndarray]]
KEYS = ("std", "predicted", "gradient", "predicted_gradient", "cosine")
KEPT = Path(__file__).with_name("depth.json")
PICTURE = Path("docs/signal.png")


class Mlp(nn.Module):
    """Layers of one width."""

    activation: Callable[[Any], Any]
    depth: int = 100
    width: int = 1024

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.depth):
            x = self.activation(nn.Dense(self.width, name=f"layer{i:03}")(x))
        return x


class Cnn(nn.Module):
    """3 x 3 convolutions."""

    activation: Callable[[Any], Any]
    depth: int = 50
    width: int = 512
    padding: str = "CIRCULAR"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.depth):
            conv = nn.Conv(self.width, (3, 3), padding=self.padding, name=f"layer{i:03}")
            x = self.activation(conv(x))
        return x


class Study(NamedTuple):
    """A network, the shape of its input, and the rules of initialization to measure it by."""

    model: Callable[..., nn.Module]
    shape: tuple[int, ...]
    rules: tuple[str, ...] = ("critical", "flax")


def studies(quick: bool) -> dict[str, Study]:
    """The networks, or small ones like them."""
    if quick:
        return {
            "mlp": Study(functools.partial(Mlp, depth=12, width=128), (32, 128)),
            "cnn": Study(functools.partial(Cnn, depth=6, width=16), (4, 8, 8, 3)),
        }
    images = (4, 8, 8, 3)
    return {
        "mlp": Study(Mlp, (32, 1024)),
        "cnn": Study(Cnn, images),
        "zeros": Study(functools.partial(Cnn, padding="SAME"), images, ("critical",)),
        "narrow": Study(functools.partial(Cnn, width=64), images, ("critical",)),
    }


def measured(study: Study, name: str, rule: str, seeds: int) -> dict[str, np.ndarray]:
    """The medians over seeds of each layer's numbers, by the keys of a report's rows."""
    model = study.model(ACTIVATIONS[name])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(study.shape))
    runs = []
    for seed in range(seeds):
        key, data = jax.random.split(jax.random.key(seed))
        x = jax.random.normal(data, study.shape)
        if rule == "flax":
            params = jaxinit.materialize(model.init, key, x)
        else:
            params = jaxinit.autoinit(key, model.apply, shapes, x, rule=rule)
        rows = jaxinit.propagate(model.apply, params, x).rows
        runs.append([[row[k] if row[k] is not None else np.nan for k in KEYS] for row in rows])
    medians = np.median(np.array(runs, np.float64), 0)
    return {k: medians[:, i] for i, k in enumerate(KEYS)}


def table(results: Results) -> Table:
    """The extremes over depth, and how far from predicted the first ten layers are."""
    found = Table(title="signal through depth, medians over seeds", title_justify="left")
    for heading in ("network", "activation", "rule"):
        found.add_column(heading)
    for heading in ("forward std", "prediction off by", "gradient std", "prediction off by"):
        found.add_column(heading, justify="right")
    for case, m in results.items():
        cells = []
        for key, off in zip(("std", "gradient"), errors(m), strict=True):
            cells += [f"{m[key].min():.3g} to {m[key].max():.3g}", f"{off:.1%}"]
        found.add_row(*case, *cells)
    return found


def errors(m: dict[str, np.ndarray]) -> tuple[float, float]:
    """How far predictions are off, at most, at the first ten layers that a signal comes through.

    Forward these are the layers next to the input; for a gradient, those next to the loss (the
    last has no prediction: it is where the gradient starts).
    """
    forward = np.abs(m["std"] / m["predicted"] - 1)[:10]
    gradient = np.abs(m["gradient"] / m["predicted_gradient"] - 1)[-11:-1]
    return float(forward.max()), float(gradient.max())


_NETWORKS = {"mlp": "100-layer MLP", "cnn": "50-layer CNN"}
_STARTS = {"flax": "Flax's defaults", "critical": 'autoinit, rule "critical"'}


def figure(results: Results, path: Path) -> None:
    """Forward and gradient std by depth: points measured, lines predicted, Flax's in grey."""
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(network for network, _, _ in results))
    fig = Figure(figsize=(13, 3.1 * 2 * len(networks)), layout="constrained")
    grid = fig.subplots(2 * len(networks), len(ACTIVATIONS), sharey="row", squeeze=False)
    for n, network in enumerate(networks):
        for column, name in enumerate(ACTIVATIONS):
            for offset, (key, predicted) in enumerate(
                (("std", "predicted"), ("gradient", "predicted_gradient"))
            ):
                axis = grid[2 * n + offset, column]
                _panel(axis, results, network, name, key, predicted)
                if offset == 0:
                    axis.set_title(f"{name}, {_NETWORKS.get(network, network)}", fontsize=10)
        grid[2 * n, 0].set_ylabel("signal, standard deviation")
        grid[2 * n + 1, 0].set_ylabel("gradient, standard deviation")
    for axis in grid[-1]:
        axis.set_xlabel("layer")
    shown = {}
    for axis in grid[:2, 0]:  # whose bands differ
        shown |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    fig.legend(shown.values(), shown, loc="outside lower center", ncols=3, frameon=False)
    fig.savefig(path, dpi=110)


def _panel(
    axis: Any,
    results: Results,
    network: str,
    name: str,
    key: str,
    predicted: str,
) -> None:
    what, high = ("signal", 2.0) if key == "std" else ("gradient", 4.0)
    low, band = 1 / high, f"band of the {what}: a factor of {high:g} either way"
    axis.axhspan(low, high, color="#2b5c8a", alpha=0.08, linewidth=0, label=band)
    for rule, colour in (("flax", "#999999"), ("critical", "#2b5c8a")):
        m = results[network, name, rule]
        depth = np.arange(1, len(m[key]) + 1)
        line = "#c44e52" if rule == "critical" else "#bbbbbb"
        start = _STARTS[rule]
        axis.plot(depth, m[predicted], color=line, linewidth=1.2, label=f"{start}, predicted")
        axis.plot(depth, m[key], ".", color=colour, markersize=3, label=f"{start}, measured")
    axis.set_yscale("log")
    axis.set_ylim(1e-4, 1e2)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def read(path: Path) -> Results:
    """What was kept."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    found = {}
    for name, m in kept.items():
        network, activation, rule = name.split()
        found[network, activation, rule] = {k: np.array(m[k], np.float64) for k in KEYS}
    return found


def write(results: Results, path: Path) -> None:
    """Keep it, in four digits."""
    kept = {
        " ".join(case): {k: [_rounded(x) for x in m[k].tolist()] for k in KEYS}
        for case, m in results.items()
    }
    path.write_text(json.dumps(kept, indent=0).replace(",\n", ", ") + "\n")


def _rounded(x: float) -> float | None:
    return None if np.isnan(x) else float(f"{x:.4g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parsed = parser.parse_args(arguments)
    results = {} if parsed.quick else read(KEPT)
    with tempfile.TemporaryDirectory() as folder:  # seeds share what is compiled
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        for case, m in missing(results, parsed.quick):
            print(*case, *(f"{k} {m[k].min():.3g} to {m[k].max():.3g}" for k in KEYS[::2]))
            results[case] = m
            if not parsed.quick:
                write(results, KEPT)
    Console(width=130).print(table(results))
    drawn = {case: m for case, m in results.items() if case[0] in _NETWORKS}
    if not parsed.quick:
        figure(drawn, PICTURE)


def missing(results: Results, quick: bool) -> Iterator[tuple[Case, dict[str, np.ndarray]]]:
    """Measure every case that is not among the results, one after another."""
    for network, study in studies(quick).items():
        for rule in study.rules:
            for name in ACTIVATIONS:
                if (network, name, rule) not in results:
                    yield (network, name, rule), measured(study, name, rule, 2 if quick else 5)


if __name__ == "__main__":
    main()

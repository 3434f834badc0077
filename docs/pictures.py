"""The three pictures of README.md: choose, make, check.

python docs/pictures.py  # writes docs/choose.png, docs/make.png and docs/check.png
python docs/pictures.py make  # or some of them

The times in the second are four rows of the tables in docs/performance.md.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib

import jaxinit
from jaxinit import initializers

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from depth import FIXED, RECOMMENDED, identity, signal

HERE = pathlib.Path(__file__).parent
OURS, THEIRS = "#2b5c8a", "#c44e52"
TITLES = {  # of the first picture, by activation
    "relu": "dense layers with relu\n(recommended: he_normal())",
    "gelu": "dense layers with gelu\n(recommended: variance 2.35/fan_in)",
}


def choose() -> plt.Figure:
    """The signal through fifty layers of relu, and of gelu."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.5), sharey=True, layout="constrained")
    for axis, name in zip(axes, TITLES, strict=True):
        chosen = jaxinit.for_activation(name)
        lines = {**FIXED, RECOMMENDED[0]: (chosen, RECOMMENDED[1])}
        for label, (init, colour) in lines.items():
            if label == RECOMMENDED[0] or init != chosen:
                values, _ = signal(init, name, identity)
                axis.semilogy(values, color=colour, label=label, linewidth=1.6)
        axis.set(title=TITLES[name], xlabel="layer", ylim=(1e-6, 1e3))
    axes[0].set_ylabel("signal,\nroot mean square")
    figure.legend(
        *axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8,
        handlelength=1.4, columnspacing=1.4,
    )  # fmt: skip
    return figure


SHOWN = ("75", "579", "224", "896")  # how many arrays the rows of the second picture have


def times() -> list[tuple[str, float, float]]:
    """Label, seconds of materialize, seconds of jit: from the tables of trees in performance.md."""
    page = (HERE / "performance.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [\d,]+ \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE)
    sharded = re.findall(
        r"^\| (\d+), over 8 devices \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE
    )
    found = [("{} arrays", *row) for row in rows]
    found += [("{} matrices,\nsharded over 8 devices", *row) for row in sharded]
    return [(what.format(n), float(o), float(t)) for what, n, o, t in found if n in SHOWN]


def make() -> plt.Figure:
    """Seconds until a tree of parameters is there."""
    found = times()
    figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
    for offset, colour, column, label in (
        (0.2, THEIRS, 2, "jit(init)"),
        (-0.2, OURS, 1, "jaxinit.materialize, the same bits"),
    ):
        places = [i + offset for i in range(len(found))]
        bars = axis.barh(places, [row[column] for row in found], 0.38, color=colour, label=label)
        axis.bar_label(bars, fmt="%.3g s", padding=3, fontsize=8)
    axis.set_yticks(range(len(found)), [row[0] for row in found])
    axis.set(xscale="log", xlim=(0.2, 400), xlabel="seconds from nothing to ready (2-core CPU)")
    axis.legend(loc="lower right")
    return figure


def check() -> plt.Figure:
    """A model of eight layers, of which one was drawn with the wrong axes, and one with one key."""
    keys = jax.random.split(jax.random.key(0), 8)
    draw = [initializers.he_normal()] * 8
    draw[5] = initializers.he_normal(in_axis=-1, out_axis=-2)
    params = {
        f"layer_{n}": {"kernel": init(key, (256, 1024) if n % 2 == 0 else (1024, 256))}
        for n, (init, key) in enumerate(zip(draw, keys, strict=True))
    }
    params["layer_6"] = params["layer_4"]

    def apply(params: dict, x: jax.Array) -> jax.Array:
        for layer in params.values():
            x = jax.nn.relu(x @ layer["kernel"])
        return x

    report = jaxinit.audit(params, apply, jnp.ones((4, 256)))
    figure = report._figure()
    figure.set_size_inches(7, 2.7)
    return figure


def main(names: Sequence[str]) -> None:
    """Draw those that are named, or all."""
    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "axes.titlesize": 10,
    })  # fmt: skip
    for draw in (choose, make, check):
        if not names or draw.__name__ in names:
            draw().savefig(HERE / f"{draw.__name__}.png", dpi=120)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The rules of `autoinit` against models' own initialization: signal and gradient at the ends.

    python -m benchmarks.autoinit_models                  # all models of audit_zoo
    python -m benchmarks.autoinit_models --models flax    # those whose name begins so

For each model and start, three numbers of what `jaxinit.propagate` measures: the standard deviation
of what the last kernel makes; the gradient's at the first kernel over that at the last; and how far
the worst layer's standard deviation is from 1, as a factor. One seed.
"""

from __future__ import annotations

import argparse
import math
from typing import Any, NamedTuple

import jax
from rich.console import Console
from rich.table import Table

import jaxinit
from jaxinit._infer.advice import RULES

from .audit_zoo import MODELS, Model

ENDS = "signal at the end, gradient at the start, the worst layer's factor"


class Ends(NamedTuple):
    """What one start gives.

    Attributes:
      signal: the standard deviation of what the last kernel makes.
      gradient: that of the gradient at the first kernel, over that at the last.
      worst: the largest factor between 1 and the standard deviation of a layer that is not zero.
    """

    signal: float
    gradient: float
    worst: float

    def __str__(self) -> str:
        return ", ".join(f"{float(f'{x:.2g}'):g}" for x in self)


def ends(apply: Any, params: Any, inputs: Any) -> Ends:
    """Signal and gradient at the ends of a model."""
    rows = jaxinit.propagate(apply, params, *inputs).rows
    known = [row for row in rows if row["std"] > 0]
    gradients = [row["gradient"] for row in rows if row["gradient"]]
    worst = max(max(row["std"], 1 / row["std"]) for row in known)
    return Ends(rows[-1]["std"], gradients[0] / gradients[-1] if gradients else math.nan, worst)


def starts(model: Model) -> dict[str, Ends]:
    """The ends from the model's own initialization and from each rule."""
    apply, params, inputs = model.make()
    found = {"own": ends(apply, params, inputs)}
    for rule in RULES:
        made = jaxinit.autoinit(jax.random.key(1), apply, params, *inputs, rule=rule, check=False)
        found[rule] = ends(apply, made, inputs)
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="", help="only models whose name begins so")
    chosen = parser.parse_args()
    table = Table("model", "own", *RULES, title=ENDS)
    for model in MODELS():
        if not model.name.startswith(chosen.models):
            continue
        try:
            found = starts(model)
        except (TypeError, AttributeError, ValueError, ImportError) as error:
            print(f"{model.name}: cannot be run: {str(error).splitlines()[0]}")
            continue
        print(model.name, *(f"| {start}: {x}" for start, x in found.items()), flush=True)
        table.add_row(model.name, *map(str, found.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

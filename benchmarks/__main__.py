"""python -m benchmarks [--quick] [--json FILE]: the first suite, a few minutes, one table each."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from . import tensors
from .programs import take_turns


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": str(jax.devices()[0].device_kind),
        "cpus": os.cpu_count(),
    }


def show(title: str, headings: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """One table."""
    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left")
    for row in rows:
        table.add_row(*(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row))
    Console(width=100).print(table)


def run_tensors(quick: bool) -> list[dict[str, Any]]:
    """Rates of large arrays."""
    power = 20 if quick else 26
    rows = tensors.run(power, blocks=1 if quick else 4)
    show(
        f"2^{power} elements, million elements a second",
        ("scheme", "dtype", "jaxinit", "jax.nn", "ratio", "fill", "share of fill"),
        ((r.scheme, r.dtype, r.ours, r.theirs, r.ratio, r.fill, r.share) for r in rows),
    )
    return [{**row._asdict(), "ratio": row.ratio, "share": row.share} for row in rows]


def run_compiling(quick: bool) -> list[dict[str, Any]]:
    """One monolithic jit(model.init)."""
    rows = []
    for layers in (1,) if quick else (8, 32):
        contenders: list[tuple[object, ...]] = [(layers, "jaxinit"), (layers, "jax")]
        ours, theirs = take_turns("compiling", contenders, 1 if quick else 3)
        rows.append({"leaves": int(ours["leaves"]), "jaxinit": ours, "jax": theirs})
    show(
        "jit(model.init), trace + lower + compile",
        ("leaves", "jaxinit s", "jax.nn s", "ratio", "CPU-s ratio", "temp MiB", "jax.nn MiB"),
        (
            (
                row["leaves"],
                row["jaxinit"]["seconds"],
                row["jax"]["seconds"],
                row["jaxinit"]["seconds"] / row["jax"]["seconds"],
                row["jaxinit"]["cpu_seconds"] / row["jax"]["cpu_seconds"],
                row["jaxinit"]["temporaries_mib"],
                row["jax"]["temporaries_mib"],
            )
            for row in rows
        ),
    )
    return rows


def run_trees(quick: bool) -> list[dict[str, Any]]:
    """From nothing to ready parameters, stock initializers inside."""
    rows = []
    for layers in (1,) if quick else (8, 32, 64):
        contenders: list[tuple[object, ...]] = [(layers, "jaxinit"), (layers, "jit")]
        ours, theirs = take_turns("tree", contenders, 1)
        rows.append({"leaves": int(ours["leaves"]), "jaxinit": ours, "jit": theirs})
    show(
        "a transformer of d = 512 from nothing to ready, with jax.nn.initializers",
        ("leaves", "MiB", "materialize s", "jit(init) s", "ratio", "peak/params", "jit's"),
        (
            (
                row["leaves"],
                row["jaxinit"]["mib"],
                row["jaxinit"]["seconds"],
                row["jit"]["seconds"],
                row["jit"]["seconds"] / row["jaxinit"]["seconds"],
                row["jaxinit"]["peak_over_parameters"],
                row["jit"]["peak_over_parameters"],
            )
            for row in rows
        ),
    )
    return rows


def run_growth(quick: bool) -> dict[str, Any]:
    """Time that does not grow with depth: a small width at two depths."""
    depths = (1, 2) if quick else (8, 64)
    contenders: list[tuple[object, ...]] = [(layers, "jaxinit", 64) for layers in depths]
    shallow, deep = take_turns("tree", contenders, 1 if quick else 5)
    ratio = deep["seconds"] / shallow["seconds"]
    show(
        "materialize at d = 64",
        ("layers", "leaves", "seconds"),
        (
            (layers, row["leaves"], row["seconds"])
            for layers, row in zip(depths, (shallow, deep), strict=True)
        ),
    )
    return {"shallow": shallow, "deep": deep, "ratio": ratio}


def run_saving(quick: bool) -> list[dict[str, Any]]:
    """A checkpoint from nothing, against making the tree and saving it as a user would."""
    rows = []
    layers = 1 if quick else 32
    for format, other in (
        ("safetensors", "materialize + numpy + fsync"),
        ("orbax", "materialize + orbax"),
    ):
        contenders: list[tuple[object, ...]] = [(layers, format, w) for w in ("jaxinit", "user")]
        ours, theirs = take_turns("saving", contenders, 1 if quick else 5)
        rows.append({"format": format, "other": other, "jaxinit": ours, "user": theirs})
    show(
        "saving a tree",
        ("format", "Plan.save s", "against", "s", "ratio"),
        (
            (
                row["format"],
                row["jaxinit"]["seconds"],
                row["other"],
                row["user"]["seconds"],
                row["jaxinit"]["seconds"] / row["user"]["seconds"],
            )
            for row in rows
        ),
    )
    return rows


def run_limited(quick: bool) -> list[dict[str, Any]]:
    """Saving a tree three times the memory that the kernel allows."""
    mib = 1024
    rows = []
    for format in () if quick else ("safetensors", "orbax"):
        (found,) = take_turns("limited", [(format, mib)], 1)
        rows.append({"format": format, **found})
    show(
        f"saving under a memory limit of {mib} MiB",
        ("format", "tree / limit", "peak RSS, MiB", "materialize fails"),
        (
            (r["format"], r["tree_over_limit"], r["peak_mib"], bool(r["materialize_fails"]))
            for r in rows
        ),
    )
    return rows


def run_footprint(quick: bool) -> dict[str, float]:
    """First calls, memory, import time."""
    figures = {}
    for scheme, dtype in (
        ("he_uniform", "float32"),
        ("he_normal", "bfloat16"),
        ("normal", "float32"),
    ):
        (found,) = take_turns("first_call", [(scheme, dtype)], 1)
        figures[f"first call of a new shape, {scheme} {dtype}, s"] = found["seconds"]
    if not quick:
        for dtype in ("float32", "bfloat16"):
            (found,) = take_turns("memory", [(dtype,)], 1)
            figures[f"peak RSS of a 2 GiB draw / output, {dtype}"] = found["peak_over_output"]
    (found,) = take_turns("importing", [()], 1 if quick else 11)
    figures["import jaxinit / import jax"] = found["ratio"]
    show("Footprint", ("what", "figure"), figures.items())
    return figures


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--json", help="write the figures here too")
    arguments = parser.parse_args()
    quick = arguments.quick
    figures = {
        "machine": machine(),
        "tensors": run_tensors(quick),
        "compiling": run_compiling(quick),
        "trees": run_trees(quick),
        "growth": run_growth(quick),
        "saving": run_saving(quick),
        "limited": run_limited(quick),
        "footprint": run_footprint(quick),
    }
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()

"""Markdown tables and a figure from the rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .results import Row, by_case

Cell = Callable[[dict[str, Row], Row], float | None]  # of a contender's row, among its case's


def _rate(field: str, unit: float) -> Cell:
    return lambda case, row: row[field] / row["seconds"] / unit if row.get(field) else None


def _over(other: str) -> Cell:
    """How many times as fast as ``other`` the row is."""
    return lambda case, row: case[other]["seconds"] / row["seconds"] if other in case else None


def _field(name: str, unit: float = 1.0) -> Cell:
    return lambda case, row: None if row.get(name) is None else row[name] / unit


_ARRAYS: dict[str, Cell] = {
    "ms": _field("seconds", 1e-3),
    "±": _field("spread", 1e-3),
    "M elements/s": _rate("elements", 1e6),
    "GB/s": _rate("bytes", 1e9),
    "x jax": _over("jax"),
    "compile, s": _field("compile_seconds"),
    "temporaries, MiB": _field("temporary_bytes", 2**20),
    "peak, MiB": _field("peak_bytes", 2**20),
}
_PROBES: dict[str, Cell] = {"s": _field("seconds"), "±": _field("spread")}
_LEAVES: dict[str, Cell] = {**_PROBES, "arrays": _field("leaves")}
_TREES: dict[str, Cell] = {
    **_LEAVES,
    "x jit": _over("jit"),
    "first array, s": _field("first_seconds"),
    "compiling, s": _field("compile_seconds"),
    "executables": _field("executables"),
    "peak memory / parameters": _field("peak_over_parameters"),
}
TABLES: dict[str, tuple[str, dict[str, Cell]]] = {
    "verify": (
        "jaxinit verify: arrays whose bytes are compared with those promised",
        {**_PROBES, "arrays": _field("compared"), "differ": _field("differ")},
    ),
    "sizes": (
        "By size (torch's he_normal is its trunc_normal_, to the same bounds; at the largest size "
        "the slowest are left out, unless with --full)",
        _ARRAYS,
    ),
    "laws": ("By distribution and dtype", _ARRAYS),
    "models": ("Kernels of models", _ARRAYS),
    "orthogonal": (
        "Orthogonal matrices (JAX is called without jit; cholesky fails for some squares)",
        {"ms": _field("seconds", 1e-3), "±": _field("spread", 1e-3), "x jax": _over("jax")},
    ),
    "sharded orthogonal": (
        "An orthogonal matrix over eight devices: compiling",
        {**_PROBES, "temporaries / shard": _field("temporaries_over_shard")},
    ),
    "compiling": (
        "A user's own jit(model.init): trace, lower, compile",
        {
            **_LEAVES,
            "CPU-s": _field("cpu_seconds"),
            "x jax": _over("jax"),
            "temporaries, MiB": _field("temporary_mib"),
        },
    ),
    "trees": ("Trees, from nothing to ready", _TREES),
    "sharded trees": (
        "Over several devices of one CPU: matrices of llamas of width 256, seven a block, or the "
        "same stacked by vmap; by blocks, mesh and, if not one, processes (with device_put: arrays "
        "that are there already, put in the same places)",
        {**_TREES, "checksum": _field("checksum")},
    ),
    "growth": ("The same at d = 64, by layers", _LEAVES),
    "processes": (
        "A tree over the devices of several processes, imports included; by the number of "
        "processes, the model, its layers and the devices",
        {**_PROBES, "materialize, s": _field("materialize_seconds")},
    ),
    "planning": (
        "Planning Llama-3-8B",
        {**_LEAVES, "GiB": _field("gib"), "memory, MiB": _field("peak_mib")},
    ),
    "trillion": (
        "Planning a mixture of experts of 10^12 parameters (examples/trillion.py) for a mesh that "
        "is not there (fsdp x expert x tensor); its programs, compiled for 64 devices of this CPU",
        {
            "plan, s": _field("seconds"),
            "arrays": _field("leaves"),
            "GiB": _field("gib"),
            "memory of the plan, MiB": _field("peak_mib"),
            "MiB on each device": _field("device_mib"),
            "executables": _field("executables"),
            "compiling, s": _field("compile_seconds"),
            "temporaries, bytes": _field("temporary_bytes"),
        },
    ),
    "saving": (
        "Saving, from nothing to disk (user: materialize, then write; numpy: that write alone)",
        {**_PROBES, "MiB/s": _field("mib_per_second"), "x user": _over("user")},
    ),
    "limited": (
        "Saving under a memory limit",
        {
            **_PROBES,
            "tree / limit": _field("tree_over_limit"),
            "peak, MiB": _field("peak_mib"),
            "materialize fails": _field("materialize_fails"),
        },
    ),
    "memory": ("A draw of 2 GiB", {**_PROBES, "peak / output": _field("peak_over_output")}),
    "first call": ("The first call of a new shape", {**_PROBES, "x jax": _over("jax")}),
    "import": ("import jaxinit", {**_PROBES, "/ import jax": _field("over_jax")}),
}


_FILL = (
    "The fill is one constant in every element, of no use but to compare with. Its time depends "
    "on where its memory comes from: 64 MiB take 17 ms if the operating system has to map 16,384 "
    "pages first, and 2 ms if the allocator reuses memory that the process already has. So fills "
    "of one size differ from row to row, and no share of the fill is given."
)


def markdown(results: Mapping[str, Any], command: str) -> str:
    """A table for each subject, and the machine on which all was measured."""
    machine = ", ".join(f"{k} {v}" for k, v in results["machine"].items())
    medians = "Medians, ± half the interquartile range where there are several runs."
    arrays = any(row["table"] == "sizes" for row in results["rows"])
    remark = f"{medians} {_FILL}" if arrays else medians
    parts = [f"# Benchmarks\n\n`{command}`; {machine}. {remark}"]
    cases = by_case(results["rows"])
    for name, (title, cells) in TABLES.items():
        of_table = {case: found for (table, case), found in cases.items() if table == name}
        if of_table:
            heading, _, remark = title[:-1].partition(" (") if title[-1] == ")" else (title, "", "")
            parts.append(f"## {heading}")
            parts += [f"{remark[0].upper()}{remark[1:]}."] if remark else []
            parts.append(_table(of_table, cells))
    return "\n\n".join(parts) + "\n"


def _table(cases: Mapping[str, dict[str, Row]], cells: Mapping[str, Cell]) -> str:
    lines = [("", "", *cells), ("---", "---", *("---:" for _ in cells))]
    for case, found in cases.items():
        for i, (contender, row) in enumerate(found.items()):
            shown = (_shown(cell(found, row)) for cell in cells.values())
            lines.append(("" if i else case, contender, *shown))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(x: float | None) -> str:
    if x is None:
        return ""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


_COLOURS = {
    "jaxinit": "#2b5c8a", "jax": "#c44e52", "jax, rbg": "#dd8452",
    "jax, unsafe_rbg": "#e5ae38", "keras": "#8172b3", "numpy": "#55a868", "torch": "#937860",
}  # fmt: skip
_IN_WORDS = {
    "jax": "jax.nn.initializers, jitted",
    "jax, rbg": "the same with keys of kind rbg",
    "jax, unsafe_rbg": "the same with unsafe_rbg",
    "keras": "keras.initializers, on JAX",
    "numpy": "NumPy's fastest generator",
    "torch": "torch, in place",
}


def throughput(found: Iterable[Row], machine: Mapping[str, Any], path: Path) -> None:
    """Elements a second against size, with a panel for each initializer and dtype."""
    from matplotlib.figure import Figure

    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in found:
        if row["table"] == "sizes" and row["contender"] in _COLOURS:
            panel = lines.setdefault(row["case"].rpartition(" ")[0], {})
            point = row["elements"], row["elements"] / row["seconds"]
            panel.setdefault(row["contender"], []).append(point)
    columns = (len(lines) + 1) // 2
    fig = Figure(figsize=(4 * columns, 7), layout="constrained")
    axes = fig.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (name, contenders) in zip(axes.T.ravel(), lines.items(), strict=False):
        for contender, points in contenders.items():
            width = 2.2 if contender == "jaxinit" else 1.2
            axis.loglog(
                *zip(*points, strict=True), marker="o", markersize=3, linewidth=width, base=2,
                label=_IN_WORDS.get(contender, contender), color=_COLOURS[contender],
            )  # fmt: skip
        axis.set_yscale("log", base=10)
        axis.set_title(name, fontsize=10)
        _plain(axis)
    _labelled(fig, axes, "elements of the array", "elements made in a second")
    fig.suptitle(
        f"Speed of a draw by size, on {machine.get('cpus')} cores of a CPU "
        f"({machine.get('architecture')}), JAX {machine.get('jax')}",
        fontsize=11,
    )
    fig.savefig(path, dpi=110)


def _plain(axis: Any) -> None:
    axis.grid(alpha=0.25, which="both")
    axis.spines[["top", "right"]].set_visible(False)


def _labelled(fig: Any, axes: Any, x: str, y: str) -> None:
    for axis in axes[-1]:
        axis.set_xlabel(x)
    for row in axes:
        row[0].set_ylabel(y)
    handles: dict[str, Any] = {}
    for axis in axes.ravel():
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles, loc="outside right center", frameon=False)

"""From what pytest-benchmark wrote to rows: one a case and contender, its turns together."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .cases import COMPILED, Case, label

BASELINE = Path(__file__).with_name("baseline.json")
Row = dict[str, Any]
REFERENCE = ("jax", "jit", "user")  # whom the baseline compares jaxinit with, the first there is
_NAMES = ("table", "case", "contender")
# What a row of the arrays' tables must have, over and above its time.
_OF_ARRAYS = ("elements", "bytes", "compile_seconds", "temporary_bytes", "peak_bytes")


def rows(raw: Mapping[str, Any]) -> list[Row]:
    """Medians over all rounds of all turns, and the spread: half the interquartile range."""
    runs: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for run in raw["benchmarks"]:
        info = run["extra_info"]
        runs[tuple(info[name] for name in _NAMES)].append(run)
    return [_row(names, found) for names, found in runs.items()]


def _row(names: tuple[str, ...], runs: list[Mapping[str, Any]]) -> Row:
    infos = [run["extra_info"] for run in runs]
    row: Row = dict(zip(_NAMES, names, strict=True))
    for field in infos[0]:
        if field not in _NAMES:
            values = [info[field] for info in infos]
            row[field] = None if None in values else statistics.median(values)
    timed = "seconds" in infos[0]
    seconds = (
        [i["seconds"] for i in infos] if timed else [s for r in runs for s in r["stats"]["data"]]
    )
    quarters = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    row["seconds"] = quarters[1]
    row["spread"] = (quarters[2] - quarters[0]) / 2 if len(seconds) > 1 else None
    return row


def by_case(found: Iterable[Row]) -> dict[tuple[str, str], dict[str, Row]]:
    """(table, case) to contender to row."""
    cases: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
    for row in found:
        cases[row["table"], row["case"]][row["contender"]] = row
    return dict(cases)


def missing(found: Iterable[Row], expected: Iterable[Case]) -> list[str]:
    """The rows that are missing, and the figures that are not finite numbers."""
    have, lost = by_case(found), []
    for case in expected:
        name = f"{case.table}: {label(case)}"
        of_case = have.get((case.table, label(case)), {})
        lost += [f"{name}: no {c}" for c in case.contenders if c not in of_case]
        for contender, row in of_case.items():
            fields = ["seconds"]
            if case.table in ("sizes", "laws", "models") and contender in COMPILED:
                fields += _OF_ARRAYS
            lost += [
                f"{name}: {contender} has no {f}" for f in fields if not _is_figure(row.get(f))
            ]
    return lost


def _is_figure(x: Any) -> bool:
    return isinstance(x, int | float) and math.isfinite(x) and x >= 0


def ratios(found: Iterable[Row]) -> dict[str, float]:
    """By case, how many times as fast as its reference jaxinit is."""
    ratio = {}
    for (table, case), of_case in by_case(found).items():
        other = next((of_case[name] for name in REFERENCE if name in of_case), None)
        if other and "jaxinit" in of_case:
            ratio[f"{table}: {case}"] = other["seconds"] / of_case["jaxinit"]["seconds"]
    return ratio


def regressions(
    found: Mapping[str, float], baseline: Mapping[str, float], tolerance: float
) -> list[str]:
    """Cases whose ratio fell below ``tolerance`` times the baseline's."""
    return [
        f"{case}: {found[case]:.2f} x the reference, {before:.2f} x in the baseline"
        for case, before in baseline.items()
        if case in found and found[case] < tolerance * before
    ]


def read(path: Path) -> dict[str, Any]:
    """{"machine", "effort", "rows"}."""
    return json.loads(path.read_text())


def write(path: Path, machine: Mapping[str, Any], effort: str, found: list[Row]) -> None:
    """Rounded to four digits, which is more than a timing has."""
    short = [
        {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
        for row in found
    ]
    text = {"machine": machine, "effort": effort, "rows": short}
    path.write_text(json.dumps(text, indent=1) + "\n")

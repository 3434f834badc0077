"""Draws the figure of a report: what was measured in each row, and what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import _text
from .findings import Finding

Row = Mapping[str, Any]

_MEASURED, _EXPECTED = "#2b5c8a", "#c44e52"
COLOURS = {"error": "#c44e52", "warning": "#dd8452", "note": "#55a868"}
_NAMED = 6  # findings that are named in a panel; more would cover one another
_TICKS = 20  # rows that are named below the figure; of more rows, every second, third, ...
_LETTERS = 28  # of a row's name


class Curve(NamedTuple):
    """A panel of the figure: the rows' key of what was measured, and of what it should be."""

    label: str
    measured: str
    predicted: str | None = None
    log: bool = True
    word: str = "predicted"
    joined: bool = True  # by a line, as predictions from layer to layer are


def draw(
    rows: Sequence[Row], curves: Sequence[Curve], findings: Sequence[Finding], heading: str
) -> Any:
    """The curves of a report, a panel each, with the rows along x; ``heading`` says what they are.

    A row without a number to draw, as of a bias of zeros, has a place only if there is a finding
    about it. Raises ImportError where Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Report.plot needs Matplotlib: pip install matplotlib.") from None
    curves = [c for c in curves if any(_number(row, c.measured) is not None for row in rows)]
    told = {path: f for f in reversed(findings) for path in (f.path, *f.also)}
    shown = [row for row in rows if row.get("path") in told or _is_drawn(row, curves)]
    step = math.ceil(len(shown) / _TICKS) or 1
    names = _names([str(row.get("path", "")) for row in shown])
    count = max(len(curves), 1)
    below = 0.5 + 0.05 * max(map(len, names), default=0)  # inches, for the names
    figure = Figure(figsize=(8, 2.4 * count + below), layout="constrained")
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axis, curve in zip(panels, curves, strict=False):
        _draw_curve(axis, curve, shown)
        _mark_findings(axis, shown, told)
        axis.legend(frameon=False, fontsize=8, loc="lower left", ncols=5, bbox_to_anchor=(0, 1))
    panels[-1].set_xticks(
        range(0, len(shown), step), names[::step], parse_math=False,
        rotation=40, ha="right", rotation_mode="anchor", fontsize=8,
    )  # fmt: skip
    panels[-1].set_xlabel(heading if step == 1 else f"{heading}, one in {step} named")
    return figure


def _number(row: Row, key: str | None, log: bool = False) -> float | None:
    """The row's number under the key, if it has one that is finite and, on a log axis, above 0."""
    x = row.get(key) if key else None
    kept = isinstance(x, int | float) and math.isfinite(x) and (x > 0 or not log)
    return x if kept else None


def _is_drawn(row: Row, curves: Sequence[Curve]) -> bool:
    return any(_number(row, curve.measured, curve.log) is not None for curve in curves)


def _names(paths: Sequence[str]) -> list[str]:
    """The paths without the folder that all are in, and at most so long; the ends tell most."""
    parts = [path.split("/") for path in paths]
    common = bool(paths) and all(len(p) > 1 and p[0] == parts[0][0] for p in parts)
    names = [_text.visible("/".join(p[1:] if common else p)) for p in parts]
    return [n if len(n) <= _LETTERS else "…" + n[1 - _LETTERS :] for n in names]


def _draw_curve(axis: Any, curve: Curve, rows: Sequence[Row]) -> None:
    """One panel: points of what was measured, and what was expected."""

    def points(key: str | None) -> tuple[list[int], list[float]]:
        numbers = [(i, _number(row, key, curve.log)) for i, row in enumerate(rows)]
        kept = [(i, x) for i, x in numbers if x is not None]
        return [i for i, _ in kept], [x for _, x in kept]

    places, values = points(curve.predicted)
    if places:
        style = "-" if curve.joined else "_"
        axis.plot(places, values, style, color=_EXPECTED, markersize=14, label=curve.word)
    axis.plot(*points(curve.measured), "o", color=_MEASURED, markersize=4, label="measured")
    axis.set_ylabel(curve.label)
    axis.margins(x=0.02)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if curve.log:
        _scale(axis)


def _scale(axis: Any) -> None:
    """A logarithmic axis of a factor of 4 at least, so that noise does not look like a trend."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    middle, half = math.sqrt(low) * math.sqrt(high), math.sqrt(high / low)
    axis.set_ylim(middle / max(half, 2), middle * max(half, 2))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if half < 10:  # two decades, in which plain numbers are easier to read than powers of ten
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _mark_findings(axis: Any, rows: Sequence[Row], told: Mapping[str, Finding]) -> None:
    """A dotted line at each row of a finding; where there are few, the finding is named."""
    found = [(i, f) for i, row in enumerate(rows) if (f := told.get(str(row.get("path"))))]
    named = len(found) <= _NAMED
    if found and named:  # above the points
        ends = axis.transAxes.transform([(0, 0), (0, 1.3)])
        axis.set_ylim(axis.transData.inverted().transform(ends)[:, 1])
    labelled = set()
    for place, finding in found:
        label = None if finding.severity in labelled else finding.severity
        labelled.add(finding.severity)
        colour = COLOURS[finding.severity]
        axis.axvline(place, color=colour, linewidth=1, linestyle=":", label=label, zorder=0)
        if named:
            axis.annotate(
                finding.kind.replace("_", " "), (place, 1), xycoords=("data", "axes fraction"),
                xytext=(-2, 0), textcoords="offset points", rotation=90, va="top", ha="right",
                fontsize=8, color=colour,
            )  # fmt: skip

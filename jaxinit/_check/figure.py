"""Draws the figure of a report: what was measured in each row, and what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .findings import Finding

Rows = Sequence[Mapping[str, Any]]

_MEASURED, _EXPECTED = "#2b5c8a", "#c44e52"
COLOURS = {"error": "#c44e52", "warning": "#dd8452", "note": "#55a868"}
_NAMED = 6  # findings that are named in a panel; more would cover one another


class Curve(NamedTuple):
    """A panel of the figure: the rows' key of what was measured, and of what it should be."""

    label: str
    measured: str
    predicted: str | None = None
    log: bool = True
    word: str = "predicted"
    joined: bool = True  # by a line, as predictions from layer to layer are


def draw(rows: Rows, curves: Sequence[Curve], findings: Sequence[Finding], heading: str) -> Any:
    """The curves of a report, a panel each, with the rows along x; ``heading`` says what they are.

    Raises ImportError where Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise ImportError(
            "Report.plot and Report.to_html need Matplotlib: pip install matplotlib."
        ) from None
    curves = [c for c in curves if any(_is_number(row.get(c.measured)) for row in rows)]
    figure = Figure(figsize=(8, 1 + 2.4 * max(len(curves), 1)), layout="constrained")
    panels = figure.subplots(max(len(curves), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axis, curve in zip(panels, curves, strict=False):
        _draw_curve(axis, curve, rows, findings)
    panels[-1].set_xlabel(f"{heading}, in the order of the table")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and math.isfinite(x)


def _draw_curve(axis: Any, curve: Curve, rows: Rows, findings: Sequence[Finding]) -> None:
    """One panel: points of what was measured, what was expected, and where the findings are."""

    def points(key: str) -> tuple[list[int], list[float]]:
        found = [(i, row[key]) for i, row in enumerate(rows) if _is_number(row.get(key))]
        kept = [(i, x) for i, x in found if x > 0 or not curve.log]
        return [i for i, _ in kept], [x for _, x in kept]

    if curve.predicted is not None and points(curve.predicted)[0]:
        style = "-" if curve.joined else "_"
        axis.plot(*points(curve.predicted), style, color=_EXPECTED, label=curve.word)
    measured = points(curve.measured)
    axis.plot(*measured, "o", color=_MEASURED, markersize=3.5, alpha=0.8, label="measured")
    if curve.log:
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.5), max(high, 2))  # so that noise does not look like a trend
    _mark_findings(axis, rows, findings)
    axis.set_ylabel(curve.label)
    axis.grid(alpha=0.25, which="both" if curve.log else "major")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="best")


def _mark_findings(axis: Any, rows: Rows, findings: Sequence[Finding]) -> None:
    """A dotted line at the row of each finding; the worst ones are named."""
    place = {row.get("path"): i for i, row in enumerate(rows)}
    for n, finding in enumerate(f for f in findings if f.path in place):
        x, colour = place[finding.path], COLOURS[finding.severity]
        axis.axvline(x, color=colour, linewidth=1, linestyle=":")
        if n < _NAMED:
            axis.annotate(
                finding.kind.replace("_", " "),
                (x, 0.97),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right",
                fontsize=7,
                color=colour,
            )

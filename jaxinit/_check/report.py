"""Reports: what was found, as a table, data, a figure and a page."""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from .. import _text

Severity = Literal["error", "warning", "note"]

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: where, what, how bad it is, and what to do.

    ``kind`` is one word to test for, as "explodes" or "reused_key".
    """

    severity: Severity
    kind: str
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}; {self.remedy}"


class Column(NamedTuple):
    """A column of the table: the rows' key, the heading, how many digits numbers have."""

    key: str
    heading: str
    digits: int = 3


class Curve(NamedTuple):
    """A panel of the figure: the rows' key of what was measured, and of what it should be."""

    label: str
    measured: str
    predicted: str | None = None
    log: bool = True
    word: str = "predicted"
    joined: bool = True  # by a line, as predictions from layer to layer are


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found. ``print`` it for a table.

    Attributes:
      title: what was checked.
      findings: what is wrong, worst first; empty when all is well.
      rows: the measurements, a mapping for each layer or leaf.
    """

    title: str
    findings: list[Finding]
    rows: list[dict[str, Any]]
    columns: tuple[Column, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.rows)} rows, {len(self.findings)} findings)"

    def __str__(self) -> str:
        lines = [self.title, self._table(), *self.notes]
        return "\n".join([*lines, *(map(str, self.findings)), _verdict(self.findings)])

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.text import Text

        yield Text(self.title, style="bold")
        headings, cells, numeric = self._cells()
        yield Text(_text.table(headings, cells, right=numeric, width=options.max_width))
        for note in self.notes:
            yield Text(note, style="dim")
        for finding in self.findings:
            head = (f"{finding.severity} ", f"bold {_COLOURS[finding.severity]}")
            path = (f"{finding.path} ", "bold")
            yield Text.assemble(head, path, finding.message, (f"\n  {finding.remedy}", "dim"))
        yield Text(_verdict(self.findings), style="bold red" if self.findings else "bold green")

    def _cells(self) -> tuple[list[str], list[list[str]], list[int]]:
        """Headings, rows of text, and which columns are of numbers."""
        cells = [[_cell(row.get(c.key), c.digits) for c in self.columns] for row in self.rows]
        numeric = [
            i
            for i, c in enumerate(self.columns)
            if any(isinstance(row.get(c.key), int | float) for row in self.rows)
        ]
        return [c.heading for c in self.columns], cells, numeric

    def _table(self) -> str:
        headings, cells, numeric = self._cells()
        return _text.table(headings, cells, right=numeric)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data: title, rows, findings, notes."""
        return {
            "title": self.title,
            "findings": [asdict(finding) for finding in self.findings],
            "rows": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def plot(self, path: str | os.PathLike[str]) -> None:
        """A figure, in the format that the file's ending names: measurements by depth.

        Points are what was measured, lines what theory predicts; findings are marked. Needs
        Matplotlib; raises ImportError where it is not installed.
        """
        figure = _figure(self)
        figure.suptitle(self.title, x=0.02, ha="left", fontsize=11)
        figure.savefig(path, dpi=150, bbox_inches="tight")

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """One page with findings, figure and table, that needs no other file.

        Needs Matplotlib for the figure; raises ImportError where it is not installed.
        """
        stream = io.BytesIO()
        _figure(self).savefig(stream, format="png", dpi=150, bbox_inches="tight")
        image = base64.b64encode(stream.getvalue()).decode()
        with open(path, "w", encoding="utf-8") as file:
            file.write(_page(self, image))


def _verdict(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no findings"
    counts = {s: sum(f.severity == s for f in findings) for s in _COLOURS}
    return ", ".join(f"{n} {s}{'s' * (n > 1)}" for s, n in counts.items() if n)


def _cell(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) or "scalar"
    return str(value)


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """The findings by severity, else as they come."""
    return sorted(findings, key=lambda finding: list(_COLOURS).index(finding.severity))


def _figure(report: Report) -> Any:
    """The curves of a report, one panel each, depth on x."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise ImportError(
            "Report.plot and Report.to_html need Matplotlib: pip install matplotlib."
        ) from None
    curves = [
        c for c in report.curves if any(_is_number(row.get(c.measured)) for row in report.rows)
    ]
    figure = Figure(figsize=(8, 1 + 2.4 * max(len(curves), 1)), layout="constrained")
    panels = figure.subplots(max(len(curves), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axis, curve in zip(panels, curves, strict=False):
        _draw_curve(axis, curve, report)
    panels[-1].set_xlabel(report.columns[0].heading)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and math.isfinite(x)


def _draw_curve(axis: Any, curve: Curve, report: Report) -> None:
    """One panel: measured points, the predicted line, findings as bands."""

    def points(key: str) -> tuple[list[int], list[float]]:
        found = [(i, row[key]) for i, row in enumerate(report.rows) if _is_number(row.get(key))]
        kept = [(i, x) for i, x in found if x > 0 or not curve.log]
        return [i for i, _ in kept], [x for _, x in kept]

    if curve.predicted is not None:
        style = "-" if curve.joined else "_"
        axis.plot(*points(curve.predicted), style, color="#c44e52", label=curve.word)
    axis.plot(
        *points(curve.measured), "o", color="#2b5c8a", markersize=3.5, alpha=0.8, label="measured"
    )
    if curve.log:
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.5), max(high, 2))  # noise is not to look like a trend
    paths = [row.get("path") for row in report.rows]
    for finding in report.findings:
        if finding.path in paths:
            colour = {"error": "#c44e52", "warning": "#dd8452", "note": "#55a868"}[finding.severity]
            axis.axvline(paths.index(finding.path), color=colour, linewidth=1, linestyle=":")
            axis.annotate(
                finding.kind.replace("_", " "),
                (paths.index(finding.path), 0.97),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right",
                fontsize=7,
                color=colour,
            )
    axis.set_ylabel(curve.label)
    axis.grid(alpha=0.25, which="both" if curve.log else "major")
    axis.spines[["top", "right"]].set_visible(False)
    if curve.predicted is not None:
        axis.legend(frameon=False, fontsize=8, loc="best")


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #222; background: #fff }
h1 { font-size: 1.4rem; margin-bottom: .3rem }
.finding { border-left: 4px solid; padding: .4rem .8rem; margin: .5rem 0; background: #fafafa }
.error { border-color: #c44e52 } .warning { border-color: #dd8452 } .note { border-color: #55a868 }
.finding b { font-family: ui-monospace, monospace; font-size: .9rem }
.remedy { color: #555 }
img { width: 100%; max-width: 58rem; display: block; margin: 1rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .82rem; font-family: ui-monospace, monospace }
th, td { padding: .2rem .7rem; text-align: left; white-space: nowrap }
td { border-bottom: 1px solid #eee }
th { border-bottom: 2px solid #888; position: sticky; top: 0; background: #fff }
td.number, th.number { text-align: right }
tr.error td:first-child { box-shadow: inset 4px 0 #c44e52 }
tr.warning td:first-child { box-shadow: inset 4px 0 #dd8452 }
tr.note td:first-child { box-shadow: inset 4px 0 #55a868 }
""".strip()


def _page(report: Report, image: str) -> str:
    """The whole page; everything that comes from outside is escaped."""
    headings, cells, numeric = report._cells()
    worst = {f.path: f.severity for f in reversed(report.findings)}

    def row(tag: str, items: Sequence[str], mark: str = "") -> str:
        kinds = (' class="number"' if i in numeric else "" for i in range(len(items)))
        inner = "".join(
            f"<{tag}{kind}>{html.escape(item)}</{tag}>"
            for kind, item in zip(kinds, items, strict=True)
        )
        return f'<tr class="{mark}">{inner}</tr>'

    findings = "\n".join(
        f'<div class="finding {f.severity}"><b>{html.escape(f.path)}</b> '
        f'{html.escape(f.message)}<div class="remedy">{html.escape(f.remedy)}</div></div>'
        for f in report.findings
    )
    body = "\n".join(
        row("td", items, worst.get(str(data.get("path")), ""))
        for items, data in zip(cells, report.rows, strict=True)
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
    title = html.escape(report.title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>{_STYLE}</style></head>
<body><h1>{title}</h1><p>{_verdict(report.findings)}</p>
{findings}
<img alt="{title}" src="data:image/png;base64,{image}">
{notes}<div class="scroll"><table><thead>{row("th", headings)}</thead>
<tbody>
{body}
</tbody></table></div></body></html>
"""

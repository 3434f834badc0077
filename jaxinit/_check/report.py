"""The report of a check: its findings and measurements, as text, data, a figure and a page."""

from __future__ import annotations

import base64
import io
import math
import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import _text
from .figure import Curve, draw
from .findings import SEVERITIES, Finding
from .page import Content, page

_COLOURS = {
    "error": "bold red",
    "warning": "bold yellow",
    "note": "bold cyan",
    "fine": "bold green",
}
_LISTED = 4  # paths that are printed of one finding


class Column(NamedTuple):
    """A column of the table: the key of the rows, the heading, the digits of its numbers."""

    key: str
    heading: str
    digits: int = 3


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found. ``print`` it for the findings.

    Attributes:
      title: what was checked.
      findings: what is wrong, worst first; empty when all is well.
      rows: the measurements, a mapping for each layer or parameter.
      columns, curves: which of them are in the table and in the figure.
      notes: what else is to be said.
      has_table: whether the table is printed too.
    """

    title: str
    findings: list[Finding]
    rows: list[dict[str, Any]]
    columns: tuple[Column, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()
    has_table: bool = True

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.rows)} rows, {len(self.findings)} findings)"

    def __str__(self) -> str:
        return "\n".join(text for text, _ in self._lines(_text.terminal_width()))

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.text import Text

        for text, style in self._lines(options.max_width):
            yield Text(text, style=style)

    def _repr_html_(self) -> str:
        headings = ("severity", "finding", "where", "message", "evidence", "to mend it")
        found = [
            (f.severity, f.kind, f.where, f.message, f.evidence, f.remedy) for f in self.findings
        ]
        shown = _text.notebook(f"{self.title}: {self.verdict()}", headings, found, notes=self.notes)
        if not self.has_table:
            return shown
        columns, cells, numeric = self.cells()
        return f"{shown}\n{_text.notebook_table(columns, cells, right=numeric)}"

    def _lines(self, width: int) -> Iterator[tuple[str, str]]:
        """Each part of the printed report, and its style."""
        yield from ((line, "bold") for line in _wrapped(self.title, width))
        worst = self.findings[0].severity if self.findings else "fine"
        yield self.verdict(), _COLOURS[worst]
        for finding in self.findings:
            yield from _told(finding, width)
        if self.has_table:
            yield "", ""
            yield self.table(width), ""
        for note in self.notes:
            yield from ((line, "dim") for line in _wrapped(note, width))

    def table(self, width: int | None = None) -> str:
        """All rows as a table of plain text.

        Args:
          width: characters in a line; by default those of the terminal.

        Returns:
          The table; columns that are too many for the width are named in its last line.
        """
        headings, cells, numeric = self.cells()
        return _text.table(headings, cells, right=numeric, width=width)

    def cells(self) -> tuple[list[str], list[list[str]], list[int]]:
        """The headings of the table, its rows as text, and which columns are of numbers."""
        cells = [[_cell(row.get(c.key), c.digits) for c in self.columns] for row in self.rows]
        numeric = [
            i
            for i, c in enumerate(self.columns)
            if any(isinstance(row.get(c.key), int | float) for row in self.rows)
        ]
        return [c.heading for c in self.columns], cells, numeric

    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity that occurs."""
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        return {severity: count for severity, count in counts.items() if count}

    def verdict(self) -> str:
        """The counts in words, as "1 error, 2 warnings"."""
        words = (f"{n} {s}{'s' * (n > 1)}" for s, n in self.counts().items())
        return ", ".join(words) or "no findings"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data: title, rows, findings, notes. What is not finite is None."""
        return {
            "title": self.title,
            "findings": [finding.to_dict() for finding in self.findings],
            "rows": [{key: _plain(x) for key, x in row.items()} for row in self.rows],
            "notes": list(self.notes),
        }

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Saves a figure of the measurements, in the format that the file's ending names.

        Points are what was measured, lines or ticks what was expected; findings are marked.

        Args:
          path: the file to write, as "x.png" or "x.svg".

        Raises:
          ImportError: Matplotlib is not installed.
        """
        figure = self._figure()
        title = _text.visible(self.title)
        figure.suptitle(title, x=0.02, ha="left", fontsize=11, parse_math=False)
        figure.savefig(path, dpi=150, bbox_inches="tight")

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Saves one page with findings, figure and table, that needs no other file.

        Where Matplotlib is not installed, the page says so in place of the figure.

        Args:
          path: the file to write.
        """
        headings, cells, numeric = self.cells()
        worst = {p: f.severity for f in reversed(self.findings) for p in (f.path, *f.also)}
        marks = [worst.get(str(row.get("path")), "") for row in self.rows]
        table = _text.html_table(headings, cells, right=numeric, marks=marks)
        content = Content(
            self.title, self.counts(), self.findings, self.notes, table, self._image()
        )
        with open(path, "w", encoding="utf-8") as file:
            file.write(page(content))

    def _image(self) -> str | None:
        """The figure as a PNG file in base64; None where Matplotlib is not installed."""
        try:
            figure = self._figure()
        except ImportError:
            return None
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150, bbox_inches="tight")
        return base64.b64encode(stream.getvalue()).decode()

    def _figure(self) -> Any:
        return draw(self.rows, self.curves, self.findings, self.columns[0].heading)


def _told(finding: Finding, width: int) -> Iterator[tuple[str, str]]:
    """The lines of one finding, and their styles."""
    yield "", ""
    head = f"{finding.severity}: {finding.kind}: {finding.message}"
    yield from ((line, _COLOURS[finding.severity]) for line in _wrapped(head, width))
    paths = [finding.path, *finding.also]
    shown = ", ".join(paths[:_LISTED])
    more = f", and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    yield from ((line, "") for line in _wrapped(f"{shown}{more}", width, "  in        "))
    if finding.evidence:
        yield from ((line, "dim") for line in _wrapped(finding.evidence, width, "  evidence  "))
    yield from ((line, "") for line in _wrapped(finding.remedy, width, "  mend it   "))


def _wrapped(text: str, width: int, label: str = "") -> list[str]:
    indent = " " * (len(label) or 2)
    return textwrap.wrap(
        _text.visible(text),
        max(width, 40),
        initial_indent=label,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _plain(value: Any) -> Any:
    """The value; of a number that JSON cannot hold, None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        return _text.shape(value)
    return str(value)

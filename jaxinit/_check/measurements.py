"""What a check measured and found, as data; reports, figures and pages are made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import _text
from .findings import SEVERITIES, Finding


class Column(NamedTuple):
    """A column of the table: the key of the rows, the heading, the digits of its numbers."""

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
class Measurements:
    """What a check measured and found; ``Report`` says what each field is."""

    title: str
    findings: list[Finding]
    rows: list[dict[str, Any]]
    columns: tuple[Column, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()

    def table(self, width: int | None = None) -> str:
        """All rows as a table of plain text, as wide as the terminal or ``width`` characters."""
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

"""Reports: tables, figures and pages of what was found."""

from __future__ import annotations

import io
from collections.abc import Sequence

_PROSE = 48  # characters of a column of sentences


def text(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    prose: Sequence[int] = (),
) -> str:
    """A table as plain text; columns of numbers to the right, those of sentences wrapped."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for i, heading in enumerate(headings):
        justify = "right" if i in right else "left"
        width = _PROSE if i in prose else None
        table.add_column(heading, justify=justify, no_wrap=i not in prose, max_width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stream = io.StringIO()
    Console(file=stream, width=10_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines() if line.strip())

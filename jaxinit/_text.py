"""What a person sees: sizes in words, plain tables, a progress bar."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_PROSE = 48  # characters of a column of sentences

Advance = Callable[[int, str], None]  # by how many bytes, and what comes next


def size(count: int) -> str:
    """A count of bytes as a person reads it."""
    number, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if number < 1024 or unit == units[-1]:
            return f"{number:.4g} {unit}"
        number /= 1024
    raise AssertionError


def shape(sizes: Sequence[int]) -> str:
    """A shape: 3 x 4, or scalar."""
    return " x ".join(map(str, sizes)) or "scalar"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; its first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip()

    heading, *body = map(line, rows)
    return [heading, "  ".join("-" * width for width in widths), *body]


def grid(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    prose: Sequence[int] = (),
) -> str:
    """A table as plain text; columns of numbers to the right, those of sentences wrapped."""
    from rich.console import Console

    stream = io.StringIO()
    table = rich_table(headings, rows, right, prose)
    Console(file=stream, width=10_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines() if line.strip())


def rich_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    prose: Sequence[int] = (),
) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for i, heading in enumerate(headings):
        justify = "right" if i in right else "left"
        width = _PROSE if i in prose else None
        table.add_column(heading, justify=justify, no_wrap=i not in prose, max_width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


@contextmanager
def bar(shown: bool, title: str, total: int) -> Iterator[Advance]:
    """A bar of bytes on stderr, and what to call as they are done; without one, does nothing."""
    if not shown:
        yield lambda count, label: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)

        def advance(count: int, label: str) -> None:
            progress.update(task, advance=count, description=f"{title} {label}")

        yield advance

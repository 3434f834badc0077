"""What a person sees: sizes in words, plain tables, a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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


@contextmanager
def bar(shown: bool, title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """A bar of bytes on stderr, and what to call as they are done; without one, does nothing."""
    if not shown:
        yield lambda count, label: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, completed=done)

        def advance(count: int, label: str) -> None:
            progress.update(task, advance=count, description=f"{title} {label}")

        yield advance

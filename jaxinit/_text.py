"""Text for people: sizes in words, tables that fit the terminal, a progress bar, warnings."""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

NARROW = 80  # characters of a line where there is no terminal that says how many it has
_LEAST = 8  # characters that a column of words keeps, however narrow the terminal is
_LEAST_OF_FIRST = 28  # and the first column, which says what the row is about
_GAP = "  "
PATIENCE = 2.0  # seconds of work after which a progress bar appears
_HOUSE = str(Path(__file__).parent) + os.sep  # with which the files of jaxinit begin

Item = TypeVar("Item")

Advance = Callable[[int, str], None]  # called with the bytes that are done, and what comes next


def size(count: int) -> str:
    """A count of bytes as a person reads it."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"


def sizes(held: Iterable[int]) -> str:
    """One size, or the least and the greatest of several: ``1 MiB to 2 MiB``."""
    sorts = sorted(held) or [0]
    least, most = size(sorts[0]), size(sorts[-1])
    return most if least == most else f"{least} to {most}"


def counted(number: int, one: str, more: str | None = None) -> str:
    """The number with its noun: "1 array", "2 arrays"."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def shape(sizes: Sequence[int]) -> str:
    """A shape as a person reads it: "3 x 4", or "scalar"."""
    return " x ".join(map(str, sizes)) or "scalar"


def visible(text: str) -> str:
    """The text with control characters written as escapes, so that it cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key by which Dense_2 comes before Dense_10."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def terminal_width() -> int:
    """Characters in a line of the terminal; 80 where the output is no terminal."""
    return shutil.get_terminal_size((NARROW, 24)).columns


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    below: Sequence[int] = (),
    width: int | None = None,
) -> str:
    """A table as plain text that is no wider than the terminal, without its empty columns.

    Where it would be too wide, the widest columns of words are wrapped; if that is not enough, the
    last columns are left out, and a line at the end names them.

    Args:
      headings, rows: the text of the heading and of each row.
      right: the columns of numbers, which are aligned to the right; only their headings wrap.
      below: the columns of sentences, which are printed under their row, indented.
      width: characters in a line; by default those of the terminal.
    """
    width = width or terminal_width()
    cells = [[visible(cell) for cell in row] for row in (headings, *rows)]
    shown = [i for i in range(len(headings)) if not rows or any(row[i] for row in rows)]
    columns = [i for i in shown if i not in below]
    widths = {i: max(len(row[i]) for row in cells) for i in columns}
    if sum(widths.values()) + len(_GAP) * (len(columns) - 1) > width:
        for i in set(right) & set(columns):
            words = cells[0][i].split()
            widths[i] = max(map(len, (*words, *(row[i] for row in cells[1:]))))
    least = {
        i: min(widths[i], max(_LEAST if n else _LEAST_OF_FIRST, *map(len, cells[0][i].split())))
        for n, i in enumerate(columns)
        if i not in right
    }
    kept = _fitted(columns, widths, least, width)
    lines = _row(cells[0], kept, widths, right)
    lines.append(_GAP.join("-" * widths[i] for i in kept))
    for row in cells[1:]:
        lines += _row(row, kept, widths, right)
        lines += [line for i in below if row[i] for line in wrapped(row[i], "    ", width)]
    if len(kept) < len(columns):
        left_out = ", ".join(headings[i] for i in columns if i not in kept)
        lines += _wrapped(f"(columns too many for {width} characters: {left_out})", width)
    return "\n".join(lines)


def _fitted(
    columns: Sequence[int], widths: dict[int, int], least: Mapping[int, int], width: int
) -> list[int]:
    """The columns that fit; narrows those of words in ``widths``, down to ``least`` of each."""
    kept = list(columns)
    natural_widths = dict(widths)
    while True:
        excess = sum(widths[i] for i in kept) + len(_GAP) * (len(kept) - 1) - width
        words = [i for i in kept if widths[i] > least.get(i, widths[i])]
        if excess <= 0:
            return kept
        if words:
            widest = max(words, key=lambda i: widths[i])
            widths[widest] -= 1
        elif len(kept) > 1:
            kept.pop()
            widths.update(natural_widths)
        else:
            widths[kept[0]] = width


def _row(
    cells: Sequence[str], kept: Sequence[int], widths: dict[int, int], right: Sequence[int]
) -> list[str]:
    """The lines of one row."""
    parts = [_wrapped(cells[i], widths[i]) for i in kept]
    lines = []
    for n in range(max(map(len, parts))):
        found = [part[n] if n < len(part) else "" for part in parts]
        aligned = (
            text.rjust(widths[i]) if i in right else text.ljust(widths[i])
            for i, text in zip(kept, found, strict=True)
        )
        lines.append(_GAP.join(aligned).rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width``, broken after spaces, slashes and underscores."""
    if len(text) <= width:
        return [text]
    lines, line = [], ""
    for word in re.findall(r"[^\s/_,]*[\s/_,]*", text):
        while len(line + word.rstrip()) > width:
            if not line.strip():
                line, word = word[:width], word[width:]
            lines.append(line.rstrip())
            line = ""
        line += word
    return [*lines, line.rstrip()] if line.strip() else lines


def wrapped(text: str, indent: str = "", width: int | None = None) -> list[str]:
    """The text in indented lines, as wide as the terminal or ``width`` characters."""
    least = max(width or terminal_width(), 24)
    return textwrap.wrap(text, least, initial_indent=indent, subsequent_indent=indent)


def html_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    marks: Sequence[str] = (),
) -> str:
    """The table in HTML, escaped; ``marks`` are the classes of its rows."""

    def row(tag: str, cells: Sequence[str], mark: str) -> str:
        kinds = (' class="number"' if i in right else "" for i in range(len(cells)))
        inner = "".join(
            f"<{tag}{kind}>{html.escape(visible(cell))}</{tag}>"
            for kind, cell in zip(kinds, cells, strict=True)
        )
        return f'<tr class="{mark}">{inner}</tr>' if mark else f"<tr>{inner}</tr>"

    marks = marks or [""] * len(rows)
    body = "\n".join(row("td", cells, mark) for cells, mark in zip(rows, marks, strict=True))
    return f"<table><thead>{row('th', headings, '')}</thead>\n<tbody>\n{body}\n</tbody></table>"


def notebook_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> str:
    """The table in HTML for a notebook, without its empty columns.

    Notebooks align all cells to the right, so words say themselves that they stand to the left.
    """
    shown = [i for i in range(len(headings)) if any(row[i] for row in rows)]
    numbers = [n for n, i in enumerate(shown) if i in right]
    made = html_table(
        [headings[i] for i in shown], [[row[i] for i in shown] for row in rows], right=numbers
    )
    for tag in ("td", "th"):
        made = made.replace(f"<{tag}>", f'<{tag} style="text-align: left">')
    return made


def notebook(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> str:
    """What a notebook shows of an object: a title, a table and notes in HTML, all of it escaped."""
    parts = [f"<p><b>{html.escape(visible(title))}</b></p>"]
    if rows:
        parts.append(notebook_table(headings, rows, right=right))
    parts += [f"<p>{html.escape(visible(note))}</p>" for note in notes]
    return "\n".join(parts)


def warn(name: str, warning: str | None) -> None:
    """Warns the caller of jaxinit, if there is something to say. ``name`` is what was called."""
    if warning:
        warnings.warn(f"{name}: {warning}", stacklevel=_callers_level())


def _callers_level() -> int:
    """How many frames above ``warn`` the caller of jaxinit stands, for a warning to point at."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HOUSE):
        level, frame = level + 1, frame.f_back
    return level


@contextmanager
def bar(shown: bool, title: str, total: int) -> Iterator[Advance]:
    """A progress bar of bytes on stderr; yields the function that moves it on.

    Where the bar is not shown, that function does nothing.
    """
    if not shown:
        yield lambda count, label: None
        return
    from rich.progress import DownloadColumn

    size_done = DownloadColumn(binary_units=True)  # the units of ``size``
    with _progress(title, total, size_done) as advance:
        yield advance


@contextmanager
def _progress(
    title: str, total: int | None, column: Any, transient: bool = False
) -> Iterator[Advance]:
    """A progress bar on stderr, whose column says how much is done; without a total it pulses."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), column, TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=transient) as progress:
        task = progress.add_task(title, total=total)

        def advance(count: int, label: str) -> None:
            progress.update(task, advance=count, description=f"{title} {label}")

        yield advance


def watched(title: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items, one after the other; where that takes long, a bar counts those that are done.

    The bar is shown on a terminal alone, on stderr, and goes away after the last item.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import MofNCompleteColumn

    total, begun = len(items) if isinstance(items, Sized) else None, time.monotonic()
    advance: Advance | None = None
    with ExitStack() as stack:
        for done, item in enumerate(items):
            if advance is not None:
                advance(1, "")
            elif time.monotonic() - begun > PATIENCE:
                shown = _progress(title, total, MofNCompleteColumn(), transient=True)
                advance = stack.enter_context(shown)
                advance(done, "")
            yield item

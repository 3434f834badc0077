"""What ``autoinit`` advises: for each parameter of a model an initializer, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax

from .. import _text
from .infer import Inferred

Init = Callable[..., jax.Array]
Rule = Literal["standard", "forward", "critical"]
RULES: tuple[Rule, ...] = get_args(Rule)


class Choice(NamedTuple):
    """How one parameter is initialized, and why.

    Attributes:
      initializer: what draws it; None where it is kept, or left to ``default``.
      stddev: the standard deviation of the values drawn, 0 for a constant; None where none are.
      reason: why this initializer.
      source: the paper that says so.
      kept: whether it keeps the values that it has.
    """

    initializer: Init | None
    stddev: float | None
    reason: str
    source: str
    kept: bool = False


@dataclass(frozen=True, eq=False)
class Advice(Mapping[str, Choice]):
    """What ``autoinit`` does with each parameter: a mapping from paths to ``Choice``.

    ``print`` it for a table; ``inferred`` is what it rests on.
    """

    rule: Rule
    inferred: Inferred
    choices: Mapping[str, Choice]

    def __getitem__(self, path: str) -> Choice:
        return self.choices[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    def __repr__(self) -> str:
        return f"Advice({len(self)} parameters, rule={self.rule!r})"

    def __str__(self) -> str:
        return _text.table(*self._cells(), right=(6,), below=(5, 7))

    def _repr_html_(self) -> str:
        title = f"{_text.counted(len(self), 'parameter')}, by the {self.rule} rule of autoinit"
        return _text.notebook(title, *self._cells(), right=(6,))

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The headings of the table, and its rows."""
        rows = []
        for path in sorted(self, key=_text.natural):
            choice, p = self[path], self.inferred[path]
            fans = "" if p.fan_in is None else f"{p.fan_in:g}, {p.fan_out:g}"
            nothing = "as it is" if choice.kept else "default"
            scheme = nothing if choice.initializer is None else repr(choice.initializer)
            stddev = "" if choice.stddev is None else f"{choice.stddev:.4g}"
            rows.append((path, p.role, p.op, fans, p.activation, scheme, stddev, choice.reason))
        headings = ("parameter", "role", "operation", "fans", "feeds", "scheme", "std", "reason")
        return headings, rows

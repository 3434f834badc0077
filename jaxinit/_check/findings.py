"""A finding: what is wrong with a parameter, how sure that is, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from .. import _text

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Number(NamedTuple):
    """A number in a message, which is another for each array: from the lowest to the highest."""

    low: float
    high: float
    form: str

    def __str__(self) -> str:
        low, high = format(self.low, self.form), format(self.high, self.form)
        return low if low == high else f"{low} to {high}"

    def joined(self, others: Sequence[Number]) -> Number:
        """The number in a message about several arrays."""
        all_ = (self, *others)
        return Number(min(n.low for n in all_), max(n.high for n in all_), self.form)


class Other(NamedTuple):
    """The path in a message of the array that one is like, and how many others there are."""

    path: str
    more: int = 0

    def __str__(self) -> str:
        return f"{self.path} and {self.more} more" if self.more else self.path

    def joined(self, others: Sequence[Other]) -> Other:
        """The path in a message about several arrays."""
        return Other(self.path, len({other.path for other in others} - {self.path}))


Part = str | Number | Other  # of a message: a text is the same for all arrays that it is told of


def number(x: float, form: str = ".3g") -> Number:
    """A number in the message about one array."""
    return Number(x, x, form)


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
      severity: "error": a parameter is certainly not what was meant, or can never be trained, as
        NaN or two layers that are equal. "warning": it is probably not what was meant, and changes
        how the model trains. "note": it is unusual, and may well be meant.
      kind: one word to test for, as "explodes" or "reused_key".
      path: the parameter, or the layer.
      message: what was found; a number that is another for each parameter is told from the lowest
        to the highest.
      remedy: what mends it.
      evidence: the numbers that it rests on, which can be checked by hand; may be empty. Where they
        differ between parameters, they are those of ``path``, and say so.
      also: the paths of other parameters of which the same is true.
      parts: the message as texts, and what is another for each parameter; one text is given as it
        is.
    """

    severity: Severity
    kind: str
    path: str
    parts: str | Sequence[Part]
    remedy: str
    evidence: str = ""
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.parts, str):
            object.__setattr__(self, "parts", (self.parts,))

    @property
    def message(self) -> str:
        return "".join(map(str, self.parts))

    @property
    def statement(self) -> tuple[Hashable, ...]:
        """What is the same of all parameters of which it is true: all but numbers and paths."""
        texts = (part if isinstance(part, str) else type(part) for part in self.parts)
        return (self.severity, self.kind, *texts, self.remedy)

    @property
    def where(self) -> str:
        """The path, and how many others there are."""
        return f"{self.path} and {len(self.also)} more" if self.also else self.path

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        names = ("severity", "kind", "path", "message", "remedy", "evidence", "also")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        evidence = f" ({self.evidence})" if self.evidence else ""
        text = f"{self.severity}: {self.where}: {self.message}{evidence}; {self.remedy}"
        return _text.visible(text)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by severity; those of one severity in the order in which they came."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def family(path: str) -> str:
    """The path without its numbers, which the same parameter has in every layer."""
    return re.sub(r"_?\d+", "", path)


def grouped(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, with those that say the same of one family told once; of notes, of all."""
    groups: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        of = "" if finding.severity == "note" else family(finding.path)
        groups.setdefault((finding.statement, of), []).append(finding)
    return [_merged(group) for group in groups.values()]


def _merged(group: Sequence[Finding]) -> Finding:
    first, *rest = sorted(group, key=lambda finding: _text.natural(finding.path))
    if not rest:
        return first
    also = (*first.also, *(path for f in rest for path in (f.path, *f.also)))
    parts = tuple(_joined(parts) for parts in zip(*(f.parts for f in (first, *rest)), strict=True))
    is_of_all = all(f.evidence == first.evidence for f in rest)
    evidence = first.evidence if is_of_all else f"{first.path}: {first.evidence}"
    return replace(first, parts=parts, evidence=evidence, also=also)


def _joined(parts: Sequence[Any]) -> Part:
    first, *others = parts
    return first if isinstance(first, str) else first.joined(others)

"""A finding: what is wrong with a parameter, how sure that is, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .. import _text

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_OF_NUMBERS = ("wrong_fan",)  # kinds whose message is true of arrays with the same numbers alone


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
      severity: "error": a parameter is certainly not what was meant, or can never be trained, as
        NaN or two layers that are equal. "warning": it is probably not what was meant, and changes
        how the model trains. "note": it is unusual, and may well be meant.
      kind: one word to test for, as "explodes" or "reused_key".
      path: the parameter, or the layer.
      message: what was found.
      remedy: what mends it.
      evidence: the numbers that it rests on, which can be checked by hand; may be empty.
      also: the paths of other parameters of which the same is true.
    """

    severity: Severity
    kind: str
    path: str
    message: str
    remedy: str
    evidence: str = ""
    also: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The path, and how many others there are."""
        return f"{self.path} and {len(self.also)} more" if self.also else self.path

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
    """The findings with those of one kind and family told once; of notes, those of one kind."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        key: tuple[str, ...] = (finding.severity, finding.kind)
        if finding.severity != "note":
            message = finding.message if finding.kind in _OF_NUMBERS else family(finding.message)
            key = (*key, family(finding.path), message)
        groups.setdefault(key, []).append(finding)
    return [_merged(group) for group in groups.values()]


def _merged(group: Sequence[Finding]) -> Finding:
    first, *rest = sorted(group, key=lambda finding: _text.natural(finding.path))
    also = (*first.also, *(path for f in rest for path in (f.path, *f.also)))
    return replace(first, also=also)

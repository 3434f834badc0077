"""Tells a model's weights from what mirrors them: an optimizer's state, averages, target networks.

A folder of a tree mirrors another if it holds arrays of the same paths and shapes, several kernels
among them. Folders whose names differ by numbers alone, as layers_0 and layers_1, are layers of one
model, and no mirrors.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .. import _text
from . import names
from .findings import Finding, Severity, family
from .resemblance import COPY
from .subject import Subject

_STATE = re.compile(r"(^|/)(optimizer|(opt|optim|optimizer)_?states?)(/|$)", re.I)
# A model may be called so as well: it is a state if moments lie in it.
_MAYBE_STATE = re.compile(
    r"(?P<folder>(^|.*/)opti?m?)/(.*/)?(mu|nu|trace|momentum|velocity|exp_avg(_sq)?)(/|$)", re.I
)
_MOMENTS = re.compile(
    r"(^|/)(mu|nu|m|v|trace|momentum|velocity|exp_avg(_sq)?|grads?|gradients?|accumulators?)$", re.I
)
_COPIES = re.compile(
    r"ema|avg|averag(e|es|ed|ing)|polyak|targets?|teacher|moment(s|um)?|shadow|swa|slow|old|"
    r"lag(s|ged|ging)?"
)
_FEWEST = 2  # kernels of a mirror: a query and a key of one kernel each that are equal are none


class Weights(NamedTuple):
    """The arrays that are weights, what is said of the others, and these."""

    judged: list[Subject]
    findings: list[Finding]
    notes: tuple[str, ...]
    aside: list[Subject]


class _Folder(NamedTuple):
    """A folder of the tree: its path, and its arrays by their paths in it."""

    path: str
    arrays: Mapping[str, Subject]

    @property
    def has_no_negative(self) -> bool:
        return all(s.found.low >= 0 for s in self.arrays.values())

    @property
    def is_used(self) -> bool:
        return any(s.is_used for s in self.arrays.values())

    @property
    def parent(self) -> str:
        return self.path.rpartition("/")[0]

    def holds(self, path: str) -> bool:
        return not self.path or path == self.path or path.startswith(f"{self.path}/")


def told_apart(subjects: Sequence[Subject]) -> Weights:
    """Sets aside what mirrors the weights."""
    states = _states(subjects)
    if len(states) == len(subjects):  # they are what was asked about
        states = set()
    copies: list[tuple[_Folder, _Folder]] = []
    taken: list[_Folder] = []
    for group in _mirrors([s for s in subjects if s.path not in states]):
        for one, other in itertools.combinations(group, 2):
            if any(t.holds(f.path) for t in taken for f in (one, other)):
                continue
            if family(one.path) == family(other.path):
                continue
            if moments := [f for f in (one, other) if _is_moments(f, group)]:
                states |= {s.path for f in moments for s in f.arrays.values()}
                taken += moments
            elif _is_copy(one, other):
                copies.append((one, other))
                taken.append(other)
    aside = [s for s in subjects if s.path in states or any(t.holds(s.path) for t in taken)]
    paths = {s.path for s in aside}
    return Weights(
        [s for s in subjects if s.path not in paths],
        [_copied(*pair) for pair in copies],
        _noted(states),
        aside,
    )


def _states(subjects: Sequence[Subject]) -> set[str]:
    """The arrays in a folder that is named as an optimizer's state, none of which a model uses."""
    unused = [s.path for s in subjects if not s.is_used]
    folders = {m["folder"] for path in unused if (m := _MAYBE_STATE.match(path))}
    return {
        path
        for path in unused
        if _STATE.search(path) or any(path.startswith(f"{folder}/") for folder in folders)
    }


def _noted(states: Collection[str]) -> tuple[str, ...]:
    """What is said of an optimizer's state."""
    if not states:
        return ()
    are = "are no weights" if len(states) > 1 else "is no weight"
    return (
        f"{_text.counted(len(states), 'array')} of an optimizer's state, as {min(states)}, {are}: "
        f"only NaN and infinities are looked for.",
    )


def _mirrors(subjects: Sequence[Subject]) -> Iterator[list[_Folder]]:
    """Groups of folders that mirror one another, outermost first; names of copies come last."""
    folders: dict[str, dict[str, Subject]] = {}
    for s in subjects:
        parts = s.path.split("/")
        for n in range(len(parts)):
            folders.setdefault("/".join(parts[:n]), {})["/".join(parts[n:])] = s
    groups: dict[frozenset[tuple[str, tuple[int, ...]]], list[_Folder]] = {}
    for path, arrays in folders.items():
        if sum(s.is_kernel for s in arrays.values()) >= _FEWEST:
            shapes = frozenset((name, s.found.shape) for name, s in arrays.items())
            groups.setdefault(shapes, []).append(_Folder(path, arrays))
    for group in sorted(groups.values(), key=lambda group: -len(group[0].arrays)):
        yield sorted(group, key=lambda f: (names.has(_COPIES, f.path), _text.natural(f.path)))


def _is_moments(folder: _Folder, group: Sequence[_Folder]) -> bool:
    """Whether it is named so, and it or one beside it is without negative numbers, as squares."""
    beside = [f for f in group if f.parent == folder.parent and _MOMENTS.search(f.path)]
    is_named = bool(_MOMENTS.search(folder.path)) and not folder.is_used
    return is_named and any(f.has_no_negative for f in beside)


def _is_copy(one: _Folder, other: _Folder) -> bool:
    """Whether all drawn kernels are equal or nearly so, as those of a moving average."""
    pairs = [(s.found, other.arrays[name].found) for name, s in one.arrays.items() if s.is_kernel]
    drawn = [(a, b) for a, b in pairs if a.sample.size and b.sample.size]
    return len(drawn) >= _FEWEST and all(
        a.digest == b.digest or float(np.dot(a.sample, b.sample)) > COPY for a, b in drawn
    )


def _copied(one: _Folder, other: _Folder) -> Finding:
    """Said once of all arrays."""
    severity: Severity = "note" if names.has(_COPIES, other.path) else "warning"
    pairs = [(s.found.digest, other.arrays[name].found.digest) for name, s in one.arrays.items()]
    equal = all(a == b for a, b in pairs)
    return Finding(
        severity,
        "mirrored",
        other.path,
        f"{'equal to' if equal else 'much like'} {one.path or 'the rest'} throughout, as a moving "
        f"average or a target network",
        "nothing, if it is one; members of an ensemble need a key each, as jax.random.split gives",
        f"{_text.counted(len(pairs), 'array')}, which are judged once",
    )

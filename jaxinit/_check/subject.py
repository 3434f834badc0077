"""What is audited: an array, what is known of its role, and the model that it belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .._infer.advice import RULES
from . import names
from .array_statistics import Statistics
from .asked import Asked
from .conventions import CONSTANT, ITS_OWN, Known, Match, candidates, matching
from .findings import family
from .signal import Observed, Run

_KERNELS = ("kernel", "recurrent", "lora_a", "embedding")
# Roles of arrays with a number for each unit, and those that the computation does not tell.
_OF_UNITS = ("bias", "scale", "slope", "mean", "variance", "log scale", "time scale")
_UNTOLD = ("unknown", "unused", "state")
# How the axes of a matrix are ordered, by its name in a library, which counts as some votes.
_NAMED_READINGS = (
    (re.compile(r"(^|/)(kernel|w)$"), "inputs before outputs"),  # Flax, Keras, Haiku
    (re.compile(r"(^|/)weight$"), "outputs before inputs"),  # Equinox, PyTorch
)
_VOTES_OF_A_NAME = 3
_SHIFTED = 0.25  # of the standard deviation: a mean that is as far off was not meant
SAVE_AGAIN = "save the plan again; jaxinit audit --verify says whether the file was changed since"
_ENOUGH = 256  # elements from which on a mean is judged
AGREEMENT = 0.05  # the relative spread of standard deviations that are meant to be the same


@dataclass(frozen=True, eq=False)
class Subject:
    """One array that is audited.

    Attributes:
      found: its statistics.
      known: what the computation says of it, where that was read.
      seen: what was seen of it as the model ran, where it ran.
      asked: what was asked of its initializer, where the checkpoint says it.
    """

    found: Statistics
    known: Known | None = None
    seen: Observed | None = None
    asked: Asked | None = None

    @property
    def path(self) -> str:
        return self.found.path

    @property
    def role(self) -> str:
        """Its role: from the computation, or by its name and rank."""
        if self.known is not None:
            return self.known.parameter.role
        return names.role(self.path, len(self.found.shape))

    @property
    def is_kernel(self) -> bool:
        return self.role in _KERNELS and len(self.found.shape) > 1

    @property
    def is_vector(self) -> bool:
        """Whether it has a number for each unit, as biases and scales, whatever its shape."""
        if self.known is not None and self.role not in _UNTOLD:
            return len(self.found.shape) < 2 or self.role in _OF_UNITS
        return len(self.found.shape) < 2 or names.is_of_units(self.path)

    @property
    def is_used(self) -> bool:
        """Whether the model is known to compute with it."""
        return self.known is not None and self.role != "unused"

    @property
    def is_asked_constant(self) -> bool:
        """Whether it is all one number, and that was asked for."""
        x = self.found
        return x.is_constant and self.asked is not None and self.asked.is_all(x.high)

    @property
    def is_table(self) -> bool:
        """Whether its rows are looked up or added, so that no fan decides how large it is."""
        return self.role in ("embedding", "position", "token")

    @property
    def ends_branch(self) -> bool:
        """Whether the computation shows that it may start as zero: a branch's end, an output."""
        p = self.known.parameter if self.known else None
        return p is not None and bool(p.residual or p.is_output or p.role == "lora_b")

    @property
    def advised(self) -> list[float | None]:
        """The standard deviations that the rules of autoinit advise, if the model is known."""
        return [choice.stddev for choice in self.known.choices] if self.known else [self.expected]

    @property
    def expected(self) -> float | None:
        if self.known is None:
            return self.asked.std if self.asked else None
        return self.known.choice.stddev

    @property
    def units(self) -> dict[str, float]:
        """What its standard deviation is compared in: as it is, "", and by rule of autoinit."""
        found = self.known.choices if self.known else ()
        advised = {r: c.stddev for r, c in zip(RULES, found, strict=False) if c.stddev}
        return {"": 1.0, **advised}

    @property
    def is_shifted(self) -> bool:
        """Whether the mean of a drawn array is far from what was asked, or else from 0."""
        x, asked = self.found, (self.asked.mean if self.asked else None) or 0.0
        far = max(_SHIFTED, 6 * x.size**-0.5) * x.std
        return x.is_drawn and x.size >= _ENOUGH and abs(x.mean - asked) > far

    @cached_property
    def family(self) -> tuple[str, tuple[int, ...]]:
        """What it has in common with the same parameter of the model's other layers."""
        return family(self.path), self.found.shape


class Usual(NamedTuple):
    """An initializer, how the axes are read with it, and how many kernels come from it."""

    scheme: str
    readings: frozenset[str]
    count: int


@dataclass(frozen=True, eq=False)
class Model:
    """All arrays of a model, and what they have in common.

    Attributes:
      subjects: the arrays.
      run: the model itself, where it could be run.
      families: the arrays of each family, the same parameter in all layers.
    """

    subjects: Sequence[Subject]
    run: Run | None = None
    families: Mapping[tuple[str, tuple[int, ...]], list[Subject]] = field(init=False)

    def __post_init__(self) -> None:
        families: dict[tuple[str, tuple[int, ...]], list[Subject]] = {}
        for subject in self.subjects:
            families.setdefault(subject.family, []).append(subject)
        object.__setattr__(self, "families", families)

    @cached_property
    def kernels(self) -> list[Subject]:
        """The kernels that were drawn, tables apart."""
        return [
            s
            for s in self.subjects
            if s.is_kernel and not s.is_table and s.found.is_drawn and not s.found.bad
        ]

    def siblings(self, subject: Subject) -> list[Subject]:
        """The same parameter of other layers, of the same shape, as far as it was drawn."""
        return [
            s
            for s in self.families[subject.family]
            if s is not subject and s.found.is_drawn and not s.found.bad and s.found.std > 0
        ]

    def beside(self, subject: Subject) -> list[Subject]:
        """The drawn kernels of its shape in its layer, as the gates of a recurrent cell.

        Those for which the advice is another are left out, as queries beside values.
        """
        layer = subject.path.split("/")[:-2]
        return [
            s
            for s in self.kernels
            if s is not subject
            and s.found.shape == subject.found.shape
            and s.path.split("/")[:-2] == layer
            and s.advised == subject.advised
        ]

    @cached_property
    def _matches(self) -> dict[str, list[Match]]:
        return {s.path: self._matching(s) for s in self.subjects if s.is_kernel}

    def _matching(self, subject: Subject) -> list[Match]:
        layers = len(self.families[subject.family])
        return matching(subject.found, candidates(subject.found, subject.known, layers))

    def matches(self, subject: Subject) -> list[Match]:
        """The initializers in common use that it can come from, however its axes are read."""
        return self._matches[subject.path]

    @cached_property
    def _votes(self) -> dict[int, Counter[str]]:
        """For each rank, how many kernels each reading of the axes explains."""
        votes: dict[int, Counter[str]] = {}
        for s in self.kernels:
            readings = {m.reading for m in self.matches(s)}
            tells = len(readings) == 1 or len(s.found.shape) > 2
            if tells and not readings & {ITS_OWN, CONSTANT}:
                votes.setdefault(len(s.found.shape), Counter()).update(readings)
        return votes

    def trusts(self, subject: Subject, match: Match) -> bool:
        """Whether it reads the axes as the model's other kernels of that rank are read."""
        if match.reading in (ITS_OWN, CONSTANT):
            return True
        votes = Counter(self._votes.get(len(subject.found.shape), Counter()))
        if len(subject.found.shape) == 2:
            votes.update(
                {r: _VOTES_OF_A_NAME for name, r in _NAMED_READINGS if name.search(subject.path)}
            )
        most = max(votes.values(), default=0)
        return most < 4 or 4 * votes[match.reading] > most

    def trusted(self, subject: Subject) -> list[Match]:
        """The matches that read its axes as the rest of the model is read."""
        return [m for m in self.matches(subject) if self.trusts(subject, m)]

    @cached_property
    def usual(self) -> Usual | None:
        """The initializer that three in four kernels come from."""
        schemes = Counter(scheme for s in self.kernels for scheme in _schemes(self.trusted(s)))
        if not schemes:
            return None
        scheme, count = schemes.most_common(1)[0]
        if count < 3 or 4 * count < 3 * len(self.kernels):
            return None
        told = Counter(
            m.reading for s in self.kernels for m in self.trusted(s) if m.scheme == scheme
        )
        most = max(told.values())
        readings = frozenset(reading for reading, n in told.items() if 2 * n > most)
        return Usual(scheme, readings, count)

    @cached_property
    def usual_number(self) -> float | None:
        """The standard deviation that was given as a number, if half of the kernels share it."""
        stds = Counter(
            m.std for s in self.kernels for m in self.matches(s)[:1] if m.reading == CONSTANT
        )
        if not stds:
            return None
        std, count = stds.most_common(1)[0]
        return std if 2 * count >= len(self.kernels) and count >= 3 else None


def _schemes(matches: Sequence[Match]) -> set[str]:
    return {match.scheme for match in matches}


def agree(one: Statistics, other: float) -> bool:
    """Whether an array has a standard deviation, up to chance and what scaling by depth does."""
    return abs(one.std / other - 1) <= AGREEMENT + 6 * one.sampling_error

"""What was asked of the arrays of a checkpoint, from the manifest that ``Plan.save`` wrote."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import initializers
from .._make import manifest

# Initializers whose arrays no key changes; those that another initializer is given to; and those
# whose arrays hold copies of their own parts.
_FIXED = frozenset(
    (
        *("constant", "zeros", "ones", "zeros_init", "ones_init"),
        *("identity", "dirac", "hadamard", "zer_o", "hippo", "mamba_a_log"),
    )
)
_OF_ANOTHER = frozenset(("blocks", "clipped", "masked", "repeated", "scaled", "shifted"))
_COPYING = frozenset(("chrono", "repeated"))
_RANDOM = frozenset(initializers.__all__) - _FIXED - _OF_ANOTHER - {"Initializer", "get"}


class Asked(NamedTuple):
    """What was asked of one array: the initializer, and the mean and std of its distribution.

    Where these two are known, the elements are independent draws, or all one number.
    """

    initializer: str
    mean: float | None = None
    std: float | None = None

    @property
    def _words(self) -> set[str]:
        return set(re.findall(r"\w+", self.initializer))

    @property
    def is_fixed(self) -> bool:
        """Whether no key changes the array, so that equal ones are no fault."""
        return bool(self._words & _FIXED) and not self._words & _RANDOM

    @property
    def holds_copies(self) -> bool:
        """Whether parts of the array are equal by themselves."""
        return self.is_fixed or bool(self._words & _COPYING)

    def is_all(self, value: float) -> bool:
        """Whether an array that is all ``value`` is as asked."""
        if self.mean is None or self.std is None:
            return self.is_fixed or bool(self._words & {"clipped", "masked"})
        return self.std == 0 and math.isclose(self.mean, value, rel_tol=0.1)


def asked_of(path: str | os.PathLike[str]) -> dict[str, Asked]:
    """Path -> what was asked; empty where there is no manifest, or one that cannot be believed."""
    try:
        found = manifest.read("audit", Path(path))
    except (OSError, ValueError):
        return {}
    parsed = ((name, _parsed(x)) for name, x in ((found and found.asked) or {}).items())
    return {name: asked for name, asked in parsed if asked is not None}


def _parsed(content: Any) -> Asked | None:
    """What a manifest says of an array, where it has the form that ``save`` writes."""
    if not isinstance(content, Mapping) or not isinstance(content.get("initializer"), str):
        return None
    mean, std = content.get("mean"), content.get("std")
    if not (isinstance(mean, int | float) and isinstance(std, int | float)):
        return Asked(content["initializer"])
    known = math.isfinite(mean) and math.isfinite(std)
    return Asked(content["initializer"], *((mean, std) if known else ()))

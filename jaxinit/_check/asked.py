"""What was asked of the arrays of a checkpoint, from the manifest that ``Plan.save`` wrote."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .._make import manifest


class Asked(NamedTuple):
    """What was asked of one array: the initializer, and the mean and std of its distribution."""

    initializer: str
    mean: float | None = None
    std: float | None = None


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
    known = isinstance(mean, int | float) and isinstance(std, int | float)
    if not (known and math.isfinite(mean) and math.isfinite(std)):
        return Asked(content["initializer"])
    return Asked(content["initializer"], mean, std)

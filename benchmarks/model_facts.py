"""Facts about one model: bits of its plan, roles, signal and gradient by the rules of autoinit."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

import jaxinit
from jaxinit._program.trees import arrays

from .audit_zoo import Model
from .autoinit_models import starts


class Facts(NamedTuple):
    """What was measured of a model.

    Attributes:
      arrays: how many arrays its parameters are.
      differ: how many of them differ, in any bit, between ``jax.jit`` of its own initialization and
        ``jaxinit.materialize`` of it; or why that could not be compared.
      unknown: the parameters whose role was not recognised.
      ends: for the model's own initialization and for each rule, signal and gradient at the ends;
        or why they could not be measured.
    """

    arrays: int
    differ: int | str
    unknown: list[str]
    ends: dict[str, str]


def facts(model: Model) -> Facts:
    """Measure a model."""
    apply, params, inputs = model.make()
    roles = jaxinit.infer(apply, params, *inputs)
    unknown = [path for path, p in roles.items() if p.role == "unknown"]
    try:
        ends = {start: str(found) for start, found in starts(model).items()}
    except (TypeError, ValueError) as error:
        ends = {"own": str(error).partition("\n")[0]}
    return Facts(len(arrays(params)), _differ(model), unknown, ends)


def _differ(model: Model) -> int | str:
    """How many arrays a plan makes otherwise than jit does."""

    def made() -> list[jax.Array]:
        return [x for _, x in arrays(model.make()[1])]

    try:
        pairs = zip(jax.jit(made)(), jaxinit.materialize(made), strict=True)
        return sum(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)
    except (TypeError, ValueError, AttributeError) as error:
        return str(error).partition("\n")[0]

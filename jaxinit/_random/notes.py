"""A note on an array, within a traced program, of what was asked of the initializer that made it.

The note is the name that ``jax.ad_checkpoint.checkpoint_name`` gives to a value: text that stays in
the program through jit, vmap and scan, and that makes no operation.
"""

from __future__ import annotations

import json
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

_MARK = "jaxinit asked: "
# Of an array that is computed from a Gaussian as one matrix: how. And of that Gaussian: that it is.
ASSEMBLED, GAUSSIAN = "assembled", "gaussian"


def noted(x: jax.Array, asked: dict[str, Any]) -> jax.Array:
    """The array, with a note of what was asked, in JSON's types."""
    return checkpoint_name(x, _MARK + json.dumps(asked))


def note(name: str) -> dict[str, Any] | None:
    """What the name of a value notes; None for any other name."""
    return json.loads(name.removeprefix(_MARK)) if name.startswith(_MARK) else None

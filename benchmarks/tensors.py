"""One large array: jaxinit, jax.nn.initializers under jit, and a fill of the same array."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinit import initializers

from .timing import medians

SCHEMES = {
    "he_uniform": (initializers.he_uniform(), jax.nn.initializers.he_uniform()),
    "he_normal": (initializers.he_normal(), jax.nn.initializers.he_normal()),
    "normal": (initializers.normal(0.02), jax.nn.initializers.normal(0.02)),
}


class Row(NamedTuple):
    """Rates in million elements a second."""

    scheme: str
    dtype: str
    ours: float
    theirs: float
    fill: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def share(self) -> float:
        """Of the fill, which is the limit."""
        return self.ours / self.fill


def run(power: int, blocks: int) -> list[Row]:
    """Every scheme and dtype at 2^power elements."""
    key, shape = jax.random.key(0), (2 ** (power // 2), 2 ** (power - power // 2))
    rows = []
    for dtype in ("float32", "bfloat16"):
        for scheme, (ours, theirs) in SCHEMES.items():
            jitted = jax.jit(theirs, static_argnums=(1, 2))
            fill = jax.jit(functools.partial(jnp.full, shape, dtype=dtype))
            found = medians(
                {
                    "ours": functools.partial(ours, key, shape, dtype),
                    "theirs": functools.partial(jitted, key, shape, dtype),
                    "fill": functools.partial(fill, 0.5),
                },
                blocks,
            )
            rates = {name: math.prod(shape) / 1e6 / value for name, value in found.items()}
            rows.append(Row(scheme, dtype, **rates))
    return rows

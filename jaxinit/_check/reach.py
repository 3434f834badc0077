"""Which parameters a gradient can ever reach.

A kernel of zeros that ends a residual branch is trained: the gradient at it is not zero, and once
it has moved, gradients pass through it to what comes before. Of two kernels of zeros in a row
neither is ever trained, as each makes the gradient at the other zero.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._infer.infer import Reading
from .propagate import objective
from .stages import Staged

_MOVED = 0.1  # by how much a parameter that a gradient reaches is moved, beside its own size


def unreached(reading: Reading) -> frozenset[str]:
    """The floating parameters at which the gradient stays zero, however the others move.

    The gradient of a random combination of the outputs is taken; all parameters at which it is not
    zero are moved at random, as training would move them, and it is taken again, until it reaches
    no more of them. Nothing is said where JAX cannot differentiate the computation.
    """
    arguments = [jnp.asarray(x) for x in reading.arguments]
    places = dict(zip(reading.inferred, reading.mine, strict=True))
    waiting = {path: i for path, i in places.items() if _is_real(arguments[i])}
    moving = list(waiting.values())

    staged = Staged(reading.program.outputs, reading.program.inputs, {})

    def result(floats: list[Any]) -> Any:
        given = list(arguments)
        for i, x in zip(moving, floats, strict=True):
            given[i] = x
        return objective(reading.result(staged(given, {})[0]))

    random = np.random.default_rng(0)
    while waiting:
        try:
            gradients = jax.grad(result)([arguments[i] for i in moving])
        except (TypeError, ValueError, NotImplementedError):
            return frozenset()
        hits = {i: bool(_any(g)) for i, g in zip(moving, gradients, strict=True)}
        fresh = {path: i for path, i in waiting.items() if hits[i]}
        if not fresh:
            break
        for path, i in fresh.items():
            arguments[i] = _moved(arguments[i], random)
            del waiting[path]
    return frozenset(waiting)


@jax.jit
def _any(gradient: Any) -> Any:
    return jnp.any(gradient != 0)


def _is_real(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _moved(x: Any, random: np.random.Generator) -> Any:
    size = float(jnp.sqrt(jnp.mean(jnp.square(x.astype(jnp.float32))))) or 1.0
    noise = random.standard_normal(x.shape) * _MOVED * size
    return (x.astype(jnp.float32) + jnp.asarray(noise, jnp.float32)).astype(x.dtype)

"""Runs a model and looks at what each of its kernels takes.

This tells apart what the weights alone cannot: a scale of zero that ends a residual branch on
purpose, and one that lets nothing through to the layers behind it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._infer.infer import Reading
from .measure import layers
from .propagate import empty_inputs
from .reach import unreached
from .stages import Staged


class Observed(NamedTuple):
    """What was seen of one kernel.

    Attributes:
      taken: the second moment of its input.
      varies: whether its input differs from one example to the next.
    """

    taken: float
    varies: bool


def has_values(reading: Reading) -> bool:
    """Whether all arguments of the forward pass are arrays, not only their shapes or empty."""
    arrays = all(isinstance(x, jax.Array | np.ndarray | np.generic) for x in reading.arguments)
    return arrays and not empty_inputs(reading)


class Run:
    """A model that was run, and can be run again with other parameters.

    ``seen`` is what was seen of each kernel, by path, in the order of the computation; of a kernel
    in a loop, over all turns. Kernels in branches and while loops are not seen.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        found = sorted(layers(reading), key=lambda layer: layer.place)
        self._taken = {layer.parameter.path: layer.taken for layer in found}
        self._arguments = tuple(reading.arguments)
        self._place = dict(zip(reading.inferred, reading.mine, strict=True))
        taps = dict.fromkeys(self._taken.values(), _tap)
        self._staged = Staged(reading.program.outputs, reading.program.inputs, taps)
        self.seen = self._observe(self._arguments)

    def _observe(self, arguments: tuple[Any, ...]) -> dict[str, Observed]:
        _, told = self._staged(arguments, {})
        seen = {path: told.get(value) for path, value in self._taken.items()}
        most = {p: np.asarray(x).reshape(-1, 2).max(0) for p, x in seen.items() if x is not None}
        return {path: Observed(float(taken), wide > 0) for path, (taken, wide) in most.items()}

    @cached_property
    def unreached(self) -> frozenset[str]:
        """The parameters that no gradient ever reaches, however the others move."""
        return unreached(self._reading)

    def fed_without(self, path: str) -> list[str]:
        """The kernels that take no signal because this parameter is all zero, first ones first.

        What they take is zero, or the same in every example, and would not be if the parameter had
        other numbers. The model is run again with such: ones, or random ones for a matrix.
        """
        place = self._place[path]
        zero = np.asarray(self._arguments[place])
        random = np.random.default_rng(0).standard_normal(zero.shape)
        other = np.asarray(random if zero.ndim > 1 else np.ones(zero.shape), zero.dtype)
        changed = (*self._arguments[:place], other, *self._arguments[place + 1 :])
        after = self._observe(changed)
        return [
            path
            for path, before in self.seen.items()
            if (before.taken == 0 < after[path].taken) or (not before.varies and after[path].varies)
        ]


def _tap(x: Any, _: Any) -> tuple[Any, Any]:
    """The value as it is; its second moment, and how far it differs along the first axis."""
    real = jnp.asarray(jnp.abs(x) if jnp.iscomplexobj(x) else x, jnp.float32)
    wide = jnp.max(jnp.max(real, 0) - jnp.min(real, 0)) if real.ndim else jnp.float32(0)
    return x, jnp.stack([jnp.mean(jnp.square(real)), wide])

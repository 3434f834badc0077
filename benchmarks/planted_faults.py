"""Faults to plant in the parameters of a model, and the kinds of findings that answer each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Flat = dict[str, np.ndarray]


class Target(NamedTuple):
    """A model to plant faults in, and what is known of its parameters."""

    flat: Flat
    inferred: Any
    random: np.random.Generator

    def pick(self, wanted: Callable[[str], bool]) -> str | None:
        """One parameter, at random."""
        found = [path for path in self.flat if wanted(path)]
        return found[self.random.integers(len(found))] if found else None

    def is_kernel(self, path: str) -> bool:
        x = self.flat[path]
        large = x.ndim >= 2 and min(x.shape[-2:]) >= 8 and x.size >= 512
        return self.inferred[path].role in ("kernel", "recurrent") and large and x.std() > 0

    def is_inner(self, path: str) -> bool:
        """Whether it is a kernel that neither ends a residual branch nor makes the output."""
        p = self.inferred[path]
        return self.is_kernel(path) and not p.residual and not p.is_output and p.takers > 0


Planted = tuple[str, np.ndarray]


def _kernel(make: Callable[[Target, np.ndarray], np.ndarray]) -> Callable[[Target], Planted | None]:
    """A fault in any kernel."""

    def plant(target: Target) -> Planted | None:
        path = target.pick(target.is_kernel)
        return (path, make(target, target.flat[path])) if path else None

    return plant


def _nan(target: Target, w: np.ndarray) -> np.ndarray:
    w = w.copy()
    w.reshape(-1)[target.random.integers(w.size)] = np.nan
    return w


def _zeroed(target: Target) -> Planted | None:
    path = target.pick(target.is_inner)
    return (path, 0 * target.flat[path]) if path else None


def _copied(scale: float) -> Callable[[Target], Planted | None]:
    def plant(target: Target) -> Planted | None:
        shapes = [target.flat[p].shape for p in target.flat if target.is_kernel(p)]
        path = target.pick(lambda p: target.is_kernel(p) and shapes.count(target.flat[p].shape) > 1)
        if path is None:
            return None
        shape = target.flat[path].shape
        other = target.pick(
            lambda p: p != path and target.is_kernel(p) and target.flat[p].shape == shape
        )
        return (path, scale * target.flat[other]) if other else None

    return plant


def _transposed(target: Target) -> Planted | None:
    """A copy of another kernel's transpose, with the standard deviation that was there."""
    shapes = {target.flat[p].shape for p in target.flat if target.is_kernel(p)}

    def fits(path: str) -> bool:
        shape = target.flat[path].shape
        return target.is_kernel(path) and len(shape) == 2 and shape[::-1] in shapes

    path = target.pick(fits)
    if path is None:
        return None
    w = target.flat[path]
    other = target.pick(
        lambda p: p != path and target.is_kernel(p) and target.flat[p].shape == w.shape[::-1]
    )
    if other is None:
        return None
    copied = target.flat[other].T
    return path, copied * (w.std() / copied.std())


def _one_unit(_: Target, w: np.ndarray) -> np.ndarray:
    return np.broadcast_to(w[..., :1], w.shape).copy()


def _half_of_outputs(target: Target, w: np.ndarray) -> np.ndarray:
    w, half = w.copy(), w.shape[-1] // 2
    w[..., half : 2 * half] = w[..., :half]
    return w


def _half_of_rows(target: Target, w: np.ndarray) -> np.ndarray:
    w = w.copy()
    rows = w.reshape(-1, w.shape[-1])
    half = len(rows) // 2
    rows[half : 2 * half] = rows[:half]
    return rows.reshape(w.shape)


def _coarse(target: Target, w: np.ndarray) -> np.ndarray:
    key = jax.random.key(int(target.random.integers(1 << 30)))
    drawn = jax.random.normal(key, w.shape, jnp.bfloat16) * w.std()
    return np.asarray(drawn, w.dtype)


def _mostly_zero(target: Target, w: np.ndarray) -> np.ndarray:
    return np.where(target.random.random(w.shape) < 0.97, 0, w)


def _shifted(target: Target, w: np.ndarray) -> np.ndarray:
    return target.random.uniform(0, w.std() * 12**0.5, w.shape).astype(w.dtype)


def _rank_one(target: Target, w: np.ndarray) -> np.ndarray:
    rows = w.reshape(-1, w.shape[-1])
    product = np.outer(rows[:, 0], rows[0])
    return (product * (w.std() / product.std())).reshape(w.shape).astype(w.dtype)


def _large_embedding(target: Target) -> Planted | None:
    path = target.pick(
        lambda p: target.inferred[p].role == "embedding" and target.flat[p].std() > 0
    )
    return (path, 50 * target.flat[path]) if path else None


def _killing_bias(target: Target) -> Planted | None:
    killed = ("relu", "gelu", "silu", "swish", "relu6", "elu")  # flat at −20

    def fits(path: str) -> bool:
        layer = target.inferred[path].layer
        feeds = target.inferred[layer].activation if layer else ""
        return target.inferred[path].role == "bias" and feeds in killed

    path = target.pick(fits)
    return (path, np.full_like(target.flat[path], -20)) if path else None


def _zero_scale(target: Target) -> Planted | None:
    path = target.pick(
        lambda p: target.inferred[p].role == "scale" and bool((target.flat[p] == 1).all())
    )
    return (path, 0 * target.flat[path]) if path else None


def _he_by_fan_out(target: Target) -> Planted | None:
    """Where that differs from the usual initializers by fan_in, as from 32 to 64 it does not."""

    def fits(path: str) -> bool:
        p = target.inferred[path]
        if not (target.is_kernel(path) and p.fan_in and p.fan_out) or p.residual:
            return False
        usual = (1 / p.fan_in, 2 / p.fan_in, 2 / (p.fan_in + p.fan_out), 1 / 3 / p.fan_in)
        return all(abs(2 / p.fan_out / variance - 1) > 0.1 for variance in usual)

    path = target.pick(fits)
    if path is None:
        return None
    w, p = target.flat[path], target.inferred[path]
    return path, w * ((2 / p.fan_out) ** 0.5 / w.std()).astype(w.dtype)


class Fault(NamedTuple):
    """A way to plant it, which returns None where a model has no place for it.

    Attributes:
      plant: returns the path of a parameter, and its values with the fault.
      kinds: the kinds of findings that answer it; any other is none of its own.
    """

    plant: Callable[[Target], Planted | None]
    kinds: tuple[str, ...]


_SPREAD = ("wrong_std", "wrong_fan")  # a standard deviation may be that of another fan by chance
_ALIKE = ("reused_key", "low_rank")  # rows that are all multiples of one are copies up to a factor
FAULTS = {
    "one NaN": Fault(_kernel(_nan), ("not_finite",)),
    "a kernel of zeros": Fault(_zeroed, ("zero",)),
    "a copy of another layer": Fault(_copied(1.0), ("reused_key",)),
    "a copy, scaled": Fault(_copied(0.5), ("reused_key",)),
    "a transposed copy, scaled": Fault(_transposed, ("reused_key",)),
    "all units the same": Fault(_kernel(_one_unit), _ALIKE),
    "half of the units copied": Fault(_kernel(_half_of_outputs), ("reused_key",)),
    "half of the rows copied": Fault(_kernel(_half_of_rows), ("reused_key",)),
    "7 random bits (bfloat16)": Fault(_kernel(_coarse), ("coarse",)),
    "97 % zeros": Fault(_kernel(_mostly_zero), ("mostly_zero",)),
    "uniform on [0, s)": Fault(_kernel(_shifted), ("shifted",)),
    "rank one": Fault(_kernel(_rank_one), _ALIKE),
    "one layer x 3": Fault(_kernel(lambda _, w: 3 * w), _SPREAD),
    "He by fan_out": Fault(_he_by_fan_out, _SPREAD),
    "an embedding x 50": Fault(_large_embedding, ("wrong_std",)),
    "a bias that kills its units": Fault(_killing_bias, ("dead",)),
    "a norm's scale of zero": Fault(_zero_scale, ("zero",)),
}

"""Judges what was measured of a model's layers: signals that explode, vanish, die, saturate, ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from .findings import Finding
from .prediction import Spot, root

_FORWARD = 10.0  # the factor by which the size of a signal may grow or shrink
_BACKWARD = 100.0  # the factor by which that of a gradient may
_SHARE = 0.5  # the largest share of units that may be dead, or of values that may be saturated
# Examples become alike if their cosine ends above _ALIKE though it was below _APART at the input.
_ALIKE, _APART = 0.99, 0.9


def findings(spots: Sequence[Spot], start: float, gradients: bool) -> Iterator[Finding]:
    """What is wrong: one finding of each kind, where it begins."""
    tests: tuple[tuple[str, Callable[[Spot], str | None]], ...] = (
        ("not_finite", lambda spot: _not_finite(spot.seen.square)),
        ("explodes", lambda spot: _explodes(spot, spots[0])),
        ("vanishes", lambda spot: _vanishes(spot, spots[0])),
        ("dead", lambda spot: _too_many(spot.seen.dead, "of the units are dead")),
        ("saturated", lambda spot: _too_many(spot.seen.saturated, "of the values are saturated")),
        ("rank_collapse", lambda spot: _collapses(spot, start)),
        ("gradient_not_finite", lambda spot: _not_finite(spot.seen.gradient_square)),
        ("gradient_explodes", lambda spot: _gradient(spot, spots[-1], explodes=True)),
        ("gradient_vanishes", lambda spot: _gradient(spot, spots[-1], explodes=False)),
    )
    alive = [spot for spot in spots if spot.weight != 0]  # zeros are deliberate
    for kind, test in tests:
        if kind.startswith("gradient") and not gradients:
            continue
        hits = [(spot, message) for spot in alive if (message := test(spot))]
        if kind.startswith("gradient"):
            hits.reverse()  # a gradient begins at the last layer
        if hits:
            spot, message = hits[0]
            more = f", and {len(hits) - 1} more layers" if len(hits) > 1 else ""
            severity = "error" if kind.endswith("not_finite") else "warning"
            yield Finding(severity, kind, spot.path, message + more, _REMEDIES[kind])


_REMEDIES = {
    "not_finite": "look for an overflow before it, or for NaN in the parameters: jaxinit.audit",
    "gradient_not_finite": "look for an overflow, or a division by zero, where it comes from",
    "explodes": "its weights are too large for what it takes: jaxinit.autoinit, or calibrate",
    "vanishes": "its weights are too small for what it takes: jaxinit.autoinit, or calibrate",
    "dead": "check biases and the scale before it; leaky_relu or gelu keep a gradient",
    "saturated": "its weights are too large for the activation: glorot_normal, or autoinit",
    "rank_collapse": "examples become alike: autoinit with rule='critical', or residual branches",
    "gradient_explodes": "autoinit with rule='critical' keeps gradients, as normalization does",
    "gradient_vanishes": "autoinit with rule='critical' keeps gradients, as residual branches do",
}


def _not_finite(x: float) -> str | None:
    return None if math.isfinite(x) else "NaN or infinity"


def _first(spot: Spot) -> Spot:
    """The first layer of the chain that the layer is in, each of which feeds one other."""
    while len(spot.before) == 1 and not spot.parameter.fed_by.normalized:
        (spot,) = spot.before
    return spot


def _last(spot: Spot) -> Spot:
    """The last layer of that chain."""
    *_, last = (spot, *_behind(spot))
    return last


def _behind(spot: Spot) -> Iterator[Spot]:
    """The layers of that chain behind the layer, in order."""
    while len(spot.after) == 1:
        (spot,) = spot.after
        yield spot


def _feeds_zeros(spot: Spot) -> bool:
    """Whether a kernel of zeros, as the second of an adapter, stops the gradient on purpose."""
    return any(other.weight == 0 for other in _behind(spot))


def _explodes(spot: Spot, first: Spot) -> str | None:
    """Compare what a layer makes with the start of its chain, and what it takes with the input.

    The second comparison is for layers that take a sum, such as a residual stream.
    """
    chain = _first(spot)
    if spot.std > _FORWARD * chain.std > 0:
        return f"std {spot.std:.3g}, {spot.std / chain.std:.3g} times that of {chain.path}"
    taken, begun = root(spot.seen.taken), root(first.seen.taken)
    if taken > _FORWARD * begun > 0:
        return f"takes a signal of size {taken:.3g}, {taken / begun:.3g} times the first layer's"
    return None


def _vanishes(spot: Spot, first: Spot) -> str | None:
    chain = _first(spot)
    if spot.std * _FORWARD < chain.std and spot.parameter.residual is None:
        return f"std {spot.std:.3g}, {spot.std / chain.std:.2g} of that of {chain.path}"
    taken, begun = root(spot.seen.taken), root(first.seen.taken)
    if taken * _FORWARD**2 < begun:
        return f"takes a signal of size {taken:.3g}, {taken / begun:.2g} of the first layer's"
    return None


def _too_many(share: float, what: str) -> str | None:
    return f"{share:.0%} {what}" if share > _SHARE else None


def _collapses(spot: Spot, start: float) -> str | None:
    pooled = not spot.parameter.fed_by.name  # means over places are alike
    if spot.seen.cosine > _ALIKE and start < _APART and not pooled:
        return f"two examples have cosine {spot.seen.cosine:.4f}, {start:.2f} at the input"
    return None


def _gradient(spot: Spot, last: Spot, explodes: bool) -> str | None:
    """Compare a gradient with that at the end of the chain, and if it is large, at the output."""
    if not explodes and _feeds_zeros(spot):
        return None
    ends = (_last(spot), last) if explodes else (_last(spot),)
    for end in ends:
        here, there = spot.gradient_norm, end.gradient_norm
        ratio = here / there if there > 0 else 1.0
        if (ratio > _BACKWARD) if explodes else (0 < ratio < 1 / _BACKWARD or here == 0 < there):
            return f"gradient of norm {here:.3g}, {ratio:.2g} times that at {end.path}"
    return None

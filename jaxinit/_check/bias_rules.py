"""Which biases keep the units behind them where their activation is flat, so that they are dead.

A unit with the bias b sees values around b, spread as its kernel makes them. How much of a gradient
comes back through it is the mean slope of its activation over these:

    relu, b = -20, spread 1.4       0          dead
    tanh, b = -4, spread 0.5        0.002      alive
    leaky_relu, b = -20             0.01       alive
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._choose.activations import Activation, resolve
from .._choose.quadrature import normal_weights
from . import names
from .findings import Finding, number
from .layer_rules import spread_of_output
from .measure import slopes
from .subject import Model, Subject

_FLAT = 0.5 * math.erfc(4 / math.sqrt(2))  # a relu's mean slope 4 standard deviations below 0
_SHARE = 0.1  # of the units, from which on a finding is told
_GRID = np.sinh(np.linspace(-12, 12, 2001))  # the places at which a slope is evaluated
_NORMAL = np.linspace(-6, 6, 241)  # standard normal values, and how much each counts
_WEIGHTS = normal_weights(_NORMAL)
_ENDS = np.array([-20.0, 10.0, 20.0])


def of_biases(model: Model) -> Iterator[Finding]:
    """Biases that keep many of the units behind them where their activation is flat."""
    by_path = {s.path: s for s in model.subjects}
    for s in model.subjects:
        if s.role != "bias" or s.found.bad or s.asked is not None:
            continue
        p = s.known.parameter if s.known else None
        layer = by_path.get(p.layer) if p and p.layer else None
        known = layer.known.parameter if layer and layer.known else None
        if known is not None:
            is_gate = known.role == "recurrent" or "sigmoid" in known.activation
            where, activations = f"where {known.activation} is", known.functions
        elif p is None:
            is_gate = True
            where, activations = "below zero, where relu and the like are", (jax.nn.relu,)
        else:
            continue
        if (is_gate and names.is_gate(s.path)) or (p is None and names.is_deliberate(s.path)):
            continue
        spread = spread_of_output(layer)
        blocks = known.blocks if known else ()
        share = float(np.mean(_dead(s.found.head, activations, _block_of(s, blocks), spread)))
        if share > _SHARE:
            yield _told(s, share, where, spread, is_known=known is not None)


def _told(s: Subject, share: float, where: str, spread: float, is_known: bool) -> Finding:
    x = s.found
    return Finding(
        "warning",
        "dead",
        s.path,
        ("it keeps ", number(share, ".0%"), f" of the units {where} flat"),
        "start it from jaxinit.zeros",
        f"biases from {x.low:.3g} to {x.high:.3g}, beside a signal of standard deviation "
        f"{spread:.3g}" + ("" if is_known else " or so"),
    )


def _block_of(s: Subject, blocks: Sequence[int]) -> np.ndarray | None:
    """The index of the fused kernel behind each element; None where it is not known."""
    if len(blocks) < 2 or s.found.shape != (sum(blocks),):
        return None
    block = np.repeat(np.arange(len(blocks)), blocks)[: s.found.head.size]
    return block if block.shape == s.found.head.shape else None  # a complex one has two parts


def _dead(
    biases: np.ndarray, activations: Sequence[Activation], block: np.ndarray | None, spread: float
) -> np.ndarray:
    """Which units are dead by their bias: under all activations, where its own is not known."""
    far = np.abs(biases) > spread
    if not far.any():
        return far
    each = [far & _is_flat(phi, biases, spread) for phi in activations]
    if block is None or len(each) != block.max() + 1:
        return np.all(each, axis=0)
    return np.choose(block, each)


def _is_flat(activation: Activation, biases: np.ndarray, spread: float) -> np.ndarray:
    """Whether an activation is flat over what each unit sees, and would not be with no bias."""
    phi = resolve("audit", activation).function
    if phi is None:
        return np.zeros(biases.shape, bool)
    below, *above = np.asarray(phi(jnp.asarray(_ENDS, jnp.float32)), np.float64)
    if below > 0 and above[1] > 1.5 * above[0]:  # exp, softplus: a small factor may be meant
        return np.zeros(biases.shape, bool)
    found = np.asarray(slopes(phi, jnp.asarray(_GRID, jnp.float32)), np.float64)
    steep = np.nan_to_num(found, nan=1.0, posinf=1e30)
    places, back = np.unique(np.append(biases, 0.0), return_inverse=True)
    means = np.interp(places[:, None] + spread * _NORMAL, _GRID, steep) @ _WEIGHTS
    *of_biases, of_none = (means < _FLAT)[back]
    return np.array(of_biases) & ~of_none

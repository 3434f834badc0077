"""Scales for units that combine several linear outputs: gated units (GLU and its variants), maxout.

A gated unit multiplies two outputs of the layer, a * gate(b). If a and b are independent with
variance s, its second moment is s E[gate(sqrt(s) z)^2]. The scale that keeps the second moment
makes this 1. For example, ReGLU: s * s/2 = 1, so s = sqrt(2).
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .known import GATES
from .quadrature import NODES, WEIGHTS, evaluate


@functools.cache
def gated_scale(name: str) -> tuple[float, float]:
    """The scale of a gated unit, and by how much a deviation from 1 grows in each layer.

    A second moment of 1 + d becomes 1 + growth * d, for a small d.
    """
    low, high = 0.1, 10.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _gated_moment(name, middle) < 1 else (low, middle)
    scale, step = math.sqrt(low * high), 1e-3
    up, down = (_gated_moment(name, scale * (1 + d)) for d in (step, -step))
    return scale, (up - down) / (2 * step)


def _gated_moment(name: str, variance: float) -> float:
    """E[(a gate(b))^2] for independent normal a and b of this variance."""
    gate = evaluate(GATES[name], math.sqrt(variance) * NODES)
    return variance * float(WEIGHTS @ (gate * gate))


@functools.cache
def maxout_moment(pieces: int) -> float:
    """E[max(z_1, ..., z_k)^2] for k independent standard normals; it is 1 for one or two."""
    below = np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in NODES])
    return float(WEIGHTS @ (NODES * NODES * pieces * below ** (pieces - 1)))

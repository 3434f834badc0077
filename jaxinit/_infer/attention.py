"""Reads by how much the logits of attention are scaled.

Attention takes the softmax of inner products of queries and keys. Of d features with variance 1
each, such a product has variance d, so the logits are usually divided by sqrt(d)::

    logits = jnp.einsum("bqhd,bkhd->bhqk", q / jnp.sqrt(d), k)      # factor 1/sqrt(d), size d

Some models leave the division out and make the kernel of the queries smaller instead, as T5 does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .._choose.activations import Activation
from .._choose.recognise import GRID
from .._program import jax_internals as internals
from .._program.ir import Op
from .activation_match import recognise
from .dataflow import Graph
from .fused_blocks import after_product, is_bilinear
from .kernel_inputs import Taken
from .kernel_uses import KernelUse
from .parameter import Logits, Parameter

_NOTABLE = 1.5  # the standard deviation of logits from which on a division is missing


def logits_of(
    graph: Graph,
    uses: Sequence[KernelUse],
    taken: Mapping[Op, Sequence[Taken]],
    paths: Sequence[str],
) -> Logits | None:
    """The logits that a kernel makes queries or keys for; None of other kernels."""
    for use in uses:
        for candidate in use.trail.candidates if use.trail else ():
            if candidate.taker is not None and is_bilinear(graph, candidate.taker):
                found = _logits(graph, candidate.taker, taken, paths)
                if found is not None:
                    return found
    return None


def _logits(
    graph: Graph, product: Op, taken: Mapping[Op, Sequence[Taken]], paths: Sequence[str]
) -> Logits | None:
    numbers = internals.contraction(product.primitive, product.params)
    after, result = after_product(graph, product)
    if numbers is None or result is None or recognise(after, result).name != "softmax":
        return None
    known = {t.value: t for t in taken.get(product, ())}.values()
    if any(side.value in side.trail.normalized for side in known):
        return None
    factor = _slope(np.log(after.on_grid(result)))
    for side in known:
        factor *= abs(_slope(np.asarray(side.trail.on_grid(side.value))))
    size = math.prod(product.inputs[0].aval.shape[i] for i in numbers.contracted[0])
    return Logits(size, factor, tuple(dict.fromkeys(paths[side.kernel] for side in known)))


def _slope(f: np.ndarray) -> float:
    return float((f[-1] - f[0]) / (GRID[-1] - GRID[0]))


def excess_of(p: Parameter, function: Activation) -> float:
    """By how much queries or keys that feed this function make logits too large; 1 of others."""
    return 1.0 if p.logits is None or function != "softmax" else undivided(p.logits)


def undivided(logits: Logits) -> float:
    """The standard deviation of the logits of queries and keys of variance 1; 1 if divided."""
    std = logits.factor * math.sqrt(logits.size)
    return std if std > _NOTABLE else 1.0

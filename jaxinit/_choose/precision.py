"""How precisely a function computes, so that nobody expects more of its values.

``lambda x: jax.nn.silu(x).astype(jnp.bfloat16)`` has 8 significant bits: its graph has steps, so it
is compared and integrated up to their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr


def precision(function: Callable[[Any], Any], size: int) -> float:
    """The distance from 1 to the next number of the coarsest float dtype that a function uses.

    ``size`` is the length of the arrays that it takes. What JAX cannot trace, such as a function of
    NumPy, computes in float64.
    """
    with jax.enable_x64(True):
        try:
            traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((size,), jnp.float64))
        except Exception:  # it is judged where it is evaluated
            return float(jnp.finfo(jnp.float64).eps)
    return max(float(jnp.finfo(dtype).eps) for dtype in (jnp.dtype("float64"), *_floats(traced)))


def _floats(jaxpr: ClosedJaxpr | Jaxpr) -> Iterator[Any]:
    """The float dtypes of all results in a jaxpr, and in those inside it."""
    for eqn in jaxpr.eqns:
        dtypes = (getattr(var.aval, "dtype", None) for var in eqn.outvars)
        yield from (x for x in dtypes if x is not None and jnp.issubdtype(x, jnp.floating))
        parts = jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_jaxpr)
        for part in filter(_is_jaxpr, parts):
            yield from _floats(part)


def _is_jaxpr(x: object) -> bool:
    return isinstance(x, ClosedJaxpr | Jaxpr)

"""Traces a function of any arguments to a jaxpr of the arrays among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr

from . import jax_internals as internals
from .trees import KeyPath, Skeleton, has_shape


class Trace(NamedTuple):
    """What a function computes, as a jaxpr of the arrays among its arguments.

    Attributes:
      jaxpr: the computation, from the arrays given to the arrays returned.
      arguments: the arrays (or ShapeDtypeStructs) among the function's arguments.
      paths: the path of each of them in ``(args, kwargs)``.
      results: the tree that the function returns, without its arrays.
    """

    jaxpr: ClosedJaxpr
    arguments: tuple[Any, ...]
    paths: tuple[KeyPath, ...]
    results: Skeleton


def trace(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Trace:
    """Traces ``function(*args, **kwargs)``; arguments that are not arrays are static."""
    flat, structure = jax.tree_util.tree_flatten_with_path((tuple(args), dict(kwargs)))
    places = [i for i, (_, x) in enumerate(flat) if has_shape(x)]
    found: list[Skeleton] = []

    def of_arrays(*arrays: Any) -> list[Any]:
        given = [x for _, x in flat]
        for i, array in zip(places, arrays, strict=True):
            given[i] = array
        positional, named = jax.tree.unflatten(structure, given)
        skeleton, results = Skeleton.of(function(*positional, **named))
        found.append(skeleton)
        return results

    arguments = tuple(flat[i][1] for i in places)
    try:
        with internals.brief_tracers():
            jaxpr = jax.make_jaxpr(of_arrays)(*arguments)
    except Exception:
        jaxpr = jax.make_jaxpr(of_arrays)(*arguments)  # fails again, with JAX's full message
    return Trace(jaxpr, arguments, tuple(flat[i][0] for i in places), found[-1])

"""Checks of what a call of an initializer is given: its arguments, a shape, a sharding."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.sharding import AxisType

from .._random.sharding import OutSharding, axes_of, is_explicit, is_transforming
from .checks import INTS, MOST_AXES, is_key, is_sequence, shown

F = TypeVar("F", bound=Callable[..., jax.Array])
Shape = int | Sequence[int]

_MOST_ELEMENTS = 2**59  # of complex128 they are 2^63 bytes, which XLA cannot count


def needs_key(function: F) -> F:
    """A pure function whose errors, where arguments do not fit it, say how it is called."""
    name, taken = function.__name__, inspect.signature(function)
    has_options = any(p.kind is p.KEYWORD_ONLY for p in taken.parameters.values())
    others = f" and options by name. initializers.{name}(...) takes options alone"
    use = "(key, shape, dtype)" + others * has_options

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> jax.Array:
        try:
            return function(*args, **kwargs)
        except TypeError:
            fault = _misfit(taken, args, kwargs)
            if fault is None:
                raise
        raise TypeError(f"{name}: {fault}; it takes {use}.")

    return cast(F, call)


def _misfit(taken: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why a function cannot be called with these arguments, or None."""
    try:
        taken.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


def check_shape(name: str, shape: Shape) -> tuple[int, ...]:
    """The shape as a tuple of nonnegative ints; a single int is a shape of one axis."""
    try:
        if is_key(shape):
            raise TypeError
        several = is_sequence(shape) or (isinstance(shape, np.ndarray | jax.Array) and shape.ndim)
        sizes: Any = shape if several else (shape,)
        checked = tuple(map(operator.index, sizes))
    except TypeError:
        swapped = " It is the second argument, after the key." if is_key(shape) else ""
        raise TypeError(
            f"{name}: shape must be a sequence of ints; got {shown(shape)}.{swapped}"
        ) from None
    if any(size < 0 for size in checked):
        raise ValueError(
            f"{name}: shape {shown(checked)} has a negative dimension; use sizes of 0 or more."
        )
    if len(checked) > MOST_AXES:
        raise ValueError(
            f"{name}: shape {shown(checked)} has {len(checked)} axes; an array has at most "
            f"{MOST_AXES}."
        )
    if math.prod(checked) > _MOST_ELEMENTS or any(size >= INTS for size in checked):
        raise ValueError(
            f"{name}: shape {shown(checked)} is too large; an array has at most 2^59 elements."
        )
    return checked


def check_sharding(name: str, shape: tuple[int, ...], out_sharding: OutSharding) -> OutSharding:
    """The sharding, if it is of a known kind, has a mesh and fits the shape; an empty one is None.

    JAX gives arrays that lie on no mesh a NamedSharding of an empty mesh.
    """
    if out_sharding is None:
        return None
    if isinstance(out_sharding, jax.sharding.PartitionSpec):
        if jax.sharding.get_abstract_mesh().empty:
            raise ValueError(
                f"{name}: out_sharding={out_sharding} names axes of a mesh, and none is set; "
                f"pass a NamedSharding, or enter jax.set_mesh(mesh)."
            )
        spec, mesh = out_sharding, jax.sharding.get_abstract_mesh()
    elif isinstance(out_sharding, jax.sharding.NamedSharding):
        if out_sharding.mesh.empty:
            return None
        spec, mesh = out_sharding.spec, out_sharding.mesh
        outside = jax.sharding.get_abstract_mesh().empty
        if is_explicit(out_sharding) and outside and is_transforming():
            raise ValueError(
                f"{name}: inside jit or vmap a sharding over explicit axes needs its mesh in the "
                f"context; enter jax.set_mesh(mesh) around the call of the transformed function."
            )
    else:
        raise TypeError(
            f"{name}: out_sharding must be a NamedSharding or a PartitionSpec; "
            f"got {type(out_sharding).__name__}."
        )
    if len(spec) > len(shape):
        raise ValueError(
            f"{name}: out_sharding {spec} has {len(spec)} entries, shape {shape} has "
            f"{len(shape)} axes."
        )
    _check_axes(name, shape, spec, mesh)
    return out_sharding


def _check_axes(name: str, shape: tuple[int, ...], spec: Any, mesh: Any) -> None:
    """Raises unless a spec names axes of the mesh, once, that divide the shape where they must."""
    each = [axes_of(part) for part in spec]
    names = [axis for part in each for axis in part]
    unknown = next((axis for axis in names if axis not in mesh.shape), None)
    if unknown is not None or len(set(names)) < len(names):
        fault = "one axis twice" if unknown is None else f"{unknown!r}"
        raise ValueError(
            f"{name}: out_sharding {spec} names {fault}; the axes of the mesh are "
            f"{', '.join(map(str, mesh.shape))}, each to be named at most once."
        )
    if AxisType.Explicit not in mesh.axis_types:
        return
    for axis, part in enumerate(each):
        devices = math.prod(mesh.shape[n] for n in part)
        if shape[axis] % devices:
            raise ValueError(
                f"{name}: axis {axis} of shape {shape} does not divide over the {devices} devices "
                f"of {spec}, as explicit axes of a mesh need."
            )

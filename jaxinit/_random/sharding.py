"""Putting arrays on the devices of a mesh: what an initializer's ``out_sharding`` means.

JAX has two kinds of mesh axes. Along *explicit* axes the sharding is part of an array's type, and
operations are told the sharding of their result. Along *auto* axes a compiler chooses, and is given
a constraint. The functions here hide the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax import lax
from jax.extend.core import get_opaque_trace_state
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

Sharding = NamedSharding | PartitionSpec
OutSharding = Sharding | None


def named(out_sharding: Sharding) -> NamedSharding:
    """The sharding together with its mesh; a bare PartitionSpec takes the mesh of the context."""
    if isinstance(out_sharding, NamedSharding):
        return out_sharding
    return NamedSharding(jax.sharding.get_abstract_mesh(), out_sharding)


def axes_of(part: Any) -> tuple[str, ...]:
    """The axes of the mesh that one entry of a PartitionSpec names; an open entry names none."""
    return part if isinstance(part, tuple) else (part,) if isinstance(part, str) else ()


def is_explicit(sharding: NamedSharding) -> bool:
    """Whether any axis of the mesh is explicit."""
    return AxisType.Explicit in sharding.mesh.axis_types


def mesh_of(out_sharding: OutSharding) -> AbstractContextManager:
    """A context that enters the sharding's mesh, if its axes are explicit and JAX allows it."""
    if not isinstance(out_sharding, NamedSharding) or is_transforming():
        return nullcontext()
    mesh = out_sharding.mesh
    if isinstance(mesh, Mesh) and is_explicit(out_sharding):
        return jax.set_mesh(mesh)
    return nullcontext()


with jax.ensure_compile_time_eval():
    _OUTSIDE = get_opaque_trace_state(convention="nnx")  # of code that no transformation runs


def is_transforming() -> bool:
    """Whether a transformation of JAX runs, such as ``jit`` or ``vmap``."""
    return get_opaque_trace_state(convention="nnx") != _OUTSIDE


def is_tracing() -> bool:
    """Whether JAX records operations at the moment, rather than running them.

    Under a transformation it may do either: ``vmap`` runs what does not depend on its input.
    """
    return is_transforming() and isinstance(_nothing(), jax.core.Tracer)


@jax.jit
def _nothing() -> jax.Array:
    """An array that depends on no input."""
    return jnp.zeros(())


def place(x: jax.Array, out_sharding: OutSharding) -> jax.Array:
    """The array, sharded as ``out_sharding`` says."""
    if out_sharding is None:
        return x
    sharding = named(out_sharding)
    with mesh_of(out_sharding):
        if is_explicit(sharding):
            return jax.sharding.reshard(x, sharding.spec)
        return lax.with_sharding_constraint(x, sharding)


def assemble(
    make: Callable[..., jax.Array],
    spec: Hashable,
    *parts: ArrayLike,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """``make(spec, *parts)`` as one compiled program, its result sharded as ``out_sharding`` says.

    The compiler decides how the operations inside ``make`` are sharded, also if the axes of the
    mesh are explicit.
    """
    with mesh_of(out_sharding):
        return _assemble(make, spec, out_sharding, *parts)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _assemble(
    make: Callable[..., jax.Array], spec: Hashable, out_sharding: OutSharding, *parts: ArrayLike
) -> jax.Array:
    return sharded(partial(make, spec), out_sharding)(*parts)


def sharded(make: Callable[..., jax.Array], out_sharding: OutSharding) -> Callable[..., jax.Array]:
    """``make``, its result sharded as ``out_sharding`` says.

    Inside ``make`` no axis of the mesh is explicit. So its operations need no sharding, and
    ``jax.vmap`` may batch all of them; along explicit axes it does not batch every one.
    """
    if out_sharding is None:
        return make
    sharding = named(out_sharding)
    if is_explicit(sharding):
        placed: Any = jax.sharding.auto_axes(make, out_sharding=sharding.spec)
        return placed
    return lambda *parts: lax.with_sharding_constraint(make(*parts), sharding)


def across(out_sharding: OutSharding, shape: Sequence[int], axes: Sequence[int]) -> OutSharding:
    """A sharding for an intermediate of ``shape``: over the same devices, along one axis.

    The axis is the first of ``axes`` whose size the number of devices divides. If there is none, it
    is the last of ``axes``, with as many of the mesh's axes as divide its size. For example, over a
    mesh of 4 x 2 devices, shape (3, 16) and axes (0, 1) give all 8 devices to axis 1.
    """
    if out_sharding is None:
        return None
    sharding = named(out_sharding)
    used = [name for part in sharding.spec for name in axes_of(part)]
    sizes = sharding.mesh.shape
    devices = math.prod(sizes[name] for name in used)
    axis = next((axis for axis in axes if shape[axis] % devices == 0), axes[-1])
    taken: list[str] = []
    for name in used:
        if shape[axis] % math.prod(sizes[n] for n in (*taken, name)) == 0:
            taken.append(name)
    parts = (tuple(taken) if i == axis else None for i in range(len(shape)))
    return _like(out_sharding, PartitionSpec(*parts))


def unsharded(out_sharding: OutSharding, axis: int) -> OutSharding:
    """The same sharding, but with one axis of the array kept whole on each device."""
    if out_sharding is None:
        return None
    parts = (None if i == axis else part for i, part in enumerate(named(out_sharding).spec))
    return _like(out_sharding, PartitionSpec(*parts))


def _like(given: Sharding, spec: PartitionSpec) -> Sharding:
    """The spec on the mesh of the given sharding; without a mesh if that has none."""
    return NamedSharding(given.mesh, spec) if isinstance(given, NamedSharding) else spec

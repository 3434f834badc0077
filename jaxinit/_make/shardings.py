"""Checks where the arrays of a plan are asked to go, and says which devices hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, Sharding

from .._program.misuse import kind
from .._random.sharding import axes_of
from .recording import Leaf


def default_device() -> Any:
    """The device that holds what is given no sharding.

    ``jax.default_backend`` does not know of ``jax.default_device``.
    """
    config: Any = jax.config
    chosen = config.jax_default_device
    if chosen is None or isinstance(chosen, str):
        return jax.local_devices(backend=chosen)[0]
    return chosen


def is_sharding(x: Any) -> bool:
    return x is None or isinstance(x, Sharding | PartitionSpec)


def checked(call: str, leaf: Leaf, sharding: Any) -> Any:
    """The sharding, after checking that it fits the array."""
    if isinstance(sharding, PartitionSpec):
        mesh = jax.sharding.get_mesh()
        if mesh.empty:
            raise ValueError(
                f"{call}: out_shardings has {sharding} for {leaf.path!r}, which names axes of a "
                f"mesh, and none is set. Pass a NamedSharding, or enter jax.set_mesh(mesh)."
            )
        sharding = NamedSharding(mesh, sharding)
    if sharding is None:
        return None
    if not isinstance(sharding, Sharding):
        raise TypeError(
            f"{call}: out_shardings must give a Sharding, a PartitionSpec or None for each leaf; "
            f"got {kind(sharding)} for {leaf.path!r}."
        )
    spec = getattr(sharding, "spec", ())
    try:
        if any(axes_of(part) for part in spec[len(leaf.shape) :]):
            raise ValueError(f"{spec} has {len(spec)} entries")
        sharding.shard_shape(leaf.shape)
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{call}: out_shardings does not fit {leaf.path!r} of shape {leaf.shape}: {reason}. "
            f"Replicate the axis, or shard one that divides."
        ) from None
    return sharding


def is_abstract(sharding: Any) -> bool:
    """Whether it is over a mesh that has no devices."""
    return isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, AbstractMesh)


def check_real(call: str, leaves: Sequence[Leaf], shardings: Sequence[Any]) -> None:
    """Raises if an array is to be made on a mesh that has no devices."""
    for leaf, sharding in zip(leaves, shardings, strict=True):
        if is_abstract(sharding):
            raise ValueError(
                f"{call}: out_shardings has an AbstractMesh for {leaf.path!r}, which has no "
                f"devices; use jax.make_mesh, or Plan.memory to plan."
            )


def devices(sharding: Any) -> Iterable[Any]:
    """The devices that hold an array of this sharding."""
    if sharding is None:
        return [default_device()]
    if is_abstract(sharding):
        return range(sharding.mesh.size)
    return sharding.device_set

"""From the names that a model gives to the axes of its parameters to shardings on a mesh.

Flax attaches the names as metadata, and it is recognised by what it has, without importing Flax: a
box of Linen has ``names``, and a variable of NNX has ``out_sharding`` among its metadata. Stacks
made by ``scan`` or ``vmap`` add a name for their axis there, if they are told one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from .._program.misuse import kind
from .._random.sharding import axes_of

MeshAxes = str | tuple[str, ...] | None
AxisRules = Sequence[tuple[str, MeshAxes]]


class Named(NamedTuple):
    """The names of an array's axes, and the rules that came with them."""

    names: tuple[Any, ...]
    rules: AxisRules


def axis_names(tree: Any) -> Iterator[Named | None]:
    """For each leaf of the tree, the names of its axes; None where it has none."""
    for node in jax.tree.leaves(tree, is_leaf=lambda x: _named(x) is not None):
        for _ in jax.tree.leaves(node):
            yield _named(node)


def check_rules(call: str, mesh: Mesh | AbstractMesh, rules: AxisRules) -> None:
    """Raises unless the rules are pairs that name axes of the mesh."""
    if not isinstance(mesh, Mesh | AbstractMesh):
        raise TypeError(
            f"{call}: mesh must be a mesh of devices, as jax.make_mesh makes; got {kind(mesh)}."
        )
    for rule in rules:
        pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not (pair and isinstance(rule[0], str) and isinstance(rule[1], str | tuple | None)):
            raise TypeError(
                f"{call}: rules must be pairs of an axis name and a mesh axis, as "
                f"('embed', 'model'); got {rule!r}."
            )
        for axis in axes_of(rule[1]):
            if axis not in mesh.axis_names:
                raise ValueError(
                    f"{call}: rule {rule!r} names a mesh axis {axis!r}; the mesh has "
                    f"{', '.join(map(str, mesh.axis_names))}."
                )


def named_sharding(
    where: str, named: Named | None, mesh: Mesh | AbstractMesh, rules: AxisRules
) -> NamedSharding:
    """The sharding of one array; without names it is replicated. Errors begin with ``where``."""
    if named is None:
        return NamedSharding(mesh, PartitionSpec())
    given = [*rules, *named.rules]
    ruled = {name for name, _ in given}
    own = [name for name in named.names if name is not None and name not in ruled]
    for axis in (axis for name in own for axis in axes_of(name)):
        if axis not in mesh.axis_names:
            raise ValueError(
                f"{where} has an axis {axis!r}, which is no axis of the mesh and has no rule; "
                f"add one, as ({axis!r}, {mesh.axis_names[0]!r}) or ({axis!r}, None)."
            )
    spec, used = dict[int, MeshAxes](), set[str]()
    for name, axes in (*given, *zip(own, own, strict=True)):
        for i in (i for i, other in enumerate(named.names) if other == name and i not in spec):
            if not used & set(axes_of(axes)):
                spec[i] = axes
                used.update(axes_of(axes))
    return NamedSharding(mesh, PartitionSpec(*(spec.get(i) for i in range(len(named.names)))))


def _named(x: Any) -> Named | None:
    """The names in a box of Linen or a variable of NNX."""
    if hasattr(x, "unbox") and hasattr(x, "names"):
        names, rules = x.names, getattr(x, "rules", None)
    elif hasattr(x, "get_metadata") and hasattr(x, "set_metadata"):
        metadata = x.get_metadata()
        names, rules = metadata.get("out_sharding"), metadata.get("sharding_rules")
    else:
        return None
    names = getattr(names, "spec", names)  # of a NamedSharding
    return None if names is None else Named(tuple(names), tuple(rules or ()))

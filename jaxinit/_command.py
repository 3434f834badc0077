"""jaxinit init: plan what a factory's init function makes, show it, save it."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from . import _text
from ._make.formats import FormatName
from ._make.init import floating, in_dtypes
from ._make.plan import Plan, plan
from ._program.models import init_function
from ._random.stream import is_typed_key
from ._schemes.checks import did_you_mean, shown

Tree = Any

_MOST_DEVICES = 2**20  # of a mesh, whose devices are counted one by one


def init(
    factory: str,
    out: str | None,
    format: FormatName,
    seed: int | None,
    dtype: str | None,
    mesh: str | None,
    dry_run: bool,
) -> None:
    """The command."""
    if not (out or dry_run):
        raise ValueError("init: say where to with --out DIR, or only look with --dry-run.")
    devices = _mesh(mesh) if mesh else None
    if seed is not None and not 0 <= seed < 2**32:  # jax.random.key takes the lowest 32 bits
        raise ValueError(f"init: --seed must be from 0 to {2**32 - 1}; got {shown(seed)}.")
    init_fn, *args = _called(factory)
    if seed is not None:
        args = _seeded(args, seed)
    if dtype is not None:
        init_fn = _in_dtype(init_function("init", init_fn), dtype)
    planned = plan(init_fn, *args)
    print(planned)
    if mesh and devices:
        print(_devices(planned, devices, mesh))
    if dry_run or not out:
        return
    planned.save(out, format, progress=True)
    print(
        f"{out}: {format}, {_text.counted(len(planned.leaves), 'leaf', 'leaves')}, "
        f"{_text.size(planned.nbytes)}"
    )


def _called(factory: str) -> Sequence[Any]:
    """What the factory returns: the init function and its arguments."""
    module, _, name = factory.partition(":")
    if not (module and name):
        raise ValueError(
            f"init: expected MODULE:FACTORY, as examples.gpt2:factory; got {factory!r}."
        )
    if os.getcwd() not in sys.path and "" not in sys.path:  # python -m puts it there, a script not
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"init: no module {error.name!r}; run it where {module} can be imported."
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n in vars(found) if not n.startswith("_")]
            meant = did_you_mean(part, known) or f"; it has {', '.join(known)}."
            raise ValueError(f"init: {module} has no {name}{meant}")
        found = getattr(found, part)
    result = found() if callable(found) and not inspect.signature(found).parameters else None
    if not (isinstance(result, tuple | list) and result and callable(result[0])):
        raise TypeError(
            f"init: {factory} must be a function of no arguments that returns (init_fn, *args), "
            f"as (model.init, jax.random.key(0), tokens)."
        )
    return result


def _seeded(args: Sequence[Any], seed: int) -> list[Any]:
    """The arguments with fresh keys: the seed's own, or its children where there are several."""
    leaves, structure = jax.tree.flatten(args)
    places = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array) and is_typed_key(x)]
    if not places:
        raise ValueError(
            "init: --seed replaces the random keys among the factory's arguments, and there are "
            "none; return jax.random.key(0) among them."
        )
    fresh = jax.random.key(seed, impl=jax.random.key_impl(leaves[places[0]]))
    keys = [fresh] if len(places) == 1 else list(jax.random.split(fresh, len(places)))
    for i, key in zip(places, keys, strict=True):
        leaves[i] = jax.random.split(key, leaves[i].shape) if leaves[i].shape else key
    return list(jax.tree.unflatten(structure, leaves))


def _in_dtype(init_fn: Callable[..., Tree], dtype: str) -> Callable[..., Tree]:
    """The function with its real floating leaves rounded to a dtype, once."""
    try:
        wanted = floating(dtype)
    except TypeError:
        raise ValueError(
            f"init: --dtype must name a floating dtype, as bfloat16; got {dtype!r}."
        ) from None
    return in_dtypes(init_fn, [(re.compile(""), wanted)])


def _devices(planned: Plan, mesh: AbstractMesh, text: str) -> str:
    """How many bytes each device of a mesh would hold."""
    held = planned.memory(_by_size(mesh))
    return f"on {mesh.size} devices ({text}): {_text.sizes(held.values())} each"


def _mesh(text: str) -> AbstractMesh:
    """A mesh from data=8,model=4."""
    try:
        sizes = {name: int(size) for name, size in (axis.split("=") for axis in text.split(","))}
    except ValueError:
        sizes = {}
    if len(sizes) != text.count(",") + 1 or "" in sizes or min(sizes.values()) < 1:
        raise ValueError(f"init: --mesh must be as data=8,model=4; got {shown(text)}.")
    if math.prod(sizes.values()) > _MOST_DEVICES:
        raise ValueError(
            f"init: --mesh must have at most {_MOST_DEVICES} devices; got {shown(text)}."
        )
    return AbstractMesh(tuple(sizes.values()), tuple(sizes))


def _by_size(mesh: AbstractMesh) -> Callable[[str, tuple[int, ...]], NamedSharding]:
    """Each axis of the mesh, in order, divides the largest axis of the leaf that it can."""

    def place(path: str, shape: tuple[int, ...]) -> NamedSharding:
        spec: list[Any] = [None] * len(shape)
        for name, size in mesh.shape.items():
            free = [a for a, n in enumerate(shape) if spec[a] is None and n % size == 0 < n]
            if free:
                spec[max(free, key=lambda a: shape[a])] = name
        return NamedSharding(mesh, PartitionSpec(*spec))

    return place

"""Records what an init function computes, and which of its arrays the same program makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jax.tree_util import keystr

from .._program.ir import Builder, Program
from .._program.trace import Trace, trace
from .._program.trees import KeyPath, Skeleton
from .grouping import Group, group


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of the tree: its path joined by "/", what it is, and the executable's index."""

    path: str
    shape: tuple[int, ...]
    dtype: Any
    nbytes: int
    group: int


@dataclass(frozen=True, slots=True)
class Executable:
    """One program: the indices of the leaves it makes, and how many operations it has."""

    leaves: tuple[int, ...]
    operations: int


@dataclass(frozen=True, eq=False)
class Recording:
    """One call of an init function, traced: what it would make, and by which programs.

    ``whole`` says why the function runs as one program, where it must.
    """

    leaves: tuple[Leaf, ...]
    executables: tuple[Executable, ...]
    whole: str | None
    trace: Trace
    program: Program
    groups: tuple[Group, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all leaves."""
        return sum(leaf.nbytes for leaf in self.leaves)

    @property
    def skeleton(self) -> Skeleton:
        """What surrounds the leaves."""
        return self.trace.results

    @property
    def argument_names(self) -> list[str]:
        """The name of each argument that is an array: args[1], kwargs['x']."""
        return [_name(path) for path in self.trace.paths]


def record(
    init_fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Recording:
    """The recording of ``init_fn(*args, **kwargs)``; computes and allocates nothing."""
    traced = trace(init_fn, args, kwargs)
    builder = Builder()
    program = builder.program(traced.jaxpr)
    effects = builder.effects | set(traced.jaxpr.effects)
    whole = f"has effects ({', '.join(sorted(map(str, effects)))})" if effects else None
    groups = () if whole else tuple(group(program.outputs, builder))
    executables = tuple(Executable(g.leaves, g.template.size) for g in groups)
    if whole:
        every = tuple(range(len(program.outputs)))
        executables = (Executable(every, len(traced.jaxpr.jaxpr.eqns)),)
    owner = {i: n for n, executable in enumerate(executables) for i in executable.leaves}
    leaves = tuple(
        _leaf(path, value.aval, owner[i])
        for i, (path, value) in enumerate(zip(traced.results.paths, program.outputs, strict=True))
    )
    return Recording(leaves, executables, whole, traced, program, groups)


def _leaf(path: str, aval: Any, owner: int) -> Leaf:
    return Leaf(path, tuple(aval.shape), aval.dtype, aval.size * aval.dtype.itemsize, owner)


def _name(path: KeyPath) -> str:
    head, *rest = path
    return ("args" if head.idx == 0 else "kwargs") + keystr(tuple(rest))

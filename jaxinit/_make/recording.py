"""Records what an init function computes, and which of its arrays are made by the same program."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jax.tree_util import keystr

from .. import _text
from .._program.ir import Builder, Program
from .._program.misuse import trace_call
from .._program.trace import Trace
from .._program.trees import KeyPath, Skeleton
from .forward import sharing
from .grouping import Group, group

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of a planned tree.

    Attributes:
      path: its path in the tree, joined by "/".
      shape: its shape.
      dtype: its dtype.
      nbytes: its size in bytes.
      group: the executable that makes it, as a position in ``Plan.executables``.
    """

    path: str
    shape: tuple[int, ...]
    dtype: Any
    nbytes: int
    group: int


@dataclass(frozen=True, slots=True)
class Executable:
    """One program of a plan.

    Attributes:
      leaves: the arrays that it makes, as positions in ``Plan.leaves``.
      operations: the number of its operations.
    """

    leaves: tuple[int, ...]
    operations: int


@dataclass(frozen=True, eq=False)
class Recording:
    """One call of an init function, traced: the arrays that it makes, and by which programs.

    Attributes:
      leaves: the arrays.
      executables: the programs, as users see them.
      whole: the reason why the function must run as one program; None if it need not.
      trace: the jaxpr and what surrounds it.
      program: the computation as a graph.
      groups: the programs, as they are compiled; none if the function runs as one program.
    """

    leaves: tuple[Leaf, ...]
    executables: tuple[Executable, ...]
    whole: str | None
    trace: Trace
    program: Program
    groups: tuple[Group, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(leaf.nbytes for leaf in self.leaves)

    @property
    def skeleton(self) -> Skeleton:
        """The tree without its arrays."""
        return self.trace.results

    @property
    def argument_names(self) -> list[str]:
        """The name of each argument that is an array, as args[1] or kwargs['x']."""
        return [_name(path) for path in self.trace.paths]


def record(
    call: str, init_fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Recording:
    """Records ``init_fn(*args, **kwargs)``, without computing or allocating any array.

    ``call`` is the name of the function in errors.
    """
    traced = trace_call(call, "model, key, x", init_fn, args, kwargs)
    with _without_collector():
        builder = Builder()
        program = builder.program(traced.jaxpr)
        whole = _reason_to_run_whole(builder, program, traced)
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
    return Recording(
        leaves=leaves,
        executables=executables,
        whole=whole,
        trace=traced,
        program=program,
        groups=groups,
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pauses Python's collector of cyclic garbage.

    A program of a thousand arrays is some hundred thousand objects, none of them garbage. The
    collector would look at all of them again and again, and at all of JAX's, which takes longer
    than making them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _reason_to_run_whole(builder: Builder, program: Program, traced: Trace) -> str | None:
    """Why the function must run as one program; None if its arrays can be made one by one."""
    effects = builder.effects | set(traced.jaxpr.effects)
    if effects:
        return f"has effects ({', '.join(sorted(map(str, effects)))})"
    if dependent := sharing(program):
        first = traced.results.paths[dependent[0]]
        return f"{len(dependent)} arrays share sums, as a forward pass does; the first is {first}"
    return None


def _leaf(path: str, aval: Any, owner: int) -> Leaf:
    return Leaf(
        path=path,
        shape=tuple(aval.shape),
        dtype=aval.dtype,
        nbytes=aval.size * aval.dtype.itemsize,
        group=owner,
    )


def _name(path: KeyPath) -> str:
    head, *rest = path
    return ("args" if head.idx == 0 else "kwargs") + keystr(tuple(rest))


def rows_of(
    leaves: Sequence[Leaf], full: bool = False
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The headings and rows of a table of arrays; equal arrays of repeated layers are one row.

    ``full`` gives each array a row of its own.
    """
    groups: dict[Any, list[Leaf]] = {}
    for leaf in sorted(leaves, key=lambda leaf: _text.natural(leaf.path)):
        path = leaf.path if full else _NUMBERS.sub("*", leaf.path)
        groups.setdefault((path, leaf.shape, leaf.dtype, leaf.group), []).append(leaf)
    folded = any(len(alike) > 1 for alike in groups.values())
    rows = [
        (
            alike[0].path if len(alike) == 1 else path,
            *([str(len(alike))] if folded else []),
            _text.shape(shape),
            str(dtype),
            _text.size(alike[0].nbytes),
            str(group),
        )
        for (path, shape, dtype, group), alike in groups.items()
    ]
    counted = ("path", "count", "shape", "dtype", "bytes each", "group")
    return counted if folded else ("path", "shape", "dtype", "bytes", "group"), rows

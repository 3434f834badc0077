"""Infer: what each parameter of a model is for, read from the computation itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax

from . import _jax_internals as internals
from ._graph import graph
from ._records import Parameter
from ._report import text
from ._roles import Reader
from ._slices import Builder, Program

Tree = Any


@dataclass(frozen=True, eq=False)
class Inferred(Mapping[str, Parameter]):
    """What ``infer`` found: a mapping from paths to ``Parameter``. ``print`` it for a table."""

    parameters: Mapping[str, Parameter]

    def __getitem__(self, path: str) -> Parameter:
        return self.parameters[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    @cached_property
    def biased(self) -> frozenset[str]:
        """The paths of the kernels that have a bias."""
        return frozenset(p.layer for p in self.values() if p.layer)

    def __repr__(self) -> str:
        return f"Inferred({len(self)} parameters)"

    def __str__(self) -> str:
        rows = [
            (
                p.path,
                "x".join(map(str, p.shape)) or "scalar",
                p.role,
                " + ".join(p.ties or (p.op,)),
                "" if p.fan_in is None else f"{p.fan_in:g}",
                "" if p.fan_out is None else f"{p.fan_out:g}",
                p.activation,
                "" if p.residual is None else f"{p.residual.index}/{p.residual.total}",
                "x".join(map(str, p.blocks)),
            )
            for p in self.values()
        ]
        headings = ("path", "shape", "role", "operation", "fan_in", "fan_out", "feeds", "branch")
        return text((*headings, "blocks"), rows, right=(4, 5))


def infer(apply_fn: Callable[..., Any], params: Tree, *inputs: Any, **kwargs: Any) -> Inferred:
    """What each parameter of ``apply_fn(params, *inputs, **kwargs)`` is for.

    Traces the forward pass and reads its operations; nothing is computed or allocated. Fans come
    from the dimension numbers of the operation that uses a parameter, through reshapes, transposes,
    casts, slices, concatenations, loops, branches, jit, remat and custom derivatives; the
    activation from the values of the elementwise function that follows.

    Args:
      apply_fn: any function whose first argument is ``params``: ``model.apply`` of flax.linen or
        Haiku, ``lambda model, x: model(x)`` for Equinox, ``lambda state, x:
        nnx.merge(graphdef, state)(x)`` for flax.nnx, your own.
      params: its parameters: arrays or ShapeDtypeStructs.
      *inputs, **kwargs: its other arguments, likewise; what is no array is static.

    Returns:
      A mapping from paths to ``Parameter``, which prints as a table.

    Raises:
      TypeError: ``apply_fn`` is no function.
      ValueError: ``params`` holds no arrays.

    Example:
      >>> import jax, jax.numpy as jnp, jaxinit
      >>> def apply(params, x):
      ...     return jax.nn.relu(x @ params["kernel"] + params["bias"])
      >>> params = {"kernel": jnp.ones((8, 4)), "bias": jnp.ones(4)}
      >>> found = jaxinit.infer(apply, params, jnp.ones((1, 8)))
      >>> found["kernel"].fan_in, found["kernel"].activation, found["bias"].layer
      (8, 'relu', 'kernel')
    """
    return read("infer", apply_fn, params, inputs, kwargs).inferred


class Reading(NamedTuple):
    """A forward pass that was read: its program and arguments, and what was found."""

    program: Program
    arguments: tuple[Any, ...]
    mine: tuple[int, ...]  # the arguments that are parameters
    reader: Reader
    inferred: Inferred
    result: Callable[[Sequence[Any]], Tree]  # what apply_fn returns, of the program's outputs


def read(
    call: str,
    apply_fn: Callable[..., Any],
    params: Tree,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Reading:
    """A forward pass, read; ``call`` is the call that errors name."""
    if not callable(apply_fn):
        raise TypeError(
            f"{call}: expected a function of (params, *inputs) first, as model.apply; got a "
            f"{type(apply_fn).__name__}."
        )
    flat, structure = jax.tree_util.tree_flatten_with_path((params, inputs, dict(kwargs)))
    places = [i for i, (_, x) in enumerate(flat) if _is_array(x)]
    mine = tuple(n for n, i in enumerate(places) if flat[i][0][0].idx == 0)
    if not mine:
        raise ValueError(
            f"{call}: params holds no arrays; give the tree that apply_fn takes first, of arrays "
            f"or jax.ShapeDtypeStruct."
        )

    def function(*arrays: Any) -> list[Any]:
        given = [x for _, x in flat]
        for i, array in zip(places, arrays, strict=True):
            given[i] = array
        first, rest, named = jax.tree.unflatten(structure, given)
        items, made = jax.tree.flatten(apply_fn(first, *rest, **named))
        results[:] = [([None if _is_array(x) else x for x in items], made)]
        return [x for x in items if _is_array(x)]

    results: list[tuple[list[Any], Any]] = []
    arguments = tuple(flat[i][1] for i in places)
    with internals.brief_tracers():
        jaxpr = jax.make_jaxpr(function)(*arguments)
    program = Builder(shared=False).program(jaxpr)
    reader = Reader(graph(program, mine), [path for path, _ in leaves(params)])
    found = Inferred({p.path: p for p in reader.read()})
    ((aside, made),) = results

    def result(outputs: Sequence[Any]) -> Tree:
        arrays = iter(outputs)
        return jax.tree.unflatten(made, [next(arrays) if x is None else x for x in aside])

    return Reading(program, arguments, mine, reader, found, result)


def leaves(params: Tree) -> list[tuple[str, Any]]:
    """The arrays of a tree by path; what is no array is left out.

    As ``tree_init`` has it, a path ends at what has a shape, so that a variable of flax.nnx is
    named like the parameter that it holds.
    """
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_array)[0]:
        inner = jax.tree_util.tree_flatten_with_path(leaf)[0]
        for rest, x in inner:
            whole = path if len(inner) == 1 else (*path, *rest)
            found.append((jax.tree_util.keystr(whole, simple=True, separator="/"), x))
    return [(path, x) for path, x in found if _is_array(x)]


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")

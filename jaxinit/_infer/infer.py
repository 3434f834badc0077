"""Tells what each parameter of a model is for, by reading the model's computation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jax.tree_util import SequenceKey

from .. import _text
from .._program.ir import Builder, Program
from .._program.misuse import trace_call
from .._program.models import HasApply, apply_function
from .._program.trees import arrays
from .dataflow import Graph, graph
from .learned_inputs import learned_inputs
from .parameter import Parameter
from .reader import Reader

Tree = Any
_FIRST_ARGUMENT = (SequenceKey(0), SequenceKey(0))  # in the pair of positional and keyword ones
# How the functions are called that do not take the model first.
_EXAMPLES = {"audit": "params, model, x", "autoinit": "key, model, shapes, x"}


@dataclass(frozen=True, eq=False)
class Inferred(Mapping[str, Parameter]):
    """The result of ``infer``: a mapping from paths to ``Parameter``, which prints as a table."""

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
        return _text.table(*self._cells(), right=(4, 5))

    def _repr_html_(self) -> str:
        return _text.notebook(_text.counted(len(self), "parameter"), *self._cells(), right=(4, 5))

    def _cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The headings of the table, and its rows."""
        rows = [
            (
                p.path,
                _text.shape(p.shape),
                p.role,
                _operations(p.ties or (p.op,)),
                "" if p.fan_in is None else f"{p.fan_in:g}",
                "" if p.fan_out is None else f"{p.fan_out:g}",
                p.activation,
                "" if p.residual is None else f"{p.residual.index}/{p.residual.total}",
                "x".join(map(str, p.blocks)),
            )
            for p in sorted(self.values(), key=lambda p: _text.natural(p.path))
        ]
        headings = ("path", "shape", "role", "operation", "fan_in", "fan_out", "feeds", "branch")
        return (*headings, "blocks"), rows


def _operations(names: Sequence[str]) -> str:
    """Operations in words, each once, with how often it occurs."""
    counts = Counter(names)
    return " + ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())


def infer(
    apply_fn: Callable[..., Any] | HasApply, params: Tree, *inputs: Any, **kwargs: Any
) -> Inferred:
    """Tells what each parameter of ``apply_fn(params, *inputs, **kwargs)`` is for.

    The forward pass is traced and its operations are read; nothing is computed or allocated. Fans
    come from the dimension numbers of the operation that uses a parameter. A parameter is followed
    to that operation through reshapes, transposes, casts, slices, concatenations, loops, branches,
    jit, remat and custom derivatives. The activation is recognised by the values of the elementwise
    function that follows.

    Args:
      apply_fn: any function whose first argument is ``params``: ``model.apply`` of flax.linen or
        Haiku, or the model itself; ``lambda model, x: model(x)`` for Equinox, ``lambda state, x:
        nnx.merge(graphdef, state)(x)`` for flax.nnx, your own.
      params: its parameters, as arrays or ShapeDtypeStructs.
      *inputs, **kwargs: its other arguments, likewise. Arguments that are not arrays are static.

    Returns:
      A mapping from paths to ``Parameter``, which prints as a table.

    Raises:
      TypeError: ``apply_fn`` is neither a function nor a model with one.
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


def _graph(program: Program, parameters: Sequence[int]) -> Graph:
    """The graph of a program, in which learned queries and the like are inputs."""
    found = graph(program, parameters)
    while fresh := learned_inputs(found):
        found = graph(program, parameters, found.inputs | fresh)
    return found


class Reading(NamedTuple):
    """A forward pass that was read.

    Attributes:
      program: its computation.
      arguments: the arrays that it takes.
      mine: the positions of the arguments that are parameters.
      reader: what was found of its kernels.
      inferred: what each parameter is for.
      result: makes what ``apply_fn`` returns from the program's outputs.
    """

    program: Program
    arguments: tuple[Any, ...]
    mine: tuple[int, ...]
    reader: Reader
    inferred: Inferred
    result: Callable[[Sequence[Any]], Tree]


def read(
    call: str,
    apply_fn: Callable[..., Any] | HasApply,
    params: Tree,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Reading:
    """Trace and read a forward pass; ``call`` is the name of the function in errors."""
    function = apply_function(call, apply_fn)
    if not list(arrays(params)):
        raise ValueError(
            f"{call}: params holds no arrays; give the tree that apply_fn takes first, of arrays "
            f"or jax.ShapeDtypeStruct."
        )
    example = _EXAMPLES.get(call, "model, params, x")
    traced = trace_call(call, example, function, (params, *inputs), kwargs)
    mine = tuple(n for n, path in enumerate(traced.paths) if path[:2] == _FIRST_ARGUMENT)
    program = Builder(shared=False).program(traced.jaxpr)
    reader = Reader.of(_graph(program, mine), [path for path, _ in arrays(params)])
    return Reading(
        program=program,
        arguments=traced.arguments,
        mine=mine,
        reader=reader,
        inferred=Inferred({p.path: p for p in reader.parameters()}),
        result=traced.results.restored,
    )

"""The one call that plans and makes a model's parameters: in which dtype, and where on a mesh."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .. import _text
from .._program.models import HasInit, init_function
from .._program.trees import has_shape, path_text
from .axis_names import AxisRules
from .plan import Plan, plan_as

Tree = Any
DType = Any  # what jnp.dtype accepts: a type, a string, a dtype
DTypes = DType | Mapping[str, DType] | Sequence[tuple[str, DType]]


def init(
    model: Callable[..., Tree] | HasInit,
    *args: Any,
    mesh: Mesh | None = None,
    rules: AxisRules = (),
    dtype: DTypes = None,
    progress: bool = False,
    **kwargs: Any,
) -> Tree:
    """Makes a model's parameters, array by array, where its metadata says and in the dtype given.

    It is ``plan`` and ``materialize`` in one call, and the values are theirs.

    Args:
      model: a module of flax.linen, a transformed function of Haiku; a class that is called, of
        flax.nnx or Equinox; or any function that returns a tree of arrays, such as the
        ``init_weights`` of a Hugging Face model, for which the model itself may stand.
      *args: its arguments, as ``plan`` takes them.
      mesh: the devices. Arrays are divided among them by the names that Flax's metadata gives to
        their axes (``with_partitioning``); an array without names is replicated. By default all is
        made on one device.
      rules: pairs of an axis name and the mesh axis that divides it; see ``Plan.shardings``.
      dtype: a floating dtype for all floating-point arrays; or pairs, or a dict, of a regular
        expression and a dtype, of which the first that is found in an array's path counts. Values
        are rounded to it once. What no expression matches keeps its dtype.
      progress: whether to print how much is made for each device, and show a progress bar, both on
        stderr.
      **kwargs: the model's keyword arguments.

    Returns:
      The tree that the model returns.

    Raises:
      TypeError: ``model`` is neither a function nor a model with one, or ``mesh`` is no mesh.
      ValueError: a dtype that is not floating, an expression that matches no floating-point array,
        an axis name without a rule, or an axis that its mesh axis does not divide.

    Example:
      >>> import flax.linen as nn, jax, jaxinit
      >>> x = jax.numpy.ones((1, 4))
      >>> params = jaxinit.init(nn.Dense(8), jax.random.key(0), x, dtype="bfloat16")
      >>> params["params"]["kernel"].dtype.name
      'bfloat16'
    """
    choices = _choices(dtype)
    if mesh is None and rules:
        raise ValueError(
            "init: rules say which axes of a mesh divide the arrays; got no mesh. Pass mesh=, as "
            "jax.make_mesh makes."
        )
    planned = plan_as("init", in_dtypes(init_function("init", model), choices), args, kwargs)
    _check_expressions(planned, choices)
    shardings = None if mesh is None else planned._shardings_of("init", mesh, rules)
    if progress:
        print(_summary(planned, shardings), file=sys.stderr)
    return planned._materialize("init", shardings, progress)


Choices = list[tuple[re.Pattern[str], Any]]  # of paths, and the dtype of those


def in_dtypes(init_fn: Callable[..., Tree], choices: Choices) -> Callable[..., Tree]:
    """The function with its floating-point arrays rounded to the dtypes chosen, once."""

    def rounded(path: Any, x: Any) -> Any:
        if not (has_shape(x) and jnp.issubdtype(x.dtype, jnp.floating)):
            return x
        found = (dtype for expression, dtype in choices if expression.search(path_text(path)))
        return x.astype(next(found, x.dtype))

    # Sets __wrapped__ alone, by which an error finds the name of init_fn.
    @functools.wraps(init_fn, assigned=(), updated=())
    def function(*args: Any, **kwargs: Any) -> Tree:
        return jax.tree_util.tree_map_with_path(rounded, init_fn(*args, **kwargs))

    return function if choices else init_fn


def _choices(dtype: DTypes) -> Choices:
    if dtype is None:
        return []
    pairs = dtype.items() if isinstance(dtype, Mapping) else dtype
    if not isinstance(dtype, Mapping | list | tuple):
        pairs = [("", dtype)]
    try:
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise TypeError(f"got {dtype!r:.80}")
        return [(re.compile(expression), floating(wanted)) for expression, wanted in pairs]
    except (TypeError, re.error) as error:
        raise ValueError(
            f"init: dtype must be a floating dtype, or pairs of a regular expression and one; "
            f"{error}."
        ) from None


def floating(wanted: DType) -> Any:
    """The dtype; raises TypeError if it is none of real floating-point numbers."""
    found = jnp.dtype(wanted)
    if not jnp.issubdtype(found, jnp.floating):
        raise TypeError(f"got {found}")
    return found


def _check_expressions(planned: Plan, choices: Choices) -> None:
    """Raises where an expression is found in no path of a floating-point array."""
    floating = [x.path for x in planned.leaves if jnp.issubdtype(x.dtype, jnp.floating)]
    for expression, _ in choices:
        if expression.pattern and not any(map(expression.search, floating)):
            raise ValueError(
                f"init: dtype has an expression {expression.pattern!r} that matches no "
                f"floating-point array; their paths are as {floating[0] if floating else None!r}."
            )


def _summary(planned: Plan, shardings: Tree) -> str:
    """How much is made, by how many programs, and how much of it each device holds."""
    held = planned.memory(shardings).values()
    each = f"{_text.sizes(held)} on each of {len(held)} devices"
    return f"{planned!r}: {each if len(held) > 1 else 'on one device'}"

"""What was wrong with a call of a user's function: one line where that is known, else a note."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from .._random.stream import is_typed_key
from .trace import Trace, trace
from .trees import has_shape


def trace_call(
    call: str,
    example: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Trace:
    """``trace``; where the function raises, it tells what the call ``call`` gave to it.

    The function is judged after it failed, so nothing that works is refused.

    Args:
      call: the function of ours that the user called.
      example: its arguments, as a user may write them.
      function, args, kwargs: what is traced.
    """
    try:
        return trace(function, args, kwargs)
    except Exception as error:
        origin = inspect.unwrap(function, stop=lambda f: inspect.ismethod(f) or isinstance(f, type))
        mistake = next(_mistakes(f"{call}({example})", origin, args, kwargs), None)
        if mistake:
            raise TypeError(f"{call}: {mistake}") from error
        given = [*map(_described, args), *(f"{k}={_described(v)}" for k, v in kwargs.items())]
        error.add_note(f"{call} called {_name(origin)}({', '.join(given)}).")
        raise


def _mistakes(
    example: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with ``function(*args, **kwargs)``, the likeliest first."""
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    model = getattr(function, "__self__", None)
    if linen and isinstance(model, linen.Module):
        yield from _mistakes_with_linen(example, function.__name__, args)
    if linen and isinstance(function, type) and issubclass(function, linen.Module):
        yield f"{_name(function)} is a class; make the module first, {_name(function)}(...)."
    for taker, taken in _takers(linen, function, args, kwargs):
        try:
            bound = inspect.signature(taker).bind(*taken[0], **taken[1])
        except TypeError as error:
            yield (
                f"{_name(taker)}: {error}. The arguments of the function follow it: write "
                f"{example}."
            )
        except ValueError:  # a function written in C, say, does not tell what it takes
            continue
        else:
            rngs = bound.arguments.get("rngs")
            is_class = isinstance(function, type) and nnx and issubclass(function, nnx.Module)
            if nnx and is_class and rngs is not None and not isinstance(rngs, nnx.Rngs):
                yield f"{_name(function)} takes rngs=nnx.Rngs(0); got {_described(rngs)}."


def _mistakes_with_linen(example: str, method: str, args: Sequence[Any]) -> Iterator[str]:
    """What is wrong with the first argument of a module's ``init`` or ``apply``."""
    first = args[0] if args else {}
    keys = list(first.values()) if isinstance(first, Mapping) else [first]
    if method == "init" and not all(map(_is_key, keys)):
        yield f"init takes a random key first; got {_described(first)}. Write {example}."
    if method == "apply" and not isinstance(first, Mapping):
        yield (
            f"apply takes the variables that model.init returns first; got {_described(first)}. "
            f"Write {example}."
        )
    elif method == "apply" and "params" not in first:
        yield (
            f"apply takes the variables that model.init returns, {{'params': ...}}; got a dict of "
            f"{', '.join(map(str, first)) or 'nothing'}. Write {{'params': params}}."
        )


def _takers(
    linen: Any, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Callable[..., Any], tuple[Sequence[Any], Mapping[str, Any]]]]:
    """The function with its arguments; likewise ``__call__`` of a module of flax.linen.

    Of a class it is ``__init__``: a metaclass may hide what that takes.
    """
    if isinstance(function, type):
        yield function.__init__, ((None, *args), kwargs)
        return
    yield function, (args, kwargs)
    model = getattr(function, "__self__", None)
    if linen and isinstance(model, linen.Module) and "method" not in kwargs:
        own = inspect.signature(function).parameters
        rest = {name: value for name, value in kwargs.items() if name not in own}
        yield type(model).__call__, ((model, *args[1:]), rest)


def _is_key(x: Any) -> bool:
    """Whether it is a random key of JAX, new or old."""
    return has_shape(x) and (is_typed_key(x) or (x.dtype, x.ndim) == (jnp.uint32, 1))


def _name(function: Any) -> str:
    if inspect.ismethod(function):
        return f"{type(function.__self__).__name__}.{function.__name__}"
    return getattr(function, "__qualname__", type(function).__name__)


def _described(x: Any) -> str:
    """An argument in few words."""
    if has_shape(x):
        return f"{x.dtype}{list(x.shape)}"
    if x is None or isinstance(x, bool | int | float | str):
        return repr(x)[:40]
    arrays = sum(map(has_shape, jax.tree.leaves(x)))
    return kind(x) + (f" of {arrays} arrays" if arrays else "")


def refuse_tracers(call: str, values: Iterable[Any]) -> None:
    """Raise an error if JAX is tracing one of the values, which has no numbers then."""
    if any(isinstance(x, jax.core.Tracer) for x in values):
        raise ValueError(
            f"{call}: got an array that JAX is tracing, which has no values yet; call {call} "
            f"outside jax.jit, jax.grad and jax.vmap."
        )


def kind(value: object) -> str:
    """The type of a value with its article: "an int", "a Mesh"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"

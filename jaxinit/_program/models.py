"""A model in the place of one of its functions: ``model`` for ``model.init`` or ``model.apply``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from .misuse import kind


class HasInit(Protocol):
    """A model with an ``init`` function, of flax.linen or Haiku for example."""

    @property
    def init(self) -> Callable[..., Any]: ...


class HasApply(Protocol):
    """A model with an ``apply`` function, of flax.linen or Haiku for example."""

    @property
    def apply(self) -> Callable[..., Any]: ...


def init_function(call: str, given: Any) -> Callable[..., Any]:
    """The ``init`` of a model, the ``init_weights`` of one of Hugging Face, or what was given."""
    if _is_nnx_module(given):
        name = type(given).__name__
        raise TypeError(
            f"{call}: expected a class of NNX, not a module that is made already; got "
            f"{kind(given)}. Write {call}({name}, ...) with the arguments of {name} after it."
        )
    if isinstance(given, type) and _is_hugging_face(given):
        name = given.__name__
        raise TypeError(
            f"{call}: expected an init function, not a class whose objects hold their parameters; "
            f"got {name}. Write {call}({name}(config, _do_init=False).init_weights, key, shape)."
        )
    function = _own(given, "init", "apply")
    if function is given and _is_hugging_face(given):
        function = given.init_weights
    if not callable(function):
        raise TypeError(
            f"{call}: expected an init function first, as model.init; got "
            f"{kind(given)}. Write {call}(model.init, key, x)."
        )
    return function


def apply_function(call: str, given: Any) -> Callable[..., Any]:
    """The ``apply`` of a model, or the function given."""
    if _is_nnx_module(given):
        raise TypeError(
            f"{call}: expected a function of (params, *inputs) first; got "
            f"{kind(given)} of NNX. Write graphdef, params = nnx.split(model) and give "
            f"lambda params, x: nnx.merge(graphdef, params)(x)."
        )
    function = _own(given, "apply", "init")
    if function is given and _is_hugging_face(given):
        raise TypeError(
            f"{call}: expected a function of (params, *inputs) first; got "
            f"{kind(given)}, which takes its inputs first. Give "
            f"lambda params, *inputs: model(*inputs, params=params)."
        )
    if not callable(function):
        raise TypeError(
            f"{call}: expected a function of (params, *inputs) first, as model.apply; got "
            f"{kind(given)}."
        )
    return function


def _is_hugging_face(given: Any) -> bool:
    """Whether it is a Flax model of transformers, or the class of one."""
    return hasattr(given, "init_weights") and hasattr(given, "config_class")


def _own(given: Any, name: str, other: str) -> Any:
    """What a model has under this name, or what was given.

    A module of flax.linen can be called too, but not so, so what has both ``init`` and ``apply`` is
    a model. A class is not: calling it makes an object.
    """
    own = None if isinstance(given, type) else getattr(given, name, None)
    is_model = callable(own) and (callable(getattr(given, other, None)) or not callable(given))
    return own if is_model else given


def _is_nnx_module(given: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(given, nnx.Module)

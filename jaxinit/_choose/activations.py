"""Activation functions: which one is meant, and its gain.

An activation is given by name, as a function or a module, wrapped or not: ``"relu"``,
``jax.nn.relu``, ``functools.partial(jax.nn.leaky_relu, negative_slope=0.1)``,
``flax.linen.PReLU()``, or any function of one value. ``resolve`` finds out which known activation
it is.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import jax

from .._schemes.checks import check_choice, did_you_mean, shown
from .known import ALIASES, BY_FUNCTION, BY_NAME, Known
from .quadrature import Function, UnsuitableError, second_moment
from .recognise import recognise

Activation = str | Callable[..., Any] | None
Direction = Literal["forward", "backward"]
_DIRECTIONS = ("forward", "backward")


class Resolved(NamedTuple):
    """An activation as it was given.

    Attributes:
      known: its row in the table, if it is a known one.
      function: what computes it; None if an output depends on several inputs.
      parameter: the value of the option that shapes it, such as a slope.
    """

    known: Known | None
    function: Callable[[Any], Any] | None
    parameter: float


def resolve(name: str, activation: Activation) -> Resolved:
    """Which activation is meant. ``name`` is the call that an error names."""
    if activation is None:
        activation = "identity"
    if isinstance(activation, str):
        known = _lookup(name, activation)
        return Resolved(known, known.function, known.default)
    if not callable(activation):
        raise TypeError(
            f"{name}: activation must be a name, a function or None; got {shown(activation)}."
        )
    function = _function_of(name, activation)
    if found := _listed(function):
        return found
    match = recognise(function)
    if match is None:
        return Resolved(None, function, 0.0)
    known = BY_NAME[match.name]
    parameter = known.default if match.parameter is None else match.parameter
    return Resolved(known, match.function if known.function else None, parameter)


def _listed(function: Any) -> Resolved | None:
    """The row of a function that stands in the table, or of a ``functools.partial`` of one."""
    options: dict[str, Any] = {}
    bare = function
    while isinstance(bare, functools.partial) and not bare.args:
        options = {**bare.keywords, **options}
        bare = bare.func
    try:
        known = BY_NAME.get(BY_FUNCTION.get(bare, ""))
    except TypeError:  # the function is not hashable
        return None
    if known is None or not set(options) <= {known.parameter}:
        return None
    try:
        parameter = float(options.get(known.parameter, known.default))
    except (TypeError, ValueError):  # an array of slopes, say
        return None
    return Resolved(known, function if known.function else None, parameter)


def _function_of(name: str, activation: Any) -> Function:
    """A function of one array from a function, a module, or the class of a module."""
    if isinstance(activation, type):
        try:
            activation = activation()
        except TypeError as error:
            raise TypeError(
                f"{name}: {activation.__name__} is a class that needs arguments; give an instance, "
                f"or a function of one value."
            ) from error
        if not callable(activation) and not _is_linen(activation):
            raise TypeError(
                f"{name}: activation must be a name, a function or None; got an instance of "
                f"{type(activation).__name__}, which cannot be called."
            )
    return _applied(activation) if _is_linen(activation) else activation


def _is_linen(x: object) -> bool:
    """Whether ``x`` is a Flax Linen module; Flax is not imported to find out."""
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(x, linen.Module)


def _applied(module: Any) -> Function:
    """A Linen module with the parameters it starts with, as a function."""
    alone = module.clone(parent=None)

    @functools.wraps(type(module).__call__)
    def function(x: Any) -> Any:
        return alone.apply(alone.init(jax.random.key(0), x), x)

    function.__name__ = type(module).__name__
    return function


def _lookup(name: str, activation: str) -> Known:
    key = activation.strip().lower().replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in BY_NAME:
        names = sorted({*BY_NAME, *ALIASES})
        meant = did_you_mean(key, names) or f"; the known ones are {', '.join(names)}."
        raise ValueError(
            f"{name}: unknown activation {shown(activation)}{meant} Any function of one value is "
            f"accepted too."
        )
    return BY_NAME[key]


def gain(activation: Activation, direction: Direction = "forward") -> float:
    """The factor by which to multiply weights so that an activation keeps the signal's size.

    It is 1/sqrt(E[phi(z)^2]) for z ~ N(0, 1), or for "backward" the same of the derivative phi'.
    Weights of variance gain^2/fan_in keep the second moment from layer to layer. It is exact for
    piecewise linear functions, ELU and SELU. For others it is integrated numerically, with an error
    below 1e-6 wherever the function has kinks. Inside ``jax.jit`` it is a Python float as well.

    Args:
      activation: a name; a function or module of JAX, Flax or your own that maps each value by
        itself; a ``functools.partial`` of one; or None, which is the identity.
      direction: "forward" or "backward".

    Returns:
      The gain, a float.

    Raises:
      ValueError: the name or the direction is unknown; or the function is not elementwise (softmax,
        glu), is not finite, is zero everywhere, or has an infinite second moment (1/x).
      TypeError: the activation is neither a name nor callable.

    Example:
      >>> import jaxinit
      >>> f"{jaxinit.gain('relu'):.4f} {jaxinit.gain('tanh'):.4f}"
      '1.4142 1.5925'

    Source: He et al. 2015, eq. 7 and 14; for ``direction`` Schoenholz et al. 2017, eq. 5.
    """
    check_choice("gain", "direction", direction, _DIRECTIONS)
    return 1 / math.sqrt(moment("gain", activation, backward=direction == "backward"))


def moment(name: str, activation: Activation, backward: bool = False) -> float:
    """E[phi(z)^2], or E[phi'(z)^2], for z ~ N(0, 1). ``name`` is the call that an error names."""
    return moment_of(name, resolve(name, activation), written(activation), backward)


def moment_of(name: str, found: Resolved, text: str, backward: bool = False) -> float:
    """``moment`` of an activation that is resolved; an error calls it ``text``."""
    if found.function is None:
        raise ValueError(
            f"{name}: {text} is not elementwise, so it has no gain; "
            f"use recommend for an initializer, or give the scale yourself."
        )
    if found.known is not None and found.known.moments is not None:
        value = found.known.moments(found.parameter)[backward]
    else:
        with naming(name, text):
            value = second_moment(found.function, backward)
    if value <= 1e-30:
        what = "derivative" if backward else "value"
        raise ValueError(
            f"{name}: the {what} of {text} is zero on N(0, 1), so no gain keeps it; "
            f"give the scale yourself."
        )
    return value


@contextmanager
def naming(name: str, text: str) -> Iterator[None]:
    """Errors about a function name the call, and the function as the user wrote it."""
    try:
        yield
    except UnsuitableError as error:
        raise ValueError(f"{name}: {text} {error}") from None


def written(activation: Activation) -> str:
    """The activation as an error shows it."""
    if isinstance(activation, str) or activation is None:
        return shown(activation)
    name = getattr(activation, "__name__", None)
    return name if isinstance(name, str) else type(activation).__name__

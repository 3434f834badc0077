"""Configs: an initializer as a dict in JSON's types, and back.

    >>> from jaxinit import initializers
    >>> config = initializers.scaled(initializers.he_normal(), 0.5).to_config()
    >>> config
    {'name': 'scaled', 'init': {'name': 'he_normal'}, 'factor': 0.5}
    >>> initializers.get(config)
    scaled(he_normal(), 0.5)

A config is the name of a factory and its options; what is inside an option is written alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import keras
from .checks import did_you_mean, labelled, shown
from .fans import Layout
from .static_array import StaticArray

Config = dict[str, Any]
Factories = Mapping[str, Any]

_DEEPEST = 50  # configs within configs
_MOST_ELEMENTS = 2**24  # of an array


def encode(init: Any, call: Callable[[], tuple[str, Mapping[str, Any]]]) -> Config:
    """The config of a call."""
    name, options = call()
    return {"name": name, **{option: _encoded(init, value) for option, value in options.items()}}


def _encoded(init: Any, value: Any) -> Any:
    """An option's value in JSON's types."""
    if isinstance(value, StaticArray):
        numbers: Any = value.array.tolist()
        if value.array.dtype.kind == "c" or not np.isfinite(value.array).all():
            numbers = _encoded(init, numbers)  # JSON has no such numbers
        return {"name": "array", "value": numbers, "dtype": value.dtype}
    if isinstance(value, Layout):
        return {"name": "Layout", **{k: _encoded(init, v) for k, v in value.given().items()}}
    if isinstance(value, tuple | list):
        return [_encoded(init, item) for item in value]
    if isinstance(value, complex):
        real, imag = (_encoded(init, part) for part in (value.real, value.imag))
        return {"name": "complex", "real": real, "imag": imag}
    if isinstance(value, float) and not math.isfinite(value):
        return {"name": "float", "value": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "to_config"):
        return value.to_config()
    raise ValueError(
        f"to_config: {init} has a part that JSON cannot hold, {shown(value)}: a function that is "
        f"not an initializer of jaxinit."
    )


def build(given: Any, factories: Factories) -> Any:
    """The initializer of a name, a config of ours or of Keras, or a function as it is."""
    with labelled("get"):
        made = _built(given, factories, 0)
        if not callable(made):
            raise TypeError(f"{shown(given)} is a config of an option, not of an initializer.")
    return made


def _built(given: Any, factories: Factories, depth: int) -> Any:
    """What a name or a config stands for, an option of an initializer too."""
    if depth > _DEEPEST:
        raise ValueError(f"a config holds at most {_DEEPEST} configs within one another.")
    if isinstance(given, str):
        return _named(given, factories)
    if isinstance(given, Mapping) and "class_name" in given:
        return _of_keras(given["class_name"], given.get("config", {}), factories, depth)
    if isinstance(given, Mapping) and isinstance(given.get("name"), str):
        options = {str(k): _decoded(v, factories, depth) for k, v in given.items() if k != "name"}
        return _call(given["name"], options, factories)
    if callable(given):
        return given
    raise TypeError(
        f"expected a name, a config with 'name' (or Keras's 'class_name'), or an "
        f"initializer; got {shown(given)}."
    )


def _of_keras(name: Any, given: Any, factories: Factories, depth: int) -> Any:
    """What Keras calls by a class name: an array, or an initializer."""
    if not isinstance(name, str) or not isinstance(given, Mapping | None):
        raise TypeError(
            f"Keras's config needs a name as 'class_name' and a dict as 'config'; got "
            f"{shown(name)} and {shown(given)}."
        )
    kept = {str(k): v for k, v in (given or {}).items() if k != "seed"}  # it may be a generator
    options = {k: _decoded(v, factories, depth) for k, v in kept.items()}
    if name in ("__numpy__", "__tensor__"):
        return _array(options.get("value"), options.get("dtype"))
    return keras.build(name, options, factories)


def _named(name: str, factories: Factories) -> Any:
    """By our name, or by Keras's class name."""
    known = keras.NAMES.get(name, name)
    if name not in factories and known in keras.CLASSES:
        return keras.build(known, {}, factories)
    return _call(name, {}, factories)


def _call(name: str, options: Config, factories: Factories) -> Any:
    makers = {**factories, "Layout": Layout, "array": _array, "complex": complex, "float": _float}
    if name not in makers:
        meant = did_you_mean(name, factories) or f"; known are {', '.join(sorted(factories))}."
        raise ValueError(f"no initializer is called {shown(name)}{meant}")
    made = makers[name]
    if name in ("zeros", "ones") and not options:
        return made
    try:
        return made(**options)
    except TypeError as error:  # Python's own has "name() missing ..."
        wrong = re.sub(r"^\w+\(\) ", "", str(error))
        raise TypeError(f"{name}: {wrong.removeprefix(f'{name}: ')}") from None


def _decoded(value: Any, factories: Factories, depth: int) -> Any:
    """An option's value; a dict in it is a config."""
    if isinstance(value, Mapping):
        if value.get("name") == "array":  # before _built would turn its nested lists into tuples
            return _array(value.get("value"), value.get("dtype"))
        return _built(value, factories, depth + 1)
    if isinstance(value, list):
        if depth > _DEEPEST:
            raise ValueError(f"a config holds at most {_DEEPEST} lists within one another.")
        return tuple(_decoded(item, factories, depth + 1) for item in value)
    return value


def _array(value: Any, dtype: Any) -> np.ndarray:
    """An array of a config, once it is known to be small and of numbers."""
    try:
        known = jnp.dtype(dtype)
        if not (jnp.issubdtype(known, jnp.number) or known == np.dtype(bool)):
            raise TypeError
        array = _elements(value, known)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(
            f"an array needs numbers as 'value' and a dtype of numbers as 'dtype'; got "
            f"{shown(value)} and {shown(dtype)}."
        ) from None
    if array.size > _MOST_ELEMENTS:
        raise ValueError(f"an array has at most {_MOST_ELEMENTS} elements; got {array.size}.")
    return array


def _elements(value: Any, dtype: np.dtype) -> np.ndarray:
    """An array of numbers; those that JSON does not have are configs."""
    try:
        return np.asarray(value, dtype)
    except TypeError:
        return np.asarray(_decoded(value, {}, 0), dtype)


def _float(value: Any) -> float:
    """A float that JSON has no number for."""
    if value not in ("inf", "-inf", "nan"):
        raise ValueError(f"a float as 'value' is inf, -inf or nan; got {shown(value)}.")
    return float(value)

"""Configs: an initializer as a dict of names and numbers, and back; Keras's own dicts too.

An initializer prints as the call that made it; its config is that call in JSON's types, so nothing
about a scheme is written twice.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

Config = dict[str, Any]
Factories = Mapping[str, Any]

# The options that a call gives by position.
POSITIONAL = {
    "constant": ("value",),
    "variance_scaling": ("scale", "mode", "distribution"),
    "sparse": ("sparsity",),
    "blocks": ("init", "sizes"),
    "scaled": ("init", "factor"),
    "shifted": ("init", "offset"),
    "clipped": ("init", "lower", "upper"),
    "masked": ("init", "mask"),
    "repeated": ("init", "times"),
    "array": ("value",),
}


def read(call: str) -> Config:
    """The config of a call as an initializer prints it."""
    try:
        return {"name": call} if call.isidentifier() else _read(ast.parse(call, mode="eval").body)
    except (SyntaxError, ValueError):
        raise ValueError(
            f"to_config: {call} has a part that JSON cannot hold: a function that is no "
            f"initializer of jaxinit, or an array of over 1000 elements."
        ) from None


def _read(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        options = dict(zip(POSITIONAL.get(name, ()), map(_read, node.args), strict=False))
        return {"name": name, **options, **{k.arg: _read(k.value) for k in node.keywords}}
    if isinstance(node, ast.List | ast.Tuple):
        return [_read(element) for element in node.elts]
    if isinstance(node, ast.Name):  # inf, or an initializer that is no factory, as zeros
        return node.id if node.id == "inf" else {"name": node.id}
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Name):
        return f"-{node.operand.id}"
    return ast.literal_eval(node)


def build(given: Any, factories: Factories) -> Any:
    """The initializer of a name, a config of ours or of Keras, or a function as it is."""
    if isinstance(given, str):
        return _named(given, factories)
    if isinstance(given, Mapping) and "class_name" in given:
        return _from_keras(str(given["class_name"]), given.get("config") or {}, factories)
    if isinstance(given, Mapping) and "name" in given:
        options = {option: _value(value, factories) for option, value in given.items()}
        return _call(options.pop("name"), options, factories)
    if callable(given):
        return given
    raise TypeError(
        f"get: expected a name, a config with 'name' (or Keras's 'class_name'), or an "
        f"initializer; got {given!r}."
    )


def _named(name: str, factories: Factories) -> Any:
    """By our name, or by Keras's class name."""
    if name not in factories and name in KERAS:
        return _from_keras(name, {}, factories)
    return _call(name, {}, factories)


def _call(name: str, options: Config, factories: Factories) -> Any:
    if name not in factories:
        known = ", ".join(sorted(n for n in factories if n[0].islower() and n != "array"))
        raise ValueError(f"get: no initializer is called {name!r}; known are {known}.")
    made = factories[name]
    if name in ("zeros", "ones") and not options:
        return made
    try:
        return made(**options)
    except TypeError as error:
        wrong = re.sub(r"^\w+\(\) ", "", str(error))
        raise TypeError(f"get: {name}: {wrong.removeprefix(f'{name}: ')}") from None


def _value(value: Any, factories: Factories) -> Any:
    """An option's value; a dict in it is a config."""
    if isinstance(value, Mapping):
        return build(value, factories)
    return tuple(_value(v, factories) for v in value) if isinstance(value, list) else value


# Keras ------------------------------------------------------------------------------------------

_DISTRIBUTIONS = {"normal": "truncated_normal", "untruncated_normal": "normal"}


def _from_keras(name: str, given: Mapping[str, Any], factories: Factories) -> Any:
    """By what Keras's class does; its seed is left out, for keys are given to the call."""
    if name not in KERAS:
        why = "; STFT makes the fixed frames of a signal layer, not weights" * (name == "STFT")
        raise ValueError(f"get: Keras's {name!r} is not known here{why}.")
    defaults, make = KERAS[name]
    options = {option: value for option, value in given.items() if option != "seed"}
    unknown = set(options) - set(defaults)
    if unknown:
        raise ValueError(f"get: Keras's {name} has no option {', '.join(sorted(unknown))}.")
    return make(factories, **{**defaults, **options})


def _about(mean: float, init: Any, f: Factories) -> Any:
    return f["shifted"](init, mean) if mean else init


def _plain(name: str) -> Callable[..., Any]:
    return lambda f, **options: _call(name, options, f)


_SCALING = {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"}
_NORMAL = {"mean": 0.0, "stddev": 0.05}

# Keras's class, its options with their defaults, and what they are here.
KERAS: dict[str, tuple[Config, Callable[..., Any]]] = {
    "Zeros": ({}, _plain("zeros")),
    "Ones": ({}, _plain("ones")),
    "Constant": ({"value": 0.0}, _plain("constant")),
    "RandomNormal": (
        _NORMAL,
        lambda f, mean, stddev: _about(mean, f["normal"](stddev), f),
    ),
    "TruncatedNormal": (
        _NORMAL,
        lambda f, mean, stddev: _about(mean, f["truncated_normal"](stddev), f),
    ),
    "RandomUniform": (
        {"minval": -0.05, "maxval": 0.05},
        lambda f, minval, maxval: _about(minval, f["uniform"](maxval - minval), f),
    ),
    "VarianceScaling": (
        _SCALING,
        lambda f, scale, mode, distribution: f["variance_scaling"](
            scale, mode, _DISTRIBUTIONS.get(distribution, distribution)
        ),
    ),
    **{
        f"{family}{law}": ({}, _plain(f"{family.lower()}_{law.lower()}"))
        for family in ("Glorot", "He", "Lecun")
        for law in ("Normal", "Uniform")
    },
    "Orthogonal": ({"gain": 1.0}, lambda f, gain: f["orthogonal"](gain)),
    "OrthogonalInitializer": ({"gain": 1.0}, lambda f, gain: f["orthogonal"](gain)),
    "Identity": ({"gain": 1.0}, _plain("identity")),
    "IdentityInitializer": ({"gain": 1.0}, _plain("identity")),
}

"""Keras's initializers by their class names and configs, as initializers of jaxinit.

    >>> from jaxinit import initializers
    >>> initializers.get({"class_name": "VarianceScaling", "config": {"distribution": "normal"}})
    lecun_normal()

Keras calls a truncated normal "normal", and that is how its configs are read. A seed, which may be
a generator, is left out by who calls ``build``: here the key is given to the call. ``input_axes``
and ``output_axes`` are axes of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .checks import check_number, shown

Config = dict[str, Any]
Factories = Mapping[str, Any]

_DISTRIBUTIONS = {"normal": "truncated_normal", "untruncated_normal": "normal"}


def build(name: str, given: Config, factories: Factories) -> Any:
    """The initializer that does what Keras's class does."""
    if name not in CLASSES:
        why = "; STFT makes the fixed frames of a signal layer, not weights" * (name == "STFT")
        raise ValueError(f"Keras's {shown(name)} is not known here{why}.")
    defaults, make = CLASSES[name]
    unknown = set(given) - set(defaults)
    if unknown:
        raise ValueError(f"Keras's {name} has no option {', '.join(sorted(unknown))}.")
    return make(factories, **{**defaults, **given})


def _normal(name: str, own: str) -> Callable[..., Any]:
    """A normal distribution of Keras's class ``name``, which is ``own`` here but for its mean."""

    def make(f: Factories, mean: Any, stddev: Any) -> Any:
        init, offset = f[own](stddev), check_number(name, "mean", mean)
        return f["shifted"](init, offset) if offset else init

    return make


def _between(f: Factories, minval: Any, maxval: Any) -> Any:
    name = "RandomUniform"
    low, high = check_number(name, "minval", minval), check_number(name, "maxval", maxval)
    if not low < high:
        raise ValueError(f"{name}: expected minval < maxval; got {low} and {high}.")
    if low == -high:
        return f["symmetric_uniform"](high)
    return f["shifted"](f["uniform"](high - low), low) if low else f["uniform"](high)


def _plain(name: str) -> Callable[..., Any]:
    return lambda f, **options: f[name] if name in ("zeros", "ones") else f[name](**options)


def _scaling(name: str, **fixed: Any) -> Callable[..., Any]:
    """A variance scaling by axes that Keras gives as ``input_axes`` and ``output_axes``."""

    def make(f: Factories, input_axes: Any, output_axes: Any, **options: Any) -> Any:
        axes = {"in_axis": input_axes, "out_axis": output_axes}
        if "distribution" in options:
            asked = options["distribution"]
            options["distribution"] = (
                _DISTRIBUTIONS.get(asked, asked) if isinstance(asked, str) else asked
            )
        return f[name](**options, **{role: axis for role, axis in axes.items() if axis is not None})

    return make


_AXES = {"input_axes": None, "output_axes": None}
_SCALING = {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal", **_AXES}
_NORMAL = {"mean": 0.0, "stddev": 0.05}

# Keras's class, its options with their defaults, and what makes it here.
CLASSES: dict[str, tuple[Config, Callable[..., Any]]] = {
    "Zeros": ({}, _plain("zeros")),
    "Ones": ({}, _plain("ones")),
    "Constant": ({"value": 0.0}, _plain("constant")),
    "RandomNormal": (_NORMAL, _normal("RandomNormal", "normal")),
    "TruncatedNormal": (_NORMAL, _normal("TruncatedNormal", "truncated_normal")),
    "RandomUniform": ({"minval": -0.05, "maxval": 0.05}, _between),
    "VarianceScaling": (_SCALING, _scaling("variance_scaling")),
    **{
        f"{family}{suffix}": (_AXES, _scaling(f"{family.lower()}_{suffix.lower()}"))
        for family in ("Glorot", "He", "Lecun")
        for suffix in ("Normal", "Uniform")
    },
    "Orthogonal": ({"gain": 1.0}, lambda f, gain: f["orthogonal"](gain)),
    "OrthogonalInitializer": ({"gain": 1.0}, lambda f, gain: f["orthogonal"](gain)),
    "Identity": ({"gain": 1.0}, _plain("identity")),
    "IdentityInitializer": ({"gain": 1.0}, _plain("identity")),
}
# Keras's names in snake case that are not names here as well.
NAMES = {
    "random_normal": "RandomNormal",
    "random_uniform": "RandomUniform",
    "zero": "Zeros",
    "one": "Ones",
}

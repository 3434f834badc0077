"""Rescales kernels layer by layer until every layer's output has unit variance (LSUV)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._infer.infer import read
from .._program.models import HasApply
from .._program.trees import arrays
from .._schemes.checks import check_count, check_number, shown
from .measure import Layer, layers
from .propagate import check_values
from .stages import Staged

Tree = Any

_KERNELS = ("kernel", "recurrent", "lora_a")


def calibrate(
    apply_fn: Callable[..., Any] | HasApply,
    params: Tree,
    *inputs: Any,
    std: float = 1.0,
    tolerance: float = 0.02,
    passes: int = 10,
    **kwargs: Any,
) -> Tree:
    """Rescale parameters so that every kernel's output has the given standard deviation.

    Layer by layer, from input to output, a kernel is divided by the standard deviation of what it
    makes of this batch, until that is within ``tolerance``. Biases are not changed. Layers that are
    stacked in a loop are rescaled one by one; a kernel that is used at every step of time is
    rescaled by the mean over the steps. Kernels of zeros, embeddings and ``lora_b`` are left alone.

    Args:
      apply_fn, params, *inputs, **kwargs: a forward pass as ``infer`` takes it, of arrays.
      std: the standard deviation to reach.
      tolerance: the relative deviation from ``std`` that is accepted.
      passes: how many times a layer is rescaled at most.

    Returns:
      A tree like ``params``; parameters that were not rescaled are the same objects.

    Raises:
      ValueError: std or tolerance is not positive, or passes no positive int; params or inputs
        have shapes but no values; a layer's output is not finite, or is constant though its kernel
        is not zero.
      TypeError: ``apply_fn`` is not a function, or std or tolerance not a number.

    Example:
      >>> import jax, jax.numpy as jnp, jaxinit
      >>> def apply(params, x):
      ...     return jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"])
      >>> key = jax.random.key(0)
      >>> params = {name: jaxinit.normal(key, (64, 64)) for name in "ab"}
      >>> x = jax.random.normal(key, (128, 64))
      >>> params = jaxinit.calibrate(apply, params, x)
      >>> f"{(jnp.tanh(x @ params['a']) @ params['b']).std():.2f}"
      '1.00'

    Source: Mishkin & Matas 2016, algorithm 1; start from orthogonal kernels to follow it whole.
    """
    std, tolerance = _above_zero("std", std), _above_zero("tolerance", tolerance)
    most = check_count("calibrate", "passes", passes)
    reading = read("calibrate", apply_fn, params, inputs, kwargs)
    check_values("calibrate", reading)
    found = [x for x in layers(reading) if x.parameter.role in _KERNELS]
    found.sort(key=lambda layer: layer.place)
    places = dict(zip((path for path, _ in arrays(params)), reading.mine, strict=True))
    arguments = list(reading.arguments)

    taps = {layer.made: _variance for layer in found}
    staged = Staged(reading.program.outputs, reading.program.inputs, taps)

    def deviations(arguments: list[Any]) -> list[Any]:
        _, seen = staged(arguments, {})
        return [seen.get(layer.made) for layer in found]

    for turn, group in _turns(found):
        for n in group:
            layer, place = found[n], places[found[n].parameter.path]
            for _ in range(most):
                kernel = arguments[place]
                now = _now(deviations(arguments)[n], layer, turn)
                part = kernel if turn is None else kernel[turn]
                if now is None or not np.any(np.asarray(part)):
                    break
                _check(now, layer.parameter.path)
                factor = std / now
                arguments[place] = _scaled(kernel, factor, turn)
                if abs(factor - 1) <= tolerance:
                    break
    mine = iter(arguments[n] for n in reading.mine)
    return jax.tree.map(lambda x: next(mine) if hasattr(x, "shape") else x, params)


def _above_zero(option: str, value: Any) -> float:
    number = check_number("calibrate", option, value)
    if number <= 0:
        raise ValueError(f"calibrate: {option} must be above 0; got {shown(value)}.")
    return number


def _variance(x: Any, sink: Any) -> tuple[Any, Any]:
    wide = jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32
    return x, jnp.var(jnp.asarray(x, wide))


def _turns(found: list[Layer]) -> list[tuple[int | None, list[int]]]:
    """The layers in the order in which they run, with the turn of those that a loop stacks.

    Of stacked layers, all of one turn come before those of the next.
    """
    groups: list[tuple[int | None, list[int]]] = []
    by_loop: dict[int, list[int]] = {}
    for n, layer in enumerate(found):
        if layer.stacked:
            by_loop.setdefault(layer.place[0], []).append(n)
        else:
            groups.append((None, [n]))
    for members in by_loop.values():
        length = found[members[0]].turns[0]
        groups += [(turn, members) for turn in range(length)]
    return sorted(groups, key=lambda group: (found[group[1][0]].place[0], group[0] or 0))


def _now(variances: Any, layer: Layer, turn: int | None) -> float | None:
    """The standard deviation of what the layer makes; None where the layer is not reached."""
    if variances is None:
        return None
    seen = np.asarray(variances, np.float64)
    return math.sqrt(float(seen.mean() if turn is None else seen[turn].mean()))


def _check(now: float, path: str) -> None:
    if not math.isfinite(now) or now == 0:
        raise ValueError(
            f"calibrate: the output of {path} has standard deviation {now} on this batch, which "
            f"no factor can mend; look at it with jaxinit.propagate."
        )


def _scaled(kernel: Any, factor: float, turn: int | None) -> Any:
    """The kernel, or the one of its stack that runs in ``turn``, times a factor, rounded once."""
    x = jnp.asarray(kernel)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    scaled = wide * factor if turn is None else wide.at[turn].multiply(factor)
    return scaled.astype(x.dtype)

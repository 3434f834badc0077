"""Measures signal and gradient layer by layer, next to what mean-field theory predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _text
from .._infer.infer import Reading, read
from .._program.misuse import kind, refuse_tracers
from .._program.models import HasApply
from .._program.trees import Skeleton, has_shape
from .figure import Curve
from .findings import worst_first
from .measure import cosine, layers, looked, measure
from .prediction import predict, spots_of
from .report import Column, Report
from .signal_findings import findings

Tree = Any

_COLUMNS = (
    Column("path", "layer"),
    Column("feeds", "feeds"),
    Column("std", "std"),
    Column("predicted", "predicted"),
    Column("gradient", "gradient std"),
    Column("predicted_gradient", "predicted"),
    Column("cosine", "cosine", 2),
    Column("dead", "dead", 2),
    Column("saturated", "saturated", 2),
    Column("mean", "mean", 2),  # the last are left out where the terminal is narrow
)
_CURVES = (
    Curve("signal, standard deviation", "std", "predicted"),
    Curve("gradient, standard deviation", "gradient", "predicted_gradient"),
    Curve("cosine of two examples", "cosine", log=False),
)


def propagate(
    apply_fn: Callable[..., Any] | HasApply,
    params: Tree,
    *inputs: Any,
    loss: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> Report:
    """Measure signal and gradient in ``apply_fn(params, *inputs, **kwargs)``, layer by layer.

    One forward and backward pass is run. For each kernel, in order of depth, the report has the
    mean and standard deviation of its output with its bias, the share of units whose activation is
    the same for every example (dead), the share of values where a saturating activation is flat,
    the mean cosine between two examples, and the standard deviation of the gradient at its output.

    Next to them stands what mean-field theory predicts from the weights' second moments:
    q' = fan_in E[w^2] E[phi(sqrt(q) z)^2] + E[b^2] from layer to layer. Where a kernel does not
    take the activated output of another, the prediction starts from the measured signal. Gradients
    are predicted in the same way from the last layer to the first, by fan_out and E[phi'^2].

    Args:
      apply_fn, params, *inputs, **kwargs: a forward pass as ``infer`` takes it, with arrays. Give a
        batch: its first axis holds the examples that are compared.
      loss: a function of the output that returns a scalar; by default the inner product of the
        outputs with fixed standard normal numbers, which stands for any loss before training.

    Returns:
      A Report: ``findings`` where the signal explodes, vanishes, dies, saturates or loses rank, or
      a gradient explodes or vanishes; ``rows`` with path, feeds, mean, std, predicted, dead,
      saturated, cosine, gradient, predicted_gradient.

    Raises:
      TypeError: ``apply_fn`` is not a function, or returns no floats and there is no ``loss``.
      ValueError: params or inputs have shapes but no values, or it is called within ``jax.jit``.

    Example:
      >>> import jax, jax.numpy as jnp, jaxinit
      >>> def apply(params, x):
      ...     for w in params:
      ...         x = jnp.tanh(x @ w)
      ...     return x
      >>> keys = jax.random.split(jax.random.key(0), 11)
      >>> params = [jaxinit.normal(k, (256, 256), stddev=0.02) for k in keys[1:]]
      >>> report = jaxinit.propagate(apply, params, jax.random.normal(keys[0], (32, 256)))
      >>> [finding.kind for finding in report.findings]
      ['vanishes', 'gradient_vanishes']

    Source: Poole et al. 2016; Schoenholz et al. 2017, eq. 3 to 8, for the predictions.
    """
    if loss is not None and not callable(loss):
        raise TypeError(
            f"propagate: loss must be a function of what apply_fn returns; got {kind(loss)}."
        )
    reading = read("propagate", apply_fn, params, inputs, kwargs)
    check_values("propagate", reading)
    return measured(reading, loss)


def measured(reading: Reading, loss: Callable[[Any], Any] | None = None) -> Report:
    """The report on a forward pass that was read, whose arguments have values."""
    found = layers(reading)
    seen, no_gradients = measure(reading, found, lambda result: objective(result, loss))
    weights = {
        path: reading.arguments[i] for path, i in zip(reading.inferred, reading.mine, strict=True)
    }
    inputs = [x for i, x in enumerate(reading.arguments) if i not in reading.mine]
    spots = sorted(spots_of(reading, found, seen, weights), key=lambda spot: spot.place)
    predict(spots)
    start = max((float(looked(cosine, x)) for x in inputs if _is_batch(x)), default=math.nan)
    named = {spot.layer.parameter.path for spot in spots}
    lost = [p.path for p in reading.inferred.values() if p.layout and p.path not in named]
    lost = [path for path in lost if reading.inferred[path].role != "embedding"]
    return Report(
        f"signal through {_text.counted(len(spots), 'layer')}",
        worst_first(list(findings(spots, start, gradients=not no_gradients))),
        [spot.row() for spot in spots],
        _COLUMNS,
        _CURVES,
        _notes(lost, no_gradients),
    )


def _notes(lost: Sequence[str], no_gradients: str) -> tuple[str, ...]:
    """What the report does not tell, and why."""
    notes = []
    if lost:
        where = "within a branch, a while loop or a shard_map"
        notes.append(f"{where}, not followed: {', '.join(lost)}")
    if no_gradients:
        notes.append(f"gradients are not measured: {no_gradients}")
    return tuple(notes)


def _is_batch(x: Any) -> bool:
    return hasattr(x, "ndim") and x.ndim > 1 and jnp.issubdtype(x.dtype, jnp.inexact)


def check_values(call: str, reading: Reading) -> None:
    """Raise an error unless all arguments are arrays, and the inputs hold something."""
    if empty := empty_inputs(reading):
        raise ValueError(
            f"{call}: got an input of shape {tuple(empty[0].shape)}, which holds no examples; "
            f"give a batch."
        )
    refuse_tracers(call, reading.arguments)
    for x in reading.arguments:
        if not isinstance(x, jax.Array | np.ndarray | np.generic):
            raise ValueError(
                f"{call}: expected arrays with values; got {kind(x)} of shape "
                f"{tuple(x.shape)}. What shapes alone can tell, jaxinit.infer tells."
            )


def empty_inputs(reading: Reading) -> list[Any]:
    """The inputs, if there are some and none of them has an element."""
    inputs = [x for n, x in enumerate(reading.arguments) if n not in reading.mine]
    return inputs if all(0 in x.shape for x in inputs) else []


def objective(result: Any, loss: Callable[[Any], Any] | None = None) -> Any:
    """The loss, or the inner product of the outputs with fixed random numbers."""
    if loss is not None:
        skeleton, arrays = Skeleton.of(result)
        value = jax.jit(lambda arrays: loss(skeleton.restored(arrays)))(arrays)
        if not has_shape(value):
            got = kind(value)
        elif value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            got = f"{value.dtype} of shape {value.shape}"
        else:
            return value
        raise TypeError(f"propagate: loss must return one real number; got {got}.")
    floats = [
        x
        for x in jax.tree.leaves(result)
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    if not floats:
        raise TypeError(
            "propagate: apply_fn returns no floats, whose gradient could be taken; give loss=, a "
            "function of its output."
        )
    random = np.random.default_rng(0)
    parts = [_inner(_normal(random, x), x) for x in floats]
    return sum(parts[1:], parts[0])


def _normal(random: np.random.Generator, x: Any) -> np.ndarray:
    """Standard normal numbers, as many as x has; of complex ones each part has variance 1/2."""
    if not jnp.iscomplexobj(x):
        return random.standard_normal(x.shape, np.float32)
    parts = random.standard_normal((2, *x.shape), np.float32) / np.float32(math.sqrt(2))
    return parts[0] + 1j * parts[1]


@jax.jit
def _inner(random: Any, x: Any) -> Any:
    """The inner product; of complex arrays its real part."""
    return jnp.vdot(random, jnp.asarray(x, random.dtype)).real

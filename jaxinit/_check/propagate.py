"""Propagate: how signal and gradient fare on their way through a model, and what is predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._choose.activations import Activation
from .._choose.mean_field import moments_on_grid
from .._infer.infer import Reading, read
from .._infer.parameter import Parameter
from .._program.trees import arrays
from .findings import Finding, worst_first
from .measure import Layer, Seen, cosine, layers, measure
from .report import Column, Curve, Report

Tree = Any

_FORWARD = 10.0  # how far the size of a signal may drift from where it started
_BACKWARD = 100.0  # and that of a gradient
_SHARE = 0.5  # of units or values, from which on they are too many
_ALIKE, _APART = 0.99, 0.9  # cosines: inputs below the second should not end above the first

_COLUMNS = (
    Column("path", "layer"),
    Column("feeds", "feeds"),
    Column("mean", "mean", 2),
    Column("std", "std"),
    Column("predicted", "predicted"),
    Column("dead", "dead", 2),
    Column("saturated", "saturated", 2),
    Column("cosine", "cosine", 2),
    Column("gradient", "gradient std"),
    Column("predicted_gradient", "predicted"),
)
_CURVES = (
    Curve("forward std", "std", "predicted"),
    Curve("gradient std", "gradient", "predicted_gradient"),
    Curve("cosine of two examples", "cosine", log=False),
)


def propagate(
    apply_fn: Callable[..., Any],
    params: Tree,
    *inputs: Any,
    loss: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> Report:
    """How signal and gradient fare in ``apply_fn(params, *inputs, **kwargs)``, layer by layer.

    One forward and backward pass. For each kernel, in order of depth: mean and standard deviation
    of its output with its bias, the share of units whose activation is the same at every example
    (dead), the share of values where a saturating activation is flat, the mean cosine between two
    examples, and the standard deviation of the gradient at its output. Next to them is what mean
    field predicts from the weights' second moments: q' = fan_in E[w^2] E[phi(sqrt(q) z)^2] + E[b^2]
    from layer to layer, starting from what was measured where a kernel takes no other's activated
    output; and for gradients backwards likewise, by fan_out and E[phi'^2].

    Args:
      apply_fn, params, *inputs, **kwargs: a forward pass as ``infer`` takes it, of arrays. Give a
        batch: its first axis holds the examples that are compared.
      loss: a function of the output that gives a scalar; by default the outputs' inner product with
        one fixed direction of standard normal numbers, which stands for any loss at the start.

    Returns:
      A Report: ``findings`` where the signal explodes, vanishes, dies, saturates or loses rank, or
      a gradient explodes or vanishes; ``rows`` with path, feeds, mean, std, predicted, dead,
      saturated, cosine, gradient, predicted_gradient.

    Raises:
      TypeError: ``apply_fn`` is no function, or returns no floats and there is no ``loss``.
      ValueError: params or inputs that have a shape only.

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
    reading = read("propagate", apply_fn, params, inputs, kwargs)
    check_values("propagate", reading)
    found = layers(reading)
    seen = measure(reading, found, lambda result: _objective(result, loss))
    weights = dict(arrays(params))
    spots = sorted(_spots(reading, found, seen, weights), key=lambda spot: spot.place)
    _predict(spots)
    start = max((float(cosine(x)) for x in inputs if _is_batch(x)), default=math.nan)
    named = {spot.layer.parameter.path for spot in spots}
    lost = [p.path for p in reading.inferred.values() if p.layout and p.path not in named]
    lost = [path for path in lost if reading.inferred[path].role != "embedding"]
    return Report(
        f"signal through {len(spots)} layers",
        worst_first(list(_findings(spots, start))),
        [spot.row() for spot in spots],
        _COLUMNS,
        _CURVES,
        (f"within a branch or while loop, not followed: {', '.join(lost)}",) if lost else (),
    )


def _is_batch(x: Any) -> bool:
    return hasattr(x, "ndim") and x.ndim > 1 and jnp.issubdtype(x.dtype, jnp.floating)


def check_values(call: str, reading: Reading) -> None:
    """Raises unless all arguments are arrays."""
    for x in reading.arguments:
        if not isinstance(x, jax.Array | np.ndarray | np.generic):
            raise ValueError(
                f"{call}: expected arrays with values; got a {type(x).__name__} of shape "
                f"{tuple(x.shape)}. What shapes alone can tell, jaxinit.infer tells."
            )


def _objective(result: Any, loss: Callable[[Any], Any] | None) -> Any:
    """The loss, or the outputs' product with a fixed random direction."""
    if loss is not None:
        return loss(result)
    floats = [
        x
        for x in jax.tree.leaves(result)
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
    ]
    if not floats:
        raise TypeError(
            "propagate: apply_fn returns no floats, whose gradient could be taken; give loss=, a "
            "function of its output."
        )
    keys = jax.random.split(jax.random.key(0), len(floats))
    parts = [
        jnp.vdot(jax.random.normal(k, x.shape), jnp.asarray(x, jnp.float32))
        for k, x in zip(keys, floats, strict=True)
    ]
    return sum(parts[1:], parts[0])


@dataclass(eq=False)
class _Spot:
    """A layer in one turn: what was seen, its weights' second moments, and what is predicted."""

    layer: Layer
    turn: int | None  # of layers stacked in a loop
    seen: Seen
    weight: float
    bias: float
    before: tuple[_Spot, ...] = ()  # whose activated outputs it takes
    after: tuple[_Spot, ...] = ()
    q: float | None = None
    gradient: float | None = None

    @property
    def parameter(self) -> Parameter:
        return self.layer.parameter

    @property
    def path(self) -> str:
        path = self.parameter.path
        return path if self.turn is None else f"{path}[{self.turn}]"

    @property
    def place(self) -> tuple[int, int, int]:
        loop, position = self.layer.place
        return loop, self.turn or 0, position

    @property
    def std(self) -> float:
        return _root(self.seen.square - self.seen.mean**2)

    @property
    def gradient_std(self) -> float:
        return _root(self.seen.gradient_square - self.seen.gradient_mean**2)

    @property
    def gradient_norm(self) -> float:
        """Of one example, so that layers of different sizes can be compared."""
        shape = self.layer.made.aval.shape
        return _root(self.seen.gradient_square) * math.sqrt(math.prod(shape[1:]))

    def row(self) -> dict[str, Any]:
        """The row of the report."""
        return {
            "path": self.path,
            "feeds": self.parameter.activation,
            "mean": self.seen.mean,
            "std": self.std,
            "predicted": None if self.q is None else math.sqrt(self.q),
            "dead": _known(self.seen.dead),
            "saturated": _known(self.seen.saturated),
            "cosine": _known(self.seen.cosine),
            "gradient": self.gradient_std,
            "predicted_gradient": None if self.gradient is None else math.sqrt(self.gradient),
        }


def _root(x: float) -> float:
    return math.sqrt(max(x, 0.0)) if math.isfinite(x) else x


def _known(x: float) -> float | None:
    return None if math.isnan(x) else x


def _spots(
    reading: Reading,
    found: Sequence[Layer],
    seen: Sequence[list[Seen] | None],
    weights: Mapping[str, Any],
) -> Iterator[_Spot]:
    biases = {p.layer: p.path for p in reading.inferred.values() if p.layer}
    for layer, turns in zip(found, seen, strict=True):
        if turns is None:
            continue
        path = layer.parameter.path
        bias = weights[biases[path]] if path in biases else None
        if not layer.stacked:
            mean = Seen(*np.mean(np.array(turns), 0).tolist())
            yield _Spot(layer, None, mean, _square(weights[path]), _square(bias))
            continue
        for turn, numbers in enumerate(turns):
            place = turn // (len(turns) // layer.turns[0])
            one = None if bias is None else bias[place]
            yield _Spot(layer, turn, numbers, _square(weights[path][place]), _square(one))


def _square(x: Any) -> float:
    """The second moment."""
    return 0.0 if x is None else float(np.mean(np.square(np.abs(np.asarray(x, np.float64)))))


def _predict(spots: Sequence[_Spot]) -> None:
    """Fill in what mean field says, forwards and then backwards."""
    by_path = {(s.parameter.path, s.turn): s for s in spots}
    for spot in spots:
        fed = spot.parameter.fed_by
        before = [by_path.get((path, spot.turn)) for path in fed.kernels]
        spot.before = tuple(b for b in before if b is not None and b.place < spot.place)
        taken = spot.seen.taken
        if fed.functions and len(spot.before) == len(fed.functions):
            scales = [1.0 if fed.normalized else b.q or b.seen.square for b in spot.before]
            pairs = zip(fed.functions, scales, strict=True)
            taken = math.prod(_moments(f, q)[0] for f, q in pairs)
        spot.q = (spot.parameter.fan_in or 1) * spot.weight * taken + spot.bias
        if len(fed.functions) == 1 and not fed.normalized:
            for b in spot.before:
                b.after += (spot,)
    for spot in reversed(spots):
        if spot.after and spot.parameter.takers == len(spot.after) and spot.q is not None:
            slope = _moments(spot.after[0].parameter.fed_by.functions[0], spot.q)[1]
            returned = [
                s.weight * (s.parameter.fan_out or 1) * (s.gradient or s.seen.gradient_square)
                for s in spot.after
            ]
            spot.gradient = slope * sum(returned)


def _moments(function: Activation, q: float) -> tuple[float, float]:
    return moments_on_grid(function, q) if q > 0 and math.isfinite(q) else (0.0, 0.0)


def _findings(spots: Sequence[_Spot], start: float) -> Iterator[Finding]:
    """What is wrong, each kind once, where it begins."""
    tests: tuple[tuple[str, Callable[[_Spot], str | None]], ...] = (
        ("not_finite", lambda spot: _not_finite(spot.seen.square)),
        ("explodes", lambda spot: _explodes(spot, spots[0])),
        ("vanishes", lambda spot: _vanishes(spot, spots[0])),
        ("dead", lambda spot: _too_many(spot.seen.dead, "of the units are dead")),
        ("saturated", lambda spot: _too_many(spot.seen.saturated, "of the values are saturated")),
        ("rank_collapse", lambda spot: _collapses(spot, start)),
        ("gradient_not_finite", lambda spot: _not_finite(spot.seen.gradient_square)),
        ("gradient_explodes", lambda spot: _gradient(spot, spots[-1], explodes=True)),
        ("gradient_vanishes", lambda spot: _gradient(spot, spots[-1], explodes=False)),
    )
    alive = [spot for spot in spots if spot.weight != 0]  # what starts as zero is meant to
    for kind, test in tests:
        hits = [(spot, message) for spot in alive if (message := test(spot))]
        if kind.startswith("gradient"):
            hits.reverse()  # it begins where the gradient comes from
        if hits:
            spot, message = hits[0]
            more = f", and {len(hits) - 1} more layers" if len(hits) > 1 else ""
            severity = "error" if kind.endswith("not_finite") else "warning"
            yield Finding(severity, kind, spot.path, message + more, _REMEDIES[kind])


_REMEDIES = {
    "not_finite": "look for an overflow before it, or for NaN in the parameters: jaxinit.audit",
    "gradient_not_finite": "look for an overflow, or a division by zero, where it comes from",
    "explodes": "its weights are too large for what it takes: jaxinit.autoinit, or calibrate",
    "vanishes": "its weights are too small for what it takes: jaxinit.autoinit, or calibrate",
    "dead": "check biases and the scale before it; leaky_relu or gelu keep a gradient",
    "saturated": "its weights are too large for the activation: glorot_normal, or autoinit",
    "rank_collapse": "examples become alike: autoinit with rule='critical', or residual branches",
    "gradient_explodes": "autoinit with rule='critical' keeps gradients, as normalization does",
    "gradient_vanishes": "autoinit with rule='critical' keeps gradients, as residual branches do",
}


def _not_finite(x: float) -> str | None:
    return None if math.isfinite(x) else "NaN or infinity"


def _first(spot: _Spot) -> _Spot:
    """Where the chain of plain layers begins that the layer is in."""
    while len(spot.before) == 1 and not spot.parameter.fed_by.normalized:
        (spot,) = spot.before
    return spot


def _last(spot: _Spot) -> _Spot:
    while len(spot.after) == 1:
        (spot,) = spot.after
    return spot


def _explodes(spot: _Spot, first: _Spot) -> str | None:
    """Along a chain by what it makes; elsewhere by what it takes, as from a residual trunk."""
    chain = _first(spot)
    if spot.std > _FORWARD * chain.std > 0:
        return f"std {spot.std:.3g}, {spot.std / chain.std:.3g} times that of {chain.path}"
    taken, begun = _root(spot.seen.taken), _root(first.seen.taken)
    if taken > _FORWARD * begun > 0:
        return f"takes a signal of size {taken:.3g}, {taken / begun:.3g} times the first layer's"
    return None


def _vanishes(spot: _Spot, first: _Spot) -> str | None:
    chain = _first(spot)
    if spot.std * _FORWARD < chain.std and spot.parameter.residual is None:
        return f"std {spot.std:.3g}, {spot.std / chain.std:.2g} of that of {chain.path}"
    taken, begun = _root(spot.seen.taken), _root(first.seen.taken)
    if taken * _FORWARD**2 < begun:
        return f"takes a signal of size {taken:.3g}, {taken / begun:.2g} of the first layer's"
    return None


def _too_many(share: float, what: str) -> str | None:
    return f"{share:.0%} {what}" if share > _SHARE else None


def _collapses(spot: _Spot, start: float) -> str | None:
    pooled = not spot.parameter.fed_by.name  # as a mean over places, whose examples are alike
    if spot.seen.cosine > _ALIKE and start < _APART and not pooled:
        return f"two examples have cosine {spot.seen.cosine:.4f}, {start:.2f} at the input"
    return None


def _gradient(spot: _Spot, last: _Spot, explodes: bool) -> str | None:
    """Along a chain against its end; that a gradient explodes also against the last layer."""
    ends = (_last(spot), last) if explodes else (_last(spot),)
    for end in ends:
        here, there = spot.gradient_norm, end.gradient_norm
        ratio = here / there if there > 0 else 1.0
        if (ratio > _BACKWARD) if explodes else (0 < ratio < 1 / _BACKWARD or here == 0 < there):
            return f"gradient of norm {here:.3g}, {ratio:.2g} times that at {end.path}"
    return None

"""Measures what each kernel of a forward pass takes and makes, and the gradient at its output.

Everything is measured in one forward and backward pass. To observe a gradient, a dummy
input of two elements, the *sink*, is added: the identity forward, whose gradient is the mean and
the mean square of the cotangent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from .._choose.activations import resolve
from .._infer.fused_blocks import activated
from .._infer.infer import Reading
from .._infer.kernel_uses import KernelUse
from .._infer.parameter import Parameter
from .._infer.residual import signal
from .._program.ir import Value
from .._random.sharding import is_explicit, mesh_of
from .stages import Staged

_EXAMPLES = 8  # so many examples are compared with one another
_ENOUGH = 16  # a unit is called dead only if it was seen at so many places
_FLAT = 0.05  # an activation is saturated where its slope is below this share of the steepest

Look = Callable[[Any], Any]


class Layer(NamedTuple):
    """A kernel's place in the computation.

    Attributes:
      parameter: the kernel.
      place: the positions at which the outermost loop around it starts and at which it stands.
      taken: the value that it is applied to.
      made: its output, with its bias.
      activated: ``made`` after the activation.
      units: the axes of ``made`` that hold the kernel's outputs.
      live: the axes of ``activated`` that do.
      saturating: the activation, where it saturates at both ends.
      turns: the lengths of the scans around it, outermost first.
      stacked: whether the turns of the outermost scan are layers, each with a kernel of its own,
        not steps of time.
    """

    parameter: Parameter
    place: tuple[int, int]
    taken: Value
    made: Value
    activated: Value
    units: tuple[int, ...]
    live: tuple[int, ...]
    saturating: Look | None
    turns: tuple[int, ...]
    stacked: bool


class Seen(NamedTuple):
    """What was measured of a layer, in one turn of the loops around it.

    Attributes:
      mean, square: the first and second moment of what it makes; of complex values, the modulus of
        their mean and the mean of their squared modulus.
      cosine: the mean cosine between two examples of that.
      saturated: the share of values at which the activation is flat.
      taken: the second moment of what it takes.
      dead: the share of units that have one value for all examples.
      gradient_mean, gradient_square: the same of the gradient of what it makes; NaN where there is
        none.
    """

    mean: float
    square: float
    cosine: float
    saturated: float
    taken: float
    dead: float
    gradient_mean: float
    gradient_square: float


def layers(reading: Reading) -> list[Layer]:
    """The kernels of a forward pass, but for embeddings."""
    found = []
    for path, kernels in zip(reading.inferred, reading.reader.kernels, strict=True):
        followed = next((k for k in kernels if k.trail is not None), None)
        if followed is not None and not followed.fans.looks_up:
            found.append(_layer(reading, reading.inferred[path], followed))
    return [layer for layer in found if layer is not None]


def _layer(reading: Reading, parameter: Parameter, kernel: KernelUse) -> Layer | None:
    graph, trail = reading.reader.graph, kernel.trail
    taken = signal(graph, kernel.op)
    if trail is None or taken is None:
        return None
    biased = trail.with_bias()
    made = biased if graph.bodies.get(biased) == graph.bodies[kernel.op] else trail.start
    after = activated(graph, kernel) or made
    turns = graph.turns[kernel.op]
    return Layer(
        parameter=parameter,
        place=(graph.loops[kernel.op], graph.position[kernel.op]),
        taken=taken,
        made=made,
        activated=after,
        units=trail.units(made),
        live=trail.units(after),
        saturating=_saturating(parameter),
        turns=turns,
        stacked=bool(turns) and _is_stacked(parameter),
    )


def _is_stacked(parameter: Parameter) -> bool:
    """Whether the first axis of the parameter holds a kernel for each layer."""
    layout = parameter.layout
    return layout is not None and isinstance(layout.batch_axis, tuple) and 0 in layout.batch_axis


def _saturating(parameter: Parameter) -> Look | None:
    """The activation, if it is flat at both ends, unlike a relu, which is flat at one."""
    if len(parameter.functions) != 1:
        return None
    phi = resolve("propagate", parameter.functions[0]).function
    if phi is None:
        return None
    ends = np.asarray(phi(jnp.array([-40.0, -20.0, 20.0, 40.0])), np.float64)
    flat = np.allclose(ends[0], ends[1]) and np.allclose(ends[2], ends[3])
    return phi if flat and np.isfinite(ends).all() else None


def cosine(x: Any) -> Any:
    """The mean cosine between two examples, which lie along the first axis.

    NaN where there is one example alone, or where all are zero.
    """
    n = min(_EXAMPLES, x.shape[0])
    rows = _real(x[:n]).reshape(n, -1)
    rows = rows / jnp.max(jnp.abs(rows), 1, keepdims=True)  # squares of tiny values would vanish
    rows = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
    return (jnp.sum(rows @ rows.T) - n) / (n * (n - 1)) if n > 1 else jnp.float32(jnp.nan)


def slopes(phi: Look, z: Any) -> Any:
    """The slopes of phi; those of a condition, which is true or false, are 0."""

    def numbers(z: Any) -> Any:
        made = phi(z)
        return made if jnp.issubdtype(made.dtype, jnp.inexact) else _real(made)

    return jnp.abs(jax.jvp(numbers, (z,), (jnp.ones_like(z),))[1])


def _real(x: Any) -> Any:
    """The values in float32; of complex ones the two parts, along a last axis."""
    parts = jnp.stack([x.real, x.imag], -1) if jnp.iscomplexobj(x) else x
    return jnp.asarray(parts, jnp.float32)


def _mean(x: Any) -> Any:
    """The mean; of complex values its modulus."""
    parts = _real(x)
    if not jnp.iscomplexobj(x):
        return jnp.mean(parts)
    return jnp.hypot(jnp.mean(parts[..., 0]), jnp.mean(parts[..., 1]))


def _second_moment(x: Any) -> Any:
    """The mean square; of complex values that of the modulus."""
    square = jnp.square(_real(x))
    return 2 * jnp.mean(square) if jnp.iscomplexobj(x) else jnp.mean(square)


def _moments(x: Any) -> Any:
    """Mean and second moment, in one array."""
    return jnp.stack([_mean(x), _second_moment(x)])


def looked(look: Look, x: Any) -> Any:
    """What a look measures of a value; along explicit axes of a mesh the compiler divides it."""
    sharding = jax.typeof(x).sharding
    if is_explicit(sharding):
        look = jax.sharding.auto_axes(look, out_sharding=NamedSharding(sharding.mesh, jax.P()))
    return look(x)


def _look_made(saturating: Look | None, units: tuple[int, ...], x: Any) -> Any:
    """Mean, second moment, cosine of examples and share of saturated values, in one array."""
    flat = alike = jnp.float32(jnp.nan)
    if saturating is not None and not jnp.iscomplexobj(x):
        h = _real(x)
        steepest = jnp.max(slopes(saturating, jnp.linspace(-3.0, 3.0, 61)))
        flat = jnp.mean(slopes(saturating, h) < _FLAT * steepest)
    if 0 not in units and x.ndim > 1:
        alike = cosine(x)
    return jnp.stack([_mean(x), _second_moment(x), alike, flat])


def _look_dead(live: tuple[int, ...], x: Any) -> Any:
    """The share of units that have one value everywhere."""
    other = tuple(i for i in range(x.ndim) if i not in live)
    if not live or math.prod(x.shape[i] for i in other) < _ENOUGH:
        return jnp.float32(jnp.nan)
    parts = _real(x)
    same = jnp.max(parts, other) == jnp.min(parts, other)
    return jnp.mean(same.all(-1) if jnp.iscomplexobj(x) else same)


@jax.custom_vjp
def _pass_on(x: Any, sink: Any) -> Any:
    """Return x; the gradient of the sink is the mean and mean square of the gradient of x."""
    return x


def _backward(_: Any, gradient: Any) -> tuple[Any, Any]:
    return gradient, looked(_moments, gradient)


_pass_on.defvjp(lambda x, sink: (x, None), _backward)


@dataclass(frozen=True)
class Looks:
    """A tap that measures one value; equal ones measure the same.

    Attributes:
      made: of what a kernel makes, the saturating activation that follows and the axes of units.
      live: of what is made of that by the activation, the axes of units.
      taken: whether a kernel takes it.
    """

    made: tuple[Look | None, tuple[int, ...]] | None = None
    live: tuple[int, ...] | None = None
    taken: bool = False

    def __call__(self, x: Any, sink: Any) -> tuple[Any, Any]:
        """The value, past its sink, and what was measured of it."""
        fixed, seen = jax.lax.stop_gradient(x), {}
        if self.made is not None:
            seen["made"] = looked(partial(_look_made, *self.made), fixed)
        if self.live is not None:
            seen["dead"] = looked(partial(_look_dead, self.live), fixed)
        if self.taken:
            seen["taken"] = looked(_second_moment, fixed)
        return (x if sink is None else _pass_on(x, sink)), seen


def _taps(found: Sequence[Layer]) -> dict[Value, Looks]:
    """What is measured of each value."""
    taps: dict[Value, Looks] = {}

    def add(value: Value, **looks: Any) -> None:
        taps[value] = replace(taps.get(value, Looks()), **looks)

    for layer in found:
        add(layer.made, made=(layer.saturating, layer.units))
        add(layer.activated, live=layer.live)
        add(layer.taken, taken=True)
    return taps


class Measured(NamedTuple):
    """What was measured.

    Attributes:
      layers: for each layer what was seen in each turn of the loops around it; None for a layer
        that is not reached, as within a branch or a while loop.
      no_gradients: why gradients were not measured; empty where they were.
    """

    layers: list[list[Seen] | None]
    no_gradients: str


def measure(reading: Reading, found: Sequence[Layer], objective: Callable[[Any], Any]) -> Measured:
    """Measure each layer in a forward and a backward pass.

    ``objective`` makes the scalar, from the forward pass's result, whose gradient is taken. Where
    JAX cannot differentiate the computation, the forward pass alone is run.
    """
    taps = _taps(found)
    sinks = {layer.made: jnp.zeros((*layer.turns, 2), jnp.float32) for layer in found}
    staged = Staged(reading.program.outputs, reading.program.inputs, taps)

    def forward(sinks: Sequence[Any]) -> tuple[Any, Any]:
        outputs, seen = staged(reading.arguments, dict(zip(made, sinks, strict=True)))
        return objective(reading.result(outputs)), [seen.get(value) for value in taps]

    made, given, why = list(sinks), list(sinks.values()), ""
    with _in_mesh(reading.arguments):
        try:
            gradients, seen = jax.grad(forward, has_aux=True)(given)
        except (ValueError, NotImplementedError) as error:
            why = str(error).partition("\n")[0]
            _, seen = forward(given)
            gradients = [jnp.full_like(sink, jnp.nan) for sink in given]
    known, returned = dict(zip(taps, seen, strict=True)), dict(zip(made, gradients, strict=True))
    return Measured([_gathered(layer, known, returned[layer.made]) for layer in found], why)


def _in_mesh(arguments: Sequence[Any]) -> AbstractContextManager:
    """A context that enters the mesh along whose explicit axes arguments are sharded."""
    arrays = (x for x in arguments if isinstance(x, jax.Array))
    shardings = (x.sharding for x in arrays if isinstance(x.sharding, NamedSharding))
    return mesh_of(next(filter(is_explicit, shardings), None))


def _gathered(layer: Layer, known: Mapping[Value, Any], gradient: Any) -> list[Seen] | None:
    """What was measured of one layer, for each turn."""
    parts = [known[value] for value in (layer.made, layer.taken, layer.activated)]
    if any(part is None for part in parts):
        return None
    taken, dead = (
        _turned(part[name], layer.turns)[..., None]
        for part, name in zip(parts[1:], ("taken", "dead"), strict=True)
    )
    columns = [parts[0]["made"], taken, dead, gradient]
    numbers = np.concatenate([np.asarray(c, np.float64) for c in columns], -1)
    return [Seen(*map(float, row)) for row in numbers.reshape(-1, numbers.shape[-1])]


def _turned(x: Any, turns: tuple[int, ...]) -> np.ndarray:
    """A number for each turn; a value that is made outside the loops has one for all turns."""
    x = np.asarray(x)
    return np.broadcast_to(x.reshape(x.shape + (1,) * (len(turns) - x.ndim)), turns)

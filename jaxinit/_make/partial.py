"""Windows: a part of a leaf, made without the rest of it.

A window is a range of an array's row-major flat indices. An elementwise operation makes its window
from the same window of its inputs, and random bits know their own index, so a leaf larger than
memory is made part by part, each by the same program, with the bits it has as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import (
    Builder,
    Op,
    Program,
    Value,
    draws_threefry,
    evaluate,
    fused_bits,
    order,
    random_words,
)
from .._random.draw import jaxinit_draw
from .._random.stream import Pair


class Place(NamedTuple):
    """Where a window is made: on which platform, and whether within one of jaxinit's own draws."""

    platform: str
    drawing: bool = False


class Window(NamedTuple):
    """``length`` elements of an array of ``size``, from a flat index."""

    start: Any
    length: int
    size: int
    place: Place

    @property
    def index(self) -> jax.Array:
        """The flat indices."""
        start = self.number(self.start)
        return start + lax.iota(start.dtype, self.length)

    def number(self, value: Any) -> Any:
        """A number as wide as the indices: 64 bits only where the array needs it."""
        dtype = np.uint64 if self.size >= 2**32 else np.uint32
        return dtype(value) if isinstance(value, int) else lax.convert_element_type(value, dtype)


class _Needs(NamedTuple):
    """What a window is made of: values of which it needs the window, and values it needs whole."""

    windows: dict[Value, None]
    whole: dict[Value, None]


def unit(output: Value, limit: int, place: Place, known: Container[Value] = ()) -> int | None:
    """The size of the blocks within which a window of the leaf must lie; None where none may.

    ``limit`` is the most bytes of a value on the way that may be made whole.
    """
    needs = _needs(output, known, place)
    for value in needs.whole:
        if value.op is not None and value.aval.size * value.aval.dtype.itemsize > limit:
            return None
    found = output.aval.size
    for value in needs.windows:
        bodies, inner_place = _bodies(value, place) if value not in known else ((), place)
        for body in bodies:
            inner = unit(body.outputs[0], limit, inner_place, body.inputs)
            if inner is None:
                return None
            found = math.gcd(found, inner)
    return found


def make(
    output: Value, env: Mapping[Value, Any], start: Pair, length: int, place: Place
) -> jax.Array:
    """``length`` elements of ``output`` from a flat index (high, low), given the values in ``env``.

    They come as one axis, and lie within one block of ``unit`` elements.
    """
    size = output.aval.size
    with jax.enable_x64(True) if size >= 2**32 else nullcontext():
        window = Window(jnp.uint32(0), length, size, place)
        high, low = (window.number(half) for half in start)
        first = low if size < 2**32 else (high << window.number(32)) | low
        return _make(output, env, window._replace(start=first))


def _make(output: Value, env: Mapping[Value, Any], window: Window) -> jax.Array:
    needs = _needs(output, env, window.place)
    wholes = tuple(needs.whole)
    whole = dict(zip(wholes, evaluate(wholes, env, fused_bits), strict=True))
    made: dict[Value, jax.Array] = {}
    for value in needs.windows:
        if value in env or value.is_const:
            made[value] = _take(env.get(value, value.const), window)
    for op in order((output,), env):
        for value in op.outputs:
            if value in needs.windows and value not in made:
                made[value] = _apply(value, made, whole, window)
    return made[output] if output in made else _take(whole[output], window)


def _needs(output: Value, known: Container[Value], place: Place) -> _Needs:
    needs = _Needs({}, {})
    stack = [output]
    while stack:
        value = stack.pop()
        if value in needs.windows:
            continue
        if value in known or value.op is None:
            needs.windows[value] = None
        elif not _has_rule(value, place):
            needs.whole[value] = None
        else:
            needs.windows[value] = None
            for read in value.op.inputs:
                if _is_elementwise(value.op) and read.aval.size == value.aval.size > 1:
                    stack.append(read)
                else:
                    needs.whole[read] = None
    return needs


def _has_rule(value: Value, place: Place) -> bool:
    """Whether a window can be made of the operation's result, with the bits of the whole.

    A draw is made so that they never differ. Elsewhere a compiler that sees whole arrays rounds
    otherwise: where it knows an array, where rows are repeated, where indices are computed with,
    and where a loop, of which a window has one step, keeps what follows apart.
    """
    op = value.op
    assert op is not None
    if op.primitive is internals.RANDOM_BITS:
        return draws_threefry(op)
    if op.primitive.name == "iota":
        return place.drawing
    if not _is_elementwise(op):
        return bool(_bodies(value, place)[0])
    if place.drawing:
        return True
    arrays = [v for v in op.inputs if v.aval.size > 1]
    if any(v.aval.size < value.aval.size for v in arrays):
        return False
    rounds = internals.is_float(value.aval) and op.primitive.name not in primitives.KEEPS_ORDER
    return not (rounds and any(_is_apart(v) for v in arrays))


def _is_apart(value: Value) -> bool:
    """Whether the value is an array that is known, or comes from a loop, but for its shape."""
    while value.op is not None and value.op.primitive.name in primitives.KEEPS_ORDER:
        value = value.op.inputs[0]
    return value.op is None or internals.is_scan(value.op.primitive)


def _is_elementwise(op: Op) -> bool:
    """Whether each element is made of those at the same place, after broadcasting."""
    if op.primitive.name == "reshape":
        return internals.keeps_order(op.params)
    if op.primitive.name == "bitcast_convert_type":
        return op.inputs[0].aval.shape == op.outputs[0].aval.shape
    return op.primitive.name in primitives.SAME_BITS_IN_PARTS or op.primitive is internals.THREEFRY


def _bodies(value: Value, place: Place) -> tuple[tuple[Program, ...], Place]:
    """What makes the value within a draw, a branch, or a loop's separate steps; and where."""
    op = value.op
    if op is None:
        return (), place
    if op.part is None:
        if draw := internals.named_kernel(op.primitive, op.params, jaxinit_draw.__name__):
            return (_program(draw, place.platform),), place._replace(drawing=True)
        branch = internals.branch_for(op.primitive, op.params, place.platform)
        return (() if branch is None else (_program(branch),)), place
    part, i = op.part, op.outputs.index(value)
    if part.control.tests is not None or any(k in part.control.carried for k in part.kept_outputs):
        return (), place
    return tuple(Program(body.inputs, (body.outputs[i],)) for body in part.bodies), place


@lru_cache(maxsize=256)
def _program(jaxpr: ClosedJaxpr, platform: str | None = None) -> Program:
    return Builder(platform=platform).program(jaxpr)


def _apply(
    value: Value, made: Mapping[Value, Any], whole: Mapping[Value, Any], window: Window
) -> jax.Array:
    """The window of one operation's result."""
    op, shape = value.op, value.aval.shape
    assert op is not None
    bodies, place = _bodies(value, window.place)
    if bodies:
        return _inside(op, bodies, [whole[v] for v in op.inputs], window._replace(place=place))
    if op.primitive is internals.RANDOM_BITS:
        return random_words(op, whole[op.inputs[0]], window.index)
    if op.primitive.name == "iota":
        (axis,) = internals.geometry(op.primitive, op.params)
        along = window.index // window.number(math.prod(shape[axis + 1 :]))
        return lax.convert_element_type(along % window.number(shape[axis]), value.aval.dtype)
    args = [
        made[v] if v in made else _spread(whole[v], _broadcast_shape(op, v, shape), shape, window)
        for v in op.inputs
    ]
    if op.primitive is internals.THREEFRY:
        return fused_bits(op, args)[op.outputs.index(value)]  # type: ignore[index]
    rows = [jnp.broadcast_to(x, (window.length,)) for x in args]
    if op.primitive.name in primitives.KEEPS_ORDER:
        return rows[0]
    return internals.bind(op.primitive, op.params, op.context, rows)[0]


def _inside(op: Op, bodies: Sequence[Program], args: list[Any], window: Window) -> jax.Array:
    """The window within a draw, a branch, or the step of the loop that it lies in."""

    def at(body: Program, given: Sequence[Any], window: Window) -> jax.Array:
        return _make(body.outputs[0], dict(zip(body.inputs, given, strict=True)), window)

    (body, *_), part = bodies, op.part
    if part is None:
        return at(body, args[len(args) - len(body.inputs) :], window)  # a choice comes first
    if not internals.is_scan(op.primitive):
        index, *given = args
        branches: list[Callable[..., jax.Array]] = [
            lambda given, body=body: at(body, given, window) for body in bodies
        ]
        return lax.switch(index, branches, given)
    size = window.number(body.outputs[0].aval.size)
    step = window.number(window.start) // size
    scanned = part.control.options["first_scanned"]
    given = [
        lax.dynamic_index_in_dim(x, step, keepdims=False) if position >= scanned else x
        for position, x in zip(part.kept_inputs, args, strict=True)
    ]
    start = window.number(window.start) - step * size
    return at(body, given, Window(start, window.length, body.outputs[0].aval.size, window.place))


def _broadcast_shape(op: Op, operand: Value, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The operand's shape, with axes of size 1 where it is repeated to give ``shape``."""
    sizes = operand.aval.shape
    if op.primitive.name != "broadcast_in_dim":
        return (1,) * (len(shape) - len(sizes)) + tuple(sizes)
    (kept,) = internals.geometry(op.primitive, op.params)
    places = dict(zip(kept, sizes, strict=True))
    return tuple(places.get(axis, 1) for axis in range(len(shape)))


def _spread(x: Any, sizes: tuple[int, ...], shape: tuple[int, ...], window: Window) -> jax.Array:
    """The window of ``x``, seen as of ``sizes``, broadcast to ``shape``; one number as it is."""
    flat = jnp.reshape(x, -1)
    if flat.shape[0] == 1:
        return flat[0]
    place, stride, rest = window.number(0), 1, window.index
    for size, full in zip(reversed(sizes), reversed(shape), strict=True):
        along, rest = rest % window.number(full), rest // window.number(full)
        if size > 1:
            place = place + along * window.number(stride)
            stride *= size
    return flat[place]


def _take(x: Any, window: Window) -> jax.Array:
    """The window of an array that is there."""
    return lax.dynamic_slice_in_dim(jnp.reshape(x, -1), window.start, window.length)

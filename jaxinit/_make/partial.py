"""Computes a range of an array's elements without the rest, with the bits that the whole has.

    kernel = 0.1 * jax.random.normal(key, (1000, 200))  # elements 3000 to 3999 are wanted

    mul                  elementwise: needs elements 3000 to 3999 of its array argument
    0.1                  one number: needed whole
    erf_inv, max, add    elementwise: likewise
    random_bits          bit word i is a function of key and i: computed for i = 3000 to 3999

Such a range of flat, row-major indices is a *window*. An operation that has no rule for windows is
computed whole, so an array larger than memory can be made in parts if what must be whole is small.
All windows of one length run the same compiled program, which takes the first index.
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
from .._program.ir import Builder, Op, Program, Value, evaluate, order
from .._program.threefry import draws_threefry, fused_bits, random_words
from .._random.draw import jaxinit_draw
from .._random.stream import Pair


class Setting(NamedTuple):
    """What decides which operations have windows.

    Attributes:
      platform: the platform that the program is compiled for.
      drawing: whether the operation is inside one of jaxinit's own draws.
    """

    platform: str
    drawing: bool = False


class Window(NamedTuple):
    """A range of flat indices: ``length`` elements, from ``start``, of an array of ``size``."""

    start: Any
    length: int
    size: int
    setting: Setting

    @property
    def index(self) -> jax.Array:
        """The flat indices."""
        start = self.number(self.start)
        return start + lax.iota(start.dtype, self.length)

    def number(self, value: Any) -> Any:
        """The value in the dtype of the indices: 64 bits wide only if the array needs it."""
        dtype = np.uint64 if self.size >= 2**32 else np.uint32
        return dtype(value) if isinstance(value, int) else lax.convert_element_type(value, dtype)


class _Needs(NamedTuple):
    """What a window of an output needs.

    Attributes:
      windows: values of which it needs the same window.
      whole: values that it needs whole.
    """

    windows: dict[Value, None]
    whole: dict[Value, None]


def window_block(
    output: Value, limit: int, setting: Setting, known: Container[Value] = ()
) -> int | None:
    """The size of the blocks that windows of an output must not cross; None if it has no windows.

    An array that a loop stacks has one block for each step; most arrays are a single block.
    ``limit`` is the most bytes that a value which must be computed whole may have.
    """
    needs = _needs(output, known, setting)
    for value in needs.whole:
        if value.op is not None and value.aval.size * value.aval.dtype.itemsize > limit:
            return None
    found = output.aval.size
    for value in needs.windows:
        bodies, inner_setting = _bodies(value, setting) if value not in known else ((), setting)
        for body in bodies:
            inner = window_block(body.outputs[0], limit, inner_setting, body.inputs)
            if inner is None:
                return None
            found = math.gcd(found, inner)
    return found


def make(
    output: Value, env: Mapping[Value, Any], start: Pair, length: int, setting: Setting
) -> jax.Array:
    """Computes ``length`` elements of ``output``, as a flat array, given the values in ``env``.

    ``start`` is the first flat index as two words (high, low). The elements must lie within one of
    the blocks that ``window_block`` says.
    """
    size = output.aval.size
    with jax.enable_x64(True) if size >= 2**32 else nullcontext():
        window = Window(start=jnp.uint32(0), length=length, size=size, setting=setting)
        high, low = (window.number(half) for half in start)
        first = low if size < 2**32 else (high << window.number(32)) | low
        return _make(output, env, window._replace(start=first))


def _make(output: Value, env: Mapping[Value, Any], window: Window) -> jax.Array:
    needs = _needs(output, env, window.setting)
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


def _needs(output: Value, known: Container[Value], setting: Setting) -> _Needs:
    """What a window of ``output`` needs, followed back to what is known or must be whole."""
    needs = _Needs({}, {})
    stack = [output]
    while stack:
        value = stack.pop()
        if value in needs.windows:
            continue
        if value in known or value.op is None:
            needs.windows[value] = None
        elif not _has_rule(value, setting):
            needs.whole[value] = None
        else:
            needs.windows[value] = None
            for read in value.op.inputs:
                if _is_elementwise(value.op) and read.aval.size == value.aval.size > 1:
                    stack.append(read)
                else:
                    needs.whole[read] = None
    return needs


def _has_rule(value: Value, setting: Setting) -> bool:
    """Whether a window of the value can be computed with the bits that it has in the whole.

    jaxinit's own draws are written so that it can. Elsewhere a compiler that sees the whole array
    may round differently, and there is no rule: in arithmetic on an array that it knows, on rows
    that are repeated or on indices (iota), and in arithmetic on the result of a loop, which it
    compiles apart from the loop while a window contains one step of the loop itself.
    """
    op = value.op
    assert op is not None
    if op.primitive is internals.RANDOM_BITS:
        return draws_threefry(op)
    if op.primitive.name == "iota":
        return setting.drawing
    if not _is_elementwise(op):
        return bool(_bodies(value, setting)[0])
    if setting.drawing:
        return True
    arrays = [v for v in op.inputs if v.aval.size > 1]
    if any(v.aval.size < value.aval.size for v in arrays):
        return False
    rounds = internals.is_float(value.aval) and op.primitive.name not in primitives.KEEPS_ORDER
    return not (rounds and any(_is_apart(v) for v in arrays))


def _is_apart(value: Value) -> bool:
    """Whether the value is, up to reshaping, a known array, an input or the result of a scan."""
    while value.op is not None and value.op.primitive.name in primitives.KEEPS_ORDER:
        value = value.op.inputs[0]
    return value.op is None or value.op.primitive.name == "scan"


def _is_elementwise(op: Op) -> bool:
    """Whether each element depends on the elements of the inputs, broadcast, at its own index."""
    if op.primitive.name == "reshape":
        return internals.keeps_order(op.params)
    if op.primitive.name == "bitcast_convert_type":
        return op.inputs[0].aval.shape == op.outputs[0].aval.shape
    return op.primitive.name in primitives.SAME_BITS_IN_PARTS or op.primitive is internals.THREEFRY


def _bodies(value: Value, setting: Setting) -> tuple[tuple[Program, ...], Setting]:
    """The inner programs in which windows of the value are computed, and the setting there.

    They are the body of a draw, of the branches of a cond, or of a scan that carries nothing. There
    are none for other operations.
    """
    op = value.op
    if op is None:
        return (), setting
    if op.part is None:
        if draw := internals.named_kernel(op.primitive, op.params, jaxinit_draw.__name__):
            return (_program(draw, setting.platform),), setting._replace(drawing=True)
        branch = internals.branch_for(op.primitive, op.params, setting.platform)
        return (() if branch is None else (_program(branch),)), setting
    part, i = op.part, op.outputs.index(value)
    if part.control.tests is not None or any(k in part.control.carried for k in part.kept_outputs):
        return (), setting
    return tuple(Program(body.inputs, (body.outputs[i],)) for body in part.bodies), setting


@lru_cache(maxsize=256)
def _program(jaxpr: ClosedJaxpr, platform: str | None = None) -> Program:
    return Builder(platform=platform).program(jaxpr)


def _apply(
    value: Value, made: Mapping[Value, Any], whole: Mapping[Value, Any], window: Window
) -> jax.Array:
    """Computes the window of one operation's result."""
    op, shape = value.op, value.aval.shape
    assert op is not None
    bodies, setting = _bodies(value, window.setting)
    if bodies:
        return _inside(op, bodies, [whole[v] for v in op.inputs], window._replace(setting=setting))
    if op.primitive is internals.RANDOM_BITS:
        return random_words(op, whole[op.inputs[0]], window.index)
    if op.primitive.name == "iota":
        (axis,) = internals.geometry(op.primitive, op.params)
        along = window.index // window.number(math.prod(shape[axis + 1 :]))
        return lax.convert_element_type(along % window.number(shape[axis]), value.aval.dtype)
    sizes = [_broadcast_shape(op, v, shape) for v in op.inputs]
    args = [
        made[v] if v in made else _broadcast(whole[v], own, shape, window)
        for v, own in zip(op.inputs, sizes, strict=True)
    ]
    if op.primitive is internals.THREEFRY:
        return fused_bits(op, args)[op.outputs.index(value)]  # type: ignore[index]
    rows = [jnp.broadcast_to(x, (window.length,)) for x in args]
    if op.primitive.name in primitives.KEEPS_ORDER:
        return rows[0]
    return internals.bind(op.primitive, op.params, op.context, rows)[0]


def _inside(op: Op, bodies: Sequence[Program], args: list[Any], window: Window) -> jax.Array:
    """Computes the window inside a draw, a branch, or the one step of a scan that holds it."""

    def at(body: Program, given: Sequence[Any], window: Window) -> jax.Array:
        return _make(body.outputs[0], dict(zip(body.inputs, given, strict=True)), window)

    (body, *_), part = bodies, op.part
    if part is None:
        # A choice by platform has the index of its branch as a first argument.
        return at(body, args[len(args) - len(body.inputs) :], window)
    if op.primitive.name != "scan":
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
    within = window._replace(
        start=window.number(window.start) - step * size, size=body.outputs[0].aval.size
    )
    return at(body, given, within)


def _broadcast_shape(op: Op, operand: Value, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The operand's shape, with an axis of size 1 wherever it is repeated to give ``shape``."""
    sizes = operand.aval.shape
    if op.primitive.name != "broadcast_in_dim":
        return (1,) * (len(shape) - len(sizes)) + tuple(sizes)
    (kept,) = internals.geometry(op.primitive, op.params)
    size_of = dict(zip(kept, sizes, strict=True))
    return tuple(size_of.get(axis, 1) for axis in range(len(shape)))


def _broadcast(x: Any, sizes: tuple[int, ...], shape: tuple[int, ...], window: Window) -> jax.Array:
    """The window of ``x``, which has the shape ``sizes``, once it is broadcast to ``shape``.

    A single number is returned as it is.
    """
    flat = jnp.reshape(x, -1)
    if flat.shape[0] == 1:
        return flat[0]
    index, stride, rest = window.number(0), 1, window.index
    for size, full in zip(reversed(sizes), reversed(shape), strict=True):
        along, rest = rest % window.number(full), rest // window.number(full)
        if size > 1:
            index = index + along * window.number(stride)
            stride *= size
    return flat[index]


def _take(x: Any, window: Window) -> jax.Array:
    """The window of an array that has been computed or given."""
    return lax.dynamic_slice_in_dim(jnp.reshape(x, -1), window.start, window.length)

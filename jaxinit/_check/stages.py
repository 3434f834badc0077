"""Runs a model in stages, of which equal ones are compiled once.

A stage ends where the next matrix product or convolution begins:

    LayerNorm of x | q, its bias | k, its bias | v, its bias | logits, softmax | ...

The stages of one block of a transformer are those of every other block, on other arrays. So a model
of a hundred kernels takes a dozen programs, where as one program it is compiled for half a minute.
The stages are functions of ``jax.jit``, which JAX differentiates one by one and once for all that
are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import jax

from .. import _text
from .._infer.dataflow import is_linear
from .._make.grouping import Numbering
from .._program.ir import Builder, Op, Value, order
from .._program.probe import Tap, run


class Stage(NamedTuple):
    """Some operations that follow one another.

    Attributes:
      call: takes the inputs and the sinks of the tapped values; returns the outputs and what the
        taps reported.
      inputs: the values that it takes, constant arrays included.
      outputs: those that it makes and that what follows needs.
      tapped: those that it makes and that are tapped, also inside its loops.
      outer: the tapped values outside its loops. ``call`` returns them as they are, and they are
        measured afterwards by a program for each shape, so that stages stay small.
      last: the values that nothing after it needs.
    """

    call: Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    tapped: tuple[Value, ...]
    outer: tuple[Value, ...]
    last: tuple[Value, ...]


class Staged:
    """The computation of ``outputs`` from ``inputs``, in stages; like ``probe.run``, many times.

    Taps of equal values in equal stages must be equal, as functions and frozen dataclasses are, for
    these stages to share a program.
    """

    def __init__(
        self, outputs: Sequence[Value], inputs: Sequence[Value], taps: Mapping[Value, Tap]
    ) -> None:
        self._outputs, self._inputs, self._taps = tuple(outputs), tuple(inputs), taps
        with _lock:
            self._stages = list(_stages(self._outputs, frozenset(inputs), taps))
            _compiled.numbering.forget()

    def __call__(
        self, arguments: Sequence[Any], sinks: Mapping[Value, Any]
    ) -> tuple[list[Any], dict[Value, Any]]:
        """The values of the outputs, and what the taps reported."""
        known = dict(zip(self._inputs, arguments, strict=True))
        seen: dict[Value, Any] = {}
        for value in [value for value in known if value in self._taps]:
            found = _tapped(self._taps[value], known[value], sinks.get(value))
            known[value], seen[value] = found
        for stage in _text.watched("running the model", self._stages):
            given = [known.get(value, value.const) for value in stage.inputs]
            made, told = stage.call(given, [sinks.get(value) for value in stage.tapped])
            known.update(zip(stage.outputs, made, strict=True))
            seen.update(zip(stage.tapped, told, strict=True))
            for value in stage.outer:
                fixed = jax.lax.stop_gradient(seen[value])
                seen[value] = _tapped(self._taps[value], fixed, None)[1]
            for value in stage.last:
                known.pop(value, None)
        return [known.get(value, value.const) for value in self._outputs], seen


@partial(jax.jit, static_argnums=0)
def _tapped(tap: Tap, x: Any, sink: Any) -> tuple[Any, Any]:
    return tap(x, sink)


@dataclass
class _Compiled:
    """The functions of the stages met so far, by what makes them equal, for later calls too."""

    numbering: Numbering = field(default_factory=lambda: Numbering(Builder()))
    calls: dict[Any, Callable[..., Any]] = field(default_factory=dict)

    @staticmethod
    def current() -> _Compiled:
        """The ones to use; new ones where too many were met."""
        global _compiled
        if len(_compiled.calls) > _MOST_STAGES or len(_compiled.numbering) > _MOST_PARTS:
            _compiled = _Compiled()
        return _compiled


_MOST_STAGES, _MOST_PARTS = 500, 100_000
_compiled = _Compiled()
_lock = Lock()  # two threads that number parts at once could give two of them one number


def _stages(
    outputs: tuple[Value, ...], inputs: frozenset[Value], taps: Mapping[Value, Tap]
) -> Iterator[Stage]:
    groups = list(_cut(order(outputs, inputs)))
    last = {value: n for n, ops in enumerate(groups) for op in ops for value in op.inputs}
    last |= dict.fromkeys(outputs, len(groups))
    ending: dict[int, list[Value]] = {}
    for value, n in last.items():
        ending.setdefault(n, []).append(value)
    compiled = _Compiled.current()
    for n, ops in enumerate(groups):
        mine = dict.fromkeys(value for op in ops for value in op.outputs)
        given = tuple(
            dict.fromkeys(v for op in ops for v in op.inputs if v not in mine and _is_given(v))
        )
        left = tuple(value for value in mine if last.get(value, n) > n)
        outer = tuple(value for value in mine if value in taps)
        inner = [(place, v) for i, op in enumerate(ops) for place, v in _inner(op, taps, (i,))]
        within = {value: n for n, value in enumerate(dict.fromkeys(v for _, v in inner))}
        key = (
            compiled.numbering.program((*left, *outer), given),
            len(left),
            tuple((v.aval.shape, v.aval.dtype, v.aval.weak_type) for v in given),
            tuple(taps[value] for value in outer),
            tuple((place, within[value], taps[value]) for place, value in inner),
        )
        if key not in compiled.calls:
            apart = _apart(ops, given)
            passing = {apart[value]: _passing(taps[value]) for value in outer}
            reporting = {value: taps[value] for value in within}
            compiled.calls[key] = _call(
                [apart[v] for v in given], [apart[v] for v in left], passing | reporting
            )
        tapped = (*outer, *within)
        ends = tuple(ending.get(n, ()))
        yield Stage(compiled.calls[key], given, left, tapped, outer, ends)


def _is_given(value: Value) -> bool:
    """Whether a value is an argument of a stage; numbers are part of it."""
    return not value.is_const or value.aval.ndim > 0


def _inner(
    op: Op, taps: Mapping[Value, Tap], place: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Value]]:
    """The tapped values inside a loop, and where in its body each stands."""
    for b, body in enumerate(op.part.bodies if op.part is not None else ()):
        for i, value in enumerate(body.inputs):
            if value in taps:
                yield (*place, b, -1, i), value
        for n, inside in enumerate(order(body.outputs)):
            for i, value in enumerate(inside.outputs):
                if value in taps:
                    yield (*place, b, n, i), value
            yield from _inner(inside, taps, (*place, b, n))


def _cut(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """The operations of each stage."""
    group: list[Op] = []
    for op in ops:
        if group and (is_linear(op) or op.part is not None or group[-1].part is not None):
            yield group
            group = []
        group.append(op)
    if group:
        yield group


def _apart(ops: Sequence[Op], given: Sequence[Value]) -> dict[Value, Value]:
    """The values of a stage -> their copies, which do not hold on to the rest of the model."""
    copies = {value: Value(value.aval) for value in given}
    for op in ops:
        copy = replace(op, inputs=tuple(copies.get(value, value) for value in op.inputs))
        copy.outputs = tuple(Value(v.aval, copy, v.index) for v in op.outputs)
        copies.update(zip(op.outputs, copy.outputs, strict=True))
    return copies


def _passing(tap: Tap) -> Tap:
    """The tap, which reports the value that it is given."""

    def passing(x: Any, sink: Any) -> tuple[Any, Any]:
        return tap(x, sink)[0], x

    return passing


def _call(
    given: Sequence[Value], left: Sequence[Value], taps: Mapping[Value, Tap]
) -> Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]:
    """The function of a stage; of equal stages, one serves all."""

    @jax.jit
    def call(arguments: list[Any], sinks: list[Any]) -> tuple[list[Any], list[Any]]:
        env = dict(zip(given, arguments, strict=True))
        known = {v: x for v, x in zip(taps, sinks, strict=True) if x is not None}
        made, seen = run(left, env, taps, known)
        return made, [seen.get(value) for value in taps]

    return call

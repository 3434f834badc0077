"""Re-runs a recorded program and calls a function on chosen intermediates, also inside scan.

Such a function is a *tap*. It may also replace the intermediate, which is how a gradient is
observed: a *sink* is an extra input of the program that is handed to the tap, and the gradient with
respect to it is what the tap makes of the cotangent that passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import jax_internals as internals
from .ir import Op, Program, Value, evaluate, order

# Takes an intermediate and its sink (None if it has none). Returns the value to continue with, and
# what is to be reported of it: a pytree of arrays, of the same shapes at each call.
Tap = Callable[[Any, Any], tuple[Any, Any]]

_SINKS = 1_000_000  # inputs of a loop at this position and above are sinks


def run(
    outputs: Sequence[Value],
    env: Mapping[Value, Any],
    taps: Mapping[Value, Tap],
    sinks: Mapping[Value, Any],
) -> tuple[list[Any], dict[Value, Any]]:
    """Computes ``outputs``, given the values in ``env``; returns them and what the taps reported.

    What is reported inside a scan is stacked along a leading axis, one for each scan around it, and
    a sink must have the same leading axes. Taps inside while loops and branches are not called.
    """
    known, seen = dict(env), {}

    def tapped(value: Value, x: Any) -> Any:
        if value in taps:
            x, seen[value] = taps[value](x, sinks.get(value))
        return x

    for value in [v for v in known if v in taps]:
        known[value] = tapped(value, known[value])
    for op in order(outputs, known):
        args = [known.get(value, value.const) for value in op.inputs]
        if op.part is not None and "first_scanned" in op.part.control.options:
            found, inner = _scan(op, args, taps, sinks)
            seen |= inner
        else:
            given = dict(zip(op.inputs, args, strict=True))
            found = evaluate(op.outputs, {v: x for v, x in given.items() if not v.is_const})
        for value, x in zip(op.outputs, found, strict=True):
            known[value] = tapped(value, x)
    return [known.get(value, value.const) for value in outputs], seen


def _scan(
    op: Op, args: Sequence[Any], taps: Mapping[Value, Tap], sinks: Mapping[Value, Any]
) -> tuple[list[Any], dict[Value, Any]]:
    """Runs a scan; what the taps in its body report is stacked by the scan."""
    assert op.part is not None
    part, (body,) = op.part, op.part.bodies
    inside = sorted_taps(body, taps)
    extra = {_SINKS + n: sinks[v] for n, v in enumerate(inside) if v in sinks}
    order_seen: list[Value] = []

    def step(given: Mapping[int, Any]) -> list[Any]:
        env = {v: given[p] for v, p in zip(body.inputs, part.kept_inputs, strict=True)}
        mine = {v: given[_SINKS + n] for n, v in enumerate(inside) if _SINKS + n in given}
        values, seen = run(body.outputs, env, taps, mine)
        order_seen[:] = list(seen)
        return [*values, *seen.values()]

    inputs = dict(zip(part.kept_inputs, args, strict=True)) | extra
    carried = part.control.carried
    # What the taps report follows the loop's own outputs.
    found = internals.run_control(
        op.primitive, op.params, [step], inputs, carried, part.kept_outputs
    )
    count = len(part.kept_outputs)
    return found[:count], dict(zip(order_seen, found[count:], strict=True))


def sorted_taps(program: Program, taps: Mapping[Value, Tap]) -> list[Value]:
    """The tapped values of a program and of the loops inside it, always in the same order."""
    found: dict[Value, None] = {v: None for v in program.inputs if v in taps}
    for op in order(program.outputs):
        found |= {v: None for v in op.outputs if v in taps}
        for body in op.part.bodies if op.part else ():
            found |= dict.fromkeys(sorted_taps(body, taps))
    return list(found)

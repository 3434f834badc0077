"""Finds arrays that share sums with others, such as the running means of a BatchNorm in Haiku.

    w = normal(key, (8, 4))
    y = x @ w
    return {"w": w, "mean": y.mean(0), "square": (y**2).mean(0)}

mean and square share the product x @ w. Made one by one, each would repeat it, and in a deep model
the whole forward pass below it; and the compiler may round the same sum differently in another
program. So an init function in which arrays share a sum of floats (a matrix product, a convolution,
a mean) runs whole, as ``jax.jit`` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Program, Value, order


def sharing(program: Program) -> list[int]:
    """The outputs, as positions, that depend on a sum on which another output depends too."""
    ops = order(program.outputs)
    sums = [op for op in ops if _has_sum(op)]
    if not sums:
        return []
    distinct = {value: n for n, value in enumerate(dict.fromkeys(program.outputs))}
    needed_by = _needed_by(ops, list(distinct))
    shared = 0
    for op in sums:
        if needed_by[op].bit_count() > 1:
            shared |= needed_by[op]
    return [i for i, value in enumerate(program.outputs) if shared >> distinct[value] & 1]


def _needed_by(ops: Sequence[Op], outputs: Sequence[Value]) -> dict[Op, int]:
    """For each operation, the outputs that depend on it, as the bits of a number."""
    found = dict.fromkeys(ops, 0)
    for n, output in enumerate(outputs):
        if output.op is not None:
            found[output.op] |= 1 << n
    for op in reversed(ops):
        for value in op.inputs:
            if value.op is not None:
                found[value.op] |= found[op]
    return found


def _has_sum(op: Op) -> bool:
    """Whether the operation adds up floats across an array, or is a loop or branch that does."""
    if op.part is not None:
        return any(_has_sum(inner) for body in op.part.bodies for inner in order(body.outputs))
    return op.primitive.name in primitives.ROUNDED_SUMS and internals.is_float(op.outputs[0].aval)

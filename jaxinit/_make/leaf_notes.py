"""Finds what was asked of each array of a plan, as far as initializers of jaxinit made it.

They note it in the traced program. The note is of the array that they returned, so it is looked for
behind what a model does to a kernel without changing its elements, as a reshape or a loop that
stacks the kernels of its layers. A model that multiplies a kernel changes what was asked, and then
nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._program import primitives
from .._program.ir import Value
from .._random.notes import ASSEMBLED
from .recording import Recording


def leaf_notes(recording: Recording) -> dict[str, Mapping[str, Any]]:
    """Path -> the initializer, and the law, mean and std that it is asked for, where known."""
    pairs = zip(recording.leaves, recording.program.outputs, strict=True)
    found = ((leaf.path, _of(value)) for leaf, value in pairs)
    return {path: note for path, note in found if note is not None}


def _of(value: Value) -> Mapping[str, Any] | None:
    """The note on a value, or on the one whose elements it holds."""
    while value.asked is None and (op := value.op) is not None:
        if op.part is not None and len(op.part.bodies) == 1:  # a scan stacks what its body returns
            value = op.part.bodies[0].outputs[value.index]
        elif op.primitive.name in primitives.KEEPS_VALUES:
            value = op.inputs[0]
        else:
            return None
    return value.asked and {k: v for k, v in value.asked.items() if k != ASSEMBLED}

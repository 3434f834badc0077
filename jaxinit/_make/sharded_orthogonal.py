"""Makes an orthogonal kernel of jaxinit in the way that its initializer has for several devices.

An init function is traced without shardings, so its orthogonal matrices are traced as those of one
device. Compiled for several, such a program holds 10 to 16 times a device's part; the initializer's
own way for several devices holds 2 to 4 times. The initializer notes in the program which value is
the Gaussian that it starts from and which its result, so that its own way is put between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding

from .._program import primitives
from .._program.ir import Value, order
from .._random.notes import ASSEMBLED, GAUSSIAN
from ..initializers import get

Sizes = tuple[int, ...]


class ShardedOrthogonal(NamedTuple):
    """An orthogonal kernel, made of a Gaussian in the way for several devices.

    Attributes:
      value: the array.
      gaussian: the Gaussian.
      make: the array, from the Gaussian.
    """

    value: Value
    gaussian: Value
    make: Callable[[jax.Array], jax.Array]


def sharded_orthogonal(output: Value, sharding: Any) -> ShardedOrthogonal | None:
    """How to make the orthogonal kernel that a leaf is, if its elements are spread over devices."""
    if not isinstance(sharding, NamedSharding) or sharding.is_fully_replicated:
        return None
    value = output
    while (how := (value.asked or {}).get(ASSEMBLED)) is None:
        if value.op is None or value.op.primitive.name not in primitives.KEEPS_VALUES:
            return None
        value = value.op.inputs[0]
    init: Any = get(how["config"])
    shape, dtype = tuple(how["shape"]), jnp.dtype(how["dtype"])
    found = (v for op in order([value]) for v in op.outputs if GAUSSIAN in (v.asked or {}))
    gaussian = next(found, None)
    if gaussian is None or not _stacked_alike(value.aval.shape, shape, gaussian.aval.shape):
        return None

    def make(x: jax.Array) -> jax.Array:
        return init.kernel_of_gaussian(x, shape, dtype, _automatic(sharding))

    return ShardedOrthogonal(value, gaussian, make)


def _stacked_alike(stack: Sizes, shape: Sizes, gaussian: Sizes) -> bool:
    """Whether the axes that ``vmap`` added, if it did, certainly lead both arrays.

    They do if their sizes do not occur among the other axes.
    """
    outer, kernel = stack[: -len(shape)], stack[-len(shape) :]
    rest = gaussian[len(outer) :]
    return (
        kernel == shape
        and gaussian[: len(outer)] == outer
        and len(set(outer)) == len(outer)
        and not {*outer} & {*shape, *rest}
    )


def _automatic(sharding: NamedSharding) -> NamedSharding:
    """The same sharding; within the program the compiler decides, whatever the mesh's axes say."""
    mesh: Any = sharding.mesh
    axis_types = (AxisType.Auto,) * len(mesh.axis_names)
    return NamedSharding(Mesh(mesh.devices, mesh.axis_names, axis_types=axis_types), sharding.spec)

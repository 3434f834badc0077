"""What is known of JAX's own equations: the one file that depends on more than JAX's public API.

The names of equations' parameters are no contract of JAX. They are read here and nowhere else, and
``tests/program/test_jax_internals.py`` says which one moved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend import core
from jax.extend.backend import get_backend
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, primitives
from jax.interpreters.partial_eval import DynamicJaxprTracer

from .._random.stream import is_typed_key

Evaluate = Callable[..., list[Any]]

# Calls that only wrap a computation: primitive -> the parameter that holds it.
_WRAPPERS = {
    primitives.jit_p: "jaxpr",
    primitives.closed_call_p: "call_jaxpr",
    primitives.remat_p: "jaxpr",
    primitives.custom_jvp_call_p: "call_jaxpr",
    primitives.custom_vjp_call_p: "call_jaxpr",
}
PLATFORM_INDEX = "platform_index"  # the primitive behind lax.platform_dependent
RANDOM_BITS = primitives.random_bits_p
THREEFRY = primitives.threefry2x32_p


_brief: list[Any] = []  # JAX's own method, once for each use of it
_brief_lock = threading.Lock()


@contextmanager
def brief_tracers() -> Iterator[None]:
    """Within it, a tracer's error does not say where the tracer came from.

    JAX builds that text even for ``getattr(tracer, "sharding", None)``, which flax.nnx asks of
    every key it draws, and walks all equations so far to do it: quadratic in the depth of a model
    (1,344 arrays of nnx layers are traced in 4 s instead of 55 s). JAX's class is as it was once
    the last thread has left.
    """
    tracer: Any = DynamicJaxprTracer
    with _brief_lock:
        _brief.append(_brief[0] if _brief else tracer.__dict__.get("_origin_msg"))
        if _brief[0] is not None:
            tracer._origin_msg = lambda self: ""
    try:
        yield
    finally:
        with _brief_lock:
            origin = _brief.pop()
            if not _brief and origin is not None:
                tracer._origin_msg = origin


def closed(jaxpr: Jaxpr | ClosedJaxpr) -> ClosedJaxpr:
    """The jaxpr with its constants; an open one has none."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def wrapped(eqn: JaxprEqn, *, kernels: bool = False) -> ClosedJaxpr | None:
    """The computation that the equation only wraps, if it does.

    A jitted function of one result that chooses by platform stays whole, unless ``kernels`` are
    asked for: it was made to be compiled as it stands, as jaxinit's own draws are.
    """
    if eqn.primitive.name == "unstack":
        return _unstacked(eqn)
    name = _WRAPPERS.get(eqn.primitive)
    if name is None:
        return None
    body = closed(eqn.params[name])
    if kernels:
        return body
    chooses = any(inner.primitive.name == PLATFORM_INDEX for inner in body.jaxpr.eqns)
    return None if chooses and len(eqn.outvars) == 1 else body


def _unstacked(eqn: JaxprEqn) -> ClosedJaxpr:
    """The parts of an array along an axis, by slices; JAX 0.12 has an operation of its own."""
    axis = eqn.params["axis"]
    whole: Any = eqn.invars[0].aval

    def slices(x: jax.Array) -> list[jax.Array]:
        return [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(len(eqn.outvars))]

    return jax.make_jaxpr(slices)(jax.ShapeDtypeStruct(whole.shape, whole.dtype))


def is_kernel(primitive: core.Primitive) -> bool:
    """Whether an operation that was kept is a wrapper, hence a kernel kept whole."""
    return primitive in _WRAPPERS


def named_kernel(primitive: core.Primitive, params: Mapping[str, Any], name: str) -> Any:
    """The computation of a jitted function of that name, kept whole; None for anything else."""
    found = primitive is primitives.jit_p and params["name"] == name
    return closed(params["jaxpr"]) if found else None


def branch_for(
    primitive: core.Primitive, params: Mapping[str, Any], platform: str
) -> ClosedJaxpr | None:
    """Of a choice by platform, the branch for one; None for anything else."""
    if primitive is not primitives.cond_p or params.get("branches_platforms") is None:
        return None
    if platform == "gpu":
        platform = "rocm" if "rocm" in get_backend().platform_version.lower() else "cuda"
    choices = zip(params["branches"], params["branches_platforms"], strict=True)
    fitting = (b for b, platforms in choices if not platforms or platform in platforms)
    found = next(fitting, None)
    return None if found is None else closed(found)


def is_scan(primitive: core.Primitive) -> bool:
    """Whether the loop is over the leading axis of arrays."""
    return primitive is primitives.scan_p


class Control(NamedTuple):
    """A loop or a branch, as its parts.

    The inputs of every body are, of the equation's inputs, those at ``reads[body]``. Output ``i``
    of the equation is output ``i`` of body 0 (and of every other body, of a branch). In a loop it
    is next handed to input ``carried[i]`` of the equation. ``always`` are inputs, and ``tests`` is
    the body, that are needed whatever the outputs.
    """

    bodies: tuple[ClosedJaxpr, ...]
    reads: tuple[tuple[int, ...], ...]
    carried: Mapping[int, int]
    always: tuple[int, ...]
    tests: int | None
    options: Mapping[str, Any]


def control(eqn: JaxprEqn) -> Control | None:
    """The parts of a loop or a branch; None for anything else."""
    params, inputs = eqn.params, range(len(eqn.invars))
    if eqn.primitive is primitives.scan_p:
        start, carry = _scan_counts(params)
        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        carried = {i: start + i for i in range(carry)}
        options |= {"first_scanned": start + carry}
        return Control((closed(params["jaxpr"]),), (tuple(inputs),), carried, (), None, options)
    if eqn.primitive is primitives.while_p:
        tested, start = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        bodies = closed(params["body_jaxpr"]), closed(params["cond_jaxpr"])
        carry = tuple(inputs[start:])
        reads = tuple(inputs[tested:start]) + carry, tuple(inputs[:tested]) + carry
        return Control(bodies, reads, dict(enumerate(carry)), (), 1, {})
    if eqn.primitive is primitives.cond_p and _plain_branch(eqn):
        bodies = tuple(closed(branch) for branch in params["branches"])
        return Control(bodies, (tuple(inputs[1:]),) * len(bodies), {}, (0,), None, {})
    return None


def _scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many inputs of a scan are constants, and how many are its carry; JAX 0.12 nests them."""
    if "ft_in" not in params:
        return params["num_consts"], params["num_carry"]
    constants, carry, _ = params["ft_in"].unpack()
    return len(constants), len(carry)


def _plain_branch(eqn: JaxprEqn) -> bool:
    """Whether the branch is chosen by a value, not by the platform."""
    return eqn.params.get("branches_platforms") is None


def run_control(
    primitive: core.Primitive,
    options: Mapping[str, Any],
    bodies: Sequence[Callable[[Mapping[int, Any]], list[Any]]],
    inputs: Mapping[int, Any],
    carried: Mapping[int, int],
    outputs: Sequence[int],
) -> list[Any]:
    """Trace a loop or a branch again, over the inputs and outputs that are left of it.

    ``inputs`` maps the original equation's input positions to values; each body takes such a map
    and gives the values of ``outputs``.
    """
    looped = [i for i in outputs if i in carried]
    names = [carried[i] for i in looped]
    fixed = {i: x for i, x in inputs.items() if i not in names}
    start = [inputs[name] for name in names]
    if primitive is primitives.scan_p:
        scanned = {i: x for i, x in fixed.items() if i >= options["first_scanned"]}
        constant = {i: x for i, x in fixed.items() if i < options["first_scanned"]}

        def step(carry: list[Any], x: dict[int, Any]) -> tuple[list[Any], list[Any]]:
            found = bodies[0](constant | dict(zip(names, carry, strict=True)) | x)
            return found[: len(looped)], found[len(looped) :]

        rest = {name: options[name] for name in ("length", "reverse", "unroll")}
        carry, stacked = lax.scan(step, start, scanned, **rest)
        return [*carry, *stacked]
    if primitive is primitives.while_p:

        def state(carry: list[Any]) -> dict[int, Any]:
            return fixed | dict(zip(names, carry, strict=True))

        return lax.while_loop(
            lambda carry: bodies[1](state(carry))[0], lambda carry: bodies[0](state(carry)), start
        )
    index = inputs[0]
    return lax.switch(index, [lambda given, body=body: body(given) for body in bodies], inputs)


def context(eqn: JaxprEqn) -> Any:
    """The settings under which the equation was recorded, as the kind of threefry."""
    return eqn.ctx


def bind(
    primitive: core.Primitive, params: Mapping[str, Any], recorded: Any, args: Sequence[Any]
) -> list[Any]:
    """The operation itself, on arrays or tracers, under the settings recorded with it."""
    with recorded.manager:
        found = primitive.bind(*args, **primitive.get_bind_params(dict(params)))
    return list(found) if primitive.multiple_results else [found]


def is_threefry(aval: Any) -> bool:
    """Whether the abstract value is of threefry2x32 keys."""
    return is_typed_key(aval) and aval.dtype.name == "key<fry>"


def is_float(aval: Any) -> bool:
    """Whether arithmetic on the abstract value rounds (tokens and the like count as such)."""
    dtype = getattr(aval, "dtype", None)
    return dtype is None or not (is_typed_key(aval) or np.dtype(dtype).kind in "biu")


class RandomBits(NamedTuple):
    """A random_bits equation: bits of what width, in what shape, by JAX's partitionable way."""

    width: int
    shape: tuple[int, ...]
    partitionable: bool


def random_bits(params: Mapping[str, Any], recorded: Any) -> RandomBits:
    """What the equation draws."""
    shape, width = tuple(params["shape"]), params["bit_width"]
    return RandomBits(width, shape, recorded.threefry_partitionable)


# Where operations keep what they do to axes: primitive -> parameters, in this order.
_GEOMETRY = {
    "reshape": (),
    "rev": ("dimensions",),
    "transpose": ("permutation",),
    "broadcast_in_dim": ("broadcast_dimensions",),
    "squeeze": ("dimensions",),
    "slice": ("start_indices", "limit_indices", "strides"),
    "split": ("sizes", "axis"),
    "dynamic_slice": ("slice_sizes",),
    "tile": ("reps",),
    "concatenate": ("dimension",),
    "pad": ("padding_config",),
    "gather": ("dimension_numbers", "slice_sizes"),
    "reduce_sum": ("axes",),
    "reduce_max": ("axes",),
    "reduce_min": ("axes",),
    "convert_element_type": ("new_dtype",),
    "iota": ("dimension",),
}


def geometry(primitive: core.Primitive, params: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the operation does to axes, as its parameters of ``_GEOMETRY``."""
    return tuple(params[name] for name in _GEOMETRY[primitive.name])


def keeps_order(params: Mapping[str, Any]) -> bool:
    """Whether a reshape reads the elements in row-major order, as all do that jax.numpy makes."""
    return params.get("dimensions") is None


class Contraction(NamedTuple):
    """A dot_general: the axes of each side that are summed over, and those side by side."""

    contracted: tuple[tuple[int, ...], tuple[int, ...]]
    batched: tuple[tuple[int, ...], tuple[int, ...]]


def contraction(primitive: core.Primitive, params: Mapping[str, Any]) -> Contraction | None:
    """The dimension numbers of a dot_general, ragged or not; None for anything else.

    The groups of a ragged one lie side by side along axes of its right side alone.
    """
    if primitive is primitives.dot_general_p:
        contracted, batched = params["dimension_numbers"]
    elif primitive.name == "ragged_dot_general":
        numbers = params["ragged_dot_dimension_numbers"]
        contracted, batched = numbers.dot_dimension_numbers
        batched = batched[0], (*batched[1], *numbers.rhs_group_dimensions)
    else:
        return None
    return Contraction(
        (tuple(contracted[0]), tuple(contracted[1])), (tuple(batched[0]), tuple(batched[1]))
    )


class Convolution(NamedTuple):
    """A conv_general_dilated; the kernel's axes are out, in, and one for each window axis."""

    out_axis: int
    in_axis: int
    window: tuple[int, ...]
    features: int  # the axis of the output that holds the kernel's outputs
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    batch_groups: int


def convolution(primitive: core.Primitive, params: Mapping[str, Any]) -> Convolution | None:
    """What a conv_general_dilated does; None for anything else."""
    if primitive is not primitives.conv_general_dilated_p:
        return None
    numbers = params["dimension_numbers"]
    out_axis, in_axis, *window = numbers.rhs_spec
    return Convolution(
        out_axis,
        in_axis,
        tuple(window),
        numbers.out_spec[1],
        tuple(params["window_strides"]),
        tuple(params["padding"]),
        tuple(params["lhs_dilation"]),
        tuple(params["rhs_dilation"]),
        params["feature_group_count"],
        params["batch_group_count"],
    )


def apply(primitive: core.Primitive, params: Mapping[str, Any], args: Sequence[Any]) -> Any:
    """An elementwise operation of one result, on arrays of any one shape."""
    return primitive.bind(*args, **primitive.get_bind_params(dict(params)))

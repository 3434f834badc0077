"""Reads the parameters of JAX's primitives: the only file that uses more than JAX's public API.

It also runs recorded operations again, and shortens tracers' errors while a model is traced. JAX
does not promise the names of these parameters from version to version. They are read here and
nowhere else, and ``tests/program/test_jax_internals.py`` names the one that changed.
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

# Primitives that only wrap a computation -> the parameter that holds its jaxpr.
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


_brief: list[Any] = []  # JAX's own method, once for each thread that is within brief_tracers
_brief_lock = threading.Lock()


@contextmanager
def brief_tracers() -> Iterator[None]:
    """While this is entered, a tracer's error does not say where the tracer came from.

    JAX composes that text even for ``getattr(tracer, "sharding", None)``, which flax.nnx evaluates
    for every key that it draws. To compose it JAX walks all equations so far, so tracing is
    quadratic in the depth of a model: without the text, 1,344 arrays of nnx layers are traced in
    4 s instead of 55 s. JAX's class is restored when the last thread leaves.
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
    """The jaxpr as a ClosedJaxpr; an open one has no constants."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def wrapped(eqn: JaxprEqn, *, kernels: bool = False) -> ClosedJaxpr | None:
    """The jaxpr that a jit, remat or custom derivative wraps; None for other equations.

    A jitted function of one result that contains ``lax.platform_dependent`` is a *kernel*: it is
    meant to be compiled as it stands, like jaxinit's own draws, and gives None too, unless
    ``kernels`` is true.
    """
    if (written := _written_out(eqn)) is not None:
        return written
    name = _WRAPPERS.get(eqn.primitive)
    if name is None:
        return None
    body = closed(eqn.params[name])
    if kernels:
        return body
    chooses = any(inner.primitive.name == PLATFORM_INDEX for inner in body.jaxpr.eqns)
    return None if chooses and len(eqn.outvars) == 1 else body


def enclosed(primitive: core.Primitive, params: Mapping[str, Any]) -> ClosedJaxpr | None:
    """The computation inside an operation that runs as it stands but can be read; else None.

    That of a shard_map is on one device's part of the arrays.
    """
    name = {"shard_map": "jaxpr", "custom_partitioning": "call"}.get(primitive.name)
    return None if name is None else closed(params[name])


def _written_out(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """An operation by others that say the same; None where there is no need.

    JAX 0.12 has an operation for the parts of an array along an axis, which are slices. Where
    jax.vmap has made the named axis of a psum an axis of its arrays, it is a reduction.
    """
    name, params, parts = eqn.primitive.name, eqn.params, range(len(eqn.outvars))
    if name == "unstack":
        axis = params["axis"]
        return _traced(eqn, lambda x: [lax.index_in_dim(x, i, axis, keepdims=False) for i in parts])
    if name in _OVER_AXES and params["axis_index_groups"] is None:
        axes, reduce = params["axes"], _OVER_AXES[name]
        if all(isinstance(axis, int) for axis in axes):
            return _traced(eqn, lambda *arrays: [reduce(x, axes) for x in arrays])
    return None


def _traced(eqn: JaxprEqn, function: Callable[..., Any]) -> ClosedJaxpr:
    """A function of arrays like the inputs of an equation."""
    inputs: list[Any] = [var.aval for var in eqn.invars]
    return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs))


_OVER_AXES = {"psum": lax.reduce_sum, "pmax": lax.reduce_max, "pmin": lax.reduce_min}


def name_given(eqn: JaxprEqn) -> str:
    """The text by which ``checkpoint_name`` names a value; empty for other equations."""
    return eqn.params["name"] if eqn.primitive.name == "name" else ""


def is_kernel(primitive: core.Primitive) -> bool:
    """Whether an operation of a program is a kernel: all other wrappers have been inlined."""
    return primitive in _WRAPPERS


def named_kernel(primitive: core.Primitive, params: Mapping[str, Any], name: str) -> Any:
    """The jaxpr of a jitted function of that name; None for anything else."""
    found = primitive is primitives.jit_p and params["name"] == name
    return closed(params["jaxpr"]) if found else None


def branch_for(
    primitive: core.Primitive, params: Mapping[str, Any], platform: str
) -> ClosedJaxpr | None:
    """The branch of a ``lax.platform_dependent`` for a platform; None for anything else."""
    if primitive is not primitives.cond_p or params.get("branches_platforms") is None:
        return None
    if platform == "gpu":
        platform = "rocm" if "rocm" in get_backend("gpu").platform_version.lower() else "cuda"
    choices = zip(params["branches"], params["branches_platforms"], strict=True)
    fitting = (b for b, platforms in choices if not platforms or platform in platforms)
    found = next(fitting, None)
    return None if found is None else closed(found)


class Control(NamedTuple):
    """A scan, while or cond in one common form.

    Attributes:
      bodies: the jaxprs of the loop's body, of a while's body and condition, or of the branches.
      reads: for each body, which inputs of the equation it takes, as positions. Output ``i`` of the
        equation is output ``i`` of body 0, and of every branch of a cond.
      carried: for each output that a loop carries, the input of the equation that the next step
        receives it as.
      options: further parameters, which ``run_control`` needs.
      always: inputs that are needed whichever outputs are kept: the index of a cond.
      tests: the position in ``bodies`` of a while's condition; None for a scan or cond.
    """

    bodies: tuple[ClosedJaxpr, ...]
    reads: tuple[tuple[int, ...], ...]
    carried: Mapping[int, int]
    options: Mapping[str, Any]
    always: tuple[int, ...] = ()
    tests: int | None = None


def control(eqn: JaxprEqn) -> Control | None:
    """The equation in the form of ``Control`` if it is a scan, while or cond; else None."""
    params, inputs = eqn.params, range(len(eqn.invars))
    if eqn.primitive is primitives.scan_p:
        start, carry = _scan_counts(params)
        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        carried = {i: start + i for i in range(carry)}
        options |= {"first_scanned": start + carry}
        body = closed(params["jaxpr"])
        return Control((body,), (tuple(inputs),), carried, options)
    if eqn.primitive is primitives.while_p:
        tested, start = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        bodies = closed(params["body_jaxpr"]), closed(params["cond_jaxpr"])
        carry = tuple(inputs[start:])
        reads = tuple(inputs[tested:start]) + carry, tuple(inputs[:tested]) + carry
        return Control(bodies, reads, dict(enumerate(carry)), options={}, tests=1)
    by_platform = params.get("branches_platforms") is not None
    if eqn.primitive is primitives.cond_p and not by_platform:
        bodies = tuple(closed(branch) for branch in params["branches"])
        reads = (tuple(inputs[1:]),) * len(bodies)
        return Control(bodies, reads, carried={}, options={}, always=(0,))
    return None


def _scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many inputs of a scan are constants, and how many are its carry; JAX 0.12 nests them."""
    if "ft_in" not in params:
        return params["num_consts"], params["num_carry"]
    constants, carry, _ = params["ft_in"].unpack()
    return len(constants), len(carry)


def run_control(
    primitive: core.Primitive,
    options: Mapping[str, Any],
    bodies: Sequence[Callable[[Mapping[int, Any]], list[Any]]],
    inputs: Mapping[int, Any],
    carried: Mapping[int, int],
    outputs: Sequence[int],
) -> list[Any]:
    """Runs a scan, while or cond again, with the inputs and outputs that were kept.

    Args:
      primitive: which of the three it is.
      options: those of ``Control``.
      bodies: functions that take a map like ``inputs``, for one step, and return ``outputs``.
      inputs: position among the inputs of the original equation -> value.
      carried: that of ``Control``.
      outputs: positions, among the outputs of the original equation, of those that are kept.
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
    """The JAX settings under which the equation was recorded, as jax_threefry_partitionable."""
    return eqn.ctx


def bind(
    primitive: core.Primitive, params: Mapping[str, Any], recorded: Any, args: Sequence[Any]
) -> list[Any]:
    """Applies a primitive to arrays or tracers, under the settings that were recorded with it."""
    with recorded.manager:
        found = primitive.bind(*args, **primitive.get_bind_params(dict(params)))
    return list(found) if primitive.multiple_results else [found]


def is_threefry(aval: Any) -> bool:
    """Whether the abstract value is of threefry2x32 keys."""
    return is_typed_key(aval) and aval.dtype.name == "key<fry>"


def is_float(aval: Any) -> bool:
    """Whether arithmetic on the abstract value rounds; what has no dtype counts as if it did."""
    dtype = getattr(aval, "dtype", None)
    return dtype is None or not (is_typed_key(aval) or np.dtype(dtype).kind in "biu")


class RandomBits(NamedTuple):
    """What a random_bits equation draws: the bit width, the shape, and whether partitionable."""

    width: int
    shape: tuple[int, ...]
    partitionable: bool


def random_bits(params: Mapping[str, Any], recorded: Any) -> RandomBits:
    """What a random_bits equation draws."""
    shape, width = tuple(params["shape"]), params["bit_width"]
    return RandomBits(width, shape, recorded.threefry_partitionable)


def split_shape(params: Mapping[str, Any], recorded: Any) -> tuple[int, ...] | None:
    """How many keys a split derives from each key; None if the i-th depends on how many."""
    return tuple(params["shape"]) if recorded.threefry_partitionable else None


# Primitive -> the parameters that say what it does to axes, in the order of the result.
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
    "stack": ("axis",),
    "pad": ("padding_config",),
    "gather": ("dimension_numbers", "slice_sizes"),
    "scatter-add": ("dimension_numbers",),
    "reduce_sum": ("axes",),
    "reduce_max": ("axes",),
    "reduce_min": ("axes",),
    "reduce_window_sum": ("window_dimensions",),
    "convert_element_type": ("new_dtype",),
    "iota": ("dimension",),
}


def geometry(primitive: core.Primitive, params: Mapping[str, Any]) -> tuple[Any, ...]:
    """The parameters that say what the operation does to axes, in the order of ``_GEOMETRY``."""
    return tuple(params[name] for name in _GEOMETRY[primitive.name])


def keeps_order(params: Mapping[str, Any]) -> bool:
    """Whether a reshape reads its input in row-major order, as every ``jnp.reshape`` does."""
    return params.get("dimensions") is None


class Contraction(NamedTuple):
    """A dot_general: for each operand, the axes that are summed over and the batch axes."""

    contracted: tuple[tuple[int, ...], tuple[int, ...]]
    batched: tuple[tuple[int, ...], tuple[int, ...]]


def contraction(primitive: core.Primitive, params: Mapping[str, Any]) -> Contraction | None:
    """The axes of a dot_general or ragged_dot_general; None for anything else.

    The group axes of a ragged one count as batch axes of its right operand.
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
    """A conv_general_dilated. The axes of its kernel are out, in, and the spatial ones (window)."""

    out_axis: int
    in_axis: int
    window: tuple[int, ...]
    features: int  # the feature axis of the output
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    batch_groups: int


def convolution(primitive: core.Primitive, params: Mapping[str, Any]) -> Convolution | None:
    """The axes and sizes of a conv_general_dilated; None for anything else."""
    if primitive is not primitives.conv_general_dilated_p:
        return None
    numbers = params["dimension_numbers"]
    out_axis, in_axis, *window = numbers.rhs_spec
    return Convolution(
        out_axis=out_axis,
        in_axis=in_axis,
        window=tuple(window),
        features=numbers.out_spec[1],
        strides=tuple(params["window_strides"]),
        padding=tuple(params["padding"]),
        lhs_dilation=tuple(params["lhs_dilation"]),
        rhs_dilation=tuple(params["rhs_dilation"]),
        groups=params["feature_group_count"],
        batch_groups=params["batch_group_count"],
    )


def apply(primitive: core.Primitive, params: Mapping[str, Any], args: Sequence[Any]) -> Any:
    """Applies an elementwise primitive of one result to arrays of one shape, whichever it is."""
    return primitive.bind(*args, **primitive.get_bind_params(dict(params)))

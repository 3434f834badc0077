"""Tells what a parameter is for that is no kernel: a bias, a scale, a position table, ..."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from .._program import jax_internals as internals
from .._program import primitives
from .._program.ir import Op, Value
from .._schemes.fans import Layout
from .axis_origin import AxisOrigins
from .dataflow import Graph, Kind, Link, Use, is_linear
from .follow_output import slopes
from .kernel_inputs import is_state
from .kernel_uses import KernelUse
from .parameter import Parameter
from .residual import made_from
from .summed_products import varies, widens
from .weight_factors import Share, share


class Owner(NamedTuple):
    """The kernel, by its index, to whose output a bias is added.

    ``normalized`` tells that a normalization stands between, so the bias is that of the
    normalization.
    """

    kernel: int
    normalized: bool


def bias_owners(kernels: Sequence[Sequence[KernelUse]]) -> dict[int, Owner]:
    """The parameters that are added to a kernel's output along its features, with that kernel."""
    found: dict[int, Owner] = {}
    for i, uses in enumerate(kernels):
        for trail in (use.trail for use in uses if use.trail):
            for added in trail.added:
                followed = [trail.axes[v] for v in added.op.inputs if v in trail.axes]
                adds = added.op.primitive.name in ("add", "sub", "add_any")
                if adds and _lies_along(added.contribution.axes, followed[0]):
                    owner = Owner(i, added.normalized)
                    found.setdefault(added.contribution.parameter, owner)
    return found


def _lies_along(bias: AxisOrigins, outputs: AxisOrigins) -> bool:
    """Whether a parameter varies only along axes that hold the kernel's outputs, in their place."""
    if len(bias.axes) != len(outputs.axes):
        return False
    pairs = [
        (b, o) for b, o in zip(bias.axes, outputs.axes, strict=True) if b.is_origin and b.extent > 1
    ]
    return all(
        o.is_origin and b.offset < o.offset + o.extent and o.offset < b.offset + b.extent
        for b, o in pairs
    )


def with_layer(record: Parameter, owner: Owner | None, records: Sequence[Parameter]) -> Parameter:
    """A bias's record with the path and activation of its kernel."""
    if record.role != "bias" or owner is None or owner.normalized:
        return record
    kernel = records[owner.kernel]
    return replace(
        record,
        layer=kernel.path,
        activation=kernel.activation,
        functions=kernel.functions,
        evidence=f"{record.evidence} of {kernel.path}",
    )


def other_parameter(graph: Graph, i: int, path: str, biases: Collection[int]) -> Parameter:
    """The record of parameter ``i``, which is not a kernel; ``biases`` are added to kernels."""
    value = graph.parameters[i]
    uses = graph.uses.get(i, [])
    base = Parameter(
        path=path, shape=tuple(value.aval.shape), dtype=value.aval.dtype, role="unused", op="none"
    )
    if not internals.is_float(value.aval):
        return replace(base, role="state", evidence=f"holds {value.aval.dtype}")
    if i in graph.inputs:
        return _learned_input(base)
    if not uses:
        return replace(base, evidence="no output depends on it")
    ops = tuple("loop" if isinstance(u.op, Link) else u.op.primitive.name for u in uses)
    telling = max(uses, key=lambda use: len(use.contribution.through))
    op = ops[uses.index(telling)]
    is_opaque = op in primitives.OPAQUE
    through = "".join(f", after {name}" for name in telling.contribution.through)
    role = _function_role(graph, uses) or _role(graph, uses[0], i in biases)
    neutral = _neutral(graph, uses) if role == "scale" else {1.0}
    return replace(
        base,
        role=role if len(neutral) == 1 else "unknown",
        neutral=min(neutral),
        op=op,
        ties=ops if len(ops) > 1 else (),
        evidence=f"{op} with the signal{through}{', which cannot be read' * is_opaque}",
    )


def _learned_input(base: Parameter) -> Parameter:
    """The record of an array of learned vectors, such as queries; its last axis is a vector's."""
    rank, features = len(base.shape), base.shape[-1]
    return replace(
        base,
        role="embedding",
        op="dot_general",
        fan_in=features,
        fan_out=features,
        layout=Layout(in_axis=tuple(range(rank - 1)), out_axis=(rank - 1,), batch_axis=()),
        activation="identity",
        evidence=f"kernels are applied to it, as to an input of {features} features",
    )


def _function_role(graph: Graph, uses: Sequence[Use]) -> str | None:
    """The role of a parameter that goes through functions before it meets the signal; else None."""
    through = [use for use in uses if use.contribution.through]
    names = {name for use in through for name in use.contribution.through}
    if not names:
        return None
    if names & {"rsqrt", "sqrt"} and not names & {"exp", "exp2", "log", "integer_pow"}:
        return "variance"
    if any(_is_decay(graph, use) for use in through):
        return "time scale"
    alone = all(set(use.contribution.through) <= {"exp", *_CLIPS} for use in through)
    return "log scale" if "exp" in names and alone else "unknown"


_CLIPS = frozenset(("min", "max", "clamp"))


def _is_decay(graph: Graph, use: Use) -> bool:
    """Whether a parameter sets how fast a state decays.

    Its exponential is taken together with another parameter, as in exp(Lambda * step), twice, as in
    exp(-exp(A_log)), or of its product with the signal; or a function of it multiplies the state of
    a loop.
    """
    through = use.contribution.through
    if ("exp" in through and use.contribution.mixed) or through.count("exp") > 1:
        return True
    if isinstance(use.op, Link) or use.op.primitive.name != "mul":
        return False
    return is_state(graph, use.op.inputs[1 - use.position]) or _exponentiated(graph, use.op)


def _exponentiated(graph: Graph, op: Op) -> bool:
    """Whether the exponential of a product is taken, with nothing but other factors between."""
    stack = list(op.outputs)
    while stack:
        for step in graph.consumers.get(stack.pop(), ()):
            name = "" if isinstance(step, Link) else step.primitive.name
            if name in ("exp", "exp2"):
                return True
            if not isinstance(step, Link) and (name in ("mul", "neg") or name in _MOVES):
                stack += step.outputs
    return False


_MOVES = frozenset(("broadcast_in_dim", "reshape", "squeeze", "transpose", "convert_element_type"))


def _role(graph: Graph, use: Use, is_bias: bool) -> str:
    if isinstance(use.op, Link):
        return "state"
    name = use.op.primitive.name
    if name == "sub" and use.position == 1:
        return "mean"
    maker = use.op.inputs[use.position].op
    decayed = maker is not None and maker.primitive.name == "mul"
    adds, is_result = name in primitives.SUMS, not graph.consumers.get(use.op.outputs[0])
    if adds and decayed and is_result:  # a running average
        return _statistic(graph, use.op.inputs[1 - use.position])
    if adds:
        wide = sum(axis.is_origin and axis.extent > 1 for axis in use.contribution.axes.axes)
        return "bias" if is_bias or wide < 2 else "position"
    if name == "mul" and slopes(graph, use.op):
        return "slope"
    if name == "concatenate":
        return "token"
    return "scale" if _is_scale(graph, use) else "unknown"


def _is_scale(graph: Graph, use: Use) -> bool:
    """Whether a parameter is a factor of a signal, or of a kernel, that varies along its axes too.

    A factor of a matrix product's weight that is no kernel scales the outputs.
    """
    assert isinstance(use.op, Op)
    given, weight = use.contribution, use.op.inputs[use.position]
    if widens(graph, use):
        return False
    if use.op.primitive.name in ("mul", "div"):
        return True
    kind = share(graph, weight, given.parameter)
    is_known = bool(varies(given.axes)) or graph.parameters[given.parameter].aval.size == 1
    scales = kind is Share.FACTOR or (kind is Share.TERM and is_linear(use.op) and is_known)
    return scales and given.contracted == 1


def _neutral(graph: Graph, uses: Sequence[Use]) -> set[float]:
    """The values of a scale for which each factor that is made from it is 1.

    Of ``x * (1 + scale)`` it is 0; of ``x * mix + y * (1 - mix)`` there are two.
    """
    return {_where_one(graph, use) for use in uses if isinstance(use.op, Op)} or {1.0}


def _where_one(graph: Graph, use: Use) -> float:
    """The parameter for which its weight is 1, where this is a shifted multiple of it; else 1.

    A multiple alone is what the model is meant to have, so there the parameter is 1.
    """
    assert isinstance(use.op, Op)
    parameter, weight = graph.parameters[use.contribution.parameter], use.op.inputs[use.position]
    slope, offset = _line(graph, weight, parameter) or (1.0, 0.0)
    return round((1 - offset) / slope, 3) if slope and offset else 1.0


def _line(graph: Graph, weight: Value, parameter: Value) -> tuple[float, float] | None:
    """The slope and the offset with which a weight is made of a parameter; None if otherwise."""
    if weight is parameter:
        return 1.0, 0.0
    before = made_from(graph, weight)
    mine = [i for i, v in enumerate(before) if graph.kind(v) is Kind.WEIGHT]
    line = _line(graph, before[mine[0]], parameter) if len(mine) == 1 else None
    if line is None or weight.op is None or weight.op.primitive.name in primitives.KEEPS_SIGNAL:
        return line
    name, (slope, offset) = weight.op.primitive.name, line
    number = graph.number(before[1 - mine[0]]) if len(before) == 2 else None
    if name == "neg":
        return -slope, -offset
    if number is None:
        return None
    if name == "sub" and mine == [1]:
        return -slope, number - offset
    if name in primitives.SUMS:
        return slope, offset + (-number if name == "sub" else number)
    return (slope * number, offset * number) if name == "mul" else None


def _statistic(graph: Graph, value: Value) -> str:
    """Whether a statistic of the signal is a "mean" or, being of squares, a "variance"."""
    while value.op is not None and value.aval.size == value.op.outputs[0].aval.size:
        if value.op.primitive.name in ("max", "square", "integer_pow"):
            return "variance"
        wide = [v for v in value.op.inputs if graph.kind(v) is Kind.SIGNAL]
        if not wide or value.op.primitive.name.startswith("reduce_"):
            squared = wide and wide[0].op and wide[0].op.primitive.name
            return "variance" if squared in ("square", "integer_pow") else "mean"
        value = wide[0]
    return "mean"

"""The record of what a parameter is for: ``Parameter``, which ``infer`` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._choose.activations import Activation
from .._schemes.fans import Layout


class Branch(NamedTuple):
    """The residual branch that a kernel ends.

    Attributes:
      index: its number along the residual stream, from 1; in a loop, that of the first turn.
      total: how many branches the stream has, where those of a loop count once for each turn.
      normalized: whether a normalization stands between the kernel and the sum.
    """

    index: int
    total: int
    normalized: bool = False


class Source(NamedTuple):
    """What a kernel takes: often an activation of another kernel's output, or a product of such.

    Attributes:
      name: the name of the activation, or "data" (an input of the model), "normalized" (the output
        of a normalization), "sum" (several signals were added), or "" for anything else.
      functions: the activations that are multiplied, each an elementwise function of one kernel's
        output; empty where the kernel takes something else.
      kernels: the paths of these kernels.
      normalized: whether a normalization on the way removes the scale of these kernels' outputs.
      pooled: whether a mean over several elements was taken on the way, so that the second moment
        is that of ``functions`` only where neighbouring elements are alike.
      second_moment: of a sum, of signals side by side, or of another mixture: its second moment
        where the output of every kernel has variance 1; None where it is not understood.
    """

    name: str
    functions: tuple[Activation, ...] = ()
    kernels: tuple[str, ...] = ()
    normalized: bool = False
    pooled: bool = False
    second_moment: float | None = None


NO_SOURCE = Source("")


class Logits(NamedTuple):
    """The logits of attention, which queries and keys make: inner products times a factor.

    Attributes:
      size: how many products one logit sums, the size of a head.
      factor: what the sum is multiplied by, usually 1/sqrt(size).
      kernels: the paths of the kernels of queries and keys.
    """

    size: int
    factor: float
    kernels: tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """What one parameter is for.

    Attributes:
      path: its path, joined by "/".
      shape, dtype: as given.
      role: one of "kernel", "recurrent" (a kernel on the state of a loop), "embedding", "lora_a",
        "lora_b", "bias" (of a layer or of a normalization), "scale", "slope" (of a PReLU),
        "position", "token", "mean" and "variance" (running statistics of a normalization), "log
        scale" (whose exponential is a factor), "time scale" (that sets how fast a state decays),
        "state" (carried by a loop, or not floating), "unknown" and "unused". An "embedding" is a
        table, or an array of learned vectors, such as queries, that kernels are applied to.
      op: the operation that uses it, as JAX names it.
      fan_in: how many kernel terms one output sums, away from borders; for an embedding the number
        of features; None where the parameter is not a kernel.
      fan_out: how many outputs one input reaches, likewise.
      layout: which axes are in, out and batch axes; the others belong to the window.
      activation: the name of the activation that follows; the names, where blocks have several.
      blocks: the sizes of fused kernels along ``block_axis``; empty where it is one kernel.
      block_axis: the axis along which fused kernels lie.
      ties: the operations that use it, where there are several.
      residual: the residual branch that it ends, if it ends one.
      layer: for a bias, the path of its kernel.
      fed_by: what a kernel takes.
      takers: how many operations take up a kernel's output, activated or not.
      is_output: whether the model returns a kernel's output, activated or not.
      logits: the logits of attention, for a kernel of queries or keys.
      gated: the gated unit, such as "swiglu", of which a kernel makes the gate or what is gated.
      neutral: the value with which a scale leaves the signal as it is: 0 of ``x * (1 + scale)``.
      evidence: how this was found, for people.
      functions: the activation that follows, for each block, as ``recommend`` takes it.
    """

    path: str
    shape: tuple[int, ...]
    dtype: Any
    role: str
    op: str = ""
    fan_in: float | None = None
    fan_out: float | None = None
    layout: Layout | None = None
    activation: str = ""
    blocks: tuple[int, ...] = ()
    block_axis: int | None = None
    ties: tuple[str, ...] = ()
    residual: Branch | None = None
    layer: str | None = None
    fed_by: Source = NO_SOURCE
    takers: int = 0
    is_output: bool = False
    logits: Logits | None = None
    gated: str = ""
    neutral: float = 1.0
    evidence: str = ""
    functions: tuple[Activation, ...] = field(default=(None,), repr=False)

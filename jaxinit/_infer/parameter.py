"""Records: what is told of a parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._choose.activations import Activation
from .._schemes.fans import Layout


class Branch(NamedTuple):
    """The residual branch that a kernel ends: which one along its trunk, of how many.

    A branch in a loop is numbered as in its first turn; the total counts all turns. ``normalized``
    says whether a normalization stands between the kernel and the sum.
    """

    index: int
    total: int
    normalized: bool = False


class Source(NamedTuple):
    """What a kernel takes: a function of the output of another kernel, or a product of such.

    Attributes:
      name: the function's name, "data" (an input of the model), "normalized", "sum" (with other
        signals, as of a recurrent cell), or "" where none of these.
      functions: the factors, each an elementwise function; none where it is no such product.
      kernels: the paths of the kernels whose outputs they take.
      normalized: whether a normalization on the way makes the kernels' own scale meaningless.
    """

    name: str
    functions: tuple[Activation, ...] = ()
    kernels: tuple[str, ...] = ()
    normalized: bool = False


NO_SOURCE = Source("")


@dataclass(frozen=True)
class Parameter:
    """What one parameter is for.

    Attributes:
      path: its path, joined by "/".
      shape, dtype: as given.
      role: "kernel", "recurrent", "embedding", "lora_a", "lora_b"; "bias" (of a layer or of a
        normalization), "scale", "slope" (of PReLU), "position", "token", "mean", "variance" (that a
        normalization keeps); "state" (carried by a loop, or no float), "unknown", "unused".
      op: the operation that uses it, as JAX names it.
      fan_in, fan_out: how many kernel terms one output sums, and how many outputs one input
        reaches, away from borders; for an embedding the number of features; None where it is no
        kernel.
      layout: the roles of its axes, in, out and batch; every other one belongs to the window.
      activation: the name of what follows, or of each block where they differ.
      blocks: the sizes of its fused kernels along ``block_axis``; empty where it is one kernel.
      ties: the operations that use it, where there are several.
      residual: the residual branch that it ends, if it does.
      layer: of a bias, the path of its kernel.
      fed_by: what a kernel takes: the activated outputs of which others, where it is that.
      takers: how many operations take up a kernel's output, activated or not.
      is_output: whether the model returns it, activated or not.
      evidence: how this was found, for people.
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
    evidence: str = ""
    functions: tuple[Activation, ...] = field(default=(None,), repr=False)

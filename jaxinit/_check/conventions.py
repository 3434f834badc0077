"""The standard deviations that initializers in common use give a kernel, by name.

A kernel of n elements tells its standard deviation to about 1/sqrt(2 n), so a kernel of a million
elements tells Glorot's initializer from LeCun's even where the two are 1 % apart. Which axes count
as inputs is known where the computation was read; from the shape alone there are several readings,
as (in, out) of Flax and (out, in) of Equinox.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .._infer.advice import RULES, Choice
from .._infer.attention import undivided
from .._infer.parameter import Parameter
from .._random.laws import TRUNCATED_STDDEV
from .._schemes.fans import fans
from .array_statistics import Statistics

_CONSTANTS = (0.001, 0.01, 0.02, 0.05)
_KERAS_UNIFORM = 0.05 / math.sqrt(3)
ITS_OWN, CONSTANT = "its own axes", "a number"  # readings that need no vote
# Readings of fan_out in the place of fan_in: as it is, or of the shape, without groups and strides.
FAN_OUTS = ("fan_out for", "the shape's fan_out for")

# The variance times fan_in, and the initializers that have it.
_BY_FAN_IN = {
    "lecun": 1.0,
    "he": 2.0,
    "U(±1/sqrt(fan_in)), the default of PyTorch and Equinox,": 1 / 3,
    "Haiku's default": TRUNCATED_STDDEV**2,
    "gain 5/3, as for tanh,": 25 / 9,
}
_ORTHOGONAL = {"orthogonal": 1.0, "orthogonal(sqrt(2))": 2.0, "orthogonal(0.01)": 1e-4}


class Known(NamedTuple):
    """What the computation says of a parameter: what it is for, and what each rule advises."""

    parameter: Parameter
    choices: tuple[Choice, ...]  # in the order of RULES

    @property
    def choice(self) -> Choice:
        """The standard advice."""
        return self.choices[0]


class Match(NamedTuple):
    """An initializer in common use: its name, the standard deviation, and how axes were read."""

    name: str
    scheme: str  # without the fans
    std: float
    reading: str


def matching(found: Statistics, candidates: Iterable[Match]) -> list[Match]:
    """Those whose standard deviation the array has, as far as its size can tell, best first."""
    tolerance = 0.005 + 3.5 * found.sampling_error
    apart = [(abs(found.std / m.std - 1), m) for m in candidates if m.std > 0]
    near = sorted((x for x in apart if x[0] <= tolerance), key=lambda x: x[0])
    return [match for _, match in near]


def candidates(found: Statistics, known: Known | None, layers: int) -> list[Match]:
    """What a kernel may have been initialised with.

    Args:
      found: its statistics.
      known: what the computation says of it.
      layers: how many kernels of its family there are, which a residual scaling may divide by.
    """
    if known is None or not (known.parameter.fan_in and known.parameter.fan_out):
        named = [
            match
            for reading, fans_read in _readings(found.shape)
            for match in _of_fans(found, *fans_read, reading)
        ]
        return [*_constants(found, layers), *named]
    p = known.parameter
    total = p.residual.total if p.residual else 1
    own = [
        *_constants(found, max(layers, total)),
        *_advised(known),
        *_of_fans(found, p.fan_in or 1, p.fan_out or 1, ITS_OWN),
        *_of_block(p),
        *_logits_not_divided(p),
    ]
    divided = [_divided(m, total) for m in own if total > 1]
    return [*own, *divided]


def mistaken(found: Statistics, known: Known | None) -> list[Match]:
    """What a kernel would have if its fans had been counted wrongly."""
    if known is None or known.parameter.layout is None or len(found.shape) < 2:
        return []
    p = known.parameter
    if not (p.fan_in and p.fan_out):
        return []
    fan_in, fan_out = fans(found.shape)
    pairs: list[tuple[str, tuple[float, float]]] = [
        ("the shape's own", (fan_in, fan_out)),
        (FAN_OUTS[0], (p.fan_out, p.fan_in)),
        (FAN_OUTS[1], (fan_out, fan_in)),
    ]
    groups = known.parameter.layout.groups
    if groups > 1:
        pairs.append((f"all {groups} groups in", (p.fan_in * groups, p.fan_out * groups)))
    advised = (known.choice.stddev or 0) ** 2 * p.fan_in
    return [
        match
        for name, (fan_in, fan_out) in pairs
        for match in _of_mistake(name, fan_in, fan_out, advised)
    ]


def _of_mistake(name: str, fan_in: float, fan_out: float, advised: float) -> Iterator[Match]:
    scales = {"lecun": 1.0, "he": 2.0} | ({"the advice": advised} if advised else {})
    for scheme, scale in scales.items():
        if fan_in:
            text = f"{scheme} with {name} fan_in {fan_in:g}"
            yield Match(text, scheme, math.sqrt(scale / fan_in), name)
    text = f"glorot with {name} fans {fan_in:g} and {fan_out:g}"
    yield Match(text, "glorot", math.sqrt(2 / (fan_in + fan_out)), name)


def _constants(found: Statistics, layers: int) -> Iterator[Match]:
    """Standard deviations given as numbers, also divided for the depth of a residual stream."""
    stacked = found.shape[0] if len(found.shape) > 2 else 1
    depths = {n for count in (layers, stacked) if count > 1 for n in (count, 2 * count)}
    for std in _CONSTANTS:
        yield Match(f"normal({std})", f"normal({std})", std, CONSTANT)
        for n in sorted(depths):
            text = f"normal({std}/sqrt({n}))"
            yield Match(text, text, std / math.sqrt(n), CONSTANT)
    if found.distribution == "uniform":
        name = "Keras's uniform(-0.05, 0.05)"
        yield Match(name, name, _KERAS_UNIFORM, CONSTANT)


def _advised(known: Known) -> Iterator[Match]:
    for rule, choice in zip(RULES, known.choices, strict=True):
        if choice.stddev:
            name = f"the {rule} rule of autoinit"
            yield Match(name, name, choice.stddev, ITS_OWN)


def _of_fans(found: Statistics, fan_in: float, fan_out: float, reading: str) -> Iterator[Match]:
    if not (fan_in and fan_out):
        return
    for scheme, scale in _BY_FAN_IN.items():
        name = f"{scheme} with fan_in {fan_in:g}"
        yield Match(name, scheme, math.sqrt(scale / fan_in), reading)
    name = f"glorot with fans {fan_in:g} and {fan_out:g}"
    yield Match(name, "glorot", math.sqrt(2 / (fan_in + fan_out)), reading)
    for scheme, scale in _ORTHOGONAL.items() if found.is_orthogonal else ():
        name = f"{scheme} with fans {fan_in:g} and {fan_out:g}"
        yield Match(name, scheme, math.sqrt(scale / max(fan_in, fan_out)), reading)


def _of_block(p: Parameter) -> Iterator[Match]:
    """Glorot's initializer of one of several fused kernels."""
    if len(p.blocks) > 1 and p.fan_in and p.fan_out:
        fan_out = p.fan_out / len(p.blocks)
        name = f"glorot of each block, with fans {p.fan_in:g} and {fan_out:g}"
        yield Match(name, "glorot", math.sqrt(2 / (p.fan_in + fan_out)), ITS_OWN)


def _logits_not_divided(p: Parameter) -> Iterator[Match]:
    """Kernels of queries that hold the 1/sqrt(head size) of their logits, as in T5."""
    excess = undivided(p.logits) if p.logits and p.activation == "softmax" else 1.0
    if p.logits and p.fan_in and excess > 1:
        name = f"lecun, with the 1/sqrt({p.logits.size}) of attention in the weights,"
        yield Match(name, name, 1 / (math.sqrt(p.fan_in) * excess), ITS_OWN)


def _divided(match: Match, total: int) -> Match:
    name = f"{match.name}, divided by sqrt({total})"
    return Match(name, f"{match.scheme}/sqrt", match.std / math.sqrt(total), match.reading)


def _readings(shape: Sequence[int]) -> Iterator[tuple[str, tuple[float, float]]]:
    """The fans of a shape, by how its axes may be meant."""
    if len(shape) < 2:
        return
    whole = math.prod(shape)
    first, last = shape[0], shape[-1]
    yield "inputs before outputs", fans(shape)
    window = whole // max(first * shape[1], 1)
    yield "outputs before inputs", (whole // max(first, 1), first * window)
    if len(shape) > 2:
        yield "several axes of inputs", (whole // max(last, 1), last)
        yield "several axes of outputs", (first, whole // max(first, 1))
        yield "a stack of kernels", fans(shape[1:])
    if len(shape) > 3:
        rest = whole // max(first, 1)
        yield "a stack of kernels", (shape[1], rest // max(shape[1], 1))

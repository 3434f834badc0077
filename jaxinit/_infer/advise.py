"""Advises an initializer for every parameter, from what the computation does with each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .. import initializers
from .._choose.activations import Activation, resolve
from .._choose.mean_field import moment_at
from .._choose.recommend import Recommendation, recommend
from .._schemes.base import Initializer
from .._schemes.fans import Fans
from .._schemes.variance import DistributionName, Mode, VarianceScaling
from .advice import Advice, Choice, Rule
from .attention import excess_of
from .infer import Inferred
from .own_values import kept
from .parameter import Parameter
from .widths import widths_note

_TABLE_STDDEV = 0.02  # of tables of positions and of tokens


class Wanted(NamedTuple):
    """The options of ``autoinit`` that its advice depends on."""

    rule: Rule = "standard"
    distribution: DistributionName = "truncated_normal"
    q: float = 1.0
    mode: Mode | None = None


def advise(found: Inferred, wanted: Wanted, own: Mapping[str, Any] | None = None) -> Advice:
    """The advice for the parameters that were inferred; ``own`` holds the values of the model's."""
    chosen = {}
    for path, p in found.items():
        reason = kept(p, found, own or {})
        chosen[path] = Choice(None, None, reason, "", True) if reason else _choose(p, found, wanted)
    return Advice(wanted.rule, found, chosen)


def _choose(p: Parameter, found: Inferred, wanted: Wanted) -> Choice:
    if p.role in _CONSTANTS:
        init, reason, source = _CONSTANTS[p.role]
        init = init if p.neutral == 1 else initializers.constant(p.neutral)
        return Choice(init, 0.0, reason, source)
    if p.role == "bias":
        return _bias(p, found, wanted)
    if p.role in ("position", "token"):
        reason = f"a table of {p.role}s: N(0, {_TABLE_STDDEV}^2)"
        source = "Devlin et al. 2019 (BERT) and He et al. 2022 (MAE), in their code"
        return Choice(initializers.normal(_TABLE_STDDEV), _TABLE_STDDEV, reason, source)
    if p.role == "embedding":
        stddev = 1 / math.sqrt(p.fan_in or 1)
        reason = f"rows of {p.fan_in} features and norm 1"
        return Choice(initializers.normal(stddev), stddev, reason, "Flax's Embed")
    if wanted.rule == "standard" and _keeps_state(p):
        return _recurrent(p)
    if p.role in ("kernel", "recurrent", "lora_a"):
        chosen = _kernel_choice(p, found, wanted)
        return chosen._replace(reason=chosen.reason + widths_note(p, found, wanted.mode))
    reason = f"{p.role}: {p.evidence}; keeps the model's own init, or default="
    return Choice(None, None, reason, "")


def _kernel_choice(p: Parameter, found: Inferred, wanted: Wanted) -> Choice:
    if wanted.rule == "standard" or p.role == "lora_a":
        return _standard(p, wanted)
    return _by_mean_field(p, found, wanted)


_CONSTANTS: dict[str, tuple[Initializer, str, str]] = {
    "scale": (initializers.ones, "a factor that starts as no factor", "Ba et al. 2016"),
    "slope": (initializers.constant(0.25), "PReLU's slope below 0", "He et al. 2015, section 2.1"),
    "lora_b": (
        initializers.zeros,
        "an adapter that starts as nothing",
        "Hu et al. 2021, section 4.1",
    ),
    "mean": (initializers.zeros, "a running mean, of nothing yet", "Ioffe & Szegedy 2015"),
    "variance": (initializers.ones, "a running variance, of nothing yet", "Ioffe & Szegedy 2015"),
}


def _standard(p: Parameter, wanted: Wanted) -> Choice:
    """The usual choice for the activation that follows, for each block by itself."""
    advised = [_recommended(p.gated or function, wanted) for function in p.functions]
    branch = p.residual if p.residual and not p.residual.normalized else None
    total = branch.total if branch else 1
    excess = [excess_of(p, function) for function in p.functions]
    schemes = [_scheme(r.initializer, total * x) for r, x in zip(advised, excess, strict=True)]
    reasons = [r.reason.partition(" Between layers")[0] for r in advised]
    reason = " | ".join(dict.fromkeys(reasons))
    if branch:
        reason += f" Ends branch {branch.index} of {total}: divided by sqrt({total})."
    return _kernel(p, schemes, reason + _logits_note(max(excess)), advised[0].source)


def _keeps_state(p: Parameter) -> bool:
    """Whether each block of a recurrent kernel maps a state to one of the same size."""
    if p.role != "recurrent" or p.residual or p.layout is None or p.fan_out is None:
        return False
    square = all(p.fan_in == p.fan_out * share for share in _blocks(p))
    return square and not p.layout.roles(p.shape).window


def _recurrent(p: Parameter) -> Choice:
    """Orthogonal, each block by itself, so that what is carried keeps its size."""
    init = initializers.orthogonal(layout=p.layout)
    if p.blocks and p.block_axis is not None:
        init = initializers.blocks(init, p.blocks, p.block_axis)
    assert p.fan_in is not None
    reason = "carried from step to step: its size is kept"
    return Choice(init, 1 / math.sqrt(p.fan_in), reason, "Saxe et al. 2014")


def _logits_note(excess: float) -> str:
    """What is said of a kernel of queries or keys whose logits are not divided by sqrt(d)."""
    if excess == 1:
        return ""
    return (
        f" The logits are not divided by sqrt(d): with variance 1 on both sides they would have "
        f"standard deviation {excess:.3g}, so both kernels are divided by {excess**0.5:.3g}."
    )


def _recommended(function: Activation, wanted: Wanted) -> Recommendation:
    """The advice for a function; for one without a gain, as a constant, that for no function."""
    try:
        return recommend(function, wanted.distribution, wanted.mode)
    except ValueError as error:
        found = recommend(None, wanted.distribution, wanted.mode)
        return found._replace(reason=f"{found.reason} (No gain: {error})")


def _blocks(p: Parameter) -> Sequence[float]:
    """The share of the outputs that belongs to each block."""
    return [size / sum(p.blocks) for size in p.blocks] if p.blocks else [1.0]


def _scheme(init: Initializer, divisor: float) -> VarianceScaling:
    """The scheme that is advised, its variance divided by a number."""
    assert isinstance(init, VarianceScaling)
    return replace(init, scale=init.scale / divisor, label=None)


def _kernel(p: Parameter, schemes: Sequence[VarianceScaling], reason: str, source: str) -> Choice:
    """The choice for a kernel, of one scheme, or of one for each of its blocks."""
    shares = _blocks(p)
    every = schemes if len(schemes) == len(shares) else list(schemes) * len(shares)
    each = [_with_fans(scheme, p, share) for scheme, share in zip(every, shares, strict=True)]
    stddevs = [scheme.stddev(p.shape) for scheme in each]
    if len(set(stddevs)) == 1:
        return Choice(each[0], stddevs[0], reason, source)
    assert p.block_axis is not None
    mean = math.sqrt(sum(s * s * share for s, share in zip(stddevs, shares, strict=True)))
    return Choice(initializers.blocks(each, p.blocks, p.block_axis), mean, reason, source)


def _with_fans(scheme: VarianceScaling, p: Parameter, share: float) -> VarianceScaling:
    """The scheme with the parameter's fans: those of its shape, of its layout, or as numbers."""
    assert p.fan_in is not None
    assert p.fan_out is not None
    fans = Fans(float(p.fan_in), float(p.fan_out * share))
    for candidate in (scheme, replace(scheme, layout=p.layout)):
        try:
            if candidate.layout is not None and candidate.layout.fans(p.shape) == fans:
                return candidate
        except ValueError:  # the shape has no such axes
            continue
    return replace(scheme, fans=fans)


def _by_mean_field(p: Parameter, found: Inferred, wanted: Wanted) -> Choice:
    """The choice by the second moment of what the kernel takes."""
    weight, _, reason, source = _variances(p, found, wanted)
    mode = wanted.mode or "fan_in"
    scheme = initializers.variance_scaling(weight, mode, wanted.distribution)
    excess = [excess_of(p, function) for function in p.functions]
    schemes = [_scheme(scheme, x) for x in (excess if len(set(excess)) > 1 else excess[:1])]
    if mode != "fan_in":
        reason += f"; you asked for {mode} instead of fan_in"
    return _kernel(p, schemes, reason + _logits_note(max(excess)), source)


def _variances(p: Parameter, found: Inferred, wanted: Wanted) -> tuple[float, float, str, str]:
    """The variances sigma_w^2 and sigma_b^2 of a kernel and its bias, the reason and the source."""
    fed, q = p.fed_by, wanted.q
    if not fed.functions and fed.second_moment is not None:
        reason = f"takes a mixture of signals, of second moment {fed.second_moment:.4g} q"
        return 1 / fed.second_moment, 0.0, reason, _HE
    if not fed.functions:
        reason = f"takes {fed.name or 'a signal'}, of second moment taken to be 1"
        return q, 0.0, reason, _HE
    taken = [_moment(function, 1.0 if fed.normalized else q) for function in fed.functions]
    known = [moment for moment in taken if moment is not None]
    if len(known) < len(taken):
        reason = f"takes {fed.name}, whose second moment is 0 or infinite: taken to be 1"
        return q, 0.0, reason, _HE
    moment = math.prod(known)
    reason = f"takes {fed.name}(sqrt({q:g}) z), of second moment {moment:.4f}"
    if wanted.rule != "critical" or len(taken) > 1 or fed.normalized:
        return q / moment, 0.0, reason, _HE
    slope = _moment(fed.functions[0], q, backward=True)
    if slope is None:
        reason += "; that of its slope is 0 or infinite: only q is kept"
        return q / moment, 0.0, reason, _HE
    weight = 1 / slope
    bias = q - weight * moment
    reason += f" and slope {slope:.4f}: sigma_w^2 = {weight:.4f}"
    if abs(bias) < 1e-6 * q:  # homogeneous: every q is kept, without biases
        return weight, 0.0, reason, _SCHOENHOLZ
    if bias > 0 and p.path in found.biased:
        return weight, bias, f"{reason}, sigma_b^2 = {bias:.4f}", _SCHOENHOLZ
    why = "without a bias" if bias > 0 else f"no edge of chaos has q = {q:g}"
    return q / moment, 0.0, f"{reason} would be critical; {why}: only q is kept", _HE


_HE = "He et al. 2015, eq. 7"
_SCHOENHOLZ = "Poole et al. 2016, eq. 3; Schoenholz et al. 2017, eq. 5"


def _moment(function: Activation, q: float, backward: bool = False) -> float | None:
    """E[phi(sqrt(q) z)^2], or that of the slope; None where it is 0, infinite or not computable.

    A softmax or the like is taken to keep the second moment of its input.
    """
    if resolve("autoinit", function).function is None:
        return 1.0 if backward else q
    try:
        return moment_at("autoinit", function, q, backward)
    except ValueError:
        return None


def _bias(p: Parameter, found: Inferred, wanted: Wanted) -> Choice:
    if p.layer is None or wanted.rule != "critical":
        reason = "zero, as biases start" if p.layer else "a shift that starts as none"
        return Choice(initializers.zeros, 0.0, reason, "Glorot & Bengio 2010, section 2.3")
    _, bias, reason, source = _variances(found[p.layer], found, wanted)
    if not bias:
        return Choice(initializers.zeros, 0.0, "zero: its kernel alone keeps q", source)
    stddev = math.sqrt(bias)
    reason = f"keeps q beside {p.layer}: sigma_b^2 = {bias:.4f}"
    return Choice(initializers.normal(stddev), stddev, reason, source)

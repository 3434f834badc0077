"""What is wrong with the standard deviation of a kernel, judged by its fans and its siblings.

The siblings of a kernel are the same parameter in the model's other layers. Say three of four
layers have std 0.0625, which is LeCun's for a fan_in of 256, and the fourth has 0.1875. Each of
them has 65,536 elements, whose standard deviation is off by 0.3 % by chance, so the fourth was not
drawn like the others.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import _text
from .._random.laws import TRUNCATED_STDDEV
from .conventions import CONSTANT, FAN_OUTS, ITS_OWN, Match, candidates, matching, mistaken
from .findings import Finding, Part, number
from .subject import SAVE_AGAIN, Model, Subject, Usual, agree

_APART = 0.08  # the relative distance from which on a kernel is unlike its siblings
_ROUNDED = 0.03  # what rounding to a narrow dtype may do to a standard deviation
_RANGE = 1.9  # how far beyond the usual initializers a standard deviation may be
_FEWEST = 32  # elements from which on a standard deviation is judged
_NEARLY_ZERO = 1e-3  # of what is expected: below it, a kernel was meant to start as nothing
_LARGEST_TABLE = 1.2  # the standard deviation up to which an embedding is usual: N(0, 1)


def of_spread(s: Subject, model: Model) -> Iterator[Finding]:
    """Findings about how large the values of a drawn kernel or table are."""
    x = s.found
    if not (s.is_kernel and x.is_drawn) or x.size < _FEWEST or x.std == 0:
        return
    if s.asked is not None:
        if s.asked.std is not None:
            yield from _not_as_asked(s, s.asked.std)
    elif s.is_table:
        yield from _of_table(s, model)
    elif (odd := _unlike_siblings(s, model)) is not None:
        yield odd
    elif not model.trusted(s):
        yield from _unexplained(s, model)


def _not_as_asked(s: Subject, std: float) -> Iterator[Finding]:
    """A kernel whose checkpoint says what its initializer was asked for."""
    x = s.found
    if abs(x.std - std) <= (_ROUNDED + 6 * x.sampling_error) * std:
        return
    assert s.asked is not None
    differs = (number(x.std / std), " times what was") if std else (number(x.std), ", and 0 was")
    yield Finding(
        "warning",
        "wrong_std",
        s.path,
        ("its standard deviation is ", *differs, f" asked of {s.asked.initializer}"),
        SAVE_AGAIN,
        f"std {x.std:.4g}, asked {std:.4g}; chance moves it by {x.sampling_error:.1%}",
    )


def _unlike_siblings(s: Subject, model: Model) -> Finding | None:
    """A kernel that is far from its siblings, which agree with one another."""
    x, siblings = s.found, model.siblings(s)
    told = f"the same kernel of {_text.counted(len(siblings), 'other layer')}"
    if not siblings and len(siblings := model.beside(s)) > 1:
        told = f"the {len(siblings)} kernels beside it in its layer"
    if not siblings or (len(siblings) == 1 and not model.siblings(s)):
        return None
    apart = _apart(s, siblings)
    if apart is None or (apart.rule and model.trusted(s)) or _is_of_its_own(s, model):
        return None
    if len(siblings) == 1 and (model.trusted(s) or not model.trusted(siblings[0])):
        return None  # of two, the one that no initializer explains is the odd one
    usual, explained = apart.usual, _name(model.trusted(siblings[0]))
    advised = f", each beside what the {apart.rule} rule of autoinit advises" if apart.rule else ""
    return Finding(
        "warning",
        "wrong_std",
        s.path,
        ("its standard deviation is ", number(x.std / usual), f" times that of {told}{advised}"),
        "draw it as they were drawn" + (f", by {explained}" if explained else ""),
        f"std {x.std:.4g}, theirs {usual:.4g}; chance moves it by {x.sampling_error:.1%}",
    )


class _Apart(NamedTuple):
    """What the siblings of a kernel lead to expect, and by which rule; "" of none."""

    rule: str
    usual: float


def _apart(s: Subject, siblings: Sequence[Subject]) -> _Apart | None:
    """What a kernel is far from, if it is not as its siblings are by any rule of autoinit.

    The last of equal layers may feed no relu, and the first takes data. So standard deviations are
    compared as they are, and in units of what each rule advises for that kernel.
    """
    x, found = s.found, []
    for rule, unit in s.units.items():
        units = [other.units.get(rule) for other in siblings]
        pairs = [(other.found, u) for other, u in zip(siblings, units, strict=True) if u]
        median = statistics.median(y.std / u for y, u in pairs) if pairs else 0.0
        strangers = sum(not agree(y, median * u) for y, u in pairs)
        if len(pairs) < len(siblings) or 5 * strangers > len(siblings):
            continue
        usual = median * unit
        far = abs(x.std / usual - 1) > max(_APART, 8 * x.sampling_error)
        if not far or x.std < _NEARLY_ZERO * usual:
            return None
        found.append(_Apart(rule, usual))
    return found[0] if found else None


def _is_of_its_own(s: Subject, model: Model) -> bool:
    """Whether it is the first or the last of its family, and drawn by an initializer of its own.

    Such layers take data, or feed no activation, which the parameters alone do not tell.
    """
    family = model.families[s.family]
    is_end = s is family[0] or s is family[-1]
    return s.known is None and is_end and any(m.reading != CONSTANT for m in model.trusted(s))


def _name(matches: list[Match]) -> str:
    return matches[0].name.rstrip(",") if matches else ""


def _of_table(s: Subject, model: Model) -> Iterator[Finding]:
    """An embedding is usual from near 0 up to N(0, 1), if the model's kernels are no smaller."""
    x = s.found
    usual = max(s.expected or x.shape[-1] ** -0.5, model.usual_number or 0.0)
    explained = any(abs(x.std / std - 1) < 0.05 for std in (1.0, TRUNCATED_STDDEV))
    if x.std <= 4 * usual or (x.std <= _LARGEST_TABLE and explained and not model.usual_number):
        return
    yield Finding(
        "warning",
        "wrong_std",
        s.path,
        ("its standard deviation is ", number(x.std / usual), " times that of a usual table"),
        f"draw it by initializers.normal({usual:.3g})",
        f"std {x.std:.4g}; "
        + (
            f"the model's kernels have {usual:g}"
            if usual == model.usual_number
            else f"1/sqrt(features) is {usual:.4g}"
        ),
    )


def _unexplained(s: Subject, model: Model) -> Iterator[Finding]:
    """A kernel that no initializer in common use explains, with the axes read as they are."""
    x = s.found
    mistakes = matching(x, mistaken(x, s.known))
    if any(m.reading in FAN_OUTS and _is_usual(model, m) for m in mistakes):
        return
    if wrong := _wrong_fan(s, model):
        yield wrong
        return
    if truncated := _truncated(s, model):
        yield truncated
        return
    yield from _out_of_range(s, model)


def _truncated(s: Subject, model: Model) -> Finding | None:
    """A normal distribution that was truncated at two standard deviations, and not scaled up."""
    x = s.found
    cut = [
        m
        for m in matching(x, [_cut(m) for m in _candidates(s, model)])
        if m.reading in (ITS_OWN, CONSTANT) or s.known is None
    ]
    if not (x.is_cut_at_two and cut):
        return None
    asked = cut[0].std / TRUNCATED_STDDEV
    return Finding(
        "note",
        "truncated",
        s.path,
        (
            "its standard deviation is 0.8796 of ",
            number(asked, ".4g"),
            f" ({cut[0].scheme.rstrip(',')}): it was truncated at two standard deviations and not "
            f"scaled up again",
        ),
        "initializers.truncated_normal(stddev) has the standard deviation that is asked for",
        f"std {x.std:.4g}; {_name(cut)} has {asked:.4g}; largest value "
        f"{max(x.high, -x.low) / x.std:.4g} std from 0",
    )


def _candidates(s: Subject, model: Model) -> list[Match]:
    return candidates(s.found, s.known, len(model.families[s.family]))


def _cut(match: Match) -> Match:
    return match._replace(std=match.std * TRUNCATED_STDDEV)


def _wrong_fan(s: Subject, model: Model) -> Finding | None:
    """A standard deviation that fans explain which are not the kernel's own."""
    x = s.found
    if s.known is not None:
        wrong = matching(x, mistaken(x, s.known)) if x.size >= 1024 else []
        if not wrong:
            return None
        p = s.known.parameter
        return Finding(
            "warning",
            "wrong_fan",
            s.path,
            f"its standard deviation is what {wrong[0].name} gives; its fan_in is {p.fan_in:g} and "
            f"its fan_out {p.fan_out:g} ({p.evidence})",
            f"initializers.variance_scaling(..., layout={p.layout!r}) has the right fans, as "
            f"jaxinit.autoinit does",
            f"std {x.std:.4g}; {wrong[0].name}: {wrong[0].std:.4g}; chance moves it by "
            f"{x.sampling_error:.1%}",
        )
    others = model.matches(s)
    if not others or x.size < 512:
        return None
    return Finding(
        "warning",
        "wrong_fan",
        s.path,
        f"its standard deviation is what {others[0].name.rstrip(',')} gives with the axes read as "
        f"{others[0].reading}, and the model's other kernels are read in another way",
        "check which axes are inputs: initializers.variance_scaling takes in_axis and out_axis",
        f"std {x.std:.4g}; {others[0].name}: {others[0].std:.4g}",
    )


def _is_usual(model: Model, wrong: Match) -> bool:
    """Whether fan_out was meant: most kernels that tell are scaled by it."""
    like = told = 0
    for other in model.kernels:
        found = matching(other.found, mistaken(other.found, other.known))
        if not any(m.reading in (ITS_OWN, CONSTANT) for m in model.matches(other)):
            told += 1
            like += any(m.reading == wrong.reading and m.scheme == wrong.scheme for m in found)
    return like >= 3 and 2 * like > told


def _out_of_range(s: Subject, model: Model) -> Iterator[Finding]:
    """Told by siblings, by the rest of the model, or by the usual initializers' range."""
    x = s.found
    own = [m.std for m in _candidates(s, model) if m.reading != CONSTANT and "0.01" not in m.name]
    if not own:
        return
    low, high = min(own), max(own)
    evidence = f"std {x.std:.4g}; usual initializers give {low:.3g} to {high:.3g}"
    shared = any(agree(other.found, x.std) for other in model.siblings(s))
    too_large = x.std > _RANGE * high
    if model.usual is not None and not shared and x.std > 0.5 * low:
        nearest = _nearest_usual(s, model, model.usual)
        too_large = too_large or abs(x.std / nearest - 1) > 0.5
        drawn = f"{model.usual.count} of {len(model.kernels)} kernels are drawn by"
        evidence = f"std {x.std:.4g}; {drawn} {model.usual.scheme}, which gives {nearest:.3g}"
    if shared or x.std < 0.5 * low:
        yield Finding(
            "note",
            "unusual_std",
            s.path,
            (*_of_no_initializer(s), ", as if it were to start as nothing" * (x.std < low)),
            "nothing, if it was chosen; jaxinit.recommend names the initializer for an activation",
            evidence,
        )
    elif too_large:
        yield Finding(
            "warning",
            "wrong_std",
            s.path,
            _of_no_initializer(s),
            "draw it by what jaxinit.recommend names for the activation that follows",
            evidence,
        )


def _nearest_usual(s: Subject, model: Model, usual: Usual) -> float:
    """The nearest of the standard deviations that the model's usual initializer gives a kernel."""
    theirs = [
        m.std
        for m in _candidates(s, model)
        if m.scheme == usual.scheme and m.reading in usual.readings
    ]
    return min(theirs, key=lambda std: abs(s.found.std / std - 1), default=s.found.std)


def _of_no_initializer(s: Subject) -> tuple[Part, ...]:
    return "its standard deviation, ", number(s.found.std), ", is of no initializer in common use"

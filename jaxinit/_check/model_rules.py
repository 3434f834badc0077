"""What is wrong with an array in its model: zeros that block, and copies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from .. import _text
from . import names
from .findings import Finding, Other, Severity, number
from .resemblance import COPY, EXACT, alike, standardized
from .subject import Model, Subject

_ATTENTION = re.compile(
    r"(?P<layer>.*?)(^|/)(w_?|to_)?(q|k|v|o|query|key|value|out|output)(_?proj)?(/kernel|/weight|/w)?$"
)


def of_zeros(model: Model) -> Iterator[Finding]:
    """Kernels and norm scales that are all zero: deliberate, or closing the way to what follows."""
    zeros = [
        s
        for s in model.subjects
        if _is_zero(s) and not s.is_asked_constant and (s.role == "scale" or s.is_kernel)
    ]
    for s in zeros:
        seen = model.run if len(zeros) > 1 and _is_seen(s) else None
        lost = seen is not None and s.path in seen.unreached
        if s.role == "lora_a" and not lost:
            continue
        blocked = model.run.fed_without(s.path) if model.run and s.known else []
        if blocked and not s.ends_branch:
            yield Finding(
                "error",
                "zero",
                s.path,
                "all zero: what follows takes the same numbers whatever the input is"
                + (", and no gradient will ever reach it" if lost else ""),
                "start it from jaxinit.ones"
                if s.role == "scale"
                else "draw it by what jaxinit.recommend names for the activation that follows",
                f"with other numbers in its place, {blocked[0]} takes a signal",
            )
        elif lost:
            yield _never_trained(s, model)
        elif s.role == "scale":
            yield _zero_scale(s, model)
        else:
            yield _zero_kernel(s, model)


def _is_seen(s: Subject) -> bool:
    """Whether the computation around it is known to run, unlike that of a branch not taken."""
    return s.known is not None and (s.role == "scale" or s.seen is not None)


def _never_trained(s: Subject, model: Model) -> Finding:
    """Zeros that a gradient never reaches, as of two kernels of zeros in a row."""
    assert model.run is not None
    others = sorted(model.run.unreached - {s.path})
    more = f", as at {others[0]}" + (f" and {len(others) - 1} more" if len(others) > 1 else "")
    return Finding(
        "error",
        "zero",
        s.path,
        "all zero, and no gradient will ever reach it: what it feeds or takes is zero too",
        "draw one of them at random, as by jaxinit.lecun_normal; the other may stay zero",
        "where every parameter that a gradient reaches has moved, its own is still zero"
        + (more if others else ""),
    )


def _is_zero(s: Subject) -> bool:
    return not s.found.bad and s.found.is_constant and s.found.high == 0


def _zero_kernel(s: Subject, model: Model) -> Finding:
    """A kernel that closes nothing that was seen."""
    if s.known is not None and model.run is None and not s.ends_branch:
        return Finding(
            "error",
            "zero",
            s.path,
            "all zero: nothing passes it, and no gradient comes back through it",
            "draw it by what jaxinit.recommend names for the activation that follows",
        )
    if not s.ends_branch and (odd := _zero_among_drawn(s, model)):
        return odd
    if s.known is not None or names.is_deliberate(s.path) or len(model.families[s.family]) > 1:
        return Finding(
            "note",
            "zero",
            s.path,
            "all zero, as the end of a residual branch, a gate or the last layer may start",
            "nothing, if that is what it is; else draw it by jaxinit.lecun_normal",
        )
    return Finding(
        "warning",
        "zero",
        s.path,
        "all zero, and its name does not say that it ends a residual branch or the model",
        "give audit the forward pass too, which tells; or draw it by jaxinit.lecun_normal",
    )


def _zero_among_drawn(s: Subject, model: Model) -> Finding | None:
    """A kernel of zeros where those of other layers, or those beside it, were drawn."""
    siblings, beside = model.siblings(s), model.beside(s)
    if siblings:
        others = f"the same kernel of {_text.counted(len(siblings), 'other layer')} is not"
        theirs = f"theirs have std {siblings[0].found.std:.3g}"
    elif len(beside) > 1 and not names.is_deliberate(s.path):
        others = "the kernels beside it in its layer are not"
        theirs = f"{beside[0].path} has std {beside[0].found.std:.3g}"
    else:
        return None
    return Finding(
        "warning", "zero", s.path, f"all zero, and {others}", "draw it as they were drawn", theirs
    )


def _zero_scale(s: Subject, model: Model) -> Finding:
    """The scale of a norm; deliberate where the same scale of other layers is zero too."""
    others = [other for other in model.subjects if other.role == "scale" and other is not s]
    alike = [other for other in others if _tail(other) == _tail(s)]
    if model.run is None and not alike:
        alike = others
    odd = [other for other in alike if not _is_zero(other)]
    if 2 * len(odd) > len(alike) or (model.run is None and not others):
        return Finding(
            "warning",
            "zero",
            s.path,
            "a scale of zero lets no signal through, and no other scale of its kind is zero",
            "start it from jaxinit.ones",
            f"{odd[0].path} is not zero" if odd else "it is the only scale of the model",
        )
    return Finding(
        "note",
        "zero",
        s.path,
        "a scale of zero, as the end of a residual branch or 1 + scale may start",
        "nothing, if that is what it is; else start it from jaxinit.ones",
    )


def _tail(s: Subject) -> str:
    """The end of its path, which the same parameter has in every block of a model."""
    return "/".join(s.path.split("/")[-2:])


def of_copies(model: Model) -> Iterator[Finding]:
    """Arrays that are equal, or were drawn from one key."""
    subjects, told = model.subjects, set()
    pairs = [(i, j, c, "") for i, j, c in alike([s.found.sample for s in subjects])]
    pairs += [(i, j, c, "the transpose of ") for i, j, c in _transposed(subjects)]
    for i, j, correlation, transposed in pairs:
        pair = subjects[i], subjects[j]
        one, other = (s.found for s in pair)
        if j in told or all(s.asked and s.asked.is_fixed for s in pair):
            continue
        judged = _severity(pair, correlation)
        if judged is None:
            continue
        told.add(j)
        same = one.digest == other.digest or (bool(transposed) and correlation > 0.9999)
        what = ("equal to ",) if same else ("correlated ", number(correlation, ".2f"), " with ")
        yield Finding(
            judged[0],
            "reused_key",
            other.path,
            (*what, transposed, Other(one.path)),
            judged[1],
            "" if same else f"chance gives correlations below {7 / math.sqrt(len(one.sample)):.2g}",
        )


def _severity(pair: tuple[Subject, Subject], correlation: float) -> tuple[Severity, str] | None:
    """How sure it is that one key made both, and what to do."""
    is_copy = abs(correlation) > EXACT
    split = "split the key, or fold in a name, as jaxinit.tree_init does"
    if any(s.is_vector for s in pair):
        # The gradients of biases that add into one sum are alike, so that training makes them so.
        fine = f"nothing, if they were trained, as biases of one sum; else {split}"
        return ("warning", fine) if is_copy else None
    layers = {found["layer"] if (found := _ATTENTION.match(s.path)) else s.path for s in pair}
    if len(layers) == 1 and not is_copy:
        fine = f"nothing, if it was chosen, as by recipes.mimetic_attention; else {split}"
        return "note", fine
    if abs(correlation) < COPY:
        fine = f"nothing, if one was made from the other, or they were trained; else {split}"
        return "warning", fine
    return "error", (
        "one key made both: split it, or fold in a name, as jaxinit.tree_init does; a weight that "
        "is shared on purpose is stored once"
    )


def _transposed(subjects: Sequence[Subject]) -> Iterator[tuple[int, int, float]]:
    """Pairs of arrays one of which begins like the transpose of the other."""
    corners: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    for i, s in enumerate(subjects):
        for corner in s.found.corners:
            plain = standardized(corner.reshape(-1))
            turned = standardized(corner.T.reshape(-1))
            if plain.size:
                corners.setdefault(len(corner), []).append((i, plain, turned))
    found = set()
    for side, group in corners.items():
        plain = np.array([p for _, p, _ in group])
        turned = np.array([t for _, _, t in group])
        correlation = plain @ turned.T
        for a, b in zip(*np.nonzero(np.abs(correlation) > max(0.5, 7 / side)), strict=True):
            i, j = group[a][0], group[b][0]
            if i < j and (i, j) not in found:
                found.add((i, j))
                yield i, j, float(correlation[a, b])

"""What is wrong with one array, whatever model it belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from .findings import Finding, Part, number
from .resemblance import COPY, EXACT, Repeats
from .subject import SAVE_AGAIN, Subject


def of_values(s: Subject) -> Iterator[Finding]:
    """Findings about the values themselves; the first that holds explains the others."""
    x = s.found
    if x.bad:
        yield from of_numbers(s)
    elif x.is_constant:
        yield from _one_number(s)
    elif x.repeats and _is_told(s, x.repeats):
        yield _repeated(s, x.repeats)
    elif s.is_kernel and (s.asked is None or s.asked.std is not None):
        yield from _of_draw(s)


def of_numbers(s: Subject) -> Iterator[Finding]:
    """Whether all values are numbers."""
    x = s.found
    if x.bad:
        yield Finding(
            "error",
            "not_finite",
            s.path,
            (number(x.bad, ","), " of ", number(x.size, ","), " values are NaN or infinite"),
            "draw it again; jaxinit.initializers refuse to overflow a dtype, and a run that "
            "diverged is to be resumed from an earlier step",
        )


def _is_told(s: Subject, found: Repeats) -> bool:
    """Whether parts that are alike were not meant to be; those of biases, if they are equal."""
    if s.asked is not None and s.asked.holds_copies:
        return False
    return not s.is_vector or found.correlation > EXACT


def _repeated(s: Subject, found: Repeats) -> Finding:
    """Parts of an array that are alike. Those that are correlated below zero no key draws."""
    equal = found.correlation > EXACT
    correlated = ("equal",) if equal else ("correlated ", number(found.correlation, ".2f"))
    what: tuple[Part, ...] = (f"{found.parts} are ", *correlated)
    split = (
        "give each its own key, as nn.scan and nn.vmap do with split_rngs={'params': True}, or "
        "jax.random.split"
    )
    if _precedes_shuffle(s, found):
        fine = f"nothing, if a pixel shuffle follows, as for recipes.icnr; else {split}"
        return Finding("warning", "reused_key", s.path, (*what, f", {found.copies} each"), fine)
    if s.is_vector:
        fine = f"nothing, if it was trained, or repeated on purpose; else {split}"
        return Finding("warning", "reused_key", s.path, what, fine)
    if found.correlation < COPY:
        fine = f"nothing, if one was made from the other, as its negative; else {split}"
        return Finding("warning", "reused_key", s.path, what, fine)
    return Finding("error", "reused_key", s.path, what, split)


def _precedes_shuffle(s: Subject, found: Repeats) -> bool:
    """Whether each unit is there r^d times, as for a shuffle in d dimensions.

    In one dimension that is any number, so that the kernel has to be one of such a convolution.
    """
    axes, copies = len(s.found.shape), found.copies
    dimensions = range(1 if axes == 3 else 2, max(axes - 1, 3))
    return copies > 1 and any(round(copies ** (1 / d)) ** d == copies for d in dimensions)


def _of_draw(s: Subject) -> Iterator[Finding]:
    """Findings about a kernel of independent draws; the first that holds explains the others."""
    tests = (_scattered, _low_rank, _uneven, _coarse, _shifted)
    yield from [found for test in tests if (found := test(s))][:1]


def _scattered(s: Subject) -> Finding | None:
    x = s.found
    if not x.is_scattered:
        return None
    return Finding(
        "warning",
        "mostly_zero",
        s.path,
        (number(x.zeros, ".0%"), " of its values are zero, scattered at random"),
        "draw it again in float32: small values round to zero in a narrow dtype, as float8",
        f"{round(x.zeros * x.size):,} zeros among {x.size:,} values",
    )


def _low_rank(s: Subject) -> Finding | None:
    x = s.found
    if x.rank is None or (s.asked and s.asked.mean):
        return None
    sides = f"{x.size // x.shape[-1]} x {x.shape[-1]}"
    lost = f" as a matrix of {sides}: most directions of its input are lost"
    return Finding(
        "warning",
        "low_rank",
        s.path,
        ("its rank is ", number(x.rank, "d"), lost),
        "draw it at random, as jaxinit.he_normal does, or jaxinit.orthogonal",
        f"{x.rank} singular values hold 99 % of the sum of all squares; numpy.linalg.svd",
    )


def _uneven(s: Subject) -> Finding | None:
    if not s.found.uneven:
        return None
    return Finding(
        "warning",
        "wrong_std",
        s.path,
        f"the kernels stacked in it differ: {s.found.uneven}",
        "draw them alike: jax.vmap of one initializer over split keys",
    )


def _coarse(s: Subject) -> Finding | None:
    x = s.found
    if not x.is_coarse:
        return None
    return Finding(
        "warning",
        "coarse",
        s.path,
        "far fewer distinct values than a draw in its dtype has, as of 7 random bits",
        "draw in float32 and round once, as jaxinit's initializers do",
        f"{x.distinct:,} distinct among the first {x.counted:,}; a draw rounded to {x.dtype} "
        f"has about {x.rounded:,}",
    )


def _shifted(s: Subject) -> Finding | None:
    x = s.found
    if not s.is_shifted:
        return None
    asked = f", and {s.asked.mean:.3g} was asked of {s.asked.initializer}" if s.asked else ""
    return Finding(
        "warning",
        "shifted",
        s.path,
        ("its mean is ", number(x.mean), " beside a standard deviation of ", number(x.std), asked),
        SAVE_AGAIN if asked else _centred(x.low),
        f"chance moves the mean of {x.size:,} values by {x.std * x.size**-0.5:.2g}",
    )


def _centred(low: float) -> str:
    """How to draw a kernel whose mean is 0."""
    if low < 0:
        return "centre it: draw from a distribution of mean 0"
    return (
        "centre it with initializers.he_uniform(), or shifted(uniform(2 * scale), -scale): "
        "jax.nn.initializers.uniform(scale) is on [0, scale)"
    )


def _one_number(s: Subject) -> Iterator[Finding]:
    x = s.found
    if s.is_asked_constant:
        return
    if s.role == "variance" and x.low <= 0:
        yield Finding(
            "error",
            "zero",
            s.path,
            "a running variance that is not positive",
            "start it from jaxinit.ones",
        )
    elif s.is_kernel and x.high != 0:
        yield Finding(
            "error",
            "constant",
            s.path,
            (
                "every value is ",
                number(x.high, ".4g"),
                ": its units are the same, and stay the same",
            ),
            "draw it at random, as jaxinit.he_normal does",
        )

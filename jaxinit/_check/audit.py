"""Audit: is every leaf what it should be; and if not, which mistake explains it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .._infer.autoinit import RULES, Choice, advise
from .._infer.infer import read
from .._infer.parameter import Parameter
from .._program.trees import arrays
from .._random.laws import TRUNCATED_STDDEV
from .._schemes.fans import fans
from .checkpoint import stored_leaves
from .leaf_statistics import Leaf, alike, look
from .report import Column, Curve, Finding, Report, worst_first

Tree = Any

_WIDE = 4.0  # how far a standard deviation may be from what is expected, either way
_TRIED = 1024  # elements, from which on a standard deviation tells one law from another
_SHIFTED = 0.25  # of the standard deviation: a mean beyond it was not meant to be 0
_COMMON = (0.01, 0.02)  # standard deviations that are given as numbers
_DEEPEST = 100  # layers, of which 0.02/sqrt(2 layers) is taken as meant
_KERNELS = ("kernel", "recurrent", "lora_a", "embedding")
_VECTORS = re.compile(r"(bias|scale|norm|gamma|beta|offset|mean|var)[^/]*$|(^|/)b$|norm", re.I)

_COLUMNS = (
    Column("path", "leaf"),
    Column("shape", "shape"),
    Column("dtype", "dtype"),
    Column("role", "role"),
    Column("mean", "mean", 2),
    Column("std", "std"),
    Column("expected", "expected"),
    Column("low", "min"),
    Column("high", "max"),
    Column("distinct", "distinct"),
    Column("zeros", "zeros", 2),
    Column("norm", "norm"),
    Column("spectral", "spectral"),
)


class _Known(NamedTuple):
    """What the computation says of a leaf: what it is for, and how each rule initialises it."""

    parameter: Parameter
    choice: Choice  # the standard one
    others: tuple[Choice, ...]


def audit(
    params: Tree | str | os.PathLike[str],
    apply_fn: Callable[..., Any] | None = None,
    *inputs: Any,
    **kwargs: Any,
) -> Report:
    """What every leaf is, and what is wrong with it.

    Findings, by ``kind``:

    - ``not_finite``: NaN or infinities.
    - ``zero``, ``constant``: a kernel that is all zero (but for one that ends a residual branch or
      makes an output, or an adapter's second), or all one number: its units never differ.
    - ``reused_key``: two leaves, or two slices of one, that are equal or strongly correlated.
    - ``coarse``: far fewer distinct values than rounding to the dtype leaves, as of draws made in
      bfloat16 with 7 random bits (JAX's kernels in bfloat16 have 128).
    - ``truncated``: a law truncated at two standard deviations that was not scaled up again, so
      that its standard deviation is 0.88 of what was asked.
    - ``wrong_fan``: a standard deviation that another fan explains; needs ``apply_fn``.
    - ``wrong_std``: one outside [1/4, 4] times what is expected: what ``autoinit.explain`` says,
      or, without ``apply_fn``, 1/sqrt(fan) of either orientation.
    - ``shifted``: a kernel whose mean is not 0.

    Args:
      params: a tree of arrays, or the path of an orbax or safetensors checkpoint, which is read
        leaf by leaf, one held at a time.
      apply_fn, *inputs, **kwargs: the forward pass, as ``infer`` takes it; only with a tree.
        Without it, what depends on the role of a leaf is judged by its shape and name alone.

    Returns:
      A Report: ``findings``, empty when all is well; ``rows`` with path, shape, dtype, role, mean,
      std, expected, low, high, distinct (of the first 65,536), zeros (a share), norm, spectral
      (the largest singular value of the leaf as a matrix of its last axis, from below).

    Raises:
      FileNotFoundError, ValueError: a path that is no checkpoint; ``apply_fn`` with a path.
      TypeError: ``apply_fn`` is no function.

    Example:
      >>> import jax, jaxinit
      >>> key = jax.random.key(0)
      >>> tree = {"a": jaxinit.he_normal(key, (64, 64)), "b": jaxinit.he_normal(key, (64, 64))}
      >>> [finding.kind for finding in jaxinit.audit(tree).findings]
      ['reused_key']
    """
    known: Mapping[str, _Known] = {}
    if isinstance(params, str | os.PathLike):
        if apply_fn is not None:
            raise ValueError(
                "audit: apply_fn goes with a tree of parameters; got a path. Load the checkpoint "
                "first, or audit the path alone."
            )
        title, items = f"audit of {os.fspath(params)}", stored_leaves("audit", params)
    else:
        title, items = "audit", iter(arrays(params))
        if apply_fn is not None:
            found = read("audit", apply_fn, params, inputs, kwargs).inferred
            first, *rest = (advise(found, rule) for rule in RULES)
            known = {p: _Known(found[p], first[p], tuple(a[p] for a in rest)) for p in found}
    looked = [leaf for path, array in items if (leaf := look(path, array)) is not None]
    findings = [f for leaf in looked for f in _findings(leaf, known.get(leaf.path))]
    findings += _reused(looked)
    return Report(
        f"{title}: {len(looked)} leaves",
        worst_first(findings),
        [_row(leaf, known.get(leaf.path)) for leaf in looked],
        _COLUMNS,
        (Curve("std", "std", "expected", word="by the standard advice", joined=False),),
    )


def _row(leaf: Leaf, known: _Known | None) -> dict[str, Any]:
    return {
        "path": leaf.path,
        "shape": leaf.shape,
        "dtype": leaf.dtype,
        "role": known.parameter.role if known else None,
        "mean": leaf.mean,
        "std": leaf.std,
        "expected": _expected(leaf, known),
        "low": leaf.low,
        "high": leaf.high,
        "distinct": leaf.distinct,
        "zeros": leaf.zeros,
        "norm": leaf.norm,
        "spectral": leaf.spectral,
    }


def _expected(leaf: Leaf, known: _Known | None) -> float | None:
    return known.choice.stddev if known else None


def _is_kernel(leaf: Leaf, known: _Known | None) -> bool:
    """By its role; where that is not known, by its rank and its name."""
    if known is not None:
        return known.parameter.role in _KERNELS
    return len(leaf.shape) > 1 and not _VECTORS.search(leaf.path)


def _findings(leaf: Leaf, known: _Known | None) -> Iterator[Finding]:
    """What is wrong with one leaf; of laws only where its values are fine."""
    if leaf.bad:
        yield Finding(
            "error",
            "not_finite",
            leaf.path,
            f"{leaf.bad:,} of {leaf.size:,} values are NaN or infinite",
            "a law that overflowed its dtype (JAX's in float8), or a diverged run: draw it again",
        )
        return
    if leaf.is_constant:
        yield from _constant(leaf, known)
        return
    if leaf.twins:
        yield Finding(
            "error",
            "reused_key",
            leaf.path,
            f"{leaf.twins} are the same or strongly correlated",
            "give each its own key, as nn.scan and nn.vmap do with split_rngs={'params': True}",
        )
    if leaf.is_coarse:
        yield Finding(
            "warning",
            "coarse",
            leaf.path,
            f"{leaf.distinct:,} distinct values in {leaf.counted:,}, of some {leaf.expected:,} "
            f"that rounding to {leaf.dtype} leaves",
            "draw in float32 and round once, as jaxinit's initializers do",
        )
    if _is_kernel(leaf, known) and leaf.is_random:
        yield from _law(leaf, known)


def _constant(leaf: Leaf, known: _Known | None) -> Iterator[Finding]:
    if known is not None and known.parameter.role == "variance" and leaf.low <= 0:
        yield Finding(
            "error",
            "zero",
            leaf.path,
            "a running variance that is not positive",
            "start it from ones",
        )
    if not _is_kernel(leaf, known) or len(leaf.shape) < 2:
        return
    if leaf.high == 0:
        p = known.parameter if known else None
        if p is None or not (p.residual or p.is_output):
            yield Finding(
                "error" if known else "warning",
                "zero",
                leaf.path,
                "all zero: nothing passes it, and no gradient comes back through it",
                "draw it; zero is for the end of a residual branch, and an adapter's second kernel",
            )
        return
    yield Finding(
        "error",
        "constant",
        leaf.path,
        f"every value is {leaf.high:.4g}: its units are the same, and stay the same",
        "draw it at random",
    )


def _law(leaf: Leaf, known: _Known | None) -> Iterator[Finding]:
    """Mean and standard deviation of a kernel."""
    if abs(leaf.mean) > _SHIFTED * leaf.std and leaf.size >= _TRIED:
        yield Finding(
            "warning",
            "shifted",
            leaf.path,
            f"mean {leaf.mean:.3g} beside a standard deviation of {leaf.std:.3g}",
            "center it: jax.nn.initializers.uniform(scale) is on [0, scale)",
        )
        return
    likely = dict(_likely(leaf, known))
    if _matching(leaf.std, likely, leaf.size):
        return
    wrong = dict(_wrong(leaf, known)) if known and leaf.size >= _TRIED else {}
    if found := _matching(leaf.std, wrong, leaf.size):
        assert known is not None
        yield Finding(
            "warning",
            "wrong_fan",
            leaf.path,
            f"std {leaf.std:.4g} is what {found} gives; its fan_in is "
            f"{known.parameter.fan_in:g} and its fan_out {known.parameter.fan_out:g} "
            f"({known.parameter.evidence})",
            f"initializers.variance_scaling(..., layout={known.parameter.layout!r}) has the right "
            f"fans, as jaxinit.autoinit does",
        )
        return
    if leaf.is_truncated and leaf.size >= _TRIED:
        found = _matching(leaf.std / TRUNCATED_STDDEV, likely, leaf.size)
        if found:
            yield Finding(
                "warning",
                "truncated",
                leaf.path,
                f"std {leaf.std:.4g} is 0.8796 of {likely[found]:.4g} ({found}): it was truncated "
                f"at two standard deviations and not scaled up again",
                "jaxinit's truncated laws have the standard deviation that is asked for; or divide "
                "the one you ask for by 0.87963",
            )
            return
    yield from _far_off(leaf, known)


def _far_off(leaf: Leaf, known: _Known | None) -> Iterator[Finding]:
    expected = _expected(leaf, known)
    if expected:
        low = high = expected
    else:
        sizes = [size for size in fans(leaf.shape) if size] if len(leaf.shape) > 1 else []
        if not sizes:
            return
        low, high = 1 / math.sqrt(max(sizes)), 1 / math.sqrt(min(sizes))
    if leaf.std < low / _WIDE or leaf.std > high * _WIDE:
        ratio = leaf.std / (low if leaf.std < low else high)
        what = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}, 1/sqrt(fan)"
        yield Finding(
            "warning",
            "wrong_std",
            leaf.path,
            f"std {leaf.std:.3g} is {ratio:.2g} times what is expected ({what})",
            "see jaxinit.recommend for the law that suits it, and jaxinit.infer for its fans",
        )


def _matching(std: float, laws: Mapping[str, float], size: int) -> str | None:
    """The law that has this standard deviation, within what a sample of the size can tell."""
    tolerance = 0.005 + 3 / math.sqrt(2 * size)
    near = {name: abs(std / s - 1) for name, s in laws.items() if s}
    best = min(near, key=near.__getitem__, default=None)
    return best if best is not None and near[best] <= tolerance else None


_SCALES = {"lecun": 1.0, "he": 2.0, "U(±1/sqrt(fan))": 1 / 3}


def _scaled(kind: str, fan_in: float, fan_out: float, scales: Mapping[str, float]) -> Iterator[Any]:
    """Standard deviations of the usual schemes for these fans, by name."""
    for name, scale in scales.items():
        if fan_in:
            yield f"{name} with {kind} fan_in {fan_in:g}", math.sqrt(scale / fan_in)
    if fan_in + fan_out:
        yield f"glorot with {kind} fans {fan_in:g}, {fan_out:g}", math.sqrt(2 / (fan_in + fan_out))


def _likely(leaf: Leaf, known: _Known | None) -> Iterator[tuple[str, float]]:
    """Laws that are healthy for the leaf."""
    for stddev in _COMMON:
        yield f"normal({stddev})", stddev
    for layers in range(1, _DEEPEST + 1):
        yield f"normal(0.02/sqrt({2 * layers}))", 0.02 / math.sqrt(2 * layers)
    if known is None:
        if len(leaf.shape) > 1:
            yield from _scaled("its", *fans(leaf.shape), _SCALES)
        return
    p = known.parameter
    for rule, choice in zip(RULES, (known.choice, *known.others), strict=True):
        if choice.stddev:
            yield f"the {rule} advice", choice.stddev
    if p.fan_in and p.fan_out:
        share = 1 / max(len(p.blocks), 1)
        total = p.residual.total if p.residual else 1
        for name, stddev in (
            *_scaled("its", p.fan_in, p.fan_out, _SCALES),
            *_scaled("its block's", p.fan_in, p.fan_out * share, {}),
            *([("he with its fan_out", math.sqrt(2 / p.fan_out))] * _is_plain(p)),
        ):
            yield name, stddev
            if total > 1:
                yield f"{name}, divided by sqrt({total})", stddev / math.sqrt(total)


def _is_plain(p: Parameter) -> bool:
    """Whether fan_out may be meant; where a stride divides fan_in, it is that stride forgotten."""
    return p.layout is not None and p.layout.in_stride == 1


def _wrong(leaf: Leaf, known: _Known | None) -> Iterator[tuple[str, float]]:
    """Laws of the usual schemes with fans that are not the leaf's."""
    if known is None or known.parameter.layout is None or len(leaf.shape) < 2:
        return
    p = known.parameter
    scales = {"lecun": 1.0, "he": 2.0}
    if p.role in ("kernel", "recurrent", "lora_a") and known.choice.stddev and p.fan_in:
        scales["the advice"] = known.choice.stddev**2 * p.fan_in
    read = fans(leaf.shape)
    yield from _scaled("the shape's own", read.fan_in, read.fan_out, scales)
    if p.fan_in and p.fan_out:
        yield from _scaled("its fan_out as", p.fan_out, p.fan_in, scales)
        groups = p.layout.groups if p.layout else 1
        if groups > 1:
            kind = f"its {groups} groups counted in"
            yield from _scaled(kind, p.fan_in * groups, p.fan_out * groups, scales)


def _reused(looked: Sequence[Leaf]) -> list[Finding]:
    """Leaves that are the same, or were drawn from one key."""
    found, told = [], set()
    for i, j, correlation in alike([leaf.sample for leaf in looked]):
        if j in told:
            continue
        told.add(j)
        one, other = looked[i], looked[j]
        same = one.digest == other.digest
        what = "equal to" if same else f"correlated {correlation:.2f} with"
        found.append(
            Finding(
                "error",
                "reused_key",
                other.path,
                f"{what} {one.path}",
                "one key made both: split it, or fold in a name, as jaxinit.tree_init does",
            )
        )
    return found

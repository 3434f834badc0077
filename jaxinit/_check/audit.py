"""Audit: looks at every parameter of a model or checkpoint and says what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from .. import _text
from .._infer.advice import RULES
from .._infer.advise import Wanted, advise
from .._infer.infer import read
from .._program.misuse import kind, refuse_tracers
from .._program.models import HasApply
from .._program.trees import arrays
from . import array_rules, layer_rules, model_rules
from .array_statistics import Statistics, describe
from .asked import Asked, asked_of
from .bias_rules import of_biases
from .checkpoint import stored_arrays
from .conventions import Known
from .figure import Curve
from .findings import Finding, grouped, worst_first
from .mirrors import told_apart
from .report import Column, Report
from .signal import Run, has_values
from .spread_rules import of_spread
from .subject import Model, Subject

Tree = Any

_COLUMNS = (
    Column("path", "parameter"),
    Column("shape", "shape"),
    Column("role", "role"),
    Column("std", "std"),
    Column("expected", "expected"),
    Column("asked", "asked"),
    Column("distribution", "distribution"),
    Column("mean", "mean", 2),
    Column("low", "min"),
    Column("high", "max"),
    Column("dtype", "dtype"),
    Column("zeros", "zeros", 2),
    Column("distinct", "distinct"),
    Column("norm", "norm"),
    Column("spectral", "spectral"),
)
_STD = Curve("standard deviation", "std", "expected", joined=False)


def audit(
    params: Tree | str | os.PathLike[str],
    apply_fn: Callable[..., Any] | HasApply | None = None,
    *inputs: Any,
    **kwargs: Any,
) -> Report:
    """Says what is wrong with the parameters of a model or checkpoint that is about to be trained.

    Weights are judged as they are before training, which changes how large they are and makes some
    alike: of trained ones only ``not_finite``, ``zero``, ``constant``, ``low_rank``,
    ``mostly_zero``, ``dead`` and an error of ``reused_key`` mean something.

    Findings, by ``kind``:

    - ``not_finite``: NaN or infinities.
    - ``zero``, ``constant``: a kernel or a norm's scale that is all zero, or a kernel that is all
      one number. Zeros that end a residual branch, gate, or make the output are a note; zeros that
      no gradient can ever reach, as two kernels of zeros in a row, are an error.
    - ``reused_key``: two arrays, or two parts of one, that are equal or correlated, also where one
      is scaled or transposed. An error is a copy; it is a warning or a note where some initializer
      makes arrays that are alike, and of biases and scales, which are compared for copies alone.
    - ``mirrored``: a folder that is equal to another throughout, as a moving average starts, in
      place of an error for each of its arrays. An optimizer's state, which ``notes`` counts, is
      only looked at for NaN and infinities.
    - ``coarse``: far fewer distinct values than rounding to the dtype leaves, as of draws made in
      bfloat16 with 7 random bits (JAX's kernels in bfloat16 have 128).
    - ``low_rank``, ``mostly_zero``: a kernel that loses most directions of its input.
    - ``dead``: a bias that keeps units where their activation is flat, as relu below zero.
    - ``wrong_fan``: a standard deviation that fans explain which are not the kernel's.
    - ``wrong_std``: one that is unlike that of the same kernel in other layers, or far from all
      initializers in common use. Where layers share it, it is the note ``unusual_std``.
    - ``truncated``: a normal distribution truncated at two standard deviations that was not scaled
      up again, so that its standard deviation is 0.88 of what was asked; a note.
    - ``shifted``: a kernel whose mean is not 0.
    - ``undivided_logits``: attention without 1/sqrt(d) whose kernels do not make up for it; a note
      where they do.
    - ``uneven_widths``: a hidden kernel whose two fans differ more than eightfold, so that either
      the signal or the gradient changes its size there; a note.

    Args:
      params: a tree of arrays, or the path of an orbax or safetensors checkpoint, which is read in
        windows of 128 MiB. Where ``Plan.save`` wrote it, its manifest says what was asked of
        each array that an initializer of jaxinit made, and arrays are compared with that; nothing
        is said of copies that the initializer makes itself, as ``repeated`` and ``hippo`` do.
      apply_fn, *inputs, **kwargs: the forward pass, as ``infer`` takes it; only with a tree. With
        it, fans and roles are those of the computation, and where the inputs are arrays the model
        is run once. Without it, an array is judged by its shape, its name and its siblings.

    Returns:
      A Report, which prints its findings. ``findings``: worst first, empty when all is well.
      ``rows``: path, shape, dtype, role, mean, std, expected, asked (the initializer, where a
      checkpoint names it), distribution, low, high, distinct
      (among the first 65,536), zeros (a share), norm, spectral (the largest singular value of the
      array as a matrix of its last axis, from below). ``table()`` is all rows as text.

    Raises:
      TypeError: ``params`` is no tree of arrays; ``apply_fn`` is no function.
      FileNotFoundError, ValueError: a path that is no checkpoint, or a damaged one; ``params``
        without arrays, or with shapes only; ``apply_fn`` with a path.

    Example:
      >>> import jax, jaxinit
      >>> key = jax.random.key(0)
      >>> tree = {"a": jaxinit.he_normal(key, (64, 64)), "b": jaxinit.he_normal(key, (64, 64))}
      >>> [finding.kind for finding in jaxinit.audit(tree).findings]
      ['reused_key']
    """
    known: Mapping[str, Known] = {}
    asked: Mapping[str, Asked] = {}
    run: Run | None = None
    if isinstance(params, str | os.PathLike):
        if apply_fn is not None:
            raise ValueError(
                "audit: apply_fn goes with a tree of parameters; got a path. Load the checkpoint "
                "first, or audit the path alone."
            )
        title, items = f"audit of {os.fspath(params)}", list(stored_arrays("audit", params))
        asked = asked_of(params)
    else:
        title, items = "audit", _checked(params)
        if apply_fn is not None:
            known, run = _computed(apply_fn, params, inputs, kwargs)
    described = (describe(path, x) for path, x in _text.watched("looking at the arrays", items))
    found = [x for x in described if x is not None]
    found.sort(key=lambda x: _text.natural(x.path))
    seen = run.seen if run else {}
    subjects = [Subject(x, known.get(x.path), seen.get(x.path), asked.get(x.path)) for x in found]
    weights = told_apart(subjects)
    others = [x for s in weights.aside for x in array_rules.of_numbers(s)]
    findings = [*_findings(Model(weights.judged, run)), *weights.findings, *others]
    return Report(
        f"{title}: {_text.counted(len(found), 'array')}",
        worst_first(grouped(findings)),
        [_row(s) for s in subjects],
        _COLUMNS,
        (_STD._replace(word="asked" if asked else "by the standard rule of autoinit"),),
        notes=weights.notes,
        has_table=False,
    )


def _checked(params: Tree) -> list[tuple[str, Any]]:
    """The arrays of the tree, once it is known to have some."""
    found = arrays(params)
    if not found:
        what = kind(params) if jax.tree.leaves(params) else "an empty tree"
        raise TypeError(
            f"audit: expected a tree of arrays, as model.init returns, or the path of a "
            f"checkpoint; got {what}, which holds no arrays."
        )
    refuse_tracers("audit", (x for _, x in found))
    for path, x in found:
        if not isinstance(x, jax.Array | np.ndarray | np.generic):
            raise ValueError(
                f"audit: {path!r} is {kind(x)}, which has no values; make them first, "
                f"as by jaxinit.materialize."
            )
    return found


def _computed(
    apply_fn: Callable[..., Any] | HasApply,
    params: Tree,
    inputs: Iterable[Any],
    kwargs: Mapping[str, Any],
) -> tuple[dict[str, Known], Run | None]:
    """What the computation says of each parameter; and the model, where it can be run."""
    reading = read("audit", apply_fn, params, tuple(inputs), kwargs)
    refuse_tracers("audit", reading.arguments)
    inferred = reading.inferred
    advice = [advise(inferred, Wanted(rule)) for rule in RULES]
    known = {path: Known(inferred[path], tuple(a[path] for a in advice)) for path in inferred}
    return known, Run(reading) if has_values(reading) else None


def _findings(model: Model) -> Iterator[Finding]:
    """All findings; of an array whose values are wrong, nothing but that."""
    told = set()
    for s in model.subjects:
        for finding in array_rules.of_values(s):
            told.add(s.path)
            yield finding
    for finding in (*model_rules.of_copies(model), *model_rules.of_zeros(model)):
        told.add(finding.path)
        yield finding
    for s in model.subjects:
        if s.path not in told:
            yield from of_spread(s, model)
    yield from of_biases(model)
    yield from layer_rules.of_logits(model)
    yield from layer_rules.of_widths(model)


def _row(s: Subject) -> dict[str, Any]:
    x: Statistics = s.found
    return {
        "path": x.path,
        "shape": x.shape,
        "dtype": x.dtype,
        "role": s.role or None,
        "mean": x.mean,
        "std": x.std,
        "expected": s.expected,
        "asked": s.asked.initializer if s.asked else None,
        "distribution": x.distribution or None,
        "low": x.low,
        "high": x.high,
        "distinct": x.distinct,
        "zeros": x.zeros,
        "norm": x.norm,
        "spectral": x.spectral,
    }

"""The table of models: bits of plans, roles, false warnings, planted faults, autoinit.

It tells how many planted faults `audit` finds, by a finding of a kind that answers the fault; how
often it warns of a model that has none, as its library or `autoinit` draws it; and of each model
what `model_facts` measures.

    python -m benchmarks.audit_models                  # all models; half an hour
    python -m benchmarks.audit_models --models flax    # those whose name begins so
    python -m benchmarks.audit_models --detail         # also each false warning and missed fault
    python -m benchmarks.audit_models --clean          # only warnings of the models as they are
    python -m benchmarks.audit_models --keep FILE --minutes 4    # in parts: repeat until it prints

The models are initialised as their libraries do by default. The rules of `audit` were made while
looking at the models marked `dev`; those marked `held out` were only measured. Models of
Hugging Face's transformers take part where a version of it with Flax models is installed (4.56).
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinit
from jaxinit._infer.advice import RULES
from jaxinit._program.trees import arrays

from .audit_zoo import MODELS, Model
from .autoinit_models import ENDS
from .model_facts import Facts, facts
from .planted_faults import FAULTS, Planted, Target

CLEAN, DRAWN = "", "drawn by autoinit"  # in the place of a fault, where none was planted


class Outcome(NamedTuple):
    """One audit: of which model, with which fault, by which means, and what it said."""

    model: str
    held_out: bool
    fault: str  # or CLEAN or DRAWN
    alone: bool  # whether by the parameters alone
    found: bool
    told: tuple[str, ...]  # warnings and errors; of a planted fault, where it is

    @property
    def is_planted(self) -> bool:
        return self.fault not in (CLEAN, DRAWN)


def _warned(report: jaxinit.Report) -> list[jaxinit.Finding]:
    return [f for f in report.findings if f.severity != "note"]


def _is_found(planted: Planted, kinds: Sequence[str], report: jaxinit.Report) -> bool:
    """Whether a finding of one of the kinds is about the planted array.

    Of two equal arrays either may be named; the message then names the other.
    """
    answers = [f for f in _warned(report) if f.kind in kinds]
    return any(planted[0] in (f.path, *f.also) or planted[0] in f.message for f in answers)


def measure(model: Model, faults: Iterable[str] = FAULTS) -> Iterator[Outcome]:
    """The audits of one model: as it is, as autoinit draws it, and with each of these faults."""
    apply, params, inputs = model.make()
    leaves, structure = jax.tree.flatten(params)
    paths = [path for path, _ in arrays(params)]
    flat = {path: np.asarray(x) for path, x in zip(paths, leaves, strict=True)}
    inferred = jaxinit.infer(apply, params, *inputs)

    def audits(tree: Any) -> Iterator[tuple[bool, jaxinit.Report]]:
        yield True, jaxinit.audit(tree)
        yield False, jaxinit.audit(tree, apply, *inputs)

    drawn = jaxinit.autoinit(jax.random.key(1), apply, params, *inputs, check=False)
    for name, tree in ((CLEAN, params), (DRAWN, drawn)):
        for alone, report in audits(tree):
            told = tuple(map(str, _warned(report)))
            yield Outcome(model.name, model.held_out, name, alone, False, told)
    for name in faults:
        fault = FAULTS[name]
        seed = zlib.crc32(f"{model.name} {name}".encode())
        planted = fault.plant(Target(flat, inferred, np.random.default_rng(seed)))
        if planted is None:
            continue
        changed = flat | {planted[0]: planted[1]}
        for alone, report in audits(structure.unflatten(jnp.asarray(changed[p]) for p in paths)):
            found = _is_found(planted, fault.kinds, report)
            yield Outcome(model.name, model.held_out, name, alone, found, (planted[0],))


class Kept:
    """What was measured of each model, in a file, so that a run can be continued."""

    def __init__(self, path: str | None) -> None:
        self._path = pathlib.Path(path) if path else None
        held = self._path is not None and self._path.exists()
        self._found: dict[str, Any] = json.loads(self._path.read_text()) if held else {}

    def of(self, model: Model, clean: bool) -> tuple[list[Outcome], Facts | None] | str:
        """The outcomes and facts of a model; why there are none, where it cannot be run."""
        if model.name not in self._found:
            try:
                outcomes = list(measure(model, () if clean else FAULTS))
                self._found[model.name] = [outcomes, None if clean else facts(model)]
            except (TypeError, AttributeError, ValueError, ImportError) as error:
                self._found[model.name] = str(error).partition("\n")[0]
            if self._path is not None:
                self._path.write_text(json.dumps(self._found))
        found = self._found[model.name]
        if isinstance(found, str):
            return found
        return [Outcome(*o) for o in found[0]], Facts(*found[1]) if found[1] else None

    def has(self, model: Model) -> bool:
        return model.name in self._found


def _table_of_models(rows: Mapping[str, tuple[list[Outcome], Facts]]) -> Table:
    """A row for each model."""
    names = ("arrays", "bits differ", "roles unknown", "warnings", "faults alone", "with apply_fn")
    table = Table("model", *names, "own", *RULES, title=f"in the last columns: {ENDS}")
    for name, (outcomes, found) in rows.items():
        parts = [[o for o in outcomes if o.alone == alone] for alone in (True, False)]
        warnings = ", ".join(str(sum(len(o.told) for o in p if o.fault == CLEAN)) for p in parts)
        shares = [_share([o for o in p if o.is_planted]) for p in parts]
        table.add_row(
            name, str(found.arrays), str(found.differ), str(len(found.unknown)), warnings, *shares,
            *found.ends.values(),
        )  # fmt: skip
    return table


def _share(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "-"
    hits = sum(o.found for o in outcomes)
    return f"{hits} of {len(outcomes)} ({hits / len(outcomes):.0%})"


def _tables(outcomes: Sequence[Outcome]) -> Iterator[Table]:
    """False warnings by model group, and faults found by kind."""
    groups = (("dev", False), ("held out", True))
    starts = (CLEAN, DRAWN)
    headings = [f"warnings, {h}" for h in ("params alone", "with apply_fn")]
    clean = Table("no fault planted", "models", *headings, *(f"{h}, {DRAWN}" for h in headings))
    for name, held_out in groups:
        mine = [o for o in outcomes if o.held_out == held_out]
        counts = [
            sum(len(o.told) for o in mine if (o.fault, o.alone) == (start, alone))
            for start in starts
            for alone in (True, False)
        ]
        models = {o.model for o in mine}
        clean.add_row(name, str(len(models)), *map(str, counts))
    yield clean
    headings = [f"{how}, {name}" for name, _ in groups for how in ("alone", "with apply_fn")]
    found = Table("planted fault", *headings)
    for fault in (*FAULTS, "all"):
        cells = [
            _share(
                [
                    o
                    for o in outcomes
                    if o.is_planted
                    and fault in (o.fault, "all")
                    and (o.held_out, o.alone) == (held_out, alone)
                ]
            )
            for _, held_out in groups
            for alone in (True, False)
        ]
        found.add_row(fault, *cells)
    yield found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="", help="only models whose name begins so")
    parser.add_argument("--only", choices=("dev", "held-out"), help="only one of the two groups")
    parser.add_argument("--detail", action="store_true", help="print each miss")
    parser.add_argument("--clean", action="store_true", help="plant no faults")
    parser.add_argument("--keep", help="a file for the outcomes, from which a run goes on")
    parser.add_argument("--minutes", type=float, default=math.inf, help="when to stop")
    return parser.parse_args()


def _misses(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Each false warning, and each planted fault that was not found."""
    for o in outcomes:
        how = "alone" if o.alone else "with apply_fn"
        what = f"missed {o.fault}" if o.is_planted else f"false{o.fault and ', '}{o.fault}"
        if not o.found:
            yield from (f"  {how}: {what}: {text}" for text in o.told)


def main() -> None:
    """Measure, and print the tables."""
    chosen = _options()
    kept, begun = Kept(chosen.keep), time.monotonic()
    console, outcomes = Console(width=200), []
    rows: dict[str, tuple[list[Outcome], Facts]] = {}
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        for model in MODELS():
            group = "held-out" if model.held_out else "dev"
            if not model.name.startswith(chosen.models) or chosen.only not in (None, group):
                continue
            if not kept.has(model) and time.monotonic() - begun > 60 * chosen.minutes:
                console.print(f"{model.name} is next: the same command goes on")
                return
            found = kept.of(model, chosen.clean)
            if isinstance(found, str):  # of a version that does not go with this one of JAX
                console.print(f"{model.name}: cannot be run: {found}")
                continue
            mine, known = found
            outcomes += mine
            if known is not None:
                rows[model.name] = mine, known
            console.print(f"{model.name}: {len(mine)} audits", style="dim")
            for line in _misses(mine) if chosen.detail else ():
                console.print(line, markup=False, highlight=False)
    for table in (*_tables(outcomes), _table_of_models(rows)):
        console.print(table)


if __name__ == "__main__":
    main()

"""The table of models: bits of plans, roles, false warnings, planted faults, autoinit.

It tells how many planted faults `audit` finds, how often it warns of a model that has none, and of
each model what `model_facts` measures.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

Flat = dict[str, np.ndarray]


class Target(NamedTuple):
    """A model to plant faults in, and what is known of its parameters."""

    flat: Flat
    inferred: Any
    random: np.random.Generator

    def pick(self, wanted: Callable[[str], bool]) -> str | None:
        """One parameter, at random."""
        found = [path for path in self.flat if wanted(path)]
        return found[self.random.integers(len(found))] if found else None

    def is_kernel(self, path: str) -> bool:
        x = self.flat[path]
        large = x.ndim >= 2 and min(x.shape[-2:]) >= 8 and x.size >= 512
        return self.inferred[path].role in ("kernel", "recurrent") and large and x.std() > 0

    def is_inner(self, path: str) -> bool:
        """Whether it is a kernel that neither ends a residual branch nor makes the output."""
        p = self.inferred[path]
        return self.is_kernel(path) and not p.residual and not p.is_output and p.takers > 0


Planted = tuple[str, np.ndarray]


def _kernel(make: Callable[[Target, np.ndarray], np.ndarray]) -> Callable[[Target], Planted | None]:
    """A fault in any kernel."""

    def plant(target: Target) -> Planted | None:
        path = target.pick(target.is_kernel)
        return (path, make(target, target.flat[path])) if path else None

    return plant


def _nan(target: Target, w: np.ndarray) -> np.ndarray:
    w = w.copy()
    w.reshape(-1)[target.random.integers(w.size)] = np.nan
    return w


def _zeroed(target: Target) -> Planted | None:
    path = target.pick(target.is_inner)
    return (path, 0 * target.flat[path]) if path else None


def _copied(scale: float) -> Callable[[Target], Planted | None]:
    def plant(target: Target) -> Planted | None:
        shapes = [target.flat[p].shape for p in target.flat if target.is_kernel(p)]
        path = target.pick(lambda p: target.is_kernel(p) and shapes.count(target.flat[p].shape) > 1)
        if path is None:
            return None
        shape = target.flat[path].shape
        other = target.pick(
            lambda p: p != path and target.is_kernel(p) and target.flat[p].shape == shape
        )
        return (path, scale * target.flat[other]) if other else None

    return plant


def _transposed(target: Target) -> Planted | None:
    """A copy of another kernel's transpose, with the standard deviation that was there."""
    shapes = {target.flat[p].shape for p in target.flat if target.is_kernel(p)}

    def fits(path: str) -> bool:
        shape = target.flat[path].shape
        return target.is_kernel(path) and len(shape) == 2 and shape[::-1] in shapes

    path = target.pick(fits)
    if path is None:
        return None
    w = target.flat[path]
    other = target.pick(
        lambda p: p != path and target.is_kernel(p) and target.flat[p].shape == w.shape[::-1]
    )
    if other is None:
        return None
    copied = target.flat[other].T
    return path, copied * (w.std() / copied.std())


def _half_of_outputs(target: Target, w: np.ndarray) -> np.ndarray:
    w, half = w.copy(), w.shape[-1] // 2
    w[..., half : 2 * half] = w[..., :half]
    return w


def _half_of_rows(target: Target, w: np.ndarray) -> np.ndarray:
    w = w.copy()
    rows = w.reshape(-1, w.shape[-1])
    half = len(rows) // 2
    rows[half : 2 * half] = rows[:half]
    return rows.reshape(w.shape)


def _coarse(target: Target, w: np.ndarray) -> np.ndarray:
    key = jax.random.key(int(target.random.integers(1 << 30)))
    drawn = jax.random.normal(key, w.shape, jnp.bfloat16) * w.std()
    return np.asarray(drawn, w.dtype)


def _mostly_zero(target: Target, w: np.ndarray) -> np.ndarray:
    return np.where(target.random.random(w.shape) < 0.97, 0, w)


def _shifted(target: Target, w: np.ndarray) -> np.ndarray:
    return target.random.uniform(0, w.std() * 12**0.5, w.shape).astype(w.dtype)


def _rank_one(target: Target, w: np.ndarray) -> np.ndarray:
    rows = w.reshape(-1, w.shape[-1])
    product = np.outer(rows[:, 0], rows[0])
    return (product * (w.std() / product.std())).reshape(w.shape).astype(w.dtype)


def _large_embedding(target: Target) -> Planted | None:
    path = target.pick(
        lambda p: target.inferred[p].role == "embedding" and target.flat[p].std() > 0
    )
    return (path, 50 * target.flat[path]) if path else None


def _killing_bias(target: Target) -> Planted | None:
    killed = ("relu", "gelu", "silu", "swish", "relu6", "leaky_relu", "elu")

    def fits(path: str) -> bool:
        layer = target.inferred[path].layer
        feeds = target.inferred[layer].activation if layer else ""
        return target.inferred[path].role == "bias" and feeds in killed

    path = target.pick(fits)
    return (path, np.full_like(target.flat[path], -20)) if path else None


def _zero_scale(target: Target) -> Planted | None:
    path = target.pick(
        lambda p: target.inferred[p].role == "scale" and bool((target.flat[p] == 1).all())
    )
    return (path, 0 * target.flat[path]) if path else None


def _he_by_fan_out(target: Target) -> Planted | None:
    """Where that differs from the usual initializers by fan_in, as from 32 to 64 it does not."""

    def fits(path: str) -> bool:
        p = target.inferred[path]
        if not (target.is_kernel(path) and p.fan_in and p.fan_out) or p.residual:
            return False
        usual = (1 / p.fan_in, 2 / p.fan_in, 2 / (p.fan_in + p.fan_out), 1 / 3 / p.fan_in)
        return all(abs(2 / p.fan_out / variance - 1) > 0.1 for variance in usual)

    path = target.pick(fits)
    if path is None:
        return None
    w, p = target.flat[path], target.inferred[path]
    return path, w * ((2 / p.fan_out) ** 0.5 / w.std()).astype(w.dtype)


FAULTS: dict[str, Callable[[Target], Planted | None]] = {
    "one NaN": _kernel(_nan),
    "a kernel of zeros": _zeroed,
    "a copy of another layer": _copied(1.0),
    "a copy, scaled": _copied(0.5),
    "a transposed copy, scaled": _transposed,
    "all units the same": _kernel(lambda _, w: np.broadcast_to(w[..., :1], w.shape).copy()),
    "half of the units copied": _kernel(_half_of_outputs),
    "half of the rows copied": _kernel(_half_of_rows),
    "7 random bits (bfloat16)": _kernel(_coarse),
    "97 % zeros": _kernel(_mostly_zero),
    "uniform on [0, s)": _kernel(_shifted),
    "rank one": _kernel(_rank_one),
    "one layer x 3": _kernel(lambda _, w: 3 * w),
    "He by fan_out": _he_by_fan_out,
    "an embedding x 50": _large_embedding,
    "a bias that kills its units": _killing_bias,
    "a norm's scale of zero": _zero_scale,
}


class Outcome(NamedTuple):
    """One audit: of which model, with which fault, by which means, and what it said."""

    model: str
    held_out: bool
    fault: str  # "" of a clean model
    alone: bool  # whether by the parameters alone
    found: bool
    told: tuple[str, ...]  # warnings and errors


def _warned(report: jaxinit.Report) -> list[jaxinit.Finding]:
    return [f for f in report.findings if f.severity != "note"]


def measure(model: Model, faults: Iterable[str] = FAULTS) -> Iterator[Outcome]:
    """The audits of one model: as it is, and with each of these faults."""
    apply, params, inputs = model.make()
    leaves, structure = jax.tree.flatten(params)
    paths = [path for path, _ in arrays(params)]
    flat = {path: np.asarray(x) for path, x in zip(paths, leaves, strict=True)}
    inferred = jaxinit.infer(apply, params, *inputs)

    def audits(planted: Planted | None) -> Iterator[tuple[bool, jaxinit.Report]]:
        changed = dict(flat) | ({planted[0]: planted[1]} if planted else {})
        tree = structure.unflatten(jnp.asarray(changed[path]) for path in paths)
        yield True, jaxinit.audit(tree)
        yield False, jaxinit.audit(tree, apply, *inputs)

    for alone, report in audits(None):
        told = tuple(map(str, _warned(report)))
        yield Outcome(model.name, model.held_out, "", alone, False, told)
    for fault in faults:
        plant = FAULTS[fault]
        seed = zlib.crc32(f"{model.name} {fault}".encode())
        planted = plant(Target(flat, inferred, np.random.default_rng(seed)))
        if planted is None:
            continue
        for alone, report in audits(planted):
            warned = _warned(report)
            # Of two equal layers either may be named; the message then names the other.
            found = any(planted[0] in (f.path, *f.also) or planted[0] in f.message for f in warned)
            yield Outcome(model.name, model.held_out, fault, alone, found, (planted[0],))


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
        warnings = ", ".join(str(sum(len(o.told) for o in p if not o.fault)) for p in parts)
        shares = [_share([o for o in p if o.fault]) for p in parts]
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
    clean = Table("clean models", "models", "warnings, params alone", "warnings, with apply_fn")
    for name, held_out in groups:
        mine = [o for o in outcomes if not o.fault and o.held_out == held_out]
        counts = [sum(len(o.told) for o in mine if o.alone == alone) for alone in (True, False)]
        clean.add_row(name, str(len(mine) // 2), *map(str, counts))
    yield clean
    headings = [f"{how}, {name}" for name, _ in groups for how in ("alone", "with apply_fn")]
    found = Table("planted fault", *headings)
    for fault in (*FAULTS, "all"):
        cells = [
            _share(
                [
                    o
                    for o in outcomes
                    if o.fault
                    and fault in (o.fault, "all")
                    and (o.held_out, o.alone) == (held_out, alone)
                ]
            )
            for _, held_out in groups
            for alone in (True, False)
        ]
        found.add_row(fault, *cells)
    yield found


def main() -> None:
    """Measure, and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="", help="only models whose name begins so")
    parser.add_argument("--only", choices=("dev", "held-out"), help="only one of the two groups")
    parser.add_argument("--detail", action="store_true", help="print each miss")
    parser.add_argument("--clean", action="store_true", help="plant no faults")
    parser.add_argument("--keep", help="a file for the outcomes, from which a run goes on")
    parser.add_argument("--minutes", type=float, default=math.inf, help="when to stop")
    chosen = parser.parse_args()
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
            for o in mine if chosen.detail else ():
                how = "alone" if o.alone else "with apply_fn"
                if not o.found and (o.fault or o.told):
                    what = f"missed {o.fault}: " if o.fault else "false: "
                    for text in o.told:
                        console.print(f"  {how}: {what}{text}", markup=False, highlight=False)
    for table in (*_tables(outcomes), _table_of_models(rows)):
        console.print(table)


if __name__ == "__main__":
    main()

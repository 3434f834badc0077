"""Saving a plan: made and written piece by piece, resumed where it was cut off.

The checkpoint grows in ``NAME.partial`` beside its final place, with a manifest that says what it
is, and for every process a list of the pieces that are on disk. When all are, it is renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from . import _pieces, _show
from ._formats import FORMATS, Format, Store
from ._grouping import content
from ._make import Maker
from ._pieces import Entry, Piece

if TYPE_CHECKING:
    from ._plan import Plan

T = TypeVar("T")

_MANIFEST = "jaxinit.json"
_BATCH_BYTES = 256 * 2**20  # written between two waits for the disk
_CALL = "Plan.save"


class _Job(NamedTuple):
    """What is saved where."""

    target: Path
    folder: Path  # where it grows
    kind: str
    entries: list[Entry]
    pieces: list[Piece]
    fingerprint: str

    @property
    def format(self) -> Format:
        return FORMATS[self.kind]

    def nbytes(self, numbers: Sequence[int]) -> int:
        """Bytes of some of the pieces."""
        chosen = (self.pieces[n] for n in numbers)
        return sum(p.length * self.entries[p.leaf].dtype.itemsize for p in chosen)


def save(plan: Plan, path: str | os.PathLike[str], format: str, progress: bool) -> None:
    """``Plan.save``."""
    job = _job(plan, Path(path), format)
    if _complete(job):
        return
    maker = Maker(plan, _CALL)
    finished = _finished(job)
    todo = [n for n in range(len(job.pieces)) if n not in finished]
    _check_room(job, todo)
    if jax.process_index() == 0:
        _prepare(plan, job)
    _wait("prepared")
    store = job.format.store(job.folder, job.entries, _manifest(job)["names"])
    _check_same(plan, job, maker, store, finished)
    _write(plan, job, maker, store, todo[jax.process_index() :: jax.process_count()], progress)
    _wait("written")
    if jax.process_index() == 0:
        for log in job.folder.glob("done.*"):
            log.unlink()
        os.rename(job.folder, job.target)
    _wait("finished")


def _job(plan: Plan, path: Path, format: str) -> _Job:
    """The work, once it is known to be possible."""
    if format not in FORMATS:
        names = " or ".join(map(repr, FORMATS))
        raise ValueError(f"{_CALL}: format must be {names}; got {format!r}.")
    if [leaf.path for leaf in plan.leaves] == [""]:
        raise ValueError(f"{_CALL}: the plan is one array without a name; return a dict of it.")
    entries = _pieces.entries(plan)
    refused = [
        f"{entry.path} ({why})" for entry in entries if (why := FORMATS[format].refused(entry))
    ]
    if refused:
        raise ValueError(
            f"{_CALL}: {format} cannot hold {', '.join(refused)}; "
            f"use another dtype or the other format."
        )
    names = [entry.path.replace("/", ".") for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{_CALL}: these names stand for several leaves: {', '.join(twice)}; rename one, so "
            f"that no key holds a dot or slash."
        )
    pieces = [p for i, entry in enumerate(entries) for p in _pieces.pieces(i, entry)]
    return _Job(
        path,
        path.with_name(path.name + ".partial"),
        format,
        entries,
        pieces,
        _fingerprint(plan, format, entries),
    )


def _fingerprint(plan: Plan, format: str, entries: Sequence[Entry]) -> str:
    """What the checkpoint is of: leaves, arguments and captured arrays."""
    digest = hashlib.sha256(format.encode())
    for entry in entries:
        digest.update(repr((entry.path, entry.shape, entry.dtype.name, entry.box)).encode())
    arrays = [*plan._arguments]
    for group in plan._groups:
        arrays += [value.const for signature in group.arguments for value in signature.lifted]
    for array in arrays:
        digest.update(repr(content(array)).encode())
    return digest.hexdigest()


def _complete(job: _Job) -> bool:
    """Whether the checkpoint is there already; another one in its place is an error."""
    if not job.target.exists():
        return False
    try:
        found = json.loads((job.target / _MANIFEST).read_text())["fingerprint"]
    except (OSError, ValueError, KeyError):
        found = None
    if found != job.fingerprint:
        raise FileExistsError(
            f"{_CALL}: {job.target} exists and is not what this plan makes; nothing was changed. "
            f"Save to another path, or remove it."
        )
    return True


def _prepare(plan: Plan, job: _Job) -> None:
    """The folder with its manifest, new or as it was left."""
    marker = job.folder / _MANIFEST
    if job.folder.exists() and any(job.folder.iterdir()) and not marker.exists():
        raise FileExistsError(
            f"{_CALL}: {job.folder}, where the checkpoint would grow, exists and holds something "
            f"else; nothing was changed. Move it away, or save to another path."
        )
    found = _read(marker)
    if found and found["fingerprint"] != job.fingerprint:
        raise ValueError(
            f"{_CALL}: {job.folder} is a checkpoint of another plan, seed or format that was cut "
            f"off; nothing was changed. Finish it with that one, remove it, or save to another "
            f"path."
        )
    if found and found["names"] is not None:
        return
    _attempt(job, lambda: job.folder.mkdir(parents=True, exist_ok=True))
    _replace(marker, {"fingerprint": job.fingerprint, "names": None})
    for leftover in job.folder.iterdir():
        if leftover != marker:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    numbers = plan._layout.numbers()
    names = _attempt(job, job.format.prepare, job.folder, job.entries, numbers)
    keys = {leaf.path: str(leaf.dtype) for leaf in plan.leaves if "key<" in str(leaf.dtype)}
    _replace(
        marker,
        {
            "fingerprint": job.fingerprint,
            "format": job.kind,
            "leaves": len(job.entries),
            "bytes": plan.nbytes,
            "keys": keys,  # leaves that are random keys, stored as their data
            "made_by": {"jax": jax.__version__},
            "names": names,
        },
    )


def _read(marker: Path) -> dict[str, Any] | None:
    return json.loads(marker.read_text()) if marker.exists() else None


def _manifest(job: _Job) -> dict[str, Any]:
    found = _read(job.folder / _MANIFEST)
    if found is None:
        raise FileNotFoundError(
            f"{_CALL}: process {jax.process_index()} does not see {job.folder}, which process 0 "
            f"made; save to a filesystem that all processes share."
        )
    return found


def _replace(path: Path, content: Any) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _finished(job: _Job) -> set[int]:
    """The numbers of the pieces that are on disk: whole lines of the logs."""
    numbers: set[int] = set()
    for log in job.folder.glob("done.*"):
        lines = log.read_text().split("\n")[:-1]
        numbers.update(int(line) for line in lines)
    return numbers


def _check_same(plan: Plan, job: _Job, maker: Maker, store: Store, finished: set[int]) -> None:
    """One finished piece of every program, made again, must be what is on disk."""
    seen: set[int] = set()
    for number in sorted(finished):
        piece = job.pieces[number]
        group = plan.leaves[piece.leaf].group
        if group in seen or plan.whole:
            continue
        seen.add(group)
        if _pieces.make(maker, piece).tobytes() != store.read(piece).tobytes():
            path = job.entries[piece.leaf].path
            raise ValueError(
                f"{_CALL}: {job.folder} was begun with other values of {path!r} than this plan "
                f"makes; nothing was changed. Remove it, or save to another path."
            )


def _check_room(job: _Job, todo: Sequence[int]) -> None:
    place = next(folder for folder in job.folder.absolute().parents if folder.exists())
    free, needed = shutil.disk_usage(place).free, job.nbytes(todo)
    if free < needed:
        raise OSError(
            f"{_CALL}: {job.target} needs {_show.size(needed)} more and its disk has "
            f"{_show.size(free)} free; nothing was lost. Make room and save again, it resumes."
        )


def _write(
    plan: Plan, job: _Job, maker: Maker, store: Store, todo: Sequence[int], progress: bool
) -> None:
    """Make the pieces of this process, one while another is being written."""
    whole = _whole(plan, maker)
    with (
        open(job.folder / f"done.{jax.process_index()}", "a") as log,
        ThreadPoolExecutor(1) as writer,
        _show.bar(progress, "saving", job.nbytes(todo)) as advance,
    ):
        pending = writer.submit(lambda: None)
        for batch in _batches(job, todo):
            for number in batch:
                piece = job.pieces[number]
                data = _pieces.make(maker, piece) if whole is None else whole(piece)
                pending.result()
                pending = writer.submit(_attempt, job, store.write, piece, data)
                advance(data.nbytes, job.entries[piece.leaf].path)
            pending.result()
            pending = writer.submit(_attempt, job, _commit, store, log, batch)
        pending.result()


def _whole(plan: Plan, maker: Maker) -> Callable[[Piece], np.ndarray] | None:
    """A plan that runs as one program has its leaves at once."""
    if not plan.whole:
        return None
    made = maker.whole([None] * len(plan.leaves))
    return lambda piece: _pieces.stored(made[piece.leaf])


def _batches(job: _Job, todo: Sequence[int]) -> Iterator[list[int]]:
    """Pieces that are committed together."""
    batch: list[int] = []
    held = 0
    for number in todo:
        batch.append(number)
        held += job.nbytes([number])
        if held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _commit(store: Store, log: Any, numbers: Sequence[int]) -> None:
    """Note the pieces as done, once they are on disk."""
    store.sync()
    log.write("".join(f"{number}\n" for number in numbers))
    log.flush()
    os.fsync(log.fileno())


def _attempt(job: _Job, step: Callable[..., T], *args: Any) -> T:
    """A step that touches the disk; where it fails, what the system says and what to do."""
    try:
        return step(*args)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise OSError(
            f"{_CALL}: writing to {job.folder} failed ({reason}); what is there is kept. Mend "
            f"that, as by making room, and save again: it resumes."
        ) from error


def _wait(stage: str) -> None:
    """Until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"jaxinit save {stage}")

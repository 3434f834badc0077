"""Saves a plan as a checkpoint, piece by piece, and resumes a save that was interrupted.

The checkpoint grows in the folder ``NAME.partial`` beside its final place. A manifest there
describes it, and logs list the pieces that are on disk. When all are, the folder is renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from .. import _text
from . import pieces
from .compile import Maker
from .formats import FORMATS, Format, Store
from .grouping import content
from .pieces import Entry, Piece
from .recording import Recording

T = TypeVar("T")

_MANIFEST, _LOGS = "jaxinit.json", "jaxinit.done"
_BATCH_BYTES = 256 * 2**20  # written between two waits for the disk
_CALL = "Plan.save"


class _Job(NamedTuple):
    """What is to be saved, and where.

    Attributes:
      target: the folder of the complete checkpoint.
      folder: the folder in which it grows.
      kind: the name of its format.
      entries: how each array is stored.
      pieces: all pieces; the logs name them by their positions here.
      fingerprint: equal for equal plans in the same format.
    """

    target: Path
    folder: Path
    kind: str
    entries: list[Entry]
    pieces: list[Piece]
    fingerprint: str

    @property
    def format(self) -> Format:
        return FORMATS[self.kind]

    def nbytes(self, numbers: Collection[int]) -> int:
        """The bytes of these pieces."""
        chosen = (self.pieces[n] for n in numbers)
        return sum(p.length * self.entries[p.leaf].dtype.itemsize for p in chosen)


class _Source:
    """Makes the pieces of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.maker = Maker(recording, _CALL)

    @cached_property
    def _whole(self) -> Sequence[jax.Array]:
        """All arrays of a function that runs as one program."""
        return self.maker.whole([None] * len(self.recording.leaves))

    def make(self, piece: Piece) -> np.ndarray:
        """Computes the elements of a piece, as a flat array."""
        if self.recording.whole:
            return pieces.stored(self._whole[piece.leaf])
        return pieces.make(self.maker, piece)


def save(recording: Recording, path: str | os.PathLike[str], format: str, progress: bool) -> None:
    """Saves a recording; see ``Plan.save``."""
    source = _Source(recording)
    job = _job(source, Path(os.path.abspath(path)), format)
    if job.target.exists() or job.target.is_symlink():
        return _check_complete(job, source)
    with _alone(job):
        if jax.process_index() == 0:
            _check_room(job)
            _prepare(job, source)
        _wait("prepared")
        store = _store(job, job.folder)
        finished = _finished(job.folder)
        _check_same(job, source, store, finished)
        todo = [n for n in range(len(job.pieces)) if n not in finished]
        _wait("counted")
        share = todo[jax.process_index() :: jax.process_count()]
        _write(job, source, store, share, progress)
        _wait("written")
        if jax.process_index() == 0:
            os.rename(job.folder, job.target)
            shutil.rmtree(job.target / _LOGS)
        _wait("finished")


def _job(source: _Source, path: Path, format: str) -> _Job:
    """The job, after checking that the format can hold it."""
    recording = source.recording
    if format not in FORMATS:
        names = " or ".join(map(repr, FORMATS))
        raise ValueError(f"{_CALL}: format must be {names}; got {format!r}.")
    if [leaf.path for leaf in recording.leaves] == [""]:
        raise ValueError(f"{_CALL}: the plan is one array without a name; return a dict of it.")
    entries = pieces.entries(recording)
    refused = [f"{e.path} ({why})" for e in entries if (why := FORMATS[format].refused(e))]
    if refused:
        raise ValueError(
            f"{_CALL}: {format} cannot hold {', '.join(refused)}; "
            f"use another dtype or the other format."
        )
    names = [entry.path.replace("/", ".") for entry in entries]
    taken = (_MANIFEST, f"{_MANIFEST}.new", _LOGS)
    wrong = sorted({name for name in names if names.count(name) > 1 or name.startswith(taken)})
    if wrong:
        raise ValueError(
            f"{_CALL}: these names stand for several leaves, or for jaxinit's own files: "
            f"{', '.join(wrong)}; rename the leaves, with no dot or slash in a key."
        )
    return _Job(
        target=path,
        folder=path.with_name(path.name + ".partial"),
        kind=format,
        entries=entries,
        pieces=[piece for i, entry in enumerate(entries) for piece in pieces.cut(i, entry)],
        fingerprint=_fingerprint(source, format, entries),
    )


def _fingerprint(source: _Source, format: str, entries: Sequence[Entry]) -> str:
    """A digest of the arrays' shapes, the arguments they depend on and the captured arrays."""
    digest = hashlib.sha256(format.encode())
    for entry in entries:
        digest.update(repr((entry.path, entry.shape, entry.dtype.name, entry.box)).encode())
    for name, array in source.maker.arguments.items():
        digest.update(repr((name, content(array))).encode())
    for group in source.recording.groups:
        for signature in group.arguments:
            for value in signature.lifted:
                digest.update(repr(content(value.const)).encode())
    return digest.hexdigest()


def _check_complete(job: _Job, source: _Source) -> None:
    """Raises unless the checkpoint at the target is the one that this plan makes."""
    try:
        same = _read(job.target)["fingerprint"] == job.fingerprint
        if same:
            _check_same(job, source, _store(job, job.target), range(len(job.pieces)))
    except (OSError, ValueError, KeyError):
        same = False
    if not same:
        raise FileExistsError(
            f"{_CALL}: {job.target} exists and is not what this plan makes; nothing was changed. "
            f"Save to another path, or remove it."
        )
    if jax.process_index() == 0:
        shutil.rmtree(job.target / _LOGS, ignore_errors=True)


@contextmanager
def _alone(job: _Job) -> Iterator[None]:
    """Has process 0 lock the folder, so that no other save writes there."""
    if jax.process_index() != 0:
        yield
        return
    _check_free(job)
    _attempt(job, lambda: (job.folder / _LOGS).mkdir(parents=True, exist_ok=True))
    with open(job.folder / _LOGS / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(
                f"{_CALL}: another process is saving to {job.target}; wait for it, or save to "
                f"another path."
            ) from None
        yield


def _check_free(job: _Job) -> None:
    """Raises if the folder holds something else, or the checkpoint of another plan."""
    if job.folder.exists() and not job.folder.is_dir():
        held = True
    else:
        held = job.folder.exists() and {f.name for f in job.folder.iterdir()} - {_LOGS}
    found = _manifest(job.folder)
    if held and found is None and not (job.folder / _LOGS).exists():
        raise FileExistsError(
            f"{_CALL}: {job.folder}, where the checkpoint would grow, exists and holds something "
            f"else; nothing was changed. Move it away, or save to another path."
        )
    if found and found["fingerprint"] != job.fingerprint:
        raise ValueError(
            f"{_CALL}: {job.folder} is an interrupted checkpoint of another plan, seed or format; "
            f"nothing was changed. Finish it with that plan, remove it, or save to another path."
        )


def _prepare(job: _Job, source: _Source) -> None:
    """Writes everything but the weights, unless it is there: the manifest is written last."""
    if _manifest(job.folder):
        return
    for leftover in job.folder.iterdir():
        if leftover.name != _LOGS:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    recording = source.recording
    numbers = recording.skeleton.indices()
    names = _attempt(job, job.format.prepare, job.folder, job.entries, numbers)
    keys = {leaf.path: str(leaf.dtype) for leaf in recording.leaves if "key<" in str(leaf.dtype)}
    manifest = {
        "fingerprint": job.fingerprint,
        "format": job.kind,
        "leaves": len(job.entries),
        "bytes": recording.nbytes,
        "keys": keys,  # arrays that are random keys, stored as their data
        "made_by": {"jax": jax.__version__},
        "names": names,
    }
    _attempt(job, _replace, job.folder / _MANIFEST, manifest)


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _MANIFEST).read_text())


def _manifest(folder: Path) -> dict[str, Any] | None:
    return _read(folder) if (folder / _MANIFEST).exists() else None


def _replace(path: Path, content: Any) -> None:
    """Writes a JSON file so that it is either complete or not there."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _store(job: _Job, folder: Path) -> Store:
    """Opens the checkpoint in the folder for pieces."""
    found = _manifest(folder)
    if found is None:
        raise FileNotFoundError(
            f"{_CALL}: process {jax.process_index()} does not see {folder}, which process 0 "
            f"made; save to a filesystem that all processes share."
        )
    return job.format.store(folder, job.entries, found["names"])


def _finished(folder: Path) -> set[int]:
    """The positions of the pieces that are on disk, one in each complete line of the logs."""
    numbers: set[int] = set()
    for log in folder.glob(f"{_LOGS}/*.log"):
        numbers.update(map(int, log.read_text().split("\n")[:-1]))
    return numbers


def _check_same(job: _Job, source: _Source, store: Store, finished: Collection[int]) -> None:
    """Makes one finished piece of every program again; raises if it is not what is on disk."""
    seen: set[int] = set()
    for number in sorted(finished):
        piece = job.pieces[number]
        program = (
            piece.leaf if source.recording.whole else source.recording.leaves[piece.leaf].group
        )
        if program in seen:
            continue
        seen.add(program)
        if source.make(piece).tobytes() != store.read(piece).tobytes():
            path = job.entries[piece.leaf].path
            raise ValueError(
                f"{_CALL}: {job.folder} was begun with other values of {path!r} than this plan "
                f"makes; nothing was changed. Remove it, or save to another path."
            )


def _check_room(job: _Job) -> None:
    finished = _finished(job.folder)
    needed = job.nbytes([n for n in range(len(job.pieces)) if n not in finished])
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise OSError(
            f"{_CALL}: {job.target} needs {_text.size(needed)} more and its disk has "
            f"{_text.size(free)} free; nothing was lost. Make room and save again, it resumes."
        )


def _write(job: _Job, source: _Source, store: Store, todo: Sequence[int], progress: bool) -> None:
    """Makes these pieces; each is written while the next is being made."""
    logs = job.folder / _LOGS
    name = f"{jax.process_index()}.{len(list(logs.iterdir()))}.log"  # a new log for each run
    with (
        open(logs / name, "x") as log,
        ThreadPoolExecutor(1) as writer,
        _text.bar(progress, "saving", job.nbytes(todo)) as advance,
    ):
        pending = writer.submit(lambda: None)
        for batch in _batches(job, todo):
            for number in batch:
                piece = job.pieces[number]
                data = source.make(piece)
                pending.result()
                pending = writer.submit(_attempt, job, store.write, piece, data)
                advance(data.nbytes, job.entries[piece.leaf].path)
            pending.result()
            pending = writer.submit(_attempt, job, _commit, store, log, batch)
        pending.result()


def _batches(job: _Job, todo: Sequence[int]) -> Iterator[list[int]]:
    """Groups the pieces that are logged together."""
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
    """Waits until what was written is on disk, then adds the pieces to the log."""
    store.sync()
    log.write("".join(f"{number}\n" for number in numbers))
    log.flush()
    os.fsync(log.fileno())


def _attempt(job: _Job, step: Callable[..., T], *args: Any) -> T:
    """Runs a step that writes to disk; an error says what the system said and what to do."""
    try:
        return step(*args)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise OSError(
            f"{_CALL}: writing to {job.folder} failed ({reason}); what is there is kept. Repair "
            f"the cause, for example make room, and save again: it resumes."
        ) from error


def _wait(stage: str) -> None:
    """Waits until every process has reached this stage."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"jaxinit save {stage}")

"""Saves a plan as a checkpoint, piece by piece, and resumes a save that was interrupted.

The checkpoint grows in the folder ``NAME.partial`` beside its final place. A manifest there
describes it, and logs list the pieces that are on disk with their checksums. When all are, the
folder is renamed. Nothing is removed but the logs and what an interrupted start left behind, both
by names that the manifest or this file knows.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from .. import _text
from .formats import FORMATS, LOGS, MANIFEST, Store
from .job import CALL, Job, Source, attempt, exists, planned_job
from .manifest import (
    checksum,
    damage,
    damaged_files,
    damaged_pieces,
    file_checksums,
    finished,
    logs,
    read,
    verify,
    where,
)
from .pieces import Piece
from .processes import agreed, together
from .recording import Recording

try:
    import fcntl
except ImportError:  # there is none on Windows, where all but saving works
    fcntl = None

__all__ = ["save", "verify"]

T = TypeVar("T")

# Inside the folder of the logs:
_LOCK, _FAILED, _STAGING = "lock", "failed", "prepared"
_BATCH_BYTES = 256 * 2**20  # written between two waits for the disk


def save(recording: Recording, path: str | os.PathLike[str], format: str, progress: bool) -> None:
    """Saves a recording; see ``Plan.save``."""
    if fcntl is None:
        raise OSError(
            f"{CALL}: needs the file locks of Linux or macOS; got {sys.platform}. Call materialize "
            f"and save what it returns, for example with orbax."
        )
    source, job = together(CALL, planned_job, recording, path, format)
    if agreed(CALL, exists, job.target):
        return together(CALL, _check_complete, job, source)
    with ExitStack() as held:
        together(CALL, _begin, job, source, held)
        store, todo = together(CALL, _marked, job, _remaining, job, source, progress)
        together(CALL, _marked, job, _make_pieces, job, source, store, todo, progress)
        together(CALL, _finish, job)


# a checkpoint that is there already ---------------------------------------------------------------


def _check_complete(job: Job, source: Source) -> None:
    """Raises unless the checkpoint at the target is the one that this plan makes, undamaged."""
    try:
        found = read(CALL, job.target)
    except (OSError, ValueError):
        found = None
    if found is None or found.checksums is None or found.fingerprint != job.planned.fingerprint:
        raise _other(job)
    damaged = damage(found, job.target, jax.process_index(), jax.process_count())
    if damaged:
        raise ValueError(
            f"{CALL}: {job.target} is the checkpoint of this plan, but it was damaged or changed "
            f"since: {'; '.join(damaged)}. Nothing was changed. Move it away and save again."
        )
    if _differs(job, source, dict(enumerate(found.checksums))):
        raise _other(job)
    if jax.process_index() == 0:
        _remove_logs(job.target)


def _other(job: Job) -> FileExistsError:
    return FileExistsError(
        f"{CALL}: {job.target} exists and is not what this plan makes; nothing was changed. "
        f"Save to another path, or remove it."
    )


def _differs(job: Job, source: Source, done: dict[int, str]) -> str | None:
    """Makes one finished piece of every program again; the path of one that differs, if any."""
    seen: set[int] = set()
    for number in sorted(done):
        piece = job.pieces[number]
        if (program := source.program(piece)) in seen:
            continue
        seen.add(program)
        if checksum(source.make(piece)) != done[number]:
            return job.path(piece)
    return None


# the growing folder ------------------------------------------------------------------------------


def _begin(job: Job, source: Source, held: ExitStack) -> None:
    """Has process 0 lock the folder, for as long as ``held`` is open, and prepare it."""
    if jax.process_index() == 0:
        held.enter_context(_alone(job))
        (job.folder / LOGS / _FAILED).unlink(missing_ok=True)
        _check_room(job)
        _prepare(job, source)


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Locks the folder, so that no other save writes there."""
    assert fcntl is not None
    _check_free(job)
    attempt(job, lambda: (job.folder / LOGS).mkdir(parents=True, exist_ok=True))
    path = job.folder / LOGS / _LOCK
    with attempt(job, open, path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(
                f"{CALL}: another process is saving to {job.target}; wait for it, or save to "
                f"another path."
            ) from None
        if exists(job.target) or not exists(path):  # it ended, and moved or removed the lock
            _remove_logs(job.folder)
            with suppress(OSError):
                job.folder.rmdir()
            raise OSError(
                f"{CALL}: another process has just saved to {job.target}; save again, which "
                f"compares it with this plan, or save to another path."
            )
        yield


def _check_free(job: Job) -> None:
    """Raises if the folder holds something else, or the checkpoint of another plan."""
    if not exists(job.folder):
        return
    found = read(CALL, job.folder) if job.folder.is_dir() else None
    if found is None and not _is_bare(job.folder):
        raise FileExistsError(
            f"{CALL}: {job.folder}, where the checkpoint would grow, exists and holds something "
            f"else; nothing was changed. Move it away, or save to another path."
        )
    if found and found.fingerprint != job.planned.fingerprint:
        raise ValueError(
            f"{CALL}: {job.folder} is an interrupted checkpoint of another plan, seed or format; "
            f"nothing was changed. Finish it with that plan, remove it, or save to another path."
        )


def _is_bare(folder: Path) -> bool:
    """Whether a folder holds at most what a save writes before its manifest."""
    if not folder.is_dir():
        return False
    own = folder / LOGS
    return {f.name for f in folder.iterdir()} <= {LOGS, f"{MANIFEST}.new"} and (
        not exists(own) or (own.is_dir() and {f.name for f in own.iterdir()} <= {_LOCK})
    )


def _prepare(job: Job, source: Source) -> None:
    """Writes everything but the weights, unless an earlier save did.

    It is written into a folder that the manifest names, described by the manifest, and only then
    moved up, so that whatever an interruption leaves is known to be ours.
    """
    staging = job.folder / LOGS / _STAGING
    found = read(CALL, job.folder)
    if found is None or found.files is None:
        attempt(job, job.planned.write, job.folder)
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        kind, numbers = job.planned.kind, source.recording.skeleton.indices()
        names = attempt(job, FORMATS[kind].prepare, staging, job.planned.entries, numbers)
        files = file_checksums(staging, kind)
        described = job.planned.described(names, files)
        attempt(job, described.write, job.folder)
    if staging.exists():
        for item in staging.iterdir():
            if exists(job.folder / item.name):
                raise FileExistsError(
                    f"{CALL}: {job.folder / item.name} is in the way; it is none of the "
                    f"checkpoint's files. Move it away and save again."
                )
            attempt(job, os.rename, item, job.folder / item.name)
        staging.rmdir()


def _check_room(job: Job) -> None:
    done, _ = finished(job.folder, len(job.pieces))
    needed = job.nbytes([n for n in range(len(job.pieces)) if n not in done])
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise OSError(
            f"{CALL}: {job.target} needs {_text.size(needed)} more and its disk has "
            f"{_text.size(free)} free; nothing was lost. Make room and save again, it resumes."
        )


# pieces ------------------------------------------------------------------------------------------


def _remaining(job: Job, source: Source, progress: bool) -> tuple[Store, list[int]]:
    """The open checkpoint, and the pieces that this process has to make.

    They are its share of those that are not finished, and of those that are but do not match their
    checksums. Raises if the others are not what this plan makes.
    """
    manifest = job.manifest()
    damaged = damaged_files(manifest, job.folder)
    if damaged:
        raise ValueError(
            f"{CALL}: {job.folder} is damaged ({'; '.join(damaged)}); nothing was changed. Move "
            f"it away and save again."
        )
    store = manifest.store(job.folder)
    done, unreadable = finished(job.folder, len(job.pieces))
    share = slice(jax.process_index(), None, jax.process_count())
    kept = sorted(done)[share]
    bad = []
    with _text.bar(progress and bool(kept), "checking", job.nbytes(kept)) as advance:
        for number, differs in damaged_pieces(manifest, store, done, kept):
            bad += [number] if differs else []
            advance(job.nbytes([number]), job.path(job.pieces[number]))
            if _failed(job):
                return store, []
    if bad or unreadable:
        _text.warn(
            CALL,
            f"{job.folder} was damaged; these are made again: {len(bad)} of {len(done)} finished "
            f"pieces ({where(manifest, bad)}) and {unreadable} that the logs do not name.",
        )
    if path := _differs(job, source, {n: done[n] for n in kept if n not in bad}):
        raise ValueError(
            f"{CALL}: {job.folder} was begun with other values of {path!r} than this plan makes; "
            f"nothing was changed. Remove it, or save to another path."
        )
    todo = [n for n in range(len(job.pieces)) if n not in done][share]
    return store, sorted(todo + bad)


def _failed(job: Job) -> bool:
    """Whether another process has failed, so that this one need not go on."""
    return jax.process_count() > 1 and (job.folder / LOGS / _FAILED).exists()


def _marked(job: Job, step: Callable[..., T], *args: Any) -> T:
    """Runs a step; if it fails, leaves a mark that makes the other processes stop."""
    try:
        return step(*args)
    except Exception:
        with suppress(OSError):
            (job.folder / LOGS / _FAILED).touch()
        raise


def _make_pieces(
    job: Job, source: Source, store: Store, todo: Sequence[int], progress: bool
) -> None:
    """Makes these pieces; each is written while the next is being made."""
    last = max((int(log.name.split(".")[1]) for log in logs(job.folder)), default=0)
    name = f"{jax.process_index()}.{last + 1}.log"  # a new log for each run
    with (
        open(job.folder / LOGS / name, "x") as log,
        ThreadPoolExecutor(1) as writer,
        _text.bar(progress, "saving", job.nbytes(todo)) as advance,
    ):
        pending = writer.submit(lambda: None)
        for batch in _batches(job, todo):
            sums: dict[int, str] = {}
            for number in batch:
                if _failed(job):
                    return
                piece = job.pieces[number]
                data = source.make(piece)
                pending.result()
                pending = writer.submit(attempt, job, _put, store, number, piece, data, sums)
                advance(data.nbytes, job.path(piece))
            pending.result()
            pending = writer.submit(attempt, job, _commit, store, log, sums)
        pending.result()


def _batches(job: Job, todo: Sequence[int]) -> Iterator[list[int]]:
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


def _put(store: Store, number: int, piece: Piece, data: np.ndarray, sums: dict[int, str]) -> None:
    """Writes a piece and notes its checksum."""
    store.write(piece, data)
    sums[number] = checksum(data)


def _commit(store: Store, log: Any, sums: dict[int, str]) -> None:
    """Waits until what was written is on disk, then adds the pieces to the log."""
    store.sync()
    log.write("".join(f"{number} {found}\n" for number, found in sums.items()))
    log.flush()
    os.fsync(log.fileno())


def _finish(job: Job) -> None:
    """Has process 0 complete the manifest, rename the folder and remove the logs."""
    if jax.process_index() != 0:
        return
    done, _ = finished(job.folder, len(job.pieces))
    if len(done) < len(job.pieces):
        raise OSError(
            f"{CALL}: process 0 does not see all pieces in {job.folder}; save to a filesystem "
            f"that all processes share, or save again: it resumes."
        )
    sums = [done[number] for number in range(len(job.pieces))]
    attempt(job, job.manifest().complete(sums).write, job.folder)
    try:
        if exists(job.target):
            raise FileExistsError
        os.rename(job.folder, job.target)
    except OSError as error:
        if not exists(job.target):
            raise
        raise FileExistsError(
            f"{CALL}: something appeared at {job.target} while it was being saved, and was left "
            f"as it is; the whole checkpoint is in {job.folder}. Rename one of the two."
        ) from error
    _remove_logs(job.target)


def _remove_logs(folder: Path) -> None:
    """Removes the logs, by their names, and their folder if nothing else is in it."""
    own = folder / LOGS
    if own.is_dir():
        for path in (*logs(folder), own / _LOCK, own / _FAILED):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            own.rmdir()

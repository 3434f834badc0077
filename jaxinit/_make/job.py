"""What a save is to write and where, checked before any work, and what makes its pieces."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from . import pieces
from .compile import Maker
from .formats import FORMATS
from .grouping import content
from .leaf_notes import leaf_notes
from .manifest import Manifest, read
from .pieces import Entry, Piece
from .recording import Recording

T = TypeVar("T")

CALL = "Plan.save"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class Job(NamedTuple):
    """What is to be saved, and where.

    Attributes:
      target: the folder of the complete checkpoint.
      folder: the folder in which it grows.
      planned: the manifest of the checkpoint before anything is written.
      pieces: all pieces; the logs name them by their positions here.
    """

    target: Path
    folder: Path
    planned: Manifest
    pieces: list[Piece]

    def nbytes(self, numbers: Collection[int]) -> int:
        """The bytes of these pieces."""
        chosen = (self.pieces[n] for n in numbers)
        return sum(p.length * self.planned.entries[p.leaf].dtype.itemsize for p in chosen)

    def path(self, piece: Piece) -> str:
        """The path of the array that a piece belongs to."""
        return self.planned.entries[piece.leaf].path

    def manifest(self) -> Manifest:
        """The manifest in the folder."""
        found = read(CALL, self.folder)
        if found is None:
            raise FileNotFoundError(
                f"{CALL}: process {jax.process_index()} does not see {self.folder}, which "
                f"process 0 made; save to a filesystem that all processes share."
            )
        return found


class Source:
    """Makes the pieces of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.maker = Maker(recording, CALL)

    @cached_property
    def _whole(self) -> Sequence[jax.Array]:
        """All arrays of a function that runs as one program."""
        return self.maker.whole([None] * len(self.recording.leaves))

    def make(self, piece: Piece) -> np.ndarray:
        """Computes the elements of a piece, as a flat array."""
        if self.recording.whole:
            return pieces.stored(self._whole[piece.leaf])
        return pieces.make(self.maker, piece)

    def program(self, piece: Piece) -> int:
        """The program that makes the piece, as a number."""
        leaf = piece.leaf
        return leaf if self.recording.whole else self.recording.leaves[leaf].group


def planned_job(
    recording: Recording, path: str | os.PathLike[str], format: str
) -> tuple[Source, Job]:
    """The job, after checking that the format can hold it."""
    source, target = Source(recording), _local(path)
    if format not in FORMATS:
        names = " or ".join(map(repr, FORMATS))
        raise ValueError(f"{CALL}: format must be {names}; got {format!r}.")
    if [leaf.path for leaf in recording.leaves] == [""]:
        raise ValueError(f"{CALL}: the plan is one array without a name; return a dict of it.")
    entries = pieces.entries(recording)
    _check_names(recording, format, entries)
    planned = Manifest(
        fingerprint=_fingerprint(source, format, entries),
        kind=format,
        entries=tuple(entries),
        keys={x.path: str(x.dtype) for x in recording.leaves if "key<" in str(x.dtype)},
        asked=leaf_notes(recording),
    )
    folder = target.with_name(target.name + ".partial")
    return source, Job(target=target, folder=folder, planned=planned, pieces=planned.pieces)


def _local(path: Any) -> Path:
    """The path, made absolute; raises if it is not one of this machine's filesystems."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{CALL}: path must be the folder to make, as a str; got {path!r:.80}.")
    text = os.fspath(path)
    if _URL.match(text):
        raise ValueError(
            f"{CALL}: path must be a folder on a mounted filesystem; got {text!r}. Save to a "
            f"local folder and copy it, for example with gcloud storage cp -r, or mount the bucket."
        )
    return Path(os.path.abspath(text))


def dotted_names(recording: Recording) -> list[str]:
    """The keys of each array's path, joined by dots as orbax does it."""
    flat, _ = jax.tree_util.tree_flatten_with_path(recording.skeleton.indices())
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in flat]


def _check_names(recording: Recording, format: str, entries: Sequence[Entry]) -> None:
    """Raises if the format cannot hold some array, or two arrays would have the same name."""
    refused = FORMATS[format].refused(entries, dotted_names(recording))
    if refused:
        why = ", ".join(f"{path!r} ({reason})" for path, reason in refused.items())
        raise ValueError(
            f"{CALL}: {format} cannot hold {why}; rename the array, use another dtype, or the "
            f"other format."
        )
    counts = Counter(entry.path.replace("/", ".") for entry in entries)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise ValueError(
            f"{CALL}: these names stand for several leaves: {', '.join(twice)}; rename the leaves, "
            f"with no dot or slash in a key."
        )


def _fingerprint(source: Source, format: str, entries: Sequence[Entry]) -> str:
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


def exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def attempt(job: Job, step: Callable[..., T], *args: Any) -> T:
    """Runs a step that writes to disk; an error says what the system said and what to do."""
    try:
        return step(*args)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise OSError(
            f"{CALL}: writing to {job.folder} failed ({reason}); what is there is kept. Repair "
            f"the cause, for example make room, and save again: it resumes."
        ) from error

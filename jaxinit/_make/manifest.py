"""The manifest of a checkpoint: what the checkpoint holds, and checksums by which damage is found.

``jaxinit.json`` lists the arrays with a CRC-32 of each piece, and the files that hold no weights
with a CRC-32 of each. While a checkpoint grows, the checksums of its finished pieces stand in logs,
in the folder ``jaxinit.done``: one line "position checksum" for each piece.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .formats import FORMATS, LOGS, MANIFEST, Store
from .pieces import Entry, Piece, cut

_LOG = re.compile(r"\d+\.(\d+)\.log")
_LINE = re.compile(rb"(\d{1,12}) ([0-9a-f]{8})")


class File(NamedTuple):
    """A file: its size, how many of its first bytes are no weights, and the checksum of these."""

    size: int
    start: int
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds.

    Attributes:
      fingerprint: equal for equal plans in the same format.
      kind: the name of the format.
      entries: how each array is stored.
      names: the format's name for each array.
      keys: path -> kind, of the arrays that are random keys stored as their data.
      asked: path -> what was asked of its initializer, where an initializer of jaxinit made it: the
        initializer, and its law, mean and std where they are known.
      files: path in the folder -> each file that holds something but weights; None until they are
        written.
      checksums: the checksum of each piece; None until the checkpoint is complete.
    """

    fingerprint: str
    kind: str
    entries: tuple[Entry, ...]
    names: tuple[str, ...] = ()
    keys: Mapping[str, str] | None = None
    asked: Mapping[str, Mapping[str, Any]] | None = None
    files: Mapping[str, File] | None = None
    checksums: Sequence[str] | None = None

    @property
    def pieces(self) -> list[Piece]:
        """All pieces; the logs name them by their positions here."""
        return [piece for i, entry in enumerate(self.entries) for piece in cut(i, entry)]

    def store(self, folder: Path) -> Store:
        """Opens the folder for pieces."""
        return FORMATS[self.kind].store(folder, self.entries, self.names)

    def described(self, names: Sequence[str], files: Mapping[str, File]) -> Manifest:
        """The manifest once everything but the weights is written."""
        return replace(self, names=tuple(names), files=files)

    def complete(self, checksums: Sequence[str]) -> Manifest:
        """The manifest of the complete checkpoint."""
        return replace(self, checksums=checksums)

    def write(self, folder: Path) -> None:
        """Writes the manifest so that it is either complete or not there."""
        content = self._content()
        content["checksum"] = _seal(content)
        path, fresh = folder / MANIFEST, folder / f"{MANIFEST}.new"
        with open(fresh, "w") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)

    def _content(self) -> dict[str, Any]:
        leaves: dict[str, Any] = {
            e.path: {"shape": e.shape, "dtype": e.dtype.name, "box": e.box} for e in self.entries
        }
        for path, asked in (self.asked or {}).items():
            leaves[path]["asked"] = asked
        for entry, name in zip(self.entries, self.names, strict=False):
            leaves[entry.path]["name"] = name
        if self.checksums is not None:
            for piece, found in zip(self.pieces, self.checksums, strict=True):
                leaf = leaves[self.entries[piece.leaf].path]
                leaf.setdefault("checksums", []).append(found)
        files = self.files and {name: file._asdict() for name, file in self.files.items()}
        return {
            "fingerprint": self.fingerprint,
            "format": self.kind,
            "bytes": sum(entry.nbytes for entry in self.entries),
            "keys": self.keys or {},
            "made_by": {"jax": jax.__version__},
            "files": files,
            "leaves": leaves,
        }


def read(call: str, folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is none. Raises ValueError if it is damaged."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        if content.pop("checksum") != _seal(content):
            raise ValueError("its checksum does not match")
        return _parsed(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{call}: {path} is damaged, or another version of jaxinit wrote it ({reason}); "
            f"nothing was changed. Move the folder away and save again."
        ) from None


def _seal(content: Any) -> str:
    """The checksum of a manifest, which stands in it."""
    return checksum(json.dumps(content, sort_keys=True).encode())


def _parsed(content: dict[str, Any]) -> Manifest:
    leaves = content["leaves"]
    entries = tuple(
        Entry(path, tuple(leaf["shape"]), jnp.dtype(leaf["dtype"]), tuple(leaf["box"]))
        for path, leaf in leaves.items()
    )
    files = content["files"]
    manifest = Manifest(
        fingerprint=content["fingerprint"],
        kind=content["format"],
        entries=entries,
        names=tuple(leaf["name"] for leaf in leaves.values() if "name" in leaf),
        keys=content["keys"],
        asked={path: leaf["asked"] for path, leaf in leaves.items() if "asked" in leaf},
        files=None if files is None else {name: File(**file) for name, file in files.items()},
    )
    sums = [found for leaf in leaves.values() for found in leaf.get("checksums", ())]
    complete = files is not None and len(sums) == len(manifest.pieces)
    return manifest.complete(sums) if complete else manifest


# checksums ---------------------------------------------------------------------------------------


def checksum(data: bytes | np.ndarray) -> str:
    """The CRC-32 of bytes, or of the elements of a flat array, as eight hexadecimal digits."""
    raw = data if isinstance(data, bytes) else memoryview(data.view(np.uint8))  # type: ignore[arg-type]
    return f"{zlib.crc32(raw):08x}"


def file_checksums(folder: Path, kind: str) -> dict[str, File]:
    """The files of a folder that hold something but weights, as a manifest lists them."""
    starts = FORMATS[kind].described(folder)
    return {name: _file(folder / name, start) for name, start in sorted(starts.items())}


def _file(path: Path, start: int) -> File:
    with open(path, "rb") as file:
        return File(path.stat().st_size, start, checksum(file.read(start)))


def damaged_files(manifest: Manifest, folder: Path) -> list[str]:
    """What is wrong with the files that hold something but weights, one message for each."""
    found = []
    for name, expected in (manifest.files or {}).items():
        if not (folder / name).is_file():
            found.append(f"{name} is missing")
        elif _file(folder / name, expected.start) != expected:
            found.append(f"{name} does not match its checksum")
    return found


def damaged_pieces(
    manifest: Manifest, store: Store, checksums: Mapping[int, str], numbers: Iterable[int]
) -> Iterator[tuple[int, bool]]:
    """For each of these pieces, its position and whether it differs from its checksum."""
    every = manifest.pieces
    for number in numbers:
        try:
            same = checksum(store.read(every[number])) == checksums[number]
        except (OSError, ValueError):  # a file or its description is missing or cut short
            same = False
        yield number, not same


def where(manifest: Manifest, numbers: Iterable[int]) -> str:
    """The arrays that these pieces belong to, by their paths."""
    every = manifest.pieces
    return ", ".join(dict.fromkeys(manifest.entries[every[n].leaf].path for n in numbers))


def damage(manifest: Manifest, folder: Path, first: int = 0, step: int = 1) -> list[str]:
    """What is wrong with a complete checkpoint, one message for each file or array.

    Of the pieces, every ``step``-th is read, from position ``first`` on.
    """
    assert manifest.checksums is not None
    found = damaged_files(manifest, folder) if first == 0 else []
    sums = dict(enumerate(manifest.checksums))
    numbers = range(first, len(sums), step)
    bad = damaged_pieces(manifest, manifest.store(folder), sums, numbers)
    broken = [number for number, differs in bad if differs]
    every = manifest.pieces
    for leaf in dict.fromkeys(every[n].leaf for n in broken):
        count = sum(every[n].leaf == leaf for n in broken)
        of = sum(piece.leaf == leaf for piece in every)
        path = manifest.entries[leaf].path
        found.append(f"{path} does not match its checksum ({count} of {of} pieces)")
    return found


def verify(path: str | os.PathLike[str]) -> list[str]:
    """Reads all of a checkpoint that ``Plan.save`` made and compares it with its checksums.

    Args:
      path: the folder of a complete checkpoint.

    Returns:
      One message for each damaged file or array; none if the checkpoint is as it was written.

    Raises:
      FileNotFoundError: the folder holds no ``jaxinit.json``.
      ValueError: that file is damaged, or the checkpoint is not complete.
    """
    folder = Path(path)
    manifest = read("verify", folder)
    if manifest is None:
        raise FileNotFoundError(
            f"verify: {folder} holds no {MANIFEST}, which Plan.save writes; only a checkpoint "
            f"made by Plan.save or jaxinit init has checksums."
        )
    if manifest.checksums is None:
        raise ValueError(f"verify: {folder} is not complete; save again, which resumes it.")
    return damage(manifest, folder)


# logs --------------------------------------------------------------------------------------------


def logs(folder: Path) -> list[Path]:
    """The logs of a growing checkpoint, oldest first: their names end in a number that grows."""
    known = ((_LOG.fullmatch(path.name), path) for path in (folder / LOGS).iterdir())
    return [path for _, path in sorted((int(m[1]), path) for m, path in known if m)]


def finished(folder: Path, count: int) -> tuple[dict[int, str], int]:
    """The checksums of the finished pieces by position, and how many lines are damaged.

    ``count`` is the number of all pieces. A last line without its end does not count: the save was
    interrupted while writing it.
    """
    found: dict[int, str] = {}
    damaged = 0
    for log in logs(folder):
        for line in log.read_bytes().split(b"\n")[:-1]:
            match = _LINE.fullmatch(line)
            if match and int(match[1]) < count:
                found[int(match[1])] = match[2].decode()
            else:
                damaged += 1
    return found, damaged

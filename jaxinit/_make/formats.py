"""The checkpoint formats, orbax and safetensors, written and read piece by piece.

A format works in two steps. ``prepare`` writes everything but the weights into an empty folder;
``store`` then opens the folder for pieces, in any order and from several processes.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from .pieces import Entry, Piece

Tree = Any


class Store(Protocol):
    """A checkpoint that is open for reading and writing pieces."""

    def write(self, piece: Piece, data: np.ndarray) -> None:
        """Writes a piece to its place."""
        ...

    def read(self, piece: Piece) -> np.ndarray:
        """Reads a piece, as a flat array."""
        ...

    def sync(self) -> None:
        """Returns when all that was written is on disk."""
        ...


class Format(Protocol):
    """A kind of checkpoint."""

    def refused(self, entries: Sequence[Entry], names: Sequence[str]) -> dict[str, str]:
        """The arrays that the format cannot hold: path -> why.

        ``names`` are their keys joined by dots.
        """
        ...

    def prepare(self, folder: Path, entries: Sequence[Entry], tree: Tree) -> list[str]:
        """Writes everything but the weights, and returns the format's name for each array.

        ``tree`` has the position of each array in its place.
        """
        ...

    def described(self, folder: Path) -> dict[str, int]:
        """The files that ``prepare`` wrote, by their paths in the folder.

        With each goes the number of its first bytes that must not change any more.
        """
        ...

    def store(self, folder: Path, entries: Sequence[Entry], names: Sequence[str]) -> Store:
        """Opens a folder that was prepared."""
        ...


MANIFEST, LOGS = "jaxinit.json", "jaxinit.done"  # of jaxinit, in each checkpoint: see ``manifest``
_TAKEN = "the checkpoint keeps this name for itself"
_NO_TEXT = "the name is not text"


def _is_text(name: str) -> bool:
    """Whether the name can be written as UTF-8, which a lone surrogate cannot."""
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name)


# safetensors ------------------------------------------------------------------------------------

SHARD_BYTES = 5 * 10**9
_INDEX = "model.safetensors.index.json"
_CODES = {
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
    **{"bool": "BOOL", "complex64": "C64"},
}


class _Location(NamedTuple):
    """The file that holds an array, and the offset of its first byte."""

    file: str
    offset: int


class Safetensors:
    """``model.safetensors``, or shards of about 5 GB with ``model.safetensors.index.json``."""

    def refused(self, entries: Sequence[Entry], names: Sequence[str]) -> dict[str, str]:
        found = {}
        for entry, name in zip(entries, names, strict=True):
            if entry.dtype.name not in _CODES:
                found[entry.path] = f"has no dtype {entry.dtype}"
            elif name == "__metadata__":
                found[entry.path] = _TAKEN
            elif not _is_text(name):
                found[entry.path] = _NO_TEXT
        return found

    def prepare(self, folder: Path, entries: Sequence[Entry], tree: Tree) -> list[str]:
        names = [entry.path.replace("/", ".") for entry in entries]
        files = _shards(entries, names)
        for file, leaves in files.items():
            header, size = _header(entries, names, leaves)
            with open(folder / file, "wb") as out:
                out.write(header)
                out.truncate(len(header) + size)
        if len(files) > 1:
            where = {names[i]: file for file, leaves in files.items() for i in leaves}
            total = sum(entry.nbytes for entry in entries)
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
            (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")
        return names

    def described(self, folder: Path) -> dict[str, int]:
        index = folder / _INDEX
        found = {_INDEX: index.stat().st_size} if index.exists() else {}
        for path in folder.glob("*.safetensors"):
            with open(path, "rb") as file:
                found[path.name] = 8 + int.from_bytes(file.read(8), "little")
        return found

    def store(self, folder: Path, entries: Sequence[Entry], names: Sequence[str]) -> Store:
        locations: dict[int, _Location] = {}
        for file, leaves in _shards(entries, names).items():
            offset = len(_header(entries, names, leaves)[0])
            for i in leaves:
                locations[i] = _Location(file, offset)
                offset += entries[i].nbytes
        return _SafetensorsStore(folder, entries, locations)


class _SafetensorsStore:
    def __init__(
        self, folder: Path, entries: Sequence[Entry], locations: dict[int, _Location]
    ) -> None:
        self._folder, self._entries, self._locations = folder, entries, locations
        self._dirty: set[str] = set()

    def write(self, piece: Piece, data: np.ndarray) -> None:
        location, itemsize = self._locations[piece.leaf], data.dtype.itemsize
        with open(self._folder / location.file, "r+b", buffering=0) as file:
            file.seek(location.offset + piece.start * itemsize)
            rest = memoryview(data.view(np.uint8))  # pyright: ignore[reportArgumentType]
            while rest:
                rest = rest[file.write(rest) :]
        self._dirty.add(location.file)

    def read(self, piece: Piece) -> np.ndarray:
        location, dtype = self._locations[piece.leaf], self._entries[piece.leaf].dtype
        offset = location.offset + piece.start * dtype.itemsize
        raw = np.fromfile(
            self._folder / location.file, np.uint8, piece.length * dtype.itemsize, "", offset
        )
        return raw.view(dtype)

    def sync(self) -> None:
        for file in self._dirty:
            with open(self._folder / file, "r+b") as opened:
                os.fsync(opened.fileno())
        self._dirty.clear()


def _shards(entries: Sequence[Entry], names: Sequence[str]) -> dict[str, list[int]]:
    """The arrays of each file, in the order in which they are stored.

    Wide dtypes come first, then names in their order, as the safetensors library writes them.
    """
    groups: list[list[int]] = [[]]
    size = 0
    for i, entry in enumerate(entries):
        if groups[-1] and size + entry.nbytes > SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(i)
        size += entry.nbytes
    count = len(groups)
    files = [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    return {
        "model.safetensors" if count == 1 else file: sorted(
            group, key=lambda i: (-entries[i].dtype.itemsize, names[i])
        )
        for file, group in zip(files, groups, strict=True)
    }


def _header(
    entries: Sequence[Entry], names: Sequence[str], leaves: Sequence[int]
) -> tuple[bytes, int]:
    """The header of a file, and the number of bytes that follow it."""
    described: dict[str, Any] = {"__metadata__": {"format": "flax"}}
    offset = 0
    for i in leaves:
        entry, end = entries[i], offset + entries[i].nbytes
        code = _CODES[entry.dtype.name]
        shape = list(entry.shape)
        described[names[i]] = {"dtype": code, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offset


# orbax ------------------------------------------------------------------------------------------


# Files of orbax's own. The first notes the time, so that its bytes differ between two saves of one
# plan; the second notes the folder in which orbax wrote it, and no reader asks for it.
_ORBAX_TIME, _ORBAX_PLACE = "_CHECKPOINT_METADATA", "commit_success.txt"
_ORBAX_FILES = {_ORBAX_TIME, _ORBAX_PLACE, "_METADATA", "_sharding", "array_metadatas"}
_FILES = _ORBAX_FILES | {MANIFEST, f"{MANIFEST}.new", LOGS}
_LONGEST = 255  # bytes of a file name


class Orbax:
    """A checkpoint whose description orbax writes, and whose zarr arrays tensorstore fills."""

    def refused(self, entries: Sequence[Entry], names: Sequence[str]) -> dict[str, str]:
        found, folders = {}, set(names)
        for entry, name in zip(entries, names, strict=True):
            reason = _unknown_dtype(entry.dtype) or _unfit_as_folder(name)
            above = itertools.accumulate(name.split("/")[:-1], "{}/{}".format)
            if within := next((folder for folder in above if folder in folders), None):
                reason = f"the name is a path inside the folder of {within}"
            if reason:
                found[entry.path] = reason
        return found

    def prepare(self, folder: Path, entries: Sequence[Entry], tree: Tree) -> list[str]:
        names = _describe(folder, tree)
        found = [names[i] for i in range(len(entries))]
        if bad := [name for name in found if _unfit_as_folder(name)]:
            raise ValueError(f"orbax would name arrays {', '.join(map(repr, bad))}")
        for name, entry in zip(found, entries, strict=True):
            _array(folder, name, entry, create=True)
        return found

    def described(self, folder: Path) -> dict[str, int]:
        return {
            str(path.relative_to(folder)): 0 if path.name == _ORBAX_TIME else path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file() and path.name != _ORBAX_PLACE
        }

    def store(self, folder: Path, entries: Sequence[Entry], names: Sequence[str]) -> Store:
        return _OrbaxStore(folder, entries, names)


def _unknown_dtype(dtype: np.dtype) -> str | None:
    import tensorstore

    try:
        tensorstore.dtype(dtype.name)
    except ValueError:
        return f"has no dtype {dtype}"
    return None


def _unfit_as_folder(name: str) -> str | None:
    """Why an array of this name has no folder of its own inside the checkpoint; None if it has."""
    parts = name.split("/")
    if not _is_text(name):
        return _NO_TEXT
    if name.startswith("/") or {"", ".", ".."} & set(parts):
        return "the name is a path that is empty, or leads out of the checkpoint"
    if "\\" in name or "\0" in name:
        return "the name holds a backslash or a null character"
    if parts[0] in _FILES:
        return _TAKEN
    if max(len(part.encode()) for part in parts) > _LONGEST:
        return f"the name is longer than {_LONGEST} bytes"
    return None


def _describe(folder: Path, tree: Tree) -> dict[int, str]:
    """Has orbax save the tree without its arrays, and returns orbax's name for each of them.

    They are described as NumPy arrays, which a reader may place on any devices.
    """
    import orbax.checkpoint as ocp

    names: dict[int, str] = {}

    class Described(ocp.type_handlers.TypeHandler):
        def typestr(self) -> str:
            return "np.ndarray"

        async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
            names.update((value, info.name) for value, info in zip(values, infos, strict=True))
            return []

        async def deserialize(self, infos: Any, args: Any = None) -> Any:
            raise NotImplementedError

        async def metadata(self, infos: Any) -> Any:
            raise NotImplementedError

    registry = ocp.type_handlers.create_type_handler_registry((int, Described()))
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix="jaxinit",
    )
    described = folder / "description"
    with _without_warnings():
        handler = ocp.PyTreeCheckpointHandler(
            use_ocdbt=False, type_handler_registry=registry, multiprocessing_options=alone
        )
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            checkpointer.save(described.absolute(), tree)
    for file in described.iterdir():
        shutil.move(file, folder / file.name)
    described.rmdir()
    return names


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences orbax's warning that it was given no arrays."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _array(folder: Path, name: str, entry: Entry, create: bool) -> Any:
    import tensorstore

    spec: dict[str, Any] = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": str((folder / name).absolute())},
        "dtype": entry.dtype.name,
    }
    if create:
        spec["metadata"] = {
            "shape": entry.shape,
            "chunks": [max(size, 1) for size in entry.box],
            "compressor": None,  # weights do not compress
            "dimension_separator": ".",
        }
    return tensorstore.open(spec, open=not create, create=create).result()


class _OrbaxStore:
    def __init__(self, folder: Path, entries: Sequence[Entry], names: Sequence[str]) -> None:
        self._folder, self._entries, self._names = folder, entries, names

    def _part(self, piece: Piece) -> Any:
        """The part of the zarr array that the piece fills."""
        entry = self._entries[piece.leaf]
        array = _array(self._folder, self._names[piece.leaf], entry, create=False)
        if piece.window is None:
            return array
        first = np.unravel_index(piece.start, entry.shape)
        sizes = [*entry.box]
        sizes[entry.axis] = piece.length // math.prod(entry.box[entry.axis + 1 :])
        return array[tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))]

    def write(self, piece: Piece, data: np.ndarray) -> None:
        part = self._part(piece)
        part.write(data.reshape(part.shape)).result()  # on disk when it returns

    def read(self, piece: Piece) -> np.ndarray:
        return self._part(piece).read().result().reshape(-1)

    def sync(self) -> None:
        pass


FormatName = Literal["orbax", "safetensors"]
FORMATS: dict[str, Format] = {"orbax": Orbax(), "safetensors": Safetensors()}

"""Reads the arrays of an orbax or safetensors checkpoint, in windows of at most 128 MiB.

A checkpoint may come from anywhere, so nothing in it is believed: names are data and never lead out
of its folder, and the sizes that it claims are compared with what is on disk before any memory is
taken. What cannot be read is a ValueError of one line.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from .. import _text
from .windows import WINDOW_BYTES, Windowed

_INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 100 * 10**6  # bytes; the limit that safetensors has itself
_STRONGEST_COMPRESSION = 50_000  # zstd writes 128 KiB of one value as a few bytes
_CODES = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "BOOL": np.dtype(bool),
    "C64": np.dtype(np.complex64),
}


def stored_arrays(call: str, path: str | os.PathLike[str]) -> Iterator[tuple[str, Windowed]]:
    """Each array of a checkpoint with its path, joined by "/".

    Args:
      call: the call that errors name.
      path: a safetensors file, a folder of them, or an orbax checkpoint.

    Raises:
      FileNotFoundError: there is nothing at ``path``.
      ValueError: what is there is no checkpoint, or a damaged one.
    """
    place = Path(path).absolute()
    if not place.exists():
        raise FileNotFoundError(f"{call}: there is no checkpoint {os.fspath(path)!r}.")
    if place.is_file():
        return _Files(call).arrays([place])
    if (place / _INDEX).is_file():
        return _Files(call).arrays(_indexed(call, place))
    if files := sorted(place.glob("*.safetensors")):
        return _Files(call).arrays(files)
    if (place / "_METADATA").is_file():
        return _Orbax(call, place).arrays()
    raise ValueError(
        f"{call}: {os.fspath(path)!r} is no checkpoint: it holds neither safetensors files nor "
        f"orbax's _METADATA. Give the folder of one step, as CKPT/100/default."
    )


def _damaged(call: str, file: Path, why: str) -> NoReturn:
    raise ValueError(f"{call}: {str(file)!r} cannot be read: {_text.visible(why)}.") from None


def _json(call: str, file: Path, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "it is no JSON"
        _damaged(call, file, f"{reason}, or it was cut off")


def _sizes(value: Any) -> tuple[int, ...] | None:
    """The value as a shape, where it is one."""
    fine = isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
    return tuple(value) if fine else None


def _indexed(call: str, folder: Path) -> list[Path]:
    """The files that the index of a folder names."""
    index = folder / _INDEX
    found = _json(call, index, index.read_bytes())
    named = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(named, dict) or not all(isinstance(n, str) for n in named.values()):
        _damaged(call, index, "it has no weight_map from names to files")
    files = []
    for name in sorted(set(named.values())):
        if Path(name).name != name or "\0" in name:
            _damaged(call, index, f"it names {name!r}, which is not a file of its own folder")
        if not (folder / name).is_file():
            _damaged(call, index, f"it names {name!r}, which is not there")
        files.append(folder / name)
    return files


class _Files:
    """The arrays of safetensors files: a length, a header in JSON, then the bytes."""

    def __init__(self, call: str) -> None:
        self._call = call

    def arrays(self, files: list[Path]) -> Iterator[tuple[str, Windowed]]:
        found = [(file, *self._header(file)) for file in files]  # all are checked first
        for file, start, header in found:
            for name, entry in header.items():
                yield name.replace(".", "/"), self._array(file, start, name, entry)

    def _header(self, file: Path) -> tuple[int, dict[str, Any]]:
        """Where the bytes begin, and what is said of each array."""
        held = file.stat().st_size
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if held < 8 or length > min(held - 8, _LONGEST_HEADER):
                _damaged(self._call, file, "it is no safetensors file, or it was cut off")
            header = _json(self._call, file, opened.read(length))
        if not isinstance(header, dict):
            _damaged(self._call, file, "its header is no mapping from names to arrays")
        header.pop("__metadata__", None)
        for name, entry in header.items():
            self._check(file, held - 8 - length, name, entry)
        return 8 + length, header

    def _check(self, file: Path, held: int, name: str, entry: Any) -> None:
        """Compares what the header says of an array with the size of the file."""
        code, shape, ends = (
            entry.get(key) if isinstance(entry, dict) else None
            for key in ("dtype", "shape", "data_offsets")
        )
        sizes, offsets = _sizes(shape), _sizes(ends)
        if sizes is None or offsets is None or len(offsets) != 2 or not isinstance(code, str):
            _damaged(self._call, file, f"{name!r} has no dtype, shape and data_offsets")
        if code not in _CODES:
            _damaged(self._call, file, f"{name!r} has dtype {code!r}, which is not known here")
        start, end = offsets
        claimed = math.prod(sizes) * _CODES[code].itemsize
        if not start <= end <= held or end - start != claimed:
            _damaged(
                self._call,
                file,
                f"{name!r} claims {claimed:,} bytes at {start:,} to {end:,} of {held:,}; it was "
                f"cut off or is damaged",
            )

    def _array(self, file: Path, start: int, name: str, entry: Mapping[str, Any]) -> Windowed:
        dtype, shape = _CODES[entry["dtype"]], tuple(entry["shape"])
        size, offset = math.prod(shape), start + entry["data_offsets"][0]
        step = WINDOW_BYTES // dtype.itemsize

        def windows() -> Iterator[np.ndarray]:
            for first in range(0, size, step):
                count = min(step, size - first) * dtype.itemsize
                raw = np.fromfile(file, np.uint8, count, "", offset + first * dtype.itemsize)
                if raw.size != count:
                    _damaged(self._call, file, f"{name!r} ends early; the file changed meanwhile")
                yield raw.view(dtype)

        return Windowed(shape, dtype, windows)


class _Orbax:
    """The arrays of an orbax checkpoint, which tensorstore reads; its _METADATA names them."""

    def __init__(self, call: str, folder: Path) -> None:
        self._call, self._folder, self._file = call, folder, folder / "_METADATA"
        files = (file for file in folder.rglob("*") if file.is_file())
        self._held = sum(file.stat().st_size for file in files)

    def arrays(self) -> Iterator[tuple[str, Windowed]]:
        found = _json(self._call, self._file, self._file.read_bytes())
        entries = found.get("tree_metadata") if isinstance(found, dict) else None
        if not isinstance(entries, dict):
            _damaged(self._call, self._file, "it has no tree_metadata")
        named = [self._keys(entry) for entry in entries.values()]
        driver = "zarr3" if found.get("use_zarr3") is True else "zarr"
        for keys in filter(None, named):
            yield "/".join(keys), self._array(".".join(keys), driver, found.get("use_ocdbt", True))

    def _keys(self, entry: Any) -> list[str] | None:
        """The keys of an array's path; None of an empty container, which is written too."""
        try:
            keys = [str(part["key"]) for part in entry["key_metadata"]]
            skipped = bool(entry["value_metadata"]["skip_deserialize"])
        except (TypeError, KeyError):
            _damaged(self._call, self._file, "an entry of its tree_metadata has no keys")
        return None if skipped else keys

    def _array(self, name: str, driver: str, is_database: bool) -> Windowed:
        import tensorstore

        if is_database:
            store = {"driver": "ocdbt", "base": self._folder.as_uri(), "path": f"{name}/"}
        else:
            place = (self._folder / name).resolve()
            if self._folder.resolve() not in place.parents:
                _damaged(self._call, self._file, f"it names {name!r}, outside of its folder")
            store = {"driver": "file", "path": f"{place}/"}
        try:
            spec = {"driver": driver, "kvstore": store}
            array = tensorstore.open(spec, open=True).result()
        except (ValueError, OSError, TypeError) as error:
            _damaged(self._call, self._folder, f"array {name!r}: {_reason(error)}")
        dtype = np.dtype(array.dtype.numpy_dtype)
        chunk = array.chunk_layout.read_chunk.shape or ()
        most = _STRONGEST_COMPRESSION * self._held
        for what, sizes, limit in (
            ("it claims", array.shape, most),
            ("a chunk of it claims", chunk, min(most, _memory())),
        ):
            claimed = math.prod(n or 0 for n in sizes) * dtype.itemsize
            if claimed > limit:
                _damaged(
                    self._call,
                    self._folder,
                    f"array {name!r}: {what} {_text.size(claimed)}, and the folder holds "
                    f"{_text.size(self._held)}",
                )
        return Windowed(tuple(array.shape), dtype, lambda: self._windows(array, name))

    def _windows(self, array: Any, name: str) -> Iterator[np.ndarray]:
        """Bands of whole rows, of one chunk or of as many as a window holds."""
        if not array.shape:
            yield np.asarray(array.read().result()).reshape(-1)
            return
        row = math.prod(array.shape[1:]) * np.dtype(array.dtype.numpy_dtype).itemsize
        rows = (array.chunk_layout.read_chunk.shape or (1,))[0]
        # A chunk is read as a whole each time, so that a band holds whole chunks.
        step = max(WINDOW_BYTES // max(row, 1) // rows, 1) * rows
        for first in range(0, array.shape[0], step):
            try:
                band = array[first : min(first + step, array.shape[0])].read().result()
            except (ValueError, OSError) as error:
                _damaged(self._call, self._folder, f"array {name!r}: {_reason(error)}")
            yield np.asarray(band).reshape(-1)


def _memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _reason(error: BaseException) -> str:
    """The first sentence of an error of tensorstore, without the places in its source."""
    return str(error).splitlines()[0].partition(" [")[0].rstrip(".")[:200]

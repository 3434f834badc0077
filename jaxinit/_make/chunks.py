"""Pieces: how a tree is divided into parts that fit into memory, and how each is made.

A leaf is one piece; a leaf larger than ``PIECE_BYTES`` is cut into boxes of one range of rows,
which lie side by side in memory and on disk. One that cannot be made in parts is one piece too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from .._random.stream import is_typed_key
from .compile import Maker, block
from .recording import Recording

# Held at once: a piece being made, one being written, and a copy on its way: under 512 MB.
PIECE_BYTES = 128 * 2**20
_FEWEST = 256  # a leaf whose parts would be smaller than this share of a piece is made whole


class Entry(NamedTuple):
    """A leaf as it is stored: keys as their data; ``box`` is the shape of its pieces."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    box: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def axis(self) -> int:
        """The axis of whose rows a box has a range."""
        return next((a for a, rows in enumerate(self.box) if rows > 1), len(self.box) - 1)


class Piece(NamedTuple):
    """A range of flat indices of a leaf, and of the window that it is cut from."""

    leaf: int
    start: int
    length: int
    window: int | None = None  # where a window of a whole box starts; None: the leaf itself


def entries(recording: Recording) -> list[Entry]:
    """What is stored of each leaf."""
    found = []
    for i, leaf in enumerate(recording.leaves):
        aval = recording.program.outputs[i].aval
        keys = is_typed_key(aval)
        if keys:
            aval = jax.eval_shape(jax.random.key_data, aval)
        box = aval.shape
        if leaf.nbytes > PIECE_BYTES and not keys and (rows := _block(recording, i)):
            box = _box(aval.shape, np.dtype(aval.dtype).itemsize, rows)
        found.append(Entry(leaf.path, tuple(aval.shape), np.dtype(aval.dtype), box))
    return found


def _block(recording: Recording, index: int) -> int | None:
    """The size of the blocks in which windows of the leaf lie; None where there are none."""
    return None if recording.whole else block(recording, index, PIECE_BYTES)


def _box(shape: tuple[int, ...], itemsize: int, block: int) -> tuple[int, ...]:
    """One range of rows of one axis, of all axes behind it, and of one place of those before."""
    for axis, size in enumerate(shape):
        rest = math.prod(shape[axis + 1 :])
        if rest * itemsize <= PIECE_BYTES and block % (size * rest) == 0:
            parts = -(-size // (PIECE_BYTES // (rest * itemsize)))
            box = (1,) * axis + (-(-size // parts),) + shape[axis + 1 :]
            return box if math.prod(box) * itemsize * _FEWEST >= PIECE_BYTES else shape
    return shape


def pieces(leaf: int, entry: Entry) -> Iterator[Piece]:
    """The pieces of a leaf, in the order of their indices."""
    size, length = math.prod(entry.shape), math.prod(entry.box)
    if entry.box == entry.shape:
        yield Piece(leaf, 0, size)
        return
    block = math.prod(entry.shape[entry.axis :])
    for first in range(0, size, block):
        for start in range(first, first + block, length):
            end = min(start + length, first + block)
            yield Piece(leaf, start, end - start, max(end - length, first))


def make(maker: Maker, piece: Piece) -> np.ndarray:
    """The piece's elements, flat."""
    if piece.window is None:
        return stored(maker.leaf(piece.leaf))
    skipped = piece.start - piece.window  # a last piece shares the program of the others
    return np.asarray(maker.window(piece.leaf, piece.window, skipped + piece.length))[skipped:]


def stored(leaf: jax.Array) -> np.ndarray:
    """A leaf's elements as they are stored, flat."""
    return np.asarray(jax.random.key_data(leaf) if is_typed_key(leaf) else leaf).reshape(-1)

"""Cuts a tree of parameters into pieces that fit into memory, and makes each piece.

Three words have one meaning each in this folder:

- a *piece* is what is made, written and checked at one time: an array, or a range of rows of an
  array larger than ``PIECE_BYTES``;
- a *window* is a range of an array's flat, row-major indices that is computed without the rest of
  the array (see ``partial``); a piece of a large array is computed as a window;
- a *box* is the shape of an array's pieces, in as many axes as the array has.

For example, with ``PIECE_BYTES = 400_000`` a float32 array of shape (1000, 300) has 1,200,000 bytes
and is cut into four pieces of the box (250, 300): the windows of 75,000 elements that start at the
flat indices 0, 75,000, 150,000 and 225,000. An array that cannot be computed in windows is one
piece, whatever its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from .._random.stream import is_typed_key
from .compile import Maker, window_block
from .recording import Recording

# A save holds a piece that is being made, one that is being written and a copy: under 512 MB.
PIECE_BYTES = 128 * 2**20
_FEWEST = 256  # an array is not cut into pieces smaller than PIECE_BYTES / _FEWEST


class Entry(NamedTuple):
    """An array as it is stored; random keys are stored as their data.

    Attributes:
      path: its path in the tree, joined by "/".
      shape: the shape that is stored.
      dtype: the dtype that is stored.
      box: the shape of its pieces.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    box: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def axis(self) -> int:
        """The axis along which the array is cut: the first along which a box is longer than 1."""
        return next((a for a, rows in enumerate(self.box) if rows > 1), len(self.box) - 1)


class Piece(NamedTuple):
    """A range of flat indices of an array.

    Attributes:
      leaf: the array, as a position in the plan's leaves.
      start: the first flat index.
      length: how many elements.
      window: the first flat index of the window that the piece is computed in, which has the size
        of a box; None if the piece is the whole array.
    """

    leaf: int
    start: int
    length: int
    window: int | None = None


def entries(recording: Recording) -> list[Entry]:
    """How each array of a recording is stored."""
    found = []
    for i, leaf in enumerate(recording.leaves):
        aval = recording.program.outputs[i].aval
        keys = is_typed_key(aval)
        if keys:
            aval = jax.eval_shape(jax.random.key_data, aval)
        box = aval.shape
        if leaf.nbytes > PIECE_BYTES and not keys and not recording.whole:
            block = window_block(recording, i, PIECE_BYTES)
            if block is not None:
                box = _box(aval.shape, np.dtype(aval.dtype).itemsize, block)
        found.append(Entry(leaf.path, tuple(aval.shape), np.dtype(aval.dtype), box))
    return found


def _box(shape: tuple[int, ...], itemsize: int, block: int) -> tuple[int, ...]:
    """The box of an array whose windows must not cross blocks of ``block`` elements.

    It takes one index of some leading axes, a range of the next axis, and all of the axes behind
    it, so that its elements are contiguous in the array.
    """
    for axis, size in enumerate(shape):
        rest = math.prod(shape[axis + 1 :])
        if rest * itemsize <= PIECE_BYTES and block % (size * rest) == 0:
            parts = -(-size // (PIECE_BYTES // (rest * itemsize)))
            box = (1,) * axis + (-(-size // parts),) + shape[axis + 1 :]
            return box if math.prod(box) * itemsize * _FEWEST >= PIECE_BYTES else shape
    return shape


def cut(leaf: int, entry: Entry) -> Iterator[Piece]:
    """The pieces of an array, in the order of their indices."""
    size, length = math.prod(entry.shape), math.prod(entry.box)
    if entry.box == entry.shape:
        yield Piece(leaf, 0, size)
        return
    stride = math.prod(entry.shape[entry.axis :])
    for first in range(0, size, stride):
        for start in range(first, first + stride, length):
            end = min(start + length, first + stride)
            yield Piece(leaf, start, end - start, window=max(end - length, first))


def make(maker: Maker, piece: Piece) -> np.ndarray:
    """Computes the elements of a piece, as a flat array."""
    if piece.window is None:
        return stored(maker.leaf(piece.leaf))
    # The last piece may be shorter. Its window is not, so that one compiled program serves all.
    skipped = piece.start - piece.window
    return np.asarray(maker.window(piece.leaf, piece.window, skipped + piece.length))[skipped:]


def stored(leaf: jax.Array) -> np.ndarray:
    """The elements of an array as they are stored, flat."""
    return np.asarray(jax.random.key_data(leaf) if is_typed_key(leaf) else leaf).reshape(-1)

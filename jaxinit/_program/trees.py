"""Takes pytrees apart: the arrays with their paths, and everything in them that is not an array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax

Tree = Any
KeyPath = tuple[Any, ...]


def has_shape(x: Any) -> bool:
    """Whether ``x`` is an array, or stands for one, like a ``ShapeDtypeStruct``."""
    return hasattr(x, "shape") and hasattr(x, "dtype")


def is_number(x: Any) -> bool:
    """Whether ``x`` is a Python number, which ``jax.jit`` would turn into an array."""
    return isinstance(x, bool | int | float | complex) and not has_shape(x)


def path_text(path: KeyPath) -> str:
    """A path as text, its keys joined by "/": layers/0/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def arrays(tree: Tree) -> list[tuple[str, Any]]:
    """The arrays of a tree, each with its path; everything else is left out.

    A path ends at the first node that has a shape, so a variable of ``flax.nnx`` has the path of
    the parameter that it holds.
    """
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree, is_leaf=has_shape)[0]:
        inner = jax.tree_util.tree_flatten_with_path(leaf)[0]
        for rest, x in inner:
            whole = path if len(inner) == 1 else (*path, *rest)
            found.append((path_text(whole), x))
    return [(path, x) for path, x in found if has_shape(x)]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A tree without its arrays: its structure and the leaves that are not arrays.

    A Python number counts as an array where the tree is saved or compiled. Where the tree is
    rebuilt, it comes back as the same Python number.

    Attributes:
      structure: the tree's structure, as ``jax.tree.flatten`` gives it.
      paths: the path of each array, in the order of the tree.
      aside: position among the tree's leaves -> the leaf there that is not an array.
      numbers: position among the arrays -> the Python number there.
    """

    structure: Any
    paths: tuple[str, ...]
    aside: Mapping[int, Any]
    numbers: Mapping[int, Any]

    @staticmethod
    def of(tree: Tree) -> tuple[Skeleton, list[Any]]:
        """The skeleton of a tree, and its arrays and numbers."""
        flat, structure = jax.tree_util.tree_flatten_with_path(tree)
        aside = {i: x for i, (_, x) in enumerate(flat) if not (has_shape(x) or is_number(x))}
        kept = [(path_text(path), x) for i, (path, x) in enumerate(flat) if i not in aside]
        numbers = {i: x for i, (_, x) in enumerate(kept) if is_number(x)}
        paths = tuple(path for path, _ in kept)
        return Skeleton(structure, paths, aside, numbers), [x for _, x in kept]

    def filled(self, arrays: Iterable[Any]) -> Tree:
        """The tree with these in the places of its arrays and numbers."""
        given = iter(arrays)
        places = range(self.structure.num_leaves)
        items = [self.aside[i] if i in self.aside else next(given) for i in places]
        return jax.tree.unflatten(self.structure, items)

    def restored(self, arrays: Iterable[Any]) -> Tree:
        """The tree with these in the places of its arrays, and with the numbers that it had."""
        return self.filled(self.numbers.get(i, x) for i, x in enumerate(arrays))

    def indices(self) -> Tree:
        """The tree with the index of each array in its place, and None for other leaves."""
        bare = Skeleton(self.structure, self.paths, dict.fromkeys(self.aside), {})
        return bare.filled(range(len(self.paths)))

    def select(self, items: Iterable[Any]) -> Iterator[Any]:
        """Given one item for each leaf of the tree, the items of the arrays."""
        return (item for i, item in enumerate(items) if i not in self.aside)

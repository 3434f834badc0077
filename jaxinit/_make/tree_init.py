"""Makes parameters from a tree of shapes and rules that match paths, without a model.

The random key of a parameter is folded from its path, so a parameter depends on the key, its path
and its rule alone: adding or removing a layer changes no other parameter.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax

from .._random.stream import check_key

Tree = Any
Init = Callable[..., jax.Array]
Rules = Sequence[tuple[str, Init]] | Callable[[str, Any], Init | None]
Entries = tuple[str, ...]


def tree_init(
    key: jax.Array, shapes: Tree, rules: Rules, *, only_missing: Tree | None = None
) -> Tree:
    """Makes a tree of parameters, each by the first rule that matches its path.

    Args:
      key: one JAX random key. The parameter at a path draws from
        ``fold_in(fold_in(key, a), b)``, where a and b are the first two big-endian 32-bit words of
        the SHA-256 of the path's entries, each preceded by its length.
      shapes: a pytree whose leaves have ``shape`` and ``dtype``: ShapeDtypeStructs, arrays, or the
        metadata of a checkpoint. If a ShapeDtypeStruct has a sharding, its parameter gets it.
      rules: a list of (regular expression, initializer), tried in order; an expression matches if
        it is found anywhere in the path, which is joined by "/". Or a function of (path, struct)
        that returns an initializer.
      only_missing: a tree of the same structure, or a part of one. Its arrays are kept as they are,
        and only what it lacks, or holds as None, is made.

    Returns:
      A tree of arrays with the structure of ``shapes``.

    Raises:
      ValueError: parameters that no rule matches, rules that match no parameter, or arrays of
        ``only_missing`` that do not fit (all are listed); two paths with the same hash.
      TypeError: a leaf without shape or dtype, or a key that is not one.

    Example:
      >>> import jax, jaxinit
      >>> shapes = {"dense": {"kernel": jax.ShapeDtypeStruct((4, 8), "bfloat16"),
      ...                     "bias": jax.ShapeDtypeStruct((8,), "float32")}}
      >>> rules = [("bias$", jaxinit.zeros), ("kernel$", jaxinit.he_normal)]
      >>> jaxinit.tree_init(jax.random.key(0), shapes, rules)["dense"]["kernel"].dtype.name
      'bfloat16'
    """
    check_key("tree_init", key)
    flat, structure = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=_is_struct)
    leaves = [(_entries(path), struct) for path, struct in flat]
    bad = ["/".join(entries) for entries, struct in leaves if not _is_struct(struct)]
    if bad:
        raise TypeError(
            f"tree_init: each leaf of shapes needs a shape and a dtype, as jax.ShapeDtypeStruct; "
            f"these have none: {', '.join(bad)}."
        )
    hashes = _hashes(entries for entries, _ in leaves)
    kept = {} if only_missing is None else _kept(only_missing, dict(leaves))
    chosen = _chosen(leaves, rules, kept)
    makers: dict[Any, Callable[[jax.Array], jax.Array]] = {}
    made = [
        kept[entries]
        if entries in kept
        else _make(_leaf_key(key, hashes[entries]), chosen[entries], struct, makers)
        for entries, struct in leaves
    ]
    return jax.tree.unflatten(structure, made)


def _is_struct(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def _entries(path: Any) -> Entries:
    return tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path)


def path_hash(entries: Entries) -> int:
    """A 64-bit hash of a path.

    Each entry is preceded by its length, so ("a", "b") and ("a/b",) have different hashes.
    """
    digest = hashlib.sha256()
    for entry in entries:
        raw = entry.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return int.from_bytes(digest.digest()[:8], "big")


def _hashes(paths: Any) -> dict[Entries, int]:
    """The hash of each path; raises if two are the same."""
    hashes = {entries: path_hash(entries) for entries in paths}
    counts = Counter(hashes.values())
    same = ["/".join(entries) for entries, value in hashes.items() if counts[value] > 1]
    if same:
        raise ValueError(
            f"tree_init: these paths have the same hash and would get the same weights: "
            f"{', '.join(same)}; rename one."
        )
    return hashes


def _leaf_key(key: jax.Array, value: int) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, value >> 32), value & 0xFFFFFFFF)


def _kept(given: Tree, expected: dict[Entries, Any]) -> dict[Entries, Any]:
    """The arrays of ``given`` by path, after checking them against the shapes."""
    flat, _ = jax.tree_util.tree_flatten_with_path(given)
    found = {_entries(path): leaf for path, leaf in flat}
    wrong = []
    for entries, leaf in found.items():
        struct, path = expected.get(entries), "/".join(entries)
        if struct is None:
            wrong.append(f"{path} (not in shapes)")
        elif (leaf.shape, leaf.dtype) != (tuple(struct.shape), struct.dtype):
            wrong.append(
                f"{path} ({leaf.dtype}{list(leaf.shape)} for {struct.dtype}{list(struct.shape)})"
            )
    if wrong:
        raise ValueError(f"tree_init: leaves of only_missing do not fit: {', '.join(wrong)}.")
    return found


def _chosen(
    leaves: Sequence[tuple[Entries, Any]], rules: Rules, kept: dict[Entries, Any]
) -> dict[Entries, Init]:
    """The initializer of each parameter that is to be made."""
    choose = rules if callable(rules) else _by_expression(rules, leaves)
    chosen = {
        entries: choose("/".join(entries), struct)
        for entries, struct in leaves
        if entries not in kept
    }
    unmatched = ["/".join(entries) for entries, init in chosen.items() if init is None]
    if unmatched:
        raise ValueError(
            f"tree_init: no rule matches {', '.join(unmatched)}; add one, or end the rules with "
            f'(".*", initializer).'
        )
    return {entries: init for entries, init in chosen.items() if init is not None}


def _by_expression(
    rules: Sequence[tuple[str, Init]], leaves: Sequence[tuple[Entries, Any]]
) -> Callable[[str, Any], Init | None]:
    """A function that chooses the first matching rule; raises if a rule matches no path."""
    try:
        compiled = [(re.compile(expression), init) for expression, init in rules]
    except (TypeError, ValueError, re.error) as error:
        raise ValueError(
            f"tree_init: rules must be (regular expression, initializer) pairs; {error}."
        ) from None
    paths = ["/".join(entries) for entries, _ in leaves]
    idle = [e.pattern for e, _ in compiled if not any(e.search(path) for path in paths)]
    if idle:
        raise ValueError(
            f"tree_init: these rules match no leaf: {', '.join(map(repr, idle))}; "
            f"the paths are {', '.join(paths)}."
        )

    def choose(path: str, struct: Any) -> Init | None:
        return next((init for expression, init in compiled if expression.search(path)), None)

    return choose


def _make(
    key: jax.Array, init: Init, struct: Any, makers: dict[Any, Callable[[jax.Array], jax.Array]]
) -> jax.Array:
    """Makes one parameter; those that have a sharding and are alike share a compiled program."""
    shape, dtype = tuple(struct.shape), struct.dtype
    sharding = struct.sharding if isinstance(struct, jax.ShapeDtypeStruct) else None
    if sharding is None:
        return init(key, shape, dtype)
    alike = id(init), shape, dtype, sharding
    if alike not in makers:
        makers[alike] = jax.jit(lambda key: init(key, shape, dtype), out_shardings=sharding)
    return makers[alike](key)

"""Makes parameters from a tree of shapes and rules that match paths, without a model.

The random key of a parameter is folded from its path, so a parameter depends on the key, its path
and its rule alone: adding or removing a layer changes no other parameter.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey

from .._program.misuse import kind
from .._program.trees import has_shape
from .._random.stream import check_key, fold_in
from ..initializers import get

Tree = Any
Init = Callable[..., jax.Array]
Rule = Init | str | Mapping[str, Any]  # an initializer, its name, or its config
Rules = Sequence[tuple[str, Rule]] | Mapping[str, Rule] | Callable[[str, Any], Rule | None]
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
        metadata of a checkpoint. It may be an ``nnx.State``, whose variables stay variables, or an
        Equinox module, whose functions and other fields that are not arrays stay as they are. If a
        ShapeDtypeStruct has a sharding, its parameter gets it.
      rules: a list of (regular expression, initializer) or a dict of them, tried in order; an
        expression matches if it is found anywhere in the path, which is joined by "/". Or a
        function of (path, struct) that returns an initializer. A name such as "he_normal", or a
        config, stands for the initializer that ``initializers.get`` makes of it.
      only_missing: a tree of the same structure, or a part of one. Its arrays are kept as they are,
        and only what it lacks, or holds as None, is made.

    Returns:
      A tree of arrays with the structure of ``shapes``.

    Raises:
      ValueError: parameters that no rule matches, rules that match no parameter, or arrays of
        ``only_missing`` that do not fit (all are listed); an unknown name; two paths with the same
        hash.
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
    nodes, structure = _nodes(shapes)
    bad = ["/".join(node.entries) for node in nodes if node.is_misfit]
    if bad:
        raise TypeError(
            f"tree_init: each leaf of shapes needs a shape and a dtype, as jax.ShapeDtypeStruct; "
            f"these have none: {', '.join(bad)}."
        )
    leaves = [(node.entries, node.leaf) for node in nodes if has_shape(node.leaf)]
    hashes = _hashes(entries for entries, _ in leaves)
    kept = {} if only_missing is None else _kept(only_missing, dict(leaves))
    chosen = _chosen(leaves, rules, kept)
    makers: dict[Any, Callable[[jax.Array], jax.Array]] = {}

    def filled(node: _Node) -> Any:
        if node.entries in kept:
            return node.boxed(kept[node.entries])
        if not has_shape(node.leaf):
            return node.leaf
        own = _leaf_key(key, hashes[node.entries])
        return node.boxed(
            _make(own, "/".join(node.entries), chosen[node.entries], node.leaf, makers)
        )

    return jax.tree.unflatten(structure, [filled(node) for node in nodes])


class _Node(NamedTuple):
    """A leaf of a tree, or a variable of ``flax.nnx`` with what it holds.

    Attributes:
      entries: its path.
      leaf: the leaf; of a variable, what it holds.
      box: the structure of the variable around it, if there is one.
      in_object: whether it is a field of an object, as of an Equinox module.
    """

    entries: Entries
    leaf: Any
    box: Any
    in_object: bool

    @property
    def is_misfit(self) -> bool:
        """Whether it is neither a parameter nor what a module may hold besides parameters."""
        return not (has_shape(self.leaf) or self.in_object or callable(self.leaf))

    def boxed(self, made: jax.Array) -> Any:
        """The parameter, in its variable if it had one."""
        return made if self.box is None else jax.tree.unflatten(self.box, [made])


def _nodes(tree: Tree) -> tuple[list[_Node], Any]:
    """The nodes of a tree, and its structure."""
    flat, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=has_shape)
    found = []
    for path, x in flat:
        inner, box = jax.tree.flatten(x)
        is_box = len(inner) == 1 and inner[0] is not x and has_shape(inner[0])
        found.append(
            _Node(
                entries=tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path),
                leaf=inner[0] if is_box else x,
                box=box if is_box else None,
                in_object=bool(path) and isinstance(path[-1], GetAttrKey),
            )
        )
    return found, structure


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
    return fold_in(fold_in(key, value >> 32), value & 0xFFFFFFFF)


def _kept(given: Tree, expected: dict[Entries, Any]) -> dict[Entries, Any]:
    """The arrays of ``given`` by path, after checking them against the shapes."""
    if isinstance(given, str | int | float):
        raise TypeError(f"tree_init: only_missing must be a tree of arrays; got {kind(given)}.")
    found = {node.entries: node.leaf for node in _nodes(given)[0] if has_shape(node.leaf)}
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
    if callable(rules) and not _is_initializer(rules) and not _is_of_path(rules):
        raise TypeError(
            f"tree_init: rules must be pairs of a regular expression and an initializer, or a "
            f"function of (path, struct); got {_call(rules)}. If that makes an initializer, call "
            f'it and write [(".*", initializer)].'
        )
    if isinstance(rules, str) or _is_initializer(rules):
        raise TypeError(
            "tree_init: rules must be pairs of a regular expression and an initializer, or a "
            "function of (path, struct); got one initializer. For all parameters write "
            '[(".*", initializer)].'
        )
    choose = _by_function(rules) if callable(rules) else _by_expression(rules, leaves)
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


def _is_initializer(rules: Any) -> bool:
    """Whether it is a function of (key, shape), and so an initializer where rules should be."""
    try:
        taken = list(inspect.signature(rules).parameters) if callable(rules) else []
    except ValueError:  # one written in C, say, does not tell what it takes
        return False
    return taken[:2] == ["key", "shape"]


def _is_of_path(rules: Callable[..., Any]) -> bool:
    """Whether it can be called with a path and a struct, and its first parameter has no default.

    A factory such as he_normal, given by mistake, has defaults for all its parameters.
    """
    try:
        taken = inspect.signature(rules)
        taken.bind("", None)
    except TypeError:
        return False
    except ValueError:  # it does not tell
        return True
    return next(iter(taken.parameters.values())).default is inspect.Parameter.empty


def _call(function: Callable[..., Any]) -> str:
    """A function and what it takes."""
    taken = ", ".join(inspect.signature(function).parameters)
    return f"{getattr(function, '__name__', type(function).__name__)}({taken})"


def _initializer(rule: str, given: Any) -> Init:
    """The initializer that a rule names, or is."""
    try:
        return get(given)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix("get: ")
        raise type(error)(f"tree_init: the rule for {rule!r}: {reason}") from None


def _by_function(
    rules: Callable[[str, Any], Rule | None],
) -> Callable[[str, Any], Init | None]:
    """The user's function, with names that it returns made initializers."""

    def choose(path: str, struct: Any) -> Init | None:
        found = rules(path, struct)
        return None if found is None else _initializer(path, found)

    return choose


def _by_expression(
    rules: Sequence[tuple[str, Rule]] | Mapping[str, Rule], leaves: Sequence[tuple[Entries, Any]]
) -> Callable[[str, Any], Init | None]:
    """A function that chooses the first matching rule; raises if a rule matches no path."""
    pairs = rules.items() if isinstance(rules, Mapping) else rules
    try:
        given = [(re.compile(expression), rule) for expression, rule in pairs]
    except (TypeError, ValueError, re.error) as error:
        raise ValueError(
            f"tree_init: rules must be (regular expression, initializer) pairs; {error}."
        ) from None
    compiled = [(expression, _initializer(expression.pattern, rule)) for expression, rule in given]
    paths = ["/".join(entries) for entries, _ in leaves]
    idle = [e.pattern for e, _ in compiled if not any(e.search(path) for path in paths)]
    if idle:
        raise ValueError(
            f"tree_init: these rules match no leaf: {', '.join(map(repr, idle))}; "
            f"the paths are {', '.join(paths) or 'none, as shapes holds no arrays'}."
        )

    def choose(path: str, struct: Any) -> Init | None:
        return next((init for expression, init in compiled if expression.search(path)), None)

    return choose


def _make(
    key: jax.Array,
    path: str,
    init: Init,
    struct: Any,
    makers: dict[Any, Callable[[jax.Array], jax.Array]],
) -> jax.Array:
    """Makes one parameter; those that have a sharding and are alike share a compiled program."""
    shape, dtype = tuple(struct.shape), struct.dtype
    sharding = struct.sharding if isinstance(struct, jax.ShapeDtypeStruct) else None
    alike = id(init), shape, dtype, sharding
    try:
        if sharding is None:
            made = init(key, shape, dtype)
        else:
            if alike not in makers:
                makers[alike] = jax.jit(lambda key: init(key, shape, dtype), out_shardings=sharding)
            made = makers[alike](key)
    except (TypeError, ValueError) as error:
        error.add_note(f"It was to make {path!r}, by a rule of tree_init.")
        raise
    is_key = jnp.issubdtype(dtype, jax.dtypes.extended)
    wanted = dtype if is_key else jax.dtypes.canonicalize_dtype(dtype)  # float32 without x64
    if not has_shape(made) or (made.shape, made.dtype) != (shape, wanted):
        found = f"{made.dtype}{list(made.shape)}" if has_shape(made) else repr(made)[:40]
        raise ValueError(
            f"tree_init: the initializer of {path!r} made {found} for {dtype}{list(shape)}."
        )
    return made

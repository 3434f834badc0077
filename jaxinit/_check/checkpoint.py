"""Checkpoints: the leaves of an orbax or safetensors checkpoint, read one at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np


def stored_leaves(call: str, path: str | os.PathLike[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each leaf by its path, joined by "/"; one is held at a time.

    ``path`` is a safetensors file, a folder of them with their index, or an orbax checkpoint.
    Raises FileNotFoundError or ValueError for anything else.
    """
    place = Path(path).absolute()
    if not place.exists():
        raise FileNotFoundError(f"{call}: there is no checkpoint {os.fspath(path)!r}.")
    if place.is_file():
        return _safetensors([place])
    index = place / "model.safetensors.index.json"
    if index.exists():
        names = json.loads(index.read_text())["weight_map"].values()
        return _safetensors([place / name for name in sorted(set(names))])
    files = sorted(place.glob("*.safetensors"))
    if files:
        return _safetensors(files)
    if (place / "_METADATA").exists() or (place / "_CHECKPOINT_METADATA").exists():
        return _orbax(place)
    raise ValueError(
        f"{call}: {os.fspath(path)!r} is no checkpoint: it holds neither safetensors files nor "
        f"orbax's _METADATA. Give the folder of one step, as CKPT/100/default."
    )


def _safetensors(files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    from safetensors import safe_open

    for file in files:
        # By way of JAX, as NumPy has no bfloat16 of its own.
        with safe_open(file, framework="flax") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                yield name.replace(".", "/"), np.asarray(opened.get_tensor(name))


def _orbax(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        tree: Any = checkpointer.metadata(folder).item_metadata.tree  # type: ignore[union-attr]
        flat, structure = jax.tree_util.tree_flatten_with_path(tree)
        to_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        for i, (path, leaf) in enumerate(flat):
            items: list[Any] = [ocp.PLACEHOLDER] * len(flat)
            items[i] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            item = jax.tree.unflatten(structure, items)
            args = ocp.args.PyTreeRestore(item=item, restore_args=to_numpy)  # type: ignore[call-arg]
            found = jax.tree.leaves(
                checkpointer.restore(folder, args=args), is_leaf=lambda x: x is ocp.PLACEHOLDER
            )
            yield jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(found[i])

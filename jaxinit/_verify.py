"""jaxinit verify: whether the devices of this process give the values that jaxinit promises.

``golden.json`` holds the SHA-256 of an array of every initializer in every dtype, as a CPU makes
it. A change of these values is a breaking change.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from . import _text, initializers

GOLDEN = Path(__file__).with_name("golden.json")


class Row(NamedTuple):
    """One initializer on a device or a mesh: dtype -> whether the bytes are those promised."""

    where: str
    initializer: str
    equal: dict[str, bool]


def verify(every_device: bool = False, progress: bool = False) -> list[Row]:
    """Draws each golden array and compares its bytes.

    Args:
      every_device: on each device of this process, and over a mesh of them; by default on the
        first alone.
      progress: whether to show a progress bar.

    Returns:
      A row for each initializer and place.
    """
    golden = json.loads(GOLDEN.read_text())
    devices = jax.local_devices() if every_device else jax.local_devices()[:1]
    elements = sum(math.prod(_shape(golden, entry)) for entry in golden["values"])
    total = elements * (len(devices) + every_device)
    with jax.enable_x64(True), _text.bar(progress, "drawing", total) as advance:
        rows = [
            _on_device(device, golden, entry, advance)
            for device in devices
            for entry in golden["values"]
        ]
        if every_device:
            mesh = jax.make_mesh(
                (len(devices),), ("d",), axis_types=(AxisType.Auto,), devices=devices
            )
            rows += [_over_mesh(mesh, golden, entry, advance) for entry in golden["values"]]
    return rows


def outcomes(rows: Iterable[Row]) -> list[bool]:
    """Whether each array that was compared is equal."""
    return [equal for row in rows for equal in row.equal.values()]


def digest(x: jax.Array) -> str:
    """The SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def _initializer(entry: Any) -> initializers.Initializer:
    """The initializer of a golden entry, which is one of ours."""
    return cast(initializers.Initializer, initializers.get(entry["initializer"]))


def _on_device(device: Any, golden: Any, entry: Any, advance: _text.Advance) -> Row:
    init, shape = _initializer(entry), _shape(golden, entry)
    advance(math.prod(shape), init.factory)
    with jax.default_device(device):
        key = jax.random.key(golden["seed"], impl="threefry2x32")
        made = {dtype: init(key, shape, dtype) for dtype in entry["sha256"]}
    equal = {dtype: digest(x) == entry["sha256"][dtype] for dtype, x in made.items()}
    return Row(str(device), repr(init), equal)


def _over_mesh(mesh: Mesh, golden: Any, entry: Any, advance: _text.Advance) -> Row:
    """Arrays over all devices of the mesh, against the same on one of them."""
    init = _initializer(entry)
    shape, spec = _divisible(init, _shape(golden, entry), mesh.size)
    advance(math.prod(_shape(golden, entry)), init.factory)
    key, sharding = jax.random.key(golden["seed"], impl="threefry2x32"), NamedSharding(mesh, spec)
    equal = {
        dtype: digest(init(key, shape, dtype, out_sharding=sharding))
        == digest(init(key, shape, dtype))
        for dtype in entry["sha256"]
    }
    return Row(f"mesh of {mesh.size}", repr(init), equal)


def _shape(golden: Any, entry: Any) -> tuple[int, ...]:
    """The shape of a golden array: its own, or that of most."""
    return tuple(entry.get("shape", golden["shape"]))


def _divisible(
    init: initializers.Initializer, shape: tuple[int, ...], devices: int
) -> tuple[tuple[int, ...], PartitionSpec]:
    """A shape that the devices divide, and the axis they divide.

    It is the last axis, unless the options or the definition fix its size; then it is a new one.
    """
    longer = (*shape[:-1], shape[-1] * devices)
    try:
        jax.eval_shape(lambda key: init(key, longer), jax.random.key(0))
    except ValueError:
        return (devices, *shape), PartitionSpec("d")
    return longer, PartitionSpec(*[None] * (len(shape) - 1), "d")


def table(rows: Iterable[Row]) -> str:
    """A line for each initializer and place."""
    cells = []
    for row in rows:
        differ = [dtype for dtype, equal in row.equal.items() if not equal]
        counted = f"{len(row.equal) - len(differ)} of {len(row.equal)}"
        cells.append((row.where, row.initializer, counted, ", ".join(differ)))
    return _text.table(("device", "initializer", "dtypes equal", "differ"), cells)

"""The table of what Flax hands to an initializer: each layer run, ours next to Flax's own.

A row makes the layer of either library and the inputs; ``asked`` is the variance its outputs
must have with independent inputs of variance 1.

    python tests/helpers/layer_table.py  # prints it
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as flax_linen
import jax
import numpy as np
from flax import nnx as flax_nnx

import jaxinit
from jaxinit import initializers

KEY = jax.random.key(42)
WRONG = 0.02  # the scale error that the check must see


class Row(NamedTuple):
    """A layer, its inputs, and which part of the outputs counts."""

    name: str
    library: str  # "linen" or "nnx"
    make: Callable[[Any], Any]  # the layer from the library
    inputs: tuple[int, ...]
    asked: float = 1.0
    interior: Callable[[Any], Any] = lambda y: y


class Result(NamedTuple):
    """The variance of the outputs, its tolerance at five standard errors, and how many outputs."""

    variance: float
    tolerance: float
    outputs: int


def inside(y):
    return y[:, 6:-6, 6:-6]


def glorot(library):
    """The same scheme from each library's initializers."""
    ours = library in (jaxinit.linen, jaxinit.nnx)
    return initializers.glorot_normal() if ours else jax.nn.initializers.glorot_normal()


class Stacked(flax_linen.Module):
    """Ten experts by nn.vmap."""

    library: Any

    @flax_linen.compact
    def __call__(self, x):
        dense = flax_linen.vmap(
            self.library.Dense, variable_axes={"params": 0}, split_rngs={"params": True}
        )
        return dense(256)(x)


LINEN = [
    Row("Dense", "linen", lambda m: m.Dense(512), (256, 512)),
    Row("DenseGeneral", "linen", lambda m: m.DenseGeneral((8, 64), axis=(1, 2)), (256, 16, 32)),
    Row(
        "DenseGeneral, batch of 8", "linen",
        lambda m: m.DenseGeneral(256, batch_dims=(0,)), (8, 64, 256),
    ),
    Row("Einsum bti,ihd->bthd", "linen", lambda m: m.Einsum((256, 8, 64), "bti,ihd->bthd"), (16, 32, 256)),
    Row("Einsum ebd,edf->ebf", "linen", lambda m: m.Einsum((8, 256, 128), "ebd,edf->ebf"), (8, 128, 256)),
    Row("Conv", "linen", lambda m: m.Conv(128, (3, 3)), (4, 36, 36, 64), 1.0, inside),
    Row(
        "Conv, depthwise, glorot", "linen",
        lambda m: m.Conv(8192, (3, 3), feature_group_count=8192, kernel_init=glorot(m)),
        (2, 20, 20, 8192), 1.0, inside,
    ),
    Row(
        "Conv, stride 2, glorot", "linen",
        lambda m: m.Conv(64, (4, 4), strides=2, kernel_init=glorot(m)), (8, 56, 56, 64), 1.6, inside,
    ),
    Row("ConvLocal", "linen", lambda m: m.ConvLocal(32, (3, 3), padding="VALID"), (64, 10, 10, 32)),
    Row("ConvTranspose, k 4, stride 2", "linen", lambda m: m.ConvTranspose(64, (4, 4), (2, 2)), (4, 20, 20, 128), 1.0, inside),
    Row(
        "ConvTranspose, transpose_kernel", "linen",
        lambda m: m.ConvTranspose(64, (4, 4), transpose_kernel=True), (8, 28, 28, 256), 1.0, inside,
    ),
    Row("Dense, nn.vmap", "linen", Stacked, (8, 128, 256)),
]  # fmt: skip


def rngs():
    return flax_nnx.Rngs(42)


NNX = [
    Row("Linear", "nnx", lambda m: m.Linear(512, 512, rngs=rngs()), (256, 512)),
    Row(
        "LinearGeneral, batch of 8", "nnx",
        lambda m: m.LinearGeneral(256, 256, batch_axis={0: 8}, rngs=rngs()), (8, 64, 256),
    ),
    Row(
        "Einsum bti,ihd->bthd", "nnx",
        lambda m: m.Einsum("bti,ihd->bthd", (256, 8, 64), (8, 64), rngs=rngs()), (16, 32, 256),
    ),
    Row("Conv", "nnx", lambda m: m.Conv(64, 128, (3, 3), rngs=rngs()), (4, 36, 36, 64), 1.0, inside),
    Row(
        "Conv, depthwise, glorot", "nnx",
        lambda m: m.Conv(8192, 8192, (3, 3), feature_group_count=8192, kernel_init=glorot(m), rngs=rngs()),
        (2, 20, 20, 8192), 1.0, inside,
    ),
    Row(
        "ConvTranspose, k 4, stride 2", "nnx",
        lambda m: m.ConvTranspose(128, 64, (4, 4), (2, 2), rngs=rngs()), (4, 20, 20, 128), 1.0, inside,
    ),
    Row(
        "ConvTranspose, transpose_kernel", "nnx",
        lambda m: m.ConvTranspose(256, 64, (4, 4), transpose_kernel=True, rngs=rngs()),
        (8, 28, 28, 256), 1.0, inside,
    ),
]  # fmt: skip
ROWS = LINEN + NNX
LIBRARIES = {
    "linen": (flax_linen, jaxinit.linen),
    "nnx": (flax_nnx, jaxinit.nnx),
}


def run(row: Row, library: Any) -> Result:
    """The layer of one library on independent inputs of variance 1."""
    x = jax.random.normal(jax.random.key(1), row.inputs)
    layer = row.make(library)
    if row.library == "linen":
        outputs, variables = layer.init_with_output(KEY, x)
        kernel = next(v for v in jax.tree.leaves(variables) if v.ndim > 1 and v.std() > 0)
    else:
        outputs, kernel = layer(x), layer.kernel[...]
    y = np.asarray(row.interior(outputs), np.float64)
    # Inputs, weights and outputs each scatter: their shares add up.
    scatter = 1 / y.size + 1 / kernel.size + 1 / x.size
    return Result(float((y**2).mean()), 5 * math.sqrt(2 * scatter) * row.asked, y.size)


def main() -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="variance of the outputs, inputs of variance 1")
    for heading in ("layer", "library", "asked", "Flax", "jaxinit", "outputs"):
        table.add_column(heading, justify="left" if heading in ("layer", "library") else "right")
    for row in ROWS:
        theirs, ours = (run(row, library) for library in LIBRARIES[row.library])
        table.add_row(
            row.name, row.library, f"{row.asked:g}", f"{theirs.variance:.4f}",
            f"{ours.variance:.4f} ± {ours.tolerance:.4f}", f"{ours.outputs:,}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

"""A mixture of experts of 10^12 parameters, planned for 4,096 devices that are not there.

    python examples/trillion.py

It prints the plan, what the plan took, what each device would hold, and how long each host would
take to make its part. The sizes are like those of the largest open models: 61 layers of width
7,168, all but the first with 384 experts. An array of experts has more than 2^32 elements.
"""

from __future__ import annotations

import math
import resource
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

import jaxinit
from jaxinit import initializers, layouts

Shape = tuple[int, ...]
MESH = {"fsdp": 32, "expert": 32, "tensor": 4}
DATA = ("fsdp", "expert")  # what is not of an expert is divided by both

# Shape, and the axes of the mesh that divide each axis.
WIDTH, HIDDEN, EXPERTS, DENSE, HEADS, GROUPS, VOCABULARY = (
    7168,
    2048,
    384,
    18432,
    8192,
    1024,
    163840,
)
ATTENTION = {
    "query": ((WIDTH, HEADS), (DATA, "tensor")),
    "key": ((WIDTH, GROUPS), (DATA, "tensor")),
    "value": ((WIDTH, GROUPS), (DATA, "tensor")),
    "out": ((HEADS, WIDTH), ("tensor", DATA)),
    "attention_norm": ((WIDTH,), (None,)),
    "mlp_norm": ((WIDTH,), (None,)),
}


def _mlp(name: str, hidden: int) -> dict[str, tuple[Shape, tuple]]:
    into = (WIDTH, hidden), (DATA, "tensor")
    return {
        f"{name}_gate": into,
        f"{name}_up": into,
        f"{name}_down": ((hidden, WIDTH), ("tensor", DATA)),
    }


MIXTURE = {
    "router": ((WIDTH, EXPERTS), (DATA, None)),
    **_mlp("shared", HIDDEN),
    "gate": ((EXPERTS, WIDTH, HIDDEN), ("expert", "fsdp", "tensor")),
    "up": ((EXPERTS, WIDTH, HIDDEN), ("expert", "fsdp", "tensor")),
    "down": ((EXPERTS, HIDDEN, WIDTH), ("expert", "tensor", "fsdp")),
}
ENDS = {
    "embed": ((VOCABULARY, WIDTH), ("tensor", DATA)),
    "head": ((WIDTH, VOCABULARY), (DATA, "tensor")),
}


def described(layers: int = 61) -> dict[str, dict[str, tuple[Shape, tuple]]]:
    """Every parameter's shape and axes, by layer."""
    first, rest = ATTENTION | _mlp("dense", DENSE), ATTENTION | MIXTURE
    return {"ends": ENDS} | {f"layer_{i:02}": rest if i else first for i in range(layers)}


def init(key: jax.Array, layers: int = 61) -> dict[str, dict[str, jax.Array]]:
    """The parameters, in bfloat16."""
    experts = initializers.lecun_normal(layout=layouts.Layout(batch_axis=0))

    def one(key: jax.Array, shape: Shape) -> jax.Array:
        if len(shape) == 1:
            return jnp.ones(shape, jnp.bfloat16)
        return (experts if len(shape) == 3 else jaxinit.lecun_normal)(key, shape, jnp.bfloat16)

    names = described(layers)
    return {
        layer: {
            name: one(k, shape)
            for (name, (shape, _)), k in zip(
                of_layer.items(), jax.random.split(layer_key, len(of_layer)), strict=True
            )
        }
        for (layer, of_layer), layer_key in zip(
            names.items(), jax.random.split(key, len(names)), strict=True
        )
    }


def shardings(mesh: AbstractMesh, layers: int = 61) -> dict[str, dict[str, NamedSharding]]:
    """Where each parameter goes."""
    return {
        layer: {
            name: NamedSharding(mesh, PartitionSpec(*axes)) for name, (_, axes) in found.items()
        }
        for layer, found in described(layers).items()
    }


class Rates(NamedTuple):
    """What a host and its devices do, and where the figure is from."""

    devices: int = 8  # of a host
    compiling: float = 0.33  # seconds a program: docs/performance.md, 39 arrays for a GPU in 13 s
    array: float = 0.0014  # seconds from Python to eight devices: 896 arrays in docs/performance.md
    elements: float = 298e9  # a second: he_normal on an H100, predicted in docs/performance.md


def projected(planned: jaxinit.Plan, held: int, rates: Rates) -> dict[str, float]:
    """Seconds of each step until the parameters are there; all hosts work side by side."""
    return {
        "compiling": len(planned.executables) * rates.compiling,
        "starting each array": len(planned.leaves) * rates.array,
        "drawing": held / 2 / rates.elements,
    }


def main() -> None:
    """Plan, and print."""
    mesh = AbstractMesh(tuple(MESH.values()), tuple(MESH))
    key = jax.random.key(0)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    planned = jaxinit.plan(init, key)
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    start = time.perf_counter()
    held = planned.memory(shardings(mesh))
    counting = time.perf_counter() - start
    print(planned)
    each = max(held.values())
    assert set(held.values()) == {each}
    print(f"planned in {seconds:.2f} s and {peak:.0f} MiB")
    print(f"{len(held)} devices hold {each / 2**20:.1f} MiB each (counted in {counting:.2f} s)")
    steps = projected(planned, each, Rates())
    print(*(f"{name}: {s:.3g} s, projected" for name, s in steps.items()), sep="\n")
    print(f"parameters after {seconds + math.fsum(steps.values()):.1f} s, projected")


if __name__ == "__main__":
    main()

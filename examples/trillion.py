"""A mixture of experts of 10^12 parameters, planned for 4,096 devices that are not there.

    python examples/trillion.py

It prints the plan, what the plan took, what each device would hold, and how long each host would
take to make its part. The sizes are like those of the largest open models: 61 layers of width
7,168, all but the first with 384 experts. An array of experts has more than 2^32 elements.
"""

from __future__ import annotations

import math
import resource
import sys
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

WIDTH, HIDDEN, EXPERTS, DENSE = 7168, 2048, 384, 18432
HEADS, GROUPS, VOCABULARY = 8192, 1024, 163840  # all heads together; all keys together

# Shape, and the axes of the mesh that divide each axis.
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
    """What a host with eight devices does. Where the figures are from stands with each."""

    compiling: float  # seconds a program
    array: float  # seconds from Python to eight devices
    elements: float  # a second, of all eight devices


RATES = {
    # The 2-core CPU of docs/performance.md, which is all eight devices: lecun_normal in bfloat16 at
    # 2^26; compiling and starting by python -m benchmarks sharded.
    "hosts as the CPU measured": Rates(0.15, 0.0025, 1.04e9),
    # The same, with a GPU's compiler on two cores (python -m benchmarks.cuda --compiling 4: 1.2 s
    # for 7 programs) and the speed predicted of an H100.
    "hosts of eight H100, predicted": Rates(0.17, 0.0025, 8 * 395e9),
}


def projected(planned: jaxinit.Plan, held: int, rates: Rates) -> dict[str, float]:
    """Seconds of each step until the parameters are there; all hosts work side by side."""
    return {
        "compiling": len(planned.executables) * rates.compiling,
        "starting": len(planned.leaves) * rates.array,
        "drawing": 8 * held / 2 / rates.elements,
    }


def main() -> None:
    """Plan, and print."""
    mesh = AbstractMesh(tuple(MESH.values()), tuple(MESH))
    key = jax.random.key(0)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    planned = jaxinit.plan(init, key)
    seconds = time.perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    start = time.perf_counter()
    held = planned.memory(shardings(mesh))
    counting = time.perf_counter() - start
    print(planned)
    each = max(held.values())
    assert set(held.values()) == {each}
    print(f"planned in {seconds:.2f} s and {peak:.0f} MiB")
    print(f"{len(held)} devices hold {each / 2**20:.1f} MiB each (counted in {counting:.2f} s)")
    for hosts, rates in RATES.items():
        steps = projected(planned, each, rates)
        told = ", ".join(f"{name} {s:.2g} s" for name, s in steps.items())
        whole = seconds + math.fsum(steps.values())
        print(f"{hosts}: {told}; with the plan {whole:.1f} s until the parameters are there")


if __name__ == "__main__":
    main()

"""Reading large models: seconds and memory of infer and autoinit.

python -m benchmarks.infer            # 1,000 layers, of 16 million parameters if none is drawn
python -m benchmarks.infer --first    # the first calls on 104 kernels, each in a new process
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import jaxinit

from .audit_zoo import EncoderBlock


def mlp(activation: Callable[[Any], Any], layers: int, width: int) -> tuple[Any, Any, Any]:
    """A forward pass of dense layers, its shapes, its input."""

    def apply(params: Any, x: Any) -> Any:
        for layer in params:
            x = activation(x @ layer["kernel"] + layer["bias"])
        return x

    kernel = jax.ShapeDtypeStruct((width, width), jnp.float32)
    bias = jax.ShapeDtypeStruct((width,), jnp.float32)
    shapes = [{"kernel": kernel, "bias": bias} for _ in range(layers)]
    return apply, shapes, jax.ShapeDtypeStruct((8, width), jnp.float32)


def peak() -> float:
    """MiB that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Vit(nn.Module):
    """A vision transformer of 17 blocks: 104 kernels."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(64, (4, 4), (4, 4))(x).reshape(x.shape[0], -1, 64)
        for _ in range(17):
            x = EncoderBlock()(x)
        return nn.Dense(10)(nn.LayerNorm()(x)[:, 0])


CALLS: dict[str, Callable[..., Any]] = {
    "infer": jaxinit.infer,
    "audit": lambda apply, params, x: jaxinit.audit(params, apply, x),
    "propagate": jaxinit.propagate,
    "autoinit": lambda *given: jax.block_until_ready(jaxinit.autoinit(jax.random.key(1), *given)),
}


def first_call(name: str) -> None:
    """Print the CPU seconds of the first call of a function in this process, and of the second."""
    model, x = Vit(), jax.random.normal(jax.random.key(0), (4, 16, 16, 3))
    params = jax.block_until_ready(jaxinit.materialize(model.init, jax.random.key(0), x))
    for _ in range(2):
        start = time.process_time()
        CALLS[name](model.apply, params, x)
        print(f"{time.process_time() - start:.2f}")


def first_calls() -> None:
    """The first and second call of each function, each function in a process of its own."""
    table = Table("call", "first, CPU-s", "second, CPU-s", title="104 kernels")
    for name in CALLS:
        command = [sys.executable, "-m", "benchmarks.infer", "--call", name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        table.add_row(name, *found.split())
    Console(width=80).print(table)


def large_models() -> None:
    """Time what reads, then what draws too."""
    table = Table(title="1,000 dense layers", title_justify="left")
    for heading in ("activation", "what", "seconds", "peak MiB"):
        table.add_column(heading, justify="left" if heading in ("activation", "what") else "right")
    for name, activation in {"relu": jax.nn.relu, "gelu": jax.nn.gelu}.items():
        for what, width in (("infer", 4096), ("explain", 4096), ("autoinit, width 64", 64)):
            apply, shapes, x = mlp(activation, 1000, width)
            start = time.perf_counter()
            if what == "infer":
                jaxinit.infer(apply, shapes, x)
            elif what == "explain":
                jaxinit.autoinit.explain(apply, shapes, x, rule="critical")
            else:
                jax.block_until_ready(jaxinit.autoinit(jax.random.key(0), apply, shapes, x))
            seconds = time.perf_counter() - start
            table.add_row(name, what, f"{seconds:.1f}", f"{peak():.0f}")
    Console(width=80).print(table)


def main() -> None:
    """Measure what the options say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", action="store_true", help="first calls on 104 kernels")
    parser.add_argument("--call", choices=CALLS, help="print the times of this one, in seconds")
    chosen = parser.parse_args()
    if chosen.call:
        first_call(chosen.call)
    elif chosen.first:
        first_calls()
    else:
        large_models()


if __name__ == "__main__":
    main()

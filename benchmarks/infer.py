"""Reading large models: seconds and memory of infer and autoinit.

    python -m benchmarks.infer

Models of 1,000 layers and more, of 16 million parameters a layer where nothing is drawn.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import jaxinit


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


def main() -> None:
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


if __name__ == "__main__":
    main()

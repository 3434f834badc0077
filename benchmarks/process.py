"""What the probes share: each runs alone in a fresh process, whose memory and devices these set."""

from __future__ import annotations

import json
import sys
from typing import Any

Result = dict[str, float]


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.programs", name, json.dumps(arguments)]


def status(field: str) -> int:
    """A figure of this process from the kernel, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) * 1024


def on_cpu(devices: int = 1) -> None:
    """Use the CPU: what is measured here is the memory of the host, or several devices on it."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


def start_backend() -> None:
    import jax

    jax.jit(lambda key: jax.random.split(key))(jax.random.key(0))


def initial(kind: str, layers: int, width: int = 512) -> tuple[Any, tuple[Any, ...]]:
    """A model with the initializers of JAX."""
    import jax

    from . import models

    return models.initial(kind, layers, jax.nn.initializers, width)

"""What a small call costs, in microseconds, and where it goes.

    taskset -c 0 python benchmarks/calls.py [--profile]

Blocked calls on one core, in turns, medians: a pure function, an initializer that was made before,
the same initializer inside a jit, and jnp.full. The aim for the first two is 1.3 times the jit's
and 30 microseconds. It needs nothing else of this folder, so that PYTHONPATH may name another
version of jaxinit.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxinit
from jaxinit import initializers

SHAPES = ((8, 8), (32, 32), (256, 256))
SCHEMES = ("he_normal", "he_uniform", "normal")
KEY = jax.random.key(0)


def contenders(scheme: str, shape: tuple[int, ...]) -> dict[str, Callable[[], jax.Array]]:
    pure, init = getattr(jaxinit, scheme), getattr(initializers, scheme)()
    jitted = jax.jit(lambda key: init(key, shape))
    return {
        "function": lambda: pure(KEY, shape),
        "initializer": lambda: init(KEY, shape),
        "jit": lambda: jitted(KEY),
        "jnp.full": lambda: jnp.full(shape, 0.5),
    }


def microseconds(calls: dict[str, Callable[[], jax.Array]], turns: int = 12) -> dict[str, float]:
    """The median of each, after a first call that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call().block_until_ready()
    for _ in range(turns):
        for name, call in calls.items():
            for _ in range(25):
                start = time.perf_counter()
                call().block_until_ready()
                taken[name].append(1e6 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


def profile(scheme: str, count: int = 3000) -> None:
    """Microseconds a call in each function of jaxinit, what it calls included, under cProfile."""
    call = contenders(scheme, SHAPES[0])["initializer"]
    call().block_until_ready()
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(count):
            call().block_until_ready()
    stats = pstats.Stats(profiler).get_stats_profile().func_profiles
    rows = [
        (x.cumtime / count * 1e6, f"{Path(x.file_name).stem}.{name}")
        for name, x in stats.items()
        if "jaxinit" in x.file_name and x.cumtime / count > 1.5e-6
    ]
    for each, name in sorted(rows, reverse=True):
        print(f"{each:8.1f}  {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", action="store_true", help="where normal and he_normal spend")
    if parser.parse_args().profile:
        for scheme in ("normal", "he_normal"):
            print(scheme)
            profile(scheme)
    else:
        for shape in SHAPES:
            for scheme in SCHEMES:
                found = microseconds(contenders(scheme, shape))
                text = ", ".join(f"{name} {each:.0f}" for name, each in found.items())
                print(f"{scheme} {shape}: {text}; aim {1.3 * found['jit'] + 30:.0f}")

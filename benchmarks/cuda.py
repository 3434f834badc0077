"""The programs that XLA compiles for an H100, read and counted without a GPU.

    JAX_PLATFORMS=cpu python -m benchmarks.cuda [--compiling LAYERS]

XLA compiles for a GPU that is only described, which takes the CUDA plugin of JAX and its assembler,
but no GPU and no driver (``pip install -e ".[cuda]"``). Of each program this shows the kernels, the
instructions an element, counted in the machine code, and the time that the busiest part of the chip
needs for them at least: the issue of instructions, the units for integers (where selections,
comparisons and conversions go too) or for floats, or the memory. It is a prediction; nothing runs.
"""

from __future__ import annotations

import argparse
import functools
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

import jaxinit
from jaxinit import initializers
from jaxinit._make.compile import Maker

from .models import initial

# The figures of an H100 SXM, as XLA has them of the device; of which the compiler here needs some.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  shared_memory_per_block: 49152
  shared_memory_per_core: 233472  threads_per_core_limit: 2048  core_count: 132
  fpus_per_core: 128  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535
  block_dim_limit_z: 65535  memory_bandwidth: 3352320000000  l2_cache_size: 52428800
  clock_rate_ghz: 1.98  device_memory_size: 84929347584  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
CORES, CLOCK, BYTES_PER_SECOND = 132, 1.755e9, 3.35e12  # of an H100 SXM under load
# Results a clock and core: NVIDIA, CUDA C++ Programming Guide, "Throughput of native arithmetic
# instructions", compute capability 9.0; four schedulers issue to 32 lanes each.
ISSUE, FLOAT, INTEGER, SPECIAL = 128, 128, 64, 16
_UNITS = {  # what is not named here goes to the unit for integers
    "floats": (FLOAT, r"[FH](ADD|MUL|FMA)2?"),
    "products": (INTEGER, r"IMAD"),
    "special": (SPECIAL, r"MUFU"),
    "others": (ISSUE, r"LD\w*|ST\w*|ULDC|EXIT|BRA|S2\w+|ACQBULK|CS2R"),
}


class Kernel(NamedTuple):
    """One kernel of a program, and how many threads it is started with."""

    ptx: str
    threads: int


class Program(NamedTuple):
    """What was compiled: the kernels by name, and the HLO that calls them."""

    kernels: dict[str, Kernel]
    hlo: str
    temporary_bytes: int


@functools.cache
def _on_h100() -> NamedSharding:
    topology = topologies.get_topology_desc("", "cuda", target_config=_H100, topology="1x1x1")
    return NamedSharding(Mesh(np.array(topology.devices[:1]), "d"), PartitionSpec())


def lowered(make: Callable[..., Any], *arguments: Any) -> jax.stages.Lowered:
    """``jax.jit(make)`` for one H100, at abstract arguments."""
    sharding = _on_h100()
    placed = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for x in arguments]
    return jax.jit(make, out_shardings=sharding, keep_unused=True).lower(*placed)


def compiled(make: Callable[..., Any], *arguments: Any) -> Program:
    """What XLA makes of ``jax.jit(make)`` for it."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"xla_dump_to": folder, "xla_dump_emitter_re": ".*"}
        done = lowered(make, *arguments).compile(compiler_options=options)
        files = {path.name.split(".", 2)[-1]: path.read_text() for path in Path(folder).iterdir()}
    started = re.findall(
        r"(\S+) grid: \[(\d+), 1, 1\] threads: \[(\d+), 1, 1\]", files["thunk_sequence.txt"]
    )
    threads = {name: int(blocks) * int(each) for name, blocks, each in started}
    kernels = {}
    for file, text in files.items():
        if file.endswith(".ptx") and (found := re.search(r"\.visible \.entry (\w+)\(", text)):
            kernels[found[1]] = Kernel(text, threads[found[1]])
    hlo = next(text for name, text in files.items() if name.endswith("gpu_after_optimizations.txt"))
    return Program(kernels, hlo, done.memory_analysis().temp_size_in_bytes)


def heaviest(program: Program) -> Kernel:
    """The kernel that makes the elements."""
    return max(program.kernels.values(), key=lambda kernel: kernel.threads)


def drawn(init: Callable[..., Any], shape: tuple[int, ...], dtype: str) -> Program:
    """The program of one draw from a raw key."""
    return compiled(
        lambda key: init(jax.random.wrap_key_data(key), shape, dtype),
        jax.ShapeDtypeStruct((2,), "uint32"),
    )


def instructions(kernel: Kernel) -> Counter[str]:
    """Machine instructions of a thread, by name; all run once, as draws have no loops."""
    from nvidia import cu13  # pyright: ignore[reportMissingImports]

    (tools,) = cu13.__path__
    architecture = re.search(r"\.target (\w+)", kernel.ptx)
    assert architecture
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        ptx.write_text(kernel.ptx)
        subprocess.run(
            [f"{tools}/bin/ptxas", f"-arch={architecture[1]}", ptx, "-o", cubin], check=True
        )
        command = [f"{tools}/bin/nvdisasm", "-c", cubin]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)[ .;]", text)
    return Counter(name for name in names if name != "NOP")


def clocks(count: Counter[str], elements: int, nbytes: int) -> dict[str, float]:
    """Clocks of one core for an element, by the unit that needs them; the largest is the bound."""
    used: Counter[str] = Counter()
    for name, n in count.items():
        unit = next(
            (u for u, (_, names) in _UNITS.items() if re.fullmatch(names, name)), "integers"
        )
        used[unit] += n
    per_clock = BYTES_PER_SECOND / CORES / CLOCK
    rates = {**{unit: rate for unit, (rate, _) in _UNITS.items()}, "integers": INTEGER}
    return {
        "issue": count.total() / elements / ISSUE,
        **{unit: used[unit] / elements / rate for unit, rate in rates.items()},
        "bytes": nbytes / elements / per_clock,
    }


def compiling(layers: int) -> None:
    """Seconds to compile a user's own jit(model.init), or its plan, in turns."""
    for name, source in (("jax", jax.nn.initializers), ("jaxinit", initializers)) * 2:
        init, (_, tokens) = initial("linen", layers, source)
        made = lowered(
            lambda key, init=init, tokens=tokens: init(jax.random.wrap_key_data(key), tokens),
            jax.ShapeDtypeStruct((2,), "uint32"),
        )
        start = time.perf_counter()
        made.compile()
        middle = time.perf_counter()
        programs = _all_programs(init, jax.random.key(0), tokens)
        end = time.perf_counter()
        print(
            f"{layers} layers, {name}: jit {middle - start:.1f} s; materialize, "
            f"{programs} programs, with their tracing {end - middle:.1f} s"
        )


def _all_programs(init: Callable[..., Any], *arguments: Any) -> int:
    """Compiles what ``materialize`` does, and returns how many programs that are."""
    planned = jaxinit.plan(init, *arguments)
    first = {leaf.group: i for i, leaf in reversed(list(enumerate(planned.leaves)))}
    maker = Maker(planned._recording, "benchmark")
    with maker.compiling([_on_h100()] * len(planned.leaves)):
        for i in first.values():
            maker.program(i, _on_h100())
    return len(first)


def table() -> None:
    """The table: draws of jaxinit and of jax.nn.initializers, 2^30 elements."""
    shape = (2**15, 2**15)
    shown = Table(title=f"Compiled for an H100, jax {jax.__version__}, nothing run")
    for head in ("scheme", "", "kernels", "temporaries, KiB", "instructions", "bound by"):
        shown.add_column(head)
    for head in ("G elements/s at most", "of the bytes' bound", "x jax"):
        shown.add_column(head, justify="right")
    for scheme in ("he_uniform", "he_normal", "normal"):
        for dtype in ("float32", "bfloat16"):
            slowest: dict[str, float] = {}
            for name, source in (("jax", jax.nn.initializers), ("jaxinit", initializers)):
                program = drawn(getattr(source, scheme)(), shape, dtype)
                kernel = heaviest(program)
                elements = shape[0] * shape[1] // kernel.threads
                count = instructions(kernel)
                need = clocks(count, elements, elements * np.dtype(dtype).itemsize)
                bound = max(need, key=need.__getitem__)
                slowest[name] = need[bound]
                shown.add_row(
                    f"{scheme} {dtype}" if name == "jax" else "",
                    name,
                    str(len(program.kernels)),
                    f"{program.temporary_bytes / 1024:.0f}",
                    f"{count.total() / elements:.1f}",
                    bound,
                    f"{CORES * CLOCK / need[bound] / 1e9:.0f}",
                    f"{need['bytes'] / need[bound]:.2f}",
                    f"{slowest['jax'] / need[bound]:.2f}",
                )
    Console(width=140).print(shown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--compiling", type=int, metavar="LAYERS", help="time the compiler instead")
    asked = parser.parse_args()
    compiling(asked.compiling) if asked.compiling else table()

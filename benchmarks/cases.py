"""What is measured: arrays by size, distribution and model; in fresh processes trees and more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from .contenders import CONTENDERS, Array, takes_part
from .matrices import WAYS

COMPILED = ("jaxinit", "jax", "fill")  # contenders whose programs XLA accounts for
EFFORTS = ("quick", "default", "full", "sharded", "gpu")

# Kernels as their models have them, the input axis first.
MODELS = {
    "GPT-2 fc": (768, 3072),
    "GPT-2 wte": (50257, 768),
    "Llama-3-8B gate": (4096, 14336),
    "Llama-3-8B embed": (128256, 4096),
    "Llama-3-70B gate": (8192, 28672),
}
SCHEMES = [f"{name}_{law}" for name in ("he", "glorot", "lecun") for law in ("normal", "uniform")]
DTYPES = (
    "float32", "bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2", "complex64",
)  # fmt: skip


class Case(NamedTuple):
    """One row of a table, and the contenders in it."""

    table: str
    subject: Any  # an Array, or the arguments of a probe
    contenders: tuple[str, ...]


def _two(power: int) -> tuple[int, int]:
    """A matrix of 2^power elements."""
    return 2 ** (power // 2), 2 ** (power - power // 2)


def _largest() -> int:
    """The largest power of two of elements, at most 30, that JAX can make in half the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(30, (memory // 36).bit_length() - 1)  # output and temporaries, bytes an element: 18


def _slow(array: Array) -> tuple[str, ...]:
    """The contenders that are too slow for the largest size of a default run."""
    keyed = ("jax, rbg", "jax, unsafe_rbg", "keras")
    return (*keyed, "torch") if array.family == "truncated_normal" else keyed


def arrays(effort: str) -> Iterator[Case]:
    """The arrays: by size, by distribution and dtype, and by model."""
    if effort == "gpu":
        yield from _gpu_arrays()
    if effort in ("sharded", "gpu"):
        return
    powers = {
        "quick": (16,),
        "default": (16, 20, 24, 26),
        "full": range(16, _largest() + 1, 2),
    }[effort]
    both = ("float32",) if effort == "quick" else ("float32", "bfloat16")
    for scheme in ("he_uniform", "he_normal", "normal"):
        for dtype in both:
            for power in powers:
                array = Array(scheme, _two(power), dtype, f"2^{power}")
                slow = _slow(array) if effort == "default" and power > 24 else ()
                found = (c for c in CONTENDERS if takes_part(c, array) and c not in slow)
                yield Case("sizes", array, tuple(found))
    laws = ["uniform", "normal", "truncated_normal", *(SCHEMES if effort == "full" else ())]
    power = 16 if effort == "quick" else 22
    for scheme in laws:
        for dtype in ("bfloat16",) if effort == "quick" else DTYPES:
            array = Array(scheme, _two(power), dtype, f"2^{power}")
            yield Case("laws", array, tuple(c for c in COMPILED if takes_part(c, array)))
    count = {"quick": 1, "default": 3, "full": len(MODELS)}[effort]
    for name, shape in list(MODELS.items())[:count]:
        for dtype in both:
            yield Case("models", Array("he_normal", shape, dtype, name), COMPILED)
    for shape in ((256, 64),) if effort == "quick" else ((4096, 256), (64, 256, 256), (2048, 2048)):
        yield Case("orthogonal", Array("orthogonal", shape, "float32", ""), tuple(WAYS))


def programs(effort: str) -> Iterator[Case]:
    """The probes, run in fresh processes: their names, and the arguments before the contender."""
    if effort in ("sharded", "gpu"):
        yield from _sharded() if effort == "sharded" else _gpu_programs()
        return
    layers = {"quick": (1,), "default": (4, 16), "full": (8, 16, 32, 64)}[effort]
    for n in layers:
        yield Case("compiling", ("compiling", n), ("jaxinit", "jax"))
    for library in ("linen",) if effort == "quick" else ("linen", "nnx"):
        for n in layers:
            yield Case("trees", ("tree", library, n), ("jaxinit", "jit"))
    if effort != "quick":
        yield Case("sharded trees", ("sharded_tree", "llama", 8, "4x2"), ("jaxinit", "jit"))
    for n in () if effort == "quick" else (8, 64):
        yield Case("growth", ("growth", n), ("jaxinit",))
    for n in (1,) if effort == "quick" else (1, 2, 4):
        yield Case("processes", ("processes", n, "linen", 8, 4), ("jaxinit",))
    if effort != "quick":
        yield Case("planning", ("planning", "b8"), ("jaxinit",))
        for format in ("safetensors", "orbax"):
            yield Case("limited", ("limited", format, 1024), ("jaxinit",))
    for format in ("safetensors",) if effort == "quick" else ("safetensors", "orbax"):
        deep = {"quick": 1, "default": 8, "full": 32}[effort]
        yield Case("saving", ("saving", format, deep), ("jaxinit", "user", "numpy"))
    if effort != "quick":
        yield Case("sharded orthogonal", ("sharded", 1024), ("jaxinit", "materialize", "jax"))
        for dtype in ("float32", "bfloat16"):
            yield Case("memory", ("memory", dtype), ("jaxinit",))
    for scheme in ("normal",) if effort == "quick" else ("he_uniform", "he_normal", "normal"):
        yield Case("first call", ("first_call", scheme), ("jaxinit", "jax"))
    yield Case("import", ("importing",), ("jaxinit",))


def _sharded() -> Iterator[Case]:
    """Trees over many devices: up to 896 matrices, or 7 stacks of them, over 8 and 64 devices."""
    both, floor = ("jaxinit", "jit"), ("jaxinit", "device_put")
    for blocks in (2, 4, 8, 16, 64):
        yield Case("sharded trees", ("sharded_tree", "llama", blocks, "8x1"), both)
    for blocks in (32, 128):
        yield Case("sharded trees", ("sharded_tree", "llama", blocks, "8x1"), (*both, "device_put"))
    for blocks, mesh in ((32, "4x2"), (32, "64x1"), (32, "16x4"), (128, "64x1")):
        yield Case("sharded trees", ("sharded_tree", "llama", blocks, mesh), floor)
    yield Case("sharded trees", ("distributed_tree", "llama", 32, "8x1", 2), ("jaxinit",))
    for mesh in ("8x1", "16x4"):
        yield Case("sharded trees", ("sharded_tree", "stack", 128, mesh), both)
    yield Case("sharded orthogonal", ("sharded", 1024), ("jaxinit", "materialize", "jax"))
    yield Case("trillion", ("trillion", "32x32x4"), ("jaxinit",))


def _on_gpu() -> bool:
    """Asked when cases are made and not at import, as it starts the backend: its settings first."""
    return jax.default_backend() == "gpu"


def _gpu_arrays() -> Iterator[Case]:
    """Large arrays, against what users of GPUs take: JAX's three generators, torch and a fill."""
    contenders = ("jaxinit", "jax", "jax, rbg", "jax, unsafe_rbg", "torch", "fill")
    for scheme in ("he_uniform", "he_normal", "normal"):
        for dtype in ("float32", "bfloat16"):
            for power in (p for p in (24, 26, 28, 30) if p <= _largest() and (_on_gpu() or p < 26)):
                array = Array(scheme, _two(power), dtype, f"2^{power}")
                found = (c for c in contenders if takes_part(c, array))
                yield Case("sizes", array, tuple(found))


def _gpu_programs() -> Iterator[Case]:
    """First whether the values are those promised; then compiling, and a tree of 10^9 elements."""
    yield Case("verify", ("verifying",), ("jaxinit",))
    yield Case("compiling", ("compiling", 8), ("jaxinit", "jax"))
    yield Case("trees", ("large_tree", 15 if _on_gpu() else 1, 2048), ("jaxinit", "jit"))


def turns(effort: str, table: str) -> int:
    """How often contenders take turns."""
    if effort in ("quick", "sharded", "gpu"):
        return 1
    if effort == "full":
        return 7 if table == "import" else 3
    return {"sizes": 2, "models": 2, "orthogonal": 2, "saving": 2, "import": 5}.get(table, 1)


def label(case: Case) -> str:
    """The row's name."""
    if isinstance(case.subject, Array):
        name = case.subject.name or " x ".join(map(str, case.subject.shape))
        return f"{case.subject.scheme} {case.subject.dtype} {name}"
    return " ".join(str(x) for x in case.subject[1:]) or case.table

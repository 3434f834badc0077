"""Fresh processes: compiling in a user's jit, trees, saving, memory, first calls, import time.

Each function named in ``PROBES`` runs alone in a new process, its last argument the contender, and
prints one JSON object: seconds, and whatever else is known there.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from . import trees
from .process import Result, command, initial, on_cpu, start_backend, status


def compiling(layers: int, contender: str) -> Result:
    """Trace, lower and compile one monolithic jit(model.init)."""
    import jax

    from jaxinit import initializers

    from . import models

    source = initializers if contender == "jaxinit" else jax.nn.initializers
    init, arguments = models.initial("linen", layers, source)
    start_backend()
    start, cpu = time.perf_counter(), time.process_time()
    compiled = jax.jit(init).lower(*arguments).compile()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "leaves": len(jax.tree.leaves(jax.eval_shape(init, *arguments))),
        "temporary_mib": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def first_call(scheme: str, contender: str) -> Result:
    """The first call of each of five new shapes, after another shape has been made."""
    import jax

    from jaxinit import initializers

    source = initializers if contender == "jaxinit" else jax.nn.initializers
    init, seconds = getattr(source, scheme)(), []
    if contender == "jax":
        init = jax.jit(init, static_argnums=(1, 2))
    init(jax.random.key(0), (8, 8), "float32").block_until_ready()
    for size in (256, 320, 384, 448, 512):
        start = time.perf_counter()
        init(jax.random.key(0), (size, 2 * size), "float32").block_until_ready()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds)}


def memory(dtype: str, contender: str) -> Result:
    """Peak resident memory of a draw of 2 GiB, over the output's size."""
    import jax

    import jaxinit

    on_cpu()
    size = {"float32": (2**15, 2**14), "bfloat16": (2**15, 2**15)}[dtype]
    jaxinit.he_normal(jax.random.key(0), (64, 64), dtype).block_until_ready()
    before, start = status("VmRSS"), time.perf_counter()
    array = jaxinit.he_normal(jax.random.key(0), size, dtype).block_until_ready()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_over_output": (status("VmHWM") - before) / array.nbytes}


def verifying(contender: str) -> Result:
    """Whether the default device gives the values that jaxinit promises."""
    from jaxinit._verify import outcomes, verify

    start = time.perf_counter()
    equal = outcomes(verify())
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "compared": len(equal), "differ": equal.count(False)}


def planning(size: str, contender: str) -> Result:
    """Plan Llama 3 without allocating any of it."""
    import jaxinit
    from examples import llama

    init, *arguments = getattr(llama, size)()
    start_backend()
    before, start = status("VmRSS"), time.perf_counter()
    planned = jaxinit.plan(init, *arguments)
    return {
        "seconds": time.perf_counter() - start,
        "leaves": len(planned.leaves),
        "gib": planned.nbytes / 2**30,
        "executables": len(planned.executables),
        "peak_mib": (status("VmHWM") - before) / 2**20,
    }


def saving(format: str, layers: int, contender: str) -> Result:
    """A checkpoint from nothing: by ``Plan.save``, as a user would, or numpy's write alone."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    import jaxinit

    init, arguments = initial("linen", layers)
    start_backend()

    def write(path: str, leaves: list[Any]) -> None:
        with open(path, "wb") as file:
            for leaf in leaves:
                np.asarray(leaf).tofile(file)
            file.flush()
            os.fsync(file.fileno())

    def save(path: str) -> None:
        if contender == "jaxinit":
            jaxinit.plan(init, *arguments).save(path, format=format)
            return
        made = jaxinit.materialize(init, *arguments)
        if format == "orbax":
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, made)
            return
        write(path, jax.tree.leaves(made))

    structs = jax.tree.leaves(jax.eval_shape(init, *arguments))
    mib = sum(x.size * x.dtype.itemsize for x in structs) / 2**20
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = os.path.abspath(f"{folder}/checkpoint")
        if contender == "numpy":
            leaves = [np.ones(x.shape, x.dtype) for x in structs]
            start = time.perf_counter()
            write(path, leaves)
        else:
            start = time.perf_counter()
            save(path)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": mib, "mib_per_second": mib / seconds}


def limited(format: str, mib: int, contender: str) -> Result:
    """Save a tree three times as large as the memory that the kernel lets this process have.

    RLIMIT_DATA bounds what is allocated: heap, anonymous mappings, stacks. It is set low enough
    that materializing the same tree fails, which is shown too.
    """
    import resource

    import jax
    import jax.numpy as jnp

    import jaxinit

    on_cpu()
    rows = 3 * mib * 2**20 // 4 // 3 // 2**12

    def init(key: Any) -> Any:
        def one(key: Any) -> Any:
            return jax.nn.initializers.he_normal()(key, (rows, 2**12), jnp.float32)

        return {str(i): one(k) for i, k in enumerate(jax.random.split(key, 3))}

    resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))
    start = time.perf_counter()
    planned = jaxinit.plan(init, jax.random.key(0))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        planned.save(f"{folder}/checkpoint", format=format)
        seconds, peak = time.perf_counter() - start, status("VmHWM")
        try:
            jax.block_until_ready(planned.materialize())
            failed = 0.0
        except Exception:
            failed = 1.0
    return {
        "seconds": seconds,
        "tree_over_limit": planned.nbytes / 2**20 / mib,
        "peak_mib": peak / 2**20,
        "materialize_fails": failed,
    }


def importing(contender: str) -> Result:
    """``import jaxinit``, of which most is ``import jax``, timed apart in one process."""
    start = time.perf_counter()
    __import__("jax")
    jax = time.perf_counter()
    __import__(contender)
    end = time.perf_counter()
    return {"seconds": end - start, "over_jax": (end - start) / (jax - start)}


PROBES: dict[str, Callable[..., Result]] = {
    probe.__name__: probe
    for probe in (
        compiling, first_call, memory, verifying, planning, saving, limited, importing,
        trees.tree, trees.large_tree, trees.growth, trees.sharded_tree, trees.distributed_tree,
        trees.processes, trees.one_process, trees.sharded, trees.trillion,
    )
}  # fmt: skip


def probe(name: str, *arguments: object) -> Result:
    """Run one probe in a fresh process."""
    done = subprocess.run(command(name, *arguments), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*json.loads(sys.argv[2]))))

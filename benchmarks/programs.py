"""Fresh processes: compiling inside a user's own jit, a first call, memory, import time.

Each function named in ``PROBES`` runs alone in a new process and prints one JSON object.
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

Result = dict[str, float]


def _model(layers: int, library: str, width: int = 512) -> Any:
    """A transformer of nine leaves a layer and three more."""
    import flax.linen as nn
    import jax

    from jaxinit import initializers

    source = initializers if library == "jaxinit" else jax.nn.initializers
    init = source.he_normal()

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            def dense(size, inputs):
                return nn.Dense(size, use_bias=False, kernel_init=init)(inputs)

            h = nn.LayerNorm()(x)
            q, k, v = (dense(width, h) for _ in range(3))
            x = x + dense(width, jax.nn.softmax(q @ k.swapaxes(-1, -2)) @ v)
            return x + dense(width, nn.gelu(dense(4 * width, nn.RMSNorm()(x))))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(1000, width, embedding_init=source.normal(0.02))(tokens)
            for _ in range(layers):
                x = Layer()(x)
            return nn.Dense(1000, kernel_init=init)(x)

    return Model()


def _status(field: str) -> int:
    """A figure of this process from the kernel, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) * 1024


def compiling(layers: int, library: str) -> Result:
    """Trace, lower and compile one monolithic jit(model.init)."""
    import jax
    import jax.numpy as jnp

    arguments = jax.random.key(0), jnp.zeros((1, 8), jnp.int32)
    jax.jit(lambda key: jax.random.split(key))(arguments[0])  # start the backend
    init = jax.jit(_model(layers, library).init)
    start, cpu = time.perf_counter(), time.process_time()
    compiled = init.lower(*arguments).compile()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "leaves": len(jax.tree.leaves(jax.eval_shape(init, *arguments))),
        "temporaries_mib": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def first_call(scheme: str, dtype: str) -> Result:
    """The first call of each of five new shapes, after another shape has been made."""
    import jax

    from jaxinit import initializers

    init, seconds = getattr(initializers, scheme)(), []
    init(jax.random.key(0), (8, 8), dtype).block_until_ready()
    for size in (256, 320, 384, 448, 512):
        start = time.perf_counter()
        init(jax.random.key(0), (size, 2 * size), dtype).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds)}


def memory(dtype: str) -> Result:
    """Peak resident memory of a draw of 2 GiB, over the output's size."""
    import jax

    import jaxinit

    size = {"float32": (2**15, 2**14), "bfloat16": (2**15, 2**15)}[dtype]
    jaxinit.he_normal(jax.random.key(0), (64, 64), dtype).block_until_ready()
    before = _status("VmRSS")
    array = jaxinit.he_normal(jax.random.key(0), size, dtype).block_until_ready()
    return {"peak_over_output": (_status("VmHWM") - before) / array.nbytes}


def tree(layers: int, way: str, width: int = 512) -> Result:
    """From nothing to parameters that are ready: by jit(model.init), or leaf by leaf."""
    import jax
    import jax.numpy as jnp

    import jaxinit

    arguments = jax.random.key(0), jnp.zeros((1, 8), jnp.int32)
    init = _model(layers, "jax", width).init
    jax.jit(lambda key: jax.random.split(key))(arguments[0])  # start the backend
    before, start = _status("VmRSS"), time.perf_counter()
    made = {
        "jit": lambda: jax.jit(init)(*arguments),
        "jaxinit": lambda: jaxinit.materialize(init, *arguments),
    }[way]()
    jax.block_until_ready(made)
    seconds = time.perf_counter() - start
    leaves = jax.tree.leaves(made)
    nbytes = sum(leaf.nbytes for leaf in leaves)
    peak = (_status("VmHWM") - before) / nbytes
    return {
        "seconds": seconds,
        "leaves": len(leaves),
        "mib": nbytes / 2**20,
        "peak_over_parameters": peak,
    }


def saving(layers: int, format: str, way: str) -> Result:
    """A checkpoint from nothing: by ``Plan.save``, or materialized and saved as a user would."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import orbax.checkpoint as ocp

    import jaxinit

    arguments = jax.random.key(0), jnp.zeros((1, 8), jnp.int32)
    init = _model(layers, "jax").init
    jax.jit(lambda key: jax.random.split(key))(arguments[0])  # start the backend

    def save(path: str) -> None:
        if way == "jaxinit":
            return jaxinit.plan(init, *arguments).save(path, format=format)
        made = jaxinit.materialize(init, *arguments)
        if format == "orbax":
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, made)
            return None
        with open(path, "wb") as file:
            for leaf in jax.tree.leaves(made):
                np.asarray(leaf).tofile(file)
            file.flush()
            os.fsync(file.fileno())
        return None

    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.perf_counter()
        save(os.path.abspath(f"{folder}/checkpoint"))
        return {"seconds": time.perf_counter() - start}


def limited(format: str, mib: int) -> Result:
    """Save a tree three times as large as the memory that the kernel lets this process have.

    RLIMIT_DATA bounds what is allocated: heap, anonymous mappings, stacks. It is set low enough
    that materializing the same tree fails, which is shown too.
    """
    import resource

    import jax
    import jax.numpy as jnp

    import jaxinit

    rows = 3 * mib * 2**20 // 4 // 3 // 2**12

    def init(key: Any) -> Any:
        def one(key: Any) -> Any:
            return jax.nn.initializers.he_normal()(key, (rows, 2**12), jnp.float32)

        return {str(i): one(k) for i, k in enumerate(jax.random.split(key, 3))}

    resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))
    planned = jaxinit.plan(init, jax.random.key(0))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        planned.save(f"{folder}/checkpoint", format=format)
        peak = _status("VmHWM")
        try:
            jax.block_until_ready(planned.materialize())
            failed = 0.0
        except Exception:
            failed = 1.0
    return {
        "tree_over_limit": planned.nbytes / 2**20 / mib,
        "peak_mib": peak / 2**20,
        "materialize_fails": failed,
    }


def importing() -> Result:
    """``import jaxinit``, of which most is ``import jax``, over that."""
    start = time.perf_counter()
    __import__("jax")
    jax = time.perf_counter()
    __import__("jaxinit")
    return {"ratio": (time.perf_counter() - start) / (jax - start)}


PROBES: dict[str, Callable[..., Result]] = {
    probe.__name__: probe
    for probe in (compiling, first_call, memory, tree, saving, limited, importing)
}


def probe(name: str, *arguments: object) -> Result:
    """Run one probe in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.programs", name, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def median_of(runs: list[Result]) -> Result:
    """Field by field."""
    return {field: statistics.median(run[field] for run in runs) for field in runs[0]}


def take_turns(name: str, contenders: list[tuple[object, ...]], rounds: int) -> list[Result]:
    """The median result of each contender, their runs interleaved."""
    runs = [[probe(name, *arguments) for arguments in contenders] for _ in range(rounds)]
    return [median_of(list(of_one)) for of_one in zip(*runs, strict=True)]


if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*json.loads(sys.argv[2]))))

"""Fresh processes: compiling in a user's jit, trees, saving, memory, first calls, import time.

Each function named in ``PROBES`` runs alone in a new process, its last argument the contender, and
prints one JSON object: seconds, and whatever else is known there.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Result = dict[str, float]


def _status(field: str) -> int:
    """A figure of this process from the kernel, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) * 1024


def _on_cpu(devices: int = 1) -> None:
    """Use the CPU: what is measured here is the memory of the host, or several devices on it."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


def _start_backend() -> None:
    import jax

    jax.jit(lambda key: jax.random.split(key))(jax.random.key(0))


def _initial(kind: str, layers: int, width: int = 512) -> tuple[Any, tuple[Any, ...]]:
    """A model with the initializers of JAX."""
    import jax

    from .models import initial

    return initial(kind, layers, jax.nn.initializers, width)


def compiling(layers: int, contender: str) -> Result:
    """Trace, lower and compile one monolithic jit(model.init)."""
    import jax

    from jaxinit import initializers

    from .models import initial

    source = initializers if contender == "jaxinit" else jax.nn.initializers
    init, arguments = initial("linen", layers, source)
    _start_backend()
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

    _on_cpu()
    size = {"float32": (2**15, 2**14), "bfloat16": (2**15, 2**15)}[dtype]
    jaxinit.he_normal(jax.random.key(0), (64, 64), dtype).block_until_ready()
    before, start = _status("VmRSS"), time.perf_counter()
    array = jaxinit.he_normal(jax.random.key(0), size, dtype).block_until_ready()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_over_output": (_status("VmHWM") - before) / array.nbytes}


def tree(kind: str, layers: int, contender: str, width: int = 512, place: Any = None) -> Result:
    """From nothing to parameters that are ready: by jit(init), or array by array."""
    import jax

    import jaxinit

    init, arguments = _initial(kind, layers, width)
    _start_backend()
    compiling, first = _compile_seconds(), _first_leaf()
    before, start = _status("VmRSS"), time.perf_counter()
    planned = None
    if contender == "jaxinit":
        planned = jaxinit.plan(init, *arguments)
        made = planned.materialize(out_shardings=place)
    else:
        shapes = jax.eval_shape(init, *arguments)
        shardings = None if place is None else jax.tree.map(lambda x: place("", x.shape), shapes)
        made = jax.jit(init, out_shardings=shardings)(*arguments)
    jax.block_until_ready(made)
    end = time.perf_counter()
    peak, leaves = _status("VmHWM"), jax.tree.leaves(made)
    nbytes = sum(leaf.nbytes for leaf in leaves)
    return {
        "checksum": _checksum(leaves),
        "seconds": end - start,
        "first_seconds": min([*first, end]) - start,
        "compile_seconds": sum(compiling),
        "leaves": len(leaves),
        "mib": nbytes / 2**20,
        "executables": 1 if planned is None else len(planned.executables),
        "peak_over_parameters": (peak - before) / nbytes,
    }


def _checksum(leaves: list[Any]) -> int:
    """Of the bytes of all arrays that this process can see whole."""
    found = 0
    for leaf in leaves:
        if leaf.is_fully_addressable:
            found = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8), found)
    return found


def _compile_seconds() -> list[float]:
    """A list that gets the seconds of each program that XLA compiles from now on."""
    import jax

    found: list[float] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return found


def _first_leaf() -> list[float]:
    """A list that gets the time at which the first array that is made by itself is ready."""
    from jaxinit._make.compile import Maker

    leaf, found = Maker.leaf, []

    def timed(self: Maker, *arguments: Any) -> Any:
        made = leaf(self, *arguments)
        if not found:
            made.block_until_ready()
            found.append(time.perf_counter())
        return made

    Maker.leaf = timed
    return found


def large_tree(blocks: int, width: int, contender: str) -> Result:
    """The matrices of a Llama; fifteen blocks of width 2048 are 10^9 elements."""
    return tree("llama", blocks, contender, width=width)


def verifying(contender: str) -> Result:
    """Whether the default device gives the values that jaxinit promises."""
    from jaxinit._verify import outcomes, verify

    start = time.perf_counter()
    equal = outcomes(verify())
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "compared": len(equal), "differ": equal.count(False)}


def growth(layers: int, contender: str) -> Result:
    """A tree so small that tracing and compiling take all the time."""
    return tree("linen", layers, contender, width=64)


def sharded_tree(kind: str, blocks: int, mesh: str, contender: str) -> Result:
    """A tree of width 256 over as many devices of this CPU as the mesh has."""
    rows, columns = map(int, mesh.split("x"))
    _on_cpu(rows * columns)
    return tree(kind, blocks, contender, width=256, place=_place((rows, columns)))


def _place(sizes: tuple[int, int]) -> Callable[[str, tuple[int, ...]], Any]:
    """The last axes, each over the axis of the mesh that divides it."""
    import jax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    mesh = jax.make_mesh(sizes, ("d", "m"), axis_types=(AxisType.Auto,) * 2)

    def place(path: str, shape: tuple[int, ...]) -> Any:
        whole = (None,) * (len(shape) - 2)
        pairs = zip(mesh.shape.items(), shape[-2:], strict=False)
        spec = (name if size % count == 0 else None for (name, count), size in pairs)
        return NamedSharding(mesh, PartitionSpec(*whole, *spec))

    return place


def processes(count: int, kind: str, layers: int, devices: int, contender: str) -> Result:
    """A tree over devices that several processes have, from their start to the last end."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    start = time.perf_counter()
    tree = kind, layers, devices, contender
    commands = [_command("_process", port, count, i, *tree) for i in range(count)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate()[0] for process in started]
    seconds = time.perf_counter() - start
    if any(process.returncode for process in started):
        raise RuntimeError(f"processes: one of {count} failed")
    found = [json.loads(output.splitlines()[-1])["seconds"] for output in outputs]
    return {"seconds": seconds, "materialize_seconds": max(found)}


def _process(
    port: int, count: int, index: int, kind: str, layers: int, devices: int, contender: str
) -> Result:
    import jax

    _on_cpu(devices // count)
    address = f"127.0.0.1:{port}"
    jax.distributed.initialize(
        address, num_processes=count, process_id=index, coordinator_bind_address=address
    )
    return tree(kind, layers, contender, place=_place((devices // 2, 2)))


def planning(size: str, contender: str) -> Result:
    """Plan Llama 3 without allocating any of it."""
    import jaxinit
    from examples import llama

    init, *arguments = getattr(llama, size)()
    _start_backend()
    before, start = _status("VmRSS"), time.perf_counter()
    planned = jaxinit.plan(init, *arguments)
    return {
        "seconds": time.perf_counter() - start,
        "leaves": len(planned.leaves),
        "gib": planned.nbytes / 2**30,
        "executables": len(planned.executables),
        "peak_mib": (_status("VmHWM") - before) / 2**20,
    }


def saving(format: str, layers: int, contender: str) -> Result:
    """A checkpoint from nothing: by ``Plan.save``, as a user would, or numpy's write alone."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    import jaxinit

    init, arguments = _initial("linen", layers)
    _start_backend()

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

    _on_cpu()
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
        seconds, peak = time.perf_counter() - start, _status("VmHWM")
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


def sharded(size: int, contender: str) -> Result:
    """Temporaries of an orthogonal matrix over eight devices, over the shard; time to compile."""
    import jax

    from jaxinit import initializers

    _on_cpu(8)
    sharding = _place((4, 2))("", (size, size))
    options = {"out_sharding": sharding} if contender == "jaxinit" else {}
    source = initializers if contender == "jaxinit" else jax.nn.initializers
    init = jax.jit(
        lambda key: source.orthogonal()(key, (size, size), "float32", **options),
        out_shardings=sharding,
    )
    lowered, start = init.lower(jax.random.key(0)), time.perf_counter()
    compiled = lowered.compile()
    shard = size * size * 4 // 8
    return {
        "seconds": time.perf_counter() - start,
        "temporaries_over_shard": compiled.memory_analysis().temp_size_in_bytes / shard,
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
        compiling, first_call, memory, tree, large_tree, verifying, growth, sharded_tree, processes,
        _process, planning, saving, limited, sharded, importing,
    )
}  # fmt: skip


def _command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.programs", name, json.dumps(arguments)]


def probe(name: str, *arguments: object) -> Result:
    """Run one probe in a fresh process."""
    done = subprocess.run(_command(name, *arguments), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*json.loads(sys.argv[2]))))

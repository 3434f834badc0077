"""Probes of trees: from an init function to parameters that are ready, on one device or many."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .process import Result, command, initial, on_cpu, start_backend, status

Place = Callable[[str, tuple[int, ...]], Any]


def tree(
    kind: str, layers: int, contender: str, width: int = 512, place: Place | None = None
) -> Result:
    """From nothing to parameters that are ready: by jit(init), or array by array.

    The contender "device_put" makes nothing: it puts arrays that are there already, one of each
    shape, where the parameters go. What that takes, no way to make them can save.
    """
    import jax

    import jaxinit

    init, arguments = initial(kind, layers, width)
    start_backend()
    compiling, first = _compile_seconds(), _first_leaf()
    shapes = jax.eval_shape(init, *arguments) if contender != "jaxinit" else None
    shardings = shapes and place and jax.tree.map(lambda x: place("", x.shape), shapes)
    there = {x.shape: _misaligned(x) for x in jax.tree.leaves(shapes)}
    before, start = status("VmRSS"), time.perf_counter()
    executables = 1
    if contender == "jaxinit":
        planned = jaxinit.plan(init, *arguments)
        made = planned.materialize(out_shardings=place)
        executables = len(planned.executables)
    elif contender == "jit":
        made = jax.jit(init, out_shardings=shardings)(*arguments)
    else:
        made = jax.tree.map(lambda x, s: jax.device_put(there[x.shape], s), shapes, shardings)
    jax.block_until_ready(made)
    end = time.perf_counter()
    peak, leaves = status("VmHWM"), jax.tree.leaves(made)
    nbytes = sum(leaf.nbytes for leaf in leaves)
    found: Result = {
        "seconds": end - start,
        "first_seconds": min([*first, end]) - start,
        "compile_seconds": sum(compiling),
        "leaves": len(leaves),
        "mib": nbytes / 2**20,
        "peak_over_parameters": (peak - before) / nbytes,
    }
    if contender != "device_put":
        found |= {"executables": executables, "checksum": _checksum(leaves)}
    return found


def _misaligned(x: Any) -> np.ndarray:
    """An array that a CPU device has to copy: what is aligned it would take as it is."""
    return np.ones(x.size + 1, x.dtype)[1:].reshape(x.shape)


def _checksum(leaves: list[Any]) -> int:
    """Of the words of all arrays and their places; those of several processes add up.

    It does not depend on how the arrays are divided: each word is multiplied by an odd number that
    stands for its place, and the sum is taken modulo 2^32.
    """
    total = 0
    for n, leaf in enumerate(leaves):
        index = np.arange(leaf.size, dtype=np.uint32).reshape(leaf.shape)
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                words = np.asarray(shard.data).view(f"u{leaf.dtype.itemsize}").astype(np.uint32)
                places = 2 * (index[shard.index] + np.uint32(n * 1_000_003 % 2**32)) + 1
                total += int((words * places).sum(dtype=np.uint64))
    return total % 2**32


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


def growth(layers: int, contender: str) -> Result:
    """A tree so small that tracing and compiling take all the time."""
    return tree("linen", layers, contender, width=64)


def _sizes(mesh: str) -> tuple[int, int]:
    rows, columns = map(int, mesh.split("x"))
    return rows, columns


def sharded_tree(kind: str, blocks: int, mesh: str, contender: str) -> Result:
    """A tree of width 256 over as many devices of this CPU as the mesh has."""
    rows, columns = _sizes(mesh)
    on_cpu(rows * columns)
    return tree(kind, blocks, contender, width=256, place=_place((rows, columns)))


def _place(sizes: tuple[int, int]) -> Place:
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
    start = time.perf_counter()
    found = _in_processes(count, kind, layers, f"{devices // 2}x2", 512, contender)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "materialize_seconds": max(each["seconds"] for each in found)}


def distributed_tree(kind: str, blocks: int, mesh: str, count: int, contender: str) -> Result:
    """``sharded_tree``, its devices spread over several processes: the slowest, sums of memory."""
    found = _in_processes(count, kind, blocks, mesh, 256, contender)
    most = {field: max(each[field] for each in found) for field in found[0]}
    peak = sum(each["peak_over_parameters"] for each in found)
    checksum = sum(each["checksum"] for each in found) % 2**32
    return {**most, "peak_over_parameters": peak, "checksum": checksum}


def _in_processes(count: int, *arguments: Any) -> list[Result]:
    """What each of several processes of ``jax.distributed`` finds."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    commands = [command("one_process", port, count, i, *arguments) for i in range(count)]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for line in commands]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"processes: one of {count} failed")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def one_process(
    port: int, count: int, index: int, kind: str, layers: int, mesh: str, width: int, contender: str
) -> Result:
    """The part of one of the processes."""
    import jax

    rows, columns = _sizes(mesh)
    on_cpu(rows * columns // count)
    address = f"127.0.0.1:{port}"
    jax.distributed.initialize(
        address, num_processes=count, process_id=index, coordinator_bind_address=address
    )
    return tree(kind, layers, contender, width, _place((rows, columns)))


def sharded(size: int, contender: str) -> Result:
    """Temporaries of an orthogonal matrix over eight devices, over the shard; time to compile.

    The contender "materialize" is a plan, which tells the initializer its sharding by itself.
    """
    import jax

    import jaxinit
    from jaxinit import initializers
    from jaxinit._make.compile import Maker

    on_cpu(8)
    sharding, key = _place((4, 2))("", (size, size)), jax.random.key(0)
    if contender == "materialize":
        maker = Maker(jaxinit.plan(jaxinit.orthogonal, key, (size, size))._recording, contender)
        start = time.perf_counter()
        compiled = maker.program(0, sharding)
    else:
        options = {"out_sharding": sharding} if contender == "jaxinit" else {}
        source = initializers if contender == "jaxinit" else jax.nn.initializers
        init = jax.jit(
            lambda key: source.orthogonal()(key, (size, size), "float32", **options),
            out_shardings=sharding,
        )
        lowered, start = init.lower(key), time.perf_counter()
        compiled = lowered.compile()
    shard = size * size * 4 // 8
    return {
        "seconds": time.perf_counter() - start,
        "temporaries_over_shard": compiled.memory_analysis().temp_size_in_bytes / shard,
    }


def trillion(mesh: str, contender: str) -> Result:
    """Plan 10^12 parameters for a mesh that is not there; compile them for 64 devices of this CPU.

    Only the programs are compiled. None runs: a device would hold 30 GB.
    """
    import jax
    from jax.sharding import AbstractMesh, AxisType

    import jaxinit
    from examples import trillion
    from jaxinit._make.compile import Maker

    on_cpu(64)
    names, sizes = tuple(trillion.MESH), tuple(map(int, mesh.split("x")))
    start_backend()
    before, start = status("VmRSS"), time.perf_counter()
    planned = jaxinit.plan(trillion.init, jax.random.key(0))
    held = planned.memory(trillion.shardings(AbstractMesh(sizes, names)))
    seconds, peak = time.perf_counter() - start, status("VmHWM") - before
    small = jax.make_mesh((4, 4, 4), names, axis_types=(AxisType.Auto,) * 3)
    maker = Maker(planned._recording, "trillion")
    places = planned._shardings("trillion", trillion.shardings(small))
    start = time.perf_counter()
    found = [maker.program(e.leaves[0], places[e.leaves[0]]) for e in planned.executables]
    return {
        "seconds": seconds,
        "leaves": len(planned.leaves),
        "gib": planned.nbytes / 2**30,
        "executables": len(planned.executables),
        "peak_mib": peak / 2**20,
        "device_mib": max(held.values()) / 2**20,
        "compile_seconds": time.perf_counter() - start,
        "temporary_bytes": max(p.memory_analysis().temp_size_in_bytes for p in found),
    }

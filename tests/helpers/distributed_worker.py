"""distributed_worker.py PORT PROCESSES ID FOLDER [FAILS]: one of several processes.

Makes a model over a mesh of four devices, which are spread over the processes, saves it in both
formats, each process its share, and prints the SHA-256 of each array. With FAILS, process 1 cannot
write its pieces, and process 0 makes its first piece only when the other has failed. Each prints
how many pieces it made and the error with which its save ends.
"""

import hashlib
import json
import pathlib
import sys
import time

import jax

PORT, PROCESSES, ID = map(int, sys.argv[1:4])
jax.config.update("jax_num_cpu_devices", 4 // PROCESSES)
address = f"127.0.0.1:{PORT}"
jax.distributed.initialize(
    address, num_processes=PROCESSES, process_id=ID, coordinator_bind_address=address
)

import models  # noqa: E402
from jax.experimental import multihost_utils  # noqa: E402
from jax.sharding import AxisType, NamedSharding, PartitionSpec  # noqa: E402

import jaxinit  # noqa: E402
from jaxinit._make import formats, pieces, save  # noqa: E402

pieces.PIECE_BYTES, save._BATCH_BYTES = 1000, 3000
mesh = jax.make_mesh((2, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)


def place(path, shape):
    spec = [name if size % 2 == 0 else None for name, size in zip(("d", "m"), shape, strict=False)]
    return NamedSharding(mesh, PartitionSpec(*spec))


def digest(leaf):
    gathered = multihost_utils.process_allgather(leaf, tiled=True)
    return hashlib.sha256(gathered.tobytes()).hexdigest()


case = models.scan_transformer()
planned = jaxinit.plan(case.init, *case.args)
made = jax.tree.leaves(planned.materialize(out_shardings=place))
local = jax.tree.leaves(planned.materialize())
hashes = {leaf.path: digest(x) for leaf, x in zip(planned.leaves, made, strict=True)}
alone = {
    leaf.path: hashlib.sha256(jax.device_get(x).tobytes()).hexdigest()
    for leaf, x in zip(planned.leaves, local, strict=True)
}
assert hashes == alone
if len(sys.argv) > 5:
    made = []
    make = pieces.make

    def counted(maker, piece):
        mark = pathlib.Path(sys.argv[4]) / "orbax.partial/jaxinit.done/failed"
        while ID == 0 and not mark.exists():
            time.sleep(0.01)
        made.append(piece)
        return make(maker, piece)

    pieces.make = counted
    if ID == 1:
        formats._OrbaxStore.write = lambda *args: int("no room")
    try:
        planned.save(f"{sys.argv[4]}/orbax")
    except (RuntimeError, OSError) as error:
        print("error", error, flush=True)
        print("made", len(made), flush=True)
    multihost_utils.sync_global_devices("failed")
    sys.exit()
for format in ("orbax", "safetensors"):
    planned.save(f"{sys.argv[4]}/{format}", format=format)
print("hashes", json.dumps(hashes), flush=True)
multihost_utils.sync_global_devices("end")

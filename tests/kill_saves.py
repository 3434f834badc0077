"""kill_saves.py FOLDER FORMAT N: kills a save at N random moments, and has each resumed.

Prints how many were killed before their end, and how many gave the bytes of a save left alone. The
saves run in children that are forked before JAX has started.
"""

import hashlib
import os
import pathlib
import random
import signal
import sys
import time

import jax

import jaxinit
from jaxinit import _pieces, _save


def tree_hash(folder):
    """Of every file, but orbax's notes of when it was made."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        if file.name not in ("_CHECKPOINT_METADATA", "commit_success.txt"):
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


def save(path, format):
    _pieces.PIECE_BYTES = _save._BATCH_BYTES = 2**16

    def init(key):
        large = jaxinit.he_normal(key, (1024, 512))
        small = [jax.random.normal(k, (64, 256)) for k in jax.random.split(key, 40)]
        return {"large": large, "small": small}

    jaxinit.plan(init, jax.random.key(0)).save(path, format=format)


def start(path, format):
    child = os.fork()
    if child == 0:
        save(path, format)
        os._exit(0)
    return child


def finish(path, format):
    _, status = os.waitpid(start(path, format), 0)
    assert status == 0
    return tree_hash(path)


def main():
    folder, format, moments = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    begun = time.monotonic()
    whole = finish(folder / "whole", format)
    seconds = time.monotonic() - begun
    chance = random.Random(0)
    killed = same = tries = 0
    while killed < moments and tries < 3 * moments:
        tries += 1
        path = folder / f"cut {tries}"
        child = start(path, format)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not path.exists():  # else it had ended before
            killed += 1
            same += finish(path, format) == whole
    print(killed, same)


if __name__ == "__main__":
    main()

"""kill_saves.py FOLDER FORMAT N: kills a save at N random moments and resumes each.

Prints how many were killed before they ended, how many of these gave the same bytes as a save that
was left alone, and how many had pieces on disk when killed. The saves run in child processes that
are forked before JAX starts. Every fourth is killed at any moment of its run, the others after
their first piece is on disk.
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
from jaxinit._make import pieces
from jaxinit._make import save as saving


def tree_hash(folder):
    """A hash of every file, except those in which orbax notes the time."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        if file.name not in ("_CHECKPOINT_METADATA", "commit_success.txt"):
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


def save(path, format):
    pieces.PIECE_BYTES = saving._BATCH_BYTES = 2**15

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
    child = start(folder / "whole", format)
    first = seconds_to_first(folder / "whole", begun)
    os.waitpid(child, 0)
    seconds = time.monotonic() - begun
    whole = tree_hash(folder / "whole")
    chance = random.Random(0)
    killed = same = partly = tries = 0
    while killed < moments and tries < 4 * moments:
        tries += 1
        path = folder / f"cut {tries}"
        begun = time.monotonic()
        child = start(path, format)
        if tries % 4 == 0:
            time.sleep(chance.uniform(0, seconds))
        else:
            seconds_to_first(path, begun)
            time.sleep(chance.uniform(0, seconds - first))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not path.exists():  # else the save had ended before the kill
            killed += 1
            partly += bool(noted(path))
            same += finish(path, format) == whole
    print(killed, same, partly)


def noted(path):
    """The logs of the pieces that a save has on disk."""
    logs = path.with_name(path.name + ".partial").glob("jaxinit.done/*.log")
    return "".join(log.read_text() for log in logs)


def seconds_to_first(path, begun):
    """Waits until the first piece of a save is in the log, or the save has ended."""
    while not (noted(path) or path.exists()) and time.monotonic() < begun + 60:
        time.sleep(0.001)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()

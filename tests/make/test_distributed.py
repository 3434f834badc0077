"""Several processes on this machine make the same values, and each writes its share."""

import json
import pathlib
import re
import socket
import subprocess
import sys

import jax
import models
import pytest
from table import slow_but
from test_save import READERS, expected

import jaxinit
from jaxinit._make import processes

WORKER = str(pathlib.Path(__file__).parents[1] / "helpers/distributed_worker.py")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run(processes, folder, *more):
    """Runs the processes; returns what each printed."""
    arguments = [str(free_port()), str(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, *arguments, str(i), str(folder), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    try:
        ended = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors
    return [out.splitlines() for out, _ in ended]


def said(word, printed):
    """Of what each process printed, the line that begins with a word."""
    (line,) = (line for line in printed if line.startswith(f"{word} "))
    return line.removeprefix(f"{word} ")


@pytest.mark.parametrize("processes", slow_but([1, 2, 4], [2]))
def test_the_same_bits_from_any_number_of_processes(processes, tmp_path):
    hashes = [json.loads(said("hashes", out)) for out in run(processes, tmp_path)]
    case = models.scan_transformer()
    planned = jaxinit.plan(case.init, *case.args)
    assert len(hashes) == processes
    assert all(found == hashes[0] for found in hashes)
    for format, read in READERS.items():
        assert read(tmp_path / format, planned) == expected(planned)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["orbax", "safetensors"]


def test_a_process_that_is_gone_is_told_in_one_line(monkeypatch):
    """What Gloo says when a process was killed, as two processes showed it."""

    def lost(_):
        raise ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", lost)
    text = r"^save: process 0 lost another process, which may have been killed; .*: it resumes\.$"
    for step in (processes.together, processes.agreed):
        with pytest.raises(RuntimeError, match=text) as caught:
            step("save", bool)
        assert isinstance(caught.value.__cause__, ValueError)


def test_if_one_process_fails_the_others_stop(tmp_path):
    """They say which one; the save then goes on, with any number of processes."""
    printed = run(2, tmp_path, "fails")
    errors = [said("error", out) for out in printed]
    assert [int(said("made", out)) for out in printed] == [1, 2]  # not their whole shares
    assert re.match(r"Plan\.save: process 1 failed, so the others stopped; ", errors[0])
    assert re.match(r"Plan\.save: writing to .*orbax\.partial failed \(invalid literal", errors[1])
    (hashes,) = run(1, tmp_path)
    case = models.scan_transformer()
    planned = jaxinit.plan(case.init, *case.args)
    assert len(json.loads(said("hashes", hashes))) == len(planned.leaves)
    assert READERS["orbax"](tmp_path / "orbax", planned) == expected(planned)

"""Several processes on this machine make the same values, and each writes its share."""

import json
import pathlib
import socket
import subprocess
import sys

import models
import pytest
from table import slow_but
from test_save import READERS, expected

import jaxinit

WORKER = str(pathlib.Path(__file__).parents[1] / "helpers/distributed_worker.py")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run(processes, folder):
    """Runs the processes; returns the hashes that each printed."""
    arguments = [str(free_port()), str(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, *arguments, str(i), str(folder)],
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
    lines = [line for out, _ in ended for line in out.splitlines() if line.startswith("hashes ")]
    return [json.loads(line.removeprefix("hashes ")) for line in lines]


@pytest.mark.parametrize("processes", slow_but([1, 2, 4], [2]))
def test_the_same_bits_from_any_number_of_processes(processes, tmp_path):
    hashes = run(processes, tmp_path)
    case = models.scan_transformer()
    planned = jaxinit.plan(case.init, *case.args)
    assert len(hashes) == processes
    assert all(found == hashes[0] for found in hashes)
    for format, read in READERS.items():
        assert read(tmp_path / format, planned) == expected(planned)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["orbax", "safetensors"]

"""Every contender of every case, in turns."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any

import jax
import pytest

from . import cases

# A GPU's memory is shared with torch and with the processes of the probes.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--effort", choices=cases.EFFORTS, default="default", help="how large and long"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Contenders take turns within a case, so that all see the same machine."""
    effort = metafunc.config.getoption("effort")
    of_function = {"test_array": cases.arrays, "test_program": cases.programs}
    found: Iterable[cases.Case] = of_function[metafunc.function.__name__](effort)
    each = [
        pytest.param(case, contender, id=f"{case.table}: {cases.label(case)}: {contender}: {turn}")
        for case in found
        for turn in range(cases.turns(effort, case.table))
        for contender in case.contenders
    ]
    metafunc.parametrize(("case", "contender"), each)


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """What the figures were measured on, and nothing that tells whose it is."""
    del config
    machine_info.clear()
    with open("/proc/cpuinfo") as file:
        wide = "avx512f" in file.read()
    machine_info |= {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "cpus": os.cpu_count(),
        "architecture": platform.machine() + (", AVX-512" if wide else ""),
    }

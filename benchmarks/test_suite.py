"""The suite: python -m benchmarks, or pytest benchmarks/ --benchmark-json=FILE."""

from __future__ import annotations

import math
import time
from typing import Any

from . import contenders, matrices, programs
from .cases import Case, label

BLOCK_SECONDS = 0.3  # of one contender's turn, in which it is called at most 50 times


def test_program(benchmark: Any, case: Case, contender: str) -> None:
    """A probe in a fresh process, which measures the time itself and prints it."""
    name, *arguments = case.subject
    found = benchmark.pedantic(programs.probe, (name, *arguments, contender))
    benchmark.extra_info |= _row(case, contender) | found


def test_array(benchmark: Any, case: Case, contender: str) -> None:
    """The time of one call; the array that it makes is freed outside the measurement.

    The first call of a turn is not counted: the contender before left it pages to fault in again.
    """
    prepare = matrices.prepare if case.table == "orthogonal" else contenders.prepare
    prepared = prepare(contender, case.subject)
    kept: list[Any] = []

    def run() -> None:
        kept.append(prepared.call())

    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    benchmark.extra_info |= _row(case, contender) | {
        "elements": math.prod(case.subject.shape),
        "bytes": kept[0].nbytes,
        "compile_seconds": prepared.compile_seconds,
        "temporary_bytes": prepared.temporary_bytes,
        "peak_bytes": prepared.peak_bytes,
    }
    rounds = min(max(int(BLOCK_SECONDS / once), 1), 50)
    benchmark.pedantic(run, setup=kept.clear, rounds=rounds)


def _row(case: Case, contender: str) -> dict[str, Any]:
    return {"table": case.table, "case": label(case), "contender": contender}

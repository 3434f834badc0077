"""Timing by blocks: contenders take turns, a few calls each, so that all see the same machine.

A call right after another contender's is not typical: that one's freed memory has to be faulted in
again. So each turn is a block of calls, and the median over all blocks is reported.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def medians(
    contenders: Mapping[str, Callable[[], Any]], blocks: int, calls: int = 3
) -> dict[str, float]:
    """Median seconds a call of each contender, compiled before the first block."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        jax.block_until_ready(call())
    for _ in range(blocks):
        for name, call in contenders.items():
            for _ in range(calls):
                start = time.perf_counter()
                result = jax.block_until_ready(call())
                seconds[name].append(time.perf_counter() - start)
                del result
    return {name: statistics.median(values) for name, values in seconds.items()}

"""Keeps several processes in step: each waits for the others, and if one fails, all stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")


def together(call: str, step: Callable[..., T], *args: object) -> T:
    """Runs a step in every process, waits for all, and returns this process's result.

    If the step fails in one process it raises in all of them: its own error there, and in the
    others an error that says which process failed.
    """
    result, error = None, None
    try:
        result = step(*args)
    except Exception as caught:
        error = caught
    if jax.process_count() > 1:
        failed = multihost_utils.process_allgather(np.array(error is not None)).reshape(-1)
        if error is None and failed.any():
            error = RuntimeError(
                f"{call}: process {int(failed.argmax())} failed, so the others stopped; what is "
                f"on disk is kept. Repair what its own error says and save again: it resumes."
            )
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def agreed(call: str, step: Callable[..., bool], *args: object) -> bool:
    """Runs a test in every process; raises if the processes do not find the same."""
    found = together(call, step, *args)
    if jax.process_count() == 1:
        return found
    everywhere = multihost_utils.process_allgather(np.array(found)).reshape(-1)
    if everywhere.any() != everywhere.all():
        raise RuntimeError(
            f"{call}: the processes do not see the same files; save to a filesystem that all share."
        )
    return found

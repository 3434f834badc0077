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
        failed = _everywhere(call, error is not None)
        if error is None and failed.any():
            error = RuntimeError(
                f"{call}: process {int(failed.argmax())} failed, so the others stopped; what is "
                f"on disk is kept. Repair what its own error says and save again: it resumes."
            )
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _everywhere(call: str, flag: bool) -> np.ndarray:
    """The flag of each process; raises if one of them is gone."""
    try:
        return multihost_utils.process_allgather(np.array(flag)).reshape(-1)
    except Exception as error:
        raise RuntimeError(
            f"{call}: process {jax.process_index()} lost another process, which may have been "
            f"killed; what is on disk is kept. Start all processes and save again: it resumes."
        ) from error


def agreed(call: str, step: Callable[..., bool], *args: object) -> bool:
    """Runs a test in every process; raises if the processes do not find the same."""
    found = together(call, step, *args)
    if jax.process_count() == 1:
        return found
    everywhere = _everywhere(call, found)
    if everywhere.any() != everywhere.all():
        raise RuntimeError(
            f"{call}: the processes do not see the same files; save to a filesystem that all share."
        )
    return found

"""Kernels whose two fans differ widely: what each ``mode`` does to signal and gradient there.

A kernel of variance c/n multiplies the second moment of the signal by c fan_in/n, and that of the
gradient by c fan_out/n on its way back. For 256 inputs and 4096 outputs, n = fan_in keeps the
signal and makes the gradient's 16 times as large; n = fan_avg leaves 0.12 of the signal's and makes
the gradient's 1.9 times as large. Where the next kernel leads back to 256, as in the feed-forward
block of a transformer, the errors of fan_in cancel, and those of fan_avg do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from .._schemes.variance import Mode
from .parameter import Parameter

_WIDE = 8.0  # the ratio of two fans from which on something is said


def is_uneven(p: Parameter) -> bool:
    """Whether a hidden kernel's two fans differ widely; of the first and last layer they may."""
    if p.role != "kernel" or p.is_output or p.fed_by.name == "data":
        return False
    ratio = _ratio(p)
    return ratio > _WIDE or ratio < 1 / _WIDE


def cancels(p: Parameter, found: Mapping[str, Parameter]) -> bool:
    """Whether the kernel before or after leads back to the width where this one began."""
    before = [found[path] for path in p.fed_by.kernels if path in found]
    after = [other for other in found.values() if p.path in other.fed_by.kernels]
    both = (_ratio(p) * _ratio(other) for other in (*before, *after) if other.fan_in)
    return any(1 / _WIDE <= product <= _WIDE for product in both)


def costs(p: Parameter) -> str:
    """What the two usual modes do to the second moments of signal and gradient."""
    fan_in, fan_out = p.fan_in or 1, p.fan_out or 1
    average = (fan_in + fan_out) / 2
    return (
        f"fan_in keeps the signal and multiplies the gradient's second moment by "
        f"{fan_out / fan_in:.2g}; fan_avg multiplies the signal's by {fan_in / average:.2g} and "
        f"the gradient's by {fan_out / average:.2g}"
    )


def widths_note(p: Parameter, found: Mapping[str, Parameter], mode: Mode | None) -> str:
    """A sentence about a kernel whose fans differ widely; empty for others."""
    if not is_uneven(p):
        return ""
    text = f" From {p.fan_in:g} to {p.fan_out:g}, {costs(p)}"
    if cancels(p, found):
        return f"{text}. A layer next to it leads back, so fan_in's errors cancel: keep fan_in."
    return f"{text}; choose by mode=." if mode is None else f"{text}."


def _ratio(p: Parameter) -> float:
    return (p.fan_out or 1) / (p.fan_in or 1)

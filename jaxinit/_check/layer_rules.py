"""What is unusual in how a kernel and what it feeds go together: attention's logits, widths."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .._infer.attention import undivided
from .._infer.widths import cancels, costs, is_uneven
from .findings import Finding, number
from .subject import Model, Subject

_SHARP = 3.0  # a standard deviation of logits from which on most of a softmax is its largest value


def of_logits(model: Model) -> Iterator[Finding]:
    """Attention whose logits are not divided by sqrt(d): what its kernels make of that."""
    by_path = {s.path: s for s in model.subjects}
    for s in model.subjects:
        p = s.known.parameter if s.known else None
        if p is None or p.logits is None or s.found.bad or s.path != p.logits.kernels[0]:
            continue
        excess = undivided(p.logits)
        sides = [by_path[path] for path in p.logits.kernels if path in by_path]
        if excess == 1 or not all(side.found.is_drawn for side in sides):
            continue
        spreads = [spread_of_output(side) for side in sides]
        each = ", ".join(f"{x:.2g}" for x in spreads)
        std = excess * math.prod(spreads if len(spreads) > 1 else spreads * 2)
        sharp = std > _SHARP
        yield Finding(
            "warning" if sharp else "note",
            "undivided_logits",
            s.path,
            (
                f"attention's logits are not divided by sqrt({p.logits.size}): they have standard "
                f"deviation ",
                number(std, ".2g"),
                ", and most of each softmax is one value"
                if sharp
                else ", as the kernels are small",
            ),
            "divide them by sqrt(d), or draw the kernels by jaxinit.autoinit, which takes it in"
            if sharp
            else "nothing, if it was chosen: T5 holds the 1/sqrt(d) in the kernel of the queries",
            f"a sum of {p.logits.size} products, times {p.logits.factor:.3g}; queries and keys "
            f"have standard deviation {each}",
            tuple(side.path for side in sides if side is not s),
        )


def of_widths(model: Model) -> Iterator[Finding]:
    """Hidden kernels whose fans differ widely, where the next layer does not lead back."""
    found = {s.path: s.known.parameter for s in model.subjects if s.known}
    for path, p in found.items():
        if is_uneven(p) and not cancels(p, found):
            fan_in, fan_out = (number(fan or 0, "g") for fan in (p.fan_in, p.fan_out))
            yield Finding(
                "note",
                "uneven_widths",
                path,
                ("its fan_in is ", fan_in, " and its fan_out ", fan_out),
                "choose: autoinit takes mode=, and recommend too",
                f"per layer, {costs(p)}",
            )


def spread_of_output(layer: Subject | None) -> float:
    """The standard deviation of what a kernel makes; where it is not known, sqrt(2)."""
    if layer is None or layer.known is None:
        return math.sqrt(2)
    taken = layer.seen.taken if layer.seen else 1.0
    x = layer.found
    second = x.std**2 + x.mean**2
    return math.sqrt((layer.known.parameter.fan_in or 1) * second * taken) or math.sqrt(2)

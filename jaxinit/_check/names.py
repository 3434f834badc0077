"""What the words of a parameter's path say, where the computation does not.

    words("decoder/LayerNorm_0/scale") == ("decoder", "layer", "norm", "0", "scale")

Whole words are compared, so that a kernel at "normal_head" is none of a norm.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_NORM = re.compile(r".*norms?|normali[sz](e|er|ed|ation)")
_OF_UNITS = re.compile(  # of the last name: a number for each unit
    r"bias(es)?|scales?|gamma|beta|offsets?|means?|vars?|variances?|log"
)
_SSM = re.compile(r"lambda|dt")  # the first word of the last name, in state space models
_TABLE = re.compile(r".*embed.*|wte|wpe|tokens?|position(s|al)?|pos|posemb|codebooks?")
_GATE = re.compile(
    r".*(lstm|gru|rnn)|cells?|gat(e|es|ed|ing)|dt|times?|timesteps?|chrono|forget|lambda"
)
_DELIBERATE = re.compile(
    r"(head|out|last|final|proj|zero|cls|classif|logit|ada|modulat|lora|delta).*|gat(e|es|ed|ing)"
)


def words(path: str) -> tuple[str, ...]:
    """The words of a path in lower case, parted by "/", "_", ".", digits and capitals."""
    return tuple(word.lower() for word in _WORD.findall(path))


def has(pattern: re.Pattern[str], path: str) -> bool:
    """Whether a word of the path is one of the pattern's."""
    return any(pattern.fullmatch(word) for word in words(path))


def role(path: str, rank: int) -> str:
    """The role of an array with so many axes, by its name; empty where that does not tell."""
    if rank > 1 and not is_of_units(path):
        return "embedding" if has(_TABLE, path) else "kernel"
    *folders, name = path.split("/")
    last = name.lower()
    if last in ("scale", "gamma", "g") or (last == "weight" and _is_norm(folders)):
        return "scale"
    return "bias" if re.fullmatch(r"b\d*", last) or {"bias", "biases"} & {*words(name)} else ""


def _is_norm(folders: list[str]) -> bool:
    """Whether the innermost folder that is no number is a normalization's."""
    named = [name for name in folders if not name.isdigit()]
    return bool(named) and any(
        _NORM.fullmatch(word) or word in ("ln", "bn") for word in words(named[-1])
    )


def is_of_units(path: str) -> bool:
    """Whether it has a number for each unit, as biases and scales."""
    last = words(path.rpartition("/")[2])
    return (
        has(_NORM, path)
        or any(_OF_UNITS.fullmatch(word) for word in last)
        or last in (("b",), ("d", "skip"))
        or bool(last and _SSM.fullmatch(last[0]))
    )


def is_gate(path: str) -> bool:
    """Whether it is of a recurrent cell or a gate, whose units may be shut on purpose."""
    of_state = any(len(name) > 1 and name[0] == "a" for name in map(words, path.split("/")))
    return of_state or has(_GATE, path)


def is_deliberate(path: str) -> bool:
    """Whether it ends a branch or the model, so that it may start as zero.

    Capitals part no words here: "MultiHeadAttention" is no head.
    """
    return has(_DELIBERATE, path.lower())

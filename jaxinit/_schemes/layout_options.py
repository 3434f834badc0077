"""The axes of a kernel as options: ``in_axis``, ``out_axis``, ``batch_axis``, or one ``layout``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .base import Initializer
from .blocks import Blocks
from .checks import shown
from .fans import DENSE, Axes, Layout

_ROLES = ("in_axis", "out_axis", "batch_axis")


def layout_of(
    name: str, layout: Layout | None, in_axis: Axes, out_axis: Axes, batch_axis: Axes
) -> Layout:
    """The layout that is given, or the one of the axes."""
    if layout is None and are_defaults(in_axis, out_axis, batch_axis):
        return DENSE
    axes = Layout.of(name, in_axis, out_axis, batch_axis)
    given = {role: (getattr(axes, role), getattr(DENSE, role)) for role in _ROLES}
    return check_layout(name, layout, **given) or axes


def are_defaults(in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> bool:
    """Whether these are the axes of a dense layer, as the factories write them."""
    ints = type(in_axis) is type(out_axis) is int
    return ints and (in_axis, out_axis) == (-2, -1) and type(batch_axis) is tuple and not batch_axis


def check_layout(name: str, given: Layout | None, **others: tuple[object, object]) -> Layout | None:
    """The layout, if one is given, and then alone; ``others`` are (value, default) by option."""
    if given is None:
        return None
    if not isinstance(given, Layout):
        raise TypeError(
            f"{name}: layout must be a jaxinit.Layout, as jaxinit.layouts makes; got "
            f"{shown(given)}."
        )
    also = [option for option, (value, default) in others.items() if value != default]
    if also:
        raise ValueError(
            f"{name}: layout already says what each axis is; leave out {', '.join(also)}, "
            f"or the layout."
        )
    return given


def axes_as_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call, with a layout that only names axes written as these axes."""
    layout = options.get("layout")
    given = layout.given() if layout is not None else {}
    if not given or not set(given) <= set(_ROLES):
        return dict(options)
    axes = {role: axis[0] if len(axis) == 1 else axis for role, axis in given.items()}
    before = {k: v for k, v in options.items() if k not in ("layout", "dtype")}
    return {**before, **axes, **{k: v for k, v in options.items() if k == "dtype"}}


def by_block(make: Callable[[Layout], Initializer], layout: Layout) -> Initializer:
    """The initializer of a layout; where the layout has blocks, one for each of them."""
    one = make(layout.block)
    if layout.blocks == 1:
        return one
    return Blocks(one, layout.blocks, layout.block_axis, label=one.name)

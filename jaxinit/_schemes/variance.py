"""Variance scaling: weights whose variance is a scale over the number of inputs or outputs.

A dense layer of 256 inputs sums 256 products, so with independent inputs of variance 1 its outputs
have variance 256 times that of the weights; weights of variance 1/256 keep it at 1. He, Glorot and
LeCun differ in the scale and in the fan that they divide by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Self, get_args

import numpy as np

from .._random import laws
from .._random.laws import Law
from . import layout_options
from .base import Drawn, Initializer, Moments, given_options
from .checks import DType, check_choice, check_positive, dtype_name, is_sequence, refuse_key, shown
from .fans import DENSE, Axes, Fans, Layout

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
DistributionName = Literal["truncated_normal", "normal", "uniform"]
MODES: tuple[Mode, ...] = get_args(Mode)
DISTRIBUTIONS: tuple[DistributionName, ...] = get_args(DistributionName)

# The schemes that have a name of their own, as (scale, mode, distribution).
NAMED: dict[str, tuple[float, Mode, DistributionName]] = {
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
}
_NAMES = {scheme: name for name, scheme in NAMED.items()}


@dataclass(frozen=True, repr=False)
class VarianceScaling(Drawn):
    """Mean zero and variance scale / n, n the fan that ``mode`` names."""

    factory = "variance_scaling"
    scale: float
    mode: Mode
    distribution: DistributionName
    layout: Layout = DENSE
    fans: Fans | None = None

    def call(self) -> tuple[str, dict[str, Any]]:
        options = given_options(self)
        name = _NAMES.get((self.scale, self.mode, self.distribution))
        if name:
            scheme = ("scale", "mode", "distribution")
            options = {option: value for option, value in options.items() if option not in scheme}
        return name or self.factory, layout_options.axes_as_options(options)

    def law(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Law, float]:
        law, unit = _unit(self.distribution, dtype.kind == "c")
        return law, self.stddev(shape) / unit

    def moments(self, shape: tuple[int, ...]) -> Moments:
        return Moments(self.distribution, 0.0, self.stddev(shape))

    def stddev(self, shape: Sequence[int]) -> float:
        """The standard deviation asked for a kernel of this shape; 0 where it has no elements."""
        return self.of_fans(*(self.fans or self.layout.fans(shape, self.name)))

    def of_fans(self, fan_in: float, fan_out: float) -> float:
        """The standard deviation asked for a kernel of these fans; 0 where the fan is 0."""
        fan = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": math.sqrt(fan_in * fan_out),
        }[self.mode]
        return math.sqrt(self.scale / fan) if fan else 0.0

    @property
    def takes_layout(self) -> bool:
        return super().takes_layout and self.fans is None

    def fitted(self, label: str, layout: Layout, kernel: tuple[int, ...] | None = None) -> Self:
        if kernel is None or not self.takes_layout:
            return super().fitted(label, layout)
        named = replace(self, label=f"{label}: {self.name}")
        return replace(named, fans=layout.fans(kernel, named.name))


def _unit(distribution: str, complex: bool) -> tuple[Law, float]:
    """The unit distribution and its standard deviation (complex: the root of E|z|^2)."""
    if distribution == "normal":
        return laws.NORMAL, 1.0
    if distribution == "uniform":
        return laws.SYMMETRIC_UNIFORM, math.sqrt(1 / 2 if complex else 1 / 3)
    law = laws.truncated_normal(-2.0, 2.0)
    return law, laws.COMPLEX_TRUNCATED_STDDEV if complex else laws.TRUNCATED_STDDEV


def variance_scaling(
    scale: float = 1.0,
    mode: Mode = "fan_in",
    distribution: DistributionName = "truncated_normal",
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """Mean 0 and variance exactly scale / n, whatever the distribution.

    By ``mode``, n is fan_in, fan_out, their mean (fan_avg) or their geometric mean (fan_geo_avg).

    - "truncated_normal": a normal truncated at two standard deviations, and made wider by
      1/0.87962566 first, so that the variance after truncation is scale/n;
      |x| <= 2.27 sqrt(scale/n).
    - "normal": N(0, scale/n).
    - "uniform": on [-b, b], b = sqrt(3 scale/n).

    With a complex dtype the variance is E|z|^2: a circular normal, the same with its modulus
    truncated (made wider by 1/0.96196183), or uniform on the disk |z| <= sqrt(2 scale/n).

    Args:
      scale: above 0.
      mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
      distribution: "truncated_normal", "normal" or "uniform".
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      dtype: the dtype where the call gives none.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is not above 0, an unknown mode or distribution, a layout together with
        axes; at the call, a shape with too few axes, axes that are out of range or repeated, or
        both batch and in or out; a dtype that is not floating or complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.variance_scaling(2.0, "fan_avg", "uniform")
      >>> w = init(jax.random.key(0), (256, 768))
      >>> f"{w.var():.4f}"
      '0.0039'

    Source: Glorot & Bengio 2010, eq. 12 and 16; He et al. 2015, eq. 10 and 14.
    """
    return named_scaling(
        "variance_scaling",
        (scale, mode, distribution),
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


def named_scaling(
    name: str,
    scheme: tuple[float, Mode, DistributionName],
    in_axis: Axes,
    out_axis: Axes,
    batch_axis: Axes,
    dtype: DType,
    *,
    layout: Layout | None,
    fans: Sequence[float] | None,
) -> Initializer:
    """``variance_scaling`` as the function ``name``, which errors speak of."""
    defaults = dtype is layout is fans is None and layout_options.are_defaults(
        in_axis, out_axis, batch_axis
    )
    if defaults and tuple(map(type, scheme)) == (float, str, str):
        return _plain(name, scheme)
    refuse_key(name, in_axis)
    axes = layout_options.layout_of(name, layout, in_axis, out_axis, batch_axis)
    known = None if fans is None else _check_fans(name, fans)
    return _scaling(name, scheme, axes, known, dtype_name(name, dtype))


@lru_cache(maxsize=256)
def _plain(name: str, scheme: tuple[float, Mode, DistributionName]) -> Initializer:
    """Of a dense layer, made once: the pure functions make their initializer in every call."""
    return _scaling(name, scheme, DENSE, None, None)


def _scaling(
    name: str,
    scheme: tuple[float, Mode, DistributionName],
    axes: Layout,
    fans: Fans | None,
    dtype: str | None,
) -> Initializer:
    scale, mode, distribution = scheme
    checked = check_positive(name, "scale", scale)
    check_choice(name, "mode", mode, MODES)
    check_choice(name, "distribution", distribution, DISTRIBUTIONS)
    return layout_options.by_block(
        lambda block: VarianceScaling(
            checked, mode, distribution, block, fans, dtype=dtype, label=name
        ),
        axes,
    )


def _check_fans(name: str, fans: Any) -> Fans:
    """The two fans, as floats above 0."""
    if not is_sequence(fans) or len(fans) != 2:
        raise TypeError(f"{name}: fans must be (fan_in, fan_out); got {shown(fans)}.")
    return Fans(*(check_positive(name, "each of fans", fan) for fan in fans))

"""The factories: names, signatures and distributions of ``jax.nn.initializers``.

Each returns an ``Initializer``, a function ``(key, shape, dtype=None, out_sharding=None) -> Array``
that is also a value: hashable, comparable, picklable, printed as the call that made it.

    from jaxinit import initializers
    nn.Dense(256, kernel_init=initializers.he_normal())

What all of them have in common: dtype is any of float64, float32, bfloat16, float16,
float8_e4m3fn, float8_e5m2, complex64 and complex128 (constants: any dtype), as a type or a
string; without one, JAX's default float. Values are drawn in float32 (float64 in float64) and
rounded to the dtype once.
``out_sharding`` is a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
device makes its own part. For a complex dtype the variance is E|z|^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ._random import laws
from ._schemes import config
from ._schemes.base import (
    DISTRIBUTIONS,
    MODES,
    Constant,
    DType,
    Initializer,
    Scaled,
    VarianceScaling,
    as_call,
    check_positive,
    dtype_name,
    refuse_key,
)
from ._schemes.blocks import Blocks, Init, blocks, repeated
from ._schemes.combinators import clipped, masked, scaled, shifted
from ._schemes.fans import Axes, Layout
from ._schemes.orthogonal import delta_orthogonal, orthogonal
from ._schemes.structured import dirac, hadamard, identity, sparse, zer_o
from ._schemes.time_scales import chrono, hippo, mamba_a_log, mamba_dt_bias

__all__ = [
    "Initializer",
    "blocks",
    "chrono",
    "clipped",
    "constant",
    "delta_orthogonal",
    "dirac",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "hadamard",
    "he_normal",
    "he_uniform",
    "hippo",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "mamba_a_log",
    "mamba_dt_bias",
    "masked",
    "normal",
    "ones",
    "ones_init",
    "orthogonal",
    "repeated",
    "scaled",
    "shifted",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zer_o",
    "zeros",
    "zeros_init",
]


def get(identifier: str | Mapping[str, Any] | Init) -> Init:
    """The initializer of a name or a config; a function is handed back as it is.

    Args:
      identifier: a name, as "he_normal" or Keras's "HeNormal"; what ``to_config`` gives, a dict of
        "name" and options; or Keras's config, a dict of "class_name" and "config". Keras's
        distribution "normal" is a truncated normal, and so it is read; its seed is left out.

    Raises:
      ValueError: an unknown name or option of Keras; what the factory itself refuses.
      TypeError: neither a name, a config, nor a function; an option the factory does not have.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.get("he_normal") == initializers.he_normal()
      True
      >>> initializers.get({"class_name": "VarianceScaling", "config": {"distribution": "normal"}})
      variance_scaling(1.0, 'fan_in', 'truncated_normal')
    """
    factories = {name: globals()[name] for name in __all__ if name not in ("get", "Initializer")}
    return config.build(identifier, {**factories, "Layout": Layout, "array": _array})


def _array(value: Any, dtype: str) -> np.ndarray:
    return np.asarray(value, dtype)


zeros: Initializer = Constant.of(0.0, "zeros")
ones: Initializer = Constant.of(1.0, "ones")


def zeros_init() -> Initializer:
    """``zeros`` itself, as flax.linen spells it."""
    return zeros


def ones_init() -> Initializer:
    """``ones`` itself, as flax.linen spells it."""
    return ones


def constant(value: Any, dtype: DType = None) -> Initializer:
    """Every element ``value``: a number, or an array that broadcasts to the shape.

    Args:
      value: a number or array of any dtype; it is copied.
      dtype: used where the call gives none. Any dtype, integers too.

    Raises:
      TypeError: a value that is no number or array. At the call, ValueError: it does not broadcast.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.constant(0.5)(None, (2,)).tolist()
      [0.5, 0.5]
    """
    call = as_call("constant", value, dtype=(dtype, None))
    return Constant.of(value, call, dtype_name("constant", dtype))


def uniform(scale: float = 1e-2, dtype: DType = None) -> Initializer:
    """Uniform on [0, scale]: mean scale/2, variance scale^2/12.

    Both ends can occur, after rounding to float32. Complex: uniform on the disk |z| <= scale,
    E|z|^2 = scale^2/2.

    Args:
      scale: the upper end, above 0.
      dtype: used where the call gives none.

    Raises:
      ValueError: a scale that is not finite and above 0. At the call: a dtype that is not
        floating or complex, or too narrow for the scale.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.uniform(2.0)(jax.random.key(0), (512, 512))
      >>> f"{x.mean():.2f} {x.std():.2f}"
      '1.00 0.58'
    """
    checked = check_positive("uniform", "scale", scale)
    call = as_call("uniform", scale=(checked, 1e-2), dtype=(dtype, None))
    return Scaled(laws.UNIFORM, checked, call=call, dtype=dtype_name("uniform", dtype))


def normal(stddev: float = 1e-2, dtype: DType = None) -> Initializer:
    """Normal with mean 0 and standard deviation ``stddev``; magnitude at most 6.34 stddev.

    Complex: circular, E|z|^2 = stddev^2.

    Args:
      stddev: the standard deviation, above 0.
      dtype: used where the call gives none.

    Raises:
      ValueError: as for ``uniform``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.normal(0.02)(jax.random.key(0), (512, 512))
      >>> f"{x.std():.3f}"
      '0.020'
    """
    checked = check_positive("normal", "stddev", stddev)
    call = as_call("normal", stddev=(checked, 1e-2), dtype=(dtype, None))
    return Scaled(laws.NORMAL, checked, call=call, dtype=dtype_name("normal", dtype))


def truncated_normal(
    stddev: float = 1e-2, dtype: DType = None, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """``stddev`` times a standard normal truncated to [lower, upper].

    As in JAX, ``stddev`` is that of the normal *before* truncation: with bounds +-2 the result
    has standard deviation 0.8796 stddev. The bounds are in units of ``stddev`` and may be infinite;
    values stay right in the tail. Complex, for bounds -b and b: circular, |z| <= b stddev.

    Args:
      stddev: of the normal before truncation, above 0.
      dtype: used where the call gives none.
      lower, upper: the bounds, lower < upper, reaching within 37 of 0.

    Raises:
      ValueError: as for ``uniform``, and for bounds out of order or beyond 37.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> x = initializers.truncated_normal(1.0, lower=5.0, upper=7.0)(jax.random.key(0), (64, 64))
      >>> bool((x >= 5).all() and (x <= 7).all()), f"{x.mean():.1f}"
      (True, '5.2')
    """
    name = "truncated_normal"
    checked = check_positive(name, "stddev", stddev)
    low, high = (float(bound) for bound in (lower, upper))
    if not low < high or low > 37 or high < -37:
        raise ValueError(
            f"{name}: expected lower < upper, reaching within 37 standard deviations of 0; "
            f"got lower={low}, upper={high}."
        )
    call = as_call(
        name,
        stddev=(checked, 1e-2),
        dtype=(dtype, None),
        lower=(low, -2.0),
        upper=(high, 2.0),
    )
    law = laws.truncated_normal(low, high)
    return Scaled(law, checked, call=call, dtype=dtype_name(name, dtype))


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """Mean 0 and variance exactly scale / n, whatever the distribution.

    n is fan_in, fan_out, their mean (fan_avg) or their geometric mean (fan_geo_avg), by ``mode``.

    - "normal": N(0, scale/n).
    - "truncated_normal": a normal truncated at two standard deviations and then widened by
      1/0.87962566, so that the variance after truncation is scale/n; |x| <= 2.27 sqrt(scale/n).
    - "uniform": on [-b, b], b = sqrt(3 scale/n).

    Complex: circular normal, the same with modulus truncated (widened by 1/0.96196183), uniform
    on the disk |z| <= sqrt(2 scale/n).

    Args:
      scale: above 0.
      mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
      distribution: "truncated_normal", "normal" or "uniform".
      in_axis, out_axis, batch_axis: an axis or a tuple of them; all others are the window, whose
        size multiplies both fans.
      dtype: used where the call gives none.
      layout: in place of the axes, what each of them is. Where it has blocks, each is drawn apart
        (see ``blocks``).

    Raises:
      ValueError: scale not above 0, unknown mode or distribution, a layout together with axes;
        at the call: shapes with too few axes, axes out of range, repeated, or batch and also in or
        out; a dtype not floating or complex; a variance that overflows the dtype.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> init = initializers.variance_scaling(2.0, "fan_avg", "uniform")
      >>> f"{init(jax.random.key(0), (256, 768)).var():.4f}"
      '0.0039'

    Source: Glorot & Bengio 2010, eq. 12 and 16; He et al. 2015, eq. 10 and 14.
    """
    name = "variance_scaling"
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    call = as_call(name, scale, mode, distribution, **options.pairs())
    return _scaling(name, call, scale, mode, distribution, options)


def he_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """He normal: truncated normal, mean 0, variance 2/fan_in; |x| <= 2.27 sqrt(2/fan_in).

    Keeps the second moment through layers of ReLU and its kin, which halve it.
    Arguments and errors: as for ``variance_scaling``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.he_normal()(jax.random.key(0), (512, 256))
      >>> f"{w.std() * (512 / 2) ** 0.5:.2f}"
      '1.00'

    Source: He et al. 2015, eq. 10.
    """
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    return _named("he_normal", 2.0, "fan_in", "truncated_normal", options)


def he_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """He uniform: uniform on [-b, b], b = sqrt(6/fan_in); mean 0, variance 2/fan_in.

    Arguments and errors: as for ``variance_scaling``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.he_uniform()(jax.random.key(0), (600, 256))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: He et al. 2015, eq. 10, with the uniform law of equal variance.
    """
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    return _named("he_uniform", 2.0, "fan_in", "uniform", options)


def glorot_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """Glorot normal: truncated normal, mean 0, variance 2/(fan_in + fan_out).

    Arguments and errors: as for ``variance_scaling``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.glorot_normal()(jax.random.key(0), (100, 300))
      >>> f"{w.std():.3f}"
      '0.071'

    Source: Glorot & Bengio 2010, eq. 12.
    """
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    return _named("glorot_normal", 1.0, "fan_avg", "truncated_normal", options)


def glorot_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """Glorot uniform: on [-b, b], b = sqrt(6/(fan_in + fan_out)); variance 2/(fan_in + fan_out).

    Arguments and errors: as for ``variance_scaling``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.glorot_uniform()(jax.random.key(0), (300, 300))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: Glorot & Bengio 2010, eq. 16.
    """
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    return _named("glorot_uniform", 1.0, "fan_avg", "uniform", options)


def lecun_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """LeCun normal: truncated normal, mean 0, variance 1/fan_in. The law for SELU.

    Arguments and errors: as for ``variance_scaling``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.lecun_normal()(jax.random.key(0), (400, 256))
      >>> f"{w.std():.3f}"
      '0.050'

    Source: LeCun et al. 1998, "Efficient BackProp", eq. 16; for SELU Klambauer et al. 2017.
    """
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    return _named("lecun_normal", 1.0, "fan_in", "truncated_normal", options)


def lecun_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
) -> Initializer:
    """LeCun uniform: on [-b, b], b = sqrt(3/fan_in); mean 0, variance 1/fan_in.

    Arguments and errors: as for ``variance_scaling``.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.lecun_uniform()(jax.random.key(0), (300, 256))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: LeCun et al. 1998, eq. 16, with the uniform law of equal variance.
    """
    options = _Options(in_axis, out_axis, batch_axis, dtype, layout)
    return _named("lecun_uniform", 1.0, "fan_in", "uniform", options)


kaiming_normal = he_normal
kaiming_uniform = he_uniform
xavier_normal = glorot_normal
xavier_uniform = glorot_uniform


class _Options(NamedTuple):
    """What every variance-scaling factory takes."""

    in_axis: Axes
    out_axis: Axes
    batch_axis: Axes
    dtype: DType
    layout: Layout | None

    def pairs(self) -> dict[str, tuple[Any, Any]]:
        """Each option and its default."""
        return {
            name: (value, default)
            for name, value, default in zip(self._fields, self, _DEFAULTS, strict=True)
        }

    def resolve(self, name: str) -> Layout:
        """The layout, from the axes if it is not given."""
        if self.layout is None:
            return Layout.of(name, self.in_axis, self.out_axis, self.batch_axis)
        if not isinstance(self.layout, Layout):
            raise TypeError(
                f"{name}: layout must be a jaxinit.Layout, as jaxinit.layouts makes; "
                f"got {self.layout!r}."
            )
        if self[:3] != _DEFAULTS[:3]:
            raise ValueError(
                f"{name}: layout already says what each axis is; leave out in_axis, out_axis and "
                f"batch_axis, or the layout."
            )
        return self.layout


_DEFAULTS = _Options(-2, -1, (), None, None)


def _named(name: str, scale: float, mode: str, distribution: str, options: _Options) -> Initializer:
    """A named variant of variance scaling."""
    refuse_key(name, options.in_axis)
    call = as_call(name, **options.pairs())
    return _scaling(name, call, scale, mode, distribution, options)


def _scaling(
    name: str, call: str, scale: float, mode: str, distribution: str, options: _Options
) -> Initializer:
    checked = check_positive(name, "scale", scale)
    for option, value, known in (
        ("mode", mode, MODES),
        ("distribution", distribution, DISTRIBUTIONS),
    ):
        if value not in known:
            raise ValueError(f"{name}: {option} must be one of {', '.join(known)}; got {value!r}.")
    layout, dtype = options.resolve(name), dtype_name(name, options.dtype)
    scheme = VarianceScaling(checked, mode, distribution, layout.block, call=call, dtype=dtype)
    if layout.blocks == 1:
        return scheme
    return Blocks((scheme,), layout.blocks, layout.block_axis, call=call, dtype=dtype)

"""The pure functions: each initializer as ``NAME(key, shape, dtype=None, out_sharding=None, ...)``.

Each is the factory of the same name in ``jaxinit.initializers``, called at once; the law, the exact
variance, the errors and the source are told there. They serve as ``kernel_init`` as they are:

    nn.Dense(256, kernel_init=jaxinit.he_normal)

Every one takes ``key`` (one JAX random key of any kind), ``shape`` (a sequence of sizes, zeros
allowed), ``dtype`` and ``out_sharding``, and returns an array of exactly these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from . import initializers
from ._random import draw
from ._random.draw import OutSharding
from ._random.stream import check_key
from ._schemes.base import DType, check_shape, check_sharding
from ._schemes.blocks import Init
from ._schemes.fans import Axes, Layout


def bits(key: jax.Array, shape: Sequence[int], out_sharding: OutSharding = None) -> jax.Array:
    """The words of the stream: independent uniform uint32, word(i) at row-major flat index i.

    For a threefry2x32 key these are the words of
    ``jax.random.bits(jax.random.fold_in(key, 0x6A617869), (ceil(n/2),), "uint64")``, high half
    first. A value depends on the key and its flat index alone.

    Raises:
      TypeError, ValueError: a key that is no key, a shape that is no shape.

    Example:
      >>> import jax, jaxinit
      >>> jaxinit.bits(jax.random.key(0), (2,)).dtype.name
      'uint32'

    Source: Salmon et al., SC 2011 (Threefry-2x32, 20 rounds).
    """
    checked = check_shape("bits", shape)
    check_key("bits", key)
    check_sharding("bits", checked, out_sharding)
    return draw.bits(key, checked, out_sharding)


def zeros(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """All zeros; the key is not used."""
    return initializers.zeros(key, shape, dtype, out_sharding)


def ones(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """All ones; the key is not used."""
    return initializers.ones(key, shape, dtype, out_sharding)


def constant(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    value: Any,
) -> jax.Array:
    """Every element ``value``, or an array that broadcasts; the key is not used."""
    return initializers.constant(value)(key, shape, dtype, out_sharding)


def uniform(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1e-2,
) -> jax.Array:
    """Uniform on [0, scale]: mean scale/2, variance scale^2/12."""
    return initializers.uniform(scale)(key, shape, dtype, out_sharding)


def normal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    stddev: float = 1e-2,
) -> jax.Array:
    """Normal, mean 0, variance stddev^2."""
    return initializers.normal(stddev)(key, shape, dtype, out_sharding)


def truncated_normal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    stddev: float = 1e-2,
    lower: float = -2.0,
    upper: float = 2.0,
) -> jax.Array:
    """``stddev`` times a standard normal truncated to [lower, upper]."""
    return initializers.truncated_normal(stddev, None, lower, upper)(
        key, shape, dtype, out_sharding
    )


def variance_scaling(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Mean 0, variance scale / fan."""
    init = initializers.variance_scaling(
        scale, mode, distribution, in_axis, out_axis, batch_axis, layout=layout
    )
    return init(key, shape, dtype, out_sharding)


def he_normal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Truncated normal, variance 2/fan_in (He et al. 2015)."""
    init = initializers.he_normal(in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def he_uniform(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Uniform on +-sqrt(6/fan_in), variance 2/fan_in (He et al. 2015)."""
    init = initializers.he_uniform(in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def glorot_normal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Truncated normal, variance 2/(fan_in + fan_out) (Glorot & Bengio 2010)."""
    init = initializers.glorot_normal(in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def glorot_uniform(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Uniform, variance 2/(fan_in + fan_out) (Glorot & Bengio 2010)."""
    init = initializers.glorot_uniform(in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def lecun_normal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Truncated normal, variance 1/fan_in (LeCun et al. 1998)."""
    init = initializers.lecun_normal(in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def lecun_uniform(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Uniform on +-sqrt(3/fan_in), variance 1/fan_in (LeCun et al. 1998)."""
    init = initializers.lecun_uniform(in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def blocks(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    init: Init | Sequence[Init],
    sizes: int | Sequence[int],
    axis: int = -1,
) -> jax.Array:
    """Kernels side by side along ``axis``, block b made by ``init`` from ``fold_in(key, b)``."""
    return initializers.blocks(init, sizes, axis)(key, shape, dtype, out_sharding)


def orthogonal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    column_axis: int = -1,
    layout: Layout | None = None,
) -> jax.Array:
    """``scale`` times a random matrix of orthonormal columns or rows (Saxe et al. 2014)."""
    init = initializers.orthogonal(scale, column_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def delta_orthogonal(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    column_axis: int = -1,
    layout: Layout | None = None,
) -> jax.Array:
    """An orthonormal map of channels at the window's centre, else zero (Xiao et al. 2018)."""
    init = initializers.delta_orthogonal(scale, column_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


def identity(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    gain: float = 1.0,
    shift: int | Sequence[int] = 0,
    layout: Layout | None = None,
) -> jax.Array:
    """``gain`` times the identity, at the window's centre; the key is not used."""
    init = initializers.identity(gain, shift, layout=layout)
    return init(key, shape, dtype, out_sharding)


def dirac(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    groups: int = 1,
    layout: Layout | None = None,
) -> jax.Array:
    """The identity of each group's channels, at the window's centre; the key is not used."""
    init = initializers.dirac(groups, layout=layout)
    return init(key, shape, dtype, out_sharding)


def hadamard(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    layout: Layout | None = None,
) -> jax.Array:
    """``scale`` times a corner of the orthonormal Hadamard matrix; the key is not used."""
    init = initializers.hadamard(scale, layout=layout)
    return init(key, shape, dtype, out_sharding)


def zer_o(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    layout: Layout | None = None,
) -> jax.Array:
    """The identity, or ``hadamard`` where outputs are more (Zhao et al. 2022)."""
    init = initializers.zer_o(layout=layout)
    return init(key, shape, dtype, out_sharding)


def sparse(
    key: jax.Array,
    shape: Sequence[int],
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    sparsity: float,
    stddev: float = 1e-2,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Normal, each output with ceil(sparsity n) of its n inputs zero (Martens 2010)."""
    init = initializers.sparse(sparsity, stddev, in_axis, out_axis, batch_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


kaiming_normal = he_normal
kaiming_uniform = he_uniform
xavier_normal = glorot_normal
xavier_uniform = glorot_uniform

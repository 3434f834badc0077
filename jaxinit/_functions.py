"""The pure functions of (key, shape, dtype); written by generate_faces.py.

Each calls the factory of the same name in ``jaxinit.initializers`` and then what it returns. They
serve as ``kernel_init`` as they are:

    nn.Dense(256, kernel_init=jaxinit.he_normal)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from . import initializers
from ._random import draw
from ._random.sharding import OutSharding
from ._random.stream import check_key
from ._schemes.arguments import Shape, check_shape, check_sharding, needs_key
from ._schemes.base import Init
from ._schemes.checks import DType
from ._schemes.fans import Axes, Layout
from ._schemes.variance import DistributionName, Mode


def bits(key: jax.Array, shape: Shape, out_sharding: OutSharding = None) -> jax.Array:
    """Independent random words, uniform uint32: what every random array is made of.

    For a threefry2x32 key these are the words of
    ``jax.random.bits(jax.random.fold_in(key, 0x6A617869), (ceil(n/2),), "uint64")``, high half
    first. A word depends on the key and its row-major flat index alone.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.

    Returns:
      An array of uint32 of this shape, sharded as asked.

    Raises:
      TypeError, ValueError: a key, a shape or a sharding that is not one.

    Example:
      >>> import jax, jaxinit
      >>> jaxinit.bits(jax.random.key(0), (2,)).dtype.name
      'uint32'

    Source: Salmon et al. 2011 (Threefry-2x32, 20 rounds).
    """
    sizes = check_shape("bits", shape)
    check_key("bits", key)
    return draw.bits(key, sizes, check_sharding("bits", sizes, out_sharding))


@needs_key
def zeros(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """All zeros. The key is not used.

    Args:
      key: a key, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: any dtype, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError, ValueError: a shape, a dtype or a sharding that is not one.

    Example:
      >>> import jaxinit
      >>> jaxinit.zeros(None, (2,)).tolist()
      [0.0, 0.0]
    """
    return initializers.zeros(key, shape, dtype, out_sharding)


@needs_key
def ones(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """All ones. The key is not used.

    Args:
      key: a key, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: any dtype, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError, ValueError: a shape, a dtype or a sharding that is not one.

    Example:
      >>> import jaxinit
      >>> jaxinit.ones(None, (2,)).tolist()
      [1.0, 1.0]
    """
    return initializers.ones(key, shape, dtype, out_sharding)


@needs_key
def constant(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    value: Any,
) -> jax.Array:
    """Every element is ``value``: a number, or an array that broadcasts to the shape.

    The key is not used.

    Args:
      key: one JAX random key of any kind, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: any dtype, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      value: a number, or an array of numbers of any dtype, which is copied.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: the value is not a number or an array of numbers.
      ValueError: the value does not broadcast to the shape, or the dtype cannot hold it: it
        overflows, has a fraction or an imaginary part that would be lost, or is NaN or infinite
        where the dtype has no such number.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> jaxinit.constant(jax.random.key(0), (2,), value=0.5).tolist()
      [0.5, 0.5]

    Source: ``jax.nn.initializers.constant``, which takes numbers alone.
    """
    init = initializers.constant(value=value)
    return init(key, shape, dtype, out_sharding)


@needs_key
def uniform(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 0.01,
) -> jax.Array:
    """Uniform on [0, scale]: mean scale/2, variance scale^2/12.

    Both ends can occur, after rounding to float32. With a complex dtype the values are uniform on
    the disk |z| <= scale, and E|z|^2 = scale^2/2.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      scale: the upper end, above 0.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: scale is not a number.
      ValueError: scale is not finite or not above 0; a dtype that is not floating or complex, or
        too narrow for the values.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> x = jaxinit.uniform(jax.random.key(0), (512, 512), scale=2.0)
      >>> f"{x.mean():.2f} {x.std():.2f}"
      '1.00 0.58'

    Source: ``jax.nn.initializers.uniform``, whose distribution this is.
    """
    init = initializers.uniform(scale=scale)
    return init(key, shape, dtype, out_sharding)


@needs_key
def symmetric_uniform(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    bound: float = 0.01,
) -> jax.Array:
    """Uniform on [-bound, bound]: mean 0, variance bound^2/3.

    What PyTorch's ``uniform_(-bound, bound)`` and Keras's ``RandomUniform(-bound, bound)`` draw.
    With a complex dtype the values are uniform on the disk |z| <= bound, and E|z|^2 = bound^2/2.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      bound: the largest magnitude, above 0.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: bound is not a number.
      ValueError: bound is not finite or not above 0; a dtype that is not floating or complex, or
        too narrow for the values.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> x = jaxinit.symmetric_uniform(jax.random.key(0), (512, 512), bound=0.05)
      >>> f"{x.min():.3f} {x.max():.3f}"
      '-0.050 0.050'

    Source: the default of PyTorch's layers and of Keras's embeddings.
    """
    init = initializers.symmetric_uniform(bound=bound)
    return init(key, shape, dtype, out_sharding)


@needs_key
def normal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    stddev: float = 0.01,
) -> jax.Array:
    """Normal with mean 0 and standard deviation ``stddev``; magnitudes are at most 6.34 stddev.

    With a complex dtype the distribution is circular, and E|z|^2 = stddev^2.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      stddev: the standard deviation, above 0.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: stddev is not a number.
      ValueError: stddev is not finite or not above 0; a dtype that is not floating or complex, or
        too narrow for the values.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> x = jaxinit.normal(jax.random.key(0), (512, 512), stddev=0.02)
      >>> f"{x.std():.3f}"
      '0.020'

    Source: ``jax.nn.initializers.normal``, whose distribution this is.
    """
    init = initializers.normal(stddev=stddev)
    return init(key, shape, dtype, out_sharding)


@needs_key
def truncated_normal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    stddev: float = 0.01,
    lower: float = -2.0,
    upper: float = 2.0,
) -> jax.Array:
    """``stddev`` times a standard normal truncated to [lower, upper].

    As in JAX, ``stddev`` is the standard deviation of the normal *before* truncation: with the
    bounds -2 and 2 the values have standard deviation 0.8796 stddev. The bounds are in units of
    ``stddev`` and may be infinite, and values are right far out in the tail. With a complex dtype
    and bounds -b and b the distribution is circular, truncated to |z| <= b stddev.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      stddev: the standard deviation before truncation, above 0.
      lower: the lower bound, in units of stddev.
      upper: the upper bound, above the lower one; the interval reaches within 37 of 0.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: stddev or a bound is not a number.
      ValueError: stddev is not finite or not above 0, bounds out of order, beyond 37 or within 1e-6
        of each other; a dtype that is not floating or complex, or too narrow for the values.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> x = jaxinit.truncated_normal(
      ...     jax.random.key(0), (64, 64), stddev=1.0, lower=5.0, upper=7.0
      ... )
      >>> bool((x >= 5).all() and (x <= 7).all()), f"{x.mean():.1f}"
      (True, '5.2')

    Source: ``jax.nn.initializers.truncated_normal``, whose distribution this is.
    """
    init = initializers.truncated_normal(stddev=stddev, lower=lower, upper=upper)
    return init(key, shape, dtype, out_sharding)


@needs_key
def variance_scaling(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    mode: Mode = "fan_in",
    distribution: DistributionName = "truncated_normal",
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
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
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      scale: above 0.
      mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
      distribution: "truncated_normal", "normal" or "uniform".
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is not above 0, an unknown mode or distribution, a layout together with
        axes; a shape with too few axes, axes that are out of range or repeated, or both batch and
        in or out; a dtype that is not floating or complex, or too narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.variance_scaling(
      ...     jax.random.key(0), (256, 768), scale=2.0, mode="fan_avg", distribution="uniform"
      ... )
      >>> f"{w.var():.4f}"
      '0.0039'

    Source: Glorot & Bengio 2010, eq. 12 and 16; He et al. 2015, eq. 10 and 14.
    """
    init = initializers.variance_scaling(
        scale=scale,
        mode=mode,
        distribution=distribution,
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def he_normal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
    """He normal: a truncated normal with mean 0 and variance 2/fan_in.

    For layers before ReLU and its family, which halve the second moment of a signal: the doubled
    variance makes up for that. Magnitudes are at most 2.27 sqrt(2/fan_in). Also called Kaiming
    normal.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: a layout together with axes; a shape with too few axes, axes that are out of range
        or repeated, or both batch and in or out; a dtype that is not floating or complex, or too
        narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.he_normal(jax.random.key(0), (512, 256))
      >>> f"{w.std() * (512 / 2) ** 0.5:.2f}"
      '1.00'

    Source: He et al. 2015, eq. 10.
    """
    init = initializers.he_normal(
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def he_uniform(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
    """He uniform: uniform on [-b, b] with b = sqrt(6/fan_in); mean 0, variance 2/fan_in.

    For layers before ReLU and its family, as ``he_normal``. Also called Kaiming uniform.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: a layout together with axes; a shape with too few axes, axes that are out of range
        or repeated, or both batch and in or out; a dtype that is not floating or complex, or too
        narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.he_uniform(jax.random.key(0), (600, 256))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: He et al. 2015, eq. 10, with the uniform distribution of equal variance.
    """
    init = initializers.he_uniform(
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def glorot_normal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
    """Glorot normal: a truncated normal with mean 0 and variance 2/(fan_in + fan_out).

    For layers before tanh, sigmoid, softmax or no activation: a compromise between keeping the
    variance of signals and that of gradients. Also called Xavier normal.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: a layout together with axes; a shape with too few axes, axes that are out of range
        or repeated, or both batch and in or out; a dtype that is not floating or complex, or too
        narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.glorot_normal(jax.random.key(0), (100, 300))
      >>> f"{w.std():.3f}"
      '0.071'

    Source: Glorot & Bengio 2010, eq. 12.
    """
    init = initializers.glorot_normal(
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def glorot_uniform(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
    """Glorot uniform: uniform on [-b, b], b = sqrt(6/(fan_in + fan_out)).

    Mean 0 and variance 2/(fan_in + fan_out), for the same layers as ``glorot_normal``; the default
    of Keras. Also called Xavier uniform.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: a layout together with axes; a shape with too few axes, axes that are out of range
        or repeated, or both batch and in or out; a dtype that is not floating or complex, or too
        narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.glorot_uniform(jax.random.key(0), (300, 300))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: Glorot & Bengio 2010, eq. 16.
    """
    init = initializers.glorot_uniform(
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def lecun_normal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
    """LeCun normal: a truncated normal with mean 0 and variance 1/fan_in.

    Outputs have the variance of the inputs. It is the one for SELU, and the default of Flax.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: a layout together with axes; a shape with too few axes, axes that are out of range
        or repeated, or both batch and in or out; a dtype that is not floating or complex, or too
        narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.lecun_normal(jax.random.key(0), (400, 256))
      >>> f"{w.std():.3f}"
      '0.050'

    Source: LeCun et al. 1998, "Efficient BackProp", eq. 16; for SELU Klambauer et al. 2017.
    """
    init = initializers.lecun_normal(
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def lecun_uniform(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> jax.Array:
    """LeCun uniform: uniform on [-b, b] with b = sqrt(3/fan_in); mean 0, variance 1/fan_in.

    Outputs have the variance of the inputs, as with ``lecun_normal``.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose size multiplies both fans.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``. Where it has
        blocks, each is drawn by itself, as ``blocks`` does it.
      fans: in place of counting them in the shape, (fan_in, fan_out).

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: a layout together with axes; a shape with too few axes, axes that are out of range
        or repeated, or both batch and in or out; a dtype that is not floating or complex, or too
        narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.lecun_uniform(jax.random.key(0), (300, 256))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: LeCun et al. 1998, eq. 16, with the uniform distribution of equal variance.
    """
    init = initializers.lecun_uniform(
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
        fans=fans,
    )
    return init(key, shape, dtype, out_sharding)


@needs_key
def blocks(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    init: Init | Sequence[Init],
    sizes: int | Sequence[int],
    axis: int = -1,
) -> jax.Array:
    """Several kernels fused into one array; block b is made by ``init`` from ``fold_in(key, b)``.

    Each block has the fans of its own shape, and the values that ``init`` gives for it alone. So a
    fused kernel of queries, keys and values, or of a recurrent cell's gates, is what the separate
    kernels would be. Initializers that take a ``layout`` do the same when it has blocks.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      init: an initializer, or one for each block: ours, JAX's, any function of key, shape, dtype.
      sizes: the sizes of the blocks along ``axis``, or the number of equal blocks.
      axis: the axis along which the blocks lie.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: init is not a function.
      ValueError: no initializer, or sizes that are not positive; sizes that do not fill the axis,
        or a number of initializers that is neither 1 nor that of the blocks.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> from jaxinit import initializers
      >>> w = jaxinit.blocks(
      ...     jax.random.key(0), (512, 3 * 512), init=initializers.glorot_normal(), sizes=3
      ... )
      >>> f"{w.std() * 512**0.5:.2f}"
      '1.00'

    Source: pytorch/pytorch issue 166378, on what is lost when a fused kernel is drawn as one.
    """
    init = initializers.blocks(init=init, sizes=sizes, axis=axis)
    return init(key, shape, dtype, out_sharding)


@needs_key
def orthogonal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    column_axis: int = -1,
    layout: Layout | None = None,
) -> jax.Array:
    """``scale`` times a matrix with orthonormal columns, or rows where there are fewer of those.

    The matrix is uniformly distributed (by Haar's measure): no rotation is likelier than another.
    Each element has mean 0 and variance scale^2/m, m the larger side, and every singular value is
    ``scale``. It is computed in float32 (in float64, complex64 and complex128 in their own
    precision; a complex one is unitary) and rounded to the dtype once; before that
    |Q^H Q - I| <= 1e-5. The bits are the same eagerly, under jit, vmap, scan and ``materialize`` on
    one machine with one version of JAX. Elsewhere, and sharded over devices, the last bits may
    differ: the order in which the backend adds up matrix products is its own.

    Without a layout all axes but ``column_axis`` together are the rows, as in JAX: the kernel of a
    convolution is one matrix. With a layout, input axes are rows and output axes columns, and every
    place along the window and batch axes, every group and every block has a matrix of its own.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      scale: the gain, above 0.
      column_axis: the axis of the columns.
      layout: in place of ``column_axis``, what each axis is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is not above 0; fewer than two axes, an axis out of range, or both in and
        out; a dtype that is not floating or complex, or too narrow.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jaxinit
      >>> w = jaxinit.orthogonal(jax.random.key(0), (256, 64))
      >>> bool(abs(w.T @ w - jnp.eye(64)).max() < 1e-5)
      True

    Source: Saxe et al. 2014, section 3; drawn as in Stewart 1980.
    """
    init = initializers.orthogonal(scale=scale, column_axis=column_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


@needs_key
def delta_orthogonal(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    column_axis: int = -1,
    layout: Layout | None = None,
) -> jax.Array:
    """A convolution with an orthonormal map of channels at the window's centre, zero elsewhere.

    The centre of a window axis of size k is (k - 1)//2, as in JAX. There the kernel is ``scale``
    times a uniformly distributed matrix with orthonormal rows, so a circular convolution keeps
    lengths. It works in any number of dimensions, and by groups and blocks with a layout.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      scale: the gain, above 0.
      column_axis: as in JAX; rows and columns of such a matrix have the same distribution.
      layout: in place of ``column_axis``, what each axis is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is not above 0; as for ``orthogonal``, and a shape with more inputs than
        outputs.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.delta_orthogonal(jax.random.key(0), (3, 3, 8, 16))
      >>> f"{(w[1, 1] ** 2).sum():.3f} {abs(w[0]).max():.3f}"
      '8.000 0.000'

    Source: Xiao et al. 2018, algorithm 1.
    """
    init = initializers.delta_orthogonal(scale=scale, column_axis=column_axis, layout=layout)
    return init(key, shape, dtype, out_sharding)


@needs_key
def identity(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    gain: float = 1.0,
    shift: int | Sequence[int] = 0,
    layout: Layout | None = None,
) -> jax.Array:
    """``gain`` times the identity: output j is input j.

    A rectangular matrix has ones on its main diagonal. A convolution has the identity at the centre
    of its window, k//2 along an axis of size k, and zeros elsewhere, in each group by itself; a
    batched kernel has it in each place. The key is not used, and the values are exact.

    Args:
      key: one JAX random key of any kind, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      gain: any finite number but 0.
      shift: turns the kernel along its axes, around the ends. One int moves the outputs, so that
        output j + shift is input j; a tuple has one entry for each axis.
      layout: what each axis is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: gain is 0 or not finite; fewer than two axes, a shift whose length is not the
        number of axes, an integer dtype that does not hold gain, a bool dtype.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> jaxinit.identity(jax.random.key(0), (2, 3), shift=1).tolist()
      [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Source: Le et al. 2015 (IRNN); for residual networks Bartlett et al. 2018.
    """
    init = initializers.identity(gain=gain, shift=shift, layout=layout)
    return init(key, shape, dtype, out_sharding)


@needs_key
def dirac(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    groups: int = 1,
    layout: Layout | None = None,
) -> jax.Array:
    """A convolution that hands channels through: the identity at the centre of the window.

    It is ``identity`` with the groups of a grouped convolution, whose kernel
    (*window, in/groups, out) then hands the channels of every group through. The key is not used.

    Args:
      key: one JAX random key of any kind, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      groups: the number of groups; it divides the outputs.
      layout: in place of ``groups``, what each axis is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: groups is not a positive int, or given with a layout; as for ``identity``, and
        groups that do not divide the outputs.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> jaxinit.dirac(jax.random.key(0), (3, 1, 2))[:, 0].tolist()
      [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]

    Source: Zagoruyko & Komodakis 2017 (DiracNets).
    """
    init = initializers.dirac(groups=groups, layout=layout)
    return init(key, shape, dtype, out_sharding)


@needs_key
def hadamard(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    scale: float = 1.0,
    layout: Layout | None = None,
) -> jax.Array:
    """``scale`` times a corner of Sylvester's Hadamard matrix, divided by the root of its order.

    The order p is the next power of two from the larger side on, and each element is
    scale/sqrt(p) in magnitude. Where the larger side is a power of two, the vectors along the
    shorter side are orthogonal. In a convolution it stands at the centre of the window, as
    ``identity`` does. The key is not used.

    Args:
      key: one JAX random key of any kind, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      scale: any finite number but 0.
      layout: what each axis is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: scale is 0 or not finite; fewer than two axes, a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> jaxinit.hadamard(jax.random.key(0), (4, 4), scale=2.0)[1].tolist()
      [1.0, -1.0, 1.0, -1.0]

    Source: Sylvester 1867; as weights Zhao et al. 2022, definition 1.
    """
    init = initializers.hadamard(scale=scale, layout=layout)
    return init(key, shape, dtype, out_sharding)


@needs_key
def zer_o(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    layout: Layout | None = None,
) -> jax.Array:
    """ZerO: the identity, or ``hadamard`` where there are more outputs than inputs.

    Only zeros and ones (up to the scale of the Hadamard matrix) and no randomness; it was made for
    networks with skip connections. The scale is 2^(-m/2), m = ceil(log2 out), as in the authors'
    code, which makes the map an isometry where out = 2^m; the paper's text has 2^(-(m-1)/2). The
    key is not used.

    Args:
      key: one JAX random key of any kind, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      layout: what each axis is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: fewer than two axes, a dtype that is not floating or complex.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> jaxinit.zer_o(jax.random.key(0), (1, 4)).tolist()
      [[0.5, 0.5, 0.5, 0.5]]

    Source: Zhao et al. 2022, algorithm 1.
    """
    init = initializers.zer_o(layout=layout)
    return init(key, shape, dtype, out_sharding)


@needs_key
def sparse(
    key: jax.Array,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
    *,
    sparsity: float,
    stddev: float = 0.01,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    layout: Layout | None = None,
) -> jax.Array:
    """Each output has ceil(sparsity n) of its n inputs exactly zero, and the others normal.

    Which inputs are zero is uniformly random, and independent from output to output; the values are
    those of ``normal(stddev)`` with the same key. The variance is (1 - sparsity) stddev^2. As in
    Martens' paper the limit is on what comes *in* to a unit. PyTorch's ``sparse_``, on (out, in)
    weights, limits what goes *out* of one; here that is ``sparse(s, in_axis=-1, out_axis=-2)``.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
        complex128, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.
      sparsity: the share of zeros, at least 0 and below 1.
      stddev: the standard deviation of the values that are not zero, above 0.
      in_axis: the input axis, or a tuple of them.
      out_axis: the output axis, or a tuple of them.
      batch_axis: the axes along which independent kernels lie. All axes that are not named are the
        window of a convolution, whose inputs count too.
      layout: in place of the axes, what each of them is; see ``jaxinit.layouts``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError: an option of the wrong type.
      ValueError: sparsity outside [0, 1), stddev not above 0, a layout together with axes; at the
        call, fewer than two axes, axes out of range, or both in and out; a dtype that is not
        floating or complex, or too narrow.

    Example:
      >>> import jax
      >>> import jaxinit
      >>> w = jaxinit.sparse(jax.random.key(0), (100, 50), sparsity=0.9)
      >>> (w == 0).sum(axis=0).tolist() == [90] * 50
      True

    Source: Martens 2010, section 5.
    """
    init = initializers.sparse(
        sparsity=sparsity,
        stddev=stddev,
        in_axis=in_axis,
        out_axis=out_axis,
        batch_axis=batch_axis,
        layout=layout,
    )
    return init(key, shape, dtype, out_sharding)


kaiming_normal = he_normal
kaiming_uniform = he_uniform
xavier_normal = glorot_normal
xavier_uniform = glorot_uniform

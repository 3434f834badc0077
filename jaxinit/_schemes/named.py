"""The variance scalings that have a name of their own; written by generate_faces.py.

Each is ``variance_scaling`` with a scale, a mode and a distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

from .base import Initializer
from .checks import DType
from .fans import Axes, Layout
from .variance import NAMED, named_scaling


def he_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """He normal: a truncated normal with mean 0 and variance 2/fan_in.

    For layers before ReLU and its family, which halve the second moment of a signal: the doubled
    variance makes up for that. Magnitudes are at most 2.27 sqrt(2/fan_in). Also called Kaiming
    normal.

    Args:
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
      ValueError: a layout together with axes; at the call, a shape with too few axes, axes that are
        out of range or repeated, or both batch and in or out; a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.he_normal()(jax.random.key(0), (512, 256))
      >>> f"{w.std() * (512 / 2) ** 0.5:.2f}"
      '1.00'

    Source: He et al. 2015, eq. 10.
    """
    return named_scaling(
        "he_normal",
        NAMED["he_normal"],
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


def he_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """He uniform: uniform on [-b, b] with b = sqrt(6/fan_in); mean 0, variance 2/fan_in.

    For layers before ReLU and its family, as ``he_normal``. Also called Kaiming uniform.

    Args:
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
      ValueError: a layout together with axes; at the call, a shape with too few axes, axes that are
        out of range or repeated, or both batch and in or out; a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.he_uniform()(jax.random.key(0), (600, 256))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: He et al. 2015, eq. 10, with the uniform distribution of equal variance.
    """
    return named_scaling(
        "he_uniform",
        NAMED["he_uniform"],
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


def glorot_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """Glorot normal: a truncated normal with mean 0 and variance 2/(fan_in + fan_out).

    For layers before tanh, sigmoid, softmax or no activation: a compromise between keeping the
    variance of signals and that of gradients. Also called Xavier normal.

    Args:
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
      ValueError: a layout together with axes; at the call, a shape with too few axes, axes that are
        out of range or repeated, or both batch and in or out; a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.glorot_normal()(jax.random.key(0), (100, 300))
      >>> f"{w.std():.3f}"
      '0.071'

    Source: Glorot & Bengio 2010, eq. 12.
    """
    return named_scaling(
        "glorot_normal",
        NAMED["glorot_normal"],
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


def glorot_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """Glorot uniform: uniform on [-b, b], b = sqrt(6/(fan_in + fan_out)).

    Mean 0 and variance 2/(fan_in + fan_out), for the same layers as ``glorot_normal``; the default
    of Keras. Also called Xavier uniform.

    Args:
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
      ValueError: a layout together with axes; at the call, a shape with too few axes, axes that are
        out of range or repeated, or both batch and in or out; a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.glorot_uniform()(jax.random.key(0), (300, 300))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: Glorot & Bengio 2010, eq. 16.
    """
    return named_scaling(
        "glorot_uniform",
        NAMED["glorot_uniform"],
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


def lecun_normal(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """LeCun normal: a truncated normal with mean 0 and variance 1/fan_in.

    Outputs have the variance of the inputs. It is the one for SELU, and the default of Flax.

    Args:
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
      ValueError: a layout together with axes; at the call, a shape with too few axes, axes that are
        out of range or repeated, or both batch and in or out; a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.lecun_normal()(jax.random.key(0), (400, 256))
      >>> f"{w.std():.3f}"
      '0.050'

    Source: LeCun et al. 1998, "Efficient BackProp", eq. 16; for SELU Klambauer et al. 2017.
    """
    return named_scaling(
        "lecun_normal",
        NAMED["lecun_normal"],
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


def lecun_uniform(
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType = None,
    *,
    layout: Layout | None = None,
    fans: Sequence[float] | None = None,
) -> Initializer:
    """LeCun uniform: uniform on [-b, b] with b = sqrt(3/fan_in); mean 0, variance 1/fan_in.

    Outputs have the variance of the inputs, as with ``lecun_normal``.

    Args:
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
      ValueError: a layout together with axes; at the call, a shape with too few axes, axes that are
        out of range or repeated, or both batch and in or out; a dtype that is not floating or
        complex, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> w = initializers.lecun_uniform()(jax.random.key(0), (300, 256))
      >>> f"{abs(w).max():.2f}"
      '0.10'

    Source: LeCun et al. 1998, eq. 16, with the uniform distribution of equal variance.
    """
    return named_scaling(
        "lecun_uniform",
        NAMED["lecun_uniform"],
        in_axis,
        out_axis,
        batch_axis,
        dtype,
        layout=layout,
        fans=fans,
    )


kaiming_normal = he_normal
kaiming_uniform = he_uniform
xavier_normal = glorot_normal
xavier_uniform = glorot_uniform

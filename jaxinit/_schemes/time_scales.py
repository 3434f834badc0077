"""Parameters that set time scales: biases of gates, steps and matrices of state-space models.

Each is a formula of the shape and, if it is random, of uniform numbers from the stream. Logarithms
and exponentials follow the backend, and so may the last bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._random import draw, laws
from .._random.draw import OutSharding
from .._random.stream import check_key
from .base import DType, Initializer, as_call, check_number, check_positive, dtype_name, refuse_key

Array = jax.Array
Shape = tuple[int, ...]
Option = float | str


class _Spec(NamedTuple):
    """A formula for one array, all static."""

    of: Callable[..., Array]
    shape: Shape
    options: tuple[Option, ...]
    wide: np.dtype
    dtype: np.dtype


@dataclass(frozen=True, repr=False)
class Formula(Initializer):
    """``of(shape, dtype, *options)``; a random one has uniform numbers on [0, 1] in ``shape``'s
    place. ``check`` raises on a shape that it is not for."""

    of: Callable[..., Array]
    check: Callable[..., None]
    options: tuple[Option, ...]
    random: bool

    def _make(
        self,
        key: jax.Array | None,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        if dtype.kind == "c":
            raise ValueError(f"{self.name}: real by definition, not {dtype}; use a real dtype.")
        self.check(self.name, shape, *self.options)
        wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        spec = _Spec(self.of, shape, self.options, wide, dtype)
        if not self.random:
            return draw.assemble(_evaluated, spec, out_sharding=out_sharding)
        check_key(self.name, key)
        if math.prod(shape) == 0 or key is None:
            return draw.fill(0, shape, dtype, out_sharding)
        drawn = draw.draw(key, laws.UNIFORM, shape, wide, 1.0, out_sharding)
        return draw.assemble(_evaluated, spec, drawn, out_sharding=out_sharding)


def _evaluated(spec: _Spec, *drawn: Array) -> Array:
    made = spec.of(*(drawn or (spec.shape,)), spec.wide, *spec.options)
    return draw.saturate(made, spec.dtype)


def _formula(
    name: str,
    of: Callable[..., Array],
    check: Callable[..., None],
    dtype: DType,
    random: bool,
    **options: tuple[Option, Option | None],
) -> Initializer:
    """The formula of a call; ``options`` are (value, default)."""
    values = tuple(value for value, _ in options.values())
    call = as_call(name, **options, dtype=(dtype, None))
    return Formula(of, check, values, random, call=call, dtype=dtype_name(name, dtype))


def _any_shape(name: str, shape: Shape, *_: Option) -> None:
    """Every shape will do."""


def _check_gates(name: str, shape: Shape, t_max: float, order: str) -> None:
    if len(shape) != 1 or shape[0] % len(order):
        raise ValueError(
            f"{name}: shape {shape} is no bias of {len(order)} gates of equal size; give "
            f"({len(order)} * size,), or name the gates by order=."
        )


def _chrono(uniform: Array, dtype: np.dtype, t_max: float, order: str) -> Array:
    size = uniform.shape[0] // len(order)
    first = order.index("f") * size
    forget = jnp.log1p(uniform[first : first + size] * np.asarray(t_max - 2, dtype))
    gates = {"f": forget, "i": -forget}
    return jnp.concatenate([gates.get(gate, jnp.zeros_like(forget)) for gate in order])


def chrono(t_max: float, order: str = "ifgo", dtype: DType = None) -> Initializer:
    """Biases of an LSTM's gates whose memory spans 1 to ``t_max`` steps.

    Forget gates get log U(1, t_max - 1), input gates the negative of the same numbers, the others
    0. A unit whose forget gate is at sigmoid(b) forgets over 1 + e^b steps.

    Args:
      t_max: the longest dependency, above 2.
      order: the gates in the bias's order, one letter each, "f" and "i" among them; Flax, torch and
        Keras have "ifgo". Without "i" (a fused or coupled cell), forget gates alone.
      dtype: used where the call gives none; real.

    Raises:
      ValueError: t_max not above 2, an order without f; at the call a shape that is no bias of as
        many gates, a dtype that is not real.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> b = initializers.chrono(100)(jax.random.key(0), (4 * 256,))
      >>> bool(b[256:512].min() > 0), bool((b[:256] == -b[256:512]).all())
      (True, True)

    Source: Tallec & Ollivier 2018, eq. 16.
    """
    longest = check_number("chrono", "t_max", t_max)
    if longest <= 2:
        raise ValueError(f"chrono: t_max must be above 2 steps; got {longest}.")
    if not isinstance(order, str) or "f" not in order or len(set(order)) < len(order):
        raise ValueError(
            f"chrono: order must name each gate by its letter, f among them; got {order!r}."
        )
    return _formula(
        "chrono", _chrono, _check_gates, dtype, True, t_max=(longest, None), order=(order, "ifgo")
    )


def _mamba_dt_bias(uniform: Array, dtype: np.dtype, low: float, high: float, floor: float) -> Array:
    span, start = math.log(high) - math.log(low), math.log(low)
    step = jnp.exp(uniform * np.asarray(span, dtype) + np.asarray(start, dtype))
    step = jnp.maximum(step, np.asarray(floor, dtype))
    return step + jnp.log(-jnp.expm1(-step))


def mamba_dt_bias(
    dt_min: float = 1e-3, dt_max: float = 0.1, floor: float = 1e-4, dtype: DType = None
) -> Initializer:
    """Bias of a Mamba block's step: softplus(bias) is log-uniform on [dt_min, dt_max].

    bias = dt + log(1 - e^-dt), the inverse of softplus, dt = exp(U(log dt_min, log dt_max)), no
    less than ``floor``.

    Args:
      dt_min, dt_max: the range of steps, 0 < dt_min < dt_max.
      floor: the least step, above 0.
      dtype: used where the call gives none; real.

    Raises:
      ValueError: a range that is empty or not above 0; at the call a dtype that is not real.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> dt = jax.nn.softplus(initializers.mamba_dt_bias()(jax.random.key(0), (4096,)))
      >>> bool(dt.min() > 0.00099), bool(dt.max() < 0.101)
      (True, True)

    Source: Gu & Dao 2023, section 3.6, "Parameterization of Delta".
    """
    name = "mamba_dt_bias"
    low, high, least = (
        check_positive(name, option, value)
        for option, value in (("dt_min", dt_min), ("dt_max", dt_max), ("floor", floor))
    )
    if not low < high:
        raise ValueError(f"{name}: expected dt_min < dt_max; got dt_min={low}, dt_max={high}.")
    return _formula(
        name,
        _mamba_dt_bias,
        _any_shape,
        dtype,
        True,
        dt_min=(low, 1e-3),
        dt_max=(high, 0.1),
        floor=(least, 1e-4),
    )


def _check_states(name: str, shape: Shape) -> None:
    if not shape:
        raise ValueError(f"{name}: shape () has no axis of states; give (channels, states).")


def _mamba_a_log(shape: Shape, dtype: np.dtype) -> Array:
    row = np.log(np.arange(1, shape[-1] + 1))
    return jnp.broadcast_to(jnp.asarray(row, dtype), shape)


def mamba_a_log(dtype: DType = None) -> Initializer:
    """log(1), log(2), ..., log(N) along the last axis: A = -exp of it has the modes -1 ... -N.

    S4D's real initialization, kept as a logarithm so that A stays negative. Mamba's D is ``ones``.
    The key is not used.

    Args:
      dtype: used where the call gives none; real. Mamba keeps it in float32.

    Raises:
      ValueError: at the call, a shape without axes, a dtype that is not real.

    Example:
      >>> from jaxinit import initializers
      >>> import jax.numpy as jnp
      >>> [round(x, 3) for x in jnp.exp(initializers.mamba_a_log()(None, (2, 3)))[1].tolist()]
      [1.0, 2.0, 3.0]

    Source: Gu et al. 2022 (S4D-Real); Gu & Dao 2023, section 3.6.
    """
    refuse_key("mamba_a_log", dtype)
    return _formula("mamba_a_log", _mamba_a_log, _check_states, dtype, False)


def _check_square(name: str, shape: Shape) -> None:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{name}: shape {shape} is not square in its last two axes.")


def _hippo(shape: Shape, dtype: np.dtype) -> Array:
    n = np.arange(shape[-1], dtype=np.float64)
    root = np.sqrt(2 * n + 1)
    matrix = np.tril(-np.outer(root, root), -1) - np.diag(n + 1)
    return jnp.broadcast_to(jnp.asarray(matrix, dtype), shape)


def hippo(dtype: DType = None) -> Initializer:
    """The HiPPO-LegS state matrix: A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it.

    The state x' = Ax + Bu, B_n = sqrt(2n+1), holds the coefficients of the input's whole past in
    Legendre polynomials; the eigenvalues are -1, ..., -N. The key is not used.

    Args:
      dtype: used where the call gives none; real.

    Raises:
      ValueError: at the call, a shape that is not square in its last two axes; a dtype that is not
        real or too narrow.

    Example:
      >>> from jaxinit import initializers
      >>> initializers.hippo()(None, (2, 2)).round(2).tolist()
      [[-1.0, 0.0], [-1.7300000190734863, -2.0]]

    Source: Gu et al. 2020, theorem 2.
    """
    refuse_key("hippo", dtype)
    return _formula("hippo", _hippo, _check_square, dtype, False)

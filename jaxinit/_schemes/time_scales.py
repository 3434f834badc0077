"""Parameters that set time scales: biases of gates, steps and matrices of state-space models.

Each is a formula of the shape and, where it is random, of uniform numbers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._random import draw, laws, sharding
from .._random.elementary import guard_from, inverse_softplus, log1p
from .._random.sharding import OutSharding
from .._random.spread import POINT, Spread
from .._random.stream import check_key
from .base import Initializer
from .checks import DType, check_number, check_positive, dtype_name, shown
from .ranges import check_option, check_spread

Array = jax.Array
Shape = tuple[int, ...]


class Formula(Initializer):
    """An array computed by ``values`` from its shape, or from uniform numbers on [0, 1]."""

    random: ClassVar[bool]

    @abstractmethod
    def values(self, given: Array | Shape, dtype: np.dtype) -> Array:
        """The array: of uniform numbers where it is random, else of the shape."""

    @abstractmethod
    def largest(self, shape: Shape) -> float:
        """The largest magnitude."""

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        """Raises where the formula is not for arrays of this shape, or computed in this dtype."""

    def spread(self, shape: tuple[int, ...], dtype: np.dtype) -> Spread:
        return POINT.times(self.largest(shape))

    def _make(
        self,
        key: Any,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out_sharding: OutSharding,
    ) -> jax.Array:
        if dtype.kind == "c":
            raise ValueError(f"{self.name}: real by definition, not {dtype}; use a real dtype.")
        wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        self._check(shape, wide)
        if math.prod(shape):
            check_spread(self.name, self.spread(shape, dtype), dtype)
        spec = _Spec(self, shape, wide, dtype)
        if not self.random:
            return sharding.assemble(_evaluated, spec, out_sharding=out_sharding)
        check_key(self.name, key)
        if math.prod(shape) == 0:
            return draw.fill(0, shape, dtype, out_sharding)
        drawn = draw.draw(key, laws.UNIFORM, shape, wide, 1.0, out_sharding)
        return sharding.assemble(_evaluated, spec, drawn, out_sharding=out_sharding)


class _Spec(NamedTuple):
    """What is computed; all of it is static."""

    formula: Formula
    shape: Shape
    wide: np.dtype
    dtype: np.dtype


def _evaluated(spec: _Spec, *drawn: Array) -> Array:
    made = spec.formula.values(drawn[0] if drawn else spec.shape, spec.wide)
    return draw.saturate(made, spec.dtype)


@dataclass(frozen=True, repr=False)
class Chrono(Formula):
    """Biases of gates whose memory spans 1 to ``t_max`` steps."""

    factory = "chrono"
    random = True
    t_max: float
    order: str = "ifgo"

    def largest(self, shape: Shape) -> float:
        return math.log(self.t_max - 1)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        check_option(self.name, "t_max", self.t_max, dtype)
        gates = len(self.order)
        if len(shape) != 1 or shape[0] % gates:
            raise ValueError(
                f"{self.name}: shape {shape} is no bias of {gates} gates of equal size; give "
                f"({gates} * size,), or name the gates by order=."
            )

    def values(self, given: Array, dtype: np.dtype) -> Array:  # type: ignore[override]
        size = given.shape[0] // len(self.order)
        first = self.order.index("f") * size
        given = given[first : first + size]
        guard = guard_from(given)
        forget = log1p(guard(given * np.asarray(self.t_max - 2, dtype)), guard)
        gates = {"f": forget, "i": -forget}
        return jnp.concatenate([gates.get(gate, jnp.zeros_like(forget)) for gate in self.order])


def chrono(t_max: float, order: str = "ifgo", dtype: DType = None) -> Initializer:
    """Biases of an LSTM's gates whose memory spans 1 to ``t_max`` steps.

    Forget gates get log U(1, t_max - 1), input gates the negative of the same numbers, the others
    0. A unit whose forget gate is at sigmoid(b) forgets over 1 + e^b steps.

    Args:
      t_max: the longest dependency, above 2.
      order: the gates in the order of the bias, one letter each, with "f" among them. Flax, PyTorch
        and Keras have "ifgo". Without an "i" (a fused or coupled cell) only forget gates are set.
      dtype: the dtype where the call gives none; real.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: t_max is not a number.
      ValueError: t_max is not above 2, order has no f; at the call, a shape that is not a bias of
        that many gates, a dtype that is not real, or too narrow for the values or for t_max.

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
            f"chrono: order must name each gate by its letter, f among them; got {shown(order)}."
        )
    return Chrono(longest, order, dtype=dtype_name("chrono", dtype))


@dataclass(frozen=True, repr=False)
class MambaDtBias(Formula):
    """A bias whose softplus is log-uniform on [dt_min, dt_max]."""

    factory = "mamba_dt_bias"
    random = True
    dt_min: float = 1e-3
    dt_max: float = 0.1
    floor: float = 1e-4

    def largest(self, shape: Shape) -> float:
        ends = max(self.dt_min, self.floor), max(self.dt_max, self.floor)
        return max(abs(step + math.log(-math.expm1(-step))) for step in ends)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        for option, value in (("dt_max", self.dt_max), ("floor", self.floor)):
            check_option(self.name, option, value, dtype)

    def values(self, given: Array, dtype: np.dtype) -> Array:  # type: ignore[override]
        guard, (low, high) = guard_from(given), (math.log(self.dt_min), math.log(self.dt_max))
        step = guard(given * np.asarray(high - low, dtype)) + np.asarray(low, dtype)
        step = jnp.maximum(step, np.asarray(math.log(self.floor), dtype))
        return inverse_softplus(step, guard, max(self.dt_max, self.floor))


def mamba_dt_bias(
    dt_min: float = 1e-3, dt_max: float = 0.1, floor: float = 1e-4, dtype: DType = None
) -> Initializer:
    """The bias of a Mamba block's step: softplus(bias) is log-uniform on [dt_min, dt_max].

    bias = dt + log(1 - e^-dt), the inverse of softplus, with dt = exp(U(log dt_min, log dt_max)),
    but no less than ``floor``.

    Args:
      dt_min: the least step, above 0.
      dt_max: the largest step, above ``dt_min``.
      floor: no step is below this, above 0.
      dtype: the dtype where the call gives none; real.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      TypeError: an option is not a number.
      ValueError: a range that is empty or not above 0; at the call, a dtype that is not real, or
        too narrow for the values or for an option.

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
    return MambaDtBias(low, high, least, dtype=dtype_name(name, dtype))


@dataclass(frozen=True, repr=False)
class MambaALog(Formula):
    """log(1), ..., log(N) along the last axis."""

    factory = "mamba_a_log"
    random = False

    def largest(self, shape: Shape) -> float:
        return math.log(max(shape[-1], 2))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if not shape:
            raise ValueError(
                f"{self.name}: shape () has no axis of states; give (channels, states)."
            )
        _check_states(self.name, shape, 2**22)

    def values(self, given: Shape, dtype: np.dtype) -> Array:  # type: ignore[override]
        row = _log(np.arange(1, given[-1] + 1, dtype=np.float64))
        return jnp.broadcast_to(jnp.asarray(row, dtype), given)


def _log(x: np.ndarray) -> np.ndarray:
    """log(x) of positive float64 numbers, by operations that every CPU rounds alike.

    Writes x = m 2^e with m in [sqrt(1/2), sqrt(2)); log(m) = 2 atanh(s), s = (m - 1)/(m + 1). The
    first part of log(2) has so few bits that its product with e is exact.
    """
    m, e = np.frexp(x)
    low = m < math.sqrt(0.5)
    m, e = np.where(low, 2 * m, m), np.where(low, e - 1, e)
    s = (m - 1) / (m + 1)
    series = np.polynomial.polynomial.polyval(s * s, [1 / (2 * k + 1) for k in range(13)])
    first = 0x162E42FEE / 2**33
    return e * first + (e * _LOG_TWO_REST + 2 * s * series)


_LOG_TWO_REST = 1.9082149292705877e-10  # log(2) - 0x162E42FEE / 2**33


def _check_states(name: str, shape: Shape, most: int) -> None:
    """The values of one row or matrix are computed by NumPy, on the host."""
    if shape[-1] > most:
        raise ValueError(
            f"{name}: shape {shape} has {shape[-1]} states in its last axis; at most {most} are "
            f"possible."
        )


def mamba_a_log(dtype: DType = None) -> Initializer:
    """log(1), log(2), ..., log(N) along the last axis, so A = -exp of it has the modes -1 ... -N.

    This is S4D's real initialization, kept as a logarithm so that A stays negative. Mamba's D is
    ``ones``. The key is not used.

    Args:
      dtype: the dtype where the call gives none; real. Mamba keeps it in float32.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      ValueError: at the call, a shape without axes or of more than 2^22 states, a dtype that is not
        real.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxinit import initializers
      >>> a_log = initializers.mamba_a_log()(jax.random.key(0), (2, 3))
      >>> [round(x, 3) for x in jnp.exp(a_log)[1].tolist()]
      [1.0, 2.0, 3.0]

    Source: Gu et al. 2022 (S4D-Real); Gu & Dao 2023, section 3.6.
    """
    return MambaALog(dtype=dtype_name("mamba_a_log", dtype))


@dataclass(frozen=True, repr=False)
class Hippo(Formula):
    """The HiPPO-LegS state matrix."""

    factory = "hippo"
    random = False

    def largest(self, shape: Shape) -> float:
        n = shape[-1]
        return float(max(n, math.sqrt(max((2 * n - 1) * (2 * n - 3), 0))))

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(f"{self.name}: shape {shape} is not square in its last two axes.")
        _check_states(self.name, shape, 2**13)

    def values(self, given: Shape, dtype: np.dtype) -> Array:  # type: ignore[override]
        n = np.arange(given[-1], dtype=np.float64)
        root = np.sqrt(2 * n + 1)
        matrix = np.tril(-np.outer(root, root), -1) - np.diag(n + 1)
        return jnp.broadcast_to(jnp.asarray(matrix, dtype), given)


def hippo(dtype: DType = None) -> Initializer:
    """The HiPPO-LegS state matrix: A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it.

    The state x' = Ax + Bu with B_n = sqrt(2n+1) holds the coefficients of the whole past of the
    input in Legendre polynomials. The eigenvalues are -1, ..., -N. The key is not used.

    Args:
      dtype: the dtype where the call gives none; real.

    Returns:
      The initializer, a function of (key, shape, dtype=None, out_sharding=None).

    Raises:
      ValueError: at the call, a shape that is not square in its last two axes, or of more than 8192
        states; a dtype that is not real, or too narrow.

    Example:
      >>> import jax
      >>> from jaxinit import initializers
      >>> initializers.hippo()(jax.random.key(0), (2, 2)).round(2).tolist()
      [[-1.0, 0.0], [-1.7300000190734863, -2.0]]

    Source: Gu et al. 2020, theorem 2.
    """
    return Hippo(dtype=dtype_name("hippo", dtype))

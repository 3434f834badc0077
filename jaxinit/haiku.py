"""For Haiku, whose modules call an initializer with ``(shape, dtype)`` and give it no key.

``jaxinit.haiku.initializer`` makes an initializer of jaxinit fit for them. It needs dm-haiku.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from . import initializers

try:
    import haiku as hk
except ImportError:
    raise ImportError("jaxinit.haiku: Haiku is not installed; pip install dm-haiku.") from None

__all__ = ["initializer"]

Init = Callable[..., jax.Array]


def initializer(init: Init | str | Mapping[str, Any]) -> Callable[[Sequence[int], Any], jax.Array]:
    """An initializer of jaxinit as Haiku calls it, with ``(shape, dtype)``.

    The key is ``hk.next_rng_key()``, as for Haiku's own initializers, so two layers never share
    one. The distribution is that of ``init``. Haiku's ``Linear`` and ``Conv`` have kernels of the
    shape (*window, in, out), whose fans are right. Its transposed convolutions have (*window, out,
    in): ``init`` then needs ``layout=layouts.conv_transpose(strides, transpose_kernel=True)``.

    Args:
      init: an initializer, a function such as ``jaxinit.he_normal``, a name, or a config.

    Returns:
      A function of (shape, dtype), for ``w_init`` and ``b_init`` of Haiku's modules and for
      ``init`` of ``hk.get_parameter``. It returns an array of that shape and dtype.

    Raises:
      TypeError, ValueError: ``init`` is none of these; at the call, as ``init`` does, as without a
        key, where the transformed function was given none or there is none.

    Example:
      >>> import haiku as hk, jax, jax.numpy as jnp
      >>> import jaxinit.haiku
      >>> he = jaxinit.haiku.initializer("he_normal")
      >>> model = hk.transform(lambda x: hk.Linear(256, w_init=he)(x))
      >>> params = model.init(jax.random.key(0), jnp.ones((1, 512)))
      >>> f"{params['linear']['w'].std():.3f}"
      '0.062'

    Source: that of ``init``.
    """
    made = initializers.get(init)

    def of_shape(shape: Sequence[int], dtype: Any) -> jax.Array:
        return made(_next_key(), shape, dtype)

    return of_shape


def _next_key() -> jax.Array | None:
    """The next key of the transformed function; None without one, which constants do not need."""
    try:
        return hk.maybe_next_rng_key()
    except ValueError:  # outside of hk.transform
        return None

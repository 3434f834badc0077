"""For Keras on the JAX backend: initializers of jaxinit as ``kernel_initializer``.

    import jaxinit.keras
    keras.layers.Dense(256, "relu", kernel_initializer=jaxinit.keras.Initializer("he_normal"))

It needs Keras 3 with ``KERAS_BACKEND=jax``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import jax

from . import initializers
from ._layers import of_function

try:
    import keras
except ImportError as error:
    raise ImportError(
        f"jaxinit.keras: Keras cannot be imported ({error}); pip install keras, and set "
        f"KERAS_BACKEND=jax in the environment."
    ) from None

__all__ = ["Initializer"]

Init = Callable[..., jax.Array]


@keras.saving.register_keras_serializable(package="jaxinit")
class Initializer(keras.initializers.Initializer):
    """An initializer of jaxinit as Keras calls it, with ``(shape, dtype)``.

    The distribution is that of ``init``. Keras's dense layers and convolutions have kernels of the
    shape (*window, in, out), whose fans are right. Its transposed convolutions have (*window, out,
    in): ``init`` then needs ``layout=layouts.conv_transpose(strides, transpose_kernel=True)``.

    Args:
      init: an initializer, a pure function such as ``jaxinit.he_normal``, a name, or a config.
      seed: an int, with which every call for one shape gives the same values; or None, with which
        every call draws a seed of its own, which ``keras.utils.set_random_seed`` decides. Keras
        copies an initializer for each layer, so with an int layers of one shape that share it have
        equal weights, as with Keras's own initializers.

    Raises:
      TypeError, ValueError: ``init`` is none of these, or seed is no int; a backend that is not
        JAX; at the call, as ``init`` does.

    Example:
      >>> import jaxinit.keras  # with KERAS_BACKEND=jax
      >>> he = jaxinit.keras.Initializer("he_normal", seed=0)
      >>> he, he((512, 256)).shape
      (Initializer(he_normal(), seed=0), (512, 256))

    Source: that of ``init``.
    """

    def __init__(self, init: Init | str | Mapping[str, Any], seed: int | None = None) -> None:
        if keras.backend.backend() != "jax":
            raise ValueError(
                f"keras.Initializer: needs Keras's JAX backend; it is "
                f"{keras.backend.backend()!r}. Set KERAS_BACKEND=jax before importing keras."
            )
        if seed is not None and not isinstance(seed, int):
            raise TypeError(f"keras.Initializer: seed must be an int or None; got {seed!r:.80}.")
        made = of_function(init) or initializers.get(init)
        if not isinstance(made, initializers.Initializer):
            raise TypeError(
                f"keras.Initializer: expected an initializer of jaxinit, its name or its config; "
                f"got {init!r:.80}. Keras takes its own initializers, and functions, as they are."
            )
        self.init, self.seed = made, seed

    def __call__(self, shape: Any, dtype: Any = None) -> jax.Array:
        """The weights of a layer."""
        seed = random.randrange(2**31) if self.seed is None else self.seed  # as Keras seeds its own
        named = keras.backend.standardize_dtype(dtype)
        return self.init(jax.random.key(seed), tuple(shape), named)

    def get_config(self) -> dict[str, Any]:
        """What a saved Keras model holds of it."""
        return {"init": self.init.to_config(), "seed": self.seed}

    def __repr__(self) -> str:
        return f"Initializer({self.init!r}, seed={self.seed})"

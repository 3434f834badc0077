"""The contenders: each makes the same array, as the users of its library would."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit import initializers

STDDEV, BOUND = 0.02, 0.05  # of the plain distributions; He's come from fan_in
_OPTIONS: dict[str, dict[str, float]] = {
    "normal": {"stddev": STDDEV},
    "truncated_normal": {"stddev": STDDEV},
    "uniform": {"scale": BOUND},
}


class Array(NamedTuple):
    """An array to make with an initializer of jax.nn.initializers, and its name in the table."""

    scheme: str
    shape: tuple[int, ...]
    dtype: str
    name: str

    @property
    def family(self) -> str:
        """normal, uniform, or truncated_normal, which he_normal and its relatives are."""
        if self.scheme == "normal":
            return "normal"
        return "uniform" if self.scheme.endswith("uniform") else "truncated_normal"

    @property
    def stddev(self) -> float:
        """The standard deviation: He's, or the one that the plain distributions are given here."""
        return math.sqrt(2 / self.shape[-2]) if self.scheme.startswith("he_") else STDDEV

    @property
    def bound(self) -> float:
        """The bound of a uniform distribution."""
        return math.sqrt(3) * self.stddev if self.scheme.startswith("he_") else BOUND


class Prepared(NamedTuple):
    """A call that returns when the array is computed, and what preparing it took."""

    call: Callable[[], Any]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    peak_bytes: int | None = None  # output and temporaries, by XLA's plan


def takes_part(contender: str, array: Array) -> bool:
    """Whether the library is installed and has such an array."""
    if contender in ("keras", "torch") and importlib.util.find_spec(contender) is None:
        return False
    if contender == "torch":
        return array.dtype in ("float32", "bfloat16", "float16", "float64")
    if contender == "jax" and array.dtype.startswith("complex"):
        return array.scheme not in ("uniform", "truncated_normal")
    return contender != "numpy" or array.family != "truncated_normal"


@functools.cache
def prepare(contender: str, array: Array) -> Prepared:
    """The contender for this array, compiled and called once."""
    with _wide(array):
        prepared = CONTENDERS[contender](array)

    def call() -> Any:
        with _wide(array):
            return prepared.call()

    call()
    return prepared._replace(call=call)


def _wide(array: Array) -> Any:
    """JAX makes 64-bit floats only if it is told to."""
    return jax.enable_x64(array.dtype in ("float64", "complex128"))


def _jitted(make: Callable[..., Any], *arguments: Any) -> Prepared:
    """Compiled by one jit, with the memory that XLA says the program needs."""
    start = time.perf_counter()
    compiled = jax.jit(make).lower(*arguments).compile()
    seconds, memory = time.perf_counter() - start, compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes
    return Prepared(
        lambda: jax.block_until_ready(compiled(*arguments)),
        seconds,
        temporary,
        temporary + memory.output_size_in_bytes,
    )


def _ours(array: Array) -> Prepared:
    """Called as it is; its compile time and memory are those inside a user's own jit."""
    init = getattr(initializers, array.scheme)(**_OPTIONS.get(array.scheme, {}))
    key = jax.random.key(0)
    inside = _jitted(lambda key: init(key, array.shape, array.dtype), key)
    return inside._replace(call=lambda: jax.block_until_ready(init(key, array.shape, array.dtype)))


def _jax(array: Array, implementation: str) -> Prepared:
    init = getattr(jax.nn.initializers, array.scheme)(**_OPTIONS.get(array.scheme, {}))
    key = jax.random.key(0, impl=implementation)
    return _jitted(lambda key: init(key, array.shape, array.dtype), key)


def _fill(array: Array) -> Prepared:
    """The limit: one constant written everywhere."""
    return _jitted(lambda x: jnp.full(array.shape, x, array.dtype), 0.5)


def _keras(array: Array) -> Prepared:
    """On the JAX backend."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    options: dict[str, dict[str, Any]] = {
        "normal": {"class_name": "RandomNormal", "config": {"stddev": STDDEV}},
        "truncated_normal": {"class_name": "TruncatedNormal", "config": {"stddev": STDDEV}},
        "uniform": {"class_name": "RandomUniform", "config": {"minval": 0.0, "maxval": BOUND}},
    }
    init = keras.initializers.get(options.get(array.scheme, array.scheme))
    return Prepared(lambda: jax.block_until_ready(init(array.shape, array.dtype)))


def _numpy(array: Array) -> Prepared:
    """NumPy's fastest generator, in float32 if it has it, and then rounded to the dtype."""
    generator = np.random.Generator(np.random.SFC64(0))
    dtype = np.float64 if array.dtype == "float64" else np.float32

    def normal() -> Any:
        x = generator.standard_normal(array.shape, dtype)
        x *= dtype(array.stddev)
        return x.astype(array.dtype, copy=False)

    def uniform() -> Any:
        x = generator.random(array.shape, dtype)
        x *= dtype(2 * array.bound)
        x -= dtype(array.bound)
        return x.astype(array.dtype, copy=False)

    return Prepared({"normal": normal, "uniform": uniform}[array.family])


def _torch(array: Array) -> Prepared:
    """The in-place methods of torch tensors, on the GPU if there is one."""
    import torch  # pyright: ignore[reportMissingImports]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype, stddev, bound = getattr(torch, array.dtype), array.stddev, array.bound
    fill = {
        "normal": lambda x: x.normal_(0, stddev),
        "uniform": lambda x: x.uniform_(-bound, bound),
        "truncated_normal": lambda x: torch.nn.init.trunc_normal_(
            x, 0, stddev, -2 * stddev, 2 * stddev
        ),
    }[array.family]

    def call() -> Any:
        x = fill(torch.empty(array.shape, dtype=dtype, device=device))
        if device == "cuda":
            torch.cuda.synchronize()
        return x

    return Prepared(call)


CONTENDERS: dict[str, Callable[[Array], Prepared]] = {
    "jaxinit": _ours,
    "jax": functools.partial(_jax, implementation="threefry2x32"),
    "jax, rbg": functools.partial(_jax, implementation="rbg"),
    "jax, unsafe_rbg": functools.partial(_jax, implementation="unsafe_rbg"),
    "keras": _keras,
    "numpy": _numpy,
    "torch": _torch,
    "fill": _fill,
}

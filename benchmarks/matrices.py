"""Orthogonal matrices: jaxinit, jax.nn.initializers, and the other ways that were tried."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxinit import Layout, initializers

from .timing import medians

SHAPES = ((2048, 2048), (4096, 256), (64, 256, 256))


class Row(NamedTuple):
    """Milliseconds a call."""

    shape: tuple[int, ...]
    ours: float
    theirs: float
    qr: float
    cholesky: float
    newton: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


def theirs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """jax.nn.initializers, under vmap where there are several."""
    init = jax.nn.initializers.orthogonal()
    if len(shape) == 2:
        return init(key, shape)
    return jax.vmap(lambda one: init(one, shape[1:]))(jax.random.split(key, shape[0]))


def qr(x: jax.Array) -> jax.Array:
    """By QR, the diagonal of R made positive."""
    q, r = jnp.linalg.qr(x)
    return q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def cholesky(x: jax.Array) -> jax.Array:
    """CholeskyQR2."""
    for _ in range(2):
        factor = lax.linalg.cholesky(x.swapaxes(-1, -2) @ x)
        x = lax.linalg.triangular_solve(factor, x, lower=True, transpose_a=True)
    return x


def newton(x: jax.Array) -> jax.Array:
    """The polar factor by Newton and Schulz's cubic, ten steps for tall matrices, 24 for square."""
    x = x / jnp.linalg.norm(x, axis=(-2, -1), keepdims=True)
    for _ in range(10 if x.shape[-2] > 4 * x.shape[-1] else 24):
        x = 1.5 * x - 0.5 * (x @ (x.swapaxes(-1, -2) @ x))
    return x


def by(
    method: Callable[[jax.Array], jax.Array], key: jax.Array, shape: tuple[int, ...]
) -> Callable[[], jax.Array]:
    """A Gaussian of ours, and then the method."""
    jitted, gaussian = jax.jit(method), initializers.normal(1.0)
    return lambda: jitted(gaussian(key, shape))


def run(quick: bool) -> list[Row]:
    """Every shape, all contenders taking turns."""
    key, rows = jax.random.key(0), []
    for shape in SHAPES[1:2] if quick else SHAPES:
        layout = Layout(batch_axis=tuple(range(len(shape) - 2)))
        ours = initializers.orthogonal(layout=layout)
        found = medians(
            {
                "ours": functools.partial(ours, key, shape),
                "theirs": functools.partial(theirs, key, shape),
                "qr": by(qr, key, shape),
                "cholesky": by(cholesky, key, shape),
            },
            blocks=1 if quick else 4,
        )
        once = medians({"newton": by(newton, key, shape)}, blocks=1, calls=1)  # many times slower
        rows.append(Row(shape, **{name: 1e3 * seconds for name, seconds in (found | once).items()}))
    return rows

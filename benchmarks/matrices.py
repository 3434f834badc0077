"""Orthogonal matrices: jaxinit, jax.nn.initializers, and the other ways that were tried."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxinit import Layout, initializers

from .contenders import Array, Prepared

Shape = tuple[int, ...]


def _ours(key: jax.Array, shape: Shape) -> jax.Array:
    """By reflections, all members of a batch at once."""
    layout = Layout(batch_axis=tuple(range(len(shape) - 2)))
    return initializers.orthogonal(layout=layout)(key, shape)


def _jax(key: jax.Array, shape: Shape) -> jax.Array:
    """jax.nn.initializers as its users call it, under vmap where there are several."""
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


def _by(method: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array, Shape], jax.Array]:
    """A Gaussian matrix of jaxinit, orthogonalised by the method."""
    jitted, gaussian = jax.jit(method), initializers.normal(1.0)
    return lambda key, shape: jitted(gaussian(key, shape))


WAYS: dict[str, Callable[[jax.Array, Shape], jax.Array]] = {
    "jaxinit": _ours,
    "jax": _jax,
    "qr": _by(qr),
    "cholesky": _by(cholesky),
    "newton": _by(newton),
}


@functools.cache
def prepare(contender: str, array: Array) -> Prepared:
    """One method at this shape, after its first call."""
    key, make = jax.random.key(0), WAYS[contender]
    prepared = Prepared(lambda: jax.block_until_ready(make(key, array.shape)))
    prepared.call()
    return prepared

"""Residual branches that are easily missed: of blocks used again, and of parallel branches."""

import jax
import jax.numpy as jnp
import pytest

from jaxinit import infer

X = jnp.ones((2, 8))


def branch(record):
    return record.residual and record.residual[:2]


def squares(names):
    return {name: jnp.ones((8, 8)) for name in names}


@pytest.mark.parametrize("times", [2, 6])
def test_a_block_that_is_called_again_ends_a_branch_each_time(times):
    def apply(p, x):
        for _ in range(times):
            x = x + jax.nn.relu(x @ p["up"]) @ p["down"]
        return x @ p["head"]

    found = infer(apply, squares(("up", "down", "head")), X)
    assert branch(found["down"]) == (1, times)
    assert branch(found["up"]) is branch(found["head"]) is None


def test_two_blocks_in_turn():
    def apply(p, x):
        for _ in range(3):
            x = x + jnp.tanh(x @ p["a"])
            x = x + jnp.tanh(x @ p["b"])
        return x

    found = infer(apply, squares("ab"), X)
    assert [branch(found[name]) for name in "ab"] == [(1, 6), (2, 6)]


def test_parallel_branches():
    """Attention and MLP side by side, as ``x + a + b``, and a third."""

    def apply(p, x):
        h = x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True))
        a = jax.nn.relu(h @ p["u"]) @ p["a"]
        b = jax.nn.gelu(h @ p["v"]) @ p["b"]
        return x + a + b + h @ p["c"]

    found = infer(apply, squares("uavbc"), X)
    assert [branch(found[name]) for name in "abc"] == [(1, 3), (2, 3), (3, 3)]
    assert branch(found["u"]) is branch(found["v"]) is None


def test_a_sum_of_two_layers_is_no_branch():
    def apply(p, x):
        return jnp.tanh(x @ p["a"] + jnp.tanh(x @ p["b"]) @ p["c"])

    found = infer(apply, squares("abc"), X)
    assert branch(found["a"]) is branch(found["b"]) is None

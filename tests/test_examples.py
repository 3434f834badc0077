"""The examples: with one import changed, and nothing else, they are models of jaxinit.linen."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import raw

import jaxinit

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
import swap  # noqa: E402

KEY = jax.random.key(0)
CASES = {
    **{path.stem: (path, lambda m: m.Model(), None) for path in swap.MODELS},
    "gpt2": (
        EXAMPLES / "gpt2.py",
        lambda m: m.GPT2(m.ours(2), vocabulary=64, context=8, width=16, heads=2, layers=2),
        jnp.zeros((1, 8), jnp.int32),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_swapped_model_has_the_same_parameters(name):
    path, make, x = CASES[name]
    theirs, ours = (swap.load(path, swapped) for swapped in (False, True))
    x = ours.inputs(KEY) if x is None else x
    expected = jax.eval_shape(make(theirs).init, KEY, x)
    model = make(ours)
    made = jaxinit.materialize(model.init, KEY, x)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, expected)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, jax.jit(model.init)(KEY, x))
    outputs = jax.jit(model.apply)(made, x)
    assert raw(outputs) == raw(jax.jit(make(theirs).apply)(made, x))  # a checkpoint fits both
    assert np.isfinite(outputs).all()
    assert ours.nn.Dense is jaxinit.linen.Dense is not theirs.nn.Dense

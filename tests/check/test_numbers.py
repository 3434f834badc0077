"""Numbers of NumPy are numbers as options; True and text are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinit import autoinit

SHAPES = {name: jax.ShapeDtypeStruct((4, 4), jnp.float32) for name in "ab"}
X = jax.ShapeDtypeStruct((2, 4), jnp.float32)


def apply(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def test_the_variance_of_autoinit():
    found = autoinit.explain(apply, SHAPES, X, rule="forward", q=np.float32(0.25))
    assert found["a"].stddev == pytest.approx(0.25)
    for q in (True, "1"):
        with pytest.raises(TypeError, match=r"^autoinit: q must be a number; got "):
            autoinit.explain(apply, SHAPES, X, q=q)

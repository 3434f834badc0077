"""Calls of a user's function that fail: what was wrong in one line, or what was called in a note."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxinit


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


class Bound(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(3, 2, rngs=rngs)


def two(key, x):
    return x


MODEL, KEY, X = Model(), jax.random.key(0), jnp.ones((4, 3))
PARAMS = MODEL.init(KEY, X)
FOLLOW = "The arguments of the function follow it: write"
RETURNS = "apply takes the variables that model.init returns"
MISTAKES = [
    (lambda: jaxinit.plan(MODEL), f"plan: Model.init: missing a required argument: 'rngs'. {FOLLOW} plan(model, key, x)."),
    (lambda: jaxinit.init(MODEL, dtype="bfloat16"), f"init: Model.init: missing a required argument: 'rngs'. {FOLLOW} init(model, key, x)."),
    (lambda: jaxinit.materialize(MODEL, KEY), f"materialize: Model.__call__: missing a required argument: 'x'. {FOLLOW} materialize(model, key, x)."),
    (lambda: jaxinit.plan(MODEL, KEY, X, train=True), f"plan: Model.__call__: got an unexpected keyword argument 'train'. {FOLLOW} plan(model, key, x)."),
    (lambda: jaxinit.plan(MODEL, X, KEY), "plan: init takes a random key first; got float32[4, 3]. Write plan(model, key, x)."),
    (lambda: jaxinit.plan(Model, KEY, X), "plan: Model is a class; make the module first, Model(...)."),
    (lambda: jaxinit.plan(two, KEY), f"plan: two: missing a required argument: 'x'. {FOLLOW} plan(model, key, x)."),
    (lambda: jaxinit.plan(Bound), f"plan: Bound.__init__: missing a required argument: 'rngs'. {FOLLOW} plan(model, key, x)."),
    (lambda: jaxinit.plan(Bound, KEY), "plan: Bound takes rngs=nnx.Rngs(0); got key<fry>[]."),
    (lambda: jaxinit.infer(MODEL, PARAMS), f"infer: Model.__call__: missing a required argument: 'x'. {FOLLOW} infer(model, params, x)."),
    (lambda: jaxinit.infer(MODEL, PARAMS["params"], X), f"infer: {RETURNS}, {{'params': ...}}; got a dict of Dense_0. Write {{'params': params}}."),
    (lambda: jaxinit.propagate(MODEL, X, PARAMS), f"propagate: {RETURNS} first; got float32[4, 3]. Write propagate(model, params, x)."),
    (lambda: jaxinit.propagate(MODEL.init, PARAMS, X), "propagate: init takes a random key first; got a dict of 2 arrays. Write propagate(model, params, x)."),
    (lambda: jaxinit.audit(PARAMS, MODEL), f"audit: Model.__call__: missing a required argument: 'x'. {FOLLOW} audit(params, model, x)."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), MISTAKES, ids=[text[:40] for _, text in MISTAKES])
def test_a_mistake_is_one_line(call, text):
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        call()


def test_an_error_of_the_function_stays_and_a_note_says_what_was_called():
    def fails(params, x, depth):
        raise ZeroDivisionError("of the user's own")

    with pytest.raises(ZeroDivisionError, match="of the user's own") as caught:
        jaxinit.infer(fails, {"w": X}, X, depth=3)
    note = caught.value.__notes__[-1]
    assert note.startswith("infer called test_an_error_of")
    assert note.endswith("fails(a dict of 1 arrays, float32[4, 3], depth=3).")

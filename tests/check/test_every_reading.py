"""All that read a model read these: conditions, counts and statistics; arrays given by keyword."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.ode import odeint
from table import gaussian

import jaxinit

KEY = jax.random.key(0)
X = gaussian(KEY, (8, 16))
W = jaxinit.he_normal(KEY, (16, 10))


def mixture(w, x):
    """The density of a mixture of normals."""
    z = x @ w
    return jax.nn.logsumexp(jax.nn.log_softmax(z[:, :5]) - 0.5 * jnp.square(z[:, 5:]), -1)


def unit_length(w, x):
    square = jnp.sum(jnp.square(x @ w), -1, keepdims=True)
    return x @ w / jnp.where(square > 1e-6, jnp.sqrt(square), 1.0)


def attention_of_a_graph(w, x):
    h = x @ w
    score = jax.nn.leaky_relu((h * jnp.ones(10)).sum(-1)[:, None] + (h**2).sum(-1)[None])
    return jax.nn.softmax(score) @ h


def ode(w, x):
    return odeint(lambda y, t: jnp.tanh(y @ w) @ w.T, x, jnp.array([0.0, 1.0]))[-1]


MODELS = {
    "logsumexp": lambda w, x: jax.nn.logsumexp(x @ w, -1),
    "leaky_relu of a mean": lambda w, x: x @ w * jax.nn.leaky_relu((x @ w).mean(-1, keepdims=True)),
    "elu of a mean": lambda w, x: x @ w + jax.nn.elu((x @ w).mean(-1, keepdims=True)),
    "mixture": mixture,
    "unit length": unit_length,
    "attention of a graph": attention_of_a_graph,
    "ode": ode,
    "loss": lambda w, x: optax.softmax_cross_entropy_with_integer_labels(x @ w, jnp.arange(8)),
    "focal loss": lambda w, x: optax.sigmoid_focal_loss(x @ w, jnp.ones((8, 10))),
    "codes": lambda w, x: (x @ w, jnp.round(x @ w).astype(jnp.int32) & 3),
    "hash": lambda w, x: (x @ w, (x @ w > 0).astype(jnp.int32) @ (2 ** jnp.arange(10))),
    "condition": lambda w, x: (x @ w, (x @ w > 0) & (x @ w < 1)),
    "rows that are used": lambda w, x: jnp.where((x @ w > 0).any(-1, keepdims=True), x @ w, 0.0),
    "accuracy": lambda w, x: (jax.nn.relu(x @ w), (x @ w > 0).mean()),
}
CALLS = {
    "infer": lambda f, *args, **kwargs: jaxinit.infer(f, *args, **kwargs),
    "audit": lambda f, w, *args, **kwargs: jaxinit.audit(w, f, *args, **kwargs),
    "propagate": lambda f, *args, **kwargs: jaxinit.propagate(f, *args, **kwargs),
    "autoinit": lambda f, *args, **kwargs: jaxinit.autoinit(KEY, f, *args, **kwargs),
    "calibrate": lambda f, *args, **kwargs: jaxinit.calibrate(f, *args, **kwargs),
}


OFTEN = {("loss", call) for call in CALLS} | {("condition", "propagate")}
OFTEN |= {(name, "infer") for name in MODELS}
EVERY = [
    pytest.param(name, call, marks=() if (name, call) in OFTEN else pytest.mark.slow)
    for name in MODELS
    for call in CALLS
]


@pytest.mark.filterwarnings("ignore:autoinit")  # of no concern here
@pytest.mark.parametrize(("name", "call"), EVERY)
def test_conditions_counts_and_statistics(name, call):
    """The kernel is found, its output is measured, and nothing is wrong with it."""
    found = CALLS[call](MODELS[name], W, X)
    if call == "infer":
        kernel = found[""]
        assert (kernel.role, kernel.fan_in, kernel.fan_out) == ("kernel", 16, 10)
    elif call == "audit":
        assert not found.findings
    elif call == "propagate":
        output = np.asarray(X) @ np.asarray(W)
        np.testing.assert_allclose(found.rows[0]["std"], output.std(), rtol=1e-3)
    else:
        assert found.shape == W.shape
        assert np.isfinite(found).all()


@pytest.mark.parametrize("call", CALLS)
def test_arrays_given_by_keyword(call):
    """They are no parameters: the key of dropout, and the inputs themselves."""

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.Dropout(0.3, deterministic=not train)(nn.relu(nn.Dense(32)(x)))
            return nn.Dense(4)(x)

    model = Model()
    params = model.init(KEY, X)
    CALLS[call](model.apply, params, X, train=True, rngs={"dropout": KEY})
    if call in ("infer", "audit"):
        CALLS[call](model.apply, params, x=X)


@pytest.mark.parametrize("call", ["audit", "propagate", "calibrate"])
def test_under_jit_there_are_no_values(call):
    def traced(w, x):
        CALLS[call](lambda w, x: x @ w, w, x)

    with pytest.raises(
        ValueError, match=rf"^{call}: got an array that JAX is tracing.* outside ja"
    ):
        jax.jit(traced)(W, X)


def test_a_tree_under_jit_has_no_values():
    with pytest.raises(ValueError, match=r"^audit: got an array that JAX is tracing.* outside ja"):
        jax.jit(lambda w: jaxinit.audit({"w": w}) and None)(W)

"""An initializer under JAX's transformations: the bits are those of a plain call.

tests/schemes/test_schemes.py runs every scheme under jit, vmap, scan and eval_shape; here one
initializer meets all the others.
"""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import raw

from jaxinit import initializers

KEY = jax.random.key(17)
KEYS = jax.random.split(KEY, 8)
SHAPE = (4, 6)
INIT = initializers.he_uniform()
X = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4)


def weights(key=KEY):
    return INIT(key, SHAPE)


def loss(x):
    return ((x @ weights()) ** 2).sum()


def mesh(axis_type=AxisType.Auto):
    return jax.make_mesh((8,), ("d",), axis_types=(axis_type,))


def exported():
    pytest.importorskip("flatbuffers")  # with which JAX serializes a program
    function = jax.export.export(jax.jit(lambda data: weights(jax.random.wrap_key_data(data))))
    data = jax.random.key_data(KEY)
    return jax.export.deserialize(function(data).serialize()).call(data)


def in_place(sharding):
    return jax.jit(weights, out_shardings=sharding)(KEY)


ONE = {  # each makes the array of KEY
    "no jit": lambda: jax.disable_jit()(weights)(),
    "static arguments": lambda: jax.jit(INIT, static_argnums=(1, 2))(KEY, SHAPE, "float32"),
    "ahead of time": lambda: jax.jit(weights).lower(KEY).compile()(KEY),
    "from a shape, ahead of time": lambda: (
        jax.jit(weights).lower(jax.ShapeDtypeStruct((), KEY.dtype)).compile()(KEY)
    ),
    "export": exported,
    "jaxpr": lambda: jax.core.eval_jaxpr(*_jaxpr(), KEY)[0],
    "inline jit": lambda: jax.jit(jax.jit(weights, inline=True))(KEY),
    "cond": lambda: lax.cond(jnp.any(X < 0), weights, lambda key: _START[1], KEY),
    "switch": lambda: jax.jit(lambda i: lax.switch(i, [lambda: 0 * weights(), weights]))(1),
    "while": lambda: lax.while_loop(lambda s: s[0] < 1, lambda s: (1, weights()), _START)[1],
    "fori": lambda: lax.fori_loop(0, 2, lambda i, w: weights(), _START[1]),
    "remat": lambda: jax.jit(jax.checkpoint(weights))(KEY),
    "named scope": lambda: jax.jit(jax.named_scope("init")(weights))(KEY),
    "at compile time": lambda: jax.jit(_at_compile_time)(),
    "callback": lambda: jax.pure_callback(weights, jax.ShapeDtypeStruct(SHAPE, "float32"), KEY),
    "named sharding": lambda: in_place(NamedSharding(mesh(), P(None, None))),
    "set_mesh, auto": lambda: _within(AxisType.Auto),
    "set_mesh, explicit": lambda: _within(AxisType.Explicit),
    "another device": lambda: _on(jax.devices()[3]),
    "key on another device": lambda: weights(jax.device_put(KEY, jax.devices()[3])),
}
EACH = {  # each makes the arrays of KEYS
    "vmap": lambda: jax.vmap(weights)(KEYS),
    "vmap of vmap": lambda: jax.vmap(jax.vmap(weights))(KEYS.reshape(2, 4)).reshape(8, *SHAPE),
    "vmap, last axis": lambda: jnp.moveaxis(jax.vmap(weights, out_axes=2)(KEYS), 2, 0),
    "vmap, spmd axis": lambda: _spmd(),
    "vmap, explicit mesh": lambda: _over(AxisType.Explicit),
    "vmap, auto mesh": lambda: _over(AxisType.Auto),
    "map": lambda: lax.map(weights, KEYS),
    "map in batches": lambda: lax.map(weights, KEYS, batch_size=4),
    "scan": lambda: lax.scan(lambda c, key: (c, weights(key)), 0, KEYS, unroll=2)[1],
    "pmap": lambda: jax.pmap(weights)(KEYS),
    "shard_map": lambda: jax.jit(_shards())(KEYS),
}
DERIVED = {  # each differentiates what uses the weights, or does so by hand
    "grad": lambda w: (jax.grad(loss)(X), 2 * (X @ w) @ w.T),
    "jit of grad": lambda w: (jax.jit(jax.grad(loss))(X), 2 * (X @ w) @ w.T),
    "grad of remat": lambda w: (jax.grad(jax.checkpoint(loss))(X), 2 * (X @ w) @ w.T),
    "jvp": lambda w: (jax.jvp(lambda x: x @ weights(), (X,), (X,))[1], X @ w),
    "vjp": lambda w: (jax.vjp(lambda x: x @ weights(), X)[1](X @ w)[0], X @ w @ w.T),
    "linearize": lambda w: (jax.linearize(lambda x: x @ weights(), X)[1](X), X @ w),
    "jacfwd": lambda w: (jax.jacfwd(lambda x: x @ weights())(X[0]), w.T),
}
_START = (0, jnp.zeros(SHAPE))


def _jaxpr():
    closed = jax.make_jaxpr(weights)(KEY)
    return closed.jaxpr, closed.consts


def _at_compile_time():
    with jax.ensure_compile_time_eval():
        made = weights()
    assert not isinstance(made, jax.core.Tracer)
    return made


def _within(axis_type):
    with jax.set_mesh(mesh(axis_type)):
        return jax.jit(weights)(KEY)


def _on(device):
    with jax.default_device(device):
        return weights()


def _over(axis_type):
    over = NamedSharding(mesh(axis_type), P("d"))
    return jax.vmap(weights)(jax.device_put(KEYS, over))


def _spmd():
    with jax.set_mesh(mesh()):
        return jax.jit(jax.vmap(weights, spmd_axis_name="d"))(KEYS)


def _shards():
    each = jax.vmap(weights)
    return jax.shard_map(each, mesh=mesh(), in_specs=P("d"), out_specs=P("d"))


@pytest.mark.parametrize("name", ONE)
def test_one_array(name):
    assert raw(ONE[name]()) == raw(weights())


@pytest.mark.parametrize("name", EACH)
def test_an_array_for_each_key(name):
    assert raw(EACH[name]()) == raw(np.stack([weights(key) for key in KEYS]))


@pytest.mark.parametrize("name", DERIVED)
def test_derivatives(name):
    got, expected = DERIVED[name](np.asarray(weights(), np.float64))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)

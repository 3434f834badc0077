"""Computations inside other operations: those of a shard_map are read, a Pallas kernel is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from table import gaussian

from jaxinit import infer, propagate

PARAMETERS = {
    "up": gaussian(jax.random.key(0), (16, 32)) / 4,
    "down": gaussian(jax.random.key(1), (32, 8)) / 32**0.5,
}
X = gaussian(jax.random.key(2), (8, 16))


def sharded(function, *specs, out):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out)


def by_data(p, x):
    def layers(up, down, x):
        return jax.nn.gelu(x @ up) @ down

    return sharded(layers, P(), P(), P("d"), out=P("d"))(p["up"], p["down"], x)


def by_tensor(p, x):
    """Megatron's way: the hidden features are divided, and the last sum is completed."""

    def layers(up, down, x):
        return lax.psum(jax.nn.gelu(x @ up) @ down, "d")

    return sharded(layers, P(None, "d"), P("d"), P(), out=P())(p["up"], p["down"], x)


def gathered(p, x):
    """Fully sharded parameters, which are gathered before they are used."""

    def layers(up, down, x):
        up, down = (lax.all_gather(w, "d", tiled=True) for w in (up, down))
        return jax.nn.gelu(x @ up) @ down

    return sharded(layers, P("d"), P("d"), P("d"), out=P("d"))(p["up"], p["down"], x)


@pytest.mark.parametrize("apply", [by_data, by_tensor, gathered])
def test_a_shard_map_is_read_as_the_whole(apply):
    found = infer(apply, PARAMETERS, X)
    for name, fans, feeds in (("up", (16, 32), "gelu"), ("down", (32, 8), "identity")):
        record = found[name]
        assert (record.role, record.fan_in, record.fan_out) == ("kernel", *fans)
        assert (record.activation, record.blocks) == (feeds, ())
    assert found["down"].fed_by.kernels == ("up",)
    report = propagate(apply, PARAMETERS, X)
    assert "within a branch, a while loop or a shard_map, not followed: down, up" in str(report)


def test_custom_partitioning_is_read():
    @custom_partitioning
    def gelu(x):
        return jax.nn.gelu(x)

    gelu.def_partition(
        infer_sharding_from_operands=lambda *_: None,
        partition=lambda *_: None,
        sharding_rule="i j -> i j",
    )
    found = infer(lambda p, x: gelu(x @ p["up"]) @ p["down"], PARAMETERS, X)
    assert (found["up"].activation, found["down"].fed_by.kernels) == ("gelu", ("up",))


def test_what_cannot_be_read_is_named():
    def kernel(x, w, out):
        out[...] = jnp.tanh(x[...] @ w[...])

    def by_pallas(p, x):
        shape = jax.ShapeDtypeStruct((8, 32), jnp.float32)
        return pl.pallas_call(kernel, out_shape=shape, interpret=True)(x, p["up"]) @ p["down"]

    record = infer(by_pallas, PARAMETERS, X)["up"]
    assert (record.role, record.evidence) == (
        "unknown",
        "pallas_call with the signal, which cannot be read",
    )

    def by_callback(p, x):
        shape = jax.ShapeDtypeStruct((8, 32), jnp.float32)
        return jax.pure_callback(np.tanh, shape, x @ p["up"]) @ p["down"]

    report = propagate(by_callback, PARAMETERS, X)
    assert [row["path"] for row in report.rows] == ["up", "down"]
    assert "gradients are not measured: Pure callbacks do not support JVP." in str(report)

"""Linear reductions pass the signal with their factor: pooling, means, running sums, filters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from table import gaussian

import jaxinit
from jaxinit import infer, propagate

IMAGE = jnp.ones((2, 8, 8, 16))
TAPS = jnp.array([0.25, 0.5, 0.25])


def blur(x):
    """A fixed filter along the rows, each feature apart."""
    kernel = jnp.broadcast_to(TAPS[:, None, None, None], (3, 1, 1, x.shape[-1]))
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


REDUCTIONS = {  # name -> the reduction, and its factor for a signal that is the same everywhere
    "average pooling": (lambda x: nn.avg_pool(x, (2, 2), (2, 2)), 1),
    "average pooling, padded": (
        lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False),
        1,
    ),
    "max pooling": (lambda x: nn.max_pool(x, (2, 2), (2, 2)), 1),
    "sum pooling": (lambda x: 4 * nn.avg_pool(x, (2, 2), (2, 2)), 4),
    "global mean": (lambda x: x.mean((1, 2)), 1),
    "scaled sum": (lambda x: x.sum((1, 2)) / 32, 2),
    "masked mean": (lambda x: (x * jnp.tri(8)[..., None]).sum((1, 2)) / 64, 1),
    "running sum": (lambda x: jnp.cumsum(x, 1), 1),
    "blur": (blur, 1),
    "upsampling": (lambda x: jax.image.resize(x, (2, 16, 16, x.shape[-1]), "bilinear"), 1),
    "downsampling": (lambda x: jax.image.resize(x, (2, 4, 4, x.shape[-1]), "bilinear"), 1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_the_activation_after_a_reduction(name):
    reduction, factor = REDUCTIONS[name]

    def apply(p, x):
        y = jax.nn.silu(reduction(x @ p["w"] + p["b"]))
        return y.reshape(y.shape[0], -1) @ p["out"]

    features = jax.eval_shape(reduction, jnp.ones((2, 8, 8, 4))).size // 2
    parameters = {"w": jnp.ones((16, 4)), "b": jnp.ones(4), "out": jnp.ones((features, 3))}
    found = infer(apply, parameters, IMAGE)
    (function,) = found["w"].functions
    assert found["b"].layer == "w"
    if factor == 1:
        assert found["w"].activation == "silu"
    else:
        expected = jaxinit.gain(lambda z: jax.nn.silu(factor * z))
        assert jaxinit.gain(function) == pytest.approx(expected, rel=1e-6)
    assert found["out"].fed_by.kernels == ("w",)
    assert found["out"].fed_by.pooled == (name != "max pooling")


def test_factors_of_fixed_filters_are_what_running_them_gives():
    """A constant signal through the filter, away from borders."""
    for name, (reduction, factor) in REDUCTIONS.items():
        if name not in ("running sum", "masked mean"):  # whose factors depend on the place
            made = np.asarray(reduction(jnp.ones((2, 8, 8, 4))))
            assert np.median(made) == pytest.approx(factor), name


def test_a_difference_is_no_mean():
    def apply(p, x):
        y = x @ p["w"]
        return jax.nn.silu(jnp.einsum("bhwc,hk->bkwc", y, jnp.eye(8) - jnp.eye(8, k=1))) * 2

    assert infer(apply, {"w": jnp.ones((16, 4))}, IMAGE)["w"].activation == "identity"


def test_statistics_of_a_normalization_are_no_mean():
    """Of the batch, of an instance, and of the response to all places; and the gate of an SE."""

    def normalize(y, axes):
        return (y - y.mean(axes)) / jnp.sqrt(y.var(axes) + 1e-6)

    def response(y):
        size = jnp.sqrt((y * y).sum((1, 2), keepdims=True))
        return y * size / (size.mean(-1, keepdims=True) + 1e-6)

    for norm in (
        lambda y: normalize(y, (0, 1, 2)),
        lambda y: (y - y.mean((1, 2), keepdims=True)) / y.std((1, 2), keepdims=True),
        response,
    ):
        found = infer(lambda p, x, n=norm: jax.nn.silu(n(x @ p)), jnp.ones((16, 4)), IMAGE)
        assert found[""].activation == "silu"

    def squeeze(p, x):
        y = jax.nn.relu(x @ p["w"])
        return y * jax.nn.sigmoid(y.mean((1, 2)) @ p["gate"])[:, None, None] @ p["out"]

    found = infer(squeeze, {n: jnp.ones((16, 16)) for n in ("w", "gate", "out")}, IMAGE)
    assert (found["w"].activation, found["gate"].activation) == ("relu", "sigmoid")


def test_predictions_start_anew_after_a_mean():
    """How alike the places are is seen in the signal, not in the weights."""

    def apply(p, x):
        y = nn.avg_pool(jax.nn.relu(x @ p["w"]), (2, 2), (2, 2))
        return jax.nn.relu(y @ p["u"]) @ p["v"]

    keys = jax.random.split(jax.random.key(0), 4)
    parameters = {n: jaxinit.he_normal(k, (128, 128)) for n, k in zip("wuv", keys, strict=False)}
    rows = propagate(apply, parameters, gaussian(keys[3], (4, 8, 8, 128))).rows
    for row in rows:
        assert row["predicted"] == pytest.approx(row["std"], rel=0.15), row


EDGES = jnp.array([0, 1, 2, 3, 0]), jnp.array([1, 2, 3, 0, 2])  # from and to
ADJACENT = jnp.zeros((4, 4)).at[EDGES[1], EDGES[0]].set(1.0)


def segment_mean(z, edges):
    count = jax.ops.segment_sum(jnp.ones(5), edges[1], 4)
    return jax.ops.segment_sum(z[edges[0]], edges[1], 4) / jnp.maximum(count, 1)[:, None]


AGGREGATIONS = {  # over the nodes of a graph that is an input of the model
    "product": (lambda z, a: a @ z, ADJACENT),
    "product of rows": (lambda z, a: (a / a.sum(1, keepdims=True)) @ z, ADJACENT),
    "product on the other side": (lambda z, a: (z.T @ a.T).T, ADJACENT),
    "batch of graphs": (lambda z, a: jnp.einsum("bmn,bnd->bmd", a[None], z[None])[0], ADJACENT),
    "segment sum": (lambda z, e: jax.ops.segment_sum(z[e[0]], e[1], 4), EDGES),
    "segment mean": (segment_mean, EDGES),
    "added at": (lambda z, e: jnp.zeros_like(z).at[e[1]].add(z[e[0]]), EDGES),
}


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_the_activation_after_an_aggregation(name):
    aggregate, graph = AGGREGATIONS[name]

    def apply(p, x, graph):
        return jax.nn.silu(aggregate(x @ p["w"], graph) + p["b"]) @ p["out"]

    parameters = {"w": jnp.ones((16, 8)), "b": jnp.ones(8), "out": jnp.ones((8, 3))}
    found = infer(apply, parameters, jnp.ones((4, 16)), graph)
    assert found["w"].activation == "silu"
    assert found["b"].layer == "w"
    assert found["out"].fed_by.kernels == ("w",)
    assert found["out"].fed_by.pooled


def test_what_is_no_aggregation():
    """Sums over the kernel's own outputs, differences to a mean of neighbours, learned weights."""
    x, square = jnp.ones((4, 16)), jnp.ones((8, 8))
    parameters = {"w": jnp.ones((16, 8)), "out": jnp.ones((8, 3)), "by": jnp.ones((4, 4))}

    def fed(between, other):
        def apply(p, x, other):
            return jax.nn.silu(between(p, x @ p["w"], other)) @ p["out"]

        return infer(apply, parameters, x, other)["w"].activation

    assert fed(lambda p, z, a: z @ a, square) == "identity"
    assert fed(lambda p, z, a: z - a @ z, ADJACENT) == "silu"
    assert fed(lambda p, z, a: (a @ p["by"]) @ z, ADJACENT) == "identity"

"""Fans: against JAX's, and against what a convolution does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinit
from jaxinit import Fans, Layout, fans, initializers


@st.composite
def layouts(draw):
    """A shape of two to five axes, and disjoint roles for some of them."""
    rank = draw(st.integers(2, 5))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank)))
    order = draw(st.permutations(range(rank)))
    roles = draw(
        st.lists(st.sampled_from(["in", "out", "batch", "window"]), min_size=rank, max_size=rank)
    )
    axes = {role: [] for role in ("in", "out", "batch", "window")}
    for axis, role in zip(order, roles, strict=True):
        axes[role].append(axis - rank if draw(st.booleans()) else axis)
    return shape, tuple(axes["in"]), tuple(axes["out"]), tuple(axes["batch"])


@given(layouts())
@settings(max_examples=4, deadline=None)
def test_are_those_of_jax(case):
    are_those_of_jax(case)


@pytest.mark.slow
@given(layouts())
@settings(max_examples=30, deadline=None)
def test_many_are_those_of_jax(case):
    are_those_of_jax(case)


def are_those_of_jax(case):
    shape, in_axis, out_axis, batch_axis = case
    found = fans(shape, in_axis, out_axis, batch_axis)
    for mode, fan in zip(("fan_in", "fan_out"), found, strict=True):
        # JAX tells its fans only by the standard deviation it uses, here on the uniform's bound.
        init = jax.nn.initializers.variance_scaling(
            3.0, mode, "uniform", in_axis, out_axis, batch_axis
        )
        made = initializers.variance_scaling(3.0, mode, "uniform", in_axis, out_axis, batch_axis)
        assert made.stddev(shape) == pytest.approx((3.0 / fan) ** 0.5)
        bound = np.abs(jax.jit(init, static_argnums=(1,))(jax.random.key(0), shape)).max()
        assert bound <= 3.0 / fan**0.5 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((64, 128), {}, (64, 128)),
        ((3, 3, 64, 128), {}, (576, 1152)),
        ((3, 3, 1, 256), {"groups": 256}, (9, 9)),
        ((3, 3, 16, 128), {"groups": 4}, (144, 288)),
        ((8, 64, 128), {"batch_axis": 0}, (64, 128)),
        ((256, 8, 64), {"in_axis": 0, "out_axis": (1, 2)}, (256, 512)),
        ((1000, 64), {"in_axis": -2, "out_axis": 0}, (64, 64)),  # Flax's Embed
        ((64,), {"in_axis": 0, "out_axis": ()}, (64, 1)),
        ((0, 4), {}, (0, 0)),
    ],
)
def test_by_example(shape, options, expected):
    assert fans(shape, **options) == expected


def test_groups_and_strides_count_what_a_convolution_sums():
    """fan_in is the number of terms one output sums, by running it on ones."""

    def interior(kernel, groups=1, stride=1, dilate=1, inputs=8):
        return jax.lax.conv_general_dilated(
            jnp.ones((1, 32, 32, inputs)), jnp.ones(kernel), (stride, stride), [(2, 2), (2, 2)],
            lhs_dilation=(dilate, dilate), feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )[0, 8:-8, 8:-8]  # fmt: skip

    grouped = Layout.of("fans", groups=4)
    assert grouped.fans((3, 3, 2, 16)).fan_in == interior((3, 3, 2, 16), groups=4).mean()
    transposed = Layout(in_stride=4)
    assert transposed.fans((4, 4, 8, 16)).fan_in == interior((4, 4, 8, 16), dilate=2).mean()
    # fan_out: how much one input adds to the outputs, the gradient of their sum
    strided = Layout(out_stride=4)

    def total(x):
        return jax.lax.conv_general_dilated(
            x, jnp.ones((4, 4, 8, 16)), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).sum()

    reached = jax.grad(total)(jnp.ones((1, 32, 32, 8)))[0, 8:-8, 8:-8]
    assert strided.fans((4, 4, 8, 16)).fan_out == reached.mean()


def test_is_a_value():
    assert Layout.of("fans", -2, [-1], ()) == Layout()
    assert hash(Layout()) == hash(Layout.of("fans"))
    assert isinstance(jaxinit.fans((2, 3)), Fans)

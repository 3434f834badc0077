"""Layouts: the fans they say are the terms that meet, counted by running each layer on ones."""

import math
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinit
from jaxinit import Layout, initializers, layouts

KEY = jax.random.key(3)


def counted(layer, inputs, kernel, interior):
    """(fan_in, fan_out): the mean of the outputs, and of the gradient of their sum, all on ones."""
    x, k = jnp.ones(inputs), jnp.ones(kernel)
    outputs, pullback = jax.vjp(lambda x: layer(x, k), x)
    (reached,) = pullback(jnp.ones_like(outputs))
    return float(interior(outputs).mean()), float(interior(reached).mean())


@st.composite
def equations(draw):
    """An equation of an input and a kernel, and their shapes; every kind of index may occur."""
    letters = iter(draw(st.permutations(string.ascii_letters[:12])))
    roles = {
        name: [next(letters) for _ in range(draw(st.integers(0, 2)))]
        for name in ("in", "out", "batch", "window", "free", "lost")
    }
    inputs = draw(st.permutations(roles["in"] + roles["batch"] + roles["free"] + roles["lost"]))
    kernel = draw(st.permutations(roles["in"] + roles["out"] + roles["batch"] + roles["window"]))
    output = draw(st.permutations(roles["out"] + roles["batch"] + roles["free"]))
    sizes = {c: draw(st.integers(1, 3)) for c in string.ascii_letters[:12]}
    equation = f"{''.join(inputs)},{''.join(kernel)}->{''.join(output)}"
    return equation, tuple(sizes[c] for c in inputs), tuple(sizes[c] for c in kernel)


@given(equations())
@settings(max_examples=60, deadline=None)
def test_einsum_counts_what_meets(case):
    equation, inputs, kernel = case
    layout = layouts.einsum(equation, inputs, kernel)
    left, output = equation.split("->")
    letters = left.split(",")
    # NumPy's einsum on ones, and its transpose, are the oracle.
    outputs = np.einsum(equation, np.ones(inputs), np.ones(kernel))
    summed = np.einsum(f"{output},{letters[1]}->", np.ones(outputs.shape), np.ones(kernel))
    shared = [c for c in letters[0] if c in letters[1] or c in output]
    sizes = dict(zip(letters[0], inputs, strict=True))
    expected_out = summed / math.prod(sizes[c] for c in shared)
    assert layout.fans(kernel).fan_in == outputs.mean()
    if len(shared) == len(letters[0]):
        assert layout.fans(kernel).fan_out == expected_out


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bti,ihd->bthd", (None, None), Layout((0,), (1, 2))),
        ("...i,io->...o", (None, None), Layout((0,), (1,))),
        ("b...hd , hdo->b...o", (None, None), Layout((0, 1), (2,))),
        ("ebd,edf->ebf", (None, None), Layout((1,), (2,), (0,))),
        ("...d,...df->...f", ((5, 3, 4), (3, 4, 6)), Layout((1,), (2,), (0,))),
        ("...d,...df->...f", ((4,), (3, 4, 6)), Layout((1,), (0, 2))),
        ("btd,df->bf", ((2, 7, 4), None), Layout((0,), (1,), in_repeat=7)),
    ],
)
def test_einsum_by_example(equation, shapes, expected):
    assert layouts.einsum(equation, *shapes) == expected


@pytest.mark.parametrize(
    ("equation", "inputs", "kernel", "expected"),
    [
        ("a...d,ej...f->adef", (2, 3, 4), (5, 6, 3, 7), Layout((2,), (0, 3))),
        ("d...ab,bc...->adc", (2, 3, 4, 5), (5, 6, 3), Layout((0, 2), (1,))),
        ("...i,ij->j", (2, 3, 4), (4, 5), Layout((0,), (1,), in_repeat=6)),
        ("aab,bc->ac", (3, 3, 4), (4, 5), Layout((0,), (1,))),
        ("ab,bb->ab", (3, 4), (4, 4), Layout((), (), (0, 1))),
        ("ab,bb->a", (3, 4), (4, 4), Layout((0,), (), (1,))),
        ("ab,cb->ac", (3, 4), (2, 1), Layout((1,), (0,), in_repeat=4)),
    ],
)
def test_einsum_as_jax_accepts_it(equation, inputs, kernel, expected):
    """A summed ellipsis, repeated indices, an axis of size 1 against a longer one."""
    layout = layouts.einsum(equation, inputs, kernel)
    assert layout == expected
    outputs = jnp.einsum(equation, jnp.ones(inputs), jnp.ones(kernel))
    assert layout.fans(kernel).fan_in == outputs.mean()


CONVOLUTIONS = [
    {"strides": 1, "groups": 1},
    {"strides": 2, "groups": 1},
    {"strides": (2, 1), "groups": 4},
    {"strides": 2, "groups": 8},  # depthwise
    {"strides": 1, "groups": 1, "input_dilation": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv_counts_what_meets(options):
    def pair(value):
        return (value, value) if isinstance(value, int) else value

    def layer(x, k):
        return jax.lax.conv_general_dilated(
            x, k, pair(options["strides"]), [(0, 0)] * 2, pair(options.get("input_dilation", 1)),
            feature_group_count=options["groups"], dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    kernel = (4, 4, 8 // options["groups"], 16)
    found = counted(layer, (1, 40, 40, 8), kernel, lambda x: x[:, 8:-8, 8:-8])
    assert layouts.conv(**options).fans(kernel) == pytest.approx(found)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("strides", [1, 2, (2, 4), 3])
def test_conv_transpose_counts_what_meets(strides, transposed):
    pair = (strides, strides) if isinstance(strides, int) else strides
    kernel = (6, 4, 16, 8) if transposed else (6, 4, 8, 16)

    def layer(x, k):
        return jax.lax.conv_transpose(x, k, pair, "VALID", transpose_kernel=transposed)

    def interior(x):  # whole periods of the stride
        return x[:, 12:24, 12:24] if x.shape[1] > 30 else x[:, 8:-8, 8:-8]

    found = counted(layer, (1, 30, 30, 8), kernel, interior)
    layout = layouts.conv_transpose(strides, transposed)
    assert layout.fans(kernel) == pytest.approx(found)


@pytest.mark.parametrize("strides", [1, 2])
def test_conv_local_counts_what_meets(strides):
    places = 28 if strides == 1 else 14

    def layer(x, k):
        return jax.lax.conv_general_dilated_local(
            x, k, (strides,) * 2, "VALID", (4, 4) if strides == 2 else (3, 3),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    window = 16 if strides == 2 else 9
    kernel = (places, places, window * 4, 6)
    found = counted(layer, (1, 30, 30, 4), kernel, lambda x: x[:, 4:-4, 4:-4])
    size = (4, 4) if strides == 2 else (3, 3)
    assert layouts.conv_local(size, strides).fans(kernel) == pytest.approx(found)


@pytest.mark.parametrize(
    ("layout", "shape", "expected"),
    [
        (layouts.dense(), (64, 128), (64, 128)),
        (layouts.general_dense(1, 2, 1), (4, 32, 8, 16), (32, 128)),
        (layouts.attention("value"), (768, 12, 64), (768, 768)),
        (layouts.attention("out"), (12, 64, 512), (768, 512)),
        (layouts.embedding(), (1000, 64), (64, 64)),
        (layouts.fused(4), (64, 512), (64, 128)),
        (layouts.fused((768, 256, 256)), (768, 1280), (768, 1280 / 3)),
        (layouts.fused(3, layouts.general_dense(1, 2), axis=1), (64, 12, 16), (64, 64)),
        (layouts.stacked(), (8, 64, 256), (64, 256)),
        (layouts.stacked(layouts.einsum("btd,dhk->bthk")), (5, 64, 8, 16), (64, 128)),
        (layouts.stacked(layouts.fused(2)), (8, 64, 256), (64, 128)),
        (layouts.conv(2, axes=1), (4, 8, 16), (32, 32)),
    ],
    ids=repr,
)
def test_by_example(layout, shape, expected):
    assert layout.fans(shape) == expected
    assert eval(repr(layout)) == layout


@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform", "variance_scaling"])
def test_an_initializer_takes_a_layout(name):
    layout, shape = layouts.einsum("bti,ihd->bthd"), (64, 4, 32)
    options = {"variance_scaling": {"scale": 3.0, "mode": "fan_avg", "distribution": "normal"}}
    options = options.get(name, {})
    init = getattr(initializers, name)(**options, layout=layout)
    axes = getattr(initializers, name)(**options, in_axis=0, out_axis=(1, 2))
    assert init == axes
    made = getattr(jaxinit, name)(KEY, shape, layout=layout, **options)
    assert made.std() == pytest.approx(init.stddev(shape), rel=0.05)
    assert eval(repr(init), dict(vars(initializers))) == init


ERRORS = [
    (lambda: layouts.einsum("bti,ihd"), r"^layouts\.einsum: expected 'input,kernel->output', as 'bti,ihd->bthd'; got 'bti,ihd'\.$"),
    (lambda: layouts.einsum("bti->bt"), r"^layouts\.einsum: expected 'input,kernel->output'"),
    (lambda: layouts.einsum("b1,1j->bj"), r"^layouts\.einsum: 'b1' in 'b1,1j->bj' must have a letter for each index, and at most one ellipsis\.$"),
    (lambda: layouts.einsum("......i,ij->...j"), r"at most one ellipsis"),
    (lambda: layouts.einsum("bi,ij->bjj"), r"^layouts\.einsum: the output 'bjj' of 'bi,ij->bjj' must have each index once\.$"),
    (lambda: layouts.einsum("bi,ij->bk"), r"^layouts\.einsum: 'k' must stand on both sides of 'bi,ij->bk'\.$"),
    (lambda: layouts.einsum("...i,ij->j"), r"^layouts\.einsum: '...i,ij->j' sums its input over an ellipsis, which the kernel does not have"),
    (lambda: layouts.einsum("bi,ij->bj", None, (2, 3, 4)), r"^layouts\.einsum: 'bi,ij->bj' has 2 axes for its kernel, whose shape is \(2, 3, 4\)\.$"),
    (lambda: layouts.einsum("...bi,ij->...bj", (4,)), r"^layouts\.einsum: '...bi,ij->...bj' has 2 axes or more for its input, whose shape is \(4,\)\.$"),
    (lambda: layouts.einsum("bi,ij->bj", (2, 5), (4, 3)), r"^layouts\.einsum: 'bi,ij->bj' gives index 'i' two sizes, 5 and 4\.$"),
    (lambda: layouts.einsum("...i,...ij->...j", (2, 5), (3, 5, 4)), r"^layouts\.einsum: '...i,...ij->...j' gives an axis of the ellipsis two sizes, 2 and 3\.$"),
    (lambda: layouts.einsum("bti,ij->bj"), r"^layouts\.einsum: 'bti,ij->bj' sums its input over 't', which the kernel does not have; give input_shape, whose size there multiplies fan_in\.$"),
    (lambda: layouts.einsum("...i,...ij->...j"), r"^layouts\.einsum: the kernel of '...i,...ij->...j' has an ellipsis; give kernel_shape, which says how many axes that is\.$"),
    (lambda: layouts.attention("keys"), r"^layouts\.attention: projection must be one of query, key, value, out; got 'keys'; did you mean key\?$"),
    (lambda: layouts.conv(0), r"^layouts\.conv: strides must be a positive int; got 0\.$"),
    (lambda: layouts.conv(0.5), r"^layouts\.conv: strides must be a positive int; got 0\.5\.$"),
    (lambda: layouts.conv(2, axes=10**6), r"^layouts\.conv: axes must be at most 64, the most axes that an array has; got 1000000\.$"),
    (lambda: layouts.conv((2, 0)), r"^layouts\.conv: each of strides must be a positive int; got 0\.$"),
    (lambda: layouts.conv(groups=-1), r"^layouts\.conv: groups must be a positive int; got -1\.$"),
    (lambda: layouts.general_dense(0), r"^layouts\.general_dense: in_axes must be a positive int; got 0\.$"),
    (lambda: layouts.fused(()), r"^layouts\.fused: blocks must be a number of equal blocks or a tuple of their sizes; got \(\)\.$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, text):
    with pytest.raises(ValueError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)

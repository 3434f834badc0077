"""Infer: what each parameter is for, on models of many kinds; fans against the layer itself."""

import functools
import re

import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_models
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import jaxinit
from examples import gpt2
from jaxinit import Layout, infer


@functools.cache
def read(name):
    model = zoo_models.KINDS[name]()
    return infer(model.apply, model.params, *model.inputs)


@pytest.mark.parametrize("name", zoo_models.KINDS)
def test_what_parameters_are_for(name):
    found, expected = read(name), zoo_models.KINDS[name]().expected
    records = {p: (r.role, r.fan_in, r.fan_out, r.activation) for p, r in found.items()}
    assert {path: records[path] for path in expected} == expected, f"\n{found}"
    assert not [path for path, r in found.items() if r.role == "unknown"]


def test_a_condition_is_no_activation_where_the_value_is_used_too():
    def apply(w, x):
        z = x @ w
        return jnp.where((z > 0).any(-1, keepdims=True), z, 0.0)

    assert infer(apply, jnp.ones((16, 10)), jnp.ones((8, 16)))[""].activation == "identity"


def counted(apply, kernel_shape, x_shape):
    """The fans of a linear layer by running it on ones: terms of the middle output, and sums of
    the gradient at the middle input, averaged over a period of 12 each way."""
    kernel, x = jnp.ones(kernel_shape), jnp.ones(x_shape)

    def middle(y):
        y = np.asarray(y, np.float64).mean((0, -1))
        return y[tuple(slice(n // 2 - 6, n // 2 + 6) for n in y.shape)].mean()

    gradient = jax.grad(lambda x: apply(kernel, x).sum())(x)
    return middle(apply(kernel, x)), middle(gradient)


@settings(max_examples=15, deadline=None)
@given(
    window=st.integers(1, 5),
    stride=st.integers(1, 3),
    lhs=st.integers(1, 3),
    rhs=st.integers(1, 3),
    padding=st.sampled_from(["SAME", "VALID", ((4, 1),)]),
    groups=st.sampled_from([1, 2, 4]),
)
def test_fans_of_convolutions_are_what_running_them_counts(
    window, stride, lhs, rhs, padding, groups
):
    def apply(kernel, x):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride,),
            lax.padtype_to_pads((96 * lhs,), (rhs * (window - 1) + 1,), (stride,), padding)
            if isinstance(padding, str)
            else padding,
            (lhs,),
            (rhs,),
            ("NWC", "WIO", "NWC"),
            groups,
        )

    shape = (window, 8 // groups, 12)
    found = infer(lambda p, x: apply(p["w"], x), {"w": jnp.ones(shape)}, jnp.ones((1, 96, 8)))["w"]
    expected = counted(apply, shape, (1, 96, 8))
    np.testing.assert_allclose((found.fan_in, found.fan_out), expected, rtol=1e-6)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 2), (5, 3), (2, 3)])
def test_fans_of_transposed_convolutions(window, stride, transpose):
    layer = nn.ConvTranspose(
        6, (window,), (stride,), transpose_kernel=transpose, use_bias=False, padding="SAME"
    )
    x = jnp.ones((1, 96, 8))
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    (found,) = infer(layer.apply, params, x).values()
    expected = counted(lambda w, x: layer.apply({"params": {"kernel": w}}, x), found.shape, x.shape)
    np.testing.assert_allclose((found.fan_in, found.fan_out), expected, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_fans_of_dots_are_what_running_them_counts(data):
    """Any einsum of a signal and a kernel; the sums of both by ones."""
    names = data.draw(st.permutations("abcdef"))
    batch, summed, kept, free = names[0], names[1:3], names[3:5], names[5]
    x_names = data.draw(st.permutations([batch, *summed, free]))
    w_names = data.draw(st.permutations([batch, *summed, *kept]))
    y_names = data.draw(st.permutations([batch, *kept, free]))
    sizes = dict(zip("abcdef", (2, 3, 4, 5, 6, 7), strict=True))
    equation = f"{''.join(x_names)},{''.join(w_names)}->{''.join(y_names)}"
    x, w = (np.ones([sizes[n] for n in names]) for names in (x_names, w_names))
    found = infer(lambda p, x: jnp.einsum(equation, x, p), w, x)[""]
    one = np.zeros_like(x)
    one.flat[0] = 1
    terms, reached = np.einsum(equation, x, w).flat[0], np.einsum(equation, one, w).sum()
    assert (found.fan_in, found.fan_out) == (terms, reached)
    axes = [tuple(sorted(map(w_names.index, role))) for role in (summed, kept, [batch])]
    assert found.layout == Layout(*axes)


# The layout serves the initializers: their fans are the ones found.
@pytest.mark.parametrize(
    "name", ["attention", "einsums", "scanned", "equinox", "experts", "wmt", "ppo", "imagenet"]
)
def test_layouts_give_the_fans(name):
    for record in read(name).values():
        if record.role in ("kernel", "recurrent"):
            assert record.layout.fans(record.shape) == (record.fan_in, record.fan_out), record


RESIDUALS = {
    "scanned": {"params/layers/down/kernel": (1, 3)},
    "fused_attention": {"out": (1, 2), "down": (2, 2)},
    "imagenet": {f"params/block{i}/c3/kernel": (i + 1, 3) for i in range(3)},
    "wmt": {
        "params/encode/out/kernel": (1, 2),
        "params/encoder_mlp/down/kernel": (2, 2),
        "params/decode/out/kernel": (1, 3),
        "params/cross/out/kernel": (2, 3),
        "params/decoder_mlp/down/kernel": (3, 3),
    },
    "lora": {},
    "lstm": {},
    "mnist": {},
}


@pytest.mark.parametrize("name", RESIDUALS)
def test_residual_branches(name):
    found = {p: r.residual[:2] for p, r in read(name).items() if r.residual}
    assert found == RESIDUALS[name]


BLOCKS = {
    ("fused_attention", "qkv"): ((16, 16, 16), 1),
    ("fused_attention", "gated"): ((64, 64), 1),
    ("grouped_queries", "qkv"): ((16, 4, 4), 1),
    ("fused_lstm", "cell/dense_h/kernel"): ((4, 4, 4, 4), 1),
    ("haiku_lstm", "lstm/linear/w"): ((4, 4, 4, 4), 1),
    ("lstm", "params/cell/hi/kernel"): ((), None),
    ("attention", "params/query/kernel"): ((), None),
}


@pytest.mark.parametrize(("name", "path"), BLOCKS)
def test_fused_blocks(name, path):
    record = read(name)[path]
    assert (record.blocks, record.block_axis) == BLOCKS[name, path]


def test_interleaved_heads_and_rotary_embeddings():
    """Blocks that alternate by head are counted; halves that meet again are none."""

    def apply(p, x):
        q, k, v = jnp.moveaxis((x @ p["qkv"]).reshape(2, 5, 4, 3, 2), 3, 0)
        first, second = jnp.split(q, 2, -1)
        cos, sin = jnp.cos(jnp.arange(5.0))[:, None, None], jnp.sin(jnp.arange(5.0))[:, None, None]
        q = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
        mixed = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        return jnp.einsum("bhts,bshd->bthd", mixed, v)

    record = infer(apply, {"qkv": jnp.ones((16, 24))}, jnp.ones((2, 5, 16)))["qkv"]
    assert (record.blocks, record.activation) == ((8, 8, 8), "softmax, softmax, identity")


def test_a_part_of_a_part_is_where_it_is():
    def apply(p, x):
        y = x @ p
        up, q = jnp.split(y[:, 8:], 2, -1)
        return jnp.tanh(up), jax.nn.relu(q), jax.nn.silu(y[:, :8])

    record = infer(apply, jnp.ones((4, 16)), jnp.ones((2, 4)))[""]
    assert (record.blocks, record.activation) == ((8, 4, 4), "silu, tanh, relu")


def test_the_state_of_a_loop_is_signal_from_its_second_turn_on():
    """A diagonal state space model: its decay is a factor, though the state starts as zeros."""

    def apply(p, x):
        def step(h, x):
            h = p["decay"] * h + x @ p["b"]
            return h, h

        return lax.scan(step, jnp.zeros(8), x)[1]

    found = infer(apply, {"decay": jnp.ones(8), "b": jnp.ones((4, 8))}, jnp.ones((5, 4)))
    assert (found["decay"].role, found["b"].role) == ("scale", "kernel")


def test_ties_and_layers():
    tied = read("tied")["params/token/embedding"]
    assert tied.ties == ("gather", "dot_general")
    assert read("attention")["params/out/bias"].layer == "params/out/kernel"
    assert read("lstm")["params/cell/hf/bias"].layer == "params/cell/hf/kernel"
    assert read("imagenet")["params/norm/bias"].layer is None
    twice = infer(lambda w, x: jnp.tanh(jnp.tanh(x @ w) @ w), jnp.ones((8, 8)), jnp.ones((1, 8)))
    assert twice[""].ties == ("dot_general", "dot_general")


ACTIVATIONS = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "gelu ": functools.partial(jax.nn.gelu, approximate=False),
    "silu": jax.jit(nn.swish),
    "tanh": lambda x: jnp.tanh(x.astype(jnp.bfloat16)).astype(jnp.float32),
    "sigmoid": lambda x: 1 / (1 + jnp.exp(-x)),
    "elu": nn.elu,
    "selu": jax.checkpoint(nn.selu),
    "leaky_relu(0.3)": functools.partial(nn.leaky_relu, negative_slope=0.3),
    "leaky_relu": lambda x: jnp.maximum(0.01 * x, x),
    "softplus": nn.softplus,
    "mish": jax.nn.mish,
    "squared_relu": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "hard_silu": nn.hard_swish,
    "hard_tanh": lambda x: jnp.clip(x, -1, 1),
    "softmax": jax.nn.softmax,
    "log_softmax": lambda x: jax.nn.log_softmax(x, axis=0),
    "identity": lambda x: 3 * x,
    "function": lambda x: jnp.sin(3 * x),
    "2 * tanh": lambda x: 2 * jnp.tanh(x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_what_they_compute(name):
    def apply(p, x):
        return ACTIVATIONS[name](x @ p["first"]) @ p["last"]

    found = infer(apply, {"first": jnp.ones((8, 16)), "last": jnp.ones((16, 2))}, jnp.ones((4, 8)))
    assert found["first"].activation == name.strip()


def test_an_unknown_function_is_taken_as_it_is():
    def apply(p, x):
        return jnp.sin(3 * (x @ p["first"] + p["bias"])) @ p["last"]

    shapes = {"first": jnp.ones((8, 16)), "bias": jnp.ones(16), "last": jnp.ones((16, 2))}
    (function,) = infer(apply, shapes, jnp.ones((4, 8)))["first"].functions
    assert jaxinit.gain(function) == pytest.approx(jaxinit.gain(lambda z: jnp.sin(3 * z)))


def test_a_normalization_between_does_not_hide_the_activation():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            for norm, act in ((nn.LayerNorm, nn.gelu), (nn.GroupNorm, nn.silu)):
                options = {"num_groups": 2} if norm is nn.GroupNorm else {}
                x = act(norm(**options)(nn.Dense(8)(x)))
            return nn.Dense(2)(nn.RMSNorm()(nn.relu(nn.WeightNorm(nn.Dense(8))(x))))

    x = jnp.ones((4, 8))
    params = jax.eval_shape(Model().init, jax.random.key(0), x)
    found = infer(Model().apply, params, x)
    names = [found[f"params/Dense_{i}/kernel"].activation for i in (0, 1, 3)]
    assert names == ["gelu", "silu", "relu"]
    assert found["params/Dense_3/kernel"].ties == ()
    assert found["params/WeightNorm_0/Dense_3/kernel/scale"].role == "scale"


def test_two_loops_of_one_body_are_told_apart():
    def step(h, x, w):
        return jnp.tanh(h @ w + x), None

    def apply(p, x):
        for w, act in ((p["a"], jax.nn.relu), (p["b"], jax.nn.sigmoid)):
            body = functools.partial(lax.scan, lambda h, x, w=w: (h @ w, None))
            x = act(body(x, None, length=1)[0])
        return x

    found = infer(apply, {"a": jnp.ones((8, 8)), "b": jnp.ones((8, 8))}, jnp.ones((2, 8)))
    assert [found[name].activation for name in "ab"] == ["relu", "sigmoid"]


def test_branches_while_loops_and_choices():
    def apply(p, x):
        x = lax.cond(x.sum() > 0, lambda x: x @ p["w"], lambda x: x @ p["w"] * 2, x)
        x = lax.while_loop(lambda c: c.sum() < 9, lambda c: jnp.tanh(c @ p["u"]), x)
        return jnp.where(x > 0, x, p["slope"] * x)

    shapes = {"w": jnp.ones((8, 4)), "u": jnp.ones((4, 4)), "slope": jnp.ones(())}
    found = infer(apply, shapes, jnp.ones((2, 8)))
    assert (found["w"].fan_in, found["w"].ties) == (8, ("dot_general",) * 2)
    assert (found["u"].role, found["u"].activation) == ("recurrent", "tanh")
    assert found["slope"].role == "slope"


def test_stacked_layers_and_vision_tokens():
    def indexed(p, x):
        for i in range(3):
            x = jax.nn.relu(x @ p["w"][i] + p["b"][i])
        return jnp.concatenate([jnp.tile(p["cls"], (2, 1)), x], 0) + p["position"]

    def looped(p, x):
        body = lambda i, x: jax.nn.relu(x @ p["w"][i] + p["b"][i])  # noqa: E731
        return lax.fori_loop(0, 3, body, x)

    shapes = {"w": jnp.ones((3, 8, 8)), "b": jnp.ones((3, 8))}
    more = shapes | {"cls": jnp.ones((1, 8)), "position": jnp.ones((4, 8))}
    for apply, params in ((indexed, more), (looped, shapes)):
        found = infer(apply, params, jnp.ones((2, 8)))
        assert found["w"].layout == Layout((1,), (2,), (0,))
        assert (found["w"].fan_in, found["b"].layer, found["b"].activation) == (8, "w", "relu")
    found = infer(indexed, more, jnp.ones((2, 8)))
    assert (found["cls"].role, found["position"].role) == ("token", "position")


def test_a_one_hot_signal_makes_an_embedding():
    def apply(p, tokens):
        return jax.nn.one_hot(tokens, 32) @ p

    record = infer(apply, jnp.ones((32, 8)), jnp.ones(3, int))[""]
    assert (record.role, record.fan_in) == ("embedding", 8)


def test_what_is_not_recognised_is_said():
    def apply(p, x):
        return x * jnp.sin(p["phase"]), p["unused"].shape[0]

    found = infer(apply, {"phase": jnp.ones(()), "unused": jnp.ones(3)}, jnp.ones(2))
    assert found["phase"].role == "unknown"
    assert "after sin" in found["phase"].evidence
    assert (found["unused"].role, found["unused"].evidence) == ("unused", "no output depends on it")


def test_it_prints_as_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    printed = str(read("fused_attention"))
    (row,) = re.findall(r"^ *qkv .*$", printed, re.MULTILINE)
    for cell in (
        "16 x 48",
        "kernel",
        "dot_general",
        "48",
        "softmax, softmax, identity",
        "16x16x16",
    ):
        assert cell in row
    assert repr(read("lora")) == "Inferred(3 parameters)"


def test_a_model_stands_for_its_apply_function():
    x = jnp.ones((1, 3))
    dense, mlp = nn.Dense(4), hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([4])(x)))
    for model in (dense, mlp):
        params = jax.eval_shape(model.init, jax.random.key(0), x)
        assert infer(model, params, x) == infer(model.apply, params, x)


def test_errors():
    with pytest.raises(
        TypeError, match=r"^infer: expected a function of \(params, .* of NNX\. Write gr"
    ):
        infer(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), jnp.ones((1, 3)))
    with pytest.raises(TypeError, match=r"^infer: expected a function of \(params, \*inputs\) fi"):
        infer({"w": jnp.ones(3)}, jnp.ones(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^infer: params holds no arrays; give the tree that app"):
        infer(lambda p, x: x, {}, jnp.ones(3))


def test_the_example_transformer():
    model = gpt2.GPT2(gpt2.ours(2), vocabulary=64, context=8, width=16, heads=2, layers=2)
    tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
    found = infer(model.apply, shapes, tokens)
    assert all(record.role not in ("unknown", "unused") for record in found.values())
    fans, feeds = {}, {}
    for path, record in found.items():
        if record.role == "kernel":
            fans[path.split("/")[-2]] = record.fan_in, record.fan_out
            feeds[path.split("/")[-2]] = record.activation
    assert fans == {
        **dict.fromkeys(("query", "key", "value", "out"), (16, 16)),
        "up": (16, 64),
        "down": (64, 16),
    }
    assert (feeds["up"], feeds["query"], feeds["value"]) == ("gelu", "softmax", "identity")
    branches = [found[f"params/block_01/{name}/kernel"].residual for name in ("out", "down")]
    assert [(b.index, b.total) for b in branches] == [(3, 4), (4, 4)]
    assert found["params/token/embedding"].ties == ("gather", "dot_general")
    assert found["params/position/embedding"].role in ("position", "embedding")


def test_the_table_says_each_operation_once():
    """The decay of a linear recurrence is multiplied in many places."""

    def apply(p, x):
        def step(left, right):
            return left[0] * right[0], right[0] * left[1] + right[1]

        z = x @ p["w"]
        decay = jnp.broadcast_to(jax.nn.sigmoid(p["decay"]), z.shape)
        return lax.associative_scan(step, (decay, z))[1] + p["w"][0]

    found = infer(apply, {"w": jnp.ones((3, 4)), "decay": jnp.ones(4)}, jnp.ones((16, 3)))
    assert len(found["decay"].ties) > 10
    (line,) = (line for line in str(found).splitlines() if line.startswith("decay"))
    assert f"{len(found['decay'].ties)} mul" in line
    assert line.count("mul") == 1

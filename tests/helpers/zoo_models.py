"""Models of many kinds, each with what its parameters are for: (role, fan_in, fan_out, feeds)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx

KEY = jax.random.key(0)
X = jax.ShapeDtypeStruct((2, 16), jnp.float32)
SEQUENCE = jax.ShapeDtypeStruct((2, 5, 16), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
TOKENS = jax.ShapeDtypeStruct((2, 5), jnp.int32)

Expected = Mapping[str, tuple[str, float | None, float | None, str]]


class Model(NamedTuple):
    """A forward pass, its parameters' shapes, its inputs, and what is right."""

    apply: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]
    expected: Expected


def linen(module: nn.Module, inputs: tuple[Any, ...], expected: Expected, **options: Any) -> Model:
    def init(*args):
        return module.init(KEY, *args, **options)

    params = jax.eval_shape(init, *inputs)
    return Model(lambda p, *x: module.apply(p, *x, **options), params, inputs, expected)


def kernel(fan_in, fan_out, feeds="identity", role="kernel"):
    return role, fan_in, fan_out, feeds


def bias(feeds=""):
    return "bias", None, None, feeds


SCALE = ("scale", None, None, "")


def attention() -> Model:
    """linen's attention: kernels (d, heads, head) and (heads, head, d)."""
    expected = {}
    for name in ("query", "key", "value"):
        feeds = "identity" if name == "value" else "softmax"
        expected[f"params/{name}/kernel"] = kernel(16, 16, feeds)
        expected[f"params/{name}/bias"] = bias(feeds)
    expected["params/out/kernel"] = kernel(16, 16)
    expected["params/out/bias"] = bias("identity")
    return linen(nn.MultiHeadDotProductAttention(num_heads=4), (SEQUENCE,), expected)


def einsums() -> Model:
    """A kernel (i, h, d) that JAX's fans read as 2-d windows, and one with a batch axis."""

    class Einsums(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Einsum((16, 4, 8), "bti,ihd->bthd", use_bias=False, name="heads")(x)
            return nn.relu(nn.Einsum((4, 8, 6), "bthd,hdf->bthf", name="per_head")(y))

    expected = {
        "params/heads/kernel": kernel(16, 32),
        "params/per_head/kernel": kernel(8, 6, "relu"),
        "params/per_head/bias": bias("relu"),
    }
    return linen(Einsums(), (SEQUENCE,), expected)


def convolutions() -> Model:
    class Convolutions(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(8, (3, 3), name="plain")(x))
            x = nn.gelu(nn.Conv(8, (3, 3), feature_group_count=8, name="depthwise")(x))
            x = nn.silu(nn.Conv(12, (3, 3), feature_group_count=4, name="grouped")(x))
            x = nn.tanh(nn.Conv(8, (3, 3), kernel_dilation=2, name="dilated")(x))
            x = nn.selu(nn.Conv(8, (4, 4), strides=2, name="strided")(x))
            x = nn.elu(nn.ConvTranspose(6, (4, 4), strides=(2, 2), name="up")(x))
            x = nn.ConvTranspose(5, (3, 3), (2, 2), transpose_kernel=True, name="swapped")(x)
            return nn.relu(nn.ConvLocal(4, (3, 3), padding="VALID", name="local")(x))

    expected = {
        "params/plain/kernel": kernel(27, 72, "relu"),
        "params/depthwise/kernel": kernel(9, 9, "gelu"),
        "params/grouped/kernel": kernel(18, 27, "silu"),
        "params/dilated/kernel": kernel(108, 72, "tanh"),
        "params/strided/kernel": kernel(128, 32, "selu"),
        "params/up/kernel": kernel(32, 96, "elu"),
        "params/swapped/kernel": kernel(13.5, 45, "identity"),
        "params/local/kernel": kernel(45, 4, "relu"),
    }
    return linen(Convolutions(), (IMAGE,), expected)


def lstm() -> Model:
    expected = {}
    for gate, feeds in {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}.items():
        expected[f"params/cell/i{gate}/kernel"] = kernel(16, 4, feeds)
        expected[f"params/cell/h{gate}/kernel"] = kernel(4, 4, feeds, "recurrent")
        expected[f"params/cell/h{gate}/bias"] = bias(feeds)
    return linen(nn.RNN(nn.OptimizedLSTMCell(4)), (SEQUENCE,), expected)


def fused_lstm() -> Model:
    """Gates in one kernel (flax.nnx)."""
    model = nnx.RNN(nnx.OptimizedLSTMCell(16, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)
    gates = "sigmoid, sigmoid, tanh, sigmoid"
    return Model(
        lambda p, x: nnx.merge(graphdef, p)(x),
        params,
        (SEQUENCE,),
        {
            "cell/dense_i/kernel": kernel(16, 16, gates),
            "cell/dense_h/kernel": kernel(4, 16, gates, "recurrent"),
            "cell/dense_h/bias": bias(gates),
        },
    )


def tied() -> Model:
    """An embedding that also makes the logits, and positions."""

    class Tied(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            embed = nn.Embed(32, 16, name="token")
            x = embed(tokens) + self.param("position", nn.initializers.normal(), (1, 5, 16))
            x = nn.LayerNorm(name="norm")(nn.relu(nn.Dense(16, name="dense")(x)))
            return nn.softmax(embed.attend(x))

    expected = {
        "params/token/embedding": kernel(16, 32, "softmax", "embedding"),
        "params/position": ("position", None, None, ""),
        "params/dense/kernel": kernel(16, 16, "relu"),
        "params/dense/bias": bias("relu"),
        "params/norm/scale": SCALE,
        "params/norm/bias": bias(),
    }
    return linen(Tied(), (TOKENS,), expected)


def lora() -> Model:
    def apply(p, x):
        return jax.nn.relu(x @ p["w"] + 2.0 * (x @ p["a"]) @ p["b"])

    shapes = {"w": (16, 24), "a": (16, 2), "b": (2, 24)}
    expected = {
        "w": kernel(16, 24, "relu"),
        "a": kernel(16, 2, "identity", "lora_a"),
        "b": kernel(2, 24, "relu", "lora_b"),
    }
    return Model(apply, _structs(shapes), (X,), expected)


def merged_lora() -> Model:
    """The adapter added to the weights before the signal meets them."""

    def apply(p, x):
        return jax.nn.relu(x @ (p["w"] + p["a"] @ p["b"]))

    shapes = {"w": (16, 24), "a": (16, 2), "b": (2, 24)}
    expected = {
        "w": kernel(16, 24, "relu"),
        "a": kernel(16, 2, "relu", "lora_a"),
        "b": kernel(2, 24, "relu", "lora_b"),
    }
    return Model(apply, _structs(shapes), (X,), expected)


def experts() -> Model:
    """Four experts stacked along axis 0, tokens dispatched by a router."""

    def apply(p, x):
        gates = jax.nn.softmax(x @ p["router"])  # (tokens, experts)
        routed = jnp.einsum("te,td->etd", gates, x)
        hidden = jax.nn.silu(jnp.einsum("etd,edf->etf", routed, p["up"]))
        return jnp.einsum("etf,efd->td", hidden, p["down"])

    shapes = {"router": (16, 4), "up": (4, 16, 32), "down": (4, 32, 16)}
    expected = {
        "router": kernel(16, 4, "softmax"),
        "up": kernel(16, 32, "silu"),
        "down": kernel(32 * 4, 16),
    }
    return Model(apply, _structs(shapes), (X,), expected)


def ragged_experts() -> Model:
    def apply(p, x, sizes):
        hidden = jax.nn.gelu(jax.lax.ragged_dot(x, p["up"], sizes))
        return jax.lax.ragged_dot(hidden, p["down"], sizes)

    shapes = {"up": (4, 16, 32), "down": (4, 32, 16)}
    expected = {"up": kernel(16, 32, "gelu"), "down": kernel(32, 16)}
    sizes = jax.ShapeDtypeStruct((4,), jnp.int32)
    return Model(apply, _structs(shapes), (X, sizes), expected)


def fused_attention() -> Model:
    """GPT-2's: query, key and value in one kernel, split after the product; and a gated unit."""

    def apply(p, x):
        q, k, v = jnp.split(x @ p["qkv"] + p["bias"], 3, -1)
        x = x + jax.nn.softmax(q @ k.swapaxes(-1, -2)) @ v @ p["out"]
        gate, up = jnp.split(x @ p["gated"], 2, -1)
        return x + (jax.nn.silu(gate) * up) @ p["down"]

    shapes = {
        "qkv": (16, 48),
        "bias": (48,),
        "out": (16, 16),
        "gated": (16, 128),
        "down": (64, 16),
    }
    expected = {
        "qkv": kernel(16, 48, "softmax, softmax, identity"),
        "bias": bias("softmax, softmax, identity"),
        "out": kernel(16, 16),
        "gated": kernel(16, 128, "silu, identity"),
        "down": kernel(64, 16),
    }
    return Model(apply, _structs(shapes), (SEQUENCE,), expected)


def grouped_queries() -> Model:
    """Blocks of unequal sizes, cut from the weights before the product."""

    def apply(p, x):
        q = x @ p["qkv"][:, :16]
        k, v = x @ p["qkv"][:, 16:20], x @ p["qkv"][:, 20:]
        logits = jnp.einsum("bthd,bsd->bhts", q.reshape(2, 5, 4, 4), k)
        mixed = jnp.einsum("bhts,bsd->bthd", jax.nn.softmax(logits), v)
        return mixed.reshape(2, 5, 16) @ p["out"]

    expected = {"qkv": kernel(16, 24, "softmax, softmax, identity"), "out": kernel(16, 16)}
    return Model(apply, _structs({"qkv": (16, 24), "out": (16, 16)}), (SEQUENCE,), expected)


def scanned() -> Model:
    """Layers under scan, rematerialised: the leading axis holds the layers."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            y = nn.LayerNorm(name="norm")(x)
            y = nn.gelu(nn.Dense(32, name="up")(y))
            return x + nn.Dense(16, name="down")(y), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.scan(
                nn.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            return layers(name="layers")(x, None)[0]

    expected = {
        "params/layers/up/kernel": kernel(16, 32, "gelu"),
        "params/layers/up/bias": bias("gelu"),
        "params/layers/down/kernel": kernel(32, 16),
        "params/layers/norm/scale": SCALE,
        "params/layers/norm/bias": bias(),
    }
    return linen(Scanned(), (X,), expected)


def equinox() -> Model:
    model = eqx.nn.MLP(16, 3, 8, 2, key=KEY)  # weights are (out, in)
    expected = {
        "layers/0/weight": kernel(16, 8, "relu"),
        "layers/0/bias": bias("relu"),
        "layers/1/weight": kernel(8, 8, "relu"),
        "layers/2/weight": kernel(8, 3),
        "layers/2/bias": bias("identity"),
    }
    return Model(lambda m, x: jax.vmap(m)(x), model, (X,), expected)


def haiku() -> Model:
    model = hk.without_apply_rng(
        hk.transform(lambda x: hk.Linear(3)(hk.nets.MLP([8, 8], activation=jax.nn.tanh)(x)))
    )
    params = jax.eval_shape(model.init, jax.random.PRNGKey(0), X)
    expected = {
        "mlp/~/linear_0/w": kernel(16, 8, "tanh"),
        "mlp/~/linear_0/b": bias("tanh"),
        "mlp/~/linear_1/w": kernel(8, 8, "identity"),
        "linear/w": kernel(8, 3),
    }
    return Model(model.apply, params, (X,), expected)


def haiku_lstm() -> Model:
    """Input and state concatenated, gates split after the product."""

    def forward(x):
        cell = hk.LSTM(4)
        return hk.dynamic_unroll(cell, x, cell.initial_state(5))[0]

    model = hk.without_apply_rng(hk.transform(forward))
    params = jax.eval_shape(model.init, jax.random.PRNGKey(0), SEQUENCE)
    gates = "sigmoid, tanh, sigmoid, sigmoid"
    expected = {"lstm/linear/w": kernel(20, 16, gates), "lstm/linear/b": bias(gates)}
    return Model(model.apply, params, (SEQUENCE,), expected)


def nnx_mlp() -> Model:
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(16, 32, rngs=rngs)
            self.norm = nnx.BatchNorm(32, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(32, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(nnx.swish(self.norm(self.first(x)))))

    graphdef, state = nnx.split(Net(nnx.Rngs(0)))
    expected = {
        "first/kernel": kernel(16, 32, "silu"),
        "first/bias": bias("silu"),
        "norm/scale": SCALE,
        "norm/bias": bias(),
        "norm/mean": ("unused", None, None, ""),  # while training
        "last/kernel": kernel(32, 3),
        "drop/rngs/key": ("state", None, None, ""),
    }
    return Model(lambda s, x: nnx.merge(graphdef, s)(x), state, (X,), expected)


def mnist() -> Model:
    class Cnn(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.avg_pool(nn.relu(nn.Conv(32, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.avg_pool(nn.relu(nn.Conv(64, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.relu(nn.Dense(256)(x.reshape(x.shape[0], -1)))
            return nn.Dense(10)(x)

    expected = {
        "params/Conv_0/kernel": kernel(27, 288, "relu"),
        "params/Conv_0/bias": bias("relu"),
        "params/Conv_1/kernel": kernel(288, 576, "relu"),
        "params/Dense_0/kernel": kernel(1024, 256, "relu"),
        "params/Dense_1/kernel": kernel(256, 10),
        "params/Dense_1/bias": bias("identity"),
    }
    return linen(Cnn(), (IMAGE,), expected)


def imagenet() -> Model:
    """A ResNet of bottleneck blocks, the first of each stage with a projection, in training."""

    class Bottleneck(nn.Module):
        features: int
        stride: int

        @nn.compact
        def __call__(self, x):
            def norm(name, **options):
                return nn.BatchNorm(use_running_average=False, name=name, **options)

            y = nn.relu(norm("n1")(nn.Conv(self.features, (1, 1), use_bias=False, name="c1")(x)))
            y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False, name="c2")(y)
            y = nn.relu(norm("n2")(y))
            y = nn.Conv(4 * self.features, (1, 1), use_bias=False, name="c3")(y)
            y = norm("n3", scale_init=nn.initializers.zeros)(y)
            if x.shape != y.shape:
                stride = (self.stride, self.stride)
                x = nn.Conv(4 * self.features, (1, 1), stride, use_bias=False, name="proj")(x)
                x = norm("n4")(x)
            return nn.relu(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (7, 7), 2, padding=[(3, 3), (3, 3)], use_bias=False, name="first")(x)
            x = nn.relu(nn.BatchNorm(use_running_average=False, name="norm")(x))
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
            for i, stride in enumerate((1, 1, 2)):
                x = Bottleneck(8 * stride, stride, name=f"block{i}")(x)
            return nn.Dense(10, name="head")(x.mean((1, 2)))

    module = ResNet()
    variables = jax.eval_shape(lambda x: module.init(KEY, x), IMAGE)

    def apply(variables, x):
        return module.apply(variables, x, mutable=["batch_stats"])

    expected = {
        "params/first/kernel": kernel(147, 98, "relu"),
        "params/norm/scale": SCALE,
        "params/norm/bias": bias(),
        "params/block0/proj/kernel": kernel(8, 32, "relu"),
        "params/block0/c1/kernel": kernel(8, 8, "relu"),
        "params/block0/c2/kernel": kernel(72, 72, "relu"),
        "params/block0/c3/kernel": kernel(8, 32),
        "params/block2/c2/kernel": kernel(144, 36, "relu"),
        "params/block2/proj/kernel": kernel(32, 16, "relu"),
        "params/head/kernel": kernel(64, 10),
        "batch_stats/norm/mean": ("mean", None, None, ""),
        "batch_stats/norm/var": ("variance", None, None, ""),
    }
    return Model(apply, variables, (IMAGE,), expected)


def wmt() -> Model:
    """An encoder and a decoder with cross attention, dropout and a shared, tied embedding."""

    class Mlp(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(32, name="up")(x))
            x = nn.Dropout(0.1, deterministic=False)(x)
            return nn.Dense(16, name="down")(x)

    class Wmt(nn.Module):
        @nn.compact
        def __call__(self, source, target):
            embed = nn.Embed(32, 16, name="embed")
            positions = jnp.sin(jnp.arange(5.0)[:, None] * jnp.arange(16.0))

            def attend(name, q, kv, mask=None):
                return nn.MultiHeadDotProductAttention(
                    num_heads=2, use_bias=False, dropout_rate=0.1, deterministic=False, name=name
                )(q, kv, mask=mask)

            x = embed(source) + positions
            h = nn.LayerNorm(name="n0")(x)
            x = x + nn.Dropout(0.1, deterministic=False)(attend("encode", h, h))
            x = x + Mlp(name="encoder_mlp")(nn.LayerNorm(name="n1")(x))
            y = embed(target) + positions
            h = nn.LayerNorm(name="n2")(y)
            y = y + attend("decode", h, h, nn.make_causal_mask(target))
            y = y + attend("cross", nn.LayerNorm(name="n3")(y), x)
            y = y + Mlp(name="decoder_mlp")(nn.LayerNorm(name="n4")(y))
            return embed.attend(nn.LayerNorm(name="n5")(y)) / jnp.sqrt(16)

    expected = {"params/embed/embedding": kernel(16, 32, "identity", "embedding")}
    for name in ("encode", "decode", "cross"):
        expected[f"params/{name}/query/kernel"] = kernel(16, 16, "softmax")
        expected[f"params/{name}/key/kernel"] = kernel(16, 16, "softmax")
        expected[f"params/{name}/value/kernel"] = kernel(16, 16)
        expected[f"params/{name}/out/kernel"] = kernel(16, 16)
    for name in ("encoder_mlp", "decoder_mlp"):
        expected[f"params/{name}/up/kernel"] = kernel(16, 32, "relu")
        expected[f"params/{name}/down/kernel"] = kernel(32, 16)
    module = Wmt()
    params = jax.eval_shape(
        lambda *x: module.init({"params": KEY, "dropout": KEY}, *x), *(TOKENS,) * 2
    )

    def apply(params, source, target):
        return module.apply(params, source, target, rngs={"dropout": KEY})

    return Model(apply, params, (TOKENS, TOKENS), expected)


def vae() -> Model:
    class Vae(nn.Module):
        @nn.compact
        def __call__(self, x, key):
            h = nn.relu(nn.Dense(32, name="fc1")(x))
            mean, logvar = nn.Dense(4, name="mean")(h), nn.Dense(4, name="logvar")(h)
            z = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
            h = nn.relu(nn.Dense(32, name="fc3")(z))
            return nn.sigmoid(nn.Dense(16, name="fc4")(h)), mean, logvar

    expected = {
        "params/fc1/kernel": kernel(16, 32, "relu"),
        "params/mean/kernel": kernel(32, 4),
        "params/logvar/kernel": kernel(32, 4, "function"),
        "params/fc3/kernel": kernel(4, 32, "relu"),
        "params/fc4/kernel": kernel(32, 16, "sigmoid"),
    }
    return linen(Vae(), (X, jax.ShapeDtypeStruct((), KEY.dtype)), expected)


def ppo() -> Model:
    class ActorCritic(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x.astype(jnp.float32) / 255.0
            x = nn.relu(nn.Conv(8, (8, 8), (4, 4), name="c1")(x))
            x = nn.relu(nn.Conv(8, (4, 4), (2, 2), name="c2")(x))
            x = nn.relu(nn.Dense(32, name="hidden")(x.reshape(x.shape[0], -1)))
            return nn.log_softmax(nn.Dense(4, name="policy")(x)), nn.Dense(1, name="value")(x)

    frames = jax.ShapeDtypeStruct((2, 32, 32, 4), jnp.uint8)
    expected = {
        "params/c1/kernel": kernel(256, 32, "relu"),
        "params/c2/kernel": kernel(128, 32, "relu"),
        "params/hidden/kernel": kernel(128, 32, "relu"),
        "params/policy/kernel": kernel(32, 4, "log_softmax"),
        "params/policy/bias": bias("log_softmax"),
        "params/value/kernel": kernel(32, 1),
        "params/value/bias": bias("identity"),
    }
    return linen(ActorCritic(), (frames,), expected)


def seq2seq() -> Model:
    class Seq2seq(nn.Module):
        @nn.compact
        def __call__(self, source, target):
            carry, _ = nn.RNN(nn.LSTMCell(8), return_carry=True, name="encoder")(source)
            y = nn.RNN(nn.LSTMCell(8), name="decoder")(target, initial_carry=carry)
            return nn.Dense(16, name="head")(y)

    expected = {"params/head/kernel": kernel(8, 16), "params/head/bias": bias("identity")}
    for side in ("LSTMCell_0", "LSTMCell_1"):
        for gate, feeds in {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}.items():
            expected[f"params/{side}/i{gate}/kernel"] = kernel(16, 8, feeds)
            expected[f"params/{side}/h{gate}/kernel"] = kernel(8, 8, feeds, "recurrent")
    return linen(Seq2seq(), (SEQUENCE, SEQUENCE), expected)


def gru() -> Model:
    expected = {}
    for gate, feeds in {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}.items():
        expected[f"params/cell/i{gate}/kernel"] = kernel(16, 4, feeds)
    for gate in "rz":
        expected[f"params/cell/h{gate}/kernel"] = kernel(4, 4, "sigmoid", "recurrent")
    expected["params/cell/hn/kernel"] = kernel(4, 4, "identity", "recurrent")  # gated first
    return linen(nn.RNN(nn.GRUCell(4)), (SEQUENCE,), expected)


def _structs(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


KINDS: dict[str, Callable[[], Model]] = {
    maker.__name__: maker
    for maker in (
        attention,
        einsums,
        convolutions,
        lstm,
        fused_lstm,
        tied,
        lora,
        merged_lora,
        experts,
        ragged_experts,
        fused_attention,
        grouped_queries,
        scanned,
        equinox,
        haiku,
        haiku_lstm,
        nnx_mlp,
        mnist,
        imagenet,
        wmt,
        vae,
        ppo,
        seq2seq,
        gru,
    )
}

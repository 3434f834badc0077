"""Models of several libraries, initialised as these do, in small configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx

from .audit_zoo_installed import IMAGES, KEY, TOKENS, Made, Model, installed

VECTORS = jax.random.normal(jax.random.key(3), (32, 48))


def _linen(module: nn.Module, *inputs: Any, **options: Any) -> Made:
    params = jax.jit(lambda key: module.init(key, *inputs, **options))(KEY)
    return lambda params, *xs: module.apply(params, *xs, **options), params, inputs


class Mlp(nn.Module):
    widths: tuple[int, ...] = (96, 96, 64, 64, 10)
    activation: Callable[..., Any] = nn.relu
    drawn: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, x):
        *hidden, last = self.widths
        for width in hidden:
            x = self.activation(nn.Dense(width, kernel_init=self.drawn)(x))
        return nn.Dense(last)(x)


class ResNetBlock(nn.Module):
    width: int
    stride: int
    train: bool = False

    @nn.compact
    def __call__(self, x):
        conv = lambda w, k, s, n: nn.Conv(w, (k, k), (s, s), use_bias=False, name=n)  # noqa: E731
        norm = lambda **o: nn.BatchNorm(use_running_average=not self.train, **o)  # noqa: E731
        y = nn.relu(norm()(conv(self.width, 3, self.stride, "conv1")(x)))
        y = norm(scale_init=nn.initializers.zeros)(conv(self.width, 3, 1, "conv2")(y))
        if x.shape != y.shape:
            x = norm()(conv(self.width, 1, self.stride, "shortcut")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    widths: tuple[int, ...] = (32, 64)

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.widths[0], (3, 3), use_bias=False, name="stem")(x))
        for i, width in enumerate(self.widths):
            for j in range(2):
                x = ResNetBlock(width, 2 if i and not j else 1)(x)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


class EncoderBlock(nn.Module):
    drawn: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(4, kernel_init=self.drawn)(y)
        y = nn.gelu(nn.Dense(4 * width, kernel_init=self.drawn, name="up")(nn.LayerNorm()(x)))
        return x + nn.Dense(width, kernel_init=self.drawn, name="down")(y)


class Vit(nn.Module):
    """Learned positions, a class token, a head of zeros, as Flax's example has it."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(64, (4, 4), (4, 4), name="embedding")(x).reshape(x.shape[0], -1, 64)
        token = self.param("cls", nn.initializers.zeros, (1, 1, 64))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1)
        x = x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        for _ in range(3):
            x = EncoderBlock(nn.initializers.xavier_uniform())(x)
        x = nn.LayerNorm(name="encoder_norm")(x)[:, 0]
        return nn.Dense(10, kernel_init=nn.initializers.zeros, name="head")(x)


class Gpt(nn.Module):
    """Learned positions, tied logits, the end of each branch divided by sqrt(2 layers)."""

    layers: int = 3

    @nn.compact
    def __call__(self, tokens):
        init = nn.initializers.normal(0.02)
        table = nn.Embed(200, 64, embedding_init=init, name="wte")
        x = table(tokens) + nn.Embed(16, 64, embedding_init=init, name="wpe")(
            jnp.arange(tokens.shape[1])
        )
        last = nn.initializers.normal(0.02 / (2 * self.layers) ** 0.5)
        mask = nn.make_causal_mask(tokens)
        for i in range(self.layers):
            y = nn.LayerNorm(name=f"ln1_{i}")(x)
            y = nn.MultiHeadDotProductAttention(
                4, kernel_init=init, out_kernel_init=last, name=f"attn_{i}"
            )(y, mask=mask)
            x = x + y
            y = nn.LayerNorm(name=f"ln2_{i}")(x)
            y = nn.gelu(nn.Dense(256, kernel_init=init, name=f"fc_{i}")(y))
            x = x + nn.Dense(64, kernel_init=last, name=f"proj_{i}")(y)
        return table.attend(nn.LayerNorm(name="ln_f")(x))


class Lstm(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.RNN(nn.OptimizedLSTMCell(64))(nn.Embed(200, 48)(x))
        x = nn.RNN(nn.GRUCell(64))(x)
        return nn.Dense(200)(x)


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        skips = []
        for width in (32, 64):
            x = nn.silu(nn.GroupNorm(8)(nn.Conv(width, (3, 3))(x)))
            skips.append(x)
            x = nn.Conv(width, (3, 3), (2, 2))(x)
        x = nn.silu(nn.Conv(64, (3, 3))(x))
        for width, skip in zip((64, 32), reversed(skips), strict=True):
            x = nn.ConvTranspose(width, (4, 4), (2, 2))(x)
            x = nn.silu(nn.GroupNorm(8)(nn.Conv(width, (3, 3))(jnp.concatenate([x, skip], -1))))
        return nn.Conv(3, (3, 3), kernel_init=nn.initializers.zeros, name="out")(x)


class DeepSet(nn.Module):
    """Gated units, RMS norms, orthogonal kernels, a small last layer, as policies have it."""

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.orthogonal(2**0.5)
        for _ in range(2):
            x = nn.tanh(nn.Dense(64, kernel_init=init)(x))
        x = nn.RMSNorm()(x)
        x = nn.Dense(128)(x) * nn.silu(nn.Dense(128, name="gate")(x))
        return nn.Dense(6, kernel_init=nn.initializers.orthogonal(0.01), name="policy")(x)


class ScannedBlock(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return EncoderBlock()(x), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(200, 64)(tokens)
        options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "length": 4}
        x, _ = nn.scan(ScannedBlock, **options)(name="layers")(x, None)
        return nn.Dense(200)(nn.LayerNorm()(x))


def _haiku(function: Callable[..., Any], *inputs: Any, trains: bool = False) -> Made:
    """Of a function of its inputs and whether it trains; run in that mode or in eval mode."""
    first, later = (hk.transform_with_state(partial(function, train=t)) for t in (True, trains))
    params, state = jax.jit(first.init)(KEY, *inputs)
    return lambda params, *xs: later.apply(params, state, None, *xs)[0], params, inputs


def _haiku_transformer(tokens: Any, train: bool) -> Any:
    x = hk.Embed(200, 64)(tokens) + hk.get_parameter(
        "positions", (16, 64), init=hk.initializers.TruncatedNormal(0.02)
    )
    scale = hk.initializers.VarianceScaling(2 / 3)
    for _ in range(3):
        y = hk.LayerNorm(-1, True, True)(x)
        x = x + hk.MultiHeadAttention(4, 16, w_init=scale, model_size=64)(y, y, y)
        y = hk.LayerNorm(-1, True, True)(x)
        x = x + hk.Linear(64, w_init=scale)(jax.nn.gelu(hk.Linear(256, w_init=scale)(y)))
    return hk.Linear(200)(hk.LayerNorm(-1, True, True)(x))


def _haiku_resnet(x: Any, train: bool) -> Any:
    return hk.nets.ResNet(
        (1, 1, 1, 1), 10, bottleneck=False, channels_per_group=(32, 32, 64, 64),
        use_projection=(True, True, True, True), resnet_v2=True,
    )(x, is_training=train)  # fmt: skip


def _equinox(module: Any, batched: Any) -> Made:
    params, static = eqx.partition(module, eqx.is_inexact_array)
    return lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, (batched,)


def _equinox_cnn() -> eqx.nn.Sequential:
    a, b, c, d = jax.random.split(KEY, 4)
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, 32, 3, key=a),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(32, 32, 3, stride=2, key=b),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Lambda(lambda x: x.mean((1, 2))),
            eqx.nn.Linear(32, 64, key=c),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(64, 10, key=d),
        ]
    )


class EquinoxBlocks(eqx.Module):
    embedding: eqx.nn.Embedding
    attention: list[eqx.nn.MultiheadAttention]
    mlps: list[eqx.nn.MLP]
    norms: list[eqx.nn.LayerNorm]
    head: eqx.nn.Linear

    def __init__(self, key: Any) -> None:
        keys = jax.random.split(key, 6)
        self.embedding = eqx.nn.Embedding(200, 64, key=keys[0])
        self.attention = [eqx.nn.MultiheadAttention(4, 64, key=k) for k in keys[1:3]]
        self.mlps = [eqx.nn.MLP(64, 64, 128, 1, jax.nn.gelu, key=k) for k in keys[3:5]]
        self.norms = [eqx.nn.LayerNorm(64) for _ in range(4)]
        self.head = eqx.nn.Linear(64, 200, key=keys[5])

    def __call__(self, tokens: Any) -> Any:
        x = jax.vmap(self.embedding)(tokens)
        for i, (attend, mlp) in enumerate(zip(self.attention, self.mlps, strict=True)):
            y = jax.vmap(self.norms[2 * i])(x)
            x = x + attend(y, y, y)
            x = x + jax.vmap(mlp)(jax.vmap(self.norms[2 * i + 1])(x))
        return jax.vmap(self.head)(x)


class NnxNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(48, 96, rngs=rngs)
        self.norm = nnx.LayerNorm(96, rngs=rngs)
        self.second = nnx.Linear(96, 96, rngs=rngs)
        self.third = nnx.Linear(96, 96, rngs=rngs)
        self.last = nnx.Linear(96, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.norm(self.first(x)))
        return self.last(nnx.relu(self.third(nnx.relu(self.second(x)))))


def _nnx(make: Callable[[nnx.Rngs], nnx.Module], x: Any) -> Made:
    graph, params, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)
    return lambda p, x: nnx.merge(graph, p, rest)(x), params, (x,)  # type: ignore[operator]


class SqueezeExcite(nn.Module):
    """EfficientNet's block: depthwise, and each channel times a gate that sees the whole image."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        wide = 4 * x.shape[-1]
        norm = partial(nn.BatchNorm, use_running_average=True)
        conv = partial(nn.Conv, use_bias=False)
        y = nn.silu(norm()(conv(wide, (1, 1), name="expand")(x)))
        y = conv(wide, (3, 3), self.stride, feature_group_count=wide, name="depthwise")(y)
        y = nn.silu(norm()(y))
        gate = nn.silu(
            nn.Conv(x.shape[-1] // 4, (1, 1), name="squeeze")(y.mean((1, 2), keepdims=True))
        )
        y = y * nn.sigmoid(nn.Conv(wide, (1, 1), name="excite")(gate))
        y = norm()(conv(self.width, (1, 1), name="project")(y))
        return x + y if x.shape == y.shape else y


class EfficientNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.silu(nn.Conv(16, (3, 3), use_bias=False, name="stem")(x))
        for width, stride in ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1)):
            x = SqueezeExcite(width, stride)(x)
        x = nn.silu(nn.Conv(160, (1, 1), use_bias=False, name="top")(x))
        return nn.Dense(10, name="head")(x.mean((1, 2)))


class DenseNet(nn.Module):
    """Each layer takes what all before it made, side by side."""

    @nn.compact
    def __call__(self, x):
        norm = partial(nn.BatchNorm, use_running_average=True)
        conv = partial(nn.Conv, use_bias=False)
        x = conv(24, (3, 3), name="stem")(x)
        for stage in range(2):
            for _ in range(4):
                y = conv(48, (1, 1))(nn.relu(norm()(x)))
                x = jnp.concatenate([x, conv(12, (3, 3))(nn.relu(norm()(y)))], -1)
            if stage == 0:
                x = nn.avg_pool(conv(x.shape[-1] // 2, (1, 1))(nn.relu(norm()(x))), (2, 2), (2, 2))
        return nn.Dense(10, name="head")(nn.relu(norm()(x)).mean((1, 2)))


class PlainResidual(nn.Module):
    """Residual blocks without any normalization."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(64, name="stem")(x)
        for _ in range(8):
            x = x + nn.Dense(64)(nn.gelu(nn.Dense(128)(x)))
        return nn.Dense(10, name="head")(x)


def MODELS() -> Iterator[Model]:  # noqa: N802 - a table that is made when it is asked for
    """All models, the dev ones first."""
    uniform = nn.initializers.he_uniform()
    for name, held_out, make in (
        ("flax MLP", False, lambda: _linen(Mlp(), VECTORS)),
        ("flax MLP, he", False, lambda: _linen(Mlp(drawn=uniform), VECTORS)),
        ("flax ResNet", False, lambda: _linen(ResNet(), IMAGES)),
        ("flax ViT", False, lambda: _linen(Vit(), IMAGES)),
        ("flax GPT", False, lambda: _linen(Gpt(), TOKENS)),
        ("flax LSTM", False, lambda: _linen(Lstm(), TOKENS)),
        ("haiku transformer", False, lambda: _haiku(_haiku_transformer, TOKENS)),
        ("haiku ResNet", False, lambda: _haiku(_haiku_resnet, IMAGES)),
        ("haiku ResNet, training", False, lambda: _haiku(_haiku_resnet, IMAGES, trains=True)),
        ("equinox CNN", False, lambda: _equinox(_equinox_cnn(), IMAGES.transpose(0, 3, 1, 2))),
        ("equinox transformer", False, lambda: _equinox(EquinoxBlocks(KEY), TOKENS)),
        ("nnx MLP", False, lambda: _nnx(NnxNet, VECTORS)),
        ("flax EfficientNet", False, lambda: _linen(EfficientNet(), IMAGES)),
        ("flax DenseNet", False, lambda: _linen(DenseNet(), IMAGES)),
        ("flax residual MLP", False, lambda: _linen(PlainResidual(), VECTORS)),
        ("flax UNet", True, lambda: _linen(UNet(), IMAGES)),
        ("flax policy", True, lambda: _linen(DeepSet(), VECTORS)),
        ("flax scanned", True, lambda: _linen(Scanned(), TOKENS)),
        ("haiku MLP", True, lambda: _haiku(lambda x, train: hk.nets.MLP((64, 64, 10))(x), VECTORS)),
        (
            "haiku MobileNet",
            True,
            lambda: _haiku(
                lambda x, train: hk.nets.MobileNetV1(
                    (1, 2), (32, 64), 10, use_bn=False
                )(x, is_training=train),
                IMAGES,
            ),
        ),
        (
            "equinox MLP",
            True,
            lambda: _equinox(eqx.nn.MLP(48, 10, 64, 3, jax.nn.silu, key=KEY), VECTORS),
        ),
    ):  # fmt: skip
        yield Model(name, held_out, make)
    yield from installed()

"""Recipes: each by the property that its paper promises, measured on the layer it is for."""

import copy
import inspect
import math
import pickle

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats
from table import DYNAMICS, gaussian, key_data, raw

import jaxinit
from jaxinit import initializers, recipes
from jaxinit._random.elementary import guard_from, inverse_softplus
from jaxinit._schemes import time_scales

KEY = jax.random.key(12)
LEVEL = 1e-5


def spread(init, shape=(512, 512)):
    """The standard deviation of what comes out."""
    return float(np.asarray(init(KEY, shape), np.float64).std())


def unit(shape, seed=1):
    return gaussian(jax.random.key(seed), shape)


# Depth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [4, 32])
def test_residual_scaling_keeps_the_stream_at_any_depth(layers):
    """2L branches of linear maps, each of the second moment of its input, add up alike."""
    d, grown = 256, {}
    for name, last in {
        "scaled": lambda layer: recipes.gpt2_residual(layers, d**-0.5),
        "layerwise": lambda layer: recipes.layerwise_residual(layer, d**-0.5),
        "plain": lambda layer: initializers.normal(d**-0.5),
    }.items():
        x = stream = unit((64, d))
        for layer in range(layers):
            for branch in range(2):
                key = jax.random.fold_in(KEY, 2 * layer + branch)
                stream = stream + unit((64, d), 9 + 2 * layer + branch) @ last(layer)(key, (d, d))
        grown[name] = float((stream**2).mean() - (x**2).mean())
    assert grown["scaled"] == pytest.approx(1, abs=0.1)  # 2L branches of 1/(2L)
    harmonic = sum(1 / (layer + 1) for layer in range(layers))
    assert grown["layerwise"] == pytest.approx(harmonic, rel=0.1)
    assert grown["plain"] == pytest.approx(2 * layers, rel=0.1)


def test_formulas_of_depth():
    assert spread(recipes.gpt2_residual(12)) == pytest.approx(0.02 / math.sqrt(24), rel=0.01)
    assert spread(recipes.layerwise_residual(3)) == pytest.approx(0.02 / math.sqrt(8), rel=0.01)
    assert spread(recipes.small_init(640)) == pytest.approx(math.sqrt(2 / 3200), rel=0.01)
    assert spread(recipes.wang(10, 400)) == pytest.approx(2 / 200, rel=0.01)
    cut = stats.truncnorm(-3, 3).std()
    assert spread(recipes.mitchell(400)) == pytest.approx(cut / 20, rel=0.01)
    x = np.asarray(recipes.mitchell(400, 1)(KEY, (512, 512)))
    assert x.std() == pytest.approx(cut / math.sqrt(2 * 400 * 2), rel=0.01)
    assert np.abs(x).max() <= 3 / 40 * (1 + 1e-6)
    # small_init is Glorot's for a layer from d to 4d
    glorot = initializers.glorot_normal().stddev((640, 4 * 640))
    assert recipes.small_init(640).stddev == pytest.approx(glorot)


def test_deepnet_keeps_updates_bounded():
    """Wang et al. 2022, theorem 4.2: the model's update is in proportion to the sum over the
    branches of (v^2 + w^2)/alpha^2, which its constants make O(1) at any depth."""
    for layers in (4, 64, 1000):
        net = recipes.deepnet(layers)
        beta = math.sqrt(net.scaled.scale)
        assert beta == pytest.approx((8 * layers) ** -0.25)
        branches = 2 * layers * (beta**2 + beta**2) / net.residual**2
        assert branches == pytest.approx(
            2 * layers * 2 * (8 * layers) ** -0.5 / (2 * layers) ** 0.5
        )
        assert branches == pytest.approx(1.0)  # whatever the depth
        assert net.plain == initializers.variance_scaling(1.0, "fan_avg", "normal")
    encoder = recipes.deepnet(6, 18, side="encoder")
    assert encoder.residual == pytest.approx(0.81 * (18**4 * 6) ** (1 / 16))
    assert encoder.scaled.scale == pytest.approx((0.87 * (18**4 * 6) ** (-1 / 16)) ** 2)
    decoder = recipes.deepnet(6, 18)
    assert (decoder.scaled.scale, decoder.residual) == pytest.approx((72**-0.5, 18**0.25))
    assert recipes.sub_ln(12).scale == pytest.approx(math.log(24))
    assert recipes.t_fixup(6).scale == pytest.approx((0.67 * 6**-0.25) ** 2)
    assert recipes.t_fixup(6, "decoder").scale == pytest.approx(54**-0.5)


def test_fixup_starts_at_the_identity_and_its_first_step_is_bounded():
    """Zhang et al. 2019: branches start at 0, and one step on all the last kernels moves the output
    by as much at any depth; with plain He it moves in proportion to the depth."""
    d = 128
    x = unit((32, d))

    def moved(branches, inner, last):
        def forward(kernels):
            stream = x
            for branch in range(branches):
                w = inner(jax.random.fold_in(KEY, branch), (d, d))
                stream = stream + jax.nn.relu(stream @ w) @ kernels[branch]
            return stream

        start = jnp.stack([last(KEY, (d, d))] * branches)
        assert raw(forward(start)) == raw(x)
        step = 1e-3 * jax.grad(lambda kernels: forward(kernels).mean())(start)
        return float(jnp.abs(forward(start - step) - x).mean())

    shallow, deep = (moved(n, **recipes.fixup(n)) for n in (4, 32))
    assert deep == pytest.approx(shallow, rel=0.1)
    plain = [moved(n, initializers.he_normal(), jaxinit.zeros) for n in (4, 32)]
    assert plain[1] == pytest.approx(8 * plain[0], rel=0.1)


# Width ------------------------------------------------------------------------------------------


def sizes(width, roles, steps=3):
    """Root mean squares of hidden layer and output at the start, and of their change after Adam's
    first steps, of a network of one hidden layer."""
    keys = jax.random.split(KEY, 3)
    shapes = {"input": (64, width), "hidden": (width, width), "output": (width, 8)}
    weights = {
        role: roles[role].initializer(key, shape)
        for key, (role, shape) in zip(keys, shapes.items(), strict=True)
    }
    x, y = unit((32, 64)), unit((32, 8), 2)

    def forward(weights):
        hidden = jnp.tanh(jnp.tanh(x @ weights["input"]) @ weights["hidden"])
        return hidden, roles["output"].multiplier * hidden @ weights["output"]

    gradient = jax.jit(jax.grad(lambda w: ((forward(w)[1] - y) ** 2).mean()))
    start = forward(weights)
    for _ in range(steps):  # sign descent is Adam's first step
        slope = gradient(weights)
        weights = {
            role: w - 0.01 * roles[role].learning_rate * jnp.sign(slope[role])
            for role, w in weights.items()
        }
    after = forward(weights)
    rms = [float(jnp.sqrt((a**2).mean())) for a in start]
    moved = [float(jnp.sqrt(((a - b) ** 2).mean())) for a, b in zip(after, start, strict=True)]
    return np.array([rms[0], *moved])


def test_mup_keeps_activations_and_updates_at_any_width():
    small, large = (sizes(width, recipes.mup(width, 64)) for width in (128, 1024))
    assert large == pytest.approx(small, rel=0.35)
    standard = {
        role: recipes.Role(initializers.lecun_normal(), 1.0, 1.0)
        for role in ("input", "hidden", "output")
    }
    grown = sizes(1024, standard)[1:] / sizes(128, standard)[1:]
    assert grown.max() > 2  # what mup is for
    base = recipes.mup(64, 64)
    assert all((role.multiplier, role.learning_rate) == (1, 1) for role in base.values())


@pytest.mark.parametrize(("fan_in", "fan_out"), [(1024, 256), (256, 1024), (512, 512)])
def test_spectral_norm_is_the_root_of_the_ratio(fan_in, fan_out):
    norm = np.linalg.norm(np.asarray(recipes.spectral(fan_in, fan_out)(KEY, (fan_in, fan_out))), 2)
    assert norm == pytest.approx(math.sqrt(fan_out / fan_in), rel=0.03)


def test_an_embedded_token_has_its_root_mean_square():
    for width in (64, 2048):
        table = np.asarray(recipes.rms_embedding(1.5)(KEY, (100, width)))
        assert np.sqrt((table**2).mean()) == pytest.approx(1.5, rel=0.03)


# Kinds of layers --------------------------------------------------------------------------------


def test_siren_has_the_same_law_at_every_depth():
    """What enters the second layer is standard normal; further on its variance is near the fixed
    point of q = 1 - exp(-2q), as E[sin(z)^2] = (1 - exp(-2q))/2 for z of variance q."""
    omega, width, depth, q = 30.0, 1024, 6, 1.0
    x = jax.random.uniform(jax.random.key(3), (256, 2), minval=-1, maxval=1)
    first = recipes.siren_first(2)(KEY, (2, width))
    assert np.abs(np.asarray(first)).max() == pytest.approx(0.5, rel=0.01)
    entering = omega * x @ first
    hidden = jnp.sin(entering)
    for layer in range(depth):
        w = recipes.siren(omega)(jax.random.fold_in(KEY, layer), (width, width))
        entering = omega * hidden @ w
        q = q if layer == 0 else -math.expm1(-2 * q)
        assert float(entering.std()) == pytest.approx(math.sqrt(q), rel=0.04)
        assert 1.08 * float(entering.std()) != pytest.approx(math.sqrt(q), rel=0.04)
        hidden = jnp.sin(entering)
    assert math.sqrt(q) == pytest.approx(0.893, abs=0.01)
    entering_one = np.asarray(entering)[:, 0]
    assert stats.kstest(entering_one / math.sqrt(q), stats.norm.cdf).pvalue > LEVEL


def shuffle(x, r, tiled):
    """Sub-pixel shuffle, channels last: (c, r, r) by default, (r, r, c) where tiled."""
    n, h, w, c = x.shape
    if tiled:
        return x.reshape(n, h, w, r, r, c // r**2).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * r, w * r, -1)  # fmt: skip
    return x.reshape(n, h, w, c // r**2, r, r).transpose(0, 1, 4, 2, 5, 3).reshape(n, h * r, w * r, -1)  # fmt: skip


@pytest.mark.parametrize("tiled", [False, True])
def test_icnr_upsamples_without_a_checkerboard(tiled):
    r, he = 3, initializers.he_normal()
    kernel = recipes.icnr(he, r, tiled)(KEY, (3, 3, 4, 5 * r**2))

    def upsampled(kernel):
        y = jax.lax.conv_general_dilated(
            unit((1, 6, 6, 4)), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return np.asarray(shuffle(y, r, tiled))

    made = upsampled(kernel)
    nearest = made[:, ::r, ::r].repeat(r, 1).repeat(r, 2)
    np.testing.assert_allclose(made, nearest, atol=1e-6)
    small = he(KEY, (3, 3, 4, 5))
    assert raw(kernel[..., :1]) == raw(small[..., :1])
    plain = upsampled(he(KEY, (3, 3, 4, 5 * r**2)))
    assert np.abs(plain - plain[:, ::r, ::r].repeat(r, 1).repeat(r, 2)).max() > 0.5


def test_a_forget_bias_keeps_the_gate_open():
    bias = np.asarray(recipes.forget_bias()(KEY, (4 * 8,)))
    assert bias.reshape(4, 8).tolist() == [[0] * 8, [1] * 8, [0] * 8, [0] * 8]
    assert np.asarray(recipes.forget_bias("fio", 2.5)(KEY, (6,))).tolist() == [2.5, 2.5, 0, 0, 0, 0]


def test_chrono_spans_its_time_scales():
    """A cell with forget gate f alone decays over 1/(1 - f) = 1 + e^b steps: uniform on 2..T."""
    for t_max in (20.0, 784.0):
        bias = np.asarray(initializers.chrono(t_max)(KEY, (4 * 2000,)), np.float64).reshape(4, -1)
        steps = 1 / (1 - 1 / (1 + np.exp(-bias[1])))
        law = stats.uniform(2, t_max - 2)
        assert stats.kstest(steps, law.cdf).pvalue > LEVEL
        assert stats.kstest(1.15 * steps, law.cdf).pvalue < LEVEL
        assert (bias[0] == -bias[1]).all()
        assert not bias[2:].any()
    keras = np.asarray(initializers.chrono(9.0, order="fzig")(KEY, (16,))).reshape(4, -1)
    assert (keras[0] == -keras[2]).all()


def test_mambas_steps_are_log_uniform_and_its_modes_are_integers():
    bias = initializers.mamba_dt_bias()(KEY, (4000,))
    dt = np.log(np.asarray(jax.nn.softplus(bias), np.float64))
    law = stats.uniform(math.log(1e-3), math.log(100))
    assert stats.kstest(dt, law.cdf).pvalue > LEVEL
    assert stats.kstest(1.05 * dt, law.cdf).pvalue < LEVEL
    floored = jax.nn.softplus(initializers.mamba_dt_bias(floor=0.01)(KEY, (4000,)))
    assert float(floored.min()) == pytest.approx(0.01, rel=1e-4)
    modes = np.exp(np.asarray(initializers.mamba_a_log()(None, (3, 16)), np.float64))
    np.testing.assert_allclose(modes, np.tile(np.arange(1, 17), (3, 1)), rtol=1e-6)


def test_the_logarithms_of_modes_are_right_to_a_unit_in_the_last_place():
    with jax.enable_x64(True):
        made = initializers.mamba_a_log()(None, (2**22,), "float64")
    states = np.r_[2:200, 2**22 - 100 : 2**22 + 1]
    got = np.asarray(made)[states - 1].tolist()
    with mpmath.workprec(200):
        exact = [mpmath.log(n) for n in states.tolist()]
        off = [abs(x - y) / math.ulp(y) for x, y in zip(exact, got, strict=True)]
        rest = mpmath.log(2) - mpmath.mpf(0x162E42FEE) / 2**33
    assert max(off) < 1
    assert float(rest) == time_scales._LOG_TWO_REST


@pytest.mark.parametrize("bits", [32, 64])
def test_time_scales_are_those_of_the_oracle(bits):
    """Bit for bit, and right to the precision of the dtype."""
    dtype, count = f"float{bits}", 1000
    index, steps = np.arange(count, dtype=np.uint64), (1e-3, 30.0, 1e-2)
    words = (oracle.wide_words if bits == 64 else oracle.words)(key_data(KEY), index)
    known = oracle.Arithmetic(bits)
    with jax.enable_x64(True):
        made = np.asarray(initializers.mamba_dt_bias(*steps)(KEY, (count,), dtype))
        gates = np.asarray(initializers.chrono(784.0, "f")(KEY, (count,), dtype))
    assert raw(made) == raw(known.mamba_dt_bias(words, *steps))
    assert raw(gates) == raw(known.chrono(words, 784.0))
    u = (words.astype(np.float64) + 0.5) / 2.0**bits
    y = np.maximum(np.exp(u * math.log(3e4) + math.log(1e-3)), 1e-2)
    tolerance = {32: 2e-6, 64: 1e-14}[bits]
    np.testing.assert_allclose(made, np.log(np.expm1(y)), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(gates, np.log1p(u * 782), rtol=tolerance)


def test_small_steps_take_the_short_way_with_the_same_bits():
    """The long way takes a second exponential, of eight products and more."""
    logarithms = jnp.log(jnp.linspace(1e-4, 0.339, 1000))

    def inverse(largest):
        return jax.jit(lambda x: inverse_softplus(x, guard_from(x), largest))

    assert raw(inverse(0.339)(logarithms)) == raw(inverse(1.0)(logarithms))
    short, long = (inverse(largest).lower(logarithms).as_text() for largest in (0.339, 1.0))
    assert short.count("multiply") <= long.count("multiply") - 8


def test_hippo_remembers_a_polynomial():
    """Gu et al. 2020: the eigenvalues are -1..-N, and the state holds Legendre coefficients: fed a
    constant, x' = (A x + B u)/t has the fixed point -A^-1 B = e_0, the constant polynomial."""
    a = np.asarray(initializers.hippo()(None, (8, 8)), np.float64)
    assert np.sort(np.linalg.eigvals(a).real) == pytest.approx(-np.arange(8.0, 0, -1), abs=1e-4)
    b = np.sqrt(2 * np.arange(8) + 1)
    np.testing.assert_allclose(-np.linalg.solve(a, b), np.eye(8)[0], atol=1e-5)


@pytest.mark.parametrize("row", DYNAMICS, ids=lambda row: repr(row.factory()))
def test_time_scales_are_values_called_every_way(row):
    init, shape = row.factory(), (8, 8) if row.name == "hippo" else (16,)
    assert raw(init(KEY, shape, "bfloat16")) == raw(init(KEY, shape).astype("bfloat16"))
    for twin in (pickle.loads(pickle.dumps(init)), copy.deepcopy(init)):
        assert (twin, hash(twin), repr(twin)) == (init, hash(init), repr(init))
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P("d"))
    made = init(KEY, shape, None, sharding)
    assert made.sharding.is_equivalent_to(sharding, len(shape))
    assert raw(made) == raw(init(KEY, shape))
    narrow = np.asarray(init(KEY, shape, "float8_e4m3fn")).astype(np.float32)
    assert np.isfinite(narrow).all()


def test_mimetic_products_have_their_diagonals():
    width, heads = 192, 3
    made = recipes.mimetic_attention(KEY, width, heads)
    product = np.asarray(made["value"] @ made["out"])
    assert np.diag(product).mean() == pytest.approx(-0.4, abs=0.02)
    off = product[~np.eye(width, dtype=bool)]
    assert off.std() == pytest.approx(0.4 / math.sqrt(width), rel=0.02)
    assert made["query"].shape == made["key"].shape == (width, heads, width // heads)
    for head in range(heads):
        scores = np.asarray(made["query"][:, head] @ made["key"][:, head].T)
        # The best approximation of rank width/heads to 0.7 Z + 0.7 I: its largest singular values.
        assert np.diag(scores).mean() > 5 * np.abs(scores[~np.eye(width, dtype=bool)]).mean()
        assert np.linalg.matrix_rank(scores, tol=1e-3) == width // heads
    whole = recipes.mimetic_attention(KEY, width, 1)
    scores = np.asarray(whole["query"][:, 0] @ whole["key"][:, 0].T)
    assert np.diag(scores).mean() == pytest.approx(0.7, abs=0.02)
    assert (scores - np.diag(np.diag(scores))).std() == pytest.approx(0.7 / width**0.5, rel=0.02)


# Frameworks -------------------------------------------------------------------------------------


def test_framework_defaults():
    torch = recipes.torch_defaults(fan_in=36, hidden=25)
    kernel = np.asarray(torch["kernel"](KEY, (3, 3, 4, 500)))
    assert kernel.max() == pytest.approx(1 / 6, rel=0.01)
    assert np.abs(np.asarray(torch["bias"](KEY, (4000,)))).max() == pytest.approx(1 / 6, rel=0.01)
    assert np.abs(np.asarray(torch["recurrent"](KEY, (64, 64)))).max() == pytest.approx(
        0.2, rel=0.01
    )
    assert torch["embedding"] == initializers.normal(1.0)
    keras, flax = recipes.keras_defaults(), recipes.flax_defaults()
    assert keras["kernel"] == initializers.glorot_uniform()
    assert keras["lstm_bias"](KEY, (8,)).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    embedding = np.asarray(keras["embedding"](KEY, (100, 100)))
    assert (embedding.min(), embedding.max()) == pytest.approx((-0.05, 0.05), rel=0.01)
    assert flax["kernel"] == initializers.lecun_normal()
    assert spread(flax["embedding"], (1000, 64)) == pytest.approx(1 / 8, rel=0.02)


def test_torch_gain():
    """The table of PyTorch's documentation of ``calculate_gain``."""
    told = {"linear": 1, "conv2d": 1, "conv_transpose3d": 1, "sigmoid": 1, "tanh": 5 / 3}
    told |= {"relu": 2**0.5, "leaky_relu": (2 / (1 + 0.01**2)) ** 0.5, "selu": 3 / 4}
    for name, gain in told.items():
        assert recipes.torch_gain(name) == pytest.approx(gain, rel=1e-15)
    assert recipes.torch_gain("leaky_relu", 0.2) == pytest.approx((2 / 1.04) ** 0.5)


def test_every_recipe_goes_to_a_config_and_back():
    made = [
        recipes.gpt2_residual(3), recipes.mitchell(8, 2), recipes.icnr(jaxinit.initializers.he_normal(), 2),
        recipes.forget_bias(), *recipes.torch_defaults().values(), *recipes.keras_defaults().values(),
        *recipes.flax_defaults().values(), *recipes.fixup(3).values(), recipes.deepnet(3).scaled,
        *(role.initializer for role in recipes.mup(8, 4).values()), recipes.siren(), recipes.siren_first(2),
    ]  # fmt: skip
    for init in made:
        assert initializers.get(init.to_config()) == init


def test_every_recipe_names_its_source():
    for name in recipes.__all__:
        made = getattr(recipes, name)
        if inspect.isfunction(made) and not name.endswith("_defaults"):
            assert "Source:" in (made.__doc__ or ""), name


REFUSED = [
    (lambda: recipes.gpt2_residual(0), r"^gpt2_residual: layers must be a positive int; got 0\.$"),
    (lambda: recipes.layerwise_residual(-1), r"^layerwise_residual: layer must be an int from 0; got -1\.$"),
    (lambda: recipes.deepnet(3, side="left"), r"^deepnet: side must be one of encoder, decoder; got 'left'\.$"),
    (lambda: recipes.t_fixup(3, "left"), r"^t_fixup: side must be one of encoder, decoder; got 'left'\.$"),
    (lambda: recipes.torch_gain("rellu"), r"^torch_gain: nonlinearity must be one of linear, conv1d, .*; got 'rellu'; did you mean relu\?$"),
    (lambda: recipes.fixup(3, 1), r"^fixup: a branch needs at least two kernels; got 1\.$"),
    (lambda: recipes.forget_bias("igo"), r"^forget_bias: order must name one gate f; got 'igo'\.$"),
    (lambda: recipes.mimetic_attention(KEY, 8, 3), r"^mimetic_attention: heads=3 does not divide width=8\.$"),
    (lambda: recipes.icnr(initializers.he_normal(), 2)(KEY, (3, 3, 4, 6)), r"^repeated: 4 equal blocks do not divide axis 3"),
    (lambda: initializers.chrono(2), r"^chrono: t_max must be above 2 steps; got 2\.0\.$"),
    (lambda: initializers.chrono(9, "io"), r"^chrono: order must name each gate by its letter, f among them; got 'io'\.$"),
    (lambda: initializers.chrono(9)(KEY, (6,)), r"^chrono: shape \(6,\) is no bias of 4 gates of equal size; give \(4 \* size,\), or name the gates by order=\.$"),
    (lambda: initializers.chrono(9)(KEY, (8,), "complex64"), r"^chrono: real by definition, not complex64; use a real dtype\.$"),
    (lambda: initializers.mamba_dt_bias(0.1, 0.01), r"^mamba_dt_bias: expected dt_min < dt_max; got dt_min=0\.1, dt_max=0\.01\.$"),
    (lambda: initializers.mamba_a_log()(None, ()), r"^mamba_a_log: shape \(\) has no axis of states; give \(channels, states\)\.$"),
    (lambda: initializers.hippo()(None, (3, 4)), r"^hippo: shape \(3, 4\) is not square in its last two axes\.$"),
    (lambda: initializers.mamba_a_log()(None, (2, 2**31)), r"^mamba_a_log: shape \(2, 2147483648\) has 2147483648 states in its last axis; at most 4194304 are possible\.$"),
    (lambda: initializers.hippo()(None, (2**14, 2**14)), r"^hippo: shape \(16384, 16384\) has 16384 states in its last axis; at most 8192 are possible\.$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_recipes_refuse(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_repeated_refuses_what_is_no_initializer():
    with pytest.raises(TypeError, match=r"^repeated: init must be an initializer; got 3\.$"):
        initializers.repeated(3, 2)

"""Propagate: what it measures, against a plain loop; what it predicts; what it finds."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import models
import numpy as np
import pytest
import zoo_models
from jax import lax
from table import gaussian

import jaxinit
from jaxinit import autoinit, propagate
from jaxinit._check import stages
from jaxinit._check.measure import cosine

KEY = jax.random.key(0)
WIDTH = 256


def mlp(activation, stddev, depth=12, bias=0.0):
    def apply(params, x):
        for layer in params:
            x = activation(x @ layer["kernel"] + layer["bias"])
        return x

    keys = jax.random.split(KEY, depth + 1)
    params = [
        {
            "bias": jnp.full((WIDTH,), bias),
            "kernel": jaxinit.normal(key, (WIDTH, WIDTH), stddev=stddev / WIDTH**0.5),
        }
        for key in keys[1:]
    ]
    return apply, params, gaussian(keys[0], (32, WIDTH))


def kinds(report):
    return [finding.kind for finding in report.findings]


def test_it_measures_what_a_plain_loop_does():
    apply, params, x = mlp(jnp.tanh, 1.3, depth=3, bias=0.1)
    rows = propagate(apply, params, x, loss=lambda y: (y**2).sum()).rows

    def forward(offsets):
        h, seen = x, []
        for layer, offset in zip(params, offsets, strict=True):
            seen.append(h @ layer["kernel"] + layer["bias"] + offset)
            h = jnp.tanh(seen[-1])
        return (h**2).sum(), seen

    gradients, seen = jax.grad(forward, has_aux=True)([jnp.zeros_like(x)] * 3)
    for row, h, g in zip(rows, seen, gradients, strict=True):
        assert row["mean"] == pytest.approx(float(h.mean()), abs=1e-6)
        assert row["std"] == pytest.approx(float(h.std()), rel=1e-4)
        assert row["gradient"] == pytest.approx(float(g.std()), rel=1e-4)
        flat = float(jnp.mean(1 - jnp.tanh(h) ** 2 < 0.05))
        assert row["saturated"] == pytest.approx(flat, abs=2e-3)
        unit = h[:8] / jnp.linalg.norm(h[:8], axis=1, keepdims=True)
        cosines = unit @ unit.T
        assert row["cosine"] == pytest.approx(float((cosines.sum() - 8) / 56), abs=1e-5)


def test_layers_under_scan_are_measured_one_by_one():
    apply, params, x = mlp(jnp.tanh, 1.2, depth=4)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

    def scanned(params, x):
        def layer(h, p):
            return jnp.tanh(h @ p["kernel"] + p["bias"]), None

        return lax.scan(layer, x, params)[0]

    unrolled, rolled = propagate(apply, params, x).rows, propagate(scanned, stacked, x).rows
    assert [row["path"] for row in rolled] == [f"kernel[{i}]" for i in range(4)]
    for one, other in zip(unrolled, rolled, strict=True):
        for key in ("mean", "std", "gradient", "cosine", "saturated"):
            assert one[key] == pytest.approx(other[key], rel=1e-4, abs=1e-6), key


def test_a_kernel_whose_output_enters_a_loop_is_measured_where_it_stands():
    """What the loop makes of it belongs to the turns of the loop, not to the kernel before it."""

    def apply(p, x):
        x = x @ p["stem"]
        return lax.scan(lambda x, w: (x + jax.nn.relu(x @ w), None), x, p["ws"])[0]

    keys = jax.random.split(KEY, 3)
    params = {
        "stem": jaxinit.lecun_normal(keys[0], (64, 64)),
        "ws": jaxinit.he_normal(keys[1], (3, 64, 64), batch_axis=0),
    }
    x = gaussian(keys[2], (32, 64))
    rows = {row["path"]: row for row in propagate(apply, params, x).rows}
    h = x @ params["stem"]
    for i, w in enumerate([None, *params["ws"]]):
        path, made = ("stem", h) if w is None else (f"ws[{i - 1}]", h @ w)
        assert rows[path]["std"] == pytest.approx(float(made.std()), rel=1e-4)
        h = h if w is None else h + jax.nn.relu(made)
    assert len(rows) == 4


def test_residual_blocks_under_nn_scan():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(64)(nn.LayerNorm()(x))
            return x + nn.Dense(16)(nn.gelu(h)), None

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(16)(x)
            options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
            return nn.Dense(10)(nn.scan(Block, length=3, **options)()(x)[0])

    x = gaussian(KEY, (8, 16))
    report = propagate(Model().apply, Model().init(KEY, x), x)
    assert len(report.rows) == 2 + 2 * 3
    assert report.findings == []


def test_complex_signals_keep_their_imaginary_part():
    keys = jax.random.split(KEY, 3)
    first, second = (jaxinit.lecun_normal(k, (64, 64), jnp.complex64) for k in keys[:2])
    x = gaussian(keys[2], (32, 64))

    def apply(p, x):
        return (x.astype(jnp.complex64) @ p["first"]) @ p["second"]

    rows = propagate(apply, {"first": first, "second": second}, x).rows
    made = x.astype(jnp.complex64) @ first
    assert rows[0]["std"] == pytest.approx(float(jnp.std(made)), rel=1e-4)
    assert rows[0]["mean"] == pytest.approx(float(jnp.abs(jnp.mean(made))), abs=1e-6)
    assert rows[1]["std"] == pytest.approx(float(jnp.std(made @ second)), rel=1e-4)
    for row in rows:
        assert row["predicted"] == pytest.approx(row["std"], rel=0.1)

    def along(made):  # the gradient of propagate's default objective
        parts = np.random.default_rng(0).standard_normal((2, *x.shape), np.float32)
        return jnp.vdot((parts[0] + 1j * parts[1]) / 2**0.5, made @ second).real

    gradient = jax.grad(along)(made)
    assert rows[0]["gradient"] == pytest.approx(float(jnp.std(gradient)), rel=1e-3)


def test_recurrent_layers_are_measured_over_time():
    model = nn.RNN(nn.OptimizedLSTMCell(32))
    x = gaussian(KEY, (8, 5, 32))
    params = autoinit(KEY, model.apply, jax.eval_shape(model.init, KEY, x), x)
    report = propagate(model.apply, params, x)
    assert len(report.rows) == 8
    assert all(0.1 < row["std"] < 2 for row in report.rows)


@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.gelu])
def test_predictions(activation):
    """Both ways, within 15 % at width 256; and not from twice the weights."""
    apply, params, x = mlp(activation, 1.4, depth=4)
    rows = propagate(apply, params, x).rows
    for row in rows:
        assert row["predicted"] == pytest.approx(row["std"], rel=0.15)
    for row in rows[:-1]:
        assert row["predicted_gradient"] == pytest.approx(row["gradient"], rel=0.15)
    other = propagate(apply, mlp(activation, 2.8, depth=4)[1], x).rows
    assert other[2]["predicted"] != pytest.approx(rows[2]["std"], rel=0.3)


@pytest.mark.slow
def test_predictions_pass_through_strided_and_transposed_convolutions():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(64, (4, 4), strides=2, padding="CIRCULAR")(x))
            x = nn.relu(nn.Conv(64, (3, 3), feature_group_count=8, padding="CIRCULAR")(x))
            x = nn.relu(nn.ConvTranspose(64, (4, 4), strides=(2, 2))(x))
            return nn.Conv(64, (3, 3), padding="CIRCULAR")(x)

    x = gaussian(KEY, (4, 32, 32, 16))
    params = autoinit(KEY, Model().apply, jax.eval_shape(Model().init, KEY, x), x)
    rows = propagate(Model().apply, params, x).rows
    for row in rows:  # 64 channels: 20 % is three of their standard deviations
        assert row["predicted"] == pytest.approx(row["std"], rel=0.2), row
    for row in rows[:-1]:
        assert row["predicted_gradient"] == pytest.approx(row["gradient"], rel=0.2), row


FAULTS = {
    "explodes": (jax.nn.relu, 2.0, 0.0),
    "vanishes": (jnp.tanh, 0.5, 0.0),
    "dead": (jax.nn.relu, 1.4, -6.0),
    "saturated": (jnp.tanh, 12.0, 0.0),
    "rank_collapse": (jnp.tanh, 0.8, 1.0),
    "gradient_explodes": (jnp.tanh, 6.0, 0.0),
    "gradient_vanishes": (jnp.tanh, 0.5, 0.0),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_findings(kind):
    activation, stddev, bias = FAULTS[kind]
    report = propagate(*mlp(activation, stddev, bias=bias))
    (finding,) = (f for f in report.findings if f.kind == kind)
    assert finding.path in [row["path"] for row in report.rows]
    assert finding.remedy
    printed = " ".join(str(report).split())  # which is wrapped
    assert f"{finding.kind}: {finding.message}" in printed
    assert finding.remedy in printed


def test_zeros_that_stop_a_gradient_on_purpose():
    """The second kernel of an adapter starts as zeros: its first has no gradient, as it should."""

    def apply(p, x):
        return jax.nn.relu(x @ p["w"] + x @ p["a"] @ p["b"]) @ p["v"]

    shapes = {"w": (16, 16), "a": (16, 4), "b": (4, 16), "v": (16, 8)}
    params = {name: jaxinit.he_normal(KEY, shape) for name, shape in shapes.items()}
    params["b"] *= 0
    assert propagate(apply, params, gaussian(KEY, (32, 16))).findings == []


def test_cosines_of_tiny_and_of_zero_signals():
    x = gaussian(KEY, (4, 64))
    assert float(cosine(1e-30 * x)) == pytest.approx(float(cosine(x)), abs=1e-6)
    assert jnp.isnan(cosine(0 * x))
    assert jnp.isnan(cosine(x[:1]))


def test_not_finite():
    apply, params, x = mlp(jnp.tanh, 1.0, depth=2)
    params[1]["kernel"] = params[1]["kernel"].at[0, 0].set(jnp.nan)
    finding, *_ = propagate(apply, params, x).findings
    assert (finding.severity, finding.kind, finding.path) == ("error", "not_finite", "1/kernel")


def test_healthy_models_have_no_findings():
    apply, params, x = mlp(jax.nn.relu, 2**0.5, depth=6)
    assert propagate(apply, params, x).findings == []
    transformer = models.LinenTransformer(32, 2, 128)
    tokens = jax.random.randint(KEY, (4, 16), 0, 128)
    params = jax.jit(transformer.init)(KEY, tokens)
    assert propagate(transformer.apply, params, tokens).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo_models.KINDS)
def test_any_model(name):
    model = zoo_models.KINDS[name]()
    params = autoinit(KEY, model.apply, model.params, *model.inputs, default=jaxinit.zeros)
    inputs = [drawn(x) for x in model.inputs]
    report = propagate(model.apply, params, *inputs)
    assert all(np.isfinite(row["std"]) for row in report.rows)
    kernels = [r for r in jaxinit.infer(model.apply, params, *inputs).values() if r.layout]
    assert len(report.rows) >= len([r for r in kernels if r.role != "embedding"])


@pytest.mark.slow
def test_a_resnet_in_training():
    resnet = models.ResNet(8, 2)
    images = gaussian(KEY, (8, 16, 16, 3))

    def apply_resnet(variables, x):
        return resnet.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    params = jax.jit(lambda key, x: resnet.init(key, x, train=True))(KEY, images)
    report = propagate(apply_resnet, params, images)
    assert report.findings == []
    assert len(report.rows) == 6


def drawn(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return KEY
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jax.random.randint(KEY, x.shape, 0, 32)
    return jax.random.normal(KEY, x.shape)


def test_a_branch_is_said_not_to_be_followed():
    def apply(p, x):
        return lax.cond(x.sum() > 0, lambda x: x @ p, lambda x: x, x)

    report = propagate(apply, jnp.ones((4, 4)), jnp.ones((2, 4)))
    assert "not followed" in str(report)


def test_errors():
    apply, params, x = mlp(jnp.tanh, 1.0, depth=1)
    shapes = jax.eval_shape(lambda: params)
    with pytest.raises(ValueError, match=r"^propagate: expected arrays with values; got a S"):
        propagate(apply, shapes, x)
    with pytest.raises(TypeError, match=r"^propagate: apply_fn returns no floats, whose gradien"):
        propagate(lambda p, x: (x @ p["w"]).argmax(), {"w": jnp.ones((WIDTH, 4))}, x)
    with pytest.raises(TypeError, match=r"^propagate: expected a function of \(params, \*inputs"):
        propagate(3, params, x)
    with pytest.raises(TypeError, match=r"^propagate: loss must be a function of .*; got a str\.$"):
        propagate(apply, params, x, loss="mse")
    text = r"^propagate: loss must return one real number; got float32 of shape \(.*\)\."
    with pytest.raises(TypeError, match=text):
        propagate(apply, params, x, loss=lambda y: y)
    with pytest.raises(
        ValueError, match=r"^propagate: got an input of shape \(0, .*; give a batch"
    ):
        propagate(apply, params, x[:0])


def test_a_product_that_a_scan_in_a_scan_carries_and_stacks():
    def apply(params, x):
        def outer(x, kernels):
            def inner(x, kernel):
                made = x @ kernel
                return x + jnp.tanh(made), made

            x, made = jax.lax.scan(inner, x, kernels)
            return x, made.sum(0)

        x, made = jax.lax.scan(outer, x, params["w"])
        return x + made.sum(0)

    (row, *_) = propagate(apply, {"w": jnp.ones((2, 3, 8, 8)) / 8}, jnp.ones((4, 8))).rows
    assert row["path"] == "w[0]"
    assert row["gradient"] > 0


def test_a_loss_is_given_what_the_function_returns():
    def apply(params, x):
        return {"y": x @ params["w"], "times": 3, "name": "a"}

    def loss(out):
        assert out["name"] == "a"
        return sum((out["y"] ** 2).sum() for _ in range(out["times"]))

    (row,) = propagate(apply, {"w": jnp.eye(4)}, jnp.arange(8.0).reshape(2, 4), loss=loss).rows
    assert row["gradient"] == pytest.approx(6 * np.std(np.arange(8)), rel=1e-5)


def test_equal_stages_are_compiled_once(monkeypatch):
    def compiled(depth):
        monkeypatch.setattr(stages, "_compiled", stages._Compiled())
        apply, params, x = mlp(jnp.tanh, 1.3, depth)
        first = propagate(apply, params, x).rows
        found = len(stages._compiled.calls)
        again = mlp(jnp.tanh, 1.3, depth)[0]  # another function that computes the same
        assert propagate(again, params, x).rows == first
        assert len(stages._compiled.calls) == found
        return found

    assert compiled(4) == compiled(9)

"""What audit says of tables that no key drew, of siblings, of zeros, biases and copies."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import gaussian

import jaxinit
from jaxinit import audit
from jaxinit._check.array_statistics import describe
from jaxinit._check.findings import Finding, grouped, number

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _same_numbers():
    """Each test draws the same numbers, whichever ran before it."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def draw(*shape, std=1.0):
    return (RNG.standard_normal(shape) * std).astype(np.float32)


def kinds(params, *model):
    """(severity, kind, path) of each finding."""
    return [(f.severity, f.kind, f.path) for f in audit(params, *model).findings]


def waves(rows, columns, interleaved=False, square=False):
    """Vaswani et al.'s positions: sin(t w) and cos(t w), w from 1 down to 1/10,000."""
    t = np.arange(rows)[:, None]
    w = 10_000.0 ** -(np.arange(columns // 2) / (columns // 2))
    parts = np.sin(t * w), np.cos(t * w)
    return np.stack(parts, -1).reshape(rows, columns) if interleaved else np.concatenate(parts, 1)


def grid(side, columns):
    """MAE's positions: half of the columns for each of two coordinates."""
    half = waves(side, columns // 2)
    y, x = np.divmod(np.arange(side * side), side)
    return np.concatenate([half[y], half[x]], 1)


TABLES = {
    "halves": (waves(64, 32), "a table of sines and cosines"),
    "interleaved": (waves(64, 32, interleaved=True), "a table of sines and cosines"),
    "two coordinates": (grid(8, 64), "a table of sines and cosines"),
    "in bfloat16": (np.asarray(jnp.asarray(waves(64, 32), jnp.bfloat16)), "a table of sines"),
    "one-hot": (np.eye(32, dtype=np.float32)[RNG.integers(0, 32, 64)], "one-hot"),
    "identity": (2 * np.eye(32, dtype=np.float32), "one-hot"),
    "HiPPO": (np.asarray(jaxinit.initializers.hippo()(KEY, (64, 64))), "a triangular table"),
    "HiPPO, transposed": (
        np.asarray(jaxinit.initializers.hippo()(KEY, (64, 64), "bfloat16")).T,
        "a triangular table",
    ),
    "HiPPO, stacked": (np.asarray(jaxinit.initializers.hippo()(KEY, (3, 16, 16))), "a triangular"),
    "S4D's A": (np.log(np.tile(np.arange(1.0, 17), (32, 1))), "a sorted table"),
    "arange": (np.arange(64.0), "a sorted table"),
    "linspace": (np.linspace(1, -1, 128).reshape(128, 1), "a sorted table"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_a_formula_computed(name):
    table, text = TABLES[name]
    found = describe("table", table)
    assert text in (found.pattern or "")
    assert kinds({"encoder": {"table": table}, "decoder": {"table": table}}) == []


@pytest.mark.parametrize("shape", [(64, 32), (8, 8), (4096,), (9, 2, 16), (7, 400)])
def test_a_draw_is_no_table(shape):
    for _ in range(20):
        assert describe("w", draw(*shape)).pattern is None


PEERS = {
    "uniform": lambda: (RNG.uniform(-1, 1, (64, 64)), "uniform"),
    "normal": lambda: (draw(64, 64), "normal"),
    "truncated": lambda: (jaxinit.he_normal(KEY, (64, 64)), "truncated normal"),
    "orthogonal": lambda: (jaxinit.orthogonal(KEY, (64, 64)), "orthogonal"),
    "a constant": lambda: (np.ones(64, np.float32), "all 1"),
}


@pytest.mark.parametrize("name", PEERS)
def test_distributions_are_named(name):
    array, text = PEERS[name]()
    assert describe("w", array).distribution == text


def layers(n=4, width=64, std=0.125):
    return {f"layer_{i}": {"kernel": draw(width, width, std=std)} for i in range(n)}


def test_one_layer_unlike_its_siblings():
    params = layers()
    assert kinds(params) == []
    params["layer_2"]["kernel"] *= 3
    (finding,) = audit(params).findings
    assert (finding.kind, finding.path) == ("wrong_std", "layer_2/kernel")
    assert "times that of the same kernel of 3 other layers" in finding.message
    assert "theirs 0.12" in finding.evidence


@pytest.mark.parametrize("factor", [1.12, 0.88])
def test_a_kernel_of_many_elements_tells_a_small_difference(factor):
    params = layers()
    params["layer_2"]["kernel"] *= factor
    assert kinds(params) == [("warning", "wrong_std", "layer_2/kernel")]
    # The standard deviation of 64 elements is off by 9 % by chance.
    params = layers(width=8, std=8**-0.5)
    params["layer_2"]["kernel"] *= factor
    assert kinds(params) == []


def test_a_deviation_that_all_layers_share_is_one_note():
    found = audit(layers(12, std=0.0373)).findings
    assert [(f.severity, f.kind, len(f.also)) for f in found] == [("note", "unusual_std", 11)]


@pytest.mark.parametrize("rule", ["standard", "forward"])
def test_equal_layers_that_autoinit_draws_apart(rule):
    """The first takes data and the last feeds no relu, so that their variances are others."""
    model = nn.Sequential([layer for _ in range(4) for layer in (nn.Dense(64), nn.relu)][:-1])
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)
    shapes = jax.eval_shape(model.init, KEY, x)
    params = jaxinit.autoinit(KEY, model.apply, shapes, x, rule=rule)
    for given in ((), (model.apply, x)):
        assert kinds(params, *given) == []
        for layer in ("layers_4", "layers_6"):
            changed = jax.tree.map(lambda w: w, params)
            changed["params"][layer]["kernel"] *= 3
            path = f"params/{layer}/kernel"
            assert kinds(changed, *given) == [("warning", "wrong_std", path)]


def test_a_layer_of_three_drawn_by_what_each_feeds():
    """Two kernels by He for relu and one by LeCun for the output agree in units of the advice."""

    def apply(params, x):
        for n in range(3):
            x = jax.nn.relu(x @ params[f"w{n}"])
        return x @ params["w3"]

    params = {f"w{n}": draw(64, 64, std=(2 / 64) ** 0.5) for n in range(3)}
    params["w3"] = draw(64, 64, std=0.125)
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)
    assert kinds(params, apply, x) == []
    params["w1"] = draw(64, 64, std=0.3)
    (finding,) = audit(params, apply, x).findings
    assert finding.path == "w1"
    assert "each beside what the standard rule of autoinit advises" in finding.message


def test_a_scale_that_falls_with_depth_is_meant():
    params = layers(6)
    for i, layer in enumerate(params.values()):
        layer["kernel"] /= (i + 1) ** 0.5
    assert [f for f in kinds(params) if f[0] != "note"] == []


def test_a_slice_of_a_stack_unlike_the_others():
    stack = draw(6, 64, 64, std=0.125)
    assert kinds({"kernel": stack}) == []
    stack[4] *= 3
    (finding,) = audit({"kernel": stack}).findings
    assert "slice 4 of axis 0 has std 0.37" in finding.message


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_low_rank(rank):
    w = draw(64, rank) @ draw(rank, 96)
    w *= 0.125 / w.std()
    (finding,) = audit({"kernel": w}).findings
    assert finding.kind == "low_rank"
    assert f"its rank is {rank} as a matrix of 64 x 96" in finding.message
    assert np.linalg.matrix_rank(w) == rank


@pytest.mark.parametrize("init", ["orthogonal", "he_normal", "glorot_uniform"])
@pytest.mark.parametrize("shape", [(64, 64), (256, 32), (16, 512), (3, 3, 16, 32)])
def test_full_rank(init, shape):
    found = describe("w", getattr(jaxinit, init)(KEY, shape))
    assert found.rank is None
    assert not found.is_scattered


def test_a_transposed_copy():
    w = draw(64, 128, std=0.125)
    params = {"up": {"kernel": w}, "down": {"kernel": 0.7 * w.T}, "other": {"kernel": w[::-1]}}
    (finding,) = audit(params).findings
    assert (finding.kind, finding.path) == ("reused_key", "up/kernel")
    assert "the transpose of down/kernel" in finding.message


def test_rows_that_are_copied():
    """Units of a kernel that is used as x @ w.T."""
    w = draw(64, 48, std=0.14)
    w[32:] = w[:32]
    (finding,) = audit({"weight": w}).findings
    assert (finding.kind, "64 of its 64 rows are equal" in finding.message) == ("reused_key", True)


def test_most_values_zero_is_no_reused_key():
    w = np.where(RNG.random((128, 128)) < 0.97, 0, draw(128, 128, std=0.088))
    (finding,) = audit({"kernel": w}).findings
    assert finding.kind == "mostly_zero"
    assert "97%" in finding.message


def test_sparse_on_purpose():
    delta = jaxinit.delta_orthogonal(KEY, (5, 5, 32, 32))
    blocks = np.kron(np.eye(16), np.ones((8, 8))) * draw(128, 128, std=0.088)
    found = audit({"a": {"kernel": delta}, "b": {"kernel": blocks.astype(np.float32)}})
    assert [f for f in found.findings if f.kind == "mostly_zero"] == []


class PreNorm(nn.Module):
    """Two residual blocks, the second of which ends in a kernel of zeros."""

    @nn.compact
    def __call__(self, x):
        for i in range(2):
            y = nn.LayerNorm(name=f"norm_{i}")(x)
            y = nn.relu(nn.Dense(64, name=f"up_{i}")(y))
            x = x + nn.Dense(32, name=f"down_{i}")(y)
        return nn.Dense(8, name="head")(x)


X = gaussian(KEY, (32, 32))


def prenorm():
    return jax.tree.map(lambda x: x, PreNorm().init(KEY, X))["params"]


def applied(params, x):
    return PreNorm().apply({"params": params}, x)


def test_zeros_that_let_the_signal_through():
    params = prenorm()
    for name in ("down_0", "down_1", "head"):
        params[name]["kernel"] *= 0
    (finding,) = audit(params, applied, X).findings
    assert (finding.severity, finding.kind, len(finding.also)) == ("note", "zero", 2)


@pytest.mark.parametrize("place", ["up_0/kernel", "norm_1/scale"])
def test_zeros_that_close_the_way(place):
    params = prenorm()
    layer, name = place.split("/")
    params[layer][name] *= 0
    params["head"]["kernel"] *= 0
    first, second = audit(params, applied, X).findings
    assert (first.severity, first.kind, first.path) == ("error", "zero", place)
    taker = {"up_0/kernel": "down_0", "norm_1/scale": "up_1"}[place]
    assert f"{taker}/kernel takes a signal" in first.evidence
    assert (second.severity, second.path) == ("note", "head/kernel")


def test_zeros_that_no_gradient_reaches():
    """Two kernels of zeros in a row; alone, each of them is trained."""

    def branch(params, x):
        return x + jnp.tanh(x @ params["up"]) @ params["down"]

    x = gaussian(KEY, (8, 16))
    drawn = {"up": jaxinit.he_normal(KEY, (16, 16)), "down": jnp.zeros((16, 16))}
    (note,) = jaxinit.audit(drawn, branch, x).findings
    assert (note.severity, note.kind, note.path) == ("note", "zero", "down")
    found = jaxinit.audit({**drawn, "up": jnp.zeros((16, 16))}, branch, x).findings
    assert [(f.severity, f.kind, f.path) for f in found] == [
        ("error", "zero", "down"),
        ("error", "zero", "up"),
    ]
    assert all("no gradient will ever reach it" in f.message for f in found)


def test_uneven_widths():
    def chain(params, x):
        for w in params[:-1]:
            x = jax.nn.relu(x @ w)
        return x @ params[-1]

    def noted(*sizes):
        keys = jax.random.split(KEY, len(sizes))
        pairs = zip(keys[1:], itertools.pairwise(sizes), strict=True)
        params = [jaxinit.he_normal(key, pair) for key, pair in pairs]
        found = jaxinit.audit(params, chain, jnp.ones((2, sizes[0]))).findings
        return [f.path for f in found if f.kind == "uneven_widths"]

    assert noted(16, 16, 256, 256, 4) == ["1"]
    assert noted(16, 16, 256, 16, 4) == []


def test_zeros_by_the_parameters_alone():
    params = prenorm()
    params["norm_1"]["scale"] *= 0
    assert kinds(params) == [("warning", "zero", "norm_1/scale")]
    for i in range(2):  # 1 + scale, as in Gemma
        params[f"norm_{i}"]["scale"] *= 0
    assert kinds(params) == [("note", "zero", "norm_0/scale")]
    params = prenorm()
    params["up_1"]["kernel"] *= 0
    assert kinds(params) == [("warning", "zero", "up_1/kernel")]


@pytest.mark.parametrize("model", [(), (applied, X)])
def test_a_bias_that_kills_its_units(model):
    params = prenorm()
    params["up_0"]["bias"] -= 20
    (finding,) = audit(params, *model).findings
    assert (finding.kind, finding.path) == ("dead", "up_0/bias")
    assert "100% of the units" in finding.message
    params["up_0"]["bias"] += 19
    assert audit(params, *model).findings == []


LAYER = {"kernel": draw(32, 64, std=32**-0.5)}


@pytest.mark.parametrize(
    ("phi", "bias", "dead"),
    [
        (jax.nn.relu, -20, True),
        (jax.nn.silu, -20, True),
        (jnp.tanh, 20, True),
        (jnp.tanh, -4.5, False),
        (jax.nn.sigmoid, -6, False),
        (jnp.exp, -20, False),
        (jax.nn.leaky_relu, -20, False),
        (lambda x: jnp.where(x > 30, x - 30, 0.1 * x), -20, False),
        (lambda x: jnp.maximum(x + 40, 0), -20, False),
    ],
)
def test_a_unit_is_dead_where_its_own_activation_is_flat(phi, bias, dead):
    params = {**LAYER, "bias": np.full(64, bias, np.float32)}
    x = jax.ShapeDtypeStruct((8, 32), jnp.float32)
    found = kinds(params, lambda p, x: phi(x @ p["kernel"] + p["bias"]), x)
    assert found == ([("warning", "dead", "bias")] if dead else [])


def test_each_block_of_a_fused_kernel_has_its_own_activation():
    def gated(params, x):
        gate, up = jnp.split(x @ params["kernel"] + params["bias"], 2, -1)
        return jax.nn.relu(gate) * up

    x = jax.ShapeDtypeStruct((8, 32), jnp.float32)
    off, on = np.full(32, -20, np.float32), np.zeros(32, np.float32)
    assert kinds({**LAYER, "bias": np.append(on, off)}, gated, x) == []
    (finding,) = audit({**LAYER, "bias": np.append(off, on)}, gated, x).findings
    assert "50% of the units" in finding.message


def relatives(kind, size):
    """Two arrays of numbers in pairs, which have a correlation of 0.6, or are copies."""
    one, other = draw(size), draw(size)
    return one, 0.6 * one + 0.8 * other if kind == "correlated" else -0.5 * one


def test_of_biases_only_copies_are_told():
    """Biases that add into one sum have gradients that are alike, and training makes them alike."""
    one, other = relatives("correlated", 4096)
    shape = (64, 64)
    pair = {"a": {"bias": one.reshape(shape)}, "b": {"scale": other.reshape(shape)}}
    assert kinds(pair) == []
    assert kinds({"bias": np.concatenate([one, other])}) == []
    one, other = relatives("copied", 4096)
    pair = {"a": {"bias": one}, "b": {"bias": other}}
    assert kinds(pair) == [("warning", "reused_key", "b/bias")]
    assert kinds({"bias": np.concatenate([one, one])}) == [("warning", "reused_key", "bias")]


def test_kernels_that_are_correlated_and_no_copies():
    one, other = (0.125 * w.reshape(64, 64) for w in relatives("correlated", 4096))
    (finding,) = audit({"a": {"kernel": one}, "b": {"kernel": other}}).findings
    assert (finding.severity, finding.kind) == ("warning", "reused_key")
    assert finding.remedy.startswith("nothing, if")
    (finding,) = audit({"query": {"kernel": one}, "key": {"kernel": other}}).findings
    assert (finding.severity, finding.kind) == ("note", "reused_key")
    for copy in (one, -0.5 * one, jax.scipy.stats.norm.cdf(8 * one) / 4 - 0.125):
        found = kinds({"a": {"kernel": one}, "b": {"kernel": np.asarray(copy)}})
        assert ("error", "reused_key", "b/kernel") in found


def test_a_kernel_beside_its_negative():
    """As of looks-linear initialization; no key draws that."""
    w = draw(64, 32, std=0.125)
    assert kinds({"kernel": np.concatenate([w, -w], 1)}) == [("warning", "reused_key", "kernel")]
    assert kinds({"kernel": np.concatenate([w, w], 1)}) == [("error", "reused_key", "kernel")]


def test_a_fan_is_told_with_the_kernels_that_it_is_true_of():
    """Two kernels of one family, each of which was drawn by the fan of the other."""
    params = {
        "w1": draw(1024, 64, std=(2 / 1024) ** 0.5),
        "w2": draw(64, 1024, std=(2 / 64) ** 0.5),
    }
    x = draw(16, 64)
    found = audit(params, lambda p, x: jax.nn.relu(x @ p["w1"].T) @ p["w2"].T, x).findings
    told = [(f.path, f.message) for f in found if f.kind == "wrong_fan"]
    assert [path for path, _ in told] == ["w1", "w2"]
    assert "its fan_in is 64 and its fan_out 1024" in told[0][1]
    assert "its fan_in is 1024 and its fan_out 64" in told[1][1]


def test_findings_of_one_family_are_one():
    def spread(path, std):
        parts = ("std ", number(std), ", not 0.1")
        return Finding("warning", "wrong_std", path, parts, "mend", f"std {std}")

    one, two, other = (
        spread(f"{layer}/kernel", std)
        for layer, std in (("layer_10", 0.5), ("layer_9", 0.25), ("head", 0.25))
    )
    first, second = grouped([one, two, other])
    assert (first.path, first.also) == ("layer_9/kernel", ("layer_10/kernel",))
    assert first.message == "std 0.25 to 0.5, not 0.1"
    assert first.evidence == "layer_9/kernel: std 0.25"
    assert (second, second.message) == (other, "std 0.25, not 0.1")
    assert grouped([first]) == [first]


@pytest.mark.parametrize("severity", ["error", "note"])
def test_findings_that_say_another_thing_are_several(severity):
    """A number in a text may be what a finding is about."""
    pair = [Finding(severity, "zero", f"layer_{n}/kernel", f"of {n}", "mend") for n in (1, 2)]
    assert grouped(pair) == pair


def test_notes_of_kernels_are_none_of_scales():
    params = {f"layer_{n}": {"kernel": jnp.zeros((8, 8)), "scale": jnp.zeros(8)} for n in (0, 1)}
    found = audit({**params, "norm": {"scale": jnp.ones(8)}}).findings
    assert {(f.path, f.also, f.message.partition(",")[0]) for f in found} == {
        ("layer_0/kernel", ("layer_1/kernel",), "all zero"),
        ("layer_0/scale", ("layer_1/scale",), "a scale of zero"),
    }


def test_copies_name_what_they_are_equal_to():
    params = {}
    for n in (0, 1):
        params[f"layer_{n}/key"] = params[f"layer_{n}/query"] = draw(32, 32, std=32**-0.5)
    (finding,) = audit(params).findings
    assert (finding.path, finding.also) == ("layer_0/query", ("layer_1/query",))
    assert finding.message == "equal to layer_0/key and 1 more"


def test_every_finding_can_be_acted_on():
    """Each has a call or a next step; each warning or error about numbers shows them."""
    params = prenorm()
    params["up_0"]["kernel"] *= 5
    params["up_1"]["kernel"] = params["up_1"]["kernel"].at[0, 0].set(jnp.nan)
    params["down_1"]["kernel"] = jax.random.uniform(KEY, (64, 32))
    for finding in audit(params, applied, X).findings:
        assert len(finding.remedy) > 20
        assert finding.evidence or finding.kind == "not_finite"


def test_fan_out_is_no_mistake_where_all_kernels_are_drawn_by_it():
    """As PyTorch's ResNets are, which count it by the shape, without groups and strides."""

    def apply(params, x):
        for n, w in enumerate(params.values()):
            x = jax.lax.conv_general_dilated(
                jax.nn.relu(x), w, (1 + n % 2,) * 2, "SAME",
                feature_group_count=x.shape[-1] // w.shape[2],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
        return x

    shapes = [(3, 3, 3, 16), (3, 3, 4, 32), (1, 1, 32, 8), (3, 3, 8, 48), (3, 3, 12, 64)]
    x = gaussian(KEY, (4, 16, 16, 3))

    def drawn(*axes):
        fans = [s[0] * s[1] * s[axis] for s, axis in zip(shapes, axes, strict=True)]
        pairs = enumerate(zip(shapes, fans, strict=True))
        return {f"conv_{n}": draw(*s, std=(2 / fan) ** 0.5) for n, (s, fan) in pairs}

    def warnings(params):
        return [found for found in kinds(params, apply, x) if found[0] != "note"]

    assert not warnings(drawn(3, 3, 3, 3, 3))
    assert warnings(drawn(2, 3, 2, 2, 2)) == [("warning", "wrong_fan", "conv_1")]

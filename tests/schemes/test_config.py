"""Configs: every initializer to JSON and back; Keras's configs by what Keras's classes do."""

import base64
import inspect
import json
import math
import pathlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from table import CHANGED, COMBINED, DYNAMICS, EXACT, ORTHOGONAL, ROWS

import jaxinit
from jaxinit import Layout, _layers, initializers, linen
from jaxinit._make import tree_init

KEY = jax.random.key(8)
HE = initializers.he_normal()
MORE = [
    initializers.he_normal(dtype="bfloat16", layout=Layout(groups=4, batch_axis=(0, 1))),
    initializers.glorot_uniform(layout=Layout(blocks=(4, 8))),
    initializers.variance_scaling(2, "fan_avg", "uniform", in_axis=(0, 1)),
    initializers.truncated_normal(1.0, lower=-math.inf, upper=1.5),
    initializers.constant(np.arange(6, dtype=np.float32).reshape(2, 3) / 7),
    initializers.blocks((HE, initializers.zeros), (2, 4), 0),
    initializers.masked(initializers.scaled(HE, 0.5), np.tri(3, dtype=bool)),
    initializers.clipped(initializers.shifted(initializers.uniform(), -0.1), -1, 1),
    initializers.identity(2.0, (1, -2)),
    initializers.orthogonal(layout=Layout(batch_axis=0)),
    initializers.he_uniform(fans=(3, 5)),
    initializers.constant(np.nan),
    initializers.constant(-0.0),
    initializers.constant(1 + 2j, dtype="complex64"),
    initializers.constant(np.array([1 + 2j, math.inf])),
    initializers.constant(np.array([[1, math.nan], [-math.inf, 0]], np.float32)),
    initializers.variance_scaling(np.sqrt(2), "fan_geo_avg", "normal", batch_axis=np.int64(0)),
    initializers.symmetric_uniform(0.05, dtype="float16"),
]
TABLE = [row.factory() for row in (*CHANGED, *ROWS, *COMBINED, *DYNAMICS, *EXACT, *ORTHOGONAL)]


KEPT = pathlib.Path(__file__).parents[1] / "kept_values.json"
NHWC = ("NHWC", "HWIO", "NHWC")
NORMAL = initializers.normal(0.5)
KINDS = [
    initializers.zeros,
    initializers.uniform(0.1),
    initializers.symmetric_uniform(0.1, dtype="bfloat16"),
    NORMAL,
    initializers.truncated_normal(1.0, lower=-1.0, upper=math.inf),
    initializers.variance_scaling(0.3, "fan_out", "uniform", layout=Layout(groups=2)),
    initializers.blocks((HE, NORMAL), (2, 4), 0),
    initializers.repeated(HE, 4, tiled=True),
    initializers.scaled(HE, 0.5),
    initializers.shifted(NORMAL, 1.0),
    initializers.clipped(NORMAL, -1.0, 1.0),
    initializers.masked(NORMAL, np.tri(3, dtype=bool)),
    initializers.orthogonal(2.0, column_axis=-2),
    initializers.delta_orthogonal(layout=Layout(batch_axis=0)),
    initializers.identity(0.5, shift=(1, 2)),
    initializers.hadamard(2.0),
    initializers.zer_o(),
    initializers.sparse(0.5, in_axis=-1, out_axis=-2),
    initializers.chrono(50.0, "fgo"),
    initializers.mamba_dt_bias(),
    initializers.mamba_a_log(),
    initializers.hippo(dtype="float32"),
]


def leaf_classes(cls):
    """The classes below a class that make initializers."""
    below = [c for sub in cls.__subclasses__() for c in leaf_classes(sub)]
    return below if inspect.isabstract(cls) else [cls.__name__, *below]


CLASSES = set(leaf_classes(initializers.Initializer))


def assert_round_trip(init):
    read = initializers.get(json.loads(json.dumps(init.to_config(), allow_nan=False)))
    assert (read, hash(read), repr(read)) == (init, hash(init), repr(init))


@pytest.mark.parametrize("init", [*TABLE, *MORE, *KINDS], ids=repr)
def test_round_trip_through_json(init):
    assert_round_trip(init)


@pytest.mark.parametrize("init", [*MORE, *KINDS], ids=repr)
def test_a_repr_is_the_call_that_makes_it(init):
    names = {**vars(initializers), "array": np.array, "inf": math.inf, "nan": math.nan}
    assert eval(repr(init), names) == init


class Kept:
    """A function like an initializer, which keeps the one that a layer calls."""

    def __init__(self):
        self.found = []

    def record(self, init):
        if isinstance(init, initializers.Initializer):
            self.found.append(init)


@pytest.mark.parametrize("defaults", ["jax", "keras", "torch"])
def test_round_trip_of_what_layers_use(defaults, monkeypatch):
    kept = Kept()
    settled = _layers.fit

    def fit(*args):
        made = settled(*args)
        kept.record(made)
        return made

    monkeypatch.setattr(_layers, "fit", fit)
    x, rngs = np.ones((2, 8, 8, 4), np.float32), nnx.Rngs(0)
    for layer in (
        linen.Dense(6, defaults=defaults, activation="selu"),
        linen.Dense(6, defaults=defaults, layout=jaxinit.layouts.fused(3)),
        linen.DenseGeneral((2, 3), axis=(-2, -1), defaults=defaults),
        linen.Conv(6, (3, 3), strides=2, feature_group_count=2, defaults=defaults),
        linen.ConvTranspose(6, (4, 4), strides=(2, 2), defaults=defaults),
        linen.MultiHeadDotProductAttention(2, defaults=defaults),
    ):
        layer.init(KEY, x)
    linen.Embed(10, 4, defaults=defaults).init(KEY, np.zeros((2, 3), np.int32))
    cell = linen.LSTMCell(4, defaults=defaults)
    cell.init(KEY, cell.initialize_carry(KEY, (2, 4)), np.ones((2, 4), np.float32))
    jaxinit.nnx.Embed(10, 4, defaults=defaults, rngs=rngs)
    jaxinit.nnx.OptimizedLSTMCell(4, 4, defaults=defaults, rngs=rngs)
    assert len(kept.found) > 20
    for init in kept.found:
        assert init.label
        assert_round_trip(init)


def test_round_trip_of_what_autoinit_advises():
    def apply(params, x):
        h = jax.lax.conv_general_dilated(
            x, params["grouped"], (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=2
        )
        h = jax.nn.relu(h) + jnp.broadcast_to(params["bias"], h.shape)
        a, b = jnp.split(h @ params["fused"], 2, -1)
        return x + (jax.nn.silu(a) * b) @ params["down"]

    shapes = {"grouped": (3, 3, 2, 4), "bias": (4,), "fused": (4, 16), "down": (8, 4)}
    params = {path: jax.ShapeDtypeStruct(s, jnp.float32) for path, s in shapes.items()}
    x = jnp.ones((2, 8, 8, 4))
    for rule in ("standard", "forward", "critical"):
        advice = jaxinit.autoinit.explain(apply, params, x, rule=rule)
        drawn = jaxinit.autoinit(KEY, apply, params, x, rule=rule)
        for path, choice in advice.items():
            init: Any = choice.initializer
            assert_round_trip(init)
            value = tree_init.path_hash((path,))
            own = jax.random.fold_in(jax.random.fold_in(KEY, value >> 32), value & 0xFFFFFFFF)
            again = initializers.get(init.to_config())(own, shapes[path])
            np.testing.assert_array_equal(drawn[path], again)


def test_labels_are_no_part_of_an_initializer():
    named = HE.fitted("linen.Dense at 'a'", Layout())
    assert (named, hash(named), repr(named)) == (HE, hash(HE), "he_normal()")
    with pytest.raises(
        ValueError, match=r"^linen.Dense at 'a': he_normal: shape \(3,\) has no input"
    ):
        named(KEY, (3,))


def test_what_earlier_versions_wrote_is_read():
    """One initializer of each kind, as a pickle and as a config."""
    kept = json.loads(KEPT.read_text())
    assert {type(init).__name__ for init in KINDS} == CLASSES
    for init, entry in zip(KINDS, kept, strict=True):
        assert entry["repr"] == repr(init)
        assert pickle.loads(base64.b64decode(entry["pickle"])) == init
        assert initializers.get(entry["config"]) == init


def test_names_configs_and_functions():
    assert initializers.get("he_normal") == initializers.get("HeNormal") == HE
    assert initializers.get("zeros") is initializers.zeros
    assert initializers.get({"name": "normal", "stddev": 0.1}) == initializers.normal(0.1)
    assert initializers.get(HE) is HE


def uniform(lower, upper):
    return (lower + upper) / 2, (upper - lower) / math.sqrt(12), lower, upper


# Keras's documentation: class, config, and for shape (100, 300) mean, std, least, largest.
WIDENED = 1 / 0.87962566103423978
GENERATOR = {"class_name": "SeedGenerator", "config": {"seed": 3, "name": "seed_generator"}}
KERAS = [
    ("RandomNormal", {"stddev": 0.3}, (0, 0.3, -math.inf, math.inf)),
    ("RandomNormal", {"mean": 0.5, "stddev": 0.1, "seed": 3}, (0.5, 0.1, -math.inf, math.inf)),
    ("RandomNormal", {}, (0, 0.05, -math.inf, math.inf)),
    ("RandomUniform", {}, uniform(-0.05, 0.05)),
    ("RandomUniform", {"minval": 1.0, "maxval": 3.0}, uniform(1, 3)),
    ("TruncatedNormal", {"stddev": 0.1}, (0, 0.1 / WIDENED, -0.2, 0.2)),
    ("VarianceScaling", {"scale": 2.0, "mode": "fan_out", "distribution": "normal", "seed": None},
     (0, (2 / 300) ** 0.5, -2 * WIDENED * (2 / 300) ** 0.5, 2 * WIDENED * (2 / 300) ** 0.5)),
    ("VarianceScaling", {"distribution": "untruncated_normal"}, (0, 0.1, -math.inf, math.inf)),
    ("VarianceScaling", {"distribution": "uniform", "mode": "fan_avg"},
     uniform(-((3 / 200) ** 0.5), (3 / 200) ** 0.5)),
    ("HeNormal", {"seed": GENERATOR}, (0, (2 / 100) ** 0.5, -0.33, 0.33)),
    ("LecunUniform", {}, uniform(-((3 / 100) ** 0.5), (3 / 100) ** 0.5)),
    ("GlorotUniform", {}, uniform(-((6 / 400) ** 0.5), (6 / 400) ** 0.5)),
    ("Constant", {"value": 2.0}, (2, 0, 2, 2)),
    ("Zeros", {}, (0, 0, 0, 0)),
    ("Ones", {}, (1, 0, 1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "law"), KERAS, ids=str)
def test_a_keras_config_gives_kerass_law(name, config, law):
    init = initializers.get({"module": "keras.initializers", "class_name": name, "config": config})
    x = np.asarray([init(key, (100, 300)) for key in jax.random.split(KEY, 6)], np.float64)
    mean, std, least, largest = law
    assert x.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(x.size) + 1e-6)
    assert x.std() == pytest.approx(std, rel=0.009)
    assert x.min() >= least - 1e-6
    assert x.max() <= largest + 1e-6
    assert std == 0 or 1.02 * x.std() != pytest.approx(std, rel=0.009)  # the power twin
    if math.isfinite(largest) and std:
        assert x.max() > mean + 0.95 * (largest - mean)


def test_keras_constant_arrays():
    for kind in ("__numpy__", "__tensor__"):
        value = {"class_name": kind, "config": {"value": [1.0, 2.0], "dtype": "float32"}}
        given = {"class_name": "Constant", "config": {"value": value}}
        assert initializers.get(given) == initializers.constant(np.float32([1, 2]))


def test_keras_matrices():
    assert initializers.get("Orthogonal") == initializers.orthogonal()
    given = {"class_name": "OrthogonalInitializer", "config": {"gain": 2.0, "seed": None}}
    assert initializers.get(given) == initializers.orthogonal(2.0)
    given = {"class_name": "Identity", "config": {"gain": 0.5}}
    assert initializers.get(given) == initializers.identity(0.5)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("he", ValueError, r"^get: no initializer is called 'he'; known are blocks, chrono, clipped, "),
        ("get", ValueError, r"^get: no initializer is called 'get'"),
        (3, TypeError, r"^get: expected a name, a config with 'name' \(or Keras's 'class_name'\), or an initializer; got 3\.$"),
        ({"name": "he_normal", "scale": 2}, TypeError, r"^get: he_normal: got an unexpected keyword argument 'scale'$"),
        ({"name": "normal", "stddev": -1}, ValueError, r"^get: normal: stddev must be above 0"),
        ({"class_name": "STFT"}, ValueError, r"^get: Keras's 'STFT' is not known here; STFT makes the fixed frames of a signal layer, not weights\.$"),
        ({"class_name": "RandomUniform", "config": {"minval": 1, "maxval": 0}}, ValueError, r"^get: RandomUniform: expected minval < maxval; got 1\.0 and 0\.0\.$"),
        ({"name": "array", "value": [1], "dtype": "int32"}, TypeError, r"^get: \{.*\} is a config of an option, not of an initializer\.$"),
        ({"class_name": "Mine"}, ValueError, r"^get: Keras's 'Mine' is not known here\.$"),
        ({"class_name": "HeNormal", "config": {"gain": 2}}, ValueError, r"^get: Keras's HeNormal has no option gain\.$"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_get_refuses(given, error, text):
    with pytest.raises(error, match=text):
        initializers.get(given)


def test_a_function_of_others_has_no_config():
    text = (
        r"^to_config: blocks\(.* has a part that JSON cannot hold, <function .*: a function that "
    )
    with pytest.raises(ValueError, match=text):
        initializers.blocks(jax.nn.initializers.he_normal(), 2).to_config()


if __name__ == "__main__":  # python tests/schemes/test_config.py: the file of what was written
    kept = [
        {
            "repr": repr(init),
            "config": init.to_config(),
            "pickle": base64.b64encode(pickle.dumps(init)).decode(),
        }
        for init in KINDS
    ]
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")

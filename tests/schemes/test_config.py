"""Configs: every initializer to JSON and back; Keras's configs by what Keras's classes do."""

import inspect
import json
import math

import jax
import numpy as np
import pytest
from table import CHANGED, COMBINED, DYNAMICS, EXACT, ORTHOGONAL, ROWS

from jaxinit import Layout, initializers
from jaxinit._schemes import config

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
]
SMALL_MASK = [row for row in CHANGED if row.name != "masked"]  # the table's is too large
TABLE = [row.factory() for row in (*SMALL_MASK, *ROWS, *COMBINED, *DYNAMICS, *EXACT, *ORTHOGONAL)]


@pytest.mark.parametrize("init", [*TABLE, *MORE], ids=repr)
def test_round_trip_through_json(init):
    read = initializers.get(json.loads(json.dumps(init.to_config())))
    assert (read, hash(read)) == (init, hash(init))


def test_positional_options_are_those_of_the_factories():
    for name, given in config.POSITIONAL.items():
        if name != "array":
            parameters = inspect.signature(getattr(initializers, name)).parameters
            assert tuple(parameters)[: len(given)] == given


def test_names_configs_and_functions():
    assert initializers.get("he_normal") == initializers.get("HeNormal") == HE
    assert initializers.get("zeros") is initializers.zeros
    assert initializers.get({"name": "normal", "stddev": 0.1}) == initializers.normal(0.1)
    assert initializers.get(HE) is HE


def uniform(lower, upper):
    return (lower + upper) / 2, (upper - lower) / math.sqrt(12), lower, upper


# Keras's documentation: class, config, and for shape (100, 300) mean, std, least, largest.
WIDENED = 1 / 0.87962566103423978
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
    ("HeNormal", {"seed": 1}, (0, (2 / 100) ** 0.5, -0.33, 0.33)),
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
        ({"name": "normal", "stddev": -1}, ValueError, r"^normal: stddev must be above 0"),
        ({"class_name": "STFT"}, ValueError, r"^get: Keras's 'STFT' is not known here; STFT makes the fixed frames of a signal layer, not weights\.$"),
        ({"class_name": "Mine"}, ValueError, r"^get: Keras's 'Mine' is not known here\.$"),
        ({"class_name": "HeNormal", "config": {"gain": 2}}, ValueError, r"^get: Keras's HeNormal has no option gain\.$"),
    ],
    ids=range(8),
)  # fmt: skip
def test_what_get_refuses(given, error, text):
    with pytest.raises(error, match=text):
        initializers.get(given)


@pytest.mark.parametrize(
    "init",
    [
        initializers.blocks(jax.nn.initializers.he_normal(), 2),
        initializers.constant(np.zeros(2000)),
    ],
    ids=["function", "array"],
)
def test_what_has_no_config(init):
    text = r"^to_config: .* has a part that JSON cannot hold"
    with pytest.raises(ValueError, match=text):
        init.to_config()

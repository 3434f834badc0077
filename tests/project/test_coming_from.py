"""docs/coming-from.md, read and run: every row's call has the law the row says."""

import math
import pathlib
import re

import haiku
import jax
import numpy as np
import pytest
from scipy import stats

import jaxinit.haiku
from jaxinit import initializers, recipes

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
SHAPE = (512, 384)
LEVEL = 1e-6
ROWS = [
    (section.split("\n")[0], *re.findall(r"`(.+?)`", " | ".join(line.split(" | ")[:3])))
    for section in PAGE.split("\n## ")[1:]
    for line in section.split("\n")
    if line.startswith("| `")
]


def normal(x, stddev):
    assert x.std() == pytest.approx(stddev, rel=0.009)
    assert stats.kstest(x, stats.norm(0, stddev).cdf).pvalue > LEVEL


def uniform(x, lower, upper):
    assert x.std() == pytest.approx((upper - lower) / math.sqrt(12), rel=0.006)
    assert stats.kstest(x, stats.uniform(lower, upper - lower).cdf).pvalue > LEVEL


def truncated(x, stddev, bound):
    assert stats.kstest(x, stats.truncnorm(-2, 2, scale=bound / 2).cdf).pvalue > LEVEL
    assert x.std() == pytest.approx(stddev, rel=0.006)


def sparse(x, share, stddev):
    rows = x.reshape(SHAPE)
    assert ((rows == 0).sum(axis=1) == share * SHAPE[1]).all()
    normal(x[x != 0], stddev)


def constant(x, value):
    assert (x == np.float32(value)).all()


def identity(x, gain):
    assert (x.reshape(SHAPE) == gain * np.eye(*SHAPE)).all()


def orthogonal(x, gain):
    singular = np.linalg.svd(x.reshape(SHAPE), compute_uv=False)
    assert singular == pytest.approx(gain, abs=1e-5)


def delta(make, gain):
    kernel = np.asarray(make(jax.random.key(1), (3, 3, 8, 12)))
    assert np.linalg.svd(kernel[1, 1], compute_uv=False) == pytest.approx(gain, abs=1e-5)
    assert (kernel != 0).sum() == 8 * 12


def dirac(make):
    kernel = np.asarray(make(jax.random.key(1), (3, 3, 8, 12)))
    assert (kernel[1, 1] == np.eye(8, 12)).all()
    assert kernel.sum() == 8


def gain(value, expected):
    assert value == pytest.approx(expected)


LAWS = {f.__name__: f for f in (normal, uniform, truncated, sparse, constant, identity, orthogonal)}
WHOLE = {f.__name__: f for f in (delta, dirac, gain)}  # these take the initializer itself


def run(call, law):
    """Evaluate a row and measure it."""
    made = eval(call, {"initializers": initializers, "jaxinit": jaxinit, "recipes": recipes})
    fans = {"fan_in": SHAPE[0], "fan_out": SHAPE[1], "sqrt": math.sqrt}
    name, options = re.fullmatch(r"(\w+)\((.*)\)", law).groups()
    values = eval(f"({options},)" if options else "()", fans)
    if name in WHOLE:
        return WHOLE[name](made, *values)
    x = np.asarray(made(jax.random.key(7), SHAPE), np.float64).reshape(-1)
    return LAWS[name](x, *values)


@pytest.mark.parametrize(
    ("library", "theirs", "call", "law"), ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS]
)
def test_a_row_has_its_law(library, theirs, call, law):
    run(call, law)


@pytest.mark.parametrize(
    ("call", "law"),
    [
        ("initializers.normal(0.1)", "normal(0.102)"),
        ("initializers.he_uniform()", "uniform(-sqrt(6.2 / fan_in), sqrt(6.2 / fan_in))"),
        ("initializers.he_normal()", "normal(sqrt(2 / fan_in))"),
        ("initializers.orthogonal()", "orthogonal(1.02)"),
        ("initializers.identity()", "identity(2)"),
        ("initializers.sparse(0.75, 0.1)", "sparse(0.75, 0.1)"),
    ],
)
def test_the_check_can_fail(call, law):
    with pytest.raises(AssertionError):
        run(call, law)


NAMES = {
    "jax.nn.initializers": set(dir(jax.nn.initializers)) - {"Initializer"},
    "Haiku": {name for name, made in vars(haiku.initializers).items() if isinstance(made, type)},
    "Keras": {
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
        "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform",
        "STFT", "TruncatedNormal", "VarianceScaling", "Zeros",
    },
    "torch.nn.init": {
        "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
        "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
        "xavier_uniform_", "zeros_",
    },
    "Flux": {
        "glorot_normal", "glorot_uniform", "identity_init", "kaiming_normal", "kaiming_uniform",
        "lecun_normal", "ones32", "orthogonal", "rand32", "randn32", "sparse_init",
        "truncated_normal", "zeros32",
    },
}  # fmt: skip


@pytest.mark.parametrize("library", NAMES)
def test_every_name_of_theirs_is_there(library):
    section = next(s for s in PAGE.split("\n## ") if s.startswith(library))
    named = {re.match(r"\w+", theirs).group() for lib, theirs, *_ in ROWS if lib == library}
    public = {name for name in NAMES[library] if not name.startswith("_")}
    missing = public - named
    assert all(f"`{name}` has no row" in section for name in missing), missing


def test_haiku_needs_no_transform_for_constants():
    identity, he = map(jaxinit.haiku.initializer, ("identity", "he_normal"))
    np.testing.assert_array_equal(identity((2, 3), "int32"), np.eye(2, 3))
    with pytest.raises(TypeError, match=r"^he_normal: expected one JAX random key, .*; got None"):
        he((2, 3), "float32")

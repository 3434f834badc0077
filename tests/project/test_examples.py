"""The examples: with one import changed they are models of jaxinit.linen; a huge one is planned."""

import math
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from table import raw

import jaxinit
from jaxinit._make.compile import Maker

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import findings  # noqa: E402
import swap  # noqa: E402
import trillion  # noqa: E402

KEY = jax.random.key(0)
CASES = {
    **{path.stem: (path, lambda m: m.Model(), None) for path in swap.MODELS},
    "gpt2": (
        EXAMPLES / "gpt2.py",
        lambda m: m.GPT2(m.ours(2), vocabulary=64, context=8, width=16, heads=2, layers=2),
        jnp.zeros((1, 8), jnp.int32),
    ),
}


def both(name):
    path, make, x = CASES[name]
    modules = [swap.load(path, swapped) for swapped in (False, True)]
    models = [make(module) for module in modules]
    return modules, models, modules[0].inputs(KEY) if x is None else x


@pytest.mark.parametrize("name", CASES)
def test_a_swapped_model_has_the_same_parameters(name):
    modules, models, x = both(name)
    theirs, ours = (jax.eval_shape(model.init, KEY, x) for model in models)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
    assert modules[1].nn.Dense is jaxinit.linen.Dense is not modules[0].nn.Dense


@pytest.mark.parametrize(
    "name", ["language", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n[0] != "l")]
)
def test_a_swapped_model_is_planned_and_fits_a_checkpoint(name):
    _, (theirs, ours), x = both(name)
    made = jaxinit.materialize(ours.init, KEY, x)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, jax.jit(ours.init)(KEY, x))
    outputs = jax.jit(ours.apply)(made, x)
    assert raw(outputs) == raw(jax.jit(theirs.apply)(made, x))
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize("place", range(6))
def test_audit_finds_what_is_published_and_nothing_when_mended(place):
    case = findings.cases()[place]
    published, mended = (findings.measured(m, case.x) for m in (case.published, case.mended))
    assert {finding.kind for finding in published.told} == {case.kind}
    assert mended.told == ()
    assert not 0.95 < published.std / mended.std < 1.05


def test_a_trillion_parameters_by_hand():
    """Two of the 61 layers, on the mesh of 32 x 32 x 4 devices."""
    mesh = AbstractMesh(tuple(trillion.MESH.values()), tuple(trillion.MESH))
    planned = jaxinit.plan(trillion.init, KEY, layers=2)
    held = planned.memory(trillion.shardings(mesh, layers=2))
    ends = 2 * (163840 // 4) * (7168 // 1024)
    attention = 7 * (2048 + 2 * 256 + 2048) + 2 * 7168
    dense = 3 * 7 * 4608
    mixture = 7 * 384 + 3 * 7 * 512 + 3 * 12 * 224 * 512
    assert held == dict.fromkeys(range(4096), 2 * (ends + 2 * attention + dense + mixture))
    assert len(planned.executables) == 13
    assert max(math.prod(leaf.shape) for leaf in planned.leaves) > 2**32


def test_an_array_of_more_than_2_to_the_32_elements_has_no_temporaries():
    """Its program is compiled for eight devices; it does not run."""
    planned = jaxinit.plan(trillion.init, KEY, layers=2)
    mesh = jax.make_mesh((2, 2, 2), tuple(trillion.MESH), axis_types=(AxisType.Auto,) * 3)
    index = next(i for i, leaf in enumerate(planned.leaves) if leaf.path == "layer_01/gate")
    sharding = trillion.shardings(mesh, layers=2)["layer_01"]["gate"]
    analysis = Maker(planned._recording, "test").program(index, sharding).memory_analysis()
    assert analysis.output_size_in_bytes == 2 * 384 * 7168 * 2048 // 8
    assert analysis.temp_size_in_bytes < 1024

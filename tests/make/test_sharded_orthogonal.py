"""``materialize`` tells jaxinit's orthogonal the sharding of its matrix, as a user would."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import slow_but

import jaxinit
from jaxinit._make.compile import Maker
from jaxinit._make.leaf_notes import leaf_notes
from jaxinit._make.sharded_orthogonal import sharded_orthogonal

KEY = jax.random.key(4)
SIZE = (128, 128)


def stack(key, layers=3):
    return jax.vmap(lambda key: jaxinit.orthogonal(key, SIZE))(jax.random.split(key, layers))


# What is made, and its sharding over 4 x 2 devices.
CASES = {
    "a matrix": (lambda key: jaxinit.orthogonal(key, SIZE), P("d", "m")),
    "split into heads": (
        lambda key: jaxinit.orthogonal(key, SIZE, scale=2.0).reshape(128, 8, 16),
        P(None, ("d", "m")),
    ),
    "a stack": (stack, P(None, "d", "m")),
}


def placed(spec, axis_type=AxisType.Auto):
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(axis_type,) * 2)
    return NamedSharding(mesh, spec)


def temporaries(planned, sharding):
    """The array of a plan, and its program's temporaries over one device's part."""
    maker = Maker(planned._recording, "test")
    made, program = maker.leaf(0, sharding), maker.program(0, sharding)
    part = math.prod(sharding.shard_shape(made.shape)) * made.dtype.itemsize
    return made, program.memory_analysis().temp_size_in_bytes / part


@pytest.mark.parametrize("name", slow_but(CASES, ["split into heads"]))
def test_temporaries_of_a_sharded_orthogonal(name):
    init, spec = CASES[name]
    made, over = temporaries(jaxinit.plan(init, KEY), placed(spec))
    assert over <= 4  # 10.7 of the program of one device, compiled for eight
    np.testing.assert_allclose(made, jax.jit(init)(KEY), atol=4e-6)


@pytest.mark.parametrize(
    "axis_type", slow_but([AxisType.Auto, AxisType.Explicit], [AxisType.Explicit]), ids=str
)
def test_the_bits_are_those_of_an_initializer_that_is_told(axis_type):
    sharding = placed(P("d", "m"), axis_type)
    made = jaxinit.materialize(CASES["a matrix"][0], KEY, out_shardings=sharding)
    assert np.array_equal(made, jaxinit.orthogonal(KEY, SIZE, None, sharding))
    assert made.sharding == sharding


def test_others_are_compiled_as_they_were_traced():
    """A matrix that is not divided, and a stack of which it is not certain which axis stacks."""

    def asked_for(init, spec):
        (output,) = jaxinit.plan(init, KEY)._recording.program.outputs
        return sharded_orthogonal(output, placed(spec))

    assert asked_for(CASES["a matrix"][0], P()) is None
    assert asked_for(lambda key: stack(key, 128), P("d")) is None
    assert asked_for(lambda key: stack(key, 127), P(None, "d")) is not None


def test_the_note_is_not_in_the_manifest():
    planned = jaxinit.plan(CASES["split into heads"][0], KEY)
    assert leaf_notes(planned._recording) == {"": {"initializer": "orthogonal(scale=2.0)"}}

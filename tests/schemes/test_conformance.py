"""Whatever is computed after a draw has the same bits in every mode, in one program or in many.

The schemes that only draw are in test_schemes.py. Here are those that compute with what they drew:
combinators, matrices, time scales and recipes. Each mode makes all of them in one program.
"""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import CHANGED, COMBINED, DYNAMICS, EXACT, raw

import jaxinit
from jaxinit import Layout, initializers, recipes

KEYS = jax.random.split(jax.random.key(21), 2)
HE = initializers.he_normal()
RECIPES = {
    "gpt2_residual": recipes.gpt2_residual(4),
    "mitchell": recipes.mitchell(64, 2),
    "deepnet": recipes.deepnet(3).scaled,
    "siren": recipes.siren(),
    "spectral": recipes.spectral(16, 32),
    "icnr": recipes.icnr(HE, 2),
    "icnr, tiled": recipes.icnr(HE, 2, tiled=True),
    "forget_bias": recipes.forget_bias(value=0.3),
    "torch bias": recipes.torch_defaults(16)["bias"],
    "keras embedding": recipes.keras_defaults()["embedding"],
    "shifted uniform": initializers.shifted(initializers.uniform(0.2), -0.1),
    "shifted scaled": initializers.shifted(initializers.scaled(HE, 0.3), 0.01),
    "truncated in the tail": initializers.truncated_normal(1.0, lower=5.0, upper=7.0),
}
INITS = {
    **{repr(row.factory()): row.factory() for row in (*CHANGED, *COMBINED, *EXACT, *DYNAMICS)},
    **RECIPES,
    "grouped": initializers.identity(layout=Layout(groups=2)),
}
REAL = ("clipped", "truncated_normal", *(row.name for row in DYNAMICS))


def shape_of(name, init):
    """A shape that the scheme takes, which two devices by two divide."""
    if name == "forget_bias" or init.factory in ("chrono", "mamba_dt_bias"):
        return (64,)
    return {"hippo": (16, 16), "repeated": (6, 12), "masked": (65, 34)}.get(init.factory, (34, 34))


def all_of(key, dtype, out_sharding=None):
    """Every scheme that has the dtype; those of a shape that the mesh does not divide unsharded."""
    made = {}
    for name, init in INITS.items():
        if not (dtype == "complex64" and init.factory in REAL):
            shape = shape_of(name, init)
            even = len(shape) == 2 and not (shape[0] % 2 or shape[1] % 2)
            made[name] = init(key, shape, dtype, out_sharding if even else None)
    return made


@functools.cache
def eager(dtype):
    """For each key every scheme, each called by itself."""
    each = [all_of(key, dtype) for key in KEYS]
    return {name: raw(np.stack([one[name] for one in each])) for name in each[0]}


def mesh(axis_type):
    return jax.make_mesh((2, 2), ("d", "m"), axis_types=(axis_type,) * 2)


def on_mesh(axis_type, dtype):
    """In one program each, over four devices; jax.vmap does not nest with explicit shardings."""
    with jax.set_mesh(mesh(axis_type)):
        made = jax.jit(lambda key: all_of(key, dtype, P("d", "m")))
        each = [made(key) for key in KEYS]
    assert sum(not array.is_fully_replicated for array in each[0].values()) > 5
    return {name: np.stack([np.asarray(one[name]) for one in each]) for name in each[0]}


def sharded_keys(axis_type, dtype):
    """Keys that lie on two devices, one on each."""
    keys = jax.device_put(KEYS, NamedSharding(mesh(axis_type), P("d")))
    return jax.jit(jax.vmap(lambda key: all_of(key, dtype)))(keys)


MODES = {
    "vmap": lambda dtype: jax.vmap(lambda key: all_of(key, dtype))(KEYS),
    "jit(vmap)": lambda dtype: jax.jit(jax.vmap(lambda key: all_of(key, dtype)))(KEYS),
    "scan(vmap)": lambda dtype: jax.tree.map(
        lambda x: x[0],
        jax.lax.scan(
            lambda c, keys: (c, jax.vmap(lambda key: all_of(key, dtype))(keys)), 0, KEYS[None]
        )[1],
    ),
    "materialize": lambda dtype: jaxinit.materialize(
        lambda keys: jax.vmap(lambda key: all_of(key, dtype))(keys), KEYS
    ),
    "auto mesh": functools.partial(on_mesh, AxisType.Auto),
    "explicit mesh": functools.partial(on_mesh, AxisType.Explicit),
    "keys on an explicit mesh": functools.partial(sharded_keys, AxisType.Explicit),
}


CASES = [
    *(("float32", mode) for mode in MODES),
    *(("bfloat16", mode) for mode in ("jit(vmap)", "scan(vmap)")),
    *(("complex64", mode) for mode in ("jit(vmap)", "explicit mesh")),
]


@pytest.mark.parametrize(("dtype", "mode"), CASES)
def test_every_mode_gives_the_same_bits(dtype, mode):
    made = {name: raw(array) for name, array in MODES[mode](dtype).items()}
    assert [name for name, kept in eager(dtype).items() if made[name] != kept] == []


SETTINGS = {
    "debug_nans": lambda: jax.debug_nans(True),
    "debug_infs": lambda: jax.debug_infs(True),
    "checking_leaks": jax.checking_leaks,
    "disable_jit": jax.disable_jit,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_jax_change_nothing(setting):
    """Strict promotion of dtypes and ranks is on in all tests of this folder."""
    inits = [INITS["shifted uniform"], INITS["chrono(50.0)"]]
    keys = KEYS[:1]

    def make(key):
        return [init(key, (64,) if init.factory == "chrono" else (6, 4)) for init in inits]

    plain = list(map(raw, make(keys[0])))
    with SETTINGS[setting]():
        ways = [
            make(keys[0]),
            [x[0] for x in jax.jit(jax.vmap(make))(keys)],
            jaxinit.materialize(make, keys[0]),
        ]
    for way in ways:
        assert list(map(raw, way)) == plain


def test_every_combinator_and_time_scale_is_among_them():
    factories = {init.factory for init in INITS.values()}
    drawn = {"variance_scaling", "normal", "uniform", "symmetric_uniform", "constant"}
    linear = {"orthogonal", "delta_orthogonal"}  # equal on one machine: test_matrices.py
    known = {cls.factory for cls in leaves(initializers.Initializer)}
    assert known == factories | drawn | linear


def leaves(cls):
    """The classes below a class that make initializers."""
    below = [c for sub in cls.__subclasses__() for c in leaves(sub)]
    return ([cls] if hasattr(cls, "factory") else []) + below

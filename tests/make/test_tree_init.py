"""tree_init: keys come from paths, rules choose, only_missing keeps, errors list everything."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import raw

import jaxinit
from jaxinit import initializers, tree_init
from jaxinit._make import tree_init as tree
from jaxinit._make.tree_init import path_hash

KEY = jax.random.key(3)


def struct(*shape, dtype="float32", sharding=None):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def shapes(layers=2):
    layer = {"kernel": struct(4, 6), "bias": struct(6)}
    return {"embed": struct(10, 4), "layers": [dict(layer) for _ in range(layers)]}


RULES = [("bias$", jaxinit.zeros), ("kernel$", jaxinit.he_normal), ("embed", jaxinit.normal)]


def test_first_matching_rule_makes_the_leaf():
    params = tree_init(KEY, shapes(), RULES)
    assert jax.tree.structure(params) == jax.tree.structure(shapes())
    assert (params["layers"][0]["bias"] == 0).all()
    assert params["layers"][1]["kernel"].shape == (4, 6)
    shadowed = tree_init(KEY, shapes(), [("embed", jaxinit.ones), (".*", jaxinit.zeros)])
    assert (shadowed["embed"] == 1).all()
    assert (shadowed["layers"][0]["kernel"] == 0).all()


def test_the_key_is_folded_from_the_path():
    params = tree_init(KEY, shapes(), RULES)
    value = path_hash(("layers", "0", "kernel"))
    folded = jax.random.fold_in(jax.random.fold_in(KEY, value >> 32), value & 0xFFFFFFFF)
    expected = jaxinit.he_normal(folded, (4, 6), "float32")
    assert raw(params["layers"][0]["kernel"]) == raw(expected)
    # a promise: these 64 bits are part of which weights a key gives
    assert hex(value) == GOLDEN_HASH


GOLDEN_HASH = "0x38f49e4440e4320a"


def test_adding_a_layer_changes_no_other_leaf():
    small, large = (tree_init(KEY, shapes(n), RULES) for n in (2, 5))
    for i in range(2):
        assert raw(small["layers"][i]["kernel"]) == raw(large["layers"][i]["kernel"])
    assert raw(small["embed"]) == raw(large["embed"])
    kernels = [raw(layer["kernel"]) for layer in large["layers"]]
    assert len(set(kernels)) == 5


def test_separators_cannot_be_forged():
    paths = [("ab", "c"), ("a", "bc"), ("abc",), ("a/b", "c"), ("a", "b/c"), ("a", "b", "c"), ()]
    assert len({path_hash(path) for path in paths}) == len(paths)


def test_rules_as_a_function_and_any_initializer():
    def rule(path, leaf):
        return jaxinit.ones if len(leaf.shape) == 1 else jax.nn.initializers.lecun_normal()

    params = tree_init(KEY, shapes(), rule)
    assert (params["layers"][0]["bias"] == 1).all()
    assert params["embed"].std() > 0


def test_names_configs_and_a_dict_as_rules():
    expected = tree_init(KEY, shapes(), RULES)
    config = jaxinit.initializers.normal().to_config()
    by_name = {"bias$": "zeros", "kernel$": "he_normal", "embed": config}
    for rules in (by_name, list(by_name.items()), lambda path, x: rule_of(by_name, path)):
        made = tree_init(KEY, shapes(), rules)
        assert all(map(np.array_equal, jax.tree.leaves(made), jax.tree.leaves(expected)))


def rule_of(rules, path):
    return next(init for expression, init in rules.items() if re.search(expression, path))


RULES_OF_MODULES = {"bias$": "zeros", "kernel$|weight$": "he_normal"}


def test_variables_of_nnx_stay_variables():
    def model():
        rngs = nnx.Rngs(0)
        return nnx.Sequential(nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs))

    graph, state = nnx.split(nnx.eval_shape(model))
    made = tree_init(KEY, state, RULES_OF_MODULES)
    assert jax.tree.structure(made) == jax.tree.structure(state)
    merged: Any = nnx.merge(graph, made)
    assert isinstance(merged.layers[0].kernel, nnx.Param)
    assert merged(jnp.ones((2, 3))).shape == (2, 4)
    pure = tree_init(KEY, nnx.to_pure_dict(state), RULES_OF_MODULES)  # the same keys by path
    assert all(map(np.array_equal, jax.tree.leaves(made), jax.tree.leaves(pure)))
    part = nnx.state(merged, lambda path, x: path[-1] == "bias")
    again = tree_init(jax.random.key(9), state, {".": "ones"}, only_missing=part)
    np.testing.assert_array_equal(again["layers"][0]["bias"][...], 0)
    np.testing.assert_array_equal(again["layers"][0]["kernel"][...], 1)


def test_equinox_modules_keep_what_is_no_array():
    def model():
        layers = [eqx.nn.Linear(3, 3, key=KEY), eqx.nn.Dropout(0.5), eqx.nn.Lambda(jax.nn.relu)]
        return eqx.nn.Sequential(layers)

    made = tree_init(KEY, eqx.filter_eval_shape(model), RULES_OF_MODULES)
    assert made.layers[1].p == 0.5
    assert made.layers[1].inference is False
    assert made.layers[2].fn is jax.nn.relu
    assert (made.layers[0].bias == 0).all()
    assert eqx.filter_jit(made)(jnp.ones(3), key=KEY).shape == (3,)
    kept = tree_init(jax.random.key(9), made, {".": "ones"}, only_missing=made)
    np.testing.assert_array_equal(kept.layers[0].weight, made.layers[0].weight)


def test_raw_keys_and_arrays_as_shapes():
    concrete = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes())
    typed = tree_init(KEY, shapes(), RULES)
    untyped = tree_init(jax.random.key_data(KEY), concrete, RULES)
    assert all(map(np.array_equal, jax.tree.leaves(typed), jax.tree.leaves(untyped)))
    under_jit = jax.jit(lambda key: tree_init(key, concrete, RULES))(KEY)
    assert all(map(np.array_equal, jax.tree.leaves(typed), jax.tree.leaves(under_jit)))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_raw_keys_of_other_kinds(impl):
    """A raw key of four words is taken for one of rbg, as in every initializer."""
    key = jax.random.key(3, impl="rbg")
    made = tree_init(jax.random.key_data(jax.random.key(3, impl=impl)), shapes(), RULES)
    assert all(
        map(np.array_equal, jax.tree.leaves(made), jax.tree.leaves(tree_init(key, shapes(), RULES)))
    )


def test_an_error_of_an_initializer_names_the_parameter():
    struct = {"layer": {"bias": jax.ShapeDtypeStruct((8,), "float32")}}
    with pytest.raises(ValueError, match=r"^he_normal: shape \(8,\) has no input axis") as raised:
        tree_init(KEY, struct, [(".", "he_normal")])
    assert raised.value.__notes__ == ["It was to make 'layer/bias', by a rule of tree_init."]


def test_only_missing_leaves_the_others_alone():
    full = tree_init(KEY, shapes(), RULES)
    mine = jnp.full((4, 6), 7.0)
    part = {"embed": None, "layers": [{"kernel": mine}]}
    params = tree_init(KEY, shapes(), RULES, only_missing=part)
    assert params["layers"][0]["kernel"] is mine
    assert raw(params["embed"]) == raw(full["embed"])
    assert raw(params["layers"][1]["kernel"]) == raw(full["layers"][1]["kernel"])


def test_shardings_of_the_structs():
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, P("d", "m"))
    tree = {"a": struct(8, 8, sharding=sharding), "b": struct(8, 8)}
    params = tree_init(KEY, tree, [(".", jaxinit.he_normal)])
    assert params["a"].sharding == sharding
    plain = tree_init(KEY, {"a": struct(8, 8), "b": struct(8, 8)}, [(".", jaxinit.he_normal)])
    assert raw(params["a"]) == raw(plain["a"])


ZEROS = [(".*", jaxinit.zeros)]
ERRORS = [
    (
        lambda: tree_init(KEY, shapes(), RULES[:1]),
        ValueError,
        "tree_init: no rule matches embed, layers/0/kernel, layers/1/kernel; add one, or end",
    ),
    (
        lambda: tree_init(KEY, shapes(), [*RULES, ("q$", jaxinit.ones), ("^k", jaxinit.ones)]),
        ValueError,
        "tree_init: these rules match no leaf: 'q$', '^k'; the paths are embed, ",
    ),
    (
        lambda: tree_init(KEY, shapes(), [("(", jaxinit.ones)]),
        ValueError,
        "tree_init: rules must be (regular expression, initializer) pairs; ",
    ),
    (lambda: tree_init(KEY, {"a": 3, "b": "x"}, ZEROS), TypeError, "these have none: a, b."),
    (
        lambda: tree_init(KEY, {"a": struct(3), "b": (4, 8)}, ZEROS),
        TypeError,
        "these have none: b/0, b/1.",
    ),
    (
        lambda: tree_init(KEY, shapes(), {".": "he_norml"}),
        ValueError,
        "tree_init: the rule for '.': no initializer is called 'he_norml'; did you mean he_normal",
    ),
    (
        lambda: tree_init(KEY, shapes(), lambda path, x: 3),
        TypeError,
        "tree_init: the rule for 'embed': expected a name, ",
    ),
    (lambda: tree_init(KEY, shapes(), "zeros"), TypeError, "; got one initializer. For all"),
    (lambda: tree_init(KEY, shapes(), jaxinit.zeros), TypeError, "; got one initializer. For all"),
    (
        lambda: tree_init(KEY, shapes(), initializers.he_normal),
        TypeError,
        "or a function of (path, struct); got he_normal(in_axis, out_axis, batch_axis, dtype, "
        'layout, fans). If that makes an initializer, call it and write [(".*", initializer)].',
    ),
    (lambda: tree_init(KEY, shapes(), lambda path: "zeros"), TypeError, "got <lambda>(path). If"),
    (
        lambda: tree_init(KEY, {"a": struct(3)}, {"a": lambda key, shape, dtype: jnp.ones(2)}),
        ValueError,
        "tree_init: the initializer of 'a' made float32[2] for float32[3].",
    ),
    (lambda: tree_init(KEY, {}, ZEROS), ValueError, "the paths are none, as shapes holds no arr"),
    (
        lambda: tree_init(KEY, shapes(), ZEROS, only_missing="folder"),
        TypeError,
        "tree_init: only_missing must be a tree of arrays; got a str.",
    ),
    (lambda: tree_init(0, shapes(), ZEROS), TypeError, "tree_init: expected one JAX random key"),
    (
        lambda: tree_init(
            KEY, shapes(), ZEROS, only_missing={"embed": jnp.ones(3), "x": jnp.ones(2)}
        ),
        ValueError,
        "do not fit: embed (float32[3] for float32[10, 4]), x (not in shapes).",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors_list_them_all(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_colliding_hashes_are_an_error(monkeypatch):
    monkeypatch.setattr(tree, "path_hash", len)
    with pytest.raises(ValueError, match=r"have the same hash .* layers/0/bias, layers/0/kernel"):
        tree_init(KEY, shapes(), RULES)


def test_float64_without_64_bit_types_is_float32():
    with pytest.warns(UserWarning, match="float64 needs 64-bit types"):
        made = tree_init(KEY, {"a": np.zeros((3, 4))}, [(".*", initializers.he_normal())])
    assert made["a"].dtype == jnp.float32

"""jaxinit.init: what people have goes in; dtype, mesh and axis names are followed."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P
from table import raw

import jaxinit

KEY, X = jax.random.key(0), jnp.ones((2, 8))
LECUN = jax.nn.initializers.lecun_normal()
RULES = [("embed", None), ("mlp", "model"), ("layers", None)]


def mesh():
    return jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        up = nn.Dense(16, kernel_init=nn.with_logical_partitioning(LECUN, ("embed", "mlp")))
        down = nn.Dense(8, kernel_init=nn.with_logical_partitioning(LECUN, ("mlp", "embed")))
        return x + down(nn.relu(up(x))), None


class Stack(nn.Module):
    """Three scanned blocks, whose metadata has a name for the axis of the layers."""

    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return blocks()(x, None)[0]


def specs(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): x.sharding.spec
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_the_axis_names_of_linen_say_where_arrays_go(capsys):
    made = jaxinit.init(Stack(), KEY, X, mesh=mesh(), rules=RULES, progress=True)
    expected = jax.jit(Stack().init)(KEY, X)
    assert jax.tree.map(raw, made) == jax.tree.map(raw, expected)
    dense = "params/ScanBlock_0/Dense_"
    assert specs(nn.meta.unbox(made)) == {
        f"{dense}0/bias": P(),
        f"{dense}0/kernel": P(None, None, "model"),
        f"{dense}1/bias": P(),
        f"{dense}1/kernel": P(None, "model", None),
    }
    assert "Plan(4 leaves, 4 executables, 3.281 KiB): 1.031 KiB on each of 8 devices" in (
        capsys.readouterr().err
    )


def test_a_plan_has_the_shardings_of_a_mesh_that_is_elsewhere():
    planned = jaxinit.plan(Stack(), KEY, X)
    elsewhere = AbstractMesh((2, 4), ("data", "model"))
    held = planned.memory(planned.shardings(elsewhere, RULES))
    assert set(held.values()) == {(2 * 3 * 8 * 16 // 4 + 3 * (16 + 8)) * 4}
    # the first rule that fits counts: no array uses a mesh axis twice
    both = [("mlp", "model"), ("embed", "model"), ("embed", "data"), ("layers", None)]
    kernel = planned.shardings(elsewhere, both)["params"]["ScanBlock_0"]["Dense_0"]["kernel"]
    assert kernel.unbox(apply_constraint=False).spec == P(None, "data", "model")


class Mlp(nnx.Module):
    def __init__(self, width, eager=False, *, rngs):
        named = nnx.with_partitioning(LECUN, (None, "model"), eager_sharding=eager)
        self.up = nnx.Linear(8, width, kernel_init=named, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.up(x))


def test_a_class_of_nnx_and_its_axis_names():
    made = jaxinit.init(Mlp, 16, rngs=nnx.Rngs(0), mesh=mesh(), dtype={"up": "bfloat16"})
    assert isinstance(made, Mlp)
    assert made.up.kernel[...].sharding.spec == P(None, "model")
    assert made.up.kernel[...].dtype == jnp.bfloat16
    assert made.norm.scale[...].dtype == jnp.float32
    expected = Mlp(16, rngs=nnx.Rngs(0)).up.kernel[...]
    assert raw(made.up.kernel[...]) == raw(expected.astype(jnp.bfloat16))
    assert made(X).shape == (2, 16)
    with jax.set_mesh(mesh()):  # Flax shards a variable as it is made
        eager = jaxinit.init(Mlp, 16, True, rngs=nnx.Rngs(0), mesh=mesh())
    assert eager.up.kernel[...].sharding.spec == P(None, "model")
    assert raw(eager.up.kernel[...]) == raw(expected)


def test_equinox_haiku_and_a_hugging_face_model():
    module = jaxinit.init(eqx.nn.Linear, 8, 4, key=KEY, dtype="bfloat16")
    assert raw(module.weight) == raw(eqx.nn.Linear(8, 4, key=KEY).weight.astype("bfloat16"))
    assert module.in_features == 8
    transformed = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(4)(x)))
    made = jaxinit.init(transformed, KEY, X)
    assert made["linear"]["w"].shape == (8, 4)
    layer = nn.Dense(4)

    class Hugging:
        config_class = None  # what tells it from other models with a method of that name

        def __call__(self, ids, params=None):
            return layer.apply(params, ids)

        def init_weights(self, rng, shape):
            return layer.init(rng, jnp.zeros(shape))

    for model in (Hugging().init_weights, Hugging()):
        made = jaxinit.init(model, KEY, (1, 8), dtype=[("kernel$", "float16")])
        assert {x.dtype.name for x in jax.tree.leaves(made)} == {"float16", "float32"}
    message = (
        r"^init: .* got Hugging\. Write init\(Hugging\(config, _do_init=False\)\.init_weights, "
    )
    with pytest.raises(TypeError, match=message):
        jaxinit.init(Hugging, KEY, (1, 8))

    class Own:  # no model of Hugging Face, though it has a method of that name
        def __call__(self, key):
            return layer.init(key, jnp.zeros((1, 8)))

        init_weights = None

    assert jaxinit.init(Own(), KEY)["params"]["kernel"].shape == (8, 4)
    message = r"^infer: .* Give lambda params, \*inputs: model\(\*inputs, params=params\)\.$"
    with pytest.raises(TypeError, match=message):
        jaxinit.infer(Hugging(), made, X)


ERRORS = [
    ({"mesh": mesh}, ValueError, r"^init: 'params/ScanBlock_0/Dense_0/kernel/value' has an axis 'layers', which is no axis of the mesh and has no rule; add one, as \('layers', 'data'\) or \('layers', None\)\.$"),
    ({"mesh": mesh, "rules": [("mlp", "modle")]}, ValueError, r"^init: rule \('mlp', 'modle'\) names a mesh axis 'modle'; the mesh has data, model\.$"),
    ({"mesh": mesh, "rules": [("mlp", ["model"])]}, TypeError, r"^init: rules must be pairs of an axis name and a mesh axis, as \('embed', 'model'\); got \('mlp', \['model'\]\)\.$"),
    ({"mesh": mesh, "rules": ["mlp"]}, TypeError, r"^init: rules must be pairs of an axis name and a mesh axis, as \('embed', 'model'\); got 'mlp'\.$"),
    ({"mesh": mesh, "rules": [("mlp", ["model"])]}, TypeError, r"^init: rules must be pairs of an axis name and a mesh axis, as .*; got \('mlp', \['model'\]\)\.$"),
    ({"mesh": mesh, "rules": [("layers", "model"), ("mlp", None), ("embed", None)]}, ValueError, r"^init: out_shardings does not fit 'params/ScanBlock_0/Dense_0/kernel/value' of shape \(3, 8, 16\): "),
    ({"mesh": lambda: 8}, TypeError, r"^init: mesh must be a mesh of devices, as jax\.make_mesh makes; got an int\.$"),
    ({"dtype": "int8"}, ValueError, r"^init: dtype must be a floating dtype, or pairs of a regular expression and one; got int8\.$"),
    ({"dtype": {"kernle": "bfloat16"}}, ValueError, r"^init: dtype has an expression 'kernle' that matches no floating-point array; their paths are as 'params/ScanBlock_0/Dense_0/bias'\.$"),
    ({"dtype": ["bfloat16"]}, ValueError, r"^init: dtype must be .*; got \['bfloat16'\]\.$"),
    ({"rules": [("mlp", "model")]}, ValueError, r"^init: rules say which axes of a mesh divide the arrays; got no mesh\. Pass mesh=, as jax\.make_mesh makes\.$"),
    ({"dtype": {"(": "bfloat16"}}, ValueError, r"^init: dtype must be a floating dtype, or pairs"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(options, kind, text):
    made = {k: v() if k == "mesh" else v for k, v in options.items()}
    with pytest.raises(kind, match=text):
        jaxinit.init(Stack(), KEY, X, **made)


def test_no_axis_of_the_mesh_divides_an_array_twice():
    """As in Flax: the first that fits counts, a name that is an axis of the mesh itself comes last."""
    init = nn.with_partitioning(nn.initializers.lecun_normal(), ("embed", "model"))
    planned = jaxinit.plan(nn.Dense(8, kernel_init=init, use_bias=False), KEY, X)
    found = planned.shardings(mesh(), [("embed", "model")])["params"]["kernel"].unbox()
    assert found.spec == P("model", None)

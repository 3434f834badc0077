"""Whatever Flax's layers take, ours take too, with the same outputs and parameters.

Everything here is traced and nothing compiled: shapes, dtypes, names and signatures.
"""

import inspect
import typing

import flax.linen as flax_linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

import jaxinit
from jaxinit import initializers, linen, nnx

KEY = jax.random.key(0)
LINE, SEQUENCE, IMAGE = jnp.ones((2, 6)), jnp.ones((2, 5, 6)), jnp.ones((2, 8, 8, 6))
VOLUME, TOKENS = jnp.ones((2, 4, 4, 4, 6)), jnp.zeros((2, 3), jnp.int32)


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return {p.name: p.kind for p in found if p.name not in ("self", "given")}


@pytest.mark.parametrize("name", linen.__all__)
def test_a_linen_constructor_takes_what_flax_takes(name):
    theirs, ours = (parameters(getattr(m, name)) for m in (flax_linen, linen))
    assert {**theirs, **ours} == ours
    positions = [p for p in theirs if p not in ("parent", "name")]
    assert list(ours)[: len(positions)] == positions
    assert "mode" not in ours or "activation" in ours


@pytest.mark.parametrize("name", nnx.__all__)
def test_an_nnx_constructor_takes_what_flax_takes(name):
    """What a type checker reads, and what ``help`` shows."""
    theirs = parameters(getattr(flax_nnx, name).__init__)
    init = getattr(nnx, name).__init__
    (keywords,) = typing.get_args(typing.get_type_hints(init)["given"])
    checked = {**dict.fromkeys(keywords.__annotations__, inspect.Parameter.KEYWORD_ONLY)}
    checked = {**parameters(init), **checked}
    assert {**checked, **theirs} == checked
    assert parameters(getattr(nnx, name)) == checked
    assert all(ours in checked for ours in ("defaults", "rngs"))


def test_a_subclass_has_its_own_signature():
    class Up(nnx.Linear):
        def __init__(self, features: int):
            super().__init__(features, 4 * features, rngs=flax_nnx.Rngs(0))

    assert str(inspect.signature(Up)) == "(features: int)"


@pytest.mark.parametrize("library", [linen, nnx], ids=["linen", "nnx"])
def test_docstrings_say_what_our_arguments_do(library):
    ours = {"activation", "mode", "defaults", "layout", "forget_bias", "kernel_init", "bias_init"}
    for name in library.__all__:
        layer = getattr(library, name)
        for argument in ours & set(inspect.signature(layer).parameters):
            assert f"\n  {argument}: " in inspect.getdoc(layer), (name, argument)
    assert not [name for name in dir(library) if name.startswith("_")]


# The constructions. "x" is what the layer is called with, if not the first line's.

LINEN = [
    ("Dense", (4,), {}, LINE),
    ("Dense", (4,), {"use_bias": False, "dtype": "bfloat16"}, IMAGE),
    ("Dense", (4,), {"param_dtype": "bfloat16", "precision": "highest"}, jnp.ones(6)),
    ("Dense", (4,), {"dot_general": jax.lax.dot_general}, LINE),
    ("DenseGeneral", (4,), {"axis": 1}, IMAGE),
    ("DenseGeneral", ((4, 3),), {"axis": (-2, -1)}, IMAGE),
    ("DenseGeneral", ([4, 3],), {"axis": [1, -1], "batch_dims": [0], "use_bias": False}, IMAGE),
    ("Conv", (4, (3, 3)), {}, IMAGE),
    ("Conv", (4, [3, 3]), {"strides": None, "padding": "VALID"}, IMAGE),
    ("Conv", (4, (3, 3)), {"strides": 2, "kernel_dilation": 2, "use_bias": False}, IMAGE[0]),
    ("Conv", (4, 3), {"padding": "CAUSAL"}, SEQUENCE),
    ("Conv", (4, (3, 3)), {"padding": "CIRCULAR", "input_dilation": None}, IMAGE),
    ("Conv", (4, (3, 3)), {"padding": ((1, 2), 1), "input_dilation": (2, 1)}, IMAGE),
    ("Conv", (12, (3,)), {"feature_group_count": 6, "mask": jnp.ones((3, 1, 12))}, SEQUENCE),
    ("Conv", (4, (3, 3, 3)), {"param_dtype": "bfloat16"}, VOLUME),
    ("Conv", (4, ()), {}, LINE),
    ("ConvLocal", (4, (3, 3)), {"strides": (2, 1), "padding": 1}, IMAGE),
    ("ConvLocal", (4, 3), {"use_bias": False}, SEQUENCE),
    ("ConvTranspose", (4, (3, 3)), {}, IMAGE),
    ("ConvTranspose", (4, 3), {"strides": (2,), "padding": "VALID"}, SEQUENCE),
    ("ConvTranspose", (4, (3, 3)), {"padding": "CIRCULAR", "kernel_dilation": (2, 1)}, IMAGE),
    ("ConvTranspose", (4, (3, 3)), {"transpose_kernel": True, "use_bias": False}, IMAGE),
    ("Embed", (10, 6), {}, TOKENS),
    ("Embed", (10, 6), {"dtype": "bfloat16", "param_dtype": "float16"}, TOKENS),
    ("Einsum", ((6, 4), "...i,ij->...j"), {}, IMAGE),
    ("Einsum", ((6, 4), "ab,bc->ac"), {"use_bias": False, "param_dtype": "bfloat16"}, LINE),
    ("Einsum", ((8, 4, 8, 7), "a...d,ej...f->adef"), {}, IMAGE),
    ("Einsum", ((8, 5, 2), "d...ab,bc...->adc"), {}, jnp.ones((2, 2, 6, 8))),
    ("Einsum", ((6, 5), "aab,bc->ac"), {}, jnp.ones((3, 3, 6))),
    ("Einsum", ((6, 6), "ab,bb->ab"), {"use_bias": False}, LINE),
    ("Einsum", ((5, 1), "ab,cb->ac"), {}, LINE),
    ("Einsum", ((6,), "ab,b->a"), {"kernel_init": initializers.normal()}, LINE),
    ("Einsum", (6, "ab,b->ab"), {"kernel_init": initializers.normal(), "use_bias": False}, LINE),
    ("Einsum", ((6, 4), "...i,ij->j"), {}, IMAGE),
    ("Einsum", ((6, 4), " éa , ab -> éb "), {}, LINE),
    ("MultiHeadDotProductAttention", (2,), {}, SEQUENCE),
    ("MultiHeadAttention", (2,), {"qkv_features": 8, "out_features": 4, "use_bias": False}, SEQUENCE),
    ("MultiHeadAttention", (2,), {"normalize_qk": True, "param_dtype": "bfloat16"}, SEQUENCE),
    ("MultiHeadAttention", (2,), {"dropout_rate": 0.5, "deterministic": True}, SEQUENCE),
    ("MultiHeadAttention", (2,), {"decode": True, "out_kernel_init": jaxinit.zeros}, SEQUENCE),
]  # fmt: skip


def described(tree):
    unboxed = flax_linen.meta.unbox(tree)
    leaves = jax.tree_util.tree_leaves_with_path(unboxed)
    return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


@pytest.mark.parametrize(("name", "args", "options", "x"), LINEN, ids=range(len(LINEN)))
def test_a_linen_layer_is_flax_with_other_values(name, args, options, x):
    def traced(library):
        layer = getattr(library, name)(*args, **options)
        return described(jax.eval_shape(layer.init_with_output, KEY, x))

    assert traced(linen) == traced(flax_linen)


LINEN_CELLS = [
    ("LSTMCell", (4,), {"gate_fn": jnp.tanh, "activation_fn": jnp.sin}),
    ("OptimizedLSTMCell", (4,), {"dtype": "bfloat16"}),
    ("GRUCell", (4,), {"recurrent_kernel_init": jax.nn.initializers.normal()}),
    ("MGUCell", (4,), {"reset_gate": False}),
    ("SimpleCell", (4,), {"residual": True, "carry_init": jax.nn.initializers.ones}),
    ("ConvLSTMCell", (4, (3, 3)), {"strides": (1, 1), "use_bias": False, "padding": "SAME"}),
]


@pytest.mark.parametrize(("name", "args", "options"), LINEN_CELLS, ids=[c[0] for c in LINEN_CELLS])
def test_a_linen_cell_is_flax_with_other_values(name, args, options):
    x = IMAGE if name == "ConvLSTMCell" else LINE

    def traced(library):
        cell = getattr(library, name)(*args, **options)
        carry = cell.initialize_carry(KEY, x.shape)
        return described(jax.eval_shape(cell.init_with_output, KEY, carry, x))

    assert traced(linen) == traced(flax_linen)


NNX = [
    ("Linear", (6, 4), {}, LINE),
    ("Linear", (6, 4), {"use_bias": False, "param_dtype": "bfloat16"}, IMAGE),
    ("Linear", (6, 4), {"kernel_metadata": {"tag": 1}, "bias_metadata": {"tag": 2}}, LINE),
    ("LinearGeneral", (6, 4), {"axis": 1}, jnp.ones((2, 6, 3))),
    ("LinearGeneral", ((8, 6), (4, 3)), {"axis": (1, -1), "batch_axis": {0: 2}}, IMAGE),
    ("LinearGeneral", ([8, 6], [4, 3]), {"axis": [-2, -1], "use_bias": False}, IMAGE),
    ("Conv", (6, 4, (3, 3)), {}, IMAGE),
    ("Conv", (6, 4, 3, None), {"padding": "CAUSAL", "input_dilation": None}, SEQUENCE),
    ("Conv", (6, 12, [3, 3], 2), {"feature_group_count": 6, "kernel_dilation": 2}, IMAGE),
    ("Conv", (6, 4, (3, 3)), {"strides": (2, 1), "padding": "CIRCULAR"}, IMAGE),
    ("Conv", (6, 4, (3,)), {"mask": jnp.ones((3, 6, 4)), "padding": ((1, 2),)}, SEQUENCE),
    ("ConvTranspose", (6, 4, (3, 3)), {"padding": "VALID"}, IMAGE),
    ("ConvTranspose", (6, 4, 3, 2), {"kernel_dilation": 2}, SEQUENCE),
    ("ConvTranspose", (6, 4, (3, 3)), {"strides": (2, 1), "transpose_kernel": True}, IMAGE),
    ("Embed", (10, 6), {"dtype": "bfloat16", "embedding_metadata": {"tag": 1}}, TOKENS),
    ("Einsum", ("...i,ij->...j", (6, 4), (4,)), {}, IMAGE),
    ("Einsum", ("ab,bc->ac", (6, 5), 5), {}, LINE),
    ("Einsum", ("ab,b->a", 6), {"kernel_init": initializers.normal()}, LINE),
    ("Einsum", ("a...d,ej...f->adef", (8, 4, 8, 7)), {}, IMAGE),
    ("Einsum", ("d...ab,bc...->adc", (8, 5, 2)), {}, jnp.ones((2, 2, 6, 8))),
    ("Einsum", ("aab,bc->ac", (6, 5)), {}, jnp.ones((3, 3, 6))),
    ("Einsum", ("ab,bb->ab", (6, 6)), {}, LINE),
    ("Einsum", ("ab,cb->ac", (5, 1)), {}, LINE),
    ("Einsum", ("bti,ij->bj", (6, 4)), {"einsum_op": jnp.einsum}, SEQUENCE),
    ("MultiHeadAttention", (2, 6), {"decode": False}, SEQUENCE),
    ("MultiHeadAttention", (2, 6, 8, 4), {"normalize_qk": True, "decode": False, "keep_rngs": False}, SEQUENCE),
    ("MultiHeadAttention", (2, 6), {"num_kv_heads": 1, "use_bias": False, "decode": False}, SEQUENCE),
    ("LSTMCell", (6, 4), {"gate_fn": jnp.tanh}, LINE),
    ("OptimizedLSTMCell", (6, 4), {"kernel_metadata": {"tag": 1}}, LINE),
    ("GRUCell", (6, 4), {"bias_init": jaxinit.ones}, LINE),
    ("SimpleCell", (6, 4), {"residual": True, "activation_fn": jnp.sin}, LINE),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options", "x"), NNX, ids=range(len(NNX)))
def test_an_nnx_layer_is_flax_with_other_values(name, args, options, x):
    def traced(library):
        rngs = flax_nnx.Rngs(0)
        layer = getattr(library, name)(*args, **options, rngs=rngs)
        inputs = (layer.initialize_carry(x.shape, rngs), x) if name.endswith("Cell") else (x,)
        return flax_nnx.to_pure_dict(flax_nnx.state(layer)), layer(*inputs)

    theirs, ours = (described(jax.eval_shape(lambda m=m: traced(m))) for m in (flax_nnx, nnx))
    assert ours == theirs


def test_an_einsum_over_more_than_its_kernel_counts_the_kernel():
    """NNX makes a kernel before it sees its inputs."""
    layer = nnx.Einsum("bti,ij->bj", (512, 64), rngs=flax_nnx.Rngs(0))
    assert layer.kernel[...].std() == pytest.approx(512**-0.5, rel=0.02)


# The names that are not ours.


def test_what_is_flax_own_is_passed_through():
    assert linen.BatchNorm is flax_linen.BatchNorm
    assert nnx.Rngs is flax_nnx.Rngs
    assert {"relu", "Module", "Dense"} <= set(dir(linen))
    with pytest.raises(AttributeError, match="Dens"):
        linen.Dens  # noqa: B018
    np.testing.assert_array_equal(linen.relu(jnp.array([-1.0, 2.0])), [0.0, 2.0])


def recorded(library, name, shape):
    """What Flax records of a layer: the methods that are called, the outputs, and the flops."""
    calls = []

    def note(method, args, kwargs, context):
        calls.append((context.module.name, context.method_name))
        return method(*args, **kwargs)

    layer, x = getattr(library, name)(4), jnp.ones(shape)
    inputs = (x,) if len(shape) == 3 else (layer.initialize_carry(KEY, shape), x)
    with flax_linen.intercept_methods(note):
        variables = layer.init(KEY, *inputs)
    state = layer.apply(variables, *inputs, capture_intermediates=True, mutable=True)[1]
    outputs = jax.tree.map(jnp.shape, state["intermediates"])
    return calls, outputs, layer.tabulate(KEY, *inputs, compute_flops=True)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("SimpleCell", (2, 4)),
        ("LSTMCell", (2, 4)),
        ("OptimizedLSTMCell", (2, 4)),
        ("MultiHeadDotProductAttention", (2, 3, 4)),
    ],
)
def test_compound_layers_record_their_parts_as_flax_does(name, shape):
    assert recorded(linen, name, shape) == recorded(flax_linen, name, shape)

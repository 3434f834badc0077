"""Every error: its type, its text, and that it comes before any work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import jaxinit
from jaxinit import Layout, initializers

HE = initializers.he_normal()
KEY = jax.random.key(0)
NAN = float("nan")

CASES = [
    # shapes and axes
    (lambda: jaxinit.he_normal(KEY, (64,)), ValueError, r"^he_normal: shape \(64,\) has no input axis -2; fans need at least two axes\. For a bias use jaxinit\.zeros, or name the axes: he_normal\(\.\.\., in_axis=0, out_axis=\(\)\)\.$"),
    (lambda: jaxinit.he_normal(KEY, ()), ValueError, r"^he_normal: shape \(\) has no input axis -2"),
    (lambda: jaxinit.fans((64,)), ValueError, r"^fans: shape \(64,\) has no input axis -2"),
    (lambda: jaxinit.fans((4, 5), in_axis=0, out_axis=2), ValueError, r"^fans: out_axis 2 is out of range for shape \(4, 5\); use -2 to 1\.$"),
    (lambda: jaxinit.fans((4, 5), in_axis=(0, -2)), ValueError, r"^fans: in_axis \(0, -2\) names an axis of shape \(4, 5\) twice; name it once\.$"),
    (lambda: jaxinit.fans((3, 4, 5), batch_axis=1), ValueError, r"^fans: axis 1 of shape \(3, 4, 5\) is a batch axis and also an in or out axis; give each axis one role\.$"),
    (lambda: jaxinit.fans((3, 4, 5), groups=2), ValueError, r"^fans: groups=2 does not divide the 5 outputs of shape \(3, 4, 5\)\.$"),
    (lambda: jaxinit.fans((4, 5), groups=0), ValueError, r"^fans: groups must be a positive int; got 0\.$"),
    (lambda: jaxinit.fans((4, 5), in_axis="0"), TypeError, r"^fans: in_axis must be an int or a tuple of ints; got '0'\.$"),
    (lambda: initializers.he_normal(in_axis=0.5), TypeError, r"^he_normal: in_axis must be an int or a tuple of ints; got 0\.5\.$"),
    (lambda: jaxinit.normal(KEY, (3, -1)), ValueError, r"^normal: shape \(3, -1\) has a negative dimension; use sizes of 0 or more\.$"),
    (lambda: jaxinit.normal(KEY, b"x"), TypeError, r"^normal: shape must be a sequence of ints; got b'x'\.$"),
    (lambda: jaxinit.normal(KEY, None), TypeError, r"^normal: shape must be a sequence of ints; got None\.$"),
    (lambda: jaxinit.fans(256), ValueError, r"^fans: shape \(256,\) has no input axis -2; fans need at least two axes\."),
    (lambda: jaxinit.fans("x"), TypeError, r"^fans: shape must be a sequence of ints; got 'x'\.$"),
    (lambda: jaxinit.normal(KEY, bytearray(b"x")), TypeError, r"^normal: shape must be a sequence of ints; got bytearray"),
    (lambda: jaxinit.normal(KEY, (2**31, 2**31)), ValueError, r"^normal: shape \(2147483648, 2147483648\) is too large; an array has at most 2\^59 elements\.$"),
    (lambda: jaxinit.normal((4, 4), KEY), TypeError, r"^normal: shape must be a sequence of ints; got a random key\. It is the second argument, after the key\.$"),
    (lambda: jaxinit.variance_scaling(2.0, "fan_in", "normal"), TypeError, r"^variance_scaling: expected \(key, shape, dtype\); got 2\.0 first\. With options alone, jaxinit\.initializers makes an initializer\.$"),
    (lambda: jaxinit.he_normal(), TypeError, r"^he_normal: missing a required argument: 'key'; it takes \(key, shape, dtype\) and options by name\. initializers\.he_normal\(\.\.\.\) takes options alone\.$"),
    (lambda: jaxinit.zeros(KEY), TypeError, r"^zeros: missing a required argument: 'shape'; it takes \(key, shape, dtype\)\.$"),
    (lambda: jaxinit.uniform(KEY, (3,), minval=-1, maxval=1), TypeError, r"^uniform: got an unexpected keyword argument 'minval'; it takes \(key, shape, dtype\) and options by name\."),
    (lambda: HE((4, 4), jnp.float32), TypeError, r"^he_normal: expected \(key, shape, dtype\); got a shape first\. Haiku calls initializers with \(shape, dtype\): wrap it by jaxinit\.haiku\.initializer\(\.\.\.\)\.$"),
    (lambda: jaxinit.bits(KEY, (2.5,)), TypeError, r"^bits: shape must be a sequence of ints; got \(2\.5,\)\.$"),
    # layouts and blocks
    (lambda: initializers.he_normal(in_axis=0, layout=Layout()), ValueError, r"^he_normal: layout already says what each axis is; leave out in_axis, or the layout\.$"),
    (lambda: jaxinit.glorot_uniform(KEY, (4, 4), batch_axis=0, layout=Layout()), ValueError, r"^glorot_uniform: layout already says"),
    (lambda: initializers.lecun_normal(layout="bti,ij->btj"), TypeError, r"^lecun_normal: layout must be a jaxinit\.Layout, as jaxinit\.layouts makes; got 'bti,ij->btj'\.$"),
    (lambda: Layout(in_axis="0"), TypeError, r"^Layout: in_axis must be an int or a tuple of ints; got '0'\.$"),
    (lambda: Layout(in_stride=0), ValueError, r"^Layout: in_stride must be a positive int; got 0\.$"),
    (lambda: Layout(blocks=0), ValueError, r"^Layout: blocks must be a number of equal blocks or a tuple of their sizes; got 0\.$"),
    (lambda: Layout(blocks=(4, 0)), ValueError, r"^Layout: each of blocks must be a positive int; got 0\.$"),
    (lambda: Layout(blocks=3).fans((4, 5)), ValueError, r"^fans: 3 equal blocks do not divide axis 1 of shape \(4, 5\); give the sizes of the blocks\.$"),
    (lambda: jaxinit.he_normal(KEY, (4, 5), layout=Layout(blocks=(2, 2))), ValueError, r"^he_normal: blocks of sizes \(2, 2\) fill 4 of axis 1 of shape \(4, 5\); they must fill it\.$"),
    (lambda: Layout(blocks=2, block_axis=2).fans((4, 5)), ValueError, r"^fans: shape \(4, 5\) has no axis 2 to divide into blocks\.$"),
    (lambda: initializers.blocks(HE, 2, axis=3)(KEY, (4, 4)), ValueError, r"^blocks: shape \(4, 4\) has no axis 3 to divide into blocks\.$"),
    (lambda: initializers.blocks([], 3), ValueError, r"^blocks: init must be an initializer, or one for each block; got none\.$"),
    (lambda: initializers.blocks([HE, HE], 3)(KEY, (4, 6)), ValueError, r"^blocks: 2 initializers for 3 blocks of shape \(4, 6\); give one, or one for each block\.$"),
    (lambda: initializers.blocks(0.5, 3), TypeError, r"^blocks: init must be an initializer; got 0\.5\.$"),
    (lambda: initializers.blocks(HE, "ab"), ValueError, r"^blocks: sizes must be a number of equal blocks or a tuple of their sizes; got 'ab'\.$"),
    # options, when the factory is called
    (lambda: initializers.variance_scaling(0.0, "fan_in", "normal"), ValueError, r"^variance_scaling: scale must be above 0; got 0\.0\. For zeros use jaxinit\.zeros\.$"),
    (lambda: initializers.variance_scaling(-1, "fan_in", "normal"), ValueError, r"^variance_scaling: scale must be above 0; got -1\.0\."),
    (lambda: initializers.variance_scaling(NAN, "fan_in", "normal"), ValueError, r"^variance_scaling: scale must be finite; got nan\.$"),
    (lambda: initializers.variance_scaling(1.0, "fan_mid", "normal"), ValueError, r"^variance_scaling: mode must be one of fan_in, fan_out, fan_avg, fan_geo_avg; got 'fan_mid'; did you mean fan_in"),
    (lambda: initializers.variance_scaling(1.0, "fan_in", "cauchy"), ValueError, r"^variance_scaling: distribution must be one of truncated_normal, normal, uniform; got 'cauchy'\.$"),
    (lambda: initializers.normal(-0.1), ValueError, r"^normal: stddev must be above 0; got -0\.1\."),
    (lambda: initializers.uniform(-0.1, 0.1), TypeError, r"^uniform: takes one number, for values on \[0, scale\]; got -0\.1 and 0\.1\. For values on \[-b, b\] write symmetric_uniform\(b\)\.$"),
    (lambda: initializers.uniform("1"), TypeError, r"^uniform: scale must be a number; got '1'\.$"),
    (lambda: initializers.truncated_normal(1.0, lower=2.0, upper=1.0), ValueError, r"^truncated_normal: expected lower < upper, reaching within 37 standard deviations of 0; got lower=2\.0, upper=1\.0\.$"),
    (lambda: initializers.truncated_normal(1.0, lower=40.0, upper=50.0), ValueError, r"^truncated_normal: expected lower < upper, reaching within 37"),
    (lambda: initializers.truncated_normal(1.0, lower=NAN), ValueError, r"^truncated_normal: lower must be finite; got nan\.$"),
    (lambda: initializers.constant("a"), TypeError, r"^constant: value must be a number or an array of numbers; got 'a'\.$"),
    (lambda: jaxinit.constant(KEY, (2, 2), value=[1.0, 2.0, 3.0]), ValueError, r"^constant: a value of shape \(3,\) does not broadcast to \(2, 2\)\.$"),
    (lambda: initializers.variance_scaling(1.0, "fan_inn", "normal"), ValueError, r"got 'fan_inn'; did you mean fan_in\?$"),
    (lambda: initializers.variance_scaling(fans=3), TypeError, r"^variance_scaling: fans must be \(fan_in, fan_out\); got 3\.$"),
    (lambda: initializers.he_normal(fans=(0, 1)), ValueError, r"^he_normal: each of fans must be above 0; got 0\.0\."),
    (lambda: initializers.truncated_normal(lower=None), TypeError, r"^truncated_normal: lower must be a number; got None\.$"),
    (lambda: initializers.truncated_normal("3"), TypeError, r"^truncated_normal: stddev must be a number; got '3'\.$"),
    (lambda: initializers.normal(10**400), ValueError, r"^normal: stddev must be finite; got 1000+\.\.\.\.$"),
    (lambda: initializers.normal(True), TypeError, r"^normal: stddev must be a number; got True\.$"),
    (lambda: initializers.normal(np.ones(3)), TypeError, r"^normal: stddev must be a number; got float64\[3\]\.$"),
    (lambda: initializers.constant([[1], [2, 3]]), TypeError, r"^constant: value must be a number or an array of numbers; got \[\[1\], \[2, 3\]\]\.$"),
    (lambda: initializers.repeated(HE, 2, tiled="no"), TypeError, r"^repeated: tiled must be True or False; got 'no'\.$"),
    (lambda: initializers.scaled(jnp.tanh, 2.0), TypeError, r"^scaled: init must be an initializer, a function of \(key, shape, dtype\); got .*tanh.*, which takes other arguments\.$"),
    (lambda: initializers.scaled(int, 2.0), TypeError, r"^scaled: init must be an initializer; got <class 'int'>\.$"),
    (lambda: initializers.he_normal(in_axis=True), TypeError, r"^he_normal: in_axis must be an int or a tuple of ints; got True\.$"),
    (lambda: initializers.he_normal(in_axis=b"x"), TypeError, r"^he_normal: in_axis must be an int or a tuple of ints; got b'x'\.$"),
    (lambda: initializers.normal(dtype=object), TypeError, r"^normal: dtype must name a dtype, as jnp\.float32 or 'bfloat16'; got <class 'object'>\.$"),
    (lambda: initializers.repeated(HE, 2, axis=None), TypeError, r"^repeated: axis must be an int; got None\.$"),
    (lambda: initializers.chrono(50.0, "iigo"), ValueError, r"^chrono: order must name each gate by its letter, f among them; got 'iigo'\.$"),
    # a factory used as an initializer
    (lambda: initializers.he_normal(KEY, (4, 4), jnp.float32), TypeError, r"^he_normal: this factory takes options and was handed a random key, as if it were the initializer; write initializers\.he_normal\(\) or jaxinit\.he_normal\.$"),
    (lambda: initializers.normal(KEY, (4, 4)), TypeError, r"^normal: this factory takes options"),
    # matrices
    (lambda: initializers.orthogonal(0.0), ValueError, r"^orthogonal: scale must be above 0; got 0\.0\."),
    (lambda: initializers.orthogonal(KEY, (4, 4)), TypeError, r"^orthogonal: this factory takes options"),
    (lambda: initializers.orthogonal(1.0, (0,)), TypeError, r"^orthogonal: column_axis must be an int; got \(0,\)\.$"),
    (lambda: initializers.orthogonal(1.0, 0, layout=jaxinit.Layout()), ValueError, r"^orthogonal: layout already says what each axis is; leave out column_axis, or the layout\.$"),
    (lambda: initializers.orthogonal(layout=3), TypeError, r"^orthogonal: layout must be a jaxinit\.Layout, as jaxinit\.layouts makes; got 3\.$"),
    (lambda: jaxinit.orthogonal(KEY, (4,)), ValueError, r"^orthogonal: shape \(4,\) is no matrix; it needs at least two axes\. For a bias use jaxinit\.zeros\.$"),
    (lambda: jaxinit.orthogonal(KEY, (4, 4), column_axis=2), ValueError, r"^orthogonal: column_axis 2 is out of range for shape \(4, 4\); use -2 to 1\.$"),
    (lambda: jaxinit.orthogonal(KEY, (4, 4), "int32"), ValueError, r"^orthogonal: draws real or complex numbers, not int32"),
    (lambda: jaxinit.orthogonal(None, (4, 4)), TypeError, r"^orthogonal: expected one JAX random key"),
    (lambda: jaxinit.orthogonal(KEY, (4, 4), "float8_e4m3fn", scale=500.0), ValueError, r"^orthogonal: values up to 500 overflow float8_e4m3fn"),
    (lambda: jaxinit.orthogonal(KEY, (4, 4), layout=jaxinit.Layout(in_axis=0, out_axis=0)), ValueError, r"^orthogonal: axis 0 of shape \(4, 4\) is both an in and an out axis; a matrix needs rows and columns\.$"),
    (lambda: jaxinit.delta_orthogonal(KEY, (3, 5, 4)), ValueError, r"^delta_orthogonal: shape \(3, 5, 4\) has 5 inputs for 4 outputs; a map that keeps lengths needs as many outputs as inputs\.$"),
    (lambda: initializers.identity(0.0), ValueError, r"^identity: gain must not be 0\. For zeros use jaxinit\.zeros\.$"),
    (lambda: initializers.identity(shift=0.5), TypeError, r"^identity: shift must be an int or a tuple of ints; got 0\.5\.$"),
    (lambda: jaxinit.identity(None, (4, 4), shift=(1,)), ValueError, r"^identity: shift \(1,\) has 1 entries, shape \(4, 4\) has 2 axes; give one an axis, or one int for the outputs\.$"),
    (lambda: jaxinit.identity(None, (4, 4), "int8", gain=0.5), ValueError, r"^identity: int8 does not hold gain=0\.5; use a floating dtype, as jnp\.float32\.$"),
    (lambda: jaxinit.identity(None, (4, 4), "uint8", gain=-1), ValueError, r"^identity: uint8 does not hold gain=-1; use"),
    (lambda: jaxinit.identity(None, (4, 4), "int32", gain=2**24 + 1), ValueError, r"^identity: int32 does not hold gain=1\.67772e\+07; use"),
    (lambda: jaxinit.identity(None, (4,)), ValueError, r"^identity: shape \(4,\) is no matrix; it needs at least two axes\. For a bias use jaxinit\.zeros\.$"),
    (lambda: jaxinit.dirac(None, (3, 4, 4), bool), ValueError, r"^dirac: draws real or complex numbers, not bool"),
    (lambda: initializers.normal(3 - 4j), TypeError, r"^normal: stddev must be a real number; got \(3-4j\)\. Give a real one, as its magnitude 5\.$"),
    (lambda: initializers.dirac(0), ValueError, r"^dirac: groups must be a positive int; got 0\.$"),
    (lambda: initializers.dirac(2, layout=jaxinit.Layout()), ValueError, r"^dirac: layout already says what each axis is; leave out groups, or the layout\.$"),
    (lambda: jaxinit.dirac(None, (3, 4, 5), groups=2), ValueError, r"^dirac: groups=2 does not divide the 5 outputs"),
    (lambda: initializers.sparse(1.0), ValueError, r"^sparse: sparsity must be at least 0 and below 1; got 1\.0\. For zeros use jaxinit\.zeros\.$"),
    (lambda: initializers.sparse(0.5, in_axis=0, layout=jaxinit.Layout()), ValueError, r"^sparse: layout already says what each axis is; leave out in_axis, or the layout\.$"),
    (lambda: initializers.hadamard(KEY), TypeError, r"^hadamard: this factory takes options"),
    (lambda: initializers.zer_o(KEY), TypeError, r"^zer_o: this factory takes options"),
    # dtypes
    (lambda: jaxinit.he_normal(KEY, (4, 4), "int32"), ValueError, r"^he_normal: draws real or complex numbers, not int32; use a floating dtype, as jnp\.float32\.$"),
    (lambda: jaxinit.uniform(KEY, (4,), bool), ValueError, r"^uniform: draws real or complex numbers, not bool"),
    (lambda: jaxinit.uniform(KEY, (4,), "float31"), TypeError, r"^uniform: dtype must name a dtype, as jnp\.float32 or 'bfloat16'; got 'float31'\.$"),
    (lambda: jaxinit.normal(KEY, (4,), "float8_e4m3fn", stddev=100.0), ValueError, r"^normal: values up to 634 overflow float8_e4m3fn, whose largest is 448; use a smaller scale or a wider dtype\.$"),
    (lambda: jaxinit.normal(KEY, (4,), "float16", stddev=2e4), ValueError, r"^normal: values up to 1\.268e\+05 overflow float16"),
    (lambda: jaxinit.truncated_normal(KEY, (4,), "complex64", lower=0.0), ValueError, r"^truncated_normal: a complex value is truncated by its modulus, so the bounds must be -b and b; got truncated_normal\(0\.0, 2\.0\)\. Use a real dtype or symmetric bounds\.$"),
    # keys
    (lambda: jaxinit.he_normal(None, (4, 4)), TypeError, r"^he_normal: expected one JAX random key, as jax\.random\.key\(0\) makes; got None\.$"),
    (lambda: jaxinit.he_normal(0, (4, 4)), TypeError, r"^he_normal: expected one JAX random key, as jax\.random\.key\(0\) makes; got the int 0; write jax\.random\.key\(0\)\.$"),
    (lambda: jaxinit.he_normal({"params": KEY}, (4, 4)), TypeError, r"^he_normal: expected one JAX random key, .*; got a dict; give one of its keys, as rngs\['params'\]\.$"),
    (lambda: jaxinit.he_normal(nnx.Rngs(0), (4, 4)), TypeError, r"^he_normal: expected one JAX random key, .*; got a Rngs; call it for a key, as rngs\.params\(\)\.$"),
    (lambda: jaxinit.he_normal("k", (4, 4)), TypeError, r"^he_normal: expected \(key, shape, dtype\); got 'k' first\."),
    (lambda: jaxinit.he_normal(jax.random.split(KEY), (4, 4)), ValueError, r"^he_normal: expected one JAX random key, as jax\.random\.key\(0\) makes; got an array of keys of shape \(2,\)\. Use jax\.vmap over the keys, or index one\.$"),
    (lambda: jaxinit.bits(jnp.zeros((3,), jnp.uint32), (4,)), ValueError, r"^bits: expected one JAX random key, as jax\.random\.key\(0\) makes; got uint32\[3\]\. A raw key is uint32 of 1, 2 or 4 words\.$"),
    (lambda: jaxinit.bits(np.zeros(2), (4,)), ValueError, r"got float64\[2\]\. A raw key is uint32"),
    # shardings
    (lambda: jaxinit.he_normal(KEY, (4, 4), None, P("d")), ValueError, r"^he_normal: out_sharding=.* names axes of a mesh, and none is set; pass a NamedSharding, or enter jax\.set_mesh\(mesh\)\.$"),
    (lambda: jaxinit.zeros(KEY, (4,), None, "d"), TypeError, r"^zeros: out_sharding must be a NamedSharding or a PartitionSpec; got str\.$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), CASES, ids=range(len(CASES)))
def test_text(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_sharding_with_too_many_entries():
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, P(None, None, "d"))
    text = r"^ones: out_sharding .* has 3 entries, shape \(4, 4\) has 2 axes\.$"
    with pytest.raises(ValueError, match=text):
        jaxinit.ones(KEY, (4, 4), None, sharding)


def test_shardings_that_do_not_fit_the_mesh():
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    sharding = jax.sharding.NamedSharding(mesh, P("d"))
    text = r"^he_normal: inside jit or vmap a sharding over explicit axes needs its mesh in the context; enter jax\.set_mesh"
    with pytest.raises(ValueError, match=text):
        jax.jit(lambda key: jaxinit.he_normal(key, (8, 8), None, sharding))(KEY)
    text = r"^he_normal: axis 0 of shape \(6, 8\) does not divide over the 4 devices of .*, as explicit axes of a mesh need\.$"
    with pytest.raises(ValueError, match=text):
        jaxinit.he_normal(KEY, (6, 8), None, sharding)
    with jax.set_mesh(mesh):
        text = r"^zeros: out_sharding .* names 'x'; the axes of the mesh are d, m, each to be named at most once\.$"
        with pytest.raises(ValueError, match=text):
            jaxinit.zeros(KEY, (8, 8), None, P("x"))
        with pytest.raises(
            ValueError, match=r"^zeros: out_sharding .* names one axis twice; the axes"
        ):
            jaxinit.zeros(KEY, (8, 8), None, P("d", "d"))


def test_errors_come_under_a_trace_too():
    with pytest.raises(ValueError, match="has no input axis"):
        jax.eval_shape(lambda key: jaxinit.he_normal(key, (64,)), KEY)


@pytest.mark.parametrize(
    ("make", "option"),
    [(initializers.normal, "stddev"), (initializers.constant, "value")],
)
def test_a_traced_option(make, option):
    text = rf"^{make.__name__}: {option} must be known when the initializer is made; got a traced"
    with pytest.raises(TypeError, match=text):
        jax.jit(lambda x: make(x)(KEY, (2,)))(1.0)


def test_arrays_of_no_axes_are_numbers():
    for two in (np.float32(2), np.array(2), jnp.array(2.0), np.int64(2)):
        assert initializers.orthogonal(two) == initializers.orthogonal(2.0)
        assert initializers.constant(two) == initializers.constant(2)
    assert initializers.he_normal(batch_axis=np.int64(0)) == initializers.he_normal(batch_axis=0)


def test_options_are_checked_when_the_factory_is_called():
    with pytest.raises(TypeError, match="unexpected keyword"):
        initializers.he_normal(scale=2.0)

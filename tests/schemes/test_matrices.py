"""Matrices: orthogonal by Haar's measure, identities that convolutions carry, sparse by count."""

import copy
import decimal
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats
from scipy.linalg import hadamard
from table import EXACT, ORTHOGONAL, gaussian, raw

import jaxinit
from jaxinit import Layout, initializers

KEY = jax.random.key(4)
LEVEL = 1e-5  # of each statistical check
STACK = Layout(batch_axis=0)
ALL = [*EXACT, *ORTHOGONAL]


def name_of(row):
    return repr(row.factory())


def error(q, scale=1.0):
    """Of the shorter side's vectors from being orthonormal."""
    q = np.asarray(q).astype(np.complex128) / scale
    q = q if q.shape[-2] >= q.shape[-1] else q.swapaxes(-1, -2)
    gram = q.conj().swapaxes(-1, -2) @ q
    return np.abs(gram - np.eye(q.shape[-1])).max()


# Every scheme -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ALL, ids=name_of)
def test_is_a_value_of_the_shape_and_dtype_asked(row):
    init, shape = row.factory(), (6, 34)
    eager = init(KEY, shape, "bfloat16")
    assert (eager.shape, eager.dtype) == (shape, jnp.bfloat16)
    ways = {
        "function": row.function(KEY, shape, "bfloat16"),
        "jit": jax.jit(lambda key: init(key, shape, "bfloat16"))(KEY),
        "vmap": jax.vmap(lambda key: init(key, shape, "bfloat16"))(KEY[None])[0],
        "raw key": init(jax.random.key_data(KEY), shape, "bfloat16"),
    }
    for name, way in ways.items():
        assert raw(way) == raw(eager), name
    read = eval(repr(init), dict(vars(initializers)))
    for twin in (pickle.loads(pickle.dumps(init)), copy.deepcopy(init), read):
        assert (twin, hash(twin), repr(twin)) == (init, hash(init), repr(init))
    for empty in [(0, 4), (4, 0)] if row.name != "delta_orthogonal" else [(0, 4)]:
        assert init(KEY, empty).shape == empty
    assert jax.eval_shape(lambda key: init(key, shape), KEY).shape == shape


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("row", ALL, ids=name_of)
def test_out_sharding(row, axis_type):
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(axis_type,) * 2)
    init, shape, sharding = row.factory(), (16, 24), NamedSharding(mesh, P("d", "m"))
    plain, made = init(KEY, shape), init(KEY, shape, None, sharding)
    assert made.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_allclose(made, plain, atol=2e-6 if row in ORTHOGONAL else 0)
    with jax.set_mesh(mesh):
        inside = jax.jit(lambda key: init(key, shape, None, P("d", "m")))(KEY)
    assert inside.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_allclose(inside, plain, atol=2e-6 if row in ORTHOGONAL else 0)


# Orthogonal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 1), (7, 5), (5, 7), (100, 33), (700, 300), (513, 513)], ids=str
)
def test_columns_or_rows_are_orthonormal(shape):
    assert error(jaxinit.orthogonal(KEY, shape)) <= 1e-5
    q = jaxinit.orthogonal(KEY, shape, "complex64", scale=3.0)
    assert error(q, 3.0) <= 1e-5
    assert error(1.01 * q, 3.0) > 1e-5


@pytest.mark.parametrize(("shape", "dtype"), [((33, 18), "float32"), ((7, 64), "complex64")])
def test_one_machine_computes_the_same_bits_in_every_mode(shape, dtype):
    keys = jax.random.split(KEY, 2)

    def draw(key):
        return jaxinit.orthogonal(key, shape, dtype)

    ways = {
        "jit of vmap": jax.jit(jax.vmap(draw))(keys),
        "scan": jax.lax.scan(lambda c, key: (c, draw(key)), 0, keys)[1],
        "materialize": jaxinit.materialize(jax.vmap(draw), keys),
    }
    eager = raw(np.stack([draw(key) for key in keys]))
    assert {name: raw(way) for name, way in ways.items()} == dict.fromkeys(ways, eager)


def test_in_64_bits():
    with jax.enable_x64(True):
        for dtype in ("float64", "complex128"):
            q = jaxinit.orthogonal(KEY, (90, 70), dtype)
            assert q.dtype == dtype
            assert error(q) < 1e-13


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_a_narrow_dtype_is_float32_rounded_once(dtype):
    wide = jaxinit.orthogonal(KEY, (70, 40))
    assert raw(jaxinit.orthogonal(KEY, (70, 40), dtype)) == raw(wide.astype(dtype))


def angles(stack):
    """The least positive eigenvalue angle of each matrix."""
    found = np.angle(np.linalg.eigvals(np.asarray(stack, np.float64)))
    return np.where(found > 1e-6, found, np.pi).min(axis=-1)


def p_haar(stack):
    """Of three entries, and of eigenvalue angles against SciPy's Haar matrices."""
    size, n = stack.shape[:2]
    entry = stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2)
    reference = stats.ortho_group.rvs(n, size=size, random_state=np.random.default_rng(1))
    return min(
        stats.kstest(stack[:, 0, 0], entry.cdf).pvalue,
        stats.kstest(stack[:, 3, 2], entry.cdf).pvalue,
        stats.kstest(stack[:, -1, -1], entry.cdf).pvalue,
        stats.ks_2samp(angles(stack), angles(reference)).pvalue,
    )


def test_square_matrices_have_the_law_of_haar():
    stack = np.asarray(jaxinit.orthogonal(KEY, (4000, 5, 5), layout=STACK))
    assert p_haar(stack) > LEVEL
    # The twins: a QR whose signs are left as they come; a determinant that is always 1.
    unsigned = np.linalg.qr(np.random.default_rng(0).normal(size=stack.shape))[0]
    assert p_haar(unsigned) < LEVEL
    assert abs((np.linalg.det(stack) > 0).mean() - 0.5) < 5 / math.sqrt(4 * 4000)


def test_rectangular_matrices_have_the_law_of_haar():
    for shape in [(20_000, 7, 3), (20_000, 3, 7)]:
        stack = np.asarray(jaxinit.orthogonal(KEY, shape, layout=STACK))
        entry = stats.beta(3, 3, loc=-1, scale=2)
        for row, column in [(0, 0), (2, 2), (1, 2)]:
            assert stats.kstest(stack[:, row, column], entry.cdf).pvalue > LEVEL
            assert stats.kstest(1.1 * stack[:, row, column], entry.cdf).pvalue < LEVEL


def test_unitary_matrices_have_the_law_of_haar():
    stack = np.asarray(jaxinit.orthogonal(KEY, (4000, 4, 4), "complex64", layout=STACK))
    assert stats.kstest(abs(stack[:, 0, 0]) ** 2, stats.beta(1, 3).cdf).pvalue > LEVEL
    for corner in (stack[:, 0, 0], stack[:, 3, 3], np.linalg.eigvals(stack)[:, 0]):
        turn = stats.uniform(-math.pi, 2 * math.pi)
        assert stats.kstest(np.angle(corner), turn.cdf).pvalue > LEVEL


def test_column_axis_is_that_of_jax():
    for shape, axis in [((3, 4, 20), -1), ((20, 3, 4), 0), ((2, 30, 3), 1), ((50, 2, 3), 0)]:
        ours = np.moveaxis(np.asarray(jaxinit.orthogonal(KEY, shape, column_axis=axis)), axis, -1)
        theirs = jax.nn.initializers.orthogonal(1.0, axis)(KEY, shape)
        theirs = np.moveaxis(np.asarray(theirs), axis, -1)
        for q in (ours, theirs):
            assert error(q.reshape(-1, q.shape[-1])) <= 1e-5


def test_a_matrix_for_each_place_group_and_block():
    tap = jaxinit.orthogonal(KEY, (3, 3, 16, 8), layout=Layout())
    assert error(tap) <= 1e-5
    assert abs(np.asarray(tap[0, 0] - tap[1, 2])).max() > 0.1
    heads = jaxinit.orthogonal(KEY, (32, 4, 8), layout=Layout(in_axis=0, out_axis=(1, 2)))
    assert error(heads.reshape(32, 32)) <= 1e-5
    grouped = np.asarray(jaxinit.orthogonal(KEY, (3, 4, 16), layout=Layout(groups=2)))
    assert error(grouped.reshape(3, 4, 2, 8).swapaxes(1, 2)) <= 1e-5
    gates = np.asarray(jaxinit.orthogonal(KEY, (16, 64), "bfloat16", layout=Layout(blocks=4)))
    one_by_one = np.asarray(initializers.blocks(initializers.orthogonal(), 4)(KEY, (16, 64)))
    assert raw(gates) == raw(one_by_one.astype(jnp.bfloat16))
    assert error(one_by_one.reshape(16, 4, 16).swapaxes(0, 1)) <= 1e-5


def mesh_8():
    return jax.make_mesh((4, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((256, 256), P("d", "m")),
        ((256, 256), P(None, ("d", "m"))),
        ((1024, 64), P(("d", "m"))),
        pytest.param((2048, 2048), P("d", "m"), marks=pytest.mark.slow),
        pytest.param((512, 8192), P(("d", "m")), marks=pytest.mark.slow),
        pytest.param((64, 256, 256), P(("d", "m")), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_temporaries_are_in_proportion_to_the_shard(shape, spec):
    sharding, layout = (
        NamedSharding(mesh_8(), spec),
        Layout(batch_axis=tuple(range(len(shape) - 2))),
    )
    init = initializers.orthogonal(layout=layout)
    compiled = jax.jit(lambda key: init(key, shape, None, sharding)).lower(KEY).compile()
    shard = math.prod(shape) * 4 / 8
    assert compiled.memory_analysis().temp_size_in_bytes <= 4 * shard  # JAX: 32
    assert error(compiled(KEY)) <= 1e-5


def wrapped(x, kernel, groups=1):
    """A circular convolution over all the window's axes, channels last."""
    window = kernel.shape[:-2]
    pads = [((k - 1) // 2, k // 2) for k in window]
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)], mode="wrap")
    letters = "HWD"[: len(window)]
    return jax.lax.conv_general_dilated(
        x, kernel, (1,) * len(window), "VALID", feature_group_count=groups,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )  # fmt: skip


@pytest.mark.parametrize("window", [(3,), (3, 4), (2, 3, 3)], ids=str)
def test_delta_orthogonal_keeps_lengths_and_is_jaxs_place(window):
    shape = (*window, 6, 10)
    kernel = jaxinit.delta_orthogonal(KEY, shape, scale=1.5)
    x = gaussian(jax.random.key(1), (2, *(5,) * len(window), 6))
    norms = [float(jnp.linalg.norm(y)) for y in (x, wrapped(x, kernel))]
    assert norms[1] == pytest.approx(1.5 * norms[0], rel=1e-5)
    theirs = jax.nn.initializers.delta_orthogonal()(KEY, shape)
    assert ((np.asarray(theirs) != 0) == (np.asarray(kernel) != 0)).all()


# Identities -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "groups"), [((3,), 1), ((3, 5), 2), ((1, 3, 3), 4)], ids=str)
def test_dirac_hands_channels_through(window, groups):
    kernel = jaxinit.dirac(KEY, (*window, 8 // groups, 8), groups=groups)
    x = gaussian(jax.random.key(1), (2, *(5,) * len(window), 8))
    assert raw(wrapped(x, kernel, groups)) == raw(x)
    assert initializers.dirac(groups) == initializers.identity(layout=Layout(groups=groups))


def test_the_centre_of_an_even_window_is_that_of_torch():
    assert np.asarray(jaxinit.dirac(None, (4, 1, 1))).reshape(-1).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_identity_in_integers(dtype):
    made = jaxinit.identity(None, (4, 5), dtype, gain=3)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, 3 * np.eye(4, 5))


def test_identity_is_rectangular_scaled_and_shifted():
    for shape in [(3, 5), (5, 3), (4, 4)]:
        for shift in (0, 1, -2):
            made = jaxinit.identity(None, shape, "float16", gain=-2.5, shift=shift)
            assert raw(made) == raw(-2.5 * np.roll(np.eye(*shape), shift, 1).astype(np.float16))
        made = jaxinit.identity(None, shape, shift=(1, 2))
        assert raw(made) == raw(np.roll(np.eye(*shape, dtype=np.float32), (1, 2), (0, 1)))
    heads = jaxinit.identity(None, (6, 2, 3), layout=Layout(in_axis=0, out_axis=(1, 2)))
    assert raw(heads.reshape(6, 6)) == raw(np.eye(6, dtype=np.float32))


@pytest.mark.parametrize("shape", [(8, 8), (3, 8), (5, 6), (9, 2), (1, 1)], ids=str)
def test_hadamard_is_that_of_scipy(shape):
    order = 2 ** math.ceil(math.log2(max(shape)))
    expected = hadamard(order)[: shape[0], : shape[1]].astype(np.float32) * np.float32(order**-0.5)
    assert raw(jaxinit.hadamard(None, shape)) == raw(expected)


def test_hadamard_and_zer_o_in_64_bits():
    with jax.enable_x64(True):
        for dtype in ("float64", "complex128"):
            assert error(jaxinit.hadamard(KEY, (5, 8), dtype, scale=1.7), 1.7) < 1e-15
            assert error(jaxinit.zer_o(KEY, (5, 8), dtype)) < 1e-15


@pytest.mark.parametrize("outputs", [3, 4, 6, 8, 16])
def test_zer_o_is_its_algorithm(outputs):
    """Zhao et al. 2022, algorithm 1, on weights of (out, in), with the authors' scale."""
    inputs, m = 4, math.ceil(math.log2(outputs))
    if outputs <= inputs:
        expected = np.eye(outputs, inputs)
    else:
        star = np.eye(outputs, 2**m) @ hadamard(2**m) @ np.eye(2**m, inputs)
        expected = star * 2 ** (-m / 2)
    made = np.asarray(jaxinit.zer_o(None, (inputs, outputs)))
    np.testing.assert_allclose(made.T, expected, rtol=1e-7)
    if math.log2(outputs).is_integer():
        assert error(made) < 1e-6


# Sparse -----------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.floats(0, 0.999),
    st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_each_output_has_its_number_of_zeros(shape, sparsity, batched):
    layout = Layout(batch_axis=0) if batched and len(shape) > 2 else Layout()
    made = np.asarray(jaxinit.sparse(KEY, shape, sparsity=sparsity, stddev=1.0, layout=layout))
    values = np.asarray(jaxinit.normal(KEY, shape, stddev=1.0))
    assert raw(made[made != 0]) == raw(values[made != 0])
    axes = tuple(range(1 if batched and len(shape) > 2 else 0, len(shape) - 1))
    counts = (made == 0).sum(axis=axes)
    inputs = math.prod(shape[a] for a in axes)
    assert (counts == math.ceil(decimal.Decimal(repr(sparsity)) * inputs)).all()


def test_the_number_of_zeros_is_that_of_the_decimal_number():
    zeros = (np.asarray(jaxinit.sparse(KEY, (100, 50), sparsity=0.07)) == 0).sum(axis=0)
    assert zeros.tolist() == [7] * 50


def test_the_zeros_fall_uniformly_and_independently():
    made = np.asarray(jaxinit.sparse(KEY, (20, 20_000), sparsity=0.7))
    zero = made == 0
    rate = stats.binom(20_000, 0.7)
    assert min(2 * min(rate.cdf(n), rate.sf(n)) for n in zero.sum(axis=1)) > LEVEL
    both = (zero[:, 1:] & zero[:, :-1]).mean()
    assert both == pytest.approx(0.49, abs=5 * math.sqrt(0.49 * 0.51 / zero.size))


def test_torchs_sparse_is_the_other_axis():
    made = np.asarray(jaxinit.sparse(KEY, (10, 30), sparsity=0.5, in_axis=-1, out_axis=-2))
    assert ((made == 0).sum(axis=1) == 15).all()

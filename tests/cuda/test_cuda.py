"""What XLA makes of a draw for an H100, run instruction by instruction by NumPy, has the same bits.

Takes JAX's CUDA plugin, but no GPU: ``pip install -e ".[cuda]"``, with JAX_PLATFORMS=cpu.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import ptx
import pytest
from law_table import COMPLEX_LAWS, EDGES, REAL_LAWS, some_words
from table import raw

from jaxinit import initializers
from jaxinit._random import draw, laws

pytest.importorskip("jax_plugins.xla_cuda13", reason="pip install -e '.[cuda]'")
from benchmarks import cuda

KEY = np.array([3, 7], np.uint32)
INITS = {
    "he_uniform": initializers.he_uniform(),
    "he_normal": initializers.he_normal(),
    "normal": initializers.normal(),
    "uniform": initializers.uniform(),
    "variance_scaling": initializers.variance_scaling(0.7, "fan_avg", "normal"),
    "truncated at 3": initializers.truncated_normal(1.0, lower=-3.0, upper=3.0),
    "truncated to [5, 7]": initializers.truncated_normal(1.0, lower=5.0, upper=7.0),
}
DTYPES = (
    "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float64", "complex64",
    "complex128",
)  # fmt: skip
OFTEN = {("he_normal", d) for d in DTYPES if d != "complex128"}
OFTEN |= {("normal", "float32"), ("normal", "bfloat16"), ("he_uniform", "float32")}
CASES = [
    pytest.param(name, dtype, marks=() if (name, dtype) in OFTEN else pytest.mark.slow)
    for name in INITS
    for dtype in DTYPES
    if not (name.endswith("7]") and dtype.startswith("complex"))
]


def typed(data):
    return jax.random.wrap_key_data(jnp.asarray(data))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_draw_has_the_bits_of_the_cpu(name, dtype):
    init = INITS[name]
    with jax.enable_x64(dtype in ("float64", "complex128")):
        for shape in ((3, 5, 7), (512, 512)):  # the second has several elements a thread
            made = ptx.execute(cuda.drawn(init, shape, dtype), KEY)
            expected = np.asarray(init(typed(KEY), shape, dtype))
            assert made.dtype == expected.dtype
            assert raw(made) == raw(expected)


@pytest.mark.parametrize("name", [*REAL_LAWS, *COMPLEX_LAWS])
def test_a_law_has_the_bits_of_the_cpu_at_the_edges_too(name):
    """The least and greatest words among many, so both polynomials and their seam are met."""
    law, _ = (REAL_LAWS | COMPLEX_LAWS)[name]
    edges = np.resize(EDGES.astype(np.uint32), 64)
    words = [np.concatenate([edges, w]) for w in some_words(32, 2 if name in COMPLEX_LAWS else 1)]
    structs = [jax.ShapeDtypeStruct(w.shape, w.dtype) for w in words]
    expected = law(*map(jnp.asarray, words))
    for part, one in enumerate(expected):
        made = ptx.execute(cuda.compiled(lambda *w, part=part: law(*w)[part], *structs), *words)
        np.testing.assert_array_equal(made, one)


def test_a_draw_whose_scale_is_an_argument():
    """As it is called eagerly, where no compiler knows the scale."""
    spec = draw._Spec(laws.truncated_normal(-2.0, 2.0), (64, 96), np.dtype("float32"), None)
    scale = np.float32(0.3)
    structs = [jax.ShapeDtypeStruct((), d) for d in ("uint32", "uint32", "float32")]
    program = cuda.compiled(
        lambda first, second, scale: draw.jaxinit_draw(((first, second),), scale, spec), *structs
    )
    made = ptx.execute(program, *KEY, scale)
    expected = draw.jaxinit_draw((tuple(map(jnp.asarray, KEY)),), jnp.asarray(scale), spec)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_cast_back_does_not_undo_the_rounding(dtype):
    def widened(key):
        return INITS["normal"](jax.random.wrap_key_data(key), (512, 512), dtype).astype("float32")

    made = ptx.execute(cuda.compiled(widened, jax.ShapeDtypeStruct((2,), "uint32")), KEY)
    expected = np.asarray(INITS["normal"](typed(KEY), (512, 512), dtype)).astype(np.float32)
    np.testing.assert_array_equal(made, expected)


USES = {
    "a product and a sum": lambda w: w * 2.5 + 1.25,
    "a reduction": lambda w: w.sum(0),
    "a softmax": lambda w: jax.nn.softmax(w, axis=-1),
    "a product of matrices": lambda w: w @ w.T,
}


@pytest.mark.parametrize("name", USES)
def test_nothing_is_contracted_where_a_draw_is_fused_with_its_use(name):
    def used(key):
        return USES[name](INITS["he_normal"](jax.random.wrap_key_data(key), (256, 256)))

    program = cuda.compiled(used, jax.ShapeDtypeStruct((2,), "uint32"))
    drawing = [k.ptx for k in program.kernels.values() if "cvt.rn.f32.s32" in k.ptx]
    assert drawing
    for text in drawing:
        assert not re.search(r"\b(add|sub|mul)\.(ftz\.)?f32", text)  # without .rn: may be fused
        assert "fma" not in text


def test_the_interpreter_refuses_what_differs_from_backend_to_backend():
    program = cuda.drawn(jax.nn.initializers.normal(), (64, 96), "float32")
    with pytest.raises(KeyError, match=r"add\.rz|fma|approx"):
        ptx.execute(program, KEY)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scheme", ["he_uniform", "he_normal", "normal"])
def test_one_kernel_makes_each_block_once(scheme, dtype):
    counts = {}
    for name, source in (("jax", jax.nn.initializers), ("jaxinit", initializers)):
        program = cuda.drawn(getattr(source, scheme)(), (2**15, 2**15), dtype)
        kernel = cuda.heaviest(program)
        others = [k.threads for k in program.kernels.values() if k is not kernel]
        assert kernel.threads == 2**28
        assert max(others) <= 2**16
        assert program.temporary_bytes < 2**19
        counts[name] = cuda.instructions(kernel)
    assert not {"FFMA", "DFMA"} & counts["jaxinit"].keys()  # nor does the assembler contract
    assert counts["jax"].total() / counts["jaxinit"].total() > 1.35  # 1.38 to 1.66

"""What XLA makes of a draw for an H100, run instruction by instruction by NumPy, has the same bits.

Takes JAX's CUDA plugin, but no GPU: ``pip install -e ".[cuda]"``, with JAX_PLATFORMS=cpu.
"""

import jax
import jax.numpy as jnp
import numpy as np
import ptx
import pytest
from table import raw

from jaxinit import initializers

pytest.importorskip("jax_plugins.xla_cuda13", reason="pip install -e '.[cuda]'")
from benchmarks import cuda

KEY = np.array([3, 7], np.uint32)
LAWS = {
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
)  # fmt: skip
OFTEN = {("he_normal", d) for d in DTYPES} | {(name, "float32") for name in LAWS}
OFTEN |= {("normal", "bfloat16"), ("normal", "complex64"), ("he_uniform", "bfloat16")}
CASES = [
    pytest.param(name, dtype, marks=() if (name, dtype) in OFTEN else pytest.mark.slow)
    for name in LAWS
    for dtype in DTYPES
    if not (name.endswith("7]") and dtype == "complex64")
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_the_bits_are_those_of_the_cpu(name, dtype):
    init = LAWS[name]
    with jax.enable_x64(dtype == "float64"):
        for shape in ((3, 5, 7), (512, 512)):  # the second has several elements a thread
            program = cuda.drawn(init, shape, dtype)
            made = ptx.execute(program, KEY)
            expected = np.asarray(init(jax.random.wrap_key_data(jnp.asarray(KEY)), shape, dtype))
            assert made.dtype == expected.dtype
            assert raw(made) == raw(expected)


def test_the_interpreter_refuses_what_differs_from_backend_to_backend():
    program = cuda.drawn(jax.nn.initializers.normal(), (64, 96), "float32")
    with pytest.raises(KeyError, match=r"add\.rz|fma|approx"):
        ptx.execute(program, KEY)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scheme", ["he_uniform", "he_normal", "normal"])
def test_one_kernel_that_makes_each_block_once(scheme, dtype):
    counts = {}
    for name, source in (("jax", jax.nn.initializers), ("jaxinit", initializers)):
        program = cuda.drawn(getattr(source, scheme)(), (2**15, 2**15), dtype)
        kernel = max(program.kernels.values(), key=lambda kernel: kernel.threads)
        assert kernel.threads == 2**28
        assert program.temporary_bytes < 2**19
        counts[name] = cuda.instructions(kernel)
    assert "FFMA" not in counts["jaxinit"]  # nor does the assembler contract
    assert counts["jax"].total() / counts["jaxinit"].total() > 1.35  # 1.38 to 1.66

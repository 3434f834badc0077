"""jax_internals reads parameters of JAX's primitives; these tests name one that has moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import primitives
from jax.interpreters.partial_eval import DynamicJaxprTracer

from jaxinit._program import jax_internals as internals
from jaxinit._program.ir import Builder, evaluate, order

KEY = jax.random.key(0)
X = jnp.ones(3)


def equation(function, primitive, *args):
    """The first equation of a primitive at the top level of a function's jaxpr."""
    eqns = jax.make_jaxpr(function)(*args).jaxpr.eqns
    found = [eqn for eqn in eqns if eqn.primitive is primitive]
    assert found, f"JAX no longer records {primitive}: see jax_internals.py"
    return found[0]


@jax.custom_jvp
def with_jvp(x):
    return x * 2


with_jvp.defjvp(lambda x, t: (x[0] * 2, t[0] * 2))


@jax.custom_vjp
def with_vjp(x):
    return x * 2


with_vjp.defvjp(lambda x: (x * 2, None), lambda _, t: (t * 2,))

WRAPPED = {
    "jit": (jax.jit(jnp.cumsum), primitives.jit_p),
    "remat": (jax.checkpoint(jnp.sin), primitives.remat_p),
    "custom_jvp": (with_jvp, primitives.custom_jvp_call_p),
    "custom_vjp": (with_vjp, primitives.custom_vjp_call_p),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_are_seen_through(name):
    function, primitive = WRAPPED[name]
    body = internals.wrapped(equation(function, primitive, X))
    assert body is not None, f"{primitive} keeps its computation under another name"
    assert len(body.jaxpr.invars) == 1


@pytest.mark.parametrize("function", [lax.psum, lax.pmean, lax.pmax, lax.pmin])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_collectives_under_vmap_are_reductions(function, dtype):
    if dtype == "int8" and function is lax.pmean:
        pytest.skip("a mean of integers is no integer")
    x = jnp.arange(-4, 8).astype(dtype).reshape(3, 4)
    over = jax.vmap(lambda x: (function(x, "i"), function(2 * x, "i")), axis_name="i")
    program = Builder().program(jax.make_jaxpr(over)(x))
    names = {op.primitive.name for op in order(program.outputs)}
    assert any(name.startswith("reduce_") for name in names)
    assert names.isdisjoint(("psum", "pmax", "pmin"))
    for found, expected in zip(
        evaluate(program.outputs, {program.inputs[0]: x}), over(x), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def scanned(x):
    return lax.scan(lambda c, y: (c + y, c), 0.0, x)


def looped(x):
    return lax.while_loop(lambda c: c[0] < 9, lambda c: c + x, x)


def branched(x):
    return lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)


CONTROLLED = {
    "scan": (scanned, primitives.scan_p, 1),
    "while": (looped, primitives.while_p, 2),
    "cond": (branched, primitives.cond_p, 2),
}


@pytest.mark.parametrize("name", CONTROLLED)
def test_loops_and_branches_have_their_parts(name):
    function, primitive, bodies = CONTROLLED[name]
    parts = internals.control(equation(function, primitive, X))
    assert parts is not None
    assert len(parts.bodies) == bodies


def test_a_choice_by_platform_is_no_plain_branch():
    def function(x):
        return lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)

    eqns = jax.make_jaxpr(function)(X).jaxpr.eqns
    assert internals.PLATFORM_INDEX in {eqn.primitive.name for eqn in eqns}
    assert internals.control(equation(function, primitives.cond_p, X)) is None
    assert internals.wrapped(equation(jax.jit(function), primitives.jit_p, X)) is None


@pytest.mark.parametrize("width", [8, 16, 32])
def test_random_bits_say_what_they_draw(width):
    dtype = {8: "uint8", 16: "uint16", 32: "uint32"}[width]

    eqns = jax.make_jaxpr(lambda key: jax.random.bits(key, (4, 2), dtype))(KEY).jaxpr.eqns
    bodies = [body.jaxpr.eqns if (body := internals.wrapped(eqn)) else [eqn] for eqn in eqns]
    (eqn,) = [e for body in bodies for e in body if e.primitive is internals.RANDOM_BITS]
    found = internals.random_bits(eqn.params, internals.context(eqn))
    assert found == (width, (4, 2), True)


def test_the_name_of_a_value():
    named, plain = jax.make_jaxpr(lambda x: jnp.sin(checkpoint_name(x, "mine")))(X).jaxpr.eqns
    assert internals.name_given(named) == "mine"
    assert internals.name_given(plain) == ""


def test_binding_under_the_recorded_settings():
    eqn = equation(jnp.sin, primitives.sin_p, X)
    (found,) = internals.bind(eqn.primitive, eqn.params, internals.context(eqn), [X])
    np.testing.assert_array_equal(found, jnp.sin(X))


def test_brief_tracers_restores_the_message():
    method = DynamicJaxprTracer.__dict__["_origin_msg"]

    def function(x):
        with internals.brief_tracers(), internals.brief_tracers():
            assert x._origin_msg() == ""
        assert DynamicJaxprTracer.__dict__["_origin_msg"] is method
        assert x._origin_msg()
        return x

    jax.make_jaxpr(function)(X)


GEOMETRY = {
    "iota": lambda x: jax.lax.broadcasted_iota("int32", x.shape, 1),
    "reshape": lambda x: x.reshape(3, 2),
    "rev": lambda x: lax.rev(x, (0,)),
    "transpose": lambda x: x.T,
    "broadcast_in_dim": lambda x: lax.broadcast_in_dim(x, (4, 2, 3), (1, 2)),
    "squeeze": lambda x: lax.squeeze(x[None], (0,)),
    "slice": lambda x: x[:1],
    "split": lambda x: jnp.split(x, 3, 1),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (0, 0), (1, 1)),
    "tile": lambda x: jnp.tile(x, (2, 1)),
    "concatenate": lambda x: jnp.concatenate([x, x]),
    "stack": lambda x: jnp.stack([x, x]),
    "pad": lambda x: jnp.pad(x, 1),
    "gather": lambda x: x[jnp.array([0, 1])],
    "scatter-add": lambda x: x.at[jnp.array([0, 1])].add(1.0),
    "reduce_sum": lambda x: lax.reduce_sum(x, (0,)),
    "reduce_max": lambda x: lax.reduce_max(x, (0,)),
    "reduce_min": lambda x: lax.reduce_min(x, (0,)),
    "reduce_window_sum": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "VALID"),
    "convert_element_type": lambda x: x.astype(int),
}


def flattened(jaxpr):
    for eqn in jaxpr.eqns:
        body = internals.wrapped(eqn)
        yield from flattened(body.jaxpr) if body else [eqn]


@pytest.mark.parametrize("name", internals._GEOMETRY)
def test_operations_on_axes_keep_their_parameters(name):
    if name == "stack" and jax.__version_info__ < (0, 10, 1):
        pytest.skip("this JAX records a stack as a concatenation")
    eqns = flattened(jax.make_jaxpr(GEOMETRY[name])(jnp.ones((2, 3))).jaxpr)
    found = [eqn for eqn in eqns if eqn.primitive.name == name]
    assert found, f"JAX no longer records {name}: see _GEOMETRY in jax_internals.py"
    parameters = internals.geometry(found[0].primitive, found[0].params)
    assert len(parameters) == len(internals._GEOMETRY[name])


def test_contractions_and_convolutions():
    def dot(x):
        return jnp.einsum("bi,bij->bj", x, jnp.ones((2, 3, 4)))

    eqn = equation(dot, primitives.dot_general_p, jnp.ones((2, 3)))
    found = internals.contraction(eqn.primitive, eqn.params)
    assert found == (((1,), (1,)), ((0,), (0,)))

    def ragged(x):
        return lax.ragged_dot(x, jnp.ones((2, 3, 4)), jnp.array([1, 1]))

    (eqn,) = (e for e in jax.make_jaxpr(ragged)(jnp.ones((2, 3))).eqns if "ragged" in str(e))
    assert internals.contraction(eqn.primitive, eqn.params) == (((1,), (1,)), ((), (0,)))

    def conv(x):
        kernel = jnp.ones((3, 2, 8))
        return lax.conv_general_dilated(
            x, kernel, (2,), ((1, 0),), (1,), (4,), ("NWC", "WIO", "NWC"), 2
        )

    eqn = equation(conv, primitives.conv_general_dilated_p, jnp.ones((1, 16, 4)))
    found = internals.convolution(eqn.primitive, eqn.params)
    assert found == (2, 1, (0,), 2, (2,), ((1, 0),), (1,), (4,), 2, 1)
    assert internals.convolution(primitives.sin_p, {}) is None
    assert internals.contraction(primitives.sin_p, {}) is None

"""Plans: the bits of jit(init), one program for each kind of array, errors, shardings."""

import functools
import math
import pickle
import subprocess
import sys
import threading

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import models
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from table import slow_but

import jaxinit
from jaxinit import materialize, plan
from jaxinit._program.trees import is_number

KEY = jax.random.key(0)
CASES = {
    **models.MODELS,
    "linen with jaxinit": functools.partial(
        models.linen_transformer, kernel_init=jaxinit.he_normal
    ),
    "linen with bfloat16 factories": functools.partial(
        models.linen_transformer, kernel_init=jaxinit.initializers.normal(dtype="bfloat16")
    ),
}


def bits(leaf):
    if not hasattr(leaf, "dtype"):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()


def assert_same(got, expected):
    """Asserts that two trees have the same structure and bits."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    assert list(map(bits, jax.tree.leaves(got))) == list(map(bits, jax.tree.leaves(expected)))


def arrays(tree):
    """The bits of the arrays of a tree; structures that hold functions cannot be compared.

    Python numbers count as the arrays that ``jax.jit`` makes of them.
    """
    found = [jnp.asarray(x) if is_number(x) else x for x in jax.tree.leaves(tree)]
    return [bits(leaf) for leaf in found if hasattr(leaf, "dtype")]


SLOW = (
    "resnet",
    "scan_transformer",
    "linen with bfloat16 factories",
    "remat_transformer",
    "nnx_jitted",
)


def alone(jit, case, index):
    """The bits of one array of a case, compiled by itself."""
    made = jit(
        lambda *args: [x for x in jax.tree.leaves(case.init(*args)) if eqx.is_array(x)][index]
    )
    return bits(made(*case.args))


@pytest.mark.parametrize("name", slow_but(CASES, [name for name in CASES if name not in SLOW]))
def test_bits_of_jit(name):
    """The bits of ``jit(init)``, or of jit of one array where these are not the same.

    From JAX 0.11 on, XLA may fuse the arithmetic of one array with that of others.
    """
    case = CASES[name]()
    jit = eqx.filter_jit if name == "equinox_mlp" else jax.jit
    expected = arrays(jit(case.init)(*case.args))
    if jax.__version_info__ >= (0, 11):
        made = arrays(materialize(case.init, *case.args))
        odd = [i for i, (x, y) in enumerate(zip(made, expected, strict=True)) if x != y]
        expected = [alone(jit, case, i) if i in odd else x for i, x in enumerate(expected)]
    assert arrays(materialize(case.init, *case.args)) == expected
    if name not in ("equinox_mlp", "train_state"):  # functions among what these return
        for wrapper in (jax.jit, jax.checkpoint):
            assert arrays(materialize(wrapper(case.init), *case.args)) == expected
        tree = jax.tree.structure(jax.eval_shape(case.init, *case.args))
        assert jax.tree.structure(materialize(case.init, *case.args)) == tree


def test_the_comparison_has_power():
    case = models.linen_transformer()
    other = models.linen_transformer(kernel_init=jaxinit.he_normal)
    assert arrays(materialize(case.init, *case.args)) != arrays(jax.jit(other.init)(*other.args))


@pytest.mark.parametrize("model", [models.linen_transformer, models.nnx_transformer])
def test_executables_do_not_grow_with_depth(model):
    counts = []
    for layers in (2, 9):
        case = model(layers=layers)
        planned = plan(case.init, *case.args)
        assert len(planned.leaves) == 9 * layers + 3
        counts.append(len(planned.executables))
        assert sorted(i for e in planned.executables for i in e.leaves) == list(
            range(len(planned.leaves))
        )
    # embedding, norm, three shapes of kernel, head
    assert counts == [6, 6]


def test_leaves_that_differ_only_in_a_captured_array():
    a, b = np.arange(2000.0, dtype=np.float32), np.arange(2000.0, dtype=np.float32)
    b[1000] = -1.0  # two arrays that print alike

    def init(key):
        return {"a": jnp.asarray(a) * 1.5, "b": jnp.asarray(b) * 1.5, "c": jnp.asarray(a) * 1.5}

    assert repr(a) == repr(b)
    assert_same(materialize(init, KEY), jax.jit(init)(KEY))


def test_many_kinds_of_leaf():
    def init(key, x, n, flag=False):
        kernel = jax.nn.initializers.normal()(key, (n, 4))
        return {
            "tied": (kernel, kernel),
            "forward": jnp.tanh(x @ kernel).mean(0),
            "count": jnp.arange(n),
            "step": jnp.int32(3),
            "key": jax.random.fold_in(key, 7),
            "flag": jnp.array(flag),
            "none": None,
            "branch": jax.lax.cond(x[0, 0] > 0, lambda: kernel + 1, lambda: kernel),
            "loop": jax.lax.fori_loop(0, 3, lambda i, c: c * 1.1 + i, kernel),
            "empty": jnp.zeros((0, 3)),
        }

    args = KEY, jnp.ones((2, 6)), 6
    expected = jax.jit(init, static_argnums=2, static_argnames="flag")(*args, flag=True)
    assert_same(materialize(init, *args, flag=True), expected)


def test_an_argument_whose_values_do_not_matter_may_be_a_struct():
    case = models.linen_transformer()
    tokens = jax.ShapeDtypeStruct(models.TOKENS.shape, models.TOKENS.dtype)
    expected = arrays(materialize(case.init, *case.args))
    assert arrays(materialize(case.init, case.args[0], tokens)) == expected


def test_python_numbers_stay_what_they_are():
    """A Dropout works afterwards, as it does when the module is made by Equinox alone."""

    def init(key):
        layers = [eqx.nn.Linear(4, 4, key=key), eqx.nn.Dropout(0.5)]
        return eqx.nn.Sequential(layers), 3, True, 2.5

    for make in (materialize, lambda f, key: plan(f, key).materialize()):
        model, *numbers = make(init, KEY)
        assert numbers == [3, True, 2.5]
        assert [type(x) for x in numbers] == [int, bool, float]
        assert model.layers[1].p == 0.5
        assert type(model.layers[1].inference) is bool
        run = eqx.filter_jit(lambda model, x, key: model(x, key=key))
        x = jnp.ones(4)
        np.testing.assert_array_equal(run(model, x, key=KEY), run(init(KEY)[0], x, key=KEY))
        np.testing.assert_array_equal(
            run(eqx.nn.inference_mode(model), x, KEY), run(model.layers[0], x, None)
        )


SHARED = {
    "haiku": lambda: models.haiku_batch_norm(),
    "weight norm": lambda: models.Case(weight_norm, (KEY,)),
    "in a loop": lambda: models.Case(looped, (KEY,)),
}


def weight_norm(key):
    v = jax.random.normal(key, (300, 200))
    g = jnp.linalg.norm(v, axis=0)
    return {"v": v, "g": g, "w": v / g}


def looped(key):
    w = jax.random.normal(key, (3, 40, 40))
    x = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), jnp.ones((9, 40)), w)[0]
    return {"mean": x.mean(0), "square": (x**2).mean(0), "w": w}


@pytest.mark.parametrize("name", SHARED)
def test_what_shares_a_forward_pass_runs_whole(name):
    """Made one by one, such arrays repeat the forward pass, and some differ in the last bits."""
    case = SHARED[name]()
    planned = plan(case.init, *case.args)
    assert planned.whole is not None
    assert "arrays share sums, as a forward pass does; the first is " in planned.whole
    assert len(planned.executables) == 1
    assert f"runs whole: {planned.whole}" in str(planned)
    assert_same(planned.materialize(), jax.jit(case.init)(*case.args))


def test_what_shares_only_draws_is_made_one_by_one():
    def init(key):
        w = jaxinit.he_normal(key, (8, 8))
        return {"w": w, "ema": w * 0.5, "tied": w, "mean": w.mean(0), "y": jnp.ones((2, 8)) @ w}

    assert plan(init, KEY).whole is None


def test_effects_run_whole_and_say_so():
    def init(key):
        jax.debug.print("made")
        return jax.random.normal(key, (3,)), jnp.zeros(2)

    planned = plan(init, KEY)
    assert "effects" in planned.whole
    assert "runs whole" in str(planned)
    assert_same(planned.materialize(), jax.jit(init)(KEY))


def test_a_plan_allocates_nothing_and_is_a_table():
    def init(key):
        return {"w": jax.random.normal(key, (2**20, 2**18)), "b": jnp.zeros(2**18)}

    planned = plan(init, KEY)
    assert planned.nbytes == 4 * (2**38 + 2**18)
    first, second = planned.leaves
    assert (second.path, second.shape, second.dtype) == ("w", (2**20, 2**18), jnp.float32)
    table = str(planned)
    for word in ("path", "shape", "dtype", "bytes", "group", "1 TiB", "2 leaves", "2 executables"):
        assert word in table
    assert repr(planned) == "Plan(2 leaves, 2 executables, 1 TiB)"
    assert first.path == "b"


def test_equal_arrays_of_repeated_layers_are_one_row():
    def init(key):
        def layer(k, width):
            return {"kernel": jax.random.normal(k, (8, width)), "bias": jnp.zeros(width)}

        return {f"layer_{i}": layer(k, 4 + i // 3) for i, k in enumerate(jax.random.split(key, 4))}

    planned = plan(init, KEY)
    rows = [line.split() for line in planned.table().splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["layer_*/bias", "3"],
        ["layer_*/kernel", "3"],
        ["layer_3/bias", "1"],
        ["layer_3/kernel", "1"],
    ]
    assert len(planned.table(full=True).splitlines()) == 2 + 8
    assert planned.table() in str(planned)


HELD = {  # shape, dtype, axes of a mesh of fsdp=4, expert=2, tensor=3, bytes of each device's part
    "fsdp": ((12, 6), "float32", P("fsdp"), 3 * 6 * 4),
    "tensor": ((6, 9), "bfloat16", P(None, "tensor"), 6 * 3 * 2),
    "expert": ((4, 8, 6), "float32", P("expert", "fsdp", "tensor"), 2 * 2 * 2 * 4),
    "two axes for one": ((16, 3), "float16", P(("fsdp", "expert"), "tensor"), 2 * 1 * 2),
    "replicated": ((5,), "float32", P(), 5 * 4),
    "a number": ((), "int32", P(), 4),
    "more than 2^40": ((2**22, 2**20), "float32", P("fsdp"), 2**42),
}


def test_memory_on_an_abstract_mesh():
    mesh = AbstractMesh((4, 2, 3), ("fsdp", "expert", "tensor"))
    planned = plan(lambda: {k: jnp.zeros(shape, dtype) for k, (shape, dtype, _, _) in HELD.items()})
    held = planned.memory({k: NamedSharding(mesh, spec) for k, (_, _, spec, _) in HELD.items()})
    assert held == dict.fromkeys(range(24), sum(part for *_, part in HELD.values()))
    with pytest.raises(ValueError, match=r"Plan.memory: out_shardings does not fit 'replicated'"):
        planned.memory(
            lambda path, shape: NamedSharding(mesh, P("fsdp" if shape == (5,) else None))
        )


def test_the_default_device_of_jax_holds_what_has_no_sharding():
    other = jax.devices()[2]
    with jax.default_device(other):
        planned = plan(lambda key: jax.random.normal(key, (8, 4)), KEY)
        assert planned.memory() == {other: 128}
        assert planned.materialize().devices() == {other}


def test_a_function_that_runs_whole_keeps_its_shardings_without_jit():
    mesh = jax.make_mesh((8,), ("d",), axis_types=MESH_TYPES[:1])
    rows = NamedSharding(mesh, P(None, "d"))
    where = {"v": rows, "g": NamedSharding(mesh, P("d")), "w": rows}
    expected = materialize(weight_norm, KEY, out_shardings=where)
    with jax.disable_jit():
        made = materialize(weight_norm, KEY, out_shardings=where)
    assert {name: x.sharding for name, x in made.items()} == where
    assert_same(made, expected)


def test_memory_counts_each_device():
    planned = plan(lambda key: jnp.zeros((8, 4)), KEY)
    assert sum(planned.memory().values()) == 128


MESH_TYPES = (AxisType.Auto,) * 2


def test_out_shardings_as_tree_prefix_one_and_function():
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=MESH_TYPES)
    both, rows, none = (NamedSharding(mesh, spec) for spec in (P("d", "m"), P("d"), P()))

    def init(key):
        # Not JAX's own, whose bits depend on the sharding from JAX 0.11 on.
        kernel = jaxinit.he_normal(key, (8, 4))
        return {"layer": {"bias": jnp.zeros(8), "kernel": kernel}, "scale": jnp.ones(8)}

    expected = jax.jit(init)(KEY)
    ways = {
        "tree": {"layer": {"bias": rows, "kernel": both}, "scale": none},
        "function": lambda path, shape: (
            both if path == "layer/kernel" else rows if path == "layer/bias" else none
        ),
    }
    for given in ways.values():
        made = materialize(init, KEY, out_shardings=given)
        assert_same(made, expected)
        assert made["layer"]["kernel"].sharding == both
        assert made["layer"]["bias"].sharding == rows
    made = materialize(init, KEY, out_shardings={"layer": rows, "scale": None})
    assert_same(made, expected)
    assert made["layer"]["kernel"].sharding == rows
    assert_same(materialize(init, KEY, out_shardings=none), expected)
    with jax.set_mesh(mesh):
        assert materialize(init, KEY, out_shardings=P("d"))["scale"].sharding == rows


def test_sharded_bits_of_whole_models():
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=MESH_TYPES)

    def place(path, shape):
        fits = shape and shape[0] % 4 == 0
        return NamedSharding(mesh, P("d") if fits else P())

    for model in (models.linen_transformer, models.nnx_transformer):
        case = model()
        expected = arrays(jax.jit(case.init)(*case.args))
        assert arrays(materialize(case.init, *case.args, out_shardings=place)) == expected


def test_progress_shows_a_bar(capsys):
    case = models.linen_transformer()
    made = materialize(case.init, *case.args, progress=True)
    assert arrays(made) == arrays(jax.jit(case.init)(*case.args))
    assert "making" in capsys.readouterr().err


def test_nnx_module_from_its_plan():
    case = models.nnx_transformer()
    module = nnx.merge(*materialize(case.init, *case.args))
    assert isinstance(module, models.NnxTransformer)


def test_time_is_flat_in_leaves_by_operations_not_clock():
    """The operations of all executables together are as many at depth 20 as at depth 2."""
    sizes = []
    for layers in (2, 20):
        case = models.linen_transformer(layers=layers)
        planned = plan(case.init, *case.args)
        sizes.append(sum(executable.operations for executable in planned.executables))
    assert sizes[0] == sizes[1]


def test_programs_are_compiled_side_by_side_in_the_settings_of_the_caller():
    """In other threads; what holds in the caller's alone (here 64-bit types) holds for them."""
    threads = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            threads.append(threading.current_thread())

    def init(key):
        return {str(n): jax.random.normal(key, (n, 4)) for n in (6, 7, 8)}

    with jax.enable_x64(True):
        expected = jax.jit(init)(KEY)
        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            made = materialize(init, KEY)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
    assert_same(made, expected)
    assert made["6"].dtype == np.float64
    assert len(threads) == 3
    assert threading.main_thread() not in threads


def test_a_model_stands_for_its_init_function():
    x = jnp.ones((2, 3))
    dense, mlp = nn.Dense(4), hk.transform(lambda x: hk.nets.MLP([4, 2])(x))
    for model, args in ((dense, (KEY, x)), (mlp, (KEY, x)), (optax.sgd(0.1, 0.9), ({"w": x},))):
        for made in (materialize(model, *args), plan(model, *args).materialize()):
            assert_same(made, jax.jit(model.init)(*args))
    assert plan(eqx.nn.Linear, 3, 4, key=KEY).leaves[0].path == "weight"  # a class makes an object


def test_a_plan_is_not_pickled():
    text = r"^Plan: cannot be pickled, because .*; pickle the init function and its arguments"
    with pytest.raises(TypeError, match=text):
        pickle.dumps(plan(jnp.zeros_like, jnp.ones(3)))


MISFIT = {"out_shardings": {"wrong": None}}
ERRORS = [
    (
        lambda: plan(3),
        TypeError,
        r"^plan: expected an init function first, as model\.init; got an int\.",
    ),
    (lambda: plan(None), TypeError, r"^plan: .*; got a NoneType\. Write plan\(model\.init, key, x"),
    (
        lambda: plan(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), KEY),
        TypeError,
        r"^plan: expected a class of NNX, not a module that is made already; got a Linear\. Write",
    ),
    (lambda: materialize("x", KEY), TypeError, r"^materialize: expected an init function first"),
    (
        lambda: materialize(jnp.sin, jax.ShapeDtypeStruct((3,), "float32")),
        ValueError,
        r"^materialize: expected arrays with values; got args\[0\] = a ShapeDtypeStruct",
    ),
    (
        lambda: materialize(lambda k: {"a": k}, KEY, **MISFIT),
        ValueError,
        r"^materialize: out_shardings must be the tree, a prefix of it",
    ),
    (
        lambda: materialize(lambda k: {"a": k}, KEY, out_shardings=P("d")),
        ValueError,
        r"for 'a', which names axes of a mesh, and none is set",
    ),
    (
        lambda: materialize(lambda k: {"a": k}, KEY, out_shardings=lambda p, s: 3),
        TypeError,
        r"^materialize: out_shardings must give a Sharding, a PartitionSpec or None for each leaf; "
        r"got an int for 'a'",
    ),
    (
        lambda: materialize(lambda k: {"a": k}, KEY, out_shardings=jax.make_mesh((8,), ("d",))),
        TypeError,
        r"got a Mesh for 'a'",
    ),
    (
        lambda: materialize(
            lambda k: {"a": k}, KEY, out_shardings=NamedSharding(AbstractMesh((2,), ("d",)), P())
        ),
        ValueError,
        r"^materialize: out_shardings has an AbstractMesh for 'a', which has no devices; use jax\.",
    ),
    (
        lambda: plan(jnp.zeros, 8).memory(
            NamedSharding(AbstractMesh((2, 2), ("d", "m")), P("d", "m"))
        ),
        ValueError,
        r"^Plan\.memory: out_shardings does not fit '' of shape \(8,\): .* has 2 entries\. ",
    ),
    (
        lambda: jax.jit(lambda k: materialize(jax.random.normal, k))(KEY),
        ValueError,
        r"that is being traced\. Call it outside jax\.jit",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_sharding_that_does_not_divide():
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    text = r"^materialize: out_shardings does not fit 'a' of shape \(6,\): .* Replicate the axis"
    with pytest.raises(ValueError, match=text):
        materialize(lambda k: {"a": jnp.zeros(6)}, KEY, out_shardings=NamedSharding(mesh, P("d")))


def test_peak_memory_is_that_of_the_parameters():
    """In a process of its own: a tree of 256 MiB in leaves of 16 MiB."""
    code = """
import jax, jax.numpy as jnp, jaxinit
def status(field):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(field)) * 1024
def init(key, n):
    return [jax.nn.initializers.he_normal()(k, (2048, 2048)) for k in jax.random.split(key, n)]
jax.block_until_ready(jaxinit.materialize(init, jax.random.key(0), 1))
before = status("VmRSS")
made = jax.block_until_ready(jaxinit.materialize(init, jax.random.key(0), 16))
print((status("VmHWM") - before) / sum(x.nbytes for x in made))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) <= 1.15
    assert not math.isnan(float(done.stdout))

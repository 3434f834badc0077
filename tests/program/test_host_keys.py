"""Keys that are derived and picked in NumPy: JAX's own, without a program for each."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxinit
from jaxinit._program.host_keys import HostKeys, on_host
from jaxinit._program.ir import Builder, evaluate

KEY = jax.random.key(2**33 + 7)


def of_words(words):
    """What wraps around, and shifts that leave nothing."""
    a, b = words[0], words[1]
    for one in (jnp.uint32(2**32 - 1), jnp.uint32(32), jnp.uint32(5)):
        a, b = (a + b) * one ^ (a >> one), (b - a) | ((b << one) & a)
    return jnp.stack([a, b])


CASES = {
    "split": lambda key: jax.random.split(key, 5),
    "split to a matrix": lambda key: jax.random.split(key, (2, 3)),
    "children of children": lambda key: jax.random.split(jax.random.split(key, 5)[3], 2)[1],
    "split under vmap": lambda key: jax.vmap(jax.random.split)(jax.random.split(key, 3))[1, 0],
    "fold_in": lambda key: jax.random.fold_in(key, 2**32 - 1),
    "fold_in under vmap": lambda key: jax.vmap(jax.random.fold_in)(
        jax.random.split(key, 3), jnp.arange(3)
    ),
    "one key, several numbers": lambda key: jax.vmap(jax.random.fold_in, (None, 0))(
        key, jnp.arange(3)
    ),
    "several keys, one number": lambda key: jax.vmap(jax.random.fold_in, (0, None))(
        jax.random.split(key, 3), 4
    ),
    "a key of words": lambda key: jax.random.wrap_key_data(of_words(jax.random.key_data(key))),
    "every second key": lambda key: jax.random.split(key, 5)[1::2],
}


def left(function, key):
    """The operations that are left to JAX. Checks that the keys are those of jit."""
    program = Builder().program(jax.make_jaxpr(function)(key))
    names = set()

    def counted(op, args):
        found = on_host(op, args)
        done = found and all(isinstance(x, HostKeys | np.ndarray | np.generic) for x in found)
        names.update([] if done else [op.primitive.name])
        return found

    made = evaluate(program.outputs, {program.inputs[0]: key}, counted)
    for output, ours, theirs in zip(program.outputs, made, jax.jit(function)(key), strict=True):
        ours = ours.typed() if isinstance(ours, HostKeys) else ours
        assert ours.dtype == output.aval.dtype
        assert np.array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))
    return names


def test_the_keys_of_jax():
    names = left(lambda key: [make(key) for make in CASES.values()], KEY)
    assert not names & {"random_split", "random_fold_in", "slice", "squeeze"}
    assert not names & {"add", "sub", "mul", "xor", "or", "and", "shift_left"}
    assert "iota" in names  # the check can fail: what is not of keys is left


def test_keys_of_other_kinds_are_picked():
    key = jax.random.key(7, impl="rbg")
    assert left(lambda key: [CASES["children of children"](key)], key) == {"random_split"}


def test_a_split_that_depends_on_its_size_is_left_to_jax():
    with jax.threefry_partitionable(False):
        assert left(lambda key: [CASES["split"](key)], KEY) == {"random_split"}


def test_a_large_array_is_not_copied_to_the_host():
    program = Builder().program(jax.make_jaxpr(lambda x: x[2:4])(jnp.arange(5000)))
    assert on_host(program.outputs[0].op, [jnp.arange(5000)]) is None
    program = Builder().program(jax.make_jaxpr(lambda x: x[2:4])(jnp.arange(50)))
    assert on_host(program.outputs[0].op, [jnp.arange(50)])[0].tolist() == [2, 3]


def test_keys_do_not_add_programs():
    """A tree of any depth compiles the programs of its arrays, and nothing for their keys."""

    def init(key):
        blocks = jax.random.split(key, 11)
        return [
            [jax.random.normal(k, (3 + i % 2, 5)) for i, k in enumerate(jax.random.split(b, 4))]
            for b in blocks
        ]

    compiled = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(seconds)

    planned = jaxinit.plan(init, KEY)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        planned.materialize()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) == len(planned.executables) == 2

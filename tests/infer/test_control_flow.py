"""Loops, branches, wrappers, outputs of every kind: infer and propagate read them or say so."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from table import gaussian

from jaxinit import calibrate, infer, propagate

KEY = jax.random.key(0)
X = gaussian(jax.random.key(7), (8, 16))


def kernel(n, *shape):
    return gaussian(jax.random.key(n), shape) / shape[-2] ** 0.5


PARAMETERS = {
    "stem": kernel(0, 16, 16),
    "stack": kernel(1, 3, 16, 16),
    "shared": kernel(2, 16, 16),
    "bias": 0.1 * jnp.ones(16),
    "head": kernel(3, 16, 4),
}


class Pair(NamedTuple):
    y: jax.Array
    extra: None


@flax.struct.dataclass
class Output:
    logits: jax.Array
    name: str = flax.struct.field(pytree_node=False, default="out")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["logits", "loss"], meta_fields=["kind"]
)
@dataclasses.dataclass
class Custom:
    logits: jax.Array
    loss: jax.Array | None
    kind: str


def stem(p, x):
    return jnp.tanh(x @ p["stem"] + p["bias"])


def residual(x, w):
    return x + jax.nn.relu(x @ w), None


def scan(p, x):
    return lax.scan(residual, x @ p["stem"], p["stack"])[0] @ p["head"]


def scan_of_remat(p, x):
    return lax.scan(jax.checkpoint(residual), stem(p, x), p["stack"])[0] @ p["head"]


def remat_of_scan(p, x):
    return jax.checkpoint(scan)(p, x)


def scan_in_scan(p, x):
    def outer(x, _):
        return lax.scan(residual, x, p["stack"])[0], x.mean()

    x, means = lax.scan(outer, stem(p, x), None, length=2)
    return x @ p["head"], means


def scan_backwards(p, x):
    return lax.scan(residual, stem(p, x), p["stack"], reverse=True)[0] @ p["head"]


def several_carries(p, x):
    def step(carry, w):
        x, (count, mask), total = carry
        y = jnp.where(mask, x @ w, 0.0)
        return (jnp.tanh(y), (count + 1, y > 0), total + y.sum()), (y.mean(), count)

    start = stem(p, x), (0, jnp.ones(x.shape, bool)), jnp.zeros(())
    (x, (count, _), total), (means, counts) = lax.scan(step, start, p["stack"])
    return x @ p["head"], total / count, means, counts


def inside_and_outside(p, x):
    """One kernel before, in, and after the loop; a bias of it all."""

    def step(x, w):
        return jnp.tanh(x @ w + x @ p["shared"] + p["bias"]), None

    x = jnp.tanh(x @ p["shared"])
    return lax.scan(step, x, p["stack"])[0] @ p["shared"] @ p["head"]


def indexed(p, x):
    return lax.fori_loop(0, 3, lambda i, x: residual(x, p["stack"][i])[0], stem(p, x)) @ p["head"]


def whiled(p, x):
    def condition(carry):
        return carry[0] < 3

    def body(carry):
        i, x = carry
        return i + 1, jnp.tanh(x @ p["shared"])

    return lax.while_loop(condition, body, (0, stem(p, x)))[1] @ p["head"]


def chosen(p, x):
    x = stem(p, x)
    return lax.cond(x.sum() > 0, lambda x: x @ p["shared"], lambda x: x, x) @ p["head"]


def switched(p, x):
    branches = [lambda x, w=w: jnp.tanh(x @ w) for w in p["stack"]]
    return lax.switch(jnp.argmax(x) % 3, branches, stem(p, x)) @ p["head"]


def vmapped(p, x):
    """Over stacked kernels, and over examples."""
    each = jax.vmap(lambda w, x: jnp.tanh(x @ w), in_axes=(0, None))(p["stack"], stem(p, x))
    return jax.vmap(lambda x: x @ p["head"])(each.mean(0))


def integers(p, x):
    """Booleans, integers, arg max and sorting between kernels."""
    x = stem(p, x)
    rank = jnp.argsort(x, -1)
    x = jnp.take_along_axis(x, rank, -1) * (x > 0) + jax.nn.one_hot(x.argmax(-1), 16)
    return x @ p["shared"] @ p["head"], rank, x > 0, (x > 0).sum()


def differentiated(p, x):
    """A custom derivative, and a gradient inside the model, as of an energy."""

    @jax.custom_vjp
    def clip(x):
        return jnp.clip(x, -1, 1)

    clip.defvjp(lambda x: (clip(x), None), lambda _, g: (g,))
    energy = jax.grad(lambda x: (stem(p, x) ** 2).sum())
    return clip(energy(x) @ p["shared"]) @ p["head"]


def associative(p, x):
    gates = jax.nn.sigmoid(x @ p["shared"])
    states = lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (gates, x))[1]
    return states @ p["head"]


def outputs(make):
    return lambda p, x: make(stem(p, x) @ p["head"])


FORMS = {
    "dict": outputs(lambda y: {"logits": y, "aux": {"mean": y.mean()}}),
    "tuple": outputs(lambda y: (y, None, 3, "name")),
    "named tuple": outputs(lambda y: Pair(y, None)),
    "struct": outputs(Output),
    "dataclass": outputs(lambda y: Custom(y, None, "kind")),
    "list": outputs(lambda y: [y[0], y[1:]]),
    "scalar": outputs(lambda y: y.sum()),
}
FLOWS = {
    f.__name__: f
    for f in (
        *(scan, scan_of_remat, remat_of_scan, scan_in_scan, scan_backwards, several_carries),
        *(inside_and_outside, indexed, whiled, chosen, switched, vmapped, integers),
        *(differentiated, associative),
    )
}
# The rows of the report: which kernels are measured, and how often.
ROWS = {
    "scan": ("stem", "stack[0]", "stack[1]", "stack[2]", "head"),
    "scan_of_remat": ("stem", "stack[0]", "stack[1]", "stack[2]", "head"),
    "remat_of_scan": ("stem", "stack[0]", "stack[1]", "stack[2]", "head"),
    "scan_backwards": ("stem", "stack[0]", "stack[1]", "stack[2]", "head"),
    "several_carries": ("stem", "stack[0]", "stack[1]", "stack[2]", "head"),
    "whiled": ("stem", "head"),
    "chosen": ("stem", "head"),
    "vmapped": ("stem", "stack", "head"),
}


LIGHT = ("scan_of_remat", "several_carries", "chosen", "integers", "dict", "dataclass")


def mostly_slow(names):
    """The names as parameters of a test; those that are not light are slow."""
    return [n if n in LIGHT else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", [*FLOWS, *FORMS])
def test_every_parameter_is_read(name):
    found = infer(FLOWS.get(name) or FORMS[name], PARAMETERS, X)
    used = {path: record.role for path, record in found.items() if record.role != "unused"}
    assert set(used.values()) <= {"kernel", "recurrent", "bias"}, used
    assert used["head"] == "kernel"


@pytest.mark.parametrize("name", mostly_slow([*FLOWS, *FORMS]))
def test_every_layer_is_measured(name):
    report = propagate(FLOWS.get(name) or FORMS[name], PARAMETERS, X)
    assert all(np.isfinite(row["std"]) for row in report.rows)
    assert {row["path"] for row in report.rows} >= set(ROWS.get(name, ("head",)))


@pytest.mark.parametrize("name", mostly_slow(["scan", "scan_of_remat", "scan_backwards"]))
def test_layers_in_loops_are_measured_as_a_plain_loop_does(name):
    x = X @ PARAMETERS["stem"] if name == "scan" else stem(PARAMETERS, X)
    rows = {row["path"]: row for row in propagate(FLOWS[name], PARAMETERS, X).rows}
    layers = list(enumerate(PARAMETERS["stack"]))
    for i, w in reversed(layers) if name == "scan_backwards" else layers:
        assert rows[f"stack[{i}]"]["std"] == pytest.approx(float((x @ w).std()), rel=1e-4)
        x = residual(x, w)[0]
    assert rows["head"]["std"] == pytest.approx(float((x @ PARAMETERS["head"]).std()), rel=1e-4)


def test_where_jax_has_no_gradient_the_forward_pass_is_measured_alone():
    report = propagate(whiled, PARAMETERS, X)
    assert [row["gradient"] for row in report.rows] == [None, None]
    assert report.findings == []
    assert "not followed: shared" in str(report)
    assert "gradients are not measured: Reverse-mode differentiation does not work for" in str(
        report
    ).replace("\n", " ")


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
def test_calibrate_reaches_the_last_layer(name):
    apply = FLOWS[name]
    found = infer(apply, PARAMETERS, X)
    used = {p: x for p, x in PARAMETERS.items() if found[p].role != "unused"}
    rows = propagate(apply, calibrate(apply, used, X), X).rows
    (head,) = (row for row in rows if row["path"] == "head")
    assert head["std"] == pytest.approx(1, rel=0.05)


def test_several_arrays_under_nn_scan():
    """A carry of three arrays, scanned inputs and outputs, layers that share parameters."""

    class Cell(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            h, c, step = carry
            y = nn.tanh(nn.Dense(16, name="inner")(h) + nn.Dense(16, name="outer")(x))
            return (y, c + y.sum(-1), step + 1), {"y": y, "step": step}

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"variable_broadcast": "params", "split_rngs": {"params": False}}
            start = jnp.zeros((4, 16)), jnp.zeros(4), 0
            (h, c, step), outputs = nn.scan(Cell, **options)(name="cell")(start, x)
            return {"h": nn.Dense(3, name="head")(h), "c": c, "step": step, "all": outputs}

    x = gaussian(KEY, (5, 4, 16))
    params = Model().init(KEY, x)
    found = infer(Model().apply, params, x)
    assert found["params/cell/inner/kernel"].role == "recurrent"
    assert found["params/cell/outer/kernel"].role == "kernel"
    report = propagate(Model().apply, params, x)
    assert len(report.rows) == 3

"""Roles that are easily mistaken: learned queries, adapters, time scales, gated states."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxinit import infer

KEY = jax.random.key(0)
X = jnp.ones((2, 5, 16))


def linen(module, *inputs):
    return infer(module.apply, jax.eval_shape(module.init, KEY, *inputs), *inputs)


def squares(names):
    return {name: jnp.ones((16, 16)) for name in names}


def attend(p, q, x):
    logits = jnp.einsum("...nd,btd->bnt", q, x @ p["wk"]) / 4
    return jnp.einsum("bnt,btd->bnd", jax.nn.softmax(logits), x @ p["wv"]) @ p["out"]


def kernels(found, names):
    return [(found[n].role, found[n].fan_in, found[n].fan_out) for n in names]


@pytest.mark.parametrize("latents", [1, 4])
def test_a_learned_query_is_an_embedding(latents):
    def apply(p, x):
        return attend(p, p["probe"] @ p["wq"] + p["bias"], x)

    parameters = squares(("wq", "wk", "wv", "out"))
    parameters |= {"probe": jnp.ones((latents, 16)), "bias": jnp.ones(16)}
    found = infer(apply, parameters, X)
    assert (found["probe"].role, found["probe"].fan_in) == ("embedding", 16)
    assert kernels(found, ("wq", "wk", "wv", "out")) == [("kernel", 16, 16)] * 4
    assert [found[n].activation for n in ("wq", "wk", "wv")] == ["softmax", "softmax", "identity"]
    assert (found["bias"].role, found["bias"].layer) == ("bias", "wq")


def test_the_kernel_may_stand_left():
    """As in Equinox, whose weights are (out, in)."""

    def apply(p, x):
        query = jax.vmap(lambda z: p["wq"] @ z)(p["latents"])
        return attend(p, query, jnp.einsum("oi,bti->bto", p["wq"], x))

    found = infer(apply, squares(("wq", "wk", "wv", "out", "latents")), X)
    assert found["latents"].role == "embedding"
    assert found["wq"].role == "kernel"


def test_pooling_by_attention_in_flax():
    """The head of a ViT: one probe, broadcast over the batch, in Flax's own attention."""

    class Pool(nn.Module):
        @nn.compact
        def __call__(self, x):
            probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, 16))
            y = nn.MultiHeadDotProductAttention(4, name="attention")(
                jnp.tile(probe, (x.shape[0], 1, 1)), x
            )
            return y + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(y))))

    found = linen(Pool(), X)
    assert found["params/probe"].role == "embedding"
    for name in ("query", "key", "value", "out"):
        path = f"params/attention/{name}/kernel"
        assert kernels(found, [path]) == [("kernel", 16, 16)], path


def test_latents_that_are_normalized_and_attend_to_themselves():
    """A Perceiver, or the queries of DETR: whole layers before the first signal."""

    class Latents(nn.Module):
        @nn.compact
        def __call__(self, x):
            z = self.param("latents", nn.initializers.normal(), (8, 16))[None]
            h = nn.LayerNorm(name="norm")(z)
            z = z + nn.MultiHeadDotProductAttention(2, name="self")(h, h)
            z = jnp.broadcast_to(z, (x.shape[0], 8, 16))
            return z + nn.MultiHeadDotProductAttention(2, name="cross")(z, x)

    found = linen(Latents(), X)
    assert found["params/latents"].role == "embedding"
    assert found["params/norm/scale"].role == "scale"
    assert found["params/norm/bias"].role == "bias"
    for layer in ("self", "cross"):
        for name in ("query", "key", "value", "out"):
            path = f"params/{layer}/{name}/kernel"
            assert kernels(found, [path]) == [("kernel", 16, 16)], path
    assert found["params/self/out/kernel"].residual is not None


def test_a_projected_table_of_positions():
    def apply(p, x):
        return jnp.tanh((x + p["positions"] @ p["project"]) @ p["w"])

    found = infer(
        apply, squares("w") | {"positions": jnp.ones((5, 8)), "project": jnp.ones((8, 16))}, X
    )
    assert kernels(found, ("project", "w")) == [("kernel", 8, 16), ("kernel", 16, 16)]
    assert found["positions"].role == "embedding"


def test_products_that_are_kernels():
    """Merged adapters, with or without the bias of the layer, and factorised kernels."""

    def apply(p, x):
        y = jnp.tanh(x @ (p["w"] + 2.0 * p["a"] @ p["b"]) + p["bias"])
        return jnp.tanh(y @ (p["u"] @ p["v"]))

    low = {"a": jnp.ones((16, 2)), "b": jnp.ones((2, 16))}
    low |= {"u": jnp.ones((16, 3)), "v": jnp.ones((3, 16)), "bias": jnp.ones(16)}
    found = infer(apply, squares("w") | low, X)
    assert kernels(found, "ab") == [("lora_a", 16, 2), ("lora_b", 2, 16)]
    assert kernels(found, "uv") == [("kernel", 16, 3), ("kernel", 3, 16)]


def test_spectral_norm_keeps_the_kernel_a_kernel():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(16, name="plain")(nn.tanh(nn.Dense(16, name="first")(x)))
            return nn.SpectralNorm(nn.Dense(8, name="last"))(x, update_stats=True)

    variables = jax.eval_shape(Model().init, KEY, X)
    found = infer(lambda v, x: Model().apply(v, x, mutable=["batch_stats"]), variables, X)
    names = [path for path in found if path.endswith("last/kernel")]
    assert kernels(found, names) == [("kernel", 16, 8)]


def diagonal(p, x, discretise):
    decay, inputs = discretise(p)

    def step(h, u):
        h = decay * h + inputs @ u
        return h, p["C"] @ h

    return lax.scan(step, jnp.zeros(8), x)[1]


def exact(p):
    """Zero-order hold: the eigenvalues in an exponential, and as a divisor."""
    decay = jnp.exp(p["lam"] * jnp.exp(p["log_step"]))
    return decay, ((decay - 1) / p["lam"])[:, None] * p["B"]


def bilinear_last(p):
    """The division comes first in the computation."""
    inputs = p["B"] / p["lam"][:, None]
    return jnp.exp(p["lam"] * jnp.exp(p["log_step"])), inputs


def double_exponential(p):
    return jnp.exp(-jnp.exp(p["lam"]) * jnp.exp(p["log_step"])), p["B"]


@pytest.mark.parametrize("discretise", [exact, bilinear_last, double_exponential])
def test_the_eigenvalues_of_a_state_space_are_no_scale(discretise):
    shapes = {"lam": (8,), "log_step": (8,), "B": (8, 4), "C": (3, 8)}
    parameters = {name: jnp.ones(shape) for name, shape in shapes.items()}
    found = infer(lambda p, x: diagonal(p, x, discretise), parameters, jnp.ones((5, 4)))
    assert (found["lam"].role, found["log_step"].role) == ("time scale", "time scale")
    assert kernels(found, "BC") == [("kernel", 4, 8), ("kernel", 8, 3)]


def test_time_scales_that_the_signal_gates():
    """Mamba's A, by a step size that is computed; and the decay of RG-LRU."""

    def mamba(p, x):
        dt = jax.nn.softplus(x @ p["w"])
        return jnp.exp(dt * -jnp.exp(p["A_log"]))

    def griffin(p, x):
        return jnp.exp(-8.0 * jax.nn.sigmoid(x @ p["w"]) * jax.nn.softplus(p["a_param"]))

    for apply, name in ((mamba, "A_log"), (griffin, "a_param")):
        assert infer(apply, squares("w") | {name: jnp.ones(16)}, X)[name].role == "time scale"


def test_log_scales():
    def clip(p, x):
        return jax.nn.softmax(x @ p["w"] * jnp.exp(jnp.minimum(p["logit_scale"], 4.6)))

    def policy(p, x, action):
        mean = x @ p["w"]
        z = (action - mean) * jnp.exp(-p["log_std"])
        return (-0.5 * z * z - p["log_std"]).sum(-1)

    found = infer(clip, squares("w") | {"logit_scale": jnp.ones(())}, X)
    assert found["logit_scale"].role == "log scale"
    found = infer(policy, squares("w") | {"log_std": jnp.ones(16)}, X, X)
    assert found["log_std"].role == "log scale"


def test_the_running_variance_of_a_normalization_stays_one():
    found = linen(nn.BatchNorm(use_running_average=True), X)
    assert found["batch_stats/var"].role == "variance"
    assert found["params/scale"].role == "scale"


def test_a_state_behind_a_reset_is_still_a_state():
    """A GRU whose state is replaced where an episode begins."""

    class Step(nn.Module):
        @nn.compact
        def __call__(self, state, inputs):
            x, reset = inputs
            state = jnp.where(reset[:, None], jnp.zeros_like(state), state)
            return nn.GRUCell(8, name="cell")(state, x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, reset):
            options = {"variable_broadcast": "params", "split_rngs": {"params": False}}
            return nn.scan(Step, **options)(name="steps")(jnp.zeros((2, 8)), (x, reset))[1]

    found = linen(Model(), jnp.ones((5, 2, 4)), jnp.zeros((5, 2), bool))
    for gate in "rzn":
        assert found[f"params/steps/cell/h{gate}/kernel"].role == "recurrent"
        assert found[f"params/steps/cell/i{gate}/kernel"].role == "kernel"

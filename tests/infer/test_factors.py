"""What a factor is: a scale, a kernel that is multiplied and summed, or something unknown."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxinit import infer

KEY = jax.random.key(0)
X = jnp.ones((8, 16))
IMAGES = jnp.ones((4, 8, 8, 16))


def roles(apply, shapes, *inputs):
    parameters = {name: jnp.ones(shape) for name, shape in shapes.items()}
    found = infer(apply, parameters, *inputs)
    return {name: (p.role, p.fan_in, p.fan_out) for name, p in found.items()}


def test_a_product_that_is_summed_is_a_contraction():
    """Each is x @ w, h @ v.T or the read-out of a diagonal state space; h feeds a relu."""

    def apply(p, x):
        h = jax.nn.relu((x[:, :, None] * p["w"]).sum(1))
        return jnp.tanh((h[:, None] * p["v"]).sum(-1))

    shapes = {"w": (16, 10), "v": (7, 10)}
    assert roles(apply, shapes, X) == {"w": ("kernel", 16, 10), "v": ("kernel", 10, 7)}
    found = infer(apply, {name: jnp.ones(shape) for name, shape in shapes.items()}, X)
    assert [found[name].activation for name in "wv"] == ["relu", "tanh"]
    assert found["w"].layout.roles((16, 10)).out_axis == (1,)

    def read_out(p, h):
        return jnp.sum(p["C"] * h, -1)

    assert roles(read_out, {"C": (16, 8)}, jnp.ones((4, 16, 8))) == {"C": ("kernel", 8, 1)}


def test_a_residual_branch_that_ends_in_a_summed_product():
    def apply(p, x):
        h = jax.nn.relu(x @ p["up"])
        return x + (h[:, :, None] * p["down"]).sum(1)

    shapes = {"up": (16, 32), "down": (32, 16)}
    found = infer(apply, {name: jnp.ones(shape) for name, shape in shapes.items()}, X)
    assert (found["down"].residual.index, found["down"].residual.total) == (1, 1)


def test_a_scale_before_a_sum_over_other_axes_is_a_scale():
    def apply(p, x):
        return (x * p["scale"]).sum((1, 2))

    assert roles(apply, {"scale": (16,)}, IMAGES)["scale"][0] == "scale"


def test_a_diagonal_state_space():
    def apply(p, u):
        step = jnp.exp(p["log_step"])[:, None]
        decay = jnp.exp(step * -jnp.exp(p["A_log"]))

        def turn(h, x):
            h = decay * h + step * p["B"] * x[:, :, None]
            return h, (h * p["C"]).sum(-1) + p["D"] * x

        return lax.scan(turn, jnp.zeros((4, 16, 8)), u)[1]

    shapes = {"A_log": (16, 8), "log_step": (16,), "B": (16, 8), "C": (16, 8), "D": (16,)}
    assert {
        name: role for name, (role, _, _) in roles(apply, shapes, jnp.ones((5, 4, 16))).items()
    } == {
        "A_log": "time scale",
        "log_step": "time scale",
        "B": "unknown",
        "C": "kernel",
        "D": "scale",
    }


WIDENING = {
    "frequencies": (lambda p, t: jnp.sin(t[:, None] * p["w"]), (16,), jnp.ones(8)),
    "outer": (lambda p, x: jnp.einsum("bd,dn->bdn", x, p["w"]), (16, 4), X),
    "kronecker": (lambda p, x: x @ jnp.kron(p["w"], jnp.eye(4)), (4, 3), X),
}


@pytest.mark.parametrize("name", WIDENING)
def test_what_makes_more_features_is_no_scale(name):
    apply, shape, x = WIDENING[name]
    assert roles(apply, {"w": shape}, x)["w"][0] == "unknown"


def conv(x, w):
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("shape", [(32,), (16, 1), (3, 3, 1, 1), ()])
def test_a_gain_of_a_convolution_is_a_scale(shape):
    def apply(p, x):
        return jax.nn.relu(conv(x, p["w"] * p["g"]))

    found = roles(apply, {"w": (3, 3, 16, 32), "g": shape}, IMAGES)
    assert found == {"w": ("kernel", 144, 288), "g": ("scale", None, None)}


@pytest.mark.parametrize("layer", [nn.Conv(32, (3, 3)), nn.Dense(32)])
def test_weight_normalization(layer):
    module = nn.WeightNorm(layer)
    found = infer(module.apply, jax.eval_shape(module.init, KEY, IMAGES), IMAGES)
    assert found["params/layer_instance/kernel/scale"].role == "scale"
    assert found["params/layer_instance/kernel"].role == "kernel"


def test_gains_of_inputs_and_outputs_of_a_dense_kernel():
    def apply(p, x):
        return x @ (p["s"][:, None] * (p["w"] / jnp.linalg.norm(p["w"], axis=0)) * p["g"])

    found = roles(apply, {"w": (16, 32), "s": (16,), "g": (32,)}, X)
    assert found["w"] == ("kernel", 16, 32)
    assert found["s"][0] == found["g"][0] == "scale"


@pytest.mark.parametrize(
    "product",
    [
        lambda p, q: p * q,  # (16, 32) and (16, 32)
        lambda p, q: p[:, :1] * q[:1],
        lambda p, q: jnp.kron(p[:4, :2], q[:4, :16]),
    ],
)
def test_two_factors_that_may_both_be_the_kernel_are_unknown(product):
    def apply(p, x):
        return x @ product(p["p"], p["q"])

    found = roles(apply, {"p": (16, 32), "q": (16, 32)}, X)
    assert [role for role, _, _ in found.values()] == ["unknown"] * 2


@pytest.mark.parametrize("update", [True, False])
def test_the_vector_of_a_spectral_norm_is_no_adapter(update):
    module = nn.SpectralNorm(nn.Dense(32))
    variables = jax.eval_shape(lambda x: module.init(KEY, x, update_stats=False), X)
    found = infer(
        lambda v, x: module.apply(v, x, update_stats=update, mutable=["batch_stats"]), variables, X
    )
    assert found["batch_stats/layer_instance/kernel/u"].role == "unknown"
    assert found["params/layer_instance/kernel"].role == "kernel"


@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm(), nn.RMSNorm(), nn.GroupNorm(4), nn.InstanceNorm(), nn.BatchNorm(True)],
    ids=lambda norm: type(norm).__name__,
)
def test_scales_of_normalizations_stay_scales(norm):
    found = infer(norm.apply, jax.eval_shape(norm.init, KEY, IMAGES), IMAGES)
    assert found["params/scale"].role == "scale"

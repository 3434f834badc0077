"""What a user writes, as a type checker sees it.

Each call here is right, or is marked with the mistake that pyright must find; a mark that is not
needed is an error too. The file is checked with the project (``pyright``), and is not run.
"""
# pyright: standard, reportUnnecessaryTypeIgnoreComment=true
# pyright: reportArgumentType=true, reportAttributeAccessIssue=true, reportCallIssue=true

from typing import assert_type

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp

import jaxinit
from jaxinit import initializers, layouts, linen, nnx

key, x = jax.random.key(0), jnp.ones((1, 784))
rngs = nnx.Rngs(0)

# Choosing.

assert_type(jaxinit.he_normal(key, (784, 256), jnp.bfloat16), jax.Array)
assert_type(jaxinit.recommend("relu", mode="fan_avg"), jaxinit.Recommendation)
assert_type(jaxinit.for_activation(jax.nn.gelu), jaxinit.Initializer)
initializers.variance_scaling(2.0, "fan_in", "truncated_normal")(key, (3, 4))

jaxinit.he_normal(key)  # pyright: ignore[reportCallIssue]
jaxinit.he_normal(key, (3, 4), layout="dense")  # pyright: ignore[reportArgumentType]
jaxinit.he_norm(key, (3, 4))  # pyright: ignore[reportAttributeAccessIssue]
jaxinit.recommend("relu", mode="fan_average")  # pyright: ignore[reportArgumentType]
jaxinit.recommend("relu", "gaussian")  # pyright: ignore[reportArgumentType]
initializers.variance_scaling(2.0, "fan_inn", "normal")  # pyright: ignore[reportArgumentType]
initializers.he_normal(dtpye="float32")  # pyright: ignore[reportCallIssue]


# Layers of Linen; what is Flax's own keeps its type.


class Classifier(linen.Module):
    width: int = 256

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = linen.Dense(self.width, activation="relu", mode="fan_avg")(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        x = linen.Dropout(0.1, deterministic=not train)(linen.relu(x))
        return linen.Dense(10, kernel_init=jaxinit.glorot_uniform, defaults="keras")(x)


assert_type(linen.BatchNorm, type[flax.linen.BatchNorm])
assert_type(linen.Module, type[flax.linen.Module])
linen.tabulate(Classifier(), key)
linen.Dense(10, kernel_init="he_normal", bias_init=None)
linen.MultiHeadAttention(8, kernel_init="he_normal", bias_init="zeros")
linen.Einsum((784, 8, 64), "bi,ihd->bhd", layout=layouts.general_dense(1, 2))
linen.OptimizedLSTMCell(64, forget_bias=1.0, recurrent_kernel_init=initializers.orthogonal())
linen.MultiHeadAttention(8, qkv_features=64, activation=linen.gelu)

linen.Dense(10, mode="fan_average")  # pyright: ignore[reportArgumentType]
linen.Dense(10, defaults="tensorflow")  # pyright: ignore[reportArgumentType]
linen.Dense(10, activatoin="relu")  # pyright: ignore[reportCallIssue]
linen.Dense()  # pyright: ignore[reportCallIssue]
linen.Dense(10, kernel_init=3)  # pyright: ignore[reportArgumentType]
linen.Embed(10, 4, kernel_init=jaxinit.normal)  # pyright: ignore[reportCallIssue]
linen.Desne(10)  # pyright: ignore[reportAttributeAccessIssue]
linen.reul(x)  # pyright: ignore[reportAttributeAccessIssue]


# Layers of NNX.


class Mlp(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(784, width, activation="gelu", use_bias=False, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.down = nnx.Linear(width, 10, kernel_init=initializers.zeros, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(self.norm(self.up(x)))


assert_type(nnx.Module, type[flax.nnx.Module])
assert_type(nnx.LayerNorm, type[flax.nnx.LayerNorm])
assert_type(rngs, flax.nnx.Rngs)
nnx.Conv(3, 64, (3, 3), strides=2, padding="SAME", activation="relu", mode="fan_out", rngs=rngs)
nnx.OptimizedLSTMCell(64, 128, forget_bias=1.0, rngs=rngs)
nnx.Linear(784, 10, kernel_init="he_normal", bias_init="zeros", rngs=rngs)
nnx.Embed(10, 4, embedding_init="lecun_normal", rngs=rngs)
nnx.LSTMCell(4, 4, kernel_init="he_normal", recurrent_kernel_init="orthogonal", rngs=rngs)
nnx.Einsum("bti,ihd->bthd", (784, 8, 64), (8, 64), param_dtype=jnp.bfloat16, rngs=rngs)

nnx.Linear(784, 10, kernel_init=3, rngs=rngs)  # pyright: ignore[reportArgumentType]
nnx.Linear(784, 10)  # pyright: ignore[reportCallIssue]
nnx.Linear(784, 10, activatoin="relu", rngs=rngs)  # pyright: ignore[reportCallIssue]
nnx.Linear(784, 10, mode="fan_average", rngs=rngs)  # pyright: ignore[reportArgumentType]
nnx.Linear(784, 10, defaults="tensorflow", rngs=rngs)  # pyright: ignore[reportArgumentType]
nnx.GRUCell(64, 128, forget_bias=1.0, rngs=rngs)  # pyright: ignore[reportCallIssue]
nnx.Linaer(784, 10, rngs=rngs)  # pyright: ignore[reportAttributeAccessIssue]

# Making and checking.

plan = jaxinit.plan(Classifier().init, key, x)
assert_type(plan, jaxinit.Plan)
plan.save("checkpoint", format="safetensors")
params = jaxinit.materialize(Classifier(), key, x)
draw = jaxinit.autoinit
draw(key, Classifier().apply, params, x, rule="critical")
assert_type(jaxinit.audit(params), jaxinit.Report)

plan.save("checkpoint", format="safetensor")  # pyright: ignore[reportArgumentType]
plan.materialise()  # pyright: ignore[reportAttributeAccessIssue]
draw(key, Classifier().apply, params, x, rule="crit")  # pyright: ignore[reportArgumentType]

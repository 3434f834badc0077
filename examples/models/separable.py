"""A depthwise-separable CNN (Howard et al. 2017, MobileNets), in plain flax.linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Separable(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x):
        depth = x.shape[-1]
        x = nn.Conv(depth, (3, 3), self.strides, feature_group_count=depth, name="depthwise")(x)
        x = nn.relu(x)
        return nn.relu(nn.Conv(self.features, (1, 1), name="pointwise")(x))


class Model(nn.Module):
    """Widths by stage; the first block of a stage halves the image."""

    widths: tuple[int, ...] = (64, 128, 256)
    blocks: int = 2
    classes: int = 10

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Conv(32, (3, 3), name="stem")(images))
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                x = Separable(width, 1 + (block == 0), name=f"stage_{stage}_{block}")(x)
        return nn.Dense(self.classes, name="head")(x.mean((1, 2)))


def inputs(key):
    """Independent pixels of variance 1."""
    return jax.random.normal(key, (8, 64, 64, 3), jnp.float32)

"""A U-Net with transposed convolutions (Ronneberger et al. 2015), in plain flax.linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Model(nn.Module):
    """Down by strided convolutions, up by transposed ones, joined at each size."""

    widths: tuple[int, ...] = (32, 64, 128)
    classes: int = 2

    @nn.compact
    def __call__(self, images):
        x, kept = images, []
        for i, width in enumerate(self.widths):
            x = nn.relu(nn.Conv(width, (3, 3), name=f"enter_{i}")(x))
            kept.append(x)
            x = nn.relu(nn.Conv(width, (4, 4), strides=2, name=f"down_{i}")(x))
        for i, width in reversed(list(enumerate(self.widths))):
            x = nn.relu(nn.ConvTranspose(width, (4, 4), strides=(2, 2), name=f"up_{i}")(x))
            x = jnp.concatenate([x, kept[i]], axis=-1)
            x = nn.relu(nn.Conv(width, (3, 3), name=f"leave_{i}")(x))
        return nn.Conv(self.classes, (1, 1), name="classes")(x)


def inputs(key):
    """Independent pixels of variance 1."""
    return jax.random.normal(key, (4, 64, 64, 1), jnp.float32)

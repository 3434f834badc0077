"""An LSTM language model (Zaremba et al. 2014), in plain flax.linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Model(nn.Module):
    """Two layers; logits for the next token."""

    vocabulary: int = 1000
    width: int = 256
    layers: int = 2

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(self.vocabulary, self.width, name="embed")(tokens)
        for layer in range(self.layers):
            cell = nn.OptimizedLSTMCell(self.width, name=f"cell_{layer}")
            x = nn.RNN(cell, name=f"layer_{layer}")(x)
        return nn.Dense(self.vocabulary, name="logits")(x)


def inputs(key):
    """Tokens."""
    return jax.random.randint(key, (4, 32), 0, 1000, jnp.int32)

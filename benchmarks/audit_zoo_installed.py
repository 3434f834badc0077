"""Models of transformers, diffusers and brax, where a version of these with Flax is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))
TOKENS = jax.random.randint(jax.random.key(2), (4, 16), 0, 200)

Made = tuple[Callable[..., Any], Any, tuple[Any, ...]]


class Model(NamedTuple):
    """A model's name, whether it was kept apart, and what makes (apply_fn, params, inputs)."""

    name: str
    held_out: bool
    make: Callable[[], Made]


def installed() -> Iterator[Model]:
    """The models of those libraries that are installed, in small configurations."""
    for library, models in (
        ("transformers", _hugging_face),
        ("diffusers", _diffusers),
        ("brax", _brax),
    ):
        if importlib.util.find_spec(library) is not None:
            yield from models()


def _diffusers() -> Iterator[Model]:
    def unet() -> Made:
        from diffusers import FlaxUNet2DConditionModel  # type: ignore[import-not-found]

        model = FlaxUNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), layers_per_block=1,
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
            cross_attention_dim=32,
        )  # fmt: skip
        noise = jax.random.normal(KEY, (2, 4, 16, 16))
        text = jax.random.normal(KEY, (2, 7, 32))
        apply = lambda p, x, t, c: model.apply({"params": p}, x, t, c).sample  # noqa: E731
        return apply, model.init_weights(KEY), (noise, jnp.array([3, 500]), text)

    def autoencoder() -> Made:
        from diffusers import FlaxAutoencoderKL  # type: ignore[import-not-found]

        model = FlaxAutoencoderKL(
            in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4, sample_size=16,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        apply = lambda p, x: model.apply({"params": p}, x).sample  # noqa: E731
        return apply, model.init_weights(KEY), (IMAGES.transpose(0, 3, 1, 2),)

    yield Model("diffusers UNet", True, unet)
    yield Model("diffusers autoencoder", True, autoencoder)


def _brax() -> Iterator[Model]:
    def policy() -> Made:
        from brax.training import networks  # type: ignore[import-not-found]

        made = networks.make_policy_network(8, 24, hidden_layer_sizes=(64, 64, 64))
        x = jax.random.normal(KEY, (32, 24))
        return lambda p, x: made.apply(None, p, x), made.init(KEY), (x,)

    yield Model("brax policy", True, policy)


def _transformers(name: str, options: dict[str, Any], inputs: dict[str, Any]) -> Made:
    import transformers  # type: ignore[import-not-found]

    if name == "T5":
        _clip_as_before()
    config = getattr(transformers, f"{name}Config")(**options)
    model = getattr(transformers, f"Flax{name}Model")(config, seed=0)
    names = tuple(inputs)

    def apply(params: Any, *xs: Any) -> Any:
        told = {"params": params} | ({} if name == "OPT" else {"train": False})
        return jax.tree.leaves(model(**dict(zip(names, xs, strict=True)), **told).to_tuple())

    return apply, model.params, tuple(inputs.values())


def _clip_as_before() -> None:
    """Let T5, which calls ``jnp.clip(x, a_max=n)``, run with a JAX that renamed that argument."""
    from transformers.models.t5 import modeling_flax_t5  # type: ignore[import-not-found]

    def clip(x: Any, a_max: Any) -> Any:
        return jnp.minimum(x, a_max)

    modeling_flax_t5.jnp = SimpleNamespace(**{**vars(jnp), "clip": clip})


_BERT = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128,
    "vocab_size": 200, "max_position_embeddings": 32,
}  # fmt: skip
_SEQ = {
    "d_model": 64, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
    "vocab_size": 200, "max_position_embeddings": 32, "pad_token_id": 1,
    "decoder_start_token_id": 2, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
_LLAMA = {
    **_BERT, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0,
}  # fmt: skip
_PIXELS = {"image_size": 32, "patch_size": 8, "num_channels": 3}


def _hugging_face() -> Iterator[Model]:
    ids = {"input_ids": np.asarray(TOKENS)}
    both = {**ids, "decoder_input_ids": np.asarray(TOKENS)}
    image = {"pixel_values": np.asarray(jax.random.normal(KEY, (2, 3, 32, 32)))}
    wave = {"input_features": np.asarray(jax.random.normal(KEY, (2, 16, 64)))}
    t5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4,
          "vocab_size": 200, "decoder_start_token_id": 0}  # fmt: skip
    stages = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2],
              "layer_type": "basic"}  # fmt: skip
    gpt = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 200, "n_positions": 32,
           "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
    neo = {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 200,
           "max_position_embeddings": 32, "attention_types": [[["global", "local"], 1]],
           "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
    opt = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 128,
           "vocab_size": 200, "max_position_embeddings": 32, "word_embed_proj_dim": 64}  # fmt: skip
    xglm = {"d_model": 64, "num_layers": 3, "attention_heads": 4, "ffn_dim": 128,
            "vocab_size": 200, "max_position_embeddings": 32}  # fmt: skip
    whisper = {**_SEQ, "num_mel_bins": 16, "max_source_positions": 32,
               "max_target_positions": 32, "suppress_tokens": [],
               "begin_suppress_tokens": []}  # fmt: skip
    audio = {**wave, "decoder_input_ids": np.asarray(TOKENS)[:2]}
    regnet = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2],
              "groups_width": 8, "layer_type": "y"}  # fmt: skip
    distil = {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128, "vocab_size": 200,
              "max_position_embeddings": 32, "sinusoidal_pos_embds": True}  # fmt: skip
    electra = {**_BERT, "embedding_size": 32}
    for name, held_out, options, inputs in (
        ("Bert", False, _BERT, ids),
        ("T5", False, t5, both),
        ("ViT", False, {**_BERT, **_PIXELS}, image),
        ("ResNet", False, stages, image),
        ("GPTNeo", False, neo, ids),
        ("GPT2", True, gpt, ids),
        ("Whisper", True, whisper, audio),
        ("Bart", True, _SEQ, both),
        ("Marian", True, _SEQ, both),
        ("Blenderbot", True, _SEQ, both),
        ("Pegasus", True, _SEQ, both),
        ("OPT", True, opt, ids),
        ("XGLM", True, xglm, ids),
        ("Roberta", True, _BERT, ids),
        ("RoFormer", False, _BERT, ids),
        ("Electra", True, electra, ids),
        ("Albert", True, electra, ids),
        ("DistilBert", True, distil, ids),
        ("Llama", True, _LLAMA, ids),
        ("Gemma", True, _LLAMA, ids),
        ("Mistral", True, _LLAMA, ids),
        ("RegNet", False, regnet, image),
        ("Beit", True, {**_BERT, **_PIXELS}, image),
        ("Dinov2", True, {**_BERT, **_PIXELS}, image),
    ):
        yield Model(
            f"transformers {name}",
            held_out,
            lambda n=name, o=options, i=inputs: _transformers(n, o, i),
        )

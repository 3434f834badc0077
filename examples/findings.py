"""What jaxinit finds in models that people publish: each fault, what it does, and the mend.

    python examples/findings.py                            # the table of docs/findings.md
    python examples/findings.py --figure docs/findings.png    # and its picture

Each case is a small model of an architecture in which the fault was found, drawn as it was
published and again as it was meant. Measured are the standard deviation of what the layers behind
the fault make, and the norm of the gradient at the first kernel.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxinit

KEY = jax.random.key(0)
Init = Callable[..., Any]
LECUN = nn.initializers.lecun_normal()


class Attention(nn.Module):
    """Kernels of shape (features, heads, head size), applied by einsum; no normalization."""

    drawn: Init
    heads: int = 4
    size: int = 16
    divided: bool = True

    @nn.compact
    def __call__(self, x):
        shape = (x.shape[-1], self.heads, self.size)
        q, k, v = (
            jnp.einsum("btf,fhd->bthd", x, self.param(name, self.drawn, shape))
            for name in ("query", "key", "value")
        )
        scale = self.size**-0.5 if self.divided else 1.0
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * scale)
        self.sow("intermediates", "largest", weights.max(-1).mean())
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        return nn.DenseGeneral(x.shape[-1], axis=(-2, -1), kernel_init=LECUN, name="out")(mixed)


class BlockGates(nn.Module):
    """A linear recurrence whose gates have a kernel for each block of features."""

    drawn: Init
    blocks: int = 4

    @nn.compact
    def __call__(self, x):
        size = x.shape[-1] // self.blocks
        kernel = self.param("gate", self.drawn, (self.blocks, size, size))
        parts = x.reshape(*x.shape[:-1], self.blocks, size)
        gate = jnp.einsum("bthi,hij->bthj", parts, kernel).reshape(x.shape)
        return nn.Dense(x.shape[-1], name="out")(x * jax.nn.sigmoid(gate)) + gate


class Upsample(nn.Module):
    """Two transposed convolutions of stride 2."""

    drawn: Init

    @nn.compact
    def __call__(self, x):
        for width in (32, 16):
            x = nn.ConvTranspose(width, (4, 4), (2, 2), kernel_init=self.drawn)(x)
        return x


class Blocks(nn.Module):
    """Residual blocks, whose kernels are drawn from the keys that ``split`` gives."""

    split: bool
    depth: int = 8

    @nn.compact
    def __call__(self, x):
        for i in range(self.depth):
            drawn = _from_key(jax.random.fold_in(KEY, i if self.split else 0))
            x = x + nn.relu(nn.Dense(x.shape[-1], kernel_init=drawn, use_bias=False)(x)) / 2
        return x


def _from_key(key: Any) -> Init:
    """An initializer that draws from this key, whatever key it is given."""
    return lambda _, shape, dtype=jnp.float32: LECUN(key, shape, dtype)


class Wide(nn.Module):
    """A kernel in bfloat16 over many inputs that are positive, as behind a relu."""

    drawn: Init

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(64, kernel_init=self.drawn, param_dtype=jnp.bfloat16, use_bias=False)(x)
        return nn.relu(x.astype(jnp.float32))


class Case(NamedTuple):
    """A fault: where it is found, the model with and without it, and its input."""

    kind: str
    where: str
    published: nn.Module
    mended: nn.Module
    x: Any


def cases(width: int = 64, places: int = 16) -> list[Case]:
    """The faults, in models of this width."""
    sequence = jax.random.normal(KEY, (8, places, width))
    image = jax.random.normal(KEY, (4, 8, 8, width))
    positive = jax.nn.relu(jax.random.normal(KEY, (32, 64 * width)))
    heads = jaxinit.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
    blocks = jaxinit.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
    transposed = jaxinit.initializers.lecun_normal(layout=_transposed())
    relu = nn.initializers.he_normal(), jaxinit.initializers.he_normal()
    return [
        Case("wrong_fan", "attention, kernels (features, heads, size)", Attention(LECUN),
             Attention(heads), sequence),
        Case("wrong_fan", "recurrent gates in blocks", BlockGates(LECUN), BlockGates(blocks),
             sequence),
        Case("wrong_fan", "transposed convolutions of stride 2", Upsample(LECUN),
             Upsample(transposed), image),
        Case("reused_key", "residual blocks from one key", Blocks(False), Blocks(True), sequence),
        Case("coarse", "a kernel drawn in bfloat16", Wide(relu[0]), Wide(relu[1]), positive),
        Case("undivided_logits", "attention without 1/sqrt(d)",
             Attention(heads, size=64, divided=False), Attention(heads, size=64), sequence),
    ]  # fmt: skip


def _transposed() -> Any:
    return jaxinit.Layout(in_axis=(2,), out_axis=(3,), batch_axis=(), in_stride=4)


class Measured(NamedTuple):
    """What a model makes of its input.

    Attributes:
      std: the standard deviation of its output.
      gradient: the norm of the gradient at its first kernel, of a random combination of outputs.
      told: what audit tells of its parameters, without notes.
      largest: the mean of the largest weight of attention's softmaxes; NaN of other models.
      zeros: the share of outputs that are zero.
    """

    std: float
    gradient: float
    told: tuple[str, ...]
    largest: float
    zeros: float


def measured(model: nn.Module, x: Any) -> Measured:
    """A model drawn, run there and back, and audited."""
    params = {"params": model.init(jax.random.key(1), x)["params"]}
    y, state = model.apply(params, x, mutable=["intermediates"])
    direction = jax.random.normal(jax.random.key(2), y.shape) / np.sqrt(len(x))
    gradient = jax.grad(lambda p: jnp.vdot(direction, model.apply(p, x)))(params)
    first = np.asarray(jax.tree.leaves(gradient)[0], np.float32)
    report = jaxinit.audit(params, model.apply, x)
    told = tuple(str(f) for f in report.findings if f.severity != "note")
    largest = jax.tree.leaves(state)
    return Measured(
        std=float(jnp.std(y)),
        gradient=float(np.linalg.norm(first)),
        told=told,
        largest=float(np.mean(largest)) if largest else float("nan"),
        zeros=float(jnp.mean(y == 0)),
    )


def figure(found: list[tuple[Case, Measured, Measured]], path: str) -> None:
    """Output and gradient as published, over what they are when mended."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    places = np.arange(len(found))[::-1]
    for name, shift, colour in (("std", 0.17, "#0072B2"), ("gradient", -0.17, "#E69F00")):
        ratios = [getattr(a, name) / getattr(b, name) for _, a, b in found]
        label = {"std": "standard deviation of the output", "gradient": "gradient's norm"}[name]
        axis.barh(places + shift, ratios, 0.32, color=colour, label=label, left=0)
        for place, ratio in zip(places, ratios, strict=True):
            axis.text(ratio, place + shift, f" {ratio:.2g}", va="center", fontsize=8)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_yticks(places, [f"{case.where}\n({case.kind})" for case, _, _ in found], fontsize=8)
    axis.set_xlabel("as published, over the same as meant (1: no difference)")
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)


def main() -> None:
    """Measure every case, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", help="where to draw the picture")
    chosen = parser.parse_args()
    found = [(c, measured(c.published, c.x), measured(c.mended, c.x)) for c in cases()]
    headings = ("finding", "where", "std", "mended", "gradient", "mended", "also")
    table = Table(*headings)
    for case, before, after in found:
        also = ""
        if np.isfinite(before.largest):
            also = f"largest weight {before.largest:.2f}, {after.largest:.2f}"
        elif before.zeros > 0.01:
            also = f"zeros {before.zeros:.0%}, {after.zeros:.0%}"
        numbers = (before.std, after.std, before.gradient, after.gradient)
        table.add_row(case.kind, case.where, *(f"{x:.3g}" for x in numbers), also)
    Console(width=130).print(table)
    for case, before, after in found:
        print(f"\n{case.where}\n  published: {'; '.join(before.told) or 'nothing'}")
        print(f"  mended: {'; '.join(after.told) or 'nothing'}")
    if chosen.figure:
        figure(found, chosen.figure)


if __name__ == "__main__":
    main()

"""What is wrong with one array, whatever model it belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from .findings import Finding
from .subject import Subject


def of_values(s: Subject) -> Iterator[Finding]:
    """Findings about the values themselves; the first that holds explains the others."""
    x = s.found
    if x.bad:
        yield Finding(
            "error",
            "not_finite",
            s.path,
            f"{x.bad:,} of {x.size:,} values are NaN or infinite",
            "draw it again; jaxinit.initializers refuse to overflow a dtype, and a run that "
            "diverged is to be resumed from an earlier step",
        )
        return
    if x.is_constant:
        yield from _one_number(s)
        return
    if x.repeats:
        yield Finding(
            "error",
            "reused_key",
            s.path,
            f"{x.repeats} equal or strongly correlated",
            "give each its own key, as nn.scan and nn.vmap do with split_rngs={'params': True}, "
            "or jax.random.split",
        )
        return
    if not s.is_kernel:
        return
    if x.is_scattered:
        yield Finding(
            "warning",
            "mostly_zero",
            s.path,
            f"{x.zeros:.0%} of its values are zero, scattered at random",
            "draw it again in float32: small values round to zero in a narrow dtype, as float8",
            f"{round(x.zeros * x.size):,} zeros among {x.size:,} values",
        )
    elif x.rank is not None:
        sides = f"{x.size // x.shape[-1]} x {x.shape[-1]}"
        yield Finding(
            "warning",
            "low_rank",
            s.path,
            f"its rank is {x.rank} as a matrix of {sides}: most directions of its input are lost",
            "draw it at random, as jaxinit.he_normal does, or jaxinit.orthogonal",
            f"{x.rank} singular values hold 99 % of the sum of all squares; numpy.linalg.svd",
        )
    elif x.uneven:
        yield Finding(
            "warning",
            "wrong_std",
            s.path,
            f"the kernels stacked in it differ: {x.uneven}",
            "draw them alike: jax.vmap of one initializer over split keys",
        )
    elif x.is_coarse:
        yield Finding(
            "warning",
            "coarse",
            s.path,
            "far fewer distinct values than a draw in its dtype has, as of 7 random bits",
            "draw in float32 and round once, as jaxinit's initializers do",
            f"{x.distinct:,} distinct among the first {x.counted:,}; a draw rounded to {x.dtype} "
            f"has about {x.rounded:,}",
        )
    elif s.is_shifted:
        yield Finding(
            "warning",
            "shifted",
            s.path,
            f"its mean is {x.mean:.3g} beside a standard deviation of {x.std:.3g}",
            "centre it with initializers.he_uniform(), or shifted(uniform(2 * scale), -scale): "
            "jax.nn.initializers.uniform(scale) is on [0, scale)"
            if x.low >= 0
            else "centre it: draw from a distribution of mean 0",
            f"chance moves the mean of {x.size:,} values by {x.std * x.size**-0.5:.2g}",
        )


def _one_number(s: Subject) -> Iterator[Finding]:
    x = s.found
    if s.role == "variance" and x.low <= 0:
        yield Finding(
            "error",
            "zero",
            s.path,
            "a running variance that is not positive",
            "start it from jaxinit.ones",
        )
    elif s.is_kernel and x.high != 0:
        yield Finding(
            "error",
            "constant",
            s.path,
            f"every value is {x.high:.4g}: its units are the same, and stay the same",
            "draw it at random, as jaxinit.he_normal does",
        )

"""Initializes all parameters of a model from what its computation does with each of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from .._choose.mean_field import check_variance
from .._infer.advice import RULES, Advice, Init, Rule
from .._infer.advise import Wanted, advise
from .._infer.infer import Reading, read
from .._make.tree_init import tree_init
from .._program.models import HasApply
from .._program.trees import arrays, has_shape
from .._random.stream import check_key
from .._schemes.checks import check_choice
from .._schemes.variance import DISTRIBUTIONS, MODES, DistributionName, Mode
from .findings import Finding
from .propagate import measured
from .signal import has_values

Tree = Any
# Findings of propagate that say that signal or gradient leave the range in which training starts.
_TOLD = ("not_finite", "explodes", "vanishes", "gradient_explodes", "gradient_vanishes")


class Autoinit:
    """``jaxinit.autoinit``: parameters for any model, initialised from its computation.

    Calling it draws the tree; ``explain``, with the same arguments but the key, says what would be
    drawn and why, and draws nothing.
    """

    def __call__(
        self,
        key: jax.Array,
        apply_fn: Callable[..., Any] | HasApply,
        shapes: Tree,
        *inputs: Any,
        rule: Rule = "standard",
        distribution: DistributionName = "truncated_normal",
        q: float = 1.0,
        mode: Mode | None = None,
        default: Init | None = None,
        check: bool = True,
        **kwargs: Any,
    ) -> Tree:
        """Parameters for ``apply_fn(params, *inputs, **kwargs)``, each by what it is for.

        There are three rules for kernels, which have variance sigma_w^2/fan_in:

        - ``"standard"``: what ``recommend`` advises for the activation that the kernel feeds, or
          for the gated unit that it is in, with the fans that ``infer`` found. A kernel that ends a
          residual branch is divided by the square root of the number of branches. One that maps a
          recurrent state to itself is orthogonal, gate by gate. Embeddings have standard deviation
          1/sqrt(features).
        - ``"forward"``: every pre-activation has variance q, because sigma_w^2 E[s^2] = q. Here s
          is what the kernel takes: phi(sqrt(q) z) where that is the activated output of another
          kernel; of sums, products and signals side by side, such as a residual stream, the second
          moment follows from their parts; else it is taken to be 1. Biases are zero.
        - ``"critical"``: the edge of chaos. sigma_w^2 = 1/E[phi'(sqrt(q) z)^2], phi the activation
          whose output the kernel takes, so gradients keep their size; and biases have variance
          q - sigma_w^2 E[phi(sqrt(q) z)^2], so the variance stays q. Where there is no bias, or no
          such point, this is ``"forward"``, and the reason says so.

        With every rule the biases of normalizations, lora_b and running means are zero, and scales
        and running variances one. Kernels of queries and keys whose logits are not divided by
        sqrt(d) are made smaller.

        What is not understood (the roles unknown, time scale and log scale) keeps the model's own
        init: the values in ``shapes``, or what ``default`` draws. Where ``shapes`` holds values,
        these are kept too: scales that are not one, biases and lora_b that are not zero, and state
        outside Flax's collection "params". Biases that are small and different, within
        1/sqrt(fan_in), as PyTorch draws them for every layer, are not.

        Where the inputs have values, the result is checked by ``propagate``, and a warning says
        where the signal or its gradient explodes or vanishes.

        Args:
          key: one JAX random key; a leaf's own is folded from its path, as ``tree_init`` does.
          apply_fn: the forward pass, as ``infer`` takes it.
          shapes: its parameters, as ShapeDtypeStructs or as arrays. Values are used only where they
            are kept; without them, everything is drawn anew. What has a sharding is drawn with it.
          *inputs, **kwargs: its other arguments: arrays, ShapeDtypeStructs, or static values.
          rule: "standard", "forward" or "critical".
          distribution: "truncated_normal", "normal" or "uniform", of kernels but orthogonal ones.
          q: the variance of pre-activations, for "forward" and "critical".
          mode: the fan to divide by, "fan_in", "fan_out", "fan_avg" or "fan_geo_avg", instead of
            the rule's, which is fan_in, or fan_avg where ``recommend`` says so. ``explain`` says
            what it costs where the two fans of a kernel differ more than eightfold.
          default: the initializer of parameters that are not understood.
          check: whether to run the model once, forward and backward, to check the result.

        Returns:
          A tree like ``shapes``, of arrays.

        Raises:
          ValueError: an unknown rule, distribution or mode; q that is not positive; parameters that
            are not understood, all listed, when they have no values and there is no ``default``.
          TypeError: ``apply_fn`` is no function; a key that is no key; q that is no number.

        Example:
          >>> import flax.linen as nn, jax, jax.numpy as jnp, jaxinit
          >>> model = nn.Sequential([nn.Dense(512), nn.relu, nn.Dense(10)])
          >>> key, x = jax.random.key(0), jnp.ones((1, 784))
          >>> shapes = jax.eval_shape(model.init, key, x)
          >>> params = jaxinit.autoinit(key, model.apply, shapes, x)
          >>> f"{params['params']['layers_0']['kernel'].std() * (784 / 2)**0.5:.2f}"
          '1.00'
          >>> jaxinit.autoinit.explain(model.apply, shapes, x)["params/layers_0/kernel"].initializer
          he_normal()

        Source: He et al. 2015; Poole et al. 2016, eq. 3; Schoenholz et al. 2017, eq. 5; Radford
        et al. 2019 for residual branches; Saxe et al. 2014 for recurrent kernels; Hu et al. 2021
        for adapters.
        """
        check_key("autoinit", key)
        wanted = _checked(rule, distribution, q, mode)
        reading = read("autoinit", apply_fn, shapes, inputs, kwargs)
        own = _own(shapes)
        made = _made(key, shapes, own, advise(reading.inferred, wanted, own), default)
        for finding in _concerns(reading, made) if check else ():
            warnings.warn(_warning(finding), stacklevel=2)
        return made

    def explain(
        self,
        apply_fn: Callable[..., Any] | HasApply,
        shapes: Tree,
        *inputs: Any,
        rule: Rule = "standard",
        distribution: DistributionName = "truncated_normal",
        q: float = 1.0,
        mode: Mode | None = None,
        **kwargs: Any,
    ) -> Advice:
        """What ``autoinit`` would draw for each parameter, and why; ``print`` it for a table."""
        wanted = _checked(rule, distribution, q, mode)
        inferred = read("autoinit", apply_fn, shapes, inputs, kwargs).inferred
        return advise(inferred, wanted, _own(shapes))


autoinit = Autoinit()


def _checked(rule: Rule, distribution: DistributionName, q: float, mode: Mode | None) -> Wanted:
    """The options, once they are known to be right."""
    options: tuple[tuple[str, Any, Collection[str]], ...] = (
        ("rule", rule, RULES),
        ("distribution", distribution, DISTRIBUTIONS),
        ("mode", mode, MODES),
    )
    for option, value, known in options:
        if not (option == "mode" and value is None):
            check_choice("autoinit", option, value, known)
    return Wanted(rule, distribution, check_variance("autoinit", q), mode)


def _concerns(reading: Reading, made: Tree) -> list[Finding]:
    """What the forward pass and its gradient say of the parameters; nothing without values."""
    given = list(reading.arguments)
    for place, (_, x) in zip(reading.mine, arrays(made), strict=True):
        given[place] = x
    filled = reading._replace(arguments=tuple(given))
    if not has_values(filled) or any(isinstance(x, jax.core.Tracer) for x in given):
        return []
    try:
        report = measured(filled)
    except TypeError:  # the model returns no floats
        return []
    return [finding for finding in report.findings if finding.kind in _TOLD]


def _warning(finding: Finding) -> str:
    return (
        f"autoinit: {finding.kind} at {finding.path}: {finding.message}. Look at it with "
        f"jaxinit.propagate; try rule='forward', jaxinit.calibrate on a batch, or default= for "
        f"parameters that are not understood."
    )


def _own(shapes: Tree) -> dict[str, Any]:
    """The arrays of a tree that have values, by path."""
    return {path: x for path, x in arrays(shapes) if isinstance(x, jax.Array | np.ndarray)}


def _made(
    key: jax.Array, shapes: Tree, own: Mapping[str, Any], advice: Advice, default: Init | None
) -> Tree:
    """The tree; arrays that do not hold floats, and what is not an array, stay as they are."""
    kept = {path: x for path, x in own.items() if _keeps(advice, path, default)}
    lost = [
        path
        for path, choice in advice.items()
        if choice.initializer is None and default is None and path not in kept
    ]
    if lost:
        told = ", ".join(f"{path} ({advice.inferred[path].role})" for path in lost)
        raise ValueError(
            f"autoinit: not understood: {told}; give params with the values of the model's own "
            f"init, which these keep, or default=, an initializer for them, as "
            f"default=jaxinit.zeros. print(autoinit.explain(...)) says what was found."
        )

    def rule(path: str, struct: Any) -> Init | None:
        return advice[path].initializer or default

    paths = iter([path for path, _ in arrays(shapes)])
    old = jax.tree.map(lambda x: kept.get(next(paths)) if has_shape(x) else None, shapes)
    structs = jax.tree.map(lambda x: _placed(x) if has_shape(x) else None, shapes)
    filled = iter(jax.tree.leaves(tree_init(key, structs, rule, only_missing=old)))
    return jax.tree.map(lambda x: jnp.asarray(next(filled)) if has_shape(x) else x, shapes)


def _keeps(advice: Advice, path: str, default: Init | None) -> bool:
    """Whether the value that was given is kept: it is no float, is not understood, or advised."""
    is_state = advice.inferred[path].role == "state"
    choice = advice[path]
    return is_state or choice.kept or (choice.initializer is None and default is None)


def _placed(x: Any) -> Any:
    """An array's shape, dtype and sharding, if its elements lie on several devices; else itself."""
    if isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array) or len(x.devices()) == 1:
        return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

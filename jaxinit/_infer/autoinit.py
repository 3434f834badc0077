"""Initializes all parameters of a model from what its computation does with each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from .. import initializers
from .._choose.activations import Activation, resolve
from .._choose.mean_field import moments
from .._choose.recommend import Recommendation, recommend
from .._make.tree_init import tree_init
from .._program.trees import arrays, has_shape
from .._random.stream import check_key
from .._schemes.base import Initializer
from .._schemes.fans import Fans
from .._schemes.variance import DISTRIBUTIONS, DistributionName, VarianceScaling
from .advice import RULES, Advice, Choice, Init, Rule
from .infer import Inferred, read
from .parameter import Parameter

Tree = Any
_TABLE_STDDEV = 0.02  # of tables of positions and of tokens


class Autoinit:
    """``jaxinit.autoinit``: parameters for any model, initialised from its computation.

    Calling it draws the tree; ``explain``, with the same arguments but the key, says what would be
    drawn and why, and draws nothing.
    """

    def __call__(
        self,
        key: jax.Array,
        apply_fn: Callable[..., Any],
        shapes: Tree,
        *inputs: Any,
        rule: Rule = "standard",
        distribution: DistributionName = "truncated_normal",
        q: float = 1.0,
        default: Init | None = None,
        **kwargs: Any,
    ) -> Tree:
        """Parameters for ``apply_fn(params, *inputs, **kwargs)``, each by what it is for.

        There are three rules for kernels, which have variance sigma_w^2/fan_in:

        - ``"standard"``: what ``recommend`` advises for the activation that the kernel feeds, with
          the fans that ``infer`` found. A kernel that ends a residual branch is divided by the
          square root of the number of branches. One that maps a recurrent state to itself is
          orthogonal, gate by gate. Embeddings have standard deviation 1/sqrt(features).
        - ``"forward"``: every pre-activation has variance q, because sigma_w^2 E[s^2] = q. Here s
          is what the kernel takes: phi(sqrt(q) z) where that is the activated output of another
          kernel, else a signal whose second moment is taken to be 1. Biases are zero.
        - ``"critical"``: the edge of chaos. sigma_w^2 = 1/E[phi'(sqrt(q) z)^2], phi the activation
          whose output the kernel takes, so gradients keep their size; and biases have variance
          q - sigma_w^2 E[phi(sqrt(q) z)^2], so the variance stays q. Where there is no bias, or no
          such point, this is ``"forward"``, and the reason says so.

        With every rule the biases of normalizations, lora_b and running means are zero, and scales
        and running variances one.

        Args:
          key: one JAX random key; a leaf's own is folded from its path, as ``tree_init`` does.
          apply_fn: the forward pass, as ``infer`` takes it.
          shapes: its parameters, as ShapeDtypeStructs or as arrays. Values are used only where an
            array does not hold floats.
          *inputs, **kwargs: its other arguments: arrays, ShapeDtypeStructs, or static values.
          rule: "standard", "forward" or "critical".
          distribution: "truncated_normal", "normal" or "uniform", of kernels but orthogonal ones.
          q: the variance of pre-activations, for "forward" and "critical".
          default: the initializer of parameters that are not recognised.

        Returns:
          A tree like ``shapes``, of arrays.

        Raises:
          ValueError: an unknown rule or distribution; q that is not positive; parameters that are
            not recognised, all listed, when there is no ``default``.
          TypeError: ``apply_fn`` is no function; a key that is no key.

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
        advice = _advise(apply_fn, shapes, inputs, kwargs, rule, distribution, q)
        return _made(key, shapes, advice, default)

    def explain(
        self,
        apply_fn: Callable[..., Any],
        shapes: Tree,
        *inputs: Any,
        rule: Rule = "standard",
        distribution: DistributionName = "truncated_normal",
        q: float = 1.0,
        **kwargs: Any,
    ) -> Advice:
        """What ``autoinit`` would draw for each parameter, and why; ``print`` it for a table."""
        return _advise(apply_fn, shapes, inputs, kwargs, rule, distribution, q)


autoinit = Autoinit()


def _advise(
    apply_fn: Callable[..., Any],
    shapes: Tree,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    rule: Rule,
    distribution: DistributionName,
    q: float,
) -> Advice:
    for option, value, known in (
        ("rule", rule, RULES),
        ("distribution", distribution, DISTRIBUTIONS),
    ):
        if value not in known:
            raise ValueError(
                f"autoinit: {option} must be one of {', '.join(known)}; got {value!r}."
            )
    if not (isinstance(q, int | float) and math.isfinite(q) and q > 0):
        raise ValueError(f"autoinit: q must be a variance above 0; got {q!r}.")
    found = read("autoinit", apply_fn, shapes, inputs, kwargs).inferred
    return advise(found, rule, distribution, q)


def advise(
    found: Inferred,
    rule: Rule = "standard",
    distribution: DistributionName = "truncated_normal",
    q: float = 1.0,
) -> Advice:
    """The advice of a rule for the parameters that were inferred."""
    chosen = {path: _choose(p, found, rule, distribution, q) for path, p in found.items()}
    return Advice(rule, found, chosen)


def _choose(
    p: Parameter, found: Inferred, rule: Rule, distribution: DistributionName, q: float
) -> Choice:
    if p.role in _CONSTANTS:
        init, reason, source = _CONSTANTS[p.role]
        return Choice(init, 0.0, reason, source)
    if p.role == "bias":
        return _bias(p, found, rule, q)
    if p.role in ("position", "token"):
        reason = f"a table of {p.role}s: N(0, {_TABLE_STDDEV}^2)"
        source = "Dosovitskiy et al. 2021, appendix"
        return Choice(initializers.normal(_TABLE_STDDEV), _TABLE_STDDEV, reason, source)
    if p.role == "embedding":
        stddev = 1 / math.sqrt(p.fan_in or 1)
        reason = f"rows of {p.fan_in} features and norm 1"
        return Choice(initializers.normal(stddev), stddev, reason, "Flax's Embed")
    if rule == "standard" and _keeps_state(p):
        return _recurrent(p)
    if p.role in ("kernel", "recurrent", "lora_a"):
        if rule == "standard" or p.role == "lora_a":
            return _standard(p, distribution)
        return _by_mean_field(p, found, rule, distribution, q)
    return Choice(None, None, f"{p.role}: {p.evidence}; left to the default", "")


_CONSTANTS: dict[str, tuple[Initializer, str, str]] = {
    "scale": (initializers.ones, "a factor that starts as no factor", "Ba et al. 2016"),
    "slope": (initializers.constant(0.25), "PReLU's slope below 0", "He et al. 2015, section 2.1"),
    "lora_b": (
        initializers.zeros,
        "an adapter that starts as nothing",
        "Hu et al. 2021, section 4.1",
    ),
    "mean": (initializers.zeros, "a running mean, of nothing yet", "Ioffe & Szegedy 2015"),
    "variance": (initializers.ones, "a running variance, of nothing yet", "Ioffe & Szegedy 2015"),
}


def _standard(p: Parameter, distribution: DistributionName) -> Choice:
    """The usual choice for the activation that follows, for each block by itself."""
    advised = [_recommended(function, distribution) for function in p.functions]
    branch = p.residual if p.residual and not p.residual.normalized else None
    total = branch.total if branch else 1
    schemes = [_scheme(r.initializer, total) for r in advised]
    reasons = [r.reason.partition(" Between layers")[0] for r in advised]
    reason = " | ".join(dict.fromkeys(reasons))
    if branch:
        reason += f" Ends branch {branch.index} of {total}: divided by sqrt({total})."
    return _kernel(p, schemes, reason, advised[0].source)


def _keeps_state(p: Parameter) -> bool:
    """Whether each block of a recurrent kernel maps a state to one of the same size."""
    if p.role != "recurrent" or p.residual or p.layout is None or p.fan_out is None:
        return False
    square = all(p.fan_in == p.fan_out * share for share in _blocks(p))
    return square and not p.layout.roles(p.shape).window


def _recurrent(p: Parameter) -> Choice:
    """Orthogonal, each block by itself, so that what is carried keeps its size."""
    init = initializers.orthogonal(layout=p.layout)
    if p.blocks and p.block_axis is not None:
        init = initializers.blocks(init, p.blocks, p.block_axis)
    assert p.fan_in is not None
    reason = "carried from step to step: its size is kept"
    return Choice(init, 1 / math.sqrt(p.fan_in), reason, "Saxe et al. 2014")


def _recommended(function: Activation, distribution: DistributionName) -> Recommendation:
    """The advice for a function; for one without a gain, as a constant, that for no function."""
    try:
        return recommend(function, distribution)
    except ValueError as error:
        found = recommend(None, distribution)
        return found._replace(reason=f"{found.reason} (No gain: {error})")


def _blocks(p: Parameter) -> Sequence[float]:
    """The share of the outputs that belongs to each block."""
    return [size / sum(p.blocks) for size in p.blocks] if p.blocks else [1.0]


def _scheme(init: Initializer, branches: int) -> VarianceScaling:
    """The scheme that is advised, its variance divided by the number of residual branches."""
    assert isinstance(init, VarianceScaling)
    return replace(init, scale=init.scale / branches, label=None)


def _kernel(p: Parameter, schemes: Sequence[VarianceScaling], reason: str, source: str) -> Choice:
    """The choice for a kernel, of one scheme, or of one for each of its blocks."""
    shares = _blocks(p)
    every = schemes if len(schemes) == len(shares) else list(schemes) * len(shares)
    each = [_with_fans(scheme, p, share) for scheme, share in zip(every, shares, strict=True)]
    stddevs = [scheme.stddev(p.shape) for scheme in each]
    if len(set(stddevs)) == 1:
        return Choice(each[0], stddevs[0], reason, source)
    assert p.block_axis is not None
    mean = math.sqrt(sum(s * s * share for s, share in zip(stddevs, shares, strict=True)))
    return Choice(initializers.blocks(each, p.blocks, p.block_axis), mean, reason, source)


def _with_fans(scheme: VarianceScaling, p: Parameter, share: float) -> VarianceScaling:
    """The scheme with the parameter's fans: those of its shape, of its layout, or as numbers."""
    assert p.fan_in is not None
    assert p.fan_out is not None
    fans = Fans(float(p.fan_in), float(p.fan_out * share))
    for candidate in (scheme, replace(scheme, layout=p.layout)):
        try:
            if candidate.layout is not None and candidate.layout.fans(p.shape) == fans:
                return candidate
        except ValueError:  # the shape has no such axes
            continue
    return replace(scheme, fans=fans)


def _by_mean_field(
    p: Parameter, found: Inferred, rule: Rule, distribution: DistributionName, q: float
) -> Choice:
    """The choice by the second moment of what the kernel takes."""
    weight, _, reason, source = _variances(p, found, rule, q)
    scheme = initializers.variance_scaling(weight, "fan_in", distribution)
    return _kernel(p, [_scheme(scheme, 1)], reason, source)


def _variances(
    p: Parameter, found: Inferred, rule: Rule, q: float
) -> tuple[float, float, str, str]:
    """The variances sigma_w^2 and sigma_b^2 of a kernel and its bias, the reason and the source."""
    fed = p.fed_by
    taken = [_moments(function, 1.0 if fed.normalized else q) for function in fed.functions]
    moment = math.prod(value for value, _ in taken)
    if not taken:
        reason = f"takes {fed.name or 'a signal'}, of second moment taken to be 1"
        return q, 0.0, reason, _HE
    reason = f"takes {fed.name}(sqrt({q:g}) z), of second moment {moment:.4f}"
    if rule != "critical" or len(taken) > 1 or fed.normalized:
        return q / moment, 0.0, reason, _HE
    weight = 1 / taken[0][1]
    bias = q - weight * moment
    reason += f" and slope {taken[0][1]:.4f}: sigma_w^2 = {weight:.4f}"
    if abs(bias) < 1e-6 * q:  # homogeneous: every q is kept, without biases
        return weight, 0.0, reason, _SCHOENHOLZ
    if bias > 0 and p.path in found.biased:
        return weight, bias, f"{reason}, sigma_b^2 = {bias:.4f}", _SCHOENHOLZ
    why = "without a bias" if bias > 0 else f"no edge of chaos has q = {q:g}"
    return q / moment, 0.0, f"{reason} would be critical; {why}: only q is kept", _HE


_HE = "He et al. 2015, eq. 8"
_SCHOENHOLZ = "Poole et al. 2016, eq. 3; Schoenholz et al. 2017, eq. 5"


def _moments(function: Activation, q: float) -> tuple[float, float]:
    """The two moments; a softmax or the like is taken to keep those of its input."""
    return (1.0, 1.0) if resolve("autoinit", function).function is None else moments(function, q)


def _bias(p: Parameter, found: Inferred, rule: Rule, q: float) -> Choice:
    if p.layer is None or rule != "critical":
        reason = "zero, as biases start" if p.layer else "a shift that starts as none"
        return Choice(initializers.zeros, 0.0, reason, "Glorot & Bengio 2010, section 3.1")
    _, bias, reason, source = _variances(found[p.layer], found, rule, q)
    if not bias:
        return Choice(initializers.zeros, 0.0, "zero: its kernel alone keeps q", source)
    stddev = math.sqrt(bias)
    reason = f"keeps q beside {p.layer}: sigma_b^2 = {bias:.4f}"
    return Choice(initializers.normal(stddev), stddev, reason, source)


def _made(key: jax.Array, shapes: Tree, advice: Advice, default: Init | None) -> Tree:
    """The tree; arrays that do not hold floats, and what is not an array, stay as they are."""
    kept = {
        path: x
        for path, x in arrays(shapes)
        if advice.inferred[path].role == "state" and isinstance(x, jax.Array)
    }
    lost = [
        path
        for path, choice in advice.items()
        if choice.initializer is None and default is None and path not in kept
    ]
    if lost:
        told = ", ".join(f"{path} ({advice.inferred[path].role})" for path in lost)
        raise ValueError(
            f"autoinit: not recognised: {told}; give default=, an initializer for them, as "
            f"default=jaxinit.zeros, or print(autoinit.explain(...)) for what was found."
        )

    def rules(path: str, struct: Any) -> Init | None:
        if path in kept:
            return lambda key, shape, dtype: kept[path]
        return advice[path].initializer or default

    made = tree_init(key, jax.tree.map(_shape_of, shapes, is_leaf=has_shape), rules)
    filled = iter(jax.tree.leaves(made))
    return jax.tree.map(lambda x: next(filled) if has_shape(x) else x, shapes)


def _shape_of(x: Any) -> Any:
    """The array, or None for what is not one, as an activation function in an Equinox module."""
    return x if has_shape(x) else None

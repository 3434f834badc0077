"""What the layers of ``jaxinit.linen`` and ``jaxinit.nnx`` share: which initializers they use.

A layer knows its label (its name and path, for errors), its kind (which of a framework's defaults
it takes) and the layout of its kernel. From these and what the user gave come the initializers of
its kernel and bias. Nothing here knows Flax.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from . import _functions, initializers
from ._choose.activations import Activation, resolve
from ._choose.recommend import recommend
from ._schemes import frameworks
from ._schemes.base import Init, Initializer
from ._schemes.blocks import Blocks
from ._schemes.checks import check_choice, labelled, shown
from ._schemes.fans import Layout
from ._schemes.frameworks import FRAMEWORKS, Defaults, Framework, Kind
from ._schemes.variance import Mode


class Options(NamedTuple):
    """What a user says of a layer's initialization, and what the layer knows of itself."""

    label: str
    kind: Kind
    layout: Layout
    activation: Activation = None
    mode: Mode | None = None
    defaults: Framework = "jax"

    def kernel(self, init: Init | str | None) -> Init:
        """The kernel's initializer: the one given, the activation's, or the default."""
        if init is not None and self.mode is not None:
            raise ValueError(
                f"{self.label}: mode={self.mode!r} is for the initializer that activation chooses, "
                f"and another one was given; give mode to that one, and leave it out here."
            )
        if init is None and (self.activation, self.mode) != (None, None):
            init = self._recommended()
        if init is None:
            return fit(self.label, self._defaults().kernel, self._counted())
        return fit(self.label, init, self.layout)

    def bias(self, init: Init | str | None, kernel_shape: Sequence[int]) -> Init:
        """The bias's initializer, which may have the kernel's fans."""
        given, layout = (init, self.layout) if init else (self._defaults().bias, self._counted())
        return fit(self.label, given, layout, tuple(kernel_shape))

    def _defaults(self) -> Defaults:
        check_choice(self.label, "defaults", self.defaults, FRAMEWORKS)
        return frameworks.defaults(self.defaults, self.kind)

    def _counted(self) -> Layout:
        """The layout as the framework counts it: Keras and PyTorch ignore strides and groups."""
        if self.defaults == "jax":
            return self.layout
        return replace(self.layout, groups=1, in_stride=1, out_stride=1)

    def _recommended(self) -> Initializer:
        with labelled(self.label):
            return recommend(self.activation, mode=self.mode).initializer


def sizes(value: int | Sequence[int]) -> tuple[int, ...]:
    """An int, or several, as a tuple."""
    return (value,) if isinstance(value, int) else tuple(value)


def check_groups(label: str, groups: int, inputs: int, outputs: int) -> None:
    """Raises unless the groups of a convolution divide its inputs and outputs."""
    for role, size in (("input", inputs), ("output", outputs)):
        if size % groups:
            raise ValueError(
                f"{label}: feature_group_count={groups} does not divide the {size} {role} features."
            )


def kept_dtype(carry: Any, new: Any, outputs: jax.Array) -> tuple[Any, jax.Array]:
    """The new carry in the dtype of the old one, as a scan needs it.

    A complex number does not become a real one: its imaginary part would be lost.
    """

    def kept(old: jax.Array, new: jax.Array) -> jax.Array:
        loses = jnp.iscomplexobj(new) and not jnp.iscomplexobj(old)
        return new if loses else new.astype(old.dtype)

    return jax.tree.map(kept, carry, new), outputs


def public_names(flax: ModuleType, own: Sequence[str]) -> list[str]:
    """The names that ``dir`` and completion show: Flax's public ones and our own."""
    return sorted({name for name in dir(flax) if not name.startswith("_")}.union(own))


# What our keyword arguments mean, for the docstring of each layer that takes them.
_MEANINGS = {
    "activation": """a name, a function or a module, or None. It is applied to the output, and the
      kernel is initialized for it as ``jaxinit.recommend`` says, with the layer's own fans.""",
    "mode": """"fan_in", "fan_out", "fan_avg" or "fan_geo_avg": the fan to divide the kernel's
      variance by, instead of the one that ``recommend`` takes for the activation. "fan_avg" is
      advised between consecutive ReLU layers of very different sizes. Not together with an
      initializer of the kernel, which has its own mode.""",
    "defaults": """"jax", "keras" or "torch": whose default initializers are used where none is
      given and no activation chooses one.""",
    "layout": """what each axis of the kernel is, in place of what the layer knows, as
      ``layouts.fused(3)`` for queries, keys and values in one dense layer.""",
    "forget_bias": """where the bias of the forget gate starts. By default that is 1 with
      ``defaults="keras"``, and the value of the other gates otherwise.""",
    "kernel_init": """the kernel's initializer. One of jaxinit that was given no axes and no layout
      takes the layer's own; any other function is used as it is. None leaves the choice to
      ``activation``, ``mode`` and ``defaults``.""",
    "recurrent_kernel_init": """the initializer of the kernel of the carry, likewise; by default
      orthogonal, each gate by itself.""",
    "embedding_init": """the table's initializer. One of jaxinit that was given no axes and no
      layout takes the layer's own; any other function is used as it is.""",
    "bias_init": """the bias's initializer. One of jaxinit that counts fans takes those of the
      kernel, as ``variance_scaling(1 / 3, "fan_in", "uniform")``: U(-1/sqrt(fan_in), ...).""",
    "out_kernel_init": "the output projection's ``kernel_init``, where it has another.",
    "out_bias_init": "the output projection's ``bias_init``, where it has another.",
}


def describe(layer: type, flax: type, door: str) -> None:
    """Adds to a layer's docstring what our arguments mean, and where Flax's are told.

    ``door`` is the public module of the layer.
    """
    layer.__module__ = door
    taken = inspect.signature(layer).parameters
    told = [f"  {name}: {meaning}" for name, meaning in _MEANINGS.items() if name in taken]
    module = ".".join(flax.__module__.split(".")[:2])
    others = f"  The other arguments are those of ``{module}.{flax.__name__}``."
    own = inspect.cleandoc(layer.__doc__ or "")
    layer.__doc__ = "\n".join([own, "", "Args:", *told, "", others])


def projection_layout(own: Layout, defaults: Framework, kernel_init: Init | str | None) -> Layout:
    """The layout of queries, keys and values; PyTorch's default treats them as one matrix."""
    together = defaults == "torch" and kernel_init is None
    return replace(own, out_repeat=3) if together else own


def forget_init(
    defaults: Framework | None, forget_bias: float | None, bias_init: Init | str | None
) -> Initializer | None:
    """The initializer of a forget gate's bias; None where it is that of the other gates."""
    if forget_bias is None and bias_init is None:
        forget_bias = frameworks.FORGET_BIAS.get(defaults or "jax")
    return None if forget_bias is None else initializers.constant(forget_bias)


def fit(
    label: str, init: Init | str, layout: Layout, kernel: tuple[int, ...] | None = None
) -> Init:
    """The initializer with the layer's layout, where it is one of ours and has none of its own.

    A name stands for what ``initializers.get`` makes of it. One of ours may be wrapped in a
    function that adds partitioning metadata; any other function stays as it is. ``kernel`` is the
    shape whose fans count, where the parameter is a bias.
    """
    if isinstance(init, str):
        with labelled(label):
            init = initializers.get(init)
    if not callable(init):
        raise TypeError(f"{label}: expected an initializer or its name; got {shown(init)}.")
    own = of_function(init) or init
    if isinstance(own, Initializer):
        if layout.blocks == 1 or kernel is not None or not own.takes_layout:
            return own.fitted(label, layout, kernel)
        block = own.fitted(label, layout.block)
        return Blocks(block, layout.blocks, layout.block_axis, label=block.name)
    wrapped = getattr(init, "__wrapped__", None)
    if wrapped is None:
        return init
    inner = of_function(wrapped) or wrapped
    fitted = fit(label, inner, layout, kernel)
    if fitted is inner:
        return init
    return Boxed(init, fitted, None if fitted == inner else kernel)


class Boxed(NamedTuple):
    """A fitted initializer, its value in the metadata that ``boxing`` puts around its own values.

    ``boxing`` is not fitted. Where it counts the fans of a bias's kernel, which a bias does not
    have, it is asked for a value of the shape ``kernel``, and only the metadata is taken.
    """

    boxing: Init
    init: Init
    kernel: tuple[int, ...] | None = None

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: Any = None) -> Any:
        box = self.boxing(key, self.kernel or shape, dtype)
        if isinstance(box, jax.Array):  # no metadata: the function has values of its own
            return box if self.kernel is None else self.boxing(key, shape, dtype)
        value = self.init(key, shape, dtype)
        return _replaced(box, lambda _: value)


class Reshaped(NamedTuple):
    """An initializer that is asked for another shape than the kernel's."""

    init: Init
    shape: tuple[int, ...]

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: Any = None) -> Any:
        return _replaced(self.init(key, self.shape, dtype), lambda value: value.reshape(shape))


def _replaced(box: Any, function: Callable[[Any], Any]) -> Any:
    """A function of a value, or of a value wrapped in Flax's metadata."""
    if hasattr(box, "raw_value"):  # Flax NNX
        box.raw_value = function(box.raw_value)
        return box
    return jax.tree.map(function, box)


def of_function(function: Any) -> Initializer | None:
    """The initializer that a pure function stands for: he_normal() for ``jaxinit.he_normal``.

    None for anything else, and for a function that needs options, as ``jaxinit.constant``.
    """
    return _OF_FUNCTIONS.get(function) if inspect.isfunction(function) else None


def _needs_options(function: Callable[..., Any]) -> bool:
    """Whether it needs more than a key and a shape."""
    taken = inspect.signature(function).parameters.values()
    return any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in taken)


_OF_FUNCTIONS: Mapping[Any, Any] = {
    getattr(_functions, name): initializers.get(name)
    for name in initializers.__all__
    if hasattr(_functions, name) and not _needs_options(getattr(_functions, name))
}


def instance(label: str, activation: Activation, **options: Any) -> Activation:
    """The activation; one that is the class of a module, as ``nn.PReLU``, as such a module."""
    if not isinstance(activation, type):
        return activation
    try:
        return activation(**options)
    except TypeError:
        raise TypeError(
            f"{label}: {activation.__name__} is a class that needs arguments; give an instance as "
            f"activation, or a function of one value."
        ) from None


def function_of(label: str, activation: Activation) -> Callable[[Any], Any]:
    """The activation as a function; None is the identity."""
    if callable(activation):
        return activation
    found = resolve(label, activation)
    function = found.function or getattr(jax.nn, str(activation), None)
    if function is None:
        raise ValueError(
            f"{label}: {activation!r} is no function of one array; apply it yourself, with "
            f"kernel_init=jaxinit.for_activation({activation!r}) for the layer's kernel."
        )
    return function

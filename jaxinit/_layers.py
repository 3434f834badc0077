"""What every layer shares: from its geometry and its options to the initializers it uses.

Nothing here knows Flax. A layer has a label (its name and path, for errors), a kind (which row of
the defaults it takes) and a layout; from these and what the user gave come the kernel's and the
bias's initializers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax

from . import _functions, initializers
from ._choose.activations import Activation, resolve
from ._choose.recommend import recommend
from ._random import laws
from ._schemes.base import Initializer, Scaled
from ._schemes.blocks import Blocks, Init
from ._schemes.fans import Layout

Kind = Literal["kernel", "transposed", "projection", "output", "cell", "recurrent", "embedding"]


class Laws(NamedTuple):
    """A framework's default for a kernel and its bias."""

    kernel: Init
    bias: Init


_ZEROS = initializers.zeros
_LECUN, _GLOROT = initializers.lecun_normal(), initializers.glorot_uniform()
_ORTHOGONAL = initializers.orthogonal()
# torch: U(-b, b), b = 1/sqrt(fan_in); of a transposed convolution it takes the outputs for fan_in,
# and in a cell b = 1/sqrt(hidden) throughout, the fan_out of a gate.
_TORCH = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_TORCH_OUT = initializers.variance_scaling(1 / 3, "fan_out", "uniform")
_FLAX_EMBEDDING = initializers.variance_scaling(1.0, "fan_in", "normal")
_KERAS_EMBEDDING = Scaled(laws.SYMMETRIC_UNIFORM, 0.05, call="uniform(-0.05, 0.05)")

# A kind that is not listed takes the law of "kernel".
DEFAULTS: Mapping[str, Mapping[str, Laws]] = {
    "jax": {
        "kernel": Laws(_LECUN, _ZEROS),
        "recurrent": Laws(_ORTHOGONAL, _ZEROS),
        "embedding": Laws(_FLAX_EMBEDDING, _ZEROS),
    },
    "keras": {
        "kernel": Laws(_GLOROT, _ZEROS),
        "recurrent": Laws(_ORTHOGONAL, _ZEROS),
        "embedding": Laws(_KERAS_EMBEDDING, _ZEROS),
    },
    "torch": {
        "kernel": Laws(_TORCH, _TORCH),
        "transposed": Laws(_TORCH_OUT, _TORCH_OUT),
        "projection": Laws(_GLOROT, _ZEROS),
        "output": Laws(_TORCH, _ZEROS),
        "cell": Laws(_TORCH_OUT, _TORCH_OUT),
        "recurrent": Laws(_TORCH_OUT, _TORCH_OUT),
        "embedding": Laws(initializers.normal(1.0), _ZEROS),
    },
}
FORGET_BIAS = {"keras": 1.0}  # of an LSTM; the other frameworks treat it as any bias


class Options(NamedTuple):
    """What a user says of a layer's initialization, and what the layer knows of itself."""

    label: str
    kind: Kind
    layout: Layout
    activation: Activation = None
    defaults: str = "jax"

    def kernel(self, init: Init | None) -> Init:
        """The kernel's initializer: the one given, the activation's, or the default."""
        if init is None and self.activation is not None:
            init = self._recommended()
        if init is None:
            return fit(self.label, self._laws().kernel, self._counted())
        return fit(self.label, init, self.layout)

    def bias(self, init: Init | None, kernel_shape: Sequence[int]) -> Init:
        """The bias's initializer, which may have the kernel's fans."""
        given, layout = (init, self.layout) if init else (self._laws().bias, self._counted())
        return fit(self.label, given, layout, tuple(kernel_shape))

    def _laws(self) -> Laws:
        if self.defaults not in DEFAULTS:
            raise ValueError(
                f"{self.label}: defaults must be one of {', '.join(DEFAULTS)}; "
                f"got {self.defaults!r}."
            )
        rows = DEFAULTS[self.defaults]
        return rows.get(self.kind, rows["kernel"])

    def _counted(self) -> Layout:
        """The layout as the framework counts: Keras and torch leave strides and groups out."""
        if self.defaults == "jax":
            return self.layout
        return replace(self.layout, groups=1, in_stride=1, out_stride=1)

    def _recommended(self) -> Initializer:
        with labelled(self.label):
            return recommend(self.activation).initializer


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """Errors within name the layer."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{label}: {error}") from None


def check_groups(label: str, groups: int, inputs: int, outputs: int) -> None:
    """Raises unless the groups of a convolution divide its inputs and outputs."""
    for role, size in (("input", inputs), ("output", outputs)):
        if size % groups:
            raise ValueError(
                f"{label}: feature_group_count={groups} does not divide the {size} {role} features."
            )


def kept_dtype(carry: Any, new: Any, outputs: jax.Array) -> tuple[Any, jax.Array]:
    """The new carry in the dtype of the old one, as a scan needs it."""
    return jax.tree.map(lambda old, new: new.astype(old.dtype), carry, new), outputs


def projection_layout(own: Layout, defaults: str, kernel_init: Init | None) -> Layout:
    """Of queries, keys and values; torch's default law sees the three as one matrix."""
    together = defaults == "torch" and kernel_init is None
    return replace(own, out_repeat=3) if together else own


def forget_init(
    defaults: str | None, forget_bias: float | None, bias_init: Init | None
) -> Initializer | None:
    """Of an LSTM's forget gate; None where it is as the other gates'."""
    if forget_bias is None and bias_init is None:
        forget_bias = FORGET_BIAS.get(defaults or "jax")
    return None if forget_bias is None else initializers.constant(forget_bias)


def fit(label: str, init: Init, layout: Layout, kernel: tuple[int, ...] | None = None) -> Init:
    """The initializer with the layer's layout, where it is one of ours and has none of its own.

    Around one of ours may be boxes of partitioning metadata; any other function stays as it is.
    """
    own = _FACTORIES.get(init, init) if inspect.isfunction(init) else init
    if isinstance(own, Initializer):
        if layout.blocks == 1 or kernel is not None or not own.plain:
            return own.fitted(label, layout, kernel)
        block = own.fitted(label, layout.block)
        return Blocks((block,), layout.blocks, layout.block_axis, call=block.call)
    inner = getattr(init, "__wrapped__", None)
    if inner is None:
        return init
    fitted = fit(label, inner, layout, kernel)
    return init if fitted is inner else Boxed(init, fitted)


class Boxed(NamedTuple):
    """A fitted initializer in the box that another function puts around its value."""

    box: Init
    init: Init

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: Any = None) -> Any:
        value = self.init(key, shape, dtype)
        return _replaced(self.box(key, shape, dtype), lambda _: value)


class Reshaped(NamedTuple):
    """An initializer that is asked for another shape than the kernel's."""

    init: Init
    shape: tuple[int, ...]

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: Any = None) -> Any:
        return _replaced(self.init(key, self.shape, dtype), lambda value: value.reshape(shape))


def _replaced(box: Any, function: Callable[[Any], Any]) -> Any:
    """A value, or one in Flax's metadata, through a function."""
    if hasattr(box, "raw_value"):  # Flax NNX
        box.raw_value = function(box.raw_value)
        return box
    return jax.tree.map(function, box)


# A pure function serves as an initializer as it is: jaxinit.he_normal for he_normal().
_FACTORIES: Mapping[Any, Initializer] = {
    getattr(_functions, name): getattr(initializers, name)()
    for name in initializers.__all__
    if (name.startswith(("he_", "kaiming_", "glorot_", "xavier_", "lecun_")))
}


def function_of(label: str, activation: Activation) -> Callable[[Any], Any]:
    """The activation as a function; None is the identity."""
    if callable(activation):
        return activation
    found = resolve(label, activation)
    function = found.function or getattr(jax.nn, str(activation), None)
    if function is None:
        raise ValueError(f"{label}: {activation!r} is no function of one array; apply it yourself.")
    return function

"""For Equinox, whose weights are (out, in), so that an initializer must be told the axes.

``initialize`` draws the weights of a module anew, each with the fans of its layer; ``layout`` is
the layout of one layer's weight. It needs equinox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from . import initializers, layouts
from ._layers import fit
from ._make.tree_init import tree_init
from ._program.misuse import kind
from ._program.trees import KeyPath, has_shape, path_text
from ._schemes.fans import Layout

try:
    import equinox as eqx
except ImportError:
    raise ImportError("jaxinit.equinox: Equinox is not installed; pip install equinox.") from None

__all__ = ["initialize", "layout"]

Init = Callable[..., jax.Array]
Module = TypeVar("Module")

_LAYERS = (eqx.nn.Linear, eqx.nn.Conv, eqx.nn.ConvTranspose)


def layout(layer: eqx.Module) -> Layout:
    """Which axes of a layer's weight are inputs and outputs: a Linear, Conv or ConvTranspose.

    Args:
      layer: a layer of ``equinox.nn``; its arrays may be ShapeDtypeStructs. Layers that
        ``eqx.filter_vmap`` stacked have leading axes, which count as no inputs.

    Returns:
      The layout, to be given to an initializer: ``initializers.he_normal(layout=layout(layer))``.

    Raises:
      TypeError: the layer is none of these.

    Example:
      >>> import equinox as eqx, jax
      >>> import jaxinit.equinox
      >>> layer = eqx.nn.Linear(512, 64, key=jax.random.key(0))
      >>> jaxinit.equinox.layout(layer).fans(layer.weight.shape)
      Fans(fan_in=512.0, fan_out=64.0)

    Source: Equinox's documentation of its layers.
    """
    if not isinstance(layer, _LAYERS):
        names = ", ".join(f"eqx.nn.{type_.__name__}" for type_ in _LAYERS)
        raise TypeError(f"equinox.layout: expected one of {names}; got {kind(layer)}.")
    weight: Any = layer.weight
    axes = 0 if isinstance(layer, eqx.nn.Linear) else layer.num_spatial_dims
    found = Layout(in_axis=-1 - axes, out_axis=-2 - axes, **_window(layer))
    for _ in range(len(weight.shape) - 2 - axes):
        found = layouts.stacked(found)
    return found


def _window(layer: Any) -> dict[str, int]:
    """The groups of a convolution, and by what its strides divide the fans."""
    if isinstance(layer, eqx.nn.Linear):
        return {}
    like = layouts.conv_transpose if isinstance(layer, eqx.nn.ConvTranspose) else layouts.conv
    strided = like(layer.stride, axes=layer.num_spatial_dims)
    strides = {"in_stride": strided.in_stride, "out_stride": strided.out_stride}
    return {"groups": layer.groups, **strides}


def initialize(
    key: jax.Array,
    module: Module,
    kernel: Init | str | Mapping[str, Any] = "lecun_normal",
    bias: Init | str | Mapping[str, Any] | None = None,
) -> Module:
    """The module with the weights of its layers drawn anew, each by the fans of its layer.

    Of every ``eqx.nn.Linear``, ``Conv`` and ``ConvTranspose`` inside, however deep, ``weight`` is
    drawn by ``kernel``, and ``bias`` by ``bias``. All else stays as it is. Where the right
    initializer differs from layer to layer, ``jaxinit.autoinit`` finds it from the computation.

    Args:
      key: one JAX random key. That of a weight is folded from its path, as by ``tree_init``.
      module: an Equinox module, or any tree of them.
      kernel: an initializer, a name or a config; it takes the layout of each layer, unless it was
        given axes of its own.
      bias: likewise, by the fans of the kernel; None keeps the biases as they are.

    Returns:
      A module of the same structure, shapes and dtypes.

    Raises:
      ValueError: the module has no such layer; an array that is to be kept is a ShapeDtypeStruct.
      TypeError: a key that is not one, or something that is no initializer.

    Example:
      >>> import equinox as eqx, jax
      >>> import jaxinit.equinox
      >>> model = eqx.nn.MLP(512, 10, width_size=256, depth=2, key=jax.random.key(0))
      >>> model = jaxinit.equinox.initialize(jax.random.key(1), model, "he_normal", "zeros")
      >>> f"{model.layers[0].weight.std():.3f}, {model.layers[0].bias.std():.1f}"
      '0.062, 0.0'

    Source: that of the initializers.
    """
    layers = _layers(module)
    if not layers:
        raise ValueError(
            "equinox.initialize: the module has no eqx.nn.Linear, Conv or ConvTranspose inside; "
            "jaxinit.tree_init draws parameters by their paths."
        )
    given = {"weight": kernel, "bias": bias}

    def rule(path: str, struct: Any) -> Any:
        """The initializer of an array that is drawn; None where it is kept."""
        owner, _, name = path.rpartition("/")
        if owner not in layers or given.get(name) is None:
            return None
        shape = layers[owner].weight.shape if name == "bias" else None  # whose fans count
        return fit(path, initializers.get(given[name]), layout(layers[owner]), shape)

    def kept(path: KeyPath, x: Any) -> Any:
        is_array = has_shape(x) and not isinstance(x, jax.ShapeDtypeStruct)
        return x if is_array and rule(path_text(path), x) is None else None

    old = jax.tree_util.tree_map_with_path(kept, module, is_leaf=has_shape)
    return tree_init(key, module, rule, only_missing=old)


def _layers(module: Any) -> dict[str, Any]:
    """The layers that have a weight, by their paths."""
    flat = jax.tree_util.tree_leaves_with_path(module, is_leaf=lambda x: isinstance(x, _LAYERS))
    return {path_text(path): x for path, x in flat if isinstance(x, _LAYERS)}

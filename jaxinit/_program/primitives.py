"""Tables that sort JAX's primitives, by name, by what they do to their arguments.

How the parameters of a primitive are read stands in ``jax_internals``.
"""

from __future__ import annotations

_ARITHMETIC = ("add", "sub", "mul", "div", "neg")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "is_finite")
_BITWISE = ("and", "or", "xor", "not")
_ROUNDING = ("floor", "ceil", "round", "sign")
_FUNCTIONS = (
    *("abs", "max", "min", "clamp", "rem", "nextafter", "pow", "integer_pow", "square"),
    *("sqrt", "rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p", "logistic", "tanh"),
    *("sin", "cos", "tan", "atan2", "erf", "erfc", "erf_inv", "lgamma", "digamma"),
)
_HINT = "xla_metadata_value"  # the array itself, with a note for XLA about how it is computed

# Elementwise sums of two arrays; ``add_any`` is the sum that differentiation inserts.
SUMS = frozenset(("add", "sub", "add_any"))
# These scale or shift a weight, which stays the same kind of weight.
ARITHMETIC = frozenset((*_ARITHMETIC, "select_n", "add_any"))
# Reductions, and what each computes.
STATISTICS = {"reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min"}
# These add up or multiply elements across an array, so how they round depends on their order.
ROUNDED_SUMS = frozenset(
    (
        *("dot_general", "ragged_dot_general", "conv_general_dilated", "reduce_window_sum"),
        *("reduce_sum", "reduce_prod", "cumsum", "cumprod", "cumlogsumexp"),
    )
)
# These make one array of several: side by side, or as real and imaginary parts.
JOINS = frozenset(("concatenate", "stack", "complex"))
# What these compute cannot be read.
OPAQUE = frozenset(("pallas_call", "pure_callback", "io_callback", "ffi_call"))
# These leave each device's part of an array as it is, or complete a sum that devices share.
COLLECTIVES = frozenset(("pvary", "psum", "psum_invariant", "pbroadcast"))
# These can run within a shard_map alone.
SHARDED = COLLECTIVES | {"axis_index", "all_gather", "ppermute", "psum_scatter", "all_to_all"}
# These hand on a single number unchanged.
KEEPS_NUMBER = frozenset(
    ("broadcast_in_dim", "convert_element_type", "reshape", "squeeze", "pvary")
)

# Each element of the result depends on the elements of the arguments at its own place alone.
ELEMENTWISE = frozenset(
    (
        *(*_ARITHMETIC, *_COMPARISONS, *_BITWISE, *_ROUNDING, *_FUNCTIONS),
        *("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"),
        *("select_n", "stop_gradient", "convert_element_type", "add_any"),
    )
)
# Any part of the result of these has the same bits when it is computed alone, because compilers
# compute each element in the same way in arrays of any size.
SAME_BITS_IN_PARTS = frozenset(
    (
        *(*_ARITHMETIC, *_COMPARISONS, *_BITWISE, *_ROUNDING, *_FUNCTIONS),
        *("shift_left", "shift_right_logical", "shift_right_arithmetic", "population_count"),
        *("bitcast_convert_type", "convert_element_type", "reduce_precision"),
        *("complex", "real", "imag", "select_n", "stop_gradient", "copy", _HINT),
        *("reshape", "squeeze", "expand_dims", "broadcast_in_dim"),
    )
)
# These keep the elements in row-major order, or repeat them.
KEEPS_ORDER = frozenset(("reshape", "squeeze", "expand_dims", "broadcast_in_dim", _HINT))
# These move or select elements and change none.
MOVES = frozenset(
    (
        *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "concatenate"),
        *("select_n", "slice", "pad", "copy", "copy_p", "rev", "gather", _HINT),
        *("dynamic_slice", "dynamic_update_slice"),
    )
)
# These keep each element, up to rounding, and its place.
KEEPS_PLACES = frozenset(("convert_element_type", "copy", "stop_gradient", "reduce_precision"))
# These keep all elements of an array, up to rounding, wherever they put them.
KEEPS_VALUES = frozenset(
    (
        *("reshape", "transpose", "squeeze", "expand_dims", "copy", "rev"),
        *("convert_element_type", "sharding_constraint", "optimization_barrier", _HINT),
    )
)
# These leave an activation what it was; those of AFFINE change its scale and offset at most.
KEEPS_SIGNAL = frozenset(
    (
        *("reshape", "transpose", "squeeze", "broadcast_in_dim", "copy", "stop_gradient"),
        *("convert_element_type", "sharding_constraint", "reduce_window_max", _HINT),
    )
)
AFFINE = KEEPS_SIGNAL | {*_ARITHMETIC, "select_n"}

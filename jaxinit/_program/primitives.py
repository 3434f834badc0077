"""Tables of JAX's operations by what they do, by the names that JAX gives their primitives.

Whoever reads a computation asks these tables; how to read an operation's parameters is known to
``jax_internals`` alone.
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

# Sums of two arrays, element by element; ``add_any`` is that of a gradient.
SUMS = frozenset(("add", "sub", "add_any"))
# What takes a weight to a weight of the same kind, scaled or shifted.
ARITHMETIC = frozenset((*_ARITHMETIC, "select_n", "add_any"))
# Reductions, and what each computes.
STATISTICS = {"reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min"}
POOLS = frozenset(("reduce_window_max", "reduce_window_sum"))
# What hands a single number on as it is.
KEEPS_NUMBER = frozenset(("broadcast_in_dim", "convert_element_type", "reshape", "squeeze"))

# Each element of the result depends on the elements of the arguments at its own place alone.
ELEMENTWISE = frozenset(
    (
        *(*_ARITHMETIC, *_COMPARISONS, *_BITWISE, *_ROUNDING, *_FUNCTIONS),
        *("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"),
        *("select_n", "stop_gradient", "convert_element_type", "add_any"),
    )
)
# Of these a part of the result has the same bits when it is computed alone: compilers compute them
# element by element, in the same way in arrays of any size.
SAME_BITS_IN_PARTS = frozenset(
    (
        *(*_ARITHMETIC, *_COMPARISONS, *_BITWISE, *_ROUNDING, *_FUNCTIONS),
        *("shift_left", "shift_right_logical", "shift_right_arithmetic", "population_count"),
        *("bitcast_convert_type", "convert_element_type", "reduce_precision"),
        *("complex", "real", "imag", "select_n", "stop_gradient", "copy"),
        *("reshape", "squeeze", "expand_dims", "broadcast_in_dim"),
    )
)
# What keeps the elements in their order, or repeats them.
KEEPS_ORDER = frozenset(("reshape", "squeeze", "expand_dims", "broadcast_in_dim"))
# What moves numbers about and changes none.
MOVES = frozenset(
    (
        *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "concatenate"),
        *("select_n", "slice", "pad", "copy", "copy_p", "rev", "gather"),
        *("dynamic_slice", "dynamic_update_slice"),
    )
)
# What leaves a signal the signal it was; and what changes its scale and offset at most.
KEEPS_SIGNAL = frozenset(
    (
        *("reshape", "transpose", "squeeze", "broadcast_in_dim", "copy", "stop_gradient"),
        *("convert_element_type", "sharding_constraint", "reduce_window_max"),
    )
)
AFFINE = KEEPS_SIGNAL | {*_ARITHMETIC, "select_n"}

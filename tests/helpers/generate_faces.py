"""Writes the two files of jaxinit that only repeat what stands elsewhere.

    python tests/helpers/generate_faces.py

``jaxinit/_schemes/named.py`` has a factory for each named variance scaling, with the options of
``variance_scaling``. ``jaxinit/_functions.py`` has, for each factory, the pure function of (key,
shape, dtype): its options are the factory's, and its docstring is the factory's with the example
turned into a call of the function. ``tests/project/test_generated.py`` compares both files with
what this script makes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterator

HOUSE = pathlib.Path(__file__).parents[2] / "jaxinit"
WIDTH = 100

# The named schemes: title, what it is for, example, source.
NAMED = {
    "he_normal": (
        "He normal: a truncated normal with mean 0 and variance 2/fan_in.",
        "For layers before ReLU and its family, which halve the second moment of a signal: the "
        "doubled variance makes up for that. Magnitudes are at most 2.27 sqrt(2/fan_in). Also "
        "called Kaiming normal.",
        "w = initializers.he_normal()(jax.random.key(0), (512, 256))\n"
        'f"{w.std() * (512 / 2) ** 0.5:.2f}"',
        "'1.00'",
        "He et al. 2015, eq. 10.",
    ),
    "he_uniform": (
        "He uniform: uniform on [-b, b] with b = sqrt(6/fan_in); mean 0, variance 2/fan_in.",
        "For layers before ReLU and its family, as ``he_normal``. Also called Kaiming uniform.",
        'w = initializers.he_uniform()(jax.random.key(0), (600, 256))\nf"{abs(w).max():.2f}"',
        "'0.10'",
        "He et al. 2015, eq. 10, with the uniform distribution of equal variance.",
    ),
    "glorot_normal": (
        "Glorot normal: a truncated normal with mean 0 and variance 2/(fan_in + fan_out).",
        "For layers before tanh, sigmoid, softmax or no activation: a compromise between keeping "
        "the variance of signals and that of gradients. Also called Xavier normal.",
        'w = initializers.glorot_normal()(jax.random.key(0), (100, 300))\nf"{w.std():.3f}"',
        "'0.071'",
        "Glorot & Bengio 2010, eq. 12.",
    ),
    "glorot_uniform": (
        "Glorot uniform: uniform on [-b, b], b = sqrt(6/(fan_in + fan_out)).",
        "Mean 0 and variance 2/(fan_in + fan_out), for the same layers as ``glorot_normal``; the "
        "default of Keras. Also called Xavier uniform.",
        'w = initializers.glorot_uniform()(jax.random.key(0), (300, 300))\nf"{abs(w).max():.2f}"',
        "'0.10'",
        "Glorot & Bengio 2010, eq. 16.",
    ),
    "lecun_normal": (
        "LeCun normal: a truncated normal with mean 0 and variance 1/fan_in.",
        "Outputs have the variance of the inputs. It is the one for SELU, and the default of Flax.",
        'w = initializers.lecun_normal()(jax.random.key(0), (400, 256))\nf"{w.std():.3f}"',
        "'0.050'",
        'LeCun et al. 1998, "Efficient BackProp", eq. 16; for SELU Klambauer et al. 2017.',
    ),
    "lecun_uniform": (
        "LeCun uniform: uniform on [-b, b] with b = sqrt(3/fan_in); mean 0, variance 1/fan_in.",
        "Outputs have the variance of the inputs, as with ``lecun_normal``.",
        'w = initializers.lecun_uniform()(jax.random.key(0), (300, 256))\nf"{abs(w).max():.2f}"',
        "'0.10'",
        "LeCun et al. 1998, eq. 16, with the uniform distribution of equal variance.",
    ),
}
ALIASES = {
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
}
# The factories that have a pure function, besides zeros and ones.
FUNCTIONS = (
    "constant",
    "uniform",
    "symmetric_uniform",
    "normal",
    "truncated_normal",
    "variance_scaling",
    *NAMED,
    "blocks",
    "orthogonal",
    "delta_orthogonal",
    "identity",
    "dirac",
    "hadamard",
    "zer_o",
    "sparse",
)
CALL_ARGS = """\
key: one JAX random key of any kind, typed or raw.
shape: the sizes of the array; zeros are allowed.
dtype: float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or
  complex128, as a type or a string; without one, JAX's default float.
out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
  device makes its own part."""


def parameters(source: str, name: str) -> tuple[list[ast.arg], list[ast.expr | None]]:
    """The parameters of a function and their defaults, from its source."""
    (function,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    given = function.args
    positional = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    return [*given.args, *given.kwonlyargs], [*positional, *given.kw_defaults]


def written(args: list[ast.arg], defaults: list[ast.expr | None]) -> Iterator[str]:
    """Each parameter as a signature writes it."""
    for arg, default in zip(args, defaults, strict=True):
        kind = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
        value = f" = {tidy(ast.unparse(default))}" if default is not None else ""
        yield f"{arg.arg}{kind}{value}"


def sections(docstring: str) -> dict[str, str]:
    """A docstring's parts by heading; the first is under ""."""
    parts = re.split(
        r"^(Args|Returns|Raises|Example):\n|^(Source): ", docstring, flags=re.MULTILINE
    )
    found = {"": parts[0].strip()}
    for heading, source, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found[heading or source] = textwrap.dedent(body).strip()
    return found


def docstring(parts: dict[str, str]) -> str:
    """The docstring of these parts, indented as in a function."""
    text = parts[""]
    for heading in ("Args", "Returns", "Raises", "Example"):
        if parts.get(heading):
            text += f"\n\n{heading}:\n{textwrap.indent(parts[heading], '  ')}"
    if parts.get("Source"):
        text += "\n\n" + filled(f"Source: {parts['Source']}", WIDTH - 4)
    body = textwrap.indent(text, "    ")
    return f'    """{body.strip()}\n    """\n'


def filled(text: str, width: int) -> str:
    """The text in lines of at most ``width`` characters."""
    return textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False)


# The named factories ------------------------------------------------------------------------------


def named_module() -> str:
    """The text of jaxinit/_schemes/named.py."""
    source = (HOUSE / "_schemes/variance.py").read_text()
    args, defaults = parameters(source, "variance_scaling")
    options, first = list(written(args[3:], defaults[3:])), args[3:]
    cut = next(i for i, arg in enumerate(first) if arg.arg == "layout")
    signature = [*options[:cut], "*", *options[cut:]]
    variance = importlib.import_module("jaxinit._schemes.variance")
    general = sections(inspect.getdoc(variance.variance_scaling) or "")
    told = re.split(r"^(?=\w[\w ]*:)", general["Args"], flags=re.MULTILINE)
    about = "".join(told[4:]).strip()
    raised = general["Raises"].replace(
        "scale is not above 0, an unknown mode or distribution, ", ""
    )
    lines = [
        '"""The variance scalings that have a name of their own; written by generate_faces.py.',
        "",
        "Each is ``variance_scaling`` with a scale, a mode and a distribution.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Sequence",
        "",
        "from .base import Initializer",
        "from .checks import DType",
        "from .fans import Axes, Layout",
        "from .variance import NAMED, named_scaling",
        "",
    ]
    for name, (title, purpose, example, result, cited) in NAMED.items():
        code = "\n".join(
            [">>> import jax", ">>> from jaxinit import initializers"]
            + [f">>> {line}" for line in example.split("\n")]
            + [result]
        )
        parts = {
            "": f"{title}\n\n{filled(purpose, WIDTH - 4)}",
            "Args": about,
            "Returns": general["Returns"],
            "Raises": filled_raises(raised),
            "Example": code,
            "Source": cited,
        }
        passed = [f"{arg.arg}={arg.arg}" if i >= cut else arg.arg for i, arg in enumerate(first)]
        lines += [
            "",
            f"def {name}(",
            *[f"    {option}," for option in signature],
            ") -> Initializer:",
            docstring(parts).rstrip("\n"),
            "    return named_scaling(",
            f'        "{name}",',
            f'        NAMED["{name}"],',
            *[f"        {value}," for value in passed],
            "    )",
            "",
        ]
    lines += ["", *[f"{alias} = {name}" for alias, name in ALIASES.items()]]
    return "\n".join(lines) + "\n"


def filled_raises(text: str) -> str:
    """Each error's sentence wrapped again."""
    entries = re.split(r"^(?=\w+Error)", text, flags=re.MULTILINE)
    return "\n".join(
        textwrap.fill(
            " ".join(entry.split()), WIDTH - 6, subsequent_indent="  ", break_on_hyphens=False
        )
        for entry in entries
        if entry.strip()
    )


# The pure functions -------------------------------------------------------------------------------


def as_function(example: str, name: str, factory: object) -> str:
    """An example of a factory as one of the pure function.

    ``initializers.NAME(options)(key, shape)`` becomes ``jaxinit.NAME(key, shape, option=...)``; an
    initializer that is made on a line of its own is put into the line that calls it.
    """
    names = list(inspect.signature(factory).parameters)  # type: ignore[arg-type]
    made: list[ast.keyword] | None = None
    lines = []

    def keywords(call: ast.Call) -> list[ast.keyword]:
        given = [ast.keyword(n, value) for n, value in zip(names, call.args, strict=False)]
        return [*given, *call.keywords]

    def is_factory(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and ast.unparse(node.func) == f"initializers.{name}"

    class Caller(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if is_factory(node.func):
                found = keywords(node.func)  # type: ignore[arg-type]
            elif made is not None and ast.unparse(node.func) == "init":
                found = made
            else:
                return node
            function = ast.parse(f"jaxinit.{name}", mode="eval").body
            return ast.Call(function, node.args, [*node.keywords, *found])

    for line in example.split("\n"):
        if not line.startswith(">>> "):
            lines.append(line)
            continue
        tree = ast.parse(line[4:])
        statement = tree.body[0]
        if isinstance(statement, ast.Assign) and is_factory(statement.value):
            made = keywords(statement.value)  # type: ignore[arg-type]
            continue
        changed = ast.unparse(ast.fix_missing_locations(Caller().visit(tree)))
        same = changed == ast.unparse(ast.parse(line[4:]))
        lines += [line] if same else shell(tidy(changed))
    text = "\n".join(lines)
    other = text.replace(">>> from jaxinit import initializers", "")
    kept = "initializers." in other.replace(f"jaxinit.{name}", "")
    imports = ">>> import jaxinit" + ("\n>>> from jaxinit import initializers" if kept else "")
    return text.replace(">>> from jaxinit import initializers", imports)


def shell(code: str) -> list[str]:
    """A statement as a shell shows it; a long call on three lines."""
    if len(code) <= WIDTH - 10:
        return [f">>> {code}"]
    start, inner = re.fullmatch(r"(.*?jaxinit\.\w+\()(.*)\)", code).groups()  # type: ignore[union-attr]
    return [f">>> {start}", f"...     {inner}", "... )"]


def call_lines(start: str, passed: list[str]) -> list[str]:
    """A call on one line, or with an argument a line."""
    line = f"{start}({', '.join(passed)})"
    if len(line) <= WIDTH:
        return [line]
    return [f"{start}(", *[f"        {argument}," for argument in passed], "    )"]


def tidy(code: str) -> str:
    """Code as ``ast.unparse`` writes it, with double quotes."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', code)


def functions_module() -> str:
    """The text of jaxinit/_functions.py."""
    initializers = importlib.import_module("jaxinit.initializers")
    text = HEAD
    for name in FUNCTIONS:
        factory = getattr(initializers, name)
        source = pathlib.Path(inspect.getfile(factory)).read_text()
        args, defaults = parameters(source, name)
        chosen = [i for i, arg in enumerate(args) if arg.arg != "dtype"]
        options = list(written([args[i] for i in chosen], [defaults[i] for i in chosen]))
        parts = sections(inspect.getdoc(factory) or "")
        entries = re.split(r"^(?=\w[\w ]*:)", parts["Args"], flags=re.MULTILINE)
        own = "".join(e for e in entries if not e.startswith("dtype:")).strip()
        unused = "The key is not used" in " ".join(parts[""].split())
        call = (
            CALL_ARGS.replace("any kind, typed or raw.", "any kind, or None.")
            if unused
            else CALL_ARGS
        )
        if name == "constant":
            call = call.replace(
                "float64, float32, bfloat16, float16, float8_e4m3fn, float8_e5m2, complex64 or\n"
                "  complex128, as a type or a string; without one, JAX's default float.",
                "any dtype, as a type or a string; without one, JAX's default float.",
            )
        parts["Args"] = f"{call}\n{own}".strip()
        parts["Returns"] = "An array of this shape and dtype, sharded as asked."
        parts["Raises"] = filled_raises(parts["Raises"].replace("at the call, ", ""))
        parts["Example"] = as_function(parts["Example"], name, factory)
        passed = [f"{args[i].arg}={args[i].arg}" for i in chosen]
        text += "\n".join(
            [
                "",
                "",
                "@needs_key",
                f"def {name}(",
                "    key: Any," if unused else "    key: jax.Array,",
                "    shape: Shape,",
                "    dtype: DType = None,",
                "    out_sharding: OutSharding = None,",
                *(["    *,"] if options else []),
                *[f"    {option}," for option in options],
                ") -> jax.Array:",
                docstring(parts).rstrip("\n"),
                *call_lines(f"    init = initializers.{name}", passed),
                "    return init(key, shape, dtype, out_sharding)",
                "",
            ]
        )
    return text + "\n\n" + "\n".join(f"{alias} = {name}" for alias, name in ALIASES.items()) + "\n"


HEAD = '''"""The pure functions of (key, shape, dtype); written by generate_faces.py.

Each calls the factory of the same name in ``jaxinit.initializers`` and then what it returns. They
serve as ``kernel_init`` as they are:

    nn.Dense(256, kernel_init=jaxinit.he_normal)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from . import initializers
from ._random import draw
from ._random.sharding import OutSharding
from ._random.stream import check_key
from ._schemes.arguments import Shape, check_shape, check_sharding, needs_key
from ._schemes.base import Init
from ._schemes.checks import DType
from ._schemes.fans import Axes, Layout
from ._schemes.variance import DistributionName, Mode


def bits(key: jax.Array, shape: Shape, out_sharding: OutSharding = None) -> jax.Array:
    """Independent random words, uniform uint32: what every random array is made of.

    For a threefry2x32 key these are the words of
    ``jax.random.bits(jax.random.fold_in(key, 0x6A617869), (ceil(n/2),), "uint64")``, high half
    first. A word depends on the key and its row-major flat index alone.

    Args:
      key: one JAX random key of any kind, typed or raw.
      shape: the sizes of the array; zeros are allowed.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``; each
        device makes its own part.

    Returns:
      An array of uint32 of this shape, sharded as asked.

    Raises:
      TypeError, ValueError: a key, a shape or a sharding that is not one.

    Example:
      >>> import jax, jaxinit
      >>> jaxinit.bits(jax.random.key(0), (2,)).dtype.name
      'uint32'

    Source: Salmon et al. 2011 (Threefry-2x32, 20 rounds).
    """
    sizes = check_shape("bits", shape)
    check_key("bits", key)
    return draw.bits(key, sizes, check_sharding("bits", sizes, out_sharding))


@needs_key
def zeros(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """All zeros. The key is not used.

    Args:
      key: a key, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: any dtype, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError, ValueError: a shape, a dtype or a sharding that is not one.

    Example:
      >>> import jaxinit
      >>> jaxinit.zeros(None, (2,)).tolist()
      [0.0, 0.0]
    """
    return initializers.zeros(key, shape, dtype, out_sharding)


@needs_key
def ones(
    key: Any,
    shape: Shape,
    dtype: DType = None,
    out_sharding: OutSharding = None,
) -> jax.Array:
    """All ones. The key is not used.

    Args:
      key: a key, or None.
      shape: the sizes of the array; zeros are allowed.
      dtype: any dtype, as a type or a string; without one, JAX's default float.
      out_sharding: a ``NamedSharding`` or, within ``jax.set_mesh``, a ``PartitionSpec``.

    Returns:
      An array of this shape and dtype, sharded as asked.

    Raises:
      TypeError, ValueError: a shape, a dtype or a sharding that is not one.

    Example:
      >>> import jaxinit
      >>> jaxinit.ones(None, (2,)).tolist()
      [1.0, 1.0]
    """
    return initializers.ones(key, shape, dtype, out_sharding)
'''

FILES = {"_schemes/named.py": named_module, "_functions.py": functions_module}


if __name__ == "__main__":
    for name, make in FILES.items():
        (HOUSE / name).write_text(make())

"""The house: floors, what an import loads, examples in docstrings."""

import ast
import doctest
import importlib
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import jaxinit

HOUSE = pathlib.Path(jaxinit.__file__).parent
FLOORS = {
    "_coefficients": 0,
    "_config": 0,
    "_portable": 0,
    "_stream": 0,
    "_fans": 1,
    "_laws": 1,
    "_activations": 1,
    "_draw": 2,
    "_schemes": 3,
    "_blocks": 4,
    "_combinators": 5,
    "_views": 5,
    "_dynamics": 6,
    "_matrices": 6,
    "_orthogonal": 6,
    "initializers": 7,
    "_functions": 8,
    "recipes": 8,
    "_choose": 8,
    "_tree": 8,
    "layouts": 2,
    "_layers": 9,
    "linen": 10,
    "nnx": 10,
    "_jax_internals": 3,
    "_show": 0,
    "_slices": 4,
    "_grouping": 5,
    "_windows": 5,
    "_make": 6,
    "_plan": 10,
    "_meanfield": 2,
    "_records": 2,
    "_axes": 5,
    "_report": 5,
    "_graph": 6,
    "_follow": 7,
    "_geometry": 7,
    "_trunk": 7,
    "_recognise": 8,
    "_roles": 9,
    "_infer": 10,
    "_taps": 5,
    "_autoinit": 11,
    "_measure": 11,
    "_signal": 12,
    "_checkpoint": 6,
    "_leaf": 6,
    "_audit": 12,
    "_calibrate": 13,
    "_pieces": 7,
    "_formats": 8,
    "_save": 9,
    "_command": 11,
    "__init__": 20,
    "__main__": 21,
}


def imports_of(path):
    """The project's own modules that a file imports, but for those it only names in types."""
    tree = ast.parse(path.read_text())
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (
            node.level or (node.module or "").startswith("jaxinit")
        ):
            module = (node.module or "").removeprefix("jaxinit").strip(".")
            yield from [module] if module else [alias.name for alias in node.names]


def test_imports_point_down_only():
    for path in HOUSE.glob("*.py"):
        floor = FLOORS[path.stem]
        for module in imports_of(path):
            if module in FLOORS:
                below = FLOORS[module] < floor or (floor == FLOORS[module] and floor in (0, 1, 8))
                assert below, f"{path.stem} (floor {floor}) imports {module}"


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_loads_nothing_heavy():
    heavy = {"flax", "orbax", "matplotlib", "scipy", "safetensors", "tensorstore", "rich", "optax"}
    already = loaded_by("import jax")  # JAX itself may bring some
    assert not (loaded_by("import jaxinit") & heavy) - already
    assert "flax" in loaded_by("import jaxinit, flax")  # the check can fail


MODULES = [name for _, name, _ in pkgutil.iter_modules([str(HOUSE)]) if name != "__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(f"jaxinit.{name}")
    assert doctest.testmod(module).failed == 0


def test_public_names_are_documented():
    for name in jaxinit.__all__:
        assert (getattr(jaxinit, name).__doc__ or "").strip(), name


def test_the_readme_example_runs():
    readme = (HOUSE.parent / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["w"].shape == (784, 256)


def test_the_readme_starts_with_its_two_commands():
    readme = (HOUSE.parent / "README.md").read_text()
    first, second = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)[:2]
    assert first.strip().endswith("-m jaxinit init examples.gpt2:factory --out gpt2-checkpoint")
    assert "pytest" in second
    assert first.count("\n") == second.count("\n") == 1

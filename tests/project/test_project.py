"""The house: floors, what an import loads, examples in docstrings."""

import doctest
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest
from house import HOUSE, complaints

import jaxinit


def test_imports_point_down_only():
    assert complaints(HOUSE) == []


MUTATIONS = {  # a line that is added to a file, and what is said of it
    "_random/laws": ("from .draw import draw", "circle: _random"),
    "_make/pieces": (
        "if TYPE_CHECKING:\n    from .._infer.infer import Inferred",
        "_make.pieces imports _infer.infer, which does not stand lower",
    ),
    "_choose/recommend": (
        "def late():\n    from .._make.plan import plan",
        "_choose.recommend imports _make.plan, which _choose never does",
    ),
    "_infer/dataflow": (
        "from jaxinit._check import audit",
        "_infer.dataflow imports _check.audit, which does not stand lower",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_import_is_found(tmp_path, name):
    line, expected = MUTATIONS[name]
    house = shutil.copytree(HOUSE, tmp_path / "jaxinit")
    file = house / f"{name}.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    assert any(expected in complaint for complaint in complaints(house))


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_loads_nothing_heavy():
    heavy = {"flax", "orbax", "matplotlib", "scipy", "safetensors", "tensorstore", "rich", "optax"}
    already = loaded_by("import jax")  # JAX itself may bring some
    assert not (loaded_by("import jaxinit") & heavy) - already
    assert "flax" in loaded_by("import jaxinit, flax")  # the check can fail


MODULES = [
    m.name for m in pkgutil.walk_packages([str(HOUSE)], "jaxinit.") if "__main__" not in m.name
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
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

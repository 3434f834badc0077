"""The house: floors, what an import loads, examples in docstrings."""

import doctest
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest
from house import HOUSE, complaints

import jaxinit
from jaxinit import initializers, layouts, recipes


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


def test_importing_and_drawing_load_jax_and_numpy_alone():
    heavy = {"flax", "orbax", "matplotlib", "scipy", "safetensors", "tensorstore", "rich", "optax"}
    draw = "key = jax.random.key(0); jax.random.normal(key, (4, 4)).block_until_ready()"
    already = loaded_by(f"import jax; {draw}")  # JAX itself may bring some
    ours = "jaxinit.he_normal(key, (4, 4), 'bfloat16'); jaxinit.dirac(key, (4, 4))"
    assert not (loaded_by(f"import jax, jaxinit; {draw}; {ours}") & heavy) - already
    assert "safetensors" in loaded_by("import safetensors")  # the check can fail


MODULES = [
    m.name for m in pkgutil.walk_packages([str(HOUSE)], "jaxinit.") if "__main__" not in m.name
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))  # as jaxinit.keras, where Keras is not installed
    assert doctest.testmod(module).failed == 0


def needed(name, public):
    """What the docstring of a public name must have."""
    constants = ("zeros", "ones", "zeros_init", "ones_init")
    if inspect.ismodule(public) or inspect.isclass(public) or name in constants:
        return []
    source = [] if name in OWN else ["Source: "]
    return ["Args:", "Returns:", "Raises:", "Example:", ">>> ", *source]


# What jaxinit does by no one else's rule, so that there is no source to name.
OWN = {"audit", "infer", "init", "materialize", "plan", "tree_init", "get"}
OWN |= {"clipped", "masked", "scaled", "shifted", *layouts.__all__}
DOCUMENTED = [jaxinit, initializers, recipes, layouts]


@pytest.mark.parametrize("module", DOCUMENTED, ids=lambda module: module.__name__)
def test_public_names_are_documented(module):
    missing = []
    for name in module.__all__:
        public = getattr(module, name)
        told = public.__call__ if isinstance(public, type(jaxinit.autoinit)) else public
        text = inspect.getdoc(told) or ""
        assert text, name
        assert not text.startswith(f"{name}("), f"{name} has the docstring that dataclasses get"
        given = inspect.signature(told).parameters if inspect.isfunction(told) else ()
        parts = needed(name, public)
        missing += [
            f"{name}: {part}"
            for part in parts
            if part not in text and (given or part not in ("Args:", "Raises:"))
        ]
        options = [o for o in given if o not in ("self", "args", "kwargs", "inputs", "params")]
        missing += [f"{name}: {o}" for o in options if "Args:" in text and f"{o}" not in text]
    assert not missing


@pytest.mark.parametrize("kind", [jaxinit.Plan, jaxinit.Report], ids=lambda kind: kind.__name__)
def test_methods_say_what_they_take(kind):
    methods = {n: f for n, f in vars(kind).items() if n[0] != "_" and inspect.isfunction(f)}
    for name, method in methods.items():
        text = inspect.getdoc(method) or ""
        given = [option for option in inspect.signature(method).parameters if option != "self"]
        told = text.partition("Args:")[2]
        assert text, name
        assert all(f"{option}: " in told for option in given), name


def test_completion_shows_the_public_names_and_nothing_else():
    for module in (jaxinit, initializers, jaxinit.layouts, jaxinit.recipes):
        assert dir(module) == sorted(module.__all__), module.__name__


def test_the_readme_example_runs():
    readme = (HOUSE.parent / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["w"].shape == (784, 256)


def test_the_readme_starts_with_its_two_commands():
    readme = (HOUSE.parent / "README.md").read_text()
    first, second = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)[:2]
    assert first.strip().endswith("jaxinit init examples.gpt2:factory --out gpt2-checkpoint")
    assert "pytest" in second
    assert first.count("\n") == second.count("\n") == 1

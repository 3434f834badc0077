"""One line changed: models of flax.linen with the layers of jaxinit.linen.

    python examples/swap.py

Reads each model of examples/models/ twice, as it stands and with ``import jaxinit.linen as nn`` in
place of ``import flax.linen as nn``, and shows what each layer gives on inputs of variance 1.
"""

from __future__ import annotations

import pathlib
import sys
from types import ModuleType
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

MODELS = sorted((pathlib.Path(__file__).parent / "models").glob("*.py"))
KEY = jax.random.key(0)


def load(path: pathlib.Path, swapped: bool) -> ModuleType:
    """The module, its import of flax.linen swapped or not."""
    source = path.read_text()
    if swapped:
        assert source.count("import flax.linen as nn\n") == 1
        source = source.replace("import flax.linen as nn\n", "import jaxinit.linen as nn\n")
    module = ModuleType(f"{path.stem}_{swapped}")
    sys.modules[module.__name__] = module  # dataclasses look there
    exec(compile(source, str(path), "exec"), vars(module))
    return module


def outputs(module: ModuleType) -> dict[str, float]:
    """Layer -> the standard deviation of what it gives."""
    model, x = module.Model(), module.inputs(KEY)
    variables = model.init(KEY, x)
    _, state = model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
    found: dict[str, float] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state["intermediates"]):
        names: list[Any] = [key.key for key in path if hasattr(key, "key")]
        found["/".join(names[:-1])] = float(np.std(leaf))
    return found


def main() -> None:
    """A table for each model."""
    for path in MODELS:
        theirs, ours = (outputs(load(path, swapped)) for swapped in (False, True))
        table = Table(title=f"{path.stem}: standard deviation of each layer", title_justify="left")
        for heading in ("layer", "flax.linen", "jaxinit.linen"):
            table.add_column(heading, justify="left" if heading == "layer" else "right")
        for name, value in theirs.items():
            table.add_row(name or "the model", f"{value:.4g}", f"{ours[name]:.4g}")
        Console(width=80).print(table)


if __name__ == "__main__":
    main()

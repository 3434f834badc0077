"""Which room of jaxinit may import which; and what a folder of Python files does import."""

from __future__ import annotations

import ast
import graphlib
import pathlib

HOUSE = pathlib.Path(__file__).parents[2] / "jaxinit"

# The rooms of jaxinit, floor by floor from the ground. A room may import rooms of lower floors, and
# the files of its own folder one another, without a circle.
FLOORS = (
    ("_text",),
    ("_random",),
    ("_program", "_schemes"),
    ("initializers", "layouts"),
    ("_make",),
    ("_choose", "recipes", "_functions"),
    ("_infer", "_layers", "_layer_options"),
    ("_check",),
    ("_linen", "_nnx"),
    ("linen", "nnx", "haiku", "equinox", "keras", "_command", "_verify"),
    ("__init__",),
    ("__main__",),
)
NEVER = {  # room -> rooms that it does not import, although they stand lower
    "_program": {"_text"},
    "_schemes": {"_program"},
    "_make": {"_schemes", "layouts"},
    "_choose": {"_make", "_program"},
    "_layers": {"_make", "_program"},
    "_layer_options": {"_make", "_program"},
    "recipes": {"_make", "_program"},
}


def modules(house):
    """Each file of the package as a dotted name, and its source."""
    for path in sorted(house.rglob("*.py")):
        parts = path.relative_to(house).with_suffix("").parts
        yield ".".join(parts), path.read_text()


def imports_of(module, source, known):
    """The project's own modules that a file imports, those that it only names in types too."""
    folder = module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom):
            continue
        name = node.module or ""
        if node.level:
            base = folder[: len(folder) + 1 - node.level]
        elif name.partition(".")[0] == "jaxinit":
            base, name = [], name.partition(".")[2]
        else:
            continue
        found = ".".join([*base, *filter(None, [name])])
        for alias in node.names:
            inner = f"{found}.{alias.name}".strip(".")
            names_module = inner in known or f"{inner}.__init__" in known
            yield inner if names_module else found or "__init__"


def complaints(house):
    """What is wrong with the imports of a package: upward, forbidden, in a circle."""
    sources = dict(modules(house))
    floor = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
    graph, found = {}, []
    for module, source in sources.items():
        if module.endswith(".__init__") and module != "__init__":
            continue
        room = module.partition(".")[0]
        graph[module] = set(imports_of(module, source, sources))
        for target in graph[module]:
            other = target.partition(".")[0]
            if other != room and not floor[other] < floor[room]:
                found.append(f"{module} imports {target}, which does not stand lower")
            if other in NEVER.get(room, ()):
                found.append(f"{module} imports {target}, which {room} never does")
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        found.append(f"a circle: {' -> '.join(error.args[1])}")
    return found

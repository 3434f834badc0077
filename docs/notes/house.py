"""Draws who imports whom in jaxinit: python docs/notes/house.py [REVISION].

Every room (a folder, or a file of the package itself) is a box, every import between rooms an
arrow; rooms stand above all that they import. Where rooms import one another in a circle, they
stand side by side and their arrows are red. With a revision of git, the picture is of that
revision, docs/notes/house-REVISION.png; without one it is docs/notes/house.png.
"""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping

from matplotlib.figure import Figure

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests/helpers"))
from house import HOUSE, imports_of, modules  # noqa: E402

Graph = dict[str, set[str]]


def rooms_of(house: pathlib.Path) -> Graph:
    """The rooms that each room imports."""
    sources = dict(modules(house))
    found: Graph = {}
    for module, source in sources.items():
        room = module.partition(".")[0]
        targets = {target.partition(".")[0] for target in imports_of(module, source, sources)}
        found.setdefault(room, set()).update(targets - {room})
    rooms = set(found)
    return {room: targets & rooms for room, targets in found.items()}


def reached(graph: Graph, start: str) -> set[str]:
    """All rooms below one, in any number of steps."""
    seen: set[str] = set()
    stack = [start]
    while stack:
        for room in graph[stack.pop()] - seen:
            seen.add(room)
            stack.append(room)
    return seen


def levels_of(graph: Graph) -> dict[str, int]:
    """How many floors below each room there are; rooms of one circle share a floor."""
    below = {room: reached(graph, room) for room in graph}
    levels: dict[str, int] = {}

    def level(room: str) -> int:
        if room not in levels:
            lower = [other for other in below[room] if room not in below[other]]
            levels[room] = 1 + max(map(level, lower), default=-1)
        return levels[room]

    for room in sorted(graph):
        level(room)
    return levels


def draw(graph: Graph, levels: Mapping[str, int], title: str, path: pathlib.Path) -> None:
    """The picture of the rooms by level."""
    floors: dict[int, list[str]] = {}
    for room in sorted(graph):
        floors.setdefault(levels[room], []).append(room)
    width = max(map(len, floors.values()))
    figure = Figure(figsize=(max(9, 1.35 * width), 1.1 * len(floors) + 0.8), layout="constrained")
    axis = figure.subplots()
    place = {
        room: ((n + 0.5) / len(rooms) * width, floor)
        for floor, rooms in floors.items()
        for n, room in enumerate(rooms)
    }
    below = {room: reached(graph, room) for room in graph}
    for room, targets in graph.items():
        for target in targets:
            circle = room in below[target]
            axis.annotate(
                "",
                xy=place[target],
                xytext=place[room],
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": "#c44e52" if circle else "#9aa7b5",
                    "linewidth": 1.4 if circle else 0.7,
                    "shrinkA": 11,
                    "shrinkB": 11,
                    "connectionstyle": "arc3,rad=0.06",
                },
            )
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "#eef3f8", "edgecolor": "#2b5c8a"}
        axis.text(x, y, room, ha="center", va="center", fontsize=8.5, bbox=box, zorder=3)
    axis.set_xlim(-0.3, width + 0.3)
    axis.set_ylim(-0.6, len(floors) - 0.4)
    axis.axis("off")
    arrows = sum(map(len, graph.values()))
    figure.suptitle(
        f"{title}: {len(graph)} rooms, {len(floors)} floors, {arrows} arrows", fontsize=11
    )
    figure.savefig(path, dpi=110)
    print(f"{path.name}: {len(graph)} rooms on {len(floors)} floors, {arrows} imports between them")


def main(revision: str | None) -> None:
    """Draw the working tree, or a revision."""
    if revision is None:
        graph = rooms_of(HOUSE)
        draw(graph, levels_of(graph), "jaxinit", HERE / "house.png")
        return
    archive = subprocess.run(
        ["git", "archive", revision, "jaxinit"], capture_output=True, check=True, cwd=HOUSE.parent
    )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        graph = rooms_of(pathlib.Path(folder) / "jaxinit")
    draw(graph, levels_of(graph), f"jaxinit at {revision}", HERE / f"house-{revision}.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)

"""The benchmark suite: python -m benchmarks [--quick | --full] [--json FILE]

    python -m benchmarks                        # some eight minutes; tables on the screen
    python -m benchmarks --quick                # small arrays, about a minute: do all of them run?
    python -m benchmarks --full --json FILE     # sizes up to memory, every distribution and dtype
    python -m benchmarks sharded                # trees over 8 and 64 devices, some six minutes
    python -m benchmarks gpu                    # what a GPU has to show, at most nine minutes
    python -m benchmarks report FILE            # docs/benchmarks.md and its figure, or the page of
                                                # sharded or gpu
    python -m benchmarks check FILE             # against the committed baseline, ratio by ratio

It is pytest with pytest-benchmark: `pytest benchmarks --effort quick -k saving` runs a part.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.markdown import Markdown

from . import cases, report, results

HERE = Path(__file__).parent
_OPTIONS = {"default": "", "quick": "--quick", "full": "--full"}  # of efforts; others are commands
TOLERANCE = 0.7  # a ratio varies by some 20 % from run to run


def run(effort: str, out: Path | None) -> int:
    """Measure, show, and say what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.json")
        options = ["-q", "--no-header", "-pno:cacheprovider", "--benchmark-quiet"]
        chosen = [f"--effort={effort}", f"--benchmark-json={raw}", str(HERE / "test_suite.py")]
        code = int(pytest.main([*options, *chosen]))
        if not raw.exists():
            return code
        found = json.loads(raw.read_text())
    rows, machine = results.rows(found), found["machine_info"]
    if out:
        results.write(out, machine, effort, rows)
    text = report.markdown({"machine": machine, "rows": rows}, _command(effort))
    Console(width=max(Console().width, 140)).print(Markdown(text))
    lost = results.missing(rows, [*cases.arrays(effort), *cases.programs(effort)])
    print(*lost, sep="\n", end="\n" if lost else "")
    return code or int(bool(lost))


def _command(effort: str) -> str:
    """The command as it was typed."""
    return f"python -m benchmarks {_OPTIONS.get(effort, effort)}".strip()


def publish(file: Path, folder: Path) -> int:
    """The tables, on a page of their own for each command; and the figure, if arrays were timed."""
    found = results.read(file)
    effort = found["effort"]
    text = report.markdown(found, f"{_command(effort)} --json {file.name}")
    folder.mkdir(parents=True, exist_ok=True)
    if effort in _OPTIONS:
        text += "\n![elements made in a second, by the size of the array](throughput.png)\n"
        report.throughput(found["rows"], found["machine"], folder / "throughput.png")
    page = "benchmarks" if effort in _OPTIONS else f"benchmarks-{effort}"
    (folder / f"{page}.md").write_text(text)
    return 0


def check(file: Path, baseline: Path) -> int:
    """Whether jaxinit is still as many times as fast as its references."""
    found, before = results.read(file), results.read(baseline)
    if found["machine"] != before["machine"]:
        print(f"another machine: {found['machine']}; the baseline's is {before['machine']}")
    ratios, old = results.ratios(found["rows"]), results.ratios(before["rows"])
    worse = results.regressions(ratios, old, TOLERANCE)
    common = ratios.keys() & old.keys()
    print(
        f"{len(common)} ratios compared, {len(worse)} below {TOLERANCE} of the baseline",
        *worse,
        sep="\n",
    )
    return int(bool(worse) or not common)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line."""
    arguments = _parser().parse_args(given)
    if arguments.command == "report":
        return publish(arguments.file, arguments.out)
    if arguments.command == "check":
        return check(arguments.file, arguments.baseline)
    return run(arguments.command or arguments.effort or "default", arguments.json)


def _parser() -> argparse.ArgumentParser:
    kept: dict[str, Any] = {"type": Path, "help": "keep the figures here"}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", dest="effort", action="store_const", const="quick")
    effort.add_argument("--full", dest="effort", action="store_const", const="full")
    parser.add_argument("--json", **kept)
    commands = parser.add_subparsers(dest="command", metavar="sharded | gpu | report | check")
    for name in ("sharded", "gpu"):
        command = commands.add_parser(name)
        command.add_argument("--json", default=argparse.SUPPRESS, **kept)  # before it or behind it
    for name in ("report", "check"):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        if name == "report":
            command.add_argument("--out", type=Path, default=Path("docs"))
        else:
            command.add_argument("--baseline", type=Path, default=results.BASELINE)
    return parser


if __name__ == "__main__":
    sys.exit(main())

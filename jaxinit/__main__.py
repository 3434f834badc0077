"""The command line: jaxinit recommend relu; jaxinit init MODULE:FACTORY; jaxinit audit CKPT."""

from __future__ import annotations

import argparse
import json
import sys

import jax
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from . import __version__, _command
from . import _verify as _golden
from ._check.audit import audit
from ._choose.recommend import recommend
from ._make.formats import FORMATS
from ._make.save import verify
from ._schemes.variance import DISTRIBUTIONS, MODES


def _recommend(arguments: argparse.Namespace) -> None:
    found = recommend(arguments.activation, arguments.distribution, arguments.mode)
    text = Text.assemble(
        (f"initializers.{found.initializer!r}", "bold"),
        f"\n\n{found.reason}\n\n",
        (found.source, "dim"),
    )
    title = f"for {arguments.activation}"
    Console().print(Panel(text, title=title, title_align="left", width=88))


def _init(arguments: argparse.Namespace) -> None:
    options = {name: x for name, x in vars(arguments).items() if name != "run"}
    _command.init(**options)


def _audit(arguments: argparse.Namespace) -> int:
    if arguments.verify:
        damaged = verify(arguments.checkpoint)
        for message in damaged or ["every array and file matches its checksum"]:
            Console().print(Text(f"{arguments.checkpoint}: {message}"), soft_wrap=True)
        return 1 if damaged else 0
    report = audit(arguments.checkpoint)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        Console().print(report)
        print(f"\n{report.table()}" if arguments.full else "--full shows every parameter.")
    if arguments.html:
        report.to_html(arguments.html)
    found = report.counts()
    return int("error" in found or (arguments.strict and "warning" in found))


def _verify(arguments: argparse.Namespace) -> int:
    rows = _golden.verify(arguments.devices, progress=True)
    print(_golden.table(rows))
    equal = _golden.outcomes(rows)
    print(f"\n{equal.count(False)} of {len(equal)} arrays differ; JAX {jax.__version__}.")
    return int(not all(equal))


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    That is 0; 1 where an audit found errors or damage, or where values differ; 2 where the command
    could not be run, and then one line on stderr says why.
    """
    parser = argparse.ArgumentParser(prog="jaxinit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"jaxinit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    choose = commands.add_parser("recommend", help="the initializer for an activation")
    choose.add_argument("activation", help="a name, as relu, softmax, gelu")
    choose.add_argument("--distribution", choices=DISTRIBUTIONS, default=DISTRIBUTIONS[0])
    choose.add_argument("--mode", choices=MODES)
    choose.set_defaults(run=_recommend)
    make = commands.add_parser("init", help="plan, show and save a model's parameters")
    make.add_argument("factory", help="MODULE:FACTORY, which returns (init_fn, *args)")
    make.add_argument("--out", metavar="DIR", help="the checkpoint; a save cut off is resumed")
    make.add_argument("--format", choices=FORMATS, default="orbax")
    make.add_argument("--seed", type=int, help="replaces the random keys among the arguments")
    make.add_argument("--dtype", help="of the floating leaves, as bfloat16")
    make.add_argument("--mesh", help="show the bytes on each device of a mesh, as data=8,model=4")
    make.add_argument("--dry-run", action="store_true", help="show the plan, save nothing")
    make.set_defaults(run=_init)
    check = commands.add_parser("audit", help="say what is wrong with the weights of a checkpoint")
    check.add_argument("checkpoint", help="orbax, or safetensors: a file, or a folder")
    check.add_argument("--full", action="store_true", help="show every parameter too")
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument("--html", metavar="FILE", help="write the report as a page too")
    check.add_argument(
        "--verify", action="store_true", help="compare it with the checksums that a save wrote"
    )
    check.set_defaults(run=_audit)
    promise = commands.add_parser(
        "verify", help="say whether this machine gives the values that jaxinit promises"
    )
    promise.add_argument(
        "--devices", action="store_true", help="each device of this process, and a mesh of them"
    )
    promise.set_defaults(run=_verify)
    parsed = parser.parse_args(arguments)
    try:
        return parsed.run(parsed) or 0
    except (TypeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

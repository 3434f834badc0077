"""The command line: jaxinit recommend, init, audit and verify."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable

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


_EXAMPLES = """
examples:
  jaxinit recommend gelu
  jaxinit init examples.gpt2:factory --out gpt2-checkpoint
  jaxinit audit gpt2-checkpoint --html report.html
  jaxinit verify
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxinit",
        usage="jaxinit [-h] [--version] COMMAND ...",
        description="Weight initialization for JAX: choose, make and check the weights of a model.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jaxinit {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND ...", prog="jaxinit")

    def command(name: str, run: Callable[..., int | None], text: str) -> Callable[..., object]:
        """A new command, as the function that gives it an argument."""
        made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.set_defaults(run=run)
        return made.add_argument

    add = command("recommend", _recommend, "name the initializer for an activation, and say why")
    add("activation", help="a name, such as relu, gelu or softmax")
    add("--distribution", choices=DISTRIBUTIONS, default=DISTRIBUTIONS[0])
    add("--mode", choices=MODES, help="the fan to divide by; by default the one of the advice")

    add = command("init", _init, "plan, show and save a model's parameters")
    add("factory", help="MODULE:FACTORY, a function that returns (init_fn, *args)")
    add("--out", metavar="DIR", help="the checkpoint to write; an interrupted save is resumed")
    add("--format", choices=FORMATS, default="orbax", help="of the checkpoint")
    add("--seed", type=int, help="replace the random keys among the factory's arguments")
    add("--dtype", help="round the floating-point arrays to it, such as bfloat16")
    add("--mesh", help="show the bytes on each device of a mesh, such as data=8,model=4")
    add("--dry-run", action="store_true", help="show the plan and save nothing")

    add = command("audit", _audit, "say what is wrong with a checkpoint's weights before training")
    add("checkpoint", help="of orbax or safetensors, a folder or a file")
    add("--full", action="store_true", help="show every parameter too")
    add("--strict", action="store_true", help="exit with status 1 for warnings, not errors alone")
    add("--json", action="store_true", help="print the report as JSON")
    add("--html", metavar="FILE", help="write the report as a web page too")
    add("--verify", action="store_true", help="compare with the checksums of jaxinit's save only")

    add = command("verify", _verify, "say whether this machine gives the values jaxinit promises")
    add("--devices", action="store_true", help="on each device, and on a mesh of all devices")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    That is 0; 1 where an audit found errors or damage, or where values differ; 2 where the command
    could not be run, and then one line on stderr says why. It is 1, too, where another program,
    such as ``head``, stops reading what is printed.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.run is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        code = parsed.run(parsed) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What is flushed at exit must not raise again. Rich, where it prints, exits with 1 too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TypeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""The command line: python -m jaxinit recommend relu."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from ._choose import recommend
from ._schemes import DISTRIBUTIONS, MODES


def _recommend(arguments: argparse.Namespace) -> None:
    found = recommend(arguments.activation, arguments.distribution, arguments.mode)
    text = Text.assemble(
        (f"initializers.{found.initializer!r}", "bold"),
        f"\n\n{found.reason}\n\n",
        (found.source, "dim"),
    )
    title = f"for {arguments.activation}"
    Console().print(Panel(text, title=title, title_align="left", width=88))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an error is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m jaxinit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    choose = commands.add_parser("recommend", help="the initializer for an activation")
    choose.add_argument("activation", help="a name, as relu, softmax, gelu")
    choose.add_argument("--distribution", choices=DISTRIBUTIONS, default=DISTRIBUTIONS[0])
    choose.add_argument("--mode", choices=MODES)
    choose.set_defaults(run=_recommend)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
    except (TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

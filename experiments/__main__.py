"""Command line: ``python -m experiments run | resume | sweep | reproduce | report | export | memory | waves | …``.

Once installed, ``wavefield-experiments`` does the same.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from experiments.commands import COMMANDS, parser_of
from wavefield import cli
from wavefield.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what follows its name is passed to it. An error that a user can mend is printed in one line."""
    program = cli.program("wavefield-experiments", "experiments")
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train, sweep, reproduce and report: runs that use the whole toolkit.",
        epilog="\n".join(f"  {name:10} {command.about}" for name, command in COMMANDS.items())
        + f"\n\nexamples:\n  {program} run digits-wrnn\n  {program} run -h",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wavefield {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help=", ".join(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-h lists those of the command")
    given = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(given)
    command = COMMANDS[options.command]
    chosen = parser_of(options.command, program).parse_intermixed_args(options.arguments)
    chosen.again = [*program.split(), *given]  # to tell how to continue

    def run(chosen):
        return getattr(importlib.import_module(command.module), command.function)(chosen)

    return cli.carry_out(run, chosen, memory="take a smaller batch_size, hidden_size or channels")


if __name__ == "__main__":
    sys.exit(main())

"""Command line: ``python -m experiments run | resume | sweep | reproduce | report | memory | waves | demo | bench``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.commands import COMMANDS, EXTRAS, parser_of

SCRIPT = "wavefield-experiments"


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from wavefield.version import __version__  # loads the package, which takes a while

        print(f"wavefield {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what follows its name is passed to it. An error that a user can mend is printed in one line."""
    program = SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m experiments"
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train, sweep, reproduce and report: runs that use the whole toolkit.",
        epilog="\n".join(f"  {name:10} {command.about}" for name, command in COMMANDS.items())
        + f"\n\nexamples:\n  {program} run digits-wrnn\n  {program} run -h",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help=", ".join(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-h lists those of the command")
    given = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(given)
    command = COMMANDS[options.command]
    chosen = parser_of(options.command, program).parse_intermixed_args(options.arguments)
    chosen.again = given  # to tell how to continue
    try:
        return getattr(importlib.import_module(command.module), command.function)(chosen) or 0
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(f"error: {error.name} is not installed: pip install 'wavefield[{extra}]'", file=sys.stderr)
        return 2
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        why = str(error).strip().partition("\n")[0]
        print(f"error: out of memory: {why}; take a smaller batch_size, hidden_size or channels", file=sys.stderr)
        return 2


def _out_of_memory(error):
    """Whether an error says that memory ran out: Python's, or PyTorch's on a CPU or GPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


if __name__ == "__main__":
    sys.exit(main())

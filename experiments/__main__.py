"""Command line: ``python -m experiments run | resume | sweep | reproduce | report | memory | demo | bench``."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "run": ("experiments.commands", "run", "train one config"),
    "resume": ("experiments.commands", "resume", "go on with a run that was broken off"),
    "sweep": ("experiments.runs.sweep", "main", "search the settings of a config"),
    "reproduce": ("experiments.reproduce", "main", "fill a table of the paper within a budget"),
    "report": ("experiments.reports.report", "main", "tables and figures of all runs"),
    "memory": ("experiments.reports.memory", "main", "the waves in networks trained on history tasks"),
    "demo": ("experiments.demo", "main", "the main job end to end"),
    "bench": ("experiments.bench", "main", "speed and memory of a training step"),
}


def main(argv=None) -> int:
    """Run one command; what follows its name is handed to it. Errors a user can mend are printed in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Runs that use the whole toolkit.",
        epilog="\n".join(f"  {name:10} {about}" for name, (_, _, about) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command", help=", ".join(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-h lists those of the command")
    options = parser.parse_args(argv)
    module, function, _ = COMMANDS[options.command]
    try:
        return getattr(importlib.import_module(module), function)(options.arguments) or 0
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

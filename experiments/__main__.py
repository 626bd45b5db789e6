"""Command line: ``python -m experiments demo | bench``."""

from __future__ import annotations

import argparse
import sys


def main(argv=None) -> int:
    """Run one command; what follows its name is handed to it."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Runs that use the whole toolkit.")
    parser.add_argument("command", choices=("demo", "bench"), help="demo: the main job end to end; bench: speed")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-h lists those of the command")
    options = parser.parse_args(argv)
    if options.command == "demo":
        from experiments.demo import main as run
    else:
        from experiments.bench import main as run
    return run(options.arguments) or 0


if __name__ == "__main__":
    sys.exit(main())

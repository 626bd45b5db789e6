"""What a command line says of how runs are carried out and shown."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tqdm import tqdm


def run_options(options: argparse.Namespace) -> dict:
    """Return what a command passes on to its runs: where they run, and how they show their progress."""
    shown: dict[str, Any] = {"bar": not options.quiet, "log": None}
    if not options.quiet and (options.verbose or not sys.stderr.isatty()):
        shown["log"] = log
    return {"device": options.device, "data": options.data, "checkpoint_seconds": options.checkpoint} | shown


def log(line: str) -> None:
    """Write a line to stderr, above a progress bar, at once."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()

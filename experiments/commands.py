"""The commands ``run`` and ``resume``: one config, one folder, a figure at the end."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from experiments.config import CONFIGS, load_config
from experiments.runs import run as runs
from experiments.runs.folder import FREE


def run(argv=None) -> int:
    """Train one config."""
    parser = argparse.ArgumentParser(prog="python -m experiments run", description="Train one config.")
    known = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    parser.add_argument("config", help=f"a .toml file or one of {known}")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings to change, such as delay=30")
    parser.add_argument("-o", "--output", type=Path, help="folder of the run (default: runs/NAME-SETTINGS-SEED)")
    _common(parser)
    options = parser.parse_intermixed_args(argv)
    config = load_config(options.config, options.settings)
    folder = options.output or Path("runs") / runs.run_name(config, options.settings)
    _show(runs.start(config, folder, **_given(options)), folder)
    return 0


def resume(argv=None) -> int:
    """Resume a run, also one that has ended, for longer."""
    parser = argparse.ArgumentParser(prog="python -m experiments resume", description="Resume a run.")
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("settings", nargs="*", metavar="key=value", help=f"what may change: {', '.join(FREE)}")
    _common(parser)
    options = parser.parse_intermixed_args(argv)
    _show(runs.resume(options.folder, options.settings, **_given(options)), options.folder)
    return 0


CHECKPOINT_HELP = "time between checkpoints (default: 60s)"


def seconds(text: str) -> float:
    """Return a duration such as 90s, 30m or 6h in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"a duration is written like 90s, 30m or 6h, got {text!r}")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _common(parser):
    parser.add_argument("--data", help="folder of the data sets (default: WAVEFIELD_DATA)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--checkpoint", type=seconds, default=60.0, help=CHECKPOINT_HELP)
    parser.add_argument("--budget", type=seconds, default=float("inf"), help="pause after 90s, 30m, 6h")


def _given(options):
    """The options of a run from those of a command."""
    names = {"device": "device", "data": "data", "budget": "budget", "checkpoint_seconds": "checkpoint"}
    return {name: getattr(options, option) for name, option in names.items()}


def _show(summary, folder):
    from experiments.reports.figures import run_figure

    path = run_figure(folder)
    print(json.dumps(summary, indent=2))
    print(f"wrote {folder}" + (f", figure {path}" if path else ""))

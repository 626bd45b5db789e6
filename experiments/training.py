"""The commands ``run`` and ``resume``: one config, one folder, a figure at the end."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from experiments.config import load_config
from experiments.reports.figures import run_figure
from experiments.run import resume as resume_run
from experiments.run import run_name, start
from experiments.runs.options import run_options
from wavefield.cli import plain, tell


def run(options: argparse.Namespace) -> int:
    """Train one config."""
    config = load_config(options.config, options.settings)
    folder = options.output or Path("runs") / run_name(config, options.settings)
    _show(start(config, folder, budget=options.budget, **run_options(options)), folder, options)
    return 0


def resume(options: argparse.Namespace) -> int:
    """Resume a run, also one that has ended, for longer."""
    summary = resume_run(options.folder, options.settings, budget=options.budget, **run_options(options))
    _show(summary, options.folder, options)
    return 0


def _show(summary, folder, options):
    path = run_figure(folder)
    told = f"wrote {folder}" + (f", figure {path}" if path else "")
    tell(options, f"{json.dumps(plain(summary), indent=2)}\n{told}", summary)

"""Fill a table of the paper within a budget: ``python -m experiments reproduce adding --budget 30m``.

Runs that have ended are left alone, those that were broken off go on; the first seed of every cell comes before the
second of any.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path

import torch

from experiments.commands import seconds
from experiments.config import load_config
from experiments.reports.report import print_table
from experiments.reports.tables import load_table, table_names
from experiments.runs.folder import RunFolder
from experiments.runs.run import run_name, run_or_resume


def main(argv=None) -> int:
    """Run what is missing, then print the tables, ours beside the paper's."""
    parser = argparse.ArgumentParser(prog="python -m experiments reproduce", description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="+", help=", ".join(table_names()))
    parser.add_argument("--budget", type=seconds, default=float("inf"), help="90s, 30m, 6h; without end by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--row", action="append", help="a row by its label; may be repeated; all by default")
    parser.add_argument("--column", action="append", help="a column by its label; may be repeated; all by default")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[TABLE.]KEY=VALUE",
        help="of every run, or of every run of a table, as in `run`; may be repeated",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores (default: 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--data", help="folder of the data sets (default: WAVEFIELD_DATA)")
    parser.add_argument("--device", help="default: a GPU if there is one")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {options.jobs}")
    tables = [load_table(name) for name in options.table]
    plan = _plan(tables, options)
    deadline = time.monotonic() + options.budget
    try:
        failed = _carry_out(plan, deadline, options)
    finally:
        for table in tables:
            print_table(table, options.runs)
    return 1 if failed else 0


def _plan(tables, options):
    """(config name, settings, folder) of every run that is wanted, first seeds first."""
    _check_choices(tables, options)
    plan = {}
    for seed in options.seeds:
        for table, cell in ((owner, cell) for owner in tables for cell in owner.cells):
            if (options.row and cell.row not in options.row) or (options.column and cell.column not in options.column):
                continue
            settings = [*cell.settings, *_meant_for(table, options.set), f"seed={seed}"]
            folder = options.runs / run_name(load_config(cell.config, settings), settings)
            plan[folder] = (cell.config, settings, folder)
    return list(plan.values())


def _check_choices(tables, options):
    for name, chosen, known in (
        ("--row", options.row, [row for table in tables for row in table.rows]),
        ("--column", options.column, [column for table in tables for column in table.columns]),
    ):
        unknown = set(chosen or ()) - set(known)
        if unknown:
            raise ValueError(f"{name} must be one of {', '.join(dict.fromkeys(known))}, got {unknown.pop()!r}")
    others = set(table_names()) - {table.name for table in tables}
    for setting in options.set:
        if setting.partition(".")[0] in others:
            raise ValueError(f"--set {setting} is meant for a table that was not asked for")


def _meant_for(table, settings):
    """The settings without a table's name, and those with this one's."""
    own = f"{table.name}."
    others = tuple(f"{name}." for name in table_names() if name != table.name)
    return [setting.removeprefix(own) for setting in settings if not setting.startswith(others)]


def _carry_out(plan, deadline, options):
    """Run the plan, each run in a process of its own, several at a time if asked; returns those that failed."""
    waiting, running, failed = list(plan), {}, []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                config, settings, folder = waiting.pop(0)
                if time.monotonic() >= deadline:
                    print(f"{folder.name}: {_without_budget(RunFolder(folder))}", flush=True)
                    continue
                process = multiprocessing.get_context("spawn").Process(
                    target=_one, args=(config, settings, folder, deadline - time.monotonic(), options)
                )
                process.start()
                running[process.sentinel] = (process, folder)
            for sentinel in wait(list(running)) if running else ():
                process, folder = running.pop(sentinel)
                process.join()
                failed += [folder] if process.exitcode else []
                if process.exitcode < 0:
                    what = f"killed by signal {-process.exitcode} ({signal.strsignal(-process.exitcode)})"
                    print(f"{folder.name}: {what}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:  # they save and stop, as if asked one by one
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def _without_budget(run):
    if run.has_ended():
        return _reached(run.read_summary())
    return f"not {'gone on with' if (run / 'config.toml').exists() else 'begun'}, the budget is spent"


def _reached(summary):
    return f"{summary['status']} at step {summary['step']:,} of {summary['steps']:,}, {summary['seconds']:.0f} s"


def _one(config, settings, folder, budget, options):
    """Run or go on with one run, and print what became of it; exits with 1 where it failed."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))
    try:
        config = load_config(config, settings)
        summary = run_or_resume(config, folder, data=options.data, device=options.device, budget=budget)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
        print(f"{folder.name} failed: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    print(f"{folder.name}: {_reached(summary)}", flush=True)

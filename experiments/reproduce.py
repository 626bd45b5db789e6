"""Fill a table of the paper within a budget: ``python -m experiments reproduce adding --budget 30m``.

Runs that have ended are left alone, interrupted ones are resumed; the first seed of every cell comes before the second
of any.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from multiprocessing.connection import wait

import torch

from experiments.config import load_config
from experiments.reports.report import find_runs, print_table, records_of
from experiments.reports.tables import is_number, load_table, table_names
from experiments.run import run_name, run_or_resume
from experiments.runs.child import SPAWN, end_with_parent, how_it_ended
from experiments.runs.folder import RunFolder
from experiments.runs.options import run_options
from wavefield.cli import FAILURES, interruptible, tell


def main(options: argparse.Namespace) -> int:
    """Run what is missing, then print the tables, ours beside the paper's."""
    if options.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {options.jobs}")
    if min(options.seeds) < 0:
        raise ValueError(f"--seeds must be 0 or more, got {min(options.seeds)}")
    tables = [load_table(name) for name in options.table]
    plan = _plan(tables, options)
    deadline = time.monotonic() + options.budget
    try:
        with interruptible():
            failed = _carry_out(plan, deadline, options)
    except KeyboardInterrupt:
        told = f"stopped; continue with: {shlex.join(options.again)}"
        print(told, file=sys.stderr)
        raise KeyboardInterrupt(told) from None
    finally:
        if options.json:
            runs = find_runs(options.runs)
            tell(options, "", [record for table in tables for record in records_of(table, runs)])
        elif not options.quiet:
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
            raise ValueError(f"--set {setting} is meant for a table that was not requested")


def _meant_for(table, settings):
    """The settings without a table's name, and those with this one's."""
    own = f"{table.name}."
    others = tuple(f"{name}." for name in table_names() if name != table.name)
    return [setting.removeprefix(own) for setting in settings if not setting.startswith(others)]


def _carry_out(plan, deadline, options):
    """Run the plan, each run in a process of its own, several at a time if asked; returns those that failed."""
    waiting, running, failed = list(plan), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                config, settings, folder = waiting.pop(0)
                if time.monotonic() >= deadline:
                    if not (options.quiet or options.json):
                        print(f"{folder.name}: {_without_budget(RunFolder(folder))}", flush=True)
                    continue
                process = SPAWN.Process(
                    target=_one, args=(config, settings, folder, deadline - time.monotonic(), options)
                )
                process.start()
                running[process.sentinel] = (process, folder)
            for sentinel in wait(list(running)) if running else ():
                process, folder = running.pop(sentinel)
                process.join()
                failed += [folder] if process.exitcode else []
                if process.exitcode < 0:
                    print(f"{folder.name}: {how_it_ended(process)}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:  # the runs save and stop, each as on Ctrl-C
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()
        raise
    return failed


def _without_budget(run):
    if run.has_ended():
        return _reached(run.read_summary())
    return f"not {'resumed' if run.holds_run() else 'begun'}, the budget is spent"


def _reached(summary):
    numbers = [summary.get(key) for key in ("step", "steps", "seconds")]
    if not all(is_number(number) for number in numbers):
        return "ended, but its summary.json is damaged"
    return f"{summary['status']} at step {numbers[0]:,} of {numbers[1]:,}, {numbers[2]:.0f} s"


def _one(config, settings, folder, budget, options):
    """Start or resume one run, and print how it ended; exits with 1 where it failed."""
    end_with_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))
    try:
        config = load_config(config, settings)
        summary = run_or_resume(config, folder, budget=budget, **run_options(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except FAILURES as error:
        print(f"{folder.name} failed: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    if not (options.quiet or options.json):
        print(f"{folder.name}: {_reached(summary)}", flush=True)

"""Metrics of runs in the format of TensorBoard: ``python -m experiments export``.

Every run becomes a folder of that name with one file of events, which a later export replaces.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from experiments.reports.report import Run, find_runs
from experiments.reports.tables import is_number
from experiments.runs.folder import make_folder
from wavefield.cli import tell
from wavefield.files import whole_or_nothing

FILE = "events.out.tfevents.metrics"  # of what TensorBoard looks for, the same at every export


def main(options: argparse.Namespace) -> int:
    """Write the metrics of all runs."""
    folders = options.folders or [options.runs]
    if missing := [folder for folder in options.folders if not folder.is_dir()]:
        raise FileNotFoundError(f"no folder {missing[0]}")
    runs = [run for folder in folders for run in find_runs(folder)]
    for run in list(runs):
        try:
            write_events(run, options.output / run.name / FILE)
        except (ValueError, TypeError, ArithmeticError) as error:  # of a run that a stranger made, say
            print(f"{run.folder.path} is left out: {error}", file=sys.stderr)
            runs.remove(run)
    found = f"wrote {options.output}: {len(runs)} runs" if runs else f"no runs in {', '.join(map(str, folders))}"
    told = f"{found}; see them with: tensorboard --logdir {options.output}" if runs else found
    tell(options, told, {"folder": options.output, "runs": [run.name for run in runs]})
    return 0


def write_events(run: Run, path: Path) -> None:
    """Write the evaluations of a run, and its test scores at its last step, as events of TensorBoard.

    Times are those of the run, counted back from when its table was last written.
    """
    rows = run.folder.rows()
    began = run.folder.metrics.stat().st_mtime - rows[-1]["seconds"]
    make_folder(path.parent)
    with whole_or_nothing(path) as scratch, open(scratch, "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString())
        for row in rows:
            scores = {_tag(name): value for name, value in row.items() if name not in ("step", "seconds")}
            writer.write(_event(began + row["seconds"], row["step"], scores))
        for part in ("test", "best_test"):
            scores = run.summary.get(part)
            numbers = {
                f"{part}/{name}": value
                for name, value in (scores if isinstance(scores, dict) else {}).items()
                if is_number(value)
            }
            writer.write(_event(began + rows[-1]["seconds"], run.summary["step"], numbers))
        writer.flush()


def _event(time, step, scores):
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scores.items() if math.isfinite(value)]
    return Event(wall_time=time, step=int(step), summary=Summary(value=values)).SerializeToString()


def _tag(name):
    """held_out_loss as held_out/loss, so that what belongs together is shown together."""
    return name.replace("held_out_", "held_out/").replace("training_loss", "training/loss")

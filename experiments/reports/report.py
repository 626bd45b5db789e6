"""Tables of all runs so far, published beside ours: ``python -m experiments report``."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.config import Config
from experiments.reports.figures import table_curves
from experiments.reports.tables import (
    NOT_TESTED,
    Cell,
    Figure,
    Table,
    is_number,
    load_table,
    plain_text,
    same_experiment,
    table_line,
    table_names,
)
from experiments.runs.folder import RunFolder, make_folder, read_json, write_csv, write_text
from wavefield.cli import tell
from wavefield.plot import save_figure

SMALL = ("config.toml", "metrics.csv", "summary.json", "environment.json")  # what is kept of a run in the results
TOLD = ("status", "step", "steps", "solved_at", "seconds", "data_share", "parameters")  # of a run, by its summary
MADE = ("device", "threads", "commit")  # on what, by its environment
COMPARED = 0.1  # of the steps that a cell asks for: no ratio for a shorter run, nor for one stopped when it was solved


@dataclass(frozen=True)
class Run:
    """What a folder holds of a run that has a summary."""

    name: str  # of its folder, from the one that was searched
    folder: RunFolder
    config: Config
    summary: dict
    made: dict[str, str]  # device, threads, commit: of all pieces in which it was trained, oldest first


def main(options: argparse.Namespace) -> int:
    """Write OUTPUT/runs.csv of all runs, TABLE.csv and TABLE.md for every table that any belongs to, and curves.

    For every sweep there are its trials, the best of them and the importance of the settings, and a figure.
    """
    make_folder(options.output)
    folders = options.folders or [options.runs]
    if missing := [folder for folder in options.folders if not folder.is_dir()]:
        raise FileNotFoundError(f"no folder {missing[0]}")
    if options.collect:
        for folder in folders:
            _collect(folder, options.output / "runs")
        folders = [options.output / "runs"]
    runs = [run for folder in folders for run in find_runs(folder)]
    every, told = [_outcome(run) for run in runs], []
    if every:
        write_csv(options.output / "runs.csv", every)
    for name in table_names():
        table = load_table(name)
        records = records_of(table, runs)
        if records:
            write_csv(options.output / f"{name}.csv", records)
            write_text(options.output / f"{name}.md", markdown(table, records))
            save_figure(
                table_curves(table, records, {run.name: run.folder for run in runs}), options.output / f"{name}.png"
            )
            told.append(markdown(table, records))
    sweeps = _report_sweeps([folder for folder in folders if not options.collect], options.output)
    counted = f"{len(runs)} runs" + (f", {len(sweeps)} sweeps" if sweeps else "")
    found = f"wrote {options.output}: {counted}" if every or sweeps else f"no runs in {', '.join(map(str, folders))}"
    tell(options, "\n".join([*told, *sweeps, found]), every)
    return 0


def _report_sweeps(folders, output):
    """Write a table of trials, what they say in words and a figure for every sweep; return the words."""
    paths = [path for folder in folders for path in Path(folder).rglob("study.db")]
    if not paths:
        return []
    from experiments.reports.sweeps import find_sweeps, sweep_figure, sweep_markdown, trial_records

    told = []
    for sweep in (sweep for folder in folders for sweep in find_sweeps(folder)):
        name = f"sweep-{sweep.name.removeprefix('sweep-').replace('/', '-')}"
        if records := trial_records(sweep):
            write_csv(output / f"{name}.csv", records)
        told.append(sweep_markdown(sweep))
        write_text(output / f"{name}.md", told[-1])
        save_figure(sweep_figure(sweep), output / f"{name}.png")
    return told


def _outcome(run):
    """How a run went, whether or not it belongs to a table."""
    config, summary = run.config, run.summary
    scores = {key: summary.get(key) for key in ("best", "best_step")}
    for part in ("test", "best_test"):
        scores |= {f"{part}.{name}": Figure(f"{part}.{name}", "", "").of(summary) for name in ("loss", "accuracy")}
    about = {"run": run.name, "task": config.task.kind, "model": config.model.kind, "seed": config.training.seed}
    return about | {key: summary[key] for key in TOLD} | scores | run.made


def print_table(table: Table, runs: Path) -> None:
    """Print a table from the runs in a folder."""
    print(markdown(table, records_of(table, find_runs(runs))))


def find_runs(folder: Path) -> list[Run]:
    """Return the runs at or below a folder that have a summary; one that cannot be read is named on stderr."""
    runs, folder = [], Path(folder)
    for path in sorted(folder.rglob("summary.json")):
        name = path.parent.relative_to(folder).as_posix() if path.parent != folder else folder.name
        try:
            runs.append(_load(name, RunFolder(path.parent)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            print(f"{path.parent} is left out of the tables: {type(error).__name__}: {error}", file=sys.stderr)
    return runs


def _load(name, folder):
    folder.record()  # refuses those of a newer format
    environment = _content(folder / "environment.json", MADE)
    pieces = [*environment.get("earlier", ()), environment]
    if not all(isinstance(piece, dict) and piece.keys() >= set(MADE) for piece in pieces):
        raise ValueError(f"environment.json: each of earlier must say {', '.join(MADE)}")
    made = {key: "; ".join(dict.fromkeys(str(piece[key]) for piece in pieces)) for key in MADE}
    if not folder.rows():
        raise ValueError("metrics.csv holds no evaluation")
    return Run(name, folder, folder.config(), _content(folder.summary, TOLD), made)


def _content(path, keys):
    content = read_json(path)
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{path.name} does not say {', '.join(missing)}")
    for key in (key for key in ("step", "steps", "seconds", "data_share", "parameters") if key in keys):
        if not is_number(content[key]):
            raise ValueError(f"{path.name}: {key} must be a number, got {content[key]!r}")
    return content


def records_of(table: Table, runs: list[Run]) -> list[dict]:
    """Return one record per cell and seed: the published figures, ours, and how ours were made."""
    records = []
    for cell in table.cells:
        wanted = cell.resolve()
        found = [run for run in runs if same_experiment(run.config, wanted, cell.settings)]
        for seed in sorted({run.config.training.seed for run in found}):
            chosen = max((run for run in found if run.config.training.seed == seed), key=lambda run: _rank(table, run))
            records.append(_record(table, cell, seed, chosen))
    return records


def _rank(table, run):
    """Runs that have the figures of the table come before those that have not, then the longest."""
    tested = all(figure.of(run.summary) != NOT_TESTED for figure in table.figures)
    return tested, run.summary["step"]


def _record(table: Table, cell: Cell, seed, run: Run):
    record = {"table": table.name, "row": cell.row, "column": cell.column, "seed": seed, "run": run.name}
    for figure in table.figures:
        record[f"published {figure.key}"] = cell.published.get(figure.key, "")
        record[figure.key] = figure.of(run.summary)
    for key in TOLD:
        record.setdefault(key, "" if run.summary[key] is None else run.summary[key])
    return record | {"asked": _asked(run, cell.resolve().training)} | run.made


def _asked(run, training):
    """The steps that a cell asks for; of epochs, by the steps that one takes in the run."""
    return training.steps or run.summary["steps"] // run.config.training.epochs * training.epochs


def _complete(record):
    """Whether a run has all the steps that its cell asks for, or stopped because it was solved."""
    return record["status"] == "solved" or record["step"] >= record["asked"]


def markdown(table: Table, records: list[dict]) -> str:
    """Return the table as Markdown: published, ours (mean ± SD over seeds), ratio, steps, time and device.

    A figure of which nothing was published has one column, ours. A run of fewer steps than its cell asks for is shown
    as "446 of 53,520".
    """
    held = {key for cell in table.cells for key in cell.published}  # figures of which something was published
    head = [table.heading, "model"]
    for figure in table.figures:
        head += [f"{figure.label}, published", "ours", "ratio"] if figure.key in held else [f"{figure.label}, ours"]
    head += ["seeds", "steps", "minutes", "drawing data", "device", "commit"]
    lines = [f"{table.title}.", "", table_line(head), table_line(["---"] * len(head))]
    for column in table.columns:
        for cell in (cell for cell in table.cells if cell.column == column):
            found = [r for r in records if r["row"] == cell.row and r["column"] == column]
            if not (found or cell.published):
                continue
            line = [column, cell.row]
            for figure in table.figures:
                compared = _compared(figure, cell.published, found)
                line += compared if figure.key in held else compared[1:2]
            lines.append(table_line(line + _made(found)))
    return "\n".join(lines) + "\n"


def _compared(figure: Figure, published, found):
    """Published, ours, and their ratio, as text; blank where there is none."""
    value, spread = (published.get(key, "") for key in (figure.key, figure.spread))
    shown = _shown(figure, value, spread)
    ours = [record[figure.key] for record in found]
    values = [value for value in ours if not isinstance(value, str)]
    if not values:
        return [shown, ", ".join(dict.fromkeys(ours)), ""]
    mean = statistics.fmean(values)
    text = _shown(figure, mean, statistics.stdev(values) if len(values) > 1 else "")
    if len(values) < len(ours):
        text += f" ({len(values)} of {len(ours)})"
    long = all(record["status"] != "solved" and record["step"] >= COMPARED * record["asked"] for record in found)
    fair = long or figure.key.endswith("solved_at")  # a step, the same however long the run went on after it
    return [shown, text, f"{mean / value:.2g}" if fair and not isinstance(value, str) else ""]


def _shown(figure, value, spread):
    """A mean ± SD as text; words and blanks as they are."""
    if isinstance(value, str):
        return value
    return format(value, figure.format) + ("" if spread == "" else f" ± {format(spread, figure.format)}")


def _made(found):
    if not found:
        return [""] * 6

    def joined(key):
        return "; ".join(dict.fromkeys(part for r in found for part in r[key].split("; ")))

    reached = [f"{r['step']:,}" + ("" if _complete(r) else f" of {r['asked']:,}") for r in found]
    minutes = statistics.fmean(r["seconds"] for r in found) / 60
    drawing = statistics.fmean(r["data_share"] for r in found)
    made = [
        ", ".join(dict.fromkeys(reached)),
        f"{minutes:.1f}",
        f"{drawing:.1%}",
        plain_text(joined("device")),
        plain_text(joined("commit")),
    ]
    return [str(len(found)), *made]


def _collect(runs, results):
    for run in find_runs(runs):
        folder = results / run.name
        folder.mkdir(parents=True, exist_ok=True)
        for name in SMALL:
            shutil.copyfile(run.folder / name, folder / name)

"""Pictures of runs: the learning curve, what the hidden state does, and the curves of a whole table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

import analysis
from experiments.reports.segmentation import scene_figure
from experiments.reports.tables import Table
from experiments.runs.folder import RunFolder
from wavefield import open_recording, operator_of, plot

COLOURS = (*matplotlib.color_sequences["tab10"], *matplotlib.color_sequences["tab20"][1::2])  # full, then pale
BESIDE = 5  # panels of a table's curves in a row at most
LETTER = 0.085  # inches, the width of a letter in a legend
MEASURES = {"loss": "held-out loss", "accuracy": "held-out accuracy"}


def panels(columns: int, size: tuple[float, float], rows: int = 1, **options) -> tuple[Picture, np.ndarray]:
    """Return a figure of panels, row by row, which is drawn into files only and needs no display."""
    figure = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options).ravel()


def run_figure(path: str | os.PathLike) -> Path | None:
    """Draw the learning curve of a run and its hidden states; return the file, None if nothing was measured yet.

    Of a run on scenes: one of them, what the model answered, and its states over time.
    """
    folder = RunFolder(path)
    if not folder.rows():
        return None
    hidden = folder / "hidden.nc"
    if hidden.exists() and (figure := _of_scenes(folder, hidden)):
        plot.save_figure(figure, folder / "figure.png")
        return folder / "figure.png"
    figure, axes = panels(3, (14, 4)) if hidden.exists() else panels(1, (5, 4))
    learning_curve(folder, axes[0])
    axes[0].set_title(folder.path.name, fontsize=9)
    if hidden.exists():
        hidden_states(hidden, axes[1])
        hidden_spectrum(hidden, axes[2])
    plot.save_figure(figure, folder / "figure.png")
    return folder / "figure.png"


def _of_scenes(folder, hidden):
    """The figure of a run on scenes; None of any other."""
    with open_recording(hidden) as recording:
        if "image" not in recording:
            return None
        figure, curve = scene_figure(recording.load())
    learning_curve(folder, curve)
    curve.set_title(folder.path.name, fontsize=7)
    return figure


def learning_curve(
    folder: RunFolder,
    ax: Axes,
    *,
    label: str | None = None,
    color=COLOURS[0],
    alpha: float = 1.0,
    width: float = 1.2,
) -> None:
    """Draw the held-out score against the step, a loss or an accuracy."""
    rows = folder.rows()
    name = folder.config().task.problem.score
    if any(f"held_out_{name}" not in row for row in rows):
        return  # nothing of it was measured
    steps, values = (np.array([row[key] for row in rows]) for key in ("step", f"held_out_{name}"))
    ax.plot(steps, values, color=color, alpha=alpha, lw=width, label=label)
    ax.set(xlabel="step", ylabel=MEASURES[name])
    ax.xaxis.set_major_locator(MaxNLocator(5))
    if name == "loss" and (values > 0).any():
        ax.set_yscale("log", nonpositive="mask")  # a loss below what float64 resolves is 0


def side_by_side(runs: dict[str, str | os.PathLike]) -> Picture:
    """Draw the learning curves of several runs over each other, and the hidden states of each: {label: folder}."""
    figure, axes = panels(1 + len(runs), (4.7 * (1 + len(runs)), 3.8))
    for (label, path), colour, width, ax in zip(runs.items(), COLOURS, _widths(len(runs)), axes[1:], strict=False):
        learning_curve(RunFolder(path), axes[0], label=label, color=colour, width=width)
        hidden_states(Path(path) / "hidden.nc", ax)
        ax.set_title(f"hidden state, {label}", fontsize=9)
    axes[0].legend(frameon=False)
    return figure


def _widths(count):
    """Widths of lines that are drawn over each other: the later the narrower, so that none hides another."""
    return np.linspace(1.2 + 0.5 * min(count - 1, 4), 1.2, count)


def hidden_states(path: str | os.PathLike, ax: Axes) -> None:
    """Draw the first channel of the first recorded sequence, position against time."""
    with open_recording(path) as recording:
        plot.space_time(_first(recording).load(), ax=ax)
    ax.set_title("hidden state, first channel", fontsize=9)


def hidden_spectrum(path: str | os.PathLike, ax: Axes) -> None:
    """Draw its wavenumber–frequency spectrum, and over it the dispersion relation of the kernel of a wave network.

    A wave is a line through the origin, its slope the speed.
    """
    with open_recording(path) as recording:
        power = analysis.wavenumber_frequency_spectrum(_first(recording).load()).power
        moved = operator_of(recording) if "kernel" in recording else None
    relation = None
    if moved is not None and moved.boundary == "periodic":
        relation = moved.dispersion_relation(power.wavenumber.values)
    analysis.plot.spectrum(power, ax=ax, relation=relation)
    ax.set_title("its spectrum" + (" and, dotted, the kernel's relation" if relation is not None else ""), fontsize=9)


def _first(recording):
    return recording.activity.isel(trial=0, channel=0)


def table_curves(table: Table, records: Sequence[dict], folders: Mapping[str, RunFolder]) -> Picture:
    """Draw the learning curves of all runs of a table, a panel for each column, a colour for each row: {name: run}."""
    columns = [c for c in table.columns if any(r["column"] == c for r in records)]
    rows = [row for row in table.rows if any(r["row"] == row for r in records)]
    widths = dict(zip(rows, _widths(len(rows)), strict=True))
    colours = {row: COLOURS[table.rows.index(row) % len(COLOURS)] for row in rows}
    deep = -(-len(columns) // BESIDE)
    across = -(-len(columns) // deep)
    width = max(4.2 * across, 6)
    figure, axes = panels(across, (width, 0.6 + 3.4 * deep), deep, sharey=True)
    for ax in axes[len(columns) :]:
        ax.axis("off")
    for number, (ax, column) in enumerate(zip(axes, columns, strict=False)):
        for record in sorted((r for r in records if r["column"] == column), key=lambda r: rows.index(r["row"])):
            row = record["row"]
            learning_curve(folders[record["run"]], ax, color=colours[row], alpha=0.8, width=widths[row])
        ax.set_title(column, fontsize=10)
        if number % across:
            ax.set_ylabel("")
        if number + across < len(columns):  # its steps are not those of the panel below
            ax.set_xlabel("")
    lines = [Line2D([], [], color=colour) for colour in colours.values()]
    beside = int(width / (0.6 + LETTER * max(map(len, rows))))  # as many as fit, each with its line
    figure.legend(lines, rows, loc="outside lower center", ncols=min(len(rows), max(1, beside)), frameon=False)
    return figure

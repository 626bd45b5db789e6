"""A network trained on a history task: the waves in its weights, its states in their basis, its gradients."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

import analysis
from analysis import plot_memory
from experiments.reports.figures import panels
from experiments.run import build_model
from experiments.runs.folder import RunFolder, make_folder, write_csv
from experiments.tasks.history import History, HistoryProblem, find_waves, wave_figures
from wavefield import plot
from wavefield.cli import tell
from wavefield_torch import SequenceModel, gradient_against_lag, linearised
from wavefield_torch.inspection.linearise import state_size, step

SEQUENCES = 8  # whose gradients are taken
STEPS = 40  # of them, five times round a history of length 8
NULL_SEED = 0
NULL_DRAWS = 200
QUANTILES = (0.05, 0.5, 0.95)  # of the null, of each figure by itself
NAMES = {
    "elman": "RNN",
    "open-line": "wave network",
    "lstm": "LSTM",
    "gru": "GRU",
    "irnn": "iRNN",
    "wrnn": "wRNN",
    "local": "locally connected RNN",
    "tape": "tape",
}


@dataclass(frozen=True)
class Memory:
    """A run on a history task: the network before and after training, and the waves found in the latter."""

    folder: RunFolder
    problem: HistoryProblem
    before: SequenceModel
    after: SequenceModel
    waves: xr.Dataset | None  # where nothing persists, there are none

    @property
    def name(self) -> str:
        """The name of the run in figures."""
        config = self.folder.config()
        return f"{NAMES[config.model.kind]}, {self.problem.settings.system}, seed {config.training.seed}"


def load_memory(path: str | os.PathLike) -> Memory:
    """Load a run on a history task.

    Raises
    ------
    FileNotFoundError, ValueError, CheckpointError
        If there is no run or no checkpoint of it; the run is of another task; all checkpoints are damaged.
    """
    folder = RunFolder(path)
    config = folder.config()
    folder.record()  # refuses those of a newer format
    if not isinstance(config.task, History):
        raise ValueError(f"{path} is a run of the task {config.task.kind!r}: memory can be shown of history tasks only")
    problem = config.task.load(config.training.batch_size, config.training.seed, torch.device("cpu"), None)
    before, after = build_model(config, problem), build_model(config, problem)
    if folder.restore(after, None) is None:
        raise FileNotFoundError(f"{path} holds no checkpoint, and memory is read from one")
    return Memory(folder, problem, before, after, find_waves(after, problem.system))


def gradients(memory: Memory) -> dict[str, xr.Dataset]:
    """Return the norm of the gradient against lag before and after training."""
    batch = memory.problem.validation
    x, target = batch.x[:STEPS, :SEQUENCES], batch.target[:STEPS, :SEQUENCES]
    return {
        "before training": gradient_against_lag(memory.before, x, target),
        "trained": gradient_against_lag(memory.after, x, target, waves=memory.waves),
    }


def recoveries(memory: Memory) -> list[dict]:
    """Return the numeric summary of the waves found, beside two comparisons.

    These are the waves of the published procedure, which is given the true f, and, as a null, those found with input
    and output weights drawn at random: the quantiles of each figure over many draws.
    """
    if memory.waves is None:
        return []
    net, system = linearised(memory.after), memory.problem.system
    rows = [_row("unaided", 1, "", wave_figures(memory.waves, system), memory.waves)]
    with suppress(analysis.NoWaveError):
        waves = analysis.published_recovery(*net, system)
        rows.append(_row("published, told f", 1, "", wave_figures(waves, system), waves))
    drawn, found = np.random.default_rng(NULL_SEED), []
    for _ in range(NULL_DRAWS):
        ends = {name: drawn.normal(size=getattr(net, name).shape) for name in ("weight_in", "weight_out")}
        with suppress(analysis.NoWaveError):
            waves = analysis.recover_waves(*net._replace(**ends), length=system.length, grounding="output")
            found.append(wave_figures(waves, system))
    for quantile in QUANTILES if found else ():
        figures = {name: float(np.quantile([one[name] for one in found], quantile)) for name in found[0]}
        rows.append(_row("null: random input and output weights", len(found), quantile, figures, memory.waves))
    return rows


def _row(recovery: str, draws: int, quantile: float | str, figures: dict[str, float], waves: xr.Dataset) -> dict:
    """One line of the table; the rank is that of the recurrence, whatever the weights at its ends."""
    told = {name: f"{value:.6g}" for name, value in figures.items()}
    return {"recovery": recovery, "draws": draws, "quantile": quantile, "rank": waves.attrs["rank"]} | told


def memory_figure(memory: Memory, against_lag: dict[str, xr.Dataset]) -> Figure:
    """Draw one page: spectrum, recurrence in the wave basis, a line of it over time, gradients."""
    figure, axes = panels(4, (19, 4.4), width_ratios=[4, 5, 5, 5])
    if memory.waves is None:
        axes[0].text(0.5, 0.5, "no eigenvalue persists:\nthere is no wave", ha="center", va="center")
        for ax in axes[:3]:
            ax.axis("off")
    else:
        plot_memory.unit_circle(memory.waves, memory.problem.system, ax=axes[0])
        plot_memory.transformed_recurrence(memory.waves, ax=axes[1])
        axes[1].set_title("recurrence in the wave basis", fontsize=10)
        _a_line(states(memory), axes[2])
    plot_memory.gradients(against_lag, ax=axes[3])
    axes[3].set_title("gradient by the first input", fontsize=10)
    figure.suptitle(memory.name, fontsize=11)
    return figure


@torch.no_grad()
def states(memory: Memory) -> xr.Dataset:
    """Return the states of the network over one sequence, in the wave basis."""
    if memory.waves is None:
        raise ValueError("memory has no waves, in whose basis states could be given: no eigenvalue persists")
    recurrence = memory.after.recurrence
    state = torch.zeros(1, state_size(recurrence)[1])
    passed = []
    for x in memory.problem.validation.x[:STEPS, :1]:
        state = step(recurrence, state, x)
        passed.append(state)
    return analysis.wave_states(memory.waves, torch.stack(passed, 1).numpy())


def _a_line(waves, ax):
    """The first line of the wave basis: inputs enter at the newest slot and travel to the oldest."""
    line = waves.activity.isel(trial=0, channel=0)
    plot.space_time(line, ax=ax)
    share = waves.attrs[
        "variance_explained"
    ]  # below 0 where the basis, which is not orthogonal, adds more than it holds
    held = f"{100 * share:.0f} %" if share > 0 else "none"
    ax.set_title(f"first line of the states in it ({held} of their variance)", fontsize=10)
    ax.set_yticks(line.position.values, line.position.values.astype(int) + 1)
    ax.set(xlabel="time (steps)", ylabel="slot, newest above")


def main(options: argparse.Namespace) -> int:
    """Draw the memory of runs, a page each, and their gradients together."""
    matplotlib.use("Agg")  # pictures are written, none is shown
    make_folder(options.output)
    folders = list(dict.fromkeys(path.resolve() for path in options.folder))
    if len({path.name for path in folders}) < len(folders):
        raise ValueError(f"the folders must have different names, got {', '.join(path.name for path in folders)}")
    recovered, told = [], []
    figure, axes = panels(len(folders), (1 + 3.6 * len(folders), 4), sharey=True)
    for path, ax in zip(folders, axes, strict=True):
        memory = load_memory(path)
        against_lag = gradients(memory)
        plot.save_figure(memory_figure(memory, against_lag), options.output / f"{path.name}.png")
        if memory.waves is not None:
            columns = plot_memory.travelling_columns(states(memory))
            plot.save_figure(columns, options.output / f"{path.name}-columns.png")
        described = "no wave" if memory.waves is None else plot_memory.describe(memory.waves)
        told.append(f"{path.name}:\n{described}\n")
        plot_memory.gradients(against_lag, bounds=False, ax=ax)
        ax.set_title(memory.name, fontsize=10)
        ax.label_outer()
        recovered += [{"run": path.name} | row for row in recoveries(memory)]
    low, high = zip(*(ax.dataLim.intervaly for ax in axes), strict=True)
    axes[0].set_ylim(max(min(low), 1e-13), 10 * max(high))
    plot.save_figure(figure, options.output / "gradients.png")
    if recovered:
        write_csv(options.output / "recoveries.csv", recovered)
    tell(options, "\n".join([*told, f"wrote {options.output}"]), recovered)
    return 0

"""What a network has become on a history task: the waves in its weights, its states among them, its gradients."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
import xarray as xr

import analysis
from analysis import plot_memory
from experiments.folder import RunFolder, write_csv
from experiments.history import HistoryProblem, find_waves
from experiments.run import build_model
from wavefield import plot
from wavefield_torch import SequenceModel, gradient_against_lag, linearised, load_checkpoint
from wavefield_torch.linearise import state_size, step

SEQUENCES = 8  # whose gradients are taken
STEPS = 40  # of them, five times round a history of length 8
SHARES = ("shift_share", "boundary_share", "recurrence_share", "variance_explained", "condition")
NAMES = {"elman": "RNN", "open-line": "wave network", "lstm": "LSTM", "gru": "GRU", "irnn": "iRNN", "wrnn": "wRNN"}


@dataclass(frozen=True)
class Memory:
    """A run on a history task: the network as it began and as it was best, and the waves found in the latter."""

    folder: RunFolder
    problem: HistoryProblem
    before: SequenceModel
    after: SequenceModel
    waves: xr.Dataset | None  # where nothing persists, there are none

    @property
    def name(self) -> str:
        """What the network is called in figures."""
        return NAMES[self.folder.config().model.kind]


def load_memory(path) -> Memory:
    """Load a run on a history task.

    Raises
    ------
    FileNotFoundError, ValueError, CheckpointError
        If there is no run, or one of another task, or its best model is damaged.
    """
    folder = RunFolder(path)
    config = folder.config()
    if config.task.kind != "history":
        raise ValueError(f"{path} is a run of the task {config.task.kind!r}: memory is shown of history tasks")
    problem = config.task.load(config.training.batch_size, config.training.seed, torch.device("cpu"), None)
    before, after = build_model(config, problem), build_model(config, problem)
    load_checkpoint(folder / "best.safetensors", after)
    return Memory(folder, problem, before, after, find_waves(linearised(after), problem.system))


def gradients(memory: Memory) -> dict[str, xr.Dataset]:
    """Return the norm of the gradient against lag before and after training."""
    batch = memory.problem.validation
    x, target = batch.x[:STEPS, :SEQUENCES], batch.target[:STEPS, :SEQUENCES]
    return {
        "before training": gradient_against_lag(memory.before, x, target),
        "trained": gradient_against_lag(memory.after, x, target, waves=memory.waves),
    }


def recoveries(memory: Memory) -> list[dict]:
    """Return what was found without knowing the true f, and what the published procedure finds, which is told it."""
    if memory.waves is None:
        return []
    found = {"unaided": memory.waves}
    with suppress(ValueError):  # it asks for more directions than the network has
        found["published, told f"] = analysis.published_recovery(*linearised(memory.after), memory.problem.system)
    return [
        {"recovery": how, "rank": waves.attrs["rank"]} | {name: f"{float(waves[name]):.6g}" for name in SHARES}
        for how, waves in found.items()
    ]


def memory_figure(memory: Memory, against_lag: dict[str, xr.Dataset]):
    """Draw one page: spectrum, recurrence in the wave basis, a line of it over time, gradients."""
    figure, axes = plt.subplots(1, 4, figsize=(19, 4.4), layout="constrained", width_ratios=[4, 5, 5, 5])
    if memory.waves is None:
        axes[0].text(0.5, 0.5, "no eigenvalue persists:\nno wave to be found", ha="center", va="center")
        for ax in axes[:3]:
            ax.axis("off")
    else:
        plot_memory.unit_circle(memory.waves, memory.problem.system, ax=axes[0])
        plot_memory.transformed_recurrence(memory.waves, ax=axes[1])
        axes[1].set_title("recurrence in the wave basis", fontsize=10)
        _a_line(memory, axes[2])
    plot_memory.gradients(against_lag, ax=axes[3])
    axes[3].set_title(f"gradient by the first input, {memory.name}", fontsize=10)
    return figure


@torch.no_grad()
def _a_line(memory, ax):
    """The first line of the wave basis: inputs enter at the newest slot and travel to the oldest."""
    recurrence = memory.after.recurrence
    state = torch.zeros(1, state_size(recurrence)[1])
    states = []
    for x in memory.problem.validation.x[:STEPS, :1]:
        state = step(recurrence, state, x)
        states.append(state)
    waves = analysis.wave_states(memory.waves, torch.stack(states, 1).numpy())
    plot.space_time(waves.activity.isel(trial=0, channel=0), ax=ax)
    share = 100 * waves.attrs["variance_explained"]
    ax.set_title(f"first line of the states in it ({share:.0f} % of their variance)", fontsize=10)
    ax.set(xlabel="time (steps)", ylabel="slot − 1, newest above")


def main(argv=None) -> int:
    """Draw the memory of runs, a page each, and their gradients together."""
    parser = argparse.ArgumentParser(prog="python -m experiments memory", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="folders of runs on a history task")
    parser.add_argument("-o", "--output", type=Path, default=Path("memory"), help="folder to write (default: memory)")
    options = parser.parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    folders = list(dict.fromkeys(path.resolve() for path in options.folder))
    if len({path.name for path in folders}) < len(folders):
        raise ValueError(f"the folders must have different names, got {', '.join(path.name for path in folders)}")
    recovered = []
    figure, axes = plt.subplots(
        1, len(folders), figsize=(1 + 3.6 * len(folders), 4), layout="constrained", sharey=True, squeeze=False
    )
    for path, ax in zip(folders, axes[0], strict=True):
        memory = load_memory(path)
        against_lag = gradients(memory)
        plot.save_figure(memory_figure(memory, against_lag), options.output / f"{path.name}.png")
        print(f"{path.name}:\n{'no wave' if memory.waves is None else plot_memory.describe(memory.waves)}\n")
        plot_memory.gradients(against_lag, bounds=False, ax=ax)
        ax.set_title(f"{memory.name}\n{path.name}", fontsize=7)
        ax.label_outer()
        recovered += [{"run": path.name} | row for row in recoveries(memory)]
    low, high = zip(*(ax.dataLim.intervaly for ax in axes[0]), strict=True)
    axes[0, 0].set_ylim(max(min(low), 1e-13), 10 * max(high))
    plot.save_figure(figure, options.output / "gradients.png")
    if recovered:
        write_csv(options.output / "recoveries.csv", recovered)
    print(f"wrote {options.output}")
    return 0

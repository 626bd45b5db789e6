"""The main job end to end on two cores in minutes: simulate, decode, measure, train, draw."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

import analysis
import wavefield as wf
from experiments.config import load_config
from experiments.reports.figures import side_by_side
from experiments.run import run_name, run_or_resume
from experiments.runs.folder import make_folder
from wavefield import figures, plot
from wavefield.cli import tell
from wavefield.files import whole_or_nothing

Say = Callable[[str], None]
TRAINING_STEPS = 1500


def main(options: argparse.Namespace) -> int:
    """Write a recording, the events read back from it, its diagnostics and the figures into one folder."""
    matplotlib.use("Agg")  # pictures are written, none is shown
    folder = Path(options.out)
    make_folder(folder)
    rng = np.random.default_rng(options.seed)
    silent = options.quiet or options.json
    say: Say = (lambda _: None) if silent else tqdm.write
    stages = {
        "simulate and decode": lambda: _field(folder, say),
        "diagnose": lambda: _diagnose(folder, say),
        "what a wave remembers": lambda: plot.save_figure(figures.memory_of_a_wave(), folder / "memory-of-a-wave.png"),
        "a digit read back": lambda: plot.save_figure(figures.digit(rng), folder / "digit.png"),
        "a sheet, read back": lambda: plot.save_figure(figures.sheet(), folder / "sheet.png"),
        "two drums with one spectrum": lambda: plot.save_figure(figures.drums(), folder / "drums.png"),
        "dispersion and memory": lambda: plot.save_figure(figures.dispersion_and_memory(), folder / "curves.png"),
        "train a wave RNN and an identity RNN to copy over 30 steps": lambda: _train(folder, options.seed, say, silent),
    }
    found = {}
    for name, stage in tqdm(stages.items(), desc="demo", disable=True if silent else None):
        say(name)
        found[name] = stage()
    files = sorted(path.name for path in folder.iterdir())
    result = {"folder": folder, "files": files, **{name: value for name, value in found.items() if value is not None}}
    tell(options, f"wrote {folder}: {', '.join(files)}", result)
    return 0


def _field(folder, say):
    drive = wf.spikes(figures.TRAINS, steps=100)
    with wf.simulate(wf.transport(-1.0), drive, size=128, path=folder / "field.nc", overwrite=True) as rec:
        events = wf.decode(rec).to_dataframe()
        plot.animate(rec.activity.load(), folder / "field.gif", every=2)
    with whole_or_nothing(folder / "events.csv") as scratch:
        events.to_csv(scratch)
    say(events.to_string())
    return events.to_dict("records")


def _diagnose(folder, say):
    with warnings.catch_warnings(), wf.open_recording(folder / "field.nc") as rec:
        warnings.simplefilter("ignore")  # one estimator refuses broadband pulses, as it says in the figure
        result = analysis.diagnose(rec).isel(channel=0)
        plot.save_figure(analysis.plot.summary(rec.activity.isel(channel=0).load(), result), folder / "waves.png")
    described = analysis.plot.describe(result)
    say(described)
    return described.splitlines()


def _train(folder, seed, say, silent):
    runs, summaries = {}, {}
    for name, label in (("copy-wrnn", "wave RNN"), ("copy-irnn", "identity RNN")):
        settings = ["delay=30", f"steps={TRAINING_STEPS}", "evaluate_every=50", f"seed={seed}"]
        config = load_config(name, settings)
        runs[label] = folder / run_name(config, settings)
        summary = summaries[label] = run_or_resume(config, runs[label], bar=not silent)
        test = summary["test"]
        say(f"{label}: held-out cross-entropy {test['loss']:.2g}, {test['accuracy']:.0%} recalled")
    plot.save_figure(side_by_side(runs), folder / "training.png")
    return summaries

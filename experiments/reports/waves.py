"""The waves in the states of trained networks, by `analysis.diagnose`: a page per run and channel, and a table.

Of a Neural Wave Machine a second page per channel shows the medium that an image made, with its modes.
"""

from __future__ import annotations

import argparse
import os

import matplotlib
import xarray as xr

import analysis
from experiments.reports.media import medium_figure
from experiments.runs.folder import RunFolder, make_folder, write_csv
from wavefield import open_recording
from wavefield.cli import tell
from wavefield.plot import save_figure

FIGURES = ("index", "p_value", "q_value", "travelling_index", "static_share")


def diagnosed(path: str | os.PathLike, *, draws: int = 999) -> tuple[xr.DataArray, xr.Dataset]:
    """Return the recorded states of a run and what `analysis.diagnose` says of them.

    Raises
    ------
    FileNotFoundError
        If the folder holds no recording.
    ValueError
        If the states are not those of a recurrence over space.
    """
    folder = RunFolder(path)
    folder.record()  # refuses those of a newer format
    hidden = folder / "hidden.nc"
    if not hidden.exists():
        raise FileNotFoundError(f"{path} holds no hidden.nc: states are recorded when a run ends or pauses")
    with open_recording(hidden) as recording:
        if recording.attrs.get("position_order") == "none" or recording.sizes["time"] < 2:
            raise ValueError(
                f"{path} is a run of a model without states in space and time: there is no wave to look for"
            )
        states = recording.load()
    return states.activity, analysis.diagnose(states, draws=draws)


def rows_of(name: str, result: xr.Dataset) -> list[dict]:
    """Return a row per channel: the verdict and the figures behind it."""
    rows = []
    for channel in range(result.sizes["channel"]):
        one = result.isel(channel=channel)
        figures = {key: f"{float(one[key]):.4g}" for key in FIGURES if key in one}
        rows.append({"run": name, "channel": channel, "verdict": str(one.verdict.values)} | figures)
    return rows


def main(options: argparse.Namespace) -> int:
    """Diagnose the states of runs: pages, OUTPUT/waves.csv, and a line per channel."""
    matplotlib.use("Agg")  # pictures are written, none is shown
    from matplotlib import pyplot

    folders = list(dict.fromkeys(path.resolve() for path in options.folder))
    if len({path.name for path in folders}) < len(folders):
        raise ValueError(f"the folders must have different names, got {', '.join(path.name for path in folders)}")
    make_folder(options.output)
    rows, told = [], []
    for path in folders:
        activity, result = diagnosed(path, draws=options.draws)
        with open_recording(RunFolder(path) / "hidden.nc") as recording:
            states = recording.isel(trial=0).load() if "coupling" in recording else None
        for row in rows_of(path.name, result):
            channel = row["channel"]
            page = analysis.plot.summary(activity.isel(trial=0, channel=channel), result.isel(channel=channel))
            page.suptitle(f"{path.name}, channel {channel}", fontsize=9)
            save_figure(page, options.output / f"{path.name}-channel{channel}.png")
            pyplot.close(page)
            if states is not None:
                page = medium_figure(states, channel)
                save_figure(page, options.output / f"{path.name}-channel{channel}-medium.png")
                pyplot.close(page)
            told.append(f"{path.name}, channel {channel}: {row['verdict']}, p = {row['p_value']}, q = {row['q_value']}")
            rows.append(row)
    write_csv(options.output / "waves.csv", rows)
    tell(options, "\n".join([*told, f"wrote {options.output}"]), rows)
    return 0

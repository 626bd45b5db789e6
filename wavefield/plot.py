"""Pictures of wave fields: space–time diagrams, snapshots with what was decoded, dispersion and memory curves.

Every function draws into the axes it is given, or makes its own, and returns them. Signed fields are drawn in a
diverging colour map centred on zero, non-negative ones in one of rising lightness; both read in grey and to
colour-blind eyes, and inputs take the colours of Okabe and Ito in a fixed order.
"""

from __future__ import annotations

import os

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wavefield.checks import positive_int
from wavefield.files import whole_or_nothing
from wavefield.plot_sheets import is_sheet, label, sheet_animation

INPUT_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def colour_of(number: int) -> str:
    """Colour of an input or ring."""
    return INPUT_COLOURS[number % len(INPUT_COLOURS)]


def space_time(activity: xr.DataArray, *, ax: Axes | None = None, colorbar: bool = True) -> Axes:
    """Space–time diagram of one ring or line: time to the right, position upwards.

    Parameters
    ----------
    activity : DataArray, dims (time, position)
        Select a channel and a trial first: ``rec.activity.isel(channel=0)``.
    """
    if set(activity.dims) != {"time", "position"}:
        raise ValueError(
            f"activity must have the dims time and position, got {activity.dims}: select one channel and one trial"
        )
    ax = plt.subplots(figsize=(6, 3), layout="constrained")[1] if ax is None else ax
    field = activity.transpose("position", "time")
    limit = float(np.abs(field).max()) or 1.0
    signed = float(field.min()) < 0
    mesh = ax.pcolormesh(
        _edges(field["time"]),
        _edges(field["position"]),
        field.values,
        cmap="RdBu_r" if signed else "magma_r",
        vmin=-limit if signed else 0,
        vmax=limit,
        rasterized=True,
    )
    ax.set(xlabel=label(field["time"]), ylabel=label(field["position"]))
    if colorbar:
        ax.figure.colorbar(mesh, ax=ax, label=label(activity), pad=0.01)
    return ax


def space_times(activity: xr.DataArray) -> Figure:
    """Figure of one space–time diagram per channel, one above the other. dims (time, channel, position)."""
    rows = activity if "channel" in activity.dims else activity.expand_dims("channel", 1)
    count = rows.sizes["channel"]
    figure, axes = plt.subplots(
        count, 1, figsize=(6, 1.2 + 1.3 * count), sharex=True, squeeze=False, layout="constrained"
    )
    for number, ax in enumerate(axes[:, 0]):
        space_time(rows.isel(channel=number), ax=ax)
        ax.set_title(f"ring {number}", fontsize="small", loc="left")
        if number < count - 1:
            ax.set_xlabel("")
    return figure


def snapshot(activity: xr.DataArray, events: xr.Dataset | None = None, *, ax: Axes | None = None) -> Axes:
    """One instant of the field: activity against position, a line per ring; decoded inputs named where they stand.

    Parameters
    ----------
    activity : DataArray, dims (channel, position) or (position,)
    events : Dataset, optional
        What `wavefield.decode` found: they are listed under the curve with onset and amplitude.
    """
    ax = plt.subplots(figsize=(6, 3), layout="constrained")[1] if ax is None else ax
    rows = activity.expand_dims("channel") if "channel" not in activity.dims else activity
    position = rows["position"].values
    for number, row in enumerate(rows.transpose("channel", "position").values):
        ax.plot(position, row, color=colour_of(number), lw=1.2, label=f"ring {number}")
    ax.axhline(0, color="0.7", lw=0.6, zorder=0)
    ax.set(xlabel=label(rows["position"]), ylabel=label(activity))
    if rows.sizes["channel"] > 1:
        ax.legend(loc="upper right", frameon=False, ncols=2)
    if events is not None:
        found = [f"input {k} at step {onset}: {height:.2f}" for k, onset, height, _ in _rows(events)]
        ax.set_title("read back: " + ("; ".join(found) or "nothing"), fontsize="small", loc="left", wrap=True)
    return ax


def drive_raster(drive: xr.DataArray, *, ax: Axes | None = None, events: xr.Dataset | None = None) -> Axes:
    """Inputs against steps from rest, a row per input; what was decoded is drawn over them as open circles.

    An event whose onset is known modulo a period only has a circle at every step at which it may have come, or a
    dashed line over all of them.
    """
    ax = plt.subplots(figsize=(6, 2), layout="constrained")[1] if ax is None else ax
    values = drive.transpose("step", "input").values
    begins = drive["step"].values
    steps = np.rint(begins / (np.diff(begins).min() if begins.size > 1 else 1)).astype(int)
    shown = [steps[0], steps[-1]]
    highest = max([np.abs(values).max(), *(abs(height) for _, _, height, _ in _rows(events))])
    scale = 0.8 / (highest or 1.0)
    for number in range(values.shape[1]):
        when = np.flatnonzero(values[:, number])
        ax.vlines(steps[when], number, number + scale * values[when, number], color=colour_of(number), lw=2)
        ax.axhline(number, color="0.85", lw=0.6, zorder=0)
    for number, onset, amplitude, period in _rows(events):
        if period == 1:
            possible = [0, onset]
            ax.hlines(number + scale * amplitude, *possible, color="black", lw=1.2, ls=(0, (3, 2)))
        else:
            possible = np.arange(onset, -1, -period) if period else [onset]
            ax.plot(possible, [number + scale * amplitude] * len(possible), "o", mfc="none", mec="black", ms=7)
        shown.extend(possible)
    ax.set(
        xlim=(min(shown) - 1, max(shown) + 1),
        ylim=(-0.3, values.shape[1]),
        yticks=range(values.shape[1]),
        xlabel="step",
        ylabel="input",
    )
    return ax


def dispersion(
    relation: xr.Dataset, *, ax: Axes | None = None, label: str | None = None, color: str = INPUT_COLOURS[0]
) -> Axes:
    """Frequency against wavenumber of every branch of `WaveOperator.dispersion_relation`; of a sheet along x, y = 0."""
    if "wavenumber_x" in relation:
        along = relation.sel(wavenumber_y=0.0, method="nearest").rename(wavenumber_x="wavenumber")
        relation = along.assign_coords(wavenumber=along["wavenumber"].assign_attrs(long_name="wavenumber along x"))
    ax = plt.subplots(figsize=(4.5, 3.5), layout="constrained")[1] if ax is None else ax
    for branch, frequency in enumerate(relation["frequency"].transpose("branch", "wavenumber").values):
        ax.plot(relation["wavenumber"], frequency, ".", ms=2, color=color, label=label if branch == 0 else None)
    ax.axhline(0, color="0.8", lw=0.6, zorder=0)
    ax.axvline(0, color="0.8", lw=0.6, zorder=0)
    ax.set(xlabel=_label(relation["wavenumber"]), ylabel=_label(relation["frequency"]))
    if label is not None:
        ax.legend(frameon=False)
    return ax


def memory_curve(
    capacity: xr.DataArray, *, ax: Axes | None = None, label: str | None = None, color: str = INPUT_COLOURS[0]
) -> Axes:
    """Memory capacity of one input against lag: ``memory_capacity(…).capacity.isel(input=0)``."""
    ax = plt.subplots(figsize=(5, 3), layout="constrained")[1] if ax is None else ax
    ax.plot(capacity["lag"], capacity, color=color, lw=1.4, label=label)
    ax.set(xlabel=_label(capacity["lag"]), ylabel=_label(capacity), ylim=(-0.03, 1.05))
    if label is not None:
        ax.legend(frameon=False)
    return ax


def animate(activity: xr.DataArray, path: str | os.PathLike, *, frames_per_second: int = 20, every: int = 1) -> None:
    """Write an animation of the field: against position, a line per ring, or a sheet as a picture.

    Parameters
    ----------
    activity : DataArray, dims (time, channel, position) or (time, position)
        Of a sheet with the dims y and x in place of position.
    path : path
        The file appears when it is complete. Its ending says the format: .gif, or .mp4 where matplotlib finds ffmpeg.
    every : int
        Draw every so many stored states.
    """
    positive_int(every, "every")
    shown = activity.isel(time=slice(None, None, every))
    fig, ax = plt.subplots(figsize=(4.6, 3.6) if is_sheet(activity) else (6, 2.6), layout="constrained")
    try:
        if is_sheet(activity):
            only = shown.isel(channel=0) if shown.sizes.get("channel") == 1 else shown
            draw = sheet_animation(only, fig, ax)
        else:
            draw = _line_animation(shown, ax)
        with whole_or_nothing(path) as scratch:
            animation = FuncAnimation(fig, draw, frames=shown.sizes["time"])
            animation.save(scratch, writer=_movie_writer(path, frames_per_second))
    finally:
        plt.close(fig)


def _line_animation(activity, ax):
    rows = activity if "channel" in activity.dims else activity.expand_dims("channel", 1)
    states = rows.transpose("time", "channel", "position").values
    times = rows["time"].values
    low, high = min(states.min(), 0.0), max(states.max(), 0.0)
    margin = 0.05 * (high - low) or 1.0
    lines = [
        ax.plot(rows["position"], states[0, number], color=colour_of(number), lw=1.4)[0]
        for number in range(states.shape[1])
    ]
    ax.set(ylim=(low - margin, high + margin), xlabel=label(rows["position"]), ylabel=label(activity))

    def draw(frame):
        for line, row in zip(lines, states[frame], strict=True):
            line.set_ydata(row)
        ax.set_title(f"{label(rows['time'])} = {times[frame]:g}", fontsize="small", loc="left")
        return lines

    return draw


def _movie_writer(path, frames_per_second):
    kind = str(path).rsplit(".", 1)[-1].lower()
    if kind == "gif":
        return PillowWriter(fps=frames_per_second)
    if kind != "mp4":
        raise ValueError(f"path of an animation must end in .gif or .mp4, got {path}")
    if not FFMpegWriter.isAvailable():
        raise ValueError(f"{path}: ffmpeg, which writes .mp4, is not installed; .gif needs nothing")
    return FFMpegWriter(fps=frames_per_second)


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure to `path` (its ending says the format) and close it; the file appears when it is complete."""
    try:
        with whole_or_nothing(path) as scratch:
            figure.savefig(scratch, format=str(path).rsplit(".", 1)[-1].lower(), dpi=150)
    finally:
        plt.close(figure)


def exact_readout(limits: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Phase diagram of what `wavefield.exact_readout` measured: share of snapshots read exactly, by events and noise.

    Light is read, dark is not; the line is where half of the snapshots are.

    Parameters
    ----------
    limits : Dataset
        With `exact` over (events, noise).
    """
    ax = plt.subplots(figsize=(4.5, 3.5), layout="constrained")[1] if ax is None else ax
    exact = limits["exact"].transpose("events", "noise")
    mesh = ax.pcolormesh(
        *(_log_edges(exact[dim].values) for dim in ("noise", "events")), exact.values, cmap="cividis", vmin=0, vmax=1
    )
    if min(exact.shape) > 1 and exact.min() < 0.5 < exact.max():
        ax.contour(exact["noise"], exact["events"], exact.values, [0.5], colors="white", linewidths=1.5)
    ax.set(xscale="log", yscale="log", xlabel=label(exact["noise"]), ylabel=label(exact["events"]))
    ax.figure.colorbar(mesh, ax=ax, label=label(exact), pad=0.01)
    return ax


_label = label  # where a parameter of that name stands in the way


def _edges(coordinate):
    centres = coordinate.values.astype(float)
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def _log_edges(centres):
    """Edges of cells about centres that are even on a logarithmic scale, none of them zero."""
    logs = np.log(np.maximum(centres.astype(float), 1e-12))
    steps = np.diff(logs) / 2 if logs.size > 1 else np.array([0.5])
    return np.exp(np.concatenate([[logs[0] - steps[0]], logs[:-1] + steps[: logs.size - 1], [logs[-1] + steps[-1]]]))


def _rows(events):
    """(input, onset, amplitude, period) of every decoded event."""
    if events is None:
        return []
    columns = (events[name].values.tolist() for name in ("input", "onset", "amplitude", "period"))
    return list(zip(*columns, strict=True))

"""The figures of the package: what a travelling wave remembers and a static bump loses."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from wavefield import plot, plot_sheets
from wavefield.capacity.memory_capacity import memory_capacity
from wavefield.capacity.sheets import BASE, VARIED
from wavefield.decoding.decode import decode
from wavefield.drums.modes import modes
from wavefield.drums.shapes import isospectral_drums
from wavefield.operators.encoder import encoder_at
from wavefield.operators.equations import static, transport, wave
from wavefield.simulation.drive import spikes
from wavefield.simulation.simulate import simulate
from wavefield.simulation.wavelets import ricker

TRAINS = [[(12, 1.0), (40, 1.0)], [(25, 1.0)], [(31, 0.5)]]


def memory_of_a_wave() -> Figure:
    """Three inputs, the field that they leave, and the inputs read back from its last instant; beside it the bump.

    After Figure 1 of Keller et al. (ICLR 2024): in the wave field (left) one snapshot shows which input came, when
    and how strong; in the field without waves (right), where each input stays where it entered, it does not.
    """
    drive = spikes(TRAINS, steps=100)
    rows = {"height_ratios": [1.3, 0.8, 0.8, 0.8, 1.1, 1.3]}
    figure, axes = plt.subplots(6, 2, figsize=(9, 8.5), layout="constrained", gridspec_kw=rows)
    for column, operator in zip(axes.T, (transport(1.0), static()), strict=True):
        rec = simulate(operator, drive, size=128)
        plot.drive_raster(drive, ax=column[0])
        for ring in range(3):
            _trace(rec.activity.isel(channel=ring), column[1 + ring], ring)
        _stems(rec.activity.isel(time=-1), column[4])
        plot.drive_raster(drive, ax=column[5], events=decode(rec))
        titles = {0: "inputs", 1: "the field that they leave, a ring each", 4: "its last instant, all rings"}
        titles |= {5: "inputs, and what is read back (black)"}
        for row, title in titles.items():
            column[row].set_title(title, fontsize="medium", loc="left")
        for ax in column[:3]:
            ax.set_xlabel("")
    axes[0, 0].set_title("TRAVELLING WAVE\ninputs", fontsize="medium", loc="left")
    axes[0, 1].set_title("NO WAVE: THE STATIC BUMP\ninputs", fontsize="medium", loc="left")
    return figure


def _trace(activity, ax, ring):
    """Where a sparse field is not zero, in time and position: cells too thin for a picture of all of them."""
    time, position = np.nonzero(activity.transpose("time", "position").values)
    ax.plot(activity.time[time], activity.position[position], ".", ms=3, color=plot.colour_of(ring), clip_on=False)
    ax.set(xlim=(-1, 100), ylim=(0, 128), yticks=[0, 64, 128], ylabel=f"ring {ring}\nposition", xlabel="time (steps)")


def _stems(activity, ax):
    for ring, row in enumerate(activity.transpose("channel", "position").values):
        where = np.flatnonzero(row)
        # rings side by side, so that none hides another
        ax.vlines(where + 1.5 * (ring - 1), 0, row[where], color=plot.colour_of(ring), lw=2.5)
    ax.set(xlim=(-4, 128), ylim=(0, None), xlabel="position", ylabel="activity")


def digit(rng: np.random.Generator, index: int = 3) -> Figure:
    """A handwritten digit streamed column by column into eight rings, and the picture read back from one snapshot.

    Exact on a ring of Courant number 1; degraded at 0.9 with readout noise; lost by the static bump, which keeps the
    sum of each row alone. The digits are those bundled with scikit-learn (8 × 8, 17 grey levels).
    """
    from sklearn.datasets import load_digits

    picture = load_digits().images[index] / 16.0  # (row, column)
    drive = xr.DataArray(picture.T, dims=("step", "input"))
    figure, axes = plt.subplots(2, 4, figsize=(9, 4.6), layout="constrained", height_ratios=[1, 1])
    _picture(axes[0, 0], picture, "the digit: columns are steps")
    axes[1, 0].axis("off")
    cases = [
        (transport(1.0), 0.0, "wave, Courant 1"),
        (transport(0.9), 0.02, "wave, Courant 0.9, noise 0.02"),
        (static(), 0.0, "static bump"),
    ]
    for column, (operator, noise, title) in enumerate(cases, start=1):
        rec = simulate(operator, drive, size=16, save_every=None)
        rec["activity"] = rec.activity + noise * rng.standard_normal(rec.activity.shape)
        field = rec.activity.isel(time=0)
        axes[1, column].imshow(field, cmap="magma_r", vmin=0, aspect="auto")
        axes[1, column].set(xlabel="position", ylabel="ring", title="snapshot")
        back = picture_of(decode(rec, noise=noise or None), picture.shape)
        error = np.abs(back - picture).max()
        _picture(axes[0, column], back, f"{title}\nlargest error {error:.2g}")
    return figure


def picture_of(events: xr.Dataset, shape: tuple[int, int]) -> np.ndarray:
    """Return the picture (input, step) of decoded events; one whose onset is not known is spread over all steps."""
    back = np.zeros(shape)
    columns = (events[name].values for name in ("input", "onset", "amplitude", "period"))
    for number, onset, amplitude, period in zip(*columns, strict=True):
        if period:
            back[number] += amplitude / shape[1]
        else:
            back[number, onset] += amplitude
    return back


def _picture(ax, picture, title):
    ax.imshow(picture, cmap="magma_r", vmin=0, vmax=1)
    ax.set_title(title, fontsize="medium")
    ax.set(xlabel="step (column)", ylabel="input (row)")


def dispersion_and_memory() -> Figure:
    """Dispersion relations of the schemes, and what a line remembers at each lag, with and without readout noise."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    schemes = [
        (wave(1.0), "two-way, Courant 1"),
        (wave(0.5), "two-way, Courant 0.5"),
        (transport(1.0), "one-way, Courant 1"),
        (transport(0.8), "one-way, Courant 0.8"),
    ]
    for number, (operator, name) in enumerate(schemes):
        plot.dispersion(operator.dispersion_relation(), ax=left, label=name, color=plot.colour_of(number))
    left.legend(frameon=False, fontsize="small", markerscale=4)
    cases = [(1.0, 0.0), (0.9, 0.0), (0.9, 0.01), (0.7, 0.01)]
    for number, (speed, noise) in enumerate(cases):
        curve = memory_capacity(transport(speed, boundary="absorbing"), 50, max_lag=120, noise=noise)
        plot.memory_curve(
            curve["capacity"].isel(input=0),
            ax=right,
            label=f"Courant {speed:g}, noise {noise:g}",
            color=plot.colour_of(number),
        )
    right.set_title("line of 50 positions with outflow", fontsize="medium", loc="left")
    return figure


def sheet() -> Figure:
    """Three inputs on a sheet: the field they leave, and where and when they entered, read from its last instant."""
    size, places = (96, 96), [(30, 30), (66, 54), (48, 78)]
    drive = spikes([[(4, 1.0)], [(22, 0.8)], [(40, 0.6)]], steps=60)
    rec = simulate(wave(0.6, dims=2, isotropic=True), drive, encoder=encoder_at(places, size))
    events = decode(rec, sites="anywhere")
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    for ax, time in zip(axes, (14, 34, -1), strict=True):
        now = rec.activity.isel(channel=0, time=time)
        plot_sheets.image(now, ax=ax, limit=float(np.quantile(np.abs(now), 0.999)), signed=True)
        ax.set_title(f"after {float(now['time']):g} steps", fontsize="medium", loc="left")
    plot_sheets.ring_events(axes[-1], rec.activity, events)
    axes[-1].set_title("and what is read back from it", fontsize="medium", loc="left")
    return figure


def drums() -> Figure:
    """Two drums with one spectrum, and what the same input leaves on each: a field tells what a spectrum cannot."""
    masks = isospectral_drums(24)
    place = np.argwhere(masks[0] & masks[1])[400]
    figure = plt.figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
    for number, (mask, ax) in enumerate(zip(masks, (middle, right), strict=True)):
        operator = wave(0.6, dims=2, boundary="fixed", mask=mask)
        frequency = modes(operator, count=14)["frequency"]
        number_of = np.arange(1, frequency.size + 1)
        marker = {"ms": (9, 4)[number], "mfc": ("none", "black")[number], "mec": plot.colour_of(number)}
        left.plot(number_of, frequency, "o", **marker, label=f"drum {number + 1}")
        rec = simulate(operator, ricker(0.06, steps=70), encoder=encoder_at([place], mask.shape), save_every=None)
        field = rec.activity.isel(time=-1, channel=0).where(mask)
        plot_sheets.image(field, ax=ax, signed=True)
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[], title=f"drum {number + 1}, the same input")
    left.set(xlabel="mode", ylabel="frequency (cycles per step)", title="one spectrum")
    left.legend(frameon=False)
    return figure


def memory_of_sheets(tables: Mapping[str, list[dict]]) -> Figure:
    """Capacity by lag against size, damping and noise, and the phase diagram of exact readout, from their tables."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained")
    rows = [{name: float(value) for name, value in row.items()} for row in tables["memory"]]
    for ax, (varied, values) in zip(axes, VARIED.items(), strict=False):
        held = {name: value for name, value in BASE.items() if name != varied}
        for number, value in enumerate(values):
            curve = [r for r in rows if r[varied] == value and all(r[name] == v for name, v in held.items())]
            ax.plot(
                [r["lag"] for r in curve],
                [r["capacity"] for r in curve],
                color=plot.colour_of(number),
                label=f"{value:g} ({curve[0]['total']:.0f})",
            )
        ax.set(xlabel="steps since the input arrived", ylim=(-0.03, 1.05))
        ax.set_title(", ".join(f"{name} {value:g}" for name, value in held.items()), fontsize="small", loc="left")
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": 3}
        ax.legend(**below, frameon=False, fontsize="small", title=f"{varied} (total)", title_fontsize="small")
    axes[0].set_ylabel("memory capacity")
    exact = [{name: float(value) for name, value in row.items()} for row in tables["readout"]]
    counts, noises = (sorted({row[name] for row in exact}) for name in ("events", "noise"))
    share = {(row["events"], row["noise"]): row["exact"] for row in exact}
    about = {
        name: {"units": "1", "long_name": text} for name, text in (("events", "number of events"), ("noise", "noise"))
    }
    values = np.array([[share.get((count, noise), np.nan) for noise in noises] for count in counts])  # blank: not run
    limits = xr.Dataset(
        {"exact": (("events", "noise"), values, {"units": "1", "long_name": "share of snapshots read exactly"})},
        coords={name: (name, of, about[name]) for name, of in (("events", counts), ("noise", noises))},
    )
    plot.exact_readout(limits, ax=axes[3])
    return figure

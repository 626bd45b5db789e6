"""Pictures of sheets: the field at one or several instants, what was decoded on it, where it flows, and its modes.

Colours are those of `wavefield.plot`: signed fields about zero, others by lightness, readable in grey and to
colour-blind eyes. Rows of the field lie along y, which points up.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from wavefield.checks import positive_int


def is_sheet(activity: xr.DataArray) -> bool:
    """Whether the activity is that of a sheet."""
    return {"y", "x"} <= set(activity.dims)


def image(
    field: xr.DataArray, *, ax: Axes | None = None, limit: float | None = None, signed: bool | None = None
) -> Axes:
    """The field of one sheet at one instant, dims (y, x); NaN, outside of a mask, is left grey.

    Parameters
    ----------
    limit : float, optional
        Largest value of the colours; by default that of the field.
    signed : bool, optional
        Whether zero is the middle of the colours; by default where the field has negative values.
    """
    if set(field.dims) != {"y", "x"}:
        raise ValueError(f"field must have the dims y and x, got {field.dims}: select one time, channel and trial")
    ax = plt.subplots(figsize=(4.4, 3.6), layout="constrained")[1] if ax is None else ax
    field = field.transpose("y", "x")
    colours = _colours(field.values, limit, signed)
    ax.imshow(field.values, **colours, extent=_extent(field), origin="lower", rasterized=True)
    ax.set(xlabel=label(field["x"]), ylabel=label(field["y"]), facecolor="0.85")
    return ax


def snapshots(activity: xr.DataArray, events: xr.Dataset | None = None) -> Figure:
    """One instant of every sheet side by side, dims (channel, y, x) or (y, x); decoded events where they entered.

    Events of `decode(…, sites="anywhere")` are ringed, with their onset; those of known inputs are listed above.
    """
    rows = activity if "channel" in activity.dims else activity.expand_dims("channel")
    count = rows.sizes["channel"]
    figure, axes = plt.subplots(1, count, figsize=(0.8 + 3.6 * count, 3.6), squeeze=False, layout="constrained")
    limit = float(np.nanmax(np.abs(rows.values))) or 1.0
    for number, ax in enumerate(axes[0]):
        image(rows.isel(channel=number), ax=ax, limit=limit)
        ax.set_title(f"sheet {number}" if count > 1 else "", fontsize="small", loc="left")
        if events is not None and "y" in events:
            ring_events(ax, rows, events.isel(event=np.flatnonzero(events["channel"].values == number)))
    if events is not None and "y" not in events:
        found = zip(*(events[name].values.tolist() for name in ("input", "onset", "amplitude")), strict=True)
        text = "; ".join(f"input {k} at step {onset}: {height:.2f}" for k, onset, height in found)
        figure.suptitle("read back: " + (text or "nothing"), fontsize="small", wrap=True)
    figure.colorbar(axes[0, -1].images[0], ax=axes[0].tolist(), label=label(activity), pad=0.01)
    return figure


def frames(activity: xr.DataArray, count: int = 6) -> Figure:
    """Instants of one sheet, equally spaced in the stored states: dims (time, y, x) or, of one channel, four."""
    positive_int(count, "count")
    if "channel" in activity.dims:
        if activity.sizes["channel"] > 1:
            raise ValueError(f"activity has {activity.sizes['channel']} channels: select one")
        activity = activity.isel(channel=0)
    which = np.unique(np.linspace(0, activity.sizes["time"] - 1, count + 1).round().astype(int)[1:])
    columns = min(which.size, 3)
    lines = -(-which.size // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(0.9 + 2.4 * columns, 2.5 * lines), squeeze=False, layout="constrained",
        sharex=True, sharey=True,
    )  # fmt: skip
    shown = activity.isel(time=which)
    # a front is much weaker than the cell it began in: the strongest thousandth may leave the colours
    limit = float(np.nanquantile(np.abs(shown.values), 0.999)) or float(np.nanmax(np.abs(shown.values))) or 1.0
    signed = bool((shown < 0).any())
    for ax, number in zip(axes.ravel(), range(which.size), strict=False):
        image(shown.isel(time=number), ax=ax, limit=limit, signed=signed)
        time = shown["time"][number]
        ax.set_title(f"{label(shown['time'])} = {float(time):g}", fontsize="small", loc="left")
        ax.label_outer()
    for ax in axes.ravel()[which.size :]:
        ax.remove()
    figure.colorbar(axes[0, 0].images[0], ax=axes.ravel()[: which.size].tolist(), label=label(activity), pad=0.01)
    return figure


def mode_gallery(found: xr.Dataset, count: int = 12) -> Figure:
    """Shapes of the lowest modes of a drum, as `wavefield.modes` gives them, each with its frequency."""
    if "shape" not in found or not is_sheet(found["shape"]):
        raise ValueError("found must be modes of a sheet, as wavefield.modes gives them")
    count = min(positive_int(count, "count"), found.sizes["mode"])
    columns = min(count, 4)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(1.9 * columns, 2.1 * lines), squeeze=False, layout="constrained"
    )
    for number, ax in enumerate(axes.ravel()):
        if number >= count:
            ax.remove()
            continue
        shape = found["shape"].isel(mode=number)
        image(shape.where(shape != 0), ax=ax, limit=float(np.abs(shape).max()), signed=True)
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
        ax.set_title(f"{number + 1}: f = {float(found.frequency[number]):.4g}", fontsize="small")
    return figure


def flow(now: xr.DataArray, before: xr.DataArray, *, ax: Axes | None = None, arrows: int = 24) -> Axes:
    """Where the energy of a two-way field flows, −∂h/∂t·∇h, as arrows over the field: a map of its directions.

    Parameters
    ----------
    now, before : DataArray
        Two successive levels with the dims y and x, as `activity` at the last time and `previous` of a recording.
    arrows : int
        About so many arrows along the longer axis.
    """
    ax = image(now, ax=ax)
    now, before = (level.transpose("y", "x") for level in (now, before))
    y, x = (now[dim].values.astype(float) for dim in ("y", "x"))
    middle, change = (now.values + before.values) / 2, now.values - before.values
    flow_y, flow_x = (-change * slope for slope in np.gradient(middle, y, x))
    every = max(1, max(now.shape) // positive_int(arrows, "arrows"))
    cells = [slice(every // 2, None, every)] * 2
    size = np.hypot(flow_y, flow_x)
    strong = size[tuple(cells)] > 0.02 * size.max()
    of_x, of_y = (np.where(strong, part[tuple(cells)], np.nan) for part in (flow_x, flow_y))
    ax.quiver(x[cells[1]], y[cells[0]], of_x, of_y, angles="xy", color="black", width=0.004, zorder=3)
    return ax


def section(activity: xr.DataArray, relation: xr.Dataset | None = None, *, axis: str = "x", ax: Axes | None = None):
    """Power over wavenumber and frequency in the plane k = (0, kx), or (ky, 0), of one sheet; dims (time, y, x).

    What travels towards +x lies at k > 0.

    Parameters
    ----------
    relation : Dataset, optional
        The operator's `dispersion_relation`, drawn over the measured power as dots.
    axis : {"x", "y"}
    """
    if set(activity.dims) != {"time", "y", "x"} or axis not in ("x", "y"):
        raise ValueError(
            f"activity must have the dims time, y and x, and axis be 'x' or 'y', got {activity.dims}, {axis!r}"
        )
    across = "y" if axis == "x" else "x"
    line = activity.mean(across).transpose("time", axis)  # the mean is k = 0 along the other axis
    taper = np.hanning(line.sizes["time"] + 2)[1:-1, None]
    transform = np.fft.ifft(np.fft.rfft(line.values * taper, axis=0), axis=1)  # of e^{2πi(ft − kx)}
    power = np.abs(np.fft.fftshift(transform, axes=1)) ** 2
    steps = [float(np.diff(line[dim].values[:2])[0]) for dim in ("time", axis)]
    frequency = np.fft.rfftfreq(line.sizes["time"], steps[0])
    wavenumber = np.fft.fftshift(np.fft.fftfreq(line.sizes[axis], steps[1]))
    ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")[1] if ax is None else ax
    decibel = 10 * np.log10(power / power.max() + 1e-12)
    mesh = ax.pcolormesh(
        wavenumber, frequency, decibel, cmap="magma_r", vmin=-60, vmax=0, rasterized=True, shading="nearest"
    )
    ax.figure.colorbar(mesh, ax=ax, label="power (dB)", pad=0.01)
    if relation is not None:
        name, other = f"wavenumber_{axis}", f"wavenumber_{across}"
        of = relation["frequency"].sel({other: 0.0}, method="nearest").transpose("branch", name)
        for branch in of.values:
            ax.plot(relation[name], np.where(branch >= 0, branch, np.nan), ".", ms=2.5, color="#0072B2")
    ax.set(xlabel=f"wavenumber along {axis}", ylabel="frequency", ylim=(0, frequency[-1]))
    return ax


def sheet_animation(activity: xr.DataArray, figure: Figure, ax: Axes):
    """Prepare the animation of one sheet, dims (time, y, x): a function that draws a frame."""
    limit = float(np.nanmax(np.abs(activity.values))) or 1.0
    image(activity.isel(time=0), ax=ax, limit=limit)
    picture: AxesImage = ax.images[0]
    figure.colorbar(picture, ax=ax, label=label(activity), pad=0.01)
    states, times = activity.transpose("time", "y", "x").values, activity["time"].values

    def draw(frame):
        picture.set_data(states[frame])
        ax.set_title(f"{label(activity['time'])} = {times[frame]:g}", fontsize="small", loc="left")
        return [picture]

    return draw


def ring_events(ax: Axes, field: xr.DataArray, events: xr.Dataset) -> None:
    """Draw rings where events entered, with their onsets; faint where they are uncertain."""
    y, x = (field[dim].values for dim in ("y", "x"))
    columns = (events[name].values.tolist() for name in ("y", "x", "onset", "confidence"))
    for row, column, onset, confidence in zip(*columns, strict=True):
        alpha = max(0.25, min(1.0, confidence))
        ax.plot(x[column], y[row], "o", mfc="none", mec="black", ms=9, alpha=alpha)
        ax.annotate(
            str(onset), (x[column], y[row]), (6, 5), textcoords="offset points", fontsize="x-small", alpha=alpha
        )


def _colours(values, limit, signed) -> dict[str, Any]:
    limit = (float(np.nanmax(np.abs(values))) or 1.0) if limit is None else limit
    signed = float(np.nanmin(values)) < 0 if signed is None else signed
    return {"cmap": "RdBu_r" if signed else "magma_r", "vmin": -limit if signed else 0, "vmax": limit}


def _extent(field):
    """Edges of the outermost cells, as imshow wants them."""
    edges = []
    for dim in ("x", "y"):
        at = field[dim].values.astype(float)
        half = (at[1] - at[0]) / 2 if at.size > 1 else 0.5
        edges += [at[0] - half, at[-1] + half]
    return edges


def label(array: xr.DataArray) -> str:
    """Axis label of a coordinate or variable: its long name and, where it has one, its unit."""
    name = array.attrs.get("long_name", str(array.name))
    units = array.attrs.get("units", "1")
    return name if units in ("1", "") else f"{name} ({units})"

"""Pictures of diagnostics: spectrum with the measured speeds, null distribution, one-page summary.

Matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["describe", "null_distribution", "space_time", "spectrum", "summary"]

ESTIMATOR_COLOURS = {
    "ridge": "#D55E00",
    "radon": "#0072B2",
    "delay": "#009E73",
    "phase gradient": "#CC79A7",
    "optical flow": "#E69F00",
}


def spectrum(
    power: xr.DataArray,
    *,
    ax: Axes | None = None,
    speeds: dict[str, float] | None = None,
    relation: xr.Dataset | None = None,
) -> Axes:
    """Power over wavenumber and frequency, logarithmic, with lines f = speed · k and dispersion relations over it.

    Parameters
    ----------
    power : DataArray, dims (frequency, wavenumber)
    speeds : dict of name to speed, optional
        Drawn as lines.
    relation : Dataset, optional
        With ``frequency`` over ``wavenumber`` (and perhaps ``branch``): a fitted or computed dispersion relation.
    """
    from matplotlib.colors import LogNorm

    from wavefield.plot import label

    ax = new_axes(5, 4) if ax is None else ax
    field = power.transpose("frequency", "wavenumber")
    top = float(field.max()) or 1.0
    mesh = ax.pcolormesh(
        field["wavenumber"],
        field["frequency"],
        np.maximum(field.values, top * 1e-6),
        norm=LogNorm(top * 1e-6, top),
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    ax.figure.colorbar(mesh, ax=ax, label=label(power), pad=0.01)
    k = field["wavenumber"].values
    for name, speed in (speeds or {}).items():
        if np.isfinite(speed):
            ax.plot(k, speed * k, color=ESTIMATOR_COLOURS.get(name, "white"), lw=1.2, ls=(0, (4, 3)), label=name)
    if relation is not None:
        for row in np.atleast_2d(relation["frequency"].values):
            ax.plot(relation["wavenumber"], row, ".", color="#56B4E9", ms=2)
    ax.set(
        xlim=(k.min(), k.max()),
        ylim=(0, float(field["frequency"].max())),
        xlabel=label(field["wavenumber"]),
        ylabel=label(field["frequency"]),
    )
    if speeds and any(np.isfinite(speed) for speed in speeds.values()):
        ax.legend(loc="upper left", fontsize="x-small", framealpha=0.9)
    return ax


def null_distribution(null_index: xr.DataArray, index: float, p_value: float, *, ax: Axes | None = None) -> Axes:
    """Histogram of a statistic under its null, the observed value a line."""
    ax = new_axes(4, 3) if ax is None else ax
    ax.hist(null_index.values.ravel(), bins=40, color="0.7")
    ax.axvline(index, color="#D55E00", lw=2)
    lowest = -1.05 if min(float(null_index.min()), index) < 0 else 0.0  # the size of a vector has no sign
    ax.set(xlim=(lowest, 1.05), xlabel="direction index", ylabel="surrogates", yticks=[])
    ax.set_title(f"observed {index:.2f}, p = {p_value:.3g}", fontsize="medium", loc="left")
    return ax


def space_time(activity: xr.DataArray, *, ax: Axes | None = None) -> Axes:
    """Space–time diagram of one channel of one trial on a line or ring: time to the right, position upwards."""
    from wavefield import plot

    return plot.space_time(activity, ax=ax)


def summary(activity: xr.DataArray, result: xr.Dataset) -> Figure:
    """One page: the field over time, its spectrum with the speeds or a dial of directions, the null, and the verdict.

    Parameters
    ----------
    activity : DataArray
        Of one channel and trial.
    result : Dataset
        What `analysis.diagnose` says of that channel.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained", width_ratios=[3, 2])
    one = result.isel(trial=0) if "trial" in result.dims else result
    if "position" in activity.dims:
        space_time(activity, ax=axes[0, 0])
    elif "electrode" in activity.dims:
        _traces(activity, float(one["angle"]), axes[0, 0])
    else:
        middle = activity.isel({dim: activity.sizes[dim] // 2 for dim in activity.dims if dim == "y"})
        space_time(middle.rename(x="position"), ax=axes[0, 0])
        axes[0, 0].set_title("along x, in the middle of y", fontsize="medium", loc="left")
    if "centre_x" in one and str(one["verdict"].values) in ("rotating", "expanding", "converging"):
        _around(activity, one, axes[1, 0])
    elif "direction" in one:
        axes[1, 0].remove()
        _dial(one, figure.add_subplot(2, 2, 3, projection="polar"))
    else:
        speeds = dict(zip(one["estimator"].values.tolist(), one["speed"].values.tolist(), strict=True))
        spectrum(one["power"], ax=axes[1, 0], speeds=speeds)
    null_distribution(one["null_index"], float(one["index"]), float(one["p_value"]), ax=axes[0, 1])
    axes[1, 1].axis("off")
    axes[1, 1].text(0, 1, describe(one), va="top", fontsize="small", wrap=True)
    return figure


def _traces(activity, angle, ax):
    """Electrodes one above the other, in the order in which a plane wave reaches them, or that of the recording."""
    from wavefield.plot import label

    values = activity.transpose("time", "electrode")
    order = "electrodes, in the order of the recording"
    if np.isfinite(angle) and {"x", "y"} <= set(values.coords):
        along = np.cos(angle) * values["x"].values + np.sin(angle) * values["y"].values
        values = values.isel(electrode=np.argsort(along))
        order = f"electrodes, the farthest towards {np.degrees(angle):.0f}° on top"
    values = values - values.median("time")  # an offset or one wild channel hides no other
    step = 3 * float(values.std("time").median()) or 1.0
    values = values.values
    ax.plot(activity["time"], values + step * np.arange(values.shape[1]), color="0.2", lw=0.5)
    ylim = (-2 * step, (values.shape[1] + 1) * step)
    ax.set(xlabel=label(activity["time"]), ylabel="electrodes", yticks=[], ylim=ylim)
    ax.set_title(order, fontsize="medium", loc="left")


def _around(activity, one, ax):
    """The sensors with the direction in which the wave passes each of them, and the point it turns about or leaves."""
    from wavefield.plot import label

    x, y = (activity[name] for name in ("x", "y"))
    if "electrode" not in activity.dims:
        y, x = xr.broadcast(y, x)
    centre = [float(one[f"centre_{name}"]) for name in "xy"]
    away = np.stack([x.values.ravel() - centre[0], y.values.ravel() - centre[1]])
    away = away / np.maximum(np.linalg.norm(away, axis=0), 1e-300) * float(one["sign"])
    if str(one["verdict"].values) == "rotating":
        away = np.stack([-away[1], away[0]])
    ax.quiver(x.values.ravel(), y.values.ravel(), *away, color="0.4", pivot="mid", angles="xy")
    ax.plot(*centre, "o", color="#D55E00", ms=8)
    ax.set(aspect="equal", xlabel=label(activity["x"]), ylabel=label(activity["y"]))
    ax.set_title(f"{one['verdict'].values}, about the point", fontsize="medium", loc="left")


def _dial(one, ax):
    """Direction of travel by every estimator that stands, with its interval, and that of the verdict."""
    for name in one["estimator"].values.tolist():
        here = one.sel(estimator=name)
        angle, low, high = (float(here[key]) for key in ("direction", "direction_low", "direction_high"))
        if not np.isfinite(angle):
            continue
        ax.plot([angle, angle], [0, 1], color=ESTIMATOR_COLOURS.get(name, "0.5"), lw=1.5, label=name)
        if np.isfinite(low):
            arc = np.linspace(low, high, 64)
            ax.fill_between(arc, 0, 1, color=ESTIMATOR_COLOURS.get(name, "0.5"), alpha=0.15, lw=0)
    ax.set(ylim=(0, 1), yticks=[])
    ax.set_title("direction of travel", fontsize="medium", loc="left")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0), fontsize="x-small")


def describe(one: xr.Dataset) -> str:
    """The verdict of one channel in words: what, which way, how fast with its interval, and the p-value."""
    unit = one["speed"].attrs.get("units", "1")
    unit = "" if unit == "1" else f" {unit}"
    lines = [f"verdict: {one['verdict'].values}"]
    if "angle" in one and str(one["verdict"].values) == "travelling":
        angle, low, high = (np.degrees(float(one[name])) for name in ("angle", "angle_low", "angle_high"))
        interval = f" [{low:.1f}°, {high:.1f}°]" if np.isfinite(low) else ""
        lines[0] += f" towards {angle:.1f}°{interval}, counter-clockwise from +x"
    if "centre_x" in one and str(one["verdict"].values) in ("rotating", "expanding", "converging"):
        sense = ""
        if str(one["verdict"].values) == "rotating":
            sense = " counter-clockwise" if float(one["sign"]) > 0 else " clockwise"
        lines[0] += f"{sense} about ({float(one['centre_x']):.3g}, {float(one['centre_y']):.3g})"
    if str(one["verdict"].values) == "several in turn":
        lines += _in_turn(one)
    lines.append(f"direction index {float(one['index']):.3f}, p = {float(one['p_value']):.3g}")
    if "verdict_without_band" in one:
        lines[-1] += " (in the band)"
        p = float(one["p_value_without_band"])
        lines.append(f"without the band: {one['verdict_without_band'].values}, p = {p:.3g}")
    for k, name in enumerate(one["estimator"].values.tolist()):
        here = one.isel(estimator=k)
        if int(here["status"]) == 0:
            low, high = float(here["speed_low"]), float(here["speed_high"])
            lines.append(f"speed by {name}: {float(here['speed']):.4g}{unit} [{low:.4g}, {high:.4g}]")
        else:
            why = here["status"].attrs["flag_meanings"].split()[int(here["status"])].replace("_", " ")
            lines.append(f"speed by {name}: not given ({why})")
    lines.append(f"travelling index {float(one['travelling_index']):.2f} (0 standing, 1 travelling)")
    return "\n".join(lines)


def _in_turn(one: xr.Dataset) -> list[str]:
    """Which wave from when on, of stretches with the same one the first alone."""
    words = one["in_turn"].attrs["flag_meanings"].split()
    unit = one["stretch_start"].attrs.get("units", "1")
    unit, lines, before = "" if unit == "1" else f" {unit}", [], ("none", np.nan)
    for code, angle, start in zip(
        one["in_turn"].values, one["in_turn_angle"].values, one["stretch_start"].values, strict=True
    ):
        word = words[int(code)]
        towards = f" towards {np.degrees(angle):.0f}°" if word == "travelling" else ""
        same = word == before[0] and not np.cos(angle - before[1]) < 0.5  # within 60°
        if word != "none" and not same:
            lines.append(f"  {word}{towards} from {start:.4g}{unit}")
        before = (word, angle)
    return lines


def new_axes(width: float, height: float) -> Axes:
    """Axes in a figure of their own, so many inches wide and high."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]

"""A run on scenes in one picture: what it saw and answered, the medium that the image made, and the waves in it."""

from __future__ import annotations

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

SHOWN = 8  # states
CLASSES = ListedColormap(["black", *matplotlib.color_sequences["tab10"]])  # the background, then up to ten


def scene_figure(recording: xr.Dataset) -> tuple[Figure, Axes]:
    """Draw the first recorded scene; the second return value is left for the learning curve.

    Above image, target, prediction and, of a Neural Wave Machine, stiffness and damping of its first channel; below
    states of that channel over time, or, without a recurrence, the probability of each class.
    """
    figure = Figure(figsize=(15, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, SHOWN)
    scene = recording.isel(trial=0)
    curve = figure.add_subplot(grid[0, :2])
    seen = [name for name in ("image", "target", "prediction", "stiffness", "damping", "initial") if name in scene]
    for place, name in enumerate(seen, start=SHOWN - 6):
        ax = figure.add_subplot(grid[0, place])
        _show(figure, ax, scene[name].values, name)
        ax.set_title(name, fontsize=9)
    recurrent = scene.sizes["time"] > 1
    if recurrent:
        chosen = np.linspace(0, scene.sizes["time"] - 1, SHOWN).round().astype(int)
        pictures = scene.activity.isel(channel=0, time=chosen).values
        names = [f"t = {t:.3g}" for t in scene.time.values[chosen]]
    else:
        pictures = scene.activity.isel(time=0, channel=slice(SHOWN)).values
        names = [f"class {k}" for k in range(len(pictures))]
    limit = max(float(np.abs(pictures).max()), 1e-12)
    for place, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        ax = figure.add_subplot(grid[1, place])
        low, colours = (-limit, "RdBu_r") if recurrent else (0.0, "viridis")
        drawn = ax.imshow(picture, vmin=low, vmax=limit if recurrent else 1.0, cmap=colours)
        ax.set_axis_off()
        ax.set_title(name, fontsize=9)
    figure.colorbar(drawn, ax=ax, shrink=0.8)
    return figure, curve


def _show(figure, ax, values, name):
    ax.set_axis_off()
    if name == "image":
        ax.imshow(np.moveaxis(values, 0, -1) if len(values) == 3 else values[0], cmap="gray", vmin=0, vmax=1)
    elif name in ("target", "prediction"):
        ax.imshow(values, cmap=CLASSES, vmin=-0.5, vmax=CLASSES.N - 0.5, interpolation="nearest")
    else:
        figure.colorbar(ax.imshow(values[0], cmap="magma"), ax=ax, shrink=0.8)

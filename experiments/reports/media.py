"""The medium that an image made in a Neural Wave Machine: its drum, and its waves over those that were measured."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

import wavefield as wf
from wavefield.plot_sheets import section
from wavefield_torch import WaveSheet

MODES = 4


def medium_of(scene: xr.Dataset) -> WaveSheet:
    """Return the sheet of one recorded image: W, and the stiffness and damping of every place."""
    stiffness, damping, kernel = (torch.from_numpy(scene[n].values) for n in ("stiffness", "damping", "coupling"))
    sheet = WaveSheet(
        kernel.shape[0],
        (stiffness.shape[1], stiffness.shape[2]),
        kernel_size=kernel.shape[-1],
        dt=float(scene.attrs["dt"]),
        boundary=str(scene.attrs["boundary"]),
        nonlinearity=str(scene.attrs["nonlinearity"]),
        scheme="semi-implicit",
    )
    with torch.no_grad():
        for parameter, value in zip(sheet.parameters(), (kernel, stiffness, damping), strict=True):
            parameter.copy_(value)
    return sheet


def medium_figure(scene: xr.Dataset, channel: int) -> Figure:
    """Draw the medium of one image in one channel.

    Above stiffness ω, damping α and the lowest modes of the drum (`WaveSheet.drum`); below the measured power of the
    states over wavenumber and frequency along x and along y, with the branches of W at the mean ω and α as dots. Those
    are of the sheet about its rest: tanh, and an ω that varies, take waves away from them.
    """
    sheet = medium_of(scene)
    figure, axes = plt.subplots(2, 2 + MODES, figsize=(2.3 * (2 + MODES), 5.6), layout="constrained")
    for ax, name in zip(axes[0], ("stiffness", "damping"), strict=False):
        figure.colorbar(ax.imshow(scene[name].values[channel], cmap="magma"), ax=ax, shrink=0.7)
        ax.set_title(f"{name} {'ω' if name == 'stiffness' else 'α'}(x)", fontsize="small")
        ax.set_axis_off()
    _draw_modes(axes[0, 2:], sheet, channel)
    for ax in axes[1]:
        ax.remove()
    grid = axes[1, 0].get_gridspec()
    operator = sheet.averaged().to_operator()
    operator = wf.WaveOperator(operator.kernel, dx=operator.dx, dt=operator.dt, levels=operator.levels)  # of a torus
    activity = scene.activity.isel(channel=channel)
    count = [np.fft.fftshift(np.fft.fftfreq(activity.sizes[dim])) for dim in ("y", "x")]
    half = (2 + MODES) // 2
    for axis, place in (("x", slice(0, half)), ("y", slice(half, None))):
        zero = np.zeros(1)
        relation = operator.dispersion_relation((zero, count[1]) if axis == "x" else (count[0], zero))
        ax = section(activity, relation, axis=axis, ax=figure.add_subplot(grid[1, place]))
        highest = float(np.abs(relation.frequency).max())
        ax.set_ylim(0, min(ax.get_ylim()[1], max(3 * highest, 2 / float(activity.time[-1]))))
    return figure


def _draw_modes(axes, sheet, channel):
    """The lowest modes of a channel's drum, or why it has none."""
    try:
        found = wf.modes(sheet.drum(channel), count=len(axes))
    except ValueError as error:
        for ax in axes:
            ax.set_axis_off()
        axes[0].set_title(str(error), fontsize="x-small", loc="left", wrap=True)
        return
    for number, ax in enumerate(axes):
        shape = found["shape"].values[number]
        limit = np.abs(shape).max()
        ax.imshow(shape, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"mode {number + 1}: f = {float(found.frequency[number]):.3g}", fontsize="small")
        ax.set_axis_off()

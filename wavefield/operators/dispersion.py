"""What the Fourier symbol of an operator says about its waves: frequency, velocities and growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from wavefield.checks import positive, positive_int

if TYPE_CHECKING:  # the operator is defined by means of this module
    from wavefield.operators.operator import WaveOperator

_NAMES = {1: ("wavenumber",), 2: ("wavenumber_y", "wavenumber_x")}


def dispersion_relation(operator: WaveOperator, wavenumber: ArrayLike | tuple | None) -> xr.Dataset:
    """As `WaveOperator.dispersion_relation` describes it."""
    axes = _axes(operator, wavenumber)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))  # (points, dims)
    symbol = operator.symbol(grid[:, 0] if operator.dims == 1 else grid)
    values, right = np.linalg.eig(symbol)  # (points, C), (points, C, C)
    order = np.argsort(np.angle(values), axis=1)
    values = np.take_along_axis(values, order, axis=1)
    right = np.take_along_axis(right, order[:, None, :], axis=2)
    # the left eigenvectors solve Lᴴ R = 1; a defective symbol has none, and its pseudo-inverse says so
    conditioned = np.linalg.cond(right) < 1e7
    left = np.linalg.pinv(right)
    frequency = np.angle(values) / (2 * np.pi * operator.dt)
    shape, names = [axis.size for axis in axes], _NAMES[operator.dims]
    found = {}
    for axis, name in enumerate(names):
        change = np.einsum("kbi,kij,kjb->kb", left, _derivative(operator, grid, axis), right)
        with np.errstate(divide="ignore", invalid="ignore"):
            group = (change / values).imag / (2 * np.pi * operator.dt)
        group[~conditioned] = np.nan
        found[name.replace("wavenumber", "group_velocity")] = group
    size = grid[:, 0] if operator.dims == 1 else np.hypot(*grid.T)
    found["phase_velocity"] = frequency / np.where(size == 0, np.nan, size)[:, None]
    attributes = {"frequency": {"units": "1", "long_name": "frequency, in cycles per unit of time"}}
    attributes["growth"] = {"units": "1", "long_name": "growth per step"}
    attributes |= {name: {"units": "1", "long_name": name.replace("_", " ")} for name in found}
    found |= {"frequency": frequency, "growth": np.abs(values)}
    return xr.Dataset(
        {name: (("branch", *names), values.T.reshape(-1, *shape), attributes[name]) for name, values in found.items()},
        coords={
            name: (name, axis, {"units": "1", "long_name": "wavenumber, in cycles per unit of length"})
            for name, axis in zip(names, axes, strict=True)
        },
        attrs={"dx": list(operator.dx) if isinstance(operator.dx, tuple) else operator.dx, "dt": operator.dt}
        | {"method": "eigenvalues of the Fourier symbol"},
    )


def phase_speeds(operator: WaveOperator, cells: float, directions: int | ArrayLike = 180) -> xr.DataArray:
    """Phase speed of the waves of one wavelength in every direction: the anisotropy of the numerical speed.

    Parameters
    ----------
    operator : WaveOperator
        Of a periodic sheet.
    cells : float
        Wavelength in cells of the x axis.
    directions : int or array_like
        So many directions around, or the directions, radians counter-clockwise from +x, y up.

    Returns
    -------
    xarray.DataArray, dim `direction`
        Speed of the fastest branch in units of length per time; `attrs["anisotropy"]` is (largest − smallest)/mean.

    Examples
    --------
    >>> import wavefield as wf
    >>> five, nine = (phase_speeds(wf.wave(0.5, dims=2, isotropic=iso), 8.0) for iso in (False, True))
    >>> nine.attrs["anisotropy"] < 0.1 * five.attrs["anisotropy"]
    True
    """
    if operator.dims != 2:
        raise ValueError(f"operator must be of a sheet: a line has one direction, got {operator!r}")
    cells = positive(cells, "cells")
    if isinstance(directions, (int, np.integer)):
        directions = np.arange(positive_int(directions, "directions")) * (2 * np.pi / directions)
    directions = np.atleast_1d(np.asarray(directions, dtype=float))
    wavenumber = 1 / (cells * operator.spacings[1])
    pairs = wavenumber * np.stack([np.sin(directions), np.cos(directions)], axis=-1)
    turns = np.angle(np.linalg.eigvals(operator.symbol(pairs))).max(axis=-1)
    speed = turns / (2 * np.pi * operator.dt * wavenumber)
    return xr.DataArray(
        speed,
        {"direction": ("direction", directions, {"units": "rad", "long_name": "direction"})},
        ["direction"],
        "phase_speed",
        {"units": "1", "long_name": "phase speed", "anisotropy": float(np.ptp(speed) / speed.mean())},
    )


def _axes(operator, wavenumber):
    """The wavenumbers along each axis."""
    if wavenumber is None:
        count = 257 if operator.dims == 1 else 65
        return [np.linspace(-0.5, 0.5, count) / spacing for spacing in operator.spacings]
    if operator.dims == 2 and (not isinstance(wavenumber, (tuple, list)) or len(wavenumber) != 2):
        raise ValueError("wavenumber of a sheet must be a pair (k_y, k_x) of 1-D arrays")
    axes = [np.asarray(k, dtype=float) for k in ([wavenumber] if operator.dims == 1 else wavenumber)]
    for k in axes:
        if k.ndim != 1 or not np.isfinite(k).all():
            raise ValueError(f"wavenumber must be a 1-D array of finite numbers, got shape {k.shape}")
    return axes


def _derivative(operator, grid, axis):
    """The symbol differentiated by k along one axis, (points, C, C)."""
    spacing, kernel = np.array(operator.spacings), operator.kernel
    offsets = [np.arange(width) - width // 2 for width in kernel.shape[2:]]
    cells = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, operator.dims)  # (taps, dims)
    phases = np.exp(-2j * np.pi * grid @ (cells * spacing).T)  # (points, taps)
    slope = -2j * np.pi * spacing[axis] * cells[:, axis]
    return np.einsum("oij,kj->koi", kernel.reshape(*kernel.shape[:2], -1), slope * phases)

"""Wavelets: drives of one input with the shape of a pulse, in units of time.

Each returns a drive x[t] at the times t·dt, with the dims ``step, input``, as `spikes` does. Several inputs are joined
by ``xarray.concat(…, "input")``.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from wavefield.checks import positive, positive_int
from wavefield.simulation.drive import as_drive


def gaussian(width: float, steps: int, *, dt: float = 1.0, delay: float | None = None) -> xr.DataArray:
    """Gaussian pulse, x(t) = exp(−(t − t₀)²/(2 width²)).

    Parameters
    ----------
    width : float
        Standard deviation, in units of time.
    steps : int
        Length of the drive.
    dt : float
        Duration of a step, as of the operator.
    delay : float, optional
        t₀, the time of the peak; by default 4 widths, when the pulse begins at 0.0003 of its height.

    Examples
    --------
    >>> gaussian(0.5, 9, dt=0.5).values[:, 0].round(3).tolist()
    [0.0, 0.011, 0.135, 0.607, 1.0, 0.607, 0.135, 0.011, 0.0]
    """
    width = positive(width, "width")
    t = _times(steps, dt, 4 * width if delay is None else delay)
    return as_drive(np.exp(-((t / width) ** 2) / 2)[:, None])


def ricker(frequency: float, steps: int, *, dt: float = 1.0, delay: float | None = None) -> xr.DataArray:
    """Ricker wavelet, x(t) = (1 − 2a) e^{−a}, a = (πf(t − t₀))²: no mean, its spectrum largest at f.

    Parameters
    ----------
    frequency : float
        f, in cycles per unit of time.
    steps, dt
        As of `gaussian`.
    delay : float, optional
        t₀, the time of the peak; by default 1.5/f.

    Raises
    ------
    ValueError
        If a step is longer than half a period.

    Examples
    --------
    >>> ricker(0.1, 31).values[[7, 11, 15, 19], 0].round(3).tolist()
    [-0.021, -0.445, 1.0, -0.445]
    """
    frequency = _frequency(frequency, dt)
    a = (np.pi * frequency * _times(steps, dt, 1.5 / frequency if delay is None else delay)) ** 2
    return as_drive(((1 - 2 * a) * np.exp(-a))[:, None])


def tone_burst(frequency: float, cycles: float, steps: int, *, dt: float = 1.0, delay: float = 0.0) -> xr.DataArray:
    """Tone under a Hann window, x(t) = sin(2πf(t − t₀)) · sin²(πf(t − t₀)/cycles) for 0 ≤ f(t − t₀) ≤ cycles.

    Parameters
    ----------
    frequency : float
        f, in cycles per unit of time.
    cycles : float
        Duration of the burst, in periods.
    steps, dt
        As of `gaussian`.
    delay : float
        t₀, the time at which the burst begins.

    Raises
    ------
    ValueError
        If a step is longer than half a period.

    Examples
    --------
    >>> tone_burst(0.25, 2, 10).values[[1, 3, 5, 7], 0].round(3).tolist()
    [0.146, -0.854, 0.854, -0.146]
    """
    frequency, cycles = _frequency(frequency, dt), positive(cycles, "cycles")
    phase = frequency * _times(steps, dt, delay)
    inside = (phase >= 0) & (phase <= cycles)
    return as_drive(np.where(inside, np.sin(2 * np.pi * phase) * np.sin(np.pi * phase / cycles) ** 2, 0.0)[:, None])


def _times(steps, dt, delay):
    if not np.isfinite(delay):
        raise ValueError(f"delay must be a finite time, got {delay!r}")
    return np.arange(positive_int(steps, "steps")) * positive(dt, "dt") - delay


def _frequency(frequency, dt):
    frequency, dt = positive(frequency, "frequency"), positive(dt, "dt")
    if frequency * dt >= 0.5:
        raise ValueError(
            f"frequency must be below 1/(2 dt) = {0.5 / dt:g}, or the steps miss its cycles, got {frequency:g}"
        )
    return frequency

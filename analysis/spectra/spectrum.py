"""Wavenumber–frequency spectrum: how much power travels at which wavenumber, frequency and in which direction.

The transform is ``U(k, f) = Σ u(x, t) exp(−2πi(f t − k x))``, folded to f ≥ 0. **+k travels to +x**, and a plane wave
``cos(2π(f₀t − k₀x))`` has its peak at (k₀, f₀), moving at the signed speed f₀/k₀ (the convention of Hayashi and of
Wheeler and Kiladis; a plain ``fft2`` puts the same wave at k·f < 0).
"""

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.units import labelled, netcdf_attrs
from analysis.spectra.transform import Spectral, dim_names, mapped_power, plan_transform

SCALINGS = ("density", "spectrum")


def wavenumber_frequency_spectrum(
    rec: Recording,
    *,
    window: str | tuple | float = "hann",
    space_window: str | tuple | float | None = None,
    detrend: str | None = "linear",
    segment: int | None = None,
    overlap: float = 0.5,
    scaling: str = "density",
    average: str | Sequence[str] = (),
    mask: Mask = None,
) -> xr.Dataset:
    r"""Power over wavenumber and frequency, signed so that +k travels to +x.

    .. math:: P(k, f) = \frac{2\,\Delta t\,\Delta x}{\sum w^2}\,
              \Big|\sum_{x,t} w(x, t)\, u(x, t)\, e^{-2\pi i (f t - k x)}\Big|^2

    (no factor 2 at f = 0 and at the Nyquist frequency), so that ``P.sum() · Δk · Δf`` is the mean square of u, each
    sample weighted by w². With ``scaling="spectrum"`` the sum is divided by (Σw)² instead: a plane wave of amplitude
    A has a peak of A²/2.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a ring, a line or a grid: dims ``(trial,) time, (channel,) position`` or ``y, x``, evenly
        sampled, in NumPy or dask.
    window : str, tuple or float
        Window over time, as `scipy.signal.get_window` takes it; ``"boxcar"`` for none.
    space_window : str, tuple, float or None
        Window over space. None (the default) means none along a ring, which has no ends, and `window` along an open
        axis.
    detrend : {"linear", "constant", "plane", None}
        Removed before windowing, from every segment: a straight line in time, or the mean, from every position; or
        one plane a + b t + c·x from all positions together, which leaves what stands still at each position.
    segment, overlap : int or None, float
        Welch's method: average over segments of so many samples, overlapping by this share.
    scaling : {"density", "spectrum"}
        Per unit of k and f, or per bin.
    average : str or sequence of str
        Dims to average over, such as ``"trial"``: needed where one spectrum per trial and channel would not fit in
        memory.
    mask : None, "nan" or boolean array
        Dead positions, to be filled from their neighbours: those with NaN, or those where the array is True.

    Returns
    -------
    xarray.Dataset
        ``power``, dims ``(trial, channel,) frequency, wavenumber`` (on grids ``wavenumber_y, wavenumber_x``), in the
        dtype of the activity, lazy if the activity is a dask array; units, window, scaling, … in attributes.

    Raises
    ------
    ValueError
        Uneven sampling, fewer than three samples along an axis, NaN without a mask, an irregular array, an unknown
        option, a segment longer than the recording.
    TypeError
        Complex or non-numeric data.

    References
    ----------
    Wheeler and Kiladis (1999), J. Atmos. Sci. 56, 374; Hayashi (1971), J. Meteorol. Soc. Jpn. 49, 125.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.ring(64), 256, wavenumber=5 / 64, frequency=12 / 256)
    >>> power = wavenumber_frequency_spectrum(rec, scaling="spectrum").power
    >>> peak = power.where(power == power.max(), drop=True)
    >>> peak.frequency.item() / peak.wavenumber.item()
    0.6
    """
    options = Spectral(window, space_window, detrend, segment, overlap)
    return spectrum(Field.of(rec, mask), options, scaling=scaling, average=average)


def spectrum(
    field: Field, options: Spectral, *, scaling: str = "density", average: str | Sequence[str] = ()
) -> xr.Dataset:
    """What `wavenumber_frequency_spectrum` returns, of a field."""
    plan = plan_transform(field, options)
    factor = _scale(plan, scaling)
    power = (mapped_power(field.values, plan, average=average) * field.values.dtype.type(factor)).rename("power")
    units = "1" if scaling == "spectrum" else _inverse(plan)
    power.attrs = labelled(_times(field.units, units), f"power {scaling}")
    attrs = netcdf_attrs(
        method="wavenumber-frequency spectrum, +k travels to +x",
        window=options.window,
        space_window=options.space_window,
        detrend=options.detrend,
        segment=plan.segment,
        overlap=options.overlap,
        segments=len(plan.starts),
        scaling=scaling,
        average=dim_names(average) or None,
        boundary="periodic" if all(axis.periodic for axis in plan.space) else "open",
    )
    return power.to_dataset().assign_attrs(attrs)


def _scale(plan, scaling):
    """Factor from |U|² (two-sided) to the one-sided density or spectrum."""
    if scaling not in SCALINGS:
        raise ValueError(f"scaling is {scaling!r}: one of {SCALINGS} is needed")
    if scaling == "spectrum":
        return 2.0 / (plan.time_taper.sum() * plan.space_taper.sum()) ** 2
    cell = plan.time.step * math.prod(axis.step for axis in plan.space)
    return 2.0 * cell / (np.sum(plan.time_taper**2) * np.sum(plan.space_taper**2))


def _inverse(plan):
    """Units of one over (wavenumber · frequency), such as ``mm s``, ``mm2 s``, ``1``."""
    units = [axis.units for axis in (*plan.space, plan.time) if axis.units != "1"]
    powers = {unit: units.count(unit) for unit in units}
    return " ".join(unit if power == 1 else f"{unit}{power}" for unit, power in powers.items()) or "1"


def _times(amplitude, density):
    squared = "1" if amplitude == "1" else f"{amplitude}2" if amplitude.isalpha() else f"({amplitude})2"
    return " ".join(part for part in (squared, density) if part != "1") or "1"

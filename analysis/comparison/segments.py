"""Segments of a recording, which results count along the dim ``stretch``, and the spectral peak that says how long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from analysis.fields.axes import Axis
from analysis.fields.band import Band, check_band, in_band
from analysis.fields.field import Field
from analysis.fields.read import check_finite
from analysis.fields.trend import without_trend

CYCLES = (5, 10)  # fewest and most periods of the spectral peak per stretch
ENOUGH = 12  # stretches, for which shorter ones are taken
SHORTEST = 32  # samples of a stretch
ROUNDING = 1e-6  # share of the largest value below which changes in time are rounding (of float32)
SMOOTH = 0.5  # bins (standard deviation) by which spectra are smoothed before their peak is searched for


@dataclass(frozen=True)
class Peak:
    """The spectral peak of all trials together.

    Where nothing moves, `frequency` is what makes a twelfth of the recording a stretch.
    """

    frequency: float
    moves: bool  # whether anything does
    cycles: float  # periods of the peak that a stretch has by default


def spectral_peak(field: Field, frequencies: Band | None = None) -> Peak:
    """The spectral peak of a field, searched for in the band `frequencies`."""
    field.check_steps(SHORTEST)
    time, band = field.time, checked_frequencies(field, frequencies)
    values = flat(unit_size(field))
    values = values.reshape(-1, *values.shape[-2:])
    found = peaks_of(np.moveaxis(values, 0, 1).reshape(1, time.size, -1), time.step, band)[0]
    duration = field.values.sizes.get("trial", 1) * time.length
    if not np.isfinite(found):
        return Peak(ENOUGH * CYCLES[0] / duration, False, float(CYCLES[0]))
    return Peak(float(found), True, float(np.clip(duration * found / ENOUGH, *CYCLES)))


def checked_frequencies(field: Field, frequencies: Band | None) -> Band | None:
    """The argument `frequencies`, checked against the sampling of the field."""
    return None if frequencies is None else check_band(frequencies, field.time, name="frequencies")


def peaks_of(values: np.ndarray, step: float, band: Band | None) -> np.ndarray:
    """Frequency of the largest peak of the spectrum of (…, time, site), summed over sites; NaN where nothing moves."""
    samples = values.shape[-2]
    window = np.hanning(samples + 2)[1:-1, None]
    power = np.sum(np.abs(fft.rfft(without_trend(values, axis=-2) * window, axis=-2)) ** 2, axis=-1)
    frequency = fft.rfftfreq(samples, step)
    power = gaussian_filter1d(power, SMOOTH, axis=-1, mode="nearest")
    inside = (frequency > 0) & (frequency < frequency[-1]) & in_band(frequency, band)
    if not inside.any():
        raise ValueError(f"frequencies {band}: no frequency of a stretch of {samples * step:.6g} lies in there")
    best = np.argmax(np.where(inside, power, -1.0), axis=-1)
    near = [np.take_along_axis(power, np.clip(best + d, 0, None)[..., None], -1)[..., 0] for d in (-1, 0, 1)]
    curvature = near[0] - 2 * near[1] + near[2]
    between = (curvature < 0) & inside[np.clip(best - 1, 0, None)] & inside[np.minimum(best + 1, inside.size - 1)]
    offset = np.divide(0.5 * (near[0] - near[2]), curvature, out=np.zeros_like(curvature), where=between)
    scale = np.abs(values).max(axis=(-2, -1))
    moving = near[1] > (ROUNDING * scale * samples) ** 2
    return np.where(moving, (best + np.clip(offset, -0.5, 0.5)) * frequency[1], np.nan)


def stretches(field: Field, samples: int) -> Field:
    """Segments of so many samples as the dim ``trial``, all trials in a row; what is left at the end is dropped."""
    order = [*field.trial, "time", *(("channel",) if "channel" in field.values.dims else ()), *field.space.dims]
    array = field.values.transpose(*order)
    trials, count = array.sizes.get("trial", 1), array.sizes["time"] // samples
    values = array.isel(time=slice(0, count * samples)).values
    values = values.reshape(trials * count, samples, *values.shape[order.index("time") + 1 :])
    time = (array.time.values[:samples] - array.time.values[0]).astype(float)
    coords = {name: c for name, c in array.coords.items() if not {"trial", "time"} & set(c.dims)}
    coords["time"] = ("time", time, array.time.attrs)
    attrs = {"units": field.units, "boundary": array.attrs.get("boundary", "open")}
    rest = [dim for dim in order if dim not in ("trial", "time")]
    cut = xr.DataArray(values, coords, ("trial", "time", *rest), "activity", attrs)
    return field.with_values(cut, clock=Axis("time", 0.0, float(time[-1] / (samples - 1)), samples, field.time.units))


def unit_size(field: Field) -> Field:
    """The activity over its largest value, in memory: no property depends on size, but float32 overflows in squares."""
    array = field.values.compute()
    check_finite(array.values)
    largest = float(np.abs(array).max())
    return field.with_values((array / largest).assign_attrs(array.attrs) if largest > 0 else array)


def flat(field: Field) -> np.ndarray:
    """The values as (trial, channel, time, living site), those of the dims that there are."""
    values = field.ordered.values
    values = values.reshape(*values.shape[: values.ndim - len(field.space.dims)], -1)
    return values if field.dead is None else values[..., ~field.dead.ravel()]


def array_length(field: Field) -> float:
    """What the array covers: the circumference of a ring, sensors times spacing on a line; on sheets and electrode
    arrays the square root of the area of the rectangle around them, half a spacing added on every side.
    """
    where = field.space.everywhere.sensors()
    sides = np.ptp(where.position, axis=0) + where.spacing
    sides = np.where(where.closed, where.period, sides)
    return float(np.prod(sides) ** (1 / where.dimension))

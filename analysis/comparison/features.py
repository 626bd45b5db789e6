"""Wave properties stretch by stretch: the distributions that a comparison of two recordings rests on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import fft

from analysis.comparison.segments import (
    SHORTEST,
    Peak,
    array_length,
    checked_frequencies,
    flat,
    peaks_of,
    spectral_peak,
    stretches,
    unit_size,
)
from analysis.direction.index import travelling_modes
from analysis.events import detection
from analysis.fields.axes import Axis
from analysis.fields.band import Band, in_band
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.sensors import Sites
from analysis.fields.trend import without_trend
from analysis.fields.units import inverse_units, labelled, netcdf_attrs, speed_units
from analysis.phase.signal import analytic_phase, gradient_maps, phase_gradient_directionality
from analysis.velocity.estimators import ANY_LAYOUT, ESTIMATORS
from analysis.velocity.result import STATUS, DoubtfulEstimate

AROUND = (0.5, 2.0)  # band of phases and events, in spectral peaks


def wave_features(
    rec: Recording,
    *,
    segment: float | None = None,
    frequencies: Band | None = None,
    estimator: str = "radon",
    mask: Mask = None,
    seed: int = 0,
    events: bool = True,
) -> xr.Dataset:
    """Speed, wavelength, frequency, direction, travelling index, directionality and events of each stretch.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording, on any layout.
    segment : float, optional
        Length of a stretch, in units of time. By default ten periods of the spectral peak; fewer, down to five, where
        the recording would give less than twelve stretches. At least 32 samples, at most a trial.
    frequencies : (float, float), optional
        Where to look for waves and for the spectral peak. By default everywhere: drifts of a recording should then
        have been filtered out.
    estimator : {"radon", "delay", "phase gradient"}
        Of the velocity.
    mask : None, "nan" or boolean array
        Dead sensors.
    seed : int
        Of the surrogates that tell events from chance.
    events : bool
        Whether to look for events, which takes longest.

    Returns
    -------
    xarray.Dataset
        Over the dim ``stretch``: ``speed`` and ``wavelength`` (magnitudes, NaN where no plane wave stands out),
        ``frequency`` (of what travels), ``direction_x`` and ``direction_y`` (a unit vector; ±1 and 0 in one dimension),
        ``wave_present`` (0 or 1), ``travelling_index``, ``directionality`` (mean over time of the phase-gradient
        directionality), ``event_rate`` (events that begin in it, per time in which that could be seen; NaN where it
        could not, as within 1/bandwidth of a trial's ends), ``event_duration`` (mean of the events that are found to
        begin, or first seen, in it), ``peak_frequency`` of the stretch, ``onset``, ``trial`` and ``channel``. In the
        attributes ``array_length`` (see `array_length`), ``segment`` and ``peak`` (the frequency of the spectral
        peak of the recording).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.ring(64), 400, wavenumber=2 / 64, frequency=0.05)
    >>> found = wave_features(rec, segment=100, events=False)
    >>> found.sizes["stretch"], round(float(found.speed.median()), 3), float(found.direction_x.min())
    (4, 1.6, 1.0)
    """
    options = FeatureOptions(frequencies, estimator, events, seed)
    return features(Field.of(rec, mask, living=True), options, segment=segment)


@dataclass(frozen=True)
class FeatureOptions:
    """What is measured of each stretch, and where it is looked for; see `wave_features`."""

    frequencies: Band | None = None
    estimator: str = "radon"
    events: bool = True
    seed: int = 0


def features(
    field: Field, options: FeatureOptions, *, segment: float | None = None, peak: Peak | None = None
) -> xr.Dataset:
    """What `wave_features` returns, of a field; `peak` is its spectral peak, where that is known."""
    if options.estimator not in ANY_LAYOUT:
        raise ValueError(f"estimator is {options.estimator!r}: one of {sorted(ANY_LAYOUT)} is needed")
    field.check_steps(SHORTEST)
    time, band = field.time, checked_frequencies(field, options.frequencies)
    if segment is not None and not 0 < segment < np.inf:
        raise ValueError(f"segment is {segment}: a positive length of time is needed")
    field = unit_size(field)
    peak = spectral_peak(field, options.frequencies) if peak is None else peak
    samples = round((peak.cycles / peak.frequency if segment is None else segment) / time.step)
    samples = min(max(samples, SHORTEST), time.size)
    cut, where = stretches(field, samples), field.space.sensors()
    data = _measured(cut, where, options.estimator, band, _band_around(peak, time))
    if options.events:
        counted = field.values.drop_vars(["trial", "channel"], errors="ignore")  # their labels may repeat
        searched = field.with_values(counted) if peak.moves else None
        data |= _events(searched, band or _band_around(peak, time), time, samples, cut, options.seed)
    attrs = netcdf_attrs(
        method="wave features by stretch", estimator=options.estimator, segment=samples * time.step,
        peak=peak.frequency, array_length=array_length(field), space_units=where.units, time_units=time.units,
        dimension=where.dimension, frequencies=options.frequencies, seed=options.seed,
    )  # fmt: skip
    return _dataset(data, cut, time, where.units, attrs)


def _band_around(peak: Peak, time: Axis) -> Band:
    low, high = (edge * peak.frequency for edge in AROUND)
    return low, min(high, 0.95 * time.nyquist)


def _measured(cut: Field, where: Sites, estimator, band, narrow):
    """Velocity, travelling index and directionality of every stretch, (trial, channel) flattened.

    Phases are taken in the band `narrow`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulEstimate)  # what is refused is counted in wave_present
        found = ESTIMATORS[estimator](cut, band=band)
    ok = found["status"] == STATUS.index("ok")
    speed = found["speed"]
    if where.dimension == 1:
        direction_x, direction_y = _each(np.sign, speed), xr.zeros_like(speed).where(ok)
    else:
        direction_x, direction_y = _each(np.cos, found["direction"]), _each(np.sin, found["direction"])
    values, step = flat(cut), cut.time.step
    peaks = peaks_of(values, step, band)
    moving = np.isfinite(peaks)
    vectors = np.stack([v.transpose("trial", ...).values for v in (direction_x, direction_y)], axis=-1)
    slowness = vectors[..., : where.dimension] / abs(speed.transpose("trial", ...).values[..., None])
    frequency = _coherent_frequencies(values, step, where, slowness, peaks, band)
    data = {
        "speed": abs(speed),
        "wavelength": abs(speed) / speed.copy(data=frequency),
        "frequency": speed.copy(data=frequency),
        "direction_x": direction_x,
        "direction_y": direction_y,
        "wave_present": ok.astype(float),
    }
    data = {name: variable.transpose("trial", ...).values.ravel() for name, variable in data.items()}
    return data | {
        "peak_frequency": peaks.ravel(),
        "travelling_index": _of_moving(_travelling, cut, band, moving).ravel(),
        "directionality": _of_moving(_directionality, cut, narrow, moving).ravel(),
    }


def _coherent_frequencies(values, step, where: Sites, slowness, peaks, band):
    """Mean frequency of what travels at each stretch's slowness: the centroid of the power that sensors share.

    With u_i aligned by its delay p·x_i, that is |Σ_i U_i(f)|² − Σ_i |U_i(f)|², U the transform of the tapered stretch.
    (The estimators' own mean frequency depends on the phase at which a short stretch begins.)
    """
    samples = values.shape[-2]
    frequency, window = fft.rfftfreq(samples, step), np.hanning(samples + 2)[1:-1, None]
    result = np.full(peaks.shape, np.nan)
    for at in np.ndindex(peaks.shape):
        if not (np.isfinite(slowness[at]).all() and np.isfinite(peaks[at])):
            continue
        low, high = band or (AROUND[0] * peaks[at], AROUND[1] * peaks[at])
        inside = in_band(frequency, (low, high))
        u = fft.rfft(without_trend(values[at]) * window, axis=0)[inside]
        aligned = u * np.exp(2j * np.pi * frequency[inside, None] * (where.position @ slowness[at]))
        shared = np.abs(aligned.sum(axis=1)) ** 2 - np.sum(np.abs(u) ** 2, axis=1)
        if shared.sum() > 0:
            result[at] = np.clip(frequency[inside] @ shared / shared.sum(), low, high)
    return result


def _each(function, values: xr.DataArray) -> xr.DataArray:
    """A NumPy function of every value."""
    return xr.apply_ufunc(function, values, dask="allowed")


def _of_moving(measure, cut: Field, band, moving):
    """A measure of every stretch and channel in which something moves, NaN for the others: (trial[, channel])."""
    if not moving.any():
        return np.full(moving.shape, np.nan)
    return np.where(moving, measure(cut, band).transpose("trial", ...).values, np.nan)


def _travelling(cut: Field, band):
    return travelling_modes(cut, band=band)["mean_index"]


def _directionality(cut: Field, band):
    trim = min(1 / (band[1] - band[0]), float(cut.values.time[-1]) / 4)
    phases = analytic_phase(cut, band=band, trim=trim)
    maps = gradient_maps(phases, phases["phase"], cut.space.sensors())
    return phase_gradient_directionality(maps)["pgd"].mean("time")


def _events(field: Field | None, band, time: Axis, samples, cut: Field, seed):
    """Events that begin in each stretch, per time in which that could be seen, and how long they last on average.

    A trial is watched but for 1/bandwidth at either end. What is under way when that begins did not begin there, and
    what begins with less than the shortest event to go is not found.
    """
    count = time.size // samples
    shape = (cut.values.sizes["trial"] // count, count, cut.values.sizes.get("channel", 1))
    begun, number, total, watched = np.zeros(shape), np.zeros(shape), np.zeros(shape), (0.0, time.length)
    if field is not None:  # else nothing moves
        band = (max(band[0], 1.0 / time.length), min(band[1], 0.95 * time.nyquist))
        if (band[0] + band[1]) / 2 * (time.length - 2 / max(band[1] - band[0], 1e-12)) < 5:  # periods that are left
            nothing = np.full(number.size, np.nan)
            return {"event_rate": nothing, "event_duration": nothing}
        found = detection.events(field, band=band, seed=seed)
        watched = (found.attrs["trim"], time.length - found.attrs["trim"] - found.attrs["shortest"])
        onset = found["onset"].values - time.start
        stretch = (onset / (samples * time.step) + 1e-9).astype(int)
        trial, channel = (found[dim].values if dim in found else 0 * stretch for dim in ("trial", "channel"))
        inside = stretch < count
        place = tuple(part[inside] for part in (trial, stretch, channel))
        np.add.at(begun, place, onset[inside] > watched[0] + 0.5 * time.step)
        np.add.at(number, place, 1)
        np.add.at(total, place, found["duration"].values[inside])
    edges = np.clip(samples * time.step * np.arange(count + 1), *watched)
    length = np.broadcast_to(np.diff(edges)[:, None], shape)
    rate = np.divide(begun, length, out=np.full(shape, np.nan), where=length > 0.5 * time.step)
    duration = np.divide(total, number, out=np.full(shape, np.nan), where=number > 0)
    return {"event_rate": rate.ravel(), "event_duration": duration.ravel()}


def _dataset(data, cut: Field, time: Axis, per_space, attrs):
    channels, samples = cut.values.sizes.get("channel", 1), cut.time.size
    rows = cut.values.sizes["trial"] * channels
    per_trial, per_time = time.size // samples, time.units
    stretch, channel = np.divmod(np.arange(rows), channels)
    described = {
        "speed": (speed_units(per_space, per_time), "speed"),
        "wavelength": (per_space, "wavelength"),
        "frequency": (inverse_units(per_time), "frequency of what travels"),
        "peak_frequency": (inverse_units(per_time), "frequency of the spectral peak"),
        "direction_x": ("1", "x component of the direction of travel"),
        "direction_y": ("1", "y component of the direction of travel"),
        "wave_present": ("1", "1 where a plane wave stands out"),
        "travelling_index": ("1", "travelling index (0 standing, 1 travelling)"),
        "directionality": ("1", "mean phase gradient directionality"),
        "event_rate": (inverse_units(per_time), "wave events per unit of time"),
        "event_duration": (per_time, "mean duration of wave events"),
    }
    variables = {name: ("stretch", values, labelled(*described[name])) for name, values in data.items()}
    onset = time.start + (stretch % per_trial) * samples * time.step
    variables["onset"] = ("stretch", onset, labelled(per_time, "start of the stretch"))
    variables["trial"] = ("stretch", stretch // per_trial, labelled("1", "trial, counted from 0"))
    variables["channel"] = ("stretch", channel, labelled("1", "channel, counted from 0"))
    return xr.Dataset(variables, attrs=attrs)

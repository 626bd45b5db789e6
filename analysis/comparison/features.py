"""Wave properties stretch by stretch: the distributions that a comparison of two recordings rests on."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from scipy import fft
from scipy.ndimage import gaussian_filter1d
from scipy.signal import detrend

from analysis.direction.index import travelling_index
from analysis.events.detection import wave_events
from analysis.fields.axes import activity, check_finite, inverse_units, netcdf_attrs, space_dims, speed_units, time_axis
from analysis.fields.dead import dead_positions, silenced
from analysis.fields.sensors import Sites, sites
from analysis.phase.signal import analytic_signal, phase_gradient, phase_gradient_directionality
from analysis.velocity.estimators import delay_velocity, phase_gradient_velocity, radon_velocity
from analysis.velocity.result import STATUS

ESTIMATORS = {"radon": radon_velocity, "delay": delay_velocity, "phase gradient": phase_gradient_velocity}
CYCLES = (5, 10)  # fewest and most periods of the spectral peak per stretch
ENOUGH = 12  # stretches, for which shorter ones are taken
SHORTEST = 32  # samples of a stretch
AROUND = (0.5, 2.0)  # band of phases and events, in spectral peaks
ROUNDING = 1e-6  # share of the largest value below which changes in time are rounding (of float32)
SMOOTH = 0.5  # bins (standard deviation) by which spectra are smoothed before their peak is looked for


def wave_features(
    rec,
    *,
    segment: float | None = None,
    frequencies=None,
    estimator: str = "radon",
    mask=None,
    seed=0,
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
        attributes ``array_length`` (see `array_length`), ``segment`` and ``peak`` (the frequency of the whole
        recording's spectral peak).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.ring(64), 400, wavenumber=2 / 64, frequency=0.05)
    >>> found = wave_features(rec, segment=100, events=False)
    >>> found.sizes["stretch"], round(float(found.speed.median()), 3), float(found.direction_x.min())
    (4, 1.6, 1.0)
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator is {estimator!r}: one of {sorted(ESTIMATORS)} is needed")
    array = activity(rec)
    time = time_axis(array, minimum=SHORTEST)
    band = None if frequencies is None else _checked(frequencies, time)
    if segment is not None and not 0 < segment < np.inf:
        raise ValueError(f"segment is {segment}: a positive length of time is needed")
    mask = dead_positions(array, mask, rec)
    array = _unit_size(silenced(array, mask))
    peak, moves, cycles = spectral_peak(array, frequencies=frequencies, mask=mask)
    samples = _segment_samples(cycles / peak if segment is None else segment, time)
    cut = stretches(array, samples)
    _, _, where = sites(cut, mask=mask)
    data = _measured(cut, where, estimator, band, mask, peak, time)
    if events:
        data |= _events(array if moves else None, mask, band or _band_around(peak, time), samples, time, seed, cut)
    units = {"space": where.units, "time": time.units}
    attrs = netcdf_attrs(
        method="wave features by stretch", estimator=estimator, segment=samples * time.step, peak=peak,
        array_length=array_length(array), space_units=where.units, time_units=time.units, dimension=where.dimension,
        frequencies=frequencies, seed=seed,
    )  # fmt: skip
    return _dataset(data, cut, samples, time, units, attrs)


def array_length(array) -> float:
    """What the array covers: the circumference of a ring, sensors times spacing on a line; on sheets and electrode
    arrays the square root of the area of the rectangle around them, half a spacing added on every side.
    """
    _, _, where = sites(array, steps=1)
    sides = np.ptp(where.position, axis=0) + where.spacing
    sides = np.where(where.closed, where.period, sides)
    return float(np.prod(sides) ** (1 / where.dimension))


def stretches(array: xr.DataArray, samples: int) -> xr.DataArray:
    """Stretches of so many samples as the dim ``trial``, all trials in a row; what is left at the end is dropped."""
    dims = space_dims(array)
    order = [*(("trial",) if "trial" in array.dims else ()), "time"]
    order += [*(("channel",) if "channel" in array.dims else ()), *dims]
    array = array.transpose(*order)
    trials, count = array.sizes.get("trial", 1), array.sizes["time"] // samples
    values = array.isel(time=slice(0, count * samples)).values
    values = values.reshape(trials * count, samples, *values.shape[order.index("time") + 1 :])
    time = array.time.values[:samples] - array.time.values[0]
    coords = {name: c for name, c in array.coords.items() if not {"trial", "time"} & set(c.dims)}
    coords["time"] = ("time", time.astype(float), array.time.attrs)
    attrs = {"units": array.attrs.get("units", "1"), "boundary": array.attrs.get("boundary", "open")}
    rest = [dim for dim in order if dim not in ("trial", "time")]
    return xr.DataArray(values, coords, ("trial", "time", *rest), "activity", attrs)


def _unit_size(array):
    """The activity over its largest value, in memory: no property depends on size, but float32 overflows in squares."""
    array = array.compute()
    check_finite(array.values)
    largest = float(np.abs(array).max())
    return (array / largest).assign_attrs(array.attrs) if largest > 0 else array


def _checked(frequencies, time):
    low, high = (float(edge) for edge in frequencies)
    if not 0 <= low < high <= time.nyquist:
        raise ValueError(
            f"frequencies is {tuple(frequencies)}: 0 ≤ lowest < highest ≤ {time.nyquist:.6g} "
            f"{inverse_units(time.units)} (half the sampling rate) is needed"
        )
    return low, high


def _flat(array, mask):
    """(trial, channel, time, living site)."""
    dims = space_dims(array)
    batch = [dim for dim in array.dims if dim not in ("time", *dims)]
    values = array.transpose(*batch, "time", *dims).values
    values = values.reshape(*values.shape[: len(batch) + 1], -1)
    return values if mask is None else values[..., ~mask.ravel()]


def peaks_of(values: np.ndarray, step: float, band) -> np.ndarray:
    """Frequency of the largest peak of the spectrum of (…, time, site), summed over sites; NaN where nothing moves."""
    samples = values.shape[-2]
    window = np.hanning(samples + 2)[1:-1, None]
    power = np.sum(np.abs(fft.rfft(detrend(values, axis=-2) * window, axis=-2)) ** 2, axis=-1)
    frequency = fft.rfftfreq(samples, step)
    power = gaussian_filter1d(power, SMOOTH, axis=-1, mode="nearest")
    inside = (frequency > 0) & (frequency < frequency[-1])
    if band is not None:
        inside &= (frequency >= band[0]) & (frequency <= band[1])
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


def spectral_peak(rec, *, frequencies=None, mask=None) -> tuple[float, bool, float]:
    """The frequency of the spectral peak of all trials together, whether anything moves, and how many periods of the
    peak a stretch has by default. Where nothing moves the "peak" is what makes a twelfth of the recording a stretch.
    """
    array = activity(rec)
    time = time_axis(array, minimum=SHORTEST)
    band = None if frequencies is None else _checked(frequencies, time)
    values = _flat(_unit_size(silenced(array, mask)), mask)
    values = values.reshape(-1, *values.shape[-2:])
    found = peaks_of(np.moveaxis(values, 0, 1).reshape(1, time.size, -1), time.step, band)[0]
    whole = array.sizes.get("trial", 1) * time.length
    if not np.isfinite(found):
        return ENOUGH * CYCLES[0] / whole, False, float(CYCLES[0])
    return float(found), True, float(np.clip(whole * found / ENOUGH, *CYCLES))


def _segment_samples(segment, time):
    samples = round(segment / time.step)
    return min(max(samples, SHORTEST), time.size)


def _band_around(peak, time):
    low, high = (edge * peak for edge in AROUND)
    return low, min(high, 0.95 * time.nyquist)


def _measured(cut, where: Sites, estimator, band, mask, peak, time):
    """Velocity, travelling index and directionality of every stretch, (trial, channel) flattened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is refused is counted in wave_present
        found = ESTIMATORS[estimator](cut, band=band, mask=mask)
        ok = found["status"] == STATUS.index("ok")
        speed = found["speed"]
        if where.dimension == 1:
            direction_x, direction_y = np.sign(speed), xr.zeros_like(speed).where(ok)
        else:
            direction_x, direction_y = np.cos(found["direction"]), np.sin(found["direction"])
        values = _flat(cut, mask)
        peaks = peaks_of(values, time.step, band)
        moving = np.isfinite(peaks)
        vectors = np.stack([v.transpose("trial", ...).values for v in (direction_x, direction_y)], axis=-1)
        slowness = vectors[..., : where.dimension] / abs(speed.transpose("trial", ...).values[..., None])
        frequency = _coherent_frequencies(values, time.step, where, slowness, peaks, band)
        travelling = _of_moving(lambda part: travelling_index(part, band=band, mask=mask)["mean_index"], cut, moving)
        narrow = _band_around(peak, time)
        directed = _of_moving(lambda part: _directionality(part, narrow, mask), cut, moving)
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
        "travelling_index": travelling.ravel(),
        "directionality": directed.ravel(),
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
        inside = (frequency >= low) & (frequency <= high)
        u = fft.rfft(detrend(values[at], axis=0) * window, axis=0)[inside]
        aligned = u * np.exp(2j * np.pi * frequency[inside, None] * (where.position @ slowness[at]))
        shared = np.abs(aligned.sum(axis=1)) ** 2 - np.sum(np.abs(u) ** 2, axis=1)
        if shared.sum() > 0:
            result[at] = np.clip(frequency[inside] @ shared / shared.sum(), low, high)
    return result


def _of_moving(measure, cut, moving):
    """A measure of every stretch and channel in which something moves, NaN for the others: (trial[, channel])."""
    if not moving.any():
        return np.full(moving.shape, np.nan)
    return np.where(moving, measure(cut).transpose("trial", ...).values, np.nan)


def _directionality(part, band, mask):
    phases = analytic_signal(part, band=band, trim=min(1 / (band[1] - band[0]), float(part.time[-1]) / 4), mask=mask)
    return phase_gradient_directionality(phase_gradient(phases))["pgd"].mean("time")


def _events(array, mask, band, samples, time, seed, cut):
    """Events that begin in each stretch, per time in which that could be seen, and how long they last on average.

    A trial is watched but for 1/bandwidth at either end. What is under way when that begins did not begin there, and
    what begins with less than the shortest event to go is not found.
    """
    count = time.size // samples
    shape = (cut.sizes["trial"] // count, count, cut.sizes.get("channel", 1))
    begun, number, total, watched = np.zeros(shape), np.zeros(shape), np.zeros(shape), (0.0, time.length)
    if array is not None:  # else nothing moves
        band = (max(band[0], 1.0 / time.length), min(band[1], 0.95 * time.nyquist))
        if (band[0] + band[1]) / 2 * (time.length - 2 / max(band[1] - band[0], 1e-12)) < 5:  # periods that are left
            nothing = np.full(number.size, np.nan)
            return {"event_rate": nothing, "event_duration": nothing}
        counted = array.drop_vars(["trial", "channel"], errors="ignore")  # their labels may repeat
        found = wave_events(counted, band=band, seed=seed, mask=mask)
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


def _dataset(data, cut, samples, time, units, attrs):
    channels = cut.sizes.get("channel", 1)
    rows = cut.sizes["trial"] * channels
    per_trial = time.size // samples
    stretch, channel = np.divmod(np.arange(rows), channels)
    per_time, per_space = units["time"], units["space"]
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
    variables = {
        name: ("stretch", values, {"units": described[name][0], "long_name": described[name][1]})
        for name, values in data.items()
    }
    onset = time.start + (stretch % per_trial) * samples * time.step
    variables["onset"] = ("stretch", onset, {"units": per_time, "long_name": "start of the stretch"})
    variables["trial"] = ("stretch", stretch // per_trial, {"units": "1", "long_name": "trial, counted from 0"})
    variables["channel"] = ("stretch", channel, {"units": "1", "long_name": "channel, counted from 0"})
    return xr.Dataset(variables, attrs=attrs)

"""Phase: analytic signal, generalized phase, and the phase gradient with its direction, wavelength and speed maps.

A wave u = A cos(φ) that travels along +x has a phase that falls along x, φ = 2π(f t − k x). The gradient is therefore
given as the wavenumber *vector* k = −∇φ/2π (cycles per unit), which points where the wave goes.

`analytic_signal` or `generalized_phase` turn a recording into phases; `phase_gradient` turns phases into maps.
Everything is lazy for dask arrays (time and space each in one chunk where a method needs all of it).
"""

import warnings

import numpy as np
import xarray as xr
from scipy.fft import fft, ifft
from scipy.interpolate import PchipInterpolator
from scipy.signal import butter, sosfiltfilt
from scipy.sparse import csr_array

from analysis.fields.axes import space_dims
from analysis.fields.band import Band, check_band
from analysis.fields.dead import Mask, dead_positions
from analysis.fields.field import Field, Space
from analysis.fields.read import Recording, activity, check_finite, closing
from analysis.fields.sensors import Sites, site_gradient
from analysis.fields.units import inverse_units, labelled, netcdf_attrs, speed_units

FILTER_ORDER = 4
STEEP = 0.45  # mean difference of neighbours, in π, that is warned of: noise has 0.5


def analytic_signal(
    rec: Recording, *, band: Band | None = None, trim: float | None = None, mask: Mask = None
) -> xr.Dataset:
    """Amplitude, phase and instantaneous frequency from the analytic signal z = u + i H(u).

    .. math:: z = A e^{iφ}, \\qquad f_n = \\arg(z_{n+1} z_n^* + z_n z_{n-1}^*) / 2π\\,dt

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording.
    band : (float, float), optional
        Band to filter to first, cycles per unit of time: Butterworth of order 4, forwards and backwards. Phases of a
        signal that is not narrowband mean little.
    trim : float, optional
        Time to drop at both ends, where filter and Hilbert transform know only one side. By default 1/bandwidth, or a
        tenth of the record where there is no band; 0 is right for a whole number of periods.
    mask : None, "nan" or boolean array
        Dead sensors (True = dead), or those that hold a NaN: their phases are NaN.

    Returns
    -------
    xarray.Dataset
        ``amplitude`` (units of the activity), ``phase`` in (−π, π] and ``frequency``, each with the dims of the
        activity.

    Raises
    ------
    ValueError, TypeError
        Uneven time, NaN without a mask, a band that the sampling cannot hold, a trim that leaves nothing.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.ring(16), 100, wavenumber=1 / 16, frequency=0.1)
    >>> bool(abs(analytic_signal(rec, trim=0).frequency - 0.1).max() < 1e-12)
    True
    """
    return analytic_phase(Field.of(rec, mask), band=band, trim=trim)


def analytic_phase(field: Field, *, band: Band | None = None, trim: float | None = None) -> xr.Dataset:
    """What `analytic_signal` returns, of a field."""
    signal = _along_time(_analytic, field, band=band)
    return _phase_dataset(signal, field, band, trim, method="analytic signal")


def generalized_phase(
    rec: Recording,
    *,
    lowest: float = 0.0,
    band: Band | None = None,
    extend: int = 3,
    trim: float | None = None,
    mask: Mask = None,
) -> xr.Dataset:
    """Phase of a wideband signal: the analytic signal's, with segments of too low frequency bridged over.

    Where the instantaneous frequency falls below `lowest` (low-frequency intrusions, phase running backwards) the
    phase is discarded, from the start of each such run over `extend` times its length (never beyond the record), and
    the unwrapped phase is interpolated across with a monotone cubic (PCHIP), with the number of cycles that the median
    frequency of the rest makes most likely. A run that reaches an end of the record is continued at that frequency.

    Parameters
    ----------
    rec, band, trim, mask
        As in `analytic_signal`.
    lowest : float
        Least frequency accepted, cycles per unit of time.
    extend : int
        Total length of what is discarded, in lengths of the run.

    Returns
    -------
    xarray.Dataset
        As `analytic_signal`, and ``interpolated`` (1 where the phase was bridged).

    References
    ----------
    Davis, Muller, Martinez-Trujillo, Sejnowski, Reynolds 2020, Nature 587.
    """
    if not (extend >= 1 and int(extend) == extend):
        raise ValueError(f"extend is {extend}: a whole number of at least 1 is needed")
    if not lowest >= 0:
        raise ValueError(f"lowest is {lowest}: a frequency of at least 0 is needed")
    field, parameters = Field.of(rec, mask), {"lowest": float(lowest), "extend": int(extend)}
    signal = _along_time(_bridged, field, band=band, **parameters)
    return _phase_dataset(signal, field, band, trim, method="generalized phase", **parameters)


def phase_gradient(phase: xr.Dataset) -> xr.Dataset:
    """Wavenumber vector, direction, wavelength and speed at each place and time, from differences of neighbours.

    At each sensor the plane through the phase differences to its neighbours is fitted,

    .. math:: k = -\\tfrac{1}{2π} \\Big(\\sum_n d_n d_n^T\\Big)^{-1} \\sum_n d_n \\arg e^{i(φ_n - φ)},

    on grids the mean of the differences forwards and backwards, across the seam of a ring. Because they are differences
    of *neighbours* the result is right up to the Nyquist wavenumber of the array; differences across two sites, as
    np.gradient takes them, turn the direction round from half of it on.

    Parameters
    ----------
    phase : xarray.Dataset
        What `analytic_signal` or `generalized_phase` returned. NaN marks dead sensors.

    Returns
    -------
    xarray.Dataset
        ``wavenumber_x`` (and ``wavenumber_y``), the ``wavenumber`` |k|, ``wavelength`` 1/|k|, ``direction`` (two
        dimensions: radians counter-clockwise from +x, y up) and ``speed`` f/|k|, signed along a line; ``steepness``,
        the mean size of the differences in units of π, over time: near 1 the wave is at the limit of the spacing,
        about 0.5 is noise.

    Warns
    -----
    UserWarning
        Where the mean difference is about a quarter of a cycle or more (data in memory only).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.sheet((6, 6)), 100, wavenumber=(0.0, 0.1), frequency=0.1)
    >>> maps = phase_gradient(analytic_signal(rec, trim=0))
    >>> round(float(maps.direction[0, 0, 0]), 6), round(float(maps.speed[0, 0, 0]), 6)
    (1.570796, 1.0)
    """
    angles = _phases(phase)
    maps = gradient_maps(phase, angles, Space.of(angles, dead_positions(angles, "nan")).sensors())
    steepness = maps["steepness"]
    if steepness.chunks is None and float(steepness.mean()) > STEEP:
        warnings.warn(
            f"neighbours differ by {float(steepness.mean()):.2f} π on average, about a quarter of a cycle: this is "
            "noise, or waves near the limit of the spacing; band-pass the recording or space the sensors more densely",
            stacklevel=2,
        )
    return maps


def gradient_maps(phase: xr.Dataset, angles: xr.DataArray, where: Sites) -> xr.Dataset:
    """What `phase_gradient` returns, of the `angles` of `phase` at the sensors `where`."""
    batch = [dim for dim in angles.dims if dim not in ("time", *where.dims)]
    array = angles.fillna(0.0).transpose(*batch, "time", *where.dims)
    dims = where.dims
    components = ["wavenumber_x", "wavenumber_y"][: where.dimension]
    operators = site_gradient(where)
    results = xr.apply_ufunc(
        _gradients,
        array.chunk({dim: -1 for dim in dims}) if array.chunks else array,
        kwargs={"where": where, "operators": operators},
        input_core_dims=[dims],
        output_core_dims=[*[dims] * where.dimension, []],
        dask="parallelized",
        output_dtypes=[np.float64] * (where.dimension + 1),
    )
    *vectors, steepness = results
    data = dict(zip(components, vectors, strict=True))
    per_length, time_units = inverse_units(where.units), angles.coords["time"].attrs["units"]
    for name, vector in data.items():
        vector.attrs = labelled(per_length, f"{name[-1]} component of the wavenumber vector")
    k = data["wavenumber_x"] if where.dimension == 1 else np.hypot(data["wavenumber_x"], data["wavenumber_y"])
    data["wavenumber"] = abs(k).assign_attrs(labelled(per_length, "wavenumber"))
    data["wavelength"] = (1 / abs(k).where(k != 0)).assign_attrs(labelled(where.units, "wavelength"))
    if where.dimension == 2:
        angle = np.arctan2(data["wavenumber_y"], data["wavenumber_x"])
        data["direction"] = angle.assign_attrs(labelled("rad", "direction of travel, counter-clockwise from +x"))
    speed = phase["frequency"] / k.where(k != 0)
    data["speed"] = speed.assign_attrs(labelled(speed_units(where.units, time_units), "phase speed"))
    data["frequency"] = phase["frequency"]
    data["steepness"] = steepness.assign_attrs(labelled("1", "mean phase difference of neighbours, in π"))
    attrs = {key: value for key, value in phase.attrs.items() if key != "method"}
    attrs |= {"method": "phase gradient", "phase_method": phase.attrs.get("method", "")}
    return xr.Dataset(data, attrs=attrs).transpose(*angles.dims)


def phase_gradient_directionality(gradient: xr.Dataset) -> xr.Dataset:
    """How far the array as one agrees on a direction, PGD = |⟨k⟩| / ⟨|k|⟩, between 0 and 1, at each time.

    1 for a plane wave, about 1/√n for n sensors of noise, 0 for a wave around or out of the centre.

    Parameters
    ----------
    gradient : xarray.Dataset
        What `phase_gradient` returned; NaN are left out.

    Returns
    -------
    xarray.Dataset
        ``pgd``, and in two dimensions ``direction``, of the mean vector (rad).

    References
    ----------
    Rubino, Robbins and Hatsopoulos 2006, Nat. Neurosci. 9, equation 4.
    """
    dims = space_dims(gradient["wavenumber_x"])
    means = [gradient[name].mean(dims) for name in ("wavenumber_x", "wavenumber_y") if name in gradient]
    size = abs(means[0]) if len(means) == 1 else xr.apply_ufunc(np.hypot, *means, dask="allowed", keep_attrs=True)
    typical = gradient["wavenumber"].mean(dims)
    data = {
        "pgd": (size / typical.where(typical > 0)).assign_attrs(units="1", long_name="phase gradient directionality")
    }
    if len(means) == 2:
        attrs = labelled("rad", "direction of the mean wavenumber vector, counter-clockwise from +x")
        angle = xr.apply_ufunc(np.arctan2, means[1], means[0], dask="allowed")
        data["direction"] = angle.assign_attrs(attrs)
    return xr.Dataset(data, attrs={**gradient.attrs, "method": "phase gradient directionality"})


# Signals -----------------------------------------------------------------------------------------------------------


def _along_time(kernel, field: Field, *, band, **options):
    """Run a kernel over the last axis, time, which dask holds in one chunk."""
    field.check_steps(4)
    time, sections = field.time, None
    if band is not None:
        band = check_band(band, time, filtered=True)
        sections = butter(FILTER_ORDER, band, "bandpass", fs=1 / time.step, output="sos")
    array = field.values.drop_attrs(deep=False)  # the result says whether space closes, not each of its variables
    return xr.apply_ufunc(
        kernel,
        array.chunk({"time": -1}) if array.chunks else array,
        kwargs={"dt": time.step, "sections": sections, **options},
        input_core_dims=[["time"]],
        output_core_dims=[["time"]] * 4,
        dask="parallelized",
        output_dtypes=[np.float64, np.float64, np.float64, np.int8],
    )


def _complex_signal(values, sections):
    """The analytic signal of the (filtered) values along the last axis: twice the positive frequencies."""
    check_finite(values)
    values = values - values.mean(axis=-1, keepdims=True)
    if sections is not None:
        values = sosfiltfilt(sections, values, axis=-1)
    steps = values.shape[-1]
    double = np.zeros(steps)
    double[0] = 1.0
    double[1 : (steps + 1) // 2] = 2.0
    if steps % 2 == 0:
        double[steps // 2] = 1.0
    return ifft(fft(values, axis=-1) * double, axis=-1)


def _analytic(values, *, dt, sections):
    """Amplitude, phase, frequency and (zero) flags of real values (…, time)."""
    z = _complex_signal(values, sections)
    return np.abs(z), np.angle(z), _frequency(z, dt), np.zeros(z.shape, dtype=np.int8)


def _frequency(z, dt):
    """Instantaneous frequency (…, time), one-sided at the ends."""
    step = z[..., 1:] * np.conj(z[..., :-1])
    both = np.concatenate([step[..., :1], step[..., 1:] + step[..., :-1], step[..., -1:]], axis=-1)
    return np.angle(both) / (2 * np.pi * dt)


def _bridged(values, *, dt, sections, lowest, extend):
    """As `_analytic`, with the phase bridged where its frequency is below `lowest`."""
    z = _complex_signal(values, sections)
    phase, flags = np.angle(z), np.zeros(z.shape, dtype=np.int8)
    slow = np.angle(z[..., 1:] * np.conj(z[..., :-1])) < 2 * np.pi * lowest * dt
    for index in np.ndindex(z.shape[:-1]):
        bad = _extended(slow[index], extend)
        flags[index] = bad
        if bad.any() and np.sum(~bad) >= 2:
            phase[index] = _bridge(phase[index], bad)
    return np.abs(z), phase, _frequency(np.exp(1j * phase), dt), flags


def _extended(slow, extend):
    """Samples to discard: each run of steps in `slow` (time − 1,), from its first step on `extend` times as long."""
    bad = np.zeros(slow.size + 1, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], slow, [False]]).astype(np.int8)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        bad[start : min(start + extend * (stop - start), bad.size)] = True  # slices end with the record
    return bad


def _bridge(phase, bad):
    """`phase` with the samples `bad` interpolated, wrapped to (−π, π].

    Across a gap the phase advances by an integer number of cycles more than its two ends show, the one that brings it
    nearest to the advance at the median rate of what was kept.
    """
    good = np.flatnonzero(~bad)
    gap = np.diff(good)
    advance = np.angle(np.exp(1j * np.diff(phase[good])))
    rate = np.median(advance[gap == 1]) if np.any(gap == 1) else 0.0
    advance[gap > 1] += 2 * np.pi * np.rint((rate * gap - advance) / (2 * np.pi))[gap > 1]
    kept = phase[good[0]] + np.concatenate([[0.0], np.cumsum(advance)])
    out = np.empty(phase.size)
    inside = np.arange(good[0], good[-1] + 1)
    out[inside] = PchipInterpolator(good, kept)(inside)
    out[: good[0]] = kept[0] - rate * np.arange(good[0], 0, -1)
    out[good[-1] + 1 :] = kept[-1] + rate * np.arange(1, phase.size - good[-1])
    return np.angle(np.exp(1j * out))


def _phase_dataset(signal, field: Field, band, trim, *, method, **parameters):
    time, dims = field.time, field.values.dims
    amplitude, phase, frequency, flags = signal
    if trim is None:
        trim = 1 / (band[1] - band[0]) if band is not None else time.length / 10
    drop = int(np.ceil(trim / time.step - 1e-9))
    if drop < 0 or 2 * drop >= time.size - 1:
        raise ValueError(
            f"trim is {trim:.6g} {time.units} at both ends of a record of {time.length:.6g} {time.units}: nothing is "
            "left; record longer, widen the band, or give a smaller trim"
        )
    data = {
        "amplitude": amplitude.assign_attrs(labelled(field.units, "amplitude")),
        "phase": phase.assign_attrs(labelled("rad", "phase")),
        "frequency": frequency.assign_attrs(labelled(inverse_units(time.units), "instantaneous frequency")),
    }
    if field.dead is not None:
        alive = xr.DataArray(~field.dead, dims=field.space.dims)
        data = {name: variable.where(alive) for name, variable in data.items()}
    if method == "generalized phase":
        data["interpolated"] = flags.assign_attrs(labelled("1", "1 where the phase was interpolated"))
    attrs = {
        "method": method,
        **closing(field.values),
        **netcdf_attrs(band=band, trim=trim, filter_order=FILTER_ORDER, **parameters),
    }
    return xr.Dataset(data, attrs=attrs).transpose(*dims).isel(time=slice(drop, time.size - drop))


# Gradients ---------------------------------------------------------------------------------------------------------


def _phases(phase):
    if not isinstance(phase, xr.Dataset) or not {"phase", "frequency"} <= set(phase.data_vars):
        raise TypeError("phase must be the Dataset that analytic_signal or generalized_phase returns")
    return activity(phase, "phase")  # axes increase


def _gradients(phase, *, where: Sites, operators: tuple[csr_array, ...]):
    """Components of k = −∇φ/2π, each (…, *space), and the mean size of the neighbours' differences (…)."""
    flat = phase.reshape(-1, where.alive.size)[:, where.alive]
    difference = np.angle(np.exp(1j * (flat[:, where.second] - flat[:, where.first])))  # (sample, pair)
    vectors = [where.spread(-(operator @ difference.T).T / (2 * np.pi)) for operator in operators]
    steepness = np.mean(np.abs(difference), axis=1) / np.pi
    return *(vector.reshape(phase.shape) for vector in vectors), steepness.reshape(phase.shape[: -len(where.dims)])

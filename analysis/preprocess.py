"""Before the waves are measured: filters without phase shift, references, fewer samples, epochs, bad channels.

Every step takes a recording and returns one, lazy where it was lazy, and writes what it did into its ``history``.
Steps that change samples or times drop what says how a simulated field moved from one state to the next (its kernel,
encoder, …), which no longer holds: such a recording is measured, not decoded or continued.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.signal import butter, cheby1, iirnotch, sosfiltfilt, tf2sos

from analysis.fields.axes import even_axis, space_dims
from analysis.fields.dead import Mask, dead_positions, runs_down
from analysis.fields.field import Space
from analysis.fields.read import activity
from analysis.fields.units import inverse_units, labelled, netcdf_attrs
from wavefield.recordings.recording import with_history

SETTLED = 1e-9  # of the impulse response: what is left after the overlap of lazy blocks
MOVED_BY = ("kernel", "encoder", "bias", "profile", "damping_profile", "restoring_profile", "density", "boundary_row")
MOVED_BY += ("previous", "earlier_drive")
MOVED_HOW = ("levels", "driven_end", "nonlinearity", "source_kind", "steps", "first_step")


def bandpass(rec: xr.Dataset, band: tuple[float | None, float | None], *, order: int = 4) -> xr.Dataset:
    """Keep a band of frequencies, without shifting phases: a Butterworth filter forwards and backwards.

    The two passes have the gain

    .. math:: |H(f)|^2 = 1 / (1 + Ω(f)^{2n}),

    1/2 at either edge of the band, with n the order and Ω the frequency mapped to the low-pass prototype.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording.
    band : (float or None, float or None)
        Lowest and highest frequency, cycles per unit of time. None leaves that side open.
    order : int
        Of one pass.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        A band that the sampling cannot hold, an order that is not a positive whole number, a record shorter than the
        filter, uneven time.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.line(8), 400, wavenumber=0.1, frequency=0.1)
    >>> kept, gone = bandpass(rec, (0.05, 0.2)), bandpass(rec, (0.2, 0.4))
    >>> float(kept.activity[200].std() / rec.activity[200].std()) > 0.99, float(abs(gone.activity[200]).max()) < 1e-3
    (True, True)
    """
    array, time = _prepared(rec)
    if int(order) != order or order < 1:
        raise ValueError(f"order is {order}: a positive whole number is needed")
    edges = [edge for edge in band if edge is not None] if np.asarray(band, dtype=object).shape == (2,) else []
    if not edges or not all(0 < edge < time.nyquist for edge in edges) or edges != sorted(set(edges)):
        raise ValueError(
            f"band is {band}: 0 < lowest < highest < {time.nyquist:.6g} {inverse_units(time.units)} (half the "
            "sampling rate) is needed; None leaves a side open"
        )
    kind = "bandpass" if len(edges) == 2 else "highpass" if band[1] is None else "lowpass"
    sections = butter(order, edges if len(edges) == 2 else edges[0], kind, fs=1 / time.step, output="sos")
    text = f"{kind} {' to '.join(f'{edge:g}' for edge in edges)} {inverse_units(time.units)}"
    return _replaced(_unmoved(rec), _filtered(array, sections), f"{text}, Butterworth of order {order}, zero phase")


def notch(rec: xr.Dataset, frequency: float, *, harmonics: int = 1, quality: float = 30.0) -> xr.Dataset:
    """Take out a line, such as the mains, and its harmonics, without shifting phases.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording.
    frequency : float
        Of the line, cycles per unit of time.
    harmonics : int
        How many multiples, the line itself included.
    quality : float
        Frequency over the width of the notch at half the power, for one pass.

    Returns
    -------
    xarray.Dataset
    """
    array, time = _prepared(rec)
    lines = frequency * np.arange(1, harmonics + 1)
    if harmonics < 1 or not frequency > 0 or lines[-1] >= time.nyquist:
        raise ValueError(
            f"frequency is {frequency} with {harmonics} harmonics: lines between 0 and {time.nyquist:.6g} "
            f"{inverse_units(time.units)} (half the sampling rate) are needed"
        )
    sections = np.vstack([tf2sos(*iirnotch(line, quality, fs=1 / time.step)) for line in lines])
    text = f"notch at {', '.join(f'{line:g}' for line in lines)} {inverse_units(time.units)}, zero phase"
    return _replaced(_unmoved(rec), _filtered(array, sections), text)


def downsample(rec: xr.Dataset, factor: int) -> xr.Dataset:
    """Keep every `factor`-th sample, after a zero-phase low-pass at 0.8 of the new Nyquist frequency.

    A Chebyshev filter of order 8 and 0.05 dB ripple, forwards and backwards, as `scipy.signal.decimate` has it.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording.
    factor : int
        At least 2; above 13 go in several steps.

    Returns
    -------
    xarray.Dataset
        Whose attribute ``dt`` says the new interval.
    """
    if int(factor) != factor or not 2 <= factor <= 13:
        raise ValueError(f"factor is {factor}: a whole number from 2 to 13 is needed; for more take several steps")
    array, time = _prepared(rec)
    sections = cheby1(8, 0.05, 0.8 / factor, output="sos")
    fewer = _filtered(array, sections).isel(time=slice(None, None, factor))
    alike = rec.drop_vars([name for name in rec.data_vars if name != "activity" and "time" in rec[name].dims])
    thinned = alike.isel(time=slice(None, None, factor))
    text = f"downsampled by {factor} to {1 / (time.step * factor):g} {inverse_units(time.units)}, low-pass before"
    attrs = {"dt": time.step * factor} if "dt" in rec.attrs else {}
    result = _replaced(_unmoved(thinned), fewer, text).assign_attrs(attrs)
    result.attrs.pop("save_every", None)  # dt is the interval of the samples now, not of the steps between them
    return result


def rereference(rec: xr.Dataset, *, reference: str | Sequence[int] = "mean", mask: Mask = "nan") -> xr.Dataset:
    """Subtract at each time the mean or median over the living sensors, or over those that are named.

    It takes away what all sensors share, and with it part of every wave longer than the array.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording.
    reference : {"mean", "median"} or sequence of int
        Or numbers along the dim ``electrode`` or ``position``.
    mask : None, "nan" or boolean array
        Dead sensors, which do not count.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        Another reference, or one whose sensors are all dead.
    """
    array, _ = _prepared(rec)
    dims = space_dims(array)
    dead = dead_positions(array, mask, rec)
    living = array if dead is None else array.where(~xr.DataArray(dead, dims=dims))
    if isinstance(reference, str):
        if reference not in ("mean", "median"):
            raise ValueError(f"reference is {reference!r}: 'mean', 'median' or numbers of sensors are needed")
        joined = living.chunk({dim: -1 for dim in dims}) if living.chunks else living
        shared = getattr(joined, reference)(dims)
        text = f"the {reference} over {'all' if dead is None else 'living'} sensors"
    else:
        dim, numbers = dims[0], np.asarray(reference)
        integers = numbers.ndim == 1 and numbers.size and numbers.dtype.kind in "iu"
        if len(dims) != 1 or not integers or not all(0 <= n < array.sizes[dim] for n in numbers):
            raise ValueError(f"reference is {reference}: numbers of sensors along one of 'electrode', 'position'")
        chosen = array.sizes[dim] - 1 - numbers if runs_down(dim, rec) else numbers
        if dead is not None and dead[chosen].all():
            raise ValueError(f"reference is {reference}: these sensors are all dead; name others, or 'mean'")
        shared, text = living.isel({dim: chosen}).mean(dim), f"sensors {numbers.tolist()}"
    return _replaced(_unmoved(rec), array - shared, f"re-referenced to {text}")


def epochs(
    rec: xr.Dataset, events: ArrayLike, *, before: float, after: float, labels: ArrayLike | None = None
) -> xr.Dataset:
    """Cut out a segment around each event: the dim ``trial``, with time from −before to after.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording without trials.
    events : sequence of float
        Times of the events, in the units and on the clock of the recording. The sample nearest to each is time 0.
    before, after : float
        Lengths of the segment.
    labels : sequence of number or str, optional
        What each event was; kept as the variable ``label``.

    Returns
    -------
    xarray.Dataset
        With the coordinate ``event_time`` (trial). Events whose segment is not completely in the record are left out,
        with a warning.

    Raises
    ------
    ValueError
        A recording that has trials already, events that are not numbers, no event in the record, a label too few or too
        many, a segment shorter than two samples.
    """
    array, time = _prepared(rec)
    if "trial" in array.dims:
        raise ValueError("rec has trials already: cut the continuous recording")
    first, last = -round(before / time.step), round(after / time.step)
    if last - first < 1:
        raise ValueError(f"before={before}, after={after}: at least two samples of {time.step:.6g} are needed")
    events = np.asarray(events, dtype=float).ravel()
    if not np.isfinite(events).all():
        raise ValueError(f"events holds {(~np.isfinite(events)).sum()} NaN or infinite times: leave them out")
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and labels.shape != events.shape:
        raise ValueError(f"labels has shape {labels.shape}: one for each of the {events.size} events is needed")
    centre = np.rint((events - time.start) / time.step).astype(int)
    inside = (centre + first >= 0) & (centre + last < time.size)
    if not inside.any():
        raise ValueError(
            f"events at {events[:5].tolist()} …: none leaves a complete segment in the record from {time.start:.6g} to "
            f"{time.start + time.length:.6g} {time.units}: are they in the same units and on the same clock?"
        )
    if not inside.all():
        warnings.warn(f"{(~inside).sum()} of {inside.size} events are too near an end of the record", stacklevel=2)
    window = xr.DataArray(centre[inside][:, None] + np.arange(first, last + 1), dims=("trial", "time"))
    attrs = array.time.attrs
    cut = array.drop_vars("time").isel(time=window).transpose("trial", "time", ...)
    relative = time.step * np.arange(first, last + 1)
    kept = _unmoved(rec).drop_dims(["time", "step", "event"], errors="ignore")
    described = labelled(time.units, "time of the event")
    cut.attrs = dict(rec.activity.attrs)
    kept = kept.assign(activity=cut).assign_coords(
        time=("time", relative, attrs), event_time=("trial", events[inside], described)
    )
    kept.attrs["start"] = "state"  # the field was not at rest when the epoch began
    if labels is not None:
        kept["label"] = ("trial", labels[inside], labelled("1", "label of the event"))
    return with_history(kept, f"{inside.sum()} epochs from {-before:g} to {after:g} {time.units} around events")


def bad_channels(rec: xr.Dataset, *, threshold: float = 5.0) -> xr.Dataset:
    """Which sensors are likely broken: silent, far too loud or quiet, or unlike all their neighbours.

    Of each sensor the logarithm of its standard deviation (of differences in time, which see noise rather than drift)
    and Fisher's z of its greatest correlation with a neighbour are compared with those of the other sensors: bad is
    what lies more than `threshold` robust standard deviations (1.4826 times the median absolute deviation) from their
    median, of the correlation only below it. Filter drifts out first, or they are all that correlates.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording; trials and channels are taken together. Read in blocks if lazy.
    threshold : float

    Returns
    -------
    xarray.Dataset
        ``bad`` (bool, over the space dims: a mask for every diagnostic), ``reason`` (``""``, ``"NaN"``, ``"silent"``,
        ``"amplitude"``, ``"correlation"``), ``deviation`` and ``correlation``.

    Raises
    ------
    ValueError
        Fewer than two sensors that move and hold no NaN, a threshold that is not positive.

    References
    ----------
    Bigdely-Shamlo et al. 2015, Front. Neuroinform. 9 (deviation and correlation criteria).
    """
    if not threshold > 0:
        raise ValueError(f"threshold is {threshold}: a positive number of standard deviations is needed")
    array, _ = _prepared(rec)
    dims = space_dims(array)
    gone = np.isnan(array).any([dim for dim in array.dims if dim not in dims]).transpose(*dims).values
    filled = array.fillna(0.0).transpose(..., *dims)
    steps = filled.diff("time").data.reshape(-1, gone.size)
    deviation = np.sqrt(np.asarray((steps**2).mean(axis=0)))
    silent = deviation <= (0.0 if gone.all() else 1e-6 * np.median(deviation[~gone.ravel()]))
    reason = np.where(gone.ravel(), "NaN", np.where(silent, "silent", "")).astype(object)
    rated = reason == ""
    if rated.sum() < 2:
        raise ValueError(
            f"{rated.sum()} of {rated.size} sensors move and hold no NaN: at least 2 are needed to compare"
        )
    loud = rated.copy()
    loud[rated] = np.abs(_robust_z(np.log(deviation[rated]))) > threshold
    correlation = np.full(gone.size, np.nan)
    correlation[rated] = _with_neighbours(filled, rated.reshape(gone.shape))
    unlike = rated & np.isfinite(correlation)
    unlike[unlike] = _robust_z(np.arctanh(np.clip(correlation[unlike], -0.999999, 0.999999))) < -threshold
    reason[unlike], reason[loud] = "correlation", "amplitude"
    data = {
        "bad": (dims, (reason != "").reshape(gone.shape), labelled("1", "likely broken")),
        "reason": (dims, reason.astype(str).reshape(gone.shape), labelled("1", "why")),
        "deviation": (
            dims,
            deviation.reshape(gone.shape),
            labelled(array.attrs.get("units", "1"), "standard deviation of differences in time"),
        ),
        "correlation": (
            dims,
            correlation.reshape(gone.shape),
            labelled("1", "greatest correlation with a neighbour"),
        ),
    }
    coords = {name: c for name, c in array.coords.items() if c.ndim and set(c.dims) <= set(dims)}
    return xr.Dataset(data, coords, netcdf_attrs(method="robust z of deviation and correlation", threshold=threshold))


def mask_channels(rec: xr.Dataset, bad: np.ndarray | xr.DataArray) -> xr.Dataset:
    """Set the sensors where `bad` is true to NaN, which ``mask="nan"`` then leaves out of every diagnostic.

    Parameters
    ----------
    rec : xarray.Dataset
        A recording.
    bad : boolean array or DataArray
        Over the space dims, such as ``bad_channels(rec).bad``.
    """
    array, _ = _prepared(rec)
    dims = space_dims(array)
    dead = dead_positions(array, bad, rec)
    if dead is None:
        return with_history(rec, "no bad channels")
    masked = array.where(~xr.DataArray(dead, dims=dims))
    return _replaced(rec, masked, f"{dead.sum()} bad channels set to NaN: {np.flatnonzero(dead).tolist()}")


def _prepared(rec):
    if not isinstance(rec, xr.Dataset):
        raise TypeError(f"rec is a {type(rec).__name__}: a recording (an xarray.Dataset with 'activity') is needed")
    array = activity(rec)
    return array, even_axis(array, "time")


def _unmoved(rec):
    """The recording without what says how its field moved. Its drive stays: inputs came when they came."""
    kept = rec.drop_vars(MOVED_BY, errors="ignore")
    kept.attrs = {name: value for name, value in rec.attrs.items() if name not in MOVED_HOW}
    return kept


def _replaced(rec, array, text):
    """The recording with another activity, whose units and names stay."""
    array = array.transpose(*rec.activity.dims)
    array.attrs = dict(rec.activity.attrs)
    timed = rec.assign_coords(time=array["time"])  # in seconds, where it was of another type
    return with_history(timed.assign(activity=array), text)


def _filtered(array, sections):
    """The array through `sections` forwards and backwards; lazy blocks overlap by the settling time of the filter."""
    axis, padding = array.get_axis_num("time"), 3 * (2 * len(sections) + 1)
    settled = max(_settling(sections), padding + 1)
    if array.sizes["time"] <= padding:
        raise ValueError(f"time has {array.sizes['time']} samples: more than {padding} are needed for this filter")

    def run(values):
        return sosfiltfilt(sections, values, axis=axis).astype(values.dtype, copy=False)

    if array.chunks is None:
        return array.copy(data=run(array.values))
    blocks = array.data
    if len(array.chunks[axis]) > 1:
        blocks = blocks.rechunk({axis: max(*array.chunks[axis], settled)})
    depth = min(settled, min(blocks.chunks[axis])) if len(blocks.chunks[axis]) > 1 else 0
    if 0 < depth < settled:  # a short last block: join it to the one before
        sizes = blocks.chunks[axis]
        blocks = blocks.rechunk({axis: (*sizes[:-2], sizes[-2] + sizes[-1])})
        depth = min(settled, min(blocks.chunks[axis])) if len(blocks.chunks[axis]) > 1 else 0
    filtered = blocks.map_overlap(run, depth={axis: depth}, boundary="none", dtype=array.dtype)
    return array.copy(data=filtered)


def _settling(sections):
    """Samples after which the slowest pole of the filter has decayed to `SETTLED`."""
    poles = np.concatenate([np.roots(section[3:]) for section in sections])
    slowest = min(np.abs(poles).max(), 1 - 1e-9)
    return int(np.ceil(np.log(SETTLED) / np.log(slowest))) if slowest > 0 else 1


def _robust_z(values):
    centred = values - np.median(values)
    spread = 1.4826 * np.median(np.abs(centred))
    return centred / max(spread, 1e-3)  # sensors that are all alike are not bad for being alike


def _with_neighbours(filled, rated):
    """Greatest correlation of each rated sensor with one of its neighbours, NaN for those that have none."""
    where = Space.of(filled, ~rated).sensors()
    values = (filled - filled.mean("time")).data.reshape(-1, rated.size)
    covariance = np.asarray(values.T @ values)
    living = np.flatnonzero(rated.ravel())
    first, other = living[where.first], living[where.second]
    correlation = covariance[first, other] / np.sqrt(covariance[first, first] * covariance[other, other])
    greatest = np.full(rated.size, -np.inf)
    for ends in (first, other):
        np.maximum.at(greatest, ends, correlation)
    return np.where(np.isfinite(greatest), greatest, np.nan)[living]

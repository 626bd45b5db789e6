"""Waves that a stimulus starts: when they reach each sensor, how far away, and whether model and brain agree on it.

The same inputs are given to a model (its ``drive``) and, as event times, to a recording. `analysis.preprocess.epochs`
cuts both around them; `evoked_latency` measures the delay of the response against the distance from where it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from scipy.stats import spearmanr, theilslopes

from analysis.comparison.distances import quantiles
from analysis.comparison.segments import array_length
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording, check_finite
from analysis.fields.units import labelled, netcdf_attrs, speed_units

STANDS_OUT = 5.0  # standard deviations of the baseline by which a response must
FEWEST = 4  # sensors that respond


def drive_events(rec: xr.Dataset) -> xr.Dataset:
    """When inputs arrive: in a model, from the ``drive`` of its recording; in a recorded one, from the file's events.

    Readers keep annotations (MNE), the rows of ``trials`` and ``epochs`` (NWB) and events (Neo) as ``event_onset``,
    ``event_duration`` and ``event_kind``. ``analysis.preprocess.epochs(rec, events.onset, labels=events.input, …)``
    cuts either recording around them.

    Returns
    -------
    xarray.Dataset
        Over the dim ``event``: ``onset``, the time of the state in which an input of any size first shows (its step
        begins one dt earlier), and ``input``, the number of the largest; of a file's events ``onset``, ``duration`` and
        ``input``, the number of their kind, whose names are in its attribute ``flag_meanings``.

    Raises
    ------
    ValueError
        A recording with neither drive nor events, or with a drive for each trial: select one first.
    """
    if "drive" not in rec and "event_onset" in rec:
        return xr.Dataset({"onset": rec["event_onset"], "duration": rec["event_duration"], "input": rec["event_kind"]})
    if "drive" not in rec or "trial" in rec["drive"].dims:
        raise ValueError(
            "rec needs a drive (step, input), the same for all trials, or the events of a file (event_onset): that is "
            "what says when inputs arrive"
        )
    drive = np.abs(rec["drive"].transpose("step", "input").values)
    at = np.flatnonzero(drive.any(axis=1))
    step = rec["step"]
    interval = float(step.values[1] - step.values[0] if step.size > 1 else rec.attrs.get("dt", 1.0))
    onset = step.values[at].astype(float) + interval
    units = step.attrs.get("units", "1")
    return xr.Dataset(
        {
            "onset": ("event", onset, labelled(units, "time of the first state that has the input")),
            "input": ("event", drive[at].argmax(axis=1), labelled("1", "number of the input")),
        }
    )


def evoked_latency(
    rec: Recording,
    *,
    source: float | Sequence[float] | None = None,
    level: float = 0.5,
    mask: Mask = None,
    draws: int = 199,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> xr.Dataset:
    r"""Latency of the evoked response at each sensor against its distance from the source, and the speed it gives.

    The response is the mean over trials less its mean before time 0. Its latency is where it last rises through
    `level` of its largest size before that is reached. Through the latencies

    .. math:: τ_i = τ_0 + s\,d_i

    goes the line of Theil and Sen, which a third of stray sensors does not move; the speed is 1/s. The interval of s is
    a bootstrap over trials.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        Epochs (see `analysis.preprocess.epochs`): time 0 is the stimulus. At most one channel.
    source : float or (float, float), optional
        Where the wave begins. By default the sensor with the least latency.
    level : float
        Share of the largest response that counts as its onset.
    mask : None, "nan" or boolean array
        Dead sensors.
    draws, confidence, seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``latency`` and ``distance`` of each sensor (NaN where nothing stands out of the time before the stimulus),
        ``slowness`` s and ``speed``, each with ``_low`` and ``_high`` (one trial: NaN), ``rank_correlation`` of latency
        and distance with ``p_value``, ``responding`` (share of sensors), ``source_x``, ``source_y``.

    Raises
    ------
    ValueError
        No time before or after 0, several channels, NaN that no mask covers, fewer than four sensors that respond.

    References
    ----------
    Theil 1950, Proc. R. Neth. Acad. Sci. 53; Sen 1968, J. Am. Stat. Assoc. 63 (the line).

    Examples
    --------
    >>> from analysis import synthetic
    >>> x, t = np.arange(16.0), np.arange(-10.0, 60.0)
    >>> pulse = np.exp(-0.5 * ((t[:, None] - 10 - x / 0.5) / 3) ** 2)
    >>> coords = {"time": ("time", t, {"units": "ms"}), "position": ("position", x, {"units": "mm"})}
    >>> found = evoked_latency(xr.DataArray(pulse, coords, ("time", "position")))
    >>> round(float(found.speed), 6)
    0.5
    """
    options = LatencyOptions(level, draws, confidence)
    return latencies(Field.of(rec, mask), options, source=source, seed=seed)


@dataclass(frozen=True)
class LatencyOptions:
    """How latencies are read and how sure they are; see `evoked_latency`."""

    level: float = 0.5
    draws: int = 199
    confidence: float = 0.95


def latencies(field: Field, options: LatencyOptions, *, source=None, seed: int | np.random.Generator = 0) -> xr.Dataset:
    """What `evoked_latency` returns, of a field."""
    level, draws, confidence = options.level, options.draws, options.confidence
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: a share between 0 and 1 is needed")
    channels = field.values.sizes.get("channel", 1)
    if channels > 1:
        raise ValueError(f"rec has {channels} channels: select one, rec.isel(channel=0)")
    field.check_steps(4)
    field, where = field.without_channel(), field.space.sensors()
    time, values = _epochs(field)
    at_source = None if source is None else np.atleast_1d(np.asarray(source, dtype=float))
    if at_source is not None and at_source.size != where.dimension:
        raise ValueError(f"source is {source}: {where.dimension} coordinate(s) are needed")
    latency = _latency(values.mean(axis=0), time, level)
    if np.isfinite(latency).sum() < FEWEST:
        raise ValueError(
            f"{np.isfinite(latency).sum()} sensors respond by more than {STANDS_OUT:g} standard deviations of the time "
            f"before the stimulus: at least {FEWEST} are needed; average more trials, or filter first"
        )
    at_source = where.position[np.nanargmin(latency)] if at_source is None else at_source
    distance = np.linalg.norm(where.shortest(where.position - at_source), axis=1)
    slowness = _slope(distance, latency)
    drawn = _bootstrap(values, time, level, distance, draws, np.random.default_rng(seed))
    low, high = quantiles(drawn, confidence) if len(drawn) else (np.nan, np.nan)
    return _latency_dataset(
        field, latency, distance, (slowness, low, high), _rank_correlation(distance, latency), at_source,
        netcdf_attrs(
            method="onset latency against distance", level=level, draws=draws, confidence=confidence, seed=seed,
            trials=len(values), array_length=array_length(field),
        ),
    )  # fmt: skip


def compare_evoked(
    model: Recording,
    recording: Recording,
    *,
    time_scale: float | None = None,
    level: float = 0.5,
    mask: Mask = None,
    draws: int = 199,
    confidence: float = 0.95,
    seed: int = 0,
    source: float | Sequence[float] | None = None,
    model_source: float | Sequence[float] | None = None,
) -> xr.Dataset:
    """Do the waves that the same stimuli start in a model and in a brain spread alike?

    Distances are taken in array lengths. The time to cross the array, s·L, is compared: without a `time_scale` it
    *fits* one (the recording's time per model's at which both cross alike, with its interval), with one it tests it.
    Beyond any scale there is the shape: latencies at equal distances are correlated, and their misfit after the best
    shift and scale of time is given as a share of their spread.

    Parameters
    ----------
    model, recording : xarray.Dataset
        Epochs around the same stimuli.
    time_scale : float, optional
        The recording's units of time per unit of the model's.
    level, mask, draws, confidence, seed
        As in `evoked_latency`; `mask` is the recording's.
    source, model_source : float or (float, float), optional
        Where waves begin in the recording and in the model.

    Returns
    -------
    xarray.Dataset
        ``crossing_time`` (over ``side``: model, recording) with its interval, ``time_scale`` (fitted, or given),
        ``time_scale_low`` and ``_high`` of the fit, ``crossing_ratio`` (model over recording at the given scale; 1
        where it was fitted) with its interval, ``profile_correlation`` and ``profile_misfit``, ``latency`` over
        ``side`` and ``distance`` (array lengths), in each side's own units of time.
    """
    if time_scale is not None and not time_scale > 0:
        raise ValueError(f"time_scale is {time_scale}: a positive number is needed")
    options = LatencyOptions(level, draws, confidence)
    ours = latencies(Field.of(model), options, source=model_source, seed=seed)
    theirs = latencies(Field.of(recording, mask), options, source=source, seed=seed + 1)
    crossing = np.array([_scaled_by_length(side) for side in (ours, theirs)])  # (side, estimate low high)
    one, other = crossing[:, 0]
    known = (crossing[:, 1] > 0).all() and np.isfinite(crossing).all()
    spread = np.log(crossing[:, 2] / crossing[:, 1]) / 2 if known else np.array([np.inf])
    half = np.exp(np.linalg.norm(spread))  # the two intervals are independent
    fitted = other / one
    given = fitted if time_scale is None else float(time_scale)
    ratio = one * given / other
    grid, profiles = _profiles(ours, theirs)
    correlation, misfit = _likeness(*profiles)
    data = {
        "crossing_time": ("side", crossing[:, 0], labelled("1", "time to cross the array, own units")),
        "crossing_time_low": ("side", crossing[:, 1], labelled("1", "lower end of its interval")),
        "crossing_time_high": ("side", crossing[:, 2], labelled("1", "upper end of its interval")),
        "time_scale": ((), given, labelled("1", "the recording's time per model's")),
        "time_scale_low": ((), fitted / half, labelled("1", "lower end of the fitted scale's interval")),
        "time_scale_high": ((), fitted * half, labelled("1", "upper end of the fitted scale's interval")),
        "crossing_ratio": ((), ratio, labelled("1", "crossing time, model over recording at that scale")),
        "crossing_ratio_low": ((), ratio / half, labelled("1", "lower end of its interval")),
        "crossing_ratio_high": ((), ratio * half, labelled("1", "upper end of its interval")),
        "profile_correlation": ((), correlation, labelled("1", "correlation of latencies at equal distances")),
        "profile_misfit": ((), misfit, labelled("1", "misfit after the best scale, share of the spread")),
        "latency": (("side", "distance"), np.stack(profiles), labelled("1", "latency, own units of time")),
    }
    coords = {
        "side": ("side", ["model", "recording"], labelled("1", "side")),
        "distance": ("distance", grid, labelled("1", "distance from the source, array lengths")),
    }
    attrs = netcdf_attrs(
        method="comparison of evoked latencies", fitted=time_scale is None, seed=seed, **asdict(options)
    )
    return xr.Dataset(data, coords, attrs)


def _epochs(field: Field):
    """Times and values (trial, time, site) of epochs."""
    time = field.time.values
    if not (time[0] < 0 < time[-1]):
        raise ValueError(
            f"time runs from {time[0]:.6g} to {time[-1]:.6g}: epochs around a stimulus at time 0 are needed, as "
            "analysis.preprocess.epochs cuts them"
        )
    array = field.ordered if field.trial else field.ordered.expand_dims("trial")
    values = array.values.reshape(*array.shape[:2], -1)[..., field.space.sensors().alive].astype(float)
    check_finite(values)
    return time, values


def _latency(evoked, time, level):
    """Latency of each sensor's response, evoked (time, site); NaN where none stands out."""
    before = time < 0
    response = np.abs(evoked - evoked[before].mean(axis=0))
    noise = evoked[before].std(axis=0)
    response, times = response[~before], time[~before]
    peak = response.argmax(axis=0)
    largest = response[peak, np.arange(response.shape[1])]
    latency = np.full(response.shape[1], np.nan)
    for sensor in np.flatnonzero((largest > STANDS_OUT * noise) & (peak > 0)):
        rising, wanted = response[: peak[sensor] + 1, sensor], level * largest[sensor]
        below = np.flatnonzero(rising < wanted)
        if below.size:
            low = below[-1]
            share = (wanted - rising[low]) / (rising[low + 1] - rising[low])
            latency[sensor] = times[low] + share * (times[low + 1] - times[low])
    return latency


def _slope(distance, latency):
    kept = np.isfinite(latency)
    if kept.sum() < 2 or np.ptp(distance[kept]) == 0:
        return np.nan
    return float(theilslopes(latency[kept], distance[kept]).slope)


def _rank_correlation(distance, latency):
    """Spearman's of the sensors that respond, and its p-value; NaN where all do at once."""
    kept = np.isfinite(latency)
    if np.ptp(distance[kept]) == 0 or np.ptp(latency[kept]) == 0:
        return np.nan, np.nan
    return spearmanr(distance[kept], latency[kept])


def _bootstrap(values, time, level, distance, draws, rng):
    if len(values) < 2:
        return np.empty(0)
    found = []
    for _ in range(draws):
        drawn = values[rng.integers(0, len(values), len(values))].mean(axis=0)
        found.append(_slope(distance, _latency(drawn, time, level)))
    found = np.array(found)
    return found[np.isfinite(found)]


def _latency_dataset(field: Field, latency, distance, slowness, rank, source, attrs):
    where, time_units = field.space.sensors(), field.time.units
    per_length = speed_units(time_units, where.units)
    value, low, high = slowness
    fast = [1 / s if s != 0 else np.inf for s in (value, high, low)]
    if low <= 0 <= high:  # the interval of s holds 0
        fast[1:] = -np.inf, np.inf
    data = {
        "latency": (where.dims, where.spread(latency), labelled(time_units, "onset latency")),
        "distance": (where.dims, where.spread(distance), labelled(where.units, "distance from source")),
        "responding": ((), np.isfinite(latency).mean(), labelled("1", "share of sensors that respond")),
        "rank_correlation": ((), rank[0], labelled("1", "Spearman's of latency and distance")),
        "p_value": ((), rank[1], labelled("1", "p-value of the rank correlation")),
        "source_x": ((), source[0], labelled(where.units, "x of the source")),
        "source_y": (
            (),
            source[-1] if len(source) > 1 else 0.0,
            labelled(where.units, "y of the source"),
        ),
    }
    for name, part in zip(("slowness", "slowness_low", "slowness_high"), (value, low, high), strict=True):
        data[name] = ((), part, labelled(per_length, name.replace("_", " ")))
    speed = speed_units(where.units, time_units)
    for name, part in zip(("speed", "speed_low", "speed_high"), fast, strict=True):
        data[name] = ((), part, labelled(speed, name.replace("_", " ")))
    return xr.Dataset(data, field.space_coords(), attrs)


def _scaled_by_length(found):
    length = found.attrs["array_length"]
    return [float(found[name]) * length for name in ("slowness", "slowness_low", "slowness_high")]


def _profiles(ours, theirs):
    """Mean latency in bins of distance that both have, (bin,) each."""
    sides = []
    for found in (ours, theirs):
        distance, latency = (found[name].values.ravel() for name in ("distance", "latency"))
        kept = np.isfinite(latency)
        sides.append((distance[kept] / found.attrs["array_length"], latency[kept]))
    reach = min(distance.max() for distance, _ in sides)
    edges = np.linspace(0, reach * (1 + 1e-9), 1 + max(3, min(10, *(len(d) // 3 for d, _ in sides))))
    profiles = []
    for distance, latency in sides:
        number = np.digitize(distance, edges) - 1
        inside = (number >= 0) & (number < edges.size - 1)
        count = np.bincount(number[inside], minlength=edges.size - 1)
        total = np.bincount(number[inside], latency[inside], minlength=edges.size - 1)
        profiles.append(np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0))
    return (edges[1:] + edges[:-1]) / 2, profiles


def _likeness(one, other):
    """Correlation of two profiles, and what the line through them leaves as a share of the spread."""
    kept = np.isfinite(one) & np.isfinite(other)
    if kept.sum() < 3 or np.ptp(one[kept]) == 0 or np.ptp(other[kept]) == 0:
        return np.nan, np.nan
    correlation = float(np.corrcoef(one[kept], other[kept])[0, 1])
    return correlation, float(np.sqrt(max(1 - correlation**2, 0.0)))

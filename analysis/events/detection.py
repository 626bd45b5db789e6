"""When and where waves occur: onset, duration, place, direction and speed of each event, and how many chance gives.

Averages over a recording hide that waves come and go. `wave_events` searches for segments of time in which the phase
gradients of a band agree on a direction for longer, and more strongly, than in surrogates where nothing travels.
"""

import numpy as np
import xarray as xr
from scipy.signal import butter, hilbert, sosfiltfilt

from analysis.events.clusters import (
    PER_PERIOD,
    clusters,
    directionality,
    permuted_surrogate,
    places,
    symmetric_surrogate,
    vectors,
)
from analysis.fields.band import Band, check_band
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.sensors import Sites, neighbour_sums, site_gradient
from analysis.fields.units import inverse_units, labelled, netcdf_attrs, speed_units
from analysis.velocity.phase_gradient import mean_frequency, mean_wavenumber

LEVEL = 0.8  # quantile of the null's directionality above which clusters form
SURROGATES = {"symmetric": symmetric_surrogate, "permuted": permuted_surrogate}


def wave_events(
    rec: Recording,
    *,
    band: Band,
    seed: int | np.random.Generator,
    null: str = "symmetric",
    false_events: float = 0.05,
    surrogates: int = 200,
    radius: float | None = None,
    shortest: float | None = None,
    mask: Mask = None,
) -> xr.Dataset:
    """Find the waves of a frequency band, one by one.

    The phase-gradient directionality over one period (see `analysis.events.clusters`) is compared with surrogates: a
    cluster above their 80 % quantile is an event if so massive a one occurs at most `false_events` times per recording
    (trial and channel) in the surrogates (Maris and Oostenveld 2007, with clusters counted instead of the largest
    taken).

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording.
    band : (float, float)
        Frequencies of the waves, cycles per unit of time.
    seed : int
        Of the surrogates.
    null : {"symmetric", "permuted"}
        What chance is. ``symmetric``: Gaussian noise with the spectrum of the data and the synchrony of its less
        directed half, without systematic phase lags; it asks "does it travel?". ``permuted``: the sensors in random
        order; it asks only "is there any order in space?", and counts smooth noise as waves.
    false_events : float
        Expected number of events per trial and channel where there is no wave.
    surrogates : int
        How many; at least 10/false_events make the threshold reliable to a third.
    radius : float, optional
        Search for waves in the neighbourhood of each sensor, within this distance. By default the complete array takes
        part in each event.
    shortest : float, optional
        Least duration in units of time; one period of the centre of the band by default.
    mask : None, "nan" or boolean array
        Dead sensors to leave out.

    Returns
    -------
    xarray.Dataset
        Over the dim ``event``, in order of onset within each trial and channel: ``onset``, ``end`` (of the last
        sample), ``duration``, ``speed`` (signed in one dimension), ``direction`` (two dimensions), ``wavelength``,
        ``frequency``, ``centre_x`` (and ``centre_y``; circular means where space closes), ``sites`` that take part,
        mean ``directionality``, ``mass`` and ``expected_false``, the number of events at least as massive that chance
        gives in one recording; ``trial`` and ``channel`` where `rec` has them. ``participation`` (event and space) is
        how well each sensor agrees with the event's direction, −1 to 1, NaN where it takes no part. ``speed_map`` and
        ``direction_map`` (two dimensions) are the phase speed and the path of the event at each sensor, from the
        phases of its neighbours; NaN where not all of them take part.

    Raises
    ------
    ValueError
        As the velocity estimators; a record that is shorter than some periods of the band.

    Examples
    --------
    >>> from analysis import synthetic
    >>> quiet = synthetic.white_noise(synthetic.line(16), 500, seed=1)
    >>> wave_events(quiet, band=(0.05, 0.15), seed=2).sizes["event"]
    0
    """
    return events(
        Field.of(rec, mask),
        band=band,
        seed=seed,
        null=null,
        false_events=false_events,
        surrogates=surrogates,
        radius=radius,
        shortest=shortest,
    )


def events(
    field: Field,
    *,
    band: Band,
    seed: int | np.random.Generator,
    null: str = "symmetric",
    false_events: float = 0.05,
    surrogates: int = 200,
    radius: float | None = None,
    shortest: float | None = None,
) -> xr.Dataset:
    """What `wave_events` returns, of a field."""
    if null not in SURROGATES:
        raise ValueError(f"null is {null!r}: one of {sorted(SURROGATES)} is needed")
    if not false_events > 0:
        raise ValueError(f"false_events is {false_events}: a positive number of events per recording is needed")
    if not (int(surrogates) == surrogates and surrogates * false_events >= 1):
        raise ValueError(
            f"surrogates is {surrogates}: at least 1/false_events = {int(np.ceil(1 / false_events))} are needed"
        )
    for name, value in (("radius", radius), ("shortest", shortest)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}: a positive number is needed, or None for the default")
    field.check_steps(4)
    time, where = field.time, field.space.sensors(3)
    lowest, highest = check_band(band, time, filtered=True)
    centre = (lowest + highest) / 2
    stride = max(1, round(1 / (PER_PERIOD * centre * time.step)))
    trim = int(np.ceil(1 / ((highest - lowest) * time.step)))
    if time.size - 2 * trim < 4 * PER_PERIOD * stride:
        raise ValueError(
            f"the record of {time.length:.6g} {time.units} leaves fewer than four periods of the band {tuple(band)} "
            "after trimming 1/bandwidth at both ends: record longer, or widen the band"
        )
    shortest = 1 / centre if shortest is None else float(shortest)
    rng = np.random.default_rng(seed)
    sections = butter(4, [lowest, highest], "bandpass", fs=1 / time.step, output="sos")
    times = time.values[trim : time.size - trim : stride]
    rows = []
    for index, values in field.traces():
        z = hilbert(sosfiltfilt(sections, values, axis=0), axis=0)[trim : time.size - trim : stride]
        rows += [
            {"index": index, **row}
            for row in _events(z, times, where, rng, SURROGATES[null], radius, shortest, false_events, int(surrogates))
        ]
    parameters = netcdf_attrs(
        band=(lowest, highest), seed=seed, null=null, false_events=false_events, surrogates=int(surrogates),
        radius=radius, shortest=shortest, trim=trim * time.step,
    )  # fmt: skip
    return _event_dataset(rows, field, where, {"method": "phase-gradient clusters", **parameters})


def _events(z, times, where: Sites, rng, surrogate, radius, shortest, false_events, surrogates):
    """Yield the events of one trial and channel, z (time, site) analytic."""
    if not np.abs(z).any():
        return
    operators, around = neighbour_sums(where), places(where, radius)
    step = times[1] - times[0]
    fewest = max(1, round(shortest / step))

    def directed(z):
        return directionality(vectors(z, where, operators), around)

    g, statistic = vectors(z, where, operators), directed(z)
    draw = surrogate(z, directed, rng)
    chance = [directed(draw()) for _ in range(surrogates)]
    level = float(np.quantile(np.concatenate([g.ravel() for g in chance]), LEVEL))
    null_masses = np.sort(np.concatenate([clusters(g, level, around, fewest)[0] for g in chance]))
    masses, label = clusters(statistic, level, around, fewest)
    for number, mass in enumerate(masses, start=1):
        as_massive = len(null_masses) - np.searchsorted(null_masses, mass)
        expected = (as_massive + 1) / (surrogates + 1)
        if expected > false_events:
            continue
        cells = _core(statistic, label == number, level)
        found = _describe(z, g, statistic, cells, times, where, around)
        yield {"mass": mass * step, "expected_false": expected, **found}


def _core(statistic, cells, level):
    """The cluster between the times at which its mass rises and falls through half its greatest.

    The directionality is a mean over one period: it begins to rise half a period before a wave sets in.
    """
    profile = np.sum((statistic - level) * cells, axis=1)
    high = np.flatnonzero(profile >= 0.5 * profile.max())
    core = cells.copy()
    core[: high[0]] = core[high[-1] + 1 :] = False
    return core


def _describe(z, g, statistic, cells, times, where: Sites, around):
    """Onset, place, direction and speed of the event in `cells` (time, place)."""
    when = np.flatnonzero(cells.any(axis=1))
    taking_part = cells[when].astype(float) @ around.member.toarray() > 0  # (time, site)
    pairs = taking_part[:, where.first] & taking_part[:, where.second]
    products = z[when][:, where.second] * z[when][:, where.first].conj() * pairs
    wavenumber = mean_wavenumber(products.sum(axis=0), where)
    step = times[1] - times[0]
    inner = when[when < len(z) - 1]
    frequency, _ = mean_frequency(z[inner + 1], z[inner], wavenumber, where, step, pairs[: len(inner)])
    vectors_there = np.where(taking_part[..., None], g[when], 0.0)
    along = wavenumber / max(np.linalg.norm(wavenumber), 1e-300)
    size = np.sum(np.linalg.norm(vectors_there, axis=-1), axis=0)
    participation = np.divide(
        np.sum(vectors_there @ along, axis=0), size, out=np.full(where.count, np.nan), where=size > 0
    )
    weight = np.maximum(np.nan_to_num(participation), 0.0)
    return {
        "onset": times[when[0]],
        "end": times[when[-1]],
        "duration": times[when[-1]] - times[when[0]] + step,
        "wavenumber": wavenumber,
        "frequency": frequency,
        "centre": _centre(weight, where),
        "sites": int(np.sum(taking_part.any(axis=0))),
        "directionality": float(statistic[cells].mean()),
        "participation": where.spread(participation),
        "vector_map": where.spread(_local_wavenumber(products, pairs, where, taking_part.any(axis=0)).T),
    }


def _local_wavenumber(products, pairs, where: Sites, taking_part):
    """k (site, D) at each sensor: the gradient of the phases of its neighbours, over the event; NaN where none is."""
    seen = pairs.any(axis=0)
    lag = np.where(seen, np.angle(products.sum(axis=0)), np.nan)
    k = np.stack([-(operator @ np.where(seen, lag, 0.0)) for operator in site_gradient(where)], axis=-1) / (2 * np.pi)
    alone = np.zeros(where.count, dtype=bool)  # where not all neighbours take part the plane through them is not known
    np.logical_or.at(alone, where.first, ~seen)
    np.logical_or.at(alone, where.second, ~seen)
    k[alone | ~taking_part] = np.nan
    return k


def _centre(weight, where: Sites):
    """Mean place (D,) of the sensors, along axes that close the circular mean."""
    straight = weight @ where.position / max(weight.sum(), 1e-300)
    radius = np.where(where.closed, where.period, 1.0) / (2 * np.pi)
    around = radius * np.angle(weight @ np.exp(1j * where.position / radius))
    return np.where(where.closed, where.within(around), straight)


def _event_dataset(rows, field: Field, where: Sites, attrs):
    """One variable per property over the dim event."""
    array, time, batch = field.values, field.time, list(field.batch_coords())
    rows = sorted(rows, key=lambda row: (row["index"], row["onset"]))
    k = np.array([row["wavenumber"] for row in rows]).reshape(len(rows), where.dimension)
    size = np.linalg.norm(k, axis=1)

    def column(name, units, long_name):
        return "event", np.array([row[name] for row in rows], dtype=float), labelled(units, long_name)

    data = {
        "onset": column("onset", time.units, "first sample of the event"),
        "end": column("end", time.units, "last sample of the event"),
        "duration": column("duration", time.units, "duration"),
        "frequency": column("frequency", inverse_units(time.units), "mean frequency"),
        "sites": column("sites", "1", "number of sensors that take part"),
        "directionality": column("directionality", "1", "mean phase-gradient directionality"),
        "mass": column("mass", time.units, "directionality above the level, summed over time and places"),
        "expected_false": column("expected_false", "1", "events as massive that chance gives in one recording"),
    }
    frequency = data["frequency"][1]
    signed = frequency / np.where(k[:, 0] == 0, np.nan, k[:, 0]) if where.dimension == 1 else None
    speed = frequency / np.where(size == 0, np.nan, size) if signed is None else signed
    data["speed"] = ("event", speed, labelled(speed_units(where.units, time.units), "phase speed"))
    wavelength = 1 / np.where(size == 0, np.nan, size)
    data["wavelength"] = ("event", wavelength, labelled(where.units, "wavelength"))
    if where.dimension == 2:
        angle = np.arctan2(k[:, 1], k[:, 0])
        data["direction"] = ("event", angle, labelled("rad", "direction, counter-clockwise from +x"))
    centre = np.array([row["centre"] for row in rows]).reshape(len(rows), where.dimension)
    for name, values in zip(("x", "y"), centre.T, strict=False):
        data[f"centre_{name}"] = ("event", values, labelled(where.units, f"{name} of the event's centre"))
    maps = np.array([row["participation"] for row in rows]).reshape(len(rows), *where.shape)
    text = labelled("1", "agreement of each sensor with the event's direction")
    data["participation"] = (("event", *where.dims), maps, text)
    vectors_there = np.array([row["vector_map"] for row in rows]).reshape(len(rows), where.dimension, *where.shape)
    slow = np.linalg.norm(vectors_there, axis=1)
    at = frequency.reshape(-1, *[1] * len(where.shape))
    text = labelled(speed_units(where.units, time.units), "phase speed at each sensor, from its neighbours")
    local = at / np.where(slow == 0, np.nan, slow)
    if where.dimension == 1:
        local = local * np.sign(vectors_there[:, 0])
    else:
        angles = np.arctan2(vectors_there[:, 1], vectors_there[:, 0])
        path = labelled("rad", "direction in which the event passes each sensor, counter-clockwise from +x")
        data["direction_map"] = (("event", *where.dims), angles, path)
    data["speed_map"] = (("event", *where.dims), local, text)
    for d, name in enumerate(batch):
        labels = np.asarray(array.coords[name].values if name in array.coords else np.arange(array.sizes[name]))
        data[name] = ("event", labels[[row["index"][d] for row in rows]], labelled("1", name))
    return xr.Dataset(data, field.space_coords(), attrs)

"""How fast and which way: velocity from stacking (Radon), from delays and from phase gradients, each with an interval.

Three estimators on rings, lines, sheets and irregular electrode arrays; the fourth, the ridge of the spectrum, needs a
regular axis or grid and is in `analysis.velocity.ridge`; the fifth, optical flow, needs a grid. `ESTIMATORS` names all.
Each trial and channel gives one estimate, in the form that `analysis.velocity.result` fixes. What an estimator cannot
know it refuses (a status, speed NaN, a warning with the remedy): noise without a wave, two velocities that explain the
data alike, phases of a broadband signal.

A wave that is spatially aliased, c/f < 2 dx, looks exactly like a slower or opposite one if it has a single frequency,
and nothing in the data tells. Every result therefore carries ``speed_alias``, the speed it would have one alias
further on. Say ``slowest=…`` where speeds down to that cannot be ruled out: an estimate whose alias lies within is
then refused.

The intervals hold for noise that is correlated in time, or between sensors over much less than a wavelength. Noise
that the sensors share more widely is a standing wave of its own: it biases every estimator towards higher speed.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
import xarray as xr

from analysis.direction.shapes import FEWEST_SENSORS
from analysis.fields.band import Band, check_band
from analysis.fields.dead import Mask
from analysis.fields.field import Field, stretches
from analysis.fields.read import Recording
from analysis.fields.sensors import Sites
from analysis.fields.trend import without_trend
from analysis.fields.units import inverse_units, labelled
from analysis.velocity.chance import Trace, knows_no_place, may_be_chance
from analysis.velocity.delays import delays
from analysis.velocity.flow import flow
from analysis.velocity.fronts import along_the_front
from analysis.velocity.phase_gradient import gradient
from analysis.velocity.radon import radon
from analysis.velocity.result import STATUS, Estimate, Velocity, check_confidence, joined, velocity, velocity_dataset
from analysis.velocity.ridge import ridge_speed

LONG = 2.0  # array lengths; the mean gradient of a standing wave is that of a wave longer than that
SILENT = 1e-5  # share of the largest value below which changes in time are rounding (of float32)


def radon_velocity(
    rec: Recording,
    *,
    band: Band | None = None,
    slowest: float | None = None,
    mask: Mask = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""Velocity of the plane wave along whose lines the activity adds up most strongly.

    The slowness p (1/speed, pointing where the wave goes) maximises the power of the stack over pairs of sensors,

    .. math:: J(p) = \sum_f W(f) \Big( \big|\sum_i V_i(f; p)\big|^2 - \sum_i |V_i(f; p)|^2 \Big),

    V_i the transform of :math:`u_i(t + p·x_i)`: a Radon transform whose lines are weighted by frequency. The weights
    are those of maximum likelihood for the coherent spectrum that is found in the data, so that narrow- and broadband
    waves need no setting. Without noise it is exact, wherever the record ends.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording.
    band : (float, float), optional
        Lowest and highest frequency to use, in cycles per unit of time.
    slowest : float, optional
        Least speed to look for. By default that of a wave two spacings long at the mean coherent frequency.
    mask : None, "nan" or boolean array
        Dead sensors to leave out (True = dead), or those that hold a NaN. Those that never change are left
        out too, with a warning, as in `analysis.diagnose`.
    confidence : float
        Of the intervals.

    Returns
    -------
    xarray.Dataset
        ``speed``, ``speed_low``, ``speed_high``, ``status``, in two dimensions ``direction`` and its interval (see
        `analysis.velocity.result`); beside them ``frequency``, ``wavelength``, ``speed_alias`` and ``explained``,
        the share of the power that travels as this wave. Each over the dims trial and channel that `rec` has.

    Raises
    ------
    ValueError, TypeError
        Uneven time, NaN without a mask, a single position, electrodes on one line, a band the sampling cannot hold,
        complex data.

    Warns
    -----
    UserWarning
        For estimates that were refused, and for waves longer than the array. The texts are in ``attrs["warnings"]``.

    References
    ----------
    Beylkin 1987, IEEE Trans. ASSP 35 (discrete Radon transform); Capon 1969, Proc. IEEE 57 (frequency–wavenumber
    analysis).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.line(24, dx=0.4, units="mm"), 300, wavenumber=3.3 / 17, frequency=3.3, dt=0.01,
    ...                       time_units="s")
    >>> round(float(radon_velocity(rec).speed), 2)
    17.0
    """
    return radon_speed(Field.of(rec, mask, living=True), band=band, slowest=slowest, confidence=confidence)


def delay_velocity(
    rec: Recording,
    *,
    band: Band | None = None,
    slowest: float | None = None,
    mask: Mask = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Velocity from the plane through the delays of all sensors, measured by cross-correlation.

    Each sensor is correlated with the mean of all others, which are aligned by their own delays; the plane

    .. math:: τ_i = τ_0 + p·x_i

    is fitted with weights 1/variance. The delays themselves are returned, with R² of the plane: curved fronts (target
    or rotating waves) show there.

    Parameters
    ----------
    rec, band, slowest, mask, confidence
        As in `radon_velocity`.

    Returns
    -------
    xarray.Dataset
        As of `radon_velocity`, and ``delay`` (over the space dims, in units of time, against the centre of the array)
        and ``r_squared``.

    Raises
    ------
    ValueError, TypeError
        As `radon_velocity`.

    References
    ----------
    VanDecar and Crosson 1990, Bull. Seism. Soc. Am. 80 (delays); Martinet et al. 2017, Nat. Commun. 8 (plane).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.moving_pattern(synthetic.ring(64), 256, speed=-0.5, seed=1)
    >>> round(float(delay_velocity(rec).speed), 3)
    -0.5
    """
    return delay_speed(Field.of(rec, mask, living=True), band=band, slowest=slowest, confidence=confidence)


def phase_gradient_velocity(
    rec: Recording,
    *,
    band: Band | None = None,
    slowest: float | None = None,
    mask: Mask = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Velocity f/k from the phase differences of neighbouring sensors and samples.

    Amplitude-weighted means over the record of the gradient of the phase, k = −∇φ/2π, and of its rate,
    f = ∂φ/∂t / 2π; where and when they differ is shown by `analysis.phase_gradient`. Only a narrow band has a
    phase: at least 60 % of the power must lie within a factor of 1.5 of the strongest frequency, otherwise the
    estimate is refused (white noise of the signal's strength gave three times the true speed in published code).

    Parameters
    ----------
    rec, mask, confidence
        As in `radon_velocity`.
    band : (float, float), optional
        Band to filter to, in cycles per unit of time. Without it the recording must be narrowband itself.
    slowest : float, optional
        Least speed that is possible; an estimate whose alias is not slower than that is refused.

    Returns
    -------
    xarray.Dataset
        As of `radon_velocity`; ``explained`` is the coherence of neighbours.

    Raises
    ------
    ValueError, TypeError
        As `radon_velocity`.

    References
    ----------
    Rubino, Robbins and Hatsopoulos 2006, Nat. Neurosci. 9; Muller et al. 2016, eLife 5.

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.sheet((8, 8)), 400, wavenumber=(0.09, 0.12), frequency=0.15)
    >>> round(float(phase_gradient_velocity(rec).speed), 3)
    1.0
    """
    return phase_gradient_speed(Field.of(rec, mask, living=True), band=band, slowest=slowest, confidence=confidence)


def optical_flow_velocity(
    rec: Recording,
    *,
    band: Band | None = None,
    slowest: float | None = None,
    mask: Mask = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""Velocity from optical flow: how far the pattern of a band moves between frames a tenth of a period apart.

    .. math:: V = \frac{\sum (w·g)\, g}{\sum |g|^2}

    with w the TV-L1 optical flow from one frame to the other and g their gradient: what a flow says of a straight front
    is only how fast it moves across itself. It takes the pictures as they are, so that it is the estimate to put beside
    published flow fields; on a plane wave of 4 spacings or more it is within a few per cent, less exact than the others
    and tens of times slower. Only grids, and only a narrow band, as of `phase_gradient_velocity`. Needs scikit-image:
    ``pip install "wavefield[flow]"``.

    Parameters
    ----------
    rec : xarray.Dataset or xarray.DataArray
        A recording on a grid, of at least 4 × 4 positions.
    band : (float, float), optional
        Band to filter to, in cycles per unit of time. Without it the recording must be narrowband itself.
    slowest : float, optional
        Least speed that is possible; a slower estimate is refused.
    mask : None, "nan" or boolean array
        Dead sensors, filled from their neighbours.
    confidence : float
        Of the intervals, which are those of the jackknife over five stretches of the record.

    Returns
    -------
    xarray.Dataset
        As of `radon_velocity`; ``explained`` is the share of the band's power in the plane wave found.

    Raises
    ------
    ValueError, TypeError
        As `radon_velocity`; lines, rings, and scattered electrodes.
    ModuleNotFoundError
        Without scikit-image.

    References
    ----------
    Zach, Pock and Bischof 2007, DAGM (TV-L1 flow); Sánchez Pérez, Meinhardt-Llopis and Facciolo 2013, IPOL 3 (the
    implementation); Townsend and Gong 2018, PLoS Comput. Biol. 14, Afrashteh, Inayat, Mohsenvand and Mohajerani 2017,
    NeuroImage 153 (optical flow of neural activity).

    Examples
    --------
    >>> from analysis import synthetic
    >>> rec = synthetic.plane(synthetic.sheet((8, 8)), 200, wavenumber=(0.09, 0.12), frequency=0.06)
    >>> result = optical_flow_velocity(rec)
    >>> round(float(result.speed), 1), round(float(np.degrees(result.direction)))
    (0.4, 53)
    """
    return flow_speed(Field.of(rec, mask, living=True), band=band, slowest=slowest, confidence=confidence)


# The same of a field --------------------------------------------------------------------------------------------------


def radon_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `radon_velocity` returns, of a field."""
    return _measure(field, ("radon",), band, slowest, confidence)[0]


def delay_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `delay_velocity` returns, of a field."""
    return _measure(field, ("delay",), band, slowest, confidence)[0]


def phase_gradient_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `phase_gradient_velocity` returns, of a field."""
    return _measure(field, ("phase gradient",), band, slowest, confidence)[0]


def flow_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `optical_flow_velocity` returns, of a field."""
    check_flow(field)
    return _measure(field, ("optical flow",), band, slowest, confidence)[0]


def check_flow(field: Field) -> None:
    """Raise unless the field is a grid of at least 4 × 4 and scikit-image is installed."""
    if field.space.dims != ("y", "x"):
        raise ValueError(
            f"rec has the space dims {field.space.dims}: optical flow needs frames on a grid ('y', 'x'); of "
            "lines, rings and electrodes take radon_velocity or delay_velocity, or grid_electrodes first"
        )
    if min(field.space.shape) < 4:
        raise ValueError(f"the grid has shape {field.space.shape}: optical flow needs at least 4 × 4 positions")
    if find_spec("skimage") is None:
        raise ModuleNotFoundError('optical flow needs scikit-image: pip install "wavefield[flow]"', name="skimage")


def every_speed(field: Field, names: Iterable[str], *, band=None, confidence=0.95) -> list[xr.Dataset]:
    """What each of these `ESTIMATORS` returns, of a field; what they share of every trace is worked out once."""
    names = list(names)
    together = [name for name in names if name in METHODS]
    found = dict(zip(together, _measure(field, together, band, None, confidence), strict=True)) if together else {}
    return [
        found[name] if name in found else ESTIMATORS[name](field, band=band, confidence=confidence) for name in names
    ]


def _gradient(values, dt, where, *, band, slowest=None) -> Estimate:
    found = gradient(values, dt, where, band=band)
    too_slow = slowest is not None and abs(_alias(found, where)) >= slowest
    return Estimate("aliased", frequency=found.frequency) if too_slow else found


ESTIMATORS: dict[str, Callable[..., xr.Dataset]] = {  # each takes a field, band=… and confidence=…
    "ridge": ridge_speed,
    "radon": radon_speed,
    "delay": delay_speed,
    "phase gradient": phase_gradient_speed,
    "optical flow": flow_speed,
}
ANY_LAYOUT = ("radon", "delay", "phase gradient")  # those that take electrodes without a grid, too
METHODS: dict[str, tuple[str, Callable[..., Estimate]]] = {  # those that measure trace by trace
    "radon": ("Radon", radon),
    "delay": ("delay plane", delays),
    "phase gradient": ("phase gradient", _gradient),
    "optical flow": ("optical flow", flow),
}


def _measure(field: Field, names: Sequence[str], band, slowest, confidence) -> list[xr.Dataset]:
    """Run estimators over trials and channels and put the answers of each into the common form."""
    if slowest is not None and not slowest > 0:
        raise ValueError(f"slowest is {slowest}: a positive speed is needed")
    check_confidence(confidence)
    field.check_steps(4)
    time, where = field.time, field.space.sensors()
    band = None if band is None else check_band(band, time)
    found: dict[str, dict] = {name: {} for name in names}
    for index, values in field.traces():
        parts: dict[str, list[Estimate]] = {name: [] for name in names}
        for part in stretches(values):
            silent = np.abs(without_trend(part)).max() <= SILENT * np.abs(part).max()
            trace = Trace(part if silent else part - part.mean(axis=0), time.step, where, band)
            for name in names:
                estimate = partial(METHODS[name][1], slowest=slowest)
                parts[name].append(Estimate("silent") if silent else _one(trace, estimate, 1 - confidence))
        for name in names:
            found[name][index] = joined(parts[name])
    results = []  # in a loop, as a comprehension is one call more between a warning and its caller
    for name in names:
        results.append(_dataset(found[name], field, where, METHODS[name][0], confidence, band=band, slowest=slowest))
    return results


def _one(trace: Trace, estimate: Callable[..., Estimate], level: float) -> Estimate:
    where = trace.where
    found = estimate(trace.values, trace.dt, where, band=trace.band)
    if where.dimension == 2 and where.count >= FEWEST_SENSORS and not _unlimited(found, level):
        found = _in_two_dimensions(found, trace, estimate, level)
    if found.status != "ok" or found.slowness is None or found.covariance is None:
        return found
    unlimited, long = _unlimited(found, level), _wavelength(found) > LONG * where.extent
    if unlimited and not long:
        return found
    ways = trace.balance
    if long and ways.stands:
        return Estimate("ambiguous", frequency=found.frequency, explained=found.explained)
    if unlimited or len(found.slowness) < where.dimension:
        return found
    if may_be_chance(ways, found.slowness, found.covariance, level=level):
        return Estimate("chance", frequency=found.frequency, explained=found.explained)
    return found


def _unlimited(found: Estimate, level: float) -> bool:
    """Whether an estimate says itself that nothing need travel: its interval reaches zero slowness."""
    if found.status != "ok" or found.slowness is None or found.covariance is None:
        return False
    bounds = velocity(found.slowness, found.covariance, 1 - level)
    return not np.isfinite([bounds.low, bounds.high]).all()


def _in_two_dimensions(found: Estimate, trace: Trace, estimate, level) -> Estimate:
    """The estimate of a plane wave where fronts are curved, and where lags are not those of a wave."""
    if found.status in ("too_short", "broadband"):
        return found
    shape, modes = trace.shape(level)
    if found.status != "ok" and not shape.curved:
        return found
    if knows_no_place(modes, shape, trace.where, level=level):
        return Estimate("chance", frequency=found.frequency, explained=found.explained)
    again = partial(estimate, trace.values, trace.dt, band=trace.band)
    return along_the_front(found, again, shape, modes, trace.where)


def _dataset(found, field: Field, where: Sites, method, confidence, *, band, slowest):
    time, batch = field.time, field.batch_coords()
    shape = tuple(field.values.sizes[dim] for dim in batch)
    units = (where.units, time.units)
    velocities = {i: _velocity(estimate, confidence) for i, estimate in found.items()}

    def collect(value_of, items):
        values = np.empty(shape)
        for index, item in items.items():
            values[index] = value_of(item)
        return values

    def extra(value_of, unit, long_name):
        return tuple(batch), collect(value_of, found), labelled(unit, long_name)

    extras = {
        "frequency": extra(lambda e: e.frequency, inverse_units(time.units), "mean frequency of what travels"),
        "wavelength": extra(_wavelength, where.units, "wavelength at that frequency"),
        "explained": extra(lambda e: e.explained, "1", "share of the power that travels as this wave"),
    }
    if method == "delay plane":
        delay = np.full((*shape, *where.shape), np.nan)
        for index, estimate in found.items():
            if estimate.delay is not None:
                delay[index] = where.spread(estimate.delay)
        text = labelled(time.units, "delay against the centre of the array")
        extras["delay"] = ((*batch, *where.dims), delay, text)
        extras["r_squared"] = extra(lambda e: e.r_squared, "1", "share of the delays' variance in their plane")
    parts = ["speed", "low", "high"]
    if where.dimension == 2:
        text = "distance of the source of a curved front from the middle of the array; inf: straight, 0: inside"
        extras["front_distance"] = extra(lambda e: e.front_distance, where.units, text)
        parts += ["direction", "direction_low", "direction_high"]
    result = velocity_dataset(
        batch,
        **{name: collect(lambda v, name=name: getattr(v, name), velocities) for name in parts},
        status=collect(lambda v: STATUS.index(v.status), velocities),
        units=units,
        method=method,
        confidence=confidence,
        cautions=_cautions(found, velocities, where),
        stacklevel=6,
        extra=extras,
        band=band,
        slowest=slowest,
    )
    alias = collect(lambda e: _alias(e, where), found)
    text = labelled(result.speed.attrs["units"], "speed if the wave is spatially aliased once")
    result["speed_alias"] = (tuple(batch), alias, text)
    return result.assign_coords(field.space_coords()) if method == "delay plane" else result


def _velocity(estimate: Estimate, confidence) -> Velocity:
    if estimate.status != "ok" or estimate.slowness is None or estimate.covariance is None:
        return Velocity(estimate.status)
    found = velocity(estimate.slowness, estimate.covariance, confidence)
    if estimate.front_distance > 0:
        return found
    # rings about a point inside: the speed along the distance from it, whichever way, and no direction
    low, high = sorted(np.abs([found.low, found.high])) if np.isfinite(found.low) else (0.0, np.inf)
    return Velocity("ok", abs(found.speed), low, high)


def _wavelength(estimate: Estimate):
    if estimate.slowness is None:
        return np.nan
    return 1 / (estimate.frequency * np.linalg.norm(estimate.slowness))


def _alias(estimate: Estimate, where: Sites):
    """Speed of the nearest wave that neighbours cannot distinguish from this one: the largest k moved by 1/spacing."""
    if estimate.slowness is None or estimate.slowness.size < where.dimension:
        return np.nan
    k = estimate.frequency * estimate.slowness
    d = int(np.argmax(np.abs(k) * where.spacing))
    k[d] -= np.copysign(1 / where.spacing[d], k[d])
    size = np.linalg.norm(k)
    return estimate.frequency / (k[0] if where.dimension == 1 else size)


def _cautions(found, velocities, where):
    """Warnings about estimates that stand."""
    stands = [i for i, estimate in found.items() if estimate.status == "ok"]
    long = sum(_wavelength(found[i]) > where.extent for i in stands)
    if long:
        yield (
            f"{_count(long, found)}: fewer than one wavelength on the array of {where.extent:.4g} "
            f"{where.units}: it cannot be distinguished from standing or opposite waves; use a larger "
            "array, or read the interval with that in mind"
        )
    fast = sum(not np.isfinite(velocities[i].high) for i in stands)
    if fast:
        yield (
            f"{_count(fast, found)}: the delays across the array are within their error of zero, so the "
            "speed has no upper limit; record longer, or a larger array"
        )


def _count(some, found):
    return f"{some} of {len(found)} estimates" if len(found) > 1 else "the estimate"

"""How fast and which way: velocity from stacking (Radon), from delays and from phase gradients, each with an interval.

Three estimators on rings, lines, sheets and irregular electrode arrays; the fourth, the ridge of the spectrum, needs a
regular grid and is in `analysis.velocity.ridge`. `ESTIMATORS` names all four. Each trial and channel gives one
estimate, in the form that `analysis.velocity.result` fixes. What an estimator cannot know it refuses (a status, speed
NaN, a warning with the remedy): noise without a wave, two velocities that explain the data alike, phases of a broadband
signal.

A wave that is spatially aliased, c/f < 2 dx, looks exactly like a slower or opposite one if it has a single frequency,
and nothing in the data tells. Every result therefore carries ``speed_alias``, the speed it would have one alias
further on. Say ``slowest=…`` where speeds down to that cannot be ruled out: an estimate whose alias lies within is
then refused.

The intervals hold for noise that is correlated in time, or between sensors over much less than a wavelength. Noise
that the sensors share more widely is a standing wave of its own: it biases every estimator towards higher speed.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from scipy.signal import detrend

from analysis.direction.pairs import direction_p_value, fitting_null, spectra
from analysis.direction.shapes import FEWEST_SENSORS, choose_shape
from analysis.fields.band import Band, check_band
from analysis.fields.dead import Mask
from analysis.fields.field import Field
from analysis.fields.read import Recording
from analysis.fields.sensors import Sites
from analysis.fields.units import inverse_units, labelled
from analysis.velocity.chance import DRAWS as CHANCE_DRAWS
from analysis.velocity.chance import balance, knows_no_place, may_be_chance
from analysis.velocity.delays import delays
from analysis.velocity.fronts import along_the_front
from analysis.velocity.intervals import Velocity, velocity
from analysis.velocity.phase_gradient import gradient
from analysis.velocity.radon import radon
from analysis.velocity.result import STATUS, Estimate, check_confidence, velocity_dataset
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
    """Velocity of the plane wave along whose lines the activity adds up most strongly.

    The slowness p (1/speed, pointing where the wave goes) maximises the power of the stack over pairs of sensors,

    .. math:: J(p) = \\sum_f W(f) \\Big( \\big|\\sum_i V_i(f; p)\\big|^2 - \\sum_i |V_i(f; p)|^2 \\Big),

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
        Dead sensors to leave out (True = dead), or those that hold a NaN.
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
    return radon_speed(Field.of(rec, mask), band=band, slowest=slowest, confidence=confidence)


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
    return delay_speed(Field.of(rec, mask), band=band, slowest=slowest, confidence=confidence)


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
    return phase_gradient_speed(Field.of(rec, mask), band=band, slowest=slowest, confidence=confidence)


# The same of a field --------------------------------------------------------------------------------------------------


def radon_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `radon_velocity` returns, of a field."""
    return _measure(field, "Radon", partial(radon, slowest=slowest), band, slowest, confidence)


def delay_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `delay_velocity` returns, of a field."""
    return _measure(field, "delay plane", partial(delays, slowest=slowest), band, slowest, confidence)


def phase_gradient_speed(field: Field, *, band=None, slowest=None, confidence=0.95) -> xr.Dataset:
    """What `phase_gradient_velocity` returns, of a field."""

    def estimate(values, dt, where, *, band):
        found = gradient(values, dt, where, band=band)
        too_slow = slowest is not None and abs(_alias(found, where)) >= slowest
        return Estimate("aliased", frequency=found.frequency) if too_slow else found

    return _measure(field, "phase gradient", estimate, band, slowest, confidence)


ESTIMATORS: dict[str, Callable[..., xr.Dataset]] = {  # each takes a field, band=… and confidence=…
    "ridge": ridge_speed,
    "radon": radon_speed,
    "delay": delay_speed,
    "phase gradient": phase_gradient_speed,
}
ANY_LAYOUT = ("radon", "delay", "phase gradient")  # those that take electrodes without a grid, too


def _measure(field: Field, method, estimate: Callable[..., Estimate], band, slowest, confidence):
    """Run one estimator over trials and channels and put its answers into the common form."""
    if slowest is not None and not slowest > 0:
        raise ValueError(f"slowest is {slowest}: a positive speed is needed")
    check_confidence(confidence)
    field.check_steps(4)
    time, where = field.time, field.space.sensors()
    band = None if band is None else check_band(band, time)
    level = 1 - confidence
    found = {index: _one(values, time.step, where, estimate, band, level) for index, values in field.traces()}
    return _dataset(found, field, where, method, confidence, band=band, slowest=slowest)


def _one(values, dt, where, estimate, band, level):
    if np.abs(detrend(values, axis=0)).max() <= SILENT * np.abs(values).max():
        return Estimate("silent")
    values = values - values.mean(axis=0)
    found = estimate(values, dt, where, band=band)
    if where.dimension == 2 and where.count >= FEWEST_SENSORS and not _unlimited(found, level):
        found = _in_two_dimensions(found, values, dt, where, estimate, band, level)
    if found.status != "ok" or found.slowness is None or found.covariance is None:
        return found
    unlimited, long = _unlimited(found, level), _wavelength(found) > LONG * where.extent
    if unlimited and not long:
        return found
    ways = balance(values, dt, where, band=band)
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


def _in_two_dimensions(found, values, dt, where: Sites, estimate, band, level) -> Estimate:
    """The estimate of a plane wave where fronts are curved, and where lags are not those of a wave."""
    if found.status in ("too_short", "broadband"):
        return found
    rng = np.random.default_rng(0)
    frequency, spectrum = spectra(values[None], dt, band)
    shape, modes = choose_shape(spectrum, frequency, len(values), where, rng)
    if shape.curved and direction_p_value(shape.pairs, fitting_null(shape.pairs), CHANCE_DRAWS, rng) > level:
        shape = shape.straight(where)
    if found.status != "ok" and not shape.curved:
        return found
    if knows_no_place(modes, shape, where, level=level):
        return Estimate("chance", frequency=found.frequency, explained=found.explained)
    return along_the_front(found, partial(estimate, values, dt, band=band), shape, modes, where)


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

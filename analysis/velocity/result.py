"""What every velocity estimator finds and returns, so that their answers can be compared.

One Dataset over the dims that were not measured away (``trial``, ``channel``), with

======================  ==========================================================================================
``speed``               signed on lines and rings (+ travels to +x), a magnitude where space is two-dimensional
``speed_low, _high``    the confidence interval; ±inf where the data cannot tell how fast
``direction``           two-dimensional space only: radians counter-clockwise from +x, y up
``direction_low, _high``  its interval, around ``direction`` (may pass ±π); infinite where it is undetermined
``status``              0 where the estimate stands; otherwise why it was refused (speed is then NaN)
======================  ==========================================================================================

and the attributes ``method``, ``confidence``, ``warnings`` (one text, empty when there are none) and the parameters.

Intervals are to be honest in correlated noise. The error of an estimate is the sum over time of its *influence* ψ(t),
what each sample pulls it by. Its variance is the spectrum of ψ at frequency zero, which the lowest K cosines see
whatever the correlation of the noise in time and between sensors (Müller 2007, J. Econometrics 141; Sun 2013,
Econometrics Journal 16):

    Σ = 1/K · Σ_{j=1}^{K} c_j c_jᵀ,    c_j = Σ_t √2 cos(π j t/T) ψ(t),

with K degrees of freedom, so that the quantiles are Student's. K = 4 asks that the noise be about as strong over the
lowest four half-cycles per record as at zero: records of some ten correlation times. More cosines narrow the interval
(by a sixth at K = 8) and were measured to contain the truth too seldom in narrowband noise.

A recording of more than `analysis.fields.field.LONG` samples is measured stretch by stretch: the estimate is the mean
of its stretches, and its interval is that of their scatter, or of their own intervals where these are wider.
"""

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import t as student

from analysis.fields.units import labelled, netcdf_attrs, speed_units

COSINES = 4  # of the long-run covariance
STATUS = ("ok", "silent", "no_wave", "aliased", "ambiguous", "broadband", "too_short", "chance", "curved")

REMEDIES = {
    "silent": "nothing changes in time; there is no wave to follow",
    "no_wave": "no plane wave stands out of the noise; band-pass around the wave, or record longer",
    "aliased": "the wave may be shorter than twice the spacing of the sensors; sample space more densely",
    "ambiguous": "two velocities explain the data alike (a standing wave, two waves, or spatial aliasing); filter one "
    "direction out first, or narrow the search with a higher slowest=…",
    "broadband": "the phase of a broadband signal says nothing; give band=(lowest, highest) around its frequency",
    "too_short": "the record is too short for the wave to cross even two sensors' distance within it; record longer",
    "chance": "no direction is preferred more than in surrogates in which nothing travels, so the delays found may be "
    "chance (volume conduction, shared noise); record longer, or band-pass around the wave",
    "curved": "the fronts turn about a point inside the array, where a plane wave has no speed; see the verdict and "
    "the centre of analysis.diagnose, or analysis.phase_gradient for the speed at each place",
}


class DoubtfulEstimate(UserWarning):
    """An estimate of a wave was refused, or stands with a reservation; the text says why and what to do."""


@dataclass(frozen=True)
class Estimate:
    """Slowness s = k/f of one trial and channel, with its covariance, or the status that says why there is none."""

    status: str = "ok"
    slowness: np.ndarray | None = None  # (D,)
    covariance: np.ndarray | None = None  # (D, D)
    frequency: float = np.nan  # mean frequency of what travels
    explained: float = np.nan  # share of the power that travels as the plane wave found
    delay: np.ndarray | None = None  # (site,)
    r_squared: float = np.nan
    front_distance: float = np.inf  # of the source of a curved front from the middle of the array; 0: inside


# Intervals ------------------------------------------------------------------------------------------------------------


def long_run_covariance(influence: np.ndarray, variance: np.ndarray | None = None) -> np.ndarray:
    """Covariance (D, D) of the estimate whose influence, shape (time, D), is given.

    `variance` (time,) is what the variance of the influence is proportional to where the record was tapered; the
    cosines then run in steps of equal variance, so that each is as uncertain as the sum.
    """
    steps = len(influence)
    share = np.ones(steps) / steps if variance is None else variance / variance.sum()
    warped = np.cumsum(share) - share / 2  # in (0, 1)
    cosines = np.sqrt(2) * np.cos(np.pi * np.outer(np.arange(1, COSINES + 1), warped))  # (K, time)
    centred = influence - influence.sum(axis=0) * share[:, None]
    coefficients = cosines @ centred  # (K, D)
    return coefficients.T @ coefficients / COSINES


def joined(parts: list[Estimate]) -> Estimate:
    """The mean of the estimates of equally long stretches; refused, as most of them are, unless more than half stand.

    Its covariance is the larger one of that which their scatter gives and that which their own covariances give.
    """
    if len(parts) == 1:
        return parts[0]
    stands = [one for one in parts if one.status == "ok" and one.slowness is not None and one.covariance is not None]
    if 2 * len(stands) <= len(parts):
        refused = Counter(one.status for one in parts if one.status != "ok")
        return Estimate(refused.most_common(1)[0][0], frequency=_mean([one.frequency for one in parts]))
    size = Counter(one.slowness.size for one in stands if one.slowness is not None).most_common(1)[0][0]
    same = [one for one in stands if one.slowness is not None and one.slowness.size == size]
    slowness = np.stack([one.slowness for one in same if one.slowness is not None])
    own = np.mean([one.covariance for one in same if one.covariance is not None], axis=0) / len(same)
    centred = slowness - slowness.mean(axis=0)
    scatter = centred.T @ centred / max(1, len(same) - 1) / len(same)
    delays = [one.delay for one in same if one.delay is not None]
    return Estimate(
        "ok",
        slowness.mean(axis=0),
        scatter if np.trace(scatter) > np.trace(own) else own,
        _mean([one.frequency for one in same]),
        _mean([one.explained for one in same]),
        np.mean(delays, axis=0) if delays else None,
        _mean([one.r_squared for one in same]),
        float(np.median([one.front_distance for one in same])),
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan


def quantile(confidence: float) -> float:
    """Half width of a two-sided interval in standard errors."""
    return float(student.ppf(0.5 + confidence / 2, COSINES))


@dataclass(frozen=True)
class Velocity:
    """One estimate: the point, its interval and the status of `analysis.velocity.result.STATUS`."""

    status: str = "ok"
    speed: float = np.nan
    low: float = np.nan
    high: float = np.nan
    direction: float = np.nan
    direction_low: float = np.nan
    direction_high: float = np.nan


def velocity(slowness: np.ndarray, covariance: np.ndarray, confidence: float) -> Velocity:
    """Speed (and direction) of the slowness vector s = k/f, shape (D,), with its covariance.

    The interval is that of the slowness turned over: 1/(|s| + e) … 1/(|s| − e), where e is taken along s. Where it
    reaches zero slowness the speed has no upper end, and in one dimension, where speed is signed, neither end is known.
    """
    size = max(float(np.linalg.norm(slowness)), np.finfo(float).tiny)
    along = slowness / size
    error = quantile(confidence) * _deviation(covariance, along)
    slow, fast = 1 / (size + error), 1 / (size - error) if size > error else np.inf
    if slowness.size == 1:
        sign = np.sign(slowness[0])
        low, high = sorted((sign * slow, sign * fast)) if np.isfinite(fast) else (-np.inf, np.inf)
        return Velocity("ok", sign / size, low, high)
    across = np.array([-along[1], along[0]])
    turn = quantile(confidence) * _deviation(covariance, across) / size
    if turn > np.pi or not np.isfinite(fast):
        turn = np.inf
    angle = float(np.arctan2(slowness[1], slowness[0]))
    return Velocity("ok", 1 / size, slow, fast, angle, angle - turn, angle + turn)


def _deviation(covariance, along):
    """Standard deviation along a unit vector; rounding can leave a negative variance where there is none."""
    return float(np.sqrt(max(along @ covariance @ along, 0.0)))


# The common form ------------------------------------------------------------------------------------------------------


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless `confidence` is a probability."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: a number between 0 and 1 is needed, such as 0.95")


def velocity_dataset(
    batch: dict,
    *,
    speed,
    low,
    high,
    status,
    units: tuple[str, str],
    method: str,
    confidence: float,
    direction=None,
    direction_low=None,
    direction_high=None,
    cautions: Iterable[str] = (),
    stacklevel: int = 4,
    extra: dict | None = None,
    **parameters,
) -> xr.Dataset:
    """Put the estimates of one method into the common form and warn about what was refused.

    Parameters
    ----------
    batch : dict
        The dims that remain and their coordinates, in order: ``{"trial": coordinate, "channel": coordinate}``;
        empty for a single estimate.
    speed, low, high, status, direction, direction_low, direction_high : array_like
        One value per estimate, shaped like `batch`; `status` counts in `STATUS`. What has a status other than
        ``ok`` becomes NaN.
    units : (str, str)
        Units of space and of time.
    cautions : iterable of str
        Warnings that refuse nothing; those about refused estimates are written here.
    stacklevel : int
        Of the warnings, so that they point at the call of the public function.
    extra : dict
        Further variables, ``name: (dims, values, attrs)``.
    **parameters
        What the estimate was made with; goes to the attributes.
    """
    dims = tuple(batch)
    status = np.asarray(status, dtype=np.int8)
    refused = status != 0
    per_unit = speed_units(*units)
    percent = f"{100 * confidence:g} %"

    def variable(values, unit, long_name):
        return dims, np.where(refused, np.nan, np.asarray(values, dtype=float)), labelled(unit, long_name)

    data = {
        "speed": variable(speed, per_unit, "speed"),
        "speed_low": variable(low, per_unit, f"speed, lower end of the {percent} interval"),
        "speed_high": variable(high, per_unit, f"speed, upper end of the {percent} interval"),
    }
    if direction is not None:
        data["direction"] = variable(direction, "rad", "direction of travel, counter-clockwise from +x, y up")
        data["direction_low"] = variable(direction_low, "rad", f"direction, clockwise end of the {percent} interval")
        data["direction_high"] = variable(direction_high, "rad", f"direction, other end of the {percent} interval")
    flags = {"flag_values": list(range(len(STATUS))), "flag_meanings": " ".join(STATUS)}
    data["status"] = (dims, status, labelled("1", "why an estimate was refused") | flags)
    texts = (*_refusals(status, method), *cautions)
    for text in texts:
        warnings.warn(text, DoubtfulEstimate, stacklevel=stacklevel)
    attrs = {"method": method, "confidence": confidence, "warnings": "; ".join(texts)}
    return xr.Dataset({**data, **(extra or {})}, batch, {**attrs, **netcdf_attrs(**parameters)})


def _refusals(status, method):
    for code, name in enumerate(STATUS):
        count = int(np.sum(status == code))
        if code and count:
            many = f"{count} of {status.size} estimates" if status.size > 1 else "the estimate"
            yield f"{method}: {many} refused ({name}): {REMEDIES[name]}"

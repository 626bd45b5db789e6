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
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from analysis.fields.units import labelled, netcdf_attrs, speed_units

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

"""Model and recording on the same axes: what their lengths and times are divided by, stated explicitly.

=============  ======================================================================================================
``normalised`` wavelengths per array length, speeds in array lengths per cycle, frequencies over the spectral peak of
               their own stretch, rates and durations in cycles of it
``fitted``     one space and one time scale turn the model's units into the recording's: those that make the median
               wavelength and frequency equal
``given``      the same, with scales that the caller knows
``same``       nothing is divided: both already have the same units
=============  ======================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from analysis.comparison.distances import quantiles, weighted_median
from analysis.fields.units import inverse_units, speed_units

AXES = ("normalised", "fitted", "given", "same")
POWERS = {  # of length and of time
    "speed": (1, -1),
    "wavelength": (1, 0),
    "frequency": (0, -1),
    "event_rate": (0, -1),
    "event_duration": (0, 1),
}
PLAIN = ("wave_present", "travelling_index", "directionality")


@dataclass(frozen=True)
class Scales:
    """How a model's units become the recording's: length_recording = space · length_model, and so for time."""

    space: float = 1.0
    time: float = 1.0
    space_interval: tuple[float, float] = (1.0, 1.0)
    time_interval: tuple[float, float] = (1.0, 1.0)


def normalised(features: xr.Dataset) -> dict[str, np.ndarray]:
    """Properties of every stretch in array lengths and cycles of its spectral peak."""
    length, peak = features.attrs["array_length"], features["peak_frequency"].values
    return {
        name: features[name].values * length**-of_length * peak**of_time
        for name, (of_length, of_time) in POWERS.items()
        if name in features
    } | _plain(features)


def scaled(features: xr.Dataset, scales: Scales) -> dict[str, np.ndarray]:
    """Properties of every stretch in the recording's units."""
    return {
        name: features[name].values * scales.space**of_length * scales.time**of_time
        for name, (of_length, of_time) in POWERS.items()
        if name in features
    } | _plain(features)


def _plain(features):
    return {name: features[name].values for name in PLAIN}


def fitted_scales(model, recording, units, *, draws: int, confidence: float, rng) -> Scales:
    """The scales at which median wavelength and frequency agree, with bootstrap intervals over units.

    Parameters
    ----------
    units : (array, array)
        Unit of each stretch of the model and of the recording.
    """
    found = {}
    for name, sign in (("wavelength", 1), ("frequency", -1)):
        medians = []
        for features, unit in zip((model, recording), units, strict=True):
            values = np.log(features[name].values)
            kept = np.isfinite(values)
            if kept.sum() < 3:
                raise ValueError(
                    f"axes='fitted': {kept.sum()} stretches have a {name}, at least 3 are needed on either side; use "
                    "axes='normalised', which needs none"
                )
            _, number = np.unique(unit[kept], return_inverse=True)
            count = number.max() + 1
            weights = np.vstack([np.ones(count), rng.multinomial(count, np.full(count, 1 / count), size=draws)])
            medians.append(weighted_median(values[kept], weights[:, number]))
        ratio = np.exp(sign * (medians[1] - medians[0]))
        found[name] = (float(ratio[0]), quantiles(ratio[1:], confidence))
    (space, of_space), (time, of_time) = found["wavelength"], found["frequency"]
    return Scales(space, time, of_space, of_time)


def axis_units(axes: str, recording: xr.Dataset) -> dict[str, str]:
    """Units of each property on the common axes, for UDUNITS."""
    space, time = recording.attrs["space_units"], recording.attrs["time_units"]
    if axes == "normalised":
        space = time = "1"
    units = {
        "speed": speed_units(space, time),
        "wavelength": space,
        "frequency": inverse_units(time),
        "event_rate": inverse_units(time),
        "event_duration": time,
    }
    return units | dict.fromkeys((*PLAIN, "direction"), "1")


def axis_words(axes: str) -> dict[str, str]:
    """What is shown on the common axes, in words."""
    plain = {
        "wave_present": "share of stretches with a wave",
        "travelling_index": "travelling index",
        "directionality": "phase gradient directionality",
        "direction": "direction",
    }
    if axes == "normalised":
        return plain | {
            "speed": "speed (array lengths per cycle)",
            "wavelength": "wavelength (array lengths)",
            "frequency": "frequency (over the spectral peak)",
            "event_rate": "events per cycle",
            "event_duration": "event duration (cycles)",
        }
    return plain | {name: name.replace("_", " ") for name in POWERS}

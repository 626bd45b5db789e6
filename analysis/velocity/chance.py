"""Whether a velocity may be chance, or something other than a wave: a speed is given only where something travels.

Where nothing travels, as in noise that reaches many sensors at once (volume conduction), the delays between sensors
scatter about zero, by more than their intervals say where few cycles are recorded. The pairs of opposite plane waves of
`analysis.direction.pairs` are then as strong one way as the other, up to chance. Estimates that lie within `CERTAIN`
standard errors of zero slowness, or whose pairs are nearly balanced, as those of a standing wave, are held against
surrogates in which this is so; elsewhere chance was not met.

In two dimensions lags also arise where sensors have fixed phases that know no place, and where two modules are active
one after the other: the doubts of `analysis.direction.doubts` apply to every estimate there.
"""

import numpy as np

from analysis.direction.doubts import explained, place_p_value
from analysis.direction.pairs import direction_p_value, fitting_null, spectra, strongest_pairs
from analysis.direction.shapes import Modes, Shape
from analysis.fields.sensors import Sites

CERTAIN = 8.0  # standard errors of the slowness from zero; conducted noise was rarely farther
BALANCED = 0.1  # direction index below which a field is nearly a standing wave: amplitudes 1 and 0.9 of both ways
DRAWS = 199


def may_be_chance(values, dt: float, where: Sites, slowness, covariance, *, band, level: float) -> bool:
    """Whether nothing says that `values` (time, site) travel: near zero slowness, and no direction is preferred."""
    size = float(slowness @ slowness)  # |s|², and the variance along s below
    certain = size**2 > CERTAIN**2 * float(slowness @ covariance @ slowness)
    rng = np.random.default_rng(0)
    _, spectrum = spectra(values[None], dt, band)
    pairs = strongest_pairs(spectrum, len(values), where, rng)
    if not pairs.power.min() > 0:  # too few sensors for any pair of waves
        return False
    if certain and np.linalg.norm(pairs.difference @ pairs.axis) > BALANCED * pairs.power.sum():
        return False
    return direction_p_value(pairs, fitting_null(pairs), DRAWS, rng) > level


def stands(values, dt: float, where: Sites, *, band) -> bool:
    """Whether `values` (time, site) stand: both directions alike, and the sensors not in phase with each other."""
    rng = np.random.default_rng(0)
    _, spectrum = spectra(values[None], dt, band)
    pairs = strongest_pairs(spectrum, len(values), where, rng)
    balanced = np.linalg.norm(pairs.difference @ pairs.axis) < BALANCED * pairs.power.sum()
    in_phase = np.sum(np.abs(spectrum.sum(axis=-1)) ** 2) / where.count
    return bool(balanced and in_phase < 0.5 * np.sum(np.abs(spectrum) ** 2) and pairs.power.min() > 0)


def knows_no_place(modes: Modes, shape: Shape, where: Sites, *, level: float) -> bool:
    """Whether the lags are as large with the sensors in other places, or two modules explain them as well as a wave."""
    wave, modules = explained(modes, shape, where)
    rng = np.random.default_rng(0)
    return wave <= modules or place_p_value(modes, where, DRAWS, rng, enough=level) > level

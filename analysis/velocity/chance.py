"""Whether a velocity may be chance, or something other than a wave: a speed is given only where something travels.

Where nothing travels, as in noise that reaches many sensors at once (volume conduction), the delays between sensors
scatter about zero, by more than their intervals say where few cycles are recorded. The pairs of opposite plane waves of
`analysis.direction.pairs` are then as strong one way as the other, up to chance. Estimates that lie within `CERTAIN`
standard errors of zero slowness, or whose pairs are nearly balanced, as those of a standing wave, are held against
surrogates in which this is so; elsewhere chance was not met.

In two dimensions lags also arise where sensors have fixed phases that know no place, and where two modules are active
one after the other: the doubts of `analysis.direction.doubts` apply to every estimate there.
"""

from dataclasses import dataclass

import numpy as np

from analysis.direction.doubts import explained, place_p_value
from analysis.direction.pairs import Pairs, direction_p_value, fitting_null, spectra, strongest_pairs
from analysis.direction.shapes import Modes, Shape
from analysis.fields.sensors import Sites

CERTAIN = 8.0  # standard errors of the slowness from zero; conducted noise was rarely farther
BALANCED = 0.1  # direction index below which a field is nearly a standing wave: amplitudes 1 and 0.9 of both ways
DRAWS = 199


@dataclass(frozen=True)
class Balance:
    """How evenly a field goes both ways, and whether its sensors are in phase."""

    pairs: Pairs
    index: float  # size of the direction index
    in_phase: float  # share of the power that all sensors have in common

    @property
    def stands(self) -> bool:
        """Both directions alike, and the sensors not in phase with each other."""
        return self.known and self.index < BALANCED and self.in_phase < 0.5

    @property
    def known(self) -> bool:
        """False where there are too few sensors for any pair of waves."""
        return bool(self.pairs.power.min() > 0)


def balance(values: np.ndarray, dt: float, where: Sites, *, band) -> Balance:
    """The balance of both directions in `values` (time, site)."""
    _, spectrum = spectra(values[None], dt, band)
    pairs = strongest_pairs(spectrum, len(values), where, np.random.default_rng(0))
    index = np.linalg.norm(pairs.difference @ pairs.axis) / max(pairs.power.sum(), np.finfo(float).tiny)
    total = max(np.sum(np.abs(spectrum) ** 2), np.finfo(float).tiny)
    return Balance(pairs, float(index), float(np.sum(np.abs(spectrum.sum(axis=-1)) ** 2) / where.count / total))


def may_be_chance(found: Balance, slowness, covariance, *, level: float) -> bool:
    """Whether nothing says that a field travels: near zero slowness, and no direction is preferred."""
    size = float(slowness @ slowness)  # |s|², and the variance along s below
    certain = size**2 > CERTAIN**2 * float(slowness @ covariance @ slowness)
    if not found.known or (certain and found.index > BALANCED):
        return False
    rng = np.random.default_rng(0)
    return direction_p_value(found.pairs, fitting_null(found.pairs), DRAWS, rng) > level


def knows_no_place(modes: Modes, shape: Shape, where: Sites, *, level: float) -> bool:
    """Whether the lags are as large with the sensors in other places, or two modules explain them as well as a wave."""
    wave, modules = explained(modes, shape, where)
    rng = np.random.default_rng(0)
    return wave <= modules or place_p_value(modes, where, DRAWS, rng, enough=level) > level

"""Whether a velocity may be chance, or something other than a wave: a speed is given only where something travels.

Where nothing travels, as in noise that reaches many sensors at once (volume conduction), the delays between sensors
scatter about zero, by more than their intervals say where few cycles are recorded. The pairs of opposite plane waves of
`analysis.direction.pairs` are then as strong one way as the other, up to chance. Estimates that lie within `CERTAIN`
standard errors of zero slowness, or whose pairs are nearly balanced, as those of a standing wave, are held against
surrogates in which this is so; elsewhere chance was not met.

In two dimensions lags also arise where sensors have fixed phases that know no place, and where two modules are active
one after the other: the doubts of `analysis.direction.doubts` apply to every estimate there. Where waves explain less
than half of the patterns that stand out, lags are those of something else.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.direction.doubts import explained, place_p_value
from analysis.direction.pairs import Pairs, direction_p_value, fitting_null, power_at, spectra, strongest_pairs
from analysis.direction.shapes import Modes, Shape, choose_shape
from analysis.fields.band import Band
from analysis.fields.sensors import Sites

CERTAIN = 8.0  # standard errors of the slowness from zero; conducted noise was rarely farther
BALANCED = 0.1  # direction index below which a field is nearly a standing wave: amplitudes 1 and 0.9 of both ways
MOSTLY = 0.5  # share of the patterns that waves explain at least: 0.3 to 0.5 in noise, above 0.9 at a ratio of 0.5
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


@dataclass(frozen=True, eq=False)
class Trace:
    """One trial and channel as the estimators take it, and, once worked out, what they all ask of its spectra."""

    values: np.ndarray  # (time, site), each less its mean
    dt: float
    where: Sites
    band: Band | None

    @cached_property
    def _seen(self) -> tuple[Shape | None, Modes | None, float, Balance]:
        rng, tiny = np.random.default_rng(0), np.finfo(float).tiny
        frequency, spectrum = spectra(self.values[None], self.dt, self.band)
        shape, modes, p_value = None, None, 1.0
        if self.where.dimension == 2:
            shape, modes = choose_shape(spectrum, frequency, len(self.values), self.where, rng)
            p_value = direction_p_value(shape.pairs, fitting_null(shape.pairs), DRAWS, rng) if shape.curved else 1.0
            pairs = shape.plane
        else:
            pairs = strongest_pairs(spectrum, len(self.values), self.where, rng)
        index = np.linalg.norm(pairs.difference @ pairs.axis) / max(pairs.power.sum(), tiny)
        total = max(float(power_at(spectrum, (0, 1, 2))), tiny)
        in_phase = np.sum(np.abs(spectrum.sum(axis=-1)) ** 2) / self.where.count / total
        return shape, modes, p_value, Balance(pairs, float(index), float(in_phase))

    def shape(self, level: float) -> tuple[Shape, Modes]:
        """In two dimensions: the shape of the waves, plane unless a curved one prefers a direction, and their modes."""
        shape, modes, p_value, _ = self._seen
        assert shape is not None
        assert modes is not None
        return (shape.straight(self.where) if shape.curved and p_value > level else shape), modes

    @property
    def balance(self) -> Balance:
        """Of both directions."""
        return self._seen[3]


def may_be_chance(found: Balance, slowness, covariance, *, level: float) -> bool:
    """Whether nothing says that a field travels: near zero slowness, and no direction is preferred."""
    size = float(slowness @ slowness)  # |s|², and the variance along s below
    certain = size**2 > CERTAIN**2 * float(slowness @ covariance @ slowness)
    if not found.known or (certain and found.index > BALANCED):
        return False
    rng = np.random.default_rng(0)
    return direction_p_value(found.pairs, fitting_null(found.pairs), DRAWS, rng) > level


def knows_no_place(modes: Modes, shape: Shape, where: Sites, *, level: float) -> bool:
    """Whether waves explain few of the lags, no more than two modules do, or as many with sensors in other places."""
    wave, modules = explained(modes, shape, where)
    rng = np.random.default_rng(0)
    return wave <= max(modules, MOSTLY) or place_p_value(modes, where, DRAWS, rng, enough=level) > level

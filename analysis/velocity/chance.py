"""Whether a velocity may be chance: a speed is given only where the field prefers a direction at all.

Where nothing travels, as in noise that reaches many sensors at once (volume conduction), the delays between sensors
scatter about zero, by more than their intervals say where few cycles are recorded. The pairs of opposite plane waves of
`analysis.direction.pairs` are then as strong one way as the other, up to chance. Estimates that lie within `CERTAIN`
standard errors of zero slowness are held against surrogates in which this is so; farther out chance was not met.
"""

import numpy as np

from analysis.direction.pairs import direction_p_value, fitting_null, spectra, strongest_pairs
from analysis.fields.sensors import Sites

CERTAIN = 8.0  # standard errors of the slowness from zero; conducted noise was rarely farther
DRAWS = 199


def may_be_chance(values, dt: float, where: Sites, slowness, covariance, *, band, level: float) -> bool:
    """Whether nothing says that `values` (time, site) travel: near zero slowness, and no direction is preferred."""
    size = float(slowness @ slowness)  # |s|², and the variance along s below
    if size**2 > CERTAIN**2 * float(slowness @ covariance @ slowness):
        return False
    rng = np.random.default_rng(0)
    _, spectrum = spectra(values[None], dt, band)
    pairs = strongest_pairs(spectrum, len(values), where, rng)
    if not pairs.power.min() > 0:  # too few sensors for any pair of waves
        return False
    return direction_p_value(pairs, fitting_null(pairs), DRAWS, rng) > level

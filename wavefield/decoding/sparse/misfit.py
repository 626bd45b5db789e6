"""Whether what a decoder leaves unexplained is nothing but noise.

The traces of waves are smooth or travel in packets, so that what a wrong operator leaves of them is correlated from
position to position, where noise is not. The portmanteau test of Box and Pierce (J. Am. Stat. Assoc. 65, 1509, 1970)
sums the squared autocorrelations of the residual r over n values at lags of 1 to L positions,

    Q = n Σ_l ρ_l²,      ρ_l = Σ_x r_x r_{x+l} / Σ_x r_x²,      Q ~ χ²_L  for white noise.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

LAGS = 6
SIGNIFICANT = 1e-4  # p below which a residual is reported as a misfit


def portmanteau(residual: np.ndarray) -> float:
    """Return the p-value of a residual (levels, N) under white noise; NaN where it is too short or zero."""
    lags = min(LAGS, residual.shape[1] // 4)
    power = (residual**2).sum()
    if lags == 0 or power == 0:
        return float("nan")
    correlation = [(residual[:, l:] * residual[:, :-l]).sum() / power for l in range(1, lags + 1)]
    return float(chi2.sf(residual.size * np.square(correlation).sum(), lags))

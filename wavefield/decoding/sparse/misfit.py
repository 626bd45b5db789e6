"""Whether what a decoder leaves unexplained is nothing but noise.

The traces of waves are smooth or travel in packets, so that what a wrong operator leaves of them is correlated from
position to position, where noise is not. The portmanteau test of Box and Pierce (J. Am. Stat. Assoc. 65, 1509, 1970)
sums the squared autocorrelations of the residual r over n values at lags of 1 to L positions (along each axis of a
sheet),

    Q = n Σ_l ρ_l²,      ρ_l = Σ_x r_x r_{x+l} / Σ_x r_x²,      Q ~ χ²_L  for white noise.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

LAGS = 6
SIGNIFICANT = 1e-4  # p below which a residual is reported as a misfit


def portmanteau(residual: np.ndarray, values: int | None = None) -> float:
    """Return the p-value of a residual (levels, N), or (levels, Ny, Nx), under white noise.

    `values` is n where some of it is outside of a sheet, and zero. NaN where the residual is too short or zero.
    """
    power, correlation = (residual**2).sum(), []
    for axis in range(1, residual.ndim):
        r = np.moveaxis(residual, axis, 1)
        lags = min(LAGS, r.shape[1] // 4) if power else 0
        correlation += [(r[:, l:] * r[:, :-l]).sum() / power for l in range(1, lags + 1)]
    if not correlation:
        return float("nan")
    n = residual.size if values is None else values
    return float(chi2.sf(n * np.square(correlation).sum(), len(correlation)))

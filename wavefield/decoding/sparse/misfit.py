"""Whether what a decoder leaves unexplained is nothing but noise.

The traces of waves are smooth or travel in packets, so that what a wrong operator leaves of them is correlated from
position to position, where noise is not. The portmanteau test of Box and Pierce (J. Am. Stat. Assoc. 65, 1509, 1970)
sums the squared autocorrelations of the residual r over n values at lags of 1 to L positions (along each axis of a
sheet),

    Q = n Σ_l ρ_l²,      ρ_l = Σ_x r_x r_{x+l} / Σ_x r_x²,      Q ~ χ²_L  for white noise.

What a speed or a damping that is slightly wrong leaves is known beforehand: it is like the change z_k of the explained
snapshot with each of the K parameters. Rao's score test (Proc. Camb. Phil. Soc. 44, 50, 1948) asks for just that. With
P the projection on the z_k, less what of them the traces D of the events take up,

    S = |P r|² / K σ² ~ χ²_K / K,      or where σ is estimated      S = (|P r|²/K) / (|r − P r|²/(R − s − K)) ~ F.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, f

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


def score_test(residual: np.ndarray, changes: np.ndarray, traces: np.ndarray, noise: float | None) -> float:
    """Return the p-value of a residual (R,) that should have nothing of the changes (R, K) beside the traces (R, s).

    NaN where nothing of the changes is left, or too few values.
    """
    basis = np.linalg.qr(traces)[0]
    own = changes - basis @ (basis.T @ changes)
    norms = np.linalg.norm(changes, axis=0)
    left = np.linalg.norm(own, axis=0) > 1e-6 * norms
    if not left.any():
        return float("nan")
    directions = np.linalg.qr(own[:, left] / norms[left])[0]
    found, power = directions.T @ residual, residual @ residual
    count, free = found.size, residual.size - traces.shape[1] - left.sum()
    if noise is not None:
        return float(chi2.sf(found @ found / noise**2, count))
    if free < 1 or power == 0:
        return float("nan")
    return float(f.sf((found @ found / count) / (max(power - found @ found, 1e-300) / free), count, free))


def combined(*p_values: float) -> float:
    """Return the p-value of several tests together (Bonferroni); NaN ones do not count."""
    known = [p for p in p_values if np.isfinite(p)]
    return min(1.0, len(known) * min(known)) if known else float("nan")

"""The Radon estimate: the slowness whose stack is strongest, found by Newton's method from the coarse scan.

The power J(p) of `analysis.velocity.stacking` is maximised. Its slope at the true slowness is noise; the influence of
the sample at time t on the estimate is

    (−∂²J/∂p²)⁻¹ ψ(t),    ψ(t) = 2 Σ_{i≠j} v̇_i(t) (W ∗ v_j)(t),    v̇ = ∂v/∂p,

with v̇ left unfiltered, which makes no difference to the sum over t and keeps the spectrum of ψ flat about zero.
"""

import numpy as np

from analysis.fields.sensors import Sites
from analysis.velocity.coarse_scan import scan
from analysis.velocity.result import Estimate, long_run_covariance
from analysis.velocity.stacking import Apertures, coherence, cut_apertures, filtered

ROUNDS = 20  # Newton steps at most; from within a quarter of the main lobe four suffice
REACH = 0.35  # of a cycle: how far delays may move from those of the coarse scan
STRIDE = 0.02  # of a cycle: the step of the numerical derivatives


def radon(values: np.ndarray, dt: float, where: Sites, *, band=None, slowest=None) -> Estimate:
    """Slowness of the plane wave in `values` (time, site)."""
    start = scan(values, dt, where, band=band, slowest=slowest)
    if start.status != "ok":
        return Estimate(start.status, frequency=start.frequency)
    reach, step = REACH / start.frequency, STRIDE / start.frequency
    apertures = cut_apertures(values, where.centred, dt, start.slowness, reach + step)
    if apertures is None:
        return Estimate("too_short", frequency=start.frequency)
    slowness = start.slowness
    for _ in range(2):  # the second time with the frequencies that are coherent at the first answer
        traces = apertures.aligned(apertures.position @ slowness)
        shared = coherence(apertures, traces, band=band, trials=start.trials)
        if shared is None:
            return Estimate("no_wave", frequency=start.frequency)
        weights = shared.weights(apertures.sensors.mean())
        slowness = _climb(apertures, start.slowness, slowness, weights, step, reach)
        if slowness is None:
            return Estimate("ambiguous", frequency=start.frequency)
    slope, curvature = _derivatives(apertures, slowness, weights, step)
    covariance = long_run_covariance(slope @ np.linalg.inv(-curvature))
    return Estimate("ok", slowness, covariance, shared.frequency, shared.explained)


def _climb(apertures, start, slowness, weights, step, reach):
    """Newton's method uphill; None where it leaves the lobe it started in or finds no summit.

    Where J is not yet concave the step goes uphill all the same (absolute eigenvalues), and no step moves a delay by
    more than half of `reach`, nor all steps together by more than `reach`.
    """
    for _ in range(ROUNDS):
        slope, curvature = _derivatives(apertures, slowness, weights, step)
        height, axes = np.linalg.eigh(curvature)
        move = axes @ (axes.T @ slope.sum(axis=0) / np.maximum(np.abs(height), 1e-12 * np.abs(height).max()))
        farthest = np.abs(apertures.position @ move).max()
        slowness = slowness + move * min(1.0, 0.5 * reach / max(farthest, 1e-300))
        strayed = np.abs(apertures.position @ (slowness - start)).max() / reach
        slowness = start + (slowness - start) / max(strayed, 1.0)
        if farthest < 1e-9 * reach:
            break
    return slowness if strayed < 1.0 and height.max() < 0 else None


def _derivatives(apertures: Apertures, slowness, weights, step):
    """First derivative of J, sample by sample (time, D), and its second derivative (D, D).

    v(p) = u(t + p·x), so ∂v/∂p = x u̇ and ∂²v/∂p² = x xᵀ ü, with u̇ and ü from traces `step` earlier and later.
    """
    x = apertures.position
    delay = x @ slowness
    before, v, after = (apertures.aligned(delay + shift) for shift in (-step, 0.0, step))
    first, second = (after - before) / (2 * step), (after - 2 * v + before) / step**2  # u̇, ü: (time, site)
    smooth, smooth_first = filtered(v, weights), filtered(first, weights)
    stacked = apertures.stack(smooth)  # (time, aperture)
    along = [apertures.stack(x_d * first) for x_d in x.T]
    slope = [
        2 * (np.sum(s * stacked, axis=1) - np.sum(x_d * first * smooth, axis=1))
        for s, x_d in zip(along, x.T, strict=True)
    ]
    curvature = np.empty((x.shape[1], x.shape[1]))
    for d, x_d in enumerate(x.T):
        for e, x_e in enumerate(x.T):
            own = np.sum((x_d * x_e) * (first * smooth_first + second * smooth))
            pairs = np.sum(along[d] * apertures.stack(x_e * smooth_first)) + np.sum(
                apertures.stack(x_d * x_e * second) * stacked
            )
            curvature[d, e] = 2 * (pairs - own)
    return np.stack(slope, axis=1), curvature

"""The delay estimate: the delay of every sensor against the aligned mean of the others, and a plane through the delays.

With the sensors of an aperture aligned by the delays τ found so far, v_i(t) = u_i(t + τ_i), sensor i is fitted by the
mean m of the others and its slope,

    v_i ≈ a m + a ε ṁ,

where ε is what τ_i is too large by (the position of the peak of their cross-correlation). A few rounds bring ε to zero;
sensors may differ in gain a. The slowness is the weighted least-squares plane τ_i = τ₀ + p·x_i, one τ₀ per aperture.
This is the multi-channel cross-correlation of seismology (VanDecar and Crosson 1990, Bull. Seism. Soc. Am. 80) with
the delay plane of Martinet et al. (2017, Nature Communications 8).
"""

import numpy as np

from analysis.fields.sensors import Sites
from analysis.velocity.coarse_scan import scan
from analysis.velocity.result import Estimate, long_run_covariance
from analysis.velocity.stacking import Apertures, coherence, cut_apertures, filtered

ROUNDS = 4
REACH = 0.35  # of a cycle: how far delays may differ from the plane of the coarse scan


def delays(values: np.ndarray, dt: float, where: Sites, *, band=None, slowest=None) -> Estimate:
    """Slowness of the plane wave in `values` (time, site) and the delay of every sensor."""
    start = scan(values, dt, where, band=band, slowest=slowest)
    if start.status != "ok":
        return Estimate(start.status, frequency=start.frequency)
    reach = REACH / start.frequency
    apertures = cut_apertures(values, where.centred, dt, start.slowness, reach)
    if apertures is None:
        return Estimate("too_short", frequency=start.frequency)
    planned = apertures.position @ start.slowness
    delay = planned.copy()
    for _ in range(ROUNDS):
        traces = apertures.aligned(delay)
        shared = coherence(apertures, traces, band=band, trials=start.trials)
        if shared is None:
            return Estimate("no_wave", frequency=start.frequency)
        excess, influence, variance = _excess(apertures, traces, shared.weights(apertures.sensors.mean()))
        delay = np.clip(delay - excess, planned - reach, planned + reach)
    plane, r_squared = _plane(apertures, delay, variance)
    return Estimate(
        "ok",
        plane @ delay,
        long_run_covariance(influence @ plane.T),
        shared.frequency,
        shared.explained,
        delay=_across_apertures(apertures, where, delay, plane @ delay),
        r_squared=r_squared,
    )


def _excess(apertures: Apertures, traces, weights):
    """How much too large each delay is (site,), the influence of each sample on it (time, site), and its variance.

    Products are summed with the frequency weights W, ⟨a, b⟩ = Σ a (W ∗ b). The mean of the other n − 1 sensors moves
    with their delays, so that a full step would overshoot by n/(n − 1).
    """
    others = np.maximum(apertures.others, 1)  # (site,)
    mean = (apertures.stack(traces) @ apertures.member.T - traces) / others
    slope = np.gradient(mean, apertures.dt, axis=0)
    smooth = filtered(mean, weights)
    slope = slope - mean * _ratio(np.sum(slope * smooth, axis=0), np.sum(mean * smooth, axis=0))
    smooth_slope = filtered(slope, weights)
    power = np.sum(slope * smooth_slope, axis=0)
    gain = _ratio(np.sum(traces * smooth, axis=0), np.sum(mean * smooth, axis=0))
    rest = traces - gain * mean
    share = others / (others + 1) * apertures.member.any(axis=1)
    influence = rest * smooth_slope * _ratio(share, gain * power)
    noise = np.sum(filtered(rest, weights) ** 2, axis=0)
    noise = np.maximum(noise, noise.mean())  # a sensor that saw nothing is not a precise one
    return influence.sum(axis=0), -influence, _ratio(noise, gain**2 * power)


def _ratio(a, b):
    """a/b, zero where b is zero (sensors that are in no aperture)."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def _plane(apertures, delay, variance):
    """The matrix (D, site) that turns delays into the slope of their weighted plane, and the share R² it explains."""
    weight = _ratio(1.0 * apertures.member.any(axis=1), variance)
    x = _within(apertures, apertures.position, weight)
    plane = np.linalg.solve((x.T * weight) @ x, x.T * weight)
    rest = _within(apertures, delay[:, None], weight)[:, 0]
    residual = rest - x @ (plane @ delay)
    return plane, float(1 - np.sum(weight * residual**2) / np.sum(weight * rest**2))


def _within(apertures, values, weight):
    """`values` (site, …) less their weighted mean in each aperture."""
    sums = apertures.member.T @ (weight[:, None] * values)
    return values - apertures.member @ _ratio(sums, (apertures.member.T @ weight)[:, None])


def _across_apertures(apertures, where, delay, slowness):
    """Delays against the centre of the array; apertures are joined along the plane."""
    full = delay + (where.centred - apertures.position) @ slowness
    return np.where(apertures.member.any(axis=1), full, np.nan)

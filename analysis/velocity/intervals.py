"""Honest intervals for velocities measured in correlated noise.

The error of an estimate is the sum over time of its *influence* ψ(t), what each sample pulls it by. Its variance is the
spectrum of ψ at frequency zero, which the lowest K cosines see whatever the correlation of the noise in time and
between sensors (Müller 2007, J. Econometrics 141; Sun 2013, Econometrics Journal 16):

    Σ = 1/K · Σ_{j=1}^{K} c_j c_jᵀ,    c_j = Σ_t √2 cos(π j t/T) ψ(t),

with K degrees of freedom, so that the quantiles are Student's. K = 4 asks that the noise be about as strong over the
lowest four half-cycles per record as at zero: records of some ten correlation times. More cosines narrow the interval
(by a sixth at K = 8) and were measured to contain the truth too seldom in narrowband noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

COSINES = 4


def long_run_covariance(influence: np.ndarray, variance: np.ndarray | None = None) -> np.ndarray:
    """Covariance (D, D) of the estimate whose influence, shape (time, D), is given.

    `variance` (time,) is what the variance of the influence is proportional to where the record was tapered; the
    cosines then run in steps of equal variance, so that each is as uncertain as the sum.
    """
    steps = len(influence)
    share = np.ones(steps) / steps if variance is None else variance / variance.sum()
    warped = np.cumsum(share) - share / 2  # in (0, 1)
    cosines = np.sqrt(2) * np.cos(np.pi * np.outer(np.arange(1, COSINES + 1), warped))  # (K, time)
    centred = influence - influence.sum(axis=0) * share[:, None]
    coefficients = cosines @ centred  # (K, D)
    return coefficients.T @ coefficients / COSINES


def quantile(confidence: float) -> float:
    """Half width of a two-sided interval in standard errors."""
    return float(student.ppf(0.5 + confidence / 2, COSINES))


@dataclass(frozen=True)
class Velocity:
    """One estimate: the point, its interval and the status of `analysis.velocity.result.STATUS`."""

    status: str = "ok"
    speed: float = np.nan
    low: float = np.nan
    high: float = np.nan
    direction: float = np.nan
    direction_low: float = np.nan
    direction_high: float = np.nan


def velocity(slowness: np.ndarray, covariance: np.ndarray, confidence: float) -> Velocity:
    """Speed (and direction) of the slowness vector s = k/f, shape (D,), with its covariance.

    The interval is that of the slowness turned over: 1/(|s| + e) … 1/(|s| − e), where e is taken along s. Where it
    reaches zero slowness the speed has no upper end, and in one dimension, where speed is signed, neither end is known.
    """
    size = max(float(np.linalg.norm(slowness)), np.finfo(float).tiny)
    along = slowness / size
    error = quantile(confidence) * _deviation(covariance, along)
    slow, fast = 1 / (size + error), 1 / (size - error) if size > error else np.inf
    if slowness.size == 1:
        sign = np.sign(slowness[0])
        low, high = sorted((sign * slow, sign * fast)) if np.isfinite(fast) else (-np.inf, np.inf)
        return Velocity("ok", sign / size, low, high)
    across = np.array([-along[1], along[0]])
    turn = quantile(confidence) * _deviation(covariance, across) / size
    if turn > np.pi or not np.isfinite(fast):
        turn = np.inf
    angle = float(np.arctan2(slowness[1], slowness[0]))
    return Velocity("ok", 1 / size, slow, fast, angle, angle - turn, angle + turn)


def _deviation(covariance, along):
    """Standard deviation along a unit vector; rounding can leave a negative variance where there is none."""
    return float(np.sqrt(max(along @ covariance @ along, 0.0)))

"""Two samples of one property compared: distance, permutation p-value, bootstrap interval.

Rows (stretches) of one *unit* (a trial, or a stretch of its own) belong together: units are exchanged and drawn, never
rows. With D the distances between rows, ⟨D_xy⟩ their mean over pairs of x and y, and ⟨D_xx⟩, ⟨D_yy⟩ over pairs of
*different units* of one sample, the energy coefficient

    e = 1 − (⟨D_xx⟩ + ⟨D_yy⟩) / 2⟨D_xy⟩                   (Székely and Rizzo 2013, J. Stat. Plan. Inf. 143)

is 0 where x and y have one law and 1 where each is a point. With S the inner products of rows, p and q their means,

    d = 1 − 2⟨S_xy⟩ / (⟨S_xx⟩ + ⟨S_yy⟩)  →  |p − q|² / (|p|² + |q|²)

is 0 where the means are the same and 1 where they have nothing in common. No unit is paired with itself, so that noise
adds nothing to either: both scatter about 0 where there is no difference, and are cut off there when reported.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import norm, t


class Pair:
    """Rows x (n, …) and y (m, …), their units, and the sums of D, or with `overlap` of S, over pairs of units."""

    def __init__(self, x: np.ndarray, y: np.ndarray, unit_x: np.ndarray, unit_y: np.ndarray, *, overlap=False):
        self.overlap = overlap
        rows = np.concatenate([np.asarray(values, float).reshape(len(values), -1) for values in (x, y)])
        _, self.unit_x = np.unique(unit_x, return_inverse=True)
        _, self.unit_y = np.unique(unit_y, return_inverse=True)
        self.units = (int(self.unit_x.max()) + 1, int(self.unit_y.max()) + 1)
        self.of_x, self.of_y = np.repeat(np.eye(2), self.units, axis=1)  # (unit,)
        unit = np.concatenate([self.unit_x, self.unit_y + self.units[0]])
        member = (np.arange(sum(self.units))[:, None] == unit).astype(float)
        others = 1.0 - np.eye(sum(self.units))
        self.sums = others * (member @ (rows @ rows.T if overlap else cdist(rows, rows)) @ member.T)  # (unit, unit)
        self.pairs = others * np.outer(member.sum(axis=1), member.sum(axis=1))  # of rows, in those sums

    def distance(self) -> float:
        """e, or with `overlap` d, in [0, 1]."""
        return float(np.clip(self._distance(self.of_x[None], self.of_y[None])[0], 0.0, 1.0))

    def p_value(self, draws: int, rng: np.random.Generator) -> float:
        """Of the distance, by exchanging units between the two."""
        member = rng.permuted(np.broadcast_to(self.of_x, (draws, self.of_x.size)), axis=1)
        null = self._distance(member, 1 - member)
        observed = self._distance(self.of_x[None], self.of_y[None])[0]
        return float((1 + np.sum(null >= observed - 1e-9)) / (1 + draws))

    def weights(self, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """How often each unit of x and of y is drawn in each bootstrap sample, (draw, unit of x), (draw, unit of y)."""
        of_x, of_y = (rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float) for n in self.units)
        return of_x, of_y

    def interval(self, weights, confidence: float) -> tuple[float, float]:
        """The expanded percentile interval of the distance, from the weights of bootstrap samples.

        It covers the true distance in about `confidence` of all samples where that stands out of the noise (measured
        at 0.95: 0.93 to 0.99 from six units on, 0.85 with three, too few with two). Near 0 it begins at 0, covers more
        often than that, and says how large a distance the samples do not exclude.
        """
        of_x, of_y = weights
        drawn = self._distance(np.pad(of_x, ((0, 0), (0, self.units[1]))), np.pad(of_y, ((0, 0), (self.units[0], 0))))
        low, high = quantiles(drawn, confidence, units=min(self.units))
        return max(low, 0.0), max(high, 0.0)

    def _distance(self, of_x, of_y):
        """e or d, not cut off, for weights (draw, unit) of all units."""
        between = self._mean(of_x, of_y)
        within = (self._mean(of_x, of_x, self.of_x) + self._mean(of_y, of_y, self.of_y)) / 2
        above, below = (between, within) if self.overlap else (within, between)
        return 1 - np.divide(above, below, out=np.ones_like(below), where=below > 0)

    def _mean(self, one, other, sample=None):
        """Mean over pairs of rows of different units; that of the complete `sample` where only one unit was drawn."""
        sums, pairs = (np.einsum("du,du->d", one @ matrix, other) for matrix in (self.sums, self.pairs))
        if sample is not None:
            complete = (sample @ self.sums @ sample) / (sample @ self.pairs @ sample)
            sums, pairs = np.where(pairs > 0, sums, complete), np.where(pairs > 0, pairs, 1)
        return sums / pairs


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of values (n,) for each row of weights (draw, n): the mean of the two values about half the weight."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[:, order], axis=1)
    half = cumulative[:, -1:] / 2
    low = np.argmax(cumulative >= half * (1 - 1e-12), axis=1)
    high = np.argmax(cumulative > half * (1 + 1e-12), axis=1)
    sorted_values = values[order]
    return (sorted_values[low] + sorted_values[high]) / 2


def quantiles(draws: np.ndarray, confidence: float, *, units: int | None = None) -> tuple[float, float]:
    """The percentile interval of bootstrap samples; with the number of `units` they were drawn from, the expanded one.

    Draws from n units scatter by √(1 − 1/n) too little, and n is too few for a normal law: the tail α becomes
    Φ(√(n/(n − 1)) t_{n−1}(α)) (Hesterberg 2015, Am. Stat. 69, 371).
    """
    tail = (1 - confidence) / 2
    if units is not None:
        tail = norm.cdf(np.sqrt(units / (units - 1)) * t.ppf(tail, units - 1))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)

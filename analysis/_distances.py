"""Two samples of one property held against each other: distance, permutation p-value, bootstrap interval.

Rows (stretches) of one *unit* (a trial, or a stretch of its own) belong together: units are exchanged and drawn, never
rows. With D the matrix of distances between rows and n their numbers, the energy distance

    E = 2⟨D_xy⟩ − ⟨D_xx⟩ − ⟨D_yy⟩,    e = E / 2⟨D_xy⟩ in [0, 1]     (Székely and Rizzo 2013, J. Stat. Plan. Inf. 143)

is a quadratic form in the membership of the units, so that all permutations are one matrix product.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist


class Pair:
    """Rows x (n, d) and y (m, d), their units, and the sums of distances over pairs of units."""

    def __init__(self, x: np.ndarray, y: np.ndarray, unit_x: np.ndarray, unit_y: np.ndarray):
        self.x, self.y = (np.asarray(values, float).reshape(len(values), -1) for values in (x, y))
        _, first = np.unique(unit_x, return_inverse=True)
        _, second = np.unique(unit_y, return_inverse=True)
        self.unit_x, self.unit_y = first, second
        self.units = (int(first.max()) + 1, int(second.max()) + 1)
        unit = np.concatenate([first, second + self.units[0]])
        rows = np.concatenate([self.x, self.y])
        member = np.zeros((sum(self.units), len(rows)))
        member[unit, np.arange(len(rows))] = 1.0
        self.count = member.sum(axis=1)  # rows of each unit
        self.sums = member @ cdist(rows, rows) @ member.T  # (unit, unit)
        self.is_x = np.arange(sum(self.units)) < self.units[0]

    def energy(self) -> float:
        """The energy coefficient e."""
        return float(self._energy(self.is_x.astype(float)[None], (~self.is_x).astype(float)[None])[0][0])

    def p_value(self, draws: int, rng: np.random.Generator) -> float:
        """Of the energy distance, by exchanging units between the two."""
        member = rng.permuted(np.broadcast_to(self.is_x, (draws, self.is_x.size)), axis=1).astype(float)
        _, null = self._energy(member, 1 - member)
        _, observed = self._energy(self.is_x.astype(float)[None], (~self.is_x).astype(float)[None])
        return float((1 + np.sum(null >= observed[0] * (1 - 1e-9) - 1e-12)) / (1 + draws))

    def weights(self, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """How often each unit of x and of y is drawn in each bootstrap sample, (draw, unit of x), (draw, unit of y)."""
        return tuple(rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float) for n in self.units)

    def energy_draws(self, weights) -> np.ndarray:
        """The energy coefficient of bootstrap samples, without the pairs of a unit with itself."""
        of_x, of_y = weights
        zeros_x, zeros_y = np.zeros_like(of_x), np.zeros_like(of_y)
        return self._energy(np.hstack([of_x, zeros_y]), np.hstack([zeros_x, of_y]))[0]

    def _energy(self, of_x, of_y):
        """e, and E weighted by the sizes of the samples, for weights (draw, unit)."""
        n, m = of_x @ self.count, of_y @ self.count
        between = np.einsum("du,du->d", of_x @ self.sums, of_y) / (n * m)
        within_x = np.einsum("du,du->d", of_x @ self.sums, of_x) / n**2
        within_y = np.einsum("du,du->d", of_y @ self.sums, of_y) / m**2
        energy = 2 * between - within_x - within_y
        coefficient = np.divide(energy, 2 * between, out=np.zeros_like(energy), where=between > 0)
        return np.clip(coefficient, 0.0, 1.0), energy * n * m / (n + m)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of values (n,) for each row of weights (draw, n): the mean of the two values about half the weight."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[:, order], axis=1)
    half = cumulative[:, -1:] / 2
    low = np.argmax(cumulative >= half * (1 - 1e-12), axis=1)
    high = np.argmax(cumulative > half * (1 + 1e-12), axis=1)
    sorted_values = values[order]
    return (sorted_values[low] + sorted_values[high]) / 2


def quantiles(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)

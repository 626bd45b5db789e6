"""The probability that a few inputs explain a snapshot.

An *explanation* is a support S, a set of columns of the design matrix D. Given S, with noise of standard deviation σ
and amplitudes of mean m and spread τ,

    y = D_S x + σ ε,      x_j ~ N(m, τ²),

the amplitudes integrate out. With ρ = σ²/τ², A = D_SᵀD_S + ρ1 and b = D_Sᵀy + ρm, up to a constant

    log p(S | y) = bᵀA⁻¹b / 2σ² − ½ log|A| − |S|·κ − log (n+1)·C(n, |S|),      κ = m²/2τ² − ½ log ρ,

the last term holding every number of events, and all supports of one size, equally likely beforehand. The Schur
complements of A give the change of this under every removal, addition and exchange at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

from wavefield.decoding.columns import Columns


@dataclass(frozen=True)
class Prior:
    """What is taken to hold before one snapshot is seen: noise σ, mean m and spread τ of the amplitudes."""

    noise: float
    mean: float
    spread: float
    positive: bool


class Posterior:
    """The posterior over supports of one snapshot (R,), `candidates` columns being possible beforehand."""

    def __init__(self, columns: Columns, snapshot: np.ndarray, prior: Prior, candidates: int | None = None):
        self.columns, self.prior = columns, prior
        self.variance = prior.noise**2
        self.ridge = self.variance / prior.spread**2  # ρ
        self.cost = prior.mean**2 / (2 * prior.spread**2) - 0.5 * np.log(self.ridge)  # κ
        self.product = columns.matrix.T @ snapshot + self.ridge * prior.mean  # b of all columns
        self.candidates = columns.count if candidates is None else candidates

    def size_prior(self, size: int) -> float:
        """Log prior of one support of this size."""
        return betaln(size + 1, max(self.candidates - size, 0) + 1)

    def gain(self, residual, schur):
        """Change of the log posterior, the size prior apart, when a column is taken in.

        `residual` is the product of each column with what the support leaves unexplained, `schur` its Schur complement.
        """
        gain = residual**2 / (2 * self.variance * schur) - 0.5 * np.log(schur) - self.cost
        return np.where(residual < 0, -np.inf, gain) if self.prior.positive else gain

    def pair_gain(self, residual, schur):
        """Change of the log posterior when two of c columns are taken in together, (c, c), each pair once."""
        d = np.maximum(np.diag(schur), self.ridge)
        det = np.maximum(np.multiply.outer(d, d) - schur**2, self.ridge * np.maximum.outer(d, d))
        first = residual[:, None] * d[None, :] - residual[None, :] * schur  # amplitude of the first times det
        gain = (first * residual[:, None] + first.T * residual[None, :]) / det / (2 * self.variance)
        gain -= 0.5 * np.log(det) + 2 * self.cost
        allowed = np.triu(np.ones(gain.shape, bool), 1)
        if self.prior.positive:
            allowed &= (first > 0) & (first.T > 0)
        return np.where(allowed, gain, -np.inf)


class Explanation:
    """One support: its log posterior `score`, its amplitudes, and how the score changes under moves away from it."""

    def __init__(self, posterior: Posterior, support):
        self.posterior, self.support = posterior, sorted(support)
        p, support, s = posterior, self.support, len(self.support)
        self.rows = p.columns.products(support)  # rows of A, (s, n)
        self.rows[np.arange(s), support] += p.ridge
        self.inverse = np.linalg.inv(self.rows[:, support])
        self.amplitudes = self.inverse @ p.product[support]
        # once more with the residual: without noise the normal equations alone lose the digits that decide
        self.amplitudes += self.inverse @ (p.product[support] - self.rows[:, support] @ self.amplitudes)
        self.weights = self.inverse @ self.rows  # (s, n)
        self.residual = p.product - self.amplitudes @ self.rows  # products of all columns with what is unexplained
        self.schur = np.maximum(p.columns.squares + p.ridge - np.einsum("sn,sn->n", self.rows, self.weights), p.ridge)
        quadratic = self.amplitudes @ p.product[support] / (2 * p.variance)
        logdet = np.linalg.slogdet(self.inverse)[1]
        self.score = quadratic + 0.5 * logdet - s * p.cost + p.size_prior(s)
        self.moves = {}  # supports one move away, as the search finds them

    @property
    def errors(self) -> np.ndarray:
        """Standard deviation of each amplitude."""
        return self.posterior.prior.noise * np.sqrt(np.diag(self.inverse))

    def growth(self, by: int) -> float:
        """Change of the size prior when the support grows."""
        size = len(self.support)
        return self.posterior.size_prior(size + by) - self.posterior.size_prior(size)

    def additions(self) -> np.ndarray:
        """Change of the score when each column is taken in, (n,)."""
        addition = self.posterior.gain(self.residual, self.schur)
        addition[self.support] = -np.inf
        return addition + self.growth(1)

    def removals_and_exchanges(self) -> tuple[np.ndarray, np.ndarray]:
        """Change of the score when each event is left out, (s,), and when each column takes its place, (s, n)."""
        p, diagonal = self.posterior, np.diag(self.inverse)
        removal = -(self.amplitudes**2) / (2 * p.variance * diagonal) - 0.5 * np.log(diagonal) + p.cost
        residual = self.residual + self.weights * (self.amplitudes / diagonal)[:, None]
        exchange = removal[:, None] + p.gain(residual, self.schur + self.weights**2 / diagonal[:, None])
        exchange[:, self.support] = -np.inf
        return removal + self.growth(-1) if self.support else removal, exchange

    def without(self, block: list) -> Reduced:
        """Return this explanation with the events at the places of a block left out."""
        return Reduced(self, block)

    def without_most_negative(self) -> list | None:
        """Return the support less its most negative amplitude; None where no amplitude is negative, or all may be."""
        if not self.posterior.prior.positive or not self.support or self.amplitudes.min() >= 0:
            return None
        return [j for j, x in zip(self.support, self.amplitudes, strict=True) if x > self.amplitudes.min()]


class Reduced:
    """An explanation with some events left out, and the change of its score when one or two others come in."""

    def __init__(self, explanation: Explanation, block: list):
        self.explanation, self.size = explanation, len(block)
        p, weights, amplitudes = explanation.posterior, explanation.weights[block], explanation.amplitudes[block]
        freed = np.linalg.inv(explanation.inverse[np.ix_(block, block)])
        given_up = -amplitudes @ freed @ amplitudes / (2 * p.variance)
        self.change = given_up + 0.5 * np.linalg.slogdet(freed)[1] + len(block) * p.cost  # with none in their place
        self.weights, self.reach = weights, freed @ weights  # (block, n)
        self.residual = explanation.residual + amplitudes @ self.reach
        self.schur = np.maximum(explanation.schur + np.einsum("bn,bn->n", weights, self.reach), p.ridge)

    def growth(self, by: int) -> float:
        """Change of the size prior from the complete explanation to this one with `by` others."""
        return self.explanation.growth(by - self.size)

    def singles(self) -> np.ndarray:
        """Change of the score when each column takes the place of the block, (n,)."""
        p = self.explanation.posterior
        single = self.change + p.gain(self.residual, self.schur) + self.growth(1)
        single[self.explanation.support] = -np.inf
        return single

    def pairs(self, chosen) -> np.ndarray:
        """Change of the score when two of the chosen columns do, (c, c)."""
        e, p = self.explanation, self.explanation.posterior
        between = p.columns.among(chosen) - e.rows[:, chosen].T @ e.weights[:, chosen]
        between += self.weights[:, chosen].T @ self.reach[:, chosen]
        between[np.diag_indices(chosen.size)] += p.ridge
        return self.change + p.pair_gain(self.residual[chosen], between) + self.growth(2)

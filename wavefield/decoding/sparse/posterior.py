"""The probability that a few inputs explain a snapshot.

An *explanation* is a support S, a set of columns of the design matrix D. Given S, with noise of standard deviation σ
and amplitudes of mean m and spread τ,

    y = D_S x + σ ε,      x_j ~ N(m, τ²),

the amplitudes integrate out. With ρ = σ²/τ², A = D_SᵀD_S + ρ1 and Q the least of |y − D_S x|² + ρ|x − m|², up to a
constant

    log p(S | y) = E(Q) − ½ log|A/ρ| + Σ_S log k_j + log B(|S| + α, n − |S| + β).

E(Q) is −Q/2σ² where the noise is given. Where it is not, σ integrates out as well, with ρ held and a log-uniform prior:
E(Q) = −(R/2) log Q, R being the number of values. The last term is the logarithm of a beta function, from a Beta prior
of the rate of events with most of its weight on few; k_j is the number of inputs and onsets whose trace column j is.

The Schur complements of A give the change of this under every removal, addition and exchange at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import betaln

from wavefield.decoding.inverse.columns import RIVAL, Columns
from wavefield.decoding.noise import RATE_PRIOR

_LIKE = 0.7  # correlation from which a column is the double of another


@dataclass(frozen=True)
class Prior:
    """What is taken to hold before one snapshot is seen: noise σ, mean m and spread τ of the amplitudes."""

    noise: float
    mean: float
    spread: float
    positive: bool


@dataclass(frozen=True)
class Beside:
    """What shares its unknown noise with a snapshot: R values in all, and what is unexplained of the others."""

    values: int
    unexplained: float  # sum of squares
    floor: float  # sum of squares that rounding leaves of all values


@dataclass
class Effort:
    """How many numbers a search has gone over, and how many it may."""

    most: float = np.inf
    spent: float = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether the search has to end."""
        return self.spent > self.most

    def charge(self, events: int, columns: int) -> None:
        """Add what it takes to go over all columns for each of some events."""
        self.spent += (events + 4) * (columns + 1000)


class Posterior:
    """The posterior over supports of one snapshot (R,).

    `ways` (n,) are the numbers k of inputs and onsets of the columns, `candidates` is their sum over all that are
    possible beforehand. Where the noise is unknown, `beside` says what else it is judged by. `elsewhere` is the number
    of events that are taken out of the snapshot already. What is worked out is charged to `effort`, which ends the
    search.
    """

    def __init__(
        self,
        columns: Columns,
        snapshot,
        prior: Prior,
        *,
        ways=None,
        candidates=None,
        beside=None,
        elsewhere=0,
        effort=None,
    ):
        self.columns, self.snapshot, self.prior, self.beside = columns, snapshot, prior, beside
        self.elsewhere, self.effort = elsewhere, Effort() if effort is None else effort
        self.ridge = (prior.noise / prior.spread) ** 2  # ρ
        self.shrinkage = self.ridge * prior.mean**2  # part of Q of each event
        self.product = columns.matrix.T @ snapshot + self.ridge * prior.mean  # Dᵀy + ρm
        self.log_ways = np.zeros(columns.count) if ways is None else np.log(ways)
        self.candidates = columns.count if candidates is None else candidates

    def size_prior(self, size: int) -> float:
        """Log prior of one support of this size, of one way for each event."""
        rate, rest = RATE_PRIOR
        size = size + self.elsewhere
        return betaln(size + rate, max(self.candidates - size, 0) + rest)

    def evidence(self, unexplained):
        """E(Q)."""
        if self.beside is None:
            return -unexplained / (2 * self.prior.noise**2)
        total = np.maximum(unexplained, 0) + self.beside.unexplained + self.beside.floor
        return -0.5 * self.beside.values * np.log(total)

    def gain(self, unexplained, residual, schur):
        """E(Q) − ½ log|A/ρ|, so far as it changes, when a column is taken in where `unexplained` was left.

        `residual` is the product of each column with what the support leaves unexplained, `schur` its Schur complement.
        """
        left = unexplained + self.shrinkage - residual**2 / schur
        gain = self.evidence(left) - 0.5 * np.log(schur / self.ridge) + self.log_ways
        return np.where(residual < 0, -np.inf, gain) if self.prior.positive else gain

    def pair_gain(self, unexplained, residual, schur, chosen):
        """As `gain`, when two of the c chosen columns are taken in together, (c, c), each pair once."""
        d = np.maximum(np.diag(schur), self.ridge)
        det = np.maximum(np.multiply.outer(d, d) - schur**2, self.ridge * np.maximum.outer(d, d))
        first = residual[:, None] * d[None, :] - residual[None, :] * schur  # amplitude of the first times det
        explained = (first * residual[:, None] + first.T * residual[None, :]) / det
        ways = self.log_ways[chosen]
        gain = self.evidence(unexplained + 2 * self.shrinkage - explained) - 0.5 * np.log(det / self.ridge**2)
        allowed = np.triu(np.ones(gain.shape, bool), 1)
        if self.prior.positive:
            allowed &= (first > 0) & (first.T > 0)
        return np.where(allowed, gain + np.add.outer(ways, ways), -np.inf)


class Explanation:
    """One support: its log posterior `score`, its amplitudes, and how the score changes under moves away from it."""

    def __init__(self, posterior: Posterior, support):
        self.posterior, self.support = posterior, sorted(support)
        p, support, s = posterior, self.support, len(self.support)
        p.effort.charge(s, p.columns.count)
        self.rows = p.columns.products(support)  # rows of A, (s, n)
        self.rows[np.arange(s), support] += p.ridge
        self.inverse = _inverse(self.rows[:, support])
        self.amplitudes = self.inverse @ p.product[support]
        # once more with the residual: without noise the normal equations alone lose the digits that decide
        self.amplitudes += self.inverse @ (p.product[support] - self.rows[:, support] @ self.amplitudes)
        self.weights = self.inverse @ self.rows  # (s, n)
        self.residual = p.product - self.amplitudes @ self.rows  # products of all columns with what is unexplained
        self.schur = np.maximum(p.columns.squares + p.ridge - np.einsum("sn,sn->n", self.rows, self.weights), p.ridge)
        left = p.snapshot - p.columns.matrix[:, support] @ self.amplitudes
        self.unexplained = left @ left + p.ridge * ((self.amplitudes - p.prior.mean) ** 2).sum()  # Q
        self.evidence = p.evidence(self.unexplained)
        logdet = np.linalg.slogdet(self.inverse)[1] + s * np.log(p.ridge)
        self.score = self.evidence + 0.5 * logdet + p.log_ways[support].sum() + p.size_prior(s)
        self.moves: dict[tuple[int, ...], dict] = {}  # supports one move away, as the search finds them

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlation (s, s) of the events: directly, as far as a column is correlated with both, or by `_doubles`."""
        columns = self.posterior.columns.correlation(self.support)  # (s, n)
        shared = np.array([np.minimum(columns, of_one).max(axis=1) for of_one in columns]).reshape(-1, len(columns))
        shared = np.maximum(np.where(shared > RIVAL, shared, 0), columns[:, self.support])
        return np.maximum(shared, self._doubles(columns))

    def _doubles(self, columns):
        """Correlation (s, s) of what events leave unexplained when another column, much like theirs, takes their place.

        Two events far from each other may each have such a double, as inputs at opposite places of a ring, and both
        doubles together may explain what one of them alone does not.
        """
        p, s = self.posterior, len(self.support)
        likeness = columns.copy()
        likeness[:, self.support] = 0
        twin = likeness.argmax(axis=1) if s else np.zeros(0, int)
        close = np.flatnonzero(likeness[np.arange(s), twin] > _LIKE)
        coupled = np.zeros((s, s))
        if close.size > 1:
            own, other = p.columns.matrix[:, np.array(self.support)[close]], p.columns.matrix[:, twin[close]]
            left = own - other * (np.einsum("rk,rk->k", own, other) / p.columns.squares[twin[close]])
            size = np.linalg.norm(left, axis=0)
            cosine = np.abs(left.T @ left) / np.maximum(np.multiply.outer(size, size), 1e-300)
            coupled[np.ix_(close, close)] = cosine
        return coupled

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
        addition = self.posterior.gain(self.unexplained, self.residual, self.schur) - self.evidence
        addition[self.support] = -np.inf
        return addition + self.growth(1)

    def removals_and_exchanges(self) -> tuple[np.ndarray, np.ndarray]:
        """Change of the score when each event is left out, (s,), and when each column takes its place, (s, n)."""
        p, diagonal = self.posterior, np.diag(self.inverse)
        if not self.support:
            return np.zeros(0), np.zeros((0, p.columns.count))
        unexplained = self.unexplained + self.amplitudes**2 / diagonal - p.shrinkage
        freed = -0.5 * np.log(diagonal * p.ridge) - p.log_ways[self.support] - self.evidence
        removal = p.evidence(unexplained) + freed + self.growth(-1)
        residual = self.residual + self.weights * (self.amplitudes / diagonal)[:, None]
        schur = self.schur + self.weights**2 / diagonal[:, None]
        exchange = freed[:, None] + p.gain(unexplained[:, None], residual, schur)
        exchange[:, self.support] = -np.inf
        return removal, exchange

    def without(self, block: list) -> Reduced:
        """Return this explanation with the events at the places of a block left out."""
        return Reduced(self, block)

    def without_most_negative(self) -> list | None:
        """Return the support less its most negative amplitude; None where no amplitude is negative, or all may be."""
        if not self.posterior.prior.positive or not self.support or self.amplitudes.min() >= 0:
            return None
        return [j for j, x in zip(self.support, self.amplitudes, strict=True) if x > self.amplitudes.min()]


def _inverse(matrix):
    """Inverse of a positive definite matrix, and positive definite where rounding leaves nothing of some direction."""
    try:
        inverse = np.linalg.inv(matrix)
        if (np.diag(inverse) > 0).all():
            return inverse
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(matrix)
    return (vectors / np.maximum(values, len(values) * np.finfo(float).eps * values[-1])) @ vectors.T


class Reduced:
    """An explanation with some events left out, and the change of its score when none, one or two others come in."""

    def __init__(self, explanation: Explanation, block: list):
        self.explanation, self.size = explanation, len(block)
        explanation.posterior.effort.charge(self.size, explanation.posterior.columns.count)
        p, weights, amplitudes = explanation.posterior, explanation.weights[block], explanation.amplitudes[block]
        freed = np.linalg.inv(explanation.inverse[np.ix_(block, block)])
        self.unexplained = explanation.unexplained + amplitudes @ freed @ amplitudes - len(block) * p.shrinkage
        ways = p.log_ways[np.array(explanation.support)[block]].sum()
        self._change = 0.5 * np.linalg.slogdet(freed / p.ridge)[1] - ways - explanation.evidence
        self.weights, self.reach = weights, freed @ weights  # (block, n)
        self.residual = explanation.residual + amplitudes @ self.reach
        self.schur = np.maximum(explanation.schur + np.einsum("bn,bn->n", weights, self.reach), p.ridge)

    def none(self) -> float:
        """Change of the score with nothing in the place of the block."""
        return float(self.explanation.posterior.evidence(self.unexplained) + self._change + self._growth(0))

    def singles(self) -> np.ndarray:
        """Change of the score when each column takes the place of the block, (n,)."""
        gain = self.explanation.posterior.gain(self.unexplained, self.residual, self.schur)
        gain[self.explanation.support] = -np.inf
        return gain + self._change + self._growth(1)

    def pairs(self, chosen) -> np.ndarray:
        """Change of the score when two of the chosen columns do, (c, c)."""
        e, p = self.explanation, self.explanation.posterior
        between = p.columns.among(chosen) - e.rows[:, chosen].T @ e.weights[:, chosen]
        between += self.weights[:, chosen].T @ self.reach[:, chosen]
        between[np.diag_indices(chosen.size)] += p.ridge
        gain = p.pair_gain(self.unexplained, self.residual[chosen], between, chosen)
        return gain + self._change + self._growth(2)

    def _growth(self, by):
        return self.explanation.growth(by - self.size)

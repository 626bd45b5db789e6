"""Which few inputs explain a snapshot, and how sure one can be of each.

An *explanation* is a support S, a set of columns of the design matrix D. Given S, with noise of standard deviation σ
and amplitudes of mean m and spread τ,

    y = D_S x + σ ε,      x_j ~ N(m, τ²),

the amplitudes integrate out. With ρ = σ²/τ², A = D_SᵀD_S + ρ1 and b = D_Sᵀy + ρm, up to a constant

    log p(S | y) = bᵀA⁻¹b / 2σ² − ½ log|A| − |S|·κ − log (n+1)·C(n, |S|),      κ = m²/2τ² − ½ log ρ,

the last term holding every number of events, and all supports of one size, equally likely beforehand. The Schur
complements of A give the change of this under every removal, addition and exchange at once, so that a support is
improved by the best of all such moves: up to two events for up to two others, which is what it takes to tell
neighbouring onsets apart whose columns nearly coincide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import betaln
from tqdm import tqdm

_WIDTH = 12.0  # explanations e⁻¹² as likely as the best are left out of the sums
_DEPTH = 4.0  # those within e⁻⁴ of the best are searched around in turn
_SEARCHES = 30
RIVAL = 0.25  # least correlation of columns that may stand for each other
_ENTANGLED = 0.1  # least correlation of events whose onsets are judged together
_PARTNERS = 3
_RIVALS = 40
_ALL_PRODUCTS = 2048


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of a design matrix and their scalar products: all where there is room, else as they are needed."""

    matrix: np.ndarray  # (R, n)
    _rows: dict = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """n."""
        return self.matrix.shape[1]

    @cached_property
    def squares(self) -> np.ndarray:
        """Squared norm of every column."""
        return np.einsum("rn,rn->n", self.matrix, self.matrix)

    def products(self, chosen) -> np.ndarray:
        """Scalar products of the chosen columns with all, (len(chosen), n)."""
        if self._gram is not None:
            return self._gram[chosen].reshape(-1, self.count)
        missing = [j for j in chosen if j not in self._rows]
        if missing:
            self._rows.update(zip(missing, self.matrix[:, missing].T @ self.matrix, strict=True))
        return np.array([self._rows[j] for j in chosen]).reshape(-1, self.count)

    def among(self, chosen) -> np.ndarray:
        """Scalar products of the chosen columns with each other."""
        if self._gram is not None:
            return self._gram[np.ix_(chosen, chosen)]
        part = self.matrix[:, chosen]
        return part.T @ part

    @cached_property
    def _gram(self):
        return self.matrix.T @ self.matrix if self.count <= _ALL_PRODUCTS else None


@dataclass(frozen=True)
class Prior:
    """What is taken to hold before looking at one snapshot: noise σ, mean m and spread τ of the amplitudes."""

    noise: float
    mean: float
    spread: float
    positive: bool


class Posterior:
    """The posterior over supports of one snapshot (R,), `candidates` columns being possible beforehand."""

    def __init__(self, columns: Columns, snapshot: np.ndarray, prior: Prior, candidates: int | None = None):
        self.columns, self.prior = columns, prior
        self.variance = prior.noise**2
        self.ridge = self.variance / prior.spread**2
        self.cost = prior.mean**2 / (2 * prior.spread**2) - 0.5 * np.log(self.ridge)
        self.heard = columns.matrix.T @ snapshot + self.ridge * prior.mean
        self.squares = columns.squares
        self.candidates = columns.count if candidates is None else candidates

    def size_prior(self, size: int) -> float:
        """Log prior of one support of this size."""
        return betaln(size + 1, max(self.candidates - size, 0) + 1)

    def look(self, support) -> View:
        """Work out one support."""
        return View(self, sorted(support))

    def climb(self, support, moves: int = 200) -> View:
        """Improve a support by its best moves until none is left."""
        view = self.look(support)
        for _ in range(moves):
            better = self._improved(view)
            if better is None:
                break
            view = better
        return view

    def _improved(self, view):
        """Return a view of a better support, None if no move leads to one."""
        for proposals in (view.single_proposals, view.double_proposals):
            for support in proposals():
                better = self.look(support)
                if better.score > view.score + 1e-6:
                    return better
        fewer = view.without_negative()
        return None if fewer is None else self.look(fewer)

    def settle(self, view: View, rounds: int = 5) -> tuple[View, np.ndarray]:
        """Return the best explanation found around a view, and the posterior probability of each of its events.

        The probability of an event sums over all explanations found by moves around it and around the events
        entangled with it, those far from it held fixed.
        """
        for _ in range(rounds):
            known = {frozenset(view.support): view}
            shown = tqdm(range(len(view.support)), desc="decode: confidence", delay=2, disable=None, leave=False)
            confidence = [self._confidence_of(event, view, known) for event in shown]
            best = max((v for v in known.values() if v.without_negative() is None), key=lambda v: v.score, default=view)
            if best.score <= view.score + 1e-6:
                break
            view = best
        return view, np.array(confidence)

    def _confidence_of(self, event, view, known):
        free = {view.support[k] for k in view.near(event)}
        fixed = frozenset(view.support) - free
        scores, searched = {frozenset(view.support): view.score}, set()
        for _ in range(_SEARCHES):
            best = max(scores.values())
            open_ones = [s for s, score in scores.items() if s not in searched and score > best - _DEPTH]
            if not open_ones:
                break
            here = max(open_ones, key=scores.get)
            searched.add(here)
            for support, score in self._known(here, known).neighbours(here - fixed).items():
                if support not in scores:
                    # what should be better than the best has lost its digits: it was tried in the climb
                    scores[support] = score if score <= view.score else self._known(support, known).score
        weights = np.exp(np.array(list(scores.values())) - max(scores.values()))
        holds = np.array([view.support[event] in support for support in scores])
        return float(weights[holds].sum() / weights.sum())

    def _known(self, support, known):
        if support not in known:
            known[support] = self.look(support)
        return known[support]


class View:
    """One support: its score, its amplitudes, and what every move away from it would change."""

    def __init__(self, posterior: Posterior, support: list):
        self.posterior, self.support = posterior, support
        p, s = posterior, len(support)
        self.rows = p.columns.products(support)  # (s, n)
        self.rows[np.arange(s), support] += p.ridge
        self.inverse = np.linalg.inv(self.rows[:, support])
        self.amplitudes = self.inverse @ p.heard[support]
        # once more with what is left: without noise the normal equations alone lose the digits that decide
        self.amplitudes += self.inverse @ (p.heard[support] - self.rows[:, support] @ self.amplitudes)
        self.weights = self.inverse @ self.rows  # (s, n)
        self.left = p.heard - self.amplitudes @ self.rows  # what the other columns still find
        self.schur = np.maximum(p.squares + p.ridge - np.einsum("sn,sn->n", self.rows, self.weights), p.ridge)
        quadratic = self.amplitudes @ p.heard[support] / (2 * p.variance)
        logdet = np.linalg.slogdet(self.inverse)[1]
        self.score = quadratic + 0.5 * logdet - s * p.cost + p.size_prior(s)
        self._moves = {}

    @property
    def errors(self) -> np.ndarray:
        """Standard deviation of each amplitude."""
        return self.posterior.prior.noise * np.sqrt(np.diag(self.inverse))

    def _gain(self, left, schur):
        """Change of the score, the size prior apart, when a column is taken in."""
        p = self.posterior
        gain = left**2 / (2 * p.variance * schur) - 0.5 * np.log(schur) - p.cost
        return np.where(left < 0, -np.inf, gain) if p.prior.positive else gain

    def _growth(self, by: int) -> float:
        size = len(self.support)
        return self.posterior.size_prior(size + by) - self.posterior.size_prior(size)

    def single_moves(self):
        """Changes of the score under all additions (n,), removals (s,) and exchanges (s, n)."""
        p, diagonal = self.posterior, np.diag(self.inverse)
        removal = -(self.amplitudes**2) / (2 * p.variance * diagonal) - 0.5 * np.log(diagonal) + p.cost
        addition = self._gain(self.left, self.schur)
        left = self.left + self.weights * (self.amplitudes / diagonal)[:, None]
        exchange = removal[:, None] + self._gain(left, self.schur + self.weights**2 / diagonal[:, None])
        addition[self.support] = -np.inf
        exchange[:, self.support] = -np.inf
        return addition + self._growth(1), removal + self._growth(-1) if self.support else removal, exchange

    def single_proposals(self) -> list:
        """Supports that should be better: all moves of one event that do not touch each other, and the best alone."""
        addition, removal, exchange = self.single_moves()
        moves = [(addition[j], (), (j,)) for j in np.flatnonzero(addition > 1e-6)]
        for i, event in enumerate(self.support):
            j = int(np.argmax(exchange[i]))
            if removal[i] > max(exchange[i, j], 1e-6):
                moves.append((removal[i], (event,), ()))
            elif exchange[i, j] > 1e-6:
                moves.append((exchange[i, j], (event,), (j,)))
        moves.sort(key=lambda move: -move[0])
        return [self._moved(moves), self._moved(moves[:1])] if moves else []

    def _moved(self, moves):
        """Make the first move, and all that touch no column near one already touched."""
        support, touched = set(self.support), np.zeros(self.posterior.columns.count, bool)
        for _, out, into in moves:
            if touched[[*out, *into]].any():
                continue
            support = (support - set(out)) | set(into)
            touched |= (self._correlation([*out, *into]) > _ENTANGLED).any(axis=0)
        return support

    def double_proposals(self) -> list:
        """The best support with up to two events exchanged for up to two others, if it should be better."""
        found = self.neighbours(self.support)
        best = max(found, key=found.get, default=None)
        return [best] if best is not None and found[best] > self.score + 1e-6 else []

    def without_negative(self):
        """Return the support less its most negative amplitude, where amplitudes must be positive."""
        if not self.posterior.prior.positive or not self.support or self.amplitudes.min() >= 0:
            return None
        return [j for j, x in zip(self.support, self.amplitudes, strict=True) if x > self.amplitudes.min()]

    def neighbours(self, free) -> dict:
        """Supports one move away that leaves all but the `free` events as they are, and their scores.

        Those e⁻¹² as likely as this one are left out.
        """
        places = [k for k, event in enumerate(self.support) if event in free]
        pairs = {tuple(sorted((i, k))) for i in places for k in self.near(i) if k != i and self.support[k] in free}
        found = self._additions(places)
        for block in [(k,) for k in places] + sorted(pairs):
            if block not in self._moves:
                self._moves[block] = self._exchanges(block)
            found.update(self._moves[block])
        return found

    def near(self, event: int) -> list:
        """Places in the support of an event and the few that are most entangled with it."""
        correlation = self._correlation([self.support[event]])[0, self.support]
        correlation[event] = np.inf
        order = np.argsort(-correlation)[: 1 + _PARTNERS]
        return [int(k) for k in order if correlation[k] > _ENTANGLED]

    def _correlation(self, chosen):
        norms = np.sqrt(self.posterior.squares)
        return np.abs(self.posterior.columns.products(chosen)) / (norms[chosen][:, None] * norms)

    def _additions(self, places):
        """Supports with one more event, like one of those at the given places if there are any."""
        gain = self._gain(self.left, self.schur) + self._growth(1)
        gain[self.support] = -np.inf
        at = np.flatnonzero(gain > -_WIDTH)
        if places and at.size:
            like = self._correlation([self.support[k] for k in places])[:, at].max(axis=0)
            at = at[like > RIVAL]
        return {frozenset((*self.support, int(j))): float(self.score + gain[j]) for j in at}

    def _exchanges(self, block):
        """Supports with the events at the places of a block taken out, or exchanged for one or two others."""
        p, block = self.posterior, list(block)
        events = [self.support[k] for k in block]
        rest = frozenset(self.support) - set(events)
        freed = np.linalg.inv(self.inverse[np.ix_(block, block)])
        given_up = -self.amplitudes[block] @ freed @ self.amplitudes[block] / (2 * p.variance)
        base = given_up + 0.5 * np.linalg.slogdet(freed)[1] + len(block) * p.cost  # change of the score without them
        found = {rest: base + self._growth(-len(block))}

        reach = freed @ self.weights[block]  # (block, n)
        left = self.left + self.amplitudes[block] @ reach
        schur = np.maximum(self.schur + np.einsum("bn,bn->n", self.weights[block], reach), p.ridge)
        single = base + self._gain(left, schur) + self._growth(1 - len(block))
        single[self.support] = -np.inf
        found.update((rest | {int(j)}, single[j]) for j in np.flatnonzero(single > -_WIDTH))

        rivals = self._rivals(events, rest)
        between = p.columns.among(rivals) - self.rows[:, rivals].T @ self.weights[:, rivals]
        between += self.weights[np.ix_(block, rivals)].T @ reach[:, rivals]
        between[np.diag_indices(rivals.size)] += p.ridge
        double = base + self._pair_gain(left[rivals], between) + self._growth(2 - len(block))
        for k, l in np.argwhere(double > -_WIDTH):
            found[rest | {int(rivals[k]), int(rivals[l])}] = double[k, l]
        found.pop(frozenset(self.support), None)
        return {support: float(self.score + change) for support, change in found.items() if change > -_WIDTH}

    def _rivals(self, events, rest):
        """The columns most like those of the events, the rest of the support left out."""
        likeness = self._correlation(events).max(axis=0)
        likeness[list(rest)] = 0
        order = np.argsort(-likeness)[:_RIVALS]
        return order[likeness[order] > RIVAL]

    def _pair_gain(self, left, schur):
        """Change of the score when two columns are taken in together, (c, c), each pair once."""
        p, d = self.posterior, np.maximum(np.diag(schur), self.posterior.ridge)
        det = np.maximum(np.multiply.outer(d, d) - schur**2, p.ridge * np.maximum.outer(d, d))
        first = left[:, None] * d[None, :] - left[None, :] * schur  # amplitude of the first times det
        gain = (first * left[:, None] + first.T * left[None, :]) / det / (2 * p.variance)
        gain -= 0.5 * np.log(det) + 2 * p.cost
        allowed = np.triu(np.ones(gain.shape, bool), 1)
        if p.prior.positive:
            allowed &= (first > 0) & (first.T > 0)
        return np.where(allowed, gain, -np.inf)

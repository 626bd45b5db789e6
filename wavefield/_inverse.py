"""Decoding as an inverse problem: non-negative least squares first, then the fewest events that explain as much.

    y = F x + σ ε

Where amplitudes cannot be negative, x is first found by `scipy.optimize.nnls` on columns scaled to norm 1; where they
may be, by least squares with a small penalty (Σ|x|)², which the same routine solves. Either spreads an event over
onsets that leave nearly the same trace. So the support is then improved under the posterior of `_explanations`, whose
noise and amplitudes are estimated along with it from all rings together, and every event is given its probability.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from wavefield._blocks import Block
from wavefield._events import Events, joined
from wavefield._explanations import Columns, Posterior, Prior

CERTAIN = 0.9  # events less probable are marked as ambiguous
FLOOR = 1e-6  # noise taken for granted, relative to the snapshot: below it sums lose the digits that decide
_WHOLE = 1024  # columns up to which nnls takes the matrix as it is
_ROUNDS = 30
_NEIGHBOURS = 4  # onsets beside each of those found that may stand for it, where the matrix is not written out


def decode_sparse(blocks, snapshot, noise, positive) -> Events:
    """Return the events of a snapshot (R,), given the blocks of its design and the noise if that is known."""
    problems = [_Problem(block, snapshot[rows], inputs, positive) for block, rows, inputs in blocks]
    reached = np.concatenate([np.zeros(0, int), *(rows for _, rows, _ in blocks)])
    beside = np.delete(snapshot, reached)  # rings that no input enters
    scale = float(np.linalg.norm(snapshot))
    if scale == 0:
        return joined([], {"noise": float(noise or 0), "residual": 0.0}, [])
    least, given = FLOOR * scale, noise

    def left_over(free):
        """Root mean square of what is not explained, over the values that remain free."""
        return float(np.sqrt((sum((p.left() ** 2).sum() for p in problems) + (beside**2).sum()) / max(free, 1)))

    def freedom():
        return snapshot.size - sum(len(p.support) for p in problems)

    for problem in tqdm(problems, desc="decode: first guess", delay=2, disable=None, leave=False):
        problem.start(least)
    estimable = freedom() >= 5
    noise = given if given is not None else left_over(freedom()) if estimable else 0.0
    for problem in problems:
        problem.drop_small()
    supports = None
    for _ in range(6):
        prior = _fitted_prior(problems, max(noise, least), positive)
        for problem in problems:
            problem.improve(prior)
        if given is None and estimable:
            noise = left_over(freedom())
        before, supports = supports, [p.support for p in problems]
        if supports == before:
            break
    prior = _fitted_prior(problems, max(noise, least), positive)
    shown = tqdm(problems, desc="decode: confidence", delay=2, disable=None, leave=False)
    tables = [problem.events(prior) for problem in shown]
    residual, strength = left_over(snapshot.size), scale / snapshot.size**0.5
    doubts = _doubts(estimable, given, residual, least, strength, positive)
    return joined(tables, {"noise": float(noise), "residual": residual}, doubts)


def _doubts(estimable, given, residual, least, strength, positive):
    """Warnings where the snapshot is not explained as it should be."""
    if given is None and not estimable:
        return ["as many events as the snapshot has values: its noise cannot be told; give `noise`"]
    check = "is it this operator, encoder and number of steps" + (
        ", and is no amplitude negative?" if positive else "?"
    )
    if given is not None and residual > 1.5 * max(given, least):
        return [f"what is left unexplained is {residual:.2g}, the noise given {given:.2g}: {check}"]
    if given is None and residual > 0.5 * strength:
        return [f"what is left unexplained is {residual / strength:.0%} of the snapshot: {check}"]
    return []


class _Problem:
    """The inverse problem of one block, on its way from the snapshot to events."""

    def __init__(self, block: Block, snapshot, inputs, positive):
        self.block, self.snapshot, self.inputs, self.positive = block, snapshot, inputs, positive
        self.columns = block.columns
        self.chosen = None  # columns of the design, where not all are written out
        self.rows = snapshot.size
        self.support, self.amplitudes = [], np.zeros(0)

    def start(self, least):
        """Find a first, generous support."""
        if np.linalg.norm(self.snapshot) <= least / FLOOR * 1e-12 or self.block.count == 0:
            if self.columns is None:
                self.columns = Columns(np.zeros((self.rows, 0)))
            return
        if self.columns is None:
            self.chosen, matrix = _pursue(_Unwritten(self.block.design), self.snapshot, self.positive, least)
            self.chosen = _with_neighbours(self.chosen, self.block.design)
            self.columns = Columns(np.asfortranarray(self.block.design.columns(self.chosen)))
            matrix = self.columns.matrix
            x = _solve(matrix, self.snapshot, self.positive)
        elif self.columns.count > _WHOLE:
            found, _ = _pursue(_Written(self.columns.matrix), self.snapshot, self.positive, least)
            x = np.zeros(self.columns.count)
            x[found] = _solve(self.columns.matrix[:, found], self.snapshot, self.positive)
        else:
            x = _solve(self.columns.matrix, self.snapshot, self.positive)
        self._keep(np.flatnonzero(x), x)

    def drop_small(self, share=0.05):
        """Leave out what is small beside the largest amplitude of this block."""
        if self.support:
            large = np.abs(self.amplitudes) > share * np.abs(self.amplitudes).max()
            x = np.zeros(self.columns.count)
            x[self.support] = self.amplitudes
            self._keep(np.array(self.support)[large], x)

    def _keep(self, support, x):
        self.support, self.amplitudes = [int(j) for j in support], x[support]

    def left(self):
        """What the support does not explain."""
        return self.snapshot - self.columns.matrix[:, self.support] @ self.amplitudes

    def _posterior(self, prior):
        return Posterior(self.columns, self.snapshot, prior, candidates=self.block.count)

    def improve(self, prior):
        """Climb to the best support, and fit its amplitudes."""
        if self.columns.count and (self.support or np.linalg.norm(self.snapshot) > 3 * prior.noise):
            self._fit(self._posterior(prior).climb(self.support), prior)

    def _fit(self, view, prior):
        self.support = [int(j) for j in view.support]
        self.amplitudes = _ridge(self.columns.matrix[:, self.support], self.snapshot, prior)

    def events(self, prior) -> Events:
        """Rows of the support, every member of a class one, with their probabilities."""
        if not self.support:
            return joined([], {}, [])
        posterior = self._posterior(prior)
        view, confidence = posterior.settle(posterior.look(self.support))
        self._fit(view, prior)
        ambiguous = confidence < CERTAIN
        if self.block.resolution is not None:
            ambiguous |= self.block.resolution[self.support] < 0.5
        classes = self.support if self.chosen is None else self.chosen[self.support]
        return self.block.rows(self.inputs, classes, self.amplitudes, view.errors, confidence, _groups(view, ambiguous))


def _groups(view, ambiguous):
    """Number the ambiguous events from 1, those entangled with each other alike; 0 for the others."""
    numbers = np.zeros(len(view.support), np.int64)
    at = np.flatnonzero(ambiguous)
    if at.size:
        place = {k: n for n, k in enumerate(at)}
        pairs = [(place[i], place[k]) for i in at for k in view.near(i) if k in place]
        linked = csr_array((np.ones(len(pairs)), tuple(np.transpose(pairs))), shape=(at.size, at.size))
        numbers[at] = connected_components(linked, directed=False)[1] + 1
    return numbers


def _fitted_prior(problems, noise, positive) -> Prior:
    """Mean and spread of the amplitudes found so far; the mean counts as one more, so that few have a wide spread."""
    found = np.concatenate([p.amplitudes for p in problems])
    if not found.size or not found.any():
        found = np.array([max(np.abs(p.snapshot).max(initial=0) for p in problems)])
    mean = float(found.mean()) if positive else 0.0
    typical = mean if positive else np.sqrt((found**2).mean())
    return Prior(noise, mean, float(np.sqrt((((found - mean) ** 2).sum() + typical**2) / (found.size + 1))), positive)


def _ridge(matrix, snapshot, prior):
    """Amplitudes of a support: least squares, leaning on the prior where the snapshot leaves them open."""
    lean = prior.noise / prior.spread
    stacked = np.vstack([matrix, lean * np.eye(matrix.shape[1])])
    target = np.concatenate([snapshot, np.full(matrix.shape[1], lean * prior.mean)])
    return np.linalg.lstsq(stacked, target, rcond=None)[0]


# ---- first guess --------------------------------------------------------------------------------------------------


def _solve(matrix, snapshot, positive):
    """Return non-negative least squares; or least squares with the penalty (λ Σ|x|)², both on columns of norm 1."""
    norms = np.linalg.norm(matrix, axis=0)
    unit = matrix / norms
    try:
        if positive:
            return nnls(unit, snapshot, maxiter=max(10 * norms.size, 100))[0] / norms
        penalty = np.full((1, 2 * norms.size), 1e-2)
        both = np.vstack([np.hstack([unit, -unit]), penalty])
        x = nnls(both, np.append(snapshot, 0.0), maxiter=max(20 * norms.size, 100))[0]
    except RuntimeError as error:
        raise ValueError(
            f"snapshot: non-negative least squares over {norms.size} columns did not converge ({error}); "
            "look back over fewer steps (`horizon`)"
        ) from None
    return (x[: norms.size] - x[norms.size :]) / norms


class _Written:
    """A matrix that is written out, as pursuit sees it."""

    def __init__(self, matrix):
        self.matrix, self.norms = matrix, np.linalg.norm(matrix, axis=0)

    def heard(self, left):
        """Products with all columns."""
        return self.matrix.T @ left

    def columns(self, chosen):
        """Columns by number."""
        return self.matrix[:, chosen]


class _Unwritten:
    """A design too large to be written out, as pursuit sees it."""

    def __init__(self, design):
        self.design, self.norms = design, design.norms().ravel()

    def heard(self, left):
        """Products with all columns."""
        return self.design.adjoint(left).ravel()

    def columns(self, chosen):
        """Columns by number."""
        return self.design.columns(chosen)


def _pursue(matrix, snapshot, positive, least):
    """Solve on a growing set of columns, those taken in that hear most of what is left; (chosen, their columns).

    It ends where no column hears more of what is left than noise would make it hear.
    """
    norms = np.maximum(matrix.norms, 1e-13 * matrix.norms.max())
    chosen, left = np.zeros(0, int), snapshot
    columns = np.zeros((snapshot.size, 0))
    for _ in range(_ROUNDS):
        heard = matrix.heard(left) / norms
        heard = heard if positive else np.abs(heard)
        heard[chosen] = -np.inf
        heard[matrix.norms < 1e-13 * matrix.norms.max()] = -np.inf
        level = max(2 * np.sqrt(np.mean(left**2)), least, 0.1 * heard.max())
        peaks = np.flatnonzero(heard > level)
        if not peaks.size or heard.max() <= max(2 * np.sqrt(np.mean(left**2)), least):
            break
        new = peaks[np.argsort(-heard[peaks])][: max(32, snapshot.size // 16)]
        chosen = np.concatenate([chosen, new])
        columns = np.hstack([columns, matrix.columns(new)])
        x = _solve(columns, snapshot, positive)
        kept = x != 0
        chosen, columns, x = chosen[kept], columns[:, kept], x[kept]
        left = snapshot - columns @ x
    order = np.argsort(chosen)
    return chosen[order], columns[:, order]


def _with_neighbours(chosen, design):
    """Add the onsets beside each of the chosen columns."""
    beside = design.inputs * np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    wide = np.unique(chosen[:, None] + beside)
    return wide[(wide >= 0) & (wide < design.shape[1])]

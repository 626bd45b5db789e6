"""The inverse problem of one block, on its way from the snapshot to events."""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr
from scipy.special import betaln, gammaln

from wavefield.decoding.events import Events, joined
from wavefield.decoding.inverse.classes import Block
from wavefield.decoding.inverse.columns import Columns
from wavefield.decoding.noise import RATE_PRIOR
from wavefield.decoding.sparse.first_guess import solve_unwritten, solve_written
from wavefield.decoding.sparse.posterior import Effort, Explanation, Posterior
from wavefield.decoding.sparse.search import climb, converge, groups

CERTAIN = 0.9  # events less probable are marked as ambiguous
_SMALL = 0.05  # amplitudes of a first guess that are left out, relative to the largest
_EFFORT = 3e7  # that a search may take, about two seconds; a hundred times what it takes as a rule
UNSEARCHED = 0.5  # most that is claimed where the search ended before its time
_NOTHING = 1e-6  # norm of a snapshot, relative to the least noise, that is taken for zero


class Problem:
    """A block, its part of the snapshot, and the support and amplitudes found so far."""

    def __init__(self, block: Block, snapshot, inputs, positive):
        self.block, self.snapshot, self.inputs, self.positive = block, snapshot, inputs, positive
        self.columns = block.columns
        self.chosen, self.cut = None, False  # columns of the design, where not all are written out; all their rivals?
        self.rows = snapshot.size
        self.support: list[int] = []
        self.amplitudes = np.zeros(0)
        self.effort = Effort(_EFFORT * max(1.0, block.count / 1000))

    def start(self, noise, least, largest_matrix, most_columns):
        """Find a first, generous support."""
        # `least` is that of all blocks: one whose values are nothing beside those of the others holds no event
        if np.linalg.norm(self.snapshot) <= least * _NOTHING or self.block.count == 0:
            if self.columns is None:
                self.columns = Columns(np.zeros((self.rows, 0)))
            return
        if self.columns is None:
            room = max(largest_matrix // self.rows, 1)
            self.chosen, x, self.cut = solve_unwritten(self.block.design, self.snapshot, self.positive, least, room)
            self.columns = Columns(np.asfortranarray(self.block.design.columns(self.chosen)))
        else:
            x = solve_written(self.columns.matrix, self.snapshot, self.positive, least, most=most_columns)
        leading = self._leading(x, noise, least)
        self.support, self.amplitudes = sorted(leading), x[sorted(leading)]

    def _leading(self, x, noise, least):
        """Those of the amplitudes x that are worth keeping, the largest contributions first.

        How many, k, is decided by how probable the snapshot is with the amplitudes, and the noise if it is not given,
        integrated out, every event leaving a trace of about the norm |y|/√k.
        """
        order = np.flatnonzero(np.abs(x) > _SMALL * np.abs(x).max(initial=0))
        order = order[np.argsort(-np.abs(x[order]) * np.sqrt(self.columns.squares[order]), kind="stable")]
        order = order[: self.rows - 1]
        basis = qr(self.columns.matrix[:, order], mode="economic")[0]
        power = (self.snapshot**2).sum()
        size = np.arange(order.size + 1)
        left = power - np.cumsum(np.append(0.0, (basis.T @ self.snapshot) ** 2))
        left = np.maximum(left, 0) + (self.rows - size) * least**2
        if noise is None:
            free = (self.rows - size) / 2
            evidence = gammaln(free) - free * np.log(left / 2)
        else:
            variance = max(noise, least) ** 2
            evidence = 0.5 * size * np.log(variance) - left / (2 * variance)
        evidence -= 0.5 * size * np.log(power / np.maximum(size, 1))
        prior = betaln(size + RATE_PRIOR[0], np.maximum(self.block.ways.sum() - size, 0) + RATE_PRIOR[1])
        return order[: np.argmax(evidence + prior)]

    def largest_amplitude(self):
        """The largest amplitude that a single event could have."""
        if not self.columns.count:
            return np.abs(self.snapshot).max(initial=0)
        squares = self.columns.squares
        clear = squares > 0.01 * squares.max()
        product = self.columns.matrix.T @ self.snapshot
        return np.abs(product[clear] / squares[clear]).max()

    def residual(self):
        """What the support does not explain."""
        return self.snapshot - self.columns.matrix[:, self.support] @ self.amplitudes

    def explained(self):
        """Onsets, inputs and amplitudes of the support, one for each class."""
        classes = self.support if self.chosen is None else self.chosen[self.support]
        columns = [int(j) if self.block.columns is None else int(self.block.members[j][0]) for j in classes]
        onset, which = np.divmod(np.array(columns, np.int64), self.block.design.inputs)
        return onset + self.block.steps - self.block.design.steps, self.inputs[which], self.amplitudes

    def _posterior(self, prior, beside):
        ways = self.block.ways if self.chosen is None else self.block.ways[self.chosen]
        total = self.block.ways.sum()
        return Posterior(
            self.columns, self.snapshot, prior, ways=ways, candidates=total, beside=beside, effort=self.effort
        )

    def improve(self, prior, beside, *, anew, thorough):
        """Climb to the best support from the present one, or also `anew` from none, and fit its amplitudes."""
        starts = [self.support, []] if anew and self.support else [self.support]
        if self.columns.count and (self.support or np.linalg.norm(self.snapshot) > 3 * prior.noise):
            self._fit(climb(self._posterior(prior, beside), starts, thorough=thorough), prior)

    def _fit(self, explanation, prior):
        self.support = [int(j) for j in explanation.support]
        self.amplitudes = _ridge(self.columns.matrix[:, self.support], self.snapshot, prior)

    def events(self, prior, beside, progress) -> Events:
        """Rows of the support, every member of a class one, with their probabilities."""
        if not self.support:
            return joined([], {}, [])
        explanation = Explanation(self._posterior(prior, beside), self.support)
        while (fewer := explanation.without_most_negative()) is not None:
            explanation = Explanation(explanation.posterior, fewer)
        explanation, confidence = converge(explanation, progress)
        if self.effort.exhausted:  # not all that competes with an event has been looked at
            confidence, self.cut = np.minimum(confidence, UNSEARCHED), True
        self._fit(explanation, prior)
        ambiguous = confidence < CERTAIN
        if self.block.resolution is not None:
            ambiguous |= self.block.resolution[self.support] < 0.5
        classes = self.support if self.chosen is None else self.chosen[self.support]
        number = groups(explanation, ambiguous)
        return self.block.rows(self.inputs, classes, self.amplitudes, explanation.errors, confidence, number)


def _ridge(matrix, snapshot, prior):
    """Amplitudes of a support: least squares, leaning on the prior where the snapshot leaves them open."""
    lean = prior.noise / prior.spread
    stacked = np.vstack([matrix, lean * np.eye(matrix.shape[1])])
    target = np.concatenate([snapshot, np.full(matrix.shape[1], lean * prior.mean)])
    x = np.linalg.lstsq(stacked, target, rcond=None)[0]
    return np.maximum(x, 0) if prior.positive else x

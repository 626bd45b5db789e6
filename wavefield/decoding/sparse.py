"""Decoding as an inverse problem: non-negative least squares first, then the fewest events that explain as much.

    y = F x + σ ε

Where amplitudes cannot be negative, x is first found by `scipy.optimize.nnls` on columns scaled to norm 1; where they
may be, by least squares with a small penalty (Σ|x|)², which the same routine solves. Either spreads an event over
onsets that leave nearly the same trace. So the support is then improved under the posterior of `posterior`, whose
noise and amplitudes are estimated along with it from all rings together, and every event is given its probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from wavefield.decoding.classes import LARGEST_MATRIX, Block
from wavefield.decoding.columns import Columns
from wavefield.decoding.events import Events, joined
from wavefield.decoding.first_guess import ALL_COLUMNS, solve_unwritten, solve_written
from wavefield.decoding.inverse import InverseProblem, flattened
from wavefield.decoding.posterior import Explanation, Posterior, Prior
from wavefield.decoding.request import Request
from wavefield.decoding.search import climb, converge, correlated

CERTAIN = 0.9  # events less probable are marked as ambiguous
FLOOR = 1e-6  # noise taken for granted, relative to the snapshot: below it sums lose the digits that decide


def unshown(items, _):
    """Show no progress."""
    return items


@dataclass(frozen=True)
class SparseReader:
    """Reads the fewest events that explain a snapshot."""

    problem: InverseProblem
    positive: bool
    progress: Callable = unshown  # wraps what may take long: progress(items, text)
    largest_matrix: int = LARGEST_MATRIX  # entries up to which a matrix is written out
    most_columns: int = ALL_COLUMNS  # number up to which all enter the first guess at once

    @classmethod
    def of(cls, request: Request, progress=unshown, *, largest_matrix=LARGEST_MATRIX, most_columns=ALL_COLUMNS):
        """Work out the design of a request."""
        problem = InverseProblem.of(request, signed=not request.nonnegative, largest_matrix=largest_matrix)
        return cls(problem, request.nonnegative, progress, largest_matrix, most_columns)

    def read(self, now, before, noise) -> Events:
        """Return the events of one snapshot, levels (rings, N), given its noise if that is known."""
        snapshot = flattened(now, before)
        blocks = self.problem.blocks
        problems = [_Problem(block, snapshot[rows], inputs, self.positive) for block, rows, inputs in blocks]
        reached = np.concatenate([np.zeros(0, int), *(rows for _, rows, _ in blocks)])
        beside = np.delete(snapshot, reached)  # rings that no input enters
        events = self._events(problems, beside, float(np.linalg.norm(snapshot)), noise)
        facts = {"method": "sparse"} | self.problem.facts | events.facts
        return replace(events, facts=facts, warnings=self.problem.warnings + events.warnings)

    def _events(self, problems, beside, scale, given) -> Events:
        """Return the events of all blocks; `scale` is the norm of the snapshot."""
        positive, values = self.positive, beside.size + sum(p.snapshot.size for p in problems)
        if scale == 0:
            return joined([], {"noise": float(given or 0), "residual": 0.0}, [])
        least = FLOOR * scale

        def left_over(free):
            """Root mean square of what is not explained, over the values that remain free."""
            return float(np.sqrt((sum((p.residual() ** 2).sum() for p in problems) + (beside**2).sum()) / max(free, 1)))

        def freedom():
            return values - sum(len(p.support) for p in problems)

        for problem in self.progress(problems, "first guess"):
            problem.start(least, self.largest_matrix, self.most_columns)
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
        tables = [problem.events(prior, self.progress) for problem in problems]
        residual, strength = left_over(values), scale / values**0.5
        doubts = _doubts(estimable, given, residual, least, strength, positive)
        if any(problem.cut for problem in problems):
            doubts.append("too many onsets leave like traces to weigh them all: `confidence` is an upper bound")
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
        self.chosen, self.cut = None, False  # columns of the design, where not all are written out; all their rivals?
        self.rows = snapshot.size
        self.support, self.amplitudes = [], np.zeros(0)

    def start(self, least, largest_matrix, most_columns):
        """Find a first, generous support."""
        if np.linalg.norm(self.snapshot) <= least / FLOOR * 1e-12 or self.block.count == 0:
            if self.columns is None:
                self.columns = Columns(np.zeros((self.rows, 0)))
            return
        if self.columns is None:
            room = max(largest_matrix // self.rows, 1)
            self.chosen, x, self.cut = solve_unwritten(self.block.design, self.snapshot, self.positive, least, room)
            self.columns = Columns(np.asfortranarray(self.block.design.columns(self.chosen)))
        else:
            x = solve_written(self.columns.matrix, self.snapshot, self.positive, least, most=most_columns)
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

    def residual(self):
        """What the support does not explain."""
        return self.snapshot - self.columns.matrix[:, self.support] @ self.amplitudes

    def _posterior(self, prior):
        return Posterior(self.columns, self.snapshot, prior, candidates=self.block.count)

    def improve(self, prior):
        """Climb to the best support, and fit its amplitudes."""
        if self.columns.count and (self.support or np.linalg.norm(self.snapshot) > 3 * prior.noise):
            self._fit(climb(self._posterior(prior), self.support), prior)

    def _fit(self, explanation, prior):
        self.support = [int(j) for j in explanation.support]
        self.amplitudes = _ridge(self.columns.matrix[:, self.support], self.snapshot, prior)

    def events(self, prior, progress) -> Events:
        """Rows of the support, every member of a class one, with their probabilities."""
        if not self.support:
            return joined([], {}, [])
        explanation, confidence = converge(Explanation(self._posterior(prior), self.support), progress)
        self._fit(explanation, prior)
        ambiguous = confidence < CERTAIN
        if self.block.resolution is not None:
            ambiguous |= self.block.resolution[self.support] < 0.5
        classes = self.support if self.chosen is None else self.chosen[self.support]
        groups = _groups(explanation, ambiguous)
        return self.block.rows(self.inputs, classes, self.amplitudes, explanation.errors, confidence, groups)


def _groups(explanation, ambiguous):
    """Number the ambiguous events from 1, those correlated with each other alike; 0 for the others."""
    numbers = np.zeros(len(explanation.support), np.int64)
    at = np.flatnonzero(ambiguous)
    if at.size:
        place = {k: n for n, k in enumerate(at)}
        pairs = [(place[i], place[k]) for i in at for k in correlated(explanation, i) if k in place]
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

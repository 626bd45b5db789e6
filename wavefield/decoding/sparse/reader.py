"""Decoding as an inverse problem: non-negative least squares first, then the fewest events that explain as much.

    y = F x + σ ε

Where amplitudes cannot be negative, x is first found by `scipy.optimize.nnls` on columns scaled to norm 1; where they
may be, by least squares with a small penalty (Σ|x|)², which the same routine solves. Either spreads an event over
onsets that leave nearly the same trace, and takes noise for events where there are as many columns as values. So only
as many of the largest contributions are kept as are probable, and the support is improved under the posterior of
`posterior`, from there and from none. Noise and amplitudes are estimated along with it from all rings together, and
every event is given its probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wavefield.decoding.events import Events, joined
from wavefield.decoding.inverse.classes import LARGEST_MATRIX
from wavefield.decoding.inverse.problem import InverseProblem, flattened
from wavefield.decoding.noise import UNDETERMINED
from wavefield.decoding.parameters import NAMES, Family
from wavefield.decoding.request import Request
from wavefield.decoding.sparse.first_guess import ALL_COLUMNS
from wavefield.decoding.sparse.misfit import SIGNIFICANT, combined, portmanteau, score_test
from wavefield.decoding.sparse.posterior import Beside, Prior
from wavefield.decoding.sparse.problem import Problem
from wavefield.operators.design import Design, design

_ROUNDS = 8  # of supports for given noise and amplitudes, and the other way round
_ROUNDED = 10  # a residual of less than ten times the least noise is one of rounding
_FEWEST_FREE = 5  # values beyond the number of events from which noise is estimated
_UNDETERMINED_CONFIDENCE = 0.5  # most that is claimed where the noise is undetermined
FLOOR = 1e-6  # noise taken for granted, relative to the snapshot: below it sums lose the digits that decide


def unshown(items, _):
    """Show no progress."""
    return items


@dataclass(frozen=True)
class SparseReader:
    """Reads the fewest events that explain a snapshot."""

    problem: InverseProblem
    request: Request
    progress: Callable = unshown  # wraps what may take long: progress(items, text)
    largest_matrix: int = LARGEST_MATRIX  # entries up to which a matrix is written out
    most_columns: int = ALL_COLUMNS  # number up to which all enter the first guess at once

    @classmethod
    def of(cls, request: Request, progress=unshown, *, largest_matrix=LARGEST_MATRIX, most_columns=ALL_COLUMNS):
        """Work out the design of a request."""
        problem = InverseProblem.of(request, signed=not request.nonnegative, largest_matrix=largest_matrix)
        return cls(problem, request, progress, largest_matrix, most_columns)

    def read(self, now, before, noise) -> Events:
        """Return the events of one snapshot, levels (rings, N), given its noise if that is known."""
        snapshot = flattened(now, before)
        events = self._events(self.solve(snapshot, noise)) if snapshot.any() else _nothing(noise)
        facts = {"method": "sparse"} | self.problem.facts | events.facts
        return replace(events, facts=facts, warnings=self.problem.warnings + events.warnings)

    def solve(self, snapshot, noise) -> Solution:
        """Find the support of all blocks that explains a snapshot (R,), not zero, best."""
        blocks, scale = self.problem.blocks, float(np.linalg.norm(snapshot))
        problems = [Problem(block, snapshot[rows], inputs, self.request.nonnegative) for block, rows, inputs in blocks]
        reached = np.concatenate([np.zeros(0, int), *(rows for _, rows, _ in blocks)])
        beside = np.delete(snapshot, reached)  # rings that no input enters
        state = Solution(snapshot, problems, beside, noise, FLOOR * scale, self.request.nonnegative)
        for problem in self.progress(problems, "first guess"):
            problem.start(noise, state.least, self.largest_matrix, self.most_columns)
        before, thorough = None, False
        for _ in range(_ROUNDS):
            prior = state.prior()
            for problem in problems:
                problem.improve(prior, state.beside_of(problem), anew=before is None, thorough=thorough)
            same, before = before == [p.support for p in problems], [p.support for p in problems]
            if same and thorough:
                break
            thorough |= same  # moves of two events take long: they come in when those of one lead no further
        return state

    def _events(self, state: Solution) -> Events:
        """Return the events of all blocks, with their confidences."""
        prior, problems = state.prior(), state.problems
        tables = [problem.events(prior, state.beside_of(problem), self.progress) for problem in problems]
        noise, error = state.noise_and_error()
        residual, misfit = state.residual(), self._misfit(state)
        positive = self.request.nonnegative
        doubts = [UNDETERMINED] if np.isinf(error) else _doubts(state.given, residual, state.least, misfit, positive)
        if np.isinf(error):
            tables = [replace(t, confidence=np.minimum(t.confidence, _UNDETERMINED_CONFIDENCE)) for t in tables]
        if any(problem.cut for problem in problems):
            doubts.append("too many onsets leave like traces to weigh them all: `confidence` is an upper bound")
        facts = {"noise": noise, "noise_error": error, "residual": residual, "misfit": misfit}
        return joined(tables, facts, doubts)

    def _misfit(self, state: Solution) -> float:
        """Return p of the residual as white noise that does not depend on the operator; NaN if it is but rounding."""
        if state.residual() < _ROUNDED * state.least:
            return float("nan")
        left = np.zeros(state.values)  # zero outside of a mask, and on rings that no input enters
        rows = [rows for _, rows, _ in self.problem.blocks]
        for where, problem in zip(rows, state.problems, strict=True):
            left[where] = problem.residual()
        together = portmanteau(left.reshape(-1, *self.request.shape), sum(where.size for where in rows))
        return combined(together, self._score(state))

    def _score(self, state):
        """Return p of the score test of speed and damping; NaN where the operator has neither, or it takes long."""
        onset, which, amplitude = state.explained()
        family = Family.of(self.request.operator)
        written = all(block.columns is not None for block, _, _ in self.problem.blocks)
        if family is None or not onset.size or not written:
            return float("nan")
        steps = self.request.steps - int(onset.min())
        drive = np.zeros((steps, self.request.encoder.shape[2]))
        np.add.at(drive, (onset - onset.min(), which), amplitude)
        changes = []
        for name in NAMES:
            low, high = family.around(name)
            one, other = (forward_map(self.request, family.at(**{name: at}), steps) for at in (low, high))
            changes.append((other.forward(drive) - one.forward(drive)) / (high - low))
        here = forward_map(self.request, self.request.operator, steps)
        traces = here.columns((onset - onset.min()) * drive.shape[1] + which)
        noise = None if state.given is None else max(state.given, state.least)
        return score_test(state.snapshot - here.forward(drive), np.transpose(changes), traces, noise)


def forward_map(request: Request, operator, steps: int) -> Design:
    """Return the forward map of a request with another operator, looking so many steps back."""
    source = "pulse" if request.pulse else "force"
    size = request.encoder.shape[1]
    return design(operator, size, steps, encoder=request.encoder, source=source, previous=request.both)


def _nothing(noise):
    return joined([], {"noise": float(noise or 0), "noise_error": 0.0, "residual": 0.0}, [])


@dataclass(frozen=True)
class Solution:
    """How far all blocks together have come, and what follows for the noise and the amplitudes they share."""

    snapshot: np.ndarray  # (R,)
    problems: list
    beside: np.ndarray  # values that no input reaches
    given: float | None
    least: float  # noise taken for granted
    positive: bool

    @property
    def values(self) -> int:
        """R, the number of values of the snapshot."""
        return self.beside.size + sum(p.snapshot.size for p in self.problems)

    def residual(self, free=None) -> float:
        """Root mean square of what is not explained, over the values that remain free."""
        unexplained = sum((p.residual() ** 2).sum() for p in self.problems) + (self.beside**2).sum()
        return float(np.sqrt(unexplained / (self.values if free is None else free)))

    def explained(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Onsets, inputs and amplitudes of all blocks, one for each class of traces that are alike."""
        parts = [problem.explained() for problem in self.problems]
        empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        onset, which, amplitude = (np.concatenate(part) for part in zip(empty, *parts, strict=True))
        return onset, which, amplitude

    def noise_and_error(self) -> tuple[float, float]:
        """The noise and its standard deviation, infinite where events leave too few values to estimate it from."""
        if self.given is not None:
            return float(self.given), 0.0
        free = self.values - sum(len(p.support) for p in self.problems)
        noise = self.residual(max(free, 1))
        enough = free >= max(_FEWEST_FREE, self.values / 4) or (free > 0 and noise < _ROUNDED * self.least)
        return noise, noise / (2 * free) ** 0.5 if enough else float("inf")

    def beside_of(self, problem) -> Beside | None:
        """What the noise of a block is judged by besides its own values; None where it is given."""
        if self.given is not None:
            return None
        others = sum((p.residual() ** 2).sum() for p in self.problems if p is not problem)
        return Beside(self.values, others + (self.beside**2).sum(), self.values * self.least**2)

    def prior(self) -> Prior:
        """Noise, and mean and spread of the amplitudes found so far."""
        noise = max(self.noise_and_error()[0], self.least)
        found = np.concatenate([p.amplitudes for p in self.problems])
        if not found.any():
            found = np.array([max(self.least, *(p.largest_amplitude() for p in self.problems))])
        return prior_of(found, noise, self.positive)


def prior_of(amplitudes: np.ndarray, noise: float, positive: bool) -> Prior:
    """Noise, and mean and spread of amplitudes; the mean counts as one value more, so that few have a wide spread."""
    mean = float(amplitudes.mean()) if positive else 0.0
    typical = mean if positive else np.sqrt((amplitudes**2).mean())
    spread = np.sqrt((((amplitudes - mean) ** 2).sum() + typical**2) / (amplitudes.size + 1))
    return Prior(noise, mean, float(spread), positive)


def _doubts(given, residual, least, misfit, positive):
    """Warnings where the snapshot is not explained as it should be."""
    check = "is it this operator, encoder and number of steps" + (
        ", and is no amplitude negative?" if positive else "?"
    )
    if given is not None and residual > 1.5 * max(given, least):
        return [f"what is left unexplained is {residual:.2g}, the noise given {given:.2g}: {check}"]
    if misfit < SIGNIFICANT:
        return [f"what is left unexplained is not noise, its values are correlated (p = {misfit:.0e}): {check}"]
    return []

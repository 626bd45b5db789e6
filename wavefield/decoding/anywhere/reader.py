"""Reading a sheet: the fewest events at any place and onset that explain a snapshot, and the confidence in each.

    y = Σ_j x_j R_{α_j} δ_{p_j} + σ ε,      number of events, rings, places p, ages α, amplitudes x not known

`pursuit` finds a first support among all candidates. What may stand for its events (their rivals) and what still
stands out from the residual are written out as columns, and the support is improved among these under the posterior
of `sparse.posterior`, whose prior counts all candidates; then the residual is compared with all candidates again.
Noise and amplitudes are estimated along with it. Every event is given its probability, and so is every candidate that
may stand for one that is not certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from wavefield.decoding.anywhere.candidates import Candidates
from wavefield.decoding.anywhere.places import Places
from wavefield.decoding.anywhere.pursuit import pursue
from wavefield.decoding.inverse.classes import LARGEST_MATRIX
from wavefield.decoding.inverse.columns import RIVAL, Columns
from wavefield.decoding.noise import UNDETERMINED
from wavefield.decoding.sparse.misfit import SIGNIFICANT, portmanteau
from wavefield.decoding.sparse.posterior import Beside, Explanation, Posterior, Prior
from wavefield.decoding.sparse.search import alternatives, climb, converge, correlated, groups

CERTAIN = 0.9  # events less probable are marked as ambiguous
FLOOR = 1e-6  # noise taken for granted, relative to the snapshot: below it sums lose the digits that decide
LISTED = 0.05  # probability from which an alternative to an event that is not certain is listed
_ROUNDS = 8  # of supports for given noise and amplitudes, and the other way round
_LOOKS = 5  # at the residual, for events that were overlooked
_BELOW = 1.0  # how far below the extreme of noise alone a candidate may stay and be weighed
_MOST_MORE = 64  # candidates weighed anew after a look
_MOST_PRODUCTS = 256  # columns up to which all their scalar products are worked out
_VALUES_PER_EVENT = 8  # fewer than these, and neither events nor noise can be told
_FEW = 32  # events that are looked for in any case
_ROUNDED = 10  # a residual of less than ten times the least noise is one of rounding
_UNDETERMINED_CONFIDENCE = 0.5  # most that is claimed where the noise is undetermined


def unshown(items, _):
    """Show no progress."""
    return items


@dataclass(frozen=True, eq=False)
class AnywhereReader:
    """Reads events at any place of a sheet.

    Attributes
    ----------
    candidates : Candidates
    positive : bool
        Whether amplitudes are known not to be negative.
    inside : ndarray of bool, shape (*positions)
        Where the sheet is.
    """

    candidates: Candidates
    positive: bool
    inside: np.ndarray
    progress: Callable = unshown  # wraps what may take long: progress(items, text)
    largest_matrix: int = LARGEST_MATRIX  # entries up to which columns are written out

    def read(self, snapshot: np.ndarray, given: float | None) -> Places:
        """Return the events of one snapshot (rings, levels, *positions), given its noise if that is known."""
        snapshot = np.asarray(snapshot, dtype=float).ravel()
        scale = float(np.sqrt(np.mean(snapshot**2)))
        if scale == 0:
            return Places.none({"noise": float(given or 0), "noise_error": 0.0, "residual": 0.0})
        state = _Fit(self, snapshot, given, FLOOR * scale)
        support, amplitudes = pursue(self.candidates, snapshot, self.positive, state.least, state.most)
        state.begin(support, amplitudes)
        for _ in self.progress(range(_LOOKS), "events"):
            state.improve()
            if not state.look_again():
                break
        return state.places()


class _Fit:
    """How far the reading of one snapshot has come: the candidates weighed, the support, the amplitudes."""

    def __init__(self, reader: AnywhereReader, snapshot, given, least):
        self.reader, self.snapshot, self.given, self.least = reader, snapshot, given, least
        self.weighed = np.zeros(0, np.int64)  # candidates whose columns are written out
        self.columns = Columns(np.zeros((snapshot.size, 0)), _MOST_PRODUCTS)
        self.support: list[int] = []  # places among the weighed
        self.amplitudes = np.zeros(0)
        self.rivals: dict = {}  # of every candidate that has been in a support
        self.cut = False

    # ---- candidates -----------------------------------------------------------------------------------------------

    def begin(self, chosen, amplitudes):
        """Start from the support of pursuit."""
        self._weigh(chosen)
        place = {int(c): k for k, c in enumerate(self.weighed)}
        self.support = [place[int(c)] for c in chosen]
        order = np.argsort(self.support)
        self.support, self.amplitudes = [self.support[k] for k in order], amplitudes[order]
        self._weigh(self._new_rivals())

    def look_again(self) -> bool:
        """Weigh what else stands out from the residual and the rivals of new events; False if there are none."""
        candidates = self.reader.candidates
        values = candidates.standing_out(self.residual())
        if not self.reader.positive:
            np.abs(values, out=values)
        values.reshape(-1)[self.weighed] = 0.0
        above = max(self.noise(), self.least) * (candidates.extreme - _BELOW)
        more = candidates.peaks(values, above, _MOST_MORE)
        return self._weigh(np.concatenate([more, self._new_rivals()]))

    def _new_rivals(self):
        """Rivals of the events whose rivals have not been looked for."""
        new = np.array([k for k in self.support if int(self.weighed[k]) not in self.rivals], dtype=np.int64)
        if new.size:
            found, cut = self.reader.candidates.rivals(self.weighed[new], self.columns.matrix[:, new])
            self.rivals.update(found)
            self.cut |= cut
            return np.unique(np.concatenate(list(found.values())))
        return np.zeros(0, np.int64)

    def _weigh(self, more) -> bool:
        """Write out the columns of more candidates, as many as there is room for; whether there were new ones."""
        new = np.setdiff1d(more, self.weighed)
        room = max(self.reader.largest_matrix // self.snapshot.size - self.weighed.size, 0)
        self.cut |= new.size > room
        new = new[:room]
        if not new.size:
            return False
        held = self.weighed[self.support]
        together = np.concatenate([self.weighed, new])
        order = np.argsort(together)
        matrix = np.hstack([self.columns.matrix, self.reader.candidates.columns(new)])[:, order]
        self.weighed, self.columns = together[order], Columns(np.asfortranarray(matrix), _MOST_PRODUCTS)
        self.support = np.searchsorted(self.weighed, held).tolist()
        return True

    # ---- support and amplitudes -----------------------------------------------------------------------------------

    def improve(self):
        """Improve the support among the candidates weighed, in turn with noise and amplitudes."""
        thorough = False
        for _ in range(_ROUNDS):
            prior = self.prior()
            if not self.columns.count or not (self.support or self._worth_a_look(prior)):
                return
            explanation = climb(self._posterior(self.columns, self.snapshot, prior), [self.support], thorough=thorough)
            same = self.support == list(explanation.support)
            self._fit(explanation.support, prior)
            if same and thorough:
                break
            thorough |= same

    def _worth_a_look(self, prior):
        return np.linalg.norm(self.snapshot) > 3 * prior.noise

    def _posterior(self, columns, snapshot, prior, elsewhere=0):
        beside = None if self.given is not None else Beside(self.values, 0.0, self.values * self.least**2)
        count = self.reader.candidates.count
        return Posterior(columns, snapshot, prior, candidates=count, beside=beside, elsewhere=elsewhere)

    def _fit(self, support, prior):
        self.support = [int(j) for j in support]
        lean = prior.noise / prior.spread
        matrix = self.columns.matrix[:, self.support]
        gram = matrix.T @ matrix + lean**2 * np.eye(len(self.support))
        x = np.full(len(self.support), prior.mean)
        for _ in range(2):  # once more with the residual: the normal equations alone lose digits
            x = x + np.linalg.solve(gram, matrix.T @ (self.snapshot - matrix @ x) + lean**2 * (prior.mean - x))
        self.amplitudes = np.maximum(x, 0) if self.reader.positive else x

    # ---- noise ----------------------------------------------------------------------------------------------------

    @cached_property
    def values(self) -> int:
        """Values of the snapshot on the sheet: those outside of a mask are zero and tell nothing."""
        return int(self.reader.inside.sum()) * (self.snapshot.size // self.reader.inside.size)

    @cached_property
    def most(self) -> int:
        """Events that are looked for at most."""
        tellable = max(self.values // _VALUES_PER_EVENT, min(_FEW, self.values // 2))
        return max(min(tellable, self.reader.largest_matrix // self.snapshot.size), 1)

    def residual(self):
        """What the support does not explain."""
        return self.snapshot - self.columns.matrix[:, self.support] @ self.amplitudes

    def noise(self) -> float:
        """Noise as given, or the root mean square of the residual over the values that remain free."""
        if self.given is not None:
            return float(self.given)
        return float(np.sqrt((self.residual() ** 2).sum() / max(self.values - len(self.support), 1)))

    def noise_error(self) -> float:
        """Standard deviation of the noise, infinite where events leave too few values to estimate it from."""
        if self.given is not None:
            return 0.0
        free = self.values - len(self.support)
        enough = free >= max(5, self.values / 4)
        return self.noise() / (2 * free) ** 0.5 if enough else float("inf")

    def prior(self) -> Prior:
        """Noise, and mean and spread of the amplitudes found so far, the mean counting as one value more."""
        noise, found = max(self.noise(), self.least), self.amplitudes
        if not found.any():
            squares = self.columns.squares
            product = self.columns.matrix.T @ self.snapshot
            found = np.array([np.abs(product / squares).max(initial=0) or np.abs(self.snapshot).max()])
        positive = self.reader.positive
        mean = float(found.mean()) if positive else 0.0
        typical = mean if positive else np.sqrt((found**2).mean())
        spread = np.sqrt((((found - mean) ** 2).sum() + typical**2) / (found.size + 1))
        return Prior(noise, mean, float(spread), positive)

    # ---- result ---------------------------------------------------------------------------------------------------

    def places(self) -> Places:
        """Rows of the support and of the alternatives to its uncertain events, and what is to be said of all."""
        prior, error = self.prior(), self.noise_error()
        crowded = len(self.support) > 0.9 * self.most
        rows = self._unjudged() if crowded or not self.support else self._rows(prior)
        residual = float(np.sqrt((self.residual() ** 2).sum() / self.values))
        misfit = float("nan")
        if residual >= _ROUNDED * self.least:
            misfit = portmanteau(self.residual().reshape(-1, *self.reader.inside.shape), self.values)
        if np.isinf(error):
            rows = replace(rows, confidence=np.minimum(rows.confidence, _UNDETERMINED_CONFIDENCE))
        visible = self._visible()
        facts = {
            "noise": self.noise(),
            "noise_error": error,
            "residual": residual,
            "misfit": misfit,
            "visible": visible,
        }
        doubts = [UNDETERMINED] if np.isinf(error) else self._doubts(residual, misfit)
        if crowded:
            doubts.append("more events stand out than a snapshot of this size can tell: is it this operator?")
        if visible < self.reader.candidates.shape[1]:
            doubts.append(f"events of typical amplitude older than {visible} steps are hidden by the noise")
        if self.cut:
            doubts.append(
                "too many places and onsets leave like traces to weigh them all: `confidence` is an upper bound"
            )
        return replace(rows, facts=facts, warnings=doubts)

    def _unjudged(self):
        """Rows of a support of so many events that none of them can be told from the others."""
        ring, age, place = self.reader.candidates.where(self.weighed[self.support])
        count = len(self.support)
        error, half = np.full(count, self.noise()), np.full(count, _UNDETERMINED_CONFIDENCE)
        error = error / np.sqrt(self.columns.squares[self.support])
        return Places(ring, age, place, self.amplitudes, error, half, np.ones(count, np.int64))

    def _rows(self, prior):
        """Rows of all events and alternatives, each cluster of correlated events judged with the others held fixed."""
        explanation = Explanation(self._posterior(self.columns, self.snapshot, prior), self.support)
        amplitudes = dict(zip(self.support, self.amplitudes, strict=True))
        rows: dict[int, _Row] = {}
        groups = 0
        for cluster in self.reader.progress(_clusters(explanation), "confidence"):
            others = [j for j in self.support if j not in cluster]
            rest = self.snapshot - self.columns.matrix[:, others] @ np.array([amplitudes[j] for j in others])
            alike = np.flatnonzero((self.columns.correlation(cluster) > RIVAL).any(axis=0))
            near = np.setdiff1d(np.union1d(alike, cluster), others)
            columns = Columns(np.asfortranarray(self.columns.matrix[:, near]), _MOST_PRODUCTS)
            posterior = self._posterior(columns, rest, prior, elsewhere=len(others))
            found = _judged(Explanation(posterior, np.searchsorted(near, cluster).tolist()))
            for j, row in found.items():
                column = int(near[j])
                if column not in rows or (row.chosen, row.confidence) > (rows[column].chosen, rows[column].confidence):
                    rows[column] = replace(row, group=row.group + groups if row.group else 0)
            groups = max((row.group for row in rows.values()), default=0)
        self._fit(sorted(j for j, row in rows.items() if row.chosen), prior)
        refined = dict(zip(self.support, self.amplitudes, strict=True))
        kept = [j for j, row in rows.items() if refined.get(j, row.amplitude) > 0 or not self.reader.positive]
        ring, age, place = self.reader.candidates.where(self.weighed[kept])
        return Places(
            ring,
            age,
            place,
            np.array([refined.get(j, rows[j].amplitude) for j in kept], float),
            np.array([rows[j].error for j in kept], float),
            np.array([rows[j].confidence for j in kept], float),
            np.array([rows[j].group for j in kept], np.int64),
        )

    def _visible(self):
        """Ages up to which an event of typical amplitude stands out from the noise; NaN where there is no event."""
        if not self.support:
            return float("nan")
        least = self.noise() * (self.reader.candidates.extreme + 1) / np.mean(np.abs(self.amplitudes))
        norms = self.reader.candidates.responses.norms
        typical = np.median(norms.reshape(*norms.shape[:2], -1).max(axis=0), axis=1)
        return int(np.flatnonzero(typical > least)[-1]) + 1 if (typical > least).any() else 0

    def _doubts(self, residual, misfit):
        check = "is it this operator and number of steps" + (
            ", and is no amplitude negative?" if self.reader.positive else "?"
        )
        if self.given is not None and residual > 1.2 * max(self.given, self.least):
            return [f"what is left unexplained is {residual:.2g}, the noise given {self.given:.2g}: {check}"]
        if misfit < SIGNIFICANT:
            return [f"what is left unexplained is not noise, its values are correlated (p = {misfit:.0e}): {check}"]
        return []


@dataclass(frozen=True)
class _Row:
    """An event, or what may stand for one."""

    amplitude: float
    error: float
    confidence: float
    group: int  # 0: it is certain
    chosen: bool  # whether it is of the most probable support


def _clusters(explanation) -> list:
    """Supports of events that are correlated with each other and not with those of other clusters."""
    count = len(explanation.support)
    pairs = [(i, k) for i in range(count) for k in correlated(explanation, i)]
    linked = csr_array((np.ones(len(pairs)), tuple(np.transpose(pairs))), shape=(count, count))
    number = connected_components(linked, directed=False)[1]
    support = np.array(explanation.support)
    return [support[number == n].tolist() for n in range(number.max() + 1)]


def _judged(explanation) -> dict:
    """Rows of the best explanation around a given one, and of what may stand for its uncertain events."""
    while (fewer := explanation.without_most_negative()) is not None:
        explanation = Explanation(explanation.posterior, fewer)
    explanation, confidence = converge(explanation, unshown)
    group = groups(explanation, confidence < CERTAIN)
    rows = {
        j: _Row(float(amplitude), float(error), float(sure), int(number), chosen=True)
        for j, amplitude, error, sure, number in zip(
            explanation.support, explanation.amplitudes, explanation.errors, confidence, group, strict=True
        )
    }
    for event in np.flatnonzero(group):
        for j, (probability, support) in alternatives(explanation, int(event), LISTED).items():
            if j not in rows or probability > rows[j].confidence:
                there = Explanation(explanation.posterior, support)
                at = there.support.index(j)
                amplitude, error = float(there.amplitudes[at]), float(there.errors[at])
                rows[j] = _Row(amplitude, error, probability, int(group[event]), chosen=False)
    return rows

"""All events that are possible: every ring, age and place, numbered; what stands out among them, what is like what.

Candidate ((ring · ages + age) · positions) + place is a unit event that entered `ring` at the flat `place`, `age`
steps before the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wavefield.decoding.anywhere.modal import ModalResponses
from wavefield.decoding.anywhere.stepped import SteppedResponses
from wavefield.decoding.inverse.columns import RIVAL

Responses = ModalResponses | SteppedResponses

_FADED = 1e-6  # a response smaller than this, relative to the largest, is not looked for
_WINDOW = 4  # ages to both sides in which rivals of an event are first looked for
_MOST_RIVALS = 60  # of one event
_ALIKE = 0.6  # correlation from which leaving a rival out may change what is claimed
_APART = 3  # cells and steps within which only the largest of several peaks is taken at a time
_RIVALS_AT_ONCE = 2**23  # scalar products, 64 MiB


@dataclass(frozen=True, eq=False)
class Candidates:
    """The events that are possible on a sheet, by the responses they leave."""

    responses: Responses

    @property
    def shape(self) -> tuple:
        """(rings, ages, *positions)."""
        return (self.responses.rings, self.responses.ages, *self.responses.shape)

    @property
    def values(self) -> int:
        """R, the number of values of a snapshot."""
        return self.responses.rings * self.responses.levels * int(np.prod(self.responses.shape))

    @cached_property
    def count(self) -> int:
        """Number of candidates that leave a response."""
        return int(np.broadcast_to(self._inverse_norms > 0, self.shape).sum())

    @cached_property
    def extreme(self) -> float:
        """√(2 log n), about the largest of n standard normal values: what noise alone makes stand out."""
        return float(np.sqrt(2 * np.log(max(self.count, 2))))

    def norms(self, chosen: np.ndarray) -> np.ndarray:
        """Norms of the responses of the chosen, as the responses give them."""
        return np.broadcast_to(self.responses.norms, self.shape)[np.unravel_index(chosen, self.shape)]

    def standing_out(self, residual: np.ndarray) -> np.ndarray:
        """Scalar products of a residual (R,) with all responses over their norms, (rings, ages, *positions).

        White noise of standard deviation σ makes each of them σ times a standard normal value.
        """
        levels = residual.reshape(1, self.responses.rings, self.responses.levels, *self.responses.shape)
        scale = np.abs(residual).max(initial=0) or 1.0
        product = self.responses.correlate((levels / scale).astype(np.float32))[0]
        product *= (self._inverse_norms * scale).astype(np.float32)
        return product

    def columns(self, chosen: np.ndarray) -> np.ndarray:
        """Responses (R, n) of the chosen candidates, a column each."""
        ring, age, place = self.where(chosen)
        return self.responses.columns(ring, age, place).T

    def where(self, chosen: np.ndarray) -> tuple:
        """Ring, age and flat place of the chosen candidates."""
        positions = int(np.prod(self.responses.shape))
        return np.unravel_index(np.asarray(chosen, dtype=np.int64), (*self.shape[:2], positions))

    def peaks(self, values: np.ndarray, above: float, most: int) -> np.ndarray:
        """Candidates whose value is above a threshold, the largest first, only the largest of several close by."""
        flat = values.ravel()
        strong = np.flatnonzero(flat > above)
        strong = strong[np.argsort(-flat[strong], kind="stable")][: 50 * most]
        taken: list[int] = []
        at = np.stack(np.unravel_index(strong, self.shape), axis=1)
        near = np.zeros(strong.size, bool)
        for k in range(strong.size):
            if near[k]:
                continue
            taken.append(int(strong[k]))
            if len(taken) == most:
                break
            near |= (at[:, 0] == at[k, 0]) & (np.abs(at[:, 1:] - at[k, 1:]) <= _APART).all(axis=1)
        return np.array(taken, dtype=np.int64)

    def rivals(self, chosen: np.ndarray, columns: np.ndarray) -> tuple[dict, bool]:
        """Candidates whose response is like that of each of the chosen, whose columns (R, n) are given.

        Returns {candidate: its rivals}, and whether any had more than are kept.
        """
        found, cut = {}, False
        _, ages, _ = self.where(chosen)
        batch = max(1, _RIVALS_AT_ONCE // (self.shape[0] * int(np.prod(self.responses.shape)) * (4 * _WINDOW + 1)))
        order = np.argsort(ages, kind="stable")
        groups = [order[k : k + batch] for k in range(0, order.size, batch)]
        groups = [part for group in groups for part in _split(group, ages[group])]
        for group in groups:
            reach = _WINDOW
            while True:
                first = max(ages[group].min() - reach, 0)
                last = min(ages[group].max() + reach + 1, self.shape[1])
                likeness = self._likeness(columns[:, group], slice(int(first), int(last)))
                edge = [side for side, inside in ((0, first > 0), (-1, last < self.shape[1])) if inside]
                if not edge or (likeness[:, :, edge] <= RIVAL).all():
                    break
                reach *= 2
            for which, like in zip(group, likeness.reshape(group.size, -1), strict=True):
                rivals = np.flatnonzero(like > RIVAL)
                rivals = rivals[np.argsort(-like[rivals], kind="stable")]
                cut |= bool((like[rivals[_MOST_RIVALS:]] > _ALIKE).any())
                rivals = rivals[:_MOST_RIVALS]
                ring, age, place = np.unravel_index(rivals, (self.shape[0], last - first, int(np.prod(self.shape[2:]))))
                found[int(chosen[which])] = np.ravel_multi_index(
                    (ring, age + first, place), (*self.shape[:2], int(np.prod(self.shape[2:])))
                )
        return found, cut

    def _likeness(self, columns, ages):
        """Absolute correlation of columns (R, n) with the candidates of some ages, (n, rings, ages, *positions)."""
        size = np.linalg.norm(columns, axis=0)
        snapshots = (columns / size).T.reshape(-1, self.responses.rings, self.responses.levels, *self.responses.shape)
        product = self.responses.correlate(snapshots.astype(np.float32), ages)
        return np.abs(product) * self._inverse_norms[:, ages]

    @cached_property
    def _inverse_norms(self):
        """1 over each norm, 0 where no response is left to look for."""
        norms = self.responses.norms
        alive = norms > _FADED * norms.max(initial=0)
        return np.where(alive, 1 / np.where(alive, norms, 1.0), 0.0)


def _split(group, ages):
    """Split a group sorted by age where ages are so far apart that a common window would be wide."""
    cuts = np.flatnonzero(np.diff(ages) > 2 * _WINDOW) + 1
    return np.split(group, cuts)

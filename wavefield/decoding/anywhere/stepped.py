"""Responses of any two-way sheet, by stepping: masks, media, absorbing rims, channels that act on each other.

    R_α = S M^α V [− S M^{α−2} V],        c_α = R_αᵀ y = Vᵀ (Mᵀ)^α Sᵀ y [− the same two steps before],

with M one step, V the entry of a unit event into the displacement of one cell and S what of the state is seen: the
scalar products of a snapshot with all places and ages cost as many steps of the adjoint as there are ages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import sparse

_PROBES = 96  # random signs from which norms are estimated, to 7 %
_TOGETHER = 16  # of them stepped at once


@dataclass(frozen=True, eq=False)
class SteppedResponses:
    """What a unit event leaves at every place and age, by stepping.

    Attributes
    ----------
    step : sparse array, shape (S, S)
        One step of the state, ring by ring the displacement and then the level before, 2 · rings · positions values,
        and after them whatever else it holds: the fields of an absorbing rim.
    shape : tuple of int
        Positions along each axis.
    rings, ages : int
    both, pulse : bool
        Whether the level before is seen, and whether an event is taken back two steps later.
    inside : ndarray of bool, shape (*shape)
        Where the sheet is; nothing enters elsewhere.
    """

    step: sparse.csr_array = field(repr=False)
    shape: tuple
    rings: int
    ages: int
    both: bool
    pulse: bool
    inside: np.ndarray = field(repr=False)

    @property
    def levels(self) -> int:
        """Levels that are seen."""
        return 2 if self.both else 1

    def correlate(self, snapshots: np.ndarray, ages: slice | None = None) -> np.ndarray:
        """Scalar products of snapshots (B, rings, levels, *shape) with all responses, (B, rings, ages, *shape)."""
        ages = slice(0, self.ages) if ages is None else ages
        snapshots = np.asarray(snapshots)
        count, positions = len(snapshots), self._positions
        state = np.zeros((self.step.shape[0], count), snapshots.dtype)
        seen = self._in_levels(state)[:, : self.levels]
        seen[:] = np.moveaxis(snapshots.reshape(count, self.rings, self.levels, positions), 0, -1)
        backwards = self._backwards32 if snapshots.dtype == np.float32 else self._backwards
        out = np.empty((count, self.rings, ages.stop - ages.start, *self.shape), snapshots.dtype)
        ago: list[np.ndarray] = []
        for age in range(ages.stop):
            now = np.moveaxis(self._in_levels(state)[:, 0], -1, 0)
            here = now.reshape(count, self.rings, *self.shape) * self.inside
            if age >= ages.start:
                out[:, :, age - ages.start] = here - ago[0] if len(ago) == 2 else here
            if self.pulse:
                ago = [*ago, here][-2:]
            state = backwards @ state
        return out

    @cached_property
    def norms(self) -> np.ndarray:
        """Norm of every response, (rings, ages, *shape), estimated: E (R_αᵀ z)² = |R_α|² for random signs z."""
        rng, positions = np.random.default_rng(0), self._positions
        squares = np.zeros((self.ages, self.rings, positions))
        for _ in range(_PROBES // _TOGETHER):
            state = np.zeros((self.step.shape[0], _TOGETHER), np.float32)
            seen = self._in_levels(state)[:, : self.levels]
            seen[:] = rng.choice(np.array([-1, 1], np.float32), seen.shape)
            ago: list[np.ndarray] = []
            for age in range(self.ages):
                here = self._in_levels(state)[:, 0]
                made = here - ago[0] if len(ago) == 2 else here
                squares[age] += np.einsum("rpk,rpk->rp", made, made)
                if self.pulse:
                    ago = [*ago, here][-2:]
                state = self._backwards32 @ state
        squares = squares.swapaxes(0, 1).reshape(self.rings, self.ages, *self.shape)
        return np.sqrt(squares * self.inside / _PROBES)

    def columns(self, ring: np.ndarray, age: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Responses (n, rings · levels · positions) of events at flat places."""
        positions = self._positions
        entries, which = np.unique(ring * positions + place, return_inverse=True)
        state = np.zeros((self.step.shape[0], entries.size))
        state[(entries // positions) * 2 * positions + entries % positions, np.arange(entries.size)] = 1.0
        out = np.empty((len(place), self.rings, self.levels, positions))
        ago: list[np.ndarray] = []
        for now in range(int(age.max(initial=-1)) + 1):
            made = np.flatnonzero(age == now)
            if made.size:
                response = state[:, which[made]]
                if self.pulse and now >= 2:
                    response = response - ago[0][:, which[made]]
                out[made] = np.moveaxis(self._in_levels(response)[:, : self.levels], -1, 0)
            if self.pulse:
                ago = [*ago, state][-2:]
            state = self.step @ state
        return out.reshape(len(place), self.rings * self.levels * positions)

    def _in_levels(self, state):
        """View of the levels in states (S, n), (rings, 2, positions, n)."""
        levels = 2 * self.rings * self._positions
        return state[:levels].reshape(self.rings, 2, self._positions, -1)

    @property
    def _positions(self):
        return int(np.prod(self.shape))

    @cached_property
    def _backwards(self):
        return sparse.csr_array(self.step.T)

    @cached_property
    def _backwards32(self):
        return self._backwards.astype(np.float32)

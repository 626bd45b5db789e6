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
    step : sparse array, shape (2 · rings · positions,) * 2
        One step of the state, ring by ring the displacement and then the level before.
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
        state = np.zeros((count, self.rings, 2, positions), snapshots.dtype)
        state[:, :, : self.levels] = snapshots.reshape(count, self.rings, self.levels, positions)
        state = np.ascontiguousarray(state.reshape(count, -1).T)
        backwards = self._backwards32 if snapshots.dtype == np.float32 else self._backwards
        out = np.empty((count, self.rings, ages.stop - ages.start, *self.shape), snapshots.dtype)
        ago: list[np.ndarray] = []
        for age in range(ages.stop):
            here = state.T.reshape(count, self.rings, 2, *self.shape)[:, :, 0] * self.inside
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
            state = np.zeros((self.rings, 2, positions, _TOGETHER), np.float32)
            state[:, : self.levels] = rng.choice(np.array([-1, 1], np.float32), state[:, : self.levels].shape)
            ago: list[np.ndarray] = []
            for age in range(self.ages):
                here = state[:, 0]
                made = here - ago[0] if len(ago) == 2 else here
                squares[age] += np.einsum("rpk,rpk->rp", made, made)
                if self.pulse:
                    ago = [*ago, here][-2:]
                state = (self._backwards32 @ state.reshape(-1, _TOGETHER)).reshape(state.shape)
        squares = squares.swapaxes(0, 1).reshape(self.rings, self.ages, *self.shape)
        return np.sqrt(squares * self.inside / _PROBES)

    def columns(self, ring: np.ndarray, age: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Responses (n, rings · levels · positions) of events at flat places."""
        positions, width = self._positions, 2 * self.rings * self._positions
        entries, which = np.unique(ring * positions + place, return_inverse=True)
        state = np.zeros((width, entries.size))
        state[(entries // positions) * 2 * positions + entries % positions, np.arange(entries.size)] = 1.0
        out = np.empty((len(place), self.rings, self.levels, positions))
        ago: list[np.ndarray] = []
        for now in range(int(age.max(initial=-1)) + 1):
            made = np.flatnonzero(age == now)
            if made.size:
                response = state[:, which[made]]
                if self.pulse and now >= 2:
                    response = response - ago[0][:, which[made]]
                out[made] = response.T.reshape(made.size, self.rings, 2, positions)[:, :, : self.levels]
            if self.pulse:
                ago = [*ago, state][-2:]
            state = self.step @ state
        return out.reshape(len(place), self.rings * self.levels * positions)

    @property
    def _positions(self):
        return int(np.prod(self.shape))

    @cached_property
    def _backwards(self):
        return sparse.csr_array(self.step.T)

    @cached_property
    def _backwards32(self):
        return self._backwards.astype(np.float32)

"""Fields that only shift: which operators move every input by complete cells, and where its trace then stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Shifts:
    """A field of rings that only shift, and where inputs enter them."""

    size: int
    ring: bool  # whether positions count modulo N
    velocity: np.ndarray  # cells per step of each ring, (rings,)
    gain: np.ndarray  # per step, (rings,)
    entries: tuple  # of arrays (E,): input, ring, position, weight
    inputs: int

    @property
    def period(self) -> np.ndarray:
        """Steps after which an input stands where it entered, of each ring; 0 where it leaves and never returns."""
        turn = self.size // np.gcd(self.size, np.abs(self.velocity)) if self.ring else np.zeros_like(self.velocity)
        return np.where(self.velocity == 0, 1, turn)

    def cells(self, ages: int):
        """Cells (E, ages) where each entry stands at each age, and whether it does (inside, not yet come round)."""
        _, ring, position, _ = self.entries
        place = position[:, None] + self.velocity[ring][:, None] * np.arange(ages)
        there = np.ones(place.shape, bool)
        if not self.ring:
            there = (place >= 0) & (place < self.size)
            place[~there] = 0
        elif np.abs(self.velocity).max() * ages <= self.size:  # once round at most
            place[place >= self.size] -= self.size
            place[place < 0] += self.size
        else:
            place %= self.size
        period = self.period[ring]
        if ((period > 0) & (period < ages)).any():
            there &= np.arange(ages) < np.where(period > 0, period, ages)[:, None]
        place += (ring * self.size)[:, None]
        return place, there


def shifts_of(op, encoder: np.ndarray) -> Shifts | None:
    """Return the shifting rings of a one-level operator; None if it does anything but shift."""
    if op.dims != 1 or op.levels != 1 or op.profile is not None or op.boundary_row is not None or not op.diagonal:
        return None
    taps, half = op.taps, op.kernel.shape[2] // 2
    at = np.abs(taps).argmax(axis=1)
    gain = taps[np.arange(op.rings), at]
    rest = np.abs(taps).sum(axis=1) - np.abs(gain)
    velocity = half - at
    reflected = op.boundary == "fixed" and (np.abs(velocity) > 1).any()
    if (rest > 4 * np.finfo(float).eps * np.abs(gain)).any() or (gain == 0).any() or reflected:
        return None
    return Shifts(encoder.shape[1], op.boundary == "periodic", velocity, gain, _entries(encoder), encoder.shape[2])


def two_way_shifts_of(op, encoder: np.ndarray) -> Shifts | None:
    """Return the two shifting fields, q and w, of a two-way ring at Courant number 1; None for any other operator."""
    if op.dims != 1 or op.levels != 2 or op.boundary != "periodic" or op.profile is not None or op.taps.shape[1] < 3:
        return None
    taps = op.taps
    middle = taps.shape[1] // 2
    pure = np.eye(taps.shape[1])[[middle - 1, middle + 1]].sum(axis=0)
    if (np.abs(taps - pure) > 4 * np.finfo(float).eps).any() or (op.previous_weight != 1).any():
        return None
    velocity = np.repeat([-1, 1], op.rings)
    number, ring, position, weight = (np.repeat(values, 2) for values in _entries(encoder))
    ring = ring + op.rings * (np.arange(ring.size) % 2)
    entries = number, ring, position, weight
    return Shifts(encoder.shape[1], True, velocity, np.ones(2 * op.rings), entries, encoder.shape[2])


def _entries(encoder):
    """Where inputs enter, sorted by input: arrays (E,) of input, ring, position, weight."""
    at = np.flatnonzero((encoder != 0).ravel())
    ring, position, number = np.unravel_index(at, encoder.shape)
    order = np.argsort(number, kind="stable")
    return number[order], ring[order], position[order], encoder.ravel()[at[order]]

"""Exact decoding where the field only shifts: each cell is the trace of one input at one onset.

A one-way field at Courant number ±1 moves by whole cells, so that an input of age a at position p stands, whole, in
the cell p ± a. A two-way field on a ring at Courant number 1 without damping is two such fields: with both levels,

    q_n[t] = h_n[t] − h_{n−1}[t−1],      q_n[t+1] = q_{n+1}[t] + V e[t]      (moves to lower positions)
    w_n[t] = h_n[t] − h_{n+1}[t−1],      w_n[t+1] = w_{n−1}[t] + V e[t]      (moves to higher positions)

and a pulse, e[t] = x[t] − x[t−2], is summed up again. No matrix is made: positions are computed, values looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wavefield.decoding.events import Events
from wavefield.decoding.noise import event_probability, separable_noise


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
    if op.levels != 1 or op.profile is not None or op.boundary_row is not None or not op.diagonal:
        return None
    taps, half = op.taps, op.kernel.shape[2] // 2
    at = np.abs(taps).argmax(axis=1)
    gain = taps[np.arange(op.rings), at]
    rest = np.abs(taps).sum(axis=1) - np.abs(gain)
    velocity = half - at
    reflected = op.boundary in ("fixed", "free") and (np.abs(velocity) > 1).any()
    if (rest > 4 * np.finfo(float).eps * np.abs(gain)).any() or (gain == 0).any() or reflected:
        return None
    return Shifts(encoder.shape[1], op.boundary == "periodic", velocity, gain, _entries(encoder), encoder.shape[2])


def two_way_shifts_of(op, encoder: np.ndarray) -> Shifts | None:
    """Return the two shifting fields, q and w, of a two-way ring at Courant number 1; None for any other operator."""
    if op.levels != 2 or op.boundary != "periodic" or op.profile is not None or op.taps.shape[1] < 3:
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


def read_one_way(shifts: Shifts, field: np.ndarray, steps: int, horizon: int, noise, quiet: float) -> Events | None:
    """Read the events of the last `horizon` steps from a field (rings, N); None if some input enters several cells."""
    number, ring, _, weight = shifts.entries
    if np.unique(number).size < number.size:
        return None
    ages = _ages(shifts, steps)
    cells, there = shifts.cells(ages)
    flat = field.ravel()
    reached = np.zeros(flat.size, bool)
    reached[cells[there]] = True
    unreached = flat[~reached]
    values = flat[cells]
    level, warnings = _noise_level(unreached, flat[reached], quiet) if noise is None else (noise, [])
    if level:
        beside = unreached if noise is None else None
        probability, noise = _probable(values, _left(shifts, np.arange(ages)), there, level, beside)
    else:
        probability, noise = (np.abs(values) > quiet) & there, 0.0
    age, i = np.nonzero(np.ascontiguousarray(probability.T[:horizon][::-1]))  # by onset, as they are listed
    age = min(ages, horizon) - 1 - age
    cell, traces = cells[i, age], np.ones(i.size, np.int64)
    if reached.sum() < there.sum():  # some cells are those of several inputs
        traces = np.bincount(cells[there], minlength=flat.size)[cell]
    period = np.zeros(i.size, np.int64)
    if steps > shifts.period[ring].min():
        turn = shifts.period[ring[i]]
        period = np.where((turn > 0) & (age + turn < steps), turn, 0)
    left = weight[i] if (shifts.gain == 1).all() else weight[i] * shifts.gain[ring[i]] ** age
    older = np.unique(cells[:, horizon:][probability[:, horizon:] > 0]).size
    loose = int((np.abs(unreached) > max(quiet, 6 * level)).sum())
    extremes = np.abs(_left(shifts, np.array([0, ages - 1])))
    return Events(
        onset=steps - 1 - age,
        input=number[i],
        amplitude=values[i, age] / left,
        error=noise / np.abs(left),
        confidence=probability[i, age] / traces,
        period=period,
        ambiguous=_groups(cell, (traces > 1) | (period > 0)),
        facts={
            "method": "exact",
            "noise": noise,
            "residual": _rms(unreached),
            "horizon": min(ages, horizon),
            "columns": int(there.sum()),
            "rank": int(reached.sum()),
            "conditioning": float(extremes.max() / extremes.min()) if reached.sum() == there.sum() else float("inf"),
        },
        warnings=warnings + _remarks(older, horizon, loose),
    )


def _left(shifts, ages):
    """What is left of one unit of each entry at the given ages, (E, ages)."""
    _, ring, _, weight = shifts.entries
    return weight[:, None] * shifts.gain[ring][:, None] ** ages


def _remarks(older, horizon, loose):
    remarks = []
    if older:
        remarks.append(f"{older} cells hold events older than the horizon of {horizon} steps; they are not listed")
    if loose:
        remarks.append(f"{loose} cells hold what no input can have left there: is it this operator and encoder?")
    return remarks


def read_two_way(
    shifts: Shifts, now: np.ndarray, before: np.ndarray, steps: int, horizon: int, pulse: bool, noise, quiet: float
) -> Events | None:
    """Read the events from both levels (rings, N) of a two-way field.

    None if some input hides another, if more steps have passed than the ring holds, or if there is noise: summing
    up the pulses would add its steps up as well, which the inverse problem does not.
    """
    if noise or steps > shifts.size:
        return None
    entering, told = _entering(shifts, _one_way_fields(now, before), steps)
    level = quiet * max(1.0, np.sqrt(steps))  # rounding adds up along the sum over pulses
    if entering is None or max(told.max(initial=0), -told.min(initial=0)) > 4 * level:
        return None
    drive = entering[:, ::-1].T.copy()  # (steps, inputs)
    if pulse:
        for parity in (0, 1):
            np.cumsum(drive[parity::2], axis=0, out=drive[parity::2])
    onset, i = np.nonzero(np.abs(drive[steps - horizon :]) > level)
    onset += steps - horizon
    older = int((np.abs(drive[: steps - horizon]) > level).sum())
    none = np.zeros(i.size, np.int64)
    return Events(
        onset=onset,
        input=i,
        amplitude=drive[onset, i],
        error=np.zeros(i.size),
        confidence=np.ones(i.size),
        period=none,
        ambiguous=none,
        facts={
            "method": "exact",
            "noise": 0.0,
            "residual": _rms(told),
            "horizon": horizon,
            "columns": steps * shifts.inputs,
            "rank": steps * shifts.inputs,
        },
        warnings=[f"{older} events older than the horizon of {horizon} steps are not listed"] if older else [],
    )


def _one_way_fields(now, before):
    """The fields q and w of a two-way ring, (2·rings, N)."""
    rings = len(now)
    fields = np.empty((2 * rings, now.shape[1]))
    np.subtract(now[:, 1:], before[:, :-1], out=fields[:rings, 1:])
    np.subtract(now[:, 0], before[:, -1], out=fields[:rings, 0])
    np.subtract(now[:, :-1], before[:, 1:], out=fields[rings:, :-1])
    np.subtract(now[:, -1], before[:, 0], out=fields[rings:, -1])
    return fields


def _entering(shifts, field, steps):
    """What entered at each age, (inputs, steps), from all traces of it; and what of the field that leaves unexplained.

    None if some input has no trace of its own at some age.
    """
    number, _, _, weight = shifts.entries
    cells, _ = shifts.cells(steps)
    flat = field.ravel()
    of_each = np.bincount(number, minlength=shifts.inputs)
    if of_each.min() == 0:
        return None, None  # an input that enters nowhere
    values = flat[cells]
    reached = np.zeros(flat.size, bool)
    reached[cells] = True
    if reached.sum() == cells.size and of_each.min() == of_each.max():  # no trace lies on another
        values, weight = values.reshape(shifts.inputs, -1, steps), weight.reshape(shifts.inputs, -1)
        entering = np.einsum("ie,iea->ia", weight / (weight**2).sum(axis=1, keepdims=True), values)
        values -= weight[:, :, None] * entering[:, None, :]
        return entering, np.append(values.ravel(), flat[~reached])
    own = np.bincount(cells.ravel(), minlength=flat.size)[cells] == 1
    start = np.searchsorted(number, np.arange(shifts.inputs))
    power = np.add.reduceat(own * (weight**2)[:, None], start)
    if (power == 0).any():
        return None, None
    entering = np.add.reduceat(own * weight[:, None] * values, start) / power
    return entering, np.bincount(cells.ravel(), (weight[:, None] * entering[number]).ravel(), flat.size) - flat


def _entries(encoder):
    """Where inputs enter, sorted by input: arrays (E,) of input, ring, position, weight."""
    at = np.flatnonzero((encoder != 0).ravel())
    ring, position, number = np.unravel_index(at, encoder.shape)
    order = np.argsort(number, kind="stable")
    return number[order], ring[order], position[order], encoder.ravel()[at[order]]


def _ages(shifts, steps):
    """Ages that can be told apart: up to a turn of the ring, or to the end of the line."""
    speed = np.abs(shifts.velocity)
    reach = np.where(shifts.period > 0, shifts.period, -(-shifts.size // np.maximum(speed, 1)))
    return int(min(steps, reach.max()))


def _noise_level(unreached, reached, quiet):
    """Return the noise as it shows where no event can be, or else where most values are small; and warnings."""
    if unreached.size >= 8:
        level = float(np.median(np.abs(unreached)) / 0.6745)
        return (level if level > quiet else 0.0), []
    if reached.size < 16 or (np.abs(reached) > quiet).mean() < 0.5:
        return 0.0, []
    level = separable_noise(reached)
    if level > quiet:
        return level, []
    return 0.0, ["every cell is taken: noise, if there is any, cannot be told from events; give `noise`"]


def _probable(values, left, there, noise, beside):
    """Probability that each trace is one of an event, zero where it is more likely none; and the noise."""
    probability, noise = event_probability(values[there], left[there], noise, beside=beside)
    certain = np.zeros(there.shape)
    certain[there] = np.where(probability > 0.5, probability, 0)
    return certain, noise


def _groups(cell, ambiguous):
    """Number the ambiguous rows from 1, those of one cell alike; 0 for the others."""
    numbers = np.zeros(cell.size, np.int64)
    if ambiguous.any():
        numbers[ambiguous] = np.unique(cell[ambiguous], return_inverse=True)[1] + 1
    return numbers


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0

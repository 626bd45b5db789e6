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

from wavefield._events import Events
from wavefield._mixture import event_probability, separable_noise


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
        if self.ring:
            place %= self.size
            there = np.ones(place.shape, bool)
        else:
            there = (place >= 0) & (place < self.size)
        period = self.period[ring]
        if (period > 0).any():
            there &= np.arange(ages) < np.where(period > 0, period, ages)[:, None]
        return ring[:, None] * self.size + np.where(there, place, 0), there


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
    if op.levels != 2 or op.boundary != "periodic" or op.profile is not None:
        return None
    taps = op.taps
    middle = taps.shape[1] // 2
    pure = np.eye(taps.shape[1])[[middle - 1, middle + 1]].sum(axis=0)
    if (np.abs(taps - pure) > 4 * np.finfo(float).eps).any() or (op.memory != 1).any():
        return None
    one_way = np.repeat([-1, 1], op.rings)
    doubled = np.concatenate([encoder, encoder])
    return Shifts(encoder.shape[1], True, one_way, np.ones(2 * op.rings), _entries(doubled), encoder.shape[2])


def read_one_way(shifts: Shifts, field: np.ndarray, steps: int, horizon: int, noise, quiet: float) -> Events | None:
    """Read the events of the last `horizon` steps from a field (rings, N); None if some input enters several cells."""
    number, ring, _, weight = shifts.entries
    if np.unique(number).size < number.size:
        return None
    ages = _ages(shifts, steps)
    cells, there = shifts.cells(ages)
    flat = field.ravel()
    factor = weight[:, None] * shifts.gain[ring][:, None] ** np.arange(ages)  # what is left of 1 at each age
    traces = np.bincount(cells[there], minlength=flat.size)
    unreached = flat[traces == 0]
    noise, warnings = _noise_level(noise, unreached, flat[cells[there]], quiet)
    probability = np.zeros(cells.shape)
    probability[there] = _event_or_noise(flat[cells[there]] / factor[there], np.abs(factor[there]), noise, quiet)
    older = np.unique(cells[:, horizon:][probability[:, horizon:] > 0]).size
    if older:
        warnings.append(f"{older} cells hold events older than the horizon of {horizon} steps; they are not listed")
    loose = int((np.abs(unreached) > max(quiet, 6 * noise)).sum())
    if loose:
        warnings.append(f"{loose} cells hold what no input can have left there: is it this operator and encoder?")
    i, age = np.nonzero(probability[:, :horizon])
    cell, turn = cells[i, age], shifts.period[ring[i]]
    rivals = traces[cell]
    again = (turn > 0) & (age + turn < steps)
    return Events(
        onset=steps - 1 - age,
        input=number[i],
        amplitude=flat[cell] / factor[i, age],
        error=noise / np.abs(factor[i, age]),
        confidence=probability[i, age] / rivals,
        period=np.where(again, turn, 0),
        ambiguous=_groups(cell, (rivals > 1) | again),
        facts={"noise": noise, "residual": _rms(unreached)},
        warnings=warnings,
    )


def read_two_way(
    shifts: Shifts, now: np.ndarray, before: np.ndarray, steps: int, horizon: int, pulse: bool, noise, quiet: float
) -> Events | None:
    """Read the events from both levels (rings, N) of a two-way field.

    None if some input hides another, if more steps have passed than the ring holds, or if there is noise: summing
    up the pulses would add its steps up as well, which the inverse problem does not.
    """
    if noise or steps > shifts.size:
        return None
    field = np.concatenate([now - np.roll(before, 1, axis=1), now - np.roll(before, -1, axis=1)])
    cells, there = shifts.cells(steps)
    number, _, _, weight = shifts.entries
    values, traces = field.ravel()[cells], np.bincount(cells[there], minlength=field.size)
    factor = np.broadcast_to(weight[:, None], values.shape)
    entering = _own_traces(shifts, values, factor, there & (traces[cells] == 1))
    if entering is None:
        return None
    told = np.abs(np.bincount(cells.ravel(), (factor * entering[number]).ravel(), field.size) - field.ravel())
    if told.max(initial=0) > 4 * quiet * max(1.0, np.sqrt(steps)):
        return None
    entering = entering[:, ::-1]  # by onset
    if pulse:
        for parity in (0, 1):
            entering[:, parity::2] = np.cumsum(entering[:, parity::2], axis=1)
    level = quiet * max(1.0, np.sqrt(steps))
    i, onset = np.nonzero(np.abs(entering) > level)
    recent = onset >= steps - horizon
    warnings = []
    if not recent.all():
        warnings.append(f"{(~recent).sum()} events older than the horizon of {horizon} steps were left out")
        i, onset = i[recent], onset[recent]
    zeros = np.zeros(i.size)
    return Events(
        onset, i, entering[i, onset], zeros, zeros + 1, zeros.astype(np.int64), zeros.astype(np.int64),
        facts={"noise": 0.0, "residual": _rms(told)}, warnings=warnings,
    )  # fmt: skip


def _entries(encoder):
    """Where inputs enter, sorted by input: arrays (E,) of input, ring, position, weight."""
    number, ring, position = np.nonzero(encoder.transpose(2, 0, 1))
    return number, ring, position, encoder[ring, position, number]


def _ages(shifts, steps):
    """Ages that can be told apart: up to a turn of the ring, or to the end of the line."""
    speed = np.abs(shifts.velocity)
    reach = np.where(shifts.period > 0, shifts.period, -(-shifts.size // np.maximum(speed, 1)))
    return int(min(steps, reach.max()))


def _own_traces(shifts, values, factor, own):
    """Average over the traces of each input at each age that no other shares, (inputs, ages); None if one has none."""
    start = np.searchsorted(shifts.entries[0], np.arange(shifts.inputs))
    if (np.diff(np.append(start, len(values))) == 0).any():
        return None
    power = np.add.reduceat(np.where(own, factor**2, 0), start, axis=0)
    return None if (power == 0).any() else np.add.reduceat(np.where(own, factor * values, 0), start, axis=0) / power


def _noise_level(noise, unreached, reached, quiet):
    """Return the noise as given, or as it shows where no event can be, or where most values are small; and warnings."""
    if noise is not None:
        return float(noise), []
    if unreached.size >= 8:
        level = np.median(np.abs(unreached)) / 0.6745
        return (float(level) if level > quiet else 0.0), []
    if reached.size < 16 or (np.abs(reached) > quiet).mean() < 0.5:
        return 0.0, []
    level = separable_noise(reached)
    if level > quiet:
        return level, []
    return 0.0, ["every cell is taken: noise, if there is any, cannot be told from events; give `noise`"]


def _event_or_noise(amplitude, weight, noise, quiet):
    """Probability that each amplitude is an event, zero where it is more likely none."""
    if not noise:
        return (np.abs(amplitude) * weight > quiet).astype(float)
    probability = event_probability(amplitude, noise / weight)
    return np.where(probability > 0.5, probability, 0)


def _groups(cell, ambiguous):
    """Number the ambiguous rows from 1, those of one cell alike; 0 for the others."""
    numbers = np.zeros(cell.size, np.int64)
    numbers[ambiguous] = np.unique(cell[ambiguous], return_inverse=True)[1] + 1
    return numbers


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0

"""Exact decoding where the field only shifts: each cell is the trace of one input at one onset.

A one-way field at Courant number ±1 moves by complete cells, so that an input of age a at position p stands, unchanged,
in the cell p ± a. A two-way field on a ring at Courant number 1 without damping is two such fields: with both levels,

    q_n[t] = h_n[t] − h_{n−1}[t−1],      q_n[t+1] = q_{n+1}[t] + V e[t]      (moves to lower positions)
    w_n[t] = h_n[t] − h_{n+1}[t−1],      w_n[t+1] = w_{n−1}[t] + V e[t]      (moves to higher positions)

and a pulse, e[t] = x[t] − x[t−2], is summed up again. No matrix is made: positions are computed, values looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc

from wavefield.decoding.events import Events, not_listed, silent_inputs
from wavefield.decoding.noise import UNDETERMINED, Cells, judge
from wavefield.decoding.request import Request
from wavefield.decoding.shifts import Shifts, shifts_of, two_way_shifts_of
from wavefield.decoding.sparse.misfit import portmanteau


def exact_reader(request: Request) -> OneWayReader | TwoWayReader | None:
    """Return what reads events from the cells of a field that only shifts; None for any other field."""
    shifts = shifts_of(request.operator, request.encoder)
    if shifts is not None:
        if (np.abs(shifts.gain) > 1).any():
            raise ValueError(f"operator grows: its gain per step is {np.abs(shifts.gain).max():g}, above 1")
        return OneWayReader(shifts, request.steps, request.horizon, request.precision, request.nonnegative)
    shifts = two_way_shifts_of(request.operator, request.encoder) if request.both else None
    if shifts is not None:
        return TwoWayReader(
            shifts, request.steps, request.horizon, request.precision, request.nonnegative, request.pulse
        )
    return None


@dataclass(frozen=True)
class OneWayReader:
    """Reads the events of the last `horizon` steps from one level of rings that shift."""

    shifts: Shifts
    steps: int
    horizon: int
    precision: float
    positive: bool

    def read(self, now: np.ndarray, before, noise: float | None) -> Events | None:
        """Return the events of a field `now` (rings, N); None if some input enters several cells."""
        shifts, steps, horizon = self.shifts, self.steps, self.horizon
        number, ring, _, weight = shifts.entries
        if np.unique(number).size < number.size:
            return None
        quiet = self.precision * np.abs(now).max()
        ages = _ages(shifts, steps)
        cells, there = shifts.cells(ages)
        flat = now.ravel()
        reached = np.zeros(flat.size, bool)
        reached[cells[there]] = True
        unreached = flat[~reached]
        values = flat[cells]
        probability, noise, noise_error, excluded = self._probability(cells, there, flat, unreached, noise)
        age, i = np.nonzero(np.ascontiguousarray(probability.T[:horizon][::-1]))  # by onset, as they are listed
        age = min(ages, horizon) - 1 - age
        cell, traces = cells[i, age], np.ones(i.size, np.int64)
        if reached.sum() < there.sum():  # some cells are those of several inputs
            traces = np.bincount(cells[probability > 0], minlength=flat.size)[cell]
        period = self._periods(ring[i], age)
        remaining = weight[i] if (shifts.gain == 1).all() else weight[i] * shifts.gain[ring[i]] ** age
        older = np.unique(cells[:, horizon:][probability[:, horizon:] > 0]).size
        foreign = int((np.abs(unreached) > max(quiet, 6 * noise)).sum())
        warnings = silent_inputs(number, shifts.inputs)
        if np.isinf(noise_error):
            warnings.append(UNDETERMINED)
        if excluded.size:
            warnings.append(not_listed(excluded.size, "cells hold"))
        return Events(
            onset=steps - 1 - age,
            input=number[i],
            amplitude=values[i, age] / remaining,
            error=noise / np.abs(remaining),
            confidence=probability[i, age] / traces,
            period=period,
            ambiguous=_groups(cell, (traces > 1) | (period > 0)),
            facts={
                "method": "exact",
                "noise": noise,
                "noise_error": noise_error,
                "residual": _rms(np.append(unreached, excluded)),
                "misfit": self._misfit(flat, cells[probability > 0], noise),
                "horizon": min(ages, horizon),
                "columns": int(there.sum()),
                "rank": int(reached.sum()),
                "conditioning": self._conditioning(ages, reached.sum() == there.sum()),
            },
            warnings=warnings + _remarks(older, horizon, foreign),
        )

    def _probability(self, cells, there, flat, unreached, noise):
        """Probability (E, ages) that each trace is one of an event, zero where more likely not; noise and its error.

        Last come the values of cells whose amplitude is negative although it may not be.
        """
        remaining = _remaining(self.shifts, np.arange(cells.shape[1]))
        allowed = flat[cells] * remaining > 0 if self.positive else np.ones(there.shape, bool)
        reached, at = np.unique(cells[there], return_inverse=True)
        quiet = self.precision * np.abs(flat).max()
        if noise is None and _noiseless(flat, unreached, quiet):
            noise = 0.0
        if noise is not None and noise <= quiet:
            certain, noise, noise_error = (np.abs(flat[reached]) > quiet).astype(float), 0.0, 0.0
        else:
            weights, ways = np.zeros(reached.size), np.bincount(at)
            for traces in (there & ~allowed, there & allowed):  # of several traces in a cell one that may be there
                weights[at[traces[there]]] = remaining[traces]
            found = judge(Cells(flat[reached], weights, ways, unreached), noise, self.positive)
            certain, noise, noise_error = found.probability, found.noise, found.noise_error
        likely = certain > 0.5
        probability = np.zeros(there.shape)
        probability[there] = np.where(likely, certain, 0)[at] * allowed[there]
        excluded = np.setdiff1d(reached[likely], cells[probability > 0])
        return probability, noise, noise_error, flat[excluded]

    def _misfit(self, flat, explained, noise):
        """Return p of what is no event as white noise; NaN without noise."""
        if noise == 0:
            return float("nan")
        left = flat.copy()
        left[explained] = 0
        return portmanteau(left.reshape(-1, self.shifts.size))

    def _periods(self, ring, age):
        """Steps modulo which each onset is known, 0 where it is known."""
        turn = self.shifts.period[ring]
        return np.where((turn > 0) & (age + turn < self.steps), turn, 0)

    def _conditioning(self, ages, distinguishable):
        if not distinguishable:
            return float("inf")
        extremes = np.abs(_remaining(self.shifts, np.array([0, ages - 1])))
        return float(extremes.max() / extremes.min())


def _noiseless(values, unreached, quiet):
    """Whether the cells that should be empty are; noise in coarse steps leaves a third of them at zero at most."""
    if unreached.size >= 4:
        return bdtrc((np.abs(unreached) <= quiet).sum() - 1, unreached.size, 1 / 3) < 0.02
    return values.size < 8 or (np.abs(values) <= quiet).mean() > 1 / 3


def _remaining(shifts, ages):
    """What remains of one unit of each entry at the given ages, (E, ages)."""
    _, ring, _, weight = shifts.entries
    return weight[:, None] * shifts.gain[ring][:, None] ** ages


def _remarks(older, horizon, foreign):
    remarks = []
    if older:
        remarks.append(f"{older} cells hold events older than the horizon of {horizon} steps; they are not listed")
    if foreign:
        remarks.append(f"{foreign} cells hold what no input can have left there: is it this operator and encoder?")
    return remarks


@dataclass(frozen=True)
class TwoWayReader:
    """Reads the events from both levels of two-way rings at Courant number 1."""

    shifts: Shifts
    steps: int
    horizon: int
    precision: float
    positive: bool
    pulse: bool

    def read(self, now: np.ndarray, before: np.ndarray, noise: float | None) -> Events | None:
        """Return the events of two levels (rings, N).

        None if some input hides another, if more steps have passed than the ring holds, or if there is noise: summing
        up the pulses would add its steps up as well, which the inverse problem does not.
        """
        steps, horizon = self.steps, self.horizon
        if noise or steps > self.shifts.size:
            return None
        quiet = self.precision * max(np.abs(now).max(), np.abs(before).max())
        entering, unexplained = _entering(self.shifts, _one_way_fields(now, before), steps)
        level = quiet * max(1.0, np.sqrt(steps))  # rounding adds up along the sum over pulses
        if entering is None or max(unexplained.max(initial=0), -unexplained.min(initial=0)) > 4 * level:
            return None
        drive = entering[:, ::-1].T.copy()  # (steps, inputs)
        if self.pulse:
            for parity in (0, 1):
                np.cumsum(drive[parity::2], axis=0, out=drive[parity::2])
        events = drive > level if self.positive else np.abs(drive) > level
        onset, i = np.nonzero(events[steps - horizon :])
        onset += steps - horizon
        older = int(events[: steps - horizon].sum())
        excluded = drive[drive < -level] if self.positive else drive[:0]
        warnings = [f"{older} events older than the horizon of {horizon} steps are not listed"] if older else []
        if excluded.size:
            warnings.append(not_listed(excluded.size, "events have"))
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
                "noise_error": 0.0,
                "residual": _rms(np.append(unexplained, excluded)),
                "horizon": horizon,
                "columns": steps * self.shifts.inputs,
                "rank": steps * self.shifts.inputs,
            },
            warnings=warnings,
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


def _ages(shifts, steps):
    """Ages that leave traces of their own: up to a turn of the ring, or to the end of the line."""
    speed = np.abs(shifts.velocity)
    reach = np.where(shifts.period > 0, shifts.period, -(-shifts.size // np.maximum(speed, 1)))
    return int(min(steps, reach.max()))


def _groups(cell, ambiguous):
    """Number the ambiguous rows from 1, those of one cell alike; 0 for the others."""
    numbers = np.zeros(cell.size, np.int64)
    if ambiguous.any():
        numbers[ambiguous] = np.unique(cell[ambiguous], return_inverse=True)[1] + 1
    return numbers


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0

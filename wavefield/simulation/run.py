"""Running a simulation that has been prepared: block by block in memory or to a file, or at once by a jump."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from wavefield.loops.choose import stepper
from wavefield.operators.power import advance_modes, can_jump, from_modes, to_modes
from wavefield.progress import Progress
from wavefield.recordings.recording import open_recording, recording
from wavefield.recordings.schema import regular_times, space_dims
from wavefield.recordings.writer import RecordingWriter, partial_path
from wavefield.simulation.inputs import Inputs
from wavefield.simulation.law import Law

_STEPS_PER_JUMP = 600  # what a jump costs, in steps of the loop (python -m wavefield bench)
_BLOCK_UPDATES = 200_000_000  # cell updates between two checks of the field: a fraction of a second
_BLOCK_BYTES = 64_000_000  # of states handed to the file at a time


class DivergenceError(ArithmeticError):
    """The field grew beyond the range of its numbers, first at `step`; `recording` holds what came before."""

    def __init__(self, step: int, recording: xr.Dataset | None):
        super().__init__(
            f"the field stopped being finite at step {step}; what was computed before is in this error's `recording`"
        )
        self.step, self.recording = step, recording


class _Diverged(Exception):
    def __init__(self, step):
        super().__init__(step)
        self.step = step


@dataclass(frozen=True)
class Run:
    """A simulation whose arguments have been checked and brought to their usual form."""

    law: Law  # with as many rings as its encoder
    inputs: Inputs
    start: tuple[np.ndarray, ...]  # levels (now,) or (now, before), each (B, rings, N) or (B, rings, Ny, Nx)
    save_every: int | None
    save_initial: bool
    first_step: int  # steps made before this run
    from_rest: bool  # whether all there is in the field came in as inputs, under this law
    trials: int | None
    units: dict = field(default_factory=dict)  # by variable or coordinate, as `recording` takes them

    @property
    def shape(self) -> tuple[int, ...]:
        """Positions along each axis."""
        return self.start[0].shape[2:]

    @property
    def every(self) -> int:
        """Steps from one stored state to the next."""
        return self.inputs.steps if self.save_every is None else self.save_every

    @property
    def saves(self) -> int:
        """States that are stored, the initial one not counted."""
        return self.inputs.steps // self.every if self.every else 0

    @property
    def last_step(self) -> int:
        """Steps up to the last stored state; those beyond it are not made."""
        return self.saves * self.every

    def block(self, start: int, stop: int) -> np.ndarray | None:
        """What enters in steps start…stop−1, (B, steps, inputs)."""
        drive = self.inputs.block(start, stop, pulse=self.law.pulse, dtype=self.start[0].dtype)
        if drive is None or len(drive) == len(self.start[0]):
            return drive
        return np.ascontiguousarray(np.broadcast_to(drive, (len(self.start[0]), *drive.shape[1:])))

    def describe(self, states: np.ndarray, levels: tuple, first: int = 1) -> xr.Dataset:
        """Return the recording of states (S, B, rings, N), the first of them after `first` · every steps."""
        inputs, dt = self.inputs, self.law.operator.dt
        stored = self.first_step + self.every * (first + np.arange(len(states)))
        time_units = self.units.get("time", "1")
        coords = {"time": regular_times(stored, dt, time_units)}
        if inputs.values is not None:
            coords["step"] = regular_times(self.first_step + np.arange(inputs.steps), dt, time_units)
        return recording(
            self._by_trial(np.moveaxis(states, 0, 1)),
            dims=("trial",) * (self.trials is not None) + ("time", "channel", *space_dims(self.law.operator.dims)),
            coords=coords,
            units=self._units(len(levels)),
            drive=self._drive(),
            earlier_drive=self._by_trial(inputs.earlier) if self.law.pulse and inputs.earlier is not None else None,
            previous=self._by_trial(levels[1]) if len(levels) > 1 else None,
            rim_fields=self._rim_fields(levels),
            size=states.shape[-1] if states.ndim == 4 else list(states.shape[-2:]),
            steps=self.last_step,
            first_step=self.first_step,
            start="rest" if self.from_rest else "state",
            **self.law.described(),
        )

    def _drive(self):
        """The inputs of every trial; those that are read from a file stay there."""
        if self.inputs.values is None or not self.inputs.lazy:
            return None if self.inputs.values is None else self._by_trial(self.inputs.values)
        rows = self._by_trial(self.inputs.values)
        return xr.DataArray(rows, dims=("trial", "step", "input")[-rows.ndim :])

    def _units(self, levels):
        """Units of all that a recording of this run holds."""
        units, op = dict(self.units), self.law.operator
        if levels > 1 and "activity" in units:
            units["previous"] = units["activity"]
        if self.inputs.values is None:
            units.pop("drive", None)
        if op.dims == 2 and "position" in units:
            units["y"] = units["x"] = units.pop("position")
        if "time" in units:
            per = {"damping_profile": -1, "restoring_profile": -2}
            units |= {f: f"{units['time']}{power}" for f, power in per.items() if getattr(op, f) is not None}
        return units

    def _rim_fields(self, levels):
        if len(levels) < 3:
            return None
        dims = ("trial",) * (self.trials is not None) + ("channel", "rim_cell")
        attrs = {"units": "1", "long_name": "fields of the absorbing rim at the last stored state"}
        return xr.DataArray(self._by_trial(levels[2]), dims=dims, attrs=attrs)

    def _by_trial(self, rows: np.ndarray) -> np.ndarray:
        """Rows (B, …) of every trial, of which one may stand for all; without the axis where there are no trials."""
        if self.trials is None:
            return rows[0]
        return np.broadcast_to(rows, (self.trials, *rows.shape[1:]))


def _segments(run: Run, limit: int) -> Iterator[tuple[int, int]]:
    """Cut the run into calls of the time loop: (steps, states to be stored at equal distances in them)."""
    if not run.saves:
        return
    if run.every <= limit:
        chunk = limit // run.every
        for done in range(0, run.saves, chunk):
            saves = min(chunk, run.saves - done)
            yield saves * run.every, saves
    else:
        for _ in range(run.saves):
            yield from [(limit, 0)] * ((run.every - 1) // limit)
            yield (run.every - 1) % limit + 1, 1


def _blocks(run: Run, states: np.ndarray | None = None) -> Iterator[tuple]:
    """Step the field and yield (stored states, levels) after each block; the states fill `states` where given."""
    levels, step, stored = run.start, 0, 0
    law = run.law
    dtype = levels[0].dtype
    advance = stepper(law.operator, law.encoder, run.shape, nonlinearity=law.nonlinearity, bias=law.bias, dtype=dtype)
    limit = max(1, _BLOCK_UPDATES // levels[0].size)
    if states is None:
        limit = min(limit, max(1, _BLOCK_BYTES // levels[0].nbytes) * run.every)
    if isinstance(law.encoder, str):  # a movie: what enters takes as much room as the states
        limit = min(limit, max(1, _BLOCK_BYTES // levels[0].nbytes))
    with Progress(what="simulate", total=run.last_step, unit="step", unit_scale=True) as progress:
        for count, saves in _segments(run, limit):
            if states is None:
                block = np.empty((saves, *levels[0].shape), levels[0].dtype)
            else:
                block = states[stored : stored + saves]
            before, drive = levels, run.block(step, step + count)
            levels = advance(levels, count, drive, block)
            if not _finite(levels):
                bad = _first_not_finite(advance, before, drive, count)
                spacing = count // saves if saves else count
                good = (bad - 1) // spacing
                if good:
                    yield (
                        block[:good],
                        advance(before, good * spacing, run.block(step, step + good * spacing), block[:good]),
                    )
                raise _Diverged(run.first_step + step + bad)
            step, stored = step + count, stored + saves
            progress.update(count)
            yield block, levels


def _finite(levels):
    return all(np.isfinite(level).all() for level in levels)


def _first_not_finite(advance, levels, drive, count):
    nothing = np.empty((0, *levels[0].shape), levels[0].dtype)
    for done in range(count):
        levels = advance(levels, 1, None if drive is None else drive[:, done : done + 1], nothing)
        if not _finite(levels):
            return done + 1
    return count


def run_in_memory(run: Run) -> xr.Dataset:
    """Step the field and return its recording."""
    first = int(run.save_initial or not run.saves)
    shape = (run.saves + first, *run.start[0].shape)
    _refuse_too_large(shape, run.start[0].dtype)
    states, levels, stored = np.empty(shape, run.start[0].dtype), run.start, first
    states[:first] = run.start[0]
    try:
        for block, levels in _blocks(run, states[first:]):  # noqa: B007 - the last levels are wanted
            stored += len(block)
    except _Diverged as error:
        raise DivergenceError(error.step, run.describe(states[:stored], levels, 1 - first)) from None
    return run.describe(states, levels, 1 - first)


def run_to_file(run: Run, path, overwrite: bool) -> xr.Dataset:
    """Step the field, streaming its states to a file, and return the file opened lazily."""
    first = int(run.save_initial or not run.saves)
    initial = run.describe(np.repeat(run.start[0][None], first, axis=0), run.start, 1 - first)
    stored = 1
    try:
        with RecordingWriter(path, initial, steps=run.saves + first, overwrite=overwrite) as writer:
            if first:
                writer.append(initial)
            for states, levels in _blocks(run):
                if len(states):
                    writer.append(run.describe(states, levels, stored))
                    stored += len(states)
    except _Diverged as error:
        partial = partial_path(path)  # absent if nothing was stored
        raise DivergenceError(error.step, open_recording(partial) if partial.exists() else initial) from None
    return open_recording(path)


def jumps(run: Run, method: str) -> bool:
    """Whether the last state is computed at once: requested, or possible, cheaper than stepping and no less exact."""
    law = run.law
    possible = run.save_every is None and law.linear and law.bias is None and can_jump(law.operator)
    possible = possible and not isinstance(law.encoder, str)
    if method == "jump" and not possible:
        raise ValueError(
            "method='jump' needs save_every=None, a linear field without bias, a drive that is an array and no movie, "
            "and a ring or a symmetric kernel between fixed or free ends; use method='step'"
        )
    if method != "auto" or not possible or _steps_exactly(law.operator):
        return method == "jump"
    arrivals = 0 if run.inputs.values is None else int(run.inputs.values.any(axis=(0, 2)).sum()) * (1 + law.pulse)
    return run.inputs.steps > _STEPS_PER_JUMP * (1 + arrivals)


def _steps_exactly(op):
    """Whether stepping rounds nothing, as it does at Courant 1, so that a jump by FFT would lose what is exact."""
    return bool(np.isin(op.kernel, (-1.0, 0.0, 1.0)).all())


def jumped(run: Run, levels) -> xr.Dataset:
    """The recording of a run of which only the last levels were computed."""
    first = int(run.save_initial or not run.saves)
    states = [run.start[0]] * first + [levels[0]] * run.saves
    return run.describe(np.stack(states), levels, 1 - first)


def jump(run: Run) -> tuple:
    """Return the levels after all steps: the start and every input, each moved there by its power of the operator."""
    law, shape, steps = run.law, run.shape, run.inputs.steps
    op = law.operator
    state = np.stack(run.start, axis=2).reshape(len(run.start[0]), op.channels, *shape).astype(np.float64)
    modes = advance_modes(op, to_modes(state, op.boundaries), steps, shape)
    drive = run.block(0, steps)
    if drive is not None:
        entry = np.zeros((op.rings, op.levels, *shape, run.inputs.count))
        entry[:, 0] = law.encoder
        entry = to_modes(np.moveaxis(entry.reshape(op.channels, *shape, -1), -1, 0), op.boundaries)  # (I, C, k)
        for t in np.flatnonzero(drive.any(axis=(0, 2))):
            arriving = np.tensordot(drive[:, t].astype(np.float64), entry, axes=1)  # (B, C, k)
            modes = modes + advance_modes(op, arriving, steps - 1 - t, shape)
    state = from_modes(modes, op.boundaries, shape).reshape(len(run.start[0]), op.rings, op.levels, *shape)
    return tuple(np.ascontiguousarray(state[:, :, level], run.start[0].dtype) for level in range(op.levels))


def _refuse_too_large(shape, dtype):
    needed = int(np.prod(shape, dtype=float) * dtype.itemsize)
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every platform
        return
    if needed > 0.8 * available:
        raise ValueError(
            f"the states would take {needed / 1e9:.1f} GB of the {available / 1e9:.1f} GB of memory; stream them to a "
            "file with path=…, store fewer with save_every=…, or only the last with save_every=None"
        )

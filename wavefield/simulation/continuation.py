"""The levels a simulation starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from wavefield.checks import real_array
from wavefield.operators.operator import WaveOperator
from wavefield.operators.rim import rim_cells, rim_of


def first_levels(op: WaveOperator, size: tuple[int, ...], trials: int | None, past: Past, velocity, dtype) -> tuple:
    """Levels (now,) or (now, before), each (B, rings, *size), at the beginning of a run.

    A two-way field given by its displacement h₀ and its velocity v₀, zero unless given, has the level before it
    h₀ − v₀·dt + r²/2·L h₀, which makes h[1] − h[−1] = 2v₀·dt and keeps the scheme of second order. A sheet with an
    absorbing rim has the fields of its rim as a third level, (B, rings, cells).
    """
    shape = (trials or 1, op.rings, *size)
    now = np.zeros(shape) if past.now is None else _batched(past.now, "initial", shape)
    if op.levels == 1:
        for name, given in (("previous", past.before), ("velocity", velocity)):
            if given is not None:
                raise ValueError(f"{name} belongs to the initial state of a two-way field; this one has one level")
        return (_inside(op, now).astype(dtype),)
    if velocity is not None and past.before is not None:
        raise ValueError("velocity and previous say the same in two ways: give one of them")
    if past.before is None:
        before = _level_before_first(op, now, None if velocity is None else _batched(velocity, "velocity", shape))
    elif past.now is None:
        raise ValueError("previous needs initial: it is the level before it")
    else:
        before = _batched(past.before, "previous", shape)
    levels = (_inside(op, now).astype(dtype), _inside(op, before).astype(dtype))
    return (*levels, _rim_fields(op, shape, past.rim, dtype)) if op.rim else levels


def _inside(op, level):
    """The level, zero outside the mask."""
    return level if op.mask is None else level * op.mask


def _rim_fields(op, shape, given, dtype):
    cells = rim_cells(rim_of(op, shape[2:], dtype), shape[2:])
    return (
        np.zeros((*shape[:2], cells), dtype)
        if given is None
        else _batched(given, "rim", (*shape[:2], cells)).astype(dtype)
    )


class Past(NamedTuple):
    """What is known of how the state came about from which a run starts."""

    steps: int  # from time 0 to the last stored state
    own_steps: int  # those of them made by the run that wrote the recording
    now: np.ndarray | None  # (…, rings, N); None for a field at rest
    before: np.ndarray | None  # the level before, of a two-way field; None for one that starts from rest
    drive: np.ndarray | None  # inputs of its own steps and of the two before them, (B, 2 + own_steps, I), NaN if lost
    pulse: bool  # whether they entered as pulses
    from_rest: bool  # whether the field was zero at time 0
    rim: np.ndarray | None = None  # the fields of an absorbing rim, (…, rings, cells)

    def inputs(self, count: int) -> np.ndarray:
        """The last `count` inputs, (B, count, I), refused if the recording was cut and holds them no longer."""
        if self.drive is None:
            raise ValueError("the recording holds no drive, and its inputs are needed here")
        rows = self.drive[:, self.drive.shape[1] - count :]
        lost = np.flatnonzero(np.isnan(rows).any(axis=(0, 2)))
        if lost.size:
            raise ValueError(
                f"the recording lacks the input of step {self.steps - count + lost[0]}, which is needed here: its "
                "drive was cut, or does not reach as far as its states"
            )
        return rows

    @property
    def last_inputs(self) -> np.ndarray | None:
        """The last two inputs, (B, 2, I), which a pulse still needs; other inputs have no effect later."""
        if self.drive is None:
            return None
        return self.inputs(2) if self.pulse else np.zeros_like(self.drive[:, :2])


def beginning(initial, previous) -> Past:
    """The past of a field that nothing has moved yet."""
    return Past(0, 0, initial, previous, drive=None, pulse=False, from_rest=initial is None)


def past_of(rec: xr.Dataset) -> Past:
    """Read the past of a recording, also of one that was cut in time or broken off, or of a snapshot that has a time.

    Raises
    ------
    ValueError
        If the recording was cut or reversed in space, or has no time.
    """
    check_whole(rec)
    if "time" not in rec.coords:
        raise ValueError("the recording does not say the time of its state: its coordinate time is missing")
    if "time" not in rec["activity"].dims:
        rec = rec.assign(activity=rec["activity"].expand_dims("time"))
    first, dt = int(rec.attrs.get("first_step", 0)), float(rec.attrs.get("dt", 1.0))
    steps = round(float(rec["time"][-1]) / dt)
    own = steps - first
    now = rec["activity"].isel(time=-1).values
    pulse = rec.attrs.get("source_kind") == "pulse"
    drive = _inputs_of(rec, first, own, dt) if "drive" in rec or (pulse and "encoder" in rec) else None
    from_rest = rec.attrs.get("start", "rest") == "rest"
    rim = rec["rim_fields"].values if "rim_fields" in rec and _complete(rec, own) else None
    return Past(steps, own, now, _level_before(rec, own, dt), drive, pulse, from_rest, rim)


def _complete(rec, own_steps):
    """Whether the last state is the last that was stored, so that what belongs to it alone still does."""
    return own_steps == int(rec.attrs.get("steps", own_steps))


def check_whole(rec: xr.Dataset) -> None:
    """Refuse a recording whose field was cut or reversed in space, so that its operator moves it no longer."""
    dims = space_of(rec)
    size = [rec.sizes[dim] for dim in dims]
    if (made := np.ravel(rec.attrs.get("size", size)).tolist()) != size:
        of = "×".join(str(n) for n in made)
        raise ValueError(
            f"the recording holds {'×'.join(map(str, size))} of its {of} positions: a field cut in space cannot be "
            "continued or decoded"
        )
    for dim in dims:
        if (np.diff(rec[dim].values) <= 0).any():
            raise ValueError(f"the recording's positions must increase, as they did for its operator: sort it by {dim}")


def space_of(rec: xr.Dataset) -> tuple[str, ...]:
    """The dims of space of a recording: position of a line, y and x of a sheet."""
    dims = tuple(dim for dim in ("position", "y", "x") if dim in rec["activity"].dims)
    if not dims:
        raise ValueError("the recording has no positions but electrodes: no operator moves them")
    return dims


def _inputs_of(rec, first, own_steps, dt):
    """Inputs of a recording's own steps and of the two before them, (B, 2 + own_steps, I), NaN where it lacks them."""
    drive = np.full((1, own_steps, rec.sizes["input"]), np.nan)
    earlier = np.zeros((1, 2, rec.sizes["input"]))
    if "drive" in rec:
        rows = _with_trials(rec["drive"].transpose(..., "step", "input").values)
        number = np.rint(rec["step"].values / dt).astype(int) - first
        own = (number >= 0) & (number < own_steps)
        drive = np.repeat(drive, len(rows), axis=0)
        drive[:, number[own]] = rows[:, own]
    if "earlier_drive" in rec:
        earlier = _with_trials(rec["earlier_drive"].transpose(..., "lag", "input").values)
    trials = max(len(drive), len(earlier))
    return np.concatenate([np.broadcast_to(rows, (trials, *rows.shape[1:])) for rows in (earlier, drive)], axis=1)


def _level_before(rec, own_steps, dt):
    """The level before the last state: as stored, or where the recording was cut, the state stored before it."""
    if int(rec.attrs.get("levels", 1)) == 1:
        return None
    if _complete(rec, own_steps) and "previous" in rec:
        return rec["previous"].values
    times = rec["time"].values[-2:].astype(float)
    successive = times.size == 2 and round((times[1] - times[0]) / dt) == 1
    return rec["activity"].isel(time=-2).values if successive else None


def _with_trials(drive):
    return drive if drive.ndim == 3 else drive[None]


def _batched(state, name, shape):
    state = real_array(state, name)
    if state.shape == shape[2:] and len(shape) == 4 and shape[1] == 1:  # an image
        state = state[None]
    if state.shape not in (shape, shape[1:]):
        raise ValueError(f"{name} must have shape {shape[1:]} or, with trials, {shape}, got {state.shape}")
    return np.broadcast_to(state, shape).copy()


def _level_before_first(op, now, velocity):
    """The level before a field of displacement `now` and of a velocity, or at rest: (a ⋆ h₀ − 2v₀·dt)/(1 + q)."""
    if velocity is None and not now.any():
        return np.zeros_like(now)
    shape = now.shape[2:]
    step = (
        replace(op, boundary=tuple("free" if kind == "absorbing" else kind for kind in op.boundaries), rim=0)
        if op.rim
        else op
    )
    lifted = np.zeros((now.shape[0], op.rings, 2, *shape))
    lifted[:, :, 0] = now
    moved = (step.matrix(shape) @ lifted.reshape(len(now), -1).T).T.reshape(lifted.shape)[:, :, 0]
    return (moved if velocity is None else moved - 2 * op.dt * velocity) / (1 + op.local_previous_weight(shape))

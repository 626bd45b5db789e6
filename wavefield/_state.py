"""The levels a simulation starts from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from wavefield._checks import real_array
from wavefield.operator import WaveOperator


def first_levels(op: WaveOperator, size: int, trials: int | None, initial, previous, dtype) -> tuple:
    """Levels (now,) or (now, before), each (B, rings, N), at the beginning of a run.

    A two-way field given by its displacement h₀ alone starts at rest: the level before it is h₀ + r²/2·L h₀, which
    makes h[1] = h[−1] without damping and keeps the scheme of second order.
    """
    shape = (trials or 1, op.rings, size)
    now = np.zeros(shape) if initial is None else _batched(initial, "initial", shape)
    if op.levels == 1:
        if previous is not None:
            raise ValueError(
                "previous is the level before the initial state of a two-way field; this one has one level"
            )
        return (now.astype(dtype),)
    if previous is None:
        before = _at_rest(op, now)
    elif initial is None:
        raise ValueError("previous needs initial: it is the level before it")
    else:
        before = _batched(previous, "previous", shape)
    return now.astype(dtype), before.astype(dtype)


class Past(NamedTuple):
    """What a recording knows of how its last state came about."""

    steps: int  # from time 0 to the last stored state
    own_steps: int  # those of them made by the run that wrote the recording
    now: np.ndarray  # (…, rings, N)
    before: np.ndarray | None  # the level before, of a two-way field
    drive: np.ndarray | None  # inputs of its own steps, (B, own_steps, I)
    earlier: np.ndarray | None  # the two inputs before those, (B, 2, I)
    from_rest: bool  # whether the field was zero at time 0

    @property
    def last_inputs(self) -> np.ndarray | None:
        """The last two inputs, (B, 2, I), at which a pulse still looks back."""
        if self.drive is None:
            return self.earlier
        return np.concatenate([self.earlier, self.drive], axis=1)[:, -2:]


def past_of(rec: xr.Dataset) -> Past:
    """Read the past of a recording, also of one that was cut in time or broken off.

    Raises
    ------
    ValueError
        If the recording was cut in space, so that its field is no longer whole.
    """
    size = rec.sizes["position"]
    if int(rec.attrs.get("size", size)) != size:
        raise ValueError(
            f"the recording holds {size} of its {rec.attrs['size']} positions: a field cut in space cannot be "
            "continued or decoded"
        )
    first, dt = int(rec.attrs.get("first_step", 0)), float(rec.attrs.get("dt", 1.0))
    steps = round(float(rec["time"][-1]) / dt)
    own = steps - first
    drive = earlier = None
    if "drive" in rec:
        drive = _with_trials(rec["drive"].transpose(..., "step", "input").values)[:, :own]
        earlier = np.zeros((drive.shape[0], 2, drive.shape[2]))
        if "earlier_drive" in rec:
            earlier = _with_trials(rec["earlier_drive"].transpose(..., "lag", "input").values)
    now = rec["activity"].isel(time=-1).values
    return Past(steps, own, now, _level_before(rec, own, dt), drive, earlier, rec.attrs.get("start", "rest") == "rest")


def _level_before(rec, own_steps, dt):
    """The level before the last state: as stored, or where the recording was cut, the state stored before it."""
    if int(rec.attrs.get("levels", 1)) == 1:
        return None
    if own_steps == int(rec.attrs.get("steps", own_steps)) and "previous" in rec:
        return rec["previous"].values
    times = rec["time"].values[-2:].astype(float)
    whole = times.size == 2 and round((times[1] - times[0]) / dt) == 1
    return rec["activity"].isel(time=-2).values if whole else None


def _with_trials(drive):
    return drive if drive.ndim == 3 else drive[None]


def _batched(state, name, shape):
    state = real_array(state, name)
    if state.shape not in (shape, shape[1:]):
        raise ValueError(f"{name} must have shape {shape[1:]} or, with trials, {shape}, got {state.shape}")
    return np.broadcast_to(state, shape).copy()


def _at_rest(op, now):
    if not now.any():
        return np.zeros_like(now)
    size = now.shape[-1]
    step = op.matrix(size)
    lifted = np.zeros((now.shape[0], op.rings, 2, size))
    lifted[:, :, 0] = now
    moved = (step @ lifted.reshape(len(now), -1).T).T.reshape(lifted.shape)[:, :, 0]
    return moved / (1 + op.memory[:, None])

"""The levels a simulation starts from."""

from __future__ import annotations

import numpy as np
import xarray as xr

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


def last_levels(rec: xr.Dataset) -> tuple:
    """Return the last levels of a recording (…, rings, N), `previous` None for a field of one level."""
    now = rec["activity"].isel(time=-1).values
    return now, rec["previous"].values if "previous" in rec else None


def _batched(state, name, shape):
    state = np.asarray(state, dtype=float)
    if state.shape not in (shape, shape[1:]):
        raise ValueError(f"{name} must have shape {shape[1:]} or, with trials, {shape}, got {state.shape}")
    if not np.isfinite(state).all():
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
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

"""The drive of a simulation, handed out in blocks of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from wavefield._checks import positive_int


@dataclass(frozen=True)
class Inputs:
    """Inputs x[t] of a run: an array (B, T, I) or a callable of the step index.

    `earlier` holds the two inputs (B, 2, I) before the first, which the pulse source looks back at where a run is
    continued.
    """

    values: np.ndarray | Callable | None
    trials: int | None  # None: no batch
    steps: int
    count: int
    earlier: np.ndarray | None = None

    def block(self, start: int, stop: int, *, pulse: bool, dtype) -> np.ndarray | None:
        """What enters the field in steps start…stop−1, (B, stop − start, I): x[t], or x[t] − x[t−2] as a pulse."""
        if self.values is None:
            return None
        drive = self._rows(start, stop)
        if pulse:
            drive = drive - self._rows(start - 2, stop - 2)
        return np.ascontiguousarray(drive, dtype)

    def _rows(self, start, stop):
        before = range(start, min(stop, 0))
        if callable(self.values):
            rows = [np.zeros(self.count) for _ in before]
            rows += [_called(self.values, t, self.count) for t in range(max(start, 0), stop)]
            return np.stack(rows)[None] if rows else np.zeros((1, 0, self.count))
        if not before:
            return self.values[:, start:stop]
        earlier = np.zeros((self.values.shape[0], 2, self.count)) if self.earlier is None else self.earlier
        return np.concatenate([earlier[:, 2 + before.start : 2 + before.stop], self.values[:, : max(stop, 0)]], axis=1)


def read_inputs(drive, steps: int | None, earlier=None) -> Inputs:
    """Bring a drive to its usual form and settle the number of steps; refuse what is not finite or does not fit."""
    if steps is not None:
        positive_int(steps, "steps", 0)
    if drive is None:
        if steps is None:
            raise ValueError("steps must be given where there is no drive")
        return Inputs(None, None, steps, 0)
    if callable(drive):
        if steps is None:
            raise ValueError("steps must be given with a callable drive, which has no length of its own")
        return Inputs(drive, None, steps, _called(drive, 0, None).size if steps else 0)
    if isinstance(drive, xr.DataArray):
        drive = drive.transpose(..., "step", "input") if {"step", "input"} <= set(drive.dims) else drive
    try:
        values = np.asarray(drive, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"drive must be an array of numbers or a callable, got {type(drive).__name__}") from None
    if values.ndim not in (2, 3) or values.shape[-1] == 0 or values.shape[0] == 0:
        raise ValueError(f"drive must have shape (steps, inputs) or (trial, steps, inputs), got {values.shape}")
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(f"drive must be finite, it holds {values[tuple(bad)]} at index {bad}")
    if steps not in (None, values.shape[-2]):
        raise ValueError(f"steps must be that of the drive, {values.shape[-2]}, or left out, got {steps}")
    trials = values.shape[0] if values.ndim == 3 else None
    return Inputs(values if trials else values[None], trials, values.shape[-2], values.shape[-1], earlier)


def _called(drive, step, count):
    row = np.atleast_1d(np.asarray(drive(step), dtype=float))
    if row.ndim != 1 or (count is not None and row.size != count) or not np.isfinite(row).all():
        wanted = "finite numbers, one per input" if count is None else f"{count} finite numbers, one per input"
        raise ValueError(f"drive({step}) must return {wanted}, got {np.array2string(row, threshold=4)}")
    return row

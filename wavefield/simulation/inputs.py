"""The drive of a simulation, read in blocks of steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import xarray as xr

from wavefield.checks import plain_array, positive_int
from wavefield.progress import Progress

_FRAME_BYTES = 16_000_000  # of a movie that are read at a time


@dataclass(frozen=True)
class Inputs:
    """Inputs x[t] of a run, an array (B, T, I), which may be mapped from a file, or a dask array, read as it is needed.

    `earlier` holds the two inputs (B, 2, I) before the first, which the pulse source needs where a run is
    continued.
    """

    values: np.ndarray | None
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
        entering = np.ascontiguousarray(drive, dtype)
        if self.lazy and not np.isfinite(entering).all():
            step = start + int(np.argwhere(~np.isfinite(entering))[0][1])
            raise ValueError(f"drive must be finite, it holds NaN or infinity at step {step} or just before")
        return entering

    @property
    def lazy(self) -> bool:
        """Whether the inputs are read from a file as they are needed."""
        return hasattr(self.values, "dask")

    def _rows(self, start, stop):
        before = range(start, min(stop, 0))
        if not before:
            return self.values[:, start:stop].astype(float, copy=False)
        earlier = np.zeros((1, 2, self.count)) if self.earlier is None else self.earlier
        earlier = np.broadcast_to(earlier, (len(self.values), 2, self.count))
        return np.concatenate([earlier[:, 2 + before.start : 2 + before.stop], self.values[:, : max(stop, 0)]], axis=1)


def read_inputs(drive, steps: int | None, earlier=None) -> Inputs:
    """Bring a drive to its usual form and determine the number of steps; refuse what is not finite or does not fit."""
    if steps is not None:
        positive_int(steps, "steps", 0)
    if drive is None or callable(drive):
        if steps is None:
            raise ValueError("steps must be given where there is no drive, or a callable one, which has no length")
        if drive is None and earlier is None:
            return Inputs(None, None, steps, 0)
        # the pulses of inputs that came before a continued run are not over yet
        drive = np.zeros((len(earlier), steps, earlier.shape[2])) if drive is None else _tabled(drive, steps)
        return Inputs(drive if drive.ndim == 3 else drive[None], None, steps, drive.shape[-1], earlier)
    if isinstance(drive, xr.DataArray):
        drive = _in_order(drive)
    lazy = hasattr(drive, "dask")
    try:
        mapped = isinstance(drive, np.memmap) and drive.dtype.kind in "biuf"  # stays in its file
        values = drive if lazy or mapped else np.asarray(drive)
        values = values if mapped or np.iscomplexobj(values) else values.astype(float, copy=False)
    except (TypeError, ValueError):
        raise TypeError(f"drive must be an array of numbers or a callable, got {type(drive).__name__}") from None
    if np.iscomplexobj(values):
        raise TypeError(f"drive must hold real numbers, got {values.dtype}")
    if values.ndim not in (1, 2, 3) or 0 in (values.shape[0], values.shape[-1]):
        raise ValueError(
            f"drive must have shape (steps,), (steps, inputs) or (trial, steps, inputs), got {values.shape}"
        )
    if values.ndim == 1:  # one input
        values = values[:, None]
    if not lazy:
        _check_finite(values)
    if steps not in (None, values.shape[-2]):
        raise ValueError(f"steps must be that of the drive, {values.shape[-2]}, or left out, got {steps}")
    trials = values.shape[0] if values.ndim == 3 else None
    values = values if trials else values[None]
    if earlier is not None and (earlier.shape[2] != values.shape[2] or len(earlier) not in (1, len(values))):
        raise ValueError(
            f"drive must go on as it was in the recording that is continued, with {earlier.shape[2]} inputs and "
            f"{len(earlier)} trials, got {values.shape[2]} and {len(values)}"
        )
    return Inputs(values, trials, values.shape[1], values.shape[2], earlier)


def _check_finite(values):
    """Raise where a drive holds NaN or infinity; a part of its steps is looked at after the other."""
    steps = max(1, _FRAME_BYTES * values.shape[-2] // max(1, 8 * values.size))
    for start in range(0, values.shape[-2], steps):
        wrong = ~np.isfinite(values[..., start : start + steps, :])
        if wrong.any():
            bad = np.argwhere(wrong)[0]
            bad[-2] += start
            raise ValueError(f"drive must be finite, it holds {values[tuple(bad)]} at index {bad.tolist()}")


def flattened_movie(drive, operator):
    """A movie (steps, Ny, Nx) or (trial, steps, Ny, Nx) as a drive of one input for each cell, and its (Ny, Nx).

    One that is mapped from a file, or that xarray has opened from one or chunked, stays there, and its frames are read
    when they are needed.
    """
    if operator.dims != 2 or operator.rings != 1:
        raise ValueError(f"encoder='everywhere' needs a single sheet, got {operator!r}")
    if drive is None or callable(drive):
        raise TypeError(f"drive must be a movie (steps, Ny, Nx), an array, got {type(drive).__name__}")
    if isinstance(drive, xr.DataArray):
        drive = drive.transpose(..., "y", "x", missing_dims="ignore")
        if drive.ndim in (3, 4) and (drive.chunks is not None or "source" in drive.encoding):
            frames = max(1, _FRAME_BYTES // (8 * drive.shape[-2] * drive.shape[-1]))
            drive = drive.chunk({dim: frames if k == drive.ndim - 3 else -1 for k, dim in enumerate(drive.dims)})
        drive = drive.data
    movie = drive if hasattr(drive, "dask") or isinstance(drive, np.memmap) else plain_array(drive, "drive")
    if movie.ndim not in (3, 4):
        raise ValueError(f"drive must be a movie (steps, Ny, Nx) or (trial, steps, Ny, Nx), got shape {movie.shape}")
    return movie.reshape(*movie.shape[:-2], -1), movie.shape[-2:]


def _in_order(drive):
    """A drive with its dims in order (trial, step or time, input); where they have no names they stay as they are."""
    if drive.dims in (("step",), ("time",)):
        return drive
    if all(re.fullmatch(r"dim_\d+", str(dim)) for dim in drive.dims):
        return drive
    step = "step" if "step" in drive.dims else "time"
    if set(drive.dims) - {"trial"} != {step, "input"}:
        raise ValueError(f"drive must have the dims (trial, step or time, input), trial optional, got {drive.dims}")
    return drive.transpose(..., step, "input")


def _tabled(drive, steps):
    """The values of a callable drive, one row per step."""
    first = _called(drive, 0, None) if steps else np.zeros(1)
    rows = (_called(drive, t, first.size) for t in range(1, steps))
    table = np.empty((steps, first.size))
    table[:1] = first
    for t, row in enumerate(Progress(rows, "drive", total=steps, unit="step"), start=1):
        table[t] = row
    return table


def _called(drive, step, count):
    row = np.atleast_1d(np.asarray(drive(step)))
    numbers = row.dtype.kind in "biuf" and np.isfinite(row).all()
    if row.ndim != 1 or (count is not None and row.size != count) or not numbers:
        wanted = "finite numbers, one per input" if count is None else f"{count} finite numbers, one per input"
        raise ValueError(f"drive({step}) must return {wanted}, got {np.array2string(row, threshold=4)}")
    return row.astype(float)

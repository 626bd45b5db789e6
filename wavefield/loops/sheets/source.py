"""What enters a sheet, and what is kept of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.sheets.streaming import copy

_STREAMED = 2**25  # bytes that are saved from which no cache holds them until they are read


class Entries(NamedTuple):
    """Where inputs enter: entries start[c, y]…start[c, y + 1] − 1 add weight·drive[b, t, input] to row y."""

    start: np.ndarray  # (C, Ny + 1) int64, counted on through the channels
    column: np.ndarray  # (entries,) int64
    input: np.ndarray  # (entries,) int64
    weight: np.ndarray  # (entries,) of the field's dtype


class Source(NamedTuple):
    """What enters, empty where nothing does: a drive (B, steps, I) through entries, a movie (B, steps, C, Ny, Nx)."""

    drive: np.ndarray
    entries: Entries
    movie: np.ndarray


class Keeping(NamedTuple):
    """Which levels are kept: each `every`-th (0 for none) in `saved` (saves, planes, Ny, Nx), the last in `ended`."""

    every: int
    saved: np.ndarray
    steps: int
    ended: np.ndarray  # (levels, planes, Ny, Nx), the newest first
    streams: bool  # whether `saved` is so large that it is written past the caches


def sheet_entries(encoder, dtype) -> Entries:
    """Return the nonzero entries of an encoder (C, Ny, Nx, I) in order of channel, row and column."""
    encoder = np.asarray(encoder)
    channels, ny = encoder.shape[:2]
    channel, row, column, which = np.nonzero(encoder)
    line = channel * ny + row
    start = np.searchsorted(line, np.arange(ny + 1) + ny * np.arange(channels)[:, None])
    weight = encoder[channel, row, column, which].astype(dtype)
    return Entries(start.astype(np.int64), column.astype(np.int64), which.astype(np.int64), weight)


def prepare_source(drive, encoder, shape, steps, dtype) -> Source:
    """Check what enters a field of a shape (B, C, Ny, Nx) and put it together."""
    batch, channels, ny, nx = shape
    nothing = Entries(np.zeros((channels, ny + 1), np.int64), *[np.zeros(0, np.int64)] * 2, np.zeros(0, dtype))
    silence, darkness = np.zeros((batch, 0, 0), dtype), np.zeros((batch, 0, 1, 1, 1), dtype)
    if drive is None:
        return Source(silence, nothing, darkness)
    drive = np.require(drive, dtype, "CW")  # a read-only array is another type, and compiled for anew
    if encoder is None:
        if drive.shape != (batch, steps, channels, ny, nx):
            raise ValueError(
                f"drive without encoder must have shape {(batch, steps, channels, ny, nx)}, (batch, steps, C, Ny, Nx), "
                f"got {drive.shape}"
            )
        return Source(silence, nothing, drive)
    if drive.ndim != 3 or drive.shape[:2] != (batch, steps):
        raise ValueError(f"drive must have shape (batch={batch}, steps={steps}, inputs), got {drive.shape}")
    if not isinstance(encoder, Entries):
        if np.shape(encoder) != (channels, ny, nx, drive.shape[2]):
            raise ValueError(
                f"encoder must have shape {(channels, ny, nx, drive.shape[2])}, (C, Ny, Nx, inputs), "
                f"got {np.shape(encoder)}"
            )
        encoder = sheet_entries(encoder, dtype)
    if 0 in drive.shape[1:] or encoder.weight.size == 0:
        return Source(silence, nothing, darkness)
    start, column, which = (np.require(part, np.int64, "CW") for part in encoder[:3])
    weight = np.require(encoder.weight, dtype, "CW")
    if start.shape != (channels, ny + 1) or not column.size == which.size == weight.size == start[-1, -1]:
        raise ValueError(f"entries must hold start {(channels, ny + 1)} and as many entries, got start {start.shape}")
    if column.min() < 0 or column.max() >= nx or which.min() < 0 or which.max() >= drive.shape[2]:
        raise ValueError(f"entries must lie in {nx} columns and {drive.shape[2]} inputs")
    return Source(drive, Entries(start, column, which, weight), darkness)


def prepare_keeping(every, out, levels, shape, steps, dtype) -> Keeping:
    """Return how often to save and the array to save into, which is checked, and room for the last levels."""
    batch, channels, ny, nx = shape
    ended = np.empty((levels, batch * channels, ny, nx), dtype)
    if not every or out is None:
        return Keeping(0, np.empty((0, batch * channels, ny, nx), dtype), steps, ended, False)
    expected = (steps // every, *shape)
    if out.shape != expected or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous {dtype} array of shape {expected}, got {out.dtype} {out.shape}")
    saved = out.reshape(expected[0], batch * channels, ny, nx)
    return Keeping(int(every), saved, steps, ended, out.nbytes > _STREAMED)


@compiled
def enters(source, trial, channel, step, row):
    """Whether anything enters a row at a step."""
    if source.movie.shape[1]:
        return True
    entries = source.entries
    for e in range(entries.start[channel, row], entries.start[channel, row + 1]):
        if source.drive[trial, step, entries.input[e]] != 0:
            return True
    return False


@compiled
def inject(target, source, trial, channel, step, row):
    """Add what enters a row at a step to its cells; an input that is zero changes nothing, not even a sign."""
    entries = source.entries
    for e in range(entries.start[channel, row], entries.start[channel, row + 1]):
        value = source.drive[trial, step, entries.input[e]]
        if value != 0:
            target[entries.column[e]] += entries.weight[e] * value
    if source.movie.shape[1]:
        frame = source.movie[trial, step, channel, row]
        for i in range(frame.size):
            target[i] += frame[i]


@compiled
def keep_row(level, row, plane, step, keeping, saved, ended, sheet):
    """Copy a row to where it is saved after a step, or is returned; `saved` and `ended` are those of `keeping`."""
    begin, place = row * sheet.stride + sheet.origin, plane * sheet.ny + row
    count = saved.shape[1] * sheet.ny
    if keeping.every and step % keeping.every == 0:
        save = step // keeping.every - 1
        copy(saved, (save * count + place) * sheet.nx, level, begin, sheet.nx, keeping.streams)
    if step > keeping.steps - len(ended):
        copy(ended, ((keeping.steps - step) * count + place) * sheet.nx, level, begin, sheet.nx, False)

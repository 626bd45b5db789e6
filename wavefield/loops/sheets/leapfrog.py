"""Time loop of the two-way field on a sheet: leapfrog, two levels, any number of steps in one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wavefield.loops import tiles as w
from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.sheets.order import carry_out, plan
from wavefield.loops.sheets.planes import geometry, load_row, reflect_rows, store_row
from wavefield.loops.sheets.rim import Rim, absorb_row, make_rim, rim_cells
from wavefield.loops.sheets.rows import Medium, clamp, step_row, step_row_in_medium
from wavefield.loops.sheets.source import inject, prepare_keeping, prepare_source


class Physics(NamedTuple):
    """One step of every channel, as the compiled loop wants it."""

    taps: np.ndarray  # (C, reach_y + 1, reach_x + 1) from the centre outwards
    q: np.ndarray  # (C,)
    medium: Medium
    mask: np.ndarray  # (Ny, Nx) bool, or (0, 0) where there is none
    rim: Rim
    fields: np.ndarray  # (planes, cells of the rim), moved in place


def sheet_leapfrog(
    now,
    before,
    *,
    q,
    taps=None,
    faces=None,
    scale=None,
    middle=2.0,
    boundary=("periodic", "periodic"),
    mask=None,
    rim=None,
    rim_fields=None,
    steps,
    drive=None,
    encoder=None,
    every=0,
    out=None,
):
    """Advance a two-way field on a sheet; returns the last levels (now, before), new arrays, and with a rim its fields.

        h[t+1] = Σ_{j,k} taps[j, k]·h[y + j − Ky//2, x + k − Kx//2][t] − q·h[t−1] + Σ encoder·drive[t]

    or, in a medium that varies, with g_y, g_x = `faces` between rows and between columns,

        h[t+1] = scale·(middle·h + g_y[y+1](h[y+1] − h) − g_y[y](h − h[y−1])
                                 + g_x[x+1](h[x+1] − h) − g_x[x](h − h[x−1]))[t] − q·h[t−1] + …

    Parameters
    ----------
    now, before : ndarray, shape (B, C, Ny, Nx), float32 or float64
    q : float or array_like, shape (C,), or (C, Ny, Nx) with `faces`
        (1 − γdt/2)/(1 + γdt/2).
    taps : array_like, shape (Ky, Kx) or (C, Ky, Kx)
        Odd in number and symmetric along each axis.
    faces : pair of array_like, shapes (C, Ny + 1, Nx) and (C, Ny, Nx + 1)
        In place of taps; face j lies above row j, face k left of column k. C may be 1, for all channels.
    scale : float or array_like, shape (C,) or (C, Ny, Nx), optional
        Beside `faces`; by default (1 + q)/2 = 1/(1 + γdt/2), what damping leaves of the new level.
    middle : float or array_like, shape (C,) or (C, Ny, Nx)
        Beside `faces`.
    boundary : pair of {"periodic", "fixed", "free", "absorbing"}
        Along y and x. Beyond fixed edges the field continues oddly about the zero one cell away, beyond free ones
        evenly about the cells of the edge; beyond absorbing ones there is nothing.
    mask : array_like, shape (Ny, Nx), bool, optional
        Cells outside are zero at all times.
    rim : rim.Rim, optional
        Layers that absorb, at edges that are absorbing.
    rim_fields : ndarray, shape (B, C, cells of the rim), optional
        What a former run returned; by default 0.
    steps : int
    drive : ndarray, shape (B, steps, I), optional
        Or, without encoder, (B, steps, C, Ny, Nx): a movie that is added as it is.
    encoder : array_like, shape (C, Ny, Nx, I), or `source.Entries`, optional
    every : int
        Save each `every`-th level into `out`; 0 for none.
    out : ndarray, shape (steps // every, B, C, Ny, Nx), optional

    Notes
    -----
    Rows are moved in the order that `order` explains, which changes no bit of the result; nor do threads.
    """
    # a read-only array is another type, and compiled for anew
    now, before = (np.require(level, requirements="CW") for level in (now, before))
    dtype = now.dtype
    if now.ndim != 4 or before.shape != now.shape or before.dtype != dtype or dtype not in (np.float32, np.float64):
        raise ValueError(
            f"now and before must be float32 or float64 arrays of one shape (B, C, Ny, Nx), got {dtype} {now.shape} "
            f"and {before.dtype} {before.shape}"
        )
    batch, channels, ny, nx = now.shape
    rim, fields = _rim(rim, rim_fields, boundary, now.shape, dtype)
    half, medium = _coefficients(taps, faces, scale, middle, q, (channels, ny, nx), dtype)
    own_q = np.zeros(channels, dtype) if taps is None else _per_channel(q, channels, ()).astype(dtype)
    if rim.y.width + rim.x.width and half.shape[1:] < (2, 2):
        raise ValueError(f"a rim needs taps at least 3 wide, got {half.shape}")
    sheet = geometry(ny, nx, tuple(2 * reach - 1 for reach in half.shape[1:]), boundary, dtype)
    physics = Physics(half, own_q, medium, _mask(mask, ny, nx), rim, fields)
    source = prepare_source(drive, encoder, now.shape, steps, dtype)
    keeping = prepare_keeping(every, out, 2, now.shape, steps, dtype)
    if steps == 0:
        keeping.ended[:] = (now.reshape(-1, ny, nx), before.reshape(-1, ny, nx))
    if steps == 1:
        keeping.ended[1] = now.reshape(keeping.ended[1].shape)
    count, width = batch * channels, 1 if taps is not None else (2 + (3 if medium.q.shape[2] > 1 else 0)) / 2
    order = plan(sheet, count, steps, int(2 * width * now.itemsize), rim=rim.y.width)
    levels = now.reshape(count, ny, nx), before.reshape(count, ny, nx)

    def whole(buffers, first, last):
        _advance_planes(buffers, first, last, order, levels, sheet, physics, source, keeping)

    def part(buffers, first, last, done, depth, regions, phase):
        _advance_regions(buffers, first, last, done, depth, regions, phase, levels, sheet, physics, source, keeping)

    carry_out(order, sheet, count, 2, steps, float(steps) * now.size, dtype, whole, part)
    ended = tuple(level.reshape(now.shape) for level in keeping.ended)
    return (*ended, fields.reshape(batch, channels, -1)) if rim.y.width + rim.x.width else ended


def _rim(rim, fields, boundary, shape, dtype):
    """Return the rim, of no width where there is none, and its fields (planes, cells), which are copied."""
    batch, channels, ny, nx = shape
    if rim is None:
        return make_rim((ny, nx), (0, 0), (0.0, 0.0), dtype), np.empty((batch * channels, 0), dtype)
    for axis, profile, side, size in zip("yx", rim[:2], boundary, (ny, nx), strict=True):
        if profile.width and (side != "absorbing" or profile.cell_a.size != size or profile.cell_a.dtype != dtype):
            raise ValueError(
                f"a rim along {axis} needs absorbing edges, {size} cells and {dtype}, got {side} edges, "
                f"{profile.cell_a.size} cells and {profile.cell_a.dtype}"
            )
    for axis, gain in zip("yx", rim[2:], strict=True):
        if gain.shape[0] not in (1, channels) or gain.shape[1:] not in ((1, 1), (ny, nx)) or gain.dtype != dtype:
            raise ValueError(f"gain_{axis} of the rim must fit {(channels, ny, nx)}, {dtype}, got {gain.shape}")
    expected = (batch, channels, rim_cells(rim, (ny, nx)))
    if fields is None:
        fields = np.zeros(expected, dtype)
    if np.shape(fields) != expected:
        raise ValueError(f"rim_fields must have shape {expected}, got {np.shape(fields)}")
    return rim, np.array(fields, dtype, order="C").reshape(batch * channels, -1)


def _coefficients(taps, faces, scale, middle, q, shape, dtype):
    """Return taps from the centre outwards and the medium, of which one is void."""
    channels, ny, nx = shape
    nothing = np.empty((0, 0, 0), dtype)
    if (taps is None) == (faces is None):
        raise ValueError("give either taps or faces")
    if taps is not None:
        taps = np.asarray(taps, dtype=np.float64)
        if taps.ndim not in (2, 3) or not all(width % 2 for width in taps.shape[-2:]):
            raise ValueError(f"taps must have shape (Ky, Kx) or (C, Ky, Kx), odd, got {taps.shape}")
        if not (np.array_equal(taps, taps[..., ::-1]) and np.array_equal(taps, taps[..., ::-1, :])):
            raise ValueError("taps must be symmetric along each axis")
        taps = _per_channel(taps, channels, taps.shape[-2:])
        half = taps[:, taps.shape[1] // 2 :, taps.shape[2] // 2 :]
        return np.array(half, dtype, order="C"), Medium(nothing, nothing, *[np.empty((1, 1, 1), dtype)] * 3)
    faces = [np.require(face, dtype, "CW") for face in faces]
    for name, face, expected in zip("yx", faces, ((ny + 1, nx), (ny, nx + 1)), strict=True):
        if face.ndim != 3 or face.shape[0] not in (1, channels) or face.shape[1:] != expected:
            raise ValueError(f"faces along {name} must have shape {(channels, *expected)}, got {face.shape}")
    parts = [q, (1 + np.asarray(q)) / 2 if scale is None else scale, middle]
    varies = any(np.ndim(part) == 3 for part in parts)
    q, scale, middle = (_per_cell(part, channels, (ny, nx) if varies else (1, 1), dtype) for part in parts)
    faces = [np.broadcast_to(face, (max(part.shape[0] for part in faces), *face.shape[1:])) for face in faces]
    faces = [np.require(face, dtype, "CW") for face in faces]
    return np.zeros((channels, 2, 2), dtype), Medium(*faces, scale, middle, q)


def _per_channel(value, channels, shape):
    value = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(value, (channels, *shape))
    except ValueError:
        raise ValueError(
            f"one value for all channels or one for each of {channels} is needed, got {value.shape}"
        ) from None


def _per_cell(value, channels, shape, dtype):
    """Values (C, Ny, Nx) or (C, 1, 1) of values (), (C,) or (C, Ny, Nx)."""
    value = np.asarray(value)
    value = value[:, None, None] if value.ndim == 1 else value
    try:
        return np.require(np.broadcast_to(value, (channels, *shape)), dtype, "CW")
    except ValueError:
        raise ValueError(
            f"one value for all, one for each of {channels} channels or one for each cell is needed, got {value.shape}"
        ) from None


def _mask(mask, ny, nx):
    if mask is None:
        return np.empty((0, 0), bool)
    if np.shape(mask) != (ny, nx):
        raise ValueError(f"mask must have shape {(ny, nx)}, got {np.shape(mask)}")
    return np.require(mask, bool, "CW")


@compiled
def _advance_planes(buffers, first, last, order, given, sheet, physics, source, keeping):
    """Advance planes first…last − 1 one after the other, all of their steps."""
    flags = flush_denormals()
    for plane in range(first, last):
        for done in range(0, keeping.steps, order.depth):
            depth = min(order.depth, keeping.steps - done)
            for phase in range(2):
                regions = order.seams if phase else order.slabs
                for region in regions:
                    _advance(buffers[0], plane, region, done, depth, phase, given, sheet, physics, source, keeping)
    restore_denormals(flags)


@compiled
def _advance_regions(buffers, first, last, done, depth, regions, phase, given, sheet, physics, source, keeping):
    """Advance regions first…last − 1, counted through all planes, by `depth` steps after `done` ones."""
    flags = flush_denormals()
    for index in range(first, last):
        plane, region = index // len(regions), regions[index % len(regions)]
        _advance(buffers[plane], plane, region, done, depth, phase, given, sheet, physics, source, keeping)
    restore_denormals(flags)


@compiled
def _advance(levels, plane, region, done, depth, phase, given, sheet, physics, source, keeping):
    """Advance a region of a plane as a wavefront, loading its rows where nothing has been done before."""
    reach, loads = max(sheet.reach_y, 1), done == 0 and phase == 0
    lo, lo_slope, hi, hi_slope = region[0], region[1] * reach, region[2], region[3] * reach
    trial, channel = plane // physics.taps.shape[0], plane % physics.taps.shape[0]
    loaded = lo
    for place in range(lo - reach, hi + 2 * depth * reach):
        while loads and loaded < hi and (loaded <= place + reach or depth == 1):
            load_row(levels[0], loaded, given[0][plane, loaded], sheet)
            load_row(levels[1], loaded, given[1][plane, loaded], sheet)
            loaded += 1
        for s in range(depth):
            row = place - s * reach
            if lo + (s + 1) * lo_slope <= row < hi + (s + 1) * hi_slope:
                row %= sheet.ny
                step = done + s
                current, previous = levels[step % 2], levels[1 - step % 2]
                _step_row(current, previous, row, plane, channel, sheet, physics)
                _finish_row(previous, row, plane, trial, channel, step, sheet, physics, source, keeping)


@compiled
def _step_row(current, previous, row, plane, channel, sheet, physics):
    reflect_rows(current, row, sheet)
    if physics.medium.faces_y.size:
        step_row_in_medium(current, previous, row, channel, physics.medium, sheet)
    else:
        step_row(current, previous, row, physics.taps[channel], physics.q[channel], sheet)
    if physics.fields.shape[1]:
        absorb_row(current, previous, row, channel, physics.rim, physics.fields[plane], sheet)


@compiled
def _finish_row(level, row, plane, trial, channel, step, sheet, physics, source, keeping):
    """What follows when a row is new: inputs, the mask, the cells beyond its ends, and where it is kept."""
    cells = level[row, sheet.origin : sheet.origin + sheet.nx]
    inject(cells, source, trial, channel, step, row)
    if physics.mask.size:
        clamp(cells, physics.mask[row])
    w.extend(level[row], sheet.origin, sheet.nx, sheet.reach_x, sheet.sides, True, True)
    step += 1
    if keeping.every and step % keeping.every == 0:
        store_row(level, row, keeping.saved[step // keeping.every - 1, plane, row], sheet)
    if step >= keeping.steps - 1:
        store_row(level, row, keeping.ended[keeping.steps - step, plane, row], sheet)

"""Time loop of the two-way field on a sheet: leapfrog, two levels, any number of steps in one call."""

from __future__ import annotations

import numpy as np

from wavefield.loops.sheets.order import carry_out, plan
from wavefield.loops.sheets.planes import Cells, Faces, geometry, planes
from wavefield.loops.sheets.source import prepare_keeping, prepare_source
from wavefield.loops.sheets.twoway import Layers, Physics, advance
from wavefield.operators.rim import filters, rim_cells


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
    if (taps is None) == (faces is None):
        raise ValueError("give either taps or faces")
    second_difference = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])  # all that a rim asks of the taps of a medium
    half = _half(second_difference if taps is None else taps, channels, dtype)
    sheet = geometry(ny, nx, tuple(2 * reach - 1 for reach in half.shape[1:]), boundary, dtype)
    if taps is not None:
        swept, own_q, medium = _five_point(half), _per_channel(q, channels, ()).astype(dtype), ()
    else:
        swept, own_q, medium = _medium(faces, q, scale, middle, channels, sheet, dtype)
    layers = _layers(rim, rim_fields, boundary, now.shape, half, dtype)
    mask = _mask(mask, ny, nx)
    physics = Physics(half, own_q, medium, swept, mask, _inside(mask, sheet, dtype), layers)
    source = prepare_source(drive, encoder, now.shape, steps, dtype)
    keeping = prepare_keeping(every, out, 2, now.shape, steps, dtype)
    if steps == 0:
        keeping.ended[:] = (now.reshape(-1, ny, nx), before.reshape(-1, ny, nx))
    if steps == 1:
        keeping.ended[1] = now.reshape(keeping.ended[1].shape)
    count, parts = batch * channels, 2 + (mask.size > 0)  # that are read for a cell
    parts += medium.coefficients.shape[1] if medium else 0
    order = plan(sheet, count, steps, parts * now.itemsize, rim=layers.rim.y.width if layers else 0)
    levels = now.reshape(count, ny, nx), before.reshape(count, ny, nx)

    def move(buffers, first, last, done, until, phase):
        advance(buffers, first, last, done, until, phase, order, levels, sheet, physics, source, keeping)

    carry_out(order, sheet, count, 2, steps, float(steps) * now.size, dtype, move)
    ended = tuple(level.reshape(now.shape) for level in keeping.ended)
    return (*ended, layers.fields.reshape(batch, channels, -1)) if layers else ended


def _layers(rim, fields, boundary, shape, half, dtype):
    """Return the rim with its fields, which are copied, or () where there is none."""
    batch, channels, ny, nx = shape
    if rim is None or not (rim.y.width or rim.x.width):
        return ()
    if min(half.shape[1:]) < 2:
        raise ValueError(f"a rim needs taps at least 3 wide, got {half.shape}")
    for axis, profile, side, size in zip("yx", rim, boundary, (ny, nx), strict=True):
        if profile.width and (side != "absorbing" or profile.cell_a.size != size or profile.cell_a.dtype != dtype):
            raise ValueError(
                f"a rim along {axis} needs absorbing edges, {size} cells and {dtype}, got {side} edges, "
                f"{profile.cell_a.size} cells and {profile.cell_a.dtype}"
            )
    expected = (batch, channels, rim_cells(rim, (ny, nx)))
    if fields is None:
        fields = np.zeros(expected, dtype)
    if np.shape(fields) != expected:
        raise ValueError(f"rim_fields must have shape {expected}, got {np.shape(fields)}")
    fields = np.array(fields, dtype, order="C").reshape(batch * channels, -1)
    return Layers(rim, filters(half), fields)


def _half(taps, channels, dtype):
    """Taps (C, Ky, Kx) from the centre outwards."""
    taps = np.asarray(taps, dtype=np.float64)
    if taps.ndim not in (2, 3) or not all(width % 2 for width in taps.shape[-2:]):
        raise ValueError(f"taps must have shape (Ky, Kx) or (C, Ky, Kx), odd, got {taps.shape}")
    if not (np.array_equal(taps, taps[..., ::-1]) and np.array_equal(taps, taps[..., ::-1, :])):
        raise ValueError("taps must be symmetric along each axis")
    taps = _per_channel(taps, channels, taps.shape[-2:])
    return np.array(taps[:, taps.shape[1] // 2 :, taps.shape[2] // 2 :], dtype, order="C")


def _medium(faces, q, scale, middle, channels, sheet, dtype):
    """Return scale and middle of each channel, (C, 3), its q and the medium that varies."""
    cells = sheet.ny, sheet.nx
    faces = [np.asarray(face) for face in faces]
    for name, face, expected in zip("yx", faces, ((cells[0] + 1, cells[1]), (cells[0], cells[1] + 1)), strict=True):
        if face.ndim != 3 or face.shape[0] not in (1, channels) or face.shape[1:] != expected:
            raise ValueError(f"faces along {name} must have shape {(channels, *expected)}, got {face.shape}")
    parts = [(1 + np.asarray(q)) / 2 if scale is None else scale, middle, q]
    parts = [_uniform(part) for part in parts]  # what is the same everywhere is not read for every cell
    varies = any(np.ndim(part) == 3 for part in parts)
    parts = [_per_cell(part, channels, cells if varies else (1, 1)) for part in parts]
    count = channels if varies else max(len(face) for face in faces)
    laid = planes(count, 5 if varies else 2, sheet._replace(rows=sheet.ny + 1), dtype)
    laid[:] = 0
    columns = slice(sheet.origin, sheet.origin + sheet.nx + 1)
    laid[:, 0, :, columns][..., : sheet.nx] = faces[0]
    laid[:, 1, : sheet.ny, columns] = faces[1]
    if not varies:
        constants = np.stack([part[:, 0, 0] for part in parts], axis=1)
        return np.array(constants, dtype, order="C"), constants[:, 2].astype(dtype), Faces(laid)
    for k, part in enumerate(parts):
        laid[:, 2 + k, : sheet.ny, columns][..., : sheet.nx] = part
    return np.zeros((channels, 3), dtype), np.zeros(channels, dtype), Cells(laid)


def _per_channel(value, channels, shape):
    value = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(value, (channels, *shape))
    except ValueError:
        raise ValueError(
            f"one value for all channels or one for each of {channels} is needed, got {value.shape}"
        ) from None


def _per_cell(value, channels, shape):
    """Values (C, Ny, Nx) or (C, 1, 1) of values (), (C,) or (C, Ny, Nx)."""
    value = np.asarray(value)
    value = value[:, None, None] if value.ndim == 1 else value
    try:
        return np.broadcast_to(value, (channels, *shape))
    except ValueError:
        raise ValueError(
            f"one value for all, one for each of {channels} channels or one for each cell is needed, got {value.shape}"
        ) from None


def _uniform(value):
    """The values (C,) of an array (C, Ny, Nx) that does not vary within its channels, else the array."""
    value = np.asarray(value)
    return value[:, 0, 0] if value.ndim == 3 and (value == value[:, :1, :1]).all() else value


def _mask(mask, ny, nx):
    if mask is None:
        return np.empty((0, 0), bool)
    if np.shape(mask) != (ny, nx):
        raise ValueError(f"mask must have shape {(ny, nx)}, got {np.shape(mask)}")
    return np.require(mask, bool, "CW")


def _five_point(half):
    """a₀, a_x and a_y of each channel, of none where the stencil is another."""
    five = half.shape[1:] == (2, 2) and not half[:, 1, 1].any()
    return np.ascontiguousarray(half.reshape(len(half), -1)[:, :3]) if five else np.empty((0, 3), half.dtype)


def _inside(mask, sheet, dtype):
    """The mask as bits, one row after the other as in a plane that begins on a vector's address."""
    if not mask.size:
        return np.empty((0, 0), dtype)
    bits = planes(1, 1, sheet, dtype)[0, 0]
    bits[:] = 0
    whole = bits.view(f"i{bits.itemsize}")
    whole[: sheet.ny, sheet.origin : sheet.origin + sheet.nx] = -mask.astype(whole.dtype)
    return bits

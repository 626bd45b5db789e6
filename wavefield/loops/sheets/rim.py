"""Absorbing rims: layers at the edges of a sheet in which waves fade without being thrown back.

A convolutional perfectly matched layer for the equation of second order (Pasalic and McGarry, *SEG Technical Program
Expanded Abstracts* 2010, 2925–2929; Komatitsch and Martin, *Geophysics* 72, SM155, 2007). Along each axis the
derivative is stretched, ∂ → (1 − σ/(σ + α + iω))∂, by two fields that live in the layers of that axis alone,

    ψ[t] = b ψ[t−1] + a ∂h[t]                        at the faces between cells
    ζ[t] = b ζ[t−1] + a (∂∂h[t] + ∂ψ[t])             at the cells,      b = exp(−(σ + α)dt),  a = σ/(σ + α)·(b − 1)
    h[t+1] = … + (c dt/dx)² (∂ψ[t] + ζ[t])

with σ growing towards the edge as the fourth power of the depth and α falling to zero there. α keeps the layer stable
over long times: without it the fields of slow waves do not fade. σ and α are measured in the Courant number, so that a
layer of a given number of cells reflects the same at every time step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wavefield.loops.sheets.compilation import compiled

POWER = 4
SIGMA = 2.5  # σ·dx/c at the edge: least reflection up to 60° from 8 to 40 cells, for 10 to 30 cells a wavelength
ALPHA = 0.05  # α·dx/c inside


class Profile(NamedTuple):
    """a and b of the recursions along one axis: N cells, and N + 1 faces, face i before cell i."""

    width: int
    cell_a: np.ndarray  # (N,)
    cell_b: np.ndarray  # (N,)
    face_a: np.ndarray  # (N + 1,)
    face_b: np.ndarray  # (N + 1,)


class Rim(NamedTuple):
    """Layers along y and x, and what their corrections are multiplied by, (c dt/dx)² per axis times the local gain."""

    y: Profile
    x: Profile
    gain_y: np.ndarray  # (C, Ny, Nx), or (C, 1, 1) where it does not vary, C or 1
    gain_x: np.ndarray


def rim_profile(size: int, width: int, courant: float, dtype=np.float64) -> Profile:
    """Return the layers of `width` cells at both ends of an axis of `size` cells, none where width is 0.

    Parameters
    ----------
    size, width : int
        2·width < size.
    courant : float
        c·dt/dx along the axis, the largest where it varies.
    dtype : dtype
        Of the field.
    """
    if width < 0 or (width and 2 * width >= size):
        raise ValueError(f"rim must be narrower than half of the {size} cells along its axis, got {width} cells")
    if width == 0:
        return Profile(0, *[np.zeros(0, dtype)] * 4)
    cell, face = np.arange(size), np.arange(size + 1) - 0.5
    parts = []
    for place in (cell, face):
        depth = np.maximum(width - place, place - (size - 1 - width)) / width
        sigma = np.where(depth > 0, SIGMA * courant * np.maximum(depth, 0) ** POWER, 0)
        alpha = ALPHA * courant * np.clip(1 - depth, 0, 1)
        b = np.exp(-(sigma + alpha))
        a = np.where(sigma > 0, sigma / np.where(sigma > 0, sigma + alpha, 1) * (b - 1), 0)
        parts += [a.astype(dtype), b.astype(dtype)]
    return Profile(width, *parts)


def make_rim(size, width, courant, dtype=np.float64, *, gain=None) -> Rim:
    """Return the rim of a sheet of size (Ny, Nx).

    Parameters
    ----------
    size : (int, int)
    width : (int, int)
        Cells along y and x, 0 for an axis without layers.
    courant : (float, float)
        c·dt/dy and c·dt/dx, the largest where they vary.
    gain : pair of array_like, each (), (C,) or (C, Ny, Nx), optional
        What multiplies ∂²h in the new level, along y and x: by default courant², in a damped field that divided by
        1 + γdt/2, in a medium that varies its value at each cell.
    """
    profiles = [rim_profile(n, cells, c, dtype) for n, cells, c in zip(size, width, courant, strict=True)]
    gains = [np.asarray(part, dtype) for part in (np.square(courant) if gain is None else gain)]
    gains = [part if part.ndim == 3 else part.reshape(-1, 1, 1) for part in gains]
    return Rim(*profiles, *(np.require(part, dtype, "CW") for part in gains))


def rim_cells(rim: Rim, size: tuple[int, int]) -> int:
    """Number of values that the fields of a rim take for one channel."""
    (ny, nx), (wide_y, wide_x) = size, (rim.y.width, rim.x.width)
    return (4 * wide_y + 2) * nx * (wide_y > 0) + (4 * wide_x + 2) * ny * (wide_x > 0)


@compiled
def absorb_row(current, new, row, own, rim, fields, sheet):
    """Move the fields of the layers at a row by one step and add what they add to its new level.

    Rows come in order within a step, as the face above a row was moved with the row before it. `fields` are those of
    a plane: ψ and ζ of the layers along y, row by row, then ψ and ζ of those along x.
    """
    o, nx, ny, wide = sheet.origin, sheet.nx, sheet.ny, rim.y.width
    target = new[row, o : o + nx]
    if wide and (row <= wide or row >= ny - wide - 1):
        psi = fields[: (2 * wide + 2) * nx].reshape(2 * wide + 2, nx)
        zeta = fields[(2 * wide + 2) * nx : (4 * wide + 2) * nx].reshape(2 * wide, nx)
        here, place = current[row, o : o + nx], row + sheet.reach_y
        above, below = current[sheet.where[place - 1], o : o + nx], current[sheet.where[place + 1], o : o + nx]
        gains, varies = rim.gain_y[own % rim.gain_y.shape[0]], rim.gain_y.shape[2] > 1
        gain = gains[row if varies else 0]
        if row == 0:
            _move(psi[0], above, here, rim.y.face_a[0], rim.y.face_b[0])
        face = row + 1
        if face <= wide or face >= ny - wide:
            slot = face if face <= wide else face - (ny - 2 * wide - 1)
            _move(psi[slot], here, below, rim.y.face_a[face], rim.y.face_b[face])
        upper, lower = row, row + 1  # faces; of those outside a layer nothing is there
        a, b = rim.y.cell_a[row], rim.y.cell_b[row]
        if row == wide:
            flow = psi[upper]
            for i in range(nx):
                target[i] -= gain[i if varies else 0] * flow[i]
        elif row == ny - wide - 1:
            flow = psi[lower - (ny - 2 * wide - 1)]
            for i in range(nx):
                target[i] += gain[i if varies else 0] * flow[i]
        else:
            shift = 0 if row < wide else ny - 2 * wide - 1
            entering, leaving = psi[upper - shift], psi[lower - shift]
            own_zeta = zeta[row if row < wide else row - (ny - 2 * wide)]
            for i in range(nx):
                steep = leaving[i] - entering[i]
                own_zeta[i] = b * own_zeta[i] + a * (above[i] - 2 * here[i] + below[i] + steep)
                target[i] += gain[i if varies else 0] * (steep + own_zeta[i])
    wide = rim.x.width
    if wide:
        taken = (4 * rim.y.width + 2) * nx if rim.y.width else 0
        line = fields[taken + row * (4 * wide + 2) : taken + (row + 1) * (4 * wide + 2)]
        psi, zeta, cells = line[: 2 * wide + 2], line[2 * wide + 2 :], current[row, o - 1 : o + nx + 1]
        gains, varies = rim.gain_x[own % rim.gain_x.shape[0]], rim.gain_x.shape[2] > 1
        gain = gains[row if varies else 0]
        for side in range(2):  # the faces and cells of a layer, and where their fields are
            face, cell = (nx - wide, nx - wide) if side else (0, 0)
            flow, own_zeta = psi[side * (wide + 1) :], zeta[side * wide :]
            for i in range(wide + 1):
                steep = cells[face + i + 1] - cells[face + i]
                flow[i] = rim.x.face_b[face + i] * flow[i] + rim.x.face_a[face + i] * steep
            for i in range(wide):
                x = cell + i
                steep = flow[i + 1] - flow[i]
                bent = cells[x] - 2 * cells[x + 1] + cells[x + 2] + steep
                own_zeta[i] = rim.x.cell_b[x] * own_zeta[i] + rim.x.cell_a[x] * bent
                target[x] += gain[x if varies else 0] * (steep + own_zeta[i])
        target[wide] -= gain[wide if varies else 0] * psi[wide]
        inner = nx - wide - 1
        target[inner] += gain[inner if varies else 0] * psi[wide + 1]


@compiled
def _move(psi, before, after, a, b):
    for i in range(psi.size):
        psi[i] = b * psi[i] + a * (after[i] - before[i])

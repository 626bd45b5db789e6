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
from numba import types
from numba.extending import overload

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
    """Layers along y and along x."""

    y: Profile
    x: Profile


class Filters(NamedTuple):
    """The stencil along each axis as a second difference of a filtered field, Σ_k a_k (S^k − 2 + S^−k) = δ²·filter.

        filter = Σ_m along[m]·(S^m + S^−m) + across·(one cell to either side of the other axis)

    The layers stretch the second difference, and so fit the stencil inside: where they did not, waves too short to be
    resolved would grow.
    """

    along_y: np.ndarray  # (C, reach_y)
    across_y: np.ndarray  # (C,)
    along_x: np.ndarray  # (C, reach_x)
    across_x: np.ndarray  # (C,)


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


def make_rim(size, width, courant, dtype=np.float64) -> Rim:
    """Return the rim of a sheet of size (Ny, Nx), `width` cells along each axis, as `rim_profile` makes it."""
    profiles = [rim_profile(n, cells, c, dtype) for n, cells, c in zip(size, width, courant, strict=True)]
    return Rim(*profiles)


def rim_cells(rim: Rim, size: tuple[int, int]) -> int:
    """Number of values that the fields of a rim take for one channel."""
    (ny, nx), (wide_y, wide_x) = size, (rim.y.width, rim.x.width)
    return (4 * wide_y + 2) * nx * (wide_y > 0) + (4 * wide_x + 2) * ny * (wide_x > 0)


def filters(half: np.ndarray) -> Filters:
    """Return the filters of taps (C, reach_y + 1, reach_x + 1), from the centre outwards, a cross or 3 × 3."""
    corners = half[:, 1:, 1:]
    if corners.any() and half.shape[1:] != (2, 2):
        raise ValueError("a rim needs taps that are a cross or 3 × 3")
    corner = half[:, 1, 1] if half.shape[1:] == (2, 2) else np.zeros(len(half), half.dtype)
    parts = []
    for axis_taps in (half[:, :, 0], half[:, 0, :]):
        reach = axis_taps.shape[1] - 1
        k, m = np.arange(1, reach + 1), np.arange(reach)
        along = axis_taps[:, 1:] @ np.maximum(k[:, None] - m, 0)
        if reach == 1:  # corners are second differences along one axis and smoothing along the other
            along = along + 2 * corner[:, None]
        parts += [np.ascontiguousarray(along, half.dtype), np.ascontiguousarray(corner / 2)]
    return Filters(*parts)


@compiled
def absorb_row(current, new, row, channel, rim, fields, filters, medium, taps, scratch, sheet):
    """Move the fields of the layers at a row by one step and add what they add to its new level.

    Rows come in order within a step, as the face above a row was moved with the row before it. `fields` are those of
    a plane: ψ and ζ of the layers along y, row by row, then ψ and ζ of those along x.
    """
    ny, nx, wide = sheet.ny, sheet.nx, rim.y.width
    target = new[row, sheet.origin : sheet.origin + nx]
    if wide and (row <= wide or row >= ny - wide - 1):
        psi = fields[: (2 * wide + 2) * nx].reshape(2 * wide + 2, nx)
        zeta = fields[(2 * wide + 2) * nx : (4 * wide + 2) * nx].reshape(2 * wide, nx)
        above, here, below, added = scratch[0, :nx], scratch[1, :nx], scratch[2, :nx], scratch[3, :nx]
        for shift, filtered in ((-1, above), (0, here), (1, below)):
            _filter_y(filtered, current, row + shift, 0, filters, channel, sheet)
        if row == 0:
            _move(psi[0], above, here, rim.y.face_a[0], rim.y.face_b[0])
        bottom = row >= ny - wide - 1
        shift = ny - 2 * wide - 1 if bottom else 0  # of the faces, by what lies between the layers
        if row != wide:
            _move(psi[row + 1 - shift], here, below, rim.y.face_a[row + 1], rim.y.face_b[row + 1])
        if row == wide:  # beyond the last face of a layer there is nothing
            for i in range(nx):
                added[i] = -psi[row, i]
        elif row == ny - wide - 1:
            for i in range(nx):
                added[i] = psi[row + 1 - shift, i]
        else:
            _bend(
                added, zeta[row - shift - bottom],
                psi[row - shift], psi[row + 1 - shift], above, here, below, rim.y.cell_a[row], rim.y.cell_b[row],
            )  # fmt: skip
        _add_local(target, added, row, channel, sheet.origin, 0, medium, taps)
    wide = rim.x.width
    if wide:
        taken = (4 * rim.y.width + 2) * nx if rim.y.width else 0
        line = fields[taken + row * (4 * wide + 2) : taken + (row + 1) * (4 * wide + 2)]
        for side in range(2):
            _absorb_side(target, current, row, channel, side, line, rim.x, filters, medium, taps, scratch, sheet)


@compiled
def _absorb_side(target, current, row, channel, side, line, layer, filters, medium, taps, scratch, sheet):
    """The layer at the left or the right of a row."""
    wide, first = layer.width, sheet.nx - layer.width if side else 0  # of its cells and faces
    psi, zeta = line[side * (wide + 1) : (side + 1) * (wide + 1)], line[(2 + side) * wide + 2 : (3 + side) * wide + 2]
    cells, added = scratch[0, : wide + 2], scratch[3, : wide + 1]
    _filter_x(cells, current, row, first - 1, filters, channel, sheet)
    for i in range(wide + 1):
        psi[i] = layer.face_b[first + i] * psi[i] + layer.face_a[first + i] * (cells[i + 1] - cells[i])
    inner = 0 if side else wide  # where the cell that only touches the layer stands among those that are added to
    added[inner] = psi[0] if side else -psi[wide]
    for i in range(wide):
        steep, a, b = psi[i + 1] - psi[i], layer.cell_a[first + i], layer.cell_b[first + i]
        zeta[i] = b * zeta[i] + a * ((cells[i] - cells[i + 1]) + (cells[i + 2] - cells[i + 1]) + steep)
        added[i + side] = steep + zeta[i]
    _add_local(
        target[first - side : first - side + wide + 1],
        added,
        row,
        channel,
        sheet.origin + first - side,
        1,
        medium,
        taps,
    )


@compiled
def _bend(added, zeta, entering, leaving, above, here, below, a, b):
    for i in range(zeta.size):
        steep = leaving[i] - entering[i]
        zeta[i] = b * zeta[i] + a * ((above[i] - here[i]) + (below[i] - here[i]) + steep)
        added[i] = steep + zeta[i]


def _add_local(target, added, row, channel, first, along_x, medium, taps):
    """Add to cells from `first` on; in a medium that varies, times its local gain, the mean of both faces."""


@overload(_add_local)
def _add_local_by_type(target, added, row, channel, first, along_x, medium, taps):
    if isinstance(medium, types.BaseNamedTuple):
        return _add_in_medium

    def add_as_it_is(target, added, row, channel, first, along_x, medium, taps):
        for i in range(added.size):
            target[i] += added[i]

    return add_as_it_is


def _add_in_medium(target, added, row, channel, first, along_x, medium, taps):
    parts = medium.coefficients[channel % medium.coefficients.shape[0]]
    near, far = parts[along_x, row, first:], parts[along_x, row + 1 - along_x, first + along_x :]
    for i in range(added.size):
        scale = parts[2, row, first + i] if parts.shape[0] > 2 else taps[0]
        target[i] += scale * (near[i] + far[i]) / 2 * added[i]


@compiled
def _filter_y(target, current, row, first, filters, channel, sheet):
    """The filtered field along y at cells from `first` of a row, which may lie one beyond the sheet."""
    place, n = row + sheet.reach_y, target.size
    start = sheet.origin + first
    own = current[sheet.where[place], start - 1 : start + n + 1]
    along, across = filters.along_y[channel], filters.across_y[channel]
    for i in range(n):
        target[i] = along[0] * own[i + 1]
    if across != 0:
        for i in range(n):
            target[i] += across * (own[i] - 2 * own[i + 1] + own[i + 2])
    for m in range(1, along.size):
        one, other = current[sheet.where[place - m], start:], current[sheet.where[place + m], start:]
        for i in range(n):
            target[i] += along[m] * (one[i] + other[i])


@compiled
def _filter_x(target, current, row, first, filters, channel, sheet):
    """The filtered field along x at cells from `first` of a row, which may be −1."""
    start, n, place = sheet.origin + first, target.size, row + sheet.reach_y
    cells, along, across = current[row], filters.along_x[channel], filters.across_x[channel]
    for i in range(n):
        target[i] = along[0] * cells[start + i]
    if across != 0:
        one, other = current[sheet.where[place - 1]], current[sheet.where[place + 1]]
        for i in range(start, start + n):
            target[i - start] += across * (one[i] - 2 * cells[i] + other[i])
    for m in range(1, along.size):
        for i in range(start, start + n):
            target[i - start] += along[m] * (cells[i - m] + cells[i + m])


@compiled
def _move(psi, before, after, a, b):
    for i in range(psi.size):
        psi[i] = b * psi[i] + a * (after[i] - before[i])

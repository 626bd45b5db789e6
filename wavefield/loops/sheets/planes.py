"""Planes: the memory in which a sheet is moved, and what stands beyond its edges.

A plane is one channel of one trial. Its rows lie one after the other, each with a margin on either side,

    margin | Nx cells | margin,      origin = index of the first cell, on a vector's address,

and below them one row of zeros and, for fixed edges, the rows that are reflected with the other sign. Cells beyond the
sides are written into the margins whenever a row is new; rows beyond the top and the bottom are not written at all but
found: `where` says which row stands there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wavefield.loops import tiles as w
from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.stencil import VECTOR_BYTES
from wavefield.operators.step_matrix import reflect

BOUNDARIES = {"periodic": w.PERIODIC, "fixed": w.FIXED, "free": w.FREE, "absorbing": w.ZERO, "open": w.ZERO}


class Faces(NamedTuple):
    """A medium whose conductances alone vary, laid out as planes (C or 1, 2, Ny + 1, stride).

    Those are the faces above every cell and left of every cell; the last face of a row or a column stands one further.
    """

    coefficients: np.ndarray


class Cells(NamedTuple):
    """A medium of which all varies: beside the faces scale, middle and q, (C, 5, Ny + 1, stride)."""

    coefficients: np.ndarray


class Geometry(NamedTuple):
    """A sheet of ny × nx cells and a stencil that reaches `reach_y` rows and `reach_x` cells to either side."""

    ny: int
    nx: int
    reach_y: int
    reach_x: int
    periodic: bool  # the rows are a ring
    sides: int  # boundary of every row at its left and right end
    where: np.ndarray  # (ny + 2·reach_y,) row of the plane that stands at logical row −reach_y…
    negative: np.ndarray  # (ny + 2·reach_y,) row whose negative stands there, or −1
    origin: int
    rows: int
    stride: int  # cells from row to row


def geometry(ny: int, nx: int, kernel: tuple[int, int], boundary, dtype) -> Geometry:
    """Lay out a sheet for a kernel (Ky, Kx) and a boundary for each axis."""
    if len(boundary) != 2 or not set(boundary) <= set(BOUNDARIES):
        raise ValueError(f"boundary must be a pair of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if ny < 1 or nx < 1:
        raise ValueError(f"a sheet needs at least one row and one column, got {ny} × {nx}")
    reach_y, reach_x = kernel[0] // 2, kernel[1] // 2
    row, sign = reflect(np.arange(-reach_y, ny + reach_y), ny, boundary[0])
    where = np.where(sign == 1, row, ny)  # row ny is zero throughout
    negative = np.where(sign == -1, row, -1)
    ghosts = np.flatnonzero(sign == -1)
    where[ghosts] = ny + 1 + np.arange(ghosts.size)
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    margin = max(-(-reach_x // lanes), 1)
    vectors = 2 * margin + -(-nx // lanes) + 1
    return Geometry(
        ny, nx, reach_y, reach_x, boundary[0] == "periodic", BOUNDARIES[boundary[1]],
        where.astype(np.int64), negative.astype(np.int64),
        margin * lanes, ny + 1 + ghosts.size, (vectors + 1 - vectors % 2) * lanes,  # odd: rows meet in no cache set
    )  # fmt: skip


def planes(count: int, levels: int, sheet: Geometry, dtype) -> np.ndarray:
    """Return planes (count, levels, rows, stride) that begin on a vector's address, of which the row of zeros is set.

    What else is read has been written: rows are loaded, and continued beyond their sides.
    """
    size, lanes = count * levels * sheet.rows * sheet.stride, VECTOR_BYTES // np.dtype(dtype).itemsize
    raw = np.empty(size + lanes, dtype)
    skip = -(raw.ctypes.data // raw.itemsize) % lanes
    made = raw[skip : skip + size].reshape(count, levels, sheet.rows, sheet.stride)
    made[:, :, sheet.ny] = 0
    return made


@compiled
def extend_row(level, row, origin, cells, reach, sides):
    """Continue a row beyond its sides, by one cell or by `reach`."""
    if reach == 1 and cells > 1:
        first, last = origin, origin + cells - 1
        if sides == w.PERIODIC:
            level[row, first - 1], level[row, last + 1] = level[row, last], level[row, first]
        elif sides == w.FREE:
            level[row, first - 1], level[row, last + 1] = level[row, first + 1], level[row, last - 1]
        else:
            level[row, first - 1] = level[row, last + 1] = 0
    else:
        w.extend(level[row], origin, cells, reach, sides, True, True)


@compiled
def load_row(level, row, cells, sheet):
    """Put the cells of a row into a plane, and continue them beyond the sides."""
    target = level[row, sheet.origin : sheet.origin + cells.size]
    for i in range(cells.size):
        target[i] = cells[i]
    extend_row(level, row, sheet.origin, sheet.nx, sheet.reach_x, sheet.sides)


@compiled
def reflect_rows(level, row, sheet):
    """Write the negative rows beyond fixed edges that a stencil at `row` reads."""
    for place in range(row, row + 2 * sheet.reach_y + 1):
        source = sheet.negative[place]
        if source >= 0:
            target, found = level[sheet.where[place]], level[source]
            for i in range(target.size):
                target[i] = -found[i]

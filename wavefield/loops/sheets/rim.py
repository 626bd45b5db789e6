"""Moving the layers of an absorbing rim: see `wavefield.operators.rim` for what they are."""

from __future__ import annotations

from numba import types
from numba.extending import overload

from wavefield.loops.sheets.compilation import compiled


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

"""Stencils on one row: the next level of a row from the rows about it, in plain loops."""

from __future__ import annotations

import math

from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.stencil import fma

NONLINEARITIES = {"identity": 0, "relu": 1, "tanh": 2}
RELU, TANH = NONLINEARITIES["relu"], NONLINEARITIES["tanh"]


@compiled
def step_row(current, previous, row, taps, q, sheet):
    """Put the next level of a row into `previous`; taps (reach_y + 1, reach_x + 1) from the centre outwards."""
    o, n = sheet.origin, sheet.nx
    old, here = previous[row, o : o + n], current[row]
    centre, a = here[o : o + n], taps[0, 0]
    for i in range(n):
        old[i] = fma(a, centre[i], -q * old[i])
    for k in range(1, taps.shape[1]):
        _add_pair(old, here[o - k : o - k + n], here[o + k : o + k + n], taps[0, k])
    place = row + sheet.reach_y
    for j in range(1, taps.shape[0]):
        above, below = current[sheet.where[place - j]], current[sheet.where[place + j]]
        _add_pair(old, above[o : o + n], below[o : o + n], taps[j, 0])
        for k in range(1, taps.shape[1]):
            a = taps[j, k]
            if a != 0:
                left_above, right_above = above[o - k : o - k + n], above[o + k : o + k + n]
                left_below, right_below = below[o - k : o - k + n], below[o + k : o + k + n]
                for i in range(n):
                    corners = (left_above[i] + left_below[i]) + (right_above[i] + right_below[i])
                    old[i] = fma(a, corners, old[i])


@compiled
def _add_pair(target, one, other, a):
    if a != 0:
        for i in range(target.size):
            target[i] = fma(a, one[i] + other[i], target[i])


@compiled
def clamp(row, inside):
    """Set the cells outside a mask to zero."""
    for i in range(inside.size):
        row[i] = row[i] if inside[i] else row.dtype.type(0)


@compiled
def correlate_row(new, field, row, terms, output, sheet):
    """new[row] = Σ weight·field[channel, row + j, i + k] over the terms of one output, four terms in a pass."""
    o, n, place = sheet.origin, sheet.nx, row + sheet.reach_y
    target, e, end = new[row, o : o + n], terms.start[output], terms.start[output + 1]
    if e == end:
        target[:] = 0
        return
    u, a = _source(field, terms, e, place, o, n, sheet), terms.weight[e]
    for i in range(n):
        target[i] = a * u[i]
    e += 1
    while e + 4 <= end:
        u, v = _source(field, terms, e, place, o, n, sheet), _source(field, terms, e + 1, place, o, n, sheet)
        x, y = _source(field, terms, e + 2, place, o, n, sheet), _source(field, terms, e + 3, place, o, n, sheet)
        a, b, c, d = terms.weight[e], terms.weight[e + 1], terms.weight[e + 2], terms.weight[e + 3]
        for i in range(n):
            target[i] = fma(d, y[i], fma(c, x[i], fma(b, v[i], fma(a, u[i], target[i]))))
        e += 4
    for f in range(e, end):
        u, a = _source(field, terms, f, place, o, n, sheet), terms.weight[f]
        for i in range(n):
            target[i] = fma(a, u[i], target[i])


@compiled
def _source(field, terms, e, place, origin, n, sheet):
    """What term e multiplies: a row of its channel, shifted."""
    first = origin + terms.column[e]
    return field[terms.channel[e], sheet.where[place + terms.row[e]], first : first + n]


@compiled
def add(row, what):
    for i in range(row.size):
        row[i] += what[i]


@compiled
def bend(row, nonlinearity):
    zero = row.dtype.type(0)
    if nonlinearity == RELU:
        for i in range(row.size):
            row[i] = zero if row[i] < zero else row[i]  # NaN stays NaN
    elif nonlinearity == TANH:
        for i in range(row.size):
            row[i] = math.tanh(row[i])

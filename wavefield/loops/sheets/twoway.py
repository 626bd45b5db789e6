"""The compiled part of `leapfrog`: regions of a plane moved as wavefronts, see `order`.

A medium that varies and layers that absorb are types of their own, absent where they are the empty tuple: what is not
asked for is not compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.sheets.order import steps_at
from wavefield.loops.sheets.planes import Cells, Faces, extend_row, load_row, reflect_rows
from wavefield.loops.sheets.rim import absorb_row
from wavefield.loops.sheets.rows import clamp, step_row
from wavefield.loops.sheets.source import enters, inject, keep_row
from wavefield.loops.sheets.vectors import FUSED, sweep, sweep_between_faces, sweep_in_medium
from wavefield.operators.rim import Filters, Rim


class Layers(NamedTuple):
    """The rim of a sheet: its profile, how it fits the stencil, and its fields (planes, cells), moved in place."""

    rim: Rim
    filters: Filters
    fields: np.ndarray


class Physics(NamedTuple):
    """One step of every channel."""

    taps: np.ndarray  # (C, reach_y + 1, reach_x + 1) from the centre outwards
    q: np.ndarray  # (C,)
    medium: Faces | Cells | tuple[()]
    five: np.ndarray  # (C, 3) a₀, a_x, a_y of a five-point stencil, in a medium scale, middle, 0; else (0, 3)
    mask: np.ndarray  # (Ny, Nx) bool, or (0, 0) where there is none
    inside: np.ndarray  # the same as bits of the field's dtype, laid out as a plane
    layers: Layers | tuple[()]


@compiled
def advance(buffers, first, last, done, until, phase, order, given, sheet, physics, source, keeping):
    """Advance planes first…last − 1 from step `done` to `until`; or, in a phase ≥ 0, regions counted through all."""
    flags = flush_denormals()
    whole = phase < 0
    for index in range(first, last):
        count = 1 if whole else len(order.seams if phase else order.slabs)
        plane, own = index // count, index % count
        for start in range(done, until, order.depth):
            depth = min(order.depth, until - start)
            for now in range(0 if whole else phase, 2 if whole else phase + 1):
                regions = order.seams if now else order.slabs
                for k in range(0 if whole else own, len(regions) if whole else own + 1):
                    levels = buffers[0 if whole else plane]
                    _advance(levels, plane, regions[k], start, depth, now, given, sheet, physics, source, keeping)
    restore_denormals(flags)


@compiled
def _advance(levels, plane, region, done, depth, phase, given, sheet, physics, source, keeping):
    """Advance a region of a plane as a wavefront, loading its rows where nothing has been done before."""
    reach, ny, periodic = max(sheet.reach_y, 1), sheet.ny, sheet.periodic
    lo, hi, loads = region[0], region[2], done == 0 and phase == 0
    trial, channel = plane // physics.taps.shape[0], plane % physics.taps.shape[0]
    even, odd, where, inside = levels[0], levels[1], sheet.where, physics.inside
    swept = physics.five.size > 0
    taps, q = physics.five[channel if swept else 0], physics.q[channel]
    rimmed, driven = len(physics.layers) > 0, source.drive.size + source.movie.size > 0
    keeps = keeping.every > 0 or done + depth >= keeping.steps - 1
    saved, ended = keeping.saved, keeping.ended
    rows, scratch = np.empty(FUSED + 2, np.int64), np.empty((4, sheet.stride), levels.dtype)
    loaded = lo
    for place in range(lo - reach, hi + 2 * depth * reach):
        while loads and loaded < hi and (loaded <= place + reach or depth == 1):
            load_row(even, loaded, given[0][plane, loaded], sheet)
            load_row(odd, loaded, given[1][plane, loaded], sheet)
            loaded += 1
        s, end = steps_at(place, region, reach, depth)
        while s < end:
            row, step, count = place - s * reach, done + s, 1
            if swept:
                if s + FUSED <= end and not rimmed:
                    count = FUSED
                    if driven and not _quiet(source, trial, channel, step, row, ny):
                        count = 1
                for k in range(count + 2):
                    beside = row + 1 - k
                    rows[k] = beside % ny if periodic else where[beside + 1]
                if step % 2 == 0:
                    _sweep(even, odd, inside, rows, count, taps, q, channel, physics.medium, sheet.origin, sheet.nx)
                else:
                    _sweep(odd, even, inside, rows, count, taps, q, channel, physics.medium, sheet.origin, sheet.nx)
            else:
                current, previous = (even, odd) if step % 2 == 0 else (odd, even)
                reflect_rows(current, row % ny, sheet)
                step_row(current, previous, row % ny, physics.taps[channel], q, sheet)
            for f in range(count):
                at, level = (row - f) % ny, even if (step + f) % 2 else odd
                if count == 1 and (driven or rimmed or (inside.size and not swept)):
                    _add_to_row(
                        odd if step % 2 else even,
                        level,
                        at,
                        plane,
                        trial,
                        channel,
                        step,
                        sheet,
                        physics,
                        source,
                        scratch,
                    )
                extend_row(level, at, sheet.origin, sheet.nx, sheet.reach_x, sheet.sides)
                if keeps:
                    keep_row(level, at, plane, step + f + 1, keeping, saved, ended, sheet)
            s += count


@compiled
def _quiet(source, trial, channel, step, row, ny):
    """Whether nothing enters the rows of a sweep."""
    quiet = True
    for f in range(FUSED):
        quiet &= not enters(source, trial, channel, step + f, (row - f) % ny)
    return quiet


def _sweep(current, previous, inside, rows, count, taps, q, channel, medium, origin, cells):
    """Move `count` rows, in a medium or without."""


@overload(_sweep)
def _sweep_by_type(current, previous, inside, rows, count, taps, q, channel, medium, origin, cells):
    if not isinstance(medium, types.BaseNamedTuple):
        return lambda current, previous, inside, rows, count, taps, q, channel, medium, origin, cells: sweep(
            current, previous, inside, rows, count, taps, q, inside, origin, cells
        )
    form = register_jitable(sweep_between_faces if medium.instance_class is Faces else sweep_in_medium)

    def within(current, previous, inside, rows, count, taps, q, channel, medium, origin, cells):
        own = medium.coefficients[channel % medium.coefficients.shape[0]]
        form(current, previous, inside, rows, count, taps, q, own, origin, cells)

    return within


def _absorb_row(current, level, row, plane, channel, layers, medium, taps, scratch, sheet):
    """What the layers of a rim add to a row."""


@overload(_absorb_row)
def _absorb_row_by_type(current, level, row, plane, channel, layers, medium, taps, scratch, sheet):
    if isinstance(layers, types.BaseNamedTuple):
        return lambda current, level, row, plane, channel, layers, medium, taps, scratch, sheet: absorb_row(
            current, level, row, channel, layers.rim, layers.fields[plane], layers.filters, medium, taps, scratch, sheet
        )
    return lambda current, level, row, plane, channel, layers, medium, taps, scratch, sheet: None


@compiled
def _add_to_row(current, level, row, plane, trial, channel, step, sheet, physics, source, scratch):
    """What a stencil leaves out: layers, inputs and, after them, the mask."""
    _absorb_row(
        current,
        level,
        row,
        plane,
        channel,
        physics.layers,
        physics.medium,
        physics.five[channel if physics.five.size else 0],
        scratch,
        sheet,
    )
    cells = level[row, sheet.origin : sheet.origin + sheet.nx]
    inject(cells, source, trial, channel, step, row)
    if physics.mask.size:
        clamp(cells, physics.mask[row])

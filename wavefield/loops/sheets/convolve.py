"""Time loop of fields of one level on a sheet: convolutions that join channels, transport among them.

    h[t+1] = σ( u ⋆ h[t] + V x[t] + b )

A plane of the loop is one channel, and the channels of a trial are moved together. A kernel is kept as the list of its
nonzero weights, so that what is not there costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.sheets.order import carry_out, plan, steps_at
from wavefield.loops.sheets.planes import extend_row, geometry, load_row, reflect_rows
from wavefield.loops.sheets.rows import NONLINEARITIES, add, bend, clamp, correlate_row
from wavefield.loops.sheets.source import inject, keep_row, prepare_keeping, prepare_source


class Terms(NamedTuple):
    """Nonzero weights: start[o]…start[o + 1] − 1 are what channel o sums, in order of input channel and tap."""

    start: np.ndarray  # (C + 1,)
    channel: np.ndarray  # (terms,)
    row: np.ndarray  # (terms,) j − Ky//2
    column: np.ndarray  # (terms,) k − Kx//2
    weight: np.ndarray  # (terms,)


class Rule(NamedTuple):
    """One step of all channels, as the compiled loop wants it."""

    terms: Terms
    bias: np.ndarray  # (C, Ny, Nx), or empty
    nonlinearity: int
    mask: np.ndarray  # (Ny, Nx) bool, or empty


def sheet_convolve(
    now,
    *,
    kernel,
    bias=None,
    nonlinearity="identity",
    boundary=("periodic", "periodic"),
    mask=None,
    steps,
    drive=None,
    encoder=None,
    every=0,
    out=None,
):
    """Advance a field of one level on a sheet; returns the last level, a new array.

        h_o[t+1] = σ( Σ_{i,j,k} kernel[o, i, j, k]·h_i[y + j − Ky//2, x + k − Kx//2][t] + Σ encoder·drive[t] + b_o )

    Parameters
    ----------
    now : ndarray, shape (B, C, Ny, Nx), float32 or float64
    kernel : array_like, shape (C, C, Ky, Kx)
        Odd in both widths.
    bias : array_like, shape (C, Ny, Nx), optional
    nonlinearity : {"identity", "relu", "tanh"}
    boundary, mask, steps, drive, encoder, every, out
        As in `leapfrog.sheet_leapfrog`.
    """
    now = np.require(now, requirements="CW")  # a read-only array is another type, and compiled for anew
    kernel, dtype = np.asarray(kernel), now.dtype
    if now.ndim != 4 or dtype not in (np.float32, np.float64):
        raise ValueError(f"now must be a float32 or float64 array (B, C, Ny, Nx), got {dtype} {now.shape}")
    batch, channels, ny, nx = now.shape
    if kernel.ndim != 4 or kernel.shape[:2] != (channels, channels) or not all(n % 2 for n in kernel.shape[2:]):
        raise ValueError(f"kernel must have shape (C={channels}, C, Ky, Kx), widths odd, got {kernel.shape}")
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity must be one of {', '.join(NONLINEARITIES)}, got {nonlinearity!r}")
    if bias is not None and np.shape(bias) != now.shape[1:]:
        raise ValueError(f"bias must have shape {now.shape[1:]}, got {np.shape(bias)}")
    if mask is not None and np.shape(mask) != (ny, nx):
        raise ValueError(f"mask must have shape {(ny, nx)}, got {np.shape(mask)}")
    output, channel, j, k = np.nonzero(kernel)
    shifts = j - kernel.shape[2] // 2, k - kernel.shape[3] // 2
    start = np.searchsorted(output, np.arange(channels + 1))
    terms = Terms(
        *(part.astype(np.int64) for part in (start, channel, *shifts)), kernel[output, channel, j, k].astype(dtype)
    )
    sheet = geometry(ny, nx, kernel.shape[2:], boundary, dtype)
    rule = Rule(
        terms,
        np.empty((0, 0, 0), dtype) if bias is None else np.require(bias, dtype, "CW"),
        NONLINEARITIES[nonlinearity],
        np.empty((0, 0), bool) if mask is None else np.require(mask, bool, "CW"),
    )
    source = prepare_source(drive, encoder, now.shape, steps, dtype)
    keeping = prepare_keeping(every, out, 1, now.shape, steps, dtype)
    if steps == 0:
        return now.copy()
    given = now.reshape(batch * channels, ny, nx)
    order = plan(sheet, batch, steps, 2 * channels * now.itemsize)

    def move(buffers, first, last, done, until, phase):
        _advance_trials(buffers, first, last, done, until, phase, order, given, sheet, rule, source, keeping)

    work = float(steps) * batch * ny * nx * max(terms.weight.size, 1)
    carry_out(order, sheet, batch, 2 * channels, steps, work, dtype, move)
    return keeping.ended[0].reshape(now.shape)


@compiled
def _advance_trials(buffers, first, last, done, until, phase, order, given, sheet, rule, source, keeping):
    """Advance trials first…last − 1 from step `done` to `until`; or, in a phase ≥ 0, regions counted through all."""
    flags = flush_denormals()
    whole = phase < 0
    for index in range(first, last):
        count = 1 if whole else len(order.seams if phase else order.slabs)
        trial, own = index // count, index % count
        for start in range(done, until, order.depth):
            depth = min(order.depth, until - start)
            for now in range(0 if whole else phase, 2 if whole else phase + 1):
                regions = order.seams if now else order.slabs
                for k in range(0 if whole else own, len(regions) if whole else own + 1):
                    levels = buffers[0 if whole else trial]
                    _advance(levels, trial, regions[k], start, depth, now, given, sheet, rule, source, keeping)
    restore_denormals(flags)


@compiled
def _advance(levels, trial, region, done, depth, phase, given, sheet, rule, source, keeping):
    """Advance a region of all channels as a wavefront, loading its rows where nothing has been done before."""
    reach, loads, channels = max(sheet.reach_y, 1), done == 0 and phase == 0, levels.shape[0] // 2
    lo, hi, loaded = region[0], region[2], region[0]
    for place in range(lo - reach, hi + 2 * depth * reach):
        while loads and loaded < hi and (loaded <= place + reach or depth == 1):
            for c in range(channels):
                load_row(levels[c], loaded, given[trial * channels + c, loaded], sheet)
            loaded += 1
        begin, end = steps_at(place, region, reach, depth)
        for s in range(begin, end):
            row, parity = (place - s * reach) % sheet.ny, (done + s) % 2 * channels
            current, following = levels[parity : parity + channels], levels[channels - parity :]
            for c in range(channels):
                reflect_rows(current[c], row, sheet)
            for c in range(channels):
                correlate_row(following[c], current, row, rule.terms, c, sheet)
                _finish_row(following[c], row, trial, c, done + s + 1, sheet, rule, source, keeping)


@compiled
def _finish_row(level, row, trial, channel, step, sheet, rule, source, keeping):
    """What follows when the sum of a row is there: bias, inputs, bending, mask, sides, and where it is kept."""
    cells = level[row, sheet.origin : sheet.origin + sheet.nx]
    if rule.bias.size:
        add(cells, rule.bias[channel, row])
    inject(cells, source, trial, channel, step - 1, row)
    if rule.nonlinearity:
        bend(cells, rule.nonlinearity)
    if rule.mask.size:
        clamp(cells, rule.mask[row])
    extend_row(level, row, sheet.origin, sheet.nx, sheet.reach_x, sheet.sides)
    plane = trial * (rule.terms.start.size - 1) + channel
    keep_row(level, row, plane, step, keeping, keeping.saved, keeping.ended, sheet)

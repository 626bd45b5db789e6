"""The backward pass of the recurrence for one group of samples over one segment of time.

    δ[t] = ( uᵀ ⋆ δ[t+1] + ∂L/∂h[t] ) · σ'(h[t])          uᵀ: channels exchanged, taps reversed
    ∂u  += Σ_n δ[t] h[t−1] shifted,   ∂b += δ[t],   ∂V += δ[t] x[t−1],   ∂x[t−1] = Vᵀ δ[t]

σ' is read off the activity (h > 0, or 1 − h²), so that the states are all that must be kept. Layouts are those of
`forward`. Sums over samples are kept lane by lane and added up at the end of a segment, sums over groups by the
caller: the order never changes. Of a step that started from zero δ counts for ∂b, ∂V and ∂x alone. A sample that has
ended has δ = 0, since no gradient is given for it.
"""

from typing import NamedTuple

import numpy as np

from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield_torch.recurrence.cpu.kernels import simd
from wavefield_torch.recurrence.cpu.kernels.forward import (
    ALL,
    Placed,
    Sums,
    advance,
    clear_outside,
    compiled,
    contract_rows,
    ends_after,
    fetch,
    inner,
    keep,
    pack,
    resets_at,
    sweep,
    unpack,
    wrap,
)


class Outer(NamedTuple):
    """Gradient of a map from J numbers to all units, in one of two ways; neither if it is not asked for."""

    lanes: int  # few terms: address of (lane_terms, sums), cleared after every segment, and where they are added up:
    total: int  # (lane_terms, numbers)
    lane_terms: int
    rows: int  # more terms: address of (numbers, padded)
    padded: int  # J, padded to whole vectors, or 0


class Totals(NamedTuple):
    """Gradients of one group, addresses unless said; 0 if not asked for."""

    kernel_lanes: np.ndarray  # (rows · partners · K padded to whole vectors, L), flat, cleared when they are summed
    kernel_sums: np.ndarray  # the same without lanes: scratch, zero
    kernel: np.ndarray  # (rows · partners · K,) float64
    stretch_lanes: int  # δ summed over the steps of a stretch
    stretch: int  # (stretches of the segment, numbers)
    encoder: Outer
    readout: Outer
    numbers: np.ndarray  # scratch for `Outer.rows`


class Gradients(NamedTuple):
    """Arrays over all samples, each group at its own place."""

    sequence: Placed  # given, if there: ∂L/∂h of each step and sample
    last: Placed  # given, if there: ∂L/∂h of each sample after its own last step
    x: np.ndarray  # (T, B, I), or empty
    h0: Placed  # of each sample, if wanted
    deltas: Placed  # δ itself of kept steps, for products that are done outside
    kept: np.ndarray  # (T,) where in `deltas`, or −1


@inner
def spread_numbers(group, numbers, wide):
    """numbers (B, J), lane by lane; zero in the lanes that are left over."""
    lanes = len(group.samples)
    for j in range(numbers.shape[1]):
        for l in range(lanes):
            wide[j * lanes + l] = numbers[group.samples[l], j] if l < group.real else 0


@inner
def add_lanes(block, g, outer, group, state):
    """Σ state times each of the group's values, lane by lane, for a state at an address."""
    for j in range(outer.lane_terms):
        values = group.values.ctypes.data + j * len(group.samples) * block.item
        for c in range(g.channels):
            total = outer.lanes + j * g.all_sums + c * g.sums
            simd.accumulate(block, total, state + c * g.row + g.origin, values, g.filled)


@inner
def add_outer(block, g, outer, numbers, scratch, group, state):
    """Σ state ⊗ numbers (B, J), for a state (or δ) at an address."""
    padded = outer.padded * block.item
    for l in range(block.lanes if padded else 0):
        for j in range(numbers.shape[1]):
            scratch[l * outer.padded + j] = numbers[group.samples[l], j] if l < group.real else 0
    for c in range(g.channels):
        for m in range(0, g.vectors, block.columns):
            source = state + c * g.row + g.origin + m * g.column
            for j in range(0, padded, g.column):
                total = outer.rows + (c * g.parameter_row // g.parameter + m) * padded + j
                simd.outer(block, total, padded, source, scratch.ctypes.data + j, padded)


@inner
def flush(block, g, lane_sums, target):
    """Add what was summed lane by lane to `target` (numbers) and start anew."""
    if block.together:
        for f in range(0, g.numbers, g.column):
            simd.sum_lanes(block, lane_sums + f * block.lanes, target + f)
    else:
        simd.accumulate(block, target, lane_sums, 0, g.numbers // g.column)
    simd.clear(block, lane_sums, g.all_sums // block.item)


@inner
def add_columns(block, g, state, target):
    """Add a state, summed over its lanes, to numbers."""
    for c in range(g.channels):
        for n in range(0, g.size, block.lanes):
            source = state + c * g.row + g.origin + n * g.column
            simd.sum_lanes(block, source, target + c * g.parameter_row + n * block.item)


@inner
def correlate_all(block, g, total, delta, state):
    """∂u += Σ_n δ[o, n] h[i, n + k − K//2] for δ and h at addresses."""
    cell = g.taps * g.column
    for o in range(0, g.rows, block.deltas):
        for i in range(0, g.partners, block.partners):
            for k in range(1 if block.taps else g.taps):
                simd.correlate(
                    block,
                    delta + o * g.row + g.origin,
                    state + i * g.row + g.first_tap,
                    g.row,
                    g.filled,
                    total + (o * g.partners + i) * cell,
                    g.partners * cell,
                    cell,
                    k,
                )


@inner
def given(block, g, gradients, group, t):
    """Address of ∂L/∂h[t] as columns, or 0 if the loss does not depend on that state directly."""
    found = 0
    if gradients.sequence.address != 0:
        found = group.addend
        pack(block, g, group, gradients.sequence, t - 1, 0, group.zeros, found, g.sums)
        fetch(block, g, group, -gradients.sequence.step, 0)
    if gradients.last.address != 0 and ends_after(group, t):
        if found == 0:
            found = group.addend
            pack(block, g, group, gradients.last, 0, t, group.zeros, found, g.sums)
        else:
            pack(block, g, group, gradients.last, 0, t, group.zeros, group.extra, g.sums)
            simd.accumulate(block, found, group.extra, 0, g.rows * g.sums // g.column)
    return found


@inner
def step_back(block, g, floor, curved, kernel, drive, readout, group, addend, t, later, now, delta, sums):
    """δ[t] from δ[t+1] and h[t], and what is summed of it lane by lane."""
    terms = readout.values.shape[2]
    if terms:
        spread_numbers(group, readout.values[t - 1], group.values)
    values = group.values.ctypes.data
    sweep(block, g, floor, later, kernel, 0, terms, readout.matrix, values, addend, now, curved, delta, -g.slot, sums)
    clear_outside(block, g, delta)


@inner
def sums_of(g, totals, group, inputs, t, waiting, later):
    """What is to be summed of δ[t], and of δ[t+1] if it is still waiting."""
    values = group.others.ctypes.data
    size = group.others.shape[1] * group.others.itemsize
    earlier = later if waiting else 0
    here, there = values + t % 2 * size, values + (t + 1) % 2 * size
    return Sums(totals.stretch_lanes, inputs, totals.encoder.lanes, here, earlier, there)


@compiled
def backward(
    block, g, floor, curved, kernel, drive, readout, group, states, start, stop, deltas, first_row, last, gradients,
    totals,
):  # fmt: skip
    """δ and all sums from step `stop` down to `start` + 1, for states h[start..stop] and δ[stop+1] in `deltas`.

    `first_row` is the number of the first stretch in this segment. What was summed lane by lane is added to the totals
    after the `last` of several segments, which must not hold stretches unless it is the only one.
    """
    before = flush_denormals()
    waiting = False
    for t in range(min(stop, group.steps), start, -1):
        now = states + (t - start) * g.slot
        delta, later = deltas + t % 2 * g.slot, deltas + (t + 1) % 2 * g.slot
        addend = given(block, g, gradients, group, t)
        row = drive.row[t - 1]
        inputs = totals.encoder.lane_terms if row == 0 else 0
        if inputs:
            spread_numbers(group, drive.x[t - 1], group.others[t % 2])
        ends = t - 1 == start or drive.row[t - 2] != row
        reset = resets_at(drive, group, t - 1, False)
        # a stretch of one step, as every step of a noise that all samples share, is summed without being gathered
        begins = t == min(stop, group.steps) or drive.row[t] != row
        alone = totals.stretch != 0 and row > 0 and begins and ends and block.together and g.size % block.lanes == 0
        adding = (waiting or ends or reset) and not alone
        sums = sums_of(g, totals, group, inputs, t, waiting, later) if adding else Sums(0, 0, 0, 0, 0, 0)
        waiting = not (adding or alone)
        step_back(block, g, floor, curved, kernel, drive, readout, group, addend, t, later, now, delta, sums)
        if alone:
            add_columns(block, g, delta, totals.stretch + (row - first_row + 1) * g.numbers)
        elif totals.stretch != 0 and ends and (last or t - 1 > start):
            flush(block, g, totals.stretch_lanes, totals.stretch + max(row - first_row + 1, 0) * g.numbers)
        if row == 0 and totals.encoder.padded:
            add_outer(block, g, totals.encoder, drive.x[t - 1], totals.numbers, group, delta)
        if readout.terms:
            add_lanes(block, g, totals.readout, group, now)
            add_outer(block, g, totals.readout, readout.values[t - 1], totals.numbers, group, now)
        if gradients.x.size:
            contract_rows(block, g, group.values, drive.matrix, drive.terms, delta, gradients.x[t - 1], group)
        if gradients.kept[t - 1] >= 0:
            unpack(block, g, group, delta, gradients.deltas, gradients.kept[t - 1], ALL)
        if reset:
            keep(block, g, group, delta, delta)
        if totals.kernel.size:
            correlate_all(block, g, totals.kernel_lanes.ctypes.data, delta, now - g.slot)
        wrap(block, g, delta)
    if start == 0 and gradients.h0.address != 0:
        nothing, inf = Sums(0, 0, 0, 0, 0, 0), np.inf  # δ[1] lies in the second slot
        sweep(block, g, -inf, deltas + g.slot, kernel, 0, 0, 0, 0, 0, 0, False, deltas, 0, nothing)
        unpack(block, g, group, deltas, gradients.h0, 0, 0)
    if last:
        finish(block, g, totals)
    restore_denormals(before)


@inner
def finish(block, g, totals):
    """Sum the lanes of what was gathered and start anew."""
    lanes, sums = totals.kernel_lanes, totals.kernel_sums
    for cell in range(0, sums.size, block.lanes):
        simd.sum_lanes(block, lanes.ctypes.data + cell * g.column, sums.ctypes.data + cell * block.item)
    for cell in range(totals.kernel.size):
        totals.kernel[cell] += sums[cell]
    lanes[:] = 0
    sums[:] = 0
    for outer in (totals.encoder, totals.readout):
        for j in range(outer.lane_terms):
            flush(block, g, outer.lanes + j * g.all_sums, outer.total + j * g.numbers)


@compiled
def replay(block, g, floor, curved, kernel, drive, group, start, stop, states):
    """h[start+1..stop] behind h[start], which is the first of `states`."""
    before = flush_denormals()
    advance(block, g, floor, curved, kernel, drive, group, start, min(stop, group.steps), states, states + g.slot)
    restore_denormals(before)

"""The recurrence, fused over time, for one group of samples: the loops around the register blocks.

Layout. A state is [rows][width]: C channels, padded to whole blocks, each a row of columns (positions) with K//2 wrap
columns before the first and after the last, copied whenever a state is complete. A column is

    a vector, one lane for each sample of the group   (L samples together; every shifted read is a whole vector)
    or a single number                                (one sample alone; vectors run over positions, reads unaligned)

and the block tells which. Positions are padded to whole blocks too; over what is computed there the ring goes on, or
zeros where vectors run over positions. Lanes that are left over repeat the last sample, so that nothing grows in them
that does not grow in it.

A sample may end before the others, and may be reset: a step then starts from zero instead of the state before. Both
are done on a copy of the state, in which the lanes concerned are zero; a sample that has ended is reset at every step,
so that nothing grows in it.

Parameters of a position (table, matrices) are [rows][columns] numbers, padded to whole vectors. Everything large is
passed as an address, 0 where absent; whoever calls keeps it alive.
"""

from typing import NamedTuple

import numpy as np

from wavefield import loops
from wavefield.loops.compilation import compiled as cached
from wavefield.loops.compilation import fingerprint
from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield_torch.recurrence.cpu import kernels
from wavefield_torch.recurrence.cpu.kernels import simd, simd_math

_SOURCES = fingerprint(kernels, loops)


def compiled(function):
    """A kernel that is called from Python; see `wavefield.loops.compilation.compiled`."""
    return cached(function, sources=_SOURCES)


def inner(function):
    """A part of kernels, called from them only."""
    return cached(function, sources=_SOURCES, no_cpython_wrapper=True, no_cfunc_wrapper=True)


ALL = -1


class Geometry(NamedTuple):
    """Numbers of a layout."""

    channels: int
    size: int  # N
    taps: int
    reach: int  # K//2
    rows: int  # channels, padded to whole blocks
    partners: int  # channels, padded to whole blocks of the weight gradient
    vectors: int  # of a row of positions, padded to whole blocks
    filled: int  # of them that hold positions
    # bytes
    column: int  # of a vector
    row: int  # of a row of a state
    origin: int  # from its start to position 0
    first_tap: int  # from its start to what the first tap reads for position 0
    slot: int  # of a state
    parameter: int  # from the parameters of one block column to those of the next
    parameter_row: int
    numbers: int  # of all rows of parameters, padded to whole vectors
    sums: int  # of a row of a state's sums (no wrap columns)
    all_sums: int


class Placed(NamedTuple):
    """Where the (C, N) numbers of each step and sample lie in an array; no address if there is none."""

    address: int
    step: int  # bytes from one step to the next
    sample: int  # and from one sample to the next


class Drive(NamedTuple):
    """All that enters: b + V x[t]. Row 0 of the table is b; row r > 0 is b + V x of a stretch shared by the batch."""

    table: int  # address of (r, numbers)
    row: np.ndarray  # (T,) which row a step takes; 0 if its input differs between samples
    matrix: int  # address of V (I, numbers)
    terms: int  # I padded to whole `TERMS`: rows of the matrix
    x: np.ndarray  # (T, B, I)
    choice: np.ndarray  # (T, B) index of the one input that is 1, or empty
    choices: int  # address of (I, C·N): what it adds
    resets: np.ndarray  # (T, B) 1 where a step starts from zero, else 0; or empty


class Readout(NamedTuple):
    """Per-step linear readout; no rows if there is none."""

    matrix: int  # address of (O padded to whole `TERMS`, numbers)
    terms: int  # its rows
    values: np.ndarray  # (T, B, O): what comes out, without its bias; its gradient in the backward pass


class Group(NamedTuple):
    """The samples of one group and buffers of the thread that works on it."""

    samples: np.ndarray  # (L,) sample of each lane; the last one again in lanes that are left over
    lengths: np.ndarray  # (L,) steps of each
    steps: int  # of the longest
    shortest: int
    real: int  # lanes that hold a sample of their own
    addresses: np.ndarray  # (L,) scratch
    values: np.ndarray  # numbers of a step, lane by lane
    others: np.ndarray  # (2, …) and others, of two steps
    addend: int  # address of (rows, vectors, L)
    extra: int  # the same, for what is added to it
    pair: int  # address of two states
    masked: int  # address of a state in which the lanes that are reset are zero
    kept: np.ndarray  # (lanes,) 0 for these, 1 for the others
    zeros: int  # address of (C, N) zeros
    waste: int  # address of (C, N) that is never read


class Sums(NamedTuple):
    """What is summed over time of the states that a sweep computes, lane by lane; addresses, 0 if nothing.

    Two states at a time where one from before is still to be added: the sums go through the cache half as often.
    """

    plain: int  # themselves
    terms: int
    by_term: int  # themselves times the numbers of a step
    values: int  # these numbers, lane by lane
    earlier: int  # a state to be added too
    earlier_values: int


@inner
def sweep(block, g, floor, source, kernel, base, terms, matrix, values, addend, gate, curved, target, ahead, sums):
    """One step for all positions and channels: a convolution, what is added to it, its clamp or gate, and its sums."""
    for m in range(0, g.vectors, block.columns):
        for o in range(0, g.rows, block.outputs):
            place = o * g.row + g.origin + m * g.column
            here = o * g.parameter_row + m * g.parameter
            there = o * g.sums + m * g.column
            simd.convolve(
                block,
                floor,
                source + g.first_tap + m * g.column,
                g.row,
                kernel + o * g.channels * g.taps * block.item,
                g.channels,
                g.taps,
                base + here if base != 0 else 0,
                g.parameter_row,
                terms,
                matrix + here,
                g.numbers,
                values,
                addend + there if addend != 0 else 0,
                g.sums,
                gate + place if gate != 0 else 0,
                curved,
                target + place,
                ahead,
                sums.plain + there if sums.plain != 0 else 0,
                sums.terms,
                sums.by_term + there,
                g.all_sums,
                sums.values,
                sums.earlier + place if sums.earlier != 0 else 0,
                sums.earlier_values,
            )


@inner
def clear_outside(block, g, state):
    """Where vectors run over positions, zero before the first and behind the last position."""
    used = g.origin + g.size * block.item
    for c in range(0 if block.together else g.rows):
        simd.clear(block, state + c * g.row, g.origin // block.item)
        simd.clear(block, state + c * g.row + used, (g.row - used) // block.item)


@inner
def wrap(block, g, state):
    """Fill the wrap columns of a complete state, on both sides what is on the other.

    Where lanes are samples the ring goes on to the end of the row, so that no column is left undefined.
    """
    column = block.step * block.item
    behind = (g.row - g.origin) // column - g.size if block.together else g.reach
    for m in range(-g.reach, behind):
        here = (m if m < 0 else g.size + m) * column
        there = m % g.size * column  # a kernel may be wider than a short ring
        for c in range(g.rows):
            origin = state + c * g.row + g.origin
            simd.copy(block, origin + here, origin + there, block.step)


@inner
def pack(block, g, group, placed, step, ending, other, target, row):
    """(C, N) numbers of each sample at a step to rows of columns `row` bytes apart; see `locate`."""
    locate(group, placed, step, ending, other)
    pack_located(block, g, group, target, row)


@inner
def pack_located(block, g, group, target, row):
    """The same from `group.addresses`."""
    lanes, item = block.lanes, block.item
    for c in range(g.channels):
        here, there = c * g.size * item, target + c * row
        if not block.together:
            simd.copy(block, there, group.addresses[0] + here, g.size)
        elif g.size < lanes:
            for n in range(g.size):
                for l in range(lanes):
                    simd.copy(block, there + n * g.column + l * item, group.addresses[l] + here + n * item, 1)
        else:
            for n in range(0, g.size, lanes):
                n = min(n, g.size - lanes)  # the last tile reaches back over the one before
                simd.gather_tile(block, group.addresses.ctypes.data, here + n * item, there + n * g.column)


@inner
def unpack(block, g, group, state, placed, step, ending):
    """The inverse of `pack`: from a state to (C, N) numbers of each sample at a step."""
    lanes, item = block.lanes, block.item
    locate(group, placed, step, ending, group.waste)
    for c in range(g.channels):
        here, there = state + c * g.row + g.origin, c * g.size * item
        if not block.together:
            simd.copy(block, group.addresses[0] + there, here, g.size)
        elif g.size < lanes:
            for n in range(g.size):
                for l in range(lanes):
                    simd.copy(block, group.addresses[l] + there + n * item, here + n * g.column + l * item, 1)
        else:
            for n in range(0, g.size, lanes):
                n = min(n, g.size - lanes)
                simd.scatter_tile(block, here + n * g.column, group.addresses.ctypes.data, there + n * item)


@inner
def locate(group, placed, step, ending, other):
    """Where the (C, N) of each lane is: of samples that still run at `step`, or that end after `ending` steps if not 0.

    If `ending` is `ALL`, that of every sample. Other lanes, and those that are left over, have the address `other`; if
    it is 0 all have their own.
    """
    for l in range(len(group.samples)):
        concerned = ending == ALL or (group.lengths[l] == ending if ending else step < group.lengths[l])
        if (l < group.real and concerned) or other == 0:
            group.addresses[l] = placed.address + step * placed.step + group.samples[l] * placed.sample
        else:
            group.addresses[l] = other


@inner
def fetch(block, g, group, distance, write):
    """Into the cache what lies a step from `group.addresses`, for the next step: no processor foresees such jumps."""
    for l in range(group.real):
        simd.fetch(block, group.addresses[l] + distance, g.channels * g.size, write)


@inner
def ends_after(group, steps):
    """Whether a sample has so many steps."""
    found = False
    for l in range(group.real):
        found |= group.lengths[l] == steps
    return found


@inner
def resets_at(drive, group, t, ended):
    """Whether a lane starts from zero at step t, and which; those that have `ended` too, if wanted."""
    if not drive.resets.size and not (ended and t >= group.shortest):
        return False
    found = False
    for l in range(len(group.samples)):
        reset = ended and t >= group.lengths[l]
        if drive.resets.size and drive.resets[t, group.samples[l]]:
            reset = True
        group.kept[l] = 0 if reset else 1
        found |= reset
    return found


@inner
def keep(block, g, group, target, source):
    """A state without the lanes that are reset."""
    if block.together:
        simd.keep_lanes(block, target, source, group.kept.ctypes.data, g.slot // g.column)
    else:
        simd.clear(block, target, g.slot // block.item)


@compiled
def find_stretches(x, row):
    """Number the stretches of steps whose input is one and the same for all samples, from 1; 0 elsewhere."""
    steps, batch, inputs = x.shape
    latest = 0
    for t in range(steps):
        shared, repeated = True, t > 0 and row[t - 1] > 0
        for b in range(1, batch):
            for i in range(inputs):
                shared &= x[t, b, i] == x[t, 0, i]
            if not shared:
                break
        if shared:
            for i in range(inputs):
                repeated &= x[t, 0, i] == x[t - 1, 0, i]
            latest += not repeated
            row[t] = latest


@compiled
def find_choices(x, row, choice):
    """Whether every input that differs between samples is one-hot, and which entry is the one."""
    steps, batch, inputs = x.shape
    for t in range(steps):
        if row[t] > 0:
            continue
        for b in range(batch):
            ones = 0
            for i in range(inputs):
                if x[t, b, i] == 1:
                    ones += 1
                    choice[t, b] = i
                elif x[t, b, i] != 0:
                    return False
            if ones != 1:
                return False
    return True


@compiled
def project(block, g, table, matrix, inputs):
    """table[r + 1] += V inputs[r], term by term as `convolve` adds them, so that a shared input gives the same bits."""
    for r in range(len(inputs)):
        for i in range(inputs.shape[1]):
            number = inputs.ctypes.data + (r * inputs.shape[1] + i) * block.item
            simd.axpy(block, table + (r + 1) * g.numbers, matrix + i * g.numbers, number, g.numbers // g.column)


@inner
def enter(block, g, drive, group, t):
    """Make the input of step t ready: how many terms V has, and the address of what is added, or 0."""
    lanes, inputs = len(group.samples), drive.x.shape[2]
    if drive.row[t] > 0:
        return 0, 0
    if drive.choice.size:
        for l in range(lanes):
            chosen = drive.choice[t, group.samples[l]]
            group.addresses[l] = drive.choices + chosen * g.channels * g.size * block.item
        pack_located(block, g, group, group.addend, g.sums)
        return 0, group.addend
    for i in range(inputs):
        for l in range(lanes):
            group.values[i * lanes + l] = drive.x[t, group.samples[l], i]
    return inputs, 0


@inner
def advance(block, g, floor, curved, kernel, drive, group, start, stop, state, target):
    """h[start+1..stop] from h[start], the first at `target`, each behind the one before; where the last one is."""
    for t in range(start, stop):
        terms, addend = enter(block, g, drive, group, t)
        source = state
        if resets_at(drive, group, t, True):
            source = group.masked
            keep(block, g, group, source, state)
        base = drive.table + drive.row[t] * g.numbers
        values, nothing = group.values.ctypes.data, Sums(0, 0, 0, 0, 0, 0)
        sweep(
            block,
            g,
            floor,
            source,
            kernel,
            base,
            terms,
            drive.matrix,
            values,
            addend,
            0,
            False,
            target,
            g.slot,
            nothing,
        )
        if curved:
            for c in range(g.rows):
                simd_math.apply_tanh(block, target + c * g.row + g.origin, g.vectors)
        clear_outside(block, g, target)
        wrap(block, g, target)
        state, target = target, target + g.slot
    return state


@inner
def contract_rows(block, g, totals, matrix, terms, state, target, group):
    """target[sample, j] = Σ matrix[j] · state over channels and positions, for a state (or δ) at an address."""
    lanes = block.lanes
    totals[: terms * lanes] = 0
    for j in range(0, terms, simd.TERMS):
        for c in range(g.channels):
            row = matrix + j * g.numbers + c * g.parameter_row
            total = totals.ctypes.data + j * g.column
            simd.contract(block, total, state + c * g.row + g.origin, row, g.numbers, g.filled)
    for j in range(target.shape[1]):
        if block.together:
            for l in range(group.real):
                target[group.samples[l], j] = totals[j * lanes + l]
        else:
            target[group.samples[0], j] = 0
            for l in range(lanes):
                target[group.samples[0], j] += totals[j * lanes + l]


@compiled
def forward(block, g, floor, curved, kernel, drive, readout, group, h0, stored, every, sequence, last):
    """All steps of one group.

    h0        of each sample
    stored    states in lane layout: all T+1 if `every` is 1, each k-th of h[0..T−1] if it is k, none if it is 0
    sequence  of each step and sample, and last, of each sample after its own last step; each if wanted
    """
    before = flush_denormals()
    state = stored if every == 1 else group.pair
    simd.clear(block, state, g.slot // block.item)
    pack(block, g, group, h0, 0, 0, 0, state + g.origin, g.row)
    wrap(block, g, state)
    for t in range(group.steps):
        if every > 1 and t % every == 0:
            simd.copy(block, stored + t // every * g.slot, state, g.slot // block.item)
        target = state + g.slot if every == 1 else group.pair + (t + 1) % 2 * g.slot
        state = advance(block, g, floor, curved, kernel, drive, group, t, t + 1, state, target)
        if sequence.address != 0:
            unpack(block, g, group, state, sequence, t, 0)
            fetch(block, g, group, sequence.step, 1)
        if last.address != 0 and ends_after(group, t + 1):
            unpack(block, g, group, state, last, 0, t + 1)
        if readout.terms:
            contract_rows(block, g, group.values, readout.matrix, readout.terms, state, readout.values[t], group)
    restore_denormals(before)

"""The sheet through time for one sample, forward and back.

Layout. A state is [rows][plane]: C channels, padded to whole blocks. A plane is H rows of W cells, one after the other
with 2·reach cells between them, so that a vector runs over the end of a row into the next. The cells within `reach` of
the sheet are its edge: before a convolution they hold what the boundary says, after an adjoint one what has to be added
to the cells that they were copied from. Vectors begin at the first cell of the sheet and run to the end of its last
row, and a little over it; what they compute outside is set to what it must be (the edge) or to zero.

Time is cut into segments. In the forward pass the states of a segment wait for the readout, which is a product of
matrices; in the backward pass they are computed again from the state before the segment, or from the one after it by
the inverse of the step.
"""

from typing import NamedTuple

import numpy as np

from wavefield import loops
from wavefield.loops.compilation import compiled as cached
from wavefield.loops.compilation import fingerprint
from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield_torch.recurrence.cpu import kernels as ring_kernels
from wavefield_torch.recurrence.cpu.kernels import simd
from wavefield_torch.recurrence.sheet import kernels
from wavefield_torch.recurrence.sheet.kernels import blocks

SCHEMES = ("semi-implicit", "damping-implicit", "centred")  # numbered as `Step.scheme`

_SOURCES = fingerprint(kernels, ring_kernels, loops)


def compiled(function):
    """A kernel that is called from Python; see `wavefield.loops.compilation.compiled`."""
    return cached(function, sources=_SOURCES)


def inner(function):
    """A part of kernels, called from them only."""
    return cached(function, sources=_SOURCES, no_cpython_wrapper=True, no_cfunc_wrapper=True)


class Geometry(NamedTuple):
    """Numbers of a layout; distances in elements."""

    channels: int
    height: int
    width: int
    taps: int
    rows: int  # channels, padded to whole blocks
    line: int  # of a row of cells
    plane: int
    slot: int  # of a state
    origin: int  # from the start of a plane to its first cell
    vectors: int  # of a plane, padded to whole blocks
    wide_origin: int  # from the start of a plane to a vector before its edge
    wide_vectors: int  # that cover the edge too, padded to whole blocks
    end: int  # from the start of a plane to the end of its edge, behind which nothing is
    lanes: int


class Step(NamedTuple):
    """The equation: z' = kept z + g F(y), y' = y + dt z', g = gain + gain_kept · kept."""

    dt: float
    gain: float
    gain_kept: float
    scheme: int
    curve: int


class Edges(NamedTuple):
    """Cells of the edge, as elements of a plane, and the cells of the sheet that they are copied from."""

    beyond: np.ndarray
    inside: np.ndarray  # where nothing is, with fixed edges: an element that is always zero
    open: bool  # whether they are copied at all


class Memory(NamedTuple):
    """A thread's memory, and where in it things begin; distances in elements."""

    numbers: np.ndarray
    y: int  # states of a segment and the one before it
    z: int
    bent: int  # σ of each step
    pull: int  # scratch: [rows][columns][lanes]
    stiffness: int
    kept: int
    force: int
    grad_y: int
    grad_z: int
    delta: int
    grad_stiffness: int
    grad_damping: int
    given: int  # gradients that enter at the steps of a segment, or of the largest value
    when: int  # step of the largest value, and beside it the value
    features: int  # of the readout, [F][slot], or their gradients
    totals: int  # gradient of the kernel, lanes apart
    products: int  # gradient of the weights of the readout, lanes apart


class Sample(NamedTuple):
    """Where the numbers (C, H, W) of a sample lie: addresses, 0 if absent, and bytes from one step to the next."""

    y0: int
    z0: int
    stiffness: int
    kept: int
    force: int
    force_step: int
    sequence: int
    sequence_step: int
    features: int
    features_step: int
    y: int
    z: int
    saved: int
    saved_step: int


class Mix(NamedTuple):
    """A linear readout over time."""

    features: int  # F, padded to whole blocks; 0 if there is none
    real: int  # F
    weights: np.ndarray  # (blocks of features, T, outputs)
    turned: np.ndarray  # (segments, blocks of steps, F, outputs)
    gradient: np.ndarray  # (F, T) float64 of this sample, or empty


@inner
def place(block, memory, offset):
    """Address of an element."""
    return memory.numbers.ctypes.data + offset * block.item


@inner
def pack(block, g, source, memory, offset):
    """(C, H, W) numbers at an address to a state."""
    for c in range(g.channels):
        for y in range(g.height):
            there = place(block, memory, offset + c * g.plane + g.origin + y * g.line)
            simd.copy(block, there, source + (c * g.height + y) * g.width * block.item, g.width)


@inner
def unpack(block, g, memory, offset, target):
    """The inverse of `pack`."""
    for c in range(g.channels):
        for y in range(g.height):
            here = place(block, memory, offset + c * g.plane + g.origin + y * g.line)
            simd.copy(block, target + (c * g.height + y) * g.width * block.item, here, g.width)


@inner
def fill(block, g, edges, memory, offset):
    """Give the edge of a state what lies beyond the sheet, and the rest behind it zeros."""
    numbers = memory.numbers
    rest = g.origin + g.vectors * g.lanes - g.end
    for c in range(g.channels):
        base = offset + c * g.plane
        if rest > 0:
            simd.clear(block, place(block, memory, base + g.end), rest)
        for j in range(len(edges.beyond)):
            numbers[base + edges.beyond[j]] = numbers[base + edges.inside[j]]


@inner
def fold(g, edges, memory, offset):
    """The adjoint of `fill`, after which the edge is zero."""
    numbers = memory.numbers
    for c in range(g.channels):
        base = offset + c * g.plane
        for j in range(len(edges.beyond)):
            if edges.open:
                numbers[base + edges.inside[j]] += numbers[base + edges.beyond[j]]
            numbers[base + edges.beyond[j]] = 0


@inner
def convolve(block, g, kernel, state, m, pull):
    """W ⋆ y at the block of columns that begins at vector m, for all channels, into `pull`."""
    reach = g.taps // 2
    first = state + (g.origin + m * g.lanes - reach * g.line - reach) * block.item
    width = block.columns * g.lanes * block.item
    for o in range(0, g.rows, block.outputs):
        weights = kernel + o * g.channels * g.taps * g.taps * block.item
        target = pull + o * width
        blocks.convolve(
            block, first, g.plane * block.item, g.line * block.item, weights, g.channels, g.taps, target, width, 0
        )


@inner
def advance(block, g, step, kernel, memory, y, z, force, later_y, later_z, bent):
    """One step, from states at offsets (force and bent: −1 if absent)."""
    pull, width = place(block, memory, memory.pull), block.columns * g.lanes
    for m in range(0, g.vectors, block.columns):
        convolve(block, g, kernel, place(block, memory, y), m, pull)
        for c in range(g.channels):
            here = c * g.plane + g.origin + m * g.lanes
            blocks.advance(
                block,
                step.dt,
                step.gain,
                step.gain_kept,
                step.curve,
                block.columns,
                pull + c * width * block.item,
                place(block, memory, y + here),
                place(block, memory, z + here),
                place(block, memory, memory.stiffness + here),
                place(block, memory, memory.kept + here),
                place(block, memory, force + here) if force >= 0 else 0,
                place(block, memory, later_y + here),
                place(block, memory, later_z + here),
                place(block, memory, bent + here) if bent >= 0 else 0,
            )


@inner
def revert(block, g, step, kernel, memory, y, later_z, force, z, bent):
    """z before a step, and σ of it, from y before it and z after it."""
    pull, width = place(block, memory, memory.pull), block.columns * g.lanes
    for m in range(0, g.vectors, block.columns):
        convolve(block, g, kernel, place(block, memory, y), m, pull)
        for c in range(g.channels):
            here = c * g.plane + g.origin + m * g.lanes
            blocks.revert(
                block,
                step.gain,
                step.gain_kept,
                step.curve,
                block.columns,
                pull + c * width * block.item,
                place(block, memory, y + here),
                place(block, memory, later_z + here),
                place(block, memory, memory.stiffness + here),
                place(block, memory, memory.kept + here),
                place(block, memory, force + here) if force >= 0 else 0,
                place(block, memory, z + here),
                place(block, memory, bent + here),
            )


@inner
def read_out(mix_block, g, memory, mix, start, count, first):
    """features[f] += Σ_t weights[f, start + t] y[t] for `count` states from slot 1 on; the first time without +."""
    item, bytes_ = mix_block.item, g.slot * mix_block.item
    total = mix.weights.shape[1]
    for m in range(0, g.slot // g.lanes, mix_block.columns):
        source = place(mix_block, memory, memory.y + g.slot + m * g.lanes)
        for o in range(0, mix.features, mix_block.outputs):
            weights = mix.weights.ctypes.data + (o * total + start * mix_block.outputs) * item
            target = place(mix_block, memory, memory.features + o * g.slot + m * g.lanes)
            blocks.convolve(mix_block, source, bytes_, 0, weights, count, 1, target, bytes_, 0 if first else 1)


@inner
def keep_largest(block, g, memory, y, number):
    """Compare a state with the largest values so far."""
    for c in range(g.channels):
        here = c * g.plane + g.origin
        best, when = memory.when + g.slot + here, memory.when + here
        blocks.follow(
            block, number, g.vectors,
            place(block, memory, y + here), place(block, memory, best), place(block, memory, when),
        )  # fmt: skip


@compiled
def forward(block, mix_block, g, step, edges, kernel, mix, memory, sample, steps, every, length, largest):
    """All steps of a sample; keeps (y, z) after every `every` steps and after the last."""
    before = flush_denormals()
    numbers = memory.numbers
    pack(block, g, sample.stiffness, memory, memory.stiffness)
    pack(block, g, sample.kept, memory, memory.kept)
    pack(block, g, sample.y0, memory, memory.y)
    pack(block, g, sample.z0, memory, memory.z)
    fill(block, g, edges, memory, memory.y)
    if largest:
        for j in range(g.slot):
            numbers[memory.when + g.slot + j] = -np.inf
    slots = length + 1 if mix.features else 2
    at, force = 0, memory.force if sample.force != 0 else -1
    for t in range(steps):
        if force >= 0:
            pack(block, g, sample.force + t * sample.force_step, memory, force)
        y, later = memory.y + at * g.slot, memory.y + (at + 1) % slots * g.slot
        advance(block, g, step, kernel, memory, y, memory.z, force, later, memory.z, -1)
        fill(block, g, edges, memory, later)
        if sample.sequence != 0:
            unpack(block, g, memory, later, sample.sequence + t * sample.sequence_step)
        if largest:
            keep_largest(block, g, memory, later, t)
        if every > 0 and ((t + 1) % every == 0 or t + 1 == steps):
            kept = sample.saved + t // every * 2 * sample.saved_step
            unpack(block, g, memory, later, kept)
            unpack(block, g, memory, memory.z, kept + sample.saved_step)
        at = (at + 1) % slots
        if mix.features and (at == length or t + 1 == steps):
            read_out(mix_block, g, memory, mix, t + 1 - at, at, t < length)
            last = memory.y + at * g.slot
            simd.copy(block, place(block, memory, memory.y), place(block, memory, last), g.slot)
            at = 0
    unpack(block, g, memory, memory.y + at * g.slot, sample.y)
    unpack(block, g, memory, memory.z, sample.z)
    for f in range(mix.real):
        unpack(block, g, memory, memory.features + f * g.slot, sample.features + f * sample.features_step)
    if largest:
        unpack(block, g, memory, memory.when + g.slot, sample.features)
        if every > 0:
            kept = sample.saved + (steps + every - 1) // every * 2 * sample.saved_step
            unpack(block, g, memory, memory.when, kept)
    restore_denormals(before)


@inner
def convolve_back(block, g, adjoint, memory):
    """Add Wᵀ ⋆ delta to the gradient of y, over the edge too."""
    reach = g.taps // 2
    for m in range(0, g.wide_vectors, block.columns):
        here = g.wide_origin + m * g.lanes
        first = place(block, memory, memory.delta + here - reach * g.line - reach)
        for o in range(0, g.rows, block.outputs):
            blocks.convolve(
                block, first, g.plane * block.item, g.line * block.item,
                adjoint + o * g.channels * g.taps * g.taps * block.item, g.channels, g.taps,
                place(block, memory, memory.grad_y + o * g.plane + here), g.plane * block.item, 1,
            )  # fmt: skip


@inner
def correlate(block, g, memory, y):
    """Gradient of the kernel: Σ delta[o] y[i] shifted, lanes apart, for a state at an offset."""
    reach, cell = g.taps // 2, g.lanes * block.item
    area = g.taps * g.taps
    for o in range(0, g.rows, block.deltas):
        delta = place(block, memory, memory.delta + o * g.plane + g.origin)
        for i in range(0, g.rows, block.partners):
            total = place(block, memory, memory.totals + (o * g.rows + i) * area * g.lanes)
            for j in range(g.taps):
                there = y + i * g.plane + g.origin + (j - reach) * g.line - reach
                for k in range(1 if block.taps else g.taps):
                    simd.correlate(
                        block, delta, place(block, memory, there), g.plane * block.item, g.vectors,
                        total + j * g.taps * cell, g.rows * area * cell, area * cell, k,
                    )  # fmt: skip


@inner
def reverse(block, g, step, memory, given, bent, y, z, later_z, rates, damped, forced):
    """Pointwise part of a step back."""
    for c in range(g.channels):
        here = c * g.plane + g.origin
        blocks.reverse(
            block,
            step.dt,
            step.gain,
            step.gain_kept,
            step.curve,
            g.vectors,
            place(block, memory, memory.grad_y + here),
            place(block, memory, memory.grad_z + here),
            place(block, memory, given + here) if given >= 0 else 0,
            place(block, memory, bent + here),
            place(block, memory, y + here),
            place(block, memory, (later_z if step.scheme == 1 else z) + here),
            place(block, memory, later_z + here) if step.scheme == 2 else 0,
            place(block, memory, memory.stiffness + here),
            place(block, memory, memory.kept + here),
            place(block, memory, memory.delta + here),
            place(block, memory, memory.grad_stiffness + here) if rates else 0,
            place(block, memory, memory.grad_damping + here) if damped else 0,
            place(block, memory, memory.force + here) if forced else 0,
        )


@inner
def spread_features(mix_block, g, memory, mix, segment, count):
    """Gradients that enter at the steps of a segment: given[t] = Σ_f weights[f, t] ∂L/∂features[f]."""
    bytes_ = g.slot * mix_block.item
    for m in range(0, g.slot // g.lanes, mix_block.columns):
        source = place(mix_block, memory, memory.features + m * g.lanes)
        for o in range(0, count, mix_block.outputs):
            weights = mix.turned[segment, o // mix_block.outputs].ctypes.data
            target = place(mix_block, memory, memory.given + o * g.slot + m * g.lanes)
            blocks.convolve(mix_block, source, bytes_, 0, weights, mix.real, 1, target, bytes_, 0)


@inner
def correlate_features(mix_block, g, memory, mix, start, count):
    """Gradient of the weights: Σ ∂L/∂features[f] y[t] over all cells, in pieces that stay in the cache."""
    item, cell, piece = mix_block.item, g.lanes * mix_block.item, 16
    padded = (count + mix_block.partners - 1) // mix_block.partners * mix_block.partners
    size = mix.features * padded
    products = place(mix_block, memory, memory.products)
    simd.clear(mix_block, products, size * g.lanes)
    total = g.slot // g.lanes
    for m in range(0, total, piece):
        for o in range(0, mix.features, mix_block.deltas):
            for i in range(0, padded, mix_block.partners):
                simd.correlate(
                    mix_block,
                    place(mix_block, memory, memory.features + o * g.slot + m * g.lanes),
                    place(mix_block, memory, memory.y + (1 + i) * g.slot + m * g.lanes),
                    g.slot * item,
                    min(piece, total - m),
                    products + (o * padded + i) * cell,
                    padded * cell,
                    cell,
                    0,
                )
    for f in range(mix.real):
        for t in range(count):
            first = memory.products + (f * padded + t) * g.lanes
            whole = 0.0
            for l in range(g.lanes):
                whole += memory.numbers[first + l]
            mix.gradient[f, start + t] = whole


@compiled
def backward(
    block, mix_block, g, step, edges, kernel, adjoint, mix, memory, given, sample, found, steps, every, inverse, wanted,
    kernel_gradient,
):  # fmt: skip
    """All gradients of a sample.

    `given` are the gradients of what `forward` wrote, `sample` what it read and kept, `found` where gradients go, of
    which those of ω, α and of the kernel are `wanted`; the step of the largest value is at `given.kept`.
    """
    before = flush_denormals()
    numbers = memory.numbers
    rates, damped, weighted = wanted
    forced, force = found.force != 0, memory.force if sample.force != 0 else -1
    pack(block, g, sample.stiffness, memory, memory.stiffness)
    pack(block, g, sample.kept, memory, memory.kept)
    for offset in (memory.grad_y, memory.grad_z, memory.delta, memory.grad_stiffness, memory.grad_damping):
        simd.clear(block, place(block, memory, offset), g.slot)
    simd.clear(block, place(block, memory, memory.totals), g.rows * g.rows * g.taps * g.taps * g.lanes)
    if given.y != 0:
        pack(block, g, given.y, memory, memory.grad_y)
    if given.z != 0:
        pack(block, g, given.z, memory, memory.grad_z)
    for f in range(mix.real):
        pack(block, g, given.features + f * given.features_step, memory, memory.features + f * g.slot)
    largest = given.kept != 0
    if largest:
        pack(block, g, given.features, memory, memory.features)
        pack(block, g, given.kept, memory, memory.when)
    for segment in range((steps + every - 1) // every - 1, -1, -1):
        start = segment * every
        stop = min(start + every, steps)
        count = stop - start
        if inverse:
            here = sample.saved + segment * 2 * sample.saved_step
            pack(block, g, here, memory, memory.y + count * g.slot)
            pack(block, g, here + sample.saved_step, memory, memory.z + count % 2 * g.slot)
            fill(block, g, edges, memory, memory.y + count * g.slot)
        else:
            here = sample.saved + (segment - 1) * 2 * sample.saved_step
            pack(block, g, here if segment else sample.y0, memory, memory.y)
            pack(block, g, here + sample.saved_step if segment else sample.z0, memory, memory.z)
            fill(block, g, edges, memory, memory.y)
            for i in range(count):
                if force >= 0:
                    pack(block, g, sample.force + (start + i) * sample.force_step, memory, force)
                y, z = memory.y + i * g.slot, memory.z + i * g.slot
                advance(block, g, step, kernel, memory, y, z, force, y + g.slot, z + g.slot, memory.bent + i * g.slot)
                fill(block, g, edges, memory, y + g.slot)
        if mix.features:
            spread_features(mix_block, g, memory, mix, segment, count)
        for i in range(count - 1, -1, -1):
            t = start + i
            y = memory.y + i * g.slot
            if inverse:
                if force >= 0:
                    pack(block, g, sample.force + t * sample.force_step, memory, force)
                z, later_z, bent = memory.z + i % 2 * g.slot, memory.z + (i + 1) % 2 * g.slot, memory.bent
                for c in range(g.channels):
                    there = c * g.plane + g.origin
                    blocks.go_back(
                        block, step.dt, g.vectors, place(block, memory, y + g.slot + there),
                        place(block, memory, later_z + there), place(block, memory, y + there),
                    )  # fmt: skip
                fill(block, g, edges, memory, y)
                revert(block, g, step, kernel, memory, y, later_z, force, z, bent)
            else:
                z, bent = memory.z + i * g.slot, memory.bent + i * g.slot
                later_z = z + g.slot
            entering = -1
            if mix.features:
                entering = memory.given + i * g.slot
            elif given.sequence != 0:
                entering = memory.given
                pack(block, g, given.sequence + t * given.sequence_step, memory, entering)
            if largest:
                for c in range(g.channels):
                    there = c * g.plane + g.origin
                    blocks.at_its_time(
                        block, t, g.vectors, place(block, memory, memory.features + there),
                        place(block, memory, memory.when + there), place(block, memory, memory.grad_y + there),
                    )  # fmt: skip
            reverse(block, g, step, memory, entering, bent, y, z, later_z, rates, damped, forced)
            convolve_back(block, g, adjoint, memory)
            fold(g, edges, memory, memory.grad_y)
            if weighted:
                correlate(block, g, memory, y)
            if forced:
                unpack(block, g, memory, memory.force, found.force + t * found.force_step)
        if mix.gradient.size:
            correlate_features(mix_block, g, memory, mix, start, count)
    unpack(block, g, memory, memory.grad_y, found.y0)
    unpack(block, g, memory, memory.grad_z, found.z0)
    if rates:
        unpack(block, g, memory, memory.grad_stiffness, found.stiffness)
    if damped:
        unpack(block, g, memory, memory.grad_damping, found.kept)
    if weighted:
        for o in range(g.channels):
            for i in range(g.channels):
                for k in range(g.taps * g.taps):
                    first = memory.totals + ((o * g.rows + i) * g.taps * g.taps + k) * g.lanes
                    whole = 0.0
                    for l in range(g.lanes):
                        whole += numbers[first + l]
                    kernel_gradient[o, i, k] = whole
    restore_denormals(before)

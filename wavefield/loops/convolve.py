"""Time loops of fields of one level: one-way transport of single rings, and convolutions that join channels.

    h[t+1] = σ( u ⋆ h[t] + V x[t] + b )

Both are one loop over windows of R rings that act on each other: R = 1 for transport, R = C for a convolution. A
kernel is kept as the list of its nonzero weights, so that what is not there costs nothing: a block-diagonal kernel of
C channels C terms a position instead of C², the exact shift a single one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from wavefield.loops import tiles as w
from wavefield.loops.compilation import compiled
from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield.loops.stencil import VECTOR_BYTES, fma

_BOUNDARY = {
    "periodic": w.PERIODIC,
    "fixed": w.FIXED,
    "free": w.FREE,
    "absorbing": w.ZERO,
    "open": w.ZERO,
}
_NONLINEARITY = {"identity": 0, "relu": 1, "tanh": 2}
_RELU, _TANH = _NONLINEARITY["relu"], _NONLINEARITY["tanh"]


class Terms(NamedTuple):
    """Nonzero weights of a kernel: start[o]…start[o+1] − 1 are what output ring o sums, in order of input and tap."""

    start: np.ndarray  # (C + 1,)
    ring: np.ndarray  # (terms,) input ring within the window
    shift: np.ndarray  # (terms,) k − K//2
    weight: np.ndarray  # (terms, 1), or (terms, N) where weights depend on the position


class Rule(NamedTuple):
    """One step of `joined` rings that act on each other, as the compiled loop wants it."""

    joined: int
    boundary: int
    reach: int  # cells that a step takes from either side
    terms: Terms
    row: np.ndarray  # (R, R, N) weights that drive one end, or empty
    end: int  # that end
    nonlinearity: int
    bias: np.ndarray  # (C, N + 2·halo), or (C, 0)


def transport(
    now,
    *,
    taps,
    boundary="periodic",
    nonlinearity="identity",
    bias=None,
    steps,
    drive=None,
    injection=None,
    every=0,
    out=None,
):
    """Advance rings that do not act on each other; returns the last level, a new array.

        h_n[t+1] = σ( Σ_k taps[k]·h_{n+k−K//2}[t] + Σ weight·drive[t] + b_n )

    Taps that are zero are left out: with the single tap 1 beside the middle a step is `numpy.roll`, bit for bit.

    Parameters
    ----------
    now : ndarray, shape (B, C, N), float32 or float64
    taps : array_like, shape (K,), (C, K) or, for a speed that depends on position, (C, K, N)
        K odd.
    boundary : {"periodic", "fixed", "free", "absorbing", "open"}
        Beyond fixed ends the field continues oddly about the zero one cell away, beyond free ones evenly about the
        end cells; beyond the last two there is nothing.
    nonlinearity : {"identity", "relu", "tanh"}
    bias : array_like, shape (C, N), optional
    steps, drive, injection, every, out
        As in `leapfrog`.
    """
    now = np.asarray(now)
    rings, size = now.shape[1:]
    taps = _taps_of_rings(taps, rings, size)
    ring, tap = np.nonzero(taps.any(axis=2))
    terms = _terms(ring, np.zeros_like(ring), tap - taps.shape[1] // 2, taps[ring, tap], rings)
    rule = _rule(now, 1, terms, boundary, nonlinearity, bias)
    return _advance(now, rule, steps, drive, injection, every, out)


def convolve(
    now,
    *,
    kernel,
    boundary="periodic",
    boundary_row=None,
    driven_end=-1,
    nonlinearity="identity",
    bias=None,
    steps,
    drive=None,
    injection=None,
    every=0,
    out=None,
):
    """Advance a field whose channels act on each other; returns the last level, a new array.

        h_o[t+1, n] = σ( Σ_{i,k} kernel[o, i, k]·h_i[t, n + k − K//2] + Σ weight·drive[t] + b_o[n] )

    With a boundary row, the sum at one end is over the whole field instead, Σ_{i,m} boundary_row[o, i, m]·h_i[t, m].

    Parameters
    ----------
    now : ndarray, shape (B, C, N), float32 or float64
    kernel : array_like, shape (C, C, K)
        K odd.
    boundary_row : array_like, shape (C, C, N), optional
    driven_end : {-1, 0}
        Which end the boundary row drives, the last position or the first.
    boundary, nonlinearity, bias
        As in `transport`.
    steps, drive, injection, every, out
        As in `leapfrog`.
    """
    now, kernel = np.asarray(now), np.asarray(kernel)
    channels, size = now.shape[1:]
    if kernel.shape[:2] != (channels, channels) or kernel.ndim != 3 or kernel.shape[2] % 2 == 0:
        raise ValueError(f"kernel must have shape (C={channels}, C, K), K odd, got {kernel.shape}")
    if boundary_row is not None and np.shape(boundary_row) != (channels, channels, size):
        raise ValueError(f"boundary_row must have shape {(channels, channels, size)}, got {np.shape(boundary_row)}")
    output, source, tap = np.nonzero(kernel)
    weight = kernel[output, source, tap][:, None]
    terms = _terms(output, source, tap - kernel.shape[2] // 2, weight, channels)
    rule = _rule(now, channels, terms, boundary, nonlinearity, bias)
    if boundary_row is not None:
        rule = rule._replace(row=np.asarray(boundary_row), end=size - 1 if driven_end == -1 else 0)
    return _advance(now, rule, steps, drive, injection, every, out)


def _taps_of_rings(taps, rings, size):
    """Taps (C, K, 1), or (C, K, N) where they depend on the position."""
    taps = np.asarray(taps)
    width = 0 if taps.ndim == 0 else taps.shape[min(taps.ndim - 1, 1)]
    if width % 2 == 0 or taps.shape not in ((width,), (rings, width), (rings, width, size)):
        raise ValueError(f"taps must have shape (K,), (C={rings}, K) or (C, K, N={size}), K odd, got {taps.shape}")
    return taps if taps.ndim == 3 else np.broadcast_to(taps, (rings, width))[..., None]


def _terms(output, ring, shift, weight, outputs) -> Terms:
    start = np.searchsorted(output, np.arange(outputs + 1))
    return Terms(start, ring, shift, weight)


def _rule(now, joined, terms, boundary, nonlinearity, bias) -> Rule:
    """Check what the two loops have in common, and put it together."""
    rings, size = now.shape[1:]
    if boundary not in _BOUNDARY:
        raise ValueError(f"boundary must be one of {', '.join(_BOUNDARY)}, got {boundary!r}")
    if nonlinearity not in _NONLINEARITY:
        raise ValueError(f"nonlinearity must be one of {', '.join(_NONLINEARITY)}, got {nonlinearity!r}")
    if now.dtype not in (np.float32, np.float64) or size == 0:
        raise ValueError(
            f"now must be a float32 or float64 array of at least one position, got {now.dtype} {now.shape}"
        )
    if bias is not None and np.shape(bias) != (rings, size):
        raise ValueError(f"bias must have shape {(rings, size)}, got {np.shape(bias)}")
    reach = int(np.abs(terms.shift).max(initial=0))
    bias = np.empty((rings, 0)) if bias is None else np.asarray(bias)
    nowhere = np.empty((0, 0, 0))
    return Rule(joined, _BOUNDARY[boundary], reach, terms, nowhere, 0, _NONLINEARITY[nonlinearity], bias)


def _with_halo(rule: Rule, halo: int, dtype) -> Rule:
    """The rule in the dtype of the field, its weights and biases continued over the cells of the halo."""
    mode = "wrap" if rule.boundary == w.PERIODIC else "edge"
    sides = ((0, 0), (halo, halo))
    weight, bias = rule.terms.weight, rule.bias
    weight = weight if weight.shape[1] == 1 else np.pad(weight, sides, mode=mode)
    bias = np.pad(bias, sides, mode=mode) if bias.shape[1] else bias
    terms = Terms(*(part.astype(np.int64) for part in rule.terms[:3]), np.array(weight, dtype, order="C"))
    row = np.array(rule.row, dtype, order="C")
    return rule._replace(terms=terms, row=row, bias=np.array(bias, dtype, order="C"))


def _advance(now, rule: Rule, steps, drive, injection, every, out):
    """Run the loop over groups of rings that act on each other."""
    batch, rings, size = now.shape
    now = np.require(now, requirements="CW")  # a read-only array is another type, and compiled for anew
    source = w.prepare_source(drive, injection, now.shape, steps, now.dtype)
    saving = w.prepare_saving(every, out, now.shape, steps, now.dtype)
    given, ended = now.reshape(batch * rings, size), np.empty((batch * rings, size), now.dtype)
    if steps == 0:
        return now.copy()

    # a driven end looks at the whole row, which then is one tile
    tiles = w.cut(size, steps, rule.reach, 0 if rule.row.size else 2 * rule.joined * now.itemsize)
    rule = _with_halo(rule, tiles.halo, now.dtype)
    edges = [w.empty_edges(1, batch * rings, tiles, now.dtype)[0] for _ in range(2)]
    if tiles.count > 1:
        w.first_edges(given, tiles.bounds, edges[0])
    with w.crew(float(steps) * batch * size * max(rule.terms.shift.size, 1)) as run:
        for done in range(0, steps, tiles.depth):
            count = min(tiles.depth, steps - done)

            def advance(first, last, done=done, count=count, given=given, edges=tuple(edges)):
                _advance_tiles(first, last, done, count, given, ended, *edges, tiles, rule, source, saving)

            run(advance, batch * rings // rule.joined * tiles.count)
            edges.reverse()
            given = ended
    return ended.reshape(batch, rings, size)


@compiled
def _advance_tiles(first, last, done, steps, now, new_now, edges_in, edges_out, cut, rule, source, saving):
    """Advance tiles first…last−1, counted through all groups of rings, by `steps` steps after `done` ones."""
    flags = flush_denormals()
    joined, boundary, reach, terms, bias = rule.joined, rule.boundary, rule.reach, rule.terms, rule.bias
    bounds, halo, entries = cut.bounds, cut.halo, source.entries
    rings, tiles, size = terms.start.size - 1, bounds.size - 1, now.shape[1]
    origin, lanes = w.margin_of(now) + halo, VECTOR_BYTES // now.itemsize
    buffers = w.windows(now, 2 * joined, -(-size // tiles) + 2 * origin)
    shifts = np.zeros((joined, 3, 2), np.int64)
    for index in range(first, last):
        group, tile = index // tiles, index % tiles
        row0 = group * joined  # first row of the group; its rings are ring0…ring0 + joined − 1 of its trial
        ring0, trial = row0 % rings, row0 // rings
        a, b = bounds[tile], bounds[tile + 1]
        left = tiles == 1 or (tile == 0 and boundary != w.PERIODIC)
        right = tiles == 1 or (tile == tiles - 1 and boundary != w.PERIODIC)
        current, following = buffers[:joined], buffers[joined:]
        low, high = a if left else a - halo, b if right else b + halo
        input_now = source.drive[trial]
        for r in range(joined):
            w.load(current[r], origin, now[row0 + r, a:b], tile, tiles, edges_in[row0 + r], left, right)
            w.entries_within(entries, ring0 + r, low, high, shifts[r], boundary, size)
        for step in range(steps):
            start = origin if left else origin - halo + (step + 1) * reach // lanes * lanes
            stop = origin + b - a if right else origin + b - a + halo - (step + 1) * reach
            for r in range(joined):
                w.extend(current[r], origin, b - a, reach, boundary, left, right)
            for r in range(joined):
                new = following[r]
                correlate(new, current, start, stop, terms, ring0 + r, a + halo - origin)
                if rule.row.size:
                    new[origin + rule.end] = _driven(current, origin, rule.row[r])
                if bias.shape[1]:
                    _add(new[start:stop], bias[ring0 + r, start + a + halo - origin :])
                if source.drive.size:
                    w.inject(new, origin - a, size, entries, shifts[r], input_now[done + step])
                if rule.nonlinearity:
                    _bend(new[start:stop], rule.nonlinearity)
            current, following = following, current
            if saving.every and (done + step + 1) % saving.every == 0:
                for r in range(joined):
                    w.save(current[r], origin, saving, done + step + 1, row0 + r, a, b)
        for r in range(joined):
            w.store(current[r], origin, new_now[row0 + r, a:b], edges_out[row0 + r, tile])
    restore_denormals(flags)


@compiled
def correlate(new, field, start, stop, terms, output, offset):
    """new[n] = Σ weight·field[ring, n + shift] over the terms of one output, for n = start…stop−1.

    Four terms are added in one pass. Weights that depend on the position begin at n + offset.
    """
    target = new[start:stop]
    e, end = terms.start[output], terms.start[output + 1]
    if e == end:
        for i in range(target.size):
            target[i] = 0
        return
    varying = terms.weight.shape[1] > 1
    u = _source(field, terms, e, start, stop)
    if varying:
        weights = terms.weight[e, start + offset : stop + offset]
        for i in range(target.size):
            target[i] = weights[i] * u[i]
        for f in range(e + 1, end):
            u, weights = _source(field, terms, f, start, stop), terms.weight[f, start + offset : stop + offset]
            for i in range(target.size):
                target[i] = fma(weights[i], u[i], target[i])
        return
    a = terms.weight[e, 0]
    if end - e == 1:
        for i in range(target.size):
            target[i] = a * u[i]
        return
    v, b = _source(field, terms, e + 1, start, stop), terms.weight[e + 1, 0]
    if end - e == 2:
        for i in range(target.size):
            target[i] = fma(b, v[i], a * u[i])
        return
    x, c = _source(field, terms, e + 2, start, stop), terms.weight[e + 2, 0]
    for i in range(target.size):
        target[i] = fma(c, x[i], fma(b, v[i], a * u[i]))
    e += 3
    while e + 4 <= end:
        u, v = _source(field, terms, e, start, stop), _source(field, terms, e + 1, start, stop)
        x, y = _source(field, terms, e + 2, start, stop), _source(field, terms, e + 3, start, stop)
        a, b, c, d = terms.weight[e, 0], terms.weight[e + 1, 0], terms.weight[e + 2, 0], terms.weight[e + 3, 0]
        for i in range(target.size):
            target[i] = fma(d, y[i], fma(c, x[i], fma(b, v[i], fma(a, u[i], target[i]))))
        e += 4
    for f in range(e, end):
        u, a = _source(field, terms, f, start, stop), terms.weight[f, 0]
        for i in range(target.size):
            target[i] = fma(a, u[i], target[i])


@compiled
def _source(field, terms, e, start, stop):
    """What term e multiplies: its ring, shifted."""
    return field[terms.ring[e], start + terms.shift[e] : stop + terms.shift[e]]


@compiled
def _driven(field, origin, weights):
    """Σ_{i,n} weights[i, n]·field[i, n], the value at the driven end of one output."""
    total = weights.dtype.type(0)
    for i in range(weights.shape[0]):
        row = field[i, origin:]
        for n in range(weights.shape[1]):
            total += weights[i, n] * row[n]
    return total


@compiled
def _add(row, what):
    for i in range(row.size):
        row[i] += what[i]


@compiled
def _bend(row, nonlinearity):
    zero = row.dtype.type(0)
    if nonlinearity == _RELU:
        for i in range(row.size):
            row[i] = zero if row[i] < zero else row[i]  # NaN stays NaN
    elif nonlinearity == _TANH:
        for i in range(row.size):
            row[i] = math.tanh(row[i])

"""Time loop of the two-way field: leapfrog, two levels, any number of steps in one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wavefield.loops import tiles as w
from wavefield.loops.compilation import compiled
from wavefield.loops.denormals import flush_denormals, restore_denormals
from wavefield.loops.stencil import FUSED, VECTOR_BYTES, WIDEST, fma, fused_steps, one_step, stepped

_BOUNDARY = {"periodic": w.PERIODIC, "fixed": w.FIXED, "free": w.FREE, "absorbing": w.ABSORBING}


class Physics(NamedTuple):
    """One step of every ring, as the compiled loop wants it; of a single ring, without the axis C."""

    boundary: int
    taps: np.ndarray  # (C, p + 1) from the centre outwards
    q: np.ndarray  # (C,)
    near: np.ndarray  # (C, 2) taps of second order, next to absorbing ends
    mur: np.ndarray  # (C, 2)
    faces: np.ndarray  # (C, N + 1 + 2·halo) in place of taps, or (C, 0)


class Levels(NamedTuple):
    """Two levels of all rows, (rows, N) each."""

    now: np.ndarray
    before: np.ndarray


def leapfrog(
    now,
    before,
    *,
    q,
    taps=None,
    conductance=None,
    boundary="periodic",
    mur=0.0,
    near=None,
    steps,
    drive=None,
    injection=None,
    every=0,
    out=None,
):
    """Advance a two-way field; returns the last levels (now, before), new arrays.

        h_i[t+1] = Σ_k taps[k]·h_{i+k−p}[t] − q·h_i[t−1] + Σ weight·drive[t],      K = 2p + 1

    or, in a medium of varying speed, with g = `conductance` on the faces between positions and one half-width p = 1,

        h_i[t+1] = (1 + q)/2·(2h_i + g_{i+1}(h_{i+1} − h_i) − g_i(h_i − h_{i−1}))[t] − q·h_i[t−1] + …

    (1 + q)/2 = 1/(1 + γdt/2) is what damping leaves of the new level.

    Parameters
    ----------
    now, before : ndarray, shape (B, C, N), float32 or float64
    q : float or array_like, shape (C,)
        (1 − γdt/2)/(1 + γdt/2).
    taps : array_like, shape (K,) or (C, K)
        Symmetric.
    conductance : array_like, shape (N + 1,) or (C, N + 1)
        In place of taps; entry i lies left of position i, on a ring the last equals the first.
    boundary : {"periodic", "fixed", "free", "absorbing"}
        Absorbing ends are h₀[t+1] = h₁[t] + mur·(h₁[t+1] − h₀[t]), taken before the drive is added.
    mur : float or array_like, shape (C,) or (C, 2)
        (r − 1)/(r + 1) of the left and right end.
    near : array_like, shape (3,) or (C, 3)
        Second order taps for the p − 1 cells next to absorbing ends, where p > 1.
    steps : int
    drive : ndarray, shape (B, steps, I), optional
    injection : Injection, optional
    every : int
        Save each `every`-th level into `out`; 0 for none.
    out : ndarray, shape (steps // every, B, C, N), optional

    Notes
    -----
    Rows that fit a core's cache are advanced there for the whole run, longer ones in windows (`tiles`), both
    in parallel. Neither changes a bit of the result.
    """
    # a read-only array is another type, and compiled for anew
    now, before = (np.require(level, requirements="CW") for level in (now, before))
    batch, rings, size = now.shape
    dtype = now.dtype
    if boundary not in _BOUNDARY:
        raise ValueError(f"boundary must be one of {', '.join(_BOUNDARY)}, got {boundary!r}")
    if before.shape != now.shape or before.dtype != dtype or dtype not in (np.float32, np.float64):
        raise ValueError(
            f"now and before must be float32 or float64 arrays of one shape, got {dtype} {now.shape} and "
            f"{before.dtype} {before.shape}"
        )
    if size < (3 if boundary == "absorbing" else 1):
        raise ValueError(f"a line with {boundary} ends needs at least {3 if size else 1} positions, got {size}")
    q = _per_ring(q, rings, ())
    half, faces = _coefficients(taps, conductance, rings, size, dtype)
    near = half[:, :2] if near is None else _halved(_per_ring(near, rings, (3,)))
    mur = _per_ring(np.asarray(mur)[..., None] * [1, 1] if np.ndim(mur) < 2 else mur, rings, (2,))
    source = w.prepare_source(drive, injection, now.shape, steps, dtype)
    saving = w.prepare_saving(every, out, now.shape, steps, dtype)
    constants = (np.array(part, dtype, order="C") for part in (half, q, near, mur, faces))
    given = Levels(*(level.reshape(batch * rings, size) for level in (now, before)))
    ended = _run(given, Physics(_BOUNDARY[boundary], *constants), source, steps, saving)
    return tuple(level.reshape(batch, rings, size) for level in ended)


def _run(given: Levels, physics: Physics, source: w.Source, steps: int, saving: w.Saving) -> Levels:
    """Return the levels after the steps, made block by block of time."""
    if steps == 0:
        return Levels(*(level.copy() for level in given))
    ended = Levels(*(np.empty_like(level) for level in given))
    reach, (rows, size), dtype = physics.taps.shape[1] - 1, given.now.shape, given.now.dtype
    tiles = w.cut(size, steps, reach, 2 * dtype.itemsize)
    physics = _with_halo(physics, tiles.halo)
    edges = [w.empty_edges(2, rows, tiles, dtype) for _ in range(2)]
    if tiles.count > 1:
        w.first_edges(given.now, tiles.bounds, edges[0][0])
        w.first_edges(given.before, tiles.bounds, edges[0][1])
    with w.crew(float(steps) * rows * size) as run:
        for done in range(0, steps, tiles.depth):
            count = min(tiles.depth, steps - done)

            def advance(first, last, done=done, count=count, given=given, edges=tuple(edges)):
                _advance_tiles(first, last, done, count, given, ended, *edges, tiles, physics, source, saving)

            run(advance, rows * tiles.count)
            edges.reverse()
            given = ended
    return ended


def _with_halo(physics: Physics, halo: int) -> Physics:
    """The physics with faces beyond the ends, for the cells of the halo."""
    faces = physics.faces
    if faces.shape[1] == 0:
        return physics
    if physics.boundary == w.PERIODIC:  # the last face is the first
        faces = np.pad(faces[:, :-1], ((0, 0), (halo, halo + 1)), mode="wrap")
    else:
        faces = np.pad(faces, ((0, 0), (halo, halo)), mode="edge")
    return physics._replace(faces=faces)


def _coefficients(taps, conductance, rings, size, dtype):
    """Return taps from the centre outwards (C, p + 1) and faces (C, N + 1), of which one is void."""
    if (taps is None) == (conductance is None):
        raise ValueError("give either taps or conductance")
    if taps is not None:
        return _halved(_per_ring(taps, rings, np.shape(taps)[-1:])), np.empty((rings, 0), dtype)
    return np.zeros((rings, 2)), _per_ring(conductance, rings, (size + 1,))


def _halved(taps):
    """Taps (C, K) from the centre outwards."""
    width = taps.shape[1]
    if width == 1:
        return np.pad(taps, ((0, 0), (0, 1)))
    if width % 2 == 0 or not np.array_equal(taps, taps[:, ::-1]):
        raise ValueError(f"taps must be symmetric and odd in number, got {taps.tolist()}")
    return taps[:, width // 2 :]


def _per_ring(value, rings, shape):
    value = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(value, (rings, *shape))
    except ValueError:
        raise ValueError(f"one value for all rings or one for each of {rings} is needed, got {value.shape}") from None


@compiled
def _advance_tiles(first, last, done, steps, given, ended, edges_in, edges_out, cut, physics, source, saving):
    """Advance tiles first…last−1, counted through all rows, by `steps` steps after `done` ones."""
    flags = flush_denormals()
    boundary, taps, bounds, halo, every = physics.boundary, physics.taps, cut.bounds, cut.halo, saving.every
    drive, entries = source.drive, source.entries
    rings, tiles, size, reach = taps.shape[0], bounds.size - 1, given.now.shape[1], taps.shape[1] - 1
    vector_form = boundary != w.ABSORBING and physics.faces.shape[1] == 0 and reach <= WIDEST
    origin = w.margin_of(given.now) + halo
    buffers = w.windows(given.now, 2, -(-size // tiles) + 2 * origin)
    shifts = np.zeros((3, 2), np.int64)
    for index in range(first, last):
        row, tile = index // tiles, index % tiles
        ring, trial = row % rings, row // rings
        a, b = bounds[tile], bounds[tile + 1]
        left = tiles == 1 or (tile == 0 and boundary != w.PERIODIC)
        right = tiles == 1 or (tile == tiles - 1 and boundary != w.PERIODIC)
        current, previous = buffers[0], buffers[1]
        w.load(current, origin, given.now[row, a:b], tile, tiles, edges_in[0, row], left, right)
        w.load(previous, origin, given.before[row, a:b], tile, tiles, edges_in[1, row], left, right)
        low, high = a if left else a - halo, b if right else b + halo
        w.entries_within(entries, ring, low, high, shifts, boundary, size)
        input_now = drive[trial]
        own = Physics(boundary, taps[ring], physics.q[ring], physics.near[ring], physics.mur[ring], physics.faces[ring])
        step = 0
        while step < steps:
            until = steps if every == 0 else min(steps, step + every - (done + step) % every)
            if vector_form:
                until = _silent_until(input_now, done + step, done + until) - done
            if until > step and vector_form:
                current, previous = _advance_free(
                    current, previous, origin, b - a, halo, step, until, own.taps, own.q, boundary, left, right
                )
                step = until
            else:
                _one_step(current, previous, origin, b - a, a, halo, step, own, left, right)
                if drive.size:
                    w.inject(previous, origin - a, size, entries, shifts, input_now[done + step])
                current, previous = previous, current
                step += 1
            if every and (done + step) % every == 0:
                w.save(current, origin, saving, done + step, row, a, b)
        w.store(current, origin, ended.now[row, a:b], edges_out[0, row, tile])
        w.store(previous, origin, ended.before[row, a:b], edges_out[1, row, tile])
    restore_denormals(flags)


@compiled
def _silent_until(drive, step, until):
    """First step from `step` on, and before `until`, at which an input of drive (steps, I) is not zero; or `until`."""
    for t in range(step, min(until, drive.shape[0])):
        for value in drive[t]:
            if value != 0:
                return t
    return until


@compiled
def _advance_free(current, previous, origin, cells, halo, step, until, taps, q, boundary, left, right):
    """Steps step…until−1 of a field on which nothing acts, through vectors; returns (current, previous).

    A step leaves `reach` cells less of what is known beyond the tile. Where it was cut from its neighbours that is
    what the steps since the beginning of the window left of the halo; where the row really ends, it is continued for
    as many steps as are made, or, in a row of a single tile, as the halo has room for.
    """
    reach, lanes = taps.size - 1, VECTOR_BYTES // current.itemsize
    while step < until:
        run = min(until - step, halo // reach) if left and right else until - step
        w.extend(current, origin, cells, run * reach, boundary, left, right)
        w.extend(previous, origin, cells, run * reach, boundary, left, right)
        known = run * reach if left and right else halo - step * reach
        step += run
        while run > 0:
            rim = (known + lanes - 1) // lanes * lanes
            if reach == 1 and run >= FUSED:
                fused_steps(current, previous, origin - rim, cells + 2 * rim, taps, q)
                count = FUSED
            else:
                one_step(current, previous, origin - rim, cells + 2 * rim, taps, q)
                current, previous = previous, current
                count = 1
            run -= count
            known -= count * reach
    return current, previous


@compiled
def _one_step(now, before, origin, cells, a, halo, step, own, left, right):
    """One step of one ring in a window whose tile begins at position a: the new level replaces `before`."""
    boundary, taps, q, faces = own.boundary, own.taps, own.q, own.faces
    reach, lanes = taps.size - 1, VECTOR_BYTES // now.itemsize
    start = origin if left else origin - halo + (step + 1) * reach // lanes * lanes
    stop = origin + cells if right else origin + cells + halo - (step + 1) * reach
    if boundary == w.ABSORBING:
        start, stop = start + reach * left, stop - reach * right
    else:
        w.extend(now, origin, cells, reach, boundary, left, right)
    if start < stop:
        if faces.size:
            _varying(now, before, start, stop, faces[a + halo + start - origin :], q)
        else:
            complete = (stop - start) // lanes * lanes if reach <= WIDEST else 0
            if complete:
                one_step(now, before, start, complete, taps, q)
            if start + complete < stop:
                stepped(now, before, start + complete, stop, taps, q)
    if boundary == w.ABSORBING:
        near, mur = own.near, own.mur
        first, last = origin, origin + cells - 1
        if left and reach > 1:
            stepped(now, before, first + 1, min(first + reach, last), near, q)
        if right and reach > 1:
            beyond = max(first + reach, last + 1 - reach) if left else last + 1 - reach
            if beyond < last:
                stepped(now, before, max(beyond, first + 1), last, near, q)
        if left:
            before[first] = now[first + 1] + mur[0] * (before[first + 1] - now[first])
        if right:
            before[last] = now[last - 1] + mur[1] * (before[last - 1] - now[last])


@compiled
def _varying(now, before, start, stop, faces, q):
    """The same in a medium of varying speed; faces[0] lies left of cell `start`."""
    old, centre = before[start:stop], now[start:stop]
    left, right = now[start - 1 : stop - 1], now[start + 1 : stop + 1]
    g_left, g_right = faces[: stop - start], faces[1 : stop - start + 1]
    number = old.dtype.type  # a bare literal would turn float32 arithmetic into float64
    half, two = number(0.5) * (q + number(1)), number(2)
    for i in range(old.size):
        flow = g_right[i] * (right[i] - centre[i]) - g_left[i] * (centre[i] - left[i])
        old[i] = fma(half, two * centre[i] + flow, -q * old[i])

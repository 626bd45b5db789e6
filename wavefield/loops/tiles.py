"""Windows: what every time loop shares, so that a long row is advanced piece by piece and by several threads.

A row of N positions is cut into tiles. A tile is copied into a *window*, a buffer with a halo on either side,

    margin | halo | tile | halo | margin,      origin = index of the tile's first cell,

advanced there by `depth` steps while it stays in a core's cache, and copied back. Where a tile was cut from its
neighbours the halo holds *their* cells as they were at the beginning, and each step takes p of them out of use (p the
half-width of the stencil), so that tiles need not wait for each other within `depth` steps. A short row is one tile
and stays in its window for the whole run. Where the row really ends (always, with one tile) the halo is filled by the
boundary's own continuation, see `extend`.

Tiles are handed to threads from outside the compiled loops, which release the interpreter's lock: unlike Numba's own
thread pool this may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np

from wavefield.loops.compilation import compiled
from wavefield.loops.stencil import FUSED, VECTOR_BYTES

PERIODIC, FIXED, FREE, ABSORBING, ZERO = range(5)

MARGIN_BYTES = (FUSED + 1) * VECTOR_BYTES  # what vector loops may read and write beyond the halo
_WINDOW_BYTES = 256 * 1024  # all rows of a window: a part of one core's second-level cache
_DEPTH = 256  # cells of halo: 256 steps of a three-point stencil
_REFRESH = 16  # cells of halo in a row that is its own only tile
_WORTH_THREADS = 2_000_000  # updates below which starting threads costs more than they save


class Injection(NamedTuple):
    """Where inputs enter: entries start[c]…start[c+1] − 1 add weight·drive[b, t, input] at `position` of ring c."""

    start: np.ndarray  # (C + 1,) int64
    position: np.ndarray  # (entries,) int64
    input: np.ndarray  # (entries,) int64
    weight: np.ndarray  # (entries,) of the field's dtype


class Source(NamedTuple):
    """What enters: the drive, (B, steps, I), and where; both empty where nothing does."""

    drive: np.ndarray
    entries: Injection


class Saving(NamedTuple):
    """Which levels are kept: each `every`-th (0 for none) into rows of `levels`, (saves, rows, N)."""

    every: int
    levels: np.ndarray


class Tiles(NamedTuple):
    """How rows are cut: tile j of a row holds positions bounds[j]…bounds[j+1] − 1."""

    bounds: np.ndarray  # (tiles + 1,)
    depth: int  # steps before the cells of neighbours are fetched again
    halo: int

    @property
    def count(self) -> int:
        return self.bounds.size - 1


def injection(encoder, dtype) -> Injection:
    """Return the nonzero entries of an encoder (C, N, I) in order of ring and position."""
    encoder = np.asarray(encoder)
    ring, position, which = np.nonzero(encoder)
    start = np.searchsorted(ring, np.arange(encoder.shape[0] + 1))
    return Injection(start, position, which, encoder[ring, position, which].astype(dtype))


def prepare_source(drive, entries, shape, steps, dtype) -> Source:
    """Return the drive (B, steps, I) and its entries sorted by position, both empty where nothing enters."""
    batch, rings, size = shape
    if drive is None or entries is None or 0 in np.shape(drive)[1:]:
        nothing = Injection(np.zeros(rings + 1, np.int64), *[np.zeros(0, np.int64)] * 2, np.zeros(0, dtype))
        return Source(np.zeros((batch, 0, 0), dtype), nothing)
    drive = np.require(drive, dtype, "CW")  # a read-only array is another type, and compiled for anew
    if drive.ndim != 3 or drive.shape[:2] != (batch, steps):
        raise ValueError(f"drive must have shape (batch={batch}, steps={steps}, inputs), got {drive.shape}")
    start, position, which = (np.require(part, np.int64, "CW") for part in entries[:3])
    weight = np.require(entries.weight, dtype, "CW")
    if start.shape != (rings + 1,) or not position.size == which.size == weight.size == start[-1]:
        raise ValueError(f"injection must hold start ({rings + 1},) and start[-1] entries, got start {start.tolist()}")
    if position.size and (position.min() < 0 or position.max() >= size):
        raise ValueError(f"injection.position must lie in 0…{size - 1}, got {position.min()}…{position.max()}")
    if which.size and (which.min() < 0 or which.max() >= drive.shape[2]):
        raise ValueError(f"injection.input must lie in 0…{drive.shape[2] - 1}, got {which.min()}…{which.max()}")
    ring = np.repeat(np.arange(rings), np.diff(start))
    order = np.lexsort((position, ring))
    return Source(drive, Injection(start, position[order], which[order], weight[order]))


def prepare_saving(every, out, shape, steps, dtype) -> Saving:
    """Return how often to save and the array to save into, which is checked."""
    batch, rings, size = shape
    if not every or out is None:
        return Saving(0, np.empty((0, batch * rings, size), dtype))
    expected = (steps // every, *shape)
    if out.shape != expected or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous {dtype} array of shape {expected}, got {out.dtype} {out.shape}")
    return Saving(int(every), out.reshape(expected[0], batch * rings, size))


def cut(size: int, steps: int, reach: int, bytes_per_cell: int) -> Tiles:
    """Choose tiles for rows of `size` positions, `reach` cells taken from each side by a step."""
    if size * bytes_per_cell <= 2 * _WINDOW_BYTES:
        return Tiles(np.array([0, size]), max(steps, 1), max(_REFRESH, reach))
    depth = max(min(steps, _DEPTH // max(reach, 1)), 1)
    halo = -(-depth * reach // _REFRESH) * _REFRESH
    count = max(min(-(-size * bytes_per_cell // _WINDOW_BYTES), size // max(halo, 1)), 1)
    if count == 1:  # a stencil so wide that no tile holds its halo
        return Tiles(np.array([0, size]), max(steps, 1), max(_REFRESH, reach))
    return Tiles(np.arange(count + 1) * size // count, depth, halo)


def empty_edges(levels: int, rows: int, tiles: Tiles, dtype) -> np.ndarray:
    """Room for the outermost cells of every tile, (level, row, tile, side, halo); none where there is one tile."""
    return np.empty((levels, rows, tiles.count, 2, tiles.halo if tiles.count > 1 else 0), dtype)


def first_edges(state: np.ndarray, bounds: np.ndarray, edges: np.ndarray) -> None:
    """Copy the outermost cells of every tile of a state (rows, N) into edges (row, tile, side, halo)."""
    halo = edges.shape[-1]
    for tile, (a, b) in enumerate(pairwise(bounds)):
        edges[:, tile, 0] = state[:, a : a + halo]
        edges[:, tile, 1] = state[:, b - halo : b]


@contextmanager
def crew(updates: float) -> Iterator[Callable]:
    """Yield ``run(task, tiles)``, which calls task(first, last) over all tiles, in threads if the work is worth it."""
    threads = numba.config.NUMBA_NUM_THREADS
    if threads == 1 or updates < _WORTH_THREADS:
        yield lambda task, tiles: task(0, tiles)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="wavefield") as pool:

        def run(task, tiles):
            cuts = np.linspace(0, tiles, min(tiles, 4 * threads) + 1).astype(int).tolist()
            list(pool.map(task, cuts[:-1], cuts[1:]))

        yield run


@compiled
def margin_of(array):
    """Cells of margin on either side of a window of the array's dtype."""
    return MARGIN_BYTES // array.itemsize


@compiled
def windows(like, rows, cells):
    """Return `rows` zeroed rows of `cells` cells that begin on a vector's address, not all at the same cache sets."""
    line, page = VECTOR_BYTES // like.itemsize, 4096 // like.itemsize
    stride = (cells + page - 1) // page * page + page // rows // line * line
    raw = np.zeros(rows * stride + line, like.dtype)
    skip = -(raw.ctypes.data // like.itemsize) % line
    return raw[skip : skip + rows * stride].reshape(rows, stride)


@compiled
def load(window, origin, cells, tile, tiles, edges, left, right):
    """Put a tile into its window, and the cells of its neighbours into the halo where it was cut from them."""
    for i in range(cells.size):
        window[origin + i] = cells[i]
    halo, end = edges.shape[2], origin + cells.size
    if not left:
        neighbour = edges[(tile - 1) % tiles, 1]
        for i in range(halo):
            window[origin - halo + i] = neighbour[i]
    if not right:
        neighbour = edges[(tile + 1) % tiles, 0]
        for i in range(halo):
            window[end + i] = neighbour[i]


@compiled
def store(window, origin, cells, edges):
    """Put the tile back, and its outermost cells where the neighbours will look for them."""
    for i in range(cells.size):
        cells[i] = window[origin + i]
    halo, last = edges.shape[1], origin + cells.size - edges.shape[1]
    for i in range(halo):
        edges[0, i] = window[origin + i]
        edges[1, i] = window[last + i]


@compiled
def save(window, origin, saving, step, row, a, b):
    """Keep positions a…b−1 of a row, which begin at `origin` of its window, as they are after `step` steps."""
    target = saving.levels[step // saving.every - 1, row, a:b]
    for i in range(b - a):
        target[i] = window[origin + i]


@compiled
def extend(row, origin, cells, reach, boundary, left, right):
    """Fill `reach` cells beyond the ends of a row by the boundary's continuation.

        periodic   h[i ± N] = h[i]
        fixed      h[−1] = 0, h[−1−j] = −h[−1+j], and so about N: zero one cell beyond the ends (DST-I)
        free       h[−j] = h[j], h[N−1+j] = h[N−1−j]: mirrored about the end cells (DCT-I)
        otherwise  0

    Cells are filled outwards by turns, so that rows shorter than `reach` continue as often as is needed.
    """
    first, last, zero = origin, origin + cells - 1, row.dtype.type(0)
    if boundary == PERIODIC:
        if left and right and reach <= cells:  # a ring cut into tiles takes its neighbours instead
            before, ending = row[first - reach : first], row[last + 1 - reach : last + 1]
            after, beginning = row[last + 1 : last + 1 + reach], row[first : first + reach]
            for j in range(reach):
                before[j] = ending[j]
            for j in range(reach):
                after[j] = beginning[j]
        elif left and right:
            for j in range(reach):
                row[first - 1 - j] = row[last - j]
                row[last + 1 + j] = row[first + j]
    elif boundary == FIXED:
        for j in range(reach):
            if left:
                row[first - 1 - j] = -row[first - 1 + j] if j else zero
            if right:
                row[last + 1 + j] = -row[last + 1 - j] if j else zero
    elif boundary == FREE:
        step = min(1, cells - 1)  # a single cell is its own mirror image
        for j in range(reach):
            if left:
                row[first - 1 - j] = row[first + (1 + j) * step]
            if right:
                row[last + 1 + j] = row[last - (1 + j) * step]
    else:
        for j in range(reach):
            if left:
                row[first - 1 - j] = zero
            if right:
                row[last + 1 + j] = zero


@compiled
def entries_within(entries, ring, low, high, shifts, boundary, size):
    """Find the entries of a ring that fall on cells low…high−1, counted on beyond the ends where it is periodic.

    Row s of the answer holds first and last + 1 of the entries that appear shifted by (s − 1)·N; `shifts` is filled
    and returned.
    """
    begin, end = entries.start[ring], entries.start[ring + 1]
    position = entries.position[begin:end]
    for s in range(3):
        offset = (s - 1) * size
        shifts[s, 0] = shifts[s, 1] = 0
        if position.size and (s == 1 or boundary == PERIODIC):
            shifts[s, 0] = begin + np.searchsorted(position, max(low - offset, 0))
            shifts[s, 1] = begin + np.searchsorted(position, min(high - offset, size))
    return shifts


@compiled
def inject(row, origin, size, entries, shifts, drive):
    """Add weight·drive at the entries of `shifts`; `origin` is where position 0 of the ring lies in the window."""
    for s in range(3):
        offset = origin + (s - 1) * size
        for e in range(shifts[s, 0], shifts[s, 1]):
            row[entries.position[e] + offset] += entries.weight[e] * drive[entries.input[e]]

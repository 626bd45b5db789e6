"""The order in which rows are moved: many steps while a row is in the cache, and by several threads.

A row at step s needs the rows within R of it at step s − 1, R the reach of the stencil. So rows can be moved in a
*wavefront*: with s rising from 0 to `depth` − 1 at every place w, row w − sR is moved by step s,

    w      step 0    step 1     step 2 …
    7      row 7     row 6      row 5         (R = 1)
    8      row 8     row 7      row 6

and memory is read once for `depth` steps. Both levels are updated in place: when row r is moved by step s, nobody
needs what it held two levels before.

Where the rows are a ring, or are shared among threads, the sheet is cut into *slabs*, and a pass of `depth` steps has
two phases. In the first each slab moves what depends on itself alone, R rows less on either side for each step (a
trapezoid in the plane of rows and steps); in the second the seams between slabs are filled in, R rows more on either
side for each step (a triangle). A row that waits for its seam holds both levels that the seam needs. Nothing is
computed twice and every cell sees the same arithmetic: cuts and threads change no bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from wavefield.loops import tiles as w
from wavefield.loops.sheets.compilation import compiled
from wavefield.loops.sheets.planes import Geometry, planes

_CACHE_BYTES = 2560 * 1024  # rows of a wavefront: where they leave the second-level cache, the third serves as well
_DEEPEST = 32
_SHALLOWEST = 4
_WORTH_CUTTING = 1_000_000  # updates in one pass of a plane below which slabs wait longer than they work


class Plan(NamedTuple):
    """How a run is cut: steps of a pass, and for each phase its regions (lo, slope of lo, hi, slope of hi).

    A region at step s holds the rows lo + slope·(s + 1)·R to hi + slope·(s + 1)·R − 1.
    """

    depth: int
    slabs: np.ndarray  # (slabs, 4) int64
    seams: np.ndarray  # (seams, 4) int64


def plan(sheet: Geometry, count: int, steps: int, bytes_per_cell: int, *, rim: int = 0) -> Plan:
    """Choose depth and slabs for `count` planes; `bytes_per_cell` counts everything that is read for a cell.

    Seams stay clear of the `rim` rows at the top and the bottom, which are moved in order within a step.
    """
    reach = max(sheet.reach_y, 1)
    deepest = _CACHE_BYTES // (sheet.stride * bytes_per_cell * reach)
    depth = max(min(max(deepest, _SHALLOWEST), _DEEPEST, steps), 1)
    slabs = 1
    threads = numba.config.NUMBA_NUM_THREADS
    if count < threads and sheet.ny * sheet.nx * depth > _WORTH_CUTTING:
        narrow = min(depth, _SHALLOWEST)
        if sheet.ny >= threads * max(2 * reach * narrow, reach * narrow + rim + 2):
            slabs = threads
            depth = min(depth, (sheet.ny // threads - rim - 2) // reach) if rim else depth
    return planned(sheet, depth, slabs)


def planned(sheet: Geometry, depth: int, slabs: int) -> Plan:
    """The plan of this depth, or of less where slabs would be too narrow for their slopes, and number of slabs."""
    reach, ny = max(sheet.reach_y, 1), sheet.ny
    sloped = slabs > 1 or sheet.periodic
    if sloped:
        depth = max(min(depth, ny // slabs // (2 * reach)), 1)
    if depth == 1:  # steps wait for each other, so rows need not
        sloped, slabs = False, 1
    bounds = np.arange(slabs + 1) * ny // slabs
    lower, upper = np.full(slabs, int(sloped)), np.full(slabs, -int(sloped))
    seams = bounds[:-1] if sloped else bounds[:0]
    if not sheet.periodic:
        lower[0], upper[-1] = 0, 0
        seams = seams[1:]
    triangles = [(seam, -1, seam, 1) for seam in seams.tolist()]
    return Plan(
        depth,
        np.stack([bounds[:-1], lower, bounds[1:], upper], axis=1).astype(np.int64),
        np.array(triangles, np.int64).reshape(-1, 4),
    )


def carry_out(plan: Plan, sheet: Geometry, count: int, levels: int, steps: int, work: float, dtype, move):
    """Move `count` planes by `steps` steps, in threads if `work`, the updates of cells, is worth it.

    ``move(buffers, first, last, done, until, phase)`` moves planes first…last − 1 one after the other from step
    `done` to `until` in a buffer for one; or, where phase is not −1, regions first…last − 1 of that phase, counted
    through all planes, in buffers for all.
    """
    with w.crew(work) as run:
        if len(plan.slabs) == 1:
            run(lambda first, last: move(planes(1, levels, sheet, dtype), first, last, 0, steps, -1), count)
            return
        buffers = planes(count, levels, sheet, dtype)
        for done in range(0, steps, plan.depth):
            until = min(done + plan.depth, steps)
            for phase, regions in enumerate((plan.slabs, plan.seams)):

                def task(first, last, done=done, until=until, phase=phase):
                    move(buffers, first, last, done, until, phase)

                run(task, count * len(regions))


@compiled
def steps_at(place, region, reach, depth):
    """First step, and last + 1, that the wavefront makes at a place within a region."""
    first, last = 0, depth
    lower, upper = (region[1] + 1) * reach, (region[3] + 1) * reach
    above, below = place - region[0] - region[1] * reach, place - region[2] - region[3] * reach
    if lower:
        last = min(last, above // lower + 1)
    elif above < 0:
        last = 0
    if upper:
        first = max(first, below // upper + 1)
    elif below >= 0:
        last = 0
    return first, last

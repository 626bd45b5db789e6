"""Speed of the time loops on this machine, beside NumPy doing the same in the same run.

A cell update is one position of one ring moved by one step. Times are the best of several, taken by turns with those
they are compared with, so that a busy machine spoils the rates before it spoils the ratios.
"""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from time import perf_counter
from typing import NamedTuple

import numba
import numpy as np
from scipy import ndimage

from wavefield.files import whole_or_nothing
from wavefield.loops.convolve import convolve, transport
from wavefield.loops.leapfrog import leapfrog
from wavefield.loops.sheets.leapfrog import sheet_leapfrog
from wavefield.loops.tiles import injection
from wavefield.operators.equations import transport as transport_equation
from wavefield.operators.equations import wave

SIZES = ((64, 1_000), (1, 131_072), (1, 1_000_000), (1, 16_000_000))  # rings, positions
SHEETS = ((16, 256), (1, 1024), (1, 4096))  # sheets, cells along each side
_COURANT2 = 0.81
_SHEET_COURANT2 = 0.49
_TAPS = [_COURANT2, 2 - 2 * _COURANT2, _COURANT2]
_FIVE_POINT = _SHEET_COURANT2 * np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) + np.diag([0.0, 2.0, 0.0])
_UPDATES, _BYTES, _FLOPS = "cell updates/s", "bytes/s", "flop/s"


class Row(NamedTuple):
    """One measurement; `ratio` is this rate divided by that of `against`."""

    case: str
    dtype: str
    rings: int
    positions: int
    steps: int
    seconds: float
    rate: float
    unit: str
    ratio: float | None = None
    against: str = ""


class Effort(NamedTuple):
    """How much to measure."""

    updates: float = 3e9  # cell updates of one timed call of a compiled loop
    positions: int = 4096**2  # longest row, largest sheet
    repeats: int = 3


def bench(
    output=None, *, updates: float = 3e9, positions: int = 4096**2, repeats: int = 3, show: bool = True
) -> list[Row]:
    """Measure the time loops, print a table and, where `output` is given, write it as CSV.

    Parameters
    ----------
    output : path, optional
        CSV file; each row also carries the machine, its load and the number of threads.
    updates : float
        Cell updates in one timed call; a tenth of a second's work or more gives steady figures.
    positions : int
        Rows and sheets of more positions than this are left out.
    repeats : int
        Timings of each case, of which the best counts.
    show : bool
        Whether the table is printed.

    Returns
    -------
    list of Row
    """
    effort = Effort(updates, positions, repeats)
    machine = describe_machine()
    if show:
        print("\n".join(f"{name}: {value}" for name, value in machine.items()))
        print(f"\n{'case':38}{'dtype':9}{'rings':>6}{'positions':>10}{'steps':>8}{'seconds':>10}{'rate':>10}  unit")
    rows = []
    with nullcontext() if output is None else whole_or_nothing(output) as scratch:
        for measure in CASES:
            for row in measure(effort):
                rows.append(row)
                if show:
                    print(_line(row), flush=True)
        if output is not None:
            _write(scratch, rows, machine)
    return rows


def describe_machine() -> dict:
    """Processor, cores, threads used, versions, and the load before the measurement began."""
    return {
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": numba.config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]  # numba sets it when it is imported
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else "",
        "versions": f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}",
    }


# ---- cases: each yields rows; a new one is added to CASES -----------------------------------------------------------


def two_way(effort: Effort) -> Iterator[Row]:
    """The two-way equation, last state only, beside NumPy's two usual forms of it."""
    for dtype in (np.float64, np.float32):
        for rings, size in _sizes(effort):
            now, before = _levels(rings, size, dtype)
            steps = _steps(effort.updates, now.size, at_least=512)  # enough to outweigh fresh memory
            few = max(1, steps // 100)
            given = {"taps": _TAPS, "q": 1.0}
            looped, sliced, rolled = fastest(
                effort.repeats,
                lambda: leapfrog(now, before, **given, steps=steps),  # noqa: B023 - called before the loop moves on
                lambda: numpy_slices(now[0], before[0], few),  # noqa: B023
                lambda: numpy_roll(now[0], before[0], max(1, few // 4)),  # noqa: B023
            )
            one = _row("two-way, single steps", now, steps, looped)
            slices = _row("two-way, NumPy in place on slices", now, few, sliced)
            roll = _row("two-way, NumPy with np.roll", now, max(1, few // 4), rolled)
            yield compared(one, slices)
            yield compared(one, roll)
            yield slices
            yield roll


def two_way_at_work(effort: Effort) -> Iterator[Row]:
    """The two-way equation with what a simulation adds to it."""
    rng = np.random.default_rng(0)
    rings, size = 64, 1000
    for dtype in (np.float64, np.float32):
        now, before = _levels(rings, size, dtype)
        steps = _steps(effort.updates / 4, now.size)
        encoder = np.zeros((rings, size, 4), dtype)
        encoder[:, [0, 250, 500, 750], range(4)] = 1
        drive = rng.standard_normal((1, steps, 4)).astype(dtype)
        spikes = drive * (rng.random((1, steps, 1)) < 0.01)
        entries = injection(encoder, dtype)
        order_8 = 0.25 * np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
        order_8[4] += 2
        uniform = {"taps": _TAPS, "q": 1.0, "steps": steps}
        variants = {
            "two-way": uniform,
            "two-way, damped": uniform | {"q": 0.99},
            "two-way, spikes in one step of 100": uniform | {"drive": spikes, "injection": entries},
            "two-way, driven at every step": uniform | {"drive": drive, "injection": entries},
            "two-way, absorbing ends": uniform | {"boundary": "absorbing", "ends": [1, -0.05, 0.05]},
            "two-way, speed depends on position": {
                "conductance": np.full(size + 1, _COURANT2), "q": 0.99, "steps": steps
            },
            "two-way, order 8 in space": uniform | {"taps": order_8},
        }  # fmt: skip
        yield from _variants(effort, leapfrog, variants, now, before)


def one_level(effort: Effort) -> Iterator[Row]:
    """Transport, and a ring of channels that act on each other (rate in multiplications and additions)."""
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        for rings, size in _sizes(effort):
            now = _levels(rings, size, dtype)[0]
            steps = _steps(effort.updates / 4, now.size, at_least=32)
            yield from _variants(
                effort,
                transport,
                {
                    "one-way, shift": {"taps": [1, 0, 0], "steps": steps},
                    "one-way, upwind": {"taps": [0.8, 0.2, 0], "steps": steps},
                },
                now,
            )
        channels, size, batch = 16, 256, 32
        now = rng.standard_normal((batch, channels, size)).astype(dtype)
        kernel = rng.standard_normal((channels, channels, 3)) / 10
        flops = 2.0 * 3 * channels * now.size
        steps = max(1, int(effort.updates * 2 / flops))
        (seconds,) = fastest(
            effort.repeats,
            lambda: convolve(now, kernel=kernel, nonlinearity="relu", steps=steps),  # noqa: B023
        )
        yield _row(f"{channels} coupled channels, ReLU, batch {batch}", now, steps, seconds)._replace(
            rate=flops * steps / seconds, unit=_FLOPS
        )


def saving(effort: Effort) -> Iterator[Row]:
    """Every step saved, against copying the same bytes into a fresh array."""
    for dtype in (np.float64, np.float32):
        for rings, size in _sizes(effort)[:3]:
            now, before = _levels(rings, size, dtype)
            steps = max(2, int(min(effort.updates, 2.5e8) / now.nbytes))
            stored = np.ones((steps, *now.shape), dtype)

            def saved(now=now, before=before, steps=steps):
                out = np.empty((steps, *now.shape), now.dtype)
                return leapfrog(now, before, taps=_TAPS, q=1.0, steps=steps, every=1, out=out), out

            seconds, copied = fastest(effort.repeats, saved, stored.copy)
            row = _row("two-way, every step saved", now, steps, seconds)
            copy = _row("np.copy of the same bytes", now, steps, copied)
            rate = {"unit": _BYTES}
            copy = copy._replace(rate=stored.nbytes / copied, **rate)
            yield compared(row._replace(rate=stored.nbytes / seconds, **rate), copy)
            yield copy


def sheets(effort: Effort) -> Iterator[Row]:
    """The two-way equation on sheets, last state only, beside NumPy on slices and SciPy's correlation."""
    for dtype in (np.float64, np.float32):
        for batch, side in _sheets(effort):
            now, before = _sheet_levels(batch, side, dtype)
            steps = _steps(effort.updates, now.size, at_least=256)  # enough to outweigh fresh memory
            few = max(1, steps // 200)
            disc = np.hypot(*(np.indices((side, side)) - side / 2)) < side / 2
            faces = [np.full(shape, _SHEET_COURANT2, dtype) for shape in ((1, side + 1, side), (1, side, side + 1))]
            variants = {
                "sheet, five-point": {"taps": _FIVE_POINT},
                "sheet, clamped outside a disc": {"taps": _FIVE_POINT, "mask": disc},
                "sheet, speed depends on position": {"faces": faces},
            }
            calls = [
                lambda given=given: sheet_leapfrog(now, before, q=1.0, **given, steps=steps)  # noqa: B023
                for given in variants.values()
            ]
            *looped, sliced, correlated = fastest(
                effort.repeats,
                *calls,
                lambda: numpy_sheet_slices(now[:, 0], before[:, 0], few),  # noqa: B023
                lambda: scipy_correlate(now[:, 0], before[:, 0], few),  # noqa: B023
            )
            rows = [_sheet_row(case, now, steps, seconds) for case, seconds in zip(variants, looped, strict=True)]
            slices = _sheet_row("sheet, NumPy in place on slices", now, few, sliced)
            correlation = _sheet_row("sheet, scipy.ndimage.correlate", now, few, correlated)
            yield compared(rows[0], slices)
            yield compared(rows[0], correlation)
            yield from [compared(row, rows[0]) for row in rows[1:]]
            yield slices
            yield correlation


def sheets_beside_devito(effort: Effort) -> Iterator[Row]:
    """The same beside Devito (M. Louboutin et al., Geosci. Model Dev. 12, 1165, 2019), where it is installed."""
    if not find_spec("devito"):
        return
    for dtype in (np.float64, np.float32):
        for batch, side in _sheets(effort):
            if batch > 1:  # Devito moves one field at a time
                continue
            now, before = _sheet_levels(1, side, dtype)
            steps = _steps(effort.updates / 4, now.size, at_least=16)
            move = devito_sheet(now[0, 0], before[0, 0])
            looped, rival = fastest(
                effort.repeats,
                lambda: sheet_leapfrog(now, before, taps=_FIVE_POINT, q=1.0, boundary=("fixed",) * 2, steps=steps),  # noqa: B023
                lambda: move(steps),  # noqa: B023
            )
            other = _sheet_row("sheet between fixed edges, Devito", now, steps, rival)
            yield compared(_sheet_row("sheet between fixed edges", now, steps, looped), other)
            yield other


def sheets_saved(effort: Effort) -> Iterator[Row]:
    """Every step of a sheet saved, against copying the same bytes into a fresh array."""
    for dtype in (np.float64, np.float32):
        for batch, side in _sheets(effort)[:2]:
            now, before = _sheet_levels(batch, side, dtype)
            steps = max(2, int(min(effort.updates, 2.5e8) / now.nbytes))
            stored = np.ones((steps, *now.shape), dtype)

            def saved(now=now, before=before, steps=steps):
                out = np.empty((steps, *now.shape), now.dtype)
                return sheet_leapfrog(now, before, taps=_FIVE_POINT, q=1.0, steps=steps, every=1, out=out), out

            seconds, copied = fastest(effort.repeats, saved, stored.copy)
            row, copy = (
                _sheet_row(case, now, steps, took)._replace(rate=stored.nbytes / took, unit=_BYTES)
                for case, took in (("sheet, every step saved", seconds), ("np.copy of the sheet's bytes", copied))
            )
            yield compared(row, copy)
            yield copy


def growth(effort: Effort) -> Iterator[Row]:
    """Time against steps, positions and batch, doubled three times; the ratio is 1 where it grows linearly."""
    base = {"batch": 4, "positions": 4000, "steps": _steps(effort.updates / 16, 4 * 4000)}
    for what in ("steps", "positions", "batch"):
        grown = [base | {what: base[what] * factor} for factor in (1, 2, 4, 8)]
        states = [_levels(case["batch"], case["positions"], np.float64) for case in grown]
        calls = [
            lambda levels=levels, case=case: leapfrog(*levels, taps=_TAPS, q=1.0, steps=case["steps"])
            for levels, case in zip(states, grown, strict=True)
        ]
        rows = [
            _row(f"two-way, {what} × {case[what] // base[what]}", levels[0], case["steps"], seconds)
            for levels, case, seconds in zip(states, grown, fastest(effort.repeats, *calls), strict=True)
        ]
        yield from [compared(row, rows[0]) for row in rows]


def jumping(effort: Effort) -> Iterator[Row]:
    """A jump of any number of steps, against 200 steps of the loop; its time over theirs says from where it wins."""
    steps = 200
    for size in (256, 1024, 8192, 65_536, 1_000_000):
        if size > effort.positions:
            continue
        now, before = _levels(1, size, np.float64)
        pair = np.stack([now[0, 0], before[0, 0]])
        jump, shift = wave(0.9).power(steps), transport_equation(0.9).power(steps)
        two_way_jump, stepped, one_way_jump, moved = fastest(
            effort.repeats,
            lambda: jump(pair),  # noqa: B023
            lambda: leapfrog(now, before, taps=_TAPS, q=1.0, steps=steps),  # noqa: B023
            lambda: shift(pair[:1]),  # noqa: B023
            lambda: transport(now, taps=[0.9, 0.1, 0], steps=steps),  # noqa: B023
        )
        for name, seconds, loop in (("two-way", two_way_jump, stepped), ("one-way", one_way_jump, moved)):
            looped = _row(f"{name}, {steps} steps", now, steps, loop)
            yield looped
            yield compared(_row(f"{name}, jump of {steps} steps", now, steps, seconds), looped)


def starting(effort: Effort) -> Iterator[Row]:
    """Time to import the package, and to the end of a first simulation, its loops compiled and cached before."""
    script = (
        "import time; start = time.perf_counter(); import wavefield as wf; imported = time.perf_counter();"
        "drive = wf.spikes([[(3, 1.0)]], steps=100); wf.simulate(wf.wave(0.9), drive, size=128);"
        "print(imported - start, time.perf_counter() - imported)"
    )
    runs = [
        [float(part) for part in subprocess.check_output([sys.executable, "-c", script], text=True).split()]
        for _ in range(effort.repeats + 1)
    ][1:]
    for case, seconds in zip(("import wavefield", "first call of simulate"), np.min(runs, axis=0), strict=True):
        yield Row(case, "", 0, 0, 0, float(seconds), 1 / float(seconds), "1/s")


CASES: tuple[Callable[[Effort], Iterator[Row]], ...] = (
    two_way,
    two_way_at_work,
    one_level,
    saving,
    sheets,
    sheets_beside_devito,
    sheets_saved,
    growth,
    jumping,
    starting,
)


# ---- NumPy doing the same -------------------------------------------------------------------------------------------


def numpy_roll(now, before, steps: int):
    """Leapfrog on a ring as it is first written: h[t+1] = r²(h₊ + h₋) + (2 − 2r²)h − h[t−1]."""
    edge, centre = (now.dtype.type(tap) for tap in _TAPS[:2])
    for _ in range(steps):
        now, before = edge * (np.roll(now, 1, -1) + np.roll(now, -1, -1)) + centre * now - before, now
    return now, before


def numpy_slices(now, before, steps: int):
    """The same without temporaries: two padded levels that take turns, and one array to work in."""
    edge, centre = (now.dtype.type(tap) for tap in _TAPS[:2])
    now, before = (np.pad(level, ((0, 0), (1, 1)), mode="wrap") for level in (now, before))
    work = np.empty_like(now[:, 1:-1])
    for _ in range(steps):
        new = before[:, 1:-1]
        np.add(now[:, :-2], now[:, 2:], out=work)
        work *= edge
        np.subtract(work, new, out=new)
        np.multiply(now[:, 1:-1], centre, out=work)
        new += work
        before[:, 0], before[:, -1] = before[:, -2], before[:, 1]
        now, before = before, now
    return now[:, 1:-1], before[:, 1:-1]


def numpy_sheet_slices(now, before, steps: int):
    """Leapfrog on periodic sheets (B, Ny, Nx), in place on slices with one array to work in."""
    edge, centre = (now.dtype.type(tap) for tap in (_FIVE_POINT[0, 1], _FIVE_POINT[1, 1]))
    now, before = (np.pad(level, ((0, 0), (1, 1), (1, 1)), mode="wrap") for level in (now, before))
    work, inner = np.empty_like(now[:, 1:-1, 1:-1]), (slice(None), slice(1, -1), slice(1, -1))
    for _ in range(steps):
        new = before[inner]
        np.add(now[:, :-2, 1:-1], now[:, 2:, 1:-1], out=work)
        work += now[:, 1:-1, :-2]
        work += now[:, 1:-1, 2:]
        work *= edge
        np.subtract(work, new, out=new)
        np.multiply(now[inner], centre, out=work)
        new += work
        before[:, 0], before[:, -1] = before[:, -2], before[:, 1]
        before[:, :, 0], before[:, :, -1] = before[:, :, -2], before[:, :, 1]
        now, before = before, now
    return now[inner], before[inner]


def scipy_correlate(now, before, steps: int):
    """The same by SciPy's correlation of images."""
    taps = _FIVE_POINT[None].astype(now.dtype)
    for _ in range(steps):
        now, before = ndimage.correlate(now, taps, mode="wrap") - before, now
    return now, before


def devito_sheet(now, before) -> Callable[[int], np.ndarray]:
    """Leapfrog between fixed edges as Devito generates and compiles it: a function of the steps to make.

    Each call goes on from where the one before ended, and returns the last level.
    """
    import devito

    devito.configuration["log-level"] = "WARNING"
    devito.configuration["language"] = "openmp"
    ny, nx = now.shape
    grid = devito.Grid(shape=(ny, nx), extent=(ny - 1.0, nx - 1.0), dtype=now.dtype.type)
    field = devito.TimeFunction(name="h", grid=grid, time_order=2, space_order=2)
    update = devito.Eq(field.forward, 2 * field - field.backward + _SHEET_COURANT2 * field.laplace)
    operator = devito.Operator([update])
    field.data[0], field.data[1] = before, now
    made = 0

    def move(steps):
        nonlocal made
        operator.apply(time_m=made + 1, time_M=made + steps)
        made += steps
        return np.asarray(field.data[(made + 1) % 3])

    return move


# ---- measuring ------------------------------------------------------------------------------------------------------


def fastest(repeats: int, *calls: Callable) -> list[float]:
    """Best time in seconds of each call, the calls made by turns after one round to warm up."""
    times = []
    for _ in range(repeats + 1):
        row = []
        for call in calls:
            start = perf_counter()
            call()
            row.append(perf_counter() - start)
        times.append(row)
    return np.min(times[1:], axis=0).tolist()


def compared(row: Row, other: Row) -> Row:
    """The row with its rate set against that of another."""
    return row._replace(ratio=row.rate / other.rate, against=other.case)


def _variants(effort, loop, variants, *levels):
    """Rows of one loop under several arguments, each set against the first."""
    calls = [lambda given=given: loop(*levels, **given) for given in variants.values()]
    seconds = fastest(effort.repeats, *calls)
    rows = [
        _row(case, levels[0], given["steps"], time)
        for (case, given), time in zip(variants.items(), seconds, strict=True)
    ]
    yield rows[0]
    yield from [compared(row, rows[0]) for row in rows[1:]]


def _row(case, state, steps, seconds):
    rings, size = state.shape[0] * state.shape[1], state.shape[2]
    return Row(case, state.dtype.name, rings, size, steps, seconds, state.size * steps / seconds, _UPDATES)


def _sheet_row(case, state, steps, seconds):
    planes, cells = state.shape[0] * state.shape[1], state.shape[2] * state.shape[3]
    return Row(case, state.dtype.name, planes, cells, steps, seconds, state.size * steps / seconds, _UPDATES)


def _sheets(effort):
    return [(batch, side) for batch, side in SHEETS if side**2 <= effort.positions]


def _sheet_levels(batch, side, dtype):
    """Two levels (batch, 1, side, side) of a smooth field that stays bounded."""
    wave = np.sin(np.linspace(0, 2 * np.pi, side, endpoint=False))
    level = np.broadcast_to(wave[:, None] * wave, (batch, 1, side, side)).astype(dtype)
    return level, level.copy()


def _sizes(effort):
    return [(rings, size) for rings, size in SIZES if size <= effort.positions]


def _levels(rings, size, dtype):
    """Two levels (1, rings, size) of a smooth field that stays bounded."""
    phase = np.linspace(0, 2 * np.pi, size, endpoint=False)
    level = np.sin(phase + np.arange(rings)[:, None]).astype(dtype)[None]
    return level, level.copy()


def _steps(updates, cells, at_least=8):
    return max(at_least, int(updates / cells))


def _line(row):
    ratio = "" if row.ratio is None else f"   {row.ratio:.3g} × {row.against}"
    return (
        f"{row.case:38}{row.dtype:9}{row.rings or '':>6}{row.positions or '':>10}{row.steps or '':>8}"
        f"{row.seconds:>10.4f}{row.rate:>10.3g}  {row.unit}{ratio}"
    )


def _write(path, rows, machine):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, *machine])
        writer.writerows([*("" if value is None else value for value in row), *machine.values()] for row in rows)


def _processor():
    """Return the name of the processor, where the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()

"""What a sheet remembers, as two tables: capacity by lag, and how many events in how much noise are read exactly.

Each part of a table is written when it is there, and one that is there already is not worked out again: a run that was
broken off goes on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from wavefield.capacity.exact_readout import exact_readout
from wavefield.capacity.memory_capacity import memory_capacity
from wavefield.checks import positive_int
from wavefield.operators.encoder import encoder_at
from wavefield.operators.equations import wave

SPEED = 0.7
BASE = {"size": 16, "damping": 0.01, "noise": 0.01}  # what is held while another of them is varied
VARIED = {"size": (8, 12, 16), "damping": (0.0, 0.003, 0.01, 0.03, 0.1), "noise": (0.001, 0.01, 0.03, 0.1, 0.3)}
LAGS = range(0, 151, 5)
CAPACITY = ("size", "damping", "noise", "total", "dimensions", "lag", "capacity")
READOUT_SIZE, READOUT_STEPS = 32, 40
EVENTS, NOISES = (1, 4, 16, 64, 128, 256), (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
READOUT = ("events", "noise", "exact", "missed", "false", "draws")


def tabulate(folder: Path, draws: int, events: Sequence[int] = EVENTS, noises: Sequence[float] = NOISES) -> dict:
    """Write both tables into a folder and return their rows, by name, as `csv.DictReader` reads them.

    `memory.csv` is of a clamped sheet with one input, size, damping and noise varied one at a time; `readout.csv` of a
    periodic sheet of 32 × 32 cells on which events enter anywhere within 40 steps.
    """
    positive_int(draws, "draws")
    tables = {}
    settings = [BASE | {name: value} for name, values in VARIED.items() for value in values]
    settings = list({tuple(setting.values()): setting for setting in settings}.values())
    parts = {
        "memory": (CAPACITY, settings, lambda setting: _held(**setting)),
        "readout": (
            READOUT,
            [{"events": n, "noise": sigma} for n in events for sigma in noises],
            lambda setting: _read(**setting, draws=draws),
        ),
    }
    for name, (columns, wanted, rows_of) in parts.items():
        path = folder / f"{name}.csv"
        known = _rows(path)
        with open(path, "a", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            if not known:
                table.writerow(columns)
            done = {tuple(float(row[column]) for column in wanted[0]) for row in known}
            missing = [setting for setting in wanted if tuple(map(float, setting.values())) not in done]
            for setting in tqdm(missing, desc=name, delay=2, disable=None):
                table.writerows(rows_of(setting))
                file.flush()
        tables[name] = _rows(path)
    return tables


def _held(size, damping, noise) -> Iterator[tuple]:
    """Capacity by lag of a clamped sheet, one row for each lag."""
    operator = wave(SPEED, damping, dims=2, boundary="fixed")
    place = encoder_at([(size // 3, size // 4)], (size, size))
    found = memory_capacity(operator, (size, size), max_lag=LAGS[-1], noise=noise, encoder=place)
    for lag in LAGS:
        held = float(found.capacity[0, lag])
        yield size, damping, noise, f"{float(found.total):.6g}", int(found.dimensions), lag, f"{held:.6g}"


def _read(events, noise, draws) -> list[tuple]:
    """The row of one number of events and noise."""
    found = exact_readout(
        wave(SPEED, dims=2),
        (READOUT_SIZE,) * 2,
        READOUT_STEPS,
        events=[events],
        noise=[noise],
        draws=draws,
        seed=events,
    )
    shares = (f"{float(found[name][0, 0]):.6g}" for name in ("exact", "missed", "false"))
    return [(events, noise, *shares, draws)]


def _rows(path) -> list[dict]:
    """Rows of a table, none where there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))

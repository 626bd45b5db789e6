"""Speed and memory of spectra and of the direction test, beside the bare Fourier transforms that they need.

``python -m analysis.bench [-o FILE.csv] [--trials N] [--gigabytes N]``. Rates and ratios come from one run, the
contestants taken by turns; memory is the peak of a process of its own that tests a recording larger than it, read
lazily block by block.
"""

import argparse
import csv
import multiprocessing
import os
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import NamedTuple

import dask.array as da
import numpy as np
import xarray as xr
from scipy import fft

from analysis.direction.significance import direction_test
from analysis.spectra.spectrum import wavenumber_frequency_spectrum

CHANNELS, POSITIONS, STEPS = 16, 256, 784
TRIAL_BYTES = 4 * CHANNELS * POSITIONS * STEPS


class Row(NamedTuple):
    """One measurement; `ratio` is its time over that of the bare transforms of the same data."""

    case: str
    trials: int
    seconds: float
    samples_per_second: float
    ratio: float
    peak_megabytes: float


def bench(*, trials: int = 40, repeats: int = 3, gigabytes: float = 0.0) -> list[Row]:
    """Time the spectrum and the direction test on float32 trials of 16 channels × 256 positions × 784 steps.

    Parameters
    ----------
    trials, repeats : int
        Size of the recording in memory, and how often each case is timed; the best time counts.
    gigabytes : float
        Also test a lazy recording of this size and measure the peak of memory (0: leave it out).
    """
    if gigabytes:  # first: a process begins its peak with the memory of the one that started it
        count = max(1, round(gigabytes * 1e9 / TRIAL_BYTES))
        seconds, peak = _in_own_process(_lazy_test, count)
    rec = _recording(np.random.default_rng(0).standard_normal((trials, STEPS, CHANNELS, POSITIONS), dtype=np.float32))
    cases = {
        "bare scipy.fft": lambda: _bare(rec.values),
        "spectrum, mean over trials": lambda: wavenumber_frequency_spectrum(rec, average="trial"),
        "direction test": lambda: direction_test(rec, seed=0),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            times[name].append(_seconds(run))
    bare = min(times["bare scipy.fft"])
    rows = [
        Row(name, trials, min(taken), rec.size / min(taken), min(taken) / bare, float("nan"))
        for name, taken in times.items()
    ]
    if gigabytes:
        rate = count * TRIAL_BYTES / 4 / seconds
        rows.append(Row("direction test, lazy", count, seconds, rate, seconds / (bare * count / trials), peak))
    return rows


def _seconds(run: Callable) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def _bare(values):
    """The same transforms with the same threads, and nothing else."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda trial: fft.rfftn(trial, axes=(0, 2)), values))


def _recording(values) -> xr.DataArray:
    coords = {
        "time": ("time", np.arange(float(STEPS)), {"units": "1"}),
        "position": ("position", np.arange(float(POSITIONS)), {"units": "1"}),
    }
    dims = ("trial", "time", "channel", "position")
    return xr.DataArray(values, coords, dims, attrs={"boundary": "periodic", "units": "1"})


def _lazy_test(count):
    """Seconds and peak megabytes of a direction test over `count` trials that are made as they are needed."""
    trial = np.random.default_rng(0).standard_normal((1, STEPS, CHANNELS, POSITIONS), dtype=np.float32)
    lazy = da.map_blocks(
        lambda _: trial.copy(),
        da.zeros((count, 1, 1, 1), chunks=1, dtype=np.float32),
        chunks=((1,) * count, (STEPS,), (CHANNELS,), (POSITIONS,)),
        dtype=np.float32,
        meta=np.empty((0,) * 4, np.float32),
    )
    seconds = _seconds(lambda: direction_test(_recording(lazy), seed=0))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_own_process(task, argument):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, (argument,))


def main(argv=None) -> None:
    """Print the table and, with ``-o``, write it as CSV."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.bench", description="Speed and memory of spectra and tests."
    )
    parser.add_argument("-o", "--output", help="CSV file to write")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=0.0, help="size of a lazy recording to test, 0: none")
    options = parser.parse_args(argv)
    rows = bench(trials=options.trials, repeats=options.repeats, gigabytes=options.gigabytes)
    print(f"{'case':28} {'trials':>7} {'seconds':>9} {'Msamples/s':>11} {'× bare':>7} {'peak MB':>8}")
    for row in rows:
        peak = "" if np.isnan(row.peak_megabytes) else f"{row.peak_megabytes:8.0f}"
        rate = row.samples_per_second / 1e6
        print(f"{row.case:28} {row.trials:7} {row.seconds:9.3f} {rate:11.1f} {row.ratio:7.2f} {peak}")
    if options.output:
        with open(options.output, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)


if __name__ == "__main__":
    main()

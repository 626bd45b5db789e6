"""Statistical studies that take an hour: ``python tests/analysis/direction/studies.py nulls shapes``, for example.

Every draw is noted in a journal as it is made, so that a study may be stopped at any moment and goes on where it was.
Cases take turns, so that whenever it stops all have about as many draws. What was found is written as one table for
each study, with exact (Clopper and Pearson) 95 % intervals of every share, to ``experiments/results/validation/``.

``nulls``
    What does not travel, as it is and band-passed: how often it is said to move, and has a speed.
``shapes``
    Plane, rotating, expanding and converging waves at a signal-to-noise ratio of 1: how often the verdict is right.
``directions``
    24 directions on sheets and scattered electrodes: how often the verdict is travelling, and the angle's interval
    holds the truth.
``coverage``
    How often the intervals of every estimator hold the speed: plane and curved fronts, dropped sensors, irregular
    arrays, 1/f noise.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from analysis import diagnose, synthetic
from analysis.direction.motion import motion_test
from analysis.fields.field import Field
from analysis.velocity.estimators import ANY_LAYOUT, ESTIMATORS

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # the waves and the noises are those of the tests
test_nulls, test_plane, test_shapes = map(import_module, ("test_nulls", "test_plane", "test_shapes"))

Outcomes = dict[str, float | bool]  # a share is counted of booleans, a median taken of numbers
MOVES = ("travelling", "rotating", "expanding", "converging", "several in turn")
WHOLE = 20  # of so many draws of a null one is diagnosed as a whole, which takes ten times as long
KINDS = ("plane", "curved", "dropout", "irregular", "1/f noise")
DT, PITCH = 0.005, 0.4  # s and mm, of `coverage`


def nulls(case: str, seed: int) -> Outcomes:
    name, filtered = case.split(", ")
    null = next(null for null in test_nulls.NULLS if test_nulls.name_of(null) == name)
    rec = test_nulls.recording(null(np.random.default_rng([seed, 7])), filtered == "band-passed")
    found = motion_test(Field.of(rec), seed=seed, draws=199)
    outcomes: Outcomes = {"said to move": bool((found.p_value < 0.05) & (found.wave_share > found.modules_share))}
    if seed % WHOLE == 0:
        result = diagnose(rec, seed=seed, draws=199)
        outcomes["has a verdict of moving"] = result.verdict.item() in MOVES
        outcomes["has a speed by any estimator"] = bool((result.status == 0).any())
    return outcomes


def shapes(case: str, seed: int) -> Outcomes:
    where, kind = case.split(", ")
    rec, centre, sense = test_shapes.wave(kind, test_shapes.layout(where, seed), seed)
    result = diagnose(rec, draws=199)
    right = result.verdict.item() == kind and (kind != "rotating" or result.sign.item() == sense)
    if kind == "travelling":
        return {"verdict right": bool(right)}
    away = float(np.hypot(result.centre_x - centre[0], result.centre_y - centre[1]))
    return {"verdict right": bool(right), "error of the centre in spacings": away}


def directions(case: str, seed: int) -> Outcomes:
    where, snr = case.split(", SNR ")
    degrees = 15 * (seed % 24)
    rec = test_plane.plane_wave(test_plane.layout(where, seed), degrees, float(snr), seed)
    result = diagnose(rec, draws=199)
    error = (np.degrees(float(result.angle)) - degrees + 180) % 360 - 180
    outcomes: Outcomes = {
        "travelling": result.verdict.item() == "travelling",
        "error of the angle in degrees": abs(error),
    }
    half = np.degrees(float(result.angle_high - result.angle))
    if np.isfinite(half):
        outcomes["interval of the angle holds it"] = bool(abs(error) <= half)
    return outcomes


def coverage(case: str, seed: int) -> Outcomes:
    kind, snr = case.split(", SNR ")
    rng = np.random.default_rng([seed, 11])
    frequency, wavelength, angle = 10.0, rng.uniform(3, 8), rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)])
    grid = synthetic.sheet((10, 10) if kind == "curved" else (8, 8), dx=PITCH, units="mm")
    if kind == "irregular":
        grid = synthetic.electrodes(*rng.uniform(0, 3.6, (2, 30)), units="mm")
    options = {"frequency": frequency, "dt": DT, "time_units": "s"}
    if kind == "curved":
        centre = 4.5 * PITCH - 12 * ahead
        rec = synthetic.target(grid, 400, wavenumber=1 / wavelength, centre=tuple(centre), **options)
    else:
        rec = synthetic.plane(grid, 400, wavenumber=tuple(ahead / wavelength), **options)
    if kind == "1/f noise":
        noise = synthetic.power_law_noise(grid, 400, seed=seed, dt=DT).activity
        scale = float(rec.activity.std() / noise.std()) / float(snr)
        rec = rec.assign(activity=rec.activity + scale * noise.values)
    else:
        rec = synthetic.with_noise(rec, float(snr), seed=seed)
    dead = rng.random((8, 8)) < 0.2 if kind == "dropout" else None
    outcomes: Outcomes = {}
    for name in ESTIMATORS if kind != "irregular" else ANY_LAYOUT:
        band = (6.0, 15.0) if name == "phase gradient" else None
        found = ESTIMATORS[name](Field.of(rec, dead), band=band)
        outcomes[f"{name} answers"] = bool(found.status == 0)
        if found.status == 0:
            outcomes[f"{name} holds the speed"] = bool(found.speed_low <= frequency * wavelength <= found.speed_high)
    return outcomes


# name: draws asked, what is asked, cases, one draw
STUDIES: dict[str, tuple[int, str, list[str], Callable[[str, int], Outcomes]]] = {
    "shapes": (
        50,
        "right ≥ 0.95; centre ≤ 0.5",
        [f"{where}, {kind}" for where in ("8 x 8", "10 x 10", "30 electrodes")
         for kind in ("travelling", "rotating", "expanding", "converging")],
        shapes,
    ),
    "directions": (
        120,
        "travelling ≥ 0.9 from SNR 1 on; angle ≤ 3; interval 0.90 to 0.98",
        [f"{where}, SNR {snr}" for where in ("8 x 8", "10 x 10", "20 electrodes") for snr in (0.5, 1, 3)],
        directions,
    ),
    "coverage": (
        300,
        "holds 0.90 to 0.98",
        [f"{kind}, SNR {snr}" for kind in KINDS for snr in (0.5, 1, 3)],
        coverage,
    ),
    "nulls": (
        2000,
        "≤ 0.065 said to move; ≤ 0.05 have a speed",
        [f"{test_nulls.name_of(null)}, {text}" for null in test_nulls.NULLS for text in ("as it is", "band-passed")],
        nulls,
    ),
}  # fmt: skip


def write_table(study: str, found: dict[tuple[str, int], Outcomes], folder: Path) -> None:
    """One row for each case and quantity: the share of its draws or their median, and the interval of a share."""
    _, target, cases, _ = STUDIES[study]
    table = []
    for case in cases:
        mine = [outcomes for (name, _), outcomes in found.items() if name == case]
        for quantity in dict.fromkeys(key for outcomes in mine for key in outcomes):
            values = [outcomes[quantity] for outcomes in mine if quantity in outcomes]
            if isinstance(values[0], bool):
                bounds = binomtest(sum(values), len(values)).proportion_ci(0.95)
                row = [f"{x:.4g}" for x in (np.mean(values), bounds.low, bounds.high)]
            else:
                row = [f"{np.median(values):.3g}", "", ""]
            table.append([study, case, quantity, len(values), *row, target])
    header = ["study", "case", "quantity", "draws", "value", "low", "high", "target"]
    with open(folder / f"{study}_in_full.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *table])


def read_journal(path: Path) -> dict[str, dict[tuple[str, int], Outcomes]]:
    found: dict[str, dict[tuple[str, int], Outcomes]] = {study: {} for study in STUDIES}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            study, case, seed, outcomes = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        found[study][case, seed] = outcomes
    return found


def rounds(study: str, found: dict, size: int, most: int | None):
    """The draws that are missing, `size` of each case at a time, up to `most` of each."""
    count, _, cases, _ = STUDIES[study]
    count = count if most is None else min(count, most)
    for first in range(0, count, size):
        for case in cases:
            for seed in range(first, min(first + size, count)):
                if (case, seed) not in found:
                    yield case, seed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", choices=list(STUDIES))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of processor time")
    parser.add_argument("--draws", type=int, default=None, help="of each case, where fewer than all will do")
    parser.add_argument("--journal", type=Path, default=Path("build/studies.jsonl"))
    parser.add_argument("--out", type=Path, default=HERE.parents[2] / "experiments" / "results" / "validation")
    args = parser.parse_args(arguments)
    args.journal.parent.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    found = read_journal(args.journal)
    with open(args.journal, "a") as journal:
        for study in args.studies:
            for case, seed in rounds(study, found[study], 20, args.draws):
                if time.process_time() > 60 * args.minutes:
                    break
                outcomes = STUDIES[study][3](case, seed)
                found[study][case, seed] = outcomes
                journal.write(json.dumps([study, case, seed, outcomes]) + "\n")
                journal.flush()
            write_table(study, found[study], args.out)


if __name__ == "__main__":
    main()

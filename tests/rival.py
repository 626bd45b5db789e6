"""Ours beside the nearest package with this data model: ``python tests/rival.py OUT.csv``, where both are installed.

The package is ecogpy (MIT, imported as ``cogpy``): ``pip install ecogpy`` beside this project, which does not need it.
Both get the same recordings on 8 × 8 grids: plane waves of random direction and length in white noise, and four fields
in which nothing travels. Both get the same band-pass. Of ecogpy we take its plane-wave fit of the phase gradient, one
estimate for each sample, of which the mean direction and the median speed are taken; its wavenumber–frequency peak; and
its test of phase-gradient directionality against its own surrogates, which decides whether anything travels. Of ours,
`diagnose`: the Radon speed, the angle, and the verdict. Times are of the processor, the contestants taken by turns.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import xarray as xr
from scipy.signal import butter, sosfiltfilt

from analysis import diagnose, synthetic

SHAPE, STEPS, FREQUENCY, DT, PITCH = (8, 8), 400, 10.0, 0.005, 0.4
BAND = (6.0, 15.0)
SURROGATES = 99
MOVES = ("travelling", "rotating", "expanding", "converging", "several in turn")


def wave(seed: int, snr: float) -> tuple[xr.Dataset, float, float]:
    """A plane wave in white noise, its speed (mm/s) and its direction."""
    rng = np.random.default_rng([seed, 5])
    length, angle = rng.uniform(2.0, 5.0), rng.uniform(-np.pi, np.pi)
    k = (np.cos(angle) / length, np.sin(angle) / length)
    where = synthetic.sheet(SHAPE, dx=PITCH, units="mm")
    rec = synthetic.plane(where, STEPS, wavenumber=k, frequency=FREQUENCY, dt=DT, time_units="s")
    return synthetic.with_noise(rec, snr, seed=seed), FREQUENCY * length, angle


def standing(seed: int) -> xr.Dataset:
    where = synthetic.sheet(SHAPE, dx=PITCH, units="mm")
    rec = synthetic.standing(where, STEPS, wavenumber=(0.3, 0.1), frequency=FREQUENCY, dt=DT, time_units="s")
    return synthetic.with_noise(rec, 1.0, seed=seed)


def conducted(seed: int) -> xr.Dataset:
    """30 sources of 1/f noise, each seen by the sensors within some 1 mm."""
    rng, where = np.random.default_rng([seed, 9]), synthetic.sheet(SHAPE, dx=PITCH, units="mm")
    rec = synthetic.white_noise(where, STEPS, seed=seed, dt=DT, time_units="s")
    sources = synthetic.power_law_noise(synthetic.line(30), STEPS, seed=seed, dt=DT).activity.values.reshape(STEPS, 30)
    x, y = where.xy()
    at = rng.uniform(-0.8, 3.6, (2, 30))
    seen = np.exp(-((x.ravel()[:, None] - at[0]) ** 2 + (y.ravel()[:, None] - at[1]) ** 2) / 2)
    shared = (sources @ seen.T).reshape(rec.activity.shape)
    return rec.assign(activity=rec.activity.copy(data=shared / shared.std() + 0.1 * rec.activity.values))


def noise(kind: Callable) -> Callable[[int], xr.Dataset]:
    return lambda seed: kind(synthetic.sheet(SHAPE, dx=PITCH, units="mm"), STEPS, seed=seed, dt=DT, time_units="s")


NOTHING: dict[str, Callable[[int], xr.Dataset]] = {
    "white noise": noise(synthetic.white_noise),
    "smooth noise": noise(synthetic.smooth_noise),
    "standing wave, SNR 1": standing,
    "volume conduction": conducted,
}


def ours(rec: xr.Dataset) -> dict[str, tuple[float, float]]:
    found = diagnose(rec, band=BAND, draws=SURROGATES)
    moves = found.verdict.item() in MOVES
    return {
        "this project, diagnose": (float(found.speed.sel(estimator="radon")), float(found.angle) if moves else np.nan)
    }


def theirs(rec: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Speed and direction by its two estimators; the direction is NaN where its own test finds nothing."""
    from cogpy.wave import kw_spectrum, phase_gradient, surrogates
    from cogpy.wave._types import Geometry

    values = sosfiltfilt(butter(3, BAND, "bandpass", fs=1 / DT, output="sos"), rec.activity.values, axis=0)
    coords = {"time": rec.time.values, "AP": rec.x.values, "ML": rec.y.values, "fs": 1 / DT}
    data = xr.DataArray(values.swapaxes(1, 2), dims=("time", "AP", "ML"), coords=coords)
    grid = Geometry.regular(PITCH, PITCH)

    def directionality(array):
        return float(phase_gradient.pgd(phase_gradient.hilbert_phase(array), grid).mean())

    p = surrogates.surrogate_test(data, directionality, n_surrogates=SURROGATES, seed=0)[0]
    fits = phase_gradient.plane_wave_fit(phase_gradient.hilbert_phase(data), grid)[40:-40]
    fitted = (
        float(np.median([one.speed for one in fits])),
        float(np.angle(np.mean([np.exp(1j * one.direction) for one in fits]))),
    )
    # as it answers: its transform has plain signs in time and space, which puts a wave to +x at −k
    peak = kw_spectrum.kw_peaks(kw_spectrum.kw_spectrum_3d(data, grid))[0]
    peaked = (float(peak.speed), float(peak.direction))
    return {
        "ecogpy, plane-wave fit": (fitted[0], fitted[1] if p <= 0.05 else np.nan),
        "ecogpy, k-f peak": (peaked[0], peaked[1] if p <= 0.05 else np.nan),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--draws", type=int, default=20)
    args = parser.parse_args()
    if find_spec("cogpy") is None:
        raise SystemExit("ecogpy is not installed here: pip install ecogpy, beside this project")
    warnings.simplefilter("ignore")
    rows = []
    cases = {f"plane waves, SNR {snr}": (lambda seed, snr=snr: wave(seed, snr)) for snr in (3, 1, 0.5)}
    cases |= {name: (lambda seed, make=make: (make(seed), np.nan, np.nan)) for name, make in NOTHING.items()}
    for case, make in cases.items():
        found: dict[str, list[tuple[float, float, float, float, float]]] = {}
        for seed in range(args.draws):
            rec, speed, angle = make(seed)
            for contestant in (ours, theirs):
                start = time.process_time()
                answers = contestant(rec)
                seconds = time.process_time() - start
                for name, (its_speed, its_angle) in answers.items():
                    found.setdefault(name, []).append((its_speed, its_angle, speed, angle, seconds))
        for name, answers in found.items():
            its_speed, its_angle, speed, angle, seconds = np.array(answers).T
            off = np.abs(np.degrees(np.angle(np.exp(1j * (its_angle - angle)))))
            wrong = np.abs(its_speed / speed - 1)
            rows.append(
                [case, name, args.draws, *(f"{x:.3g}" for x in (
                    np.mean(np.isfinite(its_angle)), _median(its_speed / speed), _median(wrong), _median(off),
                    np.median(seconds)))]
            )  # fmt: skip
            print(*rows[-1], sep="\t", flush=True)
    header = ["case", "by", "draws", "said to move", "median of speed / truth", "median error of speed"]
    header += ["median error of direction in degrees", "processor seconds"]
    with open(args.out, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _median(values: np.ndarray) -> float:
    return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else np.nan


if __name__ == "__main__":
    main()

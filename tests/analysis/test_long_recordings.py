"""Recordings whose intermediate results would not fit into memory, measured stretch by stretch."""

import sys

import numpy as np
import pytest
import xarray as xr

from analysis import diagnose, diagnosis, radon_velocity, synthetic, wavenumber_frequency_spectrum
from analysis.direction.pairs import fit_pairs, spectra, wavenumbers
from analysis.fields import field
from analysis.fields.field import Field, stretches
from analysis.fields.trend import without_trend

CHILD = """
import resource, sys, warnings
import numpy as np, xarray as xr
import analysis
warnings.simplefilter("ignore")
steps, rng = int(sys.argv[1]), np.random.default_rng(0)
where = sys.argv[2]
y, x = 0.4 * np.array(np.divmod(np.arange(100), 10))
values = np.empty((steps, 100))
for at in range(0, steps, 20000):
    time = np.arange(at, min(at + 20000, steps))[:, None] / 1000
    values[at : at + 20000] = rng.standard_normal((len(time), 100)) + np.cos(2 * np.pi * (10 * time - x / 6 - y / 9))
mm = {"units": "mm"}
coords = {"time": ("time", np.arange(steps) / 1000, {"units": "s"})}
if where == "electrodes":
    dims, coords = ("time", "electrode"), coords | {"x": ("electrode", x, mm), "y": ("electrode", y, mm)}
else:
    dims, coords = ("time", "y", "x"), coords | {"y": ("y", y[::10], mm), "x": ("x", x[:10], mm)}
    values = values.reshape(steps, 10, 10)
rec = xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "uV", "boundary": "open"}, name="activity")
found = analysis.diagnose(rec)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss / 2**10, used.ru_utime, found.verdict.item(), float(found.speed.sel(estimator="radon")))
"""


@pytest.fixture
def short(monkeypatch):
    """Everything above 2¹³ samples counts as long."""
    monkeypatch.setattr(field, "LONG", 2**13)
    monkeypatch.setattr(field, "STRETCH", 2**12)


@pytest.mark.parametrize("where", ["electrodes", "line"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_stretches_say_what_the_whole_says(where, monkeypatch):
    layout, k = synthetic.line(16), 0.12
    if where == "electrodes":
        layout, k = synthetic.electrodes(*np.random.default_rng(0).uniform(0, 9, (2, 12))), (0.1, 0.08)
    rec = synthetic.with_noise(synthetic.plane(layout, 1024, wavenumber=k, frequency=0.05), 2.0, seed=2)
    whole = diagnose(rec, draws=99)
    monkeypatch.setattr(field, "LONG", 2**13)
    monkeypatch.setattr(field, "STRETCH", 2**12)
    parts = diagnose(rec, draws=99)
    assert parts.verdict.item() == whole.verdict.item()
    assert parts.speed.dims == whole.speed.dims
    for name in ("radon", "delay"):
        one, other = (found.sel(estimator=name) for found in (parts, whole))
        assert float(one.speed) == pytest.approx(float(other.speed), rel=0.02)
        assert one.speed_low <= other.speed <= one.speed_high
    assert float(parts.static_share) == pytest.approx(float(whole.static_share), abs=1e-6)
    assert float(parts.moving_score) == pytest.approx(float(whole.moving_score), rel=0.01)
    assert float(parts.travelling_index) == pytest.approx(float(whole.travelling_index), abs=0.05)


def test_the_power_of_stretches_taken_one_by_one_is_that_of_all_at_once(monkeypatch):
    rec = synthetic.with_noise(
        synthetic.plane(synthetic.sheet((6, 5)), 64, wavenumber=(0.2, 0), frequency=0.1), 1.0, seed=3
    )
    loud = (rec * xr.DataArray([1.0, 2.0, 5.0], dims="trial")).activity.assign_attrs(rec.activity.attrs)
    recording = Field.of(rec.assign(activity=loud.transpose("trial", ...)))
    at_once = diagnosis._mean_power(recording)
    monkeypatch.setattr(diagnosis, "LONG", 1)
    one_by_one = diagnosis._mean_power(recording)
    xr.testing.assert_allclose(one_by_one, at_once, rtol=1e-12)
    alone = wavenumber_frequency_spectrum(rec).power
    np.testing.assert_allclose(one_by_one.power, 10 * alone, rtol=1e-9)  # the mean of 1, 4 and 25
    assert one_by_one.power.attrs == alone.attrs


def test_stretches_are_views_and_cover_all_but_the_rest(short):
    rec = synthetic.white_noise(synthetic.sheet((8, 8)), 1000, seed=0)
    whole = Field.of(rec)
    folded = whole.in_stretches()
    assert whole.is_long
    assert folded.values.dims == ("trial", "time", "y", "x")
    assert folded.values.sizes["time"] * 64 <= 2**12
    assert folded.values.sizes["trial"] * folded.values.sizes["time"] > 1000 - folded.values.sizes["trial"]
    assert np.shares_memory(folded.values.values, rec.activity.values)
    parts = stretches(rec.activity.values.reshape(1000, 64))
    np.testing.assert_array_equal(parts[1].reshape(-1, 8, 8), folded.values.values[1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_stands_in_fewer_than_half_of_the_stretches_is_refused(short):
    rec = synthetic.with_noise(synthetic.plane(synthetic.line(16), 1536, wavenumber=0.12, frequency=0.05), 2.0, seed=2)
    noise = synthetic.white_noise(synthetic.line(16), 1536, seed=0).activity
    late = rec.assign(activity=rec.activity.where(rec.time > 1200, noise))
    assert radon_velocity(rec).status == 0
    assert radon_velocity(late).status != 0


def test_the_best_pair_of_waves_is_the_one_that_least_squares_finds():
    rng = np.random.default_rng(0)
    where = Field.of(
        synthetic.white_noise(synthetic.electrodes(*rng.uniform(0, 5, (2, 9))), 64, seed=0)
    ).space.sensors()
    values = rng.standard_normal((2, 64, 9))
    spectrum = spectra(values, 1.0, None)[1]
    tried, first = wavenumbers(where)[::7], np.array([0, 5, 17])
    chosen, power, _ = fit_pairs(spectrum, first, 2 * np.pi * tried @ where.centred.T)
    for block, part in enumerate(np.split(spectrum, first[1:], axis=1)):
        rows = part.reshape(-1, 9)
        turns = 2 * np.pi * where.centred @ tried[chosen[block]]
        design = np.column_stack([np.cos(turns), np.sin(turns)])
        fitted = design @ np.linalg.lstsq(design, rows.T, rcond=None)[0]
        assert power[block] == pytest.approx(float(np.sum(np.abs(fitted) ** 2)), rel=1e-9)


def test_trends_are_those_of_a_straight_line_fit():
    values = np.random.default_rng(0).standard_normal((3, 50, 4)) + 100 * np.arange(50)[:, None]
    left, time = without_trend(values, axis=1), np.arange(50)
    for trace, rest in zip(
        values.transpose(0, 2, 1).reshape(-1, 50), left.transpose(0, 2, 1).reshape(-1, 50), strict=True
    ):
        np.testing.assert_allclose(rest, trace - np.polyval(np.polyfit(time, trace, 1), time), atol=1e-8)


@pytest.mark.validate
@pytest.mark.parametrize("where", ["electrodes", "grid"])
def test_ten_minutes_of_a_hundred_sensors_need_less_than_two_gigabytes(where, draws, measured):
    import subprocess

    minutes = draws(0, 10)
    if not minutes:
        pytest.skip("takes minutes: make validate")
    run = [sys.executable, "-c", CHILD, str(minutes * 60_000), where]
    peak, seconds, verdict, speed = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    size = "100 electrodes" if where == "electrodes" else "a grid of 10 × 10"
    measured(f"MB at most, of diagnose with its recording of 480 MB ({size}, 10 min, 1 kHz)", float(peak), "≤ 2000")
    measured("processor seconds of that, one thread, the machine may be loaded", float(seconds), "")
    assert verdict == "travelling"
    assert float(speed) == pytest.approx(10 / np.hypot(1 / 6, 1 / 9), rel=0.01)
    assert float(peak) < 2000

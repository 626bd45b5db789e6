"""Speed and damping read from a snapshot along with the events: known laws return, and intervals hold them."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.decoding.parameters import Family

STEPS, SIZE = 30, 32
TWO = wf.encoder_at([4, 20], SIZE)


def snapshots(operator, noise, rng, trials=1):
    """Two inputs of two events each, amplitudes 0.5 to 1.5, and noise on all levels."""
    drives = np.zeros((trials, STEPS, 2))
    for drive in drives:
        for i in range(2):
            drive[rng.choice(STEPS, 2, replace=False), i] = rng.uniform(0.5, 1.5, 2)
    drives = drives if trials > 1 else drives[0]
    rec = wf.simulate(operator, drives, size=SIZE, encoder=TWO, save_every=None)
    levels = [name for name in ("activity", "previous") if name in rec]
    return rec.assign({name: rec[name] + noise * rng.normal(size=rec[name].shape) for name in levels}), drives


@pytest.mark.parametrize(
    ("true", "given", "speed", "damping"),
    [
        (wf.wave(0.8, 0.01), wf.wave(0.75), 0.8, 0.01),
        (wf.wave(0.7, 0.03, boundary="absorbing"), wf.wave(0.75, boundary="absorbing"), 0.7, 0.03),
        (wf.wave(0.72, 0.02, order=4, boundary="fixed"), wf.wave(0.7, order=4, boundary="fixed"), 0.72, 0.02),
        (wf.wave(0.16, 0.04, dx=0.1, dt=0.5), wf.wave(0.15, dx=0.1, dt=0.5), 0.16, 0.04),
    ],
    ids=["ring", "absorbing", "order 4", "units"],
)
def test_a_law_that_is_known_by_about_returns_with_its_events(true, given, speed, damping):
    rec, drive = snapshots(true, 1e-3, np.random.default_rng(1))
    around = float(given.courant[0]) * given.dx / given.dt
    found = wf.decode(rec, given, estimate={"speed": (0.9 * around, 1.1 * around), "damping": (0.0, 0.1)})
    sure = found.isel(event=found.confidence.values > 0.9)
    onsets = set(zip(sure.onset.values.tolist(), sure.input.values.tolist(), strict=True))
    assert onsets == set(zip(*(index.tolist() for index in np.nonzero(drive)), strict=True))
    assert float(found.speed) == pytest.approx(speed, rel=2e-3)
    for name, true_value in (("speed", speed), ("damping", damping)):
        low, high = found[f"{name}_interval"].values
        width = high - low
        assert low - width <= true_value <= high + width  # of 95 %: twice as wide, nearly always
        assert low <= float(found[name]) <= high


def test_the_speed_alone_of_a_one_way_field_keeps_its_direction():
    rec, _ = snapshots(wf.transport(-0.8), 0.01, np.random.default_rng(2))
    found = wf.decode(rec, wf.transport(-0.9), estimate="speed")
    assert float(found.speed) == pytest.approx(-0.8, abs=0.01)
    assert "damping" not in found


def test_snapshots_of_one_medium_are_read_together():
    rng = np.random.default_rng(3)
    rec, _ = snapshots(wf.wave(0.8), 0.05, rng, trials=4)
    bounds = {"speed": (0.77, 0.82)}
    one = wf.decode(rec.isel(trial=0), wf.wave(0.78), estimate=bounds).speed_interval.values
    four = wf.decode(rec, wf.wave(0.78), estimate=bounds).speed_interval.values
    assert np.ptp(four) < 0.75 * np.ptp(one)


def test_what_a_snapshot_cannot_tell_is_said():
    """Of events of unknown amplitude a fading ring shows no gain: an older, stronger one leaves the same."""
    rec, _ = snapshots(wf.transport(0.8, gain=0.99), 0.01, np.random.default_rng(4))
    found = wf.decode(rec, wf.transport(0.8), estimate={"damping": (0.0, 0.02)})
    assert np.ptp(found.damping_interval.values) > 0.01
    assert "does not determine the damping" in found.attrs["warnings"]


@pytest.mark.validate
@pytest.mark.parametrize(
    ("true", "given", "noise"),
    [
        (wf.transport(0.8), wf.transport(0.85), 0.05),
        (wf.wave(0.8, 0.01), wf.wave(0.75), 0.02),
        (wf.wave(0.9), wf.wave(0.95), 0.1),
    ],
    ids=["one-way", "damped", "undamped"],
)
def test_intervals_of_95_percent_hold_the_truth_as_often(true, given, noise, draws, measured):
    count = draws(1, 100)
    names = ("speed",) if true.levels == 1 else ("speed", "damping")
    covered = dict.fromkeys(names, 0)
    for seed in range(count):
        rec, _ = snapshots(true, noise, np.random.default_rng([seed, 6]))
        found = wf.decode(rec, given, estimate=names)
        for name in names:
            low, high = found[f"{name}_interval"].values
            covered[name] += low - 1e-9 <= Family.of(true).value(name) <= high + 1e-9
    for name, held in covered.items():
        measured(f"share of {count} intervals of the {name} that hold it", held / count, "0.95")
        assert held >= 0.95 * count - 1 - 3 * np.sqrt(0.05 * 0.95 * count)


def test_units_of_a_speed_are_those_of_the_recording():
    op = wf.wave(0.16, dx=0.1, dt=0.5)
    rec = wf.simulate(op, wf.spikes([[(5.0, 1.0)]], 30, dt=0.5, units="ms"), size=32, units={"position": "mm"})
    rec["activity"] = rec.activity + 1e-3 * np.random.default_rng(0).normal(size=rec.activity.shape)
    found = wf.decode(rec, estimate={"speed": (0.155, 0.165), "damping": (0.0, 0.05)})
    assert found.speed.attrs["units"] == found.speed_interval.attrs["units"] == "mm ms-1"
    assert found.damping.attrs["units"] == "ms-1"


@pytest.mark.parametrize(
    ("operator", "options", "error", "text"),
    [
        (wf.static(), {"estimate": "speed"}, ValueError, "this one has neither: WaveOperator"),
        (wf.WaveOperator([0.2, 0.5, 0.1, 0.1, 0.0]), {"estimate": "speed"}, ValueError, "this one has neither"),
        (wf.transport([0.9, 0.8]), {"estimate": "speed"}, ValueError, "one speed for all rings"),
        (wf.wave(0.9), {"estimate": "gain"}, ValueError, "estimate must be names out of speed, damping, got 'gain'"),
        (wf.wave(0.9), {"estimate": 3}, TypeError, "estimate must be names .* got 3"),
        (wf.wave(0.9), {"estimate": ()}, TypeError, "estimate must be names"),
        (wf.wave(0.9), {"estimate": {"speed": 0.9}}, TypeError, "bounds of speed must be a pair"),
        (wf.wave(0.9), {"estimate": {"speed": (0.5, 1.2)}}, ValueError, "speed must increase and lie between 0 and 1"),
        (wf.wave(0.9), {"estimate": {"damping": (-1, 0.1)}}, ValueError, "bounds of damping must increase and lie"),
        (wf.wave(0.9), {"estimate": "speed", "method": "tikhonov"}, ValueError, "method 'auto' or 'sparse'"),
    ],
)
def test_what_cannot_be_estimated_is_named(operator, options, error, text):
    field = np.eye(2, 32, 5) if operator.rings == 2 else np.eye(1, 32, 5)
    with pytest.raises(error, match=text):
        wf.decode(field, operator, steps=10, **options)


def test_a_zero_field_tells_no_speed():
    with pytest.raises(ValueError, match="the snapshot is zero"):
        wf.decode(np.zeros((1, 32)), wf.wave(0.9), steps=10, estimate="speed")

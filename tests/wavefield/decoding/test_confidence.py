"""Confidence means what it says: nothing is read from noise, and of rows given p a share p is right.

The references are draws of known inputs and noise; the noise is added to the last state that the simulation leaves.
"""

import time
from itertools import product

import numpy as np
import pytest

import wavefield as wf
from wavefield.decoding.decode import decode

SIZE, STEPS = 64, 60
OPERATORS = {
    "shift": wf.transport(1.0),
    "shift on a line": wf.transport(-1.0, boundary="absorbing"),
    "fading shift": wf.transport(1.0, gain=0.98),
    "one-way 0.9": wf.transport(0.9),
    "one-way 0.9 on a line": wf.transport(0.9, boundary="absorbing"),
    "speed profile": wf.transport(1.0, profile=np.linspace(0.8, 1, SIZE)),
    "two-way 1": wf.wave(1.0),
    "two-way 1, fixed": wf.wave(1.0, boundary="fixed"),
    "two-way 1, free": wf.wave(1.0, boundary="free"),
    "two-way 1, absorbing": wf.wave(1.0, boundary="absorbing"),
    "two-way 0.8, fixed": wf.wave(0.8, boundary="fixed"),
    "two-way 0.9": wf.wave(0.9),
    "two-way 0.9, absorbing": wf.wave(0.9, boundary="absorbing"),
    "two-way 1, damped": wf.wave(1.0, 0.02),
    "two-way 0.8, order 4": wf.wave(0.8, order=4),
}
FIELDS = [(name, both) for name, op in OPERATORS.items() for both in ((True, False) if op.levels == 2 else (False,))]
IDS = [f"{name}, {'both levels' if both else 'displacement'}" for name, both in FIELDS]
BINS = [(0, 0.5), (0.5, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 0.97), (0.97, 1.01)]


def trains(rng, trials, inputs, signed):
    """Drives (trial, step, input): a Poisson number of events an input, 1.5 on average, amplitudes 0.5 to 1.5."""
    drives = np.zeros((trials, STEPS, inputs))
    for drive, i in product(drives, range(inputs)):
        onsets = rng.choice(STEPS, size=rng.poisson(1.5), replace=False)
        sign = rng.choice([-1, 1], onsets.size) if signed else 1
        drive[onsets, i] = sign * rng.uniform(0.5, 1.5, onsets.size)
    return drives


def noisy(rec, noise, rng):
    return rec.assign({n: rec[n] + noise * rng.normal(size=rec[n].shape) for n in ("activity", "previous") if n in rec})


def judged(field, noise, given, inputs, signed, rng, trials):
    """Confidences and whether they are right, of all rows; four inputs enter rings of their own, two share one."""
    name, both = field
    drives = trains(rng, trials, inputs, signed)
    encoder = wf.encoder_at(np.arange(inputs) * (SIZE // inputs), SIZE) if inputs == 2 else "own"
    rec = wf.simulate(OPERATORS[name], drives, size=SIZE, encoder=encoder, save_every=None, method="step")
    events = decode(
        noisy(rec, noise, rng),
        noise=noise if given else None,
        previous=None if both else False,
        nonnegative=not signed,
    )
    return events.confidence.values, drives[events.trial.values, events.onset.values, events.input.values] != 0


def silent(field, given, count, **options):
    """Events read from snapshots that hold nothing but noise."""
    name, both = field
    levels = 0.02 * np.random.default_rng(20).normal(size=(2, count, 1, SIZE))
    before = levels[1] if both else None
    return decode(levels[0], OPERATORS[name], steps=STEPS, previous=before, noise=0.02 if given else None, **options)


@pytest.mark.validate
@pytest.mark.parametrize("given", [True, False], ids=["noise given", "noise estimated"])
@pytest.mark.parametrize("field", FIELDS, ids=IDS)
def test_noise_alone_is_not_read_as_events(field, given, draws, measured):
    """At most 0.05 rows of confidence above 0.9 in a snapshot that holds nothing but noise."""
    count = draws(10, 1000)
    events = silent(field, given, count)
    sure = int((events.confidence > 0.9).sum())
    measured("rows above 0.9 a silent snapshot", sure / count, "at most 0.05")
    assert sure <= 0.05 * count + 1
    assert (events.amplitude >= 0).all()


@pytest.mark.validate
@pytest.mark.parametrize("given", [True, False], ids=["noise given", "noise estimated"])
@pytest.mark.parametrize("field", FIELDS, ids=IDS)
def test_noise_alone_is_not_read_as_events_of_either_sign(field, given, draws, measured):
    """The same where amplitudes may be negative."""
    count = draws(2, 100)
    sure = int((silent(field, given, count, nonnegative=False).confidence > 0.9).sum())
    measured(f"rows above 0.9 a silent snapshot, of {count}", sure / count, "at most 0.05")
    assert sure <= 0.05 * count + 1


@pytest.mark.validate
@pytest.mark.parametrize("given", [True, False], ids=["noise given", "noise estimated"])
@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1, 0.2, 0.3])
def test_confidence_is_right_as_often_as_it_says(noise, given, draws, measured):
    """Over all fields, one to four inputs, one sign or two: each bin within 0.05, and three standard deviations."""
    trials, rng = draws(1, 12), np.random.default_rng([21, int(1000 * noise), given])
    kinds = list(product((1, 2, 4), (False, True)))
    said, right = [], []
    for number, field in enumerate(FIELDS):
        for inputs, signed in kinds if trials > 1 else [kinds[number % 6]]:
            claims, truth = judged(field, noise, given, inputs, signed, rng, trials)
            said.append(claims)
            right.append(truth)
    said, right = np.concatenate(said), np.concatenate(right)
    for low, high in BINS:
        here = (said >= low) & (said < high)
        if here.sum() < 5:
            continue
        expected, share = said[here].mean(), right[here].mean()
        measured(f"share right of {here.sum()} rows said {expected:.3f}", share, "within 0.05")
        deviation = np.sqrt(max(expected * (1 - expected), 0.25 / here.sum()) / here.sum())
        assert abs(share - expected) <= 0.05 + 3 * deviation, (low, high, expected, share, here.sum())


@pytest.mark.parametrize("steps", [STEPS, SIZE])
def test_noise_in_the_steps_of_a_converter_is_noise(steps):
    """Noise rounded to half its standard deviation is zero in every fifth cell."""
    silent = 0.01 * np.round(2 * np.random.default_rng(25).normal(size=(20, 1, SIZE)))
    assert (decode(silent, wf.transport(1.0), steps=steps).confidence > 0.9).sum() <= 1


def test_a_single_event_is_read_as_one_at_a_signal_to_noise_ratio_of_fifty():
    operator = OPERATORS["two-way 1, fixed"]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        drive = np.zeros((STEPS, 1))
        drive[rng.integers(STEPS)] = 1.0
        rec = noisy(wf.simulate(operator, drive, size=SIZE), 0.02, rng)
        for noise in (0.02, None):
            events = decode(rec, noise=noise)
            sure = events.isel(event=events.confidence.values > 0.9)
            assert set(sure.onset.values.tolist()) <= {int(np.flatnonzero(drive[:, 0])[0])}
            assert events.sizes["event"] <= 3


def test_a_search_that_ends_on_its_last_round_returns_rows_of_one_length():
    snapshot = 0.02 * np.random.default_rng(385).standard_normal((1, SIZE))
    snapshot[0, [37, 39]] += [-1.0, 1.0]
    events = decode(snapshot, OPERATORS["two-way 1, fixed"], steps=STEPS, noise=0.02)
    assert events.confidence.size == events.onset.size


@pytest.mark.parametrize("size", [30, 200])
@pytest.mark.parametrize("noise", [0.005, None])
def test_the_estimated_noise_of_a_damped_strip_does_not_collapse(size, noise):
    """Three inputs to a strip of tissue with absorbing ends: three rows, none negative, in less than seconds."""
    operator = wf.wave(0.3, 0.02, boundary="absorbing", dx=0.1, dt=0.3)
    drive = wf.spikes([[(3, 1.0)], [(10, 0.7)], [(16, 1.3)]], steps=size - 1)
    rec = wf.simulate(operator, drive, encoder=wf.encoder_at([size // 7, size // 2, size - 6], size))
    rec["activity"] = rec.activity + 0.005 * np.random.default_rng(0).standard_normal(rec.activity.shape)
    began = time.process_time()
    events = decode(rec, previous=False, noise=noise)
    assert time.process_time() - began < 5
    sure = events.isel(event=events.confidence.values > 0.9)
    assert list(zip(sure.onset.values.tolist(), sure.input.values.tolist(), strict=True)) == [(3, 0), (10, 1), (16, 2)]
    assert (events.amplitude >= 0).all()
    assert events.attrs["noise"] == pytest.approx(0.005, rel=0.35)


def test_noise_that_the_field_does_not_determine_is_asked_for():
    """A steady drive of every step takes as many events as there are values: what is noise cannot be said."""
    rng = np.random.default_rng(22)
    rec = noisy(wf.simulate(wf.transport(0.9), np.ones((STEPS, 1)), size=SIZE), 0.02, rng)
    events = decode(rec)
    assert "give `noise`" in events.attrs["warnings"]
    assert np.isinf(events.attrs["noise_error"])
    assert (events.confidence <= 0.5).all()
    assert decode(rec, noise=0.02).attrs["noise_error"] == 0


@pytest.mark.parametrize("operator", [wf.transport(0.9), wf.wave(0.9)], ids=["one-way", "two-way"])
def test_the_error_of_an_estimated_noise_is_that_of_its_draws(operator):
    rng = np.random.default_rng(23)
    drives = np.zeros((60, STEPS, 1))
    drives[:, 30] = 1.0
    events = decode(noisy(wf.simulate(operator, drives, size=SIZE, save_every=None), 0.02, rng))
    off = np.array(events.attrs["noise"]) - 0.02
    assert off.std() == pytest.approx(np.mean(events.attrs["noise_error"]), rel=0.35)
    assert abs(off.mean()) < 0.001


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (wf.wave(0.9), wf.wave(0.88)),
        (wf.transport(0.9), wf.transport(-0.9)),
        (wf.wave(0.9, boundary="fixed"), wf.wave(0.9, boundary="free")),
    ],
    ids=["speed", "direction", "ends"],
)
def test_a_wrong_operator_leaves_a_residual_that_is_correlated(right, wrong):
    rng = np.random.default_rng(24)
    drives = trains(rng, 10, 3, signed=False)
    drives[:, 30, 0] = 1.0  # no snapshot is silent
    rec = noisy(wf.simulate(right, drives, size=96, save_every=None), 0.005, rng)
    assert (np.array(decode(rec).attrs["misfit"]) > 1e-4).all()
    events = decode(rec, wrong)
    assert np.mean(np.array(events.attrs["misfit"]) < 1e-4) >= 0.9
    assert "is it this operator" in events.attrs["warnings"]

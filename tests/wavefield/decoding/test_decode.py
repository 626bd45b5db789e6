"""Decoding gives back what was written: exactly where the field only shifts, by inversion elsewhere, never a guess."""

import time
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import wavefield as wf
from wavefield.decoding.decode import as_dataset, decode
from wavefield.decoding.request import Request
from wavefield.decoding.sparse.reader import SparseReader


def train(rng, steps, inputs, events, *, signed=False):
    """Return a drive (steps, inputs) of spikes with amplitudes in [0.5, 1.5] at random places."""
    drive = np.zeros(steps * inputs)
    sign = rng.choice([-1, 1], events) if signed else 1
    drive[rng.choice(drive.size, events, replace=False)] = sign * rng.uniform(0.5, 1.5, events)
    return drive.reshape(steps, inputs)


def as_drive(events, drive):
    """Return the amplitudes of decoded events as an array like the drive."""
    found = np.zeros_like(drive)
    found[events.onset.values, events.input.values] = events.amplitude.values
    return found


def support(events):
    return set(zip(events.onset.values.tolist(), events.input.values.tolist(), strict=True))


def noisy(rec, noise, rng):
    levels = {
        name: rec[name] + noise * rng.normal(size=rec[name].shape) for name in ("activity", "previous") if name in rec
    }
    return rec.assign(levels)


# ---- Courant 1 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rings", "size"), [(1, 16), (3, 65), (16, 256), (16, 4096)])
@pytest.mark.parametrize(
    "operator", [wf.transport(1.0), wf.transport(-1.0), wf.wave(1.0)], ids=["right", "left", "two-way"]
)
def test_every_event_returns_exactly_at_courant_1_with_a_ring_for_each_input(operator, rings, size):
    rng = np.random.default_rng(size)
    drive = train(rng, size, rings, size * rings // 3)
    events = decode(wf.simulate(operator, drive, size=size, save_every=None))
    assert events.attrs["method"] == "exact"
    assert support(events) == set(zip(*(index.tolist() for index in np.nonzero(drive)), strict=True))
    # sums over pulses round; shifts do not
    np.testing.assert_allclose(as_drive(events, drive), drive, rtol=0, atol=1e-11 if operator.levels == 2 else 0)
    assert (events.confidence == 1).all()
    assert not events.ambiguous.any()
    assert not events.period.any()


@pytest.mark.parametrize("inputs", [1, 2, 4, 16])
@pytest.mark.parametrize(
    "operator", [wf.transport(1.0), wf.transport(-1.0), wf.wave(1.0)], ids=["right", "left", "two-way"]
)
def test_inputs_that_share_a_ring_return_exactly_within_their_distance(operator, inputs):
    size = 256
    encoder = wf.encoder_at(size // inputs * np.arange(inputs), size)
    drive = np.round(8 * train(np.random.default_rng(inputs), size // inputs, inputs, 100))
    events = decode(wf.simulate(operator, drive, size=size, encoder=encoder))
    np.testing.assert_array_equal(as_drive(events, drive), drive)  # whole numbers: bit for bit, two-way too
    assert not events.ambiguous.any()


def test_inputs_at_any_places_of_a_two_way_ring_return_while_one_of_their_pulses_stands_alone():
    rng = np.random.default_rng(3)
    drive = train(rng, 20, 3, 25)
    rec = wf.simulate(wf.wave(1.0), drive, size=128, encoder=wf.encoder_at([0, 30, 70], 128))
    events = decode(rec, method="exact")
    np.testing.assert_allclose(as_drive(events, drive), drive, rtol=0, atol=1e-12)


@pytest.mark.parametrize("unit", [1e-250, 1e-110, 1e250])
@pytest.mark.parametrize(
    "operator", [wf.transport(1.0), wf.transport(0.9), wf.wave(1.0)], ids=["shift", "0.9", "two-way"]
)
def test_units_of_amplitude_do_not_matter(operator, unit):
    drive = wf.spikes([[(5, unit)], [(20, 2 * unit)]], steps=40)
    events = decode(wf.simulate(operator, drive, size=64))
    assert support(events) == {(5, 0), (20, 1)}
    np.testing.assert_allclose(events.amplitude / unit, [1.0, 2.0], rtol=1e-6)


def test_a_ring_of_any_age_is_read_at_once():
    assert support(decode(np.eye(1, 64, 3), wf.transport(1.0), steps=10**9)) == {(10**9 - 4, 0)}
    with pytest.raises(ValueError, match=r"steps: 1000000000 are too many .* `horizon`"):
        decode(np.eye(1, 64, 3), wf.transport(0.9), steps=10**9)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(4, 40).flatmap(
        lambda size: st.tuples(
            st.just(size),
            st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 2)), min_size=1, unique=True),
            st.sampled_from([-2.0, 0.25, 1.0, 3.0]),
            st.sampled_from([wf.transport(1.0), wf.transport(-1.0), wf.wave(1.0), wf.wave(1.0, boundary="absorbing")]),
        )
    )
)
def test_decoding_undoes_simulation(case):
    size, places, amplitude, operator = case
    drive = np.zeros((size, 3))
    drive[tuple(np.transpose(places))] = amplitude
    source = "force" if size % 2 else "pulse"
    rec = wf.simulate(operator, drive, size=size + 2, source=source)
    # absorbing ends make it an inverse problem, solved to the rounding of its conditioning
    tolerance = 1e-8 if operator.boundary == "absorbing" else 1e-9
    np.testing.assert_allclose(as_drive(decode(rec, nonnegative=amplitude > 0), drive), drive, rtol=0, atol=tolerance)


def test_decoding_is_linear():
    rng = np.random.default_rng(0)
    one, other = train(rng, 60, 2, 9), train(rng, 60, 2, 9, signed=True)
    both = decode(wf.simulate(wf.wave(1.0), 2 * one - 3 * other, size=64), nonnegative=False)
    parts = [as_drive(decode(wf.simulate(wf.wave(1.0), x, size=64), nonnegative=False), x) for x in (one, other)]
    np.testing.assert_allclose(as_drive(both, one), 2 * parts[0] - 3 * parts[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("operator", [wf.transport(1.0), wf.transport(0.9), wf.wave(0.9)], ids=repr)
def test_turning_the_ring_and_its_inputs_changes_nothing(operator):
    rng = np.random.default_rng(1)
    drive = train(rng, 30, 2, 6)
    plain, turned = (
        decode(wf.simulate(operator, drive, size=64, encoder=np.roll(wf.encoder_at([0, 32], 64), shift, axis=1)))
        for shift in (0, 11)
    )
    assert support(plain) == support(turned) == set(zip(*(i.tolist() for i in np.nonzero(drive)), strict=True))
    np.testing.assert_allclose(plain.amplitude, turned.amplitude, rtol=0, atol=1e-7)


def test_a_line_gives_back_what_has_not_left_it():
    drive = wf.spikes([[(3, 1.0), (50, 2.0), (99, 0.5)]], steps=100)
    events = decode(wf.simulate(wf.transport(-1.0, boundary="absorbing"), drive, size=60))
    assert support(events) == {(50, 0), (99, 0)}
    assert not events.ambiguous.any()
    assert events.attrs["horizon"] == 60


def test_noise_is_told_from_events_and_its_level_found():
    rng = np.random.default_rng(2)
    drive = train(rng, 256, 4, 60)
    rec = noisy(wf.simulate(wf.transport(1.0), drive, size=256), 0.02, rng)
    for noise in (None, 0.02):
        events = decode(rec, noise=noise)
        assert support(events) == set(zip(*(i.tolist() for i in np.nonzero(drive)), strict=True))
        assert events.attrs["noise"] == pytest.approx(0.02, rel=0.1)
        errors = (as_drive(events, drive) - drive)[drive > 0]
        assert errors.std() == pytest.approx(float(events.amplitude_error[0]), rel=0.3)


# ---- what cannot be known is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", [wf.transport(1.0), wf.wave(1.0)], ids=["one-way", "two-way"])
def test_after_a_turn_onsets_are_known_modulo_the_ring(operator):
    drive = wf.spikes([[(12, 1.0), (40, 2.0)], [(225, 1.0)]], steps=300)
    events = decode(wf.simulate(operator, drive, size=128))
    np.testing.assert_array_equal(events.period, 128)
    assert {(t % 128, i) for t, i in support(events)} == {(12, 0), (40, 0), (225 % 128, 1)}
    np.testing.assert_allclose(np.sort(events.amplitude), [1.0, 1.0, 2.0], rtol=0, atol=1e-9)
    assert (events.ambiguous > 0).all()
    assert "modulo" in events.attrs["warnings"]


@pytest.mark.parametrize("operator", [wf.transport(1.0), wf.wave(1.0)], ids=["one-way", "two-way"])
def test_events_of_one_class_are_given_as_their_sum(operator):
    drive = wf.spikes([[(12, 1.0), (140, 2.0)]], steps=150)
    events = decode(wf.simulate(operator, drive, size=128))
    assert support(events) == {(140, 0)}
    assert events.period.item() == 128
    assert events.amplitude.item() == pytest.approx(3.0)


def test_onsets_that_no_turn_separates_stay_certain():
    """Of 150 steps on a ring of 128 only the last 22 share their place with the first."""
    drive = wf.spikes([[(60, 1.0), (140, 2.0)]], steps=150)
    events = decode(wf.simulate(wf.transport(1.0), drive, size=128))
    assert events.onset.values.tolist() == [60, 140]
    assert events.period.values.tolist() == [0, 128]
    assert events.ambiguous.values.tolist() == [0, 1]


def test_a_fading_ring_leaves_the_turn_open_because_the_amplitude_is():
    drive = wf.spikes([[(12, 1.0)]], steps=150)
    events = decode(wf.simulate(wf.transport(1.0, gain=0.99), drive, size=128))
    assert support(events) == {(140, 0)}
    assert events.period.item() == 128
    assert events.amplitude.item() == pytest.approx(0.99**128)  # that of an event at 140; times 0.99⁻¹²⁸ at 12


@pytest.mark.parametrize("method", ["auto", "sparse"])
def test_the_static_bump_loses_every_onset(method):
    drive = wf.spikes([[(12, 1.0), (40, 1.0)], [(25, 1.0)], [(31, 0.5)]], steps=100)
    events = decode(wf.simulate(wf.static(), drive, size=128), method=method)
    assert events.input.values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(events.amplitude, [2.0, 1.0, 0.5])
    np.testing.assert_array_equal(events.period, 1)
    assert (events.ambiguous > 0).all()
    assert "onsets are lost" in events.attrs["warnings"]


@pytest.mark.parametrize("method", ["auto", "sparse"])
def test_inputs_whose_traces_fall_together_are_listed_as_alternatives(method):
    """Two inputs 32 cells apart: input 1 at onset t + 32 stands where input 0 stands that came at t."""
    drive = wf.spikes([[(10, 1.0)], [(20, 2.0)]], steps=50)
    rec = wf.simulate(wf.transport(1.0), drive, size=128, encoder=wf.encoder_at([0, 32], 128))
    events = decode(rec, method=method)
    assert support(events) == {(10, 0), (42, 1), (20, 1)}
    alternatives = events.isel(event=events.ambiguous.values == 1)
    assert support(alternatives) == {(10, 0), (42, 1)}
    np.testing.assert_allclose(alternatives.confidence, 0.5)
    assert events.isel(event=events.ambiguous.values == 0).confidence.item() == pytest.approx(1.0)


def test_inputs_that_enter_alike_cannot_be_told_apart():
    """The encoder of the trained network: every input into unit 0 of every ring."""
    operator = wf.transport([1.0, -1.0])
    rec = wf.simulate(operator, wf.spikes([[(3, 1.0)], [], []], steps=20), size=32, encoder="first")
    events = decode(rec)
    assert support(events) == {(3, 0), (3, 1), (3, 2)}
    np.testing.assert_allclose(events.confidence, 1 / 3)
    np.testing.assert_array_equal(events.ambiguous, 1)


def test_displacement_alone_shows_an_event_and_its_mirror_image():
    drive = wf.spikes([[(20, 1.0)]], steps=64)  # 43 steps ago, as good as 64 − 43 = 21 steps ago: onset 42
    rec = wf.simulate(wf.wave(1.0), drive, size=64)
    alone, both = decode(rec, previous=False), decode(rec)
    assert support(both) == {(20, 0)}
    assert support(alone) == {(20, 0), (42, 0)}
    np.testing.assert_allclose(alone.confidence, 0.5)
    np.testing.assert_array_equal(alone.ambiguous, 1)


def test_a_singular_design_is_reported():
    """ν = ½ blots out the shortest wave at every step: old onsets are determined only by events being few."""
    rng = np.random.default_rng(4)
    encoder = wf.encoder_at([0, 64, 128, 192], 256)
    drive = train(rng, 64, 4, 12)
    rec = noisy(wf.simulate(wf.transport(0.5), drive, size=256, encoder=encoder), 1e-2, rng)
    events = decode(rec)
    assert "singular" in events.attrs["warnings"]
    assert events.attrs["rank"] < events.attrs["columns"] == 256
    assert np.isinf(events.attrs["conditioning"])
    wrong = [(t, i) not in support_of(drive) for t, i in zip(events.onset.values, events.input.values, strict=True)]
    assert (events.ambiguous.values[wrong] > 0).all()
    assert (events.confidence.values[wrong] < 0.9).all()


def support_of(drive):
    return set(zip(*(index.tolist() for index in np.nonzero(drive)), strict=True))


def test_a_snapshot_that_no_input_can_have_left_is_not_explained_away():
    exact = decode(np.eye(1, 128, 5) + np.eye(1, 128, 90), wf.transport(1.0), steps=20)
    assert support(exact) == {(14, 0)}
    assert "1 cells hold what no input can have left" in exact.attrs["warnings"]
    foreign = np.abs(np.random.default_rng(5).normal(size=(1, 128)))
    inverse = decode(foreign, wf.transport(0.9), steps=20)
    assert "unexplained" in inverse.attrs["warnings"]
    told = decode(foreign, wf.transport(0.9), steps=20, noise=1e-3)
    assert "the noise given" in told.attrs["warnings"]


def test_inputs_that_enter_nowhere_are_named():
    encoder = wf.encoder_at([0, 5], 32)
    encoder[:, :, 0] = 0
    for operator in (wf.transport(1.0), wf.transport(0.9)):
        events = decode(np.eye(1, 32, 9), operator, steps=10, encoder=encoder)
        assert set(events.input.values.tolist()) == {1}
        assert "input 0 enters nowhere" in events.attrs["warnings"]


def test_an_empty_field_holds_no_events():
    for operator in (wf.transport(1.0), wf.transport(0.9), wf.wave(1.0)):
        events = decode(np.zeros((2, 32)), operator, steps=10)
        assert events.sizes["event"] == 0
        assert events.onset.dtype.kind == events.input.dtype.kind == events.ambiguous.dtype.kind == "i"


def test_only_the_horizon_is_listed_and_the_rest_announced():
    drive = wf.spikes([[(10, 1.0), (60, 1.0)]], steps=80)
    for operator in (wf.transport(1.0), wf.wave(1.0)):
        events = decode(wf.simulate(operator, drive, size=128), horizon=30)
        assert support(events) == {(60, 0)}
        assert "older than the horizon" in events.attrs["warnings"]
    assert (
        "older than the horizon"
        in decode(wf.simulate(wf.transport(0.9), drive, size=128), horizon=30).attrs["warnings"]
    )


# ---- inverse problems ---------------------------------------------------------------------------------------------

FIELDS = {
    "one-way 0.9": (wf.transport(-0.9), {}),
    "line with outflow": (wf.transport(0.9, boundary="absorbing"), {}),
    "fading ring": (wf.transport(0.95, gain=0.99), {}),
    "speed profile": (wf.transport(1.0, profile=np.linspace(0.8, 1, 128)), {}),
    "two-way, both levels": (wf.wave(0.9), {}),
    "two-way, displacement": (wf.wave(0.95), {"previous": False}),
    "two-way, Courant 1 with noise": (wf.wave(1.0), {}),
    "damped": (wf.wave(1.0, 0.02), {}),
    "fixed ends": (wf.wave(0.95, boundary="fixed"), {}),
    "free ends": (wf.wave(1.0, boundary="free"), {}),
    "absorbing ends": (wf.wave(0.9, boundary="absorbing"), {}),
    "order 4": (wf.wave(0.8, order=4), {}),
}


@pytest.mark.parametrize("signed", [False, True], ids=["positive", "signed"])
@pytest.mark.parametrize("name", FIELDS)
def test_noisy_fields_of_every_kind_give_their_events_back(name, signed):
    operator, options = FIELDS[name]
    rng = np.random.default_rng(6)
    drive = train(rng, 50, 3, 10, signed=signed)
    rec = noisy(wf.simulate(operator, drive, size=128), 1e-3, rng)
    events = decode(rec, nonnegative=not signed, **options)
    assert events.attrs["method"] == "sparse"
    assert support(events) == support_of(drive)
    assert events.attrs["noise"] == pytest.approx(1e-3, rel=0.25)
    off = (as_drive(events, drive) - drive)[events.onset.values, events.input.values]
    assert (np.abs(off) < 5 * events.amplitude_error.values).all()


@pytest.mark.validate
@pytest.mark.parametrize(("speed", "share"), [(-0.9, 0.95), (-0.95, 0.99)])
def test_support_is_found_without_being_told_how_many(speed, share, draws):
    """12 events among 4 inputs × 64 onsets that share one ring of 256, 64 cells apart, noise 1e-3."""
    count, rng = draws(100, 1000), np.random.default_rng(7)
    encoder = wf.encoder_at([0, 64, 128, 192], 256)
    drives = np.stack([train(rng, 64, 4, 12) for _ in range(count)])
    rec = noisy(wf.simulate(wf.transport(speed), drives, size=256, encoder=encoder, save_every=None), 1e-3, rng)
    events = decode(rec)
    found = np.zeros(drives.shape, bool)
    found[events.trial.values, events.onset.values, events.input.values] = True
    right = (found == (drives > 0)).all(axis=(1, 2)).mean()
    assert right >= share


@pytest.mark.validate
def test_confidence_is_the_share_of_events_that_are_right(draws):
    """Over draws hard enough to be wrong in: of the events given p, p are right, within 0.03 and three deviations."""
    count, rng = draws(40, 300), np.random.default_rng(8)
    encoder = wf.encoder_at([0, 64, 128, 192], 256)
    claimed, right = [], []
    for speed, noise in [(-0.95, 3e-2), (-0.9, 1e-2), (-0.8, 1e-2), (-0.7, 3e-3)]:
        drives = np.stack([train(rng, 64, 4, 12) for _ in range(count)])
        rec = noisy(wf.simulate(wf.transport(speed), drives, size=256, encoder=encoder, save_every=None), noise, rng)
        events = decode(rec)
        claimed.append(events.confidence.values)
        right.append(drives[events.trial.values, events.onset.values, events.input.values] > 0)
    claimed, right = np.concatenate(claimed), np.concatenate(right)
    edges = [0, 0.5, 0.7, 0.85, 0.95, 0.99, 0.999, 1.0001]
    for low, high in pairwise(edges):
        here = (claimed >= low) & (claimed < high)
        expected = claimed[here].mean()
        deviation = np.sqrt(expected * (1 - expected) / here.sum())
        assert abs(right[here].mean() - expected) <= 0.03 + 3 * deviation, (low, high, expected, right[here].mean())
    sure = claimed >= 0.9
    assert right[sure].mean() == pytest.approx(claimed[sure].mean(), abs=0.02)


@pytest.mark.validate
def test_confidence_in_exact_decoding_is_calibrated_too(draws):
    """Amplitudes down to the noise, on a ring that only shifts; rate, amplitudes and noise are all fitted to it."""
    count, rng = draws(60, 500), np.random.default_rng(9)
    drives = (rng.random((count, 128, 4)) < 0.1) * rng.normal(size=(count, 128, 4))
    rec = noisy(wf.simulate(wf.transport(1.0), drives, size=160, save_every=None), 0.2, rng)
    events = decode(rec)
    claimed = events.confidence.values
    right = drives[events.trial.values, events.onset.values, events.input.values] != 0
    for low, high in [(0.5, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.0001)]:
        here = (claimed >= low) & (claimed < high)
        expected = claimed[here].mean()
        assert abs(right[here].mean() - expected) <= 0.06 + 3 * np.sqrt(expected * (1 - expected) / here.sum())


def test_no_noise_at_all_is_no_trouble_below_courant_1():
    rng = np.random.default_rng(10)
    encoder = wf.encoder_at([0, 64, 128, 192], 256)
    for speed in (0.5, 0.7, 0.9):
        drive = train(rng, 64, 4, 12)
        events = decode(wf.simulate(wf.transport(speed), drive, size=256, encoder=encoder))
        np.testing.assert_allclose(as_drive(events, drive), drive, rtol=0, atol=1e-5)


@pytest.mark.validate
def test_tikhonov_reads_a_dense_drive_of_either_sign(draws):
    """Every input active at every step: signs are right as often as claimed, errors as large as given."""
    count, rng = draws(10, 200), np.random.default_rng(11)
    encoder = wf.encoder_at([0, 64], 128)
    drives = rng.normal(size=(count, 60, 2))
    rec = noisy(wf.simulate(wf.transport(0.9), drives, size=128, encoder=encoder, save_every=None), 1e-2, rng)
    events = decode(rec, method="tikhonov", nonnegative=False)
    truth = drives[events.trial.values, events.onset.values, events.input.values]
    z = (events.amplitude.values - truth) / events.amplitude_error.values
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0, abs=0.1)
    sure = events.confidence.values > 0.999
    assert (np.sign(truth) == np.sign(events.amplitude.values))[sure].mean() > 0.995
    assert events.sizes["event"] > 0.3 * drives.size
    assert np.median(events.attrs["noise"]) == pytest.approx(1e-2, rel=0.3)


def test_a_design_too_large_to_write_out_gives_the_same_events():
    rng = np.random.default_rng(12)
    drive = train(rng, 200, 1, 8)
    rec = noisy(wf.simulate(wf.transport(0.95), drive, size=256), 1e-3, rng)
    written = decode(rec)
    request = Request.of(rec)
    reader = SparseReader.of(request, largest_matrix=256 * 199)
    unwritten = as_dataset(request, [reader.read(*request.snapshots[0], None).sorted()])
    assert support(written) == support(unwritten) == support_of(drive)
    np.testing.assert_allclose(unwritten.amplitude, written.amplitude, rtol=1e-3)


def test_many_columns_are_pursued_rather_than_solved_for_at_once():
    rng = np.random.default_rng(13)
    drive = train(rng, 60, 3, 10)
    rec = noisy(wf.simulate(wf.wave(0.9), drive, size=128), 1e-3, rng)
    request = Request.of(rec)
    events = SparseReader.of(request, most_columns=10).read(*request.snapshots[0], None)
    assert set(zip(events.onset.tolist(), events.input.tolist(), strict=True)) == support_of(drive)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_where_the_active_sets_of_nnls_turn_in_a_circle_the_same_events_are_read(monkeypatch, nonnegative):
    drive = train(np.random.default_rng(15), 30, 2, 4)
    rec = noisy(wf.simulate(wf.wave(0.9), drive, size=64), 1e-3, np.random.default_rng(16))
    usual = decode(rec, nonnegative=nonnegative)

    def never(*_, **__):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("wavefield.decoding.sparse.first_guess.nnls", never)
    xr.testing.assert_allclose(decode(rec, nonnegative=nonnegative), usual, rtol=1e-6)


# ---- what it takes ------------------------------------------------------------------------------------------------


def test_an_array_is_decoded_as_its_recording_is():
    drive = train(np.random.default_rng(14), 60, 3, 9)
    for operator in (wf.transport(-1.0), wf.wave(1.0), wf.transport(0.9), wf.wave(0.9)):
        rec = wf.simulate(operator, drive, size=64)
        before = {"previous": rec["previous"].values} if operator.levels == 2 else {}
        for encoder in (None, rec["encoder"].values):
            events = decode(rec["activity"].values[-1], operator, steps=60, encoder=encoder, **before)
            assert events.equals(decode(rec))


def test_one_ring_may_come_as_a_vector():
    assert support(decode(np.eye(1, 16, 5)[0], wf.transport(1.0), steps=10)) == {(4, 0)}


def test_trials_are_decoded_one_by_one():
    rng = np.random.default_rng(15)
    drives = np.stack([train(rng, 40, 2, 5) for _ in range(3)])
    for operator in (wf.transport(1.0), wf.wave(0.9)):
        rec = wf.simulate(operator, drives, size=64)
        events = decode(rec)
        found = np.zeros(drives.shape)
        found[events.trial.values, events.onset.values, events.input.values] = events.amplitude.values
        np.testing.assert_allclose(found, drives, rtol=0, atol=1e-5)
        assert len(events.attrs["residual"]) == 3


def test_single_precision_is_enough():
    drive = train(np.random.default_rng(16), 60, 3, 9)
    for operator in (wf.transport(1.0), wf.wave(1.0), wf.transport(0.9)):
        events = decode(wf.simulate(operator, drive, size=64, dtype="float32"))
        np.testing.assert_allclose(as_drive(events, drive), drive, rtol=0, atol=1e-4)


def test_a_continued_recording_is_decoded_back_to_its_beginning():
    drive = wf.spikes([[(5, 1.0), (38, 2.0)]], steps=60)
    first = wf.simulate(wf.wave(1.0), drive[:40], size=64)
    events = decode(wf.simulate(wf.wave(1.0), drive[40:], initial=first, save_every=None))
    assert support(events) == {(5, 0), (38, 0)}


@pytest.mark.parametrize(
    ("then", "options"),
    [
        (wf.transport(1.0, gain=0.9), {}),
        (wf.transport(-1.0), {}),
        (wf.transport(1.0, boundary="absorbing"), {}),
        (wf.transport(1.0), {"nonlinearity": "relu"}),
        (wf.transport(1.0), {"bias": [0.1]}),
        (wf.transport(1.0), {"encoder": np.eye(1, 32, 3)[:, :, None]}),
    ],
    ids=["gain", "direction", "ends", "nonlinearity", "bias", "encoder"],
)
def test_what_was_continued_under_another_law_is_not_decoded_by_the_last_one(then, options, tmp_path):
    first = wf.simulate(wf.transport(1.0), wf.spikes([[(2, 1.0)]], steps=10), size=32)
    wf.save_recording(first, tmp_path / "first.nc")
    with wf.open_recording(tmp_path / "first.nc") as stored:
        onward = wf.simulate(wf.transport(1.0), steps=5, initial=stored)  # the same law: decoded as before
        assert support(decode(onward)) == {(2, 0)}
        changed = wf.simulate(then, steps=5, initial=stored, **options)
    with pytest.raises(ValueError, match="continued it under another operator"):
        decode(changed)
    with pytest.raises(ValueError, match="continued it under another operator"):
        decode(wf.simulate(then, steps=5, initial=changed, **options))
    pushed = wf.simulate(wf.wave(1.0), initial=np.zeros((1, 32)), previous=np.eye(1, 32), steps=5)
    with pytest.raises(ValueError, match="began with a field that was not zero"):
        decode(pushed)


@pytest.mark.parametrize(
    "operator", [wf.transport(1.0), wf.transport(0.9), wf.wave(1.0)], ids=["shift", "0.9", "two-way"]
)
def test_a_bias_is_taken_out(operator):
    drive = wf.spikes([[(5, 1.0), (38, 2.0)]], steps=60)
    events = decode(wf.simulate(operator, drive, size=64, bias=[0.01]))
    np.testing.assert_allclose(as_drive(events, drive.values), drive, rtol=0, atol=1e-6)


def test_relu_fields_are_decoded_while_nothing_in_them_is_negative():
    drive = wf.spikes([[(5, 1.0), (38, 2.0)]], steps=60)
    rec = wf.simulate(wf.transport(0.9), drive, size=64, nonlinearity="relu")
    assert support(decode(rec)) == {(5, 0), (38, 0)}
    with pytest.raises(ValueError, match="only while nothing in it is negative, but nonnegative=False"):
        decode(rec, nonnegative=False)
    two_way = wf.simulate(wf.wave(0.9), drive, size=64, nonlinearity="relu")
    with pytest.raises(ValueError, match="its kernel has negative weights"):
        decode(two_way)


def test_the_result_can_be_written_to_netcdf(tmp_path):
    drive = train(np.random.default_rng(17), 40, 2, 5)
    for rec in (
        wf.simulate(wf.transport(0.9), drive, size=64),
        wf.simulate(wf.transport(1.0), np.stack([drive] * 2), size=64),
    ):
        events = decode(rec)
        events.to_netcdf(tmp_path / "events.nc", engine="h5netcdf")
        assert all(isinstance(value, (str, int, float, list)) for value in events.attrs.values())
        assert all({"units", "long_name"} <= set(events[name].attrs) for name in events.data_vars)


SNAPSHOT, RIGHT = np.eye(2, 32), wf.transport(1.0)


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        ((SNAPSHOT,), {"steps": 5}, "operator must be a WaveOperator .*got NoneType"),
        ((SNAPSHOT, RIGHT), {}, "steps must be given"),
        ((SNAPSHOT, RIGHT), {"steps": 0}, "steps must be at least 1, got 0"),
        ((SNAPSHOT, RIGHT), {"steps": -3}, "steps must be at least 1, got -3"),
        ((SNAPSHOT, RIGHT), {"steps": 2.0}, "steps must be an integer"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "horizon": 0}, "horizon must be at least 1"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "method": "guess"}, "method must be one of auto, exact, sparse, tikhonov"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "source": "pluck"}, "source must be 'pulse' or 'force', got 'pluck'"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "noise": -1.0}, "noise must be a finite number, not negative, got -1"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "noise": np.nan}, "noise must be a finite number"),
        ((SNAPSHOT * np.nan, RIGHT), {"steps": 5}, "snapshot must be finite"),
        ((SNAPSHOT + 1j, RIGHT), {"steps": 5}, "snapshot must be an array of real numbers"),
        ((np.zeros((1, 2, 2, 32)), RIGHT), {"steps": 5}, "snapshot must have shape"),
        ((np.zeros((2, 0)), RIGHT), {"steps": 5}, "snapshot must have shape"),
        (
            (np.zeros((1, 2)), wf.wave(1.0, boundary="absorbing")),
            {"steps": 5},
            "size must be at least 3 between absorbing ends",
        ),
        ((SNAPSHOT, wf.transport([1.0, 0.9, 0.8])), {"steps": 5}, "rings"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "encoder": np.zeros((3, 32, 1))}, "snapshot must have 3 rings"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "encoder": np.zeros((2, 31, 1))}, "encoder must have shape"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "encoder": np.zeros(7)}, "encoder must have shape"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "encoder": np.zeros((2, 32, 0))}, "encoder must have at least one input"),
        ((SNAPSHOT, RIGHT), {"steps": 5, "previous": SNAPSHOT}, "previous: the field of this operator has one level"),
        ((SNAPSHOT, wf.wave(1.0)), {"steps": 5, "previous": np.zeros((1, 32))}, "previous must have the shape"),
        ((SNAPSHOT, wf.transport(1.0, gain=1.1)), {"steps": 5}, "operator grows: its gain per step is 1.1"),
        ((SNAPSHOT, wf.transport(0.9, gain=1.1)), {"steps": 5}, "operator grows by a factor 1.1 per step"),
        (
            (SNAPSHOT, wf.transport(0.9)),
            {"steps": 5, "method": "exact"},
            "method='exact' needs a field that only shifts",
        ),
        ((SNAPSHOT, wf.wave(1.0)), {"steps": 5, "method": "exact"}, "method='exact' needs a field that only shifts"),
    ],
)
def test_bad_arguments_are_named(arguments, options, named):
    with pytest.raises((TypeError, ValueError), match=named):
        decode(*arguments, **options)


def test_a_field_that_grows_on_a_line_is_refused():
    growing = wf.WaveOperator([2.0, 0.0, 0.5], boundary="fixed")
    with pytest.raises(ValueError, match=r"operator grows: after .* steps"):
        decode(np.ones((1, 64)), growing, steps=60)


def test_recordings_that_cannot_be_decoded_are_refused_with_the_reason():
    drive = wf.spikes([[(5, 1.0)]], steps=10)
    rec = wf.simulate(wf.transport(1.0), drive, size=16)
    with pytest.raises(ValueError, match="tanh is not linear"):
        decode(wf.simulate(wf.transport(1.0), drive, size=16, nonlinearity="tanh"))
    with pytest.raises(ValueError, match="has no activity"):
        decode(rec.drop_vars("activity"))
    with pytest.raises(ValueError, match="does not say what moved it"):
        decode(rec.drop_vars("kernel"))
    snapshot = rec.isel(time=-1).drop_vars("time")
    with pytest.raises(ValueError, match="steps must be given where no recording tells it"):
        decode(snapshot)
    assert support(decode(snapshot, steps=10)) == {(5, 0)}
    with pytest.raises(ValueError, match="the recording holds no state"):
        decode(rec.isel(time=slice(0)))


@pytest.mark.parametrize("operator", [wf.transport(1.0), wf.wave(1.0)], ids=["one-way", "two-way"])
def test_a_snapshot_is_read_as_a_recording_of_one_state(operator):
    rec = wf.simulate(operator, wf.spikes([[(5, 1.0), (8, 2.0)]], steps=20), size=64)
    for steps in (7, 20):
        xr.testing.assert_identical(decode(rec.isel(time=steps - 1)), decode(rec.isel(time=[steps - 1])))
    assert support(decode(rec.isel(time=6))) == {(5, 0)}
    later = wf.simulate(operator, wf.spikes([[(2, 3.0)]], steps=5), initial=rec.isel(time=-1))
    assert support(decode(later.isel(time=-1))) == {(5, 0), (8, 0), (22, 0)}


@pytest.mark.parametrize("take", [{"time": -1}, {"time": slice(None)}], ids=["snapshot", "recording"])
@pytest.mark.parametrize("timed", [True, False])
def test_fields_that_do_not_show_their_inputs_whole_are_refused(take, timed):
    drive = wf.spikes([[(3, 1.0)]], steps=10)
    rec = wf.simulate(wf.transport(1.0), drive, size=16)
    begun = wf.simulate(wf.transport(1.0), drive, initial=np.eye(1, 16))
    for field, why in (
        (begun, "began with a field that was not zero"),
        (rec.isel(position=slice(0, 10)), "holds 10 of its 16 positions"),
        (rec.isel(position=slice(None, None, -1)), "positions must increase"),
        (rec.roll(position=4, roll_coords=True), "positions must increase"),
    ):
        cut = field.isel(take) if timed else field.isel(take).drop_vars("time")
        with pytest.raises(ValueError, match=why):
            decode(cut, steps=10)
    turned = rec.isel(position=slice(None, None, -1))
    with pytest.raises(ValueError, match="positions must increase"):
        wf.simulate(wf.transport(1.0), steps=3, initial=turned)
    assert support(decode(turned.sortby("position"))) == {(3, 0)}


@pytest.mark.parametrize("operator", [wf.transport(1.0), wf.transport(0.9), wf.wave(1.0), wf.wave(0.9)], ids=repr)
def test_where_no_input_enters_there_is_no_event(operator):
    events = decode(np.eye(1, 16, 5), operator, steps=5, encoder=np.zeros((1, 16, 2)))
    assert events.sizes["event"] == 0
    assert "input 1 enters nowhere" in events.attrs["warnings"]


# ---- amplitudes that are known not to be negative -----------------------------------------------------------------

READERS = {
    "shift": (wf.transport(1.0), {}),
    "shift with noise": (wf.transport(1.0), {"noise": 0.01}),
    "line that shifts": (wf.transport(-1.0, boundary="absorbing"), {}),
    "two-way shift": (wf.wave(1.0), {}),
    "one-way 0.9": (wf.transport(0.9), {}),
    "two-way 0.9": (wf.wave(0.9), {"noise": 0.01}),
    "Tikhonov": (wf.transport(0.9), {"method": "tikhonov"}),
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_gives_a_negative_amplitude_unless_it_may(name):
    operator, options = READERS[name]
    drive = wf.spikes([[(5, 1.0), (14, -1.2), (22, 0.7)], [(9, -0.8)]], steps=30)
    rec = wf.simulate(operator, drive, size=64)
    if "noise" in options:
        rec = noisy(rec, 0.01, np.random.default_rng(0))
    kept, free = decode(rec, **options), decode(rec, nonnegative=False, **options)
    assert (kept.amplitude >= 0).all()
    assert support(kept) >= {(5, 0), (22, 0)}
    assert support(free) >= support_of(drive.values)
    assert (free.amplitude < 0).sum() >= 2
    assert "negative" in kept.attrs["warnings"]
    assert "negative" not in free.attrs["warnings"]


def test_what_nonnegative_excludes_counts_as_unexplained():
    drive = wf.spikes([[(5, 1.0), (14, -1.2)]], steps=30)
    for operator in (wf.transport(1.0), wf.wave(1.0)):
        rec = wf.simulate(operator, drive, size=64)
        assert decode(rec).attrs["residual"] > 0.01
        assert decode(rec, nonnegative=False).attrs["residual"] < 1e-9


def test_of_inputs_of_either_sign_in_one_cell_those_remain_that_may_have_left_it():
    encoder = wf.encoder_at([0, 0], 16)
    encoder[:, :, 1] *= -1
    events = decode(np.array([[0, 0, 0, -2.0] + 12 * [0.0]]), wf.transport(1.0), steps=10, encoder=encoder)
    assert support(events) == {(6, 1)}
    assert events.amplitude.item() == 2.0
    assert events.confidence.item() == 1.0


def test_noise_given_far_too_small_ends_the_search_and_is_said():
    rng = np.random.default_rng(17)
    operator = wf.wave(0.7, order=8, boundary="absorbing")
    began = time.process_time()
    events = decode(rng.normal(size=(1, 19)), operator, steps=56, previous=rng.normal(size=(1, 19)), noise=0.0)
    assert time.process_time() - began < 20
    assert (events.amplitude >= 0).all()
    assert (events.confidence <= 0.5).all() or "unexplained" in events.attrs["warnings"]

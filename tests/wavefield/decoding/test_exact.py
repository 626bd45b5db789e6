"""Reading by look-up: which onsets are open, what is older, and how rings that differ are kept apart."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.decoding.decode import _described
from wavefield.decoding.estimate import Estimate


def left(op, onset, steps, size, input=0, **options):
    """What one event leaves."""
    trains = [[] for _ in range(options.pop("inputs", op.rings))]
    trains[input] = [(onset, 1.0)]
    return wf.simulate(op, wf.spikes(trains, steps), size=size, **options)


@pytest.mark.parametrize("age", range(8))
def test_an_onset_is_open_where_a_turn_earlier_was_after_the_beginning(age):
    steps = 11
    found = wf.decode(left(wf.transport(1.0), steps - 1 - age, steps, 8), method="exact")
    assert found.period.values.tolist() == [8 if steps - 1 - age - 8 >= 0 else 0]


def test_rings_of_two_speeds_come_round_each_in_its_own_time():
    kernel = np.zeros((2, 2, 5))
    kernel[0, 0, 1] = kernel[1, 1, 0] = 1  # by one cell and by two
    rec = wf.simulate(wf.WaveOperator(kernel), wf.spikes([[(4, 1.0)], [(4, 1.0)]], 6), size=8)
    found = wf.decode(rec, method="exact")
    assert found.input.values.tolist() == [0, 1]
    assert found.period.values.tolist() == [0, 4]


def test_conditioning_is_the_ratio_of_the_strongest_trace_to_the_faintest():
    found = wf.decode(left(wf.transport(1.0, gain=0.9), 3, 8, 8), method="exact")
    assert found.attrs["conditioning"] == pytest.approx(0.9**-7)


def test_the_last_cell_of_a_line_crossed_by_two_cells_a_step_is_read():
    op = wf.WaveOperator([1.0, 0, 0, 0, 0], "absorbing")
    found = wf.decode(left(op, 2, 6, 7), method="exact")
    assert found.onset.values.tolist() == [2]


def test_a_cell_that_is_the_trace_of_two_inputs_is_older_once():
    encoder = wf.encoder_at([0, 1], 8)
    found = wf.decode(left(wf.transport(1.0), 2, 8, 8, inputs=2, encoder=encoder), method="exact", horizon=3)
    assert "1 cells hold events older than the horizon of 3 steps" in found.attrs["warnings"]


def test_a_line_that_grows_and_changes_its_sign_is_refused():
    with pytest.raises(ValueError, match=r"operator grows: its gain per step is 1\.5"):
        wf.decode(np.ones((1, 6)), wf.WaveOperator([-1.5, 0, 0], "absorbing"), steps=3)


@pytest.mark.parametrize("unit", [2.0**-800, 2.0**800])
def test_noise_and_what_is_left_have_the_unit_of_the_snapshot(unit):
    rng = np.random.default_rng(0)
    snapshot = left(wf.wave(0.7), 9, 20, 64).activity.values[-1] + 0.05 * rng.standard_normal((1, 64))
    for noise in (None, 0.05):
        here = wf.decode(snapshot, wf.wave(0.7), steps=20, noise=noise)
        there = wf.decode(unit * snapshot, wf.wave(0.7), steps=20, noise=None if noise is None else unit * noise)
        for name in ("noise", "noise_error", "residual"):
            assert there.attrs[name] == pytest.approx(unit * here.attrs[name], rel=1e-6)
        np.testing.assert_allclose(there.amplitude_error, unit * here.amplitude_error, rtol=1e-6)


def test_confidences_under_several_operators_are_their_mean(monkeypatch):
    rng = np.random.default_rng(1)
    op = wf.wave(0.7)
    snapshot = left(op, 9, 20, 64).activity.values[-1] + 0.2 * rng.standard_normal((1, 64))
    plain = wf.decode(snapshot, op, steps=20, noise=0.2)
    alike = Estimate({}, {}, {}, [(0.75, op), (0.25, op)])
    monkeypatch.setattr("wavefield.decoding.decode.estimated", lambda *_: alike)
    found = wf.decode(snapshot, op, steps=20, noise=0.2, estimate="speed")
    np.testing.assert_allclose(found.confidence, plain.confidence, rtol=1e-12)


@pytest.mark.parametrize(
    ("time", "position", "speed", "damping"),
    [("ms", "mm", "mm ms-1", "ms-1"), ("1", "mm", "mm", "1"), ("ms", "1", "ms-1", "ms-1"), ("1", "1", "1", "1")],
)
def test_what_is_estimated_has_its_unit(time, position, speed, damping):
    both = {"speed": 0.5, "damping": 0.1}
    found = _described(
        Estimate(both, {name: (0, 1) for name in both}, {}, []), {"time": time, "position": position, "drive": "nA"}
    )
    for name, unit in (("speed", speed), ("damping", damping)):
        assert found[name][2]["units"] == found[f"{name}_interval"][2]["units"] == unit


@pytest.mark.parametrize("boundary", ["periodic", "absorbing"])
def test_inputs_that_stay_are_not_said_to_have_turned(boundary):
    found = wf.decode(left(wf.static(boundary=boundary), 2, 5, 8))
    assert found.period.values.tolist() == [1]
    assert "onsets are lost" in found.attrs["warnings"]
    assert "modulo" not in found.attrs["warnings"]


def test_what_is_left_where_nothing_enters_is_the_root_mean_square():
    found = wf.decode(np.full((1, 8), 3.0), wf.transport(0.5), steps=4, encoder=np.zeros((1, 8, 1)))
    assert found.attrs["residual"] == pytest.approx(3.0)


def test_more_places_and_onsets_than_there_is_room_for_are_looked_at_only_if_asked_for(monkeypatch):
    monkeypatch.setattr("wavefield.decoding.anywhere.anywhere.MOST_CANDIDATES", 3 * 81)
    rec = wf.simulate(wf.wave(0.6, dims=2), wf.spikes([[(4, 1.0)]], 6), size=(9, 9))
    assert wf.decode(rec, sites="anywhere").attrs["horizon"] == 3
    assert wf.decode(rec, sites="anywhere", horizon=5).attrs["horizon"] == 5


@pytest.mark.parametrize(("dtype", "noise"), [("float32", 0.0), ("float64", 1e-6)])
def test_what_rounding_leaves_in_single_precision_is_no_noise(dtype, noise):
    ripple = 1e-6 * np.random.default_rng(2).standard_normal((1, 64))
    snapshot = (left(wf.transport(1.0), 5, 20, 64).activity.values[-1] + ripple).astype(dtype)
    found = wf.decode(snapshot, wf.transport(1.0), steps=20, method="exact")
    assert found.attrs["noise"] == pytest.approx(noise, rel=0.3)
    assert found.onset.values.tolist() == [5]


def test_a_horizon_beyond_the_beginning_is_all_there_is():
    rec = left(wf.wave(1.0), 1, 6, 32)
    found = wf.decode(rec, method="exact", horizon=9)
    assert (found.onset.values.tolist(), found.attrs["horizon"]) == ([1], 6)


def test_one_negative_input_is_enough_for_a_field_under_relu_not_to_be_linear():
    rec = wf.simulate(wf.transport(0.9), [1.0, -1.0, 0.0, 2.0], size=16, nonlinearity="relu")
    with pytest.raises(ValueError, match="linear only while nothing in it is negative, but its drive was"):
        wf.decode(rec)


@pytest.mark.parametrize("trials", [0, 2])
def test_a_recording_of_one_ring_needs_no_channel(trials):
    drive = wf.spikes([[(3, 1.0)]], 8).values
    rec = wf.simulate(wf.wave(1.0), np.stack([drive] * trials) if trials else drive, size=32)
    plain = rec.assign({name: rec[name].isel(channel=0) for name in ("activity", "previous")})
    assert wf.decode(plain).identical(wf.decode(rec))


def test_pulses_that_fade_on_their_way_are_not_read_by_look_up():
    fading = wf.WaveOperator([[[1, 0, 1], [0, -0.9, 0]], [[0, 1, 0], [0, 0, 0]]], levels=2)
    with pytest.raises(ValueError, match="method='exact' needs a field that only shifts"):
        wf.decode(np.ones((1, 16)), fading, steps=4, previous=np.ones((1, 16)), method="exact")


def test_only_what_is_far_above_the_noise_is_said_to_be_of_no_input():
    snapshot = left(wf.transport(1.0), 5, 20, 64).activity.values[-1]
    snapshot = snapshot + 0.05 * np.random.default_rng(4).standard_normal((1, 64))
    assert "no input can have left" not in wf.decode(snapshot, wf.transport(1.0), steps=20).attrs["warnings"]
    snapshot[0, 40] += 0.5
    assert "1 cells hold what no input" in wf.decode(snapshot, wf.transport(1.0), steps=20).attrs["warnings"]


def test_no_more_than_half_is_claimed_where_the_search_had_to_end(monkeypatch):
    monkeypatch.setattr("wavefield.decoding.sparse.problem._EFFORT", 1.0)
    found = wf.decode(left(wf.wave(0.7), 5, 20, 64).activity.values[-1], wf.wave(0.7), steps=20, noise=0.01)
    assert len(found.confidence)
    assert (found.confidence <= 0.5).all()

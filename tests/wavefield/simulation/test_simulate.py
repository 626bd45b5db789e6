import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import wavefield as wf


def stepped(operator, drive, weights, *, start=None, nonlinearity=lambda h: h, bias=0.0):
    """The definition: h[t+1] = σ(M h[t] + V x[t] + b), written with the one-step matrix; σ bends the new level."""
    rings, size, inputs = weights.shape
    operator = operator.with_rings(rings)
    matrix = operator.matrix(size)
    encoder = np.zeros((rings, operator.levels, size, inputs))
    encoder[:, 0] = weights
    constant = np.zeros((rings, operator.levels, size))
    constant[:, 0] = bias
    state = np.zeros(rings * operator.levels * size) if start is None else start
    states = []
    for x in drive:
        state = matrix @ state + encoder.reshape(state.size, inputs) @ x + constant.ravel()
        levels = state.reshape(rings, operator.levels, size)
        levels[:, 0] = nonlinearity(levels[:, 0])
        states.append(levels[:, 0].copy())
    return np.array(states)


def own(rings, size):
    weights = np.zeros((rings, size, rings))
    weights[np.arange(rings), 0, np.arange(rings)] = 1
    return weights


coupled = wf.WaveOperator(np.random.default_rng(7).normal(0, 0.15, (3, 3, 5)))

OPERATORS = {
    "shift": wf.transport(-1.0),
    "upwind": wf.transport(0.7, gain=0.99),
    "per-ring speeds": wf.transport([0.3, -0.8, 1.0]),
    "profile": wf.transport(0.9, profile=np.linspace(0.2, 1, 16)),
    "outflow": wf.transport(0.6, boundary="absorbing"),
    "static": wf.static(),
    "coupled": coupled,
    "two-way": wf.wave(1.0),
    "two-way damped": wf.wave(0.8, 0.1),
    "two-way order 6": wf.wave(0.7, order=6, boundary="free"),
    "two-way fixed": wf.wave(0.9, boundary="fixed"),
    "two-way absorbing": wf.wave(0.9, 0.02, boundary="absorbing"),
    "two-way absorbing order 4": wf.wave(0.7, order=4, boundary="absorbing"),
    "two-way profile": wf.wave(0.9, 0.05, profile=np.linspace(0.3, 1, 16)),
    "two-way layers": wf.wave(0.9, 0.05, boundary="absorbing", **wf.absorbing_layer(16, 5, speed=0.9, reflection=0.1)),
    "two-way density": wf.wave(0.7, boundary="free", density=np.linspace(1, 2, 16), restoring_profile=np.ones(16)),
    "two-way absorbing profile": wf.wave(0.9, boundary="absorbing", profile=np.linspace(0.3, 1, 16)),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("trials", [None, 2])
def test_every_step_is_the_one_step_matrix(name, trials):
    operator, rng = OPERATORS[name], np.random.default_rng(0)
    drive = rng.standard_normal((trials or 1, 40, 3))
    weights = rng.standard_normal((3, 16, 3))
    rec = wf.simulate(operator, drive if trials else drive[0], encoder=weights, source="force", allow_growth=True)
    expected = np.array([stepped(operator, x, weights) for x in drive])
    assert rec.activity.dims == ("trial",) * bool(trials) + ("time", "channel", "position")
    np.testing.assert_allclose(rec.activity, expected if trials else expected[0], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("nonlinearity", "function"), [("relu", lambda h: np.maximum(h, 0)), ("tanh", np.tanh)])
def test_nonlinear_fields_follow_the_same_update(name, nonlinearity, function):
    operator, rng = OPERATORS[name], np.random.default_rng(1)
    drive, weights, bias = rng.standard_normal((20, 3)), rng.standard_normal((3, 16, 3)), rng.standard_normal((3, 16))
    rec = wf.simulate(operator, drive, encoder=weights, source="force", nonlinearity=nonlinearity, bias=bias)
    expected = stepped(operator, drive, weights, nonlinearity=function, bias=bias)
    np.testing.assert_allclose(rec.activity, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("nonlinearity", ["identity", "relu", "tanh"])
@pytest.mark.parametrize(
    "operator",
    [wf.wave(0.7), wf.wave(0.8, 0.05, order=4, boundary="free"), wf.wave(0.9, 0.02, boundary="absorbing")],
    ids=["ring", "order 4", "absorbing"],
)
def test_the_level_before_is_the_level_before_under_every_nonlinearity(operator, nonlinearity, tmp_path):
    """A field cut in time, broken off or reopened goes on as the one that was never stopped, bit for bit."""
    drive = np.random.default_rng(0).standard_normal((40, 2))
    options = {"nonlinearity": nonlinearity, "bias": [0.1, -0.2]}
    whole = wf.simulate(operator, drive, size=32, **options)
    np.testing.assert_array_equal(whole.previous, whole.activity[-2])
    cut = whole.isel(time=slice(0, 20))
    first = wf.simulate(operator, drive[:20], size=32, **options)
    with wf.simulate(operator, drive[:20], size=32, path=tmp_path / "first.nc", **options) as reopened:
        for start in (cut, first, reopened):
            rest = wf.simulate(operator, drive[20:], initial=start, **options)
            np.testing.assert_array_equal(rest.activity, whole.activity[20:])
            assert rest.attrs["start"] == "rest"
    levels = {"initial": cut.activity[-1].values, "previous": cut.activity[-2].values}
    quiet = wf.simulate(operator, steps=20, **levels, **options)
    expected = wf.simulate(operator, np.zeros((20, 2)), source="force", **levels, **options)
    np.testing.assert_array_equal(quiet.activity, expected.activity)


def test_a_field_with_a_damping_profile_is_neither_run_back_nor_taken_for_shifts():
    layer = wf.absorbing_layer(48, 8)
    rec = wf.simulate(wf.wave(1.0, **layer), wf.spikes([[(3, 1.0)]], steps=10), encoder=wf.encoder_at([24], 48))
    with pytest.raises(ValueError, match="undamped"):
        wf.reverse(rec)
    with pytest.raises(ValueError, match="method='exact' needs"):
        wf.decode(rec, method="exact")
    assert wf.decode(rec).onset.values.tolist() == [3]
    elastic = wf.simulate(wf.wave(0.9, restoring_profile=np.linspace(0, 0.5, 32)), initial=np.eye(1, 32), steps=500)
    np.testing.assert_allclose(wf.reverse(elastic).activity[0], np.eye(1, 32), atol=1e-11)


def test_what_only_linear_fields_can_do_is_refused_for_others():
    rec = wf.simulate(wf.wave(0.7), np.ones((5, 1)), size=32, nonlinearity="tanh")
    with pytest.raises(ValueError, match="linear, undamped two-way field"):
        wf.reverse(rec)
    with pytest.raises(ValueError, match=r"method='jump' needs .* a linear field"):
        wf.simulate(wf.wave(0.7), steps=9, initial=rec, nonlinearity="tanh", save_every=None, method="jump")
    with pytest.raises(ValueError, match="under tanh is not linear"):
        wf.decode(rec)


def test_a_driven_end_repeats_the_history_of_its_line():
    row = np.zeros((1, 1, 6))
    row[0, 0, 0] = 1.0  # the oldest value, at the far end, is fed back into the last position
    operator = wf.WaveOperator([0.0, 0.0, 1.0], "open", boundary_row=row)
    start = np.arange(6.0)[None]
    rec = wf.simulate(operator, initial=start, steps=12)
    np.testing.assert_array_equal(rec.activity[5, 0], start[0])
    np.testing.assert_array_equal(rec.activity[:, 0, -1], np.tile(np.arange(6.0), 2))


def test_an_input_stands_where_its_age_puts_it():
    drive = wf.spikes([[(3, 2.0)]], steps=10)
    moving = wf.simulate(wf.transport(1.0), drive, size=16).activity
    assert moving.time[3] == 4
    assert moving[3, 0, 0] == 2.0
    assert moving[9, 0, 6] == 2.0
    assert wf.simulate(wf.transport(-1.0), drive, size=16).activity[9, 0, 16 - 6] == 2.0
    assert wf.simulate(wf.static(), drive, size=16).activity[9, 0, 0] == 2.0


def test_time_is_in_the_units_of_dt_and_position_in_those_of_dx():
    rec = wf.simulate(wf.wave(2.0, dx=0.5, dt=0.25), np.ones((8, 1)), size=10, save_every=2)
    np.testing.assert_allclose(rec.time, [0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(rec.position, 0.5 * np.arange(10))
    np.testing.assert_allclose(rec.step, 0.25 * np.arange(8))


def test_times_that_count_steps_are_integers_in_a_simulation_too(tmp_path):
    """One clock for all recordings: whole steps in units of 1 are counted, whatever dt."""
    for dt, kind in ((1, np.int64), (2, np.int64), (0.5, np.float64)):
        for path in (None, tmp_path / f"clock{dt}.nc"):
            with wf.simulate(wf.transport(1 / dt, dt=dt), np.ones((4, 1)), 8, path=path) as rec:
                expected = wf.recording(rec.activity.values, drive=rec.drive.values, dt=dt)
                for name in ("time", "step"):
                    assert rec[name].dtype == expected[name].dtype == kind
                    np.testing.assert_array_equal(rec[name], expected[name])
    assert wf.simulate(wf.static(dt=2), np.ones((4, 1)), 8).time.values.tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize("end", ["absorbing", "fixed"])
def test_inputs_enter_a_line_at_its_upstream_end(end):
    drive = wf.spikes([[(0, 1.0)]], steps=3)
    assert wf.simulate(wf.transport(-1.0, boundary=end), drive, size=8).activity[2, 0, 5] == 1.0
    assert wf.simulate(wf.transport(1.0, boundary=end), drive, size=8).activity[2, 0, 2] == 1.0


def test_the_papers_encoder_feeds_unit_zero_of_every_ring():
    rec = wf.simulate(wf.transport([1.0, -1.0]), [[1.0, 0.5, 0.25]], size=4, encoder="first")
    np.testing.assert_array_equal(rec.activity[0], [[1.75, 0, 0, 0], [1.75, 0, 0, 0]])


def test_a_pulse_leaves_two_pulses_and_a_force_a_plateau():
    drive = wf.spikes([[(0, 1.0)]], steps=11)
    pulse = wf.simulate(wf.wave(1.0), drive, size=64).activity[-1, 0].values
    force = wf.simulate(wf.wave(1.0), drive, size=64, source="force").activity[-1, 0].values
    np.testing.assert_array_equal(np.flatnonzero(pulse), [10, 54])
    np.testing.assert_array_equal(np.flatnonzero(force), sorted(np.arange(-10, 11, 2) % 64))
    assert set(force[force != 0]) == {1.0}


def test_a_force_on_a_ring_drifts_and_a_pulse_does_not():
    drive = wf.spikes([[(0, 1.0)]], steps=20)
    force = wf.simulate(wf.wave(0.8), drive, size=32, source="force").activity.sum("position")[:, 0]
    pulse = wf.simulate(wf.wave(0.8), drive, size=32).activity.sum("position")[:, 0]
    np.testing.assert_allclose(force, np.arange(1, 21), rtol=1e-12)
    np.testing.assert_allclose(pulse[1:], 2.0, rtol=1e-12)


@pytest.mark.parametrize("source", ["pulse", "force"])
@pytest.mark.parametrize("operator", [wf.transport(0.7), wf.wave(0.9, 0.01)], ids=["one-way", "two-way"])
def test_what_is_saved_does_not_change_what_is_computed(operator, source, tmp_path):
    drive = np.random.default_rng(0).standard_normal((60, 2))
    whole = wf.simulate(operator, drive, size=32, source=source)
    every = wf.simulate(operator, drive, size=32, source=source, save_every=7)
    last = wf.simulate(operator, drive, size=32, source=source, save_every=None, method="step")
    with wf.simulate(operator, drive, size=32, source=source, save_every=7, path=tmp_path / "field.nc") as streamed:
        xr.testing.assert_equal(streamed.drop_vars("drive"), every.drop_vars("drive"))
    np.testing.assert_array_equal(every.activity, whole.activity[6::7])
    np.testing.assert_array_equal(last.activity[0], whole.activity[-1])
    first = wf.simulate(operator, drive, size=32, source=source, save_initial=True)
    assert first.time[0] == 0
    assert not first.activity[0].any()
    np.testing.assert_array_equal(first.activity[1:], whole.activity)
    with wf.simulate(
        operator, drive, size=32, source=source, save_initial=True, save_every=7, path=tmp_path / "first.nc"
    ) as streamed:
        np.testing.assert_array_equal(streamed.activity, first.activity[::7])
        np.testing.assert_array_equal(streamed.time, first.time[::7])


@pytest.mark.parametrize("method", ["step", "jump"])
@pytest.mark.parametrize("steps", [0, 1, 300])
def test_the_initial_state_is_saved_however_the_last_one_is_computed(steps, method, tmp_path):
    start = np.eye(1, 16)
    options = {"initial": start, "steps": steps, "save_every": None, "save_initial": True, "method": method}
    first = wf.simulate(wf.wave(0.9), initial=start, steps=5)
    for rec in (
        wf.simulate(wf.wave(0.9), **options),
        wf.simulate(wf.wave(0.9), **options, path=tmp_path / "field.nc").load(),
    ):
        assert rec.time.values.tolist() == [0, steps][: steps + 1]
        np.testing.assert_array_equal(rec.activity[0], start)
    onward = wf.simulate(wf.wave(0.9), **options | {"initial": first})
    assert onward.time.values.tolist() == [5, 5 + steps][: steps + 1]
    np.testing.assert_array_equal(onward.activity[0], first.activity[-1])


def test_one_drive_may_move_a_batch_of_fields_that_begin_differently(tmp_path):
    start = np.random.default_rng(1).standard_normal((5, 2, 16))
    drive = np.random.default_rng(0).standard_normal((20, 2))
    for operator in (wf.transport(0.7), wf.wave(0.9)):
        one_by_one = [wf.simulate(operator, drive, initial=level) for level in start]
        for path in (None, tmp_path / "batch.nc"):
            with wf.simulate(operator, drive, initial=start, path=path, overwrite=True) as together:
                onward = wf.simulate(operator, np.stack([drive] * 5), initial=together)
                for trial, alone in enumerate(one_by_one):
                    np.testing.assert_allclose(together.activity[trial], alone.activity, rtol=0, atol=1e-13)
                    longer = wf.simulate(operator, drive, initial=alone)
                    np.testing.assert_allclose(onward.activity[trial], longer.activity, rtol=0, atol=1e-13)
        with pytest.raises(ValueError, match="drive and initial must have as many trials, got 3 and 5"):
            wf.simulate(operator, np.stack([drive] * 3), initial=start)


def test_divergence_before_anything_is_stored_is_reported_alike_in_memory_and_on_file(tmp_path):
    options = {"steps": 2000, "allow_growth": True, "save_every": None, "method": "step", "initial": np.eye(1, 8)}
    steps = []
    for path in (None, tmp_path / "field.nc"):
        with pytest.raises(wf.DivergenceError) as caught:
            wf.simulate(wf.WaveOperator([0.0, 2.0, 0.0]), path=path, **options)
        assert caught.value.recording.sizes["time"] == 0
        steps.append(caught.value.step)
    assert steps == [1024, 1024]  # 2^1024 is the first power that float64 does not hold


@pytest.mark.parametrize("operator", [wf.transport(0.7), wf.wave(0.9, 0.01)], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cut", [1, 2, 17])
def test_a_recording_is_continued_as_if_it_had_never_stopped(operator, cut):
    drive = np.random.default_rng(0).standard_normal((40, 2))
    whole = wf.simulate(operator, drive, size=32)
    rest = wf.simulate(operator, drive[cut:], initial=wf.simulate(operator, drive[:cut], size=32))
    np.testing.assert_array_equal(rest.activity, whole.activity[cut:])
    np.testing.assert_array_equal(rest.time, whole.time[cut:])


@pytest.mark.parametrize("every", [6, 7, 2])
def test_states_far_apart_are_reached_in_pieces(monkeypatch, every, tmp_path):
    drive = np.random.default_rng(0).standard_normal((42, 1))
    whole = wf.simulate(wf.wave(0.5), drive, size=8, save_every=every)
    monkeypatch.setattr("wavefield.simulation.run._BLOCK_UPDATES", 3 * 8)  # three steps at a time
    for path in (None, tmp_path / "field.nc"):
        with wf.simulate(wf.wave(0.5), drive, size=8, save_every=every, path=path) as rec:
            np.testing.assert_array_equal(rec.activity, whole.activity)
            np.testing.assert_array_equal(rec.previous, whole.previous)


@pytest.mark.parametrize(("source", "jumps_from"), [("force", 21), ("pulse", 31)])
def test_a_long_run_jumps_where_that_takes_fewer_steps_than_the_loop(monkeypatch, source, jumps_from):
    """A jump for the start and one for each arrival, of which a pulse has two."""
    monkeypatch.setattr("wavefield.simulation.run._STEPS_PER_JUMP", 10)
    jumped = []
    monkeypatch.setattr("wavefield.simulation.simulate.jump", lambda run: jumped.append(run.inputs.steps))
    for steps in (jumps_from - 1, jumps_from):
        wf.simulate(wf.wave(0.5), wf.spikes([[(3, 1.0)]], steps), size=8, source=source, save_every=None)
    assert jumped == [jumps_from]


def test_the_step_at_which_a_continued_field_diverges_is_counted_from_its_beginning():
    op = wf.transport(1.0, gain=1e100)
    begun = wf.simulate(op, [1.0, 0.0], size=4, allow_growth=True)
    with pytest.raises(wf.DivergenceError) as diverged:
        wf.simulate(op, np.zeros(9), initial=begun, allow_growth=True)
    assert diverged.value.step == 5  # 1e100 at step 2, 1e300 at step 4


def test_inputs_of_a_field_that_does_not_move_stay_at_the_beginning_of_its_line():
    rec = wf.simulate(wf.static(boundary="absorbing"), [1.0, 1.0], size=5)
    assert rec.activity[-1, 0].values.tolist() == [2, 0, 0, 0, 0]


def test_a_batch_of_one_drive_moves_every_field_alike():
    rng = np.random.default_rng(0)
    drive, fields = rng.standard_normal((5, 1)), rng.standard_normal((3, 1, 8))
    once = wf.simulate(wf.transport(0.5), drive[None], initial=fields)
    assert once.activity.identical(wf.simulate(wf.transport(0.5), drive, initial=fields).activity)


def test_growth_in_a_narrow_band_is_found():
    """Thirty-three taps that pass what lies within 1/33 of 3/32 cycles per cell, and let it grow."""
    taps = 1.05 * np.cos(2 * np.pi * 3 / 32 * (np.arange(33) - 16)) * 2 / 33
    with pytest.raises(ValueError, match="operator grows"):
        wf.simulate(wf.WaveOperator(taps), [1.0], size=64)


def test_a_field_in_single_precision_is_run_back_in_it():
    rec = wf.simulate(wf.wave(0.5), [1.0, 2.0, 0.0], size=8, dtype="float32")
    assert wf.reverse(rec).activity.dtype == np.float32


def test_one_field_is_continued_by_a_batch_of_drives():
    op, rng = wf.wave(0.5), np.random.default_rng(0)
    drives, begun = rng.standard_normal((3, 6, 2)), wf.simulate(op, rng.standard_normal((5, 2)), size=16)
    batch = wf.simulate(op, drives, initial=begun)
    for trial, drive in zip(batch.activity, drives, strict=True):
        np.testing.assert_array_equal(trial, wf.simulate(op, drive, initial=begun).activity)
    with pytest.raises(ValueError, match="with 2 inputs and 3 trials, got 2 and 4"):
        wf.simulate(op, rng.standard_normal((4, 6, 2)), initial=batch)


def test_the_place_of_what_is_not_finite_is_named_however_late(monkeypatch):
    monkeypatch.setattr("wavefield.simulation.inputs._FRAME_BYTES", 100)
    drive = np.ones((2, 40, 3))
    drive[1, 33, 2] = np.nan
    with pytest.raises(ValueError, match=r"drive must be finite, it holds nan at index \[1, 33, 2\]"):
        wf.simulate(wf.transport(1.0), drive, size=8)


def test_a_callable_drive_equals_the_same_series():
    series = np.random.default_rng(0).standard_normal((30, 2))
    for operator in (wf.transport(1.0), wf.wave(1.0)):
        expected = wf.simulate(operator, series, size=16).activity
        called = wf.simulate(operator, lambda t: series[t], size=16, steps=30).activity
        np.testing.assert_array_equal(called, expected)


@pytest.mark.parametrize("source", ["pulse", "force"])
@pytest.mark.parametrize(
    "operator",
    [wf.transport(1.0), wf.transport(0.7, gain=0.999), coupled, wf.wave(1.0), wf.wave(0.8, 0.01, boundary="fixed")],
    ids=["shift", "upwind", "coupled", "two-way", "fixed damped"],
)
def test_a_jump_lands_where_stepping_does(operator, source):
    rng = np.random.default_rng(0)
    trains = [sorted((int(t), 1.0) for t in rng.choice(2000, 4, replace=False)) for _ in range(3)]
    drive, weights = wf.spikes(trains, steps=2000), rng.standard_normal((3, 64, 3))
    options = {"encoder": weights, "source": source, "save_every": None, "allow_growth": True}
    step = wf.simulate(operator, drive, method="step", **options)
    jump = wf.simulate(operator, drive, method="jump", **options)
    scale = float(np.abs(step.activity).max())
    np.testing.assert_allclose(jump.activity, step.activity, rtol=0, atol=1e-10 * scale)
    if "previous" in step:
        np.testing.assert_allclose(jump.previous, step.previous, rtol=0, atol=1e-10 * scale)


def test_reversal_recovers_the_beginning():
    rng = np.random.default_rng(0)
    initial = rng.standard_normal((1, 64))
    for operator in (wf.wave(0.7), wf.wave(0.9, boundary="fixed"), wf.wave(0.8, boundary="free")):
        drive = wf.spikes([[(100, 1.0), (7000, -2.0)]], steps=10_000)
        rec = wf.simulate(operator, drive, initial=initial, save_every=None, method="step")
        back = wf.reverse(rec)
        assert back.time == 0
        np.testing.assert_allclose(back.activity[0], initial, atol=1e-9)


@pytest.mark.parametrize("source", ["pulse", "force"])
@pytest.mark.parametrize("trials", [(), (2,)], ids=["one", "batch"])
def test_what_a_reversal_gives_goes_forth_again(source, trials):
    drive = np.random.default_rng(0).standard_normal((*trials, 40, 1))
    whole = wf.simulate(wf.wave(0.5), drive, size=16, source=source)
    first = wf.simulate(wf.wave(0.5), drive[..., :25, :], size=16, source=source)
    second = wf.simulate(wf.wave(0.5), drive[..., 25:, :], initial=first, source=source)
    for rec, begun in ((first, 0), (second, 25)):
        back = wf.reverse(rec)
        wf.validate_recording(back)
        assert {name: back.attrs[name] for name in ("steps", "first_step", "source_kind", "start")} == {
            "steps": 0, "first_step": begun, "source_kind": source, "start": "rest"
        }  # fmt: skip
        assert "drive" not in back
        forth = wf.simulate(wf.wave(0.5), drive[..., begun:, :], initial=back, source=source)
        expected = whole.isel(time=slice(begun, None))
        np.testing.assert_allclose(forth.activity, expected.activity, atol=1e-11)
        np.testing.assert_array_equal(forth.time, expected.time)
        assert wf.reverse(back).time == back.time
        np.testing.assert_array_equal(wf.reverse(back).activity, back.activity)
    state = wf.simulate(wf.wave(0.5), initial=np.eye(1, 16), steps=20)
    forth = wf.simulate(wf.wave(0.5), initial=wf.reverse(state), steps=20)
    np.testing.assert_allclose(forth.activity, state.activity, atol=1e-12)
    with pytest.raises(ValueError, match="not zero"):
        wf.decode(forth)


@pytest.mark.parametrize("source", ["pulse", "force"])
def test_reversal_takes_out_the_bias(source):
    initial = np.random.default_rng(0).standard_normal((2, 16))
    bias, drive = np.random.default_rng(1).standard_normal((2, 16)), np.eye(2, 20).T
    rec = wf.simulate(wf.wave(0.5), drive, initial=initial, bias=bias, source=source)
    np.testing.assert_allclose(wf.reverse(rec).activity[0], initial, atol=1e-11)


def test_reversal_is_exact_on_integers_at_courant_one():
    initial = np.random.default_rng(0).integers(-9, 9, (1, 32)).astype(float)
    rec = wf.simulate(wf.wave(1.0), initial=initial, previous=np.roll(initial, 1), steps=1000, save_every=None)
    np.testing.assert_array_equal(wf.reverse(rec).activity[0], initial)


def test_what_was_written_is_erased_by_its_negative_in_reversed_time():
    # a walker that retraces its path and writes the negative erases its own waves (Perrard et al. 2016)
    drive = np.zeros((50, 1))
    drive[[3, 20, 31], 0] = [1.0, -0.5, 2.0]
    out = wf.simulate(wf.wave(0.9), drive, size=64, source="force")
    now, before = out.activity[-1].values, out.previous.values
    back = wf.simulate(wf.wave(0.9), drive[::-1], initial=before, previous=now, source="force")
    np.testing.assert_allclose(back.activity[-1], 0, atol=1e-12)


def test_float32_stays_float32_and_close():
    drive = np.random.default_rng(0).standard_normal((100, 2))
    for operator in (wf.transport(0.9), wf.wave(0.9)):
        single = wf.simulate(operator, drive, size=32, dtype="float32").activity
        assert single.dtype == np.float32
        double = wf.simulate(operator, drive, size=32).activity
        np.testing.assert_allclose(single, double, atol=3e-5 * float(np.abs(double).max()))


def test_divergence_names_the_step_and_keeps_what_came_before(tmp_path):
    operator = wf.WaveOperator([0.0, 1e10, 0.0])
    options = {"initial": np.ones((1, 8)), "steps": 100, "allow_growth": True}
    with pytest.raises(wf.DivergenceError, match="step 31") as caught:
        wf.simulate(operator, **options)
    assert caught.value.step == 31  # 10^(10·31) is beyond float64
    assert (caught.value.recording.activity.max() < np.inf).all()
    with pytest.raises(wf.DivergenceError, match="step 31"):
        wf.simulate(operator, path=tmp_path / "field.nc", **options)
    assert not (tmp_path / "field.nc").exists()


def test_a_killed_run_leaves_a_readable_part_and_no_final_file(tmp_path):
    code = (
        "import sys, numpy as np, wavefield as wf\n"
        "wf.simulate(wf.wave(0.9), lambda t: [np.sin(t)], 256, steps=3_000_000, path=sys.argv[1])\n"
    )
    path, partial = tmp_path / "field.nc", tmp_path / "field.partial.nc"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if partial.exists():
                with wf.open_recording(partial) as rec:
                    if rec.sizes["time"] > 0:
                        break
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not path.exists()
    with wf.open_recording(partial) as rec:
        count = min(rec.sizes["time"], 2000)
        assert count > 0
        expected = wf.simulate(wf.wave(0.9), np.sin(np.arange(count))[:, None], 256)
        np.testing.assert_allclose(rec.activity[:count], expected.activity, atol=1e-12)


BAD = {
    "no size": (dict(drive=np.ones((3, 1))), "size"),
    "negative size": (dict(drive=np.ones((3, 1)), size=-4), "size"),
    "no size at all": (dict(drive=np.ones((3, 1)), size=0), "size"),
    "real size": (dict(drive=np.ones((3, 1)), size=8.0), "size"),
    "no drive, no steps": (dict(size=8), "steps"),
    "negative steps": (dict(size=8, steps=-1), "steps"),
    "steps of another drive": (dict(drive=np.ones((3, 1)), size=8, steps=4), "steps"),
    "drive without an axis": (dict(drive=1.0, size=8), "drive"),
    "drive of no steps": (dict(drive=[], size=8), "drive"),
    "NaN in the drive": (dict(drive=[[np.nan]], size=8), "drive"),
    "text drive": (dict(drive="loud", size=8), "drive"),
    "no inputs": (dict(drive=np.ones((3, 0)), size=8), "drive"),
    "encoder of another size": (dict(drive=np.ones((3, 1)), size=8, encoder=np.ones((1, 9, 1))), "positions"),
    "encoder of other inputs": (dict(drive=np.ones((3, 1)), size=8, encoder=np.ones((1, 8, 2))), "encoder"),
    "encoder NaN": (dict(drive=np.ones((3, 1)), size=8, encoder=np.full((1, 8, 1), np.nan)), "encoder"),
    "unknown encoder": (dict(drive=np.ones((3, 1)), size=8, encoder="theirs"), "encoder"),
    "unknown source": (dict(drive=np.ones((3, 1)), size=8, source="shove"), "source"),
    "unknown nonlinearity": (dict(drive=np.ones((3, 1)), size=8, nonlinearity="gelu"), "nonlinearity"),
    "integer dtype": (dict(drive=np.ones((3, 1)), size=8, dtype="int32"), "dtype"),
    "dtype that is none": (dict(drive=np.ones((3, 1)), size=8, dtype="blue"), "dtype"),
    "save_every 0": (dict(drive=np.ones((3, 1)), size=8, save_every=0), "save_every"),
    "initial of another shape": (dict(steps=3, initial=np.ones((2, 2, 2, 8))), "initial"),
    "complex initial": (dict(steps=3, initial=np.full((1, 8), 1j)), "initial must be an array of real numbers"),
    "complex previous": (
        dict(operator=wf.wave(0.5), steps=3, initial=np.ones((1, 8)), previous=np.full((1, 8), 1j)),
        "previous must be an array of real numbers",
    ),
    "initial NaN": (dict(steps=3, initial=np.full((1, 8), np.nan)), "initial"),
    "previous of a one-way field": (dict(steps=3, initial=np.ones((1, 8)), previous=np.ones((1, 8))), "previous"),
    "complex bias": (dict(drive=np.ones((3, 1)), size=8, bias=[1j]), "bias must be an array of real numbers"),
    "a callable that returns complex numbers": (dict(drive=lambda t: [1j], steps=3, size=8), r"drive\(0\) must return"),
    "bias of another shape": (dict(drive=np.ones((3, 1)), size=8, bias=np.ones(5)), "bias"),
    "unknown method": (dict(drive=np.ones((3, 1)), size=8, method="teleport"), "method"),
    "jump that saves": (dict(drive=np.ones((3, 1)), size=8, method="jump"), "jump"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    arguments, word = BAD[name]
    with pytest.raises((ValueError, TypeError), match=word):
        wf.simulate(**({"operator": wf.transport(1.0)} | arguments))


def test_an_operator_that_grows_is_refused_unless_wanted():
    operator = wf.transport(0.5, gain=1.01)
    with pytest.raises(ValueError, match=r"1\.01 per step"):
        wf.simulate(operator, np.ones((3, 1)), size=8)
    assert wf.simulate(operator, np.ones((3, 1)), size=8, allow_growth=True).sizes["time"] == 3


def test_a_result_larger_than_memory_asks_for_a_file():
    with pytest.raises(ValueError, match="path="):
        wf.simulate(wf.wave(1.0), size=10**6, steps=10**9, initial=None)


def test_an_unwritable_place_is_found_before_the_work(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        wf.simulate(wf.transport(1.0), np.ones((3, 1)), 8, path=tmp_path / "nowhere" / "field.nc")
    assert not list(tmp_path.iterdir())


@settings(deadline=None, max_examples=150)
@given(
    drive=st.one_of(
        st.none(),
        st.floats(),
        st.lists(st.floats(allow_nan=True), max_size=4),
        st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=3), max_size=4),
    ),
    size=st.one_of(st.none(), st.integers(-3, 20), st.floats()),
    steps=st.one_of(st.none(), st.integers(-2, 5)),
    save_every=st.one_of(st.none(), st.integers(-1, 6)),
)
def test_nonsense_gives_an_error_that_says_so_or_a_finite_recording(drive, size, steps, save_every):
    try:
        rec = wf.simulate(wf.transport(0.5), drive, size, steps=steps, save_every=save_every)
    except (ValueError, TypeError) as error:
        assert any(name in str(error) for name in ("drive", "size", "steps", "save_every", "positions", "encoder"))  # noqa: PT017
    else:
        assert np.isfinite(rec.activity).all()


def cases_of_the_past():
    drive = np.random.default_rng(3).standard_normal((40, 2))
    for operator in (wf.transport(0.7), wf.wave(0.9, 0.01), wf.wave(1.0)):
        yield operator, drive, wf.simulate(operator, drive, size=32)


def test_a_recording_cut_in_time_is_continued_from_where_it_was_cut():
    for operator, drive, whole in cases_of_the_past():
        rest = wf.simulate(operator, drive[15:], initial=whole.isel(time=slice(0, 15)))
        np.testing.assert_array_equal(rest.activity, whole.activity[15:])
        np.testing.assert_array_equal(rest.time, whole.time[15:])


@pytest.mark.parametrize("steps", [slice(10, 21), slice(19, 21), slice(10, 40), [20, 3, 19]])
@pytest.mark.parametrize("dt", [1, 0.25])
def test_a_recording_cut_in_time_and_in_its_inputs_goes_on_as_if_uncut(steps, dt):
    drive = wf.spikes([[(3, 1.0), (19, 3.0), (20, 5.0), (25, 7.0)]], steps=40)
    operator = wf.wave(0.8 / dt, dt=dt)
    whole = wf.simulate(operator, drive, size=32)
    cut = whole.isel(time=slice(9, 21), step=steps)
    np.testing.assert_array_equal(wf.simulate(operator, drive[21:], initial=cut).activity, whole.activity[21:])
    again = wf.simulate(operator, drive[30:], initial=wf.simulate(operator, drive[21:30], initial=cut))
    np.testing.assert_array_equal(again.activity, whole.activity[30:])


def test_inputs_that_are_needed_and_not_there_are_named():
    operator, drive = wf.wave(0.8), np.random.default_rng(0).standard_normal((20, 1))
    first = wf.simulate(operator, drive, size=32)
    second = wf.simulate(operator, drive, initial=first)
    kept = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "override"}
    both = xr.concat([first, second], "time", combine_attrs="override", **kept)
    assert both.sizes["time"] == 40
    for rec, lacking in (
        (first.isel(step=slice(0, 19)), 19),
        (first.isel(step=slice(19, 20)), 18),
        (first.drop_vars(["drive", "step"]), 18),
        (both, 38),
    ):
        with pytest.raises(ValueError, match=f"lacks the input of step {lacking}"):
            wf.simulate(operator, steps=3, initial=rec)
    with pytest.raises(ValueError, match="lacks the input of step 20"):  # the first of them all that a reversal needs
        wf.reverse(second.isel(step=slice(1, None)))
    shift = wf.simulate(wf.transport(1.0), drive**2, size=32, nonlinearity="relu")
    with pytest.raises(ValueError, match="lacks the input of step 0"):  # it may have been negative
        wf.decode(shift.isel(step=slice(1, None)))


def test_fields_in_which_no_pulse_is_under_way_go_on_without_their_past_inputs():
    drive = np.random.default_rng(0).standard_normal((30, 1))
    for operator, source in ((wf.transport(0.7), "pulse"), (wf.wave(0.8), "force")):
        whole = wf.simulate(operator, drive, size=32, source=source)
        cut = whole.isel(time=slice(0, 20), step=slice(0, 5))
        rest = wf.simulate(operator, drive[20:], initial=cut, source=source)
        np.testing.assert_array_equal(rest.activity, whole.activity[20:])


def test_decoding_a_field_needs_no_inputs_beside_it():
    whole = wf.simulate(wf.transport(1.0), wf.spikes([[(5, 1.0), (15, 2.0)]], steps=20), size=32)
    assert wf.decode(whole.isel(step=slice(0, 3))).onset.values.tolist() == [5, 15]


def test_pulses_end_although_nothing_more_comes_in():
    for operator, drive, _ in cases_of_the_past():
        quiet = np.concatenate([drive, np.zeros((10, 2))])
        expected = wf.simulate(operator, quiet, size=32).activity[-10:]
        rest = wf.simulate(operator, initial=wf.simulate(operator, drive, size=32), steps=10)
        np.testing.assert_array_equal(rest.activity, expected)


def test_reversal_takes_out_the_inputs_of_the_last_steps_and_of_a_continued_run():
    for operator in (wf.wave(1.0), wf.wave(0.8)):
        drive = np.random.default_rng(4).standard_normal((30, 2))
        first = wf.simulate(operator, drive[:12], size=32)
        second = wf.simulate(operator, drive[12:], initial=first)
        np.testing.assert_allclose(wf.reverse(first).activity, 0, atol=1e-12)
        back = wf.reverse(second)
        np.testing.assert_allclose(back.activity[0], first.activity[-1], atol=1e-12)
        assert back.time == 12


def test_decoding_knows_the_time_of_a_recording_cut_or_continued():
    drive = wf.spikes([[(5, 1.0), (30, 2.0)]], steps=40)
    for operator in (wf.transport(1.0), wf.wave(1.0)):
        whole = wf.simulate(operator, drive, size=64)
        cut = wf.decode(whole.isel(time=slice(0, 20)))
        assert (cut.onset.values.tolist(), cut.amplitude.values.tolist()) == ([5], [1.0])
        longer = wf.decode(wf.simulate(operator, initial=whole, steps=8))
        assert longer.onset.values.tolist() == [5, 30]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda rec: rec.isel(position=slice(0, 16)), "positions"),
        (lambda rec: rec.isel(time=slice(0, None, 7)).drop_vars("previous"), "level before"),
        (lambda rec: rec.assign_attrs(dt=0.5), "dt"),
        (lambda rec: rec.assign_attrs(dx=0.5), "made with dx = 0.5"),
    ],
)
def test_a_recording_that_cannot_be_continued_says_why(change, word):
    rec = wf.simulate(wf.wave(1.0), np.ones((21, 1)), size=32)
    with pytest.raises(ValueError, match=word):
        wf.simulate(wf.wave(1.0), np.ones((3, 1)), initial=change(rec))


def test_what_a_field_held_at_the_beginning_is_not_taken_for_inputs():
    rec = wf.simulate(wf.transport(1.0), np.zeros((5, 1)), initial=np.ones((1, 16)))
    with pytest.raises(ValueError, match="not zero"):
        wf.decode(rec)


def test_the_dims_of_a_drive_say_which_axis_is_time():
    values = np.random.default_rng(0).standard_normal((5, 2))
    expected = wf.simulate(wf.transport(1.0), values, size=8).activity
    for dims in (("step", "input"), ("time", "input")):
        drive = xr.DataArray(values, dims=dims).transpose("input", ...)
        np.testing.assert_array_equal(wf.simulate(wf.transport(1.0), drive, size=8).activity, expected)
    unnamed = wf.simulate(wf.transport(1.0), xr.DataArray(values), size=8)
    np.testing.assert_array_equal(unnamed.activity, expected)
    for dims in (("electrode", "time"), ("step", "time"), ("input", "dim_1")):
        with pytest.raises(ValueError, match=f"drive must have the dims .*{dims[0]}.*{dims[1]}"):
            wf.simulate(wf.transport(1.0), xr.DataArray(values, dims=dims), size=8)


def test_a_series_is_the_drive_of_one_input():
    values = np.random.default_rng(0).standard_normal(12)
    for operator in (wf.transport(1.0), wf.wave(0.8)):
        expected = wf.simulate(operator, values[:, None], size=8)
        for drive in (
            values,
            values.tolist(),
            pd.Series(values, name="stimulus", index=pd.RangeIndex(5, 17)),
            xr.DataArray(values),
            xr.DataArray(values, dims="time", coords={"time": 0.1 * np.arange(12)}),
            xr.DataArray(values, dims="step"),
            pd.DataFrame({"stimulus": values}),
        ):
            rec = wf.simulate(operator, drive, size=8)
            np.testing.assert_array_equal(rec.activity, expected.activity)
            assert rec.drive.dims == ("step", "input")
    with pytest.raises(ValueError, match="drive must have the dims"):
        wf.simulate(wf.transport(1.0), xr.DataArray(values, dims="input"), size=8)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free", "absorbing"])
def test_fields_of_one_and_two_positions_move_where_the_kernel_is_no_wider(boundary, size):
    drive, weights = np.random.default_rng(0).standard_normal((20, 2)), np.ones((2, size, 2))
    oscillators = np.zeros((2, 2, 1))
    oscillators[[0, 0, 1], [0, 1, 0], 0] = 1.5, -1.0, 1.0
    for operator in (wf.WaveOperator([0.7], boundary), wf.WaveOperator(oscillators, boundary, levels=2)):
        if operator.levels == 2 and boundary == "absorbing":
            with pytest.raises(ValueError, match="size must be at least 3 between absorbing ends"):
                wf.simulate(operator, drive, encoder=weights)
            continue
        rec = wf.simulate(operator, drive, encoder=weights, source="force")
        np.testing.assert_allclose(rec.activity, stepped(operator, drive, weights), atol=1e-11)
        if boundary != "absorbing":
            jump = wf.simulate(operator, drive, encoder=weights, source="force", save_every=None, method="jump")
            np.testing.assert_allclose(jump.activity[-1], rec.activity[-1], atol=1e-10)
        one = wf.simulate(operator, wf.spikes([[(15, 1.0)]], 20), size=size)
        assert wf.decode(one).sizes["event"] >= 1


def test_complex_drives_are_refused():
    with pytest.raises(TypeError, match="real"):
        wf.simulate(wf.transport(1.0), np.ones((3, 1)) * 1j, size=8)

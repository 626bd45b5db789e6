"""Rank and conditioning of one snapshot: the published table, and the symmetries behind it."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.capacity.conditioning import snapshot_conditioning, snapshot_rank

FOUR = wf.encoder_at([0, 16, 32, 48], size=64)


@pytest.mark.parametrize(
    ("courant", "steps", "encoder", "displacement", "both"),
    [(1.0, 32, "own", 1.4, 2.0), (0.9, 32, "own", 1.3e12, 8.6e6), (0.9, 8, FOUR, 240, 49)],
)
def test_condition_is_the_published_one(courant, steps, encoder, displacement, both):
    for previous, published in ((False, displacement), (True, both)):
        told = snapshot_conditioning(wf.wave(courant), 64, steps=steps, encoder=encoder, previous=previous)
        assert float(told.condition) == pytest.approx(published, rel=0.05)
        assert int(told["rank"]) == int(told.columns) == 32


def test_half_the_courant_number_leaves_the_snapshot_short_of_rank():
    told = snapshot_conditioning(wf.wave(0.5), 64, steps=32)
    assert int(told["rank"]) < 32
    assert np.isinf(told.condition)
    assert told.singular_value[-1] < 1e-15 * told.singular_value[0]


@pytest.mark.parametrize("source", ["pulse", "force"])
@pytest.mark.parametrize("previous", [False, True])
def test_singular_values_are_those_of_what_single_inputs_leave(source, previous):
    op, left = wf.wave(0.7), []
    for onset in range(5):
        rec = wf.simulate(op, wf.spikes([[(onset, 1.0)]], 5), size=12, source=source)
        left.append(np.concatenate([rec.activity[-1].values, rec.previous.values][: 1 + previous], axis=1)[0])
    told = snapshot_conditioning(op, 12, steps=5, source=source, previous=previous)
    np.testing.assert_allclose(told.singular_value, np.linalg.svd(left, compute_uv=False), rtol=1e-9)


@pytest.mark.parametrize("courant", [0.9, 1.0])
@pytest.mark.parametrize("size", [63, 64])
def test_one_source_on_a_ring_reaches_half_of_it_and_one(courant, size):
    """The field is even about the source: N/2 + 1 dimensions of displacement, twice that of both levels."""
    ranks = snapshot_rank(wf.wave(courant), size, steps=[10, 200])["rank"]
    assert ranks.values.tolist() == [10, size // 2 + 1]
    both = snapshot_rank(wf.wave(courant), size, steps=[10, 300], previous=True)["rank"]
    assert both.values.tolist() == [10, 2 * (size // 2 + 1)]


def test_both_levels_tell_every_onset_of_one_turn():
    assert snapshot_rank(wf.wave(1.0), 64, steps=[64], previous=True)["rank"].values.tolist() == [64]
    assert snapshot_rank(wf.wave(1.0), 64, steps=[64])["rank"].values.tolist() == [33]


@pytest.mark.parametrize("courant", [0.97, 1.0])
def test_four_sources_a_quarter_apart_reach_49_of_64(courant):
    """Even about 0 and 32, or about 16 and 48: 33 + 33 − 17, as what is even about both has period 32."""
    told = snapshot_rank(wf.wave(courant), 64, steps=[100], encoder=FOUR)
    assert told["rank"].values.tolist() == [49]
    assert snapshot_rank(wf.wave(courant), 64, steps=[100], encoder=FOUR, previous=True)["rank"].values.tolist() == [98]


@pytest.mark.parametrize("speed", [1.0, -1.0])
def test_shift_is_perfectly_conditioned_until_an_input_comes_round(speed):
    told = snapshot_rank(wf.transport(speed), 64, steps=[1, 16, 17, 40], encoder=FOUR)
    assert told["rank"].values.tolist() == [4, 64, 64, 64]
    assert told["columns"].values.tolist() == [4, 64, 68, 160]
    np.testing.assert_allclose(told.condition, [1, 1, np.inf, np.inf], rtol=1e-12)


@pytest.mark.parametrize("nu", [0.9, 0.8])
def test_one_way_line_loses_a_factor_each_step_at_the_highest_wavenumber(nu):
    """Exponential growth of the condition, where the shift keeps it at one."""
    conditions = snapshot_rank(wf.transport(nu, boundary="absorbing"), 64, steps=[8, 16, 24]).condition.values
    assert (np.diff(np.log(conditions)) > 0.5).all()
    shift = snapshot_rank(wf.transport(1.0, boundary="absorbing"), 64, steps=[8, 16, 24]).condition.values
    np.testing.assert_allclose(shift, 1, rtol=1e-12)


def test_static_bump_shows_the_sum_of_its_inputs_alone():
    told = snapshot_conditioning(wf.static(), 64, steps=30, inputs=3)
    assert int(told["rank"]) == 3
    np.testing.assert_allclose(told.singular_value[:3], np.sqrt(30), rtol=1e-12)  # 30 equal columns each
    np.testing.assert_allclose(told.singular_value[3:], 0, atol=1e-12)


def test_singular_values_are_those_of_the_snapshots_of_single_inputs():
    """Columns simulated one by one, by `simulate`."""
    op, size, steps = wf.wave(0.8, 0.1), 12, 5
    weights = np.random.default_rng(0).standard_normal((2, size, 3))
    columns = []
    for onset in range(steps):
        for one in range(3):
            drive = np.zeros((steps, 3))
            drive[onset, one] = 1
            rec = wf.simulate(op, drive, encoder=weights, save_every=None)
            columns.append(np.concatenate([rec.activity[-1].values.ravel(), rec.previous.values.ravel()]))
    told = snapshot_conditioning(op, size, steps=steps, encoder=weights, previous=True)
    np.testing.assert_allclose(told.singular_value, np.linalg.svd(columns, compute_uv=False), rtol=1e-10)
    np.testing.assert_allclose(told.condition, np.linalg.cond(np.array(columns).T), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"steps": [0]}, ValueError, "steps must be at least 1"),
        ({"steps": [1.5]}, TypeError, "steps must be an integer"),
        ({"steps": []}, ValueError, "steps must hold at least one"),
        ({"steps": [3], "previous": True}, ValueError, "previous"),
    ],
)
def test_steps_that_make_no_sense_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        snapshot_rank(wf.transport(1.0), 8, **options)

import warnings

import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import diagnose, plot, synthetic
from analysis.direction.in_turn import MOVES, in_turn
from analysis.direction.motion import motion_test
from analysis.direction.shapes import SHAPES
from analysis.fields.field import Field


def layout(name, seed):
    if name == "30 electrodes":
        return synthetic.electrodes(*np.random.default_rng(1000 + seed).uniform(0, 9, (30, 2)).T)
    size = int(name.split()[0])
    return synthetic.sheet((size, size))


def wave(kind, where, seed, snr=1.0, steps=256):
    """One of the three at random: wavelength 4 to 9, centre in the middle half of the array."""
    rng = np.random.default_rng([seed, 3])
    length = max(np.ptp(place) for place in where.xy())
    centre, k, angle = tuple(rng.uniform(0.3, 0.7, 2) * length), 1 / rng.uniform(4, 9), rng.uniform(0, 2 * np.pi)
    sense = rng.choice([-1, 1])
    if kind == "travelling":
        k = (k * np.cos(angle), k * np.sin(angle))
        rec = synthetic.plane(where, steps, wavenumber=k, frequency=0.05)
    elif kind == "rotating":
        rec = synthetic.rotating(where, steps, frequency=0.05, centre=centre, arms=int(sense))
    else:
        k = k if kind == "expanding" else -k
        rec = synthetic.target(where, steps, wavenumber=k, frequency=0.05, centre=centre)
    return synthetic.with_noise(rec, snr, seed=seed), centre, sense


def quietly(rec, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return diagnose(rec, **{"draws": 199, **options})


@pytest.mark.validate
@pytest.mark.parametrize("where", ["8 x 8", "10 x 10", "30 electrodes"])
def test_plane_rotating_and_expanding_waves_are_told_apart(where, draws, measured):
    count, right, apart = draws(2, 40), [], []
    shapes = {"travelling": "plane", "rotating": "arms", "expanding": "rings", "converging": "rings"}
    for kind, shape in shapes.items():
        for seed in range(count):
            rec, centre, sense = wave(kind, layout(where, seed), seed)
            found = motion_test(Field.of(rec), draws=199)
            moves = bool((found.p_value < 0.05) & (found.wave_share > found.modules_share))
            sign = {"travelling": np.nan, "rotating": sense, "expanding": 1, "converging": -1}[kind]
            same = np.isnan(sign) or float(found.sign) == sign
            right.append(moves and SHAPES[int(found["shape"])] == shape and same)
            if shape != "plane":
                apart.append(np.hypot(float(found.centre_x) - centre[0], float(found.centre_y) - centre[1]))
    share = float(np.mean(right))
    measured(f"waves of {4 * count} whose shape and sense are right at SNR 1, {where}", share, "≥ 0.95")
    measured(f"median error of the centre in spacings, {where}", float(np.median(apart)), "≤ 0.5")
    assert share >= 0.95
    assert np.median(apart) <= 0.5


@pytest.mark.parametrize("kind", ["rotating", "expanding", "converging"])
def test_the_verdict_says_what_the_wave_does_and_about_which_point(kind):
    rec, centre, sense = wave(kind, synthetic.sheet((8, 8)), 1)
    result = quietly(rec)
    assert result.verdict.item() == kind
    assert float(result.sign) == {"rotating": sense, "expanding": 1, "converging": -1}[kind]
    np.testing.assert_allclose([result.centre_x, result.centre_y], centre, atol=0.5)
    assert np.isnan(result.angle)
    text = plot.describe(result)
    assert f"verdict: {kind}" in text
    assert "about (" in text


def test_the_speed_of_rings_is_that_along_the_distance_from_their_centre():
    where = synthetic.sheet((10, 10), units="mm")
    rec = synthetic.target(where, 300, wavenumber=1 / 6, frequency=0.05, centre=(3.7, 5.2))
    result = quietly(synthetic.with_noise(rec, 3, seed=0))
    assert result.verdict.item() == "expanding"
    radon = result.sel(estimator="radon")
    assert radon.speed_low < 0.3 < radon.speed_high
    np.testing.assert_allclose(radon.speed, 0.3, rtol=0.01)


def test_running_time_backwards_turns_expanding_into_converging():
    rec, _, _ = wave("expanding", synthetic.sheet((8, 8)), 0)
    back = rec.assign(activity=rec.activity.copy(data=rec.activity.values[::-1]))
    there, again = (motion_test(Field.of(r), draws=99) for r in (rec, back))
    assert (float(there.sign), float(again.sign)) == (1, -1)
    np.testing.assert_allclose(there["index"], again["index"], atol=0.02)  # the taper is not quite symmetric


def test_waves_that_follow_each_other_are_named_in_turn():
    where = synthetic.sheet((8, 8))
    first = synthetic.rotating(where, 256, frequency=0.05, centre=(3.4, 3.6))
    second = synthetic.plane(where, 256, wavenumber=(0.0, 0.12), frequency=0.05)
    values = np.concatenate([first.activity.values, second.activity.values])
    values = values + 0.7 * np.random.default_rng(0).standard_normal(values.shape)
    result = quietly(wf.recording(values, dims=("time", "y", "x"), boundary="open"))
    assert result.verdict.item() == "several in turn"
    found = [MOVES[code] for code in result.in_turn.values]
    assert found == ["rotating", "rotating", "travelling", "travelling"]
    np.testing.assert_allclose(np.degrees(result.in_turn_angle[2:]), 90, atol=5)
    lines = plot.describe(result).splitlines()
    assert lines[1].startswith("  rotating from 1")
    assert lines[2].startswith("  travelling towards 90° from 257")


def test_a_wave_that_stays_the_same_is_not_several():
    for kind in ("travelling", "rotating", "expanding"):
        rec, _, _ = wave(kind, synthetic.sheet((8, 8)), 2)
        assert not in_turn(Field.of(rec), draws=99).changes


def test_too_few_electrodes_show_straight_fronts_only():
    where = synthetic.electrodes(*np.random.default_rng(0).uniform(0, 5, (8, 2)).T)
    found = motion_test(Field.of(synthetic.rotating(where, 128, frequency=0.1, centre=(2.5, 2.5))), draws=19)
    assert SHAPES[int(found["shape"])] == "plane"


def test_channels_have_shapes_of_their_own():
    where = synthetic.sheet((8, 8))
    recs = [wave(kind, where, 1)[0].activity for kind in ("rotating", "travelling")]
    rec = xr.concat(recs, "channel").transpose("time", "channel", "y", "x").to_dataset(name="activity")
    result = quietly(rec.assign_attrs(boundary="open"))
    assert result.verdict.values.tolist() == ["rotating", "travelling"]

import warnings

import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import synthetic
from analysis.__main__ import main
from analysis.diagnosis import VERDICTS, diagnose

RING = synthetic.ring(64)


def verdict(rec, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # estimators say what they refuse; the verdict is what is asked here
        return diagnose(rec, **options)


def packet(position, wavelength):
    """A wave packet of a few cycles."""
    away = (position - 40 + 64) % 128 - 64
    return np.exp(-0.5 * (away / (0.375 * wavelength)) ** 2) * np.cos(2 * np.pi * away / wavelength)


def noisy(rec, deviation, seed):
    rng = np.random.default_rng(seed)
    return rec.assign(activity=rec.activity + deviation * rng.standard_normal(rec.activity.shape))


FIELDS = {
    "transport at Courant 1": (
        lambda: wf.simulate(wf.transport(1.0), wf.spikes([[(5, 1.0), (40, 1.0)]], 256), 64),
        1.0,
    ),
    "transport at Courant 0.5": (
        lambda: wf.simulate(wf.transport(-0.5), initial=packet(np.arange(128), 32)[None], steps=256),
        -0.5,
    ),
    "one-way packet of the two-way equation": (
        lambda: wf.simulate(
            wf.wave(0.8),
            initial=packet(np.arange(128), 16)[None],
            previous=packet(np.arange(128) + 0.8, 16)[None],
            steps=256,
        ),
        0.8,
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_linear_field_shows_its_direction_and_speed(name):
    make, speed = FIELDS[name]
    result = verdict(make())
    assert result.verdict.item() == f"travelling to {'+' if speed > 0 else '-'}x"
    assert result.p_value < 0.01
    np.testing.assert_allclose(result.speed.sel(estimator="ridge"), speed, rtol=0.01)
    # upwind differences at Courant 0.5 damp the packet as it goes, which stacking takes for a slower wave
    np.testing.assert_allclose(result.speed.sel(estimator="radon"), speed, rtol=0.02 if speed == -0.5 else 0.01)


@pytest.mark.parametrize("speed", [1.0, 0.8])
def test_a_point_source_of_the_two_way_equation_travels_both_ways(speed):
    rec = wf.simulate(wf.wave(speed), wf.spikes([[(5, 1.0), (40, 1.0), (90, 0.5)]], 256), 128)
    result = verdict(rec)
    assert result.verdict.item() == "travelling both ways"
    assert abs(result["index"].item()) < 1e-6


@pytest.mark.validate
def test_a_static_bump_is_static_under_noise(draws, measured):
    count = draws(15, 300)
    bump = wf.simulate(wf.static(), wf.spikes([[(5, 1.0), (40, 1.0), (90, 0.5)]], 256), 64)
    found = [verdict(noisy(bump, 0.1, seed), draws=99).verdict.item() for seed in range(count)]
    share = found.count("static") / count
    measured("static bumps called static", share, "≥ 0.93")
    assert share >= 0.93


def test_standing_waves_noise_and_nothing_are_told_apart():
    standing = synthetic.standing(RING, 256, wavenumber=5 / 64, frequency=12 / 256)
    assert verdict(standing).verdict.item() == "standing"
    assert verdict(noisy(standing, 0.5, 0)).verdict.item() == "standing"
    assert verdict(synthetic.white_noise(RING, 256, seed=0)).verdict.item() == "none"
    assert verdict(synthetic.smooth_noise(RING, 256, seed=0)).verdict.item() == "none"


def test_reflecting_space_reflects_the_verdict():
    rec = synthetic.moving_pattern(RING, 256, speed=0.7, seed=2)
    mirrored = rec.assign(activity=rec.activity.copy(data=rec.activity.values[..., ::-1]))
    there, back = verdict(rec), verdict(mirrored)
    assert (there.verdict.item(), back.verdict.item()) == ("travelling to +x", "travelling to -x")
    np.testing.assert_allclose(there["index"], -back["index"], atol=1e-9)


def test_channels_and_trials_have_their_own_answers(tmp_path):
    right = synthetic.moving_pattern(RING, 128, speed=1.0, seed=0).activity
    left = synthetic.moving_pattern(RING, 128, speed=-1.0, seed=1).activity
    both = xr.concat([right, left], "channel").transpose("time", "channel", "position")
    rec = xr.concat([both, both], "trial").to_dataset(name="activity").assign_attrs(boundary="periodic")
    result = verdict(rec)
    assert result.verdict.values.tolist() == ["travelling to +x", "travelling to -x"]
    assert result.speed.sizes == {"estimator": 4, "trial": 2, "channel": 2}
    assert (result.q_value >= result.p_value).all()
    result.to_netcdf(tmp_path / "diagnostics.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "diagnostics.nc", engine="h5netcdf") as stored:
        assert stored.verdict.values.tolist() == result.verdict.values.tolist()
        assert all(v.attrs.get("units") for v in stored.data_vars.values())


def test_the_same_seed_gives_the_same_answer():
    rec = synthetic.with_noise(synthetic.moving_pattern(RING, 128, speed=1.0, seed=0), 1.0, seed=3)
    xr.testing.assert_identical(verdict(rec, seed=5), verdict(rec, seed=5))


def test_the_command_prints_a_verdict_and_writes_both_files(tmp_path, capsys):
    wf.simulate(wf.transport(-1.0), wf.spikes([[(5, 1.0)]], 128), 64, path=tmp_path / "field.nc").close()
    paths = [str(tmp_path / name) for name in ("field.nc", "out.nc", "page.png")]
    assert main(["diagnose", paths[0], "-o", paths[1], "--figure", paths[2], "--draws", "99"]) == 0
    printed = capsys.readouterr().out
    assert f"verdict: {VERDICTS[4]}" in printed
    assert "p = 0.01" in printed
    assert (tmp_path / "page.png").stat().st_size > 20_000
    with xr.open_dataset(paths[1], engine="h5netcdf") as stored:
        assert stored.verdict.item() == VERDICTS[4]


def test_bad_input_is_one_line_that_names_it(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path / "none.nc")]) == 2
    assert "none.nc" in capsys.readouterr().err


def test_what_is_wanting_in_the_recording_stands_in_the_result():
    ring = wf.simulate(wf.transport(1.0), initial=np.cos(2 * np.pi * 5 * np.arange(64) / 64)[None], steps=256)
    result = diagnose(ring.isel(position=slice(0, 30)))
    assert "part of a ring of 64" in result.attrs["warnings"]
    assert result.verdict.item() == "travelling to +x"
    np.testing.assert_allclose(result.speed, 1.0, rtol=1e-3)


# Standing waves and what only looks like them ------------------------------------------------------------------------


def standing_in_noise(where, snr, seed):
    rng = np.random.default_rng(seed)
    turn, phase = rng.uniform(0, 2 * np.pi, 2)
    x, y = where.xy()
    angle = rng.uniform(0, np.pi) if len(where.dims) == 2 else 0.0
    across = np.cos(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) * (1 / 6 if y.any() else 1 / 8) + phase)
    u = np.cos(2 * np.pi * 0.04 * np.arange(400) + turn).reshape(-1, *[1] * across.ndim) * across
    u = u + u.std() / snr * rng.standard_normal(u.shape)
    return wf.recording(u, dims=("time", *where.dims), boundary=where.boundary)


@pytest.mark.validate
@pytest.mark.parametrize("where", ["line", "ring", "sheet"])
def test_standing_waves_in_noise_are_standing(where, draws, measured):
    layout = {"line": synthetic.line(32), "ring": synthetic.ring(32), "sheet": synthetic.sheet((12, 12))}[where]
    count = draws(6, 200)
    found = [verdict(standing_in_noise(layout, 1.0, seed), draws=99).verdict.item() for seed in range(count)]
    share = found.count("standing") / count
    measured(f"standing waves called standing at SNR 1, {where}", share, "≥ 0.9")
    assert share >= 0.9 - 0.15 * (count < 50)


@pytest.mark.parametrize("noise", [0.1, 0.7])
def test_two_local_oscillators_are_no_standing_wave(noise):
    t, x = np.arange(400)[:, None], np.arange(32)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        first, second = (np.cos(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (0.04, 0.044))
        for here, there in ((x < 16, x >= 16), (np.exp(-(((x - 9) / 4) ** 2)), np.exp(-(((x - 22) / 4) ** 2)))):
            u = first * here + second * there + noise * rng.standard_normal((400, 32))
            assert verdict(wf.recording(u, dims=("time", "position"), boundary="open")).verdict.item() != "standing"


@pytest.mark.parametrize("command", [["diagnose", "a.nc"], ["compare", "a.nc", "b.nc"]])
def test_a_figure_of_no_known_kind_is_refused_before_anything_is_computed(command, capsys):
    assert main([*command, "--figure", "waves.docx"]) == 2
    assert "--figure must end in .png, .pdf, .svg" in capsys.readouterr().err

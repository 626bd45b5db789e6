import warnings

import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import synthetic
from analysis.spectra.dispersion import dispersion_ridge, fit_dispersion
from analysis.spectra.spectrum import wavenumber_frequency_spectrum
from analysis.velocity.result import STATUS
from analysis.velocity.ridge import ridge_velocity

PROBE = synthetic.line(24, dx=0.4, units="mm")  # 24 sites, 0.4 mm apart; 300 samples of 10 ms; 17 mm/s at 3.3 Hz


def on_probe(speed, *, phase=0.0, **options):
    return synthetic.plane(
        PROBE, 300, wavenumber=3.3 / speed, frequency=3.3, dt=0.01, time_units="s", phase=phase, **options
    )


def klein_gordon(k):
    return np.sqrt(0.03**2 + (0.5 * k) ** 2)


def trials(recordings):
    recordings = list(recordings)
    stacked = xr.concat([rec.activity for rec in recordings], "trial")
    return stacked.assign_attrs(boundary=recordings[0].attrs["boundary"])


# One speed: right where it is known ----------------------------------------------------------------------------------


def test_paper_figure_has_speed_one_and_not_the_slope_in_bins():
    rec = synthetic.moving_pattern(synthetic.ring(256), 784, speed=-1.0, seed=0)  # the u-shift of the paper
    spectrum = wavenumber_frequency_spectrum(rec, detrend=None).power
    f, k = (index.item() for index in np.nonzero(spectrum.values == spectrum.values.max()))
    in_bins = abs(f / (k - 128))
    assert in_bins == pytest.approx(784 / 256, rel=0.2)  # its inverse is the published 0.3
    assert ridge_velocity(rec).speed.item() == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize("speed", [1.0, -1.0, 0.5, -0.5])
def test_transport_from_a_random_field_has_its_speed(speed):
    initial = np.random.default_rng(0).standard_normal((1, 256))
    rec = wf.simulate(wf.transport(speed), size=256, initial=initial, steps=400)
    assert ridge_velocity(rec).speed.item() == pytest.approx(speed, rel=0.01)


@pytest.mark.parametrize("speed", [1.0, 0.5])
def test_driven_transport_has_its_speed(speed):
    # at speed 0.5 the scheme damps: every realisation of the drive moves the centroid by up to a per cent or two
    rng = np.random.default_rng(0)
    drives = [(rng.random((784, 1)) < 0.2).astype(float) for _ in range(6)]
    found = [ridge_velocity(wf.simulate(wf.transport(speed), drive, size=256)).speed.item() for drive in drives]
    assert np.mean(found) == pytest.approx(speed, rel=0.01)
    assert np.std(found) < 0.015 * speed


def test_one_way_packet_of_the_two_way_equation_has_its_speed():
    x = np.arange(256.0)

    def packet(centre):
        return (np.exp(-(((x - centre) / 25) ** 2)) * np.cos(2 * np.pi * (x - centre) / 12))[None]

    rec = wf.simulate(wf.wave(0.8), size=256, initial=packet(100), previous=packet(100 - 0.8), steps=300)
    assert ridge_velocity(rec).speed.item() == pytest.approx(0.8, rel=0.01)


def test_probe_is_read_in_its_units_without_the_bias_of_single_peaks():
    result = ridge_velocity(on_probe(17.0))
    assert result.speed.item() == pytest.approx(17.0, rel=1e-4)  # a peak of the padded spectrum: 16.85
    assert result.speed.attrs["units"] == "mm s-1"
    assert result.wavenumber.item() == pytest.approx(3.3 / 17, rel=1e-3)
    assert result.wavenumber.attrs["units"] == "mm-1"
    assert result.frequency.item() == pytest.approx(3.3, rel=1e-3)
    assert result.frequency.attrs["units"] == "Hz"
    assert result.explained.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("snr", [1.0, 0.3])
def test_noise_on_the_probe_moves_the_speed_by_little(snr):
    result = ridge_velocity(trials(synthetic.with_noise(on_probe(17.0, phase=i), snr, seed=i) for i in range(20)))
    accepted = result.speed.where(result.status == 0)
    assert accepted.notnull().sum() >= 15
    assert accepted.median().item() == pytest.approx(17.0, rel=0.05)


def test_wave_across_a_sheet_has_speed_and_direction():
    sheet = synthetic.sheet((20, 24), dx=0.4, units="mm")
    rec = synthetic.plane(sheet, 200, wavenumber=(0.4, -0.3), frequency=8.0, dt=0.005, time_units="s")
    result = ridge_velocity(synthetic.with_noise(rec, 3.0, seed=0))
    assert result.speed.item() == pytest.approx(8 / 0.5, rel=0.005)
    assert result.direction.item() == pytest.approx(np.arctan2(-0.3, 0.4), abs=0.005)
    assert result.direction_low < result.direction < result.direction_high


def test_a_sheet_with_x_and_y_in_different_units_is_refused():
    rec = synthetic.plane(synthetic.sheet((16, 16), units="mm"), 300, wavenumber=(0.125, 0.125), frequency=0.05)
    with pytest.raises(ValueError, match=r"different units \['mm', 'um'\]: convert one"):
        ridge_velocity(rec.assign_coords(y=("y", 1000 * rec.y.values, {"units": "um"})))


def test_each_side_of_a_two_way_field_has_its_speed():
    right = synthetic.moving_pattern(synthetic.ring(128), 300, speed=0.8, seed=0)
    left = synthetic.moving_pattern(synthetic.ring(128), 300, speed=-0.3, seed=1)
    rec = right.assign(activity=right.activity + left.activity)
    with pytest.warns(UserWarning, match="ambiguous"):
        assert np.isnan(ridge_velocity(rec).speed)
    assert ridge_velocity(rec, side="right").speed.item() == pytest.approx(0.8, rel=0.01)
    assert ridge_velocity(rec, side="left").speed.item() == pytest.approx(-0.3, rel=0.01)


def test_trials_and_channels_come_back_and_dask_agrees():
    speeds = [1.0, -0.5, 0.7, -0.9]
    recs = [synthetic.moving_pattern(synthetic.ring(64), 200, speed=v, seed=i) for i, v in enumerate(speeds)]
    values = np.stack([rec.activity.values for rec in recs]).reshape(2, 2, 200, 64)
    rec = xr.DataArray(
        values.transpose(0, 2, 1, 3),
        {"time": recs[0].time, "position": recs[0].position},
        ("trial", "time", "channel", "position"),
        attrs={"boundary": "periodic"},
    )
    result = ridge_velocity(rec)
    assert result.speed.dims == ("trial", "channel")
    np.testing.assert_allclose(result.speed.values.ravel(), speeds, rtol=1e-3)
    xr.testing.assert_allclose(ridge_velocity(rec.chunk(trial=1, channel=1)), result)


# … and its interval --------------------------------------------------------------------------------------------------

NOISY = {
    "plane wave on a probe": (lambda seed: on_probe(17.0, phase=seed), 17.0),
    "plane wave on a ring": (
        lambda seed: synthetic.plane(
            synthetic.ring(64), 256, wavenumber=5 / 64, frequency=12.3 / 256, phase=float(seed)
        ),
        12.3 / 256 / (5 / 64),
    ),
    "pattern on a ring": (lambda seed: synthetic.moving_pattern(synthetic.ring(64), 256, speed=0.7, seed=seed), 0.7),
    "pattern on a line": (lambda seed: synthetic.moving_pattern(synthetic.line(64), 256, speed=-0.7, seed=seed), -0.7),
}


@pytest.mark.validate
@pytest.mark.parametrize("snr", [3.0, 1.0])
@pytest.mark.parametrize("case", NOISY)
def test_interval_covers_the_speed(case, snr, draws, measured):
    make, speed = NOISY[case]
    count = draws(40, 300)
    result = ridge_velocity(trials(synthetic.with_noise(make(i), snr, seed=10_000 + i) for i in range(count)))
    accepted = result.status.values == 0
    assert accepted.mean() > 0.95
    covered = ((result.speed_low <= speed) & (speed <= result.speed_high)).values[accepted].mean()
    measured(f"95 % intervals of the ridge that hold the speed, {case}, SNR {snr:g}", float(covered), "0.90 to 0.98")
    margin = 0 if count >= 300 else 3 * np.sqrt(0.95 * 0.05 / count)
    assert 0.90 - margin <= covered <= 0.98 + margin


def test_wider_confidence_is_a_wider_interval():
    rec = synthetic.with_noise(on_probe(17.0), 1.0, seed=0)
    narrow, wide = (ridge_velocity(rec, confidence=c) for c in (0.5, 0.99))
    assert wide.speed_low < narrow.speed_low < narrow.speed < narrow.speed_high < wide.speed_high

    # normal quantiles, on the slowness
    def half(result):
        return 1 / result.speed_low - 1 / result.speed_high

    assert (half(wide) / half(narrow)).item() == pytest.approx(2.5758 / 0.6745, rel=1e-3)


# … and where it is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "rec"),
    [
        ("silent", synthetic.plane(synthetic.ring(32), 64, wavenumber=0.0, frequency=0.0)),
        ("no_wave", synthetic.white_noise(synthetic.ring(64), 256, seed=0)),
        ("ambiguous", synthetic.standing(synthetic.ring(64), 256, wavenumber=5 / 64, frequency=12 / 256)),
        (
            "too_short",
            synthetic.with_noise(
                synthetic.plane(synthetic.line(64), 256, wavenumber=0.5 / 64, frequency=12 / 256), 3.0, seed=0
            ),
        ),
        (
            "aliased",
            synthetic.with_noise(
                synthetic.moving_pattern(synthetic.ring(128), 400, speed=1.5, seed=1, wavelength=2.0), 10.0, seed=0
            ),
        ),
    ],
    ids=["silent", "no_wave", "ambiguous", "too_short", "aliased"],
)
def test_refusals_say_why(status, rec):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = ridge_velocity(rec)
    assert any(f"refused ({status})" in str(warning.message) for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)  # they point at the caller
    assert result.status.item() == STATUS.index(status)
    assert np.isnan(result.speed)
    assert status in result.attrs["warnings"]


def test_static_bump_is_no_wave():
    initial = np.exp(-(((np.arange(128) - 40) / 6) ** 2))[None]
    rec = wf.simulate(wf.static(), size=128, initial=initial, steps=200)
    with pytest.warns(UserWarning, match="refused"):
        noisy = ridge_velocity(synthetic.with_noise(rec, 5.0, seed=0))
    assert np.isnan(noisy.speed).all()


def test_narrow_wave_below_five_positions_per_wavelength_is_given_with_its_alias():
    rec = synthetic.with_noise(on_probe(1.7), 3.0, seed=0)  # half a wavelength per position: seen at −5.9 mm/s
    with pytest.warns(UserWarning, match="exclude spatial aliasing"):
        result = ridge_velocity(rec)
    assert result.speed.item() == pytest.approx(-5.9, rel=0.01)
    assert result.alias_speed.item() == pytest.approx(1.7, rel=0.01)


# The ridge -----------------------------------------------------------------------------------------------------------


def test_ridge_of_pure_tones_is_exact_for_any_window_and_offset():
    ring = synthetic.ring(32)
    rec = synthetic.dispersive(ring, 512, relation=klein_gordon, seed=0, wavenumbers=(0.06, 0.45))
    for window in ("hann", "blackman", ("tukey", 0.8)):
        ridge = dispersion_ridge(rec, window=window, detrend=None)
        error = (ridge.frequency - klein_gordon(ridge.wavenumber)).sel(wavenumber=slice(0.06, 0.45))
        assert np.abs(error).max() < 1e-3 / 512  # a thousandth of a bin; the plain parabola is off by 0.02 bins


def test_ridge_and_fit_hold_the_published_numbers():
    rec = synthetic.dispersive(synthetic.ring(64), 1024, relation=klein_gordon, seed=0)
    ridge = dispersion_ridge(synthetic.with_noise(rec, 2.0, seed=1))
    right = ridge.sel(wavenumber=slice(0.001, 0.26))
    assert np.sqrt(np.nanmean((right.frequency - klein_gordon(right.wavenumber)) ** 2)) < 2.0e-5
    fit = fit_dispersion(ridge, "klein-gordon")
    f0, c = fit.value.values
    assert f0 == pytest.approx(0.03, abs=1.3e-5)  # published: 0.029987
    assert c == pytest.approx(0.5, abs=5e-5)  # published: 0.500009
    at = fit.interp(wavenumber=0.1)
    assert at.phase_velocity.item() == pytest.approx(0.58310, rel=5e-3)  # linear between wavenumbers 1/64 apart
    assert at.group_velocity.item() == pytest.approx(0.42875, rel=5e-3)


def test_velocities_of_the_fit_are_their_closed_forms():
    rec = synthetic.dispersive(synthetic.ring(80), 1024, relation=klein_gordon, seed=0)
    fit = fit_dispersion(dispersion_ridge(synthetic.with_noise(rec, 5.0, seed=0)), "klein-gordon")
    f0, c = fit.value.values
    k = fit.wavenumber.values
    f = np.sqrt(f0**2 + (c * k) ** 2)
    np.testing.assert_allclose(fit.phase_velocity, f / k, rtol=1e-12)
    np.testing.assert_allclose(fit.group_velocity, c**2 * k / f, rtol=1e-7)
    assert fit.phase_velocity.sel(wavenumber=0.1).item() == pytest.approx(0.58310, rel=1e-3)
    assert fit.group_velocity.sel(wavenumber=0.1).item() == pytest.approx(0.42875, rel=1e-3)


@pytest.mark.validate
def test_errors_of_the_ridge_and_intervals_of_the_fit_are_honest(draws):
    count = draws(15, 150)
    scores, covered = [], []
    for seed in range(count):
        rec = synthetic.dispersive(synthetic.ring(64), 512, relation=klein_gordon, seed=seed)
        ridge = dispersion_ridge(synthetic.with_noise(rec, 1.0, seed=1000 + seed))
        right = ridge.sel(wavenumber=slice(0.001, 0.26))
        scores.append(((right.frequency - klein_gordon(right.wavenumber)) / right.frequency_error).values)
        fit = fit_dispersion(ridge, "klein-gordon")
        covered.append((fit.low <= [0.03, 0.5]) & (fit.high >= [0.03, 0.5]))
    spread = np.nanmedian(np.abs(scores)) / 0.6745
    assert spread == pytest.approx(1.0, abs=4 * 1.17 / np.sqrt(2 * np.size(scores)))
    assert np.mean(covered) > 0.93 - 3 * np.sqrt(0.05 * 0.95 / (2 * count))


def test_measured_relation_is_that_of_the_operator():
    # the two-way equation, every wavenumber excited: the ridge lies on the scheme's own symbol
    initial = np.random.default_rng(0).standard_normal((1, 64))
    operator = wf.wave(0.8)
    rec = wf.simulate(operator, size=64, initial=initial, steps=2000)
    ridge = dispersion_ridge(rec)
    k = ridge.wavenumber.values
    expected = 2 * np.arcsin(0.8 * np.abs(np.sin(np.pi * k))) / (2 * np.pi)
    np.testing.assert_allclose(ridge.frequency.values.squeeze(), expected, atol=2e-2 / 2000)


def test_own_model_is_fitted_and_named_by_its_signature():
    def drifting(k, c, drift):
        return c * np.abs(k) + drift * k

    rng = np.random.default_rng(0)
    ring, parts = synthetic.ring(64), []
    for n in range(2, 14):
        for k in (n / 64, -n / 64):
            f = drifting(k, 0.6, 0.1)
            parts.append(synthetic.plane(ring, 512, wavenumber=k, frequency=f, phase=7 * rng.random()).activity)
    rec = parts[0].copy(data=sum(part.values for part in parts)).assign_attrs(boundary="periodic")
    ridge = dispersion_ridge(rec)
    fits = [
        fit_dispersion(ridge, lambda k, c, drift: drifting(k, c, drift), start=(0.5, 0.0), side=side)
        for side in ("right", "left")
    ]
    assert fits[0].parameter.values.tolist() == ["c", "drift"]
    for fit, expected in zip(fits, (0.7, 0.5), strict=True):
        simple = fit_dispersion(ridge, side="right" if expected == 0.7 else "left")
        assert simple.value.item() == pytest.approx(expected, rel=1e-4)
        assert fit.frequency.sel(wavenumber=0.125 if expected == 0.7 else -0.125).item() == pytest.approx(
            0.125 * expected, rel=1e-4
        )


def test_noise_has_no_ridge():
    ridge = dispersion_ridge(synthetic.white_noise(synthetic.ring(64), 512, seed=0, channels=20))
    assert np.isnan(ridge.frequency).mean() > 0.999
    with pytest.warns(UserWarning, match="no fit"):
        fit = fit_dispersion(dispersion_ridge(synthetic.white_noise(synthetic.ring(64), 512, seed=0)))
    assert np.isnan(fit.value).all()


def test_averaging_trials_and_segments_sharpens_the_ridge():
    clean = synthetic.dispersive(synthetic.ring(64), 512, relation=klein_gordon, seed=0)
    rec = trials(synthetic.with_noise(clean, 0.5, seed=i) for i in range(8))
    one, all_ = dispersion_ridge(rec, average=()), dispersion_ridge(rec)
    assert one.frequency.dims == ("trial", "wavenumber")
    ratio = all_.frequency_error / one.frequency_error.mean("trial")
    assert ratio.sel(wavenumber=0.125).item() == pytest.approx(1 / np.sqrt(8), rel=0.15)
    welch = dispersion_ridge(rec, segment=256)
    error = (welch.frequency - klein_gordon(welch.wavenumber)).sel(wavenumber=slice(0.001, 0.26))
    assert np.abs(error).max() < 0.1 / 256


# What is refused -----------------------------------------------------------------------------------------------------


def test_dead_positions_are_refused_or_filled():
    rec = on_probe(17.0)
    rec.activity[:, 5] = np.nan
    with pytest.raises(ValueError, match="mask='nan'"):
        ridge_velocity(rec)
    assert ridge_velocity(rec, mask="nan").speed.item() == pytest.approx(17.0, rel=0.01)


def test_bad_arguments_are_named():
    rec = on_probe(17.0)
    with pytest.raises(ValueError, match="side is 'up'"):
        ridge_velocity(rec, side="up")
    with pytest.raises(ValueError, match="confidence is 95"):
        ridge_velocity(rec, confidence=95)
    with pytest.raises(ValueError, match="fewer than 3 frequencies"):
        dispersion_ridge(rec, band=(3.2, 3.4))
    sheet = synthetic.plane(synthetic.sheet((6, 6)), 20, wavenumber=(0.1, 0.1), frequency=0.1)
    with pytest.raises(ValueError, match="use ridge_velocity"):
        dispersion_ridge(sheet)
    ridge = dispersion_ridge(rec)
    with pytest.raises(ValueError, match="model is 'cubic'"):
        fit_dispersion(ridge, "cubic")
    with pytest.raises(ValueError, match="start is None"):
        fit_dispersion(ridge, lambda k, a: a * k)
    with pytest.raises(ValueError, match="no parameters after k"):
        fit_dispersion(ridge, lambda k: k, start=())
    with pytest.raises(ValueError, match="side is 'up'"):
        fit_dispersion(ridge, side="up")
    with pytest.raises(ValueError, match="ridge lacks"):
        fit_dispersion(ridge.drop_vars("power"))


def test_results_can_be_stored_as_netcdf(tmp_path):
    rec = synthetic.with_noise(on_probe(17.0), 3.0, seed=0)
    ridge = dispersion_ridge(rec)
    results = {"velocity": ridge_velocity(rec), "ridge": ridge, "fit": fit_dispersion(ridge)}
    for name, result in results.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        with xr.open_dataset(tmp_path / f"{name}.nc", engine="h5netcdf") as read:
            assert read.attrs["method"] == result.attrs["method"]

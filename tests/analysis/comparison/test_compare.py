import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest

import wavefield as wf
from analysis import preprocess, report, synthetic
from analysis.__main__ import main
from analysis.comparison.compare import compare
from analysis.comparison.features import wave_features
from analysis.comparison.scaled_spectrum import FREQUENCIES, stretch_spectra
from analysis.comparison.segments import array_length, spectral_peak, stretches
from analysis.fields.field import Field
from analysis.readers import read_arrays
from wavefield.recordings.recording import open_recording, recording, save_recording

DATA = Path(os.environ.get("WAVEFIELD_DATA") or Path(__file__).parents[4] / "shared" / "data")
SEIZURE = DATA / "neural" / "seizure_waves.mat"
PROBE = synthetic.line(24, dx=0.4, units="mm")
RING = synthetic.ring(48)
SCATTERED = synthetic.electrodes(*(axis.ravel() for axis in np.meshgrid(np.arange(8) / 2, np.arange(8) / 2)))
QUICK = {"events": False, "similarity": False, "draws": 199}


def probe(speed, seed, *, snr=1.0, samples=900, frequency=3.3):
    """A travelling wave on a linear probe (mm, s), its phase random, in white noise."""
    rng = np.random.default_rng(seed)
    rec = synthetic.plane(
        PROBE, samples, wavenumber=frequency / speed, frequency=frequency, dt=0.01, time_units="s",
        phase=rng.uniform(0, 2 * np.pi),
    )  # fmt: skip
    return synthetic.with_noise(rec, snr, seed=rng)


def ring(wavenumber, seed, *, snr=1.0, samples=900, frequency=0.033):
    rec = synthetic.plane(RING, samples, wavenumber=wavenumber / 48, frequency=frequency)
    return synthetic.with_noise(rec, snr, seed=seed)


def of_model(result, feature):
    return result.sel(comparison="model", feature=feature)


# Statistics ----------------------------------------------------------------------------------------------------------


@pytest.mark.validate
def test_p_values_of_alike_recordings_are_uniform(draws, measured):
    count = draws(10, 200)
    # twelve stretches on either side: with five against five p-values come in steps that no KS test calls uniform
    features = ("speed", "wavelength", "frequency", "travelling_index", "directionality")
    found = {name: [] for name in (*features, "spectrum")}
    for seed in range(count):
        result = compare(*(probe(17, (seed, side), samples=2400) for side in (0, 1)), seed=seed, **QUICK)
        for name in features:
            found[name].append(float(of_model(result, name).p_value))
        found["spectrum"].append(float(result.spectrum_p_value.sel(comparison="model")))
    for name, p in found.items():
        uniform = kstest(p, "uniform").pvalue
        measured(f"KS test of uniform p-values, {name}", float(uniform), "> 0.01")
        assert uniform > 0.01, name


@pytest.mark.validate
def test_clustered_trials_leave_the_p_values_uniform(draws, measured):
    # the speed differs from trial to trial, so stretches of one trial are alike: exchanged one by one they would
    # reject far too often
    count = draws(3, 100)  # the same of the statistic alone, with draws enough: test_distances.py
    rng = np.random.default_rng(1)

    def trials():
        parts = [ring(w, rng, samples=500) for w in rng.uniform(1.5, 4.5, 8)]
        return xr.concat([part.activity for part in parts], "trial").to_dataset().assign_attrs(boundary="periodic")

    results = [of_model(compare(trials(), trials(), seed=n, cycles=4, **QUICK), "speed") for n in range(count)]
    assert all(one.stretches == 8 * 4 and one.attrs["model_unit"] == "trial" for one in results)
    p = [float(one.p_value) for one in results]
    measured("share of p < 0.05, clustered trials", float(np.mean(np.array(p) < 0.05)), "≤ 0.1")
    assert np.sum(np.array(p) < 0.05) <= (0.1 * count if count > 50 else 1)
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.validate
def test_speeds_a_fifth_apart_are_told_apart(draws, measured):
    count = draws(5, 100)
    results = [compare(probe(17 * 1.2, seed), probe(17, 1000 + seed), seed=seed, **QUICK) for seed in range(count)]
    power = np.mean([float(of_model(result, "speed").p_value) < 0.05 for result in results])
    measured("power at speeds 20 % apart, SNR 1", float(power), "≥ 0.8")
    assert power >= 0.8
    ratio = np.median([float(of_model(result, "speed").effect) for result in results])
    assert ratio == pytest.approx(1.2, abs=0.02)


@pytest.mark.validate
def test_the_ratio_of_speeds_lies_in_its_interval(draws, measured):
    count = draws(6, 200)
    inside, half, error = [], [], []
    for seed in range(count):
        one = of_model(compare(probe(17 * 1.1, seed), probe(17, 5000 + seed), seed=seed, **QUICK), "speed")
        inside.append(bool(one.effect_low <= 1.1 <= one.effect_high))
        half.append(float(one.effect_high - one.effect_low) / 2)
        error.append(float(one.effect) - 1.1)
    assert np.mean(half) < 8 * np.sqrt(np.mean(np.square(error)))  # 2 of a Normal law; any truth lies in a wide one
    measured("ratio of speeds in its 95 % interval", float(np.mean(inside)), "0.85 to 1")
    assert np.mean(inside) >= (0.85 if count > 50 else 0.7)


# What a comparison sees ----------------------------------------------------------------------------------------------


def test_opposite_waves_differ_though_the_usual_measures_call_them_identical():
    right, left = (synthetic.plane(RING, 1800, wavenumber=k / 48, frequency=0.033) for k in (3, -3))
    right, left = (synthetic.with_noise(rec, 20, seed=seed) for seed, rec in enumerate((right, left)))
    result = compare(right, left, events=False, draws=499)
    assert of_model(result, "direction").verdict == "differs"
    assert of_model(result, "direction").effect == pytest.approx(np.pi, abs=1e-6)
    assert [of_model(result, name).verdict.item() for name in ("speed", "wavelength", "frequency")] == ["agrees"] * 3
    one = result.sel(comparison="model")
    assert one.spectrum_distance > 0.9
    assert one.spectrum_p_value < 0.01
    assert one.cka > 0.99
    assert one.rsa > 0.99
    assert one.dsa < 0.01
    assert "do not see the direction" in result.attrs["similarity_warning"]


def test_the_same_wave_agrees_in_everything_and_lies_nearer_than_the_nulls():
    nulls = {"noise": synthetic.white_noise(RING, 900, seed=7)}
    result = compare(ring(3, 0, snr=2), ring(3, 1, snr=2), nulls=nulls, draws=199, events=False, similarity=False)
    assert result.comparison.values.tolist() == ["model", "shuffled model", "noise", "recording halves"]
    seen = result.sel(comparison="model", feature=["speed", "wavelength", "frequency", "direction", "wave_present"])
    assert (seen.verdict == "agrees").all()
    distance = result.spectrum_distance
    assert distance.sel(comparison="model") < 0.2 * distance.sel(comparison="shuffled model")
    assert distance.sel(comparison="model") < 0.2 * distance.sel(comparison="noise")
    assert result.sel(comparison="noise", feature="wave_present").verdict == "differs"


def test_normalised_axes_take_out_units():
    # two wavelengths on the ring; two on the probe of 24 sites 0.4 mm apart
    model = ring(2, 0, snr=4)
    brain = probe(3.3 * 24 * 0.4 / 2, 1, snr=4)
    result = compare(model, brain, events=False, similarity=False)
    for name in ("speed", "wavelength"):
        one = of_model(result, name)
        assert one["median"] == pytest.approx(0.5, rel=0.05)
        assert one.verdict == "agrees"
    assert (result.attrs["model_array_length"], result.attrs["recording_array_length"]) == pytest.approx((48, 9.6))


def test_fitted_scales_turn_cells_into_millimetres_and_steps_into_seconds():
    model = ring(2, 0, snr=4)  # 24 cells and 1/0.033 steps; on the probe 4.8 mm and 1/3.3 s
    result = compare(model, probe(3.3 * 4.8, 1, snr=4), axes="fitted", events=False, similarity=False)
    for name, truth in (("space_scale", 0.2), ("time_scale", 0.01)):
        low, high = result.attrs[f"{name}_interval"]
        assert result.attrs[name] == pytest.approx(truth, rel=0.04)
        assert low <= result.attrs[name] <= high
    assert of_model(result, "wavelength")["median"] == pytest.approx(4.8, rel=0.04)
    given = compare(
        model, probe(3.3 * 4.8, 1, snr=4), axes="given", space_scale=0.2, time_scale=0.01, events=False,
        similarity=False,
    )  # fmt: skip
    assert of_model(given, "speed").effect == pytest.approx(1.0, rel=0.04)


def test_axes_that_are_not_the_same_are_refused():
    with pytest.raises(ValueError, match="axes='same', but the model has '1' and the recording 'mm'"):
        compare(ring(2, 0), probe(17, 1), axes="same", **QUICK)


def test_a_line_is_held_against_the_main_axis_of_a_plane():
    grid = 0.4 * np.arange(6)
    x, y = np.meshgrid(grid, grid)
    where = synthetic.electrodes(x.ravel(), y.ravel(), units="mm")
    k = 0.5 * np.array([np.cos(1.0), np.sin(1.0)])
    brain = synthetic.plane(where, 600, wavenumber=-k, frequency=5, dt=0.01, time_units="s")
    result = compare(ring(2, 0, snr=4), synthetic.with_noise(brain, 2, seed=1), **QUICK)
    assert result.attrs["turn"] == pytest.approx(1.0, abs=0.05)
    assert of_model(result, "direction").verdict == "not measured"
    for angle, expected in ((1.0 - np.pi, "agrees"), (1.0, "differs")):
        for how in ("align", "turn"):
            turned = compare(ring(2, 0, snr=4), synthetic.with_noise(brain, 2, seed=1), **{how: angle}, **QUICK)
            assert of_model(turned, "direction").verdict == expected


def test_numbering_a_line_from_its_other_end_changes_nothing_against_a_plane():
    t, n = np.arange(800), np.arange(24)
    y, x = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    rng = np.random.default_rng(0)
    plane = np.cos(2 * np.pi * (0.05 * t[:, None, None] + (0.87 * x + 0.5 * y) / 9))
    brain = recording(plane + 0.5 * rng.normal(size=plane.shape), dims=("time", "y", "x"), boundary="open")
    line = np.cos(2 * np.pi * (0.05 * t[:, None] - n / 9)) + 0.5 * rng.normal(size=(800, 24))
    found = []
    for values in (line, line[:, ::-1]):
        model = recording(np.ascontiguousarray(values), dims=("time", "position"), boundary="open")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # fewer than one wavelength on the plane
            found.append(compare(model, brain, **QUICK))
    for result in found:
        assert of_model(result, "direction").verdict == "not measured"
        words = report.describe_comparison(result)
        assert "Not comparable: direction; say with align=" in words
        assert "Not measured (too few waves): direction" not in words
    one, other = (result.sel(comparison="model") for result in found)
    assert (one.verdict == other.verdict).all()
    np.testing.assert_allclose(one.spectrum_distance, other.spectrum_distance, atol=1e-6)


def test_align_belongs_to_a_line_and_a_plane():
    with pytest.raises(ValueError, match=r"align is 1\.0: it belongs to a line compared with a plane"):
        compare(ring(2, 0), ring(2, 1), align=1.0, **QUICK)


def test_dead_electrodes_change_nothing_but_the_noise():
    brain = probe(17, 1)
    brain["activity"] = brain.activity.copy()
    brain.activity[:, [3, 11]] = np.nan
    result = compare(probe(17, 2), brain, **QUICK)
    assert of_model(result, "speed").verdict == "agrees"
    assert result.attrs["recording_array_length"] == pytest.approx(9.6)


def test_a_null_in_which_nothing_moves_has_no_waves():
    still = recording(np.ones((900, 48)), boundary="periodic")
    result = compare(ring(2, 0), ring(2, 1), nulls={"static": still}, **QUICK)
    one = result.sel(comparison="static")
    assert one.sel(feature="wave_present")["median"] == 0
    assert one.sel(feature="speed").verdict == "not measured"
    assert np.isnan(one.spectrum_distance)


def test_events_are_counted_and_timed():
    rng = np.random.default_rng(3)
    rec = synthetic.white_noise(RING, 2000, seed=rng)
    wave = synthetic.plane(RING, 2000, wavenumber=2 / 48, frequency=0.05).activity
    bursts = ((rec.time % 500) > 200) & ((rec.time % 500) < 320)
    rec = rec.assign(activity=0.3 * rec.activity + wave * bursts)
    found = wave_features(rec, frequencies=(0.03, 0.08), segment=250.0)
    assert found.sizes["stretch"] == 8
    watched = np.array([230, *[250] * 6, 250 - 20 - 1 / 0.055])  # 1/bandwidth at the ends, and the shortest event
    assert float((found.event_rate * watched).sum()) == pytest.approx(4)
    assert found.event_duration.median() == pytest.approx(120, abs=30)


def bursts(labels, seed=0):
    """A wave of about 30 steps every 80 steps, from any time on, in each trial of 160 steps, in noise."""
    rng = np.random.default_rng(seed)
    time, x = np.arange(160.0), np.arange(16)
    centres = rng.uniform(0, 80, len(labels))[:, None] + np.arange(-80, 240, 80)
    envelope = np.exp(-(((time - centres[..., None]) / 12) ** 2)).sum(axis=1)  # (trial, time)
    wave = envelope[..., None] * np.cos(2 * np.pi * (0.1 * time[:, None] - 0.1 * x))
    values = wave + 0.2 * rng.standard_normal(wave.shape)
    return recording(values, dims=("trial", "time", "position"), coords={"trial": labels})


def test_events_begin_as_often_near_the_ends_of_a_trial_as_within():
    found = wave_features(bursts(np.arange(24), seed=2), frequencies=(0.07, 0.13), segment=40.0)
    rate = found.event_rate.values.reshape(24, 4)
    error = rate.std(axis=0) / np.sqrt(24)
    assert (np.abs(rate.mean(axis=0) - 1 / 80) < 3 * error).all()


def test_where_no_event_could_be_seen_to_begin_there_is_no_rate():
    found = wave_features(bursts(np.arange(6)), frequencies=(0.07, 0.1), segment=32.0)  # 34 steps go at either end
    assert np.isnan(found.event_rate.values.reshape(6, 5)).all(axis=0).tolist() == [True, False, False, False, True]
    assert np.isfinite(found.event_rate.values.reshape(6, 5)[:, 1:4]).all()


def test_events_belong_to_their_own_trial_also_where_labels_repeat():
    numbered, condition = (
        wave_features(bursts(labels), frequencies=(0.07, 0.13), segment=40.0)
        for labels in (np.arange(8), np.zeros(8, dtype=int))
    )
    for name in ("event_rate", "event_duration"):
        np.testing.assert_array_equal(condition[name], numbered[name])
    assert (np.nan_to_num(condition.event_duration.values).reshape(8, 4).sum(axis=1) > 0).all()


def test_the_same_wave_on_a_coarse_and_a_fine_array_has_the_same_spectrum():
    # the coarse array resolves half a wavelength per mm, four per length of the fine one: beyond that it would repeat
    sides = [
        synthetic.plane(synthetic.line(32, dx=dx, units="mm"), 1200, wavenumber=0.25, frequency=0.05)
        for dx in (1.0, 0.25)
    ]
    coarse, fine = (synthetic.with_noise(rec, 4, seed=seed) for seed, rec in enumerate(sides))
    result = compare(coarse, fine, axes="same", **QUICK)
    assert result.wavenumber.values.tolist() == list(range(-4, 5))
    assert result.spectrum_distance.sel(comparison="model") < 0.05


def test_a_recording_that_goes_as_often_left_as_right_has_no_direction_to_compare():
    parts = [synthetic.plane(RING, 400, wavenumber=k / 48, frequency=0.05).activity.values for k in (2, -2)]
    both = synthetic.with_noise(recording(np.concatenate(parts), boundary="periodic"), 5, seed=0)
    one = of_model(compare(both, ring(2, 1, snr=5), **QUICK), "direction")
    assert np.isnan(one.effect)
    assert one.verdict != "agrees"


def test_recordings_of_one_stretch_are_not_compared_and_the_words_say_so():
    result = compare(*(ring(2, seed, samples=64, frequency=0.1) for seed in (0, 1)), **QUICK)
    assert (result.verdict == "not measured").all()
    words = report.describe_comparison(result)
    assert "nan" not in words
    assert "Normalised spectra: not compared" in words
    report.comparison_table(result)


def test_a_model_that_does_not_move_has_no_similarity_to_tell_of():
    still = recording(np.ones((900, 48)), boundary="periodic")
    words = report.describe_comparison(compare(still, ring(2, 1), events=False, draws=19))
    assert "nan" not in words
    assert "DSA" not in words


def test_times_in_single_precision_cut_the_same_stretches():
    rec = probe(17, 0, samples=3000)
    single = rec.assign_coords(time=("time", (64.01 + rec.time.values).astype("f4"), rec.time.attrs))
    peak = spectral_peak(Field.of(single)).frequency
    cycles = 15.0 * peak  # half the record; its first step alone is short by half a thousandth
    result = compare(single, single, cycles=cycles, **QUICK)
    assert np.isfinite(result.spectrum_distance.sel(comparison="model"))  # needs the spectra of two


def test_a_wide_margin_lets_different_speeds_agree():
    slow, fast = ring(2, 0, snr=3), ring(3, 1, snr=3)
    narrow, wide = (compare(slow, fast, margins={"ratio": ratio}, **QUICK) for ratio in (1.1, 3.0))
    assert of_model(narrow, "speed").verdict.item() == "differs"
    assert of_model(wide, "speed").verdict.item() == "agrees"
    assert wide.attrs["margin_ratio"] == 3.0


# The parts of it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "wavenumber", "length"),
    [
        (synthetic.ring(64), 4 / 64, 64.0),
        (synthetic.line(20, dx=0.5), 0.3, 10.0),
        (synthetic.sheet((8, 8), dx=0.5), (0.5, 0.0), 4.0),
        (SCATTERED, (0.5, 0.0), 4.0),
    ],
)
def test_scaled_spectra_peak_where_the_wave_is(where, wavenumber, length):
    rec = synthetic.plane(where, 400, wavenumber=wavenumber, frequency=0.05)
    field = Field.of(rec.activity.assign_attrs(boundary=where.boundary))
    assert array_length(field) == pytest.approx(length)
    cut = stretches(field, 200)
    kappa = np.arange(-4, 5)
    power = stretch_spectra(cut, kappa, length=length, peaks=np.full(2, 0.05))
    phi, k = np.unravel_index(power[0].argmax(), power[0].shape)
    assert FREQUENCIES[phi] <= 1.0 <= FREQUENCIES[phi + 1]
    assert kappa[k] == round(np.atleast_1d(wavenumber)[0] * length)


def test_speeds_without_units_have_none():
    assert wave_features(ring(2, 0), segment=100.0, events=False).speed.attrs["units"] == "1"


def test_a_silent_channel_leaves_the_properties_of_the_others():
    rec = synthetic.plane(synthetic.ring(32), 400, wavenumber=2 / 32, frequency=0.05)
    alone = wave_features(rec, segment=100, events=False)
    silent = rec.activity * xr.DataArray([1.0, 0.0], dims="channel")
    both = recording(silent.transpose("time", "channel", "position"), boundary="periodic")
    found = wave_features(both, segment=100, events=False)
    for name in alone.data_vars.keys() - {"channel"}:
        np.testing.assert_allclose(found[name][found.channel == 0], alone[name], atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found.travelling_index[found.channel == 0], 1.0, atol=1e-6)  # a plane wave
    np.testing.assert_allclose(found.directionality[found.channel == 0], 1.0, atol=1e-6)
    for name in ("speed", "travelling_index", "directionality"):
        assert np.isnan(found[name][found.channel == 1]).all()


@pytest.mark.parametrize("segment", [0, -5.0, np.nan, np.inf])
def test_stretches_need_a_length(segment):
    with pytest.raises(ValueError, match="segment is"):
        wave_features(ring(2, 0), segment=segment, events=False)


def test_the_peak_frequency_lies_between_the_bins():
    rec = synthetic.with_noise(synthetic.plane(RING, 600, wavenumber=2 / 48, frequency=0.0473), 3, seed=0)
    peak = spectral_peak(Field.of(rec))
    assert peak.moves
    assert peak.frequency == pytest.approx(0.0473, abs=0.1 / 600)
    assert peak.cycles == 5


def test_the_result_goes_through_a_file_and_into_table_words_and_figure(tmp_path, capsys):
    for name, rec in {"model": ring(2, 0, snr=3), "noise": synthetic.white_noise(RING, 900, seed=1)}.items():
        save_recording(recording(rec.activity, boundary="periodic", source=name), tmp_path / f"{name}.nc")
    brain = probe(15.84, 1, snr=3)
    save_recording(recording(brain.activity, boundary="open", source="brain"), tmp_path / "lfp.nc")
    files = [str(tmp_path / name) for name in ("model.nc", "lfp.nc", "c.nc", "c.png", "c.csv", "noise.nc")]
    line = ["compare", *files[:2], "-o", files[2], "--figure", files[3], "--table", files[4]]
    assert main([*line, "--null", f"untrained={files[5]}", "--draws", "99"]) == 0
    words = capsys.readouterr().out
    assert "wave properties that could be compared" in words
    assert "cannot see the direction" in words
    with xr.open_dataset(files[2], engine="h5netcdf") as result:
        assert result.comparison.values.tolist()[2] == "untrained"
        assert {"units", "long_name"} <= {*result["energy"].attrs}
        table = report.comparison_table(result)
    assert table[0]["property"] == "speed (array lengths per cycle)"
    assert Path(files[3]).stat().st_size > 10_000
    assert Path(files[4]).read_text().count("\n") == 1 + 4 * 9
    assert main(["compare", files[0], files[1], "--null", "broken"]) == 2
    assert "NAME=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "equal"}, "axes is 'equal'"),
        ({"axes": "given"}, "it needs both"),
        ({"space_scale": 1.0, "time_scale": 1.0}, "both belong to axes='given'"),
        ({"axes": "given", "space_scale": 1.0, "time_scale": -1.0}, "positive"),
        ({"turn": "up"}, "turn is 'up'"),
        ({"margins": {"factor": 2}}, "margins names"),
        ({"draws": 0}, "draws=0"),
        ({"cycles": 0.1}, "cycles is 0.1"),
        ({"estimator": "guess"}, "estimator is 'guess'"),
        ({"frequencies": (5, 1)}, "frequencies is"),
        ({"nulls": {"model": None}}, "taken"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        compare(ring(2, 0), ring(2, 1), **({"events": False, "similarity": False} | options))


# The real thing ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SEIZURE.is_file(), reason=f"no recording at {SEIZURE}: set WAVEFIELD_DATA")
def test_a_seizure_recording_is_compared_with_models_from_end_to_end(tmp_path):
    given = {"series": "data", "rate": "fs", "positions": "position", "position_units": "mm", "units": "uV"}
    rec = read_arrays(SEIZURE, **given).load()
    rec = preprocess.bandpass(rec, (1, 13))
    rec = preprocess.mask_channels(rec, preprocess.bad_channels(rec).bad)
    rec = preprocess.downsample(rec, 5)
    save_recording(rec, tmp_path / "lfp.nc")
    models = {
        "model": wf.simulate(wf.transport(1.0), initial=np.cos(2 * np.pi * 3 * np.arange(64) / 64)[None], steps=512),
        "static": wf.simulate(wf.static(), wf.spikes([[(5, 1.0), (40, 1.0)]], 512), 64),
    }
    with open_recording(tmp_path / "lfp.nc") as lfp, warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare(models["model"], lfp, nulls={"static": models["static"]}, frequencies=(1, 13), draws=199)
    # Martinet et al. 2017: seizure waves cross the array at 100 to 500 mm/s, much longer than its 4 mm
    speed = wave_features(preprocess.bandpass(rec, (2, 12)), frequencies=(2, 12), mask="nan", events=False).speed
    assert 50 < float(speed.median()) < 600
    assert of_model(result, "wavelength").recording_median > 2
    assert of_model(result, "wavelength").verdict == "differs"
    assert result.sel(comparison="static", feature="speed").verdict == "not measured"
    report.comparison_figure(result).savefig(tmp_path / "figure.png")


def test_the_frequency_is_that_of_what_sensors_share():
    """As much power around another frequency, which each sensor has for itself, hardly moves it."""
    rec = synthetic.plane(synthetic.line(8), 3200, wavenumber=0.1, frequency=0.05)
    own = np.fft.rfft(np.random.default_rng(0).standard_normal((3200, 8)), axis=0)
    frequency = np.fft.rfftfreq(3200)
    own = np.fft.irfft(np.where(abs(frequency - 0.085) < 0.01, own.T, 0.0).T, axis=0)
    own *= rec.activity.values.std() / own.std()
    found = wave_features(rec.assign(activity=rec.activity + own), segment=3200, events=False)
    np.testing.assert_allclose(found.frequency, 0.05, rtol=0.03)


def test_stretches_say_which_they_are():
    values = np.random.default_rng(0).standard_normal((2, 100, 3, 6))  # of 16 s, the last of which are dropped
    rec = recording(
        values, dims=("trial", "time", "channel", "position"), coords={"time": 5 + 0.5 * np.arange(100)}, dt=0.5
    )
    found = wave_features(rec, segment=20.0, events=False, seed=7)
    assert (found.attrs["seed"], found.attrs["segment"]) == (7, 20.0)
    np.testing.assert_allclose(found.onset, np.tile(np.repeat([5.0, 25.0], 3), 2))
    assert found.trial.values.tolist() == [0] * 6 + [1] * 6
    assert found.channel.values.tolist() == [0, 1, 2] * 4

import numpy as np
import pytest
import xarray as xr
from scipy.signal import decimate, sosfiltfilt
from scipy.stats import median_abs_deviation

import wavefield as wf
from analysis import preprocess, synthetic
from wavefield.recordings.recording import recording, validate_recording

LINE = synthetic.line(6, dx=0.4, units="mm")


def series(values, dt=0.001, positions=6, **more):
    values = np.broadcast_to(np.asarray(values)[:, None], (len(values), positions)).copy()
    units = {"time": "s", "position": "mm", "activity": "uV"}
    return recording(values, dims=("time", "position"), dt=dt, dx=0.4, units=units, **more)


def tone(frequency, samples=4000, dt=0.001):
    return np.cos(2 * np.pi * frequency * dt * np.arange(1, samples + 1))


def inner(rec):
    return rec.activity.isel(time=slice(1000, 3000), position=0).values


def test_bandpass_keeps_the_phase_and_halves_the_amplitude_at_its_edges():
    rec = series(tone(20) + tone(50) + tone(200))
    kept = inner(preprocess.bandpass(rec, (10, 50), order=4))
    # forwards and backwards: |H|² is 1/2 where one pass has 1/√2
    np.testing.assert_allclose(kept, (tone(20) + 0.5 * tone(50))[1000:3000], atol=0.01)


def test_highpass_and_lowpass_leave_a_side_open():
    rec = series(tone(5) + tone(100))
    np.testing.assert_allclose(inner(preprocess.bandpass(rec, (30, None))), tone(100)[1000:3000], atol=0.01)
    np.testing.assert_allclose(inner(preprocess.bandpass(rec, (None, 30))), tone(5)[1000:3000], atol=0.01)


def test_notch_takes_out_the_line_and_its_harmonics_alone():
    rec = series(tone(20) + tone(50) + tone(100) + tone(150))
    left = (tone(20) + tone(150))[1000:3000]
    np.testing.assert_allclose(inner(preprocess.notch(rec, 50, harmonics=2)), left, atol=0.03)


def test_downsampling_folds_nothing_back():
    fewer = preprocess.downsample(series(tone(20) + tone(190)), 5)  # 190 Hz would fold to 10 Hz
    assert fewer.attrs["dt"] == pytest.approx(0.005)
    np.testing.assert_allclose(fewer.time.diff("time"), 0.005)
    np.testing.assert_allclose(inner_of(fewer), (tone(20))[::5][200:600], atol=0.01)


def inner_of(rec):
    return rec.activity.isel(time=slice(200, 600), position=0).values


@pytest.mark.parametrize("chunk", [700, 1300, 4000])
@pytest.mark.parametrize("step", ["bandpass", "downsample"])
def test_lazy_blocks_give_the_same_as_the_whole(chunk, step):
    rec = series(np.random.default_rng(0).standard_normal(4000))
    do = {"bandpass": lambda r: preprocess.bandpass(r, (20, 60)), "downsample": lambda r: preprocess.downsample(r, 4)}
    lazy = do[step](rec.chunk(time=chunk))
    assert lazy.activity.chunks is not None
    np.testing.assert_allclose(lazy.activity.values, do[step](rec).activity.values, atol=1e-6)


def test_a_filter_is_what_scipy_says_it_is():
    from scipy.signal import butter

    rec = series(np.random.default_rng(1).standard_normal(2000))
    expected = sosfiltfilt(butter(3, [10, 40], "bandpass", fs=1000, output="sos"), rec.activity.values, axis=0)
    np.testing.assert_allclose(preprocess.bandpass(rec, (10, 40), order=3).activity, expected, atol=1e-12)


@pytest.mark.parametrize("reference", ["mean", "median", [2]])
def test_a_reference_takes_away_what_all_sensors_share(reference):
    wave = synthetic.plane(LINE, 500, wavenumber=0.4, frequency=0.1)
    shared = np.random.default_rng(2).standard_normal(500)[:, None]
    with_shared = wave.assign(activity=wave.activity + shared)
    a = preprocess.rereference(with_shared, reference=reference).activity
    b = preprocess.rereference(wave, reference=reference).activity
    np.testing.assert_allclose(a, b, atol=1e-12)


def test_dead_sensors_do_not_count_in_the_reference():
    rec = series(tone(5))
    rec.activity[:, 3] = np.nan
    rec.activity[:, 0] += 6.0
    referenced = preprocess.rereference(rec).activity
    np.testing.assert_allclose(referenced[:, 0], 6.0 * 4 / 5, atol=1e-12)
    assert referenced[:, 3].isnull().all()


def test_epochs_lie_around_their_events():
    rec = series(np.arange(4000.0))  # the value is the number of the sample, at time (n + 1) ms
    with pytest.warns(UserWarning, match="1 of 3 events are too near an end"):
        cut = preprocess.epochs(rec, [1.001, 2.0011, 3.99], before=0.1, after=0.2, labels=["a", "b", "c"])
    assert cut.activity.dims == ("trial", "time", "position")
    np.testing.assert_allclose(cut.activity.sel(time=0, method="nearest", position=0), [1000, 2000])
    np.testing.assert_allclose(cut.time.values[[0, -1]], [-0.1, 0.2])
    assert cut.label.values.tolist() == ["a", "b"]
    late = preprocess.epochs(rec, [1.001, 2.001], before=0.0996, after=0.1996)  # to the nearest sample
    np.testing.assert_allclose(late.time.values[[0, -1]], [-0.1, 0.2])


def test_epochs_may_begin_and_end_with_the_record():
    rec = series(np.arange(4000.0))
    with pytest.warns(UserWarning, match="2 of 4 events"):
        cut = preprocess.epochs(rec, [0.1, 0.101, 3.8, 3.801], before=0.1, after=0.2, labels=[1, 2, 3, 4])
    assert cut.label.values.tolist() == [2, 3]
    assert cut.activity[:, [0, -1], 0].values.tolist() == [[0, 300], [3699, 3999]]


def test_of_named_references_the_dead_do_not_count():
    rec = series(np.arange(40.0))
    rec = rec.assign(activity=rec.activity + 10.0 * xr.DataArray(np.arange(6), dims="position"))
    masked = preprocess.mask_channels(rec, np.arange(6) == 2)
    np.testing.assert_allclose(preprocess.rereference(masked, reference=[2, 4]).activity[:, 0], -40.0)


def test_events_on_another_clock_are_refused():
    with pytest.raises(ValueError, match="same clock"):
        preprocess.epochs(series(tone(5)), [1e6], before=0.1, after=0.1)


def test_broken_sensors_are_found_and_only_those():
    grid = np.arange(8) * 0.4
    x, y = np.meshgrid(grid, grid)
    where = synthetic.electrodes(x.ravel(), y.ravel(), units="mm")
    rec = synthetic.plane(where, 2000, wavenumber=(0.2, 0.1), frequency=8, dt=0.002, time_units="s")
    rec = synthetic.with_noise(rec, 3.0, seed=3)
    rng = np.random.default_rng(4)
    rec.activity[:, 5] = 0.0
    rec.activity[:, 20] *= 50.0
    rec.activity[:, 40] = 0.24 * rng.standard_normal(2000)  # as strong as the noise of the others
    rec.activity[100, 60] = np.nan
    found = preprocess.bad_channels(rec)
    assert np.flatnonzero(found.bad).tolist() == [5, 20, 40, 60]
    assert found.reason.values[[5, 20, 40, 60]].tolist() == ["silent", "amplitude", "correlation", "NaN"]
    masked = preprocess.mask_channels(rec, found.bad)
    assert masked.activity.isnull().any("time").values.nonzero()[0].tolist() == [5, 20, 40, 60]


def test_a_notch_of_higher_quality_is_narrower():
    near = series(tone(48))
    wide, narrow = (inner(preprocess.notch(near, 50, quality=quality)).std() for quality in (5, 100))
    assert wide < 0.5 * narrow
    assert narrow == pytest.approx(inner(near).std(), rel=0.1)


def test_every_step_stands_in_the_history():
    rec = series(np.random.default_rng(5).standard_normal(4000))
    rec = preprocess.bandpass(rec, (1, 100))
    rec = preprocess.notch(rec, 50)
    rec = preprocess.rereference(rec, reference="median")
    rec = preprocess.downsample(rec, 2)
    rec = preprocess.mask_channels(rec, np.arange(6) == 1)
    rec = preprocess.epochs(rec, [1.0, 2.0], before=0.1, after=0.1)
    lines = rec.attrs["history"].splitlines()
    words = ["epochs", "bad channels", "downsampled by 2", "re-referenced to the median", "notch at 50", "bandpass 1"]
    assert [word in line for word, line in zip(words, lines, strict=False)] == [True] * 6


@pytest.mark.parametrize("band", [(0, 10), (10, 5), (10, 600), (None, None)])
def test_bands_that_cannot_be_are_refused(band):
    with pytest.raises(ValueError, match="band is"):
        preprocess.bandpass(series(tone(5)), band)


def test_uneven_time_is_refused_with_the_remedy():
    rec = series(tone(5))
    uneven = rec.assign_coords(time=xr.where(rec.time > 2, rec.time + 0.5, rec.time).assign_attrs(rec.time.attrs))
    with pytest.raises(ValueError, match="resample first"):
        preprocess.bandpass(uneven, (1, 10))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: preprocess.bandpass(r, 10), "band is 10"),
        (lambda r: preprocess.bandpass(r, (10, 20), order=0), "order is 0"),
        (lambda r: preprocess.epochs(r, [1.0, np.nan], before=0.1, after=0.1), "1 NaN"),
        (lambda r: preprocess.epochs(r, [1.0, 2.0], before=0.1, after=0.1, labels=["a"]), "one for each of the 2"),
        (lambda r: preprocess.rereference(r, reference=2), "numbers of sensors"),
        (lambda r: preprocess.rereference(preprocess.mask_channels(r, np.arange(6) == 2), reference=[2]), "all dead"),
        (lambda r: preprocess.bad_channels(r * 0), "0 of 6 sensors move"),
        (lambda r: preprocess.bad_channels(r * np.nan), "0 of 6 sensors move"),
    ],
)
def test_what_cannot_be_done_is_refused_in_our_words(call, message):
    with pytest.raises(ValueError, match=message):
        call(series(tone(5)))


def test_a_named_reference_is_the_sensor_with_that_number_also_where_positions_run_down():
    rec = series(np.random.default_rng(6).standard_normal(100))
    rec["activity"] = rec.activity + np.arange(6.0)
    turned = rec.isel(position=slice(None, None, -1))
    np.testing.assert_allclose(preprocess.rereference(turned, reference=[0]).activity[:, 0], 0, atol=1e-12)


def test_time_that_a_reader_decoded_becomes_seconds():
    rec = series(tone(20))
    decoded = rec.assign_coords(time=("time", (np.arange(4000) * 10**6).astype("timedelta64[ns]")))
    filtered = preprocess.bandpass(decoded, (5, 40))
    np.testing.assert_allclose(filtered.activity.values, preprocess.bandpass(rec, (5, 40)).activity.values, atol=1e-9)
    assert filtered.time.attrs["units"] == "s"


def test_blocks_shorter_than_the_padding_of_a_filter_are_joined():
    rec = series(np.random.default_rng(7).standard_normal(50))
    lazy = preprocess.bandpass(rec.chunk(time=1), (None, 250), order=1)  # its only pole is at zero
    np.testing.assert_allclose(lazy.activity, preprocess.bandpass(rec, (None, 250), order=1).activity, atol=1e-9)


def test_what_comes_out_is_a_recording():
    rec = series(tone(5), previous=np.zeros(6), save_every=2)
    validate_recording(preprocess.epochs(rec, [1.0, 2.0], before=0.1, after=0.1))
    fewer = preprocess.downsample(rec, 4)
    validate_recording(fewer)
    assert "save_every" not in fewer.attrs  # dt is the whole interval


@pytest.mark.parametrize(
    "step",
    [
        lambda r: preprocess.bandpass(r, (0.05, 0.2)),
        lambda r: preprocess.notch(r, 0.1),
        lambda r: preprocess.downsample(r, 2),
        lambda r: preprocess.rereference(r),
        lambda r: preprocess.epochs(r, [50.0], before=5, after=10).isel(trial=0),
    ],
    ids=["bandpass", "notch", "downsample", "rereference", "epochs"],
)
@pytest.mark.parametrize("operator", [wf.transport(1.0), wf.wave(0.5)], ids=["one-way", "two-way"])
def test_what_no_longer_moves_as_simulated_is_neither_decoded_nor_continued(operator, step):
    # every second state of transport by one cell per step moves by two: the kernel's phase velocity is half of it
    rec = wf.simulate(operator, np.random.default_rng(8).standard_normal((200, 1)), size=32)
    changed = step(rec)
    validate_recording(changed)
    with pytest.raises(ValueError, match="does not say what moved it: it has no kernel"):
        wf.operator_of(changed)
    with pytest.raises(ValueError, match="does not say what moved it"):
        wf.decode(changed)
    with pytest.raises(ValueError, match="does not say what moved it"):
        wf.simulate(operator, initial=changed, steps=1)


def test_nothing_that_a_recording_says_of_its_medium_outlives_a_filter():
    medium = {name: np.ones(32) for name in ("profile", "damping_profile", "restoring_profile", "density")}
    rec = wf.simulate(wf.wave(0.5, **medium), np.ones((50, 1)), bias=[0.1])
    left = preprocess.downsample(rec, 2)
    assert {str(name) for name in rec.data_vars} >= {"bias", "kernel", "encoder", "previous", *medium}
    assert {str(name) for name in left.data_vars} == {"activity", "drive"}


def test_an_epoch_begins_with_a_field_that_was_not_at_rest():
    rec = wf.simulate(wf.transport(1.0), wf.spikes([[(20, 1.0), (46, 2.0)]], steps=100), size=64)
    epoch = preprocess.epochs(rec, [50.0], before=5, after=10).isel(trial=0)  # ends after step 60, at time 10
    with pytest.raises(ValueError, match="began with a field that was not zero"):
        wf.decode(epoch, wf.transport(1.0))


def test_sensors_that_are_masked_leave_the_operator_of_the_field():
    rec = wf.simulate(wf.transport(0.5), np.ones((50, 1)), size=32)
    masked = preprocess.mask_channels(rec, np.arange(32) == 3)
    validate_recording(masked)
    np.testing.assert_array_equal(wf.operator_of(masked).kernel, wf.operator_of(rec).kernel)


@pytest.mark.parametrize("factor", [2, 5, 13])
def test_downsampling_is_that_of_scipy(factor):
    x = np.random.default_rng(factor).standard_normal(2600)
    expected = decimate(x, factor, ftype="iir", zero_phase=True)
    found = preprocess.downsample(series(x), factor).activity.isel(position=0).values
    edge = 600 // factor
    np.testing.assert_allclose(found[edge:-edge], expected[edge:-edge], atol=1e-6)


@pytest.mark.parametrize("quality", [5.0, 20.0])
def test_a_notch_halves_what_lies_half_its_width_beside_the_line(quality):
    """One pass has half the power there, so that two have half the amplitude."""
    q = 1 / (2 * quality)
    for frequency in (50 * (np.sqrt(1 + q**2) - q), 50 * (np.sqrt(1 + q**2) + q)):
        rec = series(tone(frequency))
        kept = inner(preprocess.notch(rec, 50, quality=quality)).std() / inner(rec).std()
        assert kept == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("threshold", [1.0, 2.0, 3.0, 5.0])
def test_bad_is_what_lies_beyond_the_threshold_in_standard_deviations_of_a_robust_kind(threshold):
    rng = np.random.default_rng(5)
    where = synthetic.line(30)
    rec = synthetic.with_noise(synthetic.plane(where, 600, wavenumber=0.02, frequency=0.05), 4.0, seed=1)
    rec.activity[:] = rec.activity * np.exp(0.3 * rng.standard_t(2, 30)) + 0.4 * rng.standard_normal(
        rec.activity.shape
    ) * (rng.random(30) < 0.3)
    rec.activity[:, 7] *= 1e-8
    found = preprocess.bad_channels(rec, threshold=threshold)

    def robust(values):
        return (values - np.nanmedian(values)) / median_abs_deviation(values, scale="normal", nan_policy="omit")

    alive = np.arange(30) != 7
    loud = np.abs(robust(np.log(found.deviation.values[alive]))) > threshold
    unlike = robust(np.arctanh(found.correlation.values[alive])) < -threshold
    reasons = np.where(loud, "amplitude", np.where(unlike, "correlation", ""))
    assert found.reason.values[alive].tolist() == reasons.tolist()
    assert found.reason.values[7] == "silent"
    steps = np.sqrt((np.diff(rec.activity.values, axis=0) ** 2).mean(axis=0))
    np.testing.assert_allclose(found.deviation, steps)


@pytest.mark.parametrize(("share", "reason"), [(1e-7, "silent"), (1e-5, "amplitude")])
def test_a_millionth_of_what_others_move_is_silence(share, reason):
    rec = synthetic.white_noise(synthetic.line(12), 400, seed=2)
    rec.activity[:, 4] *= share
    assert preprocess.bad_channels(rec).reason.values[4] == reason

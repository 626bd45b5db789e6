import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.stats import false_discovery_control

from analysis import synthetic
from analysis.direction.significance import direction_test, structure_test
from analysis.direction.surrogates import SURROGATES, surrogate
from analysis.direction.swap_null import effective_blocks, partition, taper_correlation, valley_edges, widening

FIELDS = {
    "white": synthetic.white_noise,
    "autoregressive": synthetic.autoregressive_noise,
    "narrowband": synthetic.narrowband_noise,
    "smooth": synthetic.smooth_noise,
}
SPECTRA = {
    "untapered": {"window": "boxcar", "space_window": "boxcar"},
    "windowed": {},
    "Welch": {"segment": "half"},
}


def rejections(make, where, steps, count, *, test=direction_test, **options):
    """Share of `count` draws that are rejected at 0.05; the draws lie along the channels of a few recordings."""
    rejected = []
    for part in range(0, count, 250):
        rec = make(where, steps, seed=1000 + part, channels=min(250, count - part))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*fewer than 6 independent blocks")
            rejected.append(test(rec, seed=part, **{"draws": 199, **options}).p_value.values <= 0.05)
    return np.mean(np.concatenate(rejected))


def allowed(count):
    """0.035 to 0.065, widened by three standard errors of a reduced number of draws."""
    margin = 0 if count >= 2000 else 3 * np.sqrt(0.05 * 0.95 / count)
    return 0.035 - margin, 0.065 + margin


# The direction-symmetry test: level and power ------------------------------------------------------------------------


@pytest.mark.validate
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("where", "steps"), [("ring", 128), ("line", 256)])
def test_swap_test_rejects_direction_symmetric_fields_at_its_level(where, steps, field, spectrum, draws, measured):
    count = draws(100, 2000)
    layout = synthetic.ring(32) if where == "ring" else synthetic.line(64)
    options = dict(SPECTRA[spectrum])
    if "segment" in options:
        options["segment"] = steps // 2
    low, high = allowed(count)
    rate = rejections(FIELDS[field], layout, steps, count, **options)
    measured(f"false positives at 0.05, {field} on a {where}, {spectrum}", float(rate), "0.035 to 0.065")
    assert low <= rate <= high


@pytest.mark.validate
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_swap_test_sees_an_asymmetry_of_three_tenths(spectrum, draws, measured):
    def make(where, steps, *, seed, channels):
        return synthetic.smooth_noise(where, steps, seed=seed, channels=channels, asymmetry=0.3)

    options = dict(SPECTRA[spectrum])
    if "segment" in options:
        options["segment"] = 64
    power = rejections(make, synthetic.ring(32), 128, draws(60, 1000), **options)
    measured(f"power at asymmetry 0.3, {spectrum}", float(power), "≥ 0.8")
    assert power >= 0.8


def test_travelling_pattern_is_significant_either_way():
    for speed in (1.0, -0.5):
        rec = synthetic.with_noise(synthetic.moving_pattern(synthetic.ring(64), 256, speed=speed, seed=0), 1.0, seed=1)
        result = direction_test(rec, seed=0)
        assert np.sign(result["index"].item()) == np.sign(speed)
        assert result.p_value.item() == pytest.approx(1 / 1000)


def test_direction_along_either_axis_of_a_sheet():
    sheet = synthetic.sheet((16, 18))
    rng = np.random.default_rng(0)
    rec = synthetic.white_noise(sheet, 128, seed=2)
    for _ in range(30):  # waves to +y, to either side in x
        k = (rng.choice([-0.1, 0.1]), 0.05 + 0.2 * rng.random())
        rec = rec + synthetic.plane(sheet, 128, wavenumber=k, frequency=0.05 + 0.3 * rng.random())
    rec = rec.assign_attrs(boundary="open")
    assert direction_test(rec, seed=0, axis="y").p_value < 0.01
    assert direction_test(rec, seed=0, axis="x").p_value > 0.05


# What the blocks are for ---------------------------------------------------------------------------------------------


def test_taper_correlation_is_the_closed_form_of_a_hann_window():
    from scipy.signal import get_window

    np.testing.assert_allclose(taper_correlation(get_window("hann", 128)), [1, 4 / 9, 1 / 36], atol=1e-12)
    np.testing.assert_allclose(taper_correlation(np.ones(64)), [1], atol=1e-12)


def test_valleys_are_cut_before_peaks():
    power = np.array([1, 5, 9, 5, 1, 0.1, 1, 8, 9, 7, 0.2, 3, 3.0])
    np.testing.assert_array_equal(valley_edges(power, 3), [0, 5, 10])
    np.testing.assert_array_equal(valley_edges(power, 5), [0, 5])
    np.testing.assert_array_equal(valley_edges(power, 20), [0])


def test_partition_is_the_coarsest_with_enough_blocks():
    edges = partition(np.ones((200, 15)), (4, 3))
    assert effective_blocks(np.ones((200, 15)), edges) >= 16
    assert effective_blocks(np.ones((200, 15)), edges) < 50
    assert min(np.diff([*edges[0], 200])) >= 4
    assert min(np.diff([*edges[1], 15])) >= 3
    rows = partition(np.ones((200, 31)), (4, 1))
    np.testing.assert_array_equal(rows[1], np.arange(31))  # independent wavenumbers are never merged …
    np.testing.assert_array_equal(rows[0], [0])  # … and enough of them need no edge in frequency


def test_widening_is_the_lost_covariance():
    # blocks of 4 equal bins, Hann: variance 1 + 2(4/9 + 1/36) of all, 1 + 2(4/9 · 3/4 + 1/36 · 2/4) within
    power, edges = np.ones((4000, 1)), (np.arange(0, 4000, 4), np.array([0]))
    hann = np.array([1, 4 / 9, 1 / 36])
    expected = np.sqrt((1 + 2 * (4 / 9 + 1 / 36)) / (1 + 2 * (4 / 9 * 3 / 4 + 1 / 36 * 2 / 4)))
    assert widening(power, edges, (hann, np.ones(1))) == pytest.approx(expected, rel=1e-3)
    assert widening(power, edges, (np.ones(1), np.ones(1))) == 1.0


# Other nulls of symmetry ---------------------------------------------------------------------------------------------


def lines(count, seed, noise=0.1):
    """One wavenumber and frequency, complex Gaussian amplitudes either way: the law with the fewest blocks."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((2, count)) + 1j * rng.standard_normal((2, count))
    t, x = np.arange(128.0), np.arange(32.0)
    right, left = (np.exp(2j * np.pi * (10 / 128 * t[:, None] - s * 3 / 32 * x)) for s in (1, -1))
    values = np.einsum("c,tx->tcx", a[0], right).real + np.einsum("c,tx->tcx", a[1], left).real
    values += noise * rng.standard_normal(values.shape)
    coords = {"time": ("time", t, {"units": "1"}), "position": ("position", x, {"units": "1"})}
    return xr.DataArray(values, coords, ("time", "channel", "position"), attrs={"boundary": "periodic"})


def test_gaussian_null_holds_its_level_for_a_single_line():
    count = 400
    p = direction_test(lines(count, 0), seed=0, null="gaussian", draws=199).p_value
    assert (p <= 0.05).mean().item() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / count))


@pytest.mark.parametrize("field", FIELDS)
def test_gaussian_null_is_never_too_eager(field):
    assert rejections(FIELDS[field], synthetic.ring(32), 128, 200, null="gaussian") <= 0.05 + 3 * 0.0154


def test_sine_wave_is_beyond_the_swap_test_and_it_says_so():
    rec = synthetic.with_noise(
        synthetic.plane(synthetic.ring(64), 256, wavenumber=5 / 64, frequency=12 / 256), 5.0, seed=0
    )
    with pytest.warns(UserWarning, match="null='gaussian'"):
        swapped = direction_test(rec, seed=0)
    assert swapped.p_value > 0.05
    assert swapped.effective_blocks < 2
    assert direction_test(rec, seed=0, null="gaussian").p_value < 0.01


def test_whole_trials_are_exchanged():
    ring = synthetic.ring(32)
    waves = [
        synthetic.with_noise(synthetic.plane(ring, 64, wavenumber=s * 3 / 32, frequency=6 / 64, phase=i), 2.0, seed=i)
        for i, s in enumerate([1] * 10)
    ]
    against = [
        synthetic.with_noise(synthetic.plane(ring, 64, wavenumber=s * 3 / 32, frequency=6 / 64, phase=i), 2.0, seed=i)
        for i, s in enumerate([1, -1] * 5)
    ]
    same, mixed = (xr.concat(one, "trial").assign_attrs(boundary="periodic") for one in (waves, against))
    p = direction_test(same, seed=0, null="trial", draws=9999).p_value.item()
    assert p == pytest.approx(2 / 2**10, abs=4 * np.sqrt(2 / 2**10 / 9999))  # all ten alike, either way
    assert direction_test(mixed, seed=0, null="trial").p_value > 0.5
    with pytest.raises(ValueError, match="at least 6 trials"):
        direction_test(same.isel(trial=slice(4)), seed=0, null="trial")


# Shuffles answer another question ------------------------------------------------------------------------------------


@pytest.mark.parametrize("null", ["position", "time", "shift", "phase"])
def test_shuffles_call_a_smooth_field_directed_and_white_noise_not(null):
    def smooth(where, steps, *, seed, channels):
        return synthetic.smooth_noise(where, steps, seed=seed, channels=channels, wavelength=16, period=16)

    options = {"null": null, "draws": 39, "window": "boxcar"}
    assert rejections(smooth, synthetic.ring(32), 128, 100, **options) > 0.1  # 0.21 to 0.44 published
    assert rejections(synthetic.white_noise, synthetic.ring(32), 128, 60, **options) < 0.05 + 3 * 0.028


@pytest.mark.parametrize("null", SURROGATES)
def test_structure_is_found_in_a_smooth_field_that_does_not_travel(null):
    smooth = synthetic.smooth_noise(synthetic.ring(32), 128, seed=0, channels=20, wavelength=16, period=16)
    assert (structure_test(smooth, seed=0, null=null, draws=39).p_value <= 0.05).all()
    white = synthetic.white_noise(synthetic.ring(32), 128, seed=0, channels=60)
    assert (structure_test(white, seed=0, null=null, draws=39).p_value <= 0.05).mean() < 0.05 + 3 * 0.028


def test_surrogates_keep_what_they_promise():
    rec = synthetic.smooth_noise(synthetic.sheet((4, 5)), 30, seed=0, trials=2, channels=3)
    u = rec.activity.transpose("trial", "channel", "time", "y", "x").values.reshape(6, 30, 20)

    def made(null):
        found = surrogate(rec, null, seed=1)
        assert found.dims == rec.activity.dims
        return found.transpose("trial", "channel", "time", "y", "x").values.reshape(6, 30, 20)

    by_series, by_snapshot = made("position"), made("time")
    for before, positions, samples in zip(u, by_series, by_snapshot, strict=True):
        assert {row.tobytes() for row in positions.T.copy()} == {row.tobytes() for row in before.T.copy()}
        assert {row.tobytes() for row in samples.copy()} == {row.tobytes() for row in before.copy()}
    np.testing.assert_array_equal(np.sort(made("both"), axis=None), np.sort(u, axis=None))
    shifted = made("shift")
    np.testing.assert_array_equal(np.sort(shifted, axis=1), np.sort(u, axis=1))
    for kept in (shifted, made("phase")):
        np.testing.assert_allclose(np.abs(np.fft.rfft(kept, axis=1)), np.abs(np.fft.rfft(u, axis=1)), atol=1e-10)
        assert not np.allclose(kept, u)
    assert not np.array_equal(by_series[0], u[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_no_direction(dtype):
    # symmetric to the last bit but one: every block differs by rounding alone
    rng = np.random.default_rng(0)
    t = np.arange(100.0)
    values = (t[:, None] > 100 * rng.random(64)) * rng.standard_normal(64)
    rec = synthetic.white_noise(synthetic.ring(64), 100, seed=0)
    rec["activity"] = rec.activity.copy(data=0 * rec.activity.values + values[:, :1] * np.cos(np.arange(64) ** 2))
    assert direction_test(rec.astype(dtype), seed=0).p_value == 1


# p and q -------------------------------------------------------------------------------------------------------------


def test_p_is_counted_and_q_is_that_of_scipy():
    rec = synthetic.smooth_noise(synthetic.ring(32), 128, seed=0, channels=6, asymmetry=0.2)
    result = direction_test(rec, seed=3, draws=199)
    extreme = (abs(result.null_index) >= abs(result["index"])).sum("draw")
    np.testing.assert_allclose(result.p_value, (1 + extreme) / 200)
    np.testing.assert_allclose(result.q_value, false_discovery_control(result.p_value.values))
    assert ((result.p_value > 0) & (result.p_value <= 1)).all()


def test_same_seed_same_answer():
    rec = synthetic.smooth_noise(synthetic.ring(32), 64, seed=0, channels=3)
    one, same, other = (direction_test(rec, seed=seed, draws=50).null_index for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_dask_gives_the_same_test():
    rec = synthetic.smooth_noise(synthetic.ring(32), 64, seed=0, trials=4, channels=3, asymmetry=0.3)
    whole = direction_test(rec, seed=1, draws=99)
    xr.testing.assert_allclose(direction_test(rec.chunk(trial=1), seed=1, draws=99), whole)


def test_silent_channel_is_not_significant():
    rec = synthetic.moving_pattern(synthetic.ring(64), 128, speed=1.0, seed=0, wavelength=2.0)
    both = xr.concat([rec, 0 * rec], "channel").assign_attrs(boundary="periodic")
    both["activity"] = both.activity.transpose("time", "channel", "position")
    result = direction_test(both, seed=0)
    np.testing.assert_allclose(result.p_value, [0.001, 1.0])
    assert np.isnan(result["index"].values[1])


@pytest.mark.parametrize("null", ["swap", "position"])
def test_dead_positions_are_filled_under_every_null(null):
    rec = synthetic.moving_pattern(synthetic.ring(64), 128, speed=1.0, seed=0, wavelength=2.0)
    broken = rec.copy(deep=True)
    broken.activity[:, [7, 30]] = np.nan
    result = direction_test(broken, seed=0, null=null, draws=39, mask="nan")
    assert result["index"] > 0.8
    assert result.p_value == 1 / 40
    assert structure_test(broken, seed=0, draws=9, mask="nan").p_value == 0.1
    with pytest.raises(ValueError, match="mask='nan'"):
        direction_test(broken, seed=0, null=null, draws=9)


def test_result_can_be_stored_as_netcdf(tmp_path):
    rec = synthetic.white_noise(synthetic.ring(32), 128, seed=0)
    direction_test(rec, seed=0, draws=9).to_netcdf(tmp_path / "test.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "test.nc", engine="h5netcdf") as read:
        assert read.attrs["null"] == "swap"
        assert read.attrs["seed"] == 0


def test_bad_arguments_are_named():
    rec = synthetic.white_noise(synthetic.ring(16), 32, seed=0)
    with pytest.raises(ValueError, match="null is 'flip'"):
        direction_test(rec, seed=0, null="flip")
    with pytest.raises(ValueError, match="draws is 0"):
        direction_test(rec, seed=0, draws=0)
    with pytest.raises(ValueError, match="segment at None"):
        direction_test(rec, seed=0, null="gaussian", segment=16)
    with pytest.raises(ValueError, match="null is 'swap'"):
        structure_test(rec, seed=0, null="swap")
    with pytest.raises(ValueError, match="null is 'swap'"):
        surrogate(rec, "swap", seed=0)
    with pytest.raises(ValueError, match="irregular electrode array"):
        direction_test(
            synthetic.plane(synthetic.electrodes([0, 1, 2], [0, 1, 0]), 20, wavenumber=(0.1, 0), frequency=0.1), seed=0
        )

import re
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import signal

from analysis import synthetic
from analysis.direction.index import direction_index
from analysis.fields.current_sources import current_source_density
from analysis.spectra.background import background_normalised_spectrum, diagonal_power, ridge_power
from analysis.spectra.spectrum import wavenumber_frequency_spectrum

K0, F0 = 5 / 64, 12 / 256


def plane():
    return synthetic.plane(synthetic.ring(64), 256, wavenumber=K0, frequency=F0)


def random_recording(shape, dims, steps=(0.5, 2.0, 1.5), units=("s", "mm", "mm"), seed=0, dtype=float):
    values = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    sampled = [dim for dim in dims if dim in ("time", "position", "y", "x")]
    coords = {
        dim: (dim, step * np.arange(shape[dims.index(dim)]), {"units": unit})
        for dim, step, unit in zip(sampled, steps, units, strict=False)
    }
    return xr.DataArray(values, coords, dims, attrs={"units": "uV"})


def definition(values, t, x, f, k):
    """U(k, f) = Σ u exp(−2πi(f t − k x)) for (time, position), as an explicit sum: (f, k)."""
    return np.exp(-2j * np.pi * np.outer(f, t)) @ values @ np.exp(2j * np.pi * np.outer(x, k))


# The convention ----------------------------------------------------------------------------------------------------


def test_rightward_wave_has_its_peak_at_positive_k_and_its_published_power():
    spectrum = wavenumber_frequency_spectrum(plane(), window="boxcar", detrend=None, scaling="spectrum")
    peak = spectrum.power.where(spectrum.power == spectrum.power.max(), drop=True)
    assert peak.wavenumber.item() == 0.078125
    assert peak.frequency.item() == 0.046875
    assert peak.frequency.item() / peak.wavenumber.item() == pytest.approx(0.6, abs=1e-15)
    # |U|² at the peak is (64 · 256/2)²; one-sided, over (64 · 256)²
    assert peak.item() * (64 * 256) ** 2 / 2 == pytest.approx(67_108_864, rel=1e-12)
    density = wavenumber_frequency_spectrum(plane(), window="boxcar", detrend=None).power
    assert density.sum().item() == pytest.approx(8192.0, rel=1e-12)  # Σ u² = Σ |U|²/N


@pytest.mark.parametrize("steps", [20, 21])
@pytest.mark.parametrize("size", [8, 9])
def test_power_is_its_definition_on_a_ring_or_line(steps, size):
    rec = random_recording((steps, size), ("time", "position"))
    found = wavenumber_frequency_spectrum(rec, window="boxcar", space_window="boxcar", detrend=None).power
    f, k = found.frequency.values, found.wavenumber.values
    expected = 2 * 0.5 * 2.0 / rec.size * np.abs(definition(rec.values, rec.time, rec.position, f, k)) ** 2
    expected[0] /= 2
    if steps % 2 == 0:
        expected[-1] /= 2
    np.testing.assert_allclose(found.transpose("frequency", "wavenumber"), expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(12, 6, 8), (11, 7, 8), (12, 7, 5), (13, 8, 9)])
def test_power_is_its_definition_on_a_sheet(shape):
    rec = random_recording(shape, ("time", "y", "x"))
    found = wavenumber_frequency_spectrum(rec, window="boxcar", space_window="boxcar", detrend=None).power
    f, ky, kx = found.frequency.values, found.wavenumber_y.values, found.wavenumber_x.values
    in_time = np.tensordot(np.exp(-2j * np.pi * np.outer(f, rec.time)), rec.values, 1)
    ey, ex = np.exp(2j * np.pi * np.outer(rec.y, ky)), np.exp(2j * np.pi * np.outer(rec.x, kx))
    expected = 2 * 0.5 * 2.0 * 1.5 / rec.size * np.abs(np.einsum("fyx,ya,xb->fab", in_time, ey, ex)) ** 2
    expected[0] /= 2
    if shape[0] % 2 == 0:
        expected[-1] /= 2
    np.testing.assert_allclose(found.transpose("frequency", "wavenumber_y", "wavenumber_x"), expected, rtol=1e-9)
    assert found.attrs["units"] == "uV2 mm2 s"


@pytest.mark.parametrize(
    ("units", "size"), [("uV", 3.0), ("uV mm-2", 3.0 / 5.0**2), ("m/s", 11.0 / 7.0), ("mV2", 13.0**2), ("1", 1.0)]
)
def test_units_of_power_are_those_of_amplitude_squared(units, size):
    rec = random_recording((16, 8), ("time", "position")).assign_attrs(units=units)
    index = direction_index(rec)
    for power in (wavenumber_frequency_spectrum(rec).power, index.right, index.left):
        read = re.sub(r"(?<=[a-zA-Z)])(-?\d+)", r"**\1", power.attrs["units"]).replace(" ", "*")  # as UDUNITS reads it
        value = eval(read, {"uV": 3.0, "mm": 5.0, "s": 7.0, "m": 11.0, "mV": 13.0})
        assert value == pytest.approx(size**2 * 5.0 * 7.0)


def test_units_of_the_power_of_current_sources_can_be_read():
    rec = random_recording((16, 8), ("time", "position"))
    power = wavenumber_frequency_spectrum(current_source_density(rec).csd).power
    assert power.attrs["units"] == "(uV mm-2)2 mm s"  # uV2 mm-3 s, in UDUNITS


def test_falling_coordinates_mean_what_they_say():
    rec = plane()
    falling = rec.isel(position=slice(None, None, -1))  # the same field, listed from the right
    np.testing.assert_allclose(
        wavenumber_frequency_spectrum(falling).power, wavenumber_frequency_spectrum(rec).power, atol=1e-12
    )


# Scaling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["boxcar", "hann", ("tukey", 0.3)])
@pytest.mark.parametrize("shape", [(30, 3, 16), (31, 3, 15)])
def test_parseval_density_integrates_to_the_weighted_mean_square(window, shape):
    rec = random_recording(shape, ("time", "channel", "position"))
    density = wavenumber_frequency_spectrum(rec, window=window, detrend=None).power
    dk, df = np.diff(density.wavenumber)[0], density.frequency.values[1]
    weight = np.multiply.outer(signal.get_window(window, shape[0]), signal.get_window(window, shape[2])) ** 2
    expected = (rec.values**2 * weight[:, None, :]).sum(axis=(0, 2)) / weight.sum()
    np.testing.assert_allclose(density.sum(("frequency", "wavenumber")) * dk * df, expected, rtol=1e-12)


def test_spectrum_scaling_reads_off_the_amplitude():
    rec = synthetic.plane(synthetic.line(64, dx=0.4), 200, wavenumber=10 / 25.6, frequency=0.1, amplitude=3.0)
    power = wavenumber_frequency_spectrum(rec, scaling="spectrum", detrend=None).power
    assert power.max().item() == pytest.approx(3.0**2 / 2, rel=1e-10)


def test_float32_stays_float32_and_agrees():
    rec = plane()
    single = wavenumber_frequency_spectrum(rec.astype(np.float32)).power
    double = wavenumber_frequency_spectrum(rec).power
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=2e-6 * double.max().item())


def test_integers_are_taken_as_float64():
    rec = xr.DataArray(
        np.arange(60).reshape(10, 6) % 7,
        {"time": ("time", np.arange(10.0), {"units": "s"}), "position": ("position", np.arange(6.0), {"units": "mm"})},
        ("time", "position"),
    )
    assert wavenumber_frequency_spectrum(rec).power.dtype == np.float64


# Independent oracles -------------------------------------------------------------------------------------------------


def test_agrees_with_xrft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # xrft 1.0.1 on current xarray
        import xrft

        rec = random_recording((40, 16), ("time", "position"))
        theirs = xrft.power_spectrum(
            rec, dim=["time", "position"], window="hann", detrend="linear", window_correction=True, scaling="density"
        )
    ours = wavenumber_frequency_spectrum(rec, window="hann", detrend="plane").power
    # xrft gives f of both signs with k·f < 0 for waves to +x: (f, k) of ours is (f, −k) there, and f < 0 is folded in
    f, k = ours.frequency.values[1:-1], ours.wavenumber.values[1:]
    folded = 2 * theirs.sel(freq_time=f, freq_position=-k, method="nearest")
    np.testing.assert_allclose(ours.sel(frequency=f, wavenumber=k), folded, rtol=1e-9)


def test_welch_agrees_with_scipy_position_by_position():
    rec = random_recording((256, 8), ("time", "position"))
    spectrum = wavenumber_frequency_spectrum(rec, space_window="boxcar", segment=64, overlap=0.5)
    _, expected = signal.welch(rec.values, fs=2.0, nperseg=64, noverlap=32, detrend="linear", axis=0)
    # Parseval in space: the mean over positions is the integral over wavenumber
    over_k = spectrum.power.sum("wavenumber") / (8 * 2.0)
    np.testing.assert_allclose(over_k, expected.mean(axis=1), rtol=1e-10)
    assert spectrum.attrs["segments"] == 7


def test_welch_scaling_agrees_with_scipy():
    rec = random_recording((200, 4), ("time", "position"))
    kwargs = {"segment": 50, "overlap": 0.2, "detrend": "constant", "scaling": "spectrum", "window": "hamming"}
    ours = wavenumber_frequency_spectrum(rec, space_window="boxcar", **kwargs).power.sel(wavenumber=0)
    _, theirs = signal.welch(
        rec.mean("position").values,
        fs=2.0,
        window="hamming",
        nperseg=50,
        noverlap=10,
        detrend="constant",
        scaling="spectrum",
    )
    np.testing.assert_allclose(ours[1:-1], theirs[1:-1], rtol=1e-10)


# Windows, trends, dead positions -------------------------------------------------------------------------------------


def test_ring_gets_no_window_and_an_open_axis_does():
    ring = wavenumber_frequency_spectrum(plane(), window="hann").power
    assert float(ring.sel(wavenumber=K0).sum() / ring.sum()) == pytest.approx(1.0, abs=1e-3)  # not smeared over k
    line = plane().assign_attrs(boundary="open")
    smeared = wavenumber_frequency_spectrum(line).power
    beside = smeared.sel(wavenumber=K0 + 1 / 64).sum() / smeared.sel(wavenumber=K0).sum()
    assert beside.item() == pytest.approx(0.25, abs=1e-3)  # the Hann window's neighbour


def test_linear_trends_leave_no_power():
    ramp = random_recording((50, 12), ("time", "position")) * 0
    ramp = ramp + 3.0 * ramp.time + 2.0 * ramp.position + 1.0
    for detrend in ("linear", "plane"):
        assert wavenumber_frequency_spectrum(ramp, detrend=detrend).power.max() < 1e-20
    assert wavenumber_frequency_spectrum(ramp, detrend="constant").power.max() > 1


def test_dead_position_is_filled_from_its_neighbours():
    rec = plane()
    broken = rec.copy(deep=True)
    broken.activity[:, 20] = np.nan
    with pytest.raises(ValueError, match="mask='nan'"):
        wavenumber_frequency_spectrum(broken)
    mended = rec.copy(deep=True)
    mended.activity[:, 20] = (rec.activity[:, 19] + rec.activity[:, 21]) / 2
    expected = wavenumber_frequency_spectrum(mended).power
    named = np.zeros(64, bool)
    named[20] = True
    for mask in ("nan", named, xr.DataArray(named, dims="position")):
        np.testing.assert_allclose(wavenumber_frequency_spectrum(broken, mask=mask).power, expected, atol=1e-12)


def test_a_dead_position_at_the_seam_of_a_ring_has_two_neighbours():
    rec = synthetic.moving_pattern(synthetic.ring(32), 40, speed=1.0, seed=0)
    broken, mended = rec.copy(deep=True), rec.copy(deep=True)
    broken.activity[:, 0] = np.nan
    mended.activity[:, 0] = (rec.activity[:, 31] + rec.activity[:, 1]) / 2
    found = wavenumber_frequency_spectrum(broken, mask="nan").power
    np.testing.assert_allclose(found, wavenumber_frequency_spectrum(mended).power, atol=1e-12)


def test_dead_patch_on_a_sheet_is_filled_harmonically():
    sheet = synthetic.sheet((7, 8))
    x, y = sheet.xy()
    harmonic = x**2 - y**2 + x * y  # solves the discrete Laplace equation, too
    rec = synthetic.plane(sheet, 12, wavenumber=(0.1, 0.0), frequency=0.1)
    rec["activity"] = rec.activity * 0 + xr.DataArray(harmonic, dims=("y", "x")) * np.cos(rec.time)
    broken = rec.copy(deep=True)
    broken.activity[:, 2:4, 3:5] = np.nan
    expected = wavenumber_frequency_spectrum(rec).power
    np.testing.assert_allclose(
        wavenumber_frequency_spectrum(broken, mask="nan").power, expected, atol=1e-10 * expected.max().item()
    )


# Large recordings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [(), "trial", ("trial", "channel")])
@pytest.mark.parametrize("segment", [None, 16])
def test_dask_chunks_change_nothing_and_stay_lazy(average, segment):
    rec = synthetic.white_noise(synthetic.ring(12), 40, seed=0, trials=9, channels=5)
    options = {"average": average, "segment": segment}
    whole = wavenumber_frequency_spectrum(rec, **options).power
    for chunks in ({"trial": 2, "channel": 2}, {"trial": 1, "time": 7, "position": 5}):
        lazy = wavenumber_frequency_spectrum(rec.chunk(chunks), **options).power
        assert lazy.chunks is not None
        assert lazy.dims == whole.dims
        np.testing.assert_allclose(lazy.compute(), whole, rtol=1e-12)


def test_blocks_of_a_large_array_give_the_numbers_of_the_whole(monkeypatch):
    rec = synthetic.white_noise(synthetic.ring(12), 200, seed=0, trials=4, channels=3)
    options = [{}, {"segment": 32}, {"segment": 32, "average": "trial"}]
    whole = [wavenumber_frequency_spectrum(rec, **one).power for one in options]
    monkeypatch.setattr("analysis.spectra.transform.BLOCK_BYTES", 12 * 8 * 70)  # 70 samples of one trial and channel
    monkeypatch.setattr("analysis.spectra.transform.TILE_SAMPLES", 100)
    for one, expected in zip(options, whole, strict=True):
        np.testing.assert_allclose(wavenumber_frequency_spectrum(rec, **one).power, expected, rtol=1e-12)


def test_nan_in_a_lazy_block_is_found_when_it_is_computed():
    rec = synthetic.white_noise(synthetic.ring(12), 40, seed=0, trials=3)
    rec.activity[1, 5, 2] = np.nan
    lazy = wavenumber_frequency_spectrum(rec.chunk(trial=1))
    with pytest.raises(ValueError, match="NaN or infinite"):
        lazy.compute()


def test_result_can_be_stored_as_netcdf(tmp_path):
    spectrum = wavenumber_frequency_spectrum(plane(), window=("tukey", 0.3))
    spectrum.to_netcdf(tmp_path / "spectrum.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "spectrum.nc", engine="h5netcdf") as read:
        xr.testing.assert_allclose(read, spectrum)
        assert read.wavenumber.attrs["units"] == "1"


# Backgrounds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", ["both", "space", "time", "either"])
def test_shuffled_background_of_noise_is_flat_and_one(shuffle):
    rec = synthetic.white_noise(synthetic.ring(32), 64, seed=1, trials=40)
    result = background_normalised_spectrum(rec, seed=0, shuffle=shuffle, average="trial", window="boxcar")
    inner = result.ratio.isel(frequency=slice(2, -1)).where(result.wavenumber != 0)
    assert inner.mean().item() == pytest.approx(1.0, abs=0.02)


def test_only_a_shuffle_of_time_too_hides_a_standing_pattern_of_time_series():
    # independent sine waves of one frequency: order in time, none in space
    rng = np.random.default_rng(0)
    phase = 2 * np.pi * rng.random(64)
    rec = plane()
    rec["activity"] = rec.activity * 0 + np.cos(2 * np.pi * F0 * rec.time + xr.DataArray(phase, dims="position"))
    at_f0 = {
        shuffle: background_normalised_spectrum(rec, seed=0, shuffle=shuffle).ratio.sel(frequency=F0).mean().item()
        for shuffle in ("space", "both")
    }
    assert at_f0["space"] < 3  # the line is in the background
    assert at_f0["both"] > 30


def test_ridge_power_finds_the_speed_that_bin_indices_miss():
    rec = synthetic.moving_pattern(synthetic.ring(256), 784, speed=1.0, seed=0)
    spectrum = wavenumber_frequency_spectrum(rec)
    ridge = ridge_power(spectrum, [1.0, 256 / 784, -1.0])
    assert ridge.sel(speed=1.0) > 100
    assert ridge.sel(speed=256 / 784) < 0.01
    assert ridge.sel(speed=-1.0) < 0.01
    noise = wavenumber_frequency_spectrum(synthetic.white_noise(synthetic.ring(256), 784, seed=0))
    assert ridge_power(noise, 1.0).item() == pytest.approx(1.0, abs=0.3)


def test_diagonal_power_is_the_published_trace():
    rec = synthetic.white_noise(synthetic.ring(8), 12, seed=3)
    rng = np.random.default_rng(5)
    in_time, in_space = rng.permutation(12), rng.permutation(8)
    u = rec.activity.values
    expected = sum(abs(np.fft.fft2(u)[i, i]) / abs(np.fft.fft2(u[in_time])[i, i]) for i in range(8))
    result = diagonal_power(rec, seed=5)
    assert result.published.item() == pytest.approx(expected, rel=1e-10)
    both = sum(abs(np.fft.fft2(u)[i, i]) / abs(np.fft.fft2(u[in_time][:, in_space])[i, i]) for i in range(8))
    assert result.described.item() == pytest.approx(both, rel=1e-10)
    assert result.attrs["diagonal_speed"] == pytest.approx(-8 / 12)


# What is refused ----------------------------------------------------------------------------------------------------


def test_bad_recordings_are_refused_with_the_remedy():
    rec = plane()
    uneven = rec.assign_coords(time=("time", np.arange(256.0) ** 1.01, {"units": "s"}))
    with pytest.raises(ValueError, match=r"'time' is not evenly sampled.*rec.interp"):
        wavenumber_frequency_spectrum(uneven)
    repeated = rec.assign_coords(time=("time", np.r_[0, np.arange(255.0)], {"units": "s"}))
    with pytest.raises(ValueError, match="must increase"):
        wavenumber_frequency_spectrum(repeated)
    with pytest.raises(ValueError, match=r"'position' has 1 sample"):
        wavenumber_frequency_spectrum(rec.isel(position=[0]))
    with pytest.raises(ValueError, match=r"'time' has 1 sample"):
        wavenumber_frequency_spectrum(rec.isel(time=[0]))
    with pytest.raises(TypeError, match="complex"):
        wavenumber_frequency_spectrum(rec.astype(complex))
    with pytest.raises(TypeError, match=r"dtype (object|<U)"):
        wavenumber_frequency_spectrum(rec.activity.astype(str))
    with pytest.raises(ValueError, match="needs 'time'"):
        wavenumber_frequency_spectrum(rec.rename(time="t"))
    with pytest.raises(ValueError, match="space must be"):
        wavenumber_frequency_spectrum(rec.rename(position="site"))
    with pytest.raises(ValueError, match="named 'activity'"):
        wavenumber_frequency_spectrum(rec.rename(activity="voltage"))
    with pytest.raises(TypeError, match="ndarray"):
        wavenumber_frequency_spectrum(rec.activity.values)
    with pytest.raises(ValueError, match="empty"):
        wavenumber_frequency_spectrum(rec.isel(time=slice(0)))
    scattered = synthetic.plane(synthetic.electrodes([0.0, 1, 2], [1.0, 0, 2]), 20, wavenumber=(0.1, 0), frequency=0.1)
    with pytest.raises(ValueError, match="irregular electrode array"):
        wavenumber_frequency_spectrum(scattered)
    infinite = rec.assign_coords(time=("time", np.r_[np.nan, np.arange(255.0)], {"units": "s"}))
    with pytest.raises(ValueError, match="'time' holds NaN"):
        wavenumber_frequency_spectrum(infinite)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "no such"}, "window is 'no such'"),
        ({"space_window": "no such"}, "space_window is 'no such'"),
        ({"detrend": "cubic"}, "detrend is 'cubic'"),
        ({"segment": 300}, "segment is 300.*256"),
        ({"segment": 2}, "segment is 2"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"scaling": "log"}, "scaling is 'log'"),
        ({"average": "trial"}, "average names 'trial'"),
        ({"average": "time"}, "average names 'time'"),
        ({"mask": "zeros"}, "mask is 'zeros'"),
        ({"mask": np.zeros(63, bool)}, r"shape \(63,\)"),
        ({"mask": np.ones(64, bool)}, "leaves 0 of 64"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        wavenumber_frequency_spectrum(plane(), **options)


def test_missing_units_and_coordinates_are_warned_of():
    rec = plane()
    del rec.position.attrs["units"]
    with pytest.warns(UserWarning, match="'position' has no units"):
        spectrum = wavenumber_frequency_spectrum(rec)
    assert spectrum.wavenumber.attrs["units"] == "1"
    with pytest.warns(UserWarning, match="no coordinate 'time'"):
        wavenumber_frequency_spectrum(plane().drop_vars("time"))


def test_decoded_times_are_read_as_seconds():
    rec = plane().assign_coords(time=np.arange(256) * np.timedelta64(2, "ms"))
    spectrum = wavenumber_frequency_spectrum(rec)
    assert spectrum.frequency.attrs["units"] == "Hz"
    assert spectrum.frequency.values[-1] == pytest.approx(250.0)
    assert spectrum.frequency.attrs["nyquist"] == pytest.approx(250.0)


def test_bad_background_options_are_named():
    with pytest.raises(ValueError, match="shuffle is 'all'"):
        background_normalised_spectrum(plane(), seed=0, shuffle="all")
    with pytest.raises(ValueError, match="copies is 0"):
        background_normalised_spectrum(plane(), seed=0, copies=0)
    sheet = synthetic.plane(synthetic.sheet((5, 6)), 10, wavenumber=(0.1, 0.1), frequency=0.1)
    with pytest.raises(ValueError, match="one space axis"):
        diagonal_power(sheet, seed=0)
    with pytest.raises(ValueError, match="'wavenumber'"):
        ridge_power(wavenumber_frequency_spectrum(sheet), 1.0)

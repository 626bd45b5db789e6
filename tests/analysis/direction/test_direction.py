import numpy as np
import pytest
import xarray as xr

from analysis import synthetic
from analysis.direction.index import direction_index, directional_filter, travelling_index
from analysis.spectra.spectrum import wavenumber_frequency_spectrum

K0, F0 = 5 / 64, 12 / 256
RAW = {"window": "boxcar", "detrend": None}


def mixed(ratio, where=None, **shift):
    where = synthetic.ring(64) if where is None else where
    return synthetic.mixed(where, 256, ratio=ratio, wavenumber=shift.get("k", K0), frequency=shift.get("f", F0))


# Direction index -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "expected"), [(0, 1), (1, 0), (0.5, 0.6), (0.25, 0.882353)])
def test_index_of_mixtures_is_the_published_one(ratio, expected):
    assert direction_index(mixed(ratio), **RAW).index.item() == pytest.approx(expected, abs=5e-7)


def test_leftward_wave_has_index_minus_one():
    rec = synthetic.plane(synthetic.ring(64), 256, wavenumber=-K0, frequency=F0)
    assert direction_index(rec, **RAW).index.item() == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("size", [64, 63])
@pytest.mark.parametrize("steps", [256, 255])
def test_white_noise_has_no_direction_because_no_nyquist_bin_counts(size, steps):
    rec = synthetic.white_noise(synthetic.ring(size), steps, seed=0, trials=400)
    index = direction_index(rec, **RAW).index.values
    bins = ((size - 1) // 2) * ((steps - 1) // 2)  # of one side
    assert index.std() == pytest.approx(1 / np.sqrt(2 * bins), rel=0.12)  # 0.01127 for 64 × 256; ± 3.4 s.e.
    assert abs(index.mean()) < 4 * index.std() / 20  # with the Nyquist bin it would be 1/63 = 1.4 standard deviations


@pytest.mark.validate
def test_index_of_white_noise_has_the_published_mean_and_scatter(draws):
    n = draws(400, 2000)
    rec = synthetic.white_noise(synthetic.ring(64), 256, seed=7, trials=n)
    index = direction_index(rec, **RAW).index.values
    assert abs(index.mean()) < 4 * 0.01127 / np.sqrt(n)
    assert index.std() == pytest.approx(0.01127, rel=4 / np.sqrt(2 * n))


def test_wave_between_the_bins_needs_a_window():
    rec = synthetic.plane(synthetic.line(64), 256, wavenumber=5.5 / 64, frequency=12.5 / 256)
    assert direction_index(rec, **RAW).index.item() == pytest.approx(0.949, abs=5e-4)
    assert direction_index(rec, detrend=None).index.item() == pytest.approx(0.9999964, abs=1e-7)


def test_a_trend_drowns_the_direction_unless_it_is_removed():
    rec = synthetic.plane(synthetic.line(64), 256, wavenumber=5.5 / 64, frequency=12.5 / 256)
    rec["activity"] = rec.activity + 10 * (rec.time / 256 + rec.position / 64)
    assert direction_index(rec, detrend="constant").index < 0.5
    assert direction_index(rec, detrend="linear").index > 0.999
    assert direction_index(rec, detrend="plane").index.item() == pytest.approx(0.9999960, abs=1e-7)


def test_two_components_of_a_wave_on_a_sheet():
    rec = synthetic.plane(synthetic.sheet((16, 20), periodic=True), 64, wavenumber=(3 / 20, -2 / 16), frequency=5 / 64)
    assert direction_index(rec, axis="x", **RAW).index.item() == pytest.approx(1, abs=1e-12)
    assert direction_index(rec, axis="y", **RAW).index.item() == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("shape", [(6, 9), (7, 8)])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_standing_waves_on_a_sheet_have_no_direction(shape, axis):
    # every bin against its opposite (−kx, −ky), whatever the parity of the grid
    rng = np.random.default_rng(0)
    t = np.arange(24.0)
    patterns, amplitudes = rng.standard_normal((11, *shape)), rng.standard_normal(11)
    in_time = amplitudes[:, None] * np.cos(2 * np.pi * np.outer(np.arange(11), t) / 24)
    values = np.einsum("nt,nyx->tyx", in_time, patterns)
    coords = {"time": ("time", t, {"units": "1"})} | {
        dim: (dim, np.arange(float(n)), {"units": "1"}) for dim, n in zip("yx", shape, strict=True)
    }
    rec = xr.DataArray(values, coords, ("time", "y", "x"), attrs={"boundary": "periodic"})
    assert direction_index(rec, axis=axis, **RAW).index.item() == pytest.approx(0, abs=1e-12)


def test_band_keeps_one_of_two_waves():
    slow = synthetic.plane(synthetic.ring(64), 256, wavenumber=K0, frequency=F0)
    fast = synthetic.plane(synthetic.ring(64), 256, wavenumber=-K0, frequency=60 / 256)
    rec = slow.assign(activity=slow.activity + fast.activity)
    assert abs(direction_index(rec, **RAW).index.item()) < 1e-12
    assert direction_index(rec, band=(0.0, 0.1), **RAW).index.item() == pytest.approx(1)
    assert direction_index(rec, band=(0.1, 0.5), **RAW).index.item() == pytest.approx(-1)


def test_spectrum_and_recording_give_the_same_index():
    rec = synthetic.smooth_noise(synthetic.ring(32), 64, seed=0, trials=3, channels=2, asymmetry=0.4)
    of_spectrum = direction_index(wavenumber_frequency_spectrum(rec, segment=32))
    xr.testing.assert_allclose(of_spectrum.index, direction_index(rec, segment=32).index)
    assert of_spectrum.index.dims == ("trial", "channel")
    with pytest.raises(TypeError, match="segment"):
        direction_index(wavenumber_frequency_spectrum(rec), segment=32)


def test_silent_channel_has_no_index():
    rec = mixed(0.5) * 0
    assert np.isnan(direction_index(rec, **RAW).index)


# Directional filter --------------------------------------------------------------------------------------------------


def test_filter_takes_a_mixture_apart():
    parts = directional_filter(mixed(0.5))
    right = synthetic.plane(synthetic.ring(64), 256, wavenumber=K0, frequency=F0).activity
    left = synthetic.plane(synthetic.ring(64), 256, wavenumber=-K0, frequency=F0, amplitude=0.5).activity
    np.testing.assert_allclose(parts.right, right, atol=1e-12)
    np.testing.assert_allclose(parts.left, left, atol=1e-12)
    np.testing.assert_allclose(parts.rest, 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(20, 2, 8), (21, 2, 9), (12, 2, 6, 7), (13, 2, 7, 6)])
@pytest.mark.parametrize("options", [{}, {"detrend": "linear"}, {"speeds": (0.5, 2.0)}, {"band": (0.1, 0.3)}])
def test_parts_add_up_and_each_travels_its_way(shape, options):
    dims = ("time", "channel", "position") if len(shape) == 3 else ("time", "channel", "y", "x")
    coords = {d: (d, np.arange(float(n)), {"units": "1"}) for d, n in zip(dims, shape, strict=True) if d != "channel"}
    values = np.random.default_rng(0).standard_normal(shape)
    rec = xr.DataArray(values, coords, dims, attrs={"boundary": "periodic", "units": "uV"})
    parts = directional_filter(rec, **options)
    assert parts.right.dims == dims
    np.testing.assert_allclose(parts.right + parts.left + parts.rest, values, atol=1e-12)
    np.testing.assert_allclose(direction_index(parts.right, **RAW).index, 1, atol=1e-9)
    np.testing.assert_allclose(direction_index(parts.left, **RAW).index, -1, atol=1e-9)


def test_filter_by_speed_keeps_the_wave_of_that_speed():
    slow = synthetic.plane(synthetic.ring(64), 256, wavenumber=K0, frequency=F0)  # 0.6
    fast = synthetic.plane(synthetic.ring(64), 256, wavenumber=2 / 64, frequency=32 / 256)  # 4
    parts = directional_filter(slow.assign(activity=slow.activity + fast.activity), speeds=(0.5, 1.0))
    np.testing.assert_allclose(parts.right, slow.activity, atol=1e-12)
    np.testing.assert_allclose(parts.rest, fast.activity, atol=1e-12)


def test_filter_along_y_and_through_dask_keeps_dtype_and_dims():
    rec = synthetic.plane(synthetic.sheet((8, 10), periodic=True), 32, wavenumber=(0.1, -0.125), frequency=3 / 32)
    rec = xr.concat([rec, 2 * rec], "trial").astype(np.float32).assign_attrs(boundary="periodic")
    whole = directional_filter(rec, axis="y")
    np.testing.assert_allclose(whole.left, rec.activity, atol=1e-5)
    lazy = directional_filter(rec.chunk(trial=1), axis="y")
    assert lazy.left.chunks is not None
    assert lazy.left.dtype == np.float32
    np.testing.assert_array_equal(lazy.left.compute(), whole.left)


# Travelling index ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "expected"), [(0, 1), (1, 0), (0.5, 1 / 3), (0.25, 0.6)])
def test_travelling_index_is_the_published_one(ratio, expected):
    result = travelling_index(mixed(ratio), modes=1)
    assert result["index"].item() == pytest.approx(expected, abs=1e-10)
    assert result.explained.item() == pytest.approx(1.0, abs=1e-12)  # one complex mode
    assert result.mean_index.item() == pytest.approx(expected, abs=1e-10)


def test_the_mean_index_weighs_the_modes_that_were_kept_by_their_variance():
    found = travelling_index(synthetic.white_noise(synthetic.line(6), 64, seed=0), modes=2)
    assert found.explained.sum() < 0.9
    assert found.mean_index.item() == pytest.approx(np.average(found["index"], weights=found.explained), rel=1e-12)


@pytest.mark.parametrize(
    ("ratio", "energies"), [(0, (0.5, 0.5)), (1, (1, 0)), (0.5, (0.9, 0.1)), (0.25, (0.735, 0.265))]
)
def test_travelling_index_is_that_of_the_real_modes(ratio, energies):
    # a real decomposition needs two modes whose singular values have the same ratio
    s = np.linalg.svd(mixed(ratio).activity.values, compute_uv=False)
    np.testing.assert_allclose(s[:2] ** 2 / np.sum(s**2), energies, atol=5e-4)
    assert travelling_index(mixed(ratio))["index"].values[0] == pytest.approx(s[1] / s[0], abs=1e-7)


def test_pattern_of_a_travelling_mode_falls_in_phase_along_its_way():
    rec = synthetic.plane(synthetic.ring(64), 256, wavenumber=K0, frequency=F0)
    phase = travelling_index(rec, modes=1).phase.isel(mode=0)
    step = np.angle(np.exp(1j * np.diff(phase)))
    np.testing.assert_allclose(step, -2 * np.pi * K0, atol=1e-9)


def test_scattered_electrodes_and_trials_have_an_index_each():
    rng = np.random.default_rng(0)
    where = synthetic.electrodes(6 * rng.random(20), 6 * rng.random(20), units="mm")
    travelling = synthetic.plane(where, 200, wavenumber=(0.2, 0.1), frequency=0.05)
    standing = synthetic.standing(where, 200, wavenumber=(0.2, 0.1), frequency=0.05)
    rec = xr.concat([travelling, standing], "trial")
    index = travelling_index(rec).isel(mode=0)["index"]
    assert index.dims == ("trial",)
    x, y = where.xy()
    theta = 2 * np.pi * (0.2 * x + 0.1 * y)
    s = np.linalg.svd(np.column_stack([np.cos(theta), np.sin(theta)]), compute_uv=False)  # how the sensors sample it
    assert index[0].item() == pytest.approx(s[1] / s[0])
    assert index[1] < 1e-9
    np.testing.assert_allclose(travelling_index(rec.chunk(trial=1)).isel(mode=0)["index"].compute(), index)


def test_dead_electrodes_are_left_out():
    rec = mixed(0.5)
    broken = rec.copy(deep=True)
    broken.activity[:, [3, 40]] = np.nan
    result = travelling_index(broken, mask="nan")
    assert result["index"].values[0] == pytest.approx(1 / 3, abs=0.02)
    assert np.isnan(result.phase.values[0, [3, 40]]).all()
    with pytest.raises(ValueError, match="mask='nan'"):
        travelling_index(broken)


def test_band_chooses_the_mode():
    slow = synthetic.standing(synthetic.ring(64), 256, wavenumber=K0, frequency=F0)
    fast = synthetic.plane(synthetic.ring(64), 256, wavenumber=-K0, frequency=60 / 256)
    rec = slow.assign(activity=slow.activity + fast.activity)
    assert travelling_index(rec, band=(0.2, 0.3))["index"].values[0] == pytest.approx(1)
    assert travelling_index(rec, band=(0.0, 0.1))["index"].values[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_measures_stay_in_their_ranges(seed):
    rec = synthetic.smooth_noise(synthetic.ring(16), 40, seed=seed, trials=4, asymmetry=0.5)
    assert (abs(direction_index(rec).index) <= 1).all()
    modes = travelling_index(rec)
    assert ((modes["index"] >= 0) & (modes["index"] <= 1)).all()
    assert (modes.explained.sum("mode") <= 1 + 1e-12).all()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="axis is 'y'"):
        direction_index(mixed(0.5), axis="y")
    with pytest.raises(ValueError, match=r"band is \(0.6, 0.7\)"):
        direction_index(mixed(0.5), band=(0.6, 0.7))
    with pytest.raises(ValueError, match="axis is 'y'"):
        directional_filter(mixed(0.5), axis="y")
    with pytest.raises(ValueError, match="modes is 0"):
        travelling_index(mixed(0.5), modes=0)
    with pytest.raises(ValueError, match="1 position"):
        travelling_index(mixed(0.5).isel(position=[0]))
    with pytest.raises(ValueError, match=r"band is \(0.6, 0.7\)"):
        travelling_index(mixed(0.5), band=(0.6, 0.7))

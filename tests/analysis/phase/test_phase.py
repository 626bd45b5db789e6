"""Phases and their gradients: known plane waves, the seam of a ring, aliasing, bridged phases, bad input."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import wavefield as wf
from analysis import synthetic
from analysis.phase.signal import (
    _extended,
    analytic_signal,
    generalized_phase,
    phase_gradient,
    phase_gradient_directionality,
)


def sheet_wave(*, wavelength=20.0, angle=np.pi / 6, frequency=10.0, phase=0.0):
    k = (np.cos(angle) / wavelength, np.sin(angle) / wavelength)
    where = synthetic.sheet((10, 10), units="px")
    return synthetic.plane(
        where, 1000, wavenumber=k, frequency=frequency, dt=1e-3, time_units="s", phase=phase
    )  # one second at 1 kHz


def line_of(phases, dt=0.01):
    """A phase Dataset made by hand: phases (time, position), 1 apart."""
    coords = {
        "time": ("time", dt * np.arange(len(phases)), {"units": "s"}),
        "position": ("position", np.arange(phases.shape[1]) * 1.0, {"units": "mm"}),
    }
    angles = xr.DataArray(np.angle(np.exp(1j * phases)), coords, ("time", "position"))
    return xr.Dataset({"phase": angles, "frequency": xr.full_like(angles, 1.0)})


def test_plane_wave_has_its_wavenumber_frequency_speed_and_direction_everywhere():
    maps = phase_gradient(analytic_signal(sheet_wave(), trim=0))
    assert abs(maps.wavenumber - 0.05).max() < 1e-13
    assert abs(maps.frequency - 10).max() < 2e-11
    assert abs(maps.speed - 200).max() < 1e-9
    assert abs(maps.direction - np.pi / 6).max() < 1e-12
    assert abs(maps.wavelength - 20).max() < 1e-10
    pgd = phase_gradient_directionality(maps)
    assert abs(pgd.pgd - 1).max() < 1e-12
    assert abs(pgd.direction - np.pi / 6).max() < 1e-12


@pytest.mark.parametrize("angle", [-np.pi / 2, np.pi / 6, 2.5])
def test_direction_follows_the_coordinate_values_not_the_row_index(angle):
    rec = sheet_wave(angle=angle)
    rows_down = rec.isel(y=slice(None, None, -1))  # first row on top, as a picture is stored
    for recording in (rec, rows_down):
        maps = phase_gradient(analytic_signal(recording, trim=0))
        assert abs(maps.direction - angle).max() < 1e-12
    mirrored = rec.assign_coords(y=("y", -rec.y.values, rec.y.attrs))
    assert abs(phase_gradient(analytic_signal(mirrored, trim=0)).direction + angle).max() < 1e-12


def test_frequency_is_exact_for_whole_periods():
    rec = synthetic.plane(
        synthetic.line(4), 1000, wavenumber=0.1, frequency=3.0, dt=1e-3, time_units="s"
    )  # three periods
    assert abs(analytic_signal(rec, trim=0).frequency - 3).max() < 1e-10


def test_trimming_removes_the_edge_error_of_the_hilbert_transform():
    rec = sheet_wave(frequency=13.5, phase=-np.pi / 2)  # not a whole number of periods
    untrimmed = phase_gradient(analytic_signal(rec, trim=0)).wavenumber
    trimmed = phase_gradient(analytic_signal(rec)).wavenumber
    assert untrimmed.min() < 0.01
    assert untrimmed.max() > 0.25
    assert trimmed.sizes["time"] == 800
    assert trimmed.min() > 0.0466
    assert trimmed.max() < 0.0536


@pytest.mark.parametrize("wavelength", [4.2, 4.0, 3.8, 2.1])
def test_gradient_is_right_up_to_the_nyquist_wavenumber(wavelength):
    # differences across two sites read 0.2368 at 3.8 px, pointing backwards, and 0.024 at 2.1 px
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        maps = phase_gradient(analytic_signal(sheet_wave(wavelength=wavelength, angle=0.0), trim=0))
    assert abs(maps.wavenumber - 1 / wavelength).max() < 1e-12
    assert abs(maps.direction).max() < 1e-12


def test_steep_phases_are_warned_of():
    with pytest.warns(UserWarning, match="space the sensors more densely"):
        maps = phase_gradient(analytic_signal(sheet_wave(wavelength=2.6, angle=np.pi / 4), trim=0))
    assert maps.steepness.max() < 1


@pytest.mark.parametrize("modes", [5, -3])
def test_gradient_runs_across_the_seam_of_a_ring(modes):
    rec = synthetic.plane(synthetic.ring(32), 100, wavenumber=modes / 32, frequency=0.1)
    maps = phase_gradient(analytic_signal(rec, trim=0))
    assert abs(maps.wavenumber_x - modes / 32).max() < 1e-13
    assert abs(maps.speed - 3.2 / modes).max() < 1e-10


def test_gradient_ends_with_the_part_of_a_ring_that_was_cut_out():
    initial = np.cos(2 * np.pi * 5 * np.arange(64) / 64)[None]
    phases = analytic_signal(wf.simulate(wf.transport(1.0), initial=initial, steps=320), trim=0)
    with pytest.warns(UserWarning, match="30 positions .* part of a ring of 64"):
        maps = phase_gradient(phases.isel(position=slice(10, 40)))
    assert abs(maps.wavenumber_x - 5 / 64).max() < 1e-12


def test_gradient_on_scattered_electrodes_and_uneven_lines_is_exact():
    x, y = np.random.default_rng(1).random((2, 30))
    array = synthetic.plane(synthetic.electrodes(x, y), 100, wavenumber=(0.6, -0.3), frequency=0.1)
    maps = phase_gradient(analytic_signal(array, trim=0))
    assert abs(maps.wavenumber_x - 0.6).max() < 1e-11
    assert abs(maps.wavenumber_y + 0.3).max() < 1e-11
    position = np.array([0.0, 1.0, 1.5, 4.0, 4.2])
    line = line_of(2 * np.pi * (0.1 * np.arange(20)[:, None] - 0.15 * position))
    maps = phase_gradient(line.assign_coords(position=("position", position, {"units": "mm"})))
    assert abs(maps.wavenumber_x - 0.15).max() < 1e-12


def test_dead_sensors_stay_dead_and_harm_nobody():
    rec = sheet_wave()
    rec.activity[:, 3, 4] = np.nan
    maps = phase_gradient(analytic_signal(rec, trim=0, mask="nan"))
    assert np.isnan(maps.wavenumber[:, 3, 4]).all()
    alive = maps.wavenumber.stack(site=("y", "x")).dropna("site")
    assert alive.sizes["site"] == 99
    assert abs(alive - 0.05).max() < 1e-12


@pytest.mark.filterwarnings("ignore:neighbours differ")
def test_trials_and_channels_keep_their_place():
    rec = synthetic.narrowband_noise(synthetic.ring(6), 80, seed=0, trials=2, channels=3)
    maps = phase_gradient(analytic_signal(rec))
    assert maps.wavenumber_x.dims == ("trial", "time", "channel", "position")
    alone = phase_gradient(analytic_signal(rec.isel(trial=1, channel=2)))
    np.testing.assert_array_equal(maps.wavenumber_x[1, :, 2], alone.wavenumber_x)


@pytest.mark.filterwarnings("ignore:neighbours differ")
def test_lazy_recordings_give_the_same_and_stay_lazy():
    rec = synthetic.narrowband_noise(synthetic.ring(6), 80, seed=0, trials=2)
    lazy = phase_gradient(analytic_signal(rec.chunk(trial=1), band=(0.05, 0.15)))
    assert lazy.wavenumber_x.chunks is not None
    eager = phase_gradient(analytic_signal(rec, band=(0.05, 0.15)))
    xr.testing.assert_allclose(lazy.compute(), eager)


def test_directionality_is_one_for_plane_zero_for_rotating_and_small_for_noise():
    where = synthetic.sheet((8, 8))
    rotating = synthetic.rotating(where, 100, frequency=0.1, centre=(3.5, 3.5))
    maps = phase_gradient(analytic_signal(rotating, trim=0))
    assert phase_gradient_directionality(maps).pgd.max() < 1e-10
    noise = synthetic.white_noise(where, 400, seed=3)
    with pytest.warns(UserWarning, match="noise"):
        maps = phase_gradient(analytic_signal(noise, band=(0.05, 0.25)))
    pgd = phase_gradient_directionality(maps).pgd
    assert ((pgd >= 0) & (pgd <= 1)).all()
    assert pgd.mean() < 2 / 8


# Generalized phase -------------------------------------------------------------------------------------------------


def test_generalized_phase_of_a_clean_wave_is_its_phase():
    rec = sheet_wave()
    plain, general = analytic_signal(rec, trim=0), generalized_phase(rec, trim=0)
    assert int(general.interpolated.sum()) == 0
    np.testing.assert_allclose(np.exp(1j * general.phase), np.exp(1j * plain.phase), atol=1e-12)


def test_runs_of_backward_phase_at_the_very_end_do_not_overrun():
    t = 0.01 * np.arange(400)
    u = np.cos(2 * np.pi * 5 * t) + 6.0 * np.clip(t - 3.4, 0, None) * np.cos(2 * np.pi * 0.9 * t)
    rec = line_of(np.zeros((400, 3)))[["phase"]].rename(phase="activity")
    rec.activity[:] = u[:, None]
    plain = analytic_signal(rec, trim=0)
    assert (plain.frequency[-6:, 0] < 2.0).any()  # the case that overran
    general = generalized_phase(rec, lowest=2.0, trim=0)
    assert general.phase.shape == plain.phase.shape
    assert general.interpolated[-1, 0] == 1
    assert np.isfinite(general.phase).all()
    assert general.frequency.min() > 0  # what was bridged runs forwards


def test_bridged_phase_keeps_the_cycles_of_the_oscillation_under_a_slow_intrusion():
    t = 0.001 * np.arange(4000)
    truth = 2 * np.pi * 12 * t
    slow = 2.5 * np.exp(-(((t - 2) / 0.15) ** 2))
    rec = line_of(np.zeros((4000, 2)), dt=0.001)[["phase"]].rename(phase="activity")
    rec.activity[:] = (np.cos(truth) + slow)[:, None]
    assert analytic_signal(rec, trim=0.2).frequency.min() < 0  # the phase runs backwards, cycles are lost
    general = generalized_phase(rec, lowest=3.0, trim=0.2)
    assert general.frequency.min() > 0
    advance = np.ptp(np.unwrap(general.phase[:, 0]))
    assert abs(advance - np.ptp(truth[200:-200])) < 0.5  # the plain phase is short by six cycles, 38 rad


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 5))
def test_discarded_samples_cover_every_slow_step_and_never_leave_the_record(slow, extend):
    slow = np.array(slow)
    bad = _extended(slow, extend)
    assert bad.shape == (slow.size + 1,)
    assert bad[:-1][slow].all()
    assert bad.sum() <= extend * slow.sum()


# Bad input ---------------------------------------------------------------------------------------------------------


def with_time(rec, times):
    return rec.assign_coords(time=("time", times, rec.time.attrs))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda rec: with_time(rec, np.cumsum(np.random.default_rng(0).random(100))), ValueError, "evenly"),
        (lambda rec: rec.where(rec.position != 3), ValueError, "mask='nan'"),
        (lambda rec: rec.astype(complex), TypeError, "complex"),
        (lambda rec: rec.isel(time=[0]), ValueError, "'time' has 1 sample"),
        (lambda rec: rec.rename(time="seconds"), ValueError, "needs 'time'"),
    ],
)
def test_bad_recordings_are_refused_with_a_remedy(change, error, message):
    rec = synthetic.plane(synthetic.line(8), 100, wavenumber=0.1, frequency=0.1)
    with pytest.raises(error, match=message):
        analytic_signal(change(rec))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": (0.1, 0.6)}, "half the sampling rate"),
        ({"band": (0.2, 0.1)}, "lowest < highest"),
        ({"trim": 60.0}, "nothing is left"),
        ({"band": (0.1, 0.11)}, "nothing is left"),
        ({"mask": "dead"}, "mask is 'dead'"),
        ({"mask": np.zeros(3, bool)}, "shape"),
    ],
)
def test_bad_options_are_refused_with_what_is_accepted(options, message):
    rec = synthetic.plane(synthetic.line(8), 100, wavenumber=0.1, frequency=0.1)
    with pytest.raises(ValueError, match=message):
        analytic_signal(rec, **options)


def test_missing_units_are_warned_of():
    rec = synthetic.plane(synthetic.line(8), 100, wavenumber=0.1, frequency=0.1)
    del rec.time.attrs["units"]
    with pytest.warns(UserWarning, match="no units"):
        analytic_signal(rec)


def test_gradient_wants_phases():
    rec = synthetic.plane(synthetic.line(8), 100, wavenumber=0.1, frequency=0.1)
    with pytest.raises(TypeError, match="analytic_signal"):
        phase_gradient(rec)


def test_results_go_through_netcdf_with_units(tmp_path):
    maps = phase_gradient(generalized_phase(sheet_wave(), band=(5, 20)))
    maps.to_netcdf(tmp_path / "maps.nc", engine="h5netcdf")
    back = xr.load_dataset(tmp_path / "maps.nc", engine="h5netcdf")
    xr.testing.assert_identical(back, maps)
    assert back.speed.attrs["units"] == "px s-1"
    assert back.wavenumber.attrs["units"] == "px-1"
    assert all("units" in variable.attrs and "long_name" in variable.attrs for variable in back.data_vars.values())

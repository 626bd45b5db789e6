"""Sources, rotations and singularities: known targets and spirals, topology, independent sums."""

import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import synthetic
from analysis.fields.current_sources import current_source_density
from analysis.phase.patterns import (
    divergence_and_curl,
    phase_distance_correlation,
    rotation_correlation,
    singularities,
)
from analysis.phase.signal import analytic_signal, phase_gradient, phase_gradient_directionality


def spiral(arms=1, where=None, centre=(3.5, 3.5), **options):
    where = synthetic.sheet((8, 8)) if where is None else where
    return analytic_signal(synthetic.rotating(where, 100, frequency=0.1, centre=centre, arms=arms, **options), trim=0)


def noise_phases(where, steps=200, seed=0):
    return analytic_signal(synthetic.white_noise(where, steps, seed=seed), trim=0)


# A target wave, against the published toolbox's numbers ------------------------------------------------------------


@pytest.fixture(scope="module")
def target():
    """Decaying target wave of wave-matlab's demo: 8 × 8, 13.5 Hz, 20 px, σ 5 px, z-scored, sample 100."""
    where = synthetic.sheet((8, 8), units="px")
    rec = synthetic.target(
        where, 1000, wavenumber=1 / 20, frequency=13.5, centre=(3, 3), decay=5.0, dt=1e-3, time_units="s"
    )
    z = (rec.activity - rec.activity.mean("time")) / rec.activity.std("time")
    return analytic_signal(rec.assign(activity=z), trim=0).isel(time=[100])


def test_target_wave_correlates_with_distance_from_its_centre(target):
    about = phase_distance_correlation(target, (3, 3))
    assert float(about.rho[0]) == pytest.approx(0.99960, abs=2e-5)
    assert float(about.p_value[0]) == pytest.approx(1.3e-14, rel=0.01)
    assert float(phase_distance_correlation(target, (6, 1)).rho[0]) < 0.9


def test_target_wave_diverges_from_its_centre_and_runs_outwards(target):
    maps = phase_gradient(target)
    flow = divergence_and_curl(maps)
    assert (float(flow.source_x[0]), float(flow.source_y[0])) == (3.0, 3.0)
    outwards = np.arctan2(maps.y - 3, maps.x - 3)
    error = np.abs(np.angle(np.exp(1j * (maps.direction[0] - outwards).values)))
    elsewhere = error[((maps.x != 3) | (maps.y != 3)).transpose("y", "x").values.T]
    assert np.median(elsewhere) == pytest.approx(0.007, abs=5e-4)
    assert elsewhere.max() == pytest.approx(0.050, abs=5e-4)
    assert float(phase_gradient_directionality(maps).pgd[0]) == pytest.approx(0.166, abs=5e-4)


# Divergence and curl -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["sheet", "electrodes"])
def test_linear_fields_have_constant_divergence_and_curl(where):
    layout = synthetic.sheet((5, 6), dx=0.5, units="mm")
    if where == "electrodes":
        layout = synthetic.electrodes(*np.random.default_rng(0).random((2, 25)), units="mm")
    rec = synthetic.plane(layout, 4, wavenumber=(0.1, 0.0), frequency=0.1)
    x, y = layout.xy()
    kx, ky = (
        rec.activity.copy(data=np.broadcast_to(values, rec.activity.shape)) for values in (2 * x - 3 * y, 3 * x + y)
    )
    flow = divergence_and_curl(xr.Dataset({"wavenumber_x": kx, "wavenumber_y": ky}))
    np.testing.assert_allclose(flow.divergence, 3.0, rtol=1e-10)
    np.testing.assert_allclose(flow.curl, 6.0, rtol=1e-10)
    assert flow.curl.attrs["units"] == "mm-2"


@pytest.mark.parametrize("arms", [1, -1])
def test_curl_is_strongest_at_the_centre_of_a_rotation_and_has_its_sense(arms):
    flow = divergence_and_curl(phase_gradient(spiral(arms)))
    assert abs(flow.centre_x - 3.5).max() <= 0.5
    assert abs(flow.centre_y - 3.5).max() <= 0.5
    assert float(np.sign(flow.curl.sel(x=3, y=3)[0])) == arms


@pytest.mark.parametrize("centre", [(4.0, 4.0), (4.5, 4.5), (4.3, 3.8), (3.5, 4.0)])
def test_the_centre_of_a_rotation_is_found_to_half_a_spacing_at_all_times(centre):
    flow = divergence_and_curl(phase_gradient(spiral(where=synthetic.sheet((9, 9)), centre=centre)))
    assert abs(flow.centre_x - centre[0]).max() <= 0.5 + 1e-9
    assert abs(flow.centre_y - centre[1]).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("periodic", "centre"),
    [(False, (3.0, 4.0)), (False, (3.5, 4.5)), (True, (3.5, 4.5)), (True, (7.5, 0.0)), (True, (7.5, 7.5))],
)
def test_a_source_between_sensors_is_found_in_their_middle(centre, periodic):
    where = synthetic.sheet((8, 8), periodic=periodic)
    x, y = (axis - middle for axis, middle in zip(where.xy(), centre, strict=True))
    if periodic:
        x, y = (x + 4) % 8 - 4, (y + 4) % 8 - 4
    rec = synthetic.plane(where, 100, wavenumber=(0.0, 0.0), frequency=0.1)
    rec["activity"] = np.cos(0.2 * np.pi * rec.time - xr.DataArray(0.4 * np.hypot(x, y), dims=("y", "x")))
    flow = divergence_and_curl(phase_gradient(analytic_signal(rec, trim=0)))
    np.testing.assert_allclose(flow.source_x, centre[0], atol=1e-9)
    np.testing.assert_allclose(flow.source_y, centre[1], atol=1e-9)


def test_of_two_rotations_one_is_named_and_not_the_place_between():
    cores = [(2.5, 2.5), (6.5, 5.5)]
    where = synthetic.sheet((9, 9))
    x, y = where.xy()
    turns = [sense * np.arctan2(y - b, x - a) for sense, (a, b) in zip((1, -1), cores, strict=True)]
    rec = synthetic.plane(where, 100, wavenumber=(0.0, 0.0), frequency=0.1)
    rec["activity"] = np.cos(0.2 * np.pi * rec.time - xr.DataArray(sum(turns), dims=("y", "x")))
    flow = divergence_and_curl(phase_gradient(analytic_signal(rec, trim=0)))
    found = np.column_stack([flow.centre_x, flow.centre_y]).round(9).tolist()
    assert all(tuple(core) in cores for core in found)


def test_of_two_sources_one_is_named_also_where_rows_lie_farther_apart_than_columns():
    x = xr.DataArray(np.arange(9.0), dims="x")
    rec = synthetic.plane(synthetic.sheet((5, 9)), 100, wavenumber=(0.0, 0.0), frequency=0.1)
    rec = rec.assign_coords(y=("y", 5 * rec.y.values, rec.y.attrs))
    rec["activity"] = np.cos(0.2 * np.pi * rec.time - 0.2 * np.pi * abs(abs(x - 4) - 1.5)) + 0 * rec.activity
    flow = divergence_and_curl(phase_gradient(analytic_signal(rec, trim=0)))
    assert set(flow.source_x.values.round(9)) <= {2.0, 6.0}


def test_divergence_and_curl_move_with_the_field_on_a_closed_sheet():
    rec = synthetic.smooth_noise(synthetic.sheet((7, 8), periodic=True), 60, seed=0)
    moved = rec.assign(activity=rec.activity.roll(x=3, y=2))
    flow, other = (divergence_and_curl(phase_gradient(analytic_signal(one, trim=0))) for one in (rec, moved))
    for name in ("divergence", "curl"):
        np.testing.assert_allclose(other[name], flow[name].roll(x=3, y=2), atol=1e-12)


# Singularities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [1, -1])
@pytest.mark.parametrize("centre", [(3.5, 3.5), (1.3, 5.6)])
def test_one_singularity_at_the_centre_with_the_sense_of_the_rotation(arms, centre):
    winding = singularities(spiral(arms, centre=centre, wavenumber=0.05)).winding
    assert (winding.sum(["y_cell", "x_cell"]) == arms).all()
    assert (winding.sel(x_cell=centre[0], y_cell=centre[1], method="nearest") == arms).all()
    assert (abs(winding).sum(["y_cell", "x_cell"]) == 1).all()


def test_sense_follows_the_coordinate_values():
    phases = spiral(1)
    mirrored = phases.assign_coords(y=("y", -phases.y.values, phases.y.attrs))
    assert (singularities(mirrored).winding.sum(["y_cell", "x_cell"]) == -1).all()


def test_winding_numbers_on_a_closed_sheet_add_up_to_zero():
    winding = singularities(noise_phases(synthetic.sheet((7, 6), periodic=True))).winding
    assert winding.shape == (200, 7, 6)
    assert (winding.sum(["y_cell", "x_cell"]) == 0).all()
    assert abs(winding).max() == 1
    assert abs(winding).mean() > 0.1


def test_winding_number_of_the_rim_is_the_sum_inside():
    phases = noise_phases(synthetic.sheet((5, 6)), seed=4)
    values = phases.phase.values
    rim = np.concatenate([values[:, 0, :], values[:, 1:, -1], values[:, -1, -2::-1], values[:, -2::-1, 0]], axis=1)
    steps = np.angle(np.exp(1j * np.diff(rim, axis=1)))
    expected = -np.rint(steps.sum(axis=1) / (2 * np.pi))
    np.testing.assert_array_equal(singularities(phases).winding.sum(["y_cell", "x_cell"]), expected)


def test_electrode_arrays_have_singularities_on_triangles():
    x, y = np.random.default_rng(2).random((2, 60)) * 8
    winding = singularities(spiral(1, synthetic.electrodes(x, y), centre=(4.0, 4.0))).winding
    found = winding.isel(time=0)
    assert int(found.sum()) == 1
    at = found.isel(triangle=int(np.argmax(found.values)))
    assert np.hypot(at.x - 4, at.y - 4) < 1.0


def test_plane_waves_have_no_singularity_and_dead_sensors_make_none():
    rec = synthetic.plane(synthetic.sheet((6, 6)), 100, wavenumber=(0.1, 0.07), frequency=0.1)
    rec.activity[:, 2, 3] = np.nan
    assert (singularities(analytic_signal(rec, trim=0, mask="nan")).winding == 0).all()


# Correlations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [1, -1])
def test_rotation_correlation_is_the_sense_of_a_rotation(arms):
    result = rotation_correlation(spiral(arms), (3.5, 3.5))
    np.testing.assert_allclose(result.rho, arms, atol=1e-12)
    assert (result.p_value < 1e-20).all()


def test_plane_waves_and_targets_do_not_rotate():
    where = synthetic.sheet((8, 8))
    target = synthetic.target(where, 100, wavenumber=0.05, frequency=0.1, centre=(3.5, 3.5))
    assert abs(rotation_correlation(analytic_signal(target, trim=0), (3.5, 3.5)).rho).max() < 1e-10


def test_rotation_correlation_equals_the_double_sum():
    phases = noise_phases(synthetic.sheet((4, 4)), steps=5)
    rho = rotation_correlation(phases, (1.2, 1.7)).rho
    x, y = synthetic.sheet((4, 4)).xy()
    polar = np.arctan2(y - 1.7, x - 1.2).ravel()
    first, second = np.triu_indices(16, 1)
    for values, found in zip(phases.phase.values.reshape(5, -1), rho.values, strict=True):
        a, b = np.sin(-values[first] + values[second]), np.sin(polar[first] - polar[second])
        assert found == pytest.approx(np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2)), abs=1e-12)


def test_phase_distance_correlation_lies_in_range_and_its_p_value_is_calibrated():
    phases = noise_phases(synthetic.sheet((8, 8)), steps=3000, seed=7)
    result = phase_distance_correlation(phases, (2.0, 3.0))
    assert ((result.rho >= 0) & (result.rho <= 1)).all()
    assert float((result.p_value < 0.05).mean()) == pytest.approx(0.05, abs=0.02)
    rotation = rotation_correlation(phases, (2.2, 3.1))
    assert float((rotation.p_value < 0.05).mean()) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("centre", [0.0, 10.0, 63.0])
def test_phase_distance_correlation_is_the_same_wherever_on_the_ring_the_source_is(centre):
    rec = synthetic.plane(synthetic.ring(64), 200, wavenumber=1 / 64, frequency=0.05)
    away = np.abs((rec.position - centre + 32) % 64 - 32)
    rec = rec.assign(activity=np.cos(2 * np.pi * (0.05 * rec.time - away / 64)))
    rho = phase_distance_correlation(analytic_signal(rec, trim=0), centre).rho
    phase = 2 * np.pi * np.abs(np.arange(-32, 32)) / 64
    (_, cs, cx), (_, _, sx), _ = np.corrcoef([np.cos(phase), np.sin(phase), phase])
    expected = np.sqrt((cx**2 + sx**2 - 2 * cx * sx * cs) / (1 - cs**2))
    np.testing.assert_allclose(rho.isel(time=0), expected, atol=1e-9)
    assert rho.min() > 0.99


@pytest.mark.parametrize("centre", [(4.0, 4.0), (0.5, 7.5)])
def test_rotation_correlation_is_the_same_across_the_seam_of_a_closed_sheet(centre):
    where = synthetic.sheet((8, 8), periodic=True)
    x, y = ((axis - middle + 4) % 8 - 4 for axis, middle in zip(where.xy(), centre, strict=True))
    rec = synthetic.plane(where, 100, wavenumber=(0.0, 0.0), frequency=0.1)
    rec["activity"] = np.cos(0.2 * np.pi * rec.time - xr.DataArray(np.arctan2(y, x), dims=("y", "x")))
    np.testing.assert_allclose(rotation_correlation(analytic_signal(rec, trim=0), centre).rho, 1.0, atol=1e-9)


def test_patterns_are_the_same_lazily():
    phases = spiral(1)
    lazy = phases.chunk(time=25)
    np.testing.assert_array_equal(singularities(lazy).winding, singularities(phases).winding)
    np.testing.assert_allclose(rotation_correlation(lazy, (3, 3)).rho, rotation_correlation(phases, (3, 3)).rho)


def test_bad_input_is_refused():
    line = analytic_signal(synthetic.plane(synthetic.line(8), 50, wavenumber=0.1, frequency=0.1), trim=0)
    with pytest.raises(ValueError, match="two dimensions"):
        singularities(line)
    with pytest.raises(ValueError, match="two dimensions"):
        divergence_and_curl(phase_gradient(line))
    with pytest.raises(ValueError, match=r"1 finite coordinate"):
        phase_distance_correlation(line, (1.0, 2.0))
    with pytest.raises(TypeError, match="analytic_signal"):
        singularities(line.phase)


# Current source density --------------------------------------------------------------------------------------------


def cosine_profile(where, q):
    rec = synthetic.standing(where, 3, wavenumber=q, frequency=0.25)
    return rec, np.cos(2 * np.pi * q * rec.position.values)


def test_csd_of_a_cosine_is_smaller_than_the_derivative_by_sinc_squared():
    q, h = 1.25, 0.1
    rec, profile = cosine_profile(synthetic.line(40, dx=h, units="mm"), q)
    csd = current_source_density(rec, conductivity=0.3).csd.isel(time=0)
    truth = 0.3 * (2 * np.pi * q) ** 2 * rec.activity.isel(time=0, position=slice(1, -1)).values
    large = np.abs(profile[1:-1]) > 0.1
    np.testing.assert_allclose((csd / truth)[large], 0.949641, atol=5e-7)
    assert csd.attrs["units"] == "mm-2"


def test_csd_of_a_ring_keeps_every_position():
    rec, _ = cosine_profile(synthetic.ring(32), 3 / 32)
    csd = current_source_density(rec).csd
    factor = (2 * np.pi * 3 / 32 * np.sinc(3 / 32)) ** 2
    np.testing.assert_allclose(csd, factor * rec.activity, atol=1e-12)


def test_csd_of_part_of_a_ring_is_that_of_the_ring():
    initial = np.cos(2 * np.pi * 5 * np.arange(64) / 64)[None]
    ring = wf.simulate(wf.transport(1.0), initial=initial, steps=20)
    whole = current_source_density(ring).csd
    with pytest.warns(UserWarning, match="30 positions .* part of a ring of 64"):
        part = current_source_density(ring.isel(position=slice(0, 30))).csd
    np.testing.assert_allclose(part, whole.sel(position=slice(1, 28)), atol=1e-12)


def test_csd_wants_a_regular_axis_and_finite_values():
    rec, _ = cosine_profile(synthetic.line(8), 0.1)
    broken = rec.where(rec.position != 4)
    with pytest.raises(ValueError, match="mask='nan'"):
        current_source_density(broken)
    assert np.isnan(current_source_density(broken, mask="nan").csd).sum() == 3 * 3
    with pytest.raises(ValueError, match="at least 3"):
        current_source_density(rec.isel(position=[0, 1]))
    with pytest.raises(ValueError, match="positive"):
        current_source_density(rec, conductivity=-1.0)

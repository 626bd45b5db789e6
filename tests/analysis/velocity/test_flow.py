import numpy as np
import pytest

from analysis import diagnose, optical_flow_velocity, synthetic
from analysis.fields.field import Field
from analysis.velocity import estimators, flow
from analysis.velocity.result import STATUS

SHEET = synthetic.sheet((8, 8), dx=0.5, units="mm")


def wave(angle, wavelength=3.0, snr=None):
    k = np.array([np.cos(angle), np.sin(angle)]) / wavelength
    rec = synthetic.plane(SHEET, 300, wavenumber=tuple(k), frequency=5.0, dt=0.01, time_units="s")
    return rec if snr is None else synthetic.with_noise(rec, snr, seed=1)


@pytest.mark.parametrize(("angle", "snr", "share", "degrees"), [(2.2, None, 0.02, 0.5), (-0.4, 1.0, 0.05, 2.0)])
def test_plane_waves_have_their_speed_and_direction(angle, snr, share, degrees):
    found = optical_flow_velocity(wave(angle, snr=snr), band=(3, 8))
    assert float(found.speed) == pytest.approx(15.0, rel=share)
    assert abs(np.degrees(np.angle(np.exp(1j * (float(found.direction) - angle))))) < degrees
    if snr is not None:
        assert found.speed_low < 15.0 < found.speed_high
        assert found.direction_low < angle < found.direction_high
    assert found.speed.attrs["units"] == "mm s-1"


def test_bias_and_interval_are_those_of_the_jackknife_over_five_stretches(monkeypatch):
    found, plain = [], flow._velocity
    monkeypatch.setattr(flow, "_velocity", lambda *args: found.append(plain(*args)) or found[-1])
    monkeypatch.setattr(flow, "FRAMES", 2)
    rec = wave(0.4, snr=0.5)
    got = flow.flow(rec.activity.values.reshape(300, -1), 0.01, Field.of(rec).space.sensors(), band=(3, 8))
    whole, *parts, ideal = (v / np.sum(v**2) for v in found)
    assert len(parts) == 5  # Student's four degrees of freedom
    without_bias = 5 * whole - 4 * np.mean(parts, axis=0)  # Quenouille
    correction = without_bias - ideal
    np.testing.assert_allclose(got.slowness, without_bias + correction, rtol=1e-12)
    expected = 4**2 / 5 * np.cov(np.transpose(parts)) + 0.25**2 * np.outer(correction, correction)
    np.testing.assert_allclose(got.covariance, expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("slowest", "status"), [(14.0, "ok"), (16.0, "aliased")])
def test_what_is_slower_than_the_slowest_that_is_looked_for_is_refused(slowest, status, monkeypatch):
    monkeypatch.setattr(flow, "FRAMES", 2)
    assert STATUS[int(optical_flow_velocity(wave(0.4), band=(3, 8), slowest=slowest).status)] == status


def test_frames_pass_through_the_values_at_the_sensors():
    sites = Field.of(wave(0.4)).space.sensors()
    values = np.random.default_rng(0).standard_normal(64)
    image = flow._frame(values, sites, 4)
    assert image.shape == (29, 29)
    np.testing.assert_allclose(image[::4, ::4].ravel(), 8 * values, atol=1e-12)  # of 64 sensors: one at its crests


def test_distances_from_a_centre_are_no_picture():
    rec = synthetic.plane(synthetic.line(16), 300, wavenumber=0.1, frequency=0.05)
    assert flow.flow(rec.activity.values, 1.0, Field.of(rec).space.sensors()).status == "curved"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dead_sensors_are_filled_and_what_does_not_travel_has_no_speed():
    dead = np.zeros((8, 8), bool)
    dead[2, 3] = dead[6, 1] = True
    assert float(optical_flow_velocity(wave(0.7), mask=dead).speed) == pytest.approx(15.0, rel=0.04)
    standing = synthetic.standing(SHEET, 300, wavenumber=(0.3, 0.1), frequency=0.05)
    assert STATUS[
        int(optical_flow_velocity(synthetic.with_noise(standing, 1.0, seed=0), band=(0.03, 0.08)).status)
    ] in (
        "no_wave",
        "ambiguous",
        "chance",
    )


def test_what_is_no_grid_is_refused_by_name(monkeypatch):
    scattered = synthetic.electrodes(*np.random.default_rng(4).random((2, 20)))
    for where, k in ((scattered, (0.3, 0.2)), (synthetic.line(20), 0.1)):
        with pytest.raises(ValueError, match=r"optical flow needs frames on a grid"):
            optical_flow_velocity(synthetic.plane(where, 100, wavenumber=k, frequency=0.05))
    with pytest.raises(ValueError, match="at least 4 × 4"):
        optical_flow_velocity(wave(0.3).isel(y=slice(0, 3)))
    monkeypatch.setattr(estimators, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"wavefield\[flow\]"):
        diagnose(wave(0.3), flow=True)


def test_diagnose_asks_it_where_told_to(monkeypatch):
    monkeypatch.setattr("analysis.velocity.flow.FRAMES", 2)
    found = diagnose(wave(0.3, snr=3.0), draws=19, flow=True)
    assert found.estimator.values.tolist()[-1] == "optical flow"
    assert float(found.speed.sel(estimator="optical flow")) == pytest.approx(15.0, rel=0.1)

"""Fits of ridges and curved fronts against the closed forms of least squares, and the noise they are held to."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from analysis import synthetic
from analysis.fields.axes import Axis
from analysis.fields.field import Field
from analysis.spectra.background import ridge_power
from analysis.spectra.dispersion import fit_dispersion
from analysis.velocity.fronts import _curvature, _fit, _sense, _source
from analysis.velocity.phase_gradient import mean_frequency, mean_wavenumber
from analysis.velocity.ridge_centroid import Ridge, _against_aliasing, _noise_floor

F = np.array([0.05, 0.11])  # of the rows of a front
WHERE = Field.of(synthetic.white_noise(synthetic.sheet((7, 9)), 16, seed=0)).space.sensors()


# The ridge -----------------------------------------------------------------------------------------------------------


def ridge_of(error, scatter, seed):
    k = np.concatenate([-np.arange(12, 0, -1), np.arange(1, 13)]) / 30
    f = np.where(k > 0, 0.5 * k + scatter * error * np.random.default_rng(seed).standard_normal(k.size), np.nan)
    data = {
        "frequency": ("wavenumber", f),
        "frequency_error": ("wavenumber", np.full(k.size, error)),
        "power": ("wavenumber", np.full(k.size, 50.0)),
    }
    return xr.Dataset(data, {"wavenumber": k}), k[k > 0], f[k > 0]


@pytest.mark.parametrize("scatter", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_one_speed_is_fitted_by_the_closed_form_of_weighted_least_squares(scatter, confidence):
    ridge, k, f = ridge_of(0.002, scatter, seed=1)
    fit = fit_dispersion(ridge, confidence=confidence)
    c = np.sum(k * f) / np.sum(k**2)
    chi2 = np.sum((f - c * k) ** 2) / 0.002**2 / 11
    error = 0.002 / np.sqrt(np.sum(k**2)) * max(1.0, chi2) ** 0.5
    half = error * stats.t.ppf(0.5 + confidence / 2, 11)
    assert fit.value.item() == pytest.approx(c, rel=1e-6)
    assert fit.standard_error.item() == pytest.approx(error, rel=1e-4)
    assert (fit.high - fit.value).item() == pytest.approx(half, rel=1e-4)
    assert (fit.value - fit.low).item() == pytest.approx(half, rel=1e-4)
    assert fit.chi2_reduced.item() == pytest.approx(chi2, rel=1e-4)
    assert fit.rms_error.item() == pytest.approx(np.sqrt(np.mean((f - c * k) ** 2)), rel=1e-4)


@pytest.mark.parametrize(("far", "left_out"), [(4.0, False), (40.0, True)])
def test_points_far_from_the_fit_are_left_out(far, left_out):
    ridge, _, _ = ridge_of(0.002, 1.0, seed=2)
    clean = fit_dispersion(ridge).value.item()
    ridge.frequency[-1] += far * 0.002
    moved = fit_dispersion(ridge).value.item() - clean
    expected = far * 0.002 * 12 / 30 / np.sum((np.arange(1, 13) / 30) ** 2)
    assert moved == pytest.approx(0.0 if left_out else expected, abs=0.1 * expected)


@pytest.mark.parametrize("speed", [0.4, -0.7, 2.5])
def test_power_along_a_line_is_its_mean_over_the_mean_of_all(speed):
    k = (np.arange(16) - 8) / 16
    f = np.arange(33) / 64
    power = xr.DataArray(f[:, None] + 0.3 * k, {"frequency": f, "wavenumber": k}, dims=("frequency", "wavenumber"))
    on = k[(k != 0) & (k > -0.5) & (speed * k >= f[1]) & (speed * k <= f[-2])]
    found = float(ridge_power(power, speed))
    assert found == pytest.approx(np.mean(speed * on + 0.3 * on) / np.mean(f[1:-1]), rel=1e-9)


def test_the_noise_floor_is_the_mean_of_the_noise_whatever_stands_out_of_it():
    kx = np.fft.fftfreq(256)[None]
    power = np.random.default_rng(3).exponential(5.0, (1025, 256))
    power[:, 129:] = power[:, 127:0:-1]  # both sides alike: the quieter one is no quieter
    power[40:44, 70:73] = 1e4  # a wave
    inside = np.ones(power.shape, bool) & (kx != 0) & (np.abs(kx) < 0.5 - 1e-9)
    floor = _noise_floor(power, inside, kx)[20:-20]
    assert floor.mean() == pytest.approx(5.0, rel=0.008)  # of 125,000 values, three standard errors
    assert np.abs(floor - 5.0).max() < 1.0


@pytest.mark.parametrize(("factor", "status"), [(0.95, "ok"), (1.05, "aliased")])
def test_a_line_under_a_hann_window_is_no_broader_for_it(factor, status):
    """The line of sin²(πx/L) has the variance ∫w'²/(4π² ∫w²) = 1/(3 L²): from 0.1 of Nyquist on, a slope is seen."""
    space = Axis("position", 0.0, 1.0, 12, "1")
    k0, sigma = 0.2, factor * np.sqrt((0.1 * 0.5) ** 2 + 1 / (3 * 12**2))
    found = Ridge("ok", np.array([k0 / 0.5]), np.eye(1), 0.5, np.array([k0]), 1.0)
    k = np.array([k0 - sigma, k0 + sigma])
    f = 0.5 + 0.3 * (k - k0)  # which misses the origin by more than half of what lies between it and its neighbour
    assert _against_aliasing(found, np.ones(2), k, f, Axis("time", 0.0, 0.5, 100, "1"), space).status == status


# Phases --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [(0.13, -0.21), (-0.4, 0.05)])
def test_wavenumber_and_frequency_of_a_tone_are_exact(k):
    t = np.arange(50)[:, None]
    z = np.exp(2j * np.pi * (0.07 * t - WHERE.position @ k))
    products = (z[:, WHERE.second] * z[:, WHERE.first].conj()).sum(axis=0)
    np.testing.assert_allclose(mean_wavenumber(products, WHERE), k, atol=1e-9)
    frequency, influence = mean_frequency(np.roll(z, -1, 0)[:-1], z[:-1], np.array(k), WHERE, 0.5)
    assert frequency == pytest.approx(0.14, abs=1e-12)
    np.testing.assert_allclose(influence, 0, atol=1e-12)


# Fronts --------------------------------------------------------------------------------------------------------------


def rows_of(delay, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    u = np.exp(-2j * np.pi * F[:, None] * delay + 1j * np.array([[0.3], [2.0]]))
    return u * np.exp(1j * noise * rng.standard_normal(u.shape))


@pytest.mark.parametrize("kappa", [0.03, -0.08])
def test_the_curvature_of_a_parabola_is_exact_and_its_error_is_honest(kappa):
    slowness = np.array([0.6, -0.3])
    across = WHERE.centred @ np.array([0.3, 0.6]) / np.hypot(0.3, 0.6)
    delay = WHERE.centred @ slowness + 0.5 * kappa * across**2
    found, error = _curvature(rows_of(delay), F, slowness, WHERE.centred, across)
    assert found == pytest.approx(kappa, abs=1e-9)
    scores = []
    for seed in range(200):
        found, error = _curvature(rows_of(delay, 0.1, seed), F, slowness, WHERE.centred, across)
        scores.append((found - kappa) / error)
    assert np.std(scores) == pytest.approx(1.0, abs=0.15)  # of 200, three standard errors
    assert abs(np.mean(scores)) < 0.25


def test_a_fit_gives_back_the_change_of_delay_that_was_made():
    slopes = np.column_stack([WHERE.centred, WHERE.centred[:, 0] * WHERE.centred[:, 1]])
    change, covariance = _fit(rows_of(slopes @ [0.02, -0.03, 0.01]), F, 0.0 * slopes[:, 0], slopes)
    np.testing.assert_allclose(change, [0.02, -0.03, 0.01], atol=1e-9)
    assert np.abs(covariance).max() < 1e-12


def test_the_covariance_of_a_fit_counts_the_phase_of_every_row_as_a_parameter():
    """Of least squares with a column of ones for each row, s² = |rest|²/(values − rows − slopes)."""
    where = Field.of(synthetic.white_noise(synthetic.sheet((2, 3)), 16, seed=0)).space.sensors()
    frequency = np.linspace(0.03, 0.12, 6)
    noise = 0.01 * np.random.default_rng(1).standard_normal((6, where.count))
    change, covariance = _fit(np.exp(1j * noise), frequency, np.zeros(where.count), where.centred)
    slopes = np.concatenate([-2 * np.pi * f * where.centred for f in frequency])
    design = np.column_stack([slopes, np.repeat(np.eye(6), where.count, axis=0)])
    expected, rest = np.linalg.lstsq(design, noise.ravel(), rcond=None)[:2]
    np.testing.assert_allclose(change, expected[:2], rtol=1e-3)
    variance = rest[0] / (6 * 6 - 6 - 2)
    np.testing.assert_allclose(covariance, variance * np.linalg.inv(design.T @ design)[:2, :2], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("sense", [1.0, -1.0])
@pytest.mark.parametrize("centre", [(-6.0, 2.0), (14.0, 9.0)])
def test_a_source_outside_the_array_is_found_and_its_sense(sense, centre):
    distance = np.linalg.norm(WHERE.position - centre, axis=1)
    rows = rows_of(0.7 * sense * distance)
    assert _sense(rows, F, distance, 0.7) == sense
    found, wider = _source(rows, F, WHERE, 0.72, np.add(centre, (0.3, -0.4)))
    np.testing.assert_allclose(found, centre, atol=1e-3)
    assert wider >= 1
    assert _source(rows, F, WHERE, 0.7, WHERE.position.mean(axis=0), nearest=10.0) is None

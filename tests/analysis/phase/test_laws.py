"""The formulas of phases and their gradients, factor by factor, against SciPy's Hilbert transform and closed forms."""

import warnings

import numpy as np
import pytest
from scipy.signal import hilbert

from analysis import synthetic
from analysis.phase.signal import (
    _bridge,
    analytic_signal,
    generalized_phase,
    phase_gradient,
    phase_gradient_directionality,
)

DT = 0.004


def noise(steps, seed=0):
    return synthetic.white_noise(synthetic.line(3), steps, dt=DT, time_units="s", seed=seed)


@pytest.mark.parametrize("steps", [80, 81])
def test_amplitude_phase_and_frequency_are_those_of_the_hilbert_transform(steps):
    rec = noise(steps)
    z = hilbert(rec.activity.values - rec.activity.values.mean(axis=0), axis=0)
    found = analytic_signal(rec, trim=0)
    np.testing.assert_allclose(found.amplitude, np.abs(z), rtol=1e-10)
    np.testing.assert_allclose(np.exp(1j * found.phase), z / np.abs(z), atol=1e-10)
    products = z[1:] * z[:-1].conj()
    inner = np.angle(products[1:] + products[:-1]) / (2 * np.pi * DT)
    np.testing.assert_allclose(found.frequency[1:-1], inner, atol=1e-7)
    np.testing.assert_allclose(found.frequency[[0, -1]], np.angle(products[[0, -1]]) / (2 * np.pi * DT), atol=1e-7)


@pytest.mark.parametrize(("band", "dropped"), [((10.0, 35.0), 0.04), ((10.0, 20.0), 0.1), (None, 0.1)])
def test_one_over_the_bandwidth_or_a_tenth_of_the_record_is_dropped_at_both_ends(band, dropped):
    rec = noise(250)
    kept = analytic_signal(rec, band=band)
    assert float(kept.time[0] - rec.time[0]) == pytest.approx(dropped, abs=1e-9)
    assert float(rec.time[-1] - kept.time[-1]) == pytest.approx(dropped, abs=1e-9)


@pytest.mark.parametrize(("trim", "dropped"), [(0.14, 14), (0.145, 15), (0.39, 39)])
def test_a_trim_of_whole_samples_drops_as_many_and_of_a_part_one_more(trim, dropped):
    rec = synthetic.white_noise(synthetic.line(3), 81, dt=0.01, seed=0)
    assert analytic_signal(rec, trim=trim).sizes["time"] == 81 - 2 * dropped


def test_a_trim_that_leaves_a_single_sample_is_refused():
    with pytest.raises(ValueError, match="nothing is left"):
        analytic_signal(synthetic.white_noise(synthetic.line(3), 81, dt=0.1, seed=0), trim=4.0)


@pytest.mark.parametrize(("lowest", "share"), [(0.0, 0.0), (9.9, 0.0), (10.1, 1.0)])
def test_what_is_slower_than_the_lowest_frequency_is_discarded(lowest, share):
    rec = synthetic.plane(synthetic.ring(4), 250, wavenumber=0.25, frequency=10.0, dt=DT, time_units="s")
    found = generalized_phase(rec, lowest=lowest, trim=0)
    assert float(found.interpolated.mean()) == share


@pytest.mark.parametrize("rate", [0.03, 0.24, 0.4, -0.1])
def test_a_bridge_carries_an_even_rotation_across_gaps_and_beyond_both_ends(rate):
    n = np.arange(90)
    truth = np.exp(2j * np.pi * rate * n)
    bad = (n < 7) | ((n > 30) & (n < 52)) | (n == 60) | (n > 80)
    phase = np.where(bad, 1.0, np.angle(truth))
    np.testing.assert_allclose(np.exp(1j * _bridge(phase, bad)), truth, atol=1e-9)


def test_a_bridge_goes_at_the_median_rate_of_what_is_left_whatever_a_few_samples_do():
    turns = np.full(80, 0.1)
    turns[[3, 9, 14]] = 0.45
    truth = np.exp(2j * np.pi * np.cumsum(turns))
    bad = (np.arange(80) > 30) & (np.arange(80) < 55) | (np.arange(80) > 70)
    phase = np.where(bad, 1.0, np.angle(truth))
    np.testing.assert_allclose(np.exp(1j * _bridge(phase, bad)), truth, atol=1e-9)


def test_where_a_single_sample_is_left_there_is_nothing_to_bridge_from():
    rec = noise(8)
    rec["activity"] = ("time", "position"), np.repeat([[-2.0], [0.0], [-2.0], [-1.0], [1.0], [2.0], [0.0], [1.0]], 3, 1)
    found = generalized_phase(rec, lowest=0.25 / DT, trim=0)
    assert found.interpolated.sum("time").values.tolist() == [7, 7, 7]
    np.testing.assert_allclose(found.phase, analytic_signal(rec, trim=0).phase)


def test_a_bridge_over_every_other_sample_turns_by_the_shorter_way():
    truth = np.exp(2j * np.pi * 0.1 * np.arange(41))
    bad = np.arange(41) % 2 == 1
    phase = np.where(bad, 1.0, np.angle(truth))
    np.testing.assert_allclose(np.exp(1j * _bridge(phase, bad)), truth, atol=1e-9)


@pytest.mark.parametrize(("cycles", "warned"), [(0.1, False), (-0.22, False), (0.23, True), (0.3, True)])
def test_steepness_is_the_step_between_neighbours_in_pi_and_warned_of_from_nine_twentieths_on(cycles, warned):
    rec = synthetic.plane(synthetic.line(12), 100, wavenumber=cycles, frequency=0.1)
    phase = analytic_signal(rec, trim=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        maps = phase_gradient(phase)
    np.testing.assert_allclose(maps.steepness, 2 * abs(cycles), atol=1e-9)
    assert any("on average" in str(one.message) for one in told) == warned


@pytest.mark.parametrize("turned", [0, 3, 16])
@pytest.mark.parametrize("angle", [0.4, 2.0, -1.2])
def test_directionality_is_the_length_of_the_mean_vector_over_the_mean_length(turned, angle):
    k = 0.1 * np.array([np.cos(angle), np.sin(angle)])
    rec = synthetic.plane(synthetic.sheet((8, 8)), 60, wavenumber=tuple(k), frequency=0.1)
    maps = phase_gradient(analytic_signal(rec, trim=0)).transpose("time", "y", "x").copy(deep=True)
    for name in ("wavenumber_x", "wavenumber_y"):
        maps[name].values.reshape(60, 64)[:, :turned] *= -1
    found = phase_gradient_directionality(maps)
    np.testing.assert_allclose(found.pgd, 1 - 2 * turned / 64, atol=1e-9)
    np.testing.assert_allclose(found.direction, angle, atol=1e-9)
    np.testing.assert_allclose(maps.wavelength, 10.0, rtol=1e-9)
    np.testing.assert_allclose(maps.speed, 1.0, rtol=1e-9)

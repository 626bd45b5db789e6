"""Intervals of velocities: quantiles of Student's table, the variance of known influences, ends turned over."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.direction.pairs import Pairs
from analysis.velocity.chance import Balance, may_be_chance
from analysis.velocity.result import long_run_covariance, quantile, velocity
from analysis.velocity.stacking import Coherence, _spline, smoothing_window


@pytest.mark.parametrize(("confidence", "tabulated"), [(0.90, 2.132), (0.95, 2.776), (0.99, 4.604)])
def test_quantiles_are_students_with_four_degrees_of_freedom(confidence, tabulated):
    assert quantile(confidence) == pytest.approx(tabulated, abs=5e-4)  # from any table of the distribution


@pytest.mark.parametrize(("cosine", "seen"), [(1, True), (4, True), (5, False), (8, False)])
def test_the_lowest_four_cosines_of_the_influence_are_its_variance(cosine, seen):
    steps = 200
    wave = np.cos(np.pi * cosine * (np.arange(steps) + 0.5) / steps)
    # Σ √2 cos² over the midpoints is T/√2, and one of four cosines has it
    expected = steps**2 / 2 / 4 if seen else 0.0
    assert long_run_covariance(wave[:, None])[0, 0] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert long_run_covariance(wave[:, None] + 3.0)[0, 0] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_covariance_of_white_influences_is_the_variance_of_their_sum():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0], [0.8, 0.6]])
    found = np.mean(
        [long_run_covariance(rng.standard_normal((64, 2)) @ mixing.T) for _ in range(1500)], axis=0
    )  # T·C less nothing: the cosines are orthogonal to the mean
    np.testing.assert_allclose(found, 64 * mixing @ mixing.T, atol=64 * 0.06)


def test_cosines_run_in_steps_of_equal_variance():
    rng = np.random.default_rng(1)
    size = np.hanning(66)[1:-1]
    found = [long_run_covariance((size * rng.standard_normal(64))[:, None], size**2)[0, 0] for _ in range(1500)]
    assert np.mean(found) == pytest.approx(np.sum(size**2), rel=0.08)
    even = np.ones(64)
    one = rng.standard_normal((64, 1))
    np.testing.assert_allclose(long_run_covariance(one, 5 * even), long_run_covariance(one))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_interval_of_a_signed_speed_is_that_of_the_slowness_turned_over(sign):
    found = velocity(np.array([sign * 0.5]), np.array([[0.05**2]]), 0.95)
    ends = sorted(sign / (0.5 + s * 2.7764451 * 0.05) for s in (1, -1))
    assert (found.speed, found.low, found.high) == pytest.approx((sign * 2.0, *ends))
    nothing = velocity(np.array([sign * 0.5]), np.array([[0.19**2]]), 0.95)  # 2.776 · 0.19 > 0.5
    assert (nothing.low, nothing.high) == (-np.inf, np.inf)
    assert np.isfinite(velocity(np.array([sign * 0.5]), np.array([[0.179**2]]), 0.95).high)


def test_a_direction_turns_by_the_error_across():
    slowness, covariance = np.array([0.3, 0.4]), np.diag([0.0, 0.0])
    along, across = slowness / 0.5, np.array([-0.8, 0.6])
    covariance = 0.02**2 * np.outer(along, along) + 0.05**2 * np.outer(across, across)
    found = velocity(slowness, covariance, 0.95)
    turn = 2.7764451 * 0.05 / 0.5
    assert found.speed == pytest.approx(2.0)
    assert found.low == pytest.approx(1 / (0.5 + 2.7764451 * 0.02))
    assert found.high == pytest.approx(1 / (0.5 - 2.7764451 * 0.02))
    assert found.direction == pytest.approx(np.arctan2(4, 3))
    assert found.direction_high - found.direction == pytest.approx(turn)
    assert found.direction - found.direction_low == pytest.approx(turn)
    # more than half a turn is none, nor is one where the slowness may be 0
    assert np.isfinite(velocity(slowness, 0.56**2 * np.outer(across, across), 0.95).direction_high)
    assert np.isinf(velocity(slowness, 0.58**2 * np.outer(across, across), 0.95).direction_high)
    assert np.isinf(velocity(slowness, 0.2**2 * np.outer(along, along), 0.95).direction_high)


# Chance ---------------------------------------------------------------------------------------------------------------


def balance(index=0.5, difference=1.0, in_phase=0.0, power=1.0):
    blocks = np.ones(40)
    axis = np.tile([1.0, 0.0], (40, 1))
    return Balance(Pairs(np.arange(40), axis, power * blocks, difference * blocks, blocks, 1.0), index, in_phase)


def test_a_field_stands_below_an_index_of_a_tenth_unless_its_sensors_are_in_phase():
    assert balance(index=0.0999).stands
    assert not balance(index=0.1).stands
    assert balance(index=0.05, in_phase=0.49).stands
    assert not balance(index=0.05, in_phase=0.5).stands
    assert not balance(index=0.05, power=0.0).known
    assert not balance(index=0.05, power=0.0).stands


def test_eight_standard_errors_from_zero_chance_is_not_met():
    even, slowness = balance(index=0.11, difference=0.0), np.array([0.8, 0.0])

    def chance(found, deviation, level=0.05):
        return may_be_chance(found, slowness, deviation**2 * np.eye(2), level=level)

    assert not chance(even, 0.0999)
    assert chance(even, 0.1001)
    assert chance(replace(even, index=0.1), 0.0999)  # nearly balanced: held against chance wherever it lies
    assert not chance(balance(index=0.05, power=0.0), 1.0)  # too few sensors for any pair
    # every block goes one way: p = 1/200, which a level of 0.0051 lets pass and one of 0.0049 does not
    assert not chance(balance(index=0.05), 1.0, level=0.0051)
    assert chance(balance(index=0.05), 1.0, level=0.0049)


# Stacking -------------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_maximum_likelihood():
    coherent, total = np.array([0.0, 2.0, 1.0]), np.array([1.0, 4.0, 1.0])
    noise = np.array([1.0, 2.0, 0.0]) + 1e-3 * 4
    found = Coherence(coherent, total, 1.0, 1.0).weights(5.0)
    np.testing.assert_allclose(found, 4 * coherent / (noise * (noise + 5 * coherent)))


def test_the_spline_is_the_quintic_one():
    u = np.linspace(-3, 3, 601)
    assert _spline(0.0) == pytest.approx(66 / 120)
    assert _spline(np.array([1.0, -2.0, 3.0])) == pytest.approx([26 / 120, 1 / 120, 0])
    shifts = np.arange(-4, 5)[:, None] + np.linspace(0, 1, 11)
    np.testing.assert_allclose(_spline(shifts).sum(axis=0), 1)
    assert np.trapezoid(u**2 * _spline(u), u) == pytest.approx(6 / 12, rel=1e-3)  # six boxes of variance 1/12


@pytest.mark.parametrize(("bins", "length"), [(400, 15), (20, 10), (4, 3)])
def test_spectra_are_smoothed_over_fifteen_bins_of_weight_1(bins, length):
    window = smoothing_window(bins)
    assert window.size == length
    assert window.sum() == pytest.approx(1)
    np.testing.assert_allclose(window, window[::-1])
    assert (window > 0).all()

"""What sensors share, frequency by frequency."""

import numpy as np
import pytest

from analysis.velocity import stacking
from analysis.velocity.stacking import Apertures, coherence

STEPS, SENSORS = 400, 4
ALL = Apertures(np.zeros((SENSORS, 1)), np.ones((SENSORS, 1)), np.zeros((1, SENSORS)), 1.0, 0, STEPS)


def tone(cycles):
    return np.cos(2 * np.pi * cycles * np.arange(STEPS) / STEPS)[:, None]


def test_what_is_shared_is_found_at_its_frequency():
    found = coherence(ALL, np.repeat(tone(40), SENSORS, axis=1), band=(0.01, 0.4))
    assert found.frequency == pytest.approx(40 / STEPS, rel=1e-3)
    assert found.explained == pytest.approx(1.0, rel=1e-3)


@pytest.mark.filterwarnings("error")
def test_a_band_in_which_sensors_oppose_each_other_between_two_that_they_share_holds_nothing():
    opposed = tone(100) * np.array([1, -1, 1, -1])
    traces = tone(98) + tone(102) + 0.2 * opposed
    assert coherence(ALL, traces, band=(99.9 / STEPS, 100.1 / STEPS)) is None


@pytest.mark.parametrize("sensors", [3, 16])
@pytest.mark.parametrize("trials", [1, 20])
def test_noise_is_taken_for_shared_as_often_as_is_stated(sensors, trials, monkeypatch):
    monkeypatch.setattr(stacking, "FALSE_ALARM", 0.05 * trials)  # anywhere in the record, at any of so many slownesses
    rng, ones = np.random.default_rng(0), np.ones((sensors, 1))
    whole = Apertures(0 * ones, ones, np.zeros((1, sensors)), 1.0, 0, STEPS)
    draws = (coherence(whole, rng.standard_normal((STEPS, sensors)), trials=trials) for _ in range(500))
    assert 0.015 < np.mean([found is not None for found in draws]) < 0.075


def test_each_sensor_is_compared_with_the_others_of_its_aperture():
    member = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
    apertures = Apertures(np.zeros((5, 1)), member, np.zeros((1, 5)), 1.0, 0, STEPS)
    assert apertures.others.tolist() == [2, 2, 1, 2, 1]

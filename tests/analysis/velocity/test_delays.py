"""The inside of the delay estimate, and how wide the intervals of the estimators are."""

import numpy as np
import pytest

from analysis import synthetic
from analysis.fields.field import Field
from analysis.velocity import delays as delays_module
from analysis.velocity import radon as radon_module
from analysis.velocity.coarse_scan import scan
from analysis.velocity.delays import _excess, delays
from analysis.velocity.estimators import METHODS
from analysis.velocity.stacking import cut_apertures

STEPS = 400


def test_a_sensor_counts_by_the_square_of_its_strength():
    rng, gains = np.random.default_rng(0), np.array([1.0, 0.5, 2.0, 1.0, 0.7, 1.5])
    shared = np.cos(2 * np.pi * 0.1 * np.arange(STEPS))[:, None]
    traces = gains * shared + 0.1 * rng.standard_normal((STEPS, 6))
    apertures = cut_apertures(traces, np.arange(6.0)[:, None], 1.0, np.zeros(1), 1.0)
    traces = traces[apertures.first : apertures.first + apertures.samples]
    variance = _excess(apertures, traces, np.ones(apertures.samples // 2 + 1))[2]
    gain = gains / ((gains.sum() - gains) / 5)  # against the mean of the others, which brings a fifth of its noise
    noise = 1 + gain**2 / 5
    expected = np.maximum(noise, noise.mean()) / gains**2
    np.testing.assert_allclose(variance / variance.mean(), expected / expected.mean(), rtol=0.15)


def test_a_strong_sensor_is_not_taken_for_an_early_one():
    time = np.arange(STEPS + 20) - 10.0
    swelling = [1 + 0.5 * (site == 2) for site in range(5)] * np.exp(6 * time / STEPS)[:, None]
    late = 0.3 * (np.arange(5) == 2)
    traces = swelling * np.cos(2 * np.pi * 0.01 * (time[:, None] + late))
    apertures = cut_apertures(traces, np.arange(5.0)[:, None], 1.0, np.zeros(1), 1.0)
    traces = traces[apertures.first : apertures.first + apertures.samples]
    excess = _excess(apertures, traces, np.ones(apertures.samples // 2 + 1))[0]
    assert excess[2] == pytest.approx(0.3 * 4 / 5, rel=0.1)  # less a fifth, by which the mean moves along


def test_of_a_few_sensors_each_moves_by_its_share():
    rng, late = np.random.default_rng(1), np.array([0.0, 1.3, 2.6])
    layout = Field.of(synthetic.white_noise(synthetic.line(3), STEPS, seed=0)).space.sensors()
    frequencies, phases = np.linspace(0.04, 0.1, 9), rng.uniform(0, 2 * np.pi, 9)
    time = np.arange(STEPS)[:, None, None] - late[:, None]
    values = np.cos(2 * np.pi * frequencies * time + phases).sum(axis=2)
    found = delays(values, 1.0, layout)
    np.testing.assert_allclose(np.diff(found.delay), 1.3, atol=1e-3)


def test_parts_of_an_array_that_a_slow_wave_is_long_in_crossing_are_joined_along_the_front():
    layout = Field.of(synthetic.white_noise(synthetic.line(40), STEPS, seed=0)).space.sensors()
    wave = synthetic.moving_pattern(synthetic.line(40), STEPS, speed=0.12, seed=0)
    found = delays(wave.activity.values, 1.0, layout)
    assert cut_apertures(wave.activity.values, layout.centred, 1.0, found.slowness, 3.0).member.shape[1] > 1
    np.testing.assert_allclose(np.diff(found.delay), 1 / 0.12, rtol=0.05)


def test_a_sensor_that_no_other_can_be_compared_with_has_no_delay():
    x = np.append(np.arange(8.0), 400.0)  # the wave is there after all samples have been taken
    layout = synthetic.electrodes(x, 0.3 * (-1.0) ** np.arange(9))
    phases, frequencies = np.random.default_rng(3).uniform(0, 2 * np.pi, 9), np.linspace(0.03, 0.07, 9)
    values = np.cos(2 * np.pi * frequencies * (np.arange(STEPS)[:, None, None] - 2 * x[:, None]) + phases).sum(axis=2)
    found = delays(values, 1.0, Field.of(synthetic.white_noise(layout, STEPS, seed=0)).space.sensors())
    assert np.isnan(found.delay).tolist() == [False] * 8 + [True]


@pytest.mark.parametrize("module", [delays_module, radon_module])
def test_what_noise_reaches_by_chance_counts_every_speed_that_was_tried(module, monkeypatch):
    plain, told = module.coherence, []
    monkeypatch.setattr(module, "coherence", lambda *args, trials, **kw: told.append(trials) or plain(*args, **kw))
    wave = synthetic.plane(synthetic.line(8), STEPS, wavenumber=0.11, frequency=0.1)
    sites, values = Field.of(wave).space.sensors(), wave.activity.values
    METHODS[{delays_module: "delay", radon_module: "radon"}[module]][1](values, 1.0, sites)
    assert set(told) == {scan(values, 1.0, sites).trials}
    assert told[0] == 7  # from −½ to ½ of a cycle a spacing in steps of a cycle per extent, eight sensors long


@pytest.mark.parametrize("name", ["radon", "delay", "phase gradient"])
@pytest.mark.parametrize("where", ["line", "electrodes"])
def test_intervals_are_as_wide_as_the_estimates_scatter(name, where):
    rng = np.random.default_rng(2)
    layout = synthetic.line(8) if where == "line" else synthetic.electrodes(*rng.uniform(0, 4, (2, 9)))
    k = 0.11 if where == "line" else (0.1, 0.06)
    wave = synthetic.plane(layout, STEPS, wavenumber=k, frequency=0.1)
    sites = Field.of(wave).space.sensors()
    clean = wave.activity.values.reshape(STEPS, -1)
    found = [
        METHODS[name][1](clean + 0.7 * rng.standard_normal(clean.shape), 1.0, sites, band=(0.05, 0.15))
        for _ in range(60)
    ]
    scatter = np.array([one.slowness for one in found]).std(axis=0, ddof=1)
    stated = np.sqrt(np.mean([np.diag(one.covariance) for one in found], axis=0))
    assert np.all((scatter > 0.65 * stated) & (scatter < 1.4 * stated)), scatter / stated

"""How often chance gives an event is counted with the event itself, and decides at the number that was stated."""

import numpy as np
import pytest

from analysis import synthetic, wave_events
from analysis.events import clusters as rooms
from analysis.events import detection
from analysis.fields.field import Field
from analysis.fields.sensors import site_gradient


def travelling():
    wave = synthetic.plane(synthetic.line(10), 400, wavenumber=0.1, frequency=0.1)
    noise = synthetic.white_noise(synthetic.line(10), 400, seed=0).activity.values
    on = (wave.time >= 150) & (wave.time < 230)
    return wave.assign(activity=2 * wave.activity * on + noise)


@pytest.mark.parametrize(("exceed", "found"), [(0, True), (2, True), (3, True), (4, False), (39, False)])
def test_an_event_is_expected_as_often_as_surrogates_have_one_and_one_more(exceed, found, monkeypatch):
    """Of 39 surrogates 3 with as massive a cluster make (3 + 1)/(39 + 1) = 0.1 events in a recording, 4 make more."""
    calls = []

    def told(statistic, level, around, shortest):
        calls.append(level)
        if len(calls) <= 39:
            return np.array([1e9 if len(calls) <= exceed else 0.0]), None
        return rooms.clusters(statistic, level, around, shortest)

    monkeypatch.setattr(detection, "clusters", told)
    events = wave_events(travelling(), band=(0.06, 0.14), seed=0, false_events=0.1, surrogates=39)
    assert (events.sizes["event"] > 0) == found
    if found:
        np.testing.assert_allclose(events.expected_false, (exceed + 1) / 40)
    assert len(calls) == 40
    assert len(set(calls)) == 1


def test_the_level_is_a_quantile_of_all_surrogates(monkeypatch):
    """One surrogate of forty that travels all the time neither raises the level above the waves nor hides them."""

    def one_travels(z, directed, rng):
        draw, drawn = rooms.symmetric_surrogate(z, directed, rng), []

        def drawing():
            drawn.append(0)
            wave = np.exp(2j * np.pi * (0.1 * np.arange(len(z))[:, None] - 0.1 * np.arange(z.shape[1])))
            return wave if len(drawn) == 1 else draw()

        return drawing

    monkeypatch.setitem(detection.SURROGATES, "symmetric", one_travels)
    events = wave_events(travelling(), band=(0.06, 0.14), seed=0, false_events=0.1, surrogates=39)
    assert events.sizes["event"] >= 1
    np.testing.assert_allclose(events.expected_false, 2 / 40)


def test_a_surrogate_that_is_just_as_massive_counts(monkeypatch):
    mass = []

    def told(statistic, level, around, shortest):
        found = rooms.clusters(statistic, level, around, shortest)
        mass.extend(found[0])
        return found

    monkeypatch.setattr(detection, "clusters", told)
    plain = wave_events(travelling(), band=(0.06, 0.14), seed=0, false_events=0.5, surrogates=19)
    heaviest = max(mass)
    calls = []

    def tied(statistic, level, around, shortest):
        calls.append(level)
        real = rooms.clusters(statistic, level, around, shortest)
        return (np.array([heaviest]), None) if len(calls) <= 5 else (real if len(calls) == 20 else (np.zeros(0), None))

    monkeypatch.setattr(detection, "clusters", tied)
    again = wave_events(travelling(), band=(0.06, 0.14), seed=0, false_events=0.5, surrogates=19)
    assert plain.sizes["event"] >= 1
    np.testing.assert_allclose(again.expected_false, 6 / 20)


def test_directionality_is_the_mean_over_one_period_and_the_neighbourhood():
    rng = np.random.default_rng(0)
    where = Field.of(synthetic.white_noise(synthetic.sheet((3, 4)), 16, seed=0)).space.sensors()
    g = rng.standard_normal((40, where.count, 2))
    for radius in (None, 1.0):
        around = rooms.places(where, radius)
        found = rooms.directionality(g, around)
        for t in (0, 3, 20, 39):
            window = g[max(0, t - 4) : t + 4]
            for place, row in enumerate(around.member.toarray()):
                near = window[:, row > 0]
                expected = np.linalg.norm(near.sum(axis=(0, 1))) / np.linalg.norm(near, axis=-1).sum()
                assert found[t, place] == pytest.approx(expected, rel=1e-9)
                if radius:
                    step = np.linalg.norm(where.position - where.position[place], axis=1)
                    assert (row > 0).tolist() == (step <= 1).tolist()


@pytest.mark.parametrize("shortest", [3, 4, 5])
def test_clusters_are_what_adjoins_above_the_level_and_lasts(shortest):
    where = Field.of(synthetic.white_noise(synthetic.line(5), 16, seed=0)).space.sensors()
    statistic = np.zeros((12, 5))
    statistic[1:4, 1] = 0.9  # three samples
    statistic[3:6, 2] = 0.8  # which adjoin another three: five together
    statistic[8:12, 4] = 0.7  # four, apart
    statistic[0, 1] = 0.5  # at the level, not above it: it makes nothing longer
    mass, label = rooms.clusters(statistic, 0.5, rooms.places(where, 1.0), shortest)
    expected = [3 * 0.4 + 3 * 0.3] + [4 * 0.2] * (shortest <= 4)
    np.testing.assert_allclose(mass, expected)
    assert label.max() == len(expected)
    assert (label > 0).sum() == 6 + 4 * (shortest <= 4)


def test_a_symmetric_surrogate_has_the_spectrum_of_the_data_and_no_lag_between_sensors():
    where = Field.of(synthetic.white_noise(synthetic.line(6), 16, seed=0)).space.sensors()
    t = np.arange(512)[:, None]
    rng = np.random.default_rng(1)
    z = np.exp(2j * np.pi * (0.125 * t - 0.1 * where.position.T[:1]))
    z = z + 0.5 * (rng.standard_normal(z.shape) + 1j * rng.standard_normal(z.shape))
    draw = rooms.symmetric_surrogate(z, lambda z: np.abs(z), np.random.default_rng(2))
    drawn = np.array([draw() for _ in range(60)])
    power = np.mean(np.abs(np.fft.fft(drawn, axis=1)) ** 2, axis=(0, 2))
    wanted = np.mean(np.abs(np.fft.fft(z, axis=0)) ** 2, axis=1)
    smooth = np.array([np.dot([0.25, 0.5, 0.25], np.take(wanted, [n - 1, n, n + 1], mode="wrap")) for n in range(512)])
    share = power / power.sum() / (smooth / smooth.sum())
    assert share[[63, 64, 65]] == pytest.approx(1, abs=0.25)
    assert share.mean() == pytest.approx(1, abs=0.1)
    covariance = np.einsum("nti,ntj->ij", drawn.conj(), drawn) / drawn[..., 0].size
    assert np.abs(covariance.imag).max() < 0.1 * np.abs(np.diag(covariance)).max()


def test_what_the_choice_of_the_quieter_half_adds_to_the_covariance_is_taken_out():
    """Sensors that share half of their power: where the statistic is lowest in noise they happen to share more."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((2, 6000, 5))
    own = white[0] + 1j * white[1]
    z = own[:, 1:] + own[:, :1]

    def apart(z):
        return (np.mean(np.abs(z) ** 2, axis=1) / np.maximum(np.abs(z.mean(axis=1)) ** 2, 1e-12))[:, None]

    draw = rooms.symmetric_surrogate(z, apart, np.random.default_rng(1))
    drawn = np.concatenate([draw() for _ in range(20)])
    covariance = (drawn.conj().T @ drawn).real
    chosen = rooms._quiet(z, apart(z))
    shared, raised = ((c.sum() - np.trace(c)) / np.trace(c) / 3 for c in (covariance, chosen))
    assert raised > 0.6
    assert abs(shared - 0.5) < (raised - 0.5) / 2


def test_a_permuted_surrogate_moves_whole_sensors():
    z = np.random.default_rng(0).standard_normal((20, 7))
    draw = rooms.permuted_surrogate(z, None, np.random.default_rng(1))
    for _ in range(3):
        drawn = draw()
        assert (drawn != z).any()
        np.testing.assert_array_equal(drawn[:, np.argsort(drawn[0])], z[:, np.argsort(z[0])])


def test_strong_pairs_of_sensors_count_more_in_a_gradient():
    """On a line each sensor has the mean of its two sides, each weighed by the product of the amplitudes."""
    where = Field.of(synthetic.white_noise(synthetic.line(5), 16, seed=0)).space.sensors()
    amplitude = np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    z = (amplitude * np.exp(-2j * np.pi * np.array([0.0, 0.1, 0.15, 0.35, 0.4])))[None]
    lag = 2 * np.pi * np.array([0.1, 0.05, 0.2, 0.05]) * amplitude[1:] * amplitude[:-1]
    found = rooms.vectors(z, where, site_gradient(where))[0, :, 0]
    np.testing.assert_allclose(found[1:-1], (lag[1:] + lag[:-1]) / 2)

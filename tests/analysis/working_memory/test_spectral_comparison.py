from itertools import permutations

import numpy as np
import pytest
import torch

import analysis
import wavefield as wf

TASKS = ("T1", "T2", "T3", "T4")


def turned(values, angles, gains=1.0):
    return values * np.exp(1j * np.asarray(angles)) * gains


@pytest.mark.parametrize("name", TASKS)
def test_a_network_that_is_the_system_has_its_spectrum(name):
    system = wf.history.task(name)
    w = wf.history.rnn_weights(system, np.linalg.qr(np.random.default_rng(0).normal(size=(100, 64)))[0])
    for found in (w.weight_hh, analysis.recover_waves(*w, length=8)):
        result = analysis.compare_spectra(found, system)
        assert result.sizes["pair"] == (64 if name == "T1" else 36)
        assert float(result.largest_angle_error) < 1e-9
        assert float(result.mean_modulus_error) < 1e-9
        assert float(result.greedy_angle_error) < 1e-6  # an arc cosine near 1 resolves √eps
        assert int(result.unmatched_theory) == int(result.unmatched_learned) == 0


def test_known_angles_and_moduli_are_given_back_with_their_sign():
    theory = wf.history.repeat_copy(1, 6).spectrum()
    angles, gains = np.linspace(-0.3, 0.3, 6), np.linspace(0.95, 1.2, 6)
    learned = turned(theory, angles, gains)
    result = analysis.compare_spectra(np.random.default_rng(1).permutation(learned), theory)
    order = np.argsort(result.theory_angle)
    expected = np.argsort(np.angle(theory))
    np.testing.assert_allclose(result.angle_error[order], angles[expected], atol=1e-12)
    np.testing.assert_allclose(result.modulus_error[order], (gains - 1)[expected], atol=1e-12)
    assert float(result.mean_angle_error) == pytest.approx(np.abs(angles).mean())


def test_the_assignment_is_the_best_of_all():
    generator = np.random.default_rng(2)
    theory, learned = (np.exp(generator.normal(size=6) / 20 + 1j * generator.uniform(-3, 3, 6)) for _ in range(2))
    result = analysis.compare_spectra(learned, theory, threshold=0.1)
    cost = lambda order: np.abs(np.log(np.abs(learned[list(order)] / theory)) + 1j * np.angle(  # noqa: E731
        learned[list(order)] / theory)).sum()  # fmt: skip
    best = min(permutations(range(6)), key=cost)
    ours = np.hypot(result.angle_error, np.log(result.learned_modulus / result.theory_modulus)).sum()
    assert float(ours) == pytest.approx(cost(best), rel=1e-12)


def test_the_greedy_pairing_can_be_led_astray_where_the_best_one_is_not():
    theory = turned(np.ones(3), [0.0, 0.1, 0.2])
    learned = turned(np.ones(3), [-0.1, 0.06, 0.16])  # the first takes 0.06, and the others move down the line
    result = analysis.compare_spectra(learned, theory)
    assert float(result.greedy_angle_error) == pytest.approx((0.06 + 0.06 + 0.3) / 3, abs=1e-9)
    assert float(result.mean_angle_error) == pytest.approx((0.1 + 0.04 + 0.04) / 3, abs=1e-12)


def test_unequal_numbers_are_counted_and_leave_the_published_figure_empty():
    theory = wf.history.repeat_copy(2, 4)
    learned = np.append(turned(theory.spectrum(), 0.01), [0.95, 0.2])
    result = analysis.compare_spectra(learned, theory)
    assert int(result.unmatched_learned) == 1
    assert float(result.mean_angle_error) == pytest.approx(0.01, rel=1e-9)
    assert np.isnan(result.greedy_angle_error)
    fewer = analysis.compare_spectra(learned[:5], theory)
    assert (int(fewer.unmatched_theory), int(fewer.unmatched_learned)) == (3, 0)


@pytest.mark.parametrize("radius", [0.88, 1.0, 1.1])
def test_a_system_that_fades_is_held_against_a_network_that_is_it(radius):
    system = wf.history.random_linear(2, 6, 9, generator=np.random.default_rng(0), radius=radius)
    net = wf.history.rnn_weights(system, np.linalg.qr(np.random.default_rng(1).normal(size=(20, 12)))[0])
    result = analysis.compare_spectra(analysis.recover_waves(*net, length=6), system)
    assert result.sizes["pair"] == 9
    assert int(result.unmatched_theory) == int(result.unmatched_learned) == 0
    assert float(result.largest_angle_error) < 1e-6
    assert result.attrs["threshold"] == pytest.approx(0.9 * min(radius, 1))


def test_a_recurrence_in_which_nothing_persists_has_no_pairs():
    result = analysis.compare_spectra(np.eye(4) / 2, wf.history.repeat_copy(1, 4))
    assert result.sizes["pair"] == 0
    assert int(result.unmatched_theory) == 4
    assert np.isnan(result.mean_angle_error)


def test_opposite_sides_of_the_negative_axis_are_close():
    result = analysis.compare_spectra(turned(np.ones(1), 3.13), turned(np.ones(1), -3.13))
    assert float(result.mean_angle_error) == pytest.approx(2 * np.pi - 6.26, rel=1e-9)


@pytest.mark.parametrize(
    ("found", "system", "error", "text"),
    [
        (np.ones((2, 3)), np.eye(2), ValueError, "found must be a square matrix"),
        (np.eye(2), np.ones((2, 2, 2)), ValueError, "system must be a square matrix"),
        (np.eye(2) * np.nan, np.eye(2), ValueError, "found must be finite"),
        ("W", np.eye(2), TypeError, "found must be a matrix"),
        (np.eye(2), wf.history.HistorySystem(1, 2, np.sin), ValueError, "not linear"),
        (np.eye(2), wf.transport(1.0), TypeError, "system must be a matrix or eigenvalues"),
        (torch.eye(2, requires_grad=True), np.eye(2), TypeError, "found must be .* detached"),
        ([[1.0], [1.0, 2.0]], np.eye(2), TypeError, "found must be a matrix or eigenvalues"),
        (
            wf.history.simulate(wf.history.repeat_copy(2, 4), np.ones((4, 2)), steps=3),
            np.eye(2),
            TypeError,
            "found must be a Dataset of recover_waves, got a Dataset of activity",
        ),
    ],
)
def test_bad_input_is_refused_by_name(found, system, error, text):
    with pytest.raises(error, match=text):
        analysis.compare_spectra(found, system)


@pytest.mark.parametrize("threshold", [-1.0, np.nan])
def test_a_threshold_is_a_modulus(threshold):
    with pytest.raises(ValueError, match="threshold"):
        analysis.compare_spectra(np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), threshold=threshold)

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group

from analysis import synthetic
from analysis.similarity import cka, dsa, rsa

RING = synthetic.ring(64)


def wave(k=5, f=12):
    return synthetic.plane(RING, 256, wavenumber=k / 64, frequency=f / 256).activity.values


STANDING = synthetic.standing(RING, 256, wavenumber=5 / 64, frequency=12 / 256).activity.values


def test_all_three_call_a_wave_and_its_mirror_image_identical():
    right, left = wave(5), wave(-5)
    assert cka(right, left, debiased=False) == pytest.approx(1.0, abs=1e-9)
    assert rsa(right, left) == pytest.approx(1.0, abs=1e-9)
    assert dsa(right, left) == pytest.approx(0.0, abs=1e-4)


def test_more_starts_find_no_larger_angle():
    a, b = (np.random.default_rng(seed).standard_normal((200, 6)).cumsum(axis=0) for seed in (0, 1))
    assert dsa(a, b, rank=4, starts=6) <= dsa(a, b, rank=4, starts=1) + 1e-9


def test_travelling_against_standing_is_what_the_reference_runs_gave():
    assert cka(wave(), STANDING, debiased=False) == pytest.approx(np.sqrt(0.5), abs=1e-6)
    assert dsa(wave(), STANDING) == pytest.approx(0.0, abs=5e-3)


def test_dsa_sees_another_frequency():
    assert dsa(wave(), wave(f=24)) > 0.1


def test_cka_of_independent_noise_is_biased_by_sensors_and_debiased_is_not(draws):
    count = draws(50, 400)
    rng = np.random.default_rng(0)
    pairs = [rng.standard_normal((2, 500, 64)) for _ in range(count)]
    biased = np.mean([cka(a, b, debiased=False) for a, b in pairs])
    unbiased = np.array([cka(a, b) for a, b in pairs])
    assert biased == pytest.approx(0.113, abs=0.003)
    assert abs(unbiased.mean()) < 4 * unbiased.std() / np.sqrt(count)


def test_debiased_hsic_is_the_mean_over_different_rows():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((7, 3)), rng.standard_normal((7, 4))

    def hsic(x, y):  # Song et al. 2012, equation 4: the U-statistic over four different rows
        k, l = x @ x.T, y @ y.T
        rows = [
            (i, j, q, r)
            for i in range(7)
            for j in range(7)
            for q in range(7)
            for r in range(7)
            if len({i, j, q, r}) == 4
        ]
        return np.mean([k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in rows])

    expected = hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))
    assert cka(a, b) == pytest.approx(expected, rel=1e-9)


def test_cka_and_rsa_keep_under_rotation_and_scale():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((40, 6)), rng.standard_normal((40, 5))
    turned = 3 * b @ ortho_group.rvs(5, random_state=3)
    assert cka(a, turned) == pytest.approx(cka(a, b), rel=1e-9)
    assert rsa(a, turned) == pytest.approx(rsa(a, b), rel=1e-9)


def test_rsa_is_the_correlation_of_distances():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((20, 6)), rng.standard_normal((20, 3))
    upper = np.triu_indices(20, 1)
    expected = np.corrcoef(squareform(pdist(a))[upper], squareform(pdist(b))[upper])[0, 1]
    assert rsa(a, b) == pytest.approx(expected)


def test_dsa_takes_out_the_change_of_basis():
    rng = np.random.default_rng(5)
    turn = ortho_group.rvs(4, random_state=6)
    step = 0.99 * ortho_group.rvs(4, random_state=7)
    states = [rng.standard_normal(4)]
    for _ in range(300):
        states.append(step @ states[-1] + 0.3 * rng.standard_normal(4))
    states = np.array(states)
    assert dsa(states, 2 * states @ turn, delays=1, rank=4) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((5, 3)), np.zeros((6, 3)), "same number"),
        (np.zeros(5), np.zeros((5, 1)), r"\(time, sensor\)"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "NaN"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        cka(a, b)
    with pytest.raises(ValueError, match=message):
        rsa(a, b)


def test_too_few_rows_for_the_embedding_are_refused():
    with pytest.raises(ValueError, match="too few"):
        dsa(np.ones((10, 2)), np.ones((40, 2)))


def test_a_set_with_fewer_modes_than_the_rank_has_no_dynamics():
    noise = np.random.default_rng(8).standard_normal((100, 3))
    alternating = np.where(np.arange(100) % 2, 1.0, -1.0)[:, None] * np.ones(3)  # one mode, whatever the delays
    for still in (np.full((100, 3), 0.1), alternating):
        assert np.isnan(dsa(still, noise))
        assert np.isnan(dsa(noise, still))

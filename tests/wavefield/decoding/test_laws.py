"""Laws, priors and errors of decoding against closed forms: densities, evidence, noise, what is left of an event."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import chi2, f, multivariate_normal, norm

import wavefield as wf
from wavefield.decoding import noise as laws
from wavefield.decoding.dense import most_probable
from wavefield.decoding.estimate import COVERED, _deviations, _interval, _Mode
from wavefield.decoding.inverse.classes import Block
from wavefield.decoding.inverse.columns import Columns
from wavefield.decoding.noise import Cells, judge
from wavefield.decoding.sparse.misfit import SIGNIFICANT, combined, portmanteau, score_test
from wavefield.decoding.sparse.posterior import Beside, Explanation, Posterior, Prior
from wavefield.decoding.sparse.reader import Solution, _doubts

W, A, SIGMA = 0.7, 2.0, 0.3  # weight of the trace, scale of the amplitude, noise


# Laws of the amplitude ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law", [law for positive in (True, False) for law, _ in laws._laws(positive)], ids=lambda law: law.__qualname__
)
def test_laws_are_densities(law):
    mass = quad(lambda y: np.exp(law(y, W, A, SIGMA)) / np.sqrt(2 * np.pi), -20, 20, points=[-1.4, 0, 1.4])[0]
    assert mass == pytest.approx(1)


def test_laws_have_the_moments_of_trace_and_noise():
    def moment(law, power):
        return quad(lambda y: y**power * np.exp(law(y, W, A, SIGMA)) / np.sqrt(2 * np.pi), -20, 20, points=[-1, 0, 1])[
            0
        ]

    narrow, wide, half, _ = (law for law, _ in laws._laws(True))
    for law, width in ((narrow, 0.2), (wide, 0.5)):
        assert moment(law, 1) == pytest.approx(W * A)
        assert moment(law, 2) == pytest.approx((W * A) ** 2 * (1 + width**2) + SIGMA**2)
    assert moment(half, 1) == pytest.approx(W * A * np.sqrt(2 / np.pi))  # the mean of |N(0, a²)|
    for law, spread in ((laws._normal, 1.0), (laws._two_sided, 1 + 0.35**2)):
        assert moment(law, 1) == pytest.approx(0, abs=1e-9)
        assert moment(law, 2) == pytest.approx((W * A) ** 2 * spread + SIGMA**2)
    assert moment(laws._mirrored(narrow), 1) == pytest.approx(-W * A)


@pytest.mark.parametrize("positive", [True, False])
def test_prior_probabilities_of_laws_and_rates_sum_to_1(positive):
    weights = [weight for _, weight in laws._laws(positive)]
    assert sum(weights) == pytest.approx(1)
    rate, log_prior = laws._rate_nodes(10, 500)
    assert np.exp(log_prior).sum() == pytest.approx(1)
    # Beta(0.5, 16), as a density of the logit
    assert np.diff(log_prior) == pytest.approx(np.diff(0.5 * np.log(rate) + 16 * np.log(1 - rate)))
    assert rate[0] < 1 / 500 < 0.9 < rate[-1]


@pytest.mark.parametrize(
    ("values", "half_step"),
    [
        ([0, 0, 2, -2, 4, 2, -4, 2, 0, 4], 1.0),
        ([0, 0, 2, 4, 2, 4, 2, 6], 0.0),
        ([0, 0, 2, -2, 4, 2, -6], 0.0),  # more than half of them are of a size of their own
    ],
)
def test_steps_of_a_converter_are_seen_where_both_signs_have_them(values, half_step):
    assert laws._resolution(np.array(values, float)) == half_step
    assert laws._resolution(np.random.default_rng(0).standard_normal(50)) == 0.0


def test_the_noise_of_cells_beside_is_theirs():
    rng = np.random.default_rng(0)
    cells = Cells(np.append(rng.normal(0, 0.1, 60), 3.0), np.ones(61), np.ones(61), rng.normal(0, 0.1, 2000))
    found = judge(cells, None, True)
    assert found.noise == pytest.approx(0.1, rel=0.05)
    assert found.noise_error == pytest.approx(0.1 / np.sqrt(2 * 2060), rel=0.3)  # of a standard deviation
    assert found.probability[-1] > 0.99
    assert (found.probability[:-1] < 0.5).all()
    given = judge(cells, 0.1, True)
    assert (given.noise, given.noise_error) == (0.1, 0.0)


def test_noise_is_first_looked_for_about_the_median_and_never_below_half_a_step(monkeypatch):
    """The median of |N(0, σ²)| is σ·Φ⁻¹(3/4), whatever a few values are that should not be there."""
    looked, plain = [], laws._posterior

    def look(cells, sigma, *more):
        looked.append(sigma)
        return plain(cells, sigma, *more)

    monkeypatch.setattr(laws, "_posterior", look)
    rng = np.random.default_rng(0)
    beside = np.append(rng.normal(0, 0.1, 99), [5.0, -7.0])
    judge(Cells(rng.normal(0, 0.1, 20), np.ones(20), np.ones(20), beside), None, True)
    assert np.exp(np.log(looked[0]).mean()) == pytest.approx(np.median(np.abs(beside)) / norm.ppf(0.75), rel=1e-4)
    looked.clear()
    coarse = np.rint(rng.normal(0, 0.6, 60))
    judge(Cells(coarse[:30], np.ones(30), np.ones(30), coarse[30:]), None, False)
    assert min(sigma.min() for sigma in looked) >= 0.5 * (1 - 1e-9)


# Whether what is left is noise ----------------------------------------------------------------------------------------


def test_correlations_of_what_is_left_add_up_along_every_axis():
    """n Σ r² over lags up to a quarter of an axis, six at most, as χ² of so many degrees."""
    residual = np.random.default_rng(0).standard_normal((2, 9, 30))
    r = [(residual[:, lag:] * residual[:, :-lag]).sum() for lag in (1, 2)]
    r += [(residual[..., lag:] * residual[..., :-lag]).sum() for lag in range(1, 7)]
    square = (np.array(r) ** 2).sum() / (residual**2).sum() ** 2
    assert portmanteau(residual) == pytest.approx(chi2.sf(residual.size * square, 8))
    assert portmanteau(residual, 400) == pytest.approx(chi2.sf(400 * square, 8))


@pytest.mark.parametrize("noise", [None, 0.9])
def test_the_score_test_is_that_of_a_regression_with_more_columns(noise):
    rng = np.random.default_rng(1)
    traces, changes, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2)), rng.standard_normal(40)

    def left(columns):
        return y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]

    less, more = left(traces), left(np.hstack([traces, changes]))
    explained, unexplained = less @ less - more @ more, more @ more
    expected = f.sf((explained / 2) / (unexplained / 35), 2, 35)
    if noise is not None:
        expected = chi2.sf(explained / noise**2, 2)
    assert score_test(less, changes, traces, noise) == pytest.approx(expected)


def test_p_values_of_several_tests_are_combined_after_bonferroni():
    assert combined(0.01, 0.5, np.nan) == pytest.approx(0.02)
    assert combined(0.7, 0.8) == 1.0
    assert np.isnan(combined(np.nan))


# The posterior of few events ------------------------------------------------------------------------------------------


def problem(seed=0, positive=False):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((12, 5))
    snapshot = matrix[:, [1, 3]] @ [1.5, 0.8] + 0.1 * rng.standard_normal(12)
    return matrix, snapshot, Prior(0.1, 0.4, 0.9, positive)


@pytest.mark.parametrize("support", [[], [1], [1, 3], [0, 2, 4]])
def test_the_score_of_a_support_is_its_evidence_and_its_prior(support):
    matrix, snapshot, prior = problem()
    ways = np.array([1.0, 2, 1, 3, 1])
    posterior = Posterior(Columns(np.asfortranarray(matrix)), snapshot, prior, ways=ways, candidates=8)

    def evidence(chosen):  # y ~ N(m Σ d_j, σ² + τ² D Dᵀ)
        d = matrix[:, chosen]
        return multivariate_normal.logpdf(
            snapshot, d.sum(axis=1) * prior.mean, prior.noise**2 * np.eye(12) + prior.spread**2 * d @ d.T
        )

    def score(chosen):
        size = len(chosen)
        return evidence(chosen) + np.log(ways[chosen]).sum() + betaln(size + 0.5, 8 - size + 16)

    empty = posterior.evidence(snapshot @ snapshot) + posterior.size_prior(0)
    if not support:
        assert posterior.size_prior(0) == pytest.approx(betaln(0.5, 24))
        beside = Posterior(Columns(np.asfortranarray(matrix)), snapshot, prior, candidates=8, elsewhere=2)
        assert beside.size_prior(1) == pytest.approx(betaln(3.5, 8 - 3 + 16))
        return
    found = Explanation(posterior, support)
    assert found.score - empty == pytest.approx(score(support) - score([]), rel=1e-9)
    d = matrix[:, support]
    covariance = np.linalg.inv(d.T @ d / prior.noise**2 + np.eye(len(support)) / prior.spread**2)
    np.testing.assert_allclose(found.errors, np.sqrt(np.diag(covariance)), rtol=1e-9)
    mean = covariance @ (d.T @ snapshot / prior.noise**2 + prior.mean / prior.spread**2)
    np.testing.assert_allclose(found.amplitudes, mean, rtol=1e-9)


def test_unknown_noise_integrates_out():
    matrix, snapshot, prior = problem()
    beside = Beside(30, 0.7, 0.2)
    posterior = Posterior(Columns(np.asfortranarray(matrix)), snapshot, prior, beside=beside)
    # ∫ σ^−R exp(−Q/2σ²) dσ/σ ∝ Q^(−R/2)
    assert posterior.evidence(2.0) - posterior.evidence(1.0) == pytest.approx(-15 * np.log(2.9 / 1.9))


def test_moves_change_the_score_by_what_they_say():
    matrix, snapshot, prior = problem()
    posterior = Posterior(Columns(np.asfortranarray(matrix)), snapshot, prior, ways=np.array([3.0, 2, 5, 3, 4]))
    here = Explanation(posterior, [1, 3])
    added = here.additions()
    for column in (0, 2, 4):
        assert added[column] == pytest.approx(Explanation(posterior, [1, 3, column]).score - here.score, rel=1e-7)
    removed, exchanged = here.removals_and_exchanges()
    assert removed[0] == pytest.approx(Explanation(posterior, [3]).score - here.score, rel=1e-7)
    assert exchanged[1, 4] == pytest.approx(Explanation(posterior, [1, 4]).score - here.score, rel=1e-7)
    without = here.without([0])
    assert without.none() == pytest.approx(removed[0])
    assert without.singles()[2] == pytest.approx(Explanation(posterior, [2, 3]).score - here.score, rel=1e-7)
    pair = without.pairs(np.array([0, 2]))[0, 1]
    assert pair == pytest.approx(Explanation(posterior, [0, 2, 3]).score - here.score, rel=1e-7)
    neither = here.without([0, 1])
    assert neither.none() == pytest.approx(Explanation(posterior, []).score - here.score, rel=1e-7)
    assert neither.singles()[2] == pytest.approx(Explanation(posterior, [2]).score - here.score, rel=1e-7)
    pair = neither.pairs(np.array([0, 4]))[0, 1]
    assert pair == pytest.approx(Explanation(posterior, [0, 4]).score - here.score, rel=1e-7)


# Errors and noise of what is read -------------------------------------------------------------------------------------


def test_the_error_of_an_amplitude_grows_as_its_trace_fades():
    rec = wf.simulate(wf.transport(1.0, gain=0.9), wf.spikes([[(10, 1.0), (30, 1.0)]], steps=40), size=64)
    found = wf.decode(rec.isel(time=-1), noise=0.01, steps=40)
    by_onset = dict(zip(found.onset.values.tolist(), found.amplitude_error.values.tolist(), strict=True))
    assert by_onset[30] == pytest.approx(0.01 / 0.9**9)
    assert by_onset[10] == pytest.approx(0.01 / 0.9**29)


def test_members_of_a_class_share_its_probability_and_scale_with_their_trace():
    design = SimpleNamespace(inputs=1, steps=5)
    block = Block(design, 5, 0, 0, False, Columns(np.eye(2)), [np.array([0, 1])], [np.array([1.0, 4.0])])
    rows = block.rows(np.array([0]), [0], np.array([2.0]), np.array([0.1]), np.array([0.8]), np.array([0]))
    np.testing.assert_allclose(rows.amplitude, [2.0, 0.5])
    np.testing.assert_allclose(rows.error, [0.1, 0.025])
    np.testing.assert_allclose(rows.confidence, [0.4, 0.4])


class Left:
    """A block of which so much is left unexplained, and so many events are found."""

    def __init__(self, size, left, amplitudes=()):
        self.snapshot, self._left = np.ones(size), np.full(size, left)
        self.support, self.amplitudes = list(range(len(amplitudes))), np.array(amplitudes, float)

    def residual(self):
        return self._left


def solution(size, left, amplitudes, given=None, beside=0, positive=True):
    blocks = [Left(size, left, amplitudes)]
    return Solution(np.ones(size + beside), blocks, np.zeros(beside), given, 1e-9, positive)


def test_the_noise_is_what_is_left_per_free_value():
    noise, error = solution(20, 0.3, [1.0] * 4, beside=5).noise_and_error()
    assert noise == pytest.approx(0.3 * np.sqrt(20 / 21))
    assert error == pytest.approx(noise / np.sqrt(2 * 21))
    assert solution(20, 0.3, [1.0] * 4, given=0.7).noise_and_error() == (0.7, 0.0)


@pytest.mark.parametrize(
    ("size", "events", "known"), [(12, 7, True), (12, 8, False), (40, 30, True), (40, 31, False)]
)  # five free values at least, and a quarter of all
def test_noise_needs_five_free_values_and_a_quarter_of_all(size, events, known):
    assert np.isfinite(solution(size, 0.3, [1.0] * events).noise_and_error()[1]) == known


def test_the_prior_of_amplitudes_counts_their_mean_as_one_more():
    prior = solution(20, 0.3, [1.0, 2.0, 3.0]).prior()
    assert prior.mean == pytest.approx(2.0)
    assert prior.spread == pytest.approx(np.sqrt((2 + 4) / 4))
    signed = solution(20, 0.3, [1.0, -2.0, 3.0], positive=False).prior()
    assert signed.mean == 0
    assert signed.spread == pytest.approx(np.sqrt((14 + 14 / 3) / 4))


def test_what_is_left_unexplained_is_doubted_from_half_as_much_again_as_the_noise():
    assert not _doubts(1.0, 1.49, 0.0, 0.5, True)
    assert "unexplained is 1.5" in _doubts(1.0, 1.51, 0.0, 0.5, True)[0]
    assert "correlated" in _doubts(None, 9.0, 0.0, 0.99 * SIGNIFICANT, True)[0]
    assert not _doubts(None, 9.0, 0.0, SIGNIFICANT, True)


def test_dense_amplitudes_are_those_of_ridge_regression_of_largest_evidence():
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((30, 10))
    snapshot = matrix @ rng.normal(0, 2.0, 10) + 0.5 * rng.standard_normal(30)
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    along = u.T @ snapshot
    rest = snapshot @ snapshot - along @ along

    def evidence(variance, spread):
        return multivariate_normal.logpdf(snapshot, np.zeros(30), variance * np.eye(30) + spread * matrix @ matrix.T)

    variance, spread = most_probable([(s, along)], rest, 20, None, 1.0)
    for change in (0.9, 1.1):
        assert evidence(variance, spread) > evidence(change * variance, spread)
        assert evidence(variance, spread) > evidence(variance, change * spread)
    given, _ = most_probable([(s, along)], rest, 20, 0.5, 1.0)
    assert given == 0.25


def test_dense_rows_stand_out_by_two_standard_deviations_with_the_certainty_of_their_sign():
    operator, size, steps = wf.transport(0.5), 12, 6
    drive = np.random.default_rng(0).normal(0, 1, (steps, 1))
    rec = wf.simulate(operator, drive, size=size)
    found = wf.decode(rec.isel(time=-1), method="tikhonov", noise=0.05, nonnegative=False, steps=steps)
    ratio = np.abs(found.amplitude.values) / found.amplitude_error.values
    assert (ratio > 2).all()
    np.testing.assert_allclose(found.confidence, norm.cdf(ratio))


# The interval of a parameter ------------------------------------------------------------------------------------------


def test_the_interval_holds_as_much_of_the_posterior_as_it_says():
    axis = np.linspace(-6, 6, 400)
    mode = _Mode(np.zeros(1), 0.0, [axis], [norm.pdf(axis)])
    low, high = _interval([(1.0, mode)], 0)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.03)
    assert COVERED == 0.95


def test_deviations_are_those_of_a_quadratic():
    precision = np.array([[4.0, 1.5], [1.5, 1.0]])
    centre, wide = np.array([0.3, -0.2]), np.full(2, 50.0)
    found = _deviations(lambda at: 0.5 * (at - centre) @ precision @ (at - centre), centre, -wide, wide)
    np.testing.assert_allclose(found, np.sqrt(np.diag(np.linalg.inv(precision))), rtol=0.02)

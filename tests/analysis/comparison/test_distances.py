import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.distance import pdist
from scipy.stats import energy_distance, norm

from analysis.comparison.distances import Pair, weighted_median


def test_the_energy_coefficient_is_that_of_scipy_with_no_value_paired_with_itself():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(30), 1 + 2 * rng.standard_normal(40)
    pair = Pair(x, y, np.arange(30), np.arange(40))
    between = np.abs(x[:, None] - y).mean()
    # scipy counts the n zeros among n² pairs
    energy = energy_distance(x, y) ** 2 - pdist(x[:, None]).mean() / 30 - pdist(y[:, None]).mean() / 40
    assert pair.distance() == pytest.approx(energy / (2 * between), rel=1e-9)


def test_rows_of_one_unit_are_not_paired_within():
    rng = np.random.default_rng(1)
    x, y, unit = rng.standard_normal(12), 2 + rng.standard_normal(12), np.repeat([3, 1, 8], 4)
    apart = unit[:, None] != unit
    within = [np.abs(values[:, None] - values)[apart].mean() for values in (x, y)]
    expected = 1 - np.mean(within) / np.abs(x[:, None] - y).mean()
    assert Pair(x, y, unit, unit).distance() == pytest.approx(expected, rel=1e-12)


def spectra(mean, number, rng):
    """Normalised spectra of 11 × 17 cells, scattered about their mean as those of single stretches are."""
    return rng.dirichlet(300 * mean.ravel(), size=number).reshape(number, *mean.shape)


def peak(wavenumber):
    """Mean spectrum of a wave in noise."""
    frequency, kappa = np.meshgrid(np.linspace(0.25, 3, 11), np.arange(-8, 9), indexing="ij")
    bump = np.exp(-(((kappa - wavenumber) / 1.5) ** 2) - ((frequency - 1) / 0.4) ** 2)
    return 0.7 * bump / bump.sum() + 0.3 / bump.size


def energy_of_gaussians(apart):
    """e of N(0, 1) and N(apart, 1): E|z| of their differences, by quadrature."""
    absolute = [quad(lambda z, m=m: abs(z) * norm.pdf(z, m, np.sqrt(2)), -20, 20, points=[0])[0] for m in (0, apart)]
    return 1 - absolute[0] / absolute[1]


def gaussian_pairs(apart, units, count):
    for seed in range(count):
        rng = np.random.default_rng((seed, units))
        yield Pair(rng.normal(0, 1, units), rng.normal(apart, 1, units), np.arange(units), np.arange(units)), rng


def spectral_pairs(p, q, units, count):
    for seed in range(count):
        rng = np.random.default_rng((seed, units))
        yield Pair(spectra(p, units, rng), spectra(q, units, rng), *2 * [np.arange(units)], overlap=True), rng


def intervals(pairs):
    """Distance, lower and upper end of the interval of each pair: three arrays."""
    return np.array([[pair.distance(), *pair.interval(pair.weights(199, rng), 0.95)] for pair, rng in pairs]).T


@pytest.mark.validate
@pytest.mark.parametrize("units", [6, 12, 40])
@pytest.mark.parametrize("apart", [1.0, 1.5, 2.5])
def test_the_energy_coefficient_lies_in_its_interval(draws, measured, apart, units):
    count = draws(60, 600)
    distance, low, high = intervals(gaussian_pairs(apart, units, count))
    assert ((low <= distance) & (distance <= high)).all()
    truth = energy_of_gaussians(apart)
    covered = np.mean((low <= truth) & (truth <= high))
    measured(f"energy coefficient {truth:.2f} in its 95 % interval, {units} units", float(covered), "≥ 0.92")
    assert covered >= (0.92 if count > 100 else 0.85)


@pytest.mark.validate
@pytest.mark.parametrize("units", [6, 12, 30])
@pytest.mark.parametrize("wavenumber", [3, 4, -2])
def test_the_distance_of_spectra_lies_in_its_interval(draws, measured, wavenumber, units):
    count = draws(60, 600)
    p, q = peak(2), peak(wavenumber)
    distance, low, high = intervals(spectral_pairs(p, q, units, count))
    assert ((low <= distance) & (distance <= high)).all()
    truth = np.sum((p - q) ** 2) / np.sum(p**2 + q**2)
    covered = np.mean((low <= truth) & (truth <= high))
    measured(f"distance of spectra {truth:.2f} in its 95 % interval, {units} units", float(covered), "≥ 0.92")
    assert covered >= (0.92 if count > 100 else 0.85)
    assert np.mean(distance) == pytest.approx(truth, abs=4 * np.std(distance) / np.sqrt(count))


def test_samples_of_one_law_lie_no_further_apart_than_chance():
    for pairs in (gaussian_pairs(0.0, 20, 60), spectral_pairs(peak(2), peak(2), 12, 60)):
        distance, low, high = intervals(pairs)
        assert ((low <= distance) & (distance <= high)).all()
        assert np.mean(low == 0) >= 0.95
        assert np.median(distance) < 0.02


@pytest.mark.parametrize("units", [2, 3])
def test_few_units_have_an_interval_too_though_often_one_is_drawn_alone(units):
    distance, low, high = intervals(gaussian_pairs(4.0, units, 20))
    assert ((low >= 0) & (low <= distance) & (distance <= high) & (high <= 1)).all()
    assert (low < high).all()


def test_weights_repeat_values_in_the_median():
    values, weights = np.array([3.0, 1.0, 2.0, 9.0]), np.array([[1, 1, 1, 1], [0, 3, 0, 2], [2, 0, 0, 1]])
    expected = [np.median(np.repeat(values, count)) for count in weights]
    np.testing.assert_allclose(weighted_median(values, weights.astype(float)), expected)


def test_rows_that_belong_together_are_exchanged_together():
    # four rows of each of eight units are nearly the same: one by one they would pass for thirty-two
    rng, rejected = np.random.default_rng(0), {"units": [], "rows": []}
    for _ in range(300):
        x, y = (np.repeat(rng.standard_normal(8), 4) + 0.1 * rng.standard_normal(32) for _ in range(2))
        for name, unit in (("units", np.repeat(np.arange(8), 4)), ("rows", np.arange(32))):
            rejected[name].append(Pair(x, y, unit, unit).p_value(39, rng) <= 0.05)
    assert 0.02 < np.mean(rejected["units"]) < 0.09  # 0.05, and three standard errors
    assert np.mean(rejected["rows"]) > 0.25

"""What decides a comparison, on the boundary where it does: p-values, intervals, margins, numbers that are enough."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import false_discovery_control, norm, t

from analysis import synthetic
from analysis.comparison import contrast as c
from analysis.comparison.common_axes import Scales, fitted_scales, normalised, scaled
from analysis.comparison.distances import Pair, quantiles
from analysis.comparison.evoked import _latency, _latency_dataset, _likeness, compare_evoked, evoked_latency
from analysis.comparison.scaled_spectrum import wavenumbers
from analysis.comparison.segments import array_length, peaks_of, spectral_peak
from analysis.fields.field import Field

BY = c.Criteria(c.MARGINS)


# P-values and intervals of distances ----------------------------------------------------------------------------------


def test_equal_samples_have_p_1_and_samples_apart_the_least():
    same = Pair(np.ones(6), np.ones(6), np.arange(6), np.arange(6))
    assert same.p_value(99, np.random.default_rng(0)) == 1.0
    apart = Pair(np.zeros(20) + np.linspace(0, 0.1, 20), 9 + np.linspace(0, 0.1, 20), np.arange(20), np.arange(20))
    assert apart.p_value(99, np.random.default_rng(0)) == 1 / 100


@pytest.mark.parametrize("overlap", [False, True])
def test_the_p_value_is_the_share_of_all_exchanges_of_units(overlap):
    rng = np.random.default_rng(3)
    values, unit = rng.random((8, 2)) + np.repeat([0, 0.3], 4)[:, None], np.repeat(np.arange(4), 2)

    def p(x, y):
        return Pair(x, y, *2 * [np.repeat(np.arange(2), 2)], overlap=overlap)

    def raw(first):
        rows = np.isin(unit, first)
        pair = p(values[rows], values[~rows])
        return pair._distance(pair.of_x[None], pair.of_y[None])[0]

    all_of_them = np.array([raw(first) for first in combinations(range(4), 2)])
    expected = np.mean(all_of_them >= raw((0, 1)) - 1e-12)
    found = p(values[:4], values[4:]).p_value(8000, np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 8000))


def test_units_of_different_sizes_count_by_their_rows():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(9), 1 + rng.standard_normal(7)
    of_x, of_y = np.repeat([0, 1, 2], [1, 3, 5]), np.repeat([0, 1], [6, 1])
    within = [np.abs(v[:, None] - v)[u[:, None] != u].mean() for v, u in ((x, of_x), (y, of_y))]
    expected = 1 - np.mean(within) / np.abs(x[:, None] - y).mean()
    pair = Pair(x, y, of_x, of_y)
    assert pair._distance(pair.of_x[None], pair.of_y[None])[0] == pytest.approx(expected, rel=1e-12)
    # where one unit alone is drawn nothing is left to pair it with: the mean of the complete sample stands in
    alone = np.array([[0, 0, 3.0, 0, 0]])
    assert pair._mean(alone, alone, pair.of_x)[0] == pytest.approx(within[0], rel=1e-12)


class Uniform(Pair):
    """Bootstrap distances spread evenly from −0.001 to 0.999, so that quantiles can be read off."""

    def _distance(self, *_):
        return np.linspace(-0.001, 0.999, 100_001)


@pytest.mark.parametrize(("units", "confidence"), [((3, 30), 0.95), ((40, 6), 0.9)])
def test_the_interval_is_hesterbergs_expanded_one_of_the_smaller_sample(units, confidence):
    pair = Uniform(*(np.arange(float(n)) for n in units), *map(np.arange, units))
    low, high = pair.interval(pair.weights(1, np.random.default_rng(0)), confidence)
    n = min(units)
    tail = norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - confidence) / 2, n - 1))
    assert low == pytest.approx(max(tail - 0.001, 0), abs=2e-5)
    assert high == pytest.approx(1 - tail - 0.001, abs=2e-5)


def test_intervals_are_as_wide_as_they_have_to_be_and_no_wider():
    # the mean length of the interval against that of many draws of the law: an infinite one would cover, too
    rng = np.random.default_rng(0)
    truth = [Pair(rng.normal(0, 1, 20), rng.normal(2, 1, 20), *2 * [np.arange(20)]).distance() for _ in range(300)]
    width = np.diff(np.quantile(truth, [0.025, 0.975]))[0]
    lengths = []
    for _ in range(30):
        pair = Pair(rng.normal(0, 1, 20), rng.normal(2, 1, 20), *2 * [np.arange(20)])
        lengths.append(np.diff(pair.interval(pair.weights(199, rng), 0.95))[0])
    assert 0.8 < np.mean(lengths) / width < 1.5


def test_percentiles_of_bootstrap_samples():
    assert quantiles(np.linspace(0, 1, 1001), 0.9) == pytest.approx((0.05, 0.95))


def test_units_are_drawn_as_often_as_there_are():
    pair = Pair(np.arange(5.0), np.arange(8.0), np.arange(5), np.arange(8))
    of_x, of_y = pair.weights(4000, np.random.default_rng(0))
    assert (of_x.sum(axis=1) == 5).all()
    assert (of_y.sum(axis=1) == 8).all()
    np.testing.assert_allclose(of_x.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(of_x.var(axis=0), 4 / 5, atol=0.08)  # multinomial


# Verdicts -------------------------------------------------------------------------------------------------------------


def verdict(kind, low, high, q=0.5, p=0.5):
    columns = {"effect_low": low, "effect_high": high, "kind": kind, "q_value": q, "p_value": p}
    return c.VERDICTS[c._verdicts({key: np.array([value]) for key, value in columns.items()}, BY)[0]]


@pytest.mark.parametrize(
    ("kind", "low", "high", "agrees"),
    [
        ("ratio", 1 / 1.1, 1.1, True),
        ("ratio", 1 / 1.1, 1.1001, False),
        ("ratio", 0.909, 1.1, False),
        ("difference", -0.1, 0.1, True),
        ("difference", -0.1001, 0.1, False),
        ("difference", -0.1, 0.1001, False),
        ("angle", 0.0, np.radians(30) - 1e-9, True),
        ("angle", 0.0, np.radians(30.1), False),
    ],
)
def test_sides_agree_when_the_whole_interval_lies_within_the_margins(kind, low, high, agrees):
    assert verdict(kind, low, high) == ("agrees" if agrees else "undecided")
    assert verdict(kind, low, high, q=0.04) == ("agrees" if agrees else "differs")


def test_sides_differ_below_alpha_and_what_has_no_p_is_not_measured():
    assert verdict("ratio", 0.5, 2.0, q=0.0499) == "differs"
    assert verdict("ratio", 0.5, 2.0, q=0.05) == "undecided"
    assert verdict("ratio", 1.0, 1.0, p=np.nan) == "not measured"


def side(values, unit, spectra=None, rows=None):
    spectra = np.ones((len(unit), 2, 3)) if spectra is None else spectra
    return c.Side("one", values, np.asarray(unit), spectra, np.zeros((8, 2)) if rows is None else rows)


@pytest.mark.parametrize(("count", "measured"), [(3, False), (4, True)])
def test_four_values_are_compared_and_three_are_not(count, measured):
    one = side({"speed": np.arange(1.0, 1 + count)}, np.arange(count))
    row = c._feature("speed", one, one, np.random.default_rng(0), BY)
    assert np.isfinite(row["p_value"]) == measured
    assert row["stretches"] == count


def test_values_of_a_single_unit_are_not_compared():
    one = side({"speed": np.arange(1.0, 9)}, np.zeros(8))
    assert np.isnan(c._feature("speed", one, one, np.random.default_rng(0), BY)["p_value"])


@pytest.mark.parametrize(("rows", "seen"), [(63, False), (64, True)])
def test_representations_are_compared_from_64_times_on(rows, seen):
    values = np.random.default_rng(0).standard_normal((rows, 3)).cumsum(axis=0)
    one = side({"speed": np.arange(1.0, 7)}, np.arange(6), rows=values)
    found = c.contrast(one, one, c.Criteria(c.MARGINS, draws=9), np.random.default_rng(0), similarity=True)
    assert np.isfinite(found["cka"]) == seen
    if seen:
        assert found["cka"] == pytest.approx(1)
    known = np.isfinite(found["p_value"])
    np.testing.assert_allclose(found["q_value"][known], false_discovery_control(found["p_value"][known]))
    assert found["spectrum_distance"] == 0
    assert found["spectrum_p_value"] == 1


def test_effects_are_ratios_differences_and_angles():
    one, other = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [3.0, 3.0], [-1.0, 1e-9]])
    np.testing.assert_allclose(c._contrast("direction", one, other), [np.pi / 2, 0, np.pi], atol=1e-8)
    assert np.isnan(c._contrast("direction", np.zeros((1, 2)), one[:1])[0])
    np.testing.assert_allclose(c._contrast("speed", np.array([3.0, 1.0]), np.array([2.0, 0.0])), [1.5, np.nan])
    np.testing.assert_allclose(c._contrast("travelling_index", np.array([0.7]), np.array([0.2])), [0.5])
    kinds = {name: c._kind(name) for name in c.FEATURES}
    ratios = {"speed", "wavelength", "frequency", "event_rate", "event_duration"}
    assert kinds == {n: "ratio" if n in ratios else "angle" if n == "direction" else "difference" for n in c.FEATURES}


def test_shares_and_counts_have_means_and_the_rest_medians():
    values, weights = np.array([0.0, 0.0, 9.0]), np.array([[1.0, 1, 1], [0, 1, 2]])
    np.testing.assert_allclose(c._centre("event_rate", values, weights), [3, 6])
    np.testing.assert_allclose(c._centre("wave_present", values, weights), [3, 6])
    np.testing.assert_allclose(c._centre("speed", values, weights), [0, 9])
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    np.testing.assert_allclose(c._centre("direction", vectors, weights), [[1 / 3, 4 / 3], [0, 7 / 3]])


# Axes and stretches ---------------------------------------------------------------------------------------------------


def features(**values):
    plain = {"wave_present": 1.0, "travelling_index": 0.5, "directionality": 0.4, "peak_frequency": 8.0}
    rows = np.broadcast_arrays(*(np.atleast_1d(value) for value in (plain | values).values()))
    data = {name: ("stretch", row) for name, row in zip(plain | values, rows, strict=True)}
    return xr.Dataset(data, attrs={"array_length": 4.0})


def test_common_axes_are_array_lengths_and_cycles():
    given = {"speed": 64.0, "wavelength": 6.0, "frequency": 16.0, "event_rate": 2.0, "event_duration": 0.5}
    lengths_per_cycle = {"speed": 64 / (4 * 8), "wavelength": 6 / 4, "frequency": 2, "event_rate": 2 / 8,
                         "event_duration": 0.5 * 8}  # fmt: skip
    found = normalised(features(**given))
    assert {name: float(found[name][0]) for name in given} == pytest.approx(lengths_per_cycle)
    assert (found["wave_present"], found["travelling_index"], found["directionality"]) == (1.0, 0.5, 0.4)
    # 1 cell = 3 mm, 1 step = 2 s
    in_units = {"speed": 64 * 3 / 2, "wavelength": 18, "frequency": 8, "event_rate": 1, "event_duration": 1}
    found = scaled(features(**given), Scales(3.0, 2.0))
    assert {name: float(found[name][0]) for name in given} == pytest.approx(in_units)


def test_fitted_scales_divide_the_medians_and_need_three_stretches():
    model, brain = (
        features(wavelength=[2.0, 2, 3], frequency=[4.0, 4, 5]),
        features(wavelength=[9.0, 10, 10], frequency=[1, 1, 1.0]),
    )
    options = {"draws": 50, "confidence": 0.95, "rng": np.random.default_rng(0)}
    units = (np.arange(3), np.arange(3))
    found = fitted_scales(model, brain, units, **options)
    assert (found.space, found.time) == pytest.approx((5.0, 4.0))
    assert found.space_interval[0] <= 5 <= found.space_interval[1]
    two = model.isel(stretch=slice(2))
    with pytest.raises(ValueError, match="2 stretches have a wavelength, at least 3"):
        fitted_scales(two, brain, (np.arange(2), np.arange(3)), **options)


@pytest.mark.parametrize(
    ("steps", "cycles"), [(500, 5.0), (900, 7.5), (3000, 10.0)]
)  # of a wave of 10 steps: a twelfth of the record, at least 5 and at most 10 periods
def test_stretches_are_a_twelfth_of_the_record_in_five_to_ten_periods(steps, cycles):
    rec = synthetic.plane(synthetic.ring(8), steps, wavenumber=1 / 8, frequency=0.1)
    peak = spectral_peak(Field.of(rec))
    assert peak.frequency == pytest.approx(0.1, rel=1e-2)
    assert peak.moves
    assert peak.cycles == pytest.approx(cycles, rel=1e-2)


def test_what_stands_still_is_cut_into_twelve():
    still = 0 * synthetic.plane(synthetic.ring(8), 600, wavenumber=1 / 8, frequency=0.1) + 1.0
    peak = spectral_peak(Field.of(still))
    assert not peak.moves
    assert peak.cycles / peak.frequency == pytest.approx(600 / 12)


@pytest.mark.parametrize(("size", "moves"), [(1e-8, False), (1e-3, True)])
def test_changes_of_a_millionth_are_rounding(size, moves):
    values = 1 + size * np.cos(2 * np.pi * 0.1 * np.arange(200))[:, None] * np.ones(3)
    assert np.isfinite(peaks_of(values, 1.0, None)) == moves


@pytest.mark.parametrize(("sizes", "finest"), [((40,), 8), ((40, 11), 5), ((3,), 1), ((10, 12), 5)])
def test_wavenumbers_are_compared_up_to_nyquists_of_the_coarsest_array(sizes, finest):
    fields = [Field.of(synthetic.white_noise(synthetic.ring(size, dx=0.5), 8, seed=0)) for size in sizes]
    kappa = wavenumbers(*((field, array_length(field)) for field in fields))
    np.testing.assert_array_equal(kappa, np.arange(-finest, finest + 1))


@pytest.mark.parametrize(
    ("where", "length"),
    [
        (synthetic.ring(12, dx=0.5), 6.0),
        (synthetic.line(12, dx=0.5), 6.0),
        (synthetic.sheet((4, 9), dx=2.0), np.sqrt(8 * 18)),
    ],
)
def test_an_array_covers_half_a_spacing_beyond_its_outer_sensors(where, length):
    assert array_length(Field.of(synthetic.white_noise(where, 8, seed=0))) == pytest.approx(length)


# Evoked responses -----------------------------------------------------------------------------------------------------


def response(size):
    """A ramp to `size` in ten steps after a baseline of standard deviation 1 and mean 3."""
    time = np.arange(-20.0, 30.0)
    before = 3 + np.where(np.arange(20) % 2, 1.0, -1.0)
    return np.concatenate([before, 3 + np.minimum(np.arange(30) / 10, 1.0) * size])[:, None], time


@pytest.mark.parametrize(("size", "stands_out"), [(4.9, False), (5.1, True), (-5.1, True)])
def test_a_response_stands_out_from_five_standard_deviations_on(size, stands_out):
    latency = _latency(*response(size), 0.5)
    assert np.isfinite(latency[0]) == stands_out
    if stands_out:
        assert latency[0] == pytest.approx(5.0)  # half of its largest size, between the samples or on one
        assert _latency(*response(size), 0.25)[0] == pytest.approx(2.5)


def epochs(slowness=2.0, sensors=6, silent=0, trials=12, scatter=0.0):
    rng, time, x = np.random.default_rng(0), np.arange(-20.0, 60.0), np.arange(float(sensors))
    onset = 5 + slowness * x + scatter * rng.standard_normal((trials, 1))  # (trial, sensor)
    values = np.exp(-0.5 * ((time[:, None] - onset[:, None]) / 3) ** 2)
    values[..., sensors - silent :] = 0
    coords = {"time": ("time", time, {"units": "ms"}), "position": ("position", x, {"units": "mm"})}
    return xr.DataArray(values, coords, ("trial", "time", "position"))


def test_four_sensors_must_respond():
    found = evoked_latency(epochs(silent=2))
    assert found.responding == pytest.approx(4 / 6)
    assert found.speed == pytest.approx(0.5, rel=0.01)  # latencies are read between samples
    with pytest.raises(ValueError, match=r"3 sensors respond .*at least 4"):
        evoked_latency(epochs(silent=3))


@pytest.mark.parametrize(
    ("slowness", "fast"),
    [((2.0, 1.0, 4.0), (0.5, 0.25, 1.0)), ((2.0, -1.0, 4.0), (0.5, -np.inf, np.inf)),
     ((2.0, 0.0, 4.0), (0.5, -np.inf, np.inf))],
)  # fmt: skip
def test_the_interval_of_the_speed_is_that_of_the_slowness_turned_over(slowness, fast):
    field = Field.of(epochs()).without_channel()
    line = np.zeros(6)
    found = _latency_dataset(field, line, line, slowness, (1.0, 0.0), np.zeros(1), {})
    assert (found.speed, found.speed_low, found.speed_high) == fast


def test_two_evoked_waves_are_compared_with_both_their_intervals():
    ours, theirs = epochs(1.0, scatter=0.0), epochs(3.0)
    found = compare_evoked(ours, theirs, draws=20)
    assert found.time_scale == pytest.approx(3.0, rel=0.01)
    assert found.crossing_ratio == pytest.approx(1.0)
    np.testing.assert_allclose(found.crossing_time, [6, 18], rtol=0.01)
    logs = np.log(found.crossing_time_high / found.crossing_time_low) / 2
    half = np.exp(np.hypot(*logs.values))
    assert found.time_scale_high / found.time_scale == pytest.approx(half)
    assert found.time_scale / found.time_scale_low == pytest.approx(half)
    assert found.profile_correlation == pytest.approx(1, abs=1e-4)
    tested = compare_evoked(ours, theirs, draws=20, time_scale=6.0)
    assert tested.crossing_ratio == pytest.approx(2.0, rel=0.01)


def test_the_misfit_of_two_profiles_is_what_their_correlation_leaves():
    one, other = np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 1, 3])
    correlation, misfit = _likeness(one, other)
    assert correlation == pytest.approx(0.8)
    assert misfit == pytest.approx(0.6)
    assert np.isnan(_likeness(one[:2], other[:2])).all()

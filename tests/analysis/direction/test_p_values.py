"""Every p-value is (1 + #{as extreme})/(1 + draws), ties counted, and what is compared decides on its boundary."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import false_discovery_control, kstest

from analysis import synthetic
from analysis.direction import significance
from analysis.direction.doubts import _arms, place_p_value
from analysis.direction.in_turn import TURNED, _differ, move
from analysis.direction.motion import Motion, motion_test
from analysis.direction.pairs import (
    Pairs,
    direction_p_value,
    effective_number,
    fitting_null,
    independent_spectra,
    vector_null,
)
from analysis.direction.plane import plane_direction_test
from analysis.direction.shapes import Modes, phases_about
from analysis.direction.standing import strongest_mode
from analysis.direction.swap_null import effective_blocks, redistributed_differences, swapped_differences
from analysis.fields.field import Field

ONES = {"draws": 19, "seed": 0}


def pairs(power, difference, freedom=1.0, widening=1.0):
    power = np.asarray(power, float)
    axis = np.tile([1.0, 0.0], (power.size, 1))
    freedom = np.full(power.size, freedom)
    return Pairs(np.arange(power.size), axis, power, np.asarray(difference, float), freedom, widening)


def test_ties_count_against_and_no_p_is_0():
    null = xr.DataArray([[1.0, 2.0, 3.0, 4.0]] * 4, dims=("channel", "draw"))
    observed = xr.DataArray([2.0, 9.0, 0.5, np.nan], dims="channel")
    tested = significance._tested(observed, null)
    np.testing.assert_allclose(tested.p_value, [4 / 5, 1 / 5, 1.0, 1.0])
    np.testing.assert_allclose(tested.q_value, false_discovery_control([4 / 5, 1 / 5, 1.0, 1.0]))


def test_an_index_within_rounding_of_a_draw_is_a_tie():
    null = xr.DataArray([0.0, 0.0, 0.0], dims="draw")
    assert significance._tested(xr.DataArray(1e-15), null, 2e-15).p_value == 1.0
    assert significance._tested(xr.DataArray(3e-15), null, 2e-15).p_value == 1 / 4


@pytest.mark.parametrize("test", [plane_direction_test, lambda rec, **o: motion_test(Field.of(rec), **o)])
def test_in_a_plane_p_counts_draws_as_large(test):
    rec = synthetic.white_noise(synthetic.sheet((4, 4)), 64, seed=5)
    found = test(rec, **ONES)
    p = found["p_direction"] if "p_direction" in found else found["p_value"]
    assert p == (1 + (found.null_index >= found["index"]).sum()) / 20


def test_a_silent_plane_has_p_1():
    rec = 0 * synthetic.white_noise(synthetic.sheet((4, 4)), 64, seed=5)
    assert plane_direction_test(rec, **ONES).p_value == 1


def test_no_direction_is_preferred_or_all_is():
    rng = np.random.default_rng(0)
    assert direction_p_value(pairs([1] * 8, [0] * 8), "swap", 99, rng) == 1.0  # every exchange gives as much: ties
    assert direction_p_value(pairs([1] * 40, [1] * 40), "swap", 99, rng) == 1 / 100
    assert direction_p_value(pairs([0.0], [0.0]), "swap", 99, rng) == 1.0


def test_the_p_value_of_an_exchange_is_that_of_all_exchanges():
    # of the 2⁴ signs of 1, 2, 3, 4 the sizes 8 and 10 are as large as 8: ± 8 (twice: 1 turned round) and ± 10
    p = direction_p_value(pairs([10] * 4, [-1, 2, 3, 4]), "swap", 20_000, np.random.default_rng(0))
    assert p == pytest.approx(4 / 16, abs=4 * np.sqrt(0.25 * 0.75 / 20_000))


@pytest.mark.parametrize(("freedom", "widening"), [(1.0, 1.0), (4.5, 1.3)])
def test_gaussian_shares_have_the_variance_of_their_beta_law(freedom, widening):
    drawn = vector_null(pairs([2.0], [0.0], freedom, widening), "gaussian", 40_000, np.random.default_rng(1))[:, 0]
    # 2B − 1 of B ~ Beta(ν, ν) has the variance 1/(2ν + 1); at ν = 1 it is uniform
    assert drawn.std() == pytest.approx(widening / np.sqrt(2 * freedom + 1), rel=0.02)
    assert abs(drawn.mean()) < 0.02
    if freedom == 1:
        assert kstest(drawn, "uniform", (-1, 2)).pvalue > 1e-3


def test_exchanges_and_redistributions_on_a_line_have_the_moments_of_their_laws():
    rng = np.random.default_rng(2)
    swapped = swapped_differences(np.array([1.0, 2.0]), 8000, rng)
    values, counts = np.unique(swapped, return_counts=True)
    np.testing.assert_array_equal(values, [-3, -1, 1, 3])
    assert abs(counts / 8000 - 1 / 4).max() < 0.02
    # a line alone in each of two blocks: ν = 1, uniform shares of 3 and of 4
    power = np.zeros(40)
    power[[10, 30]] = 3.0, 4.0
    drawn = redistributed_differences(power, (np.array([0, 20]),), (2,), 40_000, rng)
    assert drawn.std() == pytest.approx(np.sqrt((9 + 16) / 3), rel=0.02)
    # four equal bins further apart than the lag: ν = 4² / 4
    power = np.zeros(40)
    power[[5, 15, 25, 35]] = 1.0
    drawn = redistributed_differences(power, (np.array([0]),), (2,), 40_000, rng)
    assert drawn.std() == pytest.approx(4 / 3, rel=0.02)


@pytest.mark.parametrize("count", [1, 6, 17])
def test_equal_blocks_count_as_many_as_they_are(count):
    assert effective_number(np.full(count, 0.3)) == pytest.approx(count)
    assert effective_blocks(np.ones(2 * count), (2 * np.arange(count),)) == pytest.approx(count)


def test_six_blocks_can_decide_and_five_cannot():
    assert fitting_null(pairs([1] * 6, [1] * 6)) == "swap"
    assert fitting_null(pairs([1] * 5, [1] * 5)) == "gaussian"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        significance._warn_of_few(xr.DataArray([6.0, 0.0]), "swap")
        significance._warn_of_few(xr.DataArray([5.9]), "gaussian")
    with pytest.warns(UserWarning, match="1 of 2 spectra .*least: 5.9"):
        significance._warn_of_few(xr.DataArray([6.0, 5.9]), "swap")


def test_independent_spectra_are_counted_and_a_line_is_one():
    rng = np.random.default_rng(0)
    line = rng.standard_normal((1, 6, 1)) * rng.standard_normal((1, 1, 5))
    orthogonal = np.eye(5)[None]
    assert independent_spectra(line + 0j, np.array([0]))[0] == pytest.approx(1)
    assert independent_spectra(orthogonal + 0j, np.array([0]))[0] == pytest.approx(5)
    np.testing.assert_allclose(independent_spectra(orthogonal + 0j, np.array([0, 2])), [2, 3])


# Doubts, modes and stretches ------------------------------------------------------------------------------------------


def wave_on(where, k):
    pattern = np.exp(-2j * np.pi * where.position @ k)[None]
    one = np.array([1.0])
    return Modes(np.array([0]), one, pattern / np.linalg.norm(pattern), one, one)


def test_a_wave_knows_its_place_and_what_is_in_phase_does_not():
    where = Field.of(synthetic.white_noise(synthetic.sheet((5, 5)), 8, seed=0)).space.sensors()
    rng = np.random.default_rng(0)
    assert place_p_value(wave_on(where, np.array([0.1, 0.05])), where, 39, rng) == 1 / 40
    assert place_p_value(wave_on(where, np.zeros(2)), where, 39, rng) == 1.0  # no flux, whatever the order: ties
    # with `enough` the first four permutations as extreme say that p exceeds 4/40: 1 + 4 of 1 + 4
    assert place_p_value(wave_on(where, np.zeros(2)), where, 39, rng, enough=0.1) == 1.0
    silent = replace(wave_on(where, np.zeros(2)), weight=np.array([0.0]))
    assert place_p_value(silent, where, 39, rng) == 1.0


def test_the_flux_is_taken_about_a_grid_of_centres_from_edge_to_edge():
    where = Field.of(synthetic.white_noise(synthetic.sheet((5, 5), dx=2.0), 8, seed=0)).space.sensors()
    along = where.displacement / 2.0
    middle = where.position[where.first] + where.displacement / 2
    expected = [*along.T]
    for centre in [(x, y) for x in (0, 2, 4, 6, 8) for y in (0, 2, 4, 6, 8)]:
        out = np.subtract(middle, centre)
        out /= np.hypot(*out.T)[:, None]
        expected += [
            along[:, 0] * out[:, 0] + along[:, 1] * out[:, 1],
            along[:, 1] * out[:, 0] - along[:, 0] * out[:, 1],
        ]
    expected /= np.sqrt(np.sum(np.square(expected), axis=1, keepdims=True))
    np.testing.assert_allclose(_arms(where), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["rings", "arms"])
def test_rings_and_arms_are_tried_from_half_a_wavelength_on_the_array_to_nyquists(name):
    where = Field.of(synthetic.white_noise(synthetic.sheet((9, 9), dx=0.5), 8, seed=0)).space.sensors()
    centre = np.array([-1.0, 0.0])
    distance = np.hypot(*(where.position - centre).T)
    reach = np.hypot(5.0, 4.0) - 1.0  # from the nearest sensor to the corner that is farthest
    phases = phases_about(name, centre, where)
    far, near = distance.argmax(), distance.argmin()
    turns = (phases[:, far] - phases[:, near]) / (2 * np.pi)
    if name == "rings":
        assert (turns.min(), turns.max()) == pytest.approx((0.5, reach * 0.5 / 0.5))
        assert np.diff(turns).max() <= 0.25 + 1e-9
    else:
        polar = np.arctan2(4.0, 5.0) / (2 * np.pi)  # the nearest sensor lies at the angle 0
        runs_out = np.arange(-4, 5) / 2  # up to two wavelengths, either way
        np.testing.assert_allclose(turns, np.concatenate([polar + runs_out, 2 * polar + runs_out]), atol=1e-12)


@pytest.mark.parametrize(("size", "seen"), [(8, False), (9, True)])
def test_a_mode_must_exceed_the_noise_that_the_median_of_an_exponential_law_says(size, seen):
    # |U|² = m everywhere: the noise is m/ln 2 and the most it gives (m/ln 2)(2√n)²; the mode has n²m. It is one from
    # n > 4 · 1.5/ln 2 = 8.66 on.
    where = Field.of(synthetic.white_noise(synthetic.line(size), 8, seed=0)).space.sensors()
    rows = np.ones((size, 1)) * np.exp(2j * np.pi * 0.25 * np.arange(size))
    share, quadrature, _ = strongest_mode(rows, where)
    assert (share == 1.0) == seen
    assert (share > 0) == seen
    assert not seen or quadrature > 0.8


def motion(shape="plane", angle=0.0, sign=1.0):
    rest = dict.fromkeys(
        ("index", "centre_x", "centre_y", "p_direction", "p_place", "p_value", "effective_blocks"), 0.0
    )
    return Motion(
        shape=shape, angle=angle, sign=sign, wave_share=0.5, modules_share=0.5, axis=np.zeros(2), null_index=0, **rest
    )


def test_stretches_differ_by_more_than_60_degrees_by_shape_or_by_sense():
    assert pytest.approx(np.pi / 3) == TURNED
    for turn, different in ((59, False), (61, True), (299, True), (301, False)):
        assert _differ(motion(angle=3.0), motion(angle=3.0 + np.radians(turn))) == different
    assert _differ(motion("rings"), motion("rings", sign=-1.0))
    assert not _differ(motion("rings"), motion("rings"))
    assert _differ(motion("rings"), motion("arms"))
    assert not _differ(motion("rings"), None)
    words = [move(one) for one in (None, motion(), motion("arms"), motion("rings"), motion("rings", sign=-1.0))]
    assert words == ["none", "travelling", "rotating", "expanding", "converging"]


def test_a_wave_must_explain_more_than_two_modules():
    assert not motion().is_wave
    assert replace(motion(), wave_share=0.51).is_wave


def test_six_trials_are_exchanged_and_five_are_not():
    rec = synthetic.white_noise(synthetic.ring(8), 32, seed=0)
    trials = xr.concat([synthetic.white_noise(synthetic.ring(8), 32, seed=s) for s in range(6)], "trial")
    trials.attrs = rec.attrs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        significance.direction_test(trials, null="trial", **ONES)
    with pytest.raises(ValueError, match="at least 6 trials: the recording has 5"):
        significance.direction_test(trials.isel(trial=slice(5)), null="trial", **ONES)

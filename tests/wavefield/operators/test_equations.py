"""The equations held to what is known of their schemes: exactness, dispersion, stability, order, ends."""

from collections import deque

import numpy as np
import pytest
from scipy.stats import binom

import wavefield as wf

ORDERS = [2, 4, 6, 8]


def steps(op, state, count):
    """States of `count` successive steps from `state` (C·N,), by the operator's matrix."""
    matrix = op.matrix(state.size // op.channels)
    for _ in range(count):
        state = matrix @ state
        yield state


def after(op, state, count):
    return deque(steps(op, state, count), maxlen=1).pop()


# ---- one way --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nu", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("time", [7, 100])
@pytest.mark.parametrize("side", [1, -1])
def test_one_way_impulse_spreads_as_a_wrapped_binomial(nu, time, side):
    size = 32
    impulse = np.eye(1, size)[0]
    expected = np.zeros(size)
    np.add.at(expected, side * np.arange(time + 1) % size, binom.pmf(np.arange(time + 1), time, nu))
    op = wf.transport(side * nu)
    np.testing.assert_allclose(after(op, impulse, time), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(op.power(time)(impulse[None])[0], expected, rtol=0, atol=1e-14)


def test_one_way_field_keeps_its_sum_its_sign_and_never_gains_norm():
    start = np.random.default_rng(0).uniform(0, 1, 64)
    norms = [np.linalg.norm(start)]
    for field in steps(wf.transport(0.37), start, 500):
        assert field.min() >= 0
        assert field.sum() == pytest.approx(start.sum(), rel=1e-13)
        norms.append(np.linalg.norm(field))
    assert (np.diff(norms) <= 1e-15).all()


@pytest.mark.parametrize("speed", [1.0, -1.0])
def test_unit_speed_is_the_shift_and_its_nth_power_the_identity(speed):
    field = np.random.default_rng(0).standard_normal(48)
    op = wf.transport(speed)
    state = field
    for time in range(1, 49):
        state = op.matrix(48) @ state
        np.testing.assert_array_equal(state, np.roll(field, int(speed) * time))
    shift = op.matrix(48)
    np.testing.assert_array_equal((shift**1).toarray(), np.roll(np.eye(48), int(speed), axis=0))
    power = np.linalg.matrix_power(shift.toarray(), 48)
    np.testing.assert_array_equal(power, np.eye(48))


@pytest.mark.parametrize("nu", [0.9, 0.7])
def test_condition_of_many_one_way_steps_is_the_published_one(nu):
    """cond(Σ^T) = |1 − 2ν|^{−T} on an even ring."""
    matrix = np.linalg.matrix_power(wf.transport(nu).matrix(64).toarray(), 12)
    assert np.linalg.cond(matrix) == pytest.approx(abs(1 - 2 * nu) ** -12, rel=1e-6)


def test_half_speed_cannot_be_undone():
    assert np.linalg.matrix_rank(wf.transport(0.5).matrix(64).toarray()) == 63


@pytest.mark.parametrize("speed", [1.0, -1.0])
@pytest.mark.parametrize("boundary", ["absorbing", "open", "fixed"])
def test_one_way_field_leaves_a_line_and_nothing_enters(speed, boundary):
    field = np.random.default_rng(0).standard_normal(20)
    for time, state in enumerate(steps(wf.transport(speed, boundary=boundary), field, 25), start=1):
        expected = np.zeros(20)
        if time < 20:
            expected[time:] = field[: 20 - time]
        if speed < 0:
            expected = np.zeros(20)
            expected[: max(20 - time, 0)] = field[time:]
        np.testing.assert_array_equal(state, expected)


def test_gain_fades_the_ring_by_its_power():
    field = np.random.default_rng(0).standard_normal(16)
    np.testing.assert_allclose(after(wf.transport(1.0, gain=0.97), field, 16), 0.97**16 * field, rtol=1e-14)


def test_static_field_stays_where_it_is():
    field = np.random.default_rng(0).standard_normal(16)
    np.testing.assert_array_equal(after(wf.static(), field, 100), field)


def test_one_way_speed_profile_moves_each_place_at_its_own_speed():
    """A crest at x reaches x + Δx after ∫dx/ν(x): the first passage through the slow half takes twice as long."""
    size = 400
    profile = np.where(np.arange(size) < 200, 1.0, 0.5)
    op = wf.transport(1.0, boundary="absorbing", profile=profile)
    passage = np.array([state[[100, 300]] for state in steps(op, np.eye(1, size)[0], 800)])
    times = np.arange(1, 801)
    mean = (passage * times[:, None]).sum(axis=0) / passage.sum(axis=0)
    assert mean[0] == 100
    assert mean[1] == pytest.approx(100 + 99 + 2 * 101, abs=3)


# ---- two ways -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("courant", [0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("mode", [1, 3, 10, 20, 31, 32])
def test_a_wave_follows_the_numerical_dispersion_relation_for_2000_steps(courant, mode):
    """cos(2π(kx − ft)) with sin(πf dt) = C sin(πk dx)."""
    size, x, k = 64, np.arange(64), mode / 64
    turn = 2 * np.arcsin(courant * np.sin(np.pi * k))  # 2πf dt
    start = np.concatenate([np.cos(2 * np.pi * k * x), np.cos(2 * np.pi * k * x + turn)])
    worst = 0.0
    for time, state in enumerate(steps(wf.wave(courant), start, 2000), start=1):
        worst = max(worst, np.abs(state[:size] - np.cos(2 * np.pi * k * x - turn * time)).max())
    assert worst <= 1e-11


def test_courant_one_is_dalembert_to_rounding_after_ten_periods():
    size, rng = 100, np.random.default_rng(0)
    right, left = rng.standard_normal((2, size))
    right, left = right - right.mean(), left - left.mean()
    start = np.concatenate([right + left, np.roll(right, -1) + np.roll(left, 1)])
    for time, state in enumerate(steps(wf.wave(1.0), start, 10 * size), start=1):
        np.testing.assert_allclose(state[:size], np.roll(right, time) + np.roll(left, -time), rtol=0, atol=1e-12)


def test_courant_one_is_bit_exact_on_integers_for_a_thousand_periods():
    size, rng = 20, np.random.default_rng(0)
    right, left = rng.integers(-9, 10, (2, size)).astype(float)
    state = np.concatenate([right + left, np.roll(right, -1) + np.roll(left, 1)])
    np.testing.assert_array_equal(after(wf.wave(1.0), state, 1000 * size), state)


def reflected(boundary, size, time, start):
    """A unit pulse on its way from `start` to +x, by images: odd about −1 and N, even about 0 and N − 1."""
    period = 2 * (size + 1) if boundary == "fixed" else 2 * (size - 1)
    sign = -1 if boundary == "fixed" else 1
    offset = 1 if boundary == "fixed" else 0
    place = (start + offset + time) % period
    half = period // 2
    pulse = np.zeros(size)
    if boundary == "fixed" and place in (0, half):
        return pulse  # in the wall
    value = 1.0 if place <= half else sign
    pulse[(place if place <= half else period - place) - offset] = value
    return pulse


@pytest.mark.parametrize("boundary", ["fixed", "free"])
def test_a_pulse_comes_back_upside_down_from_a_fixed_end_and_upright_from_a_free_one(boundary):
    size, start = 24, 7
    period = 2 * (size + 1) if boundary == "fixed" else 2 * (size - 1)
    # as a pulse meets its image at a free end cell, both stand on it: the field there is twice the pulse
    double = lambda field: field * np.where(np.isin(np.arange(size), (0, size - 1)) & (boundary == "free"), 2, 1)  # noqa: E731
    first = np.concatenate([reflected(boundary, size, 0, start), reflected(boundary, size, -1, start)])
    for time, state in enumerate(steps(wf.wave(1.0, boundary=boundary), first, 3 * period), start=1):
        np.testing.assert_array_equal(state[:size], double(reflected(boundary, size, time, start)))
        if time % period == 0:
            np.testing.assert_array_equal(state, first)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", ["fixed", "free"])
def test_wide_stencils_keep_the_standing_waves_of_their_ends(order, boundary):
    """sin(πm(n+1)/(N+1)) between fixed ends and cos(πmn/(N−1)) between free ones only swing, whatever the stencil."""
    size, m, courant = 20, 3, 0.6
    n = np.arange(size)
    shape = np.sin(np.pi * m * (n + 1) / (size + 1)) if boundary == "fixed" else np.cos(np.pi * m * n / (size - 1))
    k = m / (2 * (size + 1)) if boundary == "fixed" else m / (2 * (size - 1))
    reach = np.arange(1, order // 2 + 1)
    weights = wf.second_difference(order)[order // 2 + 1 :]
    square = 4 * (weights * np.sin(np.pi * k * reach) ** 2).sum()  # −L on this mode
    turn = 2 * np.arcsin(courant / 2 * np.sqrt(square))
    start = np.concatenate([shape, shape * np.cos(turn)])
    for time, state in enumerate(steps(wf.wave(courant, order=order, boundary=boundary), start, 300), start=1):
        np.testing.assert_allclose(state[:size], shape * np.cos(turn * time), atol=1e-11)


def test_stencils_and_limits_are_the_published_ones():
    np.testing.assert_allclose(wf.second_difference(4), np.array([-1, 16, -30, 16, -1]) / 12, rtol=1e-15)
    np.testing.assert_allclose(
        wf.second_difference(8), np.array([-9, 128, -1008, 8064, -14350, 8064, -1008, 128, -9]) / 5040, rtol=1e-14
    )
    sums = [np.abs(wf.second_difference(order)).sum() for order in ORDERS]
    np.testing.assert_allclose(sums, [4, 16 / 3, 272 / 45, 2048 / 315], rtol=1e-14)
    np.testing.assert_allclose([wf.courant_limit(order) for order in ORDERS], [1, 0.8660, 0.8135, 0.7844], atol=5e-5)


def raw_wave(courant, order):
    """The two-way kernel with no question asked."""
    centre = np.eye(1, order + 1, order // 2)[0]
    kernel = np.zeros((2, 2, order + 1))
    kernel[0, 0] = 2 * centre + courant**2 * wf.second_difference(order)
    kernel[0, 1], kernel[1, 0] = -centre, centre
    return wf.WaveOperator(kernel, levels=2)


@pytest.mark.parametrize("order", ORDERS)
def test_courant_limit_is_right_to_a_thousandth_on_both_sides(order):
    limit, size = wf.courant_limit(order), 64
    state = np.random.default_rng(0).standard_normal(size)
    state = np.tile(state - state.mean(), 2)
    assert np.abs(after(wf.wave(0.999 * limit, order=order), state, 4000)).max() < 100
    assert np.abs(after(raw_wave(1.001 * limit, order), state, 4000)).max() > 1e100
    with pytest.raises(ValueError, match="largest stable dt is"):
        wf.wave(1.001 * limit, order=order)


@pytest.mark.parametrize("order", ORDERS)
def test_the_step_that_a_refusal_offers_is_accepted_and_used_unrounded(order):
    with pytest.raises(ValueError, match="largest stable dt is") as refusal:
        wf.wave(3.0, order=order, dx=0.7, dt=1.0)
    offered = float(str(refusal.value).rsplit(" ", 1)[1])
    op = wf.wave(3.0, order=order, dx=0.7, dt=offered * (1 - 1e-5))
    assert op.dt == offered * (1 - 1e-5)
    assert op.courant[0] == pytest.approx(3.0 * op.dt / 0.7, rel=1e-12)
    assert op.courant[0] == pytest.approx(wf.courant_limit(order), rel=2e-5)


# ---- order of convergence -------------------------------------------------------------------------------------------


def slope(sizes, errors):
    return -np.polyfit(np.log(sizes), np.log(errors), 1)[0]


def travelling_error(op, size, count):
    """Worst error of a one-way travelling wave of two wavelengths on the unit ring after `count` steps."""
    profile = lambda x: np.sin(4 * np.pi * x) + 0.5 * np.cos(2 * np.pi * x)  # noqa: E731
    x = np.arange(size) / size
    state = np.concatenate([profile(x), profile(x + op.dt)])[: op.channels * size]
    return np.abs(after(op, state, count)[:size] - profile(x - count * op.dt)).max()


def test_upwind_transport_is_of_first_order():
    sizes = [400, 800, 1600]
    errors = [travelling_error(wf.transport(1.0, dx=1 / n, dt=0.5 / n), n, n) for n in sizes]
    assert slope(sizes, errors) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_leapfrog_is_of_second_order_in_time_whatever_its_stencil(order):
    sizes = [64, 128, 256]
    errors = [travelling_error(wf.wave(1.0, order=order, dx=1 / n, dt=0.5 / n), n, n) for n in sizes]
    assert slope(sizes, errors) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("order", "sizes"), [(2, [32, 64, 128]), (4, [32, 64, 96]), (6, [20, 28, 36]), (8, [20, 24, 28])]
)
def test_stencil_is_of_its_order_in_space_when_time_steps_shrink_along(order, sizes):
    """With dt ∝ dx^{p/2} the error in time falls as dx^p too."""
    errors = []
    for n in sizes:
        dt = 0.5 / sizes[0] * (sizes[0] / n) ** (order / 2)
        errors.append(travelling_error(wf.wave(1.0, order=order, dx=1 / n, dt=dt), n, round(0.5 / dt)))
    assert slope(sizes, errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("boundary", ["fixed", "free"])
def test_speed_profile_in_conservative_form_is_of_second_order(boundary):
    """((1+x)² φ')' = −λφ on [0, 1] (an Euler equation): φ = s^{−1/2} sin(μ ln s), s = 1 + x, λ = μ² + 1/4,
    with μ = π/ln 2 between fixed ends; between free ends the root of 2μ = tan(μ ln 2) and φ' = 0 at s = 1."""
    if boundary == "fixed":
        mu, phase = 2 * np.pi / np.log(2), 0.0
    else:  # φ' = 0: tan(μ ln s + phase) = 2μ at both ends, so μ ln 2 is a multiple of π
        mu = np.pi / np.log(2)
        phase = np.arctan(2 * mu)
    turning = np.sqrt(mu**2 + 0.25)
    sizes, errors = [49, 99, 199], []
    for size in sizes:
        dx = 1 / (size + 1) if boundary == "fixed" else 1 / (size - 1)
        x = (np.arange(size) + (boundary == "fixed")) * dx
        shape = np.sin(mu * np.log(1 + x) + phase) / np.sqrt(1 + x)
        op = wf.wave(1.0, boundary=boundary, dx=dx, dt=dx / 4, profile=1 + x)
        state = np.concatenate([shape, shape * np.cos(turning * op.dt)])
        count = round(0.8 / op.dt)
        errors.append(np.abs(after(op, state, count)[:size] - shape * np.cos(turning * count * op.dt)).max())
    assert slope(sizes, errors) == pytest.approx(2, abs=0.1)


def test_speed_profile_keeps_the_mean_momentum_of_the_ring():
    """Conservative form: Σ(h[t+1] − h[t]) is a constant of the motion, whatever ν(x)."""
    rng = np.random.default_rng(0)
    op = wf.wave(0.5, profile=rng.uniform(0.3, 2.0, 50))
    start = rng.standard_normal(100)
    momentum = start[:50].sum() - start[50:].sum()
    for state in steps(op, start, 1000):
        assert state[:50].sum() - state[50:].sum() == pytest.approx(momentum, abs=1e-9)


def test_uniform_speed_profile_is_no_profile():
    for boundary in ("periodic", "fixed", "free", "absorbing"):
        plain, profiled = wf.wave(0.6, 0.1, boundary=boundary), wf.wave(0.3, 0.1, boundary=boundary, profile=[2.0] * 9)
        np.testing.assert_allclose(plain.matrix(9).toarray(), profiled.matrix(9).toarray(), atol=1e-15)
    plain, profiled = wf.transport(-0.6), wf.transport(-0.3, profile=[2.0] * 9)
    np.testing.assert_allclose(plain.matrix(9).toarray(), profiled.matrix(9).toarray(), atol=1e-15)


# ---- absorbing ends -------------------------------------------------------------------------------------------------


def residual(width, courant, order, side):
    """What is left of a Gaussian of unit height that has run off the end of a line."""
    size, n = 240, np.arange(240)
    gaussian = lambda time: np.exp(-((n - 120 - side * courant * time) ** 2) / (2 * width**2))  # noqa: E731
    op = wf.wave(courant, order=order, boundary="absorbing")
    state = after(op, np.concatenate([gaussian(0), gaussian(-1)]), round(300 / courant))
    return np.abs(state[:size]).max()


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("width", [4, 10])
@pytest.mark.parametrize(("courant", "largest"), [(1.0, 1e-15), (0.99, 1e-4), (0.9, 1e-3), (0.5, 2.5e-3)])
def test_next_to_nothing_comes_back_from_an_absorbing_end(width, courant, largest, side):
    assert residual(width, courant, 2, side) <= largest


@pytest.mark.parametrize("order", ORDERS)
def test_wide_stencils_leave_less_than_a_hundredth_at_an_absorbing_end(order):
    assert residual(4, 0.5, order, 1) <= 1e-2
    assert residual(10, 0.5, order, -1) <= 1e-3


@pytest.mark.parametrize("order", ORDERS)
def test_absorbing_line_stays_bounded_for_long(order):
    state = np.random.default_rng(0).standard_normal(60)
    state = np.tile(state, 2)
    op = wf.wave(0.99 * wf.courant_limit(order), order=order, boundary="absorbing")
    assert np.abs(after(op, state, 20000)).max() < 10

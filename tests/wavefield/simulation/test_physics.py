"""Simulated fields held to the physics of the equations and to the measured numbers of their schemes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

import wavefield as wf

REFLECTING = ["periodic", "fixed", "free"]


def run(op, initial, steps, *, previous=None, **options):
    """Levels h^1 … h^steps of the undriven field, (time, rings, N), or the last where `save_every` is None."""
    return wf.simulate(op, initial=initial, previous=previous, steps=steps, **options).activity.values


def gaussian(size, centre, width):
    return np.exp(-((np.arange(size) - centre) ** 2) / (2 * width**2))


# ---- energy and reversal --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", REFLECTING)
@pytest.mark.parametrize(("order", "profile"), [(2, None), (4, None), (8, None), (2, np.linspace(0.3, 1, 50))])
def test_energy_drifts_by_less_than_1e_11_in_ten_thousand_steps(boundary, order, profile):
    limit = wf.courant_limit(order)
    op = wf.wave([0.5 * limit, limit], order=order, boundary=boundary, profile=profile)
    levels = run(op, np.random.default_rng(0).standard_normal((2, 50)), 10_000)
    total = wf.energy(op, levels[1:], levels[:-1])
    assert np.abs(total / total[0] - 1).max() <= 1e-11


def test_damping_takes_exactly_its_share_of_a_simulated_field():
    """E^{n+½} − E^{n−½} = −γ dt ‖(h^{n+1} − h^{n−1})/(2dt)‖² at every step, so that 2000 of them add up."""
    gamma, dx, dt = 0.02, 0.5, 0.5
    op = wf.wave(0.9, gamma, dx=dx, dt=dt)
    levels = run(op, np.random.default_rng(0).standard_normal((1, 64)), 2000)
    total = wf.energy(op, levels[1:], levels[:-1])[:, 0]
    velocity = (levels[2:, 0] - levels[:-2, 0]) / (2 * dt)
    taken = gamma * dt * dx * (velocity**2).sum(axis=1)
    np.testing.assert_allclose(np.diff(total), -taken, rtol=0, atol=1e-13 * total[0])
    assert total[0] - total[-1] == pytest.approx(taken.sum(), rel=9e-12)


def test_a_uniform_damped_mode_decays_at_half_the_damping():
    """h_tt + γ h_t + ω² h = 0: amplitude e^{−γt/2}, frequency √(ω² − γ²/4)."""
    gamma, size, dt = 0.05, 400, 0.1
    op = wf.wave(1.0, gamma, dx=0.1, dt=dt)
    omega = 2 * np.pi * 3 / (size * 0.1)
    turning = np.sqrt(omega**2 - gamma**2 / 4)
    shape = np.cos(omega * np.arange(size) * 0.1)
    levels = run(op, shape[None], 1000)[:, 0, 0]
    t = dt * np.arange(1, 1001)
    expected = np.exp(-gamma * t / 2) * (np.cos(turning * t) + gamma / (2 * turning) * np.sin(turning * t))
    np.testing.assert_allclose(levels, expected, atol=1e-3)


@pytest.mark.parametrize("boundary", REFLECTING)
@pytest.mark.parametrize("courant", [0.7, 1.0])
def test_ten_thousand_steps_are_run_back_to_the_beginning(boundary, courant):
    """Leapfrog with its levels exchanged is its own inverse."""
    start = np.random.default_rng(0).standard_normal((1, 100))
    op = wf.wave(courant, boundary=boundary)
    there = wf.simulate(op, initial=start, steps=10_000, save_every=None)
    back = wf.reverse(there)
    np.testing.assert_allclose(back.activity.values[-1], start, rtol=0, atol=1e-9)


# ---- Courant 1 ------------------------------------------------------------------------------------------------------


def test_field_at_courant_one_is_dalembert_after_ten_periods():
    size = 256
    rng = np.random.default_rng(0)
    shape = rng.standard_normal(size)
    levels = run(wf.wave(1.0), shape[None], 10 * size)[:, 0]
    for t in (1, 7, size // 2, size, 10 * size):  # at rest: one half of it each way
        expected = (np.roll(shape, t) + np.roll(shape, -t)) / 2
        np.testing.assert_allclose(levels[t - 1], expected, rtol=0, atol=1e-12)


def dalembert(boundary, size, shape, time):
    """F(n − t) on a ring; F(n − t) + F(−n − t) between free ends, F(m − t) − F(−m − t), m = n + 1, between fixed ones.

    F has the period of the ring, or that of the line and its mirror image.
    """
    n = np.arange(size) + (boundary == "fixed")
    field = shape[(n - time) % shape.size]
    mirrored = shape[(-n - time) % shape.size]
    return {"periodic": field, "free": field + mirrored, "fixed": field - mirrored}[boundary]


@pytest.mark.parametrize(("boundary", "period"), [("periodic", 40), ("fixed", 2 * 41), ("free", 2 * 39)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_integers_travel_bit_for_bit_for_a_thousand_periods(boundary, period, dtype):
    shape = np.random.default_rng(0).integers(-9, 10, period).astype(float)
    steps = 1000 * period + 17
    last = wf.simulate(
        wf.wave(1.0, boundary=boundary),
        initial=dalembert(boundary, 40, shape, 0)[None],
        previous=dalembert(boundary, 40, shape, -1)[None],
        steps=steps,
        save_every=None,
        dtype=dtype,
    )
    np.testing.assert_array_equal(last.activity[-1, 0], dalembert(boundary, 40, shape, steps))
    np.testing.assert_array_equal(last.previous[0], dalembert(boundary, 40, shape, steps - 1))


# ---- below Courant 1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("courant", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("mode", [1, 10, 31])
def test_simulated_wave_follows_the_numerical_dispersion_relation_for_2000_steps(courant, mode):
    k, n = mode / 64, np.arange(64)
    turn = 2 * np.arcsin(courant * np.sin(np.pi * k))
    crest = lambda time: np.cos(2 * np.pi * k * n - turn * np.asarray(time)[..., None])  # noqa: E731
    levels = run(wf.wave(courant), crest(0)[None], 2000, previous=crest(-1)[None])[:, 0]
    np.testing.assert_allclose(levels, crest(np.arange(1, 2001)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("nu", [0.25, 0.9])
def test_simulated_impulse_spreads_as_a_wrapped_binomial(nu):
    size, steps = 48, 100
    rec = wf.simulate(wf.transport(-nu), wf.spikes([[(0, 1.0)]], steps=steps + 1), size)
    expected = np.zeros(size)
    np.add.at(expected, -np.arange(steps + 1) % size, binom.pmf(np.arange(steps + 1), steps, nu))
    np.testing.assert_allclose(rec.activity[-1, 0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_field_grows_just_above_the_courant_limit_and_not_below(order):
    limit, start = wf.courant_limit(order), np.random.default_rng(0).standard_normal((1, 64))
    assert np.abs(run(wf.wave(0.999 * limit, order=order), start, 4000, save_every=None)).max() < 20
    kernel = wf.wave(limit, order=order).kernel.copy()
    kernel[0, 0] += (1.001**2 - 1) * limit**2 * wf.second_difference(order)
    with pytest.raises(wf.DivergenceError) as stopped:
        run(wf.WaveOperator(kernel, levels=2), start, 20_000, save_every=None, allow_growth=True)
    growth = wf.WaveOperator(kernel, levels=2).stability(64).growth
    assert stopped.value.step == pytest.approx(np.log(np.finfo(float).max) / np.log(growth), rel=0.02)


@pytest.mark.parametrize("speed", [2.0, -3.0])
def test_a_crest_moves_at_its_speed_in_units_of_length_and_time(speed):
    dx, dt = 0.01, 0.002
    op = wf.transport(speed, dx=dx, dt=dt)
    rec = wf.simulate(op, initial=gaussian(1000, 500, 20)[None], steps=500)
    where = rec.position[rec.activity[:, 0].argmax("position")].values
    travelled = np.polyfit(rec.time.values, where, 1)[0]
    assert travelled == pytest.approx(speed, rel=2e-3)


def test_one_way_crest_has_the_mean_and_spread_of_its_steps():
    """Mean νT, variance Tν(1 − ν)."""
    nu, steps, n = 0.3, 200, np.arange(512)
    field = run(wf.transport(nu), np.eye(1, 512), steps)[-1, 0]
    mean = field @ n
    assert mean == pytest.approx(nu * steps, rel=1e-12)
    assert field @ (n - mean) ** 2 == pytest.approx(steps * nu * (1 - nu), rel=1e-11)


# ---- ends and media -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("width", [4, 10])
@pytest.mark.parametrize(("courant", "left"), [(1.0, 1e-15), (0.9, 1e-3)])
def test_simulated_wave_leaves_through_an_absorbing_end(side, width, courant, left):
    start, before = gaussian(200, 100, width), gaussian(200, 100 - side * courant, width)
    rest = run(wf.wave(courant, boundary="absorbing"), start[None], 400, previous=before[None], save_every=None)
    assert np.abs(rest).max() <= left


def reflected(line, cells, courant, gamma=0.0, order=2):
    """What comes back of a wave packet of `cells` a wavelength, relative to its height at the ends of the line.

    `line(N)` is an operator on N positions. Compared with a line so long that no end is reached in that time.
    """
    width = max(2 * cells, 20)
    size = 14 * width
    endless = wf.wave(courant, gamma, order=order)
    centre = np.cos(2 * np.pi / cells * (np.arange(order + 1) - order // 2)) @ endless.taps[0]
    q = endless.previous_weight[0]
    turn = (centre + 1j * np.sqrt(4 * q - centre**2)) / 2  # h[t] = turn^t e^{−2πikn}, a mode of the damped scheme

    def packet(size, time):
        n = np.arange(size) - size / 2
        wave = np.exp(2j * np.pi * n / cells) * np.conj(turn) ** time
        return (np.exp(-((n - courant * time) ** 2) / (2 * width**2)) * wave.real)[None]

    steps = round(size / courant)
    field = run(line(size), packet(size, 0), steps, previous=packet(size, -1))[:, 0]
    long = run(endless, packet(4 * size, 0), steps, previous=packet(4 * size, -1))[:, 0]
    known = long[:, 3 * size // 2 : 5 * size // 2]
    return np.abs(field - known)[:, size // 4 : -size // 4].max() / np.abs(known[:, -1]).max()


@pytest.mark.parametrize(
    ("courant", "order", "undamped"),
    [(1.0, 2, 1e-5), (0.8, 2, 2.4e-3), (0.7, 4, 2.2e-3), (0.7, 6, 3.6e-3), (0.7, 8, 5e-3)],
)
def test_a_damped_end_sends_back_the_square_of_the_damping_over_four_times_the_frequency(courant, order, undamped):
    """Without the damping in the condition it is γ/4ω itself, ten times as much and more."""
    cells = 20
    for gamma in (0.0, 0.003, 0.01, 0.03):
        ratio = gamma / (4 * 2 * np.pi * courant / cells)

        def line(size, gamma=gamma):
            return wf.wave(courant, gamma, order=order, boundary="absorbing")

        assert reflected(line, cells, courant, gamma, order) <= undamped + 1.5 * ratio**2 + 2e-4 * (gamma > 0)


@pytest.mark.parametrize(("gamma", "share"), [(0.0, 1e-12), (0.003, 0.0022), (0.01, 0.019), (0.03, 0.2)])
def test_a_hump_at_rest_leaves_a_damped_line_but_for_what_spreads(gamma, share):
    """Of the slow part, which does not travel but diffuses, some is sent back: it grows with γ."""
    start, wide = gaussian(400, 200, 8 / 2**0.5), gaussian(4000, 2000, 8 / 2**0.5)
    near = run(wf.wave(1.0, gamma, boundary="absorbing"), start[None], 500)[:, 0]
    far = run(wf.wave(1.0, gamma, boundary="absorbing"), wide[None], 500)[:, 0, 1800:2200]
    assert np.abs(near - far).max() <= share * np.abs(far[150:260, -1]).max()


@pytest.mark.parametrize("order", [2, 4, 6, 8])
@pytest.mark.parametrize("gamma", [1e-4, 0.01, 0.3, 1.9])
def test_no_mode_of_a_damped_line_with_absorbing_ends_grows(order, gamma):
    for share in (0.3, 0.8, 1.0):
        op = wf.wave(share * wf.courant_limit(order), gamma, order=order, boundary="absorbing")
        for size in (9, 16, 41):
            assert np.abs(np.linalg.eigvals(op.matrix(size).toarray())).max() <= 1 + 1e-10


@pytest.mark.parametrize("boundary", ["absorbing", "fixed"])
def test_no_mode_of_a_line_with_layers_grows(boundary):
    """The matching force is negative where a layer begins; with the damping around it nothing grows."""
    for courant in (0.3, 0.8, 1.0):
        for size, cells, reflection in ((41, 20, 1e-3), (60, 10, 1e-3), (30, 4, 0.1), (100, 40, 1e-4)):
            for gamma in (0.0, 0.1):
                layer = wf.absorbing_layer(size, cells, speed=courant, damping=gamma, reflection=reflection)
                op = wf.wave(courant, gamma, boundary=boundary, **layer)
                assert np.abs(np.linalg.eigvals(op.matrix(size).toarray())).max() <= 1 + 1e-10


@pytest.mark.parametrize("courant", [1.0, 0.9, 0.5])
@pytest.mark.parametrize(
    ("cells", "most"), [(8, 6e-4), (10, 6e-4), (15, 6e-4), (20, 6e-4), (40, 1.35e-3), (80, 1.35e-3)]
)
def test_twenty_cells_of_matched_layer_send_back_less_than_a_thousandth(courant, cells, most):
    def line(size):
        return wf.wave(courant, boundary="absorbing", **wf.absorbing_layer(size, 20, speed=courant))

    assert reflected(line, cells, courant) <= most


@pytest.mark.parametrize(("gamma", "share", "unmatched"), [(0.003, 0.0025, 0.015), (0.01, 0.0175, 0.039)])
def test_a_layer_in_a_damped_line_is_matched_to_the_damping(gamma, share, unmatched):
    """A hump at rest comes back from the layer no more than from the end, if the layer knows of γ."""
    start, wide = gaussian(400, 200, 8 / 2**0.5), gaussian(4000, 2000, 8 / 2**0.5)
    far = run(wf.wave(1.0, gamma), wide[None], 500)[:, 0, 1800:2200]
    found = []
    for damping in (gamma, 0.0):
        layer = wf.absorbing_layer(400, 20, damping=damping)
        near = run(wf.wave(1.0, gamma, boundary="absorbing", **layer), start[None], 500)[:, 0]
        found.append(np.abs(near - far)[:, 20:-20].max() / np.abs(far[:, 20]).max())
    assert found[0] <= share
    assert found[1] > unmatched


def test_damping_alone_is_no_match_for_long_waves():
    def line(size):
        damping = wf.absorbing_layer(size, 20)["damping_profile"]
        return wf.wave(1.0, boundary="absorbing", damping_profile=damping)

    assert reflected(line, 10, 1.0) < 3e-3
    assert reflected(line, 40, 1.0) > 0.1


def test_layers_are_in_the_units_of_length_and_time():
    """The same line in millimetres and milliseconds: the same field."""
    plain = wf.wave(0.8, boundary="absorbing", **wf.absorbing_layer(120, 15, speed=0.8))
    units = wf.wave(3.2, boundary="absorbing", dx=0.2, dt=0.05, **wf.absorbing_layer(120, 15, speed=3.2, dx=0.2))
    start = gaussian(120, 60, 5)[None]
    np.testing.assert_allclose(run(units, start, 300), run(plain, start, 300), atol=1e-13)


def test_layers_of_half_a_line_each_meet_in_its_middle():
    c, dx, depth = 3.2, 0.2, (20 - np.arange(20)) / 20
    damping = wf.absorbing_layer(40, 20, speed=c, dx=dx)["damping_profile"]
    sigma = 3 * c / (2 * 20 * dx) * np.log(1e3) * depth**2
    np.testing.assert_allclose(damping, 2 * np.concatenate([sigma, sigma[::-1]]), rtol=1e-12)


def test_where_the_medium_changes_a_part_is_reflected_and_the_rest_goes_on():
    """h_tt = (c² h_x)_x: h and c² h_x are continuous, so that (c₁ − c₂)/(c₁ + c₂) comes back, 2c₁/(c₁ + c₂) passes."""
    size, fast, slow = 4000, 1.0, 0.5
    profile = np.where(np.arange(size) < size // 2, fast, slow)
    op = wf.wave(1.0, boundary="absorbing", profile=profile)
    start, before = gaussian(size, 1000, 40), gaussian(size, 999, 40)
    field = run(op, start[None], 1500, previous=before[None], save_every=None)[0, 0]
    assert field[: size // 2].max() == pytest.approx((fast - slow) / (fast + slow), rel=0.01)
    assert field[size // 2 :].max() == pytest.approx(2 * fast / (fast + slow), rel=0.01)
    assert abs(field[: size // 2].argmax() - 1500) <= 3
    assert abs(field[size // 2 :].argmax() - (2000 + slow * 500) + size // 2) <= 3


@pytest.mark.parametrize(
    ("speeds", "densities"), [((1.0, 1.0), (1.0, 4.0)), ((1.0, 0.5), (3.0, 1.0)), ((1.0, 0.5), (1.0, 2.0))]
)
def test_where_the_impedance_changes_its_share_is_reflected(speeds, densities):
    """Z = ρc: (Z₁ − Z₂)/(Z₁ + Z₂) comes back and 2Z₁/(Z₁ + Z₂) passes, nothing where ρc stays as it is."""
    size = 4000
    half = np.arange(size) < size // 2
    density, profile = np.where(half, *densities), np.where(half, *speeds)
    op = wf.wave(0.8, boundary="absorbing", profile=profile, density=density)
    start, before = gaussian(size, 1000, 40), gaussian(size, 1000 - 0.8, 40)
    field = run(op, start[None], 1900, previous=before[None], save_every=None)[0, 0]
    first, second = np.multiply(speeds, densities)
    back, through = field[: size // 2], field[size // 2 :]
    returned = back[np.abs(back).argmax()]
    assert returned == pytest.approx((first - second) / (first + second), abs=0.005)
    assert through.max() == pytest.approx(2 * first / (first + second), rel=0.01)


def test_a_density_that_does_not_vary_is_none():
    rng = np.random.default_rng(0)
    start, profile = rng.standard_normal((1, 40)), rng.uniform(0.4, 1, 40)
    for boundary in (*REFLECTING, "absorbing"):
        plain = wf.wave(1.0, 0.01, boundary=boundary, profile=profile)
        same = wf.wave(1.0, 0.01, boundary=boundary, profile=profile, density=np.full(40, 7.0))
        np.testing.assert_allclose(run(same, start, 200), run(plain, start, 200), atol=1e-12)


def test_a_density_that_changes_too_fast_for_the_step_is_refused_with_one_that_is_not():
    """At the limit no circle of Gershgorin of the stiffness, symmetrised by √ρ, reaches beyond 4."""
    density = np.random.default_rng(0).uniform(1, 10, 40)
    with pytest.raises(ValueError, match="With dt at most ") as refused:
        wf.wave(1.0, density=density)
    largest = float(str(refused.value).split("at most ")[1].split()[0])
    op = wf.wave(1.0, density=density, dt=largest * 0.999)
    with pytest.raises(ValueError, match="With dt at most "):
        wf.wave(1.0, density=density, dt=largest * 1.001)
    stiffness, root = 2 * np.eye(40) - op.matrix(40).toarray()[:40, :40], np.sqrt(density)
    assert np.abs(root[:, None] * stiffness / root).sum(axis=1).max() == pytest.approx(4 * 0.999**2, rel=1e-5)
    # a drift at k = 0 is no growth: its two eigenvalues of 1 are split by rounding
    assert np.abs(np.linalg.eigvals(op.matrix(40).toarray())).max() <= 1 + 1e-6


def test_source_and_receiver_can_be_exchanged():
    """Reciprocity: what b hears of a force at a, a hears of a force at b, also in a varying, damped medium."""
    size, a, b = 60, 7, 41
    op = wf.wave(0.8, 0.03, boundary="fixed", profile=np.random.default_rng(0).uniform(0.4, 1.2, size))
    drive = np.random.default_rng(1).standard_normal((400, 1))
    heard = [
        wf.simulate(op, drive, encoder=wf.encoder_at([source], size), source="force").activity[:, 0, receiver].values
        for source, receiver in ((a, b), (b, a))
    ]
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-12)
    assert np.abs(heard[0]).max() > 0.1


# ---- sources --------------------------------------------------------------------------------------------------------


def test_a_force_spreads_a_checkerboard_and_drifts_by_its_sum():
    """Σh = 1, 2, 5, 10, 20 at those steps: the mean of a pushed ring moves on for ever."""
    rec = wf.simulate(
        wf.wave(1.0), wf.spikes([[(0, 1.0)]], steps=20), encoder=wf.encoder_at([32], size=64), source="force"
    )
    sums = rec.activity[:, 0].sum("position").values
    assert sums[[0, 1, 4, 9, 19]].tolist() == [1, 2, 5, 10, 20]
    last = np.zeros(64)
    last[32 - 19 : 32 + 20 : 2] = 1
    np.testing.assert_array_equal(rec.activity[-1, 0], last)


def test_a_pulse_leaves_two_travelling_pulses_whose_sum_stays_two():
    drive = wf.spikes([[(0, 1.0)]], steps=30)
    rec = wf.simulate(wf.wave(1.0), drive, encoder=wf.encoder_at([32], size=64))
    for t in range(2, 30):
        expected = np.zeros(64)
        expected[[32 - t, 32 + t]] = 1
        np.testing.assert_array_equal(rec.activity[t, 0], expected)
    slow = wf.simulate(wf.wave(0.6), wf.spikes([[(0, 1.0)]], steps=3000), size=64)
    np.testing.assert_allclose(slow.activity[2:, 0].sum("position"), 2, atol=1e-9)


@pytest.mark.parametrize("courant", [1.0, 0.9])
def test_only_the_defective_modes_of_a_forced_ring_wander(courant):
    """Under white noise the k = 0 mode is a sum of sums, |h| ~ t^{3/2}; at Courant 1 the Nyquist mode is one too."""
    steps, size = 20_000, 64
    drive = np.random.default_rng(0).standard_normal((steps, 1))
    rec = wf.simulate(wf.wave(courant), drive, size, source="force", save_every=None)
    modes = np.abs(np.fft.rfft(rec.activity[-1, 0].values))
    typical = np.median(modes)
    assert modes[0] > 500 * typical
    assert (modes[-1] > 500 * typical) == (courant == 1.0)
    pushed = np.cumsum(np.cumsum(drive[:, 0]))[-1]  # h[t+1] − 2h[t] + h[t−1] = x[t]
    assert rec.activity[-1, 0].sum() == pytest.approx(pushed, rel=1e-9)


# ---- symmetries -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["transport", "wave"]),
    st.sampled_from([0.5, 0.9, 1.0]),
    st.integers(5, 40),
    st.integers(1, 60),
    st.floats(-3, 3),
    st.integers(0, 2**32 - 1),
)
def test_fields_add_scale_and_turn_with_their_ring(kind, speed, size, steps, factor, seed):
    rng = np.random.default_rng(seed)
    op = getattr(wf, kind)(speed)
    first, second = rng.standard_normal((2, steps, 2))
    weights = rng.standard_normal((1, size, 2))
    field = lambda drive, w=weights: wf.simulate(op, drive, encoder=w).activity.values  # noqa: E731
    np.testing.assert_allclose(field(first + factor * second), field(first) + factor * field(second), atol=1e-9)
    turned = field(first, np.roll(weights, 3, axis=1))
    np.testing.assert_allclose(turned, np.roll(field(first), 3, axis=2), atol=1e-10)


@pytest.mark.parametrize(("op", "reach"), [(wf.wave(0.9), 1), (wf.wave(0.7, order=6), 3), (wf.transport(0.5), 1)])
def test_nothing_moves_faster_than_the_stencil_reaches(op, reach):
    size, steps = 101, 12
    start = np.zeros((1, size))
    start[0, 50] = 1.0
    previous = start if op.levels == 2 else None
    levels = run(op, start, steps, previous=previous)[:, 0]
    for t in range(1, steps + 1):
        outside = np.abs(np.arange(size) - 50) > reach * t
        assert not levels[t - 1, outside].any()
        assert levels[t - 1, 50 + reach * t] != 0


# ---- jumps and fast forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", REFLECTING)
@pytest.mark.parametrize("op", [wf.wave([0.9, 1.0, 0.5]), wf.wave(0.8, 1e-4, order=4).with_rings(3)])
def test_ten_thousand_steps_with_a_drive_are_one_jump(boundary, op):
    op = wf.WaveOperator(op.kernel, boundary, levels=2)
    rng = np.random.default_rng(0)
    drive = np.zeros((10_000, 3))
    drive[rng.integers(0, 10_000, 20), rng.integers(0, 3, 20)] = rng.standard_normal(20)
    start = rng.standard_normal((3, 63))
    slow, fast = (
        wf.simulate(op, drive, initial=start, method=method, save_every=None).activity.values
        for method in ("step", "jump")
    )
    assert np.abs(fast - slow).max() <= 1e-10 * np.abs(slow).max()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("rings", "size", "steps"), [(1, 100_003, 41), (130, 101, 203), (1, 3, 50)])
@pytest.mark.parametrize("saved", [1, None])
def test_large_and_small_fields_are_those_of_the_written_out_scheme(dtype, rings, size, steps, saved):
    """NumPy's h[t+1] = 2h − h[t−1] + r²(h_{i+1} − 2h_i + h_{i−1}), one step after the other in float64."""
    start = np.random.default_rng(0).standard_normal((rings, size)).astype(dtype)
    r = 0.8
    now = start.astype(float)
    before = now + r**2 / 2 * (np.roll(now, 1, 1) - 2 * now + np.roll(now, -1, 1))
    for _ in range(steps):
        now, before = 2 * now - before + r**2 * (np.roll(now, 1, 1) - 2 * now + np.roll(now, -1, 1)), now
    field = run(wf.wave(r).with_rings(rings), start, steps, save_every=saved, dtype=dtype)[-1]
    tolerance = {"float64": 1e-12, "float32": 2e-4}[dtype]
    np.testing.assert_allclose(field, now, rtol=0, atol=tolerance)

"""Memory capacity: closed forms, bounds, an independent covariance, and estimates from simulated fields."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

import wavefield as wf
from wavefield.capacity.memory_capacity import (
    capacity_against_channels,
    capacity_against_damping,
    capacity_against_noise,
    capacity_against_speed,
    measured_capacity,
    memory_capacity,
)

line = partial(wf.transport, boundary="absorbing")


def by_definition(step, entry, lags, noise):
    """MC_k = g_kᵀ (P + σ²)⁻¹ g_k with P from SciPy's discrete Lyapunov equation, (inputs, lags)."""
    covariance = solve_discrete_lyapunov(step, entry @ entry.T) + noise**2 * np.eye(len(step))
    held = []
    for _ in range(lags):
        held.append(np.einsum("si,st,ti->i", entry, np.linalg.inv(covariance), entry))
        entry = step @ entry
    return np.array(held).T


# ---- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1.0, -1.0])
@pytest.mark.parametrize("size", [16, 50])
def test_line_with_outflow_holds_its_last_n_inputs_and_no_other(speed, size):
    held = memory_capacity(line(speed), size, max_lag=3 * size)
    np.testing.assert_allclose(held.capacity[0, :size], 1, atol=1e-12)
    np.testing.assert_allclose(held.capacity[0, size:], 0, atol=1e-12)
    assert float(held.total) == pytest.approx(size, rel=0.01)
    assert held.attrs["stationary"] == 1


@pytest.mark.parametrize("gain", [0.9, 0.98, 0.99, 0.999])
def test_fading_ring_holds_a_geometric_share_in_each_turn(gain):
    """g^{2Nm}(1 − g^{2N}) of the inputs that went round m times."""
    size = 50
    held = memory_capacity(wf.transport(1.0, gain=gain), size, max_lag=4 * size - 1)
    turn = np.arange(4 * size) // size
    np.testing.assert_allclose(held.capacity[0], gain ** (2 * size * turn) * (1 - gain ** (2 * size)), atol=1e-12)
    assert float(held.total) == pytest.approx(size * (1 - gain ** (8 * size)), rel=1e-10)


def test_published_values_of_the_fading_ring():
    held = memory_capacity(wf.transport(1.0, gain=0.99), 50, max_lag=149).capacity[0]
    assert held[[0, 50]].values == pytest.approx([0.6340, 0.2321], abs=5e-5)
    held = memory_capacity(wf.transport(1.0, gain=0.98), 50, max_lag=149).capacity[0]
    assert held[[0, 50]].values == pytest.approx([0.8674, 0.1150], abs=5e-5)


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_noise_takes_its_share_of_the_shift(noise):
    """Every unit of the line holds one input, so that each is known as well as through one noisy look: 1/(1 + σ²)."""
    held = memory_capacity(line(1.0), 20, max_lag=30, noise=noise)
    np.testing.assert_allclose(held.capacity[0, :20], 1 / (1 + noise**2), rtol=1e-12)


def test_static_bump_keeps_one_number_however_long_it_listens():
    """It holds the sum of all inputs: of each of T inputs 1/T."""
    held = memory_capacity(wf.static(), 32, max_lag=40, window=25)
    np.testing.assert_allclose(held.capacity[0, :25], 1 / 25, rtol=1e-12)
    np.testing.assert_array_equal(held.capacity[0, 25:], 0)
    assert int(held.dimensions) == 1


def test_undamped_ring_shares_itself_among_the_turns_of_its_window():
    """Three turns and a half: a unit that four inputs share knows a quarter of each."""
    size = 16
    held = memory_capacity(wf.transport(1.0), size, max_lag=70, window=56)
    expected = np.where(np.arange(56) % size < 8, 1 / 4, 1 / 3)
    np.testing.assert_allclose(held.capacity[0, :56], expected, rtol=1e-12)
    np.testing.assert_array_equal(held.capacity[0, 56:], 0)
    assert float(held.total) == pytest.approx(size, rel=1e-12)
    assert held.attrs["window"] == 56


@pytest.mark.parametrize("op", [wf.transport(1.0), wf.static(), wf.wave(1.0), wf.wave(0.7, order=4)])
def test_a_field_that_never_forgets_has_no_stationary_state_and_says_so(op):
    held = memory_capacity(op, 16, max_lag=99)
    assert held.attrs["stationary"] == 0
    assert held.attrs["window"] == 100
    assert float(held.total) == pytest.approx(int(held.dimensions), rel=1e-6)


def test_inputs_that_share_a_ring_share_its_memory():
    shared = wf.encoder_at([0, 16, 32, 48], size=64)
    held = memory_capacity(wf.transport(1.0, gain=0.9999), 64, max_lag=30, encoder=shared, window=16)
    np.testing.assert_allclose(held.capacity[:, :16], 1, rtol=1e-12)
    assert float(held.total) == pytest.approx(64, rel=1e-10)


# ---- against independent computations -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 6),
    st.integers(1, 3),
    st.sampled_from(["periodic", "absorbing", "open", "fixed"]),
    st.floats(0.01, 2),
    st.integers(0, 2**32 - 1),
)
def test_capacity_of_any_kernel_is_that_of_the_lyapunov_equation(rings, taps, more, inputs, boundary, noise, seed):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((rings, rings, taps))
    op = wf.WaveOperator(0.9 * kernel / np.abs(kernel).sum(axis=(1, 2)).max(), boundary)
    size = taps + more
    encoder = rng.standard_normal((rings, size, inputs))
    held = memory_capacity(op, size, max_lag=12, noise=noise, encoder=encoder)
    expected = by_definition(op.matrix(size).toarray(), encoder.reshape(-1, inputs), 13, noise)
    np.testing.assert_allclose(held.capacity, expected, atol=1e-9)


@pytest.mark.parametrize("boundary", ["fixed", "free", "periodic", "absorbing"])
@pytest.mark.parametrize("previous", [False, True])
def test_two_way_capacity_is_that_of_the_summed_impulse_responses(boundary, previous):
    """Of pulses s[t] − s[t−2] into a damped field: the covariance added up over enough steps to be stationary."""
    size, lags, noise = 12, 40, 0.05
    op = wf.wave(0.8, 0.2, boundary=boundary)
    matrix, force = op.matrix(size), [np.eye(1, 2 * size)[0]]
    for _ in range(2000):
        force.append(matrix @ force[-1])
    pulse = np.array(force)
    pulse[2:] -= np.array(force)[:-2]
    seen = pulse if previous else pulse[:, :size]
    covariance = seen.T @ seen + noise**2 * np.eye(seen.shape[1])
    expected = np.einsum("ks,st,kt->k", seen, np.linalg.inv(covariance), seen)[:lags]
    held = memory_capacity(op, size, max_lag=lags - 1, noise=noise, previous=previous)
    assert held.attrs["stationary"] == 1
    np.testing.assert_allclose(held.capacity[0], expected, atol=1e-8)


@pytest.mark.parametrize("window", [1, 2, 3, 7, 64, 97])
@pytest.mark.parametrize("op", [wf.wave(0.9, 0.01), wf.wave(0.6), wf.transport(0.8)])
def test_window_counts_the_inputs_that_have_arrived(op, window):
    size, noise = 16, 0.1
    matrix, response = op.matrix(size), [np.eye(1, op.channels * size)[0]]
    for _ in range(window - 1):
        response.append(matrix @ response[-1])
    seen = np.array(response)
    if op.levels == 2:
        seen[2:] -= np.array(response)[:-2]
    seen = seen[:, :size]
    covariance = seen.T @ seen + noise**2 * np.eye(size)
    expected = np.einsum("ks,st,kt->k", seen, np.linalg.inv(covariance), seen)
    held = memory_capacity(op, size, max_lag=120, noise=noise, window=window)
    np.testing.assert_allclose(held.capacity[0, :window], expected, atol=1e-10)
    np.testing.assert_array_equal(held.capacity[0, window:], 0)


# ---- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nu", [0.7, 0.9, 1.0])
def test_total_without_noise_is_the_number_of_units(nu):
    """Dambre et al. 2012: the bound is met where memory fades."""
    held = memory_capacity(line(nu), 50, max_lag=600)
    assert int(held.dimensions) == 50
    assert float(held.total) == pytest.approx(50, rel=1e-6)


@pytest.mark.parametrize(("nu", "published"), [(0.9, 37.6), (0.7, 24.5)])
def test_a_hundredth_of_noise_costs_a_dispersive_line_its_old_inputs(nu, published):
    held = memory_capacity(line(nu), 50, max_lag=600, noise=0.01)
    assert float(held.total) == pytest.approx(published, rel=0.1)  # a sampled value, its noise defined loosely


@pytest.mark.parametrize(("previous", "dimensions"), [(False, 17), (True, 34)])
def test_two_way_ring_is_symmetric_about_its_source(previous, dimensions):
    held = memory_capacity(wf.wave(0.9, 0.05), 32, max_lag=2000, previous=previous)
    assert int(held.dimensions) == dimensions
    assert float(held.total) == pytest.approx(dimensions, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(0.05, 1), st.floats(0.5, 0.999), st.floats(0, 0.5), st.integers(3, 24), st.sampled_from([0.0, 1e-3, 0.1])
)
def test_capacity_lies_between_nothing_and_all(speed, gain, damping, size, noise):
    for op in (wf.transport(speed, gain=gain), wf.wave(speed, 0.01 + damping)):
        held = memory_capacity(op, size, max_lag=60, noise=noise)
        assert held.capacity.min() >= 0
        assert held.capacity.max() <= 1 + 1e-6
        assert float(held.total) <= int(held.dimensions) * (1 + 1e-6)


# ---- along a parameter ----------------------------------------------------------------------------------------------


def test_noise_only_takes():
    held = capacity_against_noise(line(0.9), 30, noise=[0, 1e-3, 1e-2, 0.1, 1], max_lag=90)
    assert (held.capacity.diff("noise") < 1e-12).all()
    np.testing.assert_allclose(held.total, held.capacity.sum(("input", "lag")), rtol=1e-12)
    assert held.noise.attrs["units"] == "1"


def test_the_exact_shift_holds_most_through_noise():
    held = capacity_against_speed([0.5, 0.7, 0.9, 1.0], 50, equation=line, max_lag=300, noise=0.01)
    assert (held.total.diff("speed") > 4).all()
    assert float(held.total.sel(speed=1.0)) == pytest.approx(50 / (1 + 1e-4), rel=1e-9)


def test_damping_forgets():
    """The mean lag of what is held shrinks as damping grows."""
    equation = partial(wf.wave, 1.0)
    held = capacity_against_damping([0.02, 0.1, 0.5], 32, equation=equation, max_lag=400, noise=0.01)
    mean_lag = (held.capacity * held.lag).sum(("input", "lag")) / held.total
    assert (mean_lag.diff("damping") < -2).all()


def test_each_ring_adds_its_own_memory():
    held = capacity_against_channels(wf.transport(1.0, gain=0.99), 32, channels=[1, 2, 5], max_lag=99)
    np.testing.assert_allclose(held.capacity, np.outer([1, 2, 5], held.capacity[0]), rtol=1e-12)
    np.testing.assert_allclose(held.total, held.channels * held.total[0], rtol=1e-12)


# ---- by simulation --------------------------------------------------------------------------------------------------


def simulated(op, size, steps, seed, **options):
    """A field under white, uniform inputs of unit variance: an array of steps, or of (trials, steps)."""
    drive = np.random.default_rng(seed).uniform(-np.sqrt(3), np.sqrt(3), (*np.atleast_1d(steps), 1))
    return wf.simulate(op, drive, size, **options)


@pytest.mark.parametrize(
    "op",
    [
        line(1.0),
        line(0.9),
        wf.transport(1.0, gain=0.98),
        wf.wave(0.9, 0.05),
        wf.wave(1.0, boundary="absorbing"),
        wf.wave(0.9, 0.1, boundary="fixed"),
    ],
)
def test_capacity_measured_on_a_simulated_field_is_the_exact_one(op):
    """To four standard errors of a squared correlation, 2ρ(1 − ρ²)/√n < 0.77/√n, of n = 44,000 states."""
    size, noise = 20, 0.05
    rec = simulated(op, size, (8, 6000), seed=1)
    measured = measured_capacity(rec, max_lag=59, noise=noise, skip=500, rng=np.random.default_rng(2))
    exact = memory_capacity(op, size, max_lag=59, noise=noise)
    np.testing.assert_allclose(measured.capacity, exact.capacity, atol=0.015)
    assert float(measured.total) == pytest.approx(float(exact.total), rel=0.02)


@pytest.mark.validate
def test_measured_shares_of_a_fading_ring(draws):
    """All lags of a turn are one estimate: each unit has seen the same inputs, only later."""
    size, gain, trials = 20, 0.975, draws(8, 80)
    rec = simulated(wf.transport(1.0, gain=gain), size, (trials, 6000), seed=3)
    turns = measured_capacity(rec, max_lag=59, skip=1000).capacity[0].values.reshape(3, size).mean(axis=1)
    expected = gain ** (2 * size * np.arange(3)) * (1 - gain ** (2 * size))
    np.testing.assert_allclose(turns, expected, atol=draws(0.015, 0.005))


def test_nothing_is_measured_where_nothing_is_held():
    """The chance level, regressors / states, would here be 0.05 at each lag and 5 in all."""
    rec = simulated(line(1.0), 50, 1200, seed=4)
    beyond = measured_capacity(rec, max_lag=199, skip=200).capacity[0, 100:]
    assert abs(float(beyond.mean())) < 4 * np.sqrt(2 * 50) / 1000 / np.sqrt(100)


def test_a_rectified_field_holds_less_than_a_linear_one():
    linear = measured_capacity(simulated(line(1.0), 20, 4000, seed=5), max_lag=30)
    rectified = measured_capacity(simulated(line(1.0), 20, 4000, seed=5, nonlinearity="relu"), max_lag=30)
    np.testing.assert_allclose(linear.capacity[0, :20], 1, atol=1e-9)
    # the squared correlation of max(x, 0) with x: (1/6)² / (1/3 · (1/6 − 1/16)) = 0.8 for a uniform x on (−1, 1)
    np.testing.assert_allclose(rectified.capacity[0, :20], 0.8, atol=0.03)


def test_measured_capacity_reads_trials_several_inputs_and_thinned_recordings():
    drive = np.random.default_rng(6).standard_normal((3, 900, 2))
    rec = wf.simulate(line(1.0), drive, 10, save_every=3)
    held = measured_capacity(rec, max_lag=14)
    np.testing.assert_allclose(held.capacity[:, :10], 1, atol=1e-9)
    assert np.abs(held.capacity[:, 10:]).max() < 0.12
    continued = wf.simulate(line(1.0), drive[0], initial=wf.simulate(line(1.0), drive[1], 10))
    np.testing.assert_allclose(measured_capacity(continued, max_lag=9).capacity, 1, atol=1e-9)


def test_states_are_paired_with_their_inputs_whatever_was_cut_from_either():
    drive = np.random.default_rng(6).standard_normal((400, 1))
    rec = wf.simulate(wf.transport(1.0, boundary="absorbing", dt=0.5, dx=0.5), drive, 8)
    for cut in (rec.isel(time=slice(50, 300)), rec.isel(time=slice(50, 300), step=slice(30, 300))):
        np.testing.assert_allclose(measured_capacity(cut, max_lag=7).capacity, 1, atol=1e-9)
    with pytest.raises(
        ValueError, match=r"rec has states up to the time 200\.0, but inputs up to that of step 299 only"
    ):
        measured_capacity(rec.isel(step=slice(0, 300)), max_lag=7)
    with pytest.raises(ValueError, match="every step, one after another"):
        measured_capacity(rec.isel(step=slice(0, None, 2)), max_lag=7)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_lag": -1}, ValueError, "max_lag must be at least 0"),
        ({"max_lag": 2.5}, TypeError, "max_lag must be an integer"),
        ({"max_lag": 5, "noise": -0.1}, ValueError, "noise must be a standard deviation"),
        ({"max_lag": 5, "noise": np.nan}, ValueError, "noise must be finite"),
        ({"max_lag": 5, "window": 0}, ValueError, "window must be at least 1"),
        ({"max_lag": 5, "source": "splash"}, ValueError, "source must be"),
        ({"max_lag": 5, "previous": True}, ValueError, "previous"),
        ({"max_lag": 5, "encoder": np.ones((1, 7, 1))}, ValueError, "encoder must have shape"),
        ({"max_lag": 5, "inputs": 0}, ValueError, "inputs must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        memory_capacity(wf.transport(1.0), 8, **options)


def test_a_growing_field_is_refused():
    with pytest.raises(ValueError, match="grows without bound"):
        memory_capacity(wf.transport(1.0, gain=1.01), 8, max_lag=5)


def test_recordings_that_tell_nothing_are_refused():
    rec = simulated(line(1.0), 8, 300, seed=0)
    with pytest.raises(ValueError, match="a recording with a drive"):
        measured_capacity(rec.drop_vars("drive"), max_lag=5)
    with pytest.raises(ValueError, match="too few for 8 units"):
        measured_capacity(rec, max_lag=5, skip=290)
    with pytest.raises(ValueError, match="rng"):
        measured_capacity(rec, max_lag=5, noise=0.1)
    with pytest.raises(ValueError, match="input 0 is constant"):
        measured_capacity(rec.assign(drive=rec.drive * 0 + 1), max_lag=5)
    with pytest.raises(ValueError, match="at least one value"):
        capacity_against_channels(line(1.0), 8, channels=[], max_lag=5)


def test_the_measured_capacity_is_the_adjusted_r2_of_a_regression_with_intercept():
    """1 − (1 − R²)(n − 1)/(n − p − 1), R² of lstsq on the states after the first `max_lag` inputs."""
    drive, lag = np.random.default_rng(5).standard_normal((45, 1)), 3
    rec = wf.simulate(wf.wave(0.6, 0.3), drive, size=7)
    found = measured_capacity(rec, max_lag=lag)
    states, target = rec.activity.values[lag:, 0], drive[: 45 - lag, 0]
    assert found.attrs["states"] == len(states)
    regressors = np.column_stack([np.ones(len(states)), states])
    left = target - regressors @ np.linalg.lstsq(regressors, target)[0]
    unexplained = (left**2).sum() / ((target - target.mean()) ** 2).sum()
    p = np.linalg.matrix_rank(regressors) - 1
    assert p < 7  # a field driven from one place is even about it
    assert found.capacity[0, lag].item() == pytest.approx(1 - unexplained * (len(states) - 1) / (len(states) - p - 1))


def test_noise_is_in_units_of_the_drive():
    drive = np.random.default_rng(6).standard_normal((60, 1))
    small, large = (
        measured_capacity(
            wf.simulate(wf.transport(0.5), unit * drive, size=8), max_lag=5, noise=0.3, rng=np.random.default_rng(0)
        )
        for unit in (1.0, 100.0)
    )
    np.testing.assert_allclose(small.capacity, large.capacity, rtol=1e-9)


@pytest.mark.parametrize("dt", [0.1, 0.3, 0.7])
def test_states_and_inputs_are_paired_by_their_times_in_any_unit(dt):
    drive = np.random.default_rng(7).standard_normal((300, 1))
    later = {"step": slice(7, None), "time": slice(7, None)}
    steps, units = (
        measured_capacity(wf.simulate(op, drive, size=8).isel(later), max_lag=5).capacity
        for op in (wf.transport(0.5), wf.transport(0.5 / dt, dt=dt))
    )
    np.testing.assert_allclose(units, steps, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-18, 1e12])
def test_what_is_reached_does_not_depend_on_the_unit_of_the_field(unit):
    encoder = wf.encoder_at([0], 12)
    plain, other = (memory_capacity(wf.wave(0.6, 0.2), 12, max_lag=30, encoder=of * encoder) for of in (1.0, unit))
    assert int(other.dimensions) == int(plain.dimensions) == 7
    np.testing.assert_allclose(other.capacity, plain.capacity, atol=1e-9)

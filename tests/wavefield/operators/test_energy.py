"""The two-level energy is a constant of the undamped scheme, and falls by what damping takes."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.operators.energy import energy

BOUNDARIES = ["periodic", "fixed", "free"]


def history(op, size, count, seed=0):
    """Levels h^{−1}, h^0 … h^count (time, rings, N) of a random field that starts at rest."""
    matrix, state = op.matrix(size), np.zeros((op.channels, size))
    state[::2] = np.random.default_rng(seed).standard_normal((op.rings, size))
    state[1::2] = (matrix @ state.ravel()).reshape(state.shape)[::2] / (1 + op.local_previous_weight(size))
    levels = [state[1::2], state[::2]]
    for _ in range(count):
        state = (matrix @ state.ravel()).reshape(state.shape)
        levels.append(state[::2])
    return np.array(levels)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_energy_is_conserved_without_damping(boundary, order):
    limit = wf.courant_limit(order)
    op = wf.wave([0.3 * limit, 0.9 * limit, limit], order=order, boundary=boundary, dx=0.2, dt=0.2)
    levels = history(op, 33, 10_000)
    total = energy(op, levels[1:], levels[:-1])
    assert (total[0] > 0).all()
    assert np.abs(total / total[0] - 1).max() <= 1e-11


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_energy_is_conserved_in_a_medium_of_varying_speed(boundary):
    profile = np.random.default_rng(1).uniform(0.2, 1.0, 40)
    op = wf.wave([1.0, 0.5], boundary=boundary, profile=profile)
    levels = history(op, 40, 10_000)
    total = energy(op, levels[1:], levels[:-1])
    assert np.abs(total / total[0] - 1).max() <= 1e-11


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("order", "profile"), [(2, None), (8, None), (2, np.linspace(0.4, 1, 40))])
def test_damping_takes_exactly_its_share(boundary, order, profile):
    """E^{n+½} − E^{n−½} = −γ dt ‖(h^{n+1} − h^{n−1})/(2dt)‖²."""
    gamma, dx, dt = np.array([0.02, 0.3]), 0.5, 0.25
    op = wf.wave([1.0, 1.5], gamma, order=order, boundary=boundary, dx=dx, dt=dt, profile=profile)
    levels = history(op, 40, 2000)
    total = energy(op, levels[1:], levels[:-1])
    velocity = (levels[2:] - levels[:-2]) / (2 * dt)
    inside = np.ones(40)
    if boundary == "free":
        inside[[0, -1]] = 0.5
    taken = gamma * dt * dx * (velocity**2 @ inside)
    np.testing.assert_allclose(np.diff(total, axis=0), -taken, rtol=0, atol=1e-13 * total.max())


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_damping_that_varies_takes_its_share_where_it_is(boundary):
    """E^{n+½} − E^{n−½} = −dt Σ γ_i (h_i^{n+1} − h_i^{n−1})²/(2dt)² dx, also beside a restoring force that varies."""
    rng, dx, dt = np.random.default_rng(2), 0.5, 0.25
    local, force, ring = rng.uniform(0, 0.5, 40), rng.uniform(-0.5, 3, 40), np.array([0.02, 0.3])
    medium = {"profile": rng.uniform(0.4, 1, 40), "damping_profile": local, "restoring_profile": force}
    density = rng.uniform(0.7, 1.4, 40)
    op = wf.wave([1.0, 1.5], ring, boundary=boundary, dx=dx, dt=dt, density=density, **medium)
    levels = history(op, 40, 500)
    total = energy(op, levels[1:], levels[:-1])
    velocity = (levels[2:] - levels[:-2]) / (2 * dt)
    inside = np.ones(40)
    if boundary == "free":
        inside[[0, -1]] = 0.5
    taken = dt * dx * (velocity**2 * (ring[:, None] + local)) @ (inside * density)
    np.testing.assert_allclose(np.diff(total, axis=0), -taken, rtol=0, atol=1e-13 * total.max())


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("courant", [0.7, 1.0])
def test_a_restoring_force_that_varies_keeps_the_energy_however_strong(boundary, courant):
    force = np.random.default_rng(3).uniform(0, 10, 40)  # ω·dt up to 3: an explicit force would grow
    op = wf.wave(courant, boundary=boundary, restoring_profile=force)
    levels = history(op, 40, 10_000)
    total = energy(op, levels[1:], levels[:-1])
    assert np.abs(total / total[0] - 1).max() <= 1e-11


def test_energy_of_a_travelling_wave_is_that_of_the_continuum():
    """½ ∫ (h_t² + c² h_x²) dx = π² k² c² a² L · 2 for a cos(2π(kx − ct)): half of it kinetic, half potential."""
    c, k, a, length = 2.0, 3.0, 0.7, 1.0
    errors = []
    for size in (200, 400):
        dx = length / size
        op = wf.wave(c, dx=dx, dt=0.5 * dx / c)
        x = np.arange(size) * dx
        now, before = (a * np.cos(2 * np.pi * k * (x + shift)) for shift in (0, c * op.dt))
        expected = 2 * np.pi**2 * k**2 * c**2 * a**2 * length
        errors.append(abs(energy(op, now[None], before[None])[0] / expected - 1))
    assert errors[1] < 1e-3
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("order", [2, 6])
def test_energy_leaves_through_absorbing_ends_and_only_there(order):
    size, courant = 200, 0.8
    hump = lambda time: np.exp(-((np.arange(size) - 100 - courant * time) ** 2) / (2 * 8**2))  # noqa: E731
    op = wf.wave(courant, order=order, boundary="absorbing")
    matrix, state = op.matrix(size), np.concatenate([hump(0), hump(-1)])
    total = [energy(op, state[None, :size], state[None, size:])[0]]
    for _ in range(300):
        state = matrix @ state
        total.append(energy(op, state[None, :size], state[None, size:])[0])
    total = np.array(total) / total[0]
    before_arrival = total[: int((100 - 7 * 8) / courant)]
    np.testing.assert_allclose(before_arrival, 1, atol=1e-9)
    assert total[-1] < 1e-6  # the square of what comes back
    assert (np.diff(total) < 1e-9).all()


def test_at_courant_one_nothing_of_a_pulse_is_left():
    op = wf.wave(1.0, boundary="absorbing")
    levels = np.zeros((60, 1, 40))
    for time in range(35):
        levels[time, 0, 5 + time] = 1.0
    np.testing.assert_array_equal(energy(op, levels[1:], levels[:-1])[:, 0], [0.5] * 33 + [0.25] * 2 + [0.0] * 24)


def test_leading_axes_are_kept_and_rings_are_apart():
    op, rng = wf.wave([0.5, 0.9, 0.7]), np.random.default_rng(0)
    now, before = rng.standard_normal((2, 5, 4, 3, 16))  # trial, time, ring, position
    total = energy(op, now, before)
    assert total.shape == (5, 4, 3)
    alone = energy(wf.wave(0.9), now[2, 1, 1:2], before[2, 1, 1:2])
    np.testing.assert_allclose(total[2, 1, 1], alone[0], rtol=1e-13)


def test_a_constant_offset_has_no_energy():
    field = np.random.default_rng(0).standard_normal((2, 1, 16))
    op = wf.wave(0.7, order=4, boundary="free")
    np.testing.assert_allclose(energy(op, field[0] + 1e6, field[1] + 1e6), energy(op, *field), rtol=1e-9)


@pytest.mark.parametrize(
    ("op", "shapes", "text"),
    [
        (wf.transport(1.0), ((1, 8), (1, 8)), "operator must be a two-way wave"),
        (wf.wave(1.0), ((8,), (8,)), r"now must have shape \(..., rings=1, N\), got \(8,\)"),
        (wf.wave([1.0, 0.5]), ((2, 8), (1, 8)), r"before must have shape \(..., rings=2, N\), got \(1, 8\)"),
        (wf.wave(1.0), ((1, 8), (1, 9)), "now and before must have the same shape"),
        (wf.wave(0.5, order=8, boundary="absorbing"), ((1, 8), (1, 8)), "size must be at least 9"),
        (wf.wave(0.5, profile=np.ones(9)), ((1, 8), (1, 8)), "size must be 9"),
    ],
)
def test_levels_that_do_not_fit_are_refused(op, shapes, text):
    with pytest.raises(ValueError, match=text):
        energy(op, np.zeros(shapes[0]), np.zeros(shapes[1]))

"""The operator itself: its definition in full, its Fourier symbol, and what it refuses."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wavefield as wf


def convolve(kernel, field, boundary):
    """(u ⋆ h)[o, n] = Σ_{i,k} u[o, i, k]·h[i, n + k − K//2] by padding and summing, apart from the package's way."""
    half = kernel.shape[2] // 2
    sides = ((0, 0), (half, half))
    if boundary == "periodic":
        padded = np.pad(field, sides, mode="wrap")
    elif boundary == "free":
        padded = np.pad(field, sides, mode="reflect")
    elif boundary == "fixed":  # odd about the zeros one cell beyond each end
        walls = np.pad(field, ((0, 0), (1, 1)))
        padded = np.pad(walls, ((0, 0), (max(half - 1, 0),) * 2), mode="reflect", reflect_type="odd")
        padded = padded if half else field
    else:
        padded = np.pad(field, sides)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2], axis=1)  # (C, N, K)
    return np.einsum("oik,ink->on", kernel, windows)


shapes = st.tuples(
    st.integers(1, 4),  # channels
    st.sampled_from([1, 3, 5, 7, 9]),  # taps
    st.integers(0, 40),  # positions beyond the width of the kernel
    st.integers(0, 2**32 - 1),
)


@settings(deadline=None)
@given(shapes, st.sampled_from(["periodic", "fixed", "absorbing", "open"]))
def test_one_step_is_the_cross_correlation_with_the_kernel(shape, boundary):
    channels, taps, more, seed = shape
    rng = np.random.default_rng(seed)
    kernel, field = rng.standard_normal((channels, channels, taps)), rng.standard_normal((channels, taps + more))
    stepped = wf.WaveOperator(kernel, boundary).matrix(taps + more) @ field.ravel()
    np.testing.assert_allclose(stepped.reshape(field.shape), convolve(kernel, field, boundary), atol=1e-12)


@settings(deadline=None)
@given(shapes)
def test_free_ends_mirror_the_line_about_its_end_cells(shape):
    channels, taps, more, seed = shape
    rng = np.random.default_rng(seed)
    kernel, field = rng.standard_normal((channels, channels, taps)), rng.standard_normal((channels, taps + more))
    kernel += kernel[:, :, ::-1]
    stepped = wf.WaveOperator(kernel, "free").matrix(taps + more) @ field.ravel()
    np.testing.assert_allclose(stepped.reshape(field.shape), convolve(kernel, field, "free"), atol=1e-12)


@settings(deadline=None)
@given(shapes)
def test_symbol_is_what_the_ring_does_to_its_fourier_modes(shape):
    channels, taps, more, seed = shape
    rng = np.random.default_rng(seed)
    size, dx = taps + more, 0.3
    op = wf.WaveOperator(rng.standard_normal((channels, channels, taps)), dx=dx)
    modes = np.arange(size) / (size * dx)  # cycles per unit
    waves = np.exp(-2j * np.pi * np.outer(modes, np.arange(size) * dx))  # e^{−2πikx}, (k, N)
    amplitudes = rng.standard_normal((size, channels)) + 1j * rng.standard_normal((size, channels))
    states = amplitudes[:, :, None] * waves[:, None, :]  # (k, C, N)
    stepped = (op.matrix(size) @ states.reshape(size, -1).T).T.reshape(states.shape)
    expected = (op.symbol(modes) @ amplitudes[:, :, None]) * waves[:, None, :]
    np.testing.assert_allclose(stepped, expected, atol=1e-10)


@pytest.mark.parametrize("driven_end", [0, -1])
def test_boundary_row_drives_one_end_of_an_open_line_from_the_whole_field(driven_end):
    rng = np.random.default_rng(1)
    kernel, row, field = rng.standard_normal((2, 2, 3)), rng.standard_normal((2, 2, 9)), rng.standard_normal((2, 9))
    op = wf.WaveOperator(kernel, "open", boundary_row=row, driven_end=driven_end)
    expected = convolve(kernel, field, "open")
    expected[:, driven_end] = np.einsum("oin,in->o", row, field)
    np.testing.assert_allclose((op.matrix(9) @ field.ravel()).reshape(2, 9), expected, atol=1e-13)


def test_two_way_kernel_is_the_one_written_down():
    r, half = 0.6, 0.5 * 0.2 * 0.5  # γ dt/2
    kernel = wf.wave(1.2, 0.2, dt=0.5).kernel
    np.testing.assert_allclose(kernel[0, 0], np.array([r**2, 2 - 2 * r**2, r**2]) / (1 + half), rtol=1e-15)
    np.testing.assert_allclose(kernel[0, 1], [0, -(1 - half) / (1 + half), 0], rtol=1e-15)
    np.testing.assert_array_equal(kernel[1], [[0, 1, 0], [0, 0, 0]])


def test_faces_between_cells_have_the_mean_speed_squared_and_the_harmonic_mean_of_the_density():
    rng = np.random.default_rng(0)
    speed, density, r = rng.uniform(0.5, 1, 9), rng.uniform(1, 1.5, 9), 0.4
    now = wf.wave(r, profile=speed, density=density, boundary="fixed").matrix(9).toarray()[:9, :9]
    faces = r**2 * (speed[1:] ** 2 + speed[:-1] ** 2) / 2 * 2 / (1 / density[1:] + 1 / density[:-1])
    np.testing.assert_allclose(np.diag(now, 1), faces / density[:-1], rtol=1e-13)
    np.testing.assert_allclose(np.diag(now, -1), faces / density[1:], rtol=1e-13)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_a_constant_field_feels_the_restoring_force_alone_also_beside_absorbing_ends(order):
    now = wf.wave(0.5, restoring=0.04, order=order, boundary="absorbing").matrix(14).toarray()[:14, :14]
    np.testing.assert_allclose(now.sum(axis=1)[1:-1], 2 - 0.04, rtol=1e-13)


def test_rings_of_one_operator_do_not_touch():
    one, three = wf.wave(0.8, 0.1, dx=2.0), wf.wave([0.8, 0.8, 0.8], 0.1, dx=2.0)
    np.testing.assert_array_equal(one.with_rings(3).kernel, three.kernel)
    field = np.zeros((6, 16))
    field[2, 5] = 1.0
    moved = (three.matrix(16) @ field.ravel()).reshape(6, 16)
    assert not moved[[0, 1, 4, 5]].any()
    np.testing.assert_array_equal(moved[2:4].ravel(), one.matrix(16) @ field[2:4].ravel())


@pytest.mark.parametrize("speed", [1.0, -1.0, 0.4, -0.7])
def test_courant_number_is_what_the_operator_was_made_with(speed):
    assert wf.transport(speed, gain=0.9).courant == pytest.approx([speed])
    assert wf.wave(abs(speed), 0.3, order=2).courant == pytest.approx([abs(speed)])
    assert wf.wave(0.7 * abs(speed), 0.3, order=8, dx=0.5, dt=0.25).courant == pytest.approx([0.35 * abs(speed)])
    np.testing.assert_allclose(wf.wave([0.5, 1.0], [0.3, 0.0]).halved_damping, [0.15, 0.0], atol=1e-15)


# ---- dispersion relation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("courant", [0.3, 0.9, 1.0])
def test_two_way_dispersion_relation_is_that_of_leapfrog(courant):
    """sin(πf dt) = C sin(πk dx); group velocity c cos(πk dx)/cos(πf dt)."""
    dx, dt = 0.5, 0.25
    k = np.linspace(-0.98, 0.98, 50)
    waves = wf.wave(courant * dx / dt, dx=dx, dt=dt).dispersion_relation(k)
    frequency = np.arcsin(courant * np.sin(np.pi * np.abs(k) * dx)) / (np.pi * dt)
    group = courant * dx / dt * np.cos(np.pi * k * dx) / np.cos(np.pi * frequency * dt)
    np.testing.assert_allclose(waves.frequency, [-frequency, frequency], atol=1e-12)
    np.testing.assert_allclose(waves.phase_velocity, [-frequency / k, frequency / k], atol=1e-11)
    np.testing.assert_allclose(waves.group_velocity, [-np.sign(k) * group, np.sign(k) * group], atol=1e-8)
    np.testing.assert_allclose(waves.growth, 1.0, atol=1e-12)


@pytest.mark.parametrize("speed", [0.25, -0.25, 0.9, 1.0, -1.0])
def test_one_way_dispersion_relation_is_that_of_the_upwind_scheme(speed):
    """f = arg(1 − ν + ν e^{iθ})/2π and |g|² = 1 − 4ν(1−ν) sin²(θ/2), θ = 2πk, mirrored for a negative speed."""
    nu, side = abs(speed), np.sign(speed)
    k = np.linspace(-0.49, 0.49, 41)
    theta = 2 * np.pi * k * side
    waves = wf.transport(speed).dispersion_relation(k)
    frequency = np.arctan2(nu * np.sin(theta), 1 - nu + nu * np.cos(theta)) / (2 * np.pi)
    growth = np.sqrt(1 - 4 * nu * (1 - nu) * np.sin(theta / 2) ** 2)
    group = side * nu * (nu + (1 - nu) * np.cos(theta)) / growth**2
    np.testing.assert_allclose(waves.frequency[0], frequency, atol=1e-14)
    np.testing.assert_allclose(waves.growth[0], growth, atol=1e-14)
    np.testing.assert_allclose(waves.group_velocity[0], group, atol=1e-12)


@pytest.mark.parametrize("speed", [0.5, -0.5, 1.0, -1.0])
def test_a_positive_speed_has_its_power_at_positive_wavenumbers(speed):
    k = np.array([0.01, 0.1, 0.2])
    assert np.all(np.sign(wf.transport(speed).dispersion_relation(k).frequency) == np.sign(speed))
    np.testing.assert_allclose(wf.transport(speed).dispersion_relation([1e-4]).phase_velocity, [[speed]], rtol=1e-6)


@pytest.mark.parametrize(
    ("points", "courant", "ratio"),
    [(10, 0.5, 0.98759), (10, 0.9, 0.99677), (10, 0.99, 0.99966), (2, 0.9, 0.792), (10, 1.0, 1.0), (3, 1.0, 1.0)],
)
def test_numerical_speed_is_the_published_fraction_of_the_true_one(points, courant, ratio):
    """c̃/c = asin(C sin p)/(C p), p = πk dx."""
    waves = wf.wave(courant).dispersion_relation([1 / points])
    speed = np.abs(waves.phase_velocity.values).max() / courant
    digits = 3 if points == 2 else 5
    assert speed == pytest.approx(ratio, abs=0.6 * 10.0**-digits)


def test_group_velocity_is_the_slope_of_the_frequency_for_a_coupled_kernel():
    """Two channels, one moving each way, that turn into one another: a quantum walk, unitary at every k."""
    turn, coin = 0.4, np.zeros((2, 2, 3))
    coin[0, :, 0] = np.cos(turn), -np.sin(turn)
    coin[1, :, 2] = np.sin(turn), np.cos(turn)
    op = wf.WaveOperator(coin)
    k, step = np.linspace(0.03, 0.47, 23), 1e-6
    waves = op.dispersion_relation(k)
    # known: cos(2πf) = cos(turn) cos(2πk)
    np.testing.assert_allclose(
        np.cos(2 * np.pi * waves.frequency), [np.cos(turn) * np.cos(2 * np.pi * k)] * 2, atol=1e-14
    )
    above, below = op.dispersion_relation(k + step).frequency, op.dispersion_relation(k - step).frequency
    np.testing.assert_allclose(waves.group_velocity, (above.values - below.values) / (2 * step), atol=1e-8)
    np.testing.assert_allclose(waves.growth, 1.0, atol=1e-14)


# ---- stability ------------------------------------------------------------------------------------------------------


def klein_gordon(courant, mass):
    """h_tt = c² h_xx − m² h by leapfrog: no mode of it stands still, k = 0 turns at 2 asin(m dt/2)."""
    kernel = np.zeros((2, 2, 3))
    kernel[0, 0] = [courant**2, 2 - 2 * courant**2 - mass**2, courant**2]
    kernel[0, 1, 1], kernel[1, 0, 1] = -1, 1
    return wf.WaveOperator(kernel, levels=2)


@pytest.mark.parametrize(
    ("op", "kind", "wavenumber"),
    [
        (wf.transport(1.0, gain=0.99), "decaying", None),
        (wf.transport(-0.5, gain=0.9), "decaying", 0.0),
        (wf.transport(1.0), "marginal", None),
        (wf.transport(0.3), "marginal", 0.0),
        (wf.static(), "marginal", None),
        (wf.wave(0.5, 0.1), "marginal", 0.0),  # a constant offset stays
        (klein_gordon(0.9, 0.1), "marginal", None),
        (wf.wave(0.5), "polynomial", 0.0),
        (wf.wave(1.0), "polynomial", 0.0),
        (klein_gordon(0.6, 1.6), "polynomial", 0.5),  # C² + m²/4 = 1: the Nyquist mode alone
        (wf.transport(1.0, gain=1.01), "growing", None),
        (wf.transport([0.5, 0.3, 0.5], gain=[0.9, 1.2, 0.9]), "growing", 0.0),
        (wf.wave([0.3, 0.9, 0.3], [1.0, 0.0, 1.0]), "polynomial", 0.0),
        (wf.WaveOperator([0.6, -0.6, 0.6]), "growing", 0.5),
        (wf.WaveOperator([0.6, -0.6, 0.6], dx=0.25), "growing", 2.0),
        (wf.WaveOperator([[0, -0.2, 0], [-0.2, 0.3, -0.2], [0, -0.2, 0]], dx=(0.5, 0.25)), "growing", (-1.0, 2.0)),
        (klein_gordon(0.6, 1.61), "growing", 0.5),
        (wf.WaveOperator([[[1.0], [1.0]], [[0.0], [1.0]]]), "polynomial", 0.0),  # a shear, at every k
    ],
)
def test_stability_verdict(op, kind, wavenumber):
    verdict = op.stability(64)
    assert verdict.kind == kind
    if wavenumber is not None:
        assert verdict.wavenumber == pytest.approx(wavenumber)


@pytest.mark.parametrize(
    ("op", "largest"),
    [
        (wf.transport(0.7, gain=0.98), 1.0),
        (klein_gordon(0.9, 0.1), 15.0),  # bounded by the ratio of the modes' energies
        (wf.transport(1.0), 1.0 + 1e-12),
        (wf.WaveOperator([0.25, 0.5, 0.25]), 1.0 + 1e-12),
    ],
)
def test_decaying_and_marginal_fields_stay_bounded(op, largest):
    assert op.stability(64).kind in ("decaying", "marginal")
    matrix = op.matrix(64)
    state = np.random.default_rng(3).uniform(-1, 1, op.channels * 64)
    for _ in range(5000):
        state = matrix @ state
    assert np.abs(state).max() <= largest


def test_growth_is_the_rate_at_which_the_worst_mode_grows():
    op = klein_gordon(0.6, 1.61)
    verdict, matrix = op.stability(64), op.matrix(64)
    state = np.tile(np.cos(2 * np.pi * verdict.wavenumber * np.arange(64)), 2)
    norms = []
    for _ in range(600):
        state = matrix @ state
        norms.append(np.linalg.norm(state))
    assert (norms[-1] / norms[299]) ** (1 / 300) == pytest.approx(verdict.growth, rel=1e-9)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: wf.WaveOperator(np.ones(4)), ValueError, "odd number of taps.*K = 4"),
        (lambda: wf.WaveOperator(np.ones((2, 3, 3))), ValueError, r"kernel must have shape \(C, C, K\).*\(2, 3, 3\)"),
        (lambda: wf.WaveOperator(np.ones((2, 3, 3, 3))), ValueError, r"kernel must have shape.*\(2, 3, 3, 3\)"),
        (lambda: wf.WaveOperator(np.ones((0, 0, 3))), ValueError, "kernel must have shape"),
        (lambda: wf.WaveOperator([1.0, np.nan, 0.0]), ValueError, "kernel must be finite"),
        (lambda: wf.WaveOperator("shift"), TypeError, "kernel must be an array of numbers"),
        (lambda: wf.WaveOperator([1j, 0, 0]), TypeError, "kernel must be an array of numbers"),
        (lambda: wf.WaveOperator([1.0, 0, 0], "moebius"), ValueError, "boundary must be one of periodic.*'moebius'"),
        (lambda: wf.WaveOperator([1.0, 0, 0], "free"), ValueError, "one-way wave has nothing to reflect"),
        (lambda: wf.transport(0.5, boundary="free"), ValueError, "one-way wave has nothing to reflect"),
        (lambda: wf.WaveOperator([1.0, 0, 0], dx=0), ValueError, "dx must be a finite positive number, got 0"),
        (lambda: wf.WaveOperator([1.0, 0, 0], dt=np.inf), ValueError, "dt must be a finite positive number"),
        (lambda: wf.WaveOperator([1.0, 0, 0], dx="wide"), TypeError, "dx must be a positive number"),
        (lambda: wf.WaveOperator([1.0, 0, 0], levels=3), ValueError, "levels must be 1 or 2, got 3"),
        (lambda: wf.WaveOperator([1.0, 0, 0], levels=2), ValueError, "channels in pairs"),
        (lambda: wf.WaveOperator(np.ones((2, 2, 3)), levels=2), ValueError, "kernel of a two-way wave"),
        (lambda: wf.WaveOperator([1.0, 0, 0], driven_end=3), ValueError, "driven_end must be 0 or -1, got 3"),
        (
            lambda: wf.WaveOperator([1.0, 0, 0], boundary_row=np.ones((1, 1, 8))),
            ValueError,
            "boundary_row needs boundary='open'",
        ),
        (
            lambda: wf.WaveOperator([1.0, 0, 0], "open", boundary_row=np.ones((2, 1, 8))),
            ValueError,
            r"boundary_row must be finite of shape \(C, C, N\).*\(2, 1, 8\)",
        ),
        (lambda: wf.transport(1.5), ValueError, r"1\.5, above the limit 1 .*largest stable dt is 0\.666667"),
        (lambda: wf.transport([0.5, -1.2], dx=2, dt=3), ValueError, r"largest stable dt is 1\.66667"),
        (lambda: wf.transport(0.9, profile=[0.5, -1.25]), ValueError, r"is 1\.125, .*largest stable dt is 0\.888889"),
        (lambda: wf.transport(np.nan), ValueError, "speed must be finite"),
        (lambda: wf.transport("fast"), TypeError, "speed must be a number"),
        (lambda: wf.transport([[1.0]]), ValueError, r"speed must be a number or one number per ring.*\(1, 1\)"),
        (lambda: wf.transport([1.0, 0.5], gain=[1, 1, 1]), ValueError, "speed 2, gain 3"),
        (lambda: wf.wave(0.0), ValueError, "speed of a two-way wave must be positive"),
        (lambda: wf.wave(-1.0), ValueError, "speed of a two-way wave must be positive, got -1"),
        (lambda: wf.wave(1.0, -0.1), ValueError, "damping must not be negative"),
        (lambda: wf.wave(1.0, 2.0), ValueError, "damping·dt must be below 2"),
        (lambda: wf.wave(0.5, order=3), ValueError, "order must be 2, 4, 6 or 8, got 3"),
        (lambda: wf.wave(1.0, boundary="open"), ValueError, "'open' belongs to one-way fields"),
        (lambda: wf.wave(1.0, order=4), ValueError, r"limit 0\.866025"),
        (lambda: wf.wave(0.5, order=4, profile=np.ones(8)), ValueError, "order must be 2 with a speed profile"),
        (lambda: wf.wave(0.5, profile=[1, 1, 0, 1.0]), ValueError, "profile of a two-way wave must be positive"),
        (lambda: wf.wave(0.5, profile=[1, np.nan]), ValueError, "profile must be a 1-D array of finite"),
        (lambda: wf.wave(0.5, profile=np.ones((2, 2))), ValueError, "profile must be a 1-D array"),
        (lambda: wf.wave(0.5, profile=[1.0, 4.0]), ValueError, r"Courant number .* is 2,.*largest stable dt is 0\.5"),
        (lambda: wf.WaveOperator(np.ones(5) / 5, profile=np.ones(9)), ValueError, "profile needs the kernel of"),
        (lambda: wf.WaveOperator([0.5, 0, 0.5], profile=np.ones(9)), ValueError, "profile needs an upwind kernel"),
        (lambda: wf.wave(1.0, boundary="absorbing").matrix(2), ValueError, "size must be at least 3"),
        (
            lambda: wf.WaveOperator([[[1.5], [-0.9]], [[1.0], [0.0]]], "absorbing", levels=2).matrix(2),
            ValueError,
            "size must be at least 3",
        ),
        (lambda: wf.transport(1.0).matrix(0), ValueError, "size must be at least 1, got 0"),
        (lambda: wf.transport(1.0).matrix(8.0), TypeError, "size must be an integer"),
        (lambda: wf.wave(0.5, profile=np.ones(8)).matrix(9), ValueError, "size must be 8, the length of the speed"),
        (lambda: wf.wave(0.5, boundary="fixed").symbol(0.1), ValueError, "symbol is defined for periodic"),
        (lambda: wf.wave(0.5, profile=np.ones(8)).stability(), ValueError, "a speed profile"),
        (lambda: wf.transport(1.0).dispersion_relation([[0.1]]), ValueError, "wavenumber must be a 1-D array"),
        (lambda: wf.transport(1.0).dispersion_relation([np.nan]), ValueError, "wavenumber must be .* finite"),
        (lambda: wf.transport(1.0).power(-1), ValueError, "steps must not be negative, got -1"),
        (lambda: wf.transport(1.0).power(3)(np.full((1, 8), 1j)), TypeError, "state must be an array of real numbers"),
        (lambda: wf.transport(1.0).power(1.5), TypeError, "steps must be an integer"),
        (lambda: wf.transport(1.0, boundary="fixed").power(3), ValueError, "power is defined for"),
        (lambda: wf.wave(0.5, boundary="absorbing").power(3), ValueError, "power is defined for"),
        (lambda: wf.transport(1.0).power(3)(np.ones((2, 8))), ValueError, r"state must have shape \(..., 1, N\)"),
        (lambda: wf.wave([0.5, 0.6]).with_rings(3), ValueError, "has 2 rings of its own"),
        (lambda: wf.wave(0.5, order=4, damping_profile=np.ones(8)), ValueError, "order must be 2 with .* damping"),
        (lambda: wf.wave(0.5, damping_profile=[0.1, -0.1]), ValueError, "damping_profile must not be negative"),
        (lambda: wf.wave(0.5, 1.0, damping_profile=[0.1, 1.0]), ValueError, r"damping·dt must be below 2, .* got 2"),
        (lambda: wf.wave(0.5, damping_profile=[0.1, np.inf]), ValueError, "damping_profile must be finite"),
        (lambda: wf.wave(0.5, damping_profile=0.1), ValueError, "profile must be a 1-D array"),
        (
            lambda: wf.wave(0.5, profile=np.ones(8), damping_profile=np.ones(9)),
            ValueError,
            r"damping_profile must be of shape \(8,\)",
        ),
        (lambda: wf.wave(0.5, restoring_profile=["a"] * 4), TypeError, "restoring_profile must be an array of real"),
        (lambda: wf.wave(0.5, damping_profile=np.ones(8)).stability(), ValueError, "a damping profile"),
        (lambda: wf.wave(0.5, damping_profile=np.ones(8)).power(3), ValueError, "power is defined for"),
        (
            lambda: wf.WaveOperator([0.5, 0.5, 0.0], damping_profile=np.ones(8)),
            ValueError,
            "damping_profile needs a two-way wave",
        ),
        (lambda: wf.absorbing_layer(30, 16), ValueError, "cells must be at most half the size"),
        (lambda: wf.absorbing_layer(50, reflection=1.5), ValueError, "reflection must lie below 1"),
        (lambda: wf.absorbing_layer(50, damping=-0.1), ValueError, "damping must be a finite number, not negative"),
    ],
)
def test_impossible_operators_are_refused_with_what_came_and_what_is_accepted(make, error, text):
    with pytest.raises(error, match=text):
        make()


@settings(deadline=None)
@given(
    st.one_of(
        st.lists(st.floats(), max_size=12).map(np.array),
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 6)).map(np.ones),
        st.text(max_size=5),
        st.none(),
    ),
    st.sampled_from(["periodic", "fixed", "free", "absorbing", "open", "", 3]),
    st.sampled_from([1, 2, 0, None]),
    st.floats() | st.none(),
)
def test_any_input_gives_a_finite_operator_or_an_error_that_names_an_argument(kernel, boundary, levels, dx):
    op, refusal = None, ""
    try:
        op = wf.WaveOperator(kernel, boundary, dx, levels=levels)
    except (ValueError, TypeError) as error:
        refusal = str(error)
    if op is None:
        assert any(name in refusal for name in ("kernel", "boundary", "levels", "dx"))
    else:
        assert np.isfinite(op.matrix(op.kernel.shape[2] + 3).toarray()).all()


def test_an_operator_cannot_be_changed_under_its_users_hands():
    given_kernel = np.array([1.0, 0.0, 0.0])
    op = wf.WaveOperator(given_kernel)
    given_kernel[0] = 7.0
    assert op.kernel[0, 0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        op.kernel[0, 0, 0] = 2.0


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "replace": dataclasses.replace,
}
HOLDERS = {
    "profile": wf.wave(0.9, 0.05, profile=np.linspace(0.3, 1, 9), dx=2.0, dt=0.5),
    "boundary row": wf.WaveOperator([0, 0, 1.0], "open", boundary_row=np.ones((1, 1, 9)), driven_end=0),
    "history": wf.history.task("T2"),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", HOLDERS)
def test_copies_are_as_frozen_as_what_they_are_copies_of(name, way):
    value, held = HOLDERS[name], 0
    for field in dataclasses.fields(value):
        content, copied = getattr(value, field.name), getattr(COPIES[way](value), field.name)
        np.testing.assert_array_equal(copied, content)
        if isinstance(copied, np.ndarray):
            held += 1
            with pytest.raises(ValueError, match="read-only"):
                copied[...] = 0
    assert held


def test_operators_are_equal_where_all_that_they_hold_is():
    profile = np.linspace(0.5, 1, 12)
    makes = [
        lambda: wf.transport(1.0),
        lambda: wf.transport(-1.0),
        lambda: wf.transport(1.0, boundary="absorbing"),
        lambda: wf.transport(1.0, dx=2.0, dt=2.0),
        lambda: wf.wave(1.0),
        lambda: wf.WaveOperator(wf.wave(1.0).kernel),  # the same numbers, of one level
        lambda: wf.wave(1.0, profile=profile),
        lambda: wf.wave(1.0, profile=profile[::-1]),
        lambda: wf.WaveOperator([0, 0, 1.0], "open"),
        lambda: wf.WaveOperator([0, 0, 1.0], "open", driven_end=0),
        lambda: wf.WaveOperator([0, 0, 1.0], "open", boundary_row=np.ones((1, 1, 9))),
    ]
    for i, first in enumerate(makes):
        for j, second in enumerate(makes):
            assert (first() == second()) == (i == j)
        assert hash(first()) == hash(first())
    assert len({make() for make in makes * 2}) == len(makes)
    assert wf.WaveOperator([0.0, 1.0, -0.0]) == wf.static()
    assert hash(wf.WaveOperator([0.0, 1.0, -0.0])) == hash(wf.static())
    assert wf.static() != "static"

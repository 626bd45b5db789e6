"""Many steps at once must be the same as one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wavefield as wf


def stepped(op, state, count):
    """`count` steps of the state (C, N) by the operator's matrix."""
    matrix, flat = op.matrix(state.shape[-1]), state.ravel()
    for _ in range(count):
        flat = matrix @ flat
    return flat.reshape(state.shape)


def at_rest(op, size, seed):
    """A random displacement with v₀ = 0, the start from which h[1] = h[−1] without damping."""
    state = np.zeros((op.channels, size))
    state[::2] = np.random.default_rng(seed).standard_normal((op.rings, size))
    state[1::2] = stepped(op, state, 1)[::2] / (1 + op.previous_weight[:, None])
    return state


def assert_jumps(op, state, count, tolerance):
    slow, fast = stepped(op, state, count), op.power(count)(state)
    assert np.abs(fast - slow).max() <= tolerance * np.abs(slow).max()


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
@pytest.mark.parametrize("order", [2, 4, 6, 8])
@pytest.mark.parametrize("damping", [0.0, 1e-4])
@pytest.mark.parametrize("size", [37, 64])
def test_two_way_jump_is_ten_thousand_steps(boundary, order, damping, size):
    limit = wf.courant_limit(order)
    op = wf.wave([limit, 0.5 * limit, 0.9 * limit], [damping, 0, 2 * damping], order=order, boundary=boundary)
    assert_jumps(op, at_rest(op, size, seed=order), 10_000, 1e-10)


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
def test_two_way_jump_follows_a_drifting_field(boundary):
    """Any two levels: the mean then moves at constant speed, the Jordan block of k = 0."""
    op = wf.wave([1.0, 0.6], boundary=boundary)
    state = np.random.default_rng(5).standard_normal((4, 48))
    assert_jumps(op, state, 1_000, 1e-11)
    if boundary == "periodic":
        mean, drift = state[::2].mean(axis=1), (state[::2] - state[1::2]).mean(axis=1)
        np.testing.assert_allclose(op.power(10**6)(state)[::2].mean(axis=1), mean + 10**6 * drift, rtol=1e-7)


def test_overdamped_modes_creep_back_without_turning():
    op = wf.wave(0.05, 1.9)
    assert_jumps(op, at_rest(op, 40, seed=2), 10_000, 1e-10)


@pytest.mark.parametrize("speed", [1.0, -1.0, 0.999, -0.999])
def test_one_way_jump_is_ten_thousand_steps(speed):
    op = wf.transport([speed, 0.5 * speed], gain=[1.0, 0.9999])
    assert_jumps(op, np.random.default_rng(0).standard_normal((2, 50)), 10_000, 1e-10)


@pytest.mark.parametrize("boundary", ["fixed", "free"])
def test_diffusion_between_ends_jumps(boundary):
    op = wf.WaveOperator([0.02, 0.1, 0.76, 0.1, 0.02], boundary)
    assert_jumps(op, np.random.default_rng(0).standard_normal((1, 64)), 10_000, 1e-10)


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
def test_coupled_channels_jump_by_repeated_squaring(boundary):
    """Three channels that an orthogonal matrix turns into one another, so that ten thousand steps leave something."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    kernel = np.zeros((3, 3, 3))
    if boundary == "periodic":
        kernel[:, :, 2] = turn  # a shift to −x, and a turn
    else:
        kernel[:, :, 0] = kernel[:, :, 2] = 0.01 * turn
        kernel[:, :, 1] = 0.98 * turn
    op = wf.WaveOperator(kernel, boundary)
    assert_jumps(op, rng.standard_normal((3, 41)), 10_000, 1e-10)


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([1, 3, 5, 7]),
    st.integers(0, 12),
    st.integers(0, 40),
    st.sampled_from(["periodic", "fixed", "free"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_any_kernel_jumps_as_it_steps(channels, taps, more, count, boundary, diagonal, seed):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((channels, channels, taps))
    if diagonal:
        kernel *= np.eye(channels)[:, :, None]
    if boundary != "periodic":
        kernel += kernel[:, :, ::-1]
    kernel /= np.abs(kernel).sum(axis=(1, 2)).max()
    op, state = wf.WaveOperator(kernel, boundary), rng.standard_normal((channels, taps + more))
    np.testing.assert_allclose(op.power(count)(state), stepped(op, state, count), atol=1e-12)


@settings(deadline=None)
@given(
    st.integers(0, 60),
    st.sampled_from(["periodic", "fixed", "free"]),
    st.sampled_from([2, 4, 6, 8]),
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1.9)), min_size=1, max_size=3),
    st.integers(0, 12),
    st.integers(0, 2**32 - 1),
)
def test_any_two_way_field_jumps_as_it_steps(count, boundary, order, rings, more, seed):
    speed, damping = np.array(rings).T
    op = wf.wave(speed * wf.courant_limit(order), damping, order=order, boundary=boundary)
    state = np.random.default_rng(seed).standard_normal((op.channels, order + 1 + more))
    np.testing.assert_allclose(op.power(count)(state), stepped(op, state, count), rtol=1e-11, atol=1e-11)


def test_jumps_compose_and_none_is_the_identity():
    op, rng = wf.wave([0.9, 0.4], 0.01), np.random.default_rng(0)
    state = rng.standard_normal((5, 2, 4, 30))  # leading axes are carried along
    np.testing.assert_allclose(op.power(0)(state), state, atol=1e-14)
    np.testing.assert_allclose(op.power(70)(op.power(30)(state)), op.power(100)(state), atol=1e-11)
    np.testing.assert_allclose(op.power(100)(state)[3, 1], op.power(100)(state[3, 1]), atol=1e-13)


def test_single_precision_stays_single_precision():
    state = np.random.default_rng(0).standard_normal((2, 30)).astype(np.float32)
    moved = wf.wave(0.7).power(50)(state)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, wf.wave(0.7).power(50)(state.astype(float)), rtol=1e-6, atol=1e-6)

"""Ends that are moved: what enters there is what the equation says, for every stencil."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.operators.encoder import driven_ends

ORDERS = (2, 4, 6, 8)


def run(op, drive, size, ends, **options):
    encoder = driven_ends(op, size, ends)
    return wf.simulate(op, drive, encoder=encoder, source="force", **options).activity.values


def test_a_moved_end_sends_its_motion_along_the_string_at_courant_one():
    """h(n, t) = f(t − n − 1) from an end one cell beyond cell 0."""
    f = np.random.default_rng(0).standard_normal(30)
    op = wf.wave(1.0, boundary="fixed")
    for end in ("left", "right"):
        levels = run(op, f, 40, [end])[:, 0]
        levels = levels if end == "left" else levels[:, ::-1]
        for t in range(1, 31):  # levels[t − 1] is the field at time t
            np.testing.assert_allclose(levels[t - 1, :t], f[:t][::-1], atol=1e-12)
            assert not levels[t - 1, t:].any()


def test_a_turned_end_sends_the_integral_of_its_slope_at_courant_one():
    """∂h/∂x = s(t) at a free end: h(n, t) = F(t − n) with F(t + 1) = F(t − 1) ∓ 2 dx s(t)."""
    dx, s = 0.25, np.random.default_rng(1).standard_normal(30)
    op = wf.wave(1.0, boundary="free", dx=dx, dt=dx)
    for end, sign in (("left", -1), ("right", 1)):
        shape = np.zeros(32)  # F(−1), F(0), F(1), …
        for t in range(30):
            shape[t + 2] = shape[t] + sign * 2 * dx * s[t]
        levels = run(op, s, 40, [end])[:, 0]
        levels = levels if end == "left" else levels[:, ::-1]
        for t in range(1, 31):
            np.testing.assert_allclose(levels[t - 1, : t + 1], shape[1 : t + 2][::-1], atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_a_string_held_up_at_both_ends_rests_there(order):
    op = wf.wave([0.7, 0.5], [0.0, 0.1], order=order, boundary="fixed")
    height = np.array([1.0, 1.0, -2.0, -2.0])  # of both ends, ring by ring
    start = np.repeat(height[::2, None], 20, axis=1)
    rest = run(op, np.tile(height, (50, 1)), 20, ["left", "right"], initial=start, previous=start)
    np.testing.assert_allclose(rest, np.broadcast_to(start, rest.shape), atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_a_straight_slope_rests_between_ends_that_hold_it(order):
    dx, slope = 0.5, 0.3
    op = wf.wave(1.0, order=order, boundary="free", dx=dx, dt=0.3)
    start = slope * dx * np.arange(20.0)[None]
    rest = run(op, np.full((50, 2), slope), 20, ["left", "right"], initial=start, previous=start)
    np.testing.assert_allclose(rest, np.broadcast_to(start, rest.shape), atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", ["fixed", "free"])
def test_a_smooth_motion_enters_as_a_travelling_wave(boundary, order):
    """h(x, t) = f(t − x/c) with x from the moved end: its displacement, or by its slope −f′/c."""
    courant, width, size = 0.5, 60, 200
    t = np.arange(400)

    def f(time):
        return np.exp(-((time - 240) ** 2) / (2 * width**2))

    slope = (t - 240) / width**2 * f(t) / courant
    op = wf.wave(courant, order=order, boundary=boundary)
    field = run(op, f(t) if boundary == "fixed" else slope, size, ["left"])[-1, 0]
    x = np.arange(size) + (boundary == "fixed")
    np.testing.assert_allclose(field, f(400 - x / courant), atol=2e-3)


def test_ends_are_driven_in_a_medium_too():
    profile = np.linspace(0.5, 1, 20)
    op = wf.wave(0.9, boundary="fixed", profile=profile, damping_profile=np.linspace(0, 0.2, 20))
    start = np.ones((1, 20))
    rest = run(op, np.ones((50, 2)), 20, ["left", "right"], initial=start, previous=start)
    np.testing.assert_allclose(rest, 1, atol=1e-12)


@pytest.mark.parametrize(
    ("op", "ends", "text"),
    [
        (wf.wave(0.5), ["left"], "between fixed or free ends"),
        (wf.wave(0.5, boundary="absorbing"), ["left"], "between fixed or free ends"),
        (wf.transport(0.5, boundary="fixed"), ["left"], "two-way wave"),
        (wf.wave(0.5, boundary="fixed"), ["up"], "ends must hold"),
        (wf.wave(0.5, boundary="fixed"), [], "ends must hold"),
        (wf.wave(0.5, boundary="fixed"), ["left", "left"], "ends must hold"),
    ],
)
def test_ends_that_cannot_be_moved_are_refused(op, ends, text):
    with pytest.raises(ValueError, match=text):
        driven_ends(op, 20, ends)

"""Speed and damping as parameters: an operator says both in its own units, and how far either may go."""

import numpy as np
import pytest

import wavefield as wf
from wavefield.decoding.estimate import Estimate, asked_for
from wavefield.decoding.parameters import Family
from wavefield.decoding.request import Request

DX, DT = 0.5, 0.4
WAVE = wf.wave(0.6, 0.3, dx=DX, dt=DT)
BACK = wf.transport(-0.6, gain=np.exp(-0.3 * DT), dx=DX, dt=DT)  # gain e^{−γdt}


@pytest.mark.parametrize(("op", "speed"), [(WAVE, 0.6), (BACK, -0.6)])
def test_an_operator_tells_its_speed_and_damping_per_unit_of_time(op, speed):
    family = Family.of(op)
    assert (family.speed, family.damping) == pytest.approx((speed, 0.3))
    np.testing.assert_allclose(family.at(speed=speed, damping=0.3).kernel, op.kernel, atol=1e-14)


def test_others_of_the_family_are_the_operators_of_their_speed_and_damping():
    np.testing.assert_allclose(
        Family.of(WAVE).at(speed=0.5, damping=0.1).kernel, wf.wave(0.5, 0.1, dx=DX, dt=DT).kernel, atol=1e-14
    )
    gain = np.exp(-0.1 * DT)
    np.testing.assert_allclose(
        Family.of(BACK).at(speed=-0.5, damping=0.1).kernel, wf.transport(-0.5, gain=gain, dx=DX, dt=DT).kernel
    )


def test_no_speed_is_tried_above_the_limit_of_the_stencil():
    assert Family.of(wf.wave(0.6, order=4, dx=DX, dt=DT)).fastest == pytest.approx(wf.courant_limit(4) * DX / DT)
    varied = wf.wave(0.6, dx=DX, dt=DT, profile=np.array([0.5, 1.25, 1.0]))
    assert Family.of(varied).fastest == pytest.approx(DX / DT / 1.25)
    assert Family.of(BACK).fastest == pytest.approx(DX / DT)


def test_bounds_are_a_quarter_more_of_the_speed_and_what_lasts_a_tenth_of_the_time():
    assert Family.of(WAVE).bounds("speed", 50) == pytest.approx((0.6 / 1.25, 0.6 * 1.25))
    assert Family.of(BACK).bounds("speed", 50) == pytest.approx((-0.6 * 1.25, -0.6 / 1.25))
    assert Family.of(WAVE).bounds("damping", 50) == pytest.approx((0.0, 4 * 0.3))
    weak = Family.of(wf.wave(0.6, 0.01, dx=DX, dt=DT))
    assert weak.bounds("damping", 50) == pytest.approx((0.0, 10 / (50 * DT)))
    assert weak.bounds("damping", 5) == pytest.approx((0.0, 1 / DT))


def test_slopes_are_taken_around_the_parameter_lowest_first():
    assert Family.of(WAVE).around("speed") == pytest.approx((0.6 * (1 - 1e-4), 0.6 * (1 + 1e-4)))
    assert Family.of(BACK).around("speed") == pytest.approx((-0.6 * (1 + 1e-4), -0.6 * (1 - 1e-4)))
    assert np.ptp(Family.of(WAVE).around("damping")) == pytest.approx(2e-4 / DT)


def test_bounds_asked_for_are_in_units_of_time_and_go_by_the_horizon():
    request = Request.of(np.ones((1, 16)), WAVE, steps=100, horizon=10)
    _, bounds = asked_for("damping", request, "auto")
    assert bounds["damping"] == pytest.approx((0.0, 10 / (10 * DT)))
    _, bounds = asked_for({"damping": (0.0, 1.9 / DT)}, request, "auto")
    assert bounds["damping"] == pytest.approx((0.0, 1.9 / DT))
    with pytest.raises(ValueError, match="bounds of damping must increase and lie between"):
        asked_for({"damping": (0.0, 2.01 / DT)}, request, "auto")


@pytest.mark.parametrize(("share", "weight", "remarks"), [(0.79, 0.96, 0), (0.81, 0.96, 1), (0.79, 0.94, 1)])
def test_what_the_snapshot_leaves_open_is_said(share, weight, remarks):
    found = Estimate({"speed": 0.5}, {"speed": (0.2, 0.2 + share)}, {"speed": (0.0, 1.0)}, [(weight, WAVE)])
    assert len(found.warnings) == remarks

"""Recordings of simulated sheets go through the estimators as grids of electrodes do: with the speed of their waves."""

import numpy as np
import pytest

import analysis
import wavefield as wf


@pytest.fixture(scope="module", params=[(1, 2), (-2, 1)], ids=str)
def moving(request):
    """Two plane waves of 18 and 9 cells along one direction, their phase speeds, and that direction."""
    op, size = wf.wave(0.5, dims=2, isotropic=True, dx=0.5, dt=0.5), (40, 40)
    y, x = np.indices(size)
    now, before, speeds = np.zeros(size), np.zeros(size), []
    for m in (1, 2):
        cycles = np.array(request.param) * m / 40  # per cell
        frequency = op.dispersion_relation(([cycles[0] / 0.5], [cycles[1] / 0.5])).frequency.max().item()
        phase = 2 * np.pi * (cycles[0] * y + cycles[1] * x) + m
        now += np.cos(phase) / m
        before += np.cos(phase + 2 * np.pi * frequency * op.dt) / m
        speeds.append(frequency / np.hypot(*(cycles / 0.5)))
    rec = wf.simulate(op, initial=now, previous=before, steps=200).isel(channel=0)
    return rec, np.mean(speeds), np.arctan2(*request.param)


@pytest.mark.parametrize("name", ["radon", "delay", "phase_gradient", "ridge"])
def test_speed_and_direction_of_a_simulated_sheet_are_read(moving, name):
    rec, speed, direction = moving
    band = {"band": (0.02, 0.3)} if name == "phase_gradient" else {}
    found = getattr(analysis, f"{name}_velocity")(rec, **band)
    assert found.speed.item() == pytest.approx(speed, rel=0.01)
    assert found.direction.item() == pytest.approx(direction, abs=np.radians(1))

"""`WaveSheet`: the sheets of `wavefield`, and the network's own, as each other."""

import numpy as np
import pytest
import torch

import wavefield as wf
from wavefield_torch import NeuralWaveMachine, WaveSheet

SIZE = (7, 6)
generator = np.random.default_rng(0)
FORCE, FADING = generator.random((2, *SIZE))
OPERATORS = {
    "a torus": wf.wave(0.5, dims=2),
    "two rings, damped": wf.wave([0.5, 0.3], [0.1, 0.4], restoring=0.2, dims=2, dt=0.5),
    "nine points": wf.wave(0.5, 0.1, dims=2, isotropic=True, dx=2.0),
    "cells that are not square": wf.wave(0.5, dims=2, dx=(1.0, 1.5)),
    "fixed": wf.wave(0.5, 0.01, dims=2, boundary="fixed"),
    "free, of order 4": wf.wave(0.4, restoring=0.1, dims=2, order=4, boundary="free"),
    "damping that varies": wf.wave(0.4, 0.05, dims=2, boundary="fixed", damping_profile=FADING),
    "a force that varies": wf.wave(0.4, dims=2, restoring=1.0, restoring_profile=FORCE - 1, boundary="free"),
    "both": wf.wave(0.4, dims=2, restoring=1.0, restoring_profile=FORCE - 1, damping_profile=FADING),
}


def a_thousand_steps(op, first, before):
    """By the one-step matrix, which is the definition."""
    rings = len(first)
    matrix, state = op.matrix(SIZE), np.stack([first, before], axis=1).ravel()
    for _ in range(1000):
        state = matrix @ state
    return state.reshape(rings, 2, *SIZE)[:, 0]


@pytest.mark.parametrize("name", OPERATORS)
def test_a_sheet_made_from_an_operator_moves_a_field_as_it_does_and_back(name):
    op = OPERATORS[name]
    first, before = np.random.default_rng(1).standard_normal((2, op.rings, *SIZE))
    before = first + 0.1 * (before - before.mean())  # nothing drifts
    sheet = WaveSheet.from_operator(op, SIZE, dtype=torch.float64)
    y0, z0 = torch.tensor(first)[None], torch.tensor((first - before) / op.dt)[None]
    with torch.no_grad():
        _, (y, _) = sheet(y0, z0, steps=1000, return_sequence=False)
    expected = a_thousand_steps(op, first, before)
    assert np.abs(y[0].numpy() - expected).max() <= 1e-11 * np.abs(first).max()
    channels = [None] if op.profile is None else [0]
    for channel in channels:
        again = a_thousand_steps(sheet.to_operator(channel), first, before)
        assert np.abs(again - expected).max() <= 1e-11 * np.abs(first).max()


@pytest.mark.parametrize("scheme", ["semi-implicit", "damping-implicit", "centred"])
def test_a_trained_sheet_moves_as_its_operator(scheme):
    """W from channel to channel and to one side more than to the other, another α and ω in each."""
    sheet = WaveSheet(2, dt=0.1, nonlinearity="identity", scheme=scheme, dtype=torch.float64)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        sheet.kernel += 0.02 * torch.randn(sheet.kernel.shape, generator=drawn, dtype=torch.float64)
        sheet.stiffness += torch.tensor([0.5, 1.0])
        sheet.damping += torch.tensor([0.5, 0.8])
        y0, z0 = torch.randn(2, 1, 2, *SIZE, generator=drawn, dtype=torch.float64)
        _, (y, _) = sheet(y0, z0, steps=1000, return_sequence=False)
    op = sheet.to_operator()
    assert op.levels == 1
    expected = a_thousand_steps(op, y0[0].numpy(), (y0 - 0.1 * z0)[0].numpy())
    assert np.abs(y[0].numpy() - expected).max() <= 1e-11 * float(y0.abs().max())
    surface = op.dispersion_relation((np.arange(3) / 7, np.arange(3) / 6))
    assert surface.frequency.sizes["branch"] == 4


@pytest.mark.parametrize("scheme", ["semi-implicit", "damping-implicit", "centred"])
def test_an_image_is_a_drum_whose_modes_the_sheet_rings_at(scheme):
    options, drawn = dict(boundary="fixed", nonlinearity="identity"), torch.Generator().manual_seed(0)
    model = NeuralWaveMachine(in_channels=1, channels=2, scheme=scheme, generator=drawn, **options).double()
    sheet = model.medium(torch.rand(1, *SIZE, generator=drawn).double())
    with torch.no_grad():
        sheet.damping.zero_()
        mode = wf.modes(sheet.drum(1), count=4).isel(mode=3)
        shape = torch.tensor(mode["shape"].values)
        y0 = torch.zeros(1, 2, *SIZE, dtype=torch.float64)
        y0[0, 1] = shape
        states, _ = sheet(y0, steps=400)
    amplitude = torch.tensordot(states[:, 0, 1], shape, 2) / shape.square().sum()
    angle = 2 * np.pi * float(mode.frequency) * 0.1
    # y[0] = 1 and z[0] = 0, half a step before: y[t] = cos(θ(t + ½))/cos(θ/2)
    t = torch.arange(1, 401, dtype=torch.float64)
    torch.testing.assert_close(amplitude, torch.cos(angle * (t + 0.5)) / np.cos(angle / 2), rtol=0, atol=1e-9)
    assert (states[:, 0, 0] == 0).all()


def test_the_medium_of_an_image_is_what_the_model_runs_on():
    drawn = torch.Generator().manual_seed(0)
    model = NeuralWaveMachine(in_channels=1, channels=2, steps=5, generator=drawn)
    image = torch.rand(1, *SIZE, generator=drawn)
    y0, stiffness, damping = model.encode(image[None])
    sheet = model.medium(image)
    assert torch.equal(sheet(y0, steps=5)[0], model(image[None]))
    assert torch.equal(sheet.stiffness, stiffness[0])
    assert torch.equal(sheet.damping, damping[0])
    with pytest.raises(ValueError, match="channel must be given"):
        sheet.to_operator()
    with pytest.raises(ValueError, match="centred"):
        sheet.to_operator(0)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (wf.wave(0.5), "two-way sheet"),
        (wf.transport(0.5, direction=0.0), "two-way sheet"),
        (wf.wave(0.5, dims=2, boundary=("fixed", "free")), "along both axes"),
        (wf.wave(0.5, dims=2, boundary="absorbing"), "along both axes"),
        (wf.wave(0.4, dims=2, order=4, boundary="fixed"), "three taps"),
        (wf.wave(0.5, dims=2, mask=np.eye(6) == 0), "mask"),
        (wf.wave(0.5, dims=2, profile=np.full(SIZE, 0.5)), "speed profile"),
        (wf.wave(0.4, dims=2, restoring_profile=FORCE), "nowhere positive"),
    ],
    ids=str,
)
def test_what_is_no_such_sheet_is_refused(op, message):
    with pytest.raises(ValueError, match=message):
        WaveSheet.from_operator(op)
    with pytest.raises(ValueError, match="'centred'"):
        WaveSheet.from_operator(wf.wave(0.5, dims=2), scheme="semi-implicit")


def test_a_channel_without_long_waves_is_no_drum():
    sheet = WaveSheet(2)
    sheet.kernel.data[1, 1] *= -1
    assert sheet.drum(0).courant.tolist() == [[pytest.approx(0.1)] * 2]
    with pytest.raises(ValueError, match="no long waves"):
        sheet.drum(1)


def test_the_drum_and_the_mean_of_a_sheet_keep_its_axes_and_the_distance_of_its_cells():
    op = wf.wave(0.5, dims=2, boundary="fixed", dx=(1.0, 1.5))
    sheet = WaveSheet.from_operator(op)
    assert op.kernel[0, 0, 0, 1] != op.kernel[0, 0, 1, 0]  # the Courant number along y is not that along x
    for same in (sheet.drum(), sheet.averaged().to_operator()):
        np.testing.assert_allclose(same.kernel, op.kernel, atol=1e-12)
        assert (same.dx, same.dt, same.boundary) == (op.dx, op.dt, op.boundary)
    uneven = WaveSheet.from_operator(OPERATORS["both"])
    for parameter, mean in zip(uneven.parameters(), uneven.averaged().parameters(), strict=True):
        expected = parameter if parameter.dim() == 4 else parameter.mean((-2, -1))
        torch.testing.assert_close(mean, expected)

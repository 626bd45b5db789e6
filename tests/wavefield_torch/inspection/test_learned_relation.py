"""A linear wave network that learns a speed: the relation measured in its states is the one of its trained kernel."""

import numpy as np
import torch

import wavefield as wf
from analysis import dispersion_ridge
from wavefield_torch import WaveRNN, record

SIZE = 64


def network(speed, **options):
    return WaveRNN.from_operator(wf.wave(speed), SIZE, 1, bias="none", dtype=torch.float64, **options)


def taught(steps=600):
    """A network of speed 0.8 that has seen what one of speed 0.6 does."""
    teacher, student = network(0.6), network(0.8, freeze_encoder=True)
    optimizer = torch.optim.Adam([student.kernel], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(6, 8, 1, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            wanted = teacher(x)[0]
        optimizer.zero_grad()
        (student(x)[0] - wanted).square().mean().backward()
        optimizer.step()
        schedule.step()
    return student


def test_the_relation_measured_in_the_states_is_that_of_the_trained_kernel():
    student = taught()
    pulses = torch.zeros(600, 1, 1, dtype=torch.float64)
    pulses[0] = 1.0
    recording = record(student, pulses)
    ridge = dispersion_ridge(recording.isel(trial=0, channel=[0]))
    k, measured = ridge.wavenumber.values, ridge.frequency.values.squeeze()
    found = np.isfinite(measured) & (np.abs(k) > 0.02)
    branches = np.abs(wf.operator_of(recording).dispersion_relation(k).frequency.values)
    apart = np.abs(branches - measured).min(0)[found]
    assert found.sum() > SIZE / 2
    assert np.median(apart) < 1e-3
    learned = 2 * np.arcsin(0.6 * np.abs(np.sin(np.pi * k))) / (2 * np.pi)  # of the scheme it was taught
    started = 2 * np.arcsin(0.8 * np.abs(np.sin(np.pi * k))) / (2 * np.pi)
    assert np.median(np.abs(measured - learned)[found]) < 0.1 * np.median(np.abs(measured - started)[found])

"""The inside of the Radon estimate: what is maximised, and where it counts as a maximum."""

import numpy as np
import pytest

from analysis import radon_velocity, synthetic
from analysis.velocity import radon
from analysis.velocity.stacking import cut_apertures


@pytest.mark.parametrize("crossed", ["at once", "in parts"])
def test_derivatives_of_the_stack_power_are_those_of_its_definition(crossed):
    rng = np.random.default_rng(0)
    steps, dt = 300, 0.5
    where = rng.uniform(-1, 1, (7, 2)) * {"at once": 1.0, "in parts": 45.0}[crossed]
    slowness, turns = np.array([0.4, -0.7]), rng.uniform(0, 2 * np.pi, (6, 1, 7))
    time = dt * np.arange(steps)[:, None] - where @ slowness
    tones = np.cos(2 * np.pi * np.linspace(0.04, 0.12, 6)[:, None, None] * time + 0.3 * turns)
    apertures = cut_apertures(tones.sum(axis=0), where, dt, slowness, 2.0)
    assert (apertures.member.shape[1] > 1) == (crossed == "in parts")
    weights = np.exp(-((np.fft.rfftfreq(apertures.samples, dt) / 0.1 - 1) ** 2))
    line = np.vander(np.arange(apertures.samples), 2)
    unaligned = slowness + np.array([0.05, 0.08])

    def power(p):  # pairs of different sensors of an aperture, frequency by frequency
        v = apertures.aligned(apertures.position @ p)
        v = v - line @ np.linalg.lstsq(line, v, rcond=None)[0]
        spectra = np.fft.rfft(v, axis=0) * np.where(np.fft.rfftfreq(len(v)) % 0.5 > 0, 2, 1)[:, None] ** 0.5
        products = np.real(np.einsum("fi,fj,f->ij", spectra, spectra.conj(), weights)) / len(v)
        return np.sum(products[(apertures.member @ apertures.member.T - np.eye(7)) > 0])

    step, axes = 1e-3, np.eye(2) * 1e-3
    slope = [(power(unaligned + h) - power(unaligned - h)) / (2 * step) for h in axes]
    bend = [
        [(power(unaligned + g + h) - power(unaligned + g - h) - power(unaligned - g + h) + power(unaligned - g - h))
         / (4 * step**2) for h in axes] for g in axes
    ]  # fmt: skip
    found, curvature = radon._derivatives(apertures, unaligned, weights, 0.01)
    np.testing.assert_allclose(found.sum(axis=0), slope, rtol=0.01)
    np.testing.assert_allclose(curvature, bend, rtol=0.01)


@pytest.mark.parametrize(("bends", "stands"), [((-1.0, -2.0), True), ((-1.0, 2.0), False), ((1.0, 2.0), False)])
def test_a_saddle_is_no_summit(monkeypatch, bends, stands):
    apertures = cut_apertures(np.zeros((200, 3)), np.eye(3, 2), 1.0, np.zeros(2), 1.0)
    monkeypatch.setattr(radon, "_derivatives", lambda *_: (np.zeros((1, 2)), np.diag(bends)))
    found = radon._climb(apertures, np.zeros(2), np.zeros(2), None, 0.1, 1.0)
    assert (found is not None) == stands


def test_frequencies_are_weighed_as_the_traces_aligned_at_the_answer_share_them():
    rec = synthetic.moving_pattern(synthetic.line(16), 512, speed=1.13, seed=0)  # between two speeds of the coarse scan
    assert radon_velocity(rec).explained == pytest.approx(1.0, abs=1e-4)

"""Wavelets have the spectrum, the length and the moment that they are asked for, whatever the step."""

import numpy as np
import pytest

import wavefield as wf


@pytest.mark.parametrize("dt", [0.1, 0.02])
def test_a_ricker_wavelet_has_no_mean_and_is_strongest_at_its_frequency(dt):
    frequency = 2.0
    drive = wf.ricker(frequency, round(4 / dt), dt=dt, delay=2.0).values[:, 0]
    spectrum = np.abs(np.fft.rfft(drive, 2**14))
    assert np.fft.rfftfreq(2**14, dt)[spectrum.argmax()] == pytest.approx(frequency, rel=1e-2)
    assert spectrum[0] < 1e-6 * spectrum.max()
    assert drive.max() == drive[round(2 / dt)] == 1
    peak = wf.ricker(frequency, round(4 / dt), dt=dt).values[:, 0].argmax()
    assert peak * dt == pytest.approx(1.5 / frequency, abs=0.51 * dt)


def test_a_gaussian_has_its_width_and_its_moment():
    dt, width, delay = 0.05, 0.4, 3.0
    drive = wf.gaussian(width, 120, dt=dt, delay=delay).values[:, 0]
    t = dt * np.arange(120)
    mean = (drive * t).sum() / drive.sum()
    assert mean == pytest.approx(delay, rel=1e-9)
    assert (drive * (t - mean) ** 2).sum() / drive.sum() == pytest.approx(width**2, rel=1e-9)
    assert drive.sum() * dt == pytest.approx(width * np.sqrt(2 * np.pi), rel=1e-9)
    assert wf.gaussian(width, 120, dt=dt).values[:, 0].argmax() == round(4 * width / dt)


def test_a_tone_burst_lasts_for_its_cycles():
    dt, frequency, cycles, delay = 0.01, 3.0, 5, 0.7
    drive = wf.tone_burst(frequency, cycles, 400, dt=dt, delay=delay).values[:, 0]
    t = dt * np.arange(400)
    outside = (t < delay) | (t > delay + cycles / frequency)
    assert not drive[outside].any()
    spectrum = np.abs(np.fft.rfft(drive, 2**14))
    assert np.fft.rfftfreq(2**14, dt)[spectrum.argmax()] == pytest.approx(frequency, rel=0.02)
    assert spectrum[0] < 1e-3 * spectrum.max()


def test_a_wavelet_sent_into_a_line_arrives_with_its_shape():
    """A pulse of displacement at the entrance travels along: in millimetres and milliseconds, h(x, t) = x(t − x/c)."""
    c, dx, dt = 0.5, 0.05, 0.1
    drive = wf.ricker(0.8, 60, dt=dt)
    rec = wf.simulate(wf.transport(c, boundary="absorbing", dx=dx, dt=dt), drive, size=50)
    np.testing.assert_allclose(rec.activity[20:, 0, 20], drive[:40, 0], atol=1e-15)
    assert rec.drive.dims == ("step", "input")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: wf.ricker(0.5, 10), r"frequency must be below 1/\(2 dt\) = 0\.5"),
        (lambda: wf.ricker(-1, 10), "frequency must be a finite positive number"),
        (lambda: wf.tone_burst(0.1, 0, 10), "cycles must be"),
        (lambda: wf.gaussian(0, 10), "width must be"),
        (lambda: wf.gaussian(1, 0), "steps must be at least 1"),
        (lambda: wf.gaussian(1, 10, dt=0), "dt must be"),
        (lambda: wf.gaussian(1, 10, delay=np.nan), "delay must be a finite time"),
    ],
)
def test_wavelets_that_cannot_be_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()

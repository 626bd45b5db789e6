"""Where lags are not those of a wave, no estimator gives a speed."""

import numpy as np
import pytest
from scipy.signal import hilbert

import analysis
from analysis import synthetic
from analysis.velocity import chance


@pytest.mark.parametrize(
    ("wave", "modules", "place", "doubted"),
    [(0.49, 0.1, 0.0, True), (0.51, 0.1, 0.0, False), (0.8, 0.81, 0.0, True), (0.9, 0.1, 0.06, True)],
)
def test_each_doubt_is_enough(wave, modules, place, doubted, monkeypatch):
    monkeypatch.setattr(chance, "explained", lambda *_: (wave, modules))
    monkeypatch.setattr(chance, "place_p_value", lambda *_, **__: place)
    assert chance.knows_no_place(None, None, None, level=0.05) == doubted


def phases(seed, rows=8):
    """A narrowband signal that reaches every sensor with a phase of its own, as a recording of a sheet."""
    rng = np.random.default_rng(seed)
    signal = hilbert(
        np.convolve(rng.standard_normal(700), np.hanning(24) * np.cos(0.2 * np.pi * np.arange(24)), "same")
    )
    turned = signal[200:600, None, None] * np.exp(2j * np.pi * rng.random((rows, rows)))
    noise = 0.5 * turned.real.std() * rng.standard_normal(turned.shape)
    return synthetic.plane(synthetic.sheet((rows, rows)), 400, wavenumber=(0.1, 0), frequency=0.1).assign(
        activity=(("time", "y", "x"), turned.real + noise)
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ridge", "radon", "delay", "phase_gradient"])
def test_sensors_with_phases_of_their_own_have_no_speed(name):
    estimate = getattr(analysis, f"{name}_velocity")
    assert sum(int(estimate(phases(seed)).status) == 0 for seed in range(12)) <= 1


def test_one_side_of_a_sheet_that_goes_both_ways_has_its_speed():
    where = synthetic.sheet((16, 16))
    ahead, back = (synthetic.plane(where, 300, wavenumber=(k, 0), frequency=0.1) for k in (0.1875, -0.1875))
    rec = synthetic.with_noise(ahead.assign(activity=ahead.activity + back.activity), 10.0, seed=0)
    assert float(analysis.ridge_velocity(rec, side="right").speed) == pytest.approx(0.1 / 0.1875, rel=0.03)

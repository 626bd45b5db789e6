"""What reviewers hold against a wave on a sheet: fields with lags, filters and structure in which nothing travels."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import butter, hilbert, lfilter, sosfiltfilt

import wavefield as wf
from analysis import delay_velocity, diagnose, plot, radon_velocity
from analysis.direction.motion import motion_test
from analysis.fields.field import Field

STEPS, SIDE = 256, 8
Y, X = (axis.ravel().astype(float) for axis in np.mgrid[:SIDE, :SIDE])
TIME = np.arange(STEPS)[:, None]
BAND = (0.03, 0.08)  # of the band-pass


def sensor_noise(rng):
    return rng.standard_normal((STEPS, X.size))


def unit(values):
    return values / values.std()


def pink(rng, series):
    """Power ∝ 1/f^1.5."""
    f = np.fft.rfftfreq(STEPS)
    f[0] = f[1]
    return np.fft.irfft(np.fft.rfft(rng.standard_normal((STEPS, series)), axis=0) * f[:, None] ** -0.75, STEPS, axis=0)


def narrowband(rng, series=1, width=0.015):
    f = np.fft.rfftfreq(STEPS + 200)
    envelope = np.exp(-0.5 * ((f - 0.05) / width) ** 2)[:, None]
    return unit(np.fft.irfft(np.fft.rfft(rng.standard_normal((STEPS + 200, series)), axis=0) * envelope, axis=0))


def two_places(rng):
    """Two bumps of sd 1.5 at least 3.5 spacings apart."""
    while True:
        (x0, x1), (y0, y1) = rng.uniform(0, SIDE - 1, (2, 2))
        if np.hypot(x0 - x1, y0 - y1) > 3.5:
            return (np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 4.5) for x, y in ((x0, y0), (x1, y1)))


def white(rng):
    return sensor_noise(rng)


def autoregressive(rng):
    return lfilter([1], [1, -0.9], sensor_noise(rng), axis=0)


def narrow(rng):
    return narrowband(rng, X.size)[100:-100]


def smooth(rng):
    return unit(gaussian_filter(rng.standard_normal((STEPS, SIDE, SIDE)), (2, 1, 1))).reshape(STEPS, -1)


def volume_conduction(rng):
    """30 sources of 1/f^1.5 noise, each seen by the sensors within some 2.5 spacings."""
    x, y = rng.uniform(-2, SIDE + 1, (2, 30))
    seen = np.exp(-((X[:, None] - x) ** 2 + (Y[:, None] - y) ** 2) / 12.5)
    return unit(pink(rng, 30) @ seen.T) + 0.1 * sensor_noise(rng)


def common_reference(rng):
    return unit(pink(rng, 1)) + 0.7 * sensor_noise(rng)


def mains(rng):
    """A line of the mains at every sensor in its own strength, over moving-average noise."""
    line = np.sin(2 * np.pi * 0.2 * TIME + rng.uniform(0, 2 * np.pi)) * rng.uniform(0.5, 1.5, X.size)
    return line + unit(lfilter(np.ones(5) / 5, 1, rng.standard_normal((STEPS + 10, X.size)), axis=0)[10:])


def drifting_standing_wave(rng):
    """Its nodes move by half a wavelength in the record, and its phase wanders."""
    angle = rng.uniform(0, np.pi)
    across = 2 * np.pi * (np.cos(angle) * X + np.sin(angle) * Y) / 6 + rng.uniform(0, 2 * np.pi)
    turn = 2 * np.pi * 0.05 * TIME + 0.1 * np.cumsum(rng.standard_normal(STEPS))[:, None]
    return np.cos(across + rng.choice([-1, 1]) * np.pi * TIME / STEPS) * np.cos(turn) + 0.5 * sensor_noise(rng)


def local_oscillators(rng):
    one, other = two_places(rng)
    first, second = (np.cos(2 * np.pi * f * TIME + rng.uniform(0, 2 * np.pi)) for f in (0.05, 0.054))
    return first * one + second * other + 0.2 * sensor_noise(rng)


def fixed_phases(rng):
    """One narrowband signal that reaches every sensor with a phase of its own, always the same."""
    signal = hilbert(narrowband(rng), axis=0)[100:-100]
    return (signal * np.exp(2j * np.pi * rng.random(X.size))).real + 0.7 * sensor_noise(rng)


def evoked_latencies(rng):
    """Evoked responses with latencies that know no place."""
    latency = rng.uniform(0, 15, X.size)
    responses = sum(np.exp(-0.5 * ((TIME - onset - latency) / 4) ** 2) for onset in range(30, STEPS - 40, 50))
    return responses + 0.3 * sensor_noise(rng)


def sequential_halves(rng):
    """The halves of the array do the same, one 2 to 8 samples after the other."""
    angle, lag, signal = rng.uniform(0, np.pi), rng.integers(2, 9), narrowband(rng)
    first = np.cos(angle) * (X - 3.5) + np.sin(angle) * (Y - 3.5) < 0
    earlier, later = signal[100 : 100 + STEPS], signal[100 - lag : 100 - lag + STEPS]
    return np.where(first, earlier, later) + 0.5 * sensor_noise(rng)


def sequential_modules(rng):
    """Two places do the same, one 2 to 7 samples after the other."""
    one, other = two_places(rng)
    lag, signal = rng.integers(2, 8), narrowband(rng)
    later = signal[100 - lag : 100 - lag + STEPS]
    return signal[100 : 100 + STEPS] * one + later * other + 0.2 * sensor_noise(rng)


def sequential_pulses(rng):
    one, other = two_places(rng)
    lag, times = rng.uniform(5, 15), range(30, STEPS - 40, 50)
    first, second = (sum(np.exp(-0.5 * ((TIME - t - late) / 4) ** 2) for t in times) for late in (0, lag))
    return first * one + second * other + 0.2 * sensor_noise(rng)


NULLS = (
    white, autoregressive, narrow, smooth, volume_conduction, common_reference, mains, drifting_standing_wave,
    local_oscillators, fixed_phases, evoked_latencies, sequential_halves, sequential_modules, sequential_pulses,
)  # fmt: skip


def recording(values, filtered):
    if filtered:
        values = sosfiltfilt(butter(3, BAND, "bandpass", fs=1, output="sos"), values, axis=0)
    return wf.recording(values.reshape(STEPS, SIDE, SIDE), dims=("time", "y", "x"), boundary="open")


def name_of(null):
    return null.__name__.replace("_", " ")


@pytest.mark.validate
@pytest.mark.parametrize("filtered", [False, True], ids=["as it is", "band-passed"])
@pytest.mark.parametrize("null", NULLS, ids=name_of)
def test_what_does_not_travel_is_not_said_to(null, filtered, draws, measured):
    count = draws(4, 150)
    moved = []
    for seed in range(count):
        field = Field.of(recording(null(np.random.default_rng([seed, 7])), filtered))
        found = motion_test(field, seed=seed, draws=199)
        moved.append(bool((found.p_value < 0.05) & (found.wave_share > found.modules_share)))
    rate, text = float(np.mean(moved)), "band-passed" if filtered else "as it is"
    measured(f"moves, of {count} draws of {name_of(null)} on a sheet, {text}", rate, "≤ 0.065")
    assert rate <= 0.065 + 3 * np.sqrt(0.05 * 0.95 / count) * (count < 2000)


@pytest.mark.validate
@pytest.mark.parametrize("filtered", [False, True], ids=["as it is", "band-passed"])
@pytest.mark.parametrize("null", [volume_conduction, fixed_phases, sequential_halves], ids=name_of)
def test_what_does_not_travel_has_no_speed(null, filtered, draws, measured):
    count = draws(2, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = [
            diagnose(recording(null(np.random.default_rng([seed, 7])), filtered), draws=99) for seed in range(count)
        ]
    claimed = float(np.mean([bool((result.status == 0).any()) for result in results]))
    text = "band-passed" if filtered else "as it is"
    measured(f"speeds claimed, of {count} draws of {name_of(null)} on a sheet, {text}", claimed, "≤ 0.05")
    assert claimed <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("null", [fixed_phases, sequential_halves], ids=name_of)
def test_estimators_by_themselves_refuse_lags_of_no_wave(null):
    for seed in range(3):
        rec = recording(null(np.random.default_rng([seed, 7])), filtered=False)
        for estimate in (radon_velocity, delay_velocity):
            assert estimate(rec).status != 0


def test_the_verdict_with_and_without_the_band_stand_side_by_side():
    rng = np.random.default_rng(3)
    wave = np.cos(2 * np.pi * (0.05 * TIME - X / 6))
    strong = 4 * unit(pink(rng, 1)) + 2 * np.cos(2 * np.pi * 0.2 * TIME)  # the sensors share it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = diagnose(recording(wave + strong + 0.3 * sensor_noise(rng), filtered=False), band=BAND, draws=99)
        alone = diagnose(recording(wave + strong + 0.3 * sensor_noise(rng), filtered=False), draws=99)
    assert "verdict_without_band" not in alone
    assert result.verdict_without_band.item() == alone.verdict.item()
    text = plot.describe(result)
    assert f"without the band: {alone.verdict.item()}, p = {float(result.p_value_without_band):.3g}" in text

import warnings

import numpy as np
import pytest

from analysis import diagnose, synthetic
from analysis.direction.pairs import spectra, strongest_pairs
from analysis.direction.plane import plane_direction_test
from analysis.fields.field import Field

NOISES = {
    "white": synthetic.white_noise,
    "autoregressive": synthetic.autoregressive_noise,
    "narrowband": synthetic.narrowband_noise,
    "smooth": synthetic.smooth_noise,
}


def layout(name, seed):
    if name == "20 electrodes":
        places = np.random.default_rng(1000 + seed).uniform(0, 9, (20, 2))
        return synthetic.electrodes(*places.T)
    size = int(name.split()[0])
    return synthetic.sheet((size, size))


def plane_wave(where, degrees, snr, seed):
    angle = np.radians(degrees)
    k = np.array([np.cos(angle), np.sin(angle)]) / 9
    return synthetic.with_noise(synthetic.plane(where, 400, wavenumber=tuple(k), frequency=0.05), snr, seed=seed)


def verdict(rec, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # less than one wavelength on the array
        return diagnose(rec, **{"draws": 199, **options})


@pytest.mark.validate
@pytest.mark.parametrize("field", NOISES)
def test_plane_test_rejects_noise_without_direction_at_its_level(field, draws, measured):
    count, rejected = draws(100, 2000), []
    for part in range(0, count, 100):
        rec = NOISES[field](synthetic.sheet((8, 8)), 256, seed=part, channels=min(100, count - part))
        rejected.append(plane_direction_test(rec, seed=part, draws=199).p_value.values <= 0.05)
    rate = float(np.mean(np.concatenate(rejected)))
    measured(f"false positives at 0.05 over all directions, {field} on a sheet", rate, "0.035 to 0.065")
    margin = 0 if count >= 2000 else 3 * np.sqrt(0.05 * 0.95 / count)
    assert 0.035 - margin <= rate <= 0.065 + margin


@pytest.mark.validate
@pytest.mark.parametrize("snr", [0.5, 1, 3])
@pytest.mark.parametrize("where", ["8 x 8", "10 x 10", "20 electrodes"])
def test_waves_in_every_direction_travel(where, snr, draws, measured):
    count = draws(4, 24)
    found, error = [], []
    for number in range(count):
        degrees = 15 * number if count == 24 else (0, 90, -135, 200)[number]
        result = verdict(plane_wave(layout(where, number), degrees, snr, number))
        found.append(result.verdict.item() == "travelling")
        error.append(np.abs((np.degrees(float(result.angle)) - degrees + 180) % 360 - 180))
    measured(f"waves called travelling, {where}, SNR {snr}", float(np.mean(found)), "≥ 0.9 from SNR 1 on")
    measured(f"median error of the angle in degrees, {where}, SNR {snr}", float(np.median(error)), "≤ 3")
    assert np.mean(found) >= (0.9 if snr >= 1 else 0.5)
    assert np.median(error) <= 3


def test_turning_the_plane_turns_the_direction_and_keeps_the_size():
    rec = plane_wave(synthetic.sheet((8, 8)), 20, 1, 0)
    turned = rec.assign(activity=rec.activity.copy(data=np.rot90(rec.activity.values, axes=(2, 1))))
    one, other = (plane_direction_test(r, seed=0) for r in (rec, turned))
    np.testing.assert_allclose(one["index"], other["index"], rtol=1e-9)
    np.testing.assert_allclose(np.angle(np.exp(1j * (other.angle - one.angle))), np.pi / 2, atol=1e-9)


def test_running_time_backwards_turns_the_vector_round():
    rec = plane_wave(synthetic.sheet((8, 8)), 70, 1, 0)
    field = Field.of(rec)
    (_, values), where = next(field.traces()), field.space.sensors()
    found = []
    for one in (values, values[::-1]):
        _, spectrum = spectra(one[None], 1.0, None)
        pairs = strongest_pairs(spectrum, len(values), where, np.random.default_rng(0))
        found.append(pairs.difference @ pairs.axis / pairs.power.sum())
    np.testing.assert_allclose(found[1], -found[0], atol=0.02)  # the taper is not quite symmetric


def test_a_standing_wave_has_no_direction():
    rec = synthetic.standing(synthetic.sheet((10, 10)), 300, wavenumber=(0.1, 0.17), frequency=0.06)
    result = plane_direction_test(synthetic.with_noise(rec, 2, seed=0), seed=0)
    assert result["index"] < 0.15
    assert result.p_value > 0.05


def test_a_line_is_refused_with_the_function_that_takes_it():
    with pytest.raises(ValueError, match="on a line use direction_test"):
        plane_direction_test(synthetic.white_noise(synthetic.line(16), 64, seed=0), seed=0)
    with pytest.raises(ValueError, match="null is 'time'"):
        plane_direction_test(synthetic.white_noise(synthetic.sheet((4, 4)), 64, seed=0), seed=0, null="time")


@pytest.mark.parametrize("where", ["8 x 8", "20 electrodes"])
def test_the_page_of_a_plane_shows_the_angle(where):
    import matplotlib.pyplot as plt

    from analysis import plot

    rec = plane_wave(layout(where, 0), 60, 1, 0)
    result = verdict(rec)
    assert "verdict: travelling towards 6" in plot.describe(result) or "towards 59" in plot.describe(result)
    figure = plot.summary(rec.activity, result)
    assert any(ax.name == "polar" and ax.lines for ax in figure.axes)
    plt.close(figure)

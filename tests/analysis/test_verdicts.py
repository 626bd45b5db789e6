"""The verdict of `diagnose` on each boundary that decides it, and the noise that it takes the rest for."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from analysis import diagnosis, synthetic
from analysis.diagnosis import VERDICTS, _above, _angle, _sides_along, _stands_out, _verdict
from analysis.direction.shapes import SHAPES
from analysis.fields.field import Field

WAVE = {
    "moving_score": 50.0, "still_score": 0.0, "static_share": 0.0, "mode_share": 0.0, "mode_index": 1.0,
    "mode_fit": 0.0, "p_value": 1.0, "index": 0.5, "overlap": 0.5,
}  # fmt: skip
STANDS = {"mode_share": 0.81, "mode_index": 0.29, "mode_fit": 0.86}
BOTH = {"coherence": [0.31, 0.31]}


def verdict(**changes):
    coherence = changes.pop("coherence", [0.0, 0.0])
    result = xr.Dataset({name: ((), value) for name, value in (WAVE | changes).items()})
    if coherence is not None:
        result["coherence"] = "side", coherence
    return VERDICTS[int(_verdict(result, 0.05))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "none"),
        ({"p_value": 0.0499}, "travelling to +x"),
        ({"p_value": 0.05}, "none"),
        ({"p_value": 0.01, "index": -0.01}, "travelling to -x"),
        ({"p_value": 0.01, "static_share": 0.5}, "travelling to +x"),
        ({"p_value": 0.01, "static_share": 0.501}, "static"),
        ({"p_value": 0.01, "moving_score": 6.01}, "travelling to +x"),
        ({"p_value": 0.01, "moving_score": 6.0}, "none"),
        ({"p_value": 0.01, "moving_score": 0.0, "still_score": 6.01}, "travelling to +x"),
        ({"p_value": 0.01, "moving_score": 0.0, "still_score": 6.0}, "none"),
        (STANDS, "standing"),
        (STANDS | {"p_value": 0.01}, "travelling to +x"),
        (STANDS | {"mode_share": 0.8}, "none"),
        (STANDS | {"mode_index": 0.3}, "none"),
        (STANDS | {"mode_fit": 0.85}, "none"),
        (BOTH, "travelling both ways"),
        ({"coherence": [0.31, 0.3]}, "none"),
        (BOTH | {"overlap": 0.79}, "travelling both ways"),
        (BOTH | {"overlap": 0.791}, "none"),
        (BOTH | {"overlap": 0.791, "mode_share": 0.81, "mode_fit": 0.61}, "standing"),
        (BOTH | {"overlap": 0.791, "mode_share": 0.81, "mode_fit": 0.6}, "none"),
        (BOTH | {"overlap": 0.791, "mode_share": 0.8, "mode_fit": 0.61}, "none"),
        (STANDS | {"coherence": None}, "standing"),
    ],
)
def test_each_boundary_decides_the_verdict(changes, expected):
    assert verdict(**changes) == expected


@pytest.mark.parametrize(
    ("shape", "sign", "expected"),
    [("plane", 0, "travelling"), ("arms", -1, "rotating"), ("rings", 1, "expanding"), ("rings", -1, "converging")],
)
def test_in_a_plane_the_shape_and_its_sense_name_what_moves(shape, sign, expected):
    plane = {"shape": SHAPES.index(shape), "sign": sign, "wave_share": 0.6, "modules_share": 0.5, "p_value": 0.01}
    assert verdict(**plane) == expected
    assert verdict(**plane | {"wave_share": 0.5}) == "none"


def test_amplitudes_of_gaussian_noise_overlap_less_than_one_standing_wave():
    # independent and Rayleigh distributed: ⟨a⟩²/⟨a²⟩ = (π/2)/2
    assert np.pi / 4 < diagnosis.TOGETHER < np.pi / 4 + 0.01


@pytest.mark.parametrize(("trials", "law"), [(1, np.log(2)), (4, 1.0)])
def test_noise_is_the_median_over_that_of_an_exponential_law(trials, law):
    frequency, position = np.arange(8) / 64, np.arange(3)
    power = xr.DataArray(np.ones((8, 3)), {"frequency": frequency, "wavenumber": position}, ("frequency", "wavenumber"))
    power[:2] = 10.0  # what turns less than twice in the record
    found = _stands_out(
        power, ["frequency", "wavenumber"], SimpleNamespace(values=SimpleNamespace(sizes={"trial": trials}))
    )
    noise = 1 / law
    still, moving = 6 * (10 - noise), 18 * (1 - noise)
    assert found["still_score"] == pytest.approx(still / (noise * np.sqrt(6 / trials)))
    assert found["moving_score"] == pytest.approx(moving / (noise * np.sqrt(18 / trials)), abs=1e-12)
    assert found["static_share"] == pytest.approx(1.0)


def test_what_is_above_no_noise_is_infinitely_above_it():
    floor, part = xr.DataArray(0.0), xr.DataArray([0.0, 2.0], dims="frequency")
    assert _above(floor, part, ["frequency"], 1)[1] == np.inf
    assert _above(floor, 0 * part, ["frequency"], 1)[1] == 0


def test_the_direction_over_trials_is_as_sure_as_their_mean():
    one = xr.Dataset(
        {
            "status": (("estimator", "trial"), np.array([[1, 0], [0, 0], [0, 0]])),
            "direction": (("estimator", "trial"), np.array([[9, 9], [3.1, -3.1], [1, 1.0]])),
            "direction_low": (("estimator", "trial"), np.array([[9, 9], [3.0, -3.3], [1, 1.0]])),
            "direction_high": (("estimator", "trial"), np.array([[9, 9], [3.2, -2.9], [1, 1.0]])),
        },
        {"estimator": ["radon", "delay", "phase gradient"]},
    )
    field = SimpleNamespace(trial=["trial"], values=SimpleNamespace(sizes={"trial": 2}))
    found = _angle(field, one, xr.DataArray(0.0))
    assert abs(found["angle"]) == pytest.approx(np.pi)  # not the mean of 3.1 and −3.1
    half = np.sqrt((0.1**2 + 0.2**2) / 2 / 2)
    assert found["angle_high"] - found["angle"] == pytest.approx(half)
    assert found["angle"] - found["angle_low"] == pytest.approx(half)


@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_waves_that_are_there_at_all_times_overlap_however_weak_one_of_them_is(ratio):
    rec = synthetic.mixed(synthetic.ring(16), 128, ratio=ratio, wavenumber=2 / 16, frequency=8 / 128)
    assert float(_sides_along(Field.of(rec), None, "x")["overlap"]) == pytest.approx(1.0, abs=0.01)

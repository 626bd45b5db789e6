"""Masks of dead sensors on recordings whose coordinate runs downwards, and NaN that no mask covers."""

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import preprocess, synthetic
from analysis.comparison.features import wave_features
from analysis.fields.dead import runs_down
from analysis.phase.signal import analytic_signal
from analysis.velocity.estimators import delay_velocity

PROBE = synthetic.line(12, dx=0.4, units="mm")
DEAD = np.arange(12) == 1  # in the order of the recording, which is not that of the coordinate


def downwards(seed=0):
    """A wave on a probe whose first sensor is the deepest; the sensor at 4 mm, the second, holds strong noise."""
    rec = synthetic.plane(PROBE, 300, wavenumber=0.3, frequency=6, dt=0.01, time_units="s")
    rec = synthetic.with_noise(rec, 5, seed=seed).isel(position=slice(None, None, -1))
    rec["activity"] = rec.activity.copy()
    rec.activity[:, 1] = 20 * np.random.default_rng(seed).standard_normal(300)
    return rec


def labelled(rec):
    return xr.DataArray(DEAD, {"position": rec.position}, ["position"])


MEASURES = {
    "features": lambda rec, mask: wave_features(rec, mask=mask, segment=1.0, events=False).speed,
    "velocity": lambda rec, mask: delay_velocity(rec, mask=mask).speed,
    "spectrum": lambda rec, mask: analysis.wavenumber_frequency_spectrum(rec, mask=mask).power,
    "modes": lambda rec, mask: analysis.travelling_index(rec, mask=mask)["index"],
    "phase": lambda rec, mask: analytic_signal(rec, band=(3, 9), mask=mask).amplitude,
    "diagnosis": lambda rec, mask: analysis.diagnose(rec, mask=mask, draws=9).speed,
    "masked": lambda rec, mask: preprocess.mask_channels(rec, mask).activity.sortby("position"),
    "referenced": lambda rec, mask: preprocess.rereference(rec, mask=mask).activity.sortby("position"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of short records
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("named", [lambda rec: DEAD, labelled])
def test_a_mask_names_the_same_sensor_whichever_way_the_coordinate_runs(measure, named):
    rec = downwards()
    turned = rec.isel(position=slice(None, None, -1))
    found, expected = MEASURES[measure](rec, named(rec)), MEASURES[measure](turned, DEAD[::-1])
    np.testing.assert_array_equal(found.values, expected.values)


def test_positions_may_run_down_and_electrodes_have_no_order():
    down = {dim: xr.DataArray(np.zeros(3), {dim: [2, 1, 0]}, dims=dim) for dim in ("position", "electrode")}
    assert [runs_down(dim, down[dim]) for dim in down] == [True, False]
    up = down["position"].isel(position=slice(None, None, -1))
    assert (runs_down("position", up, down["position"]), runs_down("position", xr.DataArray(0.0))) == (False, False)


def test_a_labelled_mask_goes_by_its_own_coordinates():
    rec = downwards()
    masked = preprocess.mask_channels(rec, labelled(rec).isel(position=slice(None, None, -1)))
    assert np.flatnonzero(masked.activity.isnull().all("time")).tolist() == [1]


def test_a_nan_beside_the_mask_is_refused_and_not_taken_for_zero():
    rec = downwards()
    rec.activity[:, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        wave_features(rec, mask=DEAD, events=False)
    with pytest.raises(ValueError, match="NaN"):
        analysis.compare(downwards(1).isel(position=slice(2, None)), rec, mask=DEAD, events=False, similarity=False)


# Electrodes that are cut off: one value all the time, or nothing but NaN ------------------------------------------

LAYOUTS = {
    "line": (synthetic.line(16, dx=0.4, units="mm"), 0.3),
    "grid": (synthetic.sheet((5, 5), dx=0.4, units="mm"), (0.3, 0.3)),
    "electrodes": (synthetic.electrodes(*np.random.default_rng(0).uniform(0, 4, (2, 20)), units="mm"), (0.2, 0.15)),
}
ESTIMATORS = ("radon", "delay", "phase_gradient", "ridge", "optical_flow")


def with_dead(where, value, number=5):
    """A plane wave in weak noise with one sensor that keeps `value`, the same without, and its mask."""
    layout, k = LAYOUTS[where]
    rec = synthetic.plane(layout, 160, wavenumber=k, frequency=8.0, dt=0.005, time_units="s")
    rec = synthetic.with_noise(rec, 10.0, seed=1)
    values = rec.activity.values.reshape(160, -1).copy()
    values[:, number] = value
    cut = rec.assign(activity=rec.activity.copy(data=values.reshape(rec.activity.shape)))
    return cut, np.arange(values.shape[1]).reshape(rec.activity.shape[1:]) == number


@pytest.mark.parametrize(
    ("where", "value"),
    [("line", 0.0), ("line", 1e9), ("grid", 7.0), ("electrodes", 0.0), ("electrodes", 1e9)],
)
def test_a_dead_electrode_is_named_and_does_not_decide_the_verdict(where, value):
    rec, dead = with_dead(where, value)
    found, named = analysis.diagnose(rec, draws=39), analysis.diagnose(rec, draws=39, mask=dead)
    assert found.verdict.item().startswith("travelling")
    warning = next(text for text in found.attrs["warnings"].split("\n") if "taken as dead" in text)
    assert f"1 of {dead.size} sensors" in warning
    assert "(number 5" in warning
    xr.testing.assert_equal(found, named)


@pytest.mark.parametrize(("where", "value"), [("line", 7.0), ("grid", 1e9), ("electrodes", 7.0)])
@pytest.mark.filterwarnings("ignore::analysis.velocity.result.DoubtfulEstimate")
def test_estimators_leave_dead_electrodes_out(where, value):
    rec, dead = with_dead(where, value)
    for name in ESTIMATORS[: {"line": 4, "grid": 5, "electrodes": 3}[where]]:
        estimate = getattr(analysis, f"{name}_velocity")
        with pytest.warns(UserWarning, match=r"\(number 5.* taken as dead and left out"):
            found = estimate(rec, band=(5, 11))
        if name != "optical_flow":  # which is slow, and reads its sensors as the others do
            xr.testing.assert_equal(found, estimate(rec, band=(5, 11), mask=dead))


def test_dead_electrodes_are_numbered_as_the_recording_has_them():
    rec = with_dead("line", 7.0)[0].isel(position=slice(None, None, -1))
    with pytest.warns(UserWarning, match=r"1 of 16 sensors never change \(number 10\)"):
        delay_velocity(rec)


def test_electrodes_that_fail_in_one_trial_are_dead_and_lazy_ones_are_found():
    rec = with_dead("electrodes", 7.0)[0]
    whole = synthetic.with_noise(rec, 10.0, seed=2)
    both = xr.concat([whole.activity, rec.activity], "trial").to_dataset().assign_attrs(rec.attrs)
    for given in (both, both.chunk({"time": 64})):
        with pytest.warns(UserWarning, match=r"1 of 20 sensors never change \(number 5\)"):
            assert delay_velocity(given).sizes == {"trial": 2, "electrode": 20}


def test_a_field_that_stands_still_is_not_dead():
    values = np.repeat(np.random.default_rng(0).standard_normal((1, 32)), 160, axis=0)
    rec = xr.DataArray(values, dims=("time", "position"), coords=with_dead("line", 0.0)[0].time.coords)
    rec = rec.assign_coords(position=("position", np.arange(32.0), {"units": "mm"}))
    assert analysis.diagnose(rec, draws=19).verdict.item() == "static"
    rec = rec.copy(data=np.where(np.arange(32) < 20, values, np.random.default_rng(1).standard_normal((160, 32))))
    assert "taken as dead" not in analysis.diagnose(rec, draws=19).attrs["warnings"]


def test_units_of_a_model_may_stand_still():
    rec = with_dead("line", 7.0)[0].assign_attrs(source_kind="direct")
    warnings = analysis.diagnose(rec, draws=19).attrs["warnings"]
    assert "1 of 16 sensors never change (number 5), which counts as a static pattern" in warnings
    assert np.isfinite(delay_velocity(rec).speed)
    fixed = with_dead("line", 0.0, number=0)[0].assign_attrs(boundary="fixed")
    assert "never change" not in analysis.diagnose(fixed, draws=19).attrs["warnings"]

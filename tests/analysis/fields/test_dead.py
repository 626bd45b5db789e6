"""Masks of dead sensors on recordings whose coordinate runs downwards, and NaN that no mask covers."""

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import preprocess, synthetic
from analysis.comparison.features import wave_features
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

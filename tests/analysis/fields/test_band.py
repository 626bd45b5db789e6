import numpy as np
import pytest

import analysis
from analysis import synthetic
from analysis.fields.axes import Axis
from analysis.fields.band import check_band, in_band

TIME = Axis("time", 0.0, 0.01, 500, "s")  # Nyquist 50 Hz


@pytest.mark.parametrize("band", [(-1, 5), (5, 5), (9, 2), (1, 51), (np.nan, 3)])
@pytest.mark.parametrize("filtered", [False, True])
def test_bands_out_of_order_or_of_reach_are_refused(band, filtered):
    with pytest.raises(ValueError, match=r"frequencies is .*50 Hz \(half the sampling rate\) is needed"):
        check_band(band, TIME, name="frequencies", filtered=filtered)


@pytest.mark.parametrize("band", [(0, 5), (5, 50)])
def test_a_selection_may_reach_the_ends_and_a_filter_may_not(band):
    assert check_band(band, TIME) == band
    with pytest.raises(ValueError, match="0 < lowest"):
        check_band(band, TIME, filtered=True)


def test_a_band_includes_its_edges_and_no_band_everything():
    frequency = np.arange(6.0)
    assert in_band(frequency, (1.0, 3.0)).tolist() == [False, True, True, True, False, False]
    assert in_band(frequency, None).all()


def test_every_measure_of_a_band_refuses_the_same_one():
    rec = synthetic.white_noise(synthetic.line(12), 400, seed=0)
    calls = (
        lambda band: analysis.radon_velocity(rec, band=band),
        lambda band: analysis.analytic_signal(rec, band=band),
        lambda band: analysis.wave_events(rec, band=band, seed=0),
        lambda band: analysis.wave_features(rec, frequencies=band),
    )
    for call in calls:
        with pytest.raises(ValueError, match="half the sampling rate"):
            call((0.2, 0.7))

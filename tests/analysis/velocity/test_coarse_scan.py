"""Where the coarse scan looks, and what it counts."""

import numpy as np
import pytest

from analysis import synthetic
from analysis.fields.field import Field
from analysis.velocity import coarse_scan
from analysis.velocity.coarse_scan import scan


def a_wave(wavenumber, frequency=0.1):
    rec = synthetic.plane(synthetic.line(8), 400, wavenumber=wavenumber, frequency=frequency)
    return rec.activity.values, 1.0, Field.of(rec).space.sensors()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("slowest", "status"), [(0.8, "ok"), (1.05, "aliased")])
def test_what_is_strongest_at_an_end_of_the_search_may_lie_beyond_it(sign, slowest, status):
    assert scan(*a_wave(0.1 * sign), slowest=slowest).status == status  # one spacing in a step


def test_pairs_of_different_sensors_count_and_no_sensor_with_itself(monkeypatch):
    seen = []
    monkeypatch.setattr(coarse_scan, "_rivals", lambda slices: seen.append(slices) or 0)
    values, dt, where = a_wave(0.1)
    found = scan(values, dt, where)
    _, spectrum, weight = coarse_scan._coherent_bins(values, dt, where, None)
    own = np.sum(weight[:, None] * np.abs(spectrum) ** 2)
    assert found.slowness == pytest.approx(1.0, abs=0.1)
    assert seen[0].max() == pytest.approx((8 - 1) * own, rel=0.05)  # eight sensors, each with seven others


def test_the_mean_frequency_is_that_of_what_is_coherent_however_strong():
    weak, strong = (synthetic.plane(synthetic.line(8), 400, wavenumber=f, frequency=f) for f in (0.05, 0.2))
    where = Field.of(weak).space.sensors()
    values = weak.activity.values + 3 * strong.activity.values
    assert scan(values, 1.0, where).frequency == pytest.approx((0.05 + 0.2) / 2, abs=0.005)


@pytest.mark.parametrize(("band", "slowness"), [((0.03, 0.07), 2.0), ((0.15, 0.25), -1.0)])
def test_only_what_lies_in_the_band_is_looked_at(band, slowness):
    slow, fast = (
        synthetic.plane(synthetic.line(8), 400, wavenumber=k, frequency=f) for k, f in ((0.1, 0.05), (-0.2, 0.2))
    )
    values = slow.activity.values + fast.activity.values
    found = scan(values, 1.0, Field.of(slow).space.sensors(), band=band, slowest=0.4)
    assert found.slowness == pytest.approx(slowness, abs=0.2)


def test_in_a_plane_so_many_slownesses_are_told_apart_as_there_are_pairs_of_those_along_either_side():
    rec = synthetic.plane(synthetic.sheet((6, 6)), 400, wavenumber=(0.1, 0.05), frequency=0.1)
    found = scan(rec.activity.values.reshape(400, -1), 1.0, Field.of(rec).space.sensors())
    assert 5**2 <= found.trials <= 6**2  # −½ to ½ of a cycle a spacing in steps of a cycle per extent

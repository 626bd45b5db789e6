"""Units against the SI, bands and masks on their edges, second derivatives of current sources."""

import numpy as np
import pytest
import xarray as xr

from analysis.fields.axes import Axis, common_units, even_axis
from analysis.fields.band import check_band, in_band
from analysis.fields.dead import fill_weights
from analysis.fields.units import inverse_units, netcdf_attrs, speed_units
from analysis.readers.units import KEPT, activity_units, length_factor, voltage_factor

SI = {"": 1.0, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9}
WORDS = {"": "", "c": "centi", "m": "milli", "u": "micro", "n": "nano"}


@pytest.mark.parametrize("prefix", ["", "m", "u", "n"])
def test_voltages_become_microvolts_by_their_prefix(prefix):
    for spelled in (f"{prefix}V", f"{prefix}v", f"{WORDS[prefix]}volt", f"{WORDS[prefix]}Volts", f" {prefix}V "):
        assert voltage_factor(spelled) == pytest.approx(SI[prefix] / SI["u"], rel=1e-12), spelled
        assert activity_units(spelled, None, "here") == (pytest.approx(SI[prefix] / SI["u"]), "uV")


@pytest.mark.parametrize("prefix", ["", "c", "m", "u"])
def test_lengths_become_millimetres_by_their_prefix(prefix):
    word = WORDS[prefix]
    spellings = [f"{prefix}m", f"{word}meter", f"{word}meters"] + (
        [f"{word}metre", f"{word}metres"] if prefix in "m" else []
    )
    for spelled in spellings:
        assert length_factor(spelled, "here") == pytest.approx(SI[prefix] / SI["m"], rel=1e-12), spelled


def test_both_signs_for_micro_are_micro():
    assert voltage_factor("\N{MICRO SIGN}V") == voltage_factor("\N{GREEK SMALL LETTER MU}V") == 1.0
    assert length_factor("microns", "here") == length_factor("\N{MICRO SIGN}m", "here") == pytest.approx(1e-3)


def test_what_is_no_voltage_stays_or_is_asked_for():
    assert KEPT == ("T", "T m-1")
    for unit in KEPT:
        assert activity_units(unit, None, "here") == (1.0, unit)
    assert activity_units("a.u.", "1", "here") == (1.0, "1")
    assert activity_units("mV", "V", "here") == (1e6, "uV")  # the caller counts more
    assert voltage_factor("pV") is None
    with pytest.raises(ValueError, match="not a unit of voltage"):
        activity_units("furlong", None, "here")
    with pytest.raises(ValueError, match="positions in 'V'"):
        length_factor("V", "here")


def test_units_of_what_is_derived():
    assert [inverse_units(unit) for unit in ("s", "ms", "1", "mm")] == ["Hz", "kHz", "1", "mm-1"]
    assert speed_units("mm", "s") == "mm s-1"
    assert (speed_units("1", "s"), speed_units("mm", "1"), speed_units("1", "1")) == ("s-1", "mm", "1")


def test_attributes_are_what_a_file_holds():
    held = netcdf_attrs(a=None, b=True, c=np.float32(2.0), d=(1, 2), e=("x", "y"), f=(1, "x"), g=len, h=np.bool_(False))
    assert held == {
        "a": "none",
        "b": "true",
        "c": 2.0,
        "d": [1, 2],
        "e": ["x", "y"],
        "f": "(1, 'x')",
        "g": "len",
        "h": "false",
    }


def test_bands_hold_their_edges():
    np.testing.assert_array_equal(in_band(np.array([0.9, 1, 1.5, 2, 2.1]), (1, 2)), [False, True, True, True, False])
    assert in_band(np.zeros(3), None).all()
    time = Axis("time", 0.0, 0.1, 50, "s")
    assert time.nyquist == pytest.approx(5)
    assert check_band((0, 5), time) == (0, 5)
    for band in ((0, 4), (1, 5), (2, 2), (3, 2), (-1, 2), (1, 5.1)):
        with pytest.raises(ValueError, match="is needed"):
            check_band(band, time, filtered=True)
    assert check_band((0.1, 4.9), time, filtered=True) == (0.1, 4.9)


def test_dead_positions_are_filled_straight_flat_and_round_the_seam():
    line = fill_weights(np.array([True, False, True, True, False, True]), (False,))
    # beyond the ends a constant, in the gap 2/3 and 1/3
    np.testing.assert_allclose(line, [[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]])
    ring = fill_weights(np.array([True, False, False, True]), (True,))
    np.testing.assert_allclose(ring, [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    sheet = np.zeros((3, 3), dtype=bool)
    sheet[1, 1] = True
    np.testing.assert_allclose(fill_weights(sheet, (False, False)), [[0, 0.25, 0, 0.25, 0.25, 0, 0.25, 0]])


@pytest.mark.parametrize("times", [[0.0, 1.0, 1.0, 2.0], [0.0, 2.0, 1.0, 3.0]])
def test_a_coordinate_that_repeats_or_turns_back_is_no_axis(times):
    labels = xr.DataArray(np.zeros(4), {"time": ("time", times, {"units": "s"})}, ["time"])
    with pytest.raises(ValueError, match="must increase: it repeats or runs backwards"):
        even_axis(labels, "time")


def test_distances_need_one_unit():
    labels = xr.DataArray(np.zeros((2, 2)), {"y": ("y", [0, 1], {"units": "m"}), "x": ("x", [0, 1])}, ["y", "x"])
    with pytest.raises(ValueError, match="y and x have different units"):
        common_units(labels, ["y", "x"])
    assert common_units(labels, ["y"]) == "m"


def test_an_axis_counts_from_its_start_in_steps():
    labels = xr.DataArray(np.zeros(3), {"x": ("x", [2.0, 2.5, 3.0], {"units": "mm"})}, ["x"])
    assert even_axis(labels, "x").values.tolist() == [2.0, 2.5, 3.0]
    assert even_axis(labels[:2], "x").step == 0.5
    alone = even_axis(labels[1:2], "x", minimum=1)
    assert (alone.start, alone.step, alone.size) == (2.5, 1.0, 1)

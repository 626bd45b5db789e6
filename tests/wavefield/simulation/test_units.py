"""Units go with a field: given once, they stand in the recording, its continuation and the events read from it."""

import numpy as np
import pytest
import xarray as xr

import wavefield as wf

OPERATOR = wf.wave(0.18, dx=0.1, dt=0.5)  # 0.18 mm/ms: Courant number 0.9
UNITS = {"time": "ms", "position": "mm", "activity": "mV", "drive": "nA"}


def test_times_are_read_in_the_units_of_dt():
    drive = wf.spikes([[(7.5, 1.0), (20.0, 2.0)]], steps=80, dt=0.5, units="ms")
    rec = wf.simulate(OPERATOR, drive, size=160, units={"position": "mm"})
    assert (rec.time.attrs["units"], rec.step.attrs["units"], rec.position.attrs["units"]) == ("ms", "ms", "mm")
    assert (rec.attrs["dt"], rec.attrs["dx"], float(rec.time[-1])) == (0.5, 0.1, 40.0)
    events = wf.decode(rec)
    assert events.onset.values.tolist() == [15, 40]
    assert events.time.values.tolist() == [7.5, 20.0]
    assert events.time.attrs["units"] == "ms"


def test_times_in_single_precision_are_those_of_their_steps():
    drive = wf.spikes([[(float(np.float32(2000.1)), 1.0)]], steps=30000, dt=0.1)  # 20000.9998 steps
    assert np.flatnonzero(drive.values).tolist() == [20001]


def test_a_wave_of_millimetres_per_millisecond_arrives_when_it_should():
    op = wf.transport(0.2, dx=0.1, dt=0.5, boundary="absorbing")
    rec = wf.simulate(op, wf.spikes([[(3.0, 1.0)]], steps=60, dt=0.5, units="ms"), size=100, units={"position": "mm"})
    at_4_mm = rec.activity.sel(position=4.0, method="nearest")[:, 0]
    # the input of the step that begins at 3 ms has arrived at its end, 3.5 ms
    assert float(rec.time[np.argmax(at_4_mm.values)]) == pytest.approx(3.5 + 4.0 / 0.2)


@pytest.mark.parametrize("how", ["memory", "file", "jump"])
def test_every_run_carries_them(how, tmp_path):
    path = tmp_path / "field.nc" if how == "file" else None
    options = {"save_every": None, "method": "jump"} if how == "jump" else {}
    with wf.simulate(OPERATOR, np.ones((9, 1)), size=32, units=UNITS, path=path, **options) as rec:
        wf.validate_recording(rec)
        found = {
            name: rec[name].attrs["units"] for name in ("time", "step", "position", "activity", "previous", "drive")
        }
    assert found == {"time": "ms", "step": "ms", "position": "mm", "activity": "mV", "previous": "mV", "drive": "nA"}


def test_a_field_without_inputs_has_no_unit_of_them():
    rec = wf.simulate(OPERATOR, initial=np.ones((1, 32)), steps=3, units=UNITS)
    assert "drive" not in rec
    assert rec.activity.attrs["units"] == "mV"


def test_profiles_of_a_medium_have_the_units_of_their_rates():
    op = wf.wave(0.18, dx=0.1, dt=0.5, damping_profile=np.full(32, 0.1), restoring_profile=np.full(32, 0.1))
    rec = wf.simulate(op, np.ones((9, 1)), units=UNITS)
    assert rec.damping_profile.attrs["units"] == "ms-1"
    assert rec.restoring_profile.attrs["units"] == "ms-2"


def test_a_continued_field_keeps_them_and_does_not_change_them():
    begun = wf.simulate(OPERATOR, np.ones((9, 1)), size=32, units=UNITS)
    on = wf.simulate(OPERATOR, np.ones((5, 1)), initial=begun)
    assert (on.time.attrs["units"], on.activity.attrs["units"]) == ("ms", "mV")
    assert on.time.values.tolist() == [5.0, 5.5, 6.0, 6.5, 7.0]
    with pytest.raises(ValueError, match=r"units of time are 's', but initial: the recording .* has 'ms'"):
        wf.simulate(OPERATOR, np.ones((5, 1)), initial=begun, units={"time": "s"})
    back = wf.reverse(on)
    assert back.time.attrs["units"] == "ms"
    assert back.time.values.tolist() == [4.5]


def test_whole_steps_of_a_unit_of_time_are_times_not_numbers():
    rec = wf.simulate(wf.transport(1.0), np.ones((3, 1)), size=8, units={"time": "s"})
    assert rec.time.dtype.kind == "f"
    assert wf.simulate(wf.transport(1.0), np.ones((3, 1)), size=8).time.dtype.kind == "i"


@pytest.mark.parametrize(
    ("units", "error", "text"),
    [
        ("ms", TypeError, "units must be a mapping, such as .* got 'ms'"),
        ({"times": "ms"}, ValueError, "units names 'times'; accepted are time, position, activity, drive"),
        ({"time": 3}, TypeError, "units must be text, such as 'ms', got 3"),
    ],
)
def test_what_are_no_units_is_refused(units, error, text):
    with pytest.raises(error, match=text):
        wf.simulate(OPERATOR, np.ones((3, 1)), size=8, units=units)


def test_a_drive_whose_steps_are_of_another_length_is_refused():
    drive = wf.spikes([[(1.0, 1.0)]], steps=4, dt=1.0, units="ms")
    with pytest.raises(ValueError, match=r"drive: its steps are 1 ms apart, those of the operator dt = 0\.5"):
        wf.simulate(OPERATOR, drive, size=8)
    seconds = wf.spikes([[(0.001, 1.0)]], steps=4, dt=1e-3, units="s")
    with pytest.raises(ValueError, match=r"its steps are 0\.001 s apart, those of the operator dt = 0\.0005"):
        wf.simulate(wf.transport(200, dx=0.1, dt=5e-4), seconds, size=8)
    series = xr.DataArray(np.ones(4), {"time": ("time", np.arange(4) * 0.5, {"units": "ms"})}, ("time",))
    assert wf.simulate(OPERATOR, series, size=8).time.attrs["units"] == "ms"


@pytest.mark.parametrize(
    ("trains", "options", "text"),
    [
        ([[(1.3, 1.0)]], {"dt": 0.5}, r"onset must be a multiple of dt = 0\.5, when a step begins, got 1\.3"),
        ([[("1", 1.0)]], {"dt": 0.5}, "the onset must be a time, got '1'"),
        ([[(2.0, 1.0)]], {"dt": 0.5}, "onset 4 is outside"),
        ([[(1, 1.0)]], {"units": "ms"}, "units='ms' needs dt"),
    ],
)
def test_onsets_that_no_step_has_are_refused(trains, options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        wf.spikes(trains, 4, **options)

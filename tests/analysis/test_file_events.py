"""What travels along with the samples of a file, and what readers and `diagnose` say of nonsense."""

import h5py
import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import diagnose, drive_events, preprocess, readers, synthetic

PLACES = np.column_stack([np.arange(1, 7) * 0.4, np.zeros(6)])
LINE = synthetic.plane(
    synthetic.line(8, dx=0.4, units="mm"), 64, wavenumber=0.3, frequency=5.0, dt=0.01, time_units="s"
)


@pytest.mark.parametrize("lazily", [True, False])
def test_annotations_become_events_that_cut_epochs(tmp_path, lazily):
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(
        1e-5 * np.random.default_rng(0).standard_normal((6, 1600)),
        mne.create_info([f"E{n}" for n in range(6)], 200.0, "ecog"),
        verbose="error",
    )
    raw.set_annotations(mne.Annotations([1.0, 3.0, 5.0, 7.0], [0.1, 0.2, 0, 0], ["on the left", "BAD_cough", "b", "b"]))
    path = tmp_path / "session_raw.fif"
    raw.save(path, verbose="error")
    choices = {"positions": PLACES, "position_units": "mm"}
    if lazily:
        rec = readers.read_mne(path, **choices)
    else:
        rec = wf.open_recording(readers.import_recording(path, tmp_path / "session.nc", **choices))
    events = drive_events(rec)
    np.testing.assert_allclose(events.onset, [1.0, 5.0, 7.0])
    np.testing.assert_allclose(events.duration, [0.1, 0, 0], atol=1e-6)
    assert events.onset.attrs["units"] == "s"
    kinds = events.input.attrs["flag_meanings"].split()
    assert [kinds[n] for n in events.input.values] == ["on_the_left", "b", "b"]
    cut = preprocess.epochs(rec, events.onset, before=0.1, after=0.2, labels=events.input)
    assert cut.sizes["trial"] == 3
    assert "event" not in cut.dims
    rec.close()


def test_events_outside_the_part_that_was_asked_for_stay_there(tmp_path):
    mne = pytest.importorskip("mne")
    info = mne.create_info([f"E{n}" for n in range(6)], 100.0, "ecog")
    raw = mne.io.RawArray(1e-5 * np.random.default_rng(0).standard_normal((6, 400)), info, verbose="error")
    raw.set_annotations(mne.Annotations([0.5, 2.5], [0, 0], ["a", "c"]))
    raw.save(tmp_path / "x_raw.fif", verbose="error")
    rec = readers.read_mne(tmp_path / "x_raw.fif", positions=PLACES, position_units="mm", start=2.0)
    np.testing.assert_allclose(drive_events(rec).onset, [2.5])
    with pytest.raises(ValueError, match="events of a file"):
        drive_events(rec.drop_dims("event"))


def test_spikes_of_hdf5_files_become_rates(tmp_path):
    path, places = tmp_path / "array.h5", [[0.0], [0.2], [0.4]]
    with h5py.File(path, "w") as file:
        file["spikes/times"] = np.array([5000, 6000, 7000, 9000])
        file["spikes/channels"] = np.array([0, 1, 2, 1])
        for number, at in enumerate(([500_000], [600_000, 900_000], [700_000])):
            file[f"stamps/Entity_{number}"] = np.array([at])
        file["stamps/Info"] = np.zeros((2, 2))
    options = {"rate": 100, "width": 0.02, "positions": places, "start": 0, "stop": 1}
    found = readers.read_hdf5_spikes(path, times="spikes/times", channels="spikes/channels", tick=1e-4, **options)
    same = readers.read_hdf5_spikes(path, times="stamps", tick=1e-6, **options)
    direct = readers.spike_rates([[0.5], [0.6, 0.9], [0.7]], **options)
    for rec in (found, same):
        np.testing.assert_allclose(rec.activity, direct.activity)
        assert rec.activity.attrs["units"] == "Hz"
    assert float(found.activity.sel(position=0.2).sum() / 100) == pytest.approx(2.0, rel=1e-6)
    with pytest.raises(ValueError, match="has no 'nothing'"):
        readers.read_hdf5_spikes(path, times="nothing", **options)
    with pytest.raises(ValueError, match="channels=…"):
        readers.read_hdf5_spikes(path, times="spikes/times", **options)
    with pytest.raises(ValueError, match="counted from 0"):
        readers.read_hdf5_spikes(
            path, times="spikes/times", channels="spikes/channels", **{**options, "positions": places[:2]}
        )


def test_readers_say_what_cannot_be_told_or_measured(tmp_path):
    path, values = tmp_path / "a.npz", np.random.default_rng(0).standard_normal((6, 6))
    plane = np.random.default_rng(1).uniform(0, 2, (6, 2))
    np.savez(path, lfp=values, places=plane)
    options = {"series": "lfp", "rate": 100.0, "positions": "places", "position_units": "mm", "units": "uV"}
    with pytest.warns(UserWarning, match="either axis may be space"):
        readers.read_arrays(path, **options)
    plane[4] = plane[1]
    np.savez(path, lfp=np.tile(values, (3, 1)), places=plane)
    with pytest.warns(UserWarning, match="share a position .number 1 and 4"):
        readers.read_arrays(path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": 5}, "band is 5: two frequencies"),
        ({"band": "alpha"}, "band is 'alpha': two frequencies"),
        ({"band": (8, 2)}, "lowest < highest"),
        ({"draws": 0}, "draws is 0"),
        ({"draws": 2.5}, "draws is 2.5"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": 2}, "alpha is 2"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        diagnose(LINE, **options)


def test_values_without_sense_are_named():
    with pytest.raises(ValueError, match="leave the range of float64"):
        diagnose(LINE.assign(activity=1e300 * LINE.activity))
    flat = LINE.copy(deep=True)
    flat.activity[:, 3] = 7.0
    assert "1 of 8 sensors never change (number 3)" in diagnose(flat, draws=19).attrs["warnings"]
    turned = xr.DataArray(LINE.activity.values.T, dims=("time", "position"))
    assert "if its axes are the other way round" in diagnose(turned, draws=19).attrs["warnings"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spikes": "0.5 0.6"}, "spikes is '0.5 0.6' .str.: a sequence with the spike times of each unit"),
        ({"spikes": ["a", "b", "c"]}, r"spikes\[0\] is 'a' .str.: a sequence"),
        ({"spikes": [[0.1], ["0.2"], [0.3]]}, r"spikes\[1\] is \['0.2'\]"),
        ({"spikes": [0.1, 0.2, 0.3]}, r"spikes\[0\] is 0.1 .float."),
        ({"spikes": [[0.1, [0.2]], [0.2], [0.3]]}, r"spikes\[0\] is \[0.1, \[0.2\]\]"),
        ({"spikes": None}, "spikes is None"),
        ({"spikes": [[], [], []]}, "spikes holds no spike, in 3 units"),
        ({"spikes": [[0.1], [np.nan], [0.3]]}, r"spikes\[1\] holds NaN or infinite times"),
        ({"width": -0.1}, "width must be a finite positive number, got -0.1"),
        ({"width": "wide"}, "width must be a positive number, got 'wide'"),
        ({"rate": np.nan}, "rate must be a finite positive number, got nan"),
        ({"start": 2, "stop": 1}, "start=2, stop=1 leaves no sample at 100 Hz; the spikes lie from 0.1 to 0.3 s"),
        ({"start": 100, "stop": 300}, "leaves no spike; the spikes lie from 0.1 to 0.3 s: are both in seconds"),
        ({"start": "now"}, "start is 'now'"),
        ({"stop": 1e12}, "are they in seconds"),
        ({"positions": [0.0, 0.4]}, r"3 units, but positions has shape \(2, 1\)"),
        ({"positions": ["left", "middle", "right"]}, "positions hold something that is not a number"),
    ],
)
def test_spikes_that_make_no_sense_are_named(change, message):
    options = {"spikes": [[0.1], [0.2], [0.3]], "rate": 100, "width": 0.02, "positions": [0.0, 0.4, 0.8]} | change
    with pytest.raises((ValueError, TypeError), match=message):
        readers.spike_rates(options.pop("spikes"), **options)


def test_spikes_need_no_order_and_units_a_place():
    options = {"rate": 100, "width": 0.02, "start": 0, "stop": 1}
    found = readers.spike_rates([[0.7, 0.2, 0.5], [], [0.3]], positions=[0.0, 0.4, 0.8], **options)
    same = readers.spike_rates([[0.2, 0.5, 0.7], [], [0.3]], positions=[0.0, 0.4, 0.8], **options)
    np.testing.assert_array_equal(found.activity, same.activity)
    with pytest.warns(UserWarning, match="1 of 3 electrodes have no place and are left out: unit 1"):
        left = readers.spike_rates([[0.2], [0.5], [0.3]], positions=[0.0, np.nan, 0.8], **options)
    assert left.activity.argmax("time").values.tolist() == [20, 30]


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_files_of_spikes_that_are_none_are_named(content, tmp_path):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    path, options = tmp_path / "a.nwb", {"rate": 100, "width": 0.02}
    if content is None:  # cut off
        with h5py.File(path, "w") as file:
            file["times"] = np.arange(5000.0)
        content = path.read_bytes()[:3000]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nwb is .*damaged or cut off"):
        readers.read_nwb_units(path, **options)
    with pytest.raises(ValueError, match=r"a\.nwb is .*damaged or cut off"):
        readers.read_hdf5_spikes(path, times="times", positions=[0.0, 0.4], **options)
    with h5py.File(path, "w") as file:
        file["times"] = np.arange(5.0)
    with pytest.raises(ValueError, match=r"a\.nwb is not an NWB file, or is damaged"):
        readers.read_nwb_units(path, **options)

"""What travels along with the samples of a file, and what readers and `diagnose` say of nonsense."""

from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from analysis import diagnose, drive_events, preprocess, readers, synthetic
from analysis.readers import vendor

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


@pytest.mark.parametrize(
    ("window", "times"), [({}, (0.2, 0.7)), ({"start": 0.1}, (0.1, 0.7)), ({"stop": 0.6}, (0.2, 0.59))]
)
def test_rates_last_from_the_first_spike_to_the_last_unless_told(window, times):
    rec = readers.spike_rates([[0.7, 0.2], [0.5]], rate=100, width=0.02, positions=[0.0, 0.4], **window)
    assert rec.time.values[[0, -1]] == pytest.approx(times)


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


# Events of NWB and Neo files: an impulse in the samples says which sample each event belongs to ----------------------

RATE, SAMPLES, AT = 250.0, 400, (50, 200, 301)  # Hz; samples with an impulse


def impulses(first=0):
    values = np.random.default_rng(0).standard_normal((SAMPLES, 6))
    values[np.array(AT) - first] += 1000
    return values


def nwb_with(tmp_path, fill, start=100.0, **times):
    """An NWB file of six electrodes on a line, in uV; `fill` adds what it says of its time."""
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    content = pynwb.NWBFile(
        session_description="test", identifier="test", session_start_time=datetime(2020, 1, 1, tzinfo=UTC)
    )
    group = content.create_electrode_group(
        name="g", description="g", location="V1", device=content.create_device(name="array")
    )
    for x in PLACES[:, 0]:
        content.add_electrode(group=group, location="V1", rel_x=1e3 * x, rel_y=0.0)
    region = content.create_electrode_table_region(list(range(6)), "all")
    times = times or {"rate": RATE, "starting_time": start}
    options = {"name": "lfp", "data": impulses(), "electrodes": region, "conversion": 1e-6, **times}
    content.add_acquisition(pynwb.ecephys.ElectricalSeries(**options))
    fill(pynwb, content)
    with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as io:
        io.write(content)
    return tmp_path / "a.nwb"


def check_impulses(rec, labels):
    """Every event that has an impulse lies on its sample, and epochs have it at time 0."""
    events = drive_events(rec)
    kinds = events.input.attrs["flag_meanings"].split()
    assert [kinds[n] for n in events.input.values] == labels
    cut = preprocess.epochs(rec, events.onset, before=0.02, after=0.02, labels=events.input)
    assert cut.activity.mean(cut.activity.dims[-1]).argmax("time").values.tolist() == [5] * len(labels)
    np.testing.assert_allclose(cut.time[5], 0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:AnnotationSeries is deprecated")
@pytest.mark.parametrize("how", ["trials", "epochs", "stimuli", "notes", "events table"])
@pytest.mark.parametrize("start", [0.0, 100.0])
def test_events_of_nwb_lie_on_their_samples(how, start, tmp_path):
    onset = [start + at / RATE for at in AT]

    def fill(pynwb, content):
        if how == "notes":
            content.add_stimulus(
                pynwb.misc.AnnotationSeries(name="seen", data=["left", "right", "left"], timestamps=onset)
            )
            return
        if how == "events table":
            event = pytest.importorskip("pynwb.event", reason="tables of events need a newer pynwb")
            table = event.EventsTable(name="licks", description="of a spout")
            for time in onset:
                table.add_event(timestamp=time, annotation="lick")
            content.add_events_table(table)
            return
        if how == "stimuli":
            content.add_time_intervals(pynwb.epoch.TimeIntervals(name="stimuli", description="gratings"))
        for time in onset:
            if how == "trials":
                content.add_trial(start_time=time, stop_time=time + 0.05)
            elif how == "epochs":
                content.add_epoch(start_time=time, stop_time=time + 0.05, tags=["go", "left side"])
            else:
                content.intervals["stimuli"].add_interval(start_time=time, stop_time=time + 0.05)

    labels = {"trials": ["trial"] * 3, "epochs": ["go,_left_side"] * 3, "stimuli": ["stimuli"] * 3}
    labels |= {"notes": ["left", "right", "left"], "events table": ["lick"] * 3}
    path = nwb_with(tmp_path, fill, start)
    with readers.read_nwb(path) as rec:
        np.testing.assert_allclose(rec.time[0], start)
        length = 0.05 if how in ("trials", "epochs", "stimuli") else 0.0
        np.testing.assert_allclose(drive_events(rec).duration, length, atol=1e-9)
        check_impulses(rec, labels[how])
    stored = readers.import_recording(path, tmp_path / "a.nc", start=start + 0.5)
    with wf.open_recording(stored) as rec:
        check_impulses(rec, labels[how][1:])


def bad_in(content, pynwb, how, start, stop):
    if how == "invalid times":
        content.add_invalid_time_interval(start_time=start, stop_time=stop)
    elif how == "a table":
        content.add_time_intervals(pynwb.epoch.TimeIntervals(name="bad_spans", description="movement"))
        content.intervals["bad_spans"].add_interval(start_time=start, stop_time=stop)
    else:
        content.add_epoch(start_time=start, stop_time=stop, tags=["BAD_movement"])


@pytest.mark.parametrize("how", ["invalid times", "a table", "tags"])
@pytest.mark.parametrize("stamps", [False, True])
def test_bad_spans_of_nwb_are_nan_to_the_sample(how, stamps, tmp_path):
    start = 100.0
    times = {"timestamps": start + np.arange(SAMPLES) / RATE} if stamps else {}
    path = nwb_with(tmp_path, lambda p, c: bad_in(c, p, how, start + 0.4, start + 0.48), start, **times)
    for first in (None, start + 0.2):
        with readers.read_nwb(path, start=first) as rec:
            missing = np.isnan(rec.activity).all("position")
            wanted = (rec.time > start + 0.4 - 1e-6) & (rec.time < start + 0.48 - 1e-6)
            np.testing.assert_array_equal(missing, wanted)
            assert missing.sum() == 20
            assert "1 spans marked as bad set to NaN: 100.4 to 100.48 s" in rec.attrs["history"]
            assert "event_onset" not in rec


def test_bad_spans_of_nwb_without_an_end_go_on_to_the_last_sample(tmp_path):
    path = nwb_with(tmp_path, lambda p, c: bad_in(c, p, "invalid times", 101.4, np.nan))
    with readers.read_nwb(path) as rec:
        assert np.flatnonzero(np.isnan(rec.activity.values).all(axis=1)).tolist() == list(range(350, SAMPLES))


def test_milliseconds_become_seconds_in_nwb(tmp_path):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    ms = {"time": 2000 + np.arange(SAMPLES) * 4.0, "position": PLACES[:, 0]}
    units = {"time": "ms", "position": "mm", "activity": "mV"}
    rec = wf.recording(1e-3 * impulses(), dims=("time", "position"), coords=ms, units=units)
    with readers.read_nwb(readers.write_nwb(rec, tmp_path / "a.nwb")) as found:
        np.testing.assert_allclose(found.time, 2 + np.arange(SAMPLES) / RATE)
        np.testing.assert_allclose(found.activity, impulses())
    cut = preprocess.epochs(rec, [2000 + 4.0 * at for at in AT], before=20, after=20)
    assert cut.activity.mean("position").argmax("time").values.tolist() == [5, 5, 5]


def test_markers_of_brainvision_lie_on_the_same_sample_through_neo_and_mne(tmp_path):
    pytest.importorskip("neo", reason="vendors' formats need neo")
    pytest.importorskip("mne", reason="EEG formats need mne")
    impulses().astype("<f4").tofile(tmp_path / "a.eeg")
    channels = "\n".join(f"Ch{n}=E{n},,1,µV" for n in range(1, 7))
    (tmp_path / "a.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=a.eeg\n"
        "MarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels=6\n"
        f"SamplingInterval=4000\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    lines = [f"Mk{n}=Stimulus,S{n},{at + 1},1,0" for n, at in enumerate(AT, 1)]  # markers count samples from 1
    lines.append("Mk4=Bad Interval,blink,101,50,0")
    (tmp_path / "a.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=a.eeg\n"
        "[Marker Infos]\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    places = {"positions": PLACES, "position_units": "mm"}
    with readers.read_mne(tmp_path / "a.vhdr", **places) as rec:
        check_impulses(rec, ["Stimulus/S1", "Stimulus/S2", "Stimulus/S3"])
    with pytest.warns(UserWarning, match="does not know for how long.*read_mne"):
        rec = readers.read_neo(tmp_path / "a.vhdr", **places)
    check_impulses(rec, ["S1", "S2", "S3"])
    assert np.isnan(rec.activity.values).all(axis=1).nonzero()[0].tolist() == [100]


class Segments:
    """What `neo.rawio` gives of a file whose ticks are milliseconds and whose second segment begins at 15 s."""

    def __init__(self):
        fields = [("name", "U8"), ("id", "U8"), ("type", "U8")]
        self.header = {"event_channels": np.array([("lights", "0", "event"), ("spans", "1", "epoch")], fields)}

    def get_event_timestamps(self, block_index, seg_index, event_channel_index):
        ticks = 15000 * seg_index + 4 * np.array(AT)
        if event_channel_index == 0:
            return ticks, None, np.array(["on", "", "on"])
        return ticks[:2] + 40, np.array([80, 120]), np.array(["bad_touch", "stroke"])

    def rescale_event_timestamp(self, ticks, dtype, event_channel_index):
        return ticks.astype(dtype) / 1000

    rescale_epoch_duration = rescale_event_timestamp


def test_ticks_of_neo_become_seconds_of_their_segment(tmp_path):
    pytest.importorskip("neo", reason="vendors' formats need neo")
    bad, events = vendor._spans(Segments(), 1, 1 / RATE, "here")
    np.testing.assert_allclose(bad, [(15.24, 15.32)])
    onsets, durations, names = zip(*events, strict=True)
    np.testing.assert_allclose(onsets, [15.2, 15.8, 16.204, 15.84])
    np.testing.assert_allclose(durations, [0, 0, 0, 0.12])
    assert names == ("on", "lights", "on", "stroke")


class Marked(Segments):
    def get_event_timestamps(self, block_index, seg_index, event_channel_index):
        ticks, durations, _ = super().get_event_timestamps(block_index, seg_index, event_channel_index)
        return ticks[:2], durations, np.array(["on", "Bad touch"])


def test_a_mark_of_what_is_bad_that_has_no_length_takes_one_sample():
    pytest.importorskip("neo", reason="vendors' formats need neo")
    with pytest.warns(UserWarning, match="here: 1 events mark what is bad"):
        bad, events = vendor._spans(Marked(), 1, 1 / RATE, "here")
    assert bad[0] == pytest.approx((15.8, 15.8 + 1 / RATE))
    assert events[0] == (15.2, 0, "on")

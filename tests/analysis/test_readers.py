"""Files as laboratories have them, made from waves that are known, read back and measured."""

import tracemalloc
import warnings
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
from scipy.io import savemat

import analysis
from analysis import readers, synthetic
from analysis.__main__ import main
from analysis.readers import import_recording, read_arrays, read_mne, read_neo, read_nwb, write_nwb
from wavefield.recordings.recording import open_recording, recording

GIVEN = {"position_units": "mm"}
FROM_MAT = {"series": "data", "rate": "fs", "positions": "position", "units": "uV", **GIVEN}

BRAINVISION = """BrainVision Data Exchange Header File Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile=session.eeg
MarkerFile=session.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels={count}
SamplingInterval={interval:g}

[Binary Infos]
BinaryFormat=IEEE_FLOAT_32

[Channel Infos]
{channels}
"""
MARKERS = """BrainVision Data Exchange Marker File, Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile=session.eeg

[Marker Infos]
Mk1=New Segment,,1,1,0,20200101000000000000
"""


def array_of(side=5, pitch=0.4):
    steps = pitch * np.arange(side)
    x, y = np.meshgrid(steps, steps)
    return synthetic.electrodes(x.ravel(), y.ravel(), units="mm")


def known_wave(seed, *, wavenumber=(0.5, 0.3), frequency=8.0, samples=400, snr=1.0, where=None):
    where = array_of() if where is None else where
    rec = synthetic.plane(where, samples, wavenumber=wavenumber, frequency=frequency, dt=0.004, time_units="s")
    rec = synthetic.with_noise(rec, snr, seed=seed)
    rec.activity.attrs["units"] = "uV"
    return rec


def positions(rec):
    return np.column_stack([rec.x.values, rec.y.values])


def as_nwb(rec, folder):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    return write_nwb(rec, folder / "session.nwb"), {}


def as_brainvision(rec, folder):
    path, count = folder / "session.vhdr", rec.sizes["electrode"]
    channels = "\n".join(f"Ch{n + 1}=E{n + 1},,1,µV" for n in range(count))
    interval = 1e6 * float(rec.time[1] - rec.time[0])
    path.write_text(BRAINVISION.format(count=count, interval=interval, channels=channels), encoding="utf-8")
    (folder / "session.vmrk").write_text(MARKERS, encoding="utf-8")
    rec.activity.values.astype("<f4").tofile(folder / "session.eeg")
    return path


def for_neo(rec, folder):
    pytest.importorskip("neo", reason="vendors' formats need neo")
    return as_brainvision(rec, folder), {"reader": "neo", "positions": positions(rec), **GIVEN}


def for_mne(rec, folder):
    pytest.importorskip("mne", reason="EEG formats need mne")
    return as_brainvision(rec, folder), {"positions": positions(rec), **GIVEN}


def as_fif(rec, folder):
    mne = pytest.importorskip("mne", reason="FIF files need mne")
    names = [f"E{n}" for n in range(rec.sizes["electrode"])]
    info = mne.create_info(names, 1 / float(rec.time[1] - rec.time[0]), "ecog", verbose="error")
    for channel, (x, y) in zip(info["chs"], positions(rec), strict=True):
        channel["loc"][:3] = np.array([0.03 + x * 1e-3, -0.02 + y * 1e-3, 0.05])
    raw = mne.io.RawArray(rec.activity.values.T * 1e-6, info, verbose="error")
    raw.info["bads"] = ["E3"]
    path = folder / "session_raw.fif"
    raw.save(path, verbose="error")
    return path, {}


def as_mat(rec, folder):
    path = folder / "session.mat"
    rate = 1 / float(rec.time[1] - rec.time[0])
    savemat(path, {"data": rec.activity.values, "fs": rate, "position": positions(rec)})
    return path, FROM_MAT


FORMATS = {"NWB": as_nwb, "Neo": for_neo, "MNE": for_mne, "mat": as_mat}


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_recorded_comes_back(name, tmp_path):
    rec = known_wave(0)
    path, options = FORMATS[name](rec, tmp_path)
    with open_recording(import_recording(path, tmp_path / "lfp.nc", **options)) as found:
        np.testing.assert_allclose(found.activity, rec.activity, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.time - found.time[0], rec.time, atol=1e-9)
        np.testing.assert_allclose(np.column_stack([found.x, found.y]), positions(rec), atol=1e-9)
        assert [found[name].attrs["units"] for name in ("activity", "time", "x", "y")] == ["uV", "s", "mm", "mm"]
        assert path.name in found.attrs["history"]


@pytest.mark.validate
@pytest.mark.parametrize("name", FORMATS)
def test_the_truth_lies_in_the_interval_after_a_round_trip(name, tmp_path, draws, measured):
    count, speed, angle = draws(3, 100), 8.0 / np.hypot(0.5, 0.3), np.arctan2(0.3, 0.5)
    inside = 0
    for seed in range(count):
        path, options = FORMATS[name](known_wave(seed), tmp_path)
        target = import_recording(path, tmp_path / f"lfp{seed}.nc", grid=True, **options)
        with open_recording(target) as rec, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # fewer than one wavelength on the array
            found = analysis.diagnose(rec, draws=19, seed=seed).sel(estimator="radon")
        assert found.status == 0
        inside += bool(found.speed_low <= speed <= found.speed_high)
        assert abs(found.direction - angle) < 0.2
        path.unlink()
    measured(f"speed in its 95 % interval after {name}", inside / count, "≥ 0.90")
    assert inside >= 0.9 * count - 1 * (count < 50)


def test_nwb_values_are_converted_as_the_schema_says(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    raw = np.random.default_rng(0).integers(-3000, 3000, (50, 4)).astype(np.int16)
    gains, offset, conversion = np.array([1.0, 2.0, 0.5, 1.5]), 1e-4, 2.5e-7
    path, content = nwb_file(pynwb, tmp_path, electrodes=4)
    region = content.create_electrode_table_region([0, 1, 2, 3], "all")
    options = {"conversion": conversion, "offset": offset, "channel_conversion": gains, "rate": 1000.0}
    content.add_acquisition(pynwb.ecephys.ElectricalSeries(name="raw", data=raw, electrodes=region, **options))
    write(pynwb, path, content)
    with read_nwb(path) as rec:
        assert rec.activity.chunks is not None
        np.testing.assert_allclose(rec.activity, (raw * conversion * gains + offset) * 1e6, rtol=1e-6)


def nwb_file(pynwb, folder, *, electrodes, bad=(), x=None, columns=("rel_x", "rel_y")):
    content = pynwb.NWBFile(
        session_description="test", identifier="test", session_start_time=datetime(2020, 1, 1, tzinfo=UTC)
    )
    device = content.create_device(name="array")
    group = content.create_electrode_group(name="g", description="g", location="V1", device=device)
    content.add_electrode_column(name="bad", description="dead")
    for n in range(electrodes):
        place = {columns[0]: 400.0 * (n % 2) if x is None else x[n], columns[1]: 400.0 * (n // 2)}
        content.add_electrode(group=group, location="V1", bad=n in bad, **place)
    return folder / "made.nwb", content


def write(pynwb, path, content):
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(content)


def electrical(pynwb, content, name, data, **options):
    region = content.create_electrode_table_region(list(range(data.shape[1])), "all")
    return pynwb.ecephys.ElectricalSeries(name=name, data=data, electrodes=region, **({"rate": 1000.0} | options))


def test_nwb_series_are_found_in_acquisition_and_processing(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    path, content = nwb_file(pynwb, tmp_path, electrodes=4, bad=(2,))
    content.add_acquisition(electrical(pynwb, content, "wideband", np.ones((60, 4)), rate=30000.0))
    lfp = pynwb.ecephys.LFP()
    content.create_processing_module("ecephys", "filtered").add(lfp)
    lfp.add_electrical_series(electrical(pynwb, content, "filtered", np.full((30, 4), 2.0), starting_time=5.0))
    write(pynwb, path, content)
    with pytest.raises(ValueError, match=r"made.nwb.*--series.*acquisition/wideband.*processing/ecephys/LFP/filtered"):
        read_nwb(path)
    with read_nwb(path, series="LFP") as rec:
        assert rec.time[0] == 5.0
        assert rec.activity.isnull().all("time").values.tolist() == [False, False, True, False]
        assert rec.dead.values.tolist() == [0, 0, 1, 0]
        np.testing.assert_allclose(rec.activity[:, 0], 2e6)
    with read_nwb(path, series="acquisition/wideband") as rec:
        np.testing.assert_allclose(rec.time.diff("time"), 1 / 30000)


def test_nwb_stamps_that_have_a_gap_are_refused_until_a_stretch_is_chosen(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    stamps = np.concatenate([np.arange(50) * 0.001, 1 + np.arange(50) * 0.001])
    path, content = nwb_file(pynwb, tmp_path, electrodes=4)
    series = electrical(pynwb, content, "LFP", np.ones((100, 4)), rate=None, timestamps=stamps)
    content.add_acquisition(series)
    write(pynwb, path, content)
    with pytest.raises(ValueError, match=r"made.nwb: acquisition/LFP.*not even.*--start"):
        read_nwb(path)
    with read_nwb(path, start=0.9) as rec:
        assert rec.sizes["time"] == 50
        assert float(rec.time[0]) == pytest.approx(1.0)


def test_nwb_without_places_takes_those_that_are_given(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    path, content = nwb_file(pynwb, tmp_path, electrodes=4, x=[np.nan] * 4)
    content.add_acquisition(electrical(pynwb, content, "LFP", np.ones((30, 4))))
    write(pynwb, path, content)
    with pytest.raises(ValueError, match=r"made.nwb: acquisition/LFP says nothing of where.*--positions"):
        read_nwb(path)
    (tmp_path / "places.csv").write_text("name,x,y\na,0,0\nb,1,0\nc,0,1\nd,1,1\n")
    with read_nwb(path, positions=tmp_path / "places.csv", position_units="cm") as rec:
        np.testing.assert_allclose(rec.x, [0, 10, 0, 10])


def test_an_empty_nwb_series_is_refused(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    path, content = nwb_file(pynwb, tmp_path, electrodes=4)
    content.add_acquisition(electrical(pynwb, content, "LFP", np.empty((0, 4))))
    write(pynwb, path, content)
    with pytest.raises(ValueError, match=r"made.nwb: acquisition/LFP is empty"):
        read_nwb(path)


def test_fif_places_are_laid_into_their_plane_and_bad_channels_masked(tmp_path):
    rec = known_wave(1)
    path, _ = as_fif(rec, tmp_path)
    with read_mne(path) as found:
        np.testing.assert_allclose(np.column_stack([found.x, found.y]), positions(rec) + np.array([30, -20]), atol=1e-4)
        assert np.flatnonzero(found.activity.isnull().all("time")).tolist() == [3]
        keep = np.arange(25) != 3
        np.testing.assert_allclose(found.activity[:, keep], rec.activity[:, keep], rtol=1e-4, atol=1e-4)


def test_a_tilted_plane_keeps_its_distances():
    from analysis.readers.positions import planar

    rng = np.random.default_rng(0)
    flat = np.column_stack([rng.uniform(0, 4, 30), rng.uniform(0, 4, 30), np.zeros(30)])
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    places, _ = planar(flat @ turn.T + 5)
    between = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.testing.assert_allclose(between, np.linalg.norm(flat[:, None] - flat[None], axis=-1), atol=1e-9)


def test_electrodes_on_a_line_become_positions_in_order(tmp_path):
    path = tmp_path / "probe.npz"
    depth = np.array([300.0, 0.0, 100.0, 200.0])
    np.savez(path, lfp=np.arange(20.0).reshape(5, 4), depth=np.column_stack([np.full(4, 7.0), depth]))
    rec = read_arrays(path, series="lfp", rate=1000, positions="depth", position_units="um", units="mV")
    assert rec.activity.dims == ("time", "position")
    np.testing.assert_allclose(rec.position, [0, 0.1, 0.2, 0.3], atol=1e-12)
    np.testing.assert_allclose(rec.activity[0], np.array([1.0, 2.0, 3.0, 0.0]) * 1e3)


def test_version_seven_of_mat_files_is_read_lazily_with_its_axes_turned(tmp_path):
    path = tmp_path / "new.mat"
    data = np.random.default_rng(1).standard_normal((40, 4))
    with h5py.File(path, "w", userblock_size=512) as file:  # MATLAB writes its arrays column by column
        file["data"], file["fs"] = data.T, [[250.0]]
        file["position"] = np.array([[0, 1, 0, 1], [0, 0, 1, 1.0]])
    rec = read_arrays(path, series="data", rate="fs", positions="position", units="uV", **GIVEN)
    with rec:
        np.testing.assert_allclose(rec.activity, data)
        assert rec.attrs["dt"] == 1 / 250


@pytest.mark.parametrize("index", [0, -1, slice(3, 17), slice(2, 30, 4), slice(None, None, -3), [5, 1, 7]])
def test_lazy_samples_can_be_taken_in_any_way(index, tmp_path):
    data = np.random.default_rng(6).standard_normal((40, 3))
    np.save(tmp_path / "a.npy", data)
    rec = read_arrays(tmp_path / "a.npy", rate=1, positions=[[0, 0], [1, 0], [0, 1.0]], units="uV", **GIVEN)
    np.testing.assert_array_equal(rec.activity[index], data[index])
    np.testing.assert_array_equal(rec.activity[index, 1], data[index, 1])


def test_electrode_by_time_arrays_are_told_by_their_positions(tmp_path):
    data, places = np.random.default_rng(2).standard_normal((3, 40)), np.array([[0, 0], [1, 0], [0, 1.0]])
    np.save(tmp_path / "a.npy", data)
    rec = read_arrays(tmp_path / "a.npy", rate=100, positions=places, units="uV", **GIVEN)
    np.testing.assert_allclose(rec.activity, data.T)


@pytest.mark.parametrize("places", [np.arange(6.0)[None], np.array([[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1.0]])])
def test_positions_may_lie_in_rows(places, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 6)))
    rec = read_arrays(tmp_path / "a.npy", rate=100, positions=places, units="uV", **GIVEN)
    np.testing.assert_allclose(rec.position if len(places) == 1 else [rec.x, rec.y], places.squeeze())


def test_a_table_saved_by_a_spreadsheet_keeps_its_first_column(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 3)))
    (tmp_path / "places.csv").write_text("x,y\n0,0\n1,0.2\n0,1\n", encoding="utf-8-sig")
    rec = read_arrays(tmp_path / "a.npy", rate=100, positions=tmp_path / "places.csv", units="uV", **GIVEN)
    np.testing.assert_allclose(rec.x, [0, 1, 0])


def test_endings_in_capitals_are_known(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((50, 3)))
    path = (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    target = import_recording(path, tmp_path / "a.nc", rate=100, positions=np.arange(3.0), units="uV", **GIVEN)
    with open_recording(target) as rec:
        assert rec.sizes["time"] == 50


def test_magnetic_fields_keep_the_units_of_the_file(tmp_path):
    mne = pytest.importorskip("mne", reason="FIF files need mne")
    info = mne.create_info([f"M{n}" for n in range(3)], 100.0, "mag", verbose="error")
    for number, channel in enumerate(info["chs"]):
        channel["loc"][:3] = [0.01 * number, 0.01 * (number % 2), 0.1]
    field = 1e-13 * np.random.default_rng(7).standard_normal((3, 50))
    mne.io.RawArray(field, info, verbose="error").save(tmp_path / "m_raw.fif", verbose="error")
    with read_mne(tmp_path / "m_raw.fif") as rec:
        assert rec.activity.attrs["units"] == "T"
        np.testing.assert_allclose(rec.activity.values.T, field, rtol=1e-6)


def test_a_nan_stays_one_on_the_grid():
    where = synthetic.electrodes([0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1], units="mm")
    rec = synthetic.plane(where, 10, wavenumber=(0.1, 0), frequency=0.1)
    rec.activity[3, 4] = np.nan
    gridded = analysis.grid_electrodes(rec, mask=None).activity
    assert np.argwhere(gridded.isnull().values).tolist() == [[3, 1, 1]]


@pytest.mark.parametrize(
    ("x", "y", "dead", "message"),
    [
        ([0, 0, 1, 1, 0.5, 0.5], [0, 0, 0.3, 0.3, 1, 1], [], "share their places"),
        ([0, 1.3, 0.4, 1.1, 2], [0, 0.1, 1.2, 1.7, 0.33], [0, 1, 2], "2 usable electrodes"),
        ([0, 1, 2.03, 1.1], [0, 0, 0, 1.2], [3], "3 usable electrodes on one line"),
    ],
)
def test_electrodes_that_make_no_grid_are_refused(x, y, dead, message):
    rec = synthetic.plane(synthetic.electrodes(x, y, units="mm"), 10, wavenumber=(0.1, 0), frequency=0.1)
    with pytest.raises(ValueError, match=message):
        analysis.grid_electrodes(rec, mask=np.isin(np.arange(len(x)), dead))


def test_a_wave_on_scattered_electrodes_is_the_same_on_a_grid():
    rng = np.random.default_rng(3)
    where = synthetic.electrodes(rng.uniform(0, 8, 300), rng.uniform(0, 8, 300), units="mm")
    scattered = synthetic.plane(where, 100, wavenumber=(0.06, 0.03), frequency=0.05)
    gridded = analysis.grid_electrodes(scattered, spacing=0.5)
    x, y = np.meshgrid(gridded.x, gridded.y)
    t = gridded.time.values[:, None, None]
    truth = np.cos(2 * np.pi * (0.05 * t - 0.06 * x - 0.03 * y))
    inside = gridded.activity.notnull()
    # linear interpolation errs by less than (2πk)² h²/8, h the longest edge, about 1.2 mm inside
    assert abs(gridded.activity - truth).where(inside).max() < (2 * np.pi * 0.067) ** 2 * 1.5**2 / 8
    assert inside[0].sum() > 200


def test_dead_electrodes_stay_off_the_grid(tmp_path):
    path, options = as_mat(known_wave(4), tmp_path)
    with open_recording(import_recording(path, tmp_path / "a.nc", grid=True, dead=[7], **options)) as rec:
        assert rec.activity.dims == ("time", "y", "x")
        gone = rec.activity.isnull().all("time").values
        assert np.argwhere(gone).tolist() == [[1, 2]]


def test_an_import_takes_memory_of_blocks_and_not_of_the_file(tmp_path, monkeypatch):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    from analysis.readers import series

    monkeypatch.setattr(series, "BLOCK_BYTES", 2**20)
    samples, electrodes = 200_000, 32  # 51 MB as the recording holds it
    rng = np.random.default_rng(5)
    data = np.tile(rng.integers(-99, 99, (1000, electrodes), dtype=np.int32), (samples // 1000, 1))
    path, content = nwb_file(pynwb, tmp_path, electrodes=electrodes)
    content.add_acquisition(electrical(pynwb, content, "LFP", data))
    write(pynwb, path, content)
    del content, data
    import_recording(path, tmp_path / "warm.nc", stop=0.1)  # what is loaded once does not count
    tracemalloc.start()
    import_recording(path, tmp_path / "lfp.nc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 2**20
    with open_recording(tmp_path / "lfp.nc") as rec:
        assert rec.sizes["time"] == samples
        np.testing.assert_array_equal(rec.activity[::50_000, 3], rec.activity[0, 3])


@pytest.mark.parametrize(("units", "factor"), [("mV", 1e3), ("µV", 1.0)])
def test_a_recording_on_a_sheet_goes_to_nwb_and_back(units, factor, tmp_path):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    sheet = synthetic.plane(
        synthetic.sheet((3, 4), dx=0.4, units="mm"), 50, wavenumber=(0.2, 0.1), frequency=5, dt=0.01, time_units="s"
    )
    rec = recording(sheet.activity, units={"activity": units}, boundary="open")
    path = write_nwb(rec, tmp_path / "sheet.nwb")
    with open_recording(import_recording(path, tmp_path / "back.nc", grid=True)) as back:
        np.testing.assert_allclose(back.activity, rec.activity * factor, rtol=1e-12)
        np.testing.assert_allclose(back.x, rec.x, atol=1e-12)


def test_the_start_of_the_session_is_kept(tmp_path):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    start = datetime(2020, 5, 17, 9, 30, tzinfo=UTC)
    with read_nwb(write_nwb(known_wave(7), tmp_path / "a.nwb", session_start=start)) as back:
        assert datetime.fromisoformat(back.attrs["session_start"]) == start


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.expand_dims(trial=2), "write one at a time"),
        (lambda r: r.assign(activity=r.activity.assign_attrs(units="1")), "electrical series hold voltages"),
        (lambda r: r.assign_coords({d: r[d].assign_attrs(units="cells") for d in ("x", "y")}), "units of length"),
        (lambda r: r.assign_coords(x=r.x.assign_attrs(units="um")), "different units"),
    ],
)
def test_what_nwb_cannot_hold_is_refused(change, message, tmp_path):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    with pytest.raises(ValueError, match=message):
        write_nwb(change(known_wave(6)), tmp_path / "a.nwb")


# Damaged files, missing and contradictory descriptions ---------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nwb", ".fif", ".edf", ".vhdr", ".mat", ".npz", ".npy", ".ns5", ".abc"])
@pytest.mark.parametrize("content", [b"", b"not what it says it is " * 40])
def test_damaged_files_are_named(ending, content, tmp_path):
    needed = {".nwb": "pynwb", ".fif": "mne", ".edf": "mne", ".vhdr": "mne", ".ns5": "neo", ".abc": "neo"}
    if ending in needed:
        pytest.importorskip(needed[ending], reason=f"{ending} files need {needed[ending]}")
    path = tmp_path / f"broken{'_raw' if ending == '.fif' else ''}{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken"):
        import_recording(path, tmp_path / "a.nc", rate=1, positions=[[0, 0]], position_units="mm")
    assert not (tmp_path / "a.nc").exists()


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_nwb_files_that_were_cut_off_are_named(keep, tmp_path):
    path, _ = as_nwb(known_wave(7, samples=2000), tmp_path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"session\.nwb is not an NWB file, or is damaged"):
        import_recording(path, tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["places.csv", "places.npy"])
@pytest.mark.parametrize("content", [b"", b"x,y\n0,\xe9\n", b"no places at all"])
def test_damaged_positions_are_named(name, content, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 3)))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_arrays(tmp_path / "a.npy", rate=100, positions=tmp_path / name, units="uV", **GIVEN)


@pytest.mark.parametrize("reader", [read_nwb, read_mne, read_neo])
def test_files_that_are_not_there_are_named(reader, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.nwb"):
        reader(tmp_path / "gone.nwb")


def test_vendors_files_without_places_say_how_to_give_them(tmp_path):
    pytest.importorskip("neo", reason="vendors' formats need neo")
    path = as_brainvision(known_wave(8), tmp_path)
    with pytest.raises(ValueError, match=r"session.vhdr.*says nothing of where.*--positions"):
        read_neo(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": None}, r"session.mat: data: the units.*--units"),
        ({"position_units": "cells"}, r"session.mat: data: positions in 'cells'.*--position-units"),
        ({"position_units": None}, r"session.mat: data: positions in ''.*--position-units"),
        ({"positions": None}, r"session.mat: data says nothing of where"),
        ({"positions": np.zeros((7, 2))}, r"no axis as long as the 7 positions"),
        ({"rate": None}, r"session.mat: data says nothing of its sampling rate.*--rate"),
        ({"rate": [100.0, 200.0]}, r"session.mat: data mixes the sampling rates \[100.0, 200.0\]"),
        ({"rate": "nothing"}, r"rate='nothing' is neither a number nor a variable"),
        ({"rate": 0}, r"rate is 0.0 Hz"),
        ({"series": "other"}, r"session.mat has no variable 'other'; it has data, fs, position"),
        ({"series": "void"}, r"session.mat: void is empty"),
        ({"rate": "void"}, r"rate='void' is empty"),
        ({"dead": (99,)}, r"dead=99"),
        ({"dead": (True, False)}, r"dead=True: numbers of electrodes"),
        ({"positions": [["a", "b"]]}, r"session.mat: data: positions hold something that is not a number"),
        ({"dead": tuple(range(25))}, r"every electrode is marked as bad"),
        ({"start": 100.0}, r"leaves nothing of 0 to"),
    ],
)
def test_arrays_that_say_too_little_are_refused_with_the_remedy(options, message, tmp_path):
    rec = known_wave(9)
    path = tmp_path / "session.mat"
    savemat(path, {"data": rec.activity.values, "fs": 250.0, "position": positions(rec), "void": np.empty((0, 25))})
    if "series" in options and options["series"] == "other":
        savemat(path, {"data": rec.activity.values, "fs": 250.0, "position": positions(rec)})
    with pytest.raises(ValueError, match=message):
        import_recording(path, tmp_path / "a.nc", **(FROM_MAT | options))
    assert not (tmp_path / "a.nc").exists()


def test_the_command_line_imports_and_diagnoses(tmp_path, capsys):
    path, _ = as_mat(known_wave(10), tmp_path)
    target = tmp_path / "lfp.nc"
    line = ["import", str(path), "--series", "data", "--rate", "fs", "--positions", "position", "--units", "uV"]
    assert main([*line, "--position-units", "mm", "--grid", "-o", str(target)]) == 0
    assert main(["diagnose", str(target), "--draws", "19"]) == 0
    assert "speed by radon" in capsys.readouterr().out
    assert main([*line, "-o", str(target)]) == 2
    assert "--position-units" in capsys.readouterr().err


# Nothing is lost in silence ------------------------------------------------------------------------------------------


def fif(folder, *, annotations=None, first=0, meas_date=None, samples=1000):
    """Eight electrodes on a line 0.4 mm apart, a wave to +x at 32 mm/s."""
    import mne

    t = np.arange(samples) / 250
    values = np.cos(2 * np.pi * (8 * t - 0.1 * np.arange(8)[:, None])) * 5e-5
    raw = mne.io.RawArray(values, mne.create_info([f"E{i}" for i in range(8)], 250.0, "ecog"), first, verbose="error")
    for number, channel in enumerate(raw.info["chs"]):
        channel["loc"][:3] = [0.001 + 0.0004 * number, 0, 0]
    raw.set_meas_date(meas_date)
    if annotations is not None:
        raw.set_annotations(mne.Annotations(*annotations))
    path = folder / "a_raw.fif"
    raw.save(path, overwrite=True, verbose="error")
    return path


@pytest.mark.parametrize("first", [0, 500])
def test_spans_that_mne_marks_as_bad_are_nan(first, tmp_path):
    path = fif(tmp_path, annotations=([1.0, 2.0], [0.5, 0.1], ["BAD_artifact", "stimulus"]), first=first)
    with read_mne(path) as rec:
        missing = np.isnan(rec.activity.values)
        assert missing.all(axis=1).sum() == missing.any(axis=1).sum() == 125
        assert missing[250:375].all()
        assert "1 spans marked as bad set to NaN" in rec.attrs["history"]
    target = import_recording(path, tmp_path / "a.nc", start=first / 250 + 1.2)
    with open_recording(target) as rec:
        missing = np.isnan(rec.activity.values).all(axis=1)
        assert missing.sum() == 75
        assert missing[:75].all()


def test_invalid_times_of_nwb_are_nan(tmp_path):
    import pynwb

    rec = known_wave(0)
    path = write_nwb(rec, tmp_path / "a.nwb")
    with pynwb.NWBHDF5IO(str(path), "a") as io:
        content = io.read()
        start = float(rec.time[0])
        content.add_invalid_time_interval(start_time=start + 0.1, stop_time=start + 0.2, tags=["artefact"])
        io.write(content)
    with read_nwb(path) as found:
        missing = np.isnan(found.activity.values).all(axis=1)
    inside = (rec.time.values >= start + 0.1 - 1e-9) & (rec.time.values < start + 0.2 - 1e-9)
    np.testing.assert_array_equal(missing, inside)


@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("electrodes.tsv", "\t")])
def test_tables_of_positions_are_matched_by_name(name, separator, tmp_path):
    path, order = fif(tmp_path), (3, 0, 7, 1, 5, 2, 6, 4)
    rows = [("name", "x", "y", "z"), *[(f"E{i}", f"{0.4 * i}", "0", "n/a") for i in order]]
    (tmp_path / name).write_text("\n".join(separator.join(row) for row in rows))
    with read_mne(path, positions=tmp_path / name, position_units="mm") as rec:
        np.testing.assert_allclose(rec.position, 0.4 * np.arange(8), atol=1e-12)
        assert rec.electrode_number.values.tolist() == list(range(8))
        assert "matched by name" in rec.attrs["history"]


def test_electrodes_without_a_place_are_named(tmp_path):
    path = fif(tmp_path)
    rows = [f"E{i},{0.4 * i},0" for i in range(8) if i != 5]
    (tmp_path / "p.csv").write_text("\n".join(["name,x,y", *rows]))
    with pytest.warns(UserWarning, match="1 of 8 electrodes have no place and are left out: E5"):
        rec = read_mne(path, positions=tmp_path / "p.csv", position_units="mm")
    assert rec.sizes["position"] == 7
    assert "left out without a place: E5" in rec.attrs["history"]
    rec.close()


def test_names_that_are_no_channels_are_refused(tmp_path):
    path = fif(tmp_path)
    (tmp_path / "p.csv").write_text("\n".join(["name,x,y", *[f"G{i},{i},0" for i in range(8)]]))
    with pytest.raises(ValueError, match="none of the names in the table of positions, G0, G1"):
        read_mne(path, positions=tmp_path / "p.csv", position_units="mm")
    (tmp_path / "p.csv").write_text("\n".join(["name,x,y", *[f"E{i % 7},{i},0" for i in range(8)]]))
    with pytest.raises(ValueError, match=r"names \['E0'\] more than once"):
        read_mne(path, positions=tmp_path / "p.csv", position_units="mm")


def test_places_in_units_that_no_array_has_are_warned_of(tmp_path):
    path = fif(tmp_path)
    with pytest.warns(UserWarning, match=r"the electrodes span 2.8e\+03 mm, which no array does"):
        read_mne(path, positions=0.4 * np.arange(8), position_units="m").close()


def test_an_ending_of_another_reader_names_it(tmp_path):
    path = tmp_path / "a.fif"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"\.fif is taken by read_mne \(--reader mne\)"):
        read_arrays(path, rate=1, positions=[[0, 0]], position_units="mm")


# Bad spans, montages, trials, units --------------------------------------------------------------------------------


def brainvision(folder, names, markers=()):
    """A BrainVision file of 400 samples at 100 Hz, one µV a step; markers are (type, description, start, length)."""
    values = np.arange(400 * len(names), dtype="<f4").reshape(400, -1)
    (folder / "a.eeg").write_bytes(values.tobytes())
    channels = "\n".join(f"Ch{number}={name},,1,µV" for number, name in enumerate(names, 1))
    (folder / "a.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=a.eeg\n"
        "MarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(names)}\nSamplingInterval=10000\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n"
        f"[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    lines = "\n".join(
        f"Mk{number}={kind},{text},{start},{length},0" for number, (kind, text, start, length) in enumerate(markers, 1)
    )
    (folder / "a.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=a.eeg\n"
        f"[Marker Infos]\n{lines}\n",
        encoding="utf-8",
    )
    return folder / "a.vhdr"


def test_bad_spans_of_brainvision_are_nan_and_its_stimuli_are_not(tmp_path):
    markers = [("Bad Interval", "blink", 101, 50), ("Stimulus", "S  1", 201, 1)]
    path = brainvision(tmp_path, ["Fp1", "Fz", "Cz", "O2"], markers)
    with read_mne(path, positions=[[0, 0], [1, 0], [0, 1], [1, 1]], position_units="cm") as rec:
        missing = np.isnan(rec.activity.values)
    assert missing.all(axis=1).sum() == missing.any(axis=1).sum() == 50
    assert missing[100:150].all()


def edf_plus(folder, note):
    """An EDF+ file of four channels, three seconds at 100 Hz, with one annotation (onset, length, text)."""

    def padded(text, width):
        return str(text).ljust(width).encode("ascii")

    names = ["Fp1", "Fz", "Cz", "O2", "EDF Annotations"]
    samples = [100] * 4 + [40]
    header = [("0", 8), ("X X X X", 80), ("Startdate 01-JAN-2020 X X X", 80), ("01.01.20", 8), ("00.00.00", 8)]
    header += [(256 * 6, 8), ("EDF+C", 44), (3, 8), (1, 8), (5, 4)]
    columns = [(names, 16), ([""] * 5, 80), (["uV"] * 4 + [""], 8), ([-1000] * 4 + [-1], 8), ([1000] * 4 + [1], 8)]
    columns += [([-32768] * 5, 8), ([32767] * 5, 8), ([""] * 5, 80), (samples, 8), ([""] * 5, 32)]
    out = b"".join(padded(*field) for field in header)
    out += b"".join(padded(value, width) for values, width in columns for value in values)
    onset, length, text = note
    for record in range(3):
        out += np.arange(400, dtype="<i2").tobytes()
        line = f"+{record}\x14\x14\x00".encode()
        line += f"+{onset}\x15{length}\x14{text}\x14\x00".encode() if record == 0 else b""
        out += line.ljust(80, b"\x00")
    (folder / "a.edf").write_bytes(out)
    return folder / "a.edf"


def test_bad_annotations_of_edf_are_nan(tmp_path):
    path = edf_plus(tmp_path, (1.5, 0.25, "BAD_blink"))
    with read_mne(path, positions=[[0, 0], [1, 0], [0, 1], [1, 1]], position_units="cm") as rec:
        missing = np.isnan(rec.activity.values).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(missing), np.arange(150, 175))


@pytest.mark.filterwarnings("ignore:Montage name:FutureWarning")
def test_names_of_the_ten_twenty_system_have_places_in_standard_montages(tmp_path):
    import mne

    names = ["Fp1", "Fz", "Cz", "O2", "nowhere"]
    path = brainvision(tmp_path, names)
    with pytest.warns(UserWarning, match="1 of 5 electrodes have no place and are left out: nowhere"):
        rec = read_mne(path, positions="standard_1020")
    places = mne.channels.make_standard_montage("standard_1020").get_positions()["ch_pos"]
    there = np.array([places[name] for name in names[:4]]) * 1e3
    found = np.column_stack([rec.x, rec.y])
    between = np.linalg.norm(there[:, None] - there, axis=-1)
    assert (np.linalg.norm(found[:, None] - found, axis=-1) <= between + 1e-6).all()  # a projection shortens
    rec.close()
    with pytest.raises(ValueError, match=r"nor a standard montage, one of .*1020"):
        read_mne(path, positions="standard_10")


@pytest.mark.parametrize("order", ["trial time electrode", "trial electrode time", "electrode time trial"])
def test_arrays_of_three_axes_have_trials(order, tmp_path):
    values = np.random.default_rng(0).standard_normal((3, 50, 4))  # (trial, time, electrode)
    turned = np.moveaxis(values, [0, 1, 2], [order.split().index(dim) for dim in ("trial", "time", "electrode")])
    np.savez(tmp_path / "a.npz", lfp=turned, places=[[0.0], [0.4], [0.8], [1.2]])
    options = {"rate": 500.0, "series": "lfp", "positions": "places", "position_units": "mm", "units": "uV"}
    rec = read_arrays(tmp_path / "a.npz", **options)
    assert rec.activity.dims == ("trial", "time", "position")
    np.testing.assert_allclose(rec.activity.values, values)
    with open_recording(import_recording(tmp_path / "a.npz", tmp_path / "a.nc", **options)) as stored:
        np.testing.assert_allclose(stored.activity.values, values)


@pytest.mark.filterwarnings("ignore:Montage name:FutureWarning")
def test_files_of_epochs_have_trials(tmp_path):
    import mne

    info = mne.create_info(["Fp1", "Fz", "Cz", "O2"], 100.0, "eeg")
    values = 1e-6 * np.random.default_rng(0).standard_normal((5, 4, 60))
    epochs = mne.EpochsArray(values, info, tmin=-0.2, verbose="error")
    epochs.set_montage("standard_1020")
    epochs.save(tmp_path / "a-epo.fif", fmt="double", verbose="error")
    rec = read_mne(tmp_path / "a-epo.fif")
    assert rec.activity.dims == ("trial", "time", "electrode")
    np.testing.assert_allclose(rec.activity.values, 1e6 * values.transpose(0, 2, 1), rtol=1e-6)
    np.testing.assert_allclose(rec.time[0], -0.2, atol=1e-9)


@pytest.mark.parametrize(("factor", "says"), [(1e10, "1e\\+10|6\\.\\d+e\\+09"), (1e-6, "e-07")])
def test_potentials_that_no_electrode_sees_are_warned_of(factor, says, tmp_path):
    np.savez(tmp_path / "a.npz", lfp=factor * np.random.default_rng(0).standard_normal((100, 4)))
    with pytest.warns(UserWarning, match=f"deviate by .*({says}).* uV, which no electrode sees"):
        read_arrays(tmp_path / "a.npz", rate=500.0, positions=np.arange(4.0)[:, None], position_units="mm", units="uV")


# Spikes -----------------------------------------------------------------------------------------------------------


def test_rates_count_their_spikes_and_units_of_one_place_are_added():
    rng = np.random.default_rng(0)
    spikes = [rng.uniform(0.5, 3.5, count) for count in (40, 10, 25)]
    rec = readers.spike_rates(spikes, rate=200, width=0.02, positions=[[0.0], [0.4], [0.4]], start=0, stop=4)
    assert rec.activity.attrs["units"] == "Hz"
    np.testing.assert_allclose(rec.activity.sum("time") / 200, [40, 35], rtol=1e-6)
    one = rec.activity.isel(position=0, time=300)
    kernel = np.exp(-0.5 * ((1.5 - spikes[0]) / 0.02) ** 2) / (0.02 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(one, kernel.sum(), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"width is 0.001 s: at least one sampling interval, 0.005 s"):
        readers.spike_rates(spikes, rate=200, width=0.001, positions=np.arange(3.0))


def test_units_of_nwb_lie_where_their_electrodes_do(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="NWB files need pynwb")
    path, content = nwb_file(pynwb, tmp_path, electrodes=6)
    for electrode in (5, 0, 3):
        content.add_unit(spike_times=0.1 * (1 + electrode) + np.arange(0.0, 3.0), electrodes=[electrode])
    write(pynwb, path, content)
    rec = readers.read_nwb_units(path, rate=100, width=0.02, start=0, stop=4)
    assert dict(rec.sizes) == {"time": 400, "electrode": 3}
    places = zip(rec.x.values.tolist(), rec.y.values.tolist(), strict=True)
    first = dict(zip(places, rec.activity[:95].argmax("time").values.tolist(), strict=True))
    assert first == {(0.4, 0.8): 60, (0.0, 0.0): 10, (0.4, 0.4): 40}

import signal
import subprocess
import sys
import tracemalloc

import dask.array
import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wavefield.recordings import external
from wavefield.recordings.recording import (
    LAYOUTS,
    open_recording,
    recording,
    regular_times,
    save_recording,
    validate_recording,
    with_history,
)
from wavefield.simulation.drive import spike_trains, spikes

ONE_FILE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # rewritten each time
RNG = np.random.default_rng(0)


def simulated(steps=12, dtype=np.float64):
    """A recording with everything a simulation of a two-way field writes."""
    h = np.random.default_rng(1).standard_normal((steps, 2, 8)).astype(dtype)
    return recording(
        h,
        dt=0.1,
        dx=0.5,
        save_every=3,
        units={"time": "s", "position": "mm", "activity": "uV"},
        drive=spikes([[(0, 1.0), (7, -2.0)], [(30, 0.5)]], steps=3 * steps),
        previous=h[-1] + 1,
        kernel=np.arange(12.0).reshape(2, 2, 3),
        encoder=np.eye(16)[:, :2].reshape(2, 8, 2),
        bias=np.zeros((2, 8)),
        profile=np.ones(8),
        label="wave",
        loss=np.linspace(1, 0, steps),
        boundary="periodic",
        source_kind="pulse",
        seed=7,
        config={"speed": 0.5, "size": None},
    )


def attempt(function, *arguments, **keywords):
    """What the function returns and "", or None and the text of its error."""
    try:
        return function(*arguments, **keywords), ""
    except (ValueError, TypeError) as error:
        return None, str(error)


def assert_same(one, other):
    """Equal in names, dims, attributes and every bit of every value."""
    xr.testing.assert_identical(one, other)
    for name, variable in one.variables.items():
        if variable.dtype.kind in "iuf":
            assert variable.dtype == other[name].dtype, name
            assert variable.values.tobytes() == other[name].values.tobytes(), name


# --- building ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "keywords", "dims"),
    [
        ((5, 8), {}, ("time", "position")),
        ((5, 2, 8), {}, ("time", "channel", "position")),
        ((4, 5, 2, 8), {}, ("trial", "time", "channel", "position")),
        ((4, 5, 8), {"dims": ("trial", "time", "position")}, ("trial", "time", "position")),
        ((5, 6, 8), {"dims": ("time", "y", "x")}, ("time", "y", "x")),
        ((4, 5, 2, 6, 8), {"dims": LAYOUTS[1]}, LAYOUTS[1]),
        ((5, 8), {"coords": {"x": np.arange(8.0), "y": RNG.random(8)}}, ("time", "electrode")),
        ((4, 5, 8), {"coords": {"x": np.arange(8.0), "y": RNG.random(8)}}, ("trial", "time", "electrode")),
    ],
)
def test_every_layout_is_built_described_and_saved(tmp_path, shape, keywords, dims):
    rec = recording(RNG.random(shape, dtype=np.float32), **keywords)
    assert rec.activity.dims == dims
    for variable in rec.variables.values():
        assert variable.attrs["units"] == "1"
        assert variable.attrs["long_name"]
    assert {"Conventions", "source", "history", "wavefield_schema", "software_versions"} <= rec.attrs.keys()
    with open_recording(save_recording(rec, tmp_path / "r.nc")) as again:
        assert_same(rec, again.load())


def test_state_t_is_stored_at_the_end_of_its_step_and_input_t_at_its_beginning():
    rec = recording(np.zeros((4, 8)), dt=0.25, save_every=2, units={"time": "s"}, drive=np.zeros((8, 1)))
    np.testing.assert_array_equal(rec.time, [0.5, 1.0, 1.5, 2.0])
    np.testing.assert_array_equal(rec.step, np.arange(8) * 0.25)
    assert rec.step.attrs["units"] == "s"
    assert (rec.attrs["dt"], rec.attrs["save_every"]) == (0.25, 2)


def test_times_that_count_steps_are_integers_and_positions_always_floats():
    rec = recording(np.zeros((4, 8)), drive=np.zeros((4, 1)))
    assert rec.time.dtype.kind == rec.step.dtype.kind == "i"
    assert rec.position.dtype == np.float64
    assert recording(np.zeros((4, 8)), units={"time": "s"}).time.dtype == np.float64
    assert recording(np.zeros((4, 8)), dt=0.5).time.dtype == np.float64
    assert regular_times(np.array([2**53 - 1]), 1.0, "1").dtype == np.int64
    assert regular_times(np.array([2**53]), 1.0, "1").dtype == np.float64  # beyond, numbers of steps are not told apart


def test_selecting_the_last_snapshot_keeps_the_input_that_led_there():
    rec = simulated()
    snapshot = rec.isel(time=[-1])
    validate_recording(snapshot)
    assert spike_trains(snapshot.drive) == [[(0, 1.0), (7, -2.0)], [(30, 0.5)]]


def test_coordinates_that_are_given_replace_the_regular_ones():
    rec = recording(
        np.zeros((3, 4)),
        coords={"time": [0.0, 0.1, 0.4], "position": [0.0, 0.4, 0.8, 1.2]},
        units={"time": "s", "position": "mm"},
    )
    np.testing.assert_array_equal(rec.time, [0.0, 0.1, 0.4])
    assert not {"dt", "dx"} & rec.attrs.keys()
    with pytest.raises(ValueError, match="dt must be given"):
        recording(np.zeros((3, 4)), coords={"time": [0, 1, 2]}, drive=np.zeros((3, 1)))


def test_a_dataarray_brings_its_coordinates_and_attributes_and_stays_lazy():
    def compute(block):
        raise AssertionError("building a recording must not compute it")

    lazy = dask.array.zeros((5, 8), chunks=(1, 8)).map_blocks(compute, dtype=float, meta=np.empty((0, 0)))
    array = xr.DataArray(lazy, {"time": np.arange(5) * 0.5}, ("time", "position"), attrs={"units": "mV", "probe": "A"})
    rec = recording(array, dt=0.5)
    np.testing.assert_array_equal(rec.time, np.arange(5) * 0.5)
    assert rec.activity.attrs == {"units": "mV", "probe": "A", "long_name": "activity"}
    assert array.attrs == {"units": "mV", "probe": "A"}


def test_units_that_are_given_are_those_of_the_recording():
    field = xr.DataArray(
        np.ones((3, 4)),
        {"time": ("time", [1.0, 2.0, 3.0], {"units": "ms"}), "position": [0.0, 1.0, 2.0, 3.0]},
        ("time", "position"),
        attrs={"units": "V"},
    )
    rec = recording(field, drive=np.ones((3, 1)), dt=1.0, units={"activity": "mV"})
    assert (rec.activity.attrs["units"], rec.step.attrs["units"]) == ("mV", "ms")
    sheet = recording(np.ones((2, 3, 4)), dims=("time", "y", "x"), dx=(0.5, 2.0), dt=1.0)
    assert (sheet.y.values[1], sheet.x.values[1]) == (0.5, 2.0)


def test_labels_and_losses_go_along_trials_or_along_time():
    trials = recording(np.zeros((3, 5, 2, 8)), label=["a", "b", "c"], loss=np.zeros((3, 5)))
    assert (trials.label.dims, trials.loss.dims) == (("trial",), ("trial", "time"))
    run = recording(np.zeros((5, 8)), loss=np.zeros(5), label=3)
    assert (run.loss.dims, run.label.dims) == (("time",), ())


def test_the_newest_line_of_history_comes_first():
    rec = with_history(with_history(recording(np.zeros((3, 8))), "band-pass 4 to 8 Hz"), "bad channels left out")
    lines = rec.attrs["history"].splitlines()
    assert ["bad channels left out" in lines[0], "band-pass" in lines[1], "recording made" in lines[2]] == [True] * 3
    validate_recording(rec)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"activity": np.zeros(5)}, r"activity has shape \(5,\)"),
        ({"activity": np.zeros((2,) * 5)}, r"activity has shape \(2, 2, 2, 2, 2\)"),
        ({"activity": np.zeros((5, 8)), "dims": ("time", "space")}, "activity has the dims"),
        ({"activity": np.zeros((5, 8)), "dims": ("position", "time")}, "activity has the dims"),
        ({"activity": np.zeros((5, 8)), "dims": ("time", "channel", "position")}, r"activity has shape \(5, 8\)"),
        ({"activity": np.zeros((5, 8)), "dims": "time"}, "dims must be a sequence"),
        ({"activity": np.zeros((5, 8), complex)}, "dtype complex128"),
        ({"activity": np.zeros((5, 8), bool)}, "dtype bool"),
        ({"activity": np.zeros((5, 8), np.float16)}, "dtype float16"),
        ({"activity": [["a", "b"]]}, "dtype <U1"),
        ({"activity": np.zeros((5, 0))}, "no position"),
        ({"dt": 0.0}, "dt must be"),
        ({"dt": np.nan}, "dt must be"),
        ({"dx": -1}, "dx must be"),
        ({"save_every": 0}, "save_every"),
        ({"save_every": 2.0}, "save_every"),
        ({"units": {"wavelength": "mm"}}, "units names .*wavelength"),
        ({"units": {"position": "cycles/mm"}}, "mm-1"),
        ({"units": {"position": ""}}, "position.attrs has no units"),
        ({"units": {"position": 3}}, "position.attrs has no units"),
        ({"coords": {"time": [3.0, 2.0, 1.0, 0.0, -1.0]}}, "time does not increase"),
        ({"coords": {"time": [0.0, 1.0, np.nan, 3.0, 4.0]}}, "time holds NaN"),
        ({"coords": {"position": np.zeros(8)}}, "position neither increases nor decreases"),
        ({"coords": {"position": np.arange(7)}}, "coordinate position has .*7"),
        ({"coords": {"depth": np.arange(7)}}, "coordinate depth"),
        ({"coords": {"x": np.arange(8.0)}}, "coordinate x"),
        ({"drive": np.zeros(5)}, r"drive has shape \(5,\)"),
        ({"encoder": np.zeros((1, 9, 1))}, "encoder has 9 along 'position'"),
        ({"previous": np.zeros(9)}, "previous has 9 along 'position'"),
        ({"previous": np.zeros((5, 8))}, "previous has shape"),
        ({"loss": np.zeros(4)}, "loss has 4 along 'time'"),
        ({"drive": [[1.0], [2.0, 3.0]]}, "drive is not an array"),
        ({"config": {"kernel": np.ones(3)}}, "config must be"),
        ({"coords": [1, 2]}, "coords must be a mapping"),
        ({"units": "mm"}, "units must be a mapping"),
        ({"seed": True}, "'seed'. is True"),
        ({"seed": 2**63}, "'seed'. is 9223372036854775808"),
        ({"options": {"a": 1}}, "'options'. is {'a': 1}"),
        ({"options": [1, "a"]}, "options"),
        ({"options": []}, "options"),
        ({"options": [None]}, "options"),
        ({"options": np.zeros((2, 2))}, "options"),
        ({"remark": "a\0b"}, "remark"),
        ({"extra": xr.DataArray(np.zeros(3), dims="a-b")}, "'a-b' is not accepted as a name"),
        ({"extra": xr.DataArray(np.zeros(3, "M8[s]"), dims="day")}, "extra has dtype datetime64"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(arguments, named):
    with pytest.raises((ValueError, TypeError), match=named):
        recording(**{"activity": np.zeros((5, 8)), **arguments})


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda r: r.rename(activity="h"), "the variable 'activity' is missing .*bias"),
        (lambda r: r.drop_vars("time"), r"the coordinate time\(time\) is missing"),
        (lambda r: r.drop_vars("position"), r"the coordinate position\(position\) is missing"),
        (lambda r: r.drop_vars("step"), r"the coordinate step\(step\) is missing"),
        (lambda r: r.isel(time=-1), "activity has the dims .*'channel', 'position'"),
        (lambda r: r.transpose("position", ...), "activity has the dims"),
        (lambda r: r.isel(time=slice(None, None, -1)), "time does not increase"),
        (lambda r: r.drop_attrs(deep=False), "attrs has no Conventions.*source.*history.*wavefield_schema"),
        (lambda r: r.assign_attrs(wavefield_schema=99), "wavefield_schema is 99.*newer version"),
        (lambda r: r.assign_attrs(note=None), "'note'. is None"),
        (lambda r: r.assign_attrs({"a b": 1}), "'a b'"),
        (lambda r: r.assign(drive=r.drive.rename(step="pulse")), "drive has the dims"),
        (lambda r: r.assign(previous=r.activity), "previous has the dims"),
        (lambda r: r.assign(extra=("channel", np.zeros(2))), "extra.attrs has no units.*extra.attrs has no long_name"),
        (lambda r: r.assign(label=r.label.astype("S")), "label has dtype |S"),
        (lambda r: r.assign_coords(position=[str(n) for n in range(8)]), "coordinate position is <U1"),
    ],
)
def test_validation_says_what_is_missing(spoil, named):
    with pytest.raises(ValueError, match=named):
        validate_recording(spoil(simulated()))


def test_electrodes_need_their_places():
    rec = recording(np.zeros((5, 8)), coords={"x": np.arange(8.0), "y": np.zeros(8)})
    with pytest.raises(ValueError, match=r"the coordinate y\(electrode\) is missing"):
        validate_recording(rec.drop_vars("y"))
    with pytest.raises(TypeError, match=r"xarray\.Dataset, got DataArray"):
        validate_recording(rec.activity)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_recording_is_read_back_as_it_was_written(tmp_path, dtype):
    rec = simulated(dtype=dtype)
    with open_recording(save_recording(rec, tmp_path / "r.nc")) as again:
        assert_same(rec, again.load())
    with open_recording(tmp_path / "r.nc", chunks={"time": 5}) as lazy:
        assert lazy.activity.chunks[0] == (5, 5, 2)
        assert_same(rec, lazy.compute())


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_the_file_is_plain_netcdf(tmp_path, engine):
    rec = simulated()
    save_recording(rec, tmp_path / "r.nc")
    with xr.open_dataset(tmp_path / "r.nc", engine=engine) as plain:
        xr.testing.assert_equal(plain.load(), rec)
        assert plain.attrs["boundary"] == "periodic"
    with netCDF4.Dataset(tmp_path / "r.nc") as file:
        assert file.data_model == "NETCDF4"
        assert file["activity"].dimensions == ("time", "channel", "position")
        assert file["position"].units == "mm"
        np.testing.assert_array_equal(file["activity"][:], rec.activity)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats()
ATTRIBUTES = TEXT | NUMBERS | st.lists(TEXT, min_size=2, max_size=4) | st.lists(st.floats(), min_size=2, max_size=4)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).map(lambda name: f"my_{name}")


@settings(ONE_FILE, max_examples=30)
@given(
    npst.arrays(st.sampled_from(["f4", "f8", "i2", "u8"]), npst.array_shapes(min_dims=2, max_dims=4)),
    st.dictionaries(NAMES, ATTRIBUTES, max_size=4),
    st.lists(TEXT, min_size=1, max_size=3),
)
def test_any_values_attributes_and_texts_survive_the_disk(tmp_path, values, attributes, words):
    rec = recording(values, words=xr.DataArray(words, dims="word"), **attributes)
    save_recording(rec, tmp_path / "r.nc")
    with open_recording(tmp_path / "r.nc") as again:
        assert again.load().attrs.keys() == rec.attrs.keys()
        for name, value in rec.attrs.items():
            np.testing.assert_equal(again.attrs[name], value)
        assert_same(rec.drop_attrs(deep=False), again.drop_attrs(deep=False))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.complex_numbers() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


@settings(ONE_FILE, max_examples=100)
@given(JUNK, st.text(max_size=4))
def test_an_attribute_is_refused_or_can_be_saved(tmp_path, value, name):
    rec = recording(np.zeros((2, 3)))
    rec.attrs[name] = value
    _, refusal = attempt(validate_recording, rec)
    if refusal:
        assert "attrs" in refusal
    else:
        with open_recording(save_recording(rec, tmp_path / "r.nc")) as again:
            expected = value[0] if isinstance(value, list) and len(value) == 1 else value
            np.testing.assert_equal(again.attrs[name], expected)


@settings(deadline=None, max_examples=200)
@given(
    npst.arrays(
        npst.scalar_dtypes() | st.just(np.dtype(object)), npst.array_shapes(min_dims=0, max_dims=5, max_side=3)
    ),
    st.none()
    | st.lists(st.sampled_from(["time", "position", "x", "y", "electrode", "trial", "channel"]), max_size=5)
    | JUNK,
    st.none() | st.dictionaries(st.sampled_from(["time", "position", "x"]), JUNK, max_size=2),
    st.none() | st.floats() | JUNK,
    st.none() | JUNK,
)
def test_bad_input_gives_a_valid_recording_or_an_error_that_names_it(values, dims, coords, dt, drive):
    rec, refusal = attempt(recording, values, dims=dims, coords=coords, dt=dt, drive=drive)
    if refusal:
        assert any(word in refusal for word in ("activity", "dims", "coord", "dt", "drive"))
    else:
        validate_recording(rec)


def folder(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["r", "r.h5", "r.partial.nc", ".nc"])
def test_other_names_than_nc_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"file name ends in \.nc"):
        save_recording(simulated(), tmp_path / name)
    assert not folder(tmp_path)


def test_a_recording_without_times_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"r\.nc holds no times"):
        save_recording(recording(np.empty((0, 8))), tmp_path / "r.nc")
    assert not folder(tmp_path)


def uncomputable():
    """A recording that fails when its activity is computed."""

    def compute(block):
        raise ZeroDivisionError("computed")

    rec = recording(np.zeros((4, 8)))
    rec["activity"] = rec.activity.copy(
        data=dask.array.zeros((4, 8), chunks=(2, 8)).map_blocks(compute, meta=np.empty(0))
    )
    return rec


@pytest.mark.parametrize("place", ["missing/r.nc", "file.txt/r.nc", "folder.nc"])
def test_an_unwritable_path_is_refused_before_anything_is_computed(tmp_path, place):
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "folder.nc").mkdir()
    before = folder(tmp_path)
    with pytest.raises(OSError, match=rf"(cannot be written|is a folder).*{place}"):
        save_recording(uncomputable(), tmp_path / place)
    assert folder(tmp_path) == before


def test_a_failure_while_saving_leaves_the_older_file_and_no_other(tmp_path):
    save_recording(simulated(), tmp_path / "r.nc")
    with pytest.raises(ZeroDivisionError):
        save_recording(uncomputable(), tmp_path / "r.nc")
    assert folder(tmp_path) == ["r.nc"]
    with open_recording(tmp_path / "r.nc") as rec:
        assert rec.attrs["seed"] == 7


def test_a_recording_can_be_saved_over_the_file_it_was_opened_from(tmp_path):
    save_recording(simulated(), tmp_path / "r.nc")
    with open_recording(tmp_path / "r.nc") as rec:
        save_recording(rec.assign(activity=rec.activity.copy(data=rec.activity.values * 2)), tmp_path / "r.nc")
    with open_recording(tmp_path / "r.nc") as rec:
        np.testing.assert_array_equal(rec.activity, 2 * simulated().activity)


def test_packing_and_chunks_of_a_foreign_file_are_not_carried_over(tmp_path):
    rec = recording(RNG.standard_normal((6, 8)))
    packing = {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -1, "chunksizes": (1, 8), "zlib": True}
    rec.to_netcdf(tmp_path / "packed.nc", engine="h5netcdf", encoding={"activity": packing})
    with open_recording(tmp_path / "packed.nc") as packed:
        finer = packed.assign(activity=packed.activity.copy(data=rec.activity.values))
        save_recording(finer, tmp_path / "r.nc")
    with open_recording(tmp_path / "r.nc") as again:
        np.testing.assert_array_equal(again.activity, rec.activity)


def limited(code, directory, megabytes):
    """Run Python code in a process that cannot write files larger than so many megabytes, as if the disk were full."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({megabytes << 20}, {megabytes << 20}))"
    return subprocess.run(
        [sys.executable, "-c", f"{limit}\n{code}"], cwd=directory, capture_output=True, text=True, timeout=60
    )


def test_a_full_disk_while_saving_gives_an_error_and_leaves_nothing(tmp_path):
    result = limited(
        "import numpy as np\n"
        "from wavefield import recording, save_recording\n"
        "save_recording(recording(np.ones((1000, 1000))), 'r.nc')",
        tmp_path,
        megabytes=4,
    )
    assert result.returncode == 1
    assert "OSError" in result.stderr
    assert "cannot be written: File too large" in result.stderr
    assert "r.nc" in result.stderr.splitlines()[-1]
    assert not folder(tmp_path)


def test_a_kill_while_saving_leaves_the_older_file_under_its_name(tmp_path):
    save_recording(simulated(), tmp_path / "r.nc")
    code = """
import os, signal, dask.array, numpy as np
from wavefield.recordings.recording import recording, save_recording
def die(block):
    os.kill(os.getpid(), signal.SIGKILL)
rec = recording(np.zeros((4, 8)))
array = dask.array.zeros((4, 8), chunks=(2, 8)).map_blocks(die, meta=np.empty(0))
save_recording(rec.assign(activity=rec.activity.copy(data=array)), "r.nc")
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == -signal.SIGKILL
    with open_recording(tmp_path / "r.nc") as rec:
        assert_same(rec.load(), simulated().assign_attrs(history=rec.attrs["history"]))


# --- files that are no recordings -------------------------------------------------------------------------------------


def test_a_missing_file_is_named_and_so_is_the_partial_one_beside_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*r\.nc"):
        open_recording(tmp_path / "r.nc")
    (tmp_path / "r.partial.nc").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"interrupted recording is at .*r\.partial\.nc"):
        open_recording(tmp_path / "r.nc")
    with pytest.raises(IsADirectoryError, match="is a folder, not a recording"):
        open_recording(tmp_path)


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        (xr.Dataset({"temperature": ("t", [1.0])}), r"'activity' is missing \(there are \['temperature'\]\)"),
        (xr.Dataset({"activity": (("time", "lat"), np.zeros((2, 2)))}), "activity has the dims .*'lat'"),
        (xr.Dataset({"activity": (("time", "position"), np.zeros((2, 2)))}), "coordinate time.* is missing.*no units"),
        (recording(np.zeros((2, 2))).assign_attrs(wavefield_schema=2), "newer version"),
    ],
)
def test_a_foreign_netcdf_file_is_refused_with_what_is_missing(tmp_path, dataset, named):
    dataset.to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=rf"f\.nc is not a valid recording: .*{named}"):
        open_recording(tmp_path / "f.nc")


def test_other_formats_are_refused(tmp_path):
    (tmp_path / "text.nc").write_text("time,position\n")
    (tmp_path / "empty.nc").write_text("")
    simulated()[["bias"]].drop_attrs().to_netcdf(tmp_path / "three.nc", engine="scipy")
    for name in ("text.nc", "empty.nc", "three.nc"):
        with pytest.raises(ValueError, match=rf"{name} is not a netCDF 4 file, or is damaged or cut off"):
            open_recording(tmp_path / name)


@ONE_FILE
@given(st.data())
def test_a_file_cut_off_anywhere_is_refused(tmp_path, data):
    whole = tmp_path / "whole.nc"
    if not whole.exists():
        save_recording(simulated(), whole)
    content = whole.read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"cut\.nc is not a netCDF 4 file, or is damaged or cut off"):
        open_recording(tmp_path / "cut.nc")


def test_opening_reads_no_activity(tmp_path):
    save_recording(recording(np.zeros((1000, 2000))), tmp_path / "r.nc")  # 16 MB
    tracemalloc.start()
    with open_recording(tmp_path / "r.nc") as rec:
        rec.activity[-1].load()
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_arrays_are_as_large_as_what_is_stored_of_them_can_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(external, "LARGE", 1000)
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        file.create_dataset("zeros", data=np.zeros((50, 1000)), compression="gzip")  # 400 kB in less than one
    external.refuse_oversized(tmp_path / "packed.h5")
    for name, shape in (("line", (2000,)), ("field", (20, 100))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset(name, shape, "f4", chunks=True)  # of which nothing is stored
        with pytest.raises(ValueError, match=f"{name} is damaged: 0 bytes cannot hold an array of 8000 bytes"):
            external.refuse_oversized(tmp_path / f"{name}.h5")
    external.refuse_oversized(tmp_path / "field.h5", partial=True)  # still unwritten
    with pytest.raises(ValueError, match="line is damaged"):
        external.refuse_oversized(tmp_path / "line.h5", partial=True)

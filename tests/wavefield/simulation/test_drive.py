import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wavefield.simulation.drive import load_drive, spike_trains, spikes

ONE_FILE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # rewritten each time
AMPLITUDES = st.floats(allow_nan=False, allow_infinity=False).filter(lambda a: a != 0)


def attempt(function, *arguments):
    """What the function returns and "", or None and the text of its error."""
    try:
        return function(*arguments), ""
    except (ValueError, TypeError) as error:
        return None, str(error)


@st.composite
def trains_and_steps(draw):
    steps = draw(st.integers(1, 40))
    onsets = st.lists(st.integers(0, steps - 1), unique=True).map(sorted)
    trains = draw(st.lists(onsets, min_size=1, max_size=5))
    return [[(onset, draw(AMPLITUDES)) for onset in train] for train in trains], steps


def test_spikes_stand_at_their_onsets_and_nowhere_else():
    drive = spikes([[(12, 1.0), (40, 1.0)], [(25, 1.0)], [(31, 0.5)]], steps=100)
    assert drive.dims == ("step", "input")
    assert drive.shape == (100, 3)
    assert [drive.values[t, i] for t, i in [(12, 0), (40, 0), (25, 1), (31, 2)]] == [1, 1, 1, 0.5]
    assert np.count_nonzero(drive) == 4


@settings(deadline=None)
@given(trains_and_steps())
def test_spike_trains_gives_back_what_spikes_was_given(case):
    trains, steps = case
    assert spike_trains(spikes(trains, steps)) == trains


@settings(deadline=None)
@given(npst.arrays(np.float64, npst.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e3, 1e3)))
def test_spikes_gives_back_any_drive_from_its_events(values):
    np.testing.assert_array_equal(spikes(spike_trains(values), len(values)), values)


def test_spike_trains_goes_by_the_names_of_the_dims():
    drive = spikes([[(1, 2.0)], [], [(4, 3.0)]], steps=5)
    assert spike_trains(drive.transpose("input", "step")) == [[(1, 2.0)], [], [(4, 3.0)]]


@pytest.mark.parametrize(
    ("trains", "named"),
    [
        ([[(3, 1.0)], [(5, 1.0), (4, 1.0)]], "input 1, event 1: onset 4 comes after 5"),
        ([[(3, 1.0), (3, 2.0)]], "input 0, event 1: onset 3 is given twice"),
        ([[(-1, 1.0)]], "input 0, event 0: onset -1 is outside"),
        ([[], [(2, 1.0), (10, 1.0)]], "input 1, event 1: onset 10 is outside .* steps=10"),
        ([[(2, np.nan)]], "input 0, event 0: the amplitude must be finite, got nan"),
        ([[(2, -np.inf)]], "input 0, event 0: the amplitude must be finite"),
        ([[(2.5, 1.0)]], "input 0, event 0: the onset must be an integer"),
        ([[(True, 1.0)]], "input 0, event 0: the onset must be an integer"),
        ([[(2, 1j)]], "input 0, event 0: the amplitude must be a number"),
        ([[(2, None)]], "input 0, event 0: the amplitude must be a number"),
        ([[(2, 1.0, 3.0)]], "input 0, event 0: an event must be a pair"),
        ([(2, 1.0)], "input 0, event 0: an event must be a pair"),
        ([3], r"input 0: a train must be \[\(onset"),
        ([], "no inputs"),
        ("ab", "one train"),
        ({0: [(1, 1.0)]}, "one train"),
        (None, "one train"),
    ],
)
def test_bad_trains_are_refused_by_input_and_event(trains, named):
    with pytest.raises((ValueError, TypeError), match=named):
        spikes(trains, steps=10)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, None, "10"])
def test_bad_steps_are_refused(steps):
    with pytest.raises((ValueError, TypeError), match="steps"):
        spikes([[]], steps)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.integers(), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-3, 12) | JUNK, st.floats() | JUNK), max_size=3), max_size=3) | JUNK)
def test_whatever_is_given_as_trains_becomes_a_finite_drive_or_a_clear_error(trains):
    drive, refusal = attempt(spikes, trains, 10)
    if refusal:
        assert any(word in refusal for word in ("input", "train", "event"))
    else:
        assert drive.shape == (10, len(trains))
        assert np.isfinite(drive).all()


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 3, 4)), np.full((3, 2), np.nan), np.zeros((3, 0)), [["a"]]])
def test_spike_trains_refuses_what_is_no_drive(bad):
    with pytest.raises(ValueError, match="drive"):
        spike_trains(bad)


# --- files ------------------------------------------------------------------------------------------------------------

VALUES = np.array([[0.0, 1.0, -2.5], [1e-300, 0.1, 3.0], [0.0, 0.0, 1 / 3]])


def test_the_same_drive_is_read_from_every_format(tmp_path):
    np.save(tmp_path / "d.npy", VALUES)
    np.savetxt(tmp_path / "bare.csv", VALUES, delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "named.csv", VALUES, delimiter=",", fmt="%.17g", header="a,b,c")
    xr.Dataset({"drive": (("time", "input"), VALUES), "other": ("time", VALUES[0])}).to_netcdf(
        tmp_path / "d.nc", engine="h5netcdf"
    )
    xr.DataArray(VALUES.T, dims=("input", "step"), name="x").to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    spikes(spike_trains(VALUES), 3).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    series = xr.DataArray(VALUES.T, {"input": ["a", "b", "c"], "time": [0.1, 0.2, 0.3]}, ("input", "time"), name="x")
    series.to_netcdf(tmp_path / "series.nc", engine="h5netcdf")
    for name in ("d.npy", "bare.csv", "named.csv", "d.nc", "t.nc", "s.nc", "series.nc"):
        drive = load_drive(tmp_path / name)
        assert drive.dims == ("step", "input"), name
        np.testing.assert_array_equal(drive, VALUES, err_msg=name)
    for name in ("named.csv", "series.nc"):
        assert load_drive(tmp_path / name).input.values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(load_drive(tmp_path / "d.nc", variable="other"), VALUES[0][:, np.newaxis])


def test_a_table_written_by_pandas_is_read_without_its_index(tmp_path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(VALUES).to_csv(tmp_path / "index.csv")
    pandas.DataFrame(VALUES, index=pandas.Index([0.1, 0.2, 0.3], name="time")).to_csv(tmp_path / "time.csv")
    np.testing.assert_array_equal(load_drive(tmp_path / "index.csv"), VALUES)
    np.testing.assert_array_equal(load_drive(tmp_path / "time.csv"), VALUES)


def test_float32_stays_float32_and_whole_numbers_become_float64(tmp_path):
    for dtype, expected in [("f4", "f4"), ("f8", "f8"), (">f8", "f8"), ("i2", "f8"), ("?", "f8")]:
        np.save(tmp_path / "d.npy", np.ones((4, 2), dtype))
        assert load_drive(tmp_path / "d.npy").dtype == expected


@ONE_FILE
@given(
    npst.arrays(
        np.float64, npst.array_shapes(min_dims=2, max_dims=2), elements=st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_values_in_a_csv_file_are_read_exactly(tmp_path, values):
    np.savetxt(tmp_path / "d.csv", values, delimiter=",", fmt="%.17g")
    np.testing.assert_array_equal(load_drive(tmp_path / "d.csv"), values)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("1,2\n3,nan\n", "nan at step 1, input 1"),
        ("1,2\n3,inf\n", "inf at step 1, input 1"),
        ("a,b\n1,2\n3\n", "line 3: 1 values, but 2"),
        ("1,2\n3,x\n", "line 2: 'x' is not a number"),
        ("1,x\n3,4\n", "line 1: 'x' is not a number"),
        ("1,2\n3,\n", "line 2: '' is not a number"),
        ("1\n\n2\n", "line 2"),
        ("1 2\n3 4\n", "holds no rows|'3 4' is not a number"),
        ("1;2\n3;4\n", "'3;4' is not a number"),
        ("a,b\n", "no rows"),
        ("", "no rows"),
        ("\n\n", "no rows"),
        ("time,a\n0,1\n1,1\n3,1\n", "even steps"),
        ("time,a\n0,1\n0.0001,1\n0.0003,1\n", "even steps"),
        ("step\n0\n1\n", "shape"),
        ("\x00\x01", "number|CSV|rows"),
    ],
)
def test_a_csv_file_that_is_no_drive_is_refused_by_name_and_line(tmp_path, text, named):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        load_drive(tmp_path / "bad.csv")
    assert "bad.csv" in str(caught.value)


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2)), np.zeros(()), np.zeros((0, 3)), np.zeros((3, 2), complex)])
@pytest.mark.parametrize("form", ["npy", "nc"])
def test_arrays_that_are_no_drive_are_refused_by_file_and_shape(tmp_path, form, array):
    path = tmp_path / f"bad.{form}"
    if form == "npy":
        np.save(path, array)
    else:
        xr.DataArray(array, name="drive").to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match=r"bad\.\w+ has (shape|dtype)"):
        load_drive(path)


def test_objects_in_an_npy_file_are_never_unpickled(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"bad\.npy is not an NPY file of numbers"):
        load_drive(tmp_path / "bad.npy")


def test_a_netcdf_file_without_a_clear_drive_says_what_there_is(tmp_path):
    xr.Dataset({"a": ("t", [1.0]), "b": ("t", [1.0])}).to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"two\.nc has no variable 'drive'.*\['a', 'b'\]"):
        load_drive(tmp_path / "two.nc")
    with pytest.raises(ValueError, match=r"two\.nc has no variable 'c'"):
        load_drive(tmp_path / "two.nc", variable="c")


def test_missing_files_foreign_endings_and_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        load_drive(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"\.csv, \.npy or \.nc"):
        load_drive(tmp_path / "drive.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match="folder"):
        load_drive(tmp_path / "folder.csv")
    np.save(tmp_path / "d.npy", VALUES)
    with pytest.raises(ValueError, match=r"variable='x'.*not a netCDF"):
        load_drive(tmp_path / "d.npy", variable="x")


@ONE_FILE
@given(st.binary(max_size=300), st.sampled_from(["csv", "npy", "nc"]), st.booleans())
def test_any_bytes_are_a_drive_or_an_error_that_names_the_file(tmp_path, data, form, genuine_start):
    path = tmp_path / f"any.{form}"
    start = {"npy": b"\x93NUMPY\x01\x00v\x00", "nc": b"\x89HDF\r\n\x1a\n", "csv": b"1,2\n"}[form]
    path.write_bytes(start * genuine_start + data)
    drive, refusal = attempt(load_drive, path)
    if refusal:
        assert str(path) in refusal
    else:
        assert np.isfinite(drive).all()


@ONE_FILE
@given(st.data())
def test_a_damaged_npy_header_claims_no_memory(tmp_path, data):
    np.save(tmp_path / "d.npy", VALUES)
    content = bytearray((tmp_path / "d.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    (tmp_path / "d.npy").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    drive, refusal = attempt(load_drive, tmp_path / "d.npy")
    if refusal:
        assert "d.npy" in refusal
    else:
        assert drive.size <= VALUES.size * 8

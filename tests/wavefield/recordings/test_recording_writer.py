import itertools
import os
import subprocess
import sys
import tracemalloc

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wavefield.recordings.recording import open_recording, recording
from wavefield.recordings.writer import RecordingWriter
from wavefield.simulation.drive import spikes

ONE_FILE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # rewritten each time


def simulated(steps=12, trials=None, dtype=np.float64, **more):
    """A recording with everything that is written beside an activity, along time and not."""
    shape = (steps, 2, 8) if trials is None else (trials, steps, 2, 8)
    h = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    return recording(
        h,
        dt=0.1,
        save_every=3,
        units={"time": "s"},
        drive=spikes([[(0, 1.0), (2, -2.0)], []], steps=3 * steps),
        previous=h[..., -1, :, :] + 1,
        kernel=np.arange(12.0).reshape(2, 2, 3),
        label="wave",
        loss=np.random.default_rng(2).random(shape[:-2]),
        epoch=xr.DataArray(np.arange(steps, dtype=np.int32), dims="time"),
        words=xr.DataArray(["", "ü"], dims="word"),
        boundary="periodic",
        seed=7,
        speeds=[0.5, -1.0],
        names=["left", "rechts"],
        **more,
    )


def folder(path):
    return sorted(entry.name for entry in path.iterdir())


@settings(ONE_FILE, max_examples=15)
@given(
    steps=st.integers(1, 200),
    trials=st.none() | st.integers(1, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    known=st.booleans(),
)
def test_blocks_of_any_length_make_the_file_that_the_whole_makes(tmp_path, steps, trials, dtype, cuts, known):
    rec = simulated(steps, trials, dtype)
    edges = sorted({0, steps, *(cut for cut in cuts if cut < steps)})
    with RecordingWriter(tmp_path / "w.nc", rec.isel(time=slice(0)), steps=steps if known else None) as writer:
        for start, stop in itertools.pairwise(edges):
            writer.append(rec.isel(time=slice(start, stop)))
            assert writer.written == stop
    with open_recording(tmp_path / "w.nc") as again:
        xr.testing.assert_identical(rec, again.load())
        for name, variable in rec.variables.items():
            assert variable.dtype == again[name].dtype, name
    assert folder(tmp_path) == ["w.nc"]


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("steps", [12, None, 20])
def test_the_finished_file_is_plain_netcdf(tmp_path, engine, steps):
    rec = simulated(coords={"x_of_electrode": xr.DataArray(np.arange(8.0), dims="position")})
    with RecordingWriter(tmp_path / "w.nc", rec, steps=steps) as writer:
        writer.append(rec)
    with xr.open_dataset(tmp_path / "w.nc", engine=engine) as plain:
        xr.testing.assert_equal(plain.load(), rec)
    with netCDF4.Dataset(tmp_path / "w.nc") as file:
        assert file.data_model == "NETCDF4"
        assert file["activity"].dimensions == ("time", "channel", "position")
        assert file["activity"].coordinates == "x_of_electrode"
        assert (file["time"].units, file.boundary, file.seed, file.names) == ("s", "periodic", 7, ["left", "rechts"])
        np.testing.assert_array_equal(file["activity"][:], rec.activity)


def test_times_of_plain_arrays_follow_from_dt_and_save_every(tmp_path):
    template = recording(np.empty((0, 8)), dt=0.1, save_every=5)
    with RecordingWriter(tmp_path / "w.nc", template) as writer:
        writer.append(np.zeros((3, 8)))
        writer.append(np.zeros((2, 8)))
        writer.append(np.zeros((1, 8)), time=[7.0])
    with open_recording(tmp_path / "w.nc") as rec:
        np.testing.assert_array_equal(rec.time, [*recording(np.zeros((5, 8)), dt=0.1, save_every=5).time, 7.0])


def test_a_block_of_more_than_twice_the_room_is_taken(tmp_path):
    whole = simulated(200)
    with RecordingWriter(tmp_path / "field.nc", whole) as writer:
        writer.append(whole)
    with open_recording(tmp_path / "field.nc") as rec:
        np.testing.assert_array_equal(rec.activity, whole.activity)


def test_a_continued_recording_goes_on_where_its_first_block_begins(tmp_path):
    first = recording(np.zeros((2, 8)), dt=1.0, coords={"time": [101, 102]})
    with RecordingWriter(tmp_path / "w.nc", first) as writer:
        writer.append(first)
        writer.append(np.zeros((2, 8)))
    with open_recording(tmp_path / "w.nc") as rec:
        assert rec.time.values.tolist() == [101, 102, 103, 104]


def test_a_drive_without_steps_in_the_template_is_appended_too(tmp_path):
    drive = np.random.default_rng(0).random((100, 2))
    template = recording(np.empty((0, 8)), drive=np.empty((0, 2)), dt=0.5, save_every=2)
    with RecordingWriter(tmp_path / "w.nc", template, steps=50) as writer:
        for start in range(0, 100, 20):
            writer.append(np.full((10, 8), float(start)), drive=drive[start : start + 20])
            with open_recording(writer.partial) as rec:
                np.testing.assert_array_equal(rec.drive, drive[: start + 20])
    with open_recording(tmp_path / "w.nc") as rec:
        np.testing.assert_array_equal(rec.drive, drive)
        np.testing.assert_array_equal(rec.step, np.arange(100) * 0.5)
        np.testing.assert_array_equal(rec.time, np.arange(1, 51) * 1.0)


# --- before it is whole -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 12])
def test_the_partial_file_is_readable_after_every_block_and_nothing_stands_under_the_final_name(tmp_path, steps):
    rec = simulated()
    with RecordingWriter(tmp_path / "w.nc", rec, steps=steps) as writer:
        with open_recording(writer.partial) as none_yet:
            assert none_yet.sizes["time"] == 0
        for t in range(12):
            block = rec.isel(time=[t])
            writer.append(block, previous=rec.previous + t)
            assert folder(tmp_path) == ["w.partial.nc"]
            with open_recording(writer.partial) as so_far:
                expected = rec.isel(time=slice(t + 1)).assign(
                    previous=(rec.previous + t).assign_attrs(rec.previous.attrs)
                )
                xr.testing.assert_identical(so_far.load(), expected)
    assert folder(tmp_path) == ["w.nc"]


def test_an_exception_leaves_what_was_appended_and_the_older_file(tmp_path):
    rec = simulated()
    with RecordingWriter(tmp_path / "w.nc", rec.assign_attrs(seed=1)) as writer:
        writer.append(rec)
    with pytest.raises(KeyboardInterrupt), RecordingWriter(tmp_path / "w.nc", rec, steps=12) as writer:  # noqa: PT012
        writer.append(rec.isel(time=slice(5)))
        raise KeyboardInterrupt
    assert folder(tmp_path) == ["w.nc", "w.partial.nc"]
    with open_recording(tmp_path / "w.partial.nc") as partial, open_recording(tmp_path / "w.nc") as older:
        xr.testing.assert_identical(partial.load(), rec.isel(time=slice(5)))
        assert older.attrs["seed"] == 1


def test_an_interrupted_recording_is_not_overwritten_unless_asked(tmp_path):
    rec = simulated()
    with pytest.raises(ZeroDivisionError), RecordingWriter(tmp_path / "w.nc", rec) as writer:  # noqa: PT012
        writer.append(rec)
        raise ZeroDivisionError
    with pytest.raises(FileExistsError, match=r"overwrite=True: .*w\.partial\.nc"):
        RecordingWriter(tmp_path / "w.nc", rec)
    with RecordingWriter(tmp_path / "w.nc", rec, overwrite=True) as writer:
        writer.append(rec)
    assert folder(tmp_path) == ["w.nc"]


def test_a_writer_does_not_complete_the_file_of_another(tmp_path):
    rec = simulated()
    one = RecordingWriter(tmp_path / "w.nc", rec, steps=12)
    one.append(rec)
    other = RecordingWriter(tmp_path / "w.nc", rec.assign_attrs(seed=8), steps=12, overwrite=True)
    with pytest.raises(FileExistsError, match="another writer"):
        one.close()
    other.append(rec)
    other.close()
    with open_recording(tmp_path / "w.nc") as again:
        assert again.attrs["seed"] == 8


def test_nothing_appended_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="nothing was appended"), RecordingWriter(tmp_path / "w.nc", simulated()):
        pass
    assert folder(tmp_path) == []
    with pytest.raises(ZeroDivisionError), RecordingWriter(tmp_path / "w.nc", simulated()):
        raise ZeroDivisionError
    assert folder(tmp_path) == []


def test_a_partial_file_torn_between_its_last_times_and_previous_gives_no_wrong_previous(tmp_path, monkeypatch):
    rec = simulated()
    writer = RecordingWriter(tmp_path / "w.nc", rec, steps=12)
    writer.append(rec.isel(time=slice(5)))
    written = []

    def write_until_previous(name, rows):
        if name == "previous" and "time" in written:
            raise KeyboardInterrupt
        written.append(name)
        RecordingWriter._write(writer, name, rows)

    monkeypatch.setattr(writer, "_write", write_until_previous)
    with pytest.raises(KeyboardInterrupt):
        writer.append(rec.isel(time=slice(5, 9)))
    with open_recording(writer.partial) as partial:
        assert "previous" not in partial
        xr.testing.assert_equal(partial.load(), rec.isel(time=slice(9)).drop_vars("previous"))
    writer._file.close()


KILLED = """
import os, random, signal, sys, time
import numpy as np
from wavefield.recordings.recording import RecordingWriter, recording

def write(path, report, steps):
    template = recording(np.empty((0, 2, 100)), loss=np.empty(0), previous=np.empty((2, 100)))
    writer = RecordingWriter(path, template, steps=steps)
    t = 0
    while t < 20_000:
        rows = 1 + t % 23
        times = np.arange(t, t + rows)
        writer.append(np.tile(times[:, None, None], (1, 2, 100)).astype(float), loss=-1.0 * times,
                      previous=np.full((2, 100), t + rows - 2.0))
        t += rows
        os.write(report, b"%d " % t)
    signal.pause()

random.seed(3)
for number in range(int(sys.argv[1])):
    read, report = os.pipe()
    child = os.fork()
    if child == 0:
        write(f"{number}.nc", report, 20_023 if number % 2 else None)
    os.close(report)
    first = os.read(read, 1)
    time.sleep(random.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    counts = first
    while piece := os.read(read, 1 << 16):
        counts += piece
    os.close(read)
    print(number, counts.split()[-1].decode() if counts.endswith(b" ") else counts.split()[-2].decode())
"""


@pytest.mark.validate
def test_a_kill_at_any_moment_leaves_a_file_readable_up_to_the_last_block(tmp_path, draws):
    kills = draws(8, 100)
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(kills)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    reports = dict(map(int, line.split()) for line in result.stdout.splitlines())
    assert len(reports) == kills
    for number, reported in reports.items():
        assert not (tmp_path / f"{number}.nc").exists()
        with open_recording(tmp_path / f"{number}.partial.nc") as rec:
            t = np.arange(rec.sizes["time"])
            assert rec.sizes["time"] >= reported
            np.testing.assert_array_equal(rec.time, t + 1)
            np.testing.assert_array_equal(rec.loss, -t)
            np.testing.assert_array_equal(rec.activity, np.broadcast_to(t[:, None, None], rec.activity.shape))
            if "previous" in rec:
                assert (rec.previous == t[-1] - 1).all()


def test_flush_changes_nothing_that_a_reader_sees(tmp_path):
    rec = simulated()
    with RecordingWriter(tmp_path / "w.nc", rec, steps=12) as writer:
        writer.append(rec.isel(time=slice(6)))
        writer.flush()
        with open_recording(writer.partial) as so_far:
            xr.testing.assert_equal(so_far.load(), rec.isel(time=slice(6)))
        writer.append(rec.isel(time=slice(6, 12)))


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2000, None])
def test_memory_does_not_grow_with_the_recording(tmp_path, steps):
    block = np.zeros((20, 2, 1000), np.float32)  # 160 kB
    tracemalloc.start()
    with RecordingWriter(tmp_path / "w.nc", recording(block[:0]), steps=steps) as writer:
        for _ in range(100):  # 16 MB
            writer.append(block)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1e6 if steps else 17e6 + 1e6)  # copies go by pieces of 16 MB


def limited(code, directory, megabytes):
    """Run Python code in a process that cannot write files larger than so many megabytes, as if the disk were full."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({megabytes << 20}, {megabytes << 20}))"
    start = "import numpy as np\nfrom wavefield import RecordingWriter, recording\n"
    return subprocess.run(
        [sys.executable, "-c", f"{limit}\n{start}{code}"], cwd=directory, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be reserved on this system")
def test_a_disk_too_small_for_the_steps_is_found_before_the_first_block(tmp_path):
    result = limited("RecordingWriter('w.nc', recording(np.empty((0, 1000))), steps=1000)", tmp_path, megabytes=4)
    assert result.returncode == 1
    assert "cannot be written: File too large: 'w.partial.nc'" in result.stderr
    assert folder(tmp_path) == []


def test_a_disk_that_fills_up_leaves_what_was_written(tmp_path):
    code = """
with RecordingWriter("w.nc", recording(np.empty((0, 1000)))) as writer:
    for _ in range(1000):
        writer.append(np.full((10, 1000), 7.0))
        print(writer.written)
"""
    result = limited(code, tmp_path, megabytes=4)
    assert result.returncode == 1
    assert "File too large: 'w.partial.nc'" in result.stderr
    assert folder(tmp_path) == ["w.partial.nc"]
    with open_recording(tmp_path / "w.partial.nc") as rec:
        assert rec.sizes["time"] == int(result.stdout.split()[-1])
        assert (rec.activity == 7).all()


def test_a_disk_that_fills_up_under_reserved_room_is_named_and_leaves_the_blocks_before(tmp_path):
    code = """
import resource
writer = RecordingWriter("w.nc", recording(np.empty((0, 1000))), steps=1000)
writer.append(np.full((10, 1000), 7.0))
print(writer.written)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
with writer:
    for _ in range(99):
        writer.append(np.full((10, 1000), 7.0))
        print(writer.written)
"""
    result = limited(code, tmp_path, megabytes=100)
    assert "could not be written: File too large: 'w.partial.nc'" in result.stderr
    assert folder(tmp_path) == ["w.partial.nc"]
    with open_recording(tmp_path / "w.partial.nc") as rec:
        assert rec.sizes["time"] == int(result.stdout.split()[-1])
        assert (rec.activity == 7).all()


@pytest.mark.parametrize("place", ["missing/w.nc", "file.txt/w.nc"])
def test_an_unwritable_path_is_refused_at_once(tmp_path, place):
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(OSError, match=rf"cannot be written.*{place[:-3]}"):
        RecordingWriter(tmp_path / place, simulated())
    assert folder(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"path": "w.txt"}, "ends in .nc"),
        ({"path": "w.partial.nc"}, "ends in .nc"),
        ({"template": xr.Dataset()}, "'activity' is missing"),
        ({"template": np.zeros((2, 2))}, r"xarray\.Dataset, got ndarray"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 3.0}, "steps must be an integer"),
        ({"steps": True}, "steps must be an integer"),
        ({"template": recording(np.zeros((2, 2)), label=["a", "b"])}, "label .* cannot be appended"),
        ({"template": recording(np.zeros((2, 2), int), previous=[0, 1])}, "previous has dtype int64"),
    ],
)
def test_bad_arguments_are_refused_and_leave_no_file(tmp_path, arguments, named):
    arguments = {"path": "w.nc", "template": simulated(), "steps": 12, **arguments}
    with pytest.raises((ValueError, TypeError), match=named):
        RecordingWriter(tmp_path / arguments["path"], arguments["template"], steps=arguments["steps"])
    assert folder(tmp_path) == []


H = np.zeros((2, 2, 8))
LOSS, EPOCH, PREVIOUS = np.zeros(2), np.zeros(2, np.int32), np.zeros((2, 8))
WHOLE = {"block": H, "loss": LOSS, "epoch": EPOCH, "previous": PREVIOUS}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"block": np.zeros((2, 8))}, r"activity has shape \(2, 8\)"),
        ({"block": np.zeros((2, 3, 8))}, r"activity has shape \(2, 3, 8\); accepted is \(2, 2, 8\)"),
        ({"block": np.zeros((0, 2, 8)), "loss": [], "epoch": EPOCH[:0]}, "time: no rows"),
        ({"block": H.astype(complex)}, "activity is complex128"),
        ({"block": H.astype(np.longdouble)}, "activity is .*float"),
        ({"block": np.full((2, 2, 8), "a")}, "activity is <U1"),
        ({"block": None}, "activity"),
        ({"block": xr.DataArray(H, dims=("time", "position", "channel"))}, "activity has the dims"),
        ({"loss": np.zeros(3)}, r"loss has shape \(3,\); accepted is \(2,\)"),
        ({"epoch": np.zeros(2)}, "epoch is float64, which int32"),
        ({"previous": np.zeros(8)}, "previous has shape"),
        ({"loss": None}, "loss"),
        ({"kernel": np.zeros((2, 2, 3))}, r"\['kernel'\] cannot be appended"),
        ({"label": "b"}, r"\['label'\] cannot be appended"),
        ({"time": [1.0]}, "shape"),
        ({"time": [2.0, 1.0]}, "time must be finite and increase"),
        ({"time": [2.0, 2.0]}, "time must be finite and increase"),
        ({"time": [0.5, 9.0]}, "time must be finite and increase"),
        ({"time": [2.0, np.nan]}, "time must be finite and increase"),
        ({"time": ["a", "b"]}, "time is <U1"),
        ({"block": np.zeros((11, 2, 8)), "loss": np.zeros(11), "epoch": np.zeros(11, np.int32)}, "room for steps=12"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_and_nothing_of_it_written(tmp_path, change, named):
    writer = RecordingWriter(tmp_path / "w.nc", simulated(), steps=12)
    writer.append(H, time=[0.5, 0.6], loss=LOSS, epoch=EPOCH, previous=PREVIOUS)
    before = writer.partial.read_bytes()
    arguments = WHOLE | change
    with pytest.raises((ValueError, TypeError), match=named):
        writer.append(arguments.pop("block"), **arguments)
    assert writer.partial.read_bytes() == before
    writer.close()
    with open_recording(tmp_path / "w.nc") as rec:
        assert rec.sizes["time"] == 2


def test_everything_along_time_must_be_appended_together(tmp_path):
    with RecordingWriter(tmp_path / "w.nc", simulated()) as writer:
        with pytest.raises(ValueError, match=r"\['epoch', 'loss', 'previous'\] must be appended too"):
            writer.append(H)
        with pytest.raises(ValueError, match=r"\['loss'\] must be appended too"):
            writer.append(simulated().drop_vars("loss"))
        writer.append(simulated())
    with pytest.raises(ValueError, match="is closed"):
        writer.append(simulated())


def test_times_must_be_given_where_the_template_has_no_dt(tmp_path):
    template = recording(np.zeros((2, 8)), coords={"time": [0.0, 0.3]})
    with RecordingWriter(tmp_path / "w.nc", template) as writer:
        with pytest.raises(ValueError, match="time must be given"):
            writer.append(np.zeros((2, 8)))
        writer.append(np.zeros((2, 8)), time=[0.0, 0.3])

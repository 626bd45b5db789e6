"""Files of strangers: only what was asked for is read, sizes are believed up to a limit, no other file is opened."""

import io
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from scipy.io import savemat

import wavefield as wf
from analysis.__main__ import main
from analysis.readers import arrays, read_arrays, read_nwb, write_nwb
from wavefield.__main__ import main as wave
from wavefield.recordings.external import refuse_external

PLACES = {"positions": "places", "position_units": "mm", "units": "uV", "rate": 500.0}


def header(shape, dtype="<f8"):
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": dtype, "fortran_order": False, "shape": shape})
    return text.getvalue()


def saved(array):
    text = io.BytesIO()
    np.save(text, array)
    return text.getvalue()


def test_arrays_that_were_not_asked_for_are_not_read(tmp_path):
    path = tmp_path / "side.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("junk.npy", "w") as file:
            file.write(header((50_000_000,)))
            for _ in range(25):
                file.write(b"\0" * 16_000_000)
        archive.writestr("lfp.npy", saved(np.ones((100, 3))))
        archive.writestr("places.npy", saved(np.arange(3.0)[:, None]))
    tracemalloc.start()
    rec = read_arrays(path, series="lfp", **PLACES)
    assert float(rec.activity.sum()) == 300.0
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("ending", ["npz", "mat"])
def test_metadata_of_another_kind_beside_the_samples_do_no_harm(ending, tmp_path):
    path = tmp_path / f"meta.{ending}"
    about = np.array(["x", 3], dtype=object)
    content = {"lfp": np.ones((100, 3), np.float32), "places": np.arange(3.0)[:, None], "subject": about}
    np.savez(path, **content) if ending == "npz" else savemat(path, content)
    rec = read_arrays(path, **PLACES)
    assert rec.activity.dtype == np.float32
    assert float(rec.activity.sum()) == 300.0
    with pytest.raises(ValueError, match="subject"):
        read_arrays(path, series="subject", **PLACES)


def test_a_size_that_the_file_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "declared.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lfp.npy", header((10_000_000, 4)) + b"\0" * 100)
        archive.writestr("places.npy", saved(np.arange(4.0)[:, None]))
    with pytest.raises(ValueError, match=r"declared.npz: lfp is damaged: \d+ bytes cannot hold an array of 320000000"):
        read_arrays(path, series="lfp", **PLACES).load()
    (tmp_path / "declared.npy").write_bytes(header((10_000_000, 4)) + b"\0" * 100)
    with pytest.raises(ValueError, match=r"declared.npy is not a .npy file, or is damaged or cut off"):
        read_arrays(tmp_path / "declared.npy", **PLACES | {"positions": np.zeros((4, 1))})


def test_an_array_beyond_the_limit_is_refused_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LARGEST", 2000)
    for name in ("large.npz", "large.mat"):
        content = {"lfp": np.zeros((100, 3)), "places": np.arange(3.0)[:, None]}
        np.savez(tmp_path / name, **content) if name.endswith("npz") else savemat(tmp_path / name, content)
        with pytest.raises(
            ValueError, match=rf"{name}: lfp is an array of .* GiB, more than .*7\.3, which are read piece"
        ):
            read_arrays(tmp_path / name, series="lfp", **PLACES).load()


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_loaded(tmp_path):
    evil = np.array([[Harmful()] * 3] * 4, dtype=object)
    np.savez(tmp_path / "evil.npz", lfp=evil, places=np.arange(3.0)[:, None])
    np.savez(tmp_path / "places.npz", lfp=np.ones((4, 3)), places=evil)
    for name in ("evil.npz", "places.npz"):
        with pytest.raises(ValueError, match=name):
            read_arrays(tmp_path / name, series="lfp", **PLACES).load()


def linked(path, kind, tmp_path):
    """A file of version 7.3 whose samples lie in another file."""
    secret = tmp_path / "secret.h5"
    secret.write_bytes(bytes(8 * 300))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["lfp"] = np.ones((3, 100))
    with h5py.File(path, "w") as file:
        file["places"] = np.arange(3.0)[None]
        if kind == "storage":
            file.create_dataset("lfp", (3, 100), "f8", external=[(str(secret), 0, 8 * 300)])
        elif kind == "link":
            file["lfp"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "lfp")
        else:
            layout = h5py.VirtualLayout((3, 100), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "lfp", (3, 100))
            file.create_virtual_dataset("lfp", layout)


@pytest.mark.parametrize(("kind", "other"), [("storage", "secret.h5"), ("link", "other.h5"), ("virtual", "other.h5")])
def test_data_in_other_files_are_refused_by_name_unless_allowed(kind, other, tmp_path):
    path = tmp_path / "session.mat"
    linked(path, kind, tmp_path)
    with pytest.raises(ValueError, match=rf"session.mat: lfp .* another file, .*{other}.*allow_external"):
        read_arrays(path, series="lfp", **PLACES)
    rec = read_arrays(path, series="lfp", allow_external=True, **PLACES)
    assert rec.activity.shape == (100, 3)
    rec.close()


def test_a_recording_that_reaches_into_another_file_is_refused_unless_allowed(tmp_path):
    path, secret = tmp_path / "field.nc", tmp_path / "secret"
    wf.save_recording(wf.recording(np.ones((4, 3)), dt=1.0, dx=1.0), path)
    secret.write_bytes(bytes(8 * 12))
    wf.open_recording(path).close()
    with h5py.File(path, "r+") as file:
        attributes = dict(file["activity"].attrs)
        scales = [scale.name for dim in file["activity"].dims for scale in dim.values()]
        del file["activity"]
        file.create_dataset("activity", (4, 3), "f8", external=[(str(secret), 0, 8 * 12)])
        for axis, scale in enumerate(scales):
            file["activity"].dims[axis].attach_scale(file[scale])
        for name in ("units", "long_name"):
            file["activity"].attrs[name] = attributes[name]
    with pytest.raises(ValueError, match=r"field.nc: activity is kept in another file, .*secret"):
        wf.open_recording(path)
    with wf.open_recording(path, allow_external=True) as rec:
        assert float(rec.activity.sum()) == 0.0


def test_links_within_a_file_are_its_own(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["a/b"] = np.zeros(3)
        file["soft"] = h5py.SoftLink("/a/b")
        file["hard"] = file["a"]
        file["gone"] = h5py.SoftLink("/nowhere")
    refuse_external(tmp_path / "own.h5")


def test_a_folder_whose_name_looks_like_an_address_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3::x").mkdir()
    wf.save_recording(wf.recording(np.ones((4, 3)), dt=1.0, dx=1.0), "s3::x/field.nc")
    with wf.open_recording("s3::x/field.nc") as rec:
        assert float(rec.activity.sum()) == 12.0


@pytest.mark.parametrize("kind", ["link", "storage"])
def test_an_nwb_file_that_reaches_into_another_file_is_refused_unless_allowed(kind, tmp_path):
    pytest.importorskip("pynwb", reason="NWB files need pynwb")
    units = {"time": "s", "position": "mm", "activity": "uV"}
    rec = wf.recording(np.ones((30, 4)), dt=0.001, dx=0.4, units=units)
    path, other = write_nwb(rec, tmp_path / "session.nwb"), tmp_path / "other"
    with h5py.File(path, "r+") as file:
        found = file.visititems(lambda name, item: item if getattr(item, "shape", None) == (30, 4) else None)
        name, values = found.name, found[:]
        attributes = dict(found.attrs)
        del file[name]
        if kind == "link":
            with h5py.File(other, "w") as elsewhere:
                elsewhere["data"] = values
                elsewhere["data"].attrs.update(attributes)
            file[name] = h5py.ExternalLink(str(other), "data")
        else:
            other.write_bytes(values.tobytes())
            file.create_dataset(name, (30, 4), values.dtype, external=[(str(other), 0, values.nbytes)])
            file[name].attrs.update(attributes)
    with pytest.raises(ValueError, match=r"session.nwb: .* another file, .*other.*allow_external"):
        read_nwb(path)
    with read_nwb(path, allow_external=True) as read:
        np.testing.assert_allclose(read.activity, 1.0)
    arguments = ["import", str(path), "-o", str(tmp_path / "out.nc")]
    assert main(arguments) == 2
    assert main([*arguments, "--allow-external", "--json"]) == 0


def test_the_commands_read_other_files_only_where_they_are_allowed_to(tmp_path, capsys):
    path = tmp_path / "field.nc"
    wave(["simulate", "transport", "--size", "16", "--steps", "20", "--spike", "0:3", "-o", str(path), "-q"])
    values = tmp_path / "values"
    with h5py.File(path, "r+") as file:
        activity = file["activity"]
        shape, stored, attributes = activity.shape, activity[:], dict(activity.attrs)
        scales = [scale.name for dim in activity.dims for scale in dim.values()]
        del file["activity"]
        values.write_bytes(stored.tobytes())
        kept = file.create_dataset("activity", shape, stored.dtype, external=[(str(values), 0, stored.nbytes)])
        for axis, scale in enumerate(scales):
            kept.dims[axis].attach_scale(file[scale])
        for name in ("units", "long_name"):
            kept.attrs[name] = attributes[name]
    for command, run in ((["decode"], wave), (["diagnose", "--draws", "9"], main)):
        assert run([*command, str(path)]) == 2
        assert "trust the file with allow_external=True (--allow-external)" in capsys.readouterr().err
        assert run([*command, str(path), "--allow-external"]) == 0


def test_a_size_that_was_never_written_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "field.nc"
    wf.save_recording(wf.recording(np.ones((4, 3)), dt=1.0, dx=1.0), path)
    for name, shape in (("time", (10**11,)), ("activity", (10**9, 10**3))):
        with h5py.File(path, "r+") as file:
            del file[name]
            file.create_dataset(name, shape, "f8", chunks=True)
        with pytest.raises(ValueError, match=rf"field.nc: {name} is damaged: 0 bytes cannot hold an array of 8"):
            wf.open_recording(path)
    with h5py.File(tmp_path / "large.mat", "w") as file:
        file.create_dataset("lfp", (3, 10**11), "f8", chunks=True)
    with pytest.raises(ValueError, match=r"large.mat: lfp is damaged: 0 bytes cannot hold"):
        read_arrays(tmp_path / "large.mat", **PLACES)


def test_places_and_rates_that_cannot_be_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "session.npz"
    np.savez(path, lfp=np.ones((100, 3)), places=np.zeros((2000, 2000)), fs=np.full(1_000_001, 500.0))
    monkeypatch.setattr(arrays, "_member", lambda path, name: pytest.fail(f"{name} was read"))
    with pytest.raises(ValueError, match=r"session.npz: places has shape \(2000, 2000\)"):
        read_arrays(path, series="lfp", **PLACES)
    with pytest.raises(ValueError, match=r"rate='fs' has shape \(1000001,\): one number is needed"):
        read_arrays(path, series="lfp", **PLACES | {"positions": np.arange(3.0), "rate": "fs"})

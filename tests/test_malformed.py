"""Run folders and recordings that are damaged in any way: a sentence for each, no traceback, bounded memory.

Hypothesis damages a whole folder or file (cut off, altered, of wrong types, null, of huge declared size, linked
elsewhere), and the commands that read it are run on it. `make malformed` tries a thousand of each kind.
"""

import io
import json
import re
import shutil
import warnings
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

import analysis.__main__
import experiments.__main__
import wavefield as wf
import wavefield.__main__
from experiments import training
from experiments.config import load_config
from experiments.run import start

VALUES = [None, True, -1, 0, 1e308, float("nan"), 10**30, 99, "", "x", "=cmd()", "☃", [], [[]], {}, {"a": None}, [None]]
WORDS = ["null", '""', "-1", "0", "1e400", "nan", "[[", "{a={}}", '"x"', "9" * 30, "true", "[1, 2]", "[" * 3000, "\0"]
CELLS = ["", "x", "nan", "inf", "-1", "9" * 400, "=cmd()", "\0", '"', "1,2"]
TINY = ["delay=0", "hidden_size=12", "channels=2", "batch_size=8", "evaluate_every=5", "steps=10", "record_at=[5]"]
MOST_MB = 1000


# ------------------------------------------------------------------------------------------------ ways of damage


def any_file(draw, path):
    """Whatever the file is: shorter, altered, empty, gone, a folder, a link."""
    content = path.read_bytes()
    how = draw(st.sampled_from(["cut", "flip", "bytes", "empty", "more", "gone", "folder", "link", "zeros"]))
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: draw(st.integers(0, max(0, len(content) - 1)))])
    elif how == "flip":
        altered = bytearray(content or b"x")
        for _ in range(draw(st.integers(1, 4))):
            altered[draw(st.integers(0, len(altered) - 1))] = draw(st.integers(0, 255))
        path.write_bytes(bytes(altered))
    elif how == "bytes":
        path.write_bytes(draw(st.binary(max_size=60)))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "more":
        path.write_bytes(content + draw(st.binary(min_size=1, max_size=30)))
    elif how == "zeros":
        path.write_bytes(bytes(len(content)))
    elif how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to(draw(st.sampled_from(["missing", path.name, "..", "/dev/null", "/etc/hostname"])))


def json_file(draw, path):
    """A value of JSON, however deep, becomes another, or is taken out."""
    content = json.loads(path.read_text())
    place, key = content, None
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner) or draw(st.booleans()):
            break
        place = inner
    if draw(st.integers(0, 4)) == 0:
        del place[key]
    elif draw(st.integers(0, 9)) == 0:
        place[key] = "DEEP"
    else:
        place[key] = draw(st.sampled_from(VALUES))
    path.write_text(json.dumps(content).replace('"DEEP"', "[" * 5000 + "]" * 5000))


def lines_of(draw, path, values):
    """A value in a line of text becomes another, or the line is taken out or doubled."""
    lines = path.read_text().splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    how = draw(st.sampled_from(["value", "value", "value", "out", "double"]))
    if how == "value":
        separator = " = " if path.suffix == ".toml" else ","
        parts = lines[number].split(separator)
        parts[draw(st.integers(0, len(parts) - 1))] = draw(st.sampled_from(values))
        lines[number] = separator.join(parts)
    else:
        lines[number : number + 1] = [] if how == "out" else [lines[number]] * 2
    path.write_text("\n".join(lines) + "\n")


def hdf5_file(draw, path):
    """A variable is gone, of another type, of a huge size, not a number; an attribute is another."""
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = draw(st.sampled_from(sorted(names)))
        item = file[name]
        how = draw(st.sampled_from(["gone", "type", "huge", "nan", "attribute", "shape", "link", "external", "loop"]))
        if how == "attribute":
            holder = draw(st.sampled_from([file, item]))
            if holder.attrs:
                key = draw(st.sampled_from(sorted(holder.attrs)))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    del holder.attrs[key]
                    value = draw(
                        st.sampled_from([None, -1, 99, 1e300, np.nan, "", "x", [1, 2], np.zeros((2, 2)), b"\xff"])
                    )
                    if value is not None:
                        holder.attrs[key] = value
            return
        if how == "nan":
            if item.dtype.kind == "f" and item.size:
                item[...] = draw(st.sampled_from([np.nan, np.inf, -1e38, 0.0]))
            return
        shape, dtype = item.shape, item.dtype
        scales = [[scale.name for scale in dim.values()] for dim in item.dims] if item.shape else []
        del file[name]
        if how == "type":
            kind = draw(st.sampled_from(["S3", "c16", "u1", "i8", "f4", h5py.string_dtype()]))
            file.create_dataset(name, shape, kind)
        elif how == "huge":
            file.create_dataset(name, tuple(10**6 for _ in shape) or (10**10,), dtype, chunks=True)
        elif how == "shape":
            file.create_dataset(name, draw(st.sampled_from([(0,), (1,), (2, 3), (0, 5), (2, 1, 2, 1, 2)])), dtype)
        elif how == "link":
            file[name] = h5py.SoftLink(draw(st.sampled_from(["/nowhere", f"/{name}", "/"])))
        elif how == "external":
            file[name] = h5py.ExternalLink(draw(st.sampled_from(["/etc/hostname", "missing.h5", path.name])), "/a")
        elif how == "loop":
            file[name] = file["/"]
        if how in ("type", "huge", "shape"):
            for dim, over in zip(file[name].dims, scales, strict=False):
                for scale in (scale for scale in over if scale and scale in file):
                    dim.attach_scale(file[scale])


def npz_file(draw, path):
    """An array of another type or shape, or whose header declares more than there is."""
    with np.load(path) as file:
        content = dict(file)
    name = draw(st.sampled_from(sorted(content)))
    bad = [
        np.array([["x", None]], object),
        np.zeros(0),
        np.array("x"),
        np.full((9, 9), np.nan),
        np.zeros((2, 2, 2)),
        1j,
    ]
    if draw(st.booleans()):
        np.savez(path, **content | {name: draw(st.sampled_from(bad))})
        return
    text = io.BytesIO()
    shape = draw(st.sampled_from([(10**9, 3), (10**15,), (0, 3), (3, 10**12), (2**62, 4)]))
    np.lib.format.write_array_header_1_0(text, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in content.items():
            whole = io.BytesIO()
            np.save(whole, array)
            archive.writestr(f"{key}.npy", text.getvalue() + bytes(64) if key == name else whole.getvalue())


BY_ENDING = {
    ".json": json_file,
    ".toml": lambda draw, path: lines_of(draw, path, WORDS),
    ".csv": lambda draw, path: lines_of(draw, path, CELLS),
    ".nc": hdf5_file,
    ".h5": hdf5_file,
    ".npz": npz_file,
}  # fmt: skip


def damage(draw, path):
    """Damage one file by its kind, or as any file."""
    ways = [any_file, *filter(None, [BY_ENDING.get(path.suffix)] * 3)]
    draw(st.sampled_from(ways))(draw, path)


# ------------------------------------------------------------------------------------------------- what is tried


def told(main, *arguments):
    """Run a command in this process; its exit status, and that it ended with a sentence."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = main([str(argument) for argument in arguments])
    assert status in (0, 1, 2)
    assert "Traceback" not in err.getvalue()
    if status:
        last = err.getvalue().rstrip().splitlines()[-1] if err.getvalue().strip() else ""
        assert re.search(r"\w+ \w+", err.getvalue()), f"{arguments} ended with {status} and {err.getvalue()!r}"
        assert not re.match(r"^(\w+Error|KeyError)\b", last), last
    return status


@pytest.fixture
def peak():
    """The most memory in MB that this process has taken beyond what it held when the test began."""
    switch = Path("/proc/self/clear_refs")
    if not switch.exists():
        pytest.skip("only Linux tells the peak")
    switch.write_text("5")

    def most():
        return 1.024e-3 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])

    before = most()
    return lambda: most() - before


def tried(request, few, check):
    """Check `few` examples, or a thousand with --full-draws; a failure shows its seed."""
    most = 1000 if request.config.getoption("--full-draws") else few
    phases = (Phase.generate,) if most == 1000 else (Phase.generate, Phase.shrink)
    options = {"max_examples": most, "deadline": None, "database": None, "derandomize": most < 1000}
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings(**options, phases=phases, suppress_health_check=checks)(given(st.data())(check))()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that has ended, which can be trained for longer."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(load_config("copy-wrnn", TINY), folder, bar=False)
    return folder


@pytest.mark.validate
def test_a_damaged_run_folder_is_told_of_in_a_sentence(whole, tmp_path, request, peak, monkeypatch):
    folder, drawn = tmp_path / "runs" / "one", training.run_figure

    def check(data):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        shutil.copytree(whole, folder)
        for _ in range(data.draw(st.integers(1, 2))):
            files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png")
            files = [path for path in files if path.stat().st_size and path.name != ".lock"]
            path = data.draw(st.sampled_from(files))
            try:
                damage(data.draw, path)
            except (
                ValueError,
                OSError,
                LookupError,
                RuntimeError,
            ):  # damaged before: by a first way that leaves nothing to a second
                continue
        command = data.draw(st.sampled_from(["resume", "longer", "report", "start"]))
        figure = drawn if data.draw(st.integers(0, 7)) == 0 else lambda path: None  # which takes most of the time
        monkeypatch.setattr(training, "run_figure", figure)
        if command == "report":
            assert told(experiments.__main__.main, "report", tmp_path / "runs", "-o", tmp_path / "report") == 0
        elif command == "start":
            told(experiments.__main__.main, "run", "copy-wrnn", *TINY, "-o", folder, "-q")
        else:
            told(experiments.__main__.main, "resume", folder, *(["steps=15"] if command == "longer" else []), "-q")
        assert not [path.name for path in folder.rglob("*") if ".tmp" in path.name]

    tried(request, 8, check)
    assert peak() < MOST_MB


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A recording, its partial file, arrays."""
    folder = tmp_path_factory.mktemp("files")
    drive = wf.spikes([[(3, 1.0)], [(7, -0.5)]], 24)
    wf.simulate(wf.transport(-1.0), drive, size=16, path=folder / "field.nc").close()
    shutil.copyfile(folder / "field.nc", folder / "cut.partial.nc")
    content = {"lfp": np.random.default_rng(0).standard_normal((40, 4)), "places": np.arange(4.0)[:, None], "fs": 500.0}
    np.savez(folder / "lfp.npz", **content)
    savemat(folder / "old.mat", content)
    np.save(folder / "lfp.npy", content["lfp"])
    with h5py.File(folder / "new.h5", "w") as file:
        for name, values in content.items():
            file[name] = np.asarray(values).T
    return folder


@pytest.mark.validate
def test_a_damaged_recording_is_told_of_in_a_sentence(files, tmp_path, request, peak):
    commands = {
        "decode": (wavefield.__main__.main, ["decode"]),
        "plot": (wavefield.__main__.main, ["plot", "-o", tmp_path / "x.png"]),
        "diagnose": (analysis.__main__.main, ["diagnose", "--draws", "9"]),
        "compare": (analysis.__main__.main, ["compare", files / "field.nc", "--draws", "9"]),
    }
    arrays = ["--rate", "500", "--positions", "places", "--position-units", "mm", "--units", "uV", "--series", "lfp"]

    def check(data):
        for path in tmp_path.iterdir():
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
        name = data.draw(
            st.sampled_from(["field.nc", "field.nc", "cut.partial.nc", "lfp.npz", "old.mat", "lfp.npy", "new.h5"])
        )
        path = tmp_path / name
        shutil.copyfile(files / name, path)
        damage(data.draw, path)
        if name == "new.h5" and path.exists() and not path.is_symlink():
            path = path.rename(tmp_path / "new.mat")
        if path.suffix == ".nc":
            main, arguments = commands[data.draw(st.sampled_from(["decode", "decode", "plot", "diagnose", "compare"]))]
            told(main, *arguments, path, "-q")
        else:
            places = ["--positions", files / "places.csv"] if path.suffix == ".npy" else []
            told(analysis.__main__.main, "import", path, *arrays, *places, "-o", tmp_path / "out.nc", "-q")
        assert not [path.name for path in tmp_path.iterdir() if ".tmp" in path.name]

    np.savetxt(files / "places.csv", np.arange(4.0)[:, None], header="x", comments="")
    tried(request, 25, check)
    assert peak() < MOST_MB

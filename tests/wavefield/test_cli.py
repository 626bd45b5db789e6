import csv

import numpy as np
import pytest
import xarray as xr

import wavefield as wf
from wavefield.__main__ import main

SPIKES = ["--spike", "0:12", "--spike", "0:40", "--spike", "1:25:0.5"]


@pytest.fixture
def field(tmp_path):
    path = tmp_path / "field.nc"
    assert (
        main(["simulate", "transport", "--speed", "-1", "--size", "64", "--steps", "60", *SPIKES, "-o", str(path)]) == 0
    )
    return path


def test_simulate_then_decode_gives_the_spikes_back(field, tmp_path, capsys):
    table = tmp_path / "events.csv"
    assert main(["decode", str(field), "-o", str(table)]) == 0
    with open(table) as file:
        rows = [(int(row["input"]), int(row["onset"]), float(row["amplitude"])) for row in csv.DictReader(file)]
    assert sorted(rows) == [(0, 12, 1.0), (0, 40, 1.0), (1, 25, 0.5)]
    assert "onset" in capsys.readouterr().out


@pytest.mark.parametrize("equation", [["wave", "--damping", "0.01", "--source", "force"], ["static"]])
def test_every_equation_has_a_command(equation, tmp_path):
    path = tmp_path / "field.nc"
    assert main(["simulate", *equation, "--size", "32", "--steps", "50", *SPIKES, "-o", str(path), "--last"]) == 0
    with wf.open_recording(path) as rec:
        assert rec.sizes["time"] == 1


@pytest.mark.parametrize("ending", ["csv", "npy", "nc"])
def test_a_drive_is_read_from_a_file(ending, tmp_path):
    drive, path, out = np.random.default_rng(0).random((20, 3)), tmp_path / f"drive.{ending}", tmp_path / "field.nc"
    if ending == "csv":
        np.savetxt(path, drive, delimiter=",")
    elif ending == "npy":
        np.save(path, drive)
    else:
        wf.spikes([[(0, 1.0)]], 20).isel(input=[0, 0, 0]).copy(data=drive).to_netcdf(path, engine="h5netcdf")
    assert main(["simulate", "transport", "--size", "32", "--drive", str(path), "-o", str(out)]) == 0
    with wf.open_recording(out) as rec:
        np.testing.assert_allclose(rec.drive, drive)
        np.testing.assert_allclose(rec.activity[-1, :, 19], drive[0])


@pytest.mark.parametrize("what", ["space-time", "snapshot", "dispersion"])
@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_plots_are_written(field, tmp_path, what, ending):
    picture = tmp_path / f"picture.{ending}"
    assert main(["plot", str(field), "-o", str(picture), "--what", what]) == 0
    assert picture.read_bytes()[:4] in (b"\x89PNG", b"%PDF")


def test_an_animation_is_a_gif_of_many_frames(field, tmp_path):
    from PIL import Image

    assert main(["plot", str(field), "-o", str(tmp_path / "field.gif")]) == 0
    with Image.open(tmp_path / "field.gif") as picture:
        assert picture.n_frames == 60


def test_the_ending_of_an_animation_may_be_in_capitals(field, tmp_path):
    from PIL import Image

    assert main(["plot", str(field), "-o", str(tmp_path / "field.GIF")]) == 0
    with Image.open(tmp_path / "field.GIF") as picture:
        assert picture.n_frames == 60
    assert main(["plot", str(field), "-o", str(tmp_path / "field.PNG")]) == 0


@pytest.mark.parametrize("boundary", ["fixed", "free", "absorbing"])
def test_the_dispersion_relation_of_a_line_is_that_of_its_kernel(boundary, tmp_path):
    path, picture = str(tmp_path / "line.nc"), tmp_path / "relation.png"
    line = ["simulate", "wave", "--speed", "0.8", "--boundary", boundary, "--size", "32", "--steps", "40"]
    assert main([*line, "--spike", "0:3", "-o", path]) == 0
    assert main(["plot", path, "--what", "dispersion", "-o", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_trials_are_chosen_where_there_are_some_and_refused_where_there_are_none(field, tmp_path, capsys):
    assert main(["plot", str(field), "--trial", "0", "-o", str(tmp_path / "t.png")]) == 2
    assert "--trial 0: the recording has no trials" in capsys.readouterr().err
    batch = tmp_path / "batch.nc"
    wf.save_recording(wf.simulate(wf.transport(1.0), np.ones((2, 5, 1)), size=8), batch)
    for trial, status in (([], 0), (["--trial", "1"], 0), (["--trial", "2"], 2)):
        assert main(["plot", str(batch), *trial, "-o", str(tmp_path / "t.png")]) == status


def test_figures_are_closed_also_when_they_cannot_be_saved(field, tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    for name in ("t.png", "t.gif", "t.what"):
        for what in ("space-time", "snapshot", "dispersion"):
            assert main(["plot", str(field), "--what", what, "-o", str(tmp_path / "no" / name)]) == 2
    assert main(["plot", str(field), "-o", str(tmp_path / "t.what")]) == 2
    assert plt.get_fignums() == before


@pytest.mark.parametrize("name", ["memory-of-a-wave", "digit", "curves"])
def test_figures_are_one_command(name, tmp_path):
    assert main(["figure", name, "-o", str(tmp_path / "figure.png")]) == 0
    assert (tmp_path / "figure.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["simulate", "transport", "--size", "64", "--steps", "60", "--spike", "noon", "-o", "f.nc"], "spike"),
        (["simulate", "transport", "--size", "64", "--steps", "60", "--spike", "0:99", "-o", "f.nc"], "onset"),
        (["simulate", "transport", "--size", "64", "--steps", "60", "--spike=-1:9", "-o", "f.nc"], "numbered"),
        (
            ["simulate", "transport", "--size", "64", "--steps", "60", "--spike", "-1:9", "-o", "f.nc"],
            "numbered from 0",
        ),
        (["simulate", "transport", "--size", "64", "-o", "f.nc"], "drive"),
        (
            ["simulate", "transport", "--speed", "2", "--size", "64", "--steps", "9", "--spike", "0:1", "-o", "f.nc"],
            "largest",
        ),
        (
            ["simulate", "static", "--speed", "2", "--size", "64", "--steps", "9", "--spike", "0:1", "-o", "f.nc"],
            "static",
        ),
        (["simulate", "transport", "--size", "64", "--drive", "none.csv", "-o", "f.nc"], "none.csv"),
        (
            ["simulate", "transport", "--size", "64", "--steps", "9", "--spike", "0:1", "-o", "no/where/f.nc"],
            "no/where",
        ),
        (["decode", "none.nc"], "none.nc"),
        (["plot", "none.nc", "-o", "f.png"], "none.nc"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert word in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "sheet.nc"
    at = ["--at", "4,9", "--at", "12,3"]
    spikes = ["--spike", "0:3", "--spike", "1:14:0.5", "--steps", "20"]
    assert main(["simulate", "wave", "--speed", "0.6", "--size", "16,18", *at, *spikes, "-o", str(path)]) == 0
    return path


def test_a_sheet_is_simulated_decoded_and_drawn(sheet, tmp_path, capsys):
    table = tmp_path / "events.csv"
    for given, columns in (([], ("input", "onset")), (["--anywhere"], ("y", "x", "onset"))):
        assert main(["decode", str(sheet), *given, "-o", str(table)]) == 0
        with open(table) as file:
            rows = sorted(tuple(int(row[name]) for name in columns) for row in csv.DictReader(file))
        assert rows == ([(0, 3), (1, 14)] if not given else [(4, 9, 3), (12, 3, 14)])
    for what in ("frames", "snapshot", "flow", "dispersion"):
        picture = tmp_path / f"{what}.png"
        assert main(["plot", str(sheet), "--what", what, "--decode", "--anywhere", "-o", str(picture)]) == 0
        assert picture.stat().st_size > 5000
    assert main(["plot", str(sheet), "-o", str(tmp_path / "moving.gif")]) == 0
    assert main(["plot", str(sheet), "--what", "space-time", "-o", str(tmp_path / "no.png")]) == 2
    assert "of a sheet" in capsys.readouterr().err


def test_modes_of_a_drum_are_listed_and_drawn(tmp_path, capsys):
    mask, picture, table = (str(tmp_path / name) for name in ("drum.npy", "modes.png", "modes.nc"))
    np.save(mask, wf.isospectral_drums(4)[0])
    assert main(["modes", "--mask", mask, "--count", "3", "-o", picture]) == 0
    first = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()[1:4]]
    np.save(mask, wf.isospectral_drums(4)[1])
    assert main(["modes", "--mask", mask, "--count", "3", "-o", table]) == 0
    second = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()[1:4]]
    assert first == second
    with xr.open_dataset(table, engine="h5netcdf") as found:
        assert found["shape"].shape == (3, 11, 11)
    assert main(["modes", "-o", picture]) == 2
    assert "--mask" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["wave", "--size", "16,16,3"], "--size"),
        (["wave", "--size", "16", "--at", "3,4"], "--at is for sheets"),
        (["wave", "--size", "16,16", "--direction", "30"], "no such setting"),
        (["wave"], "--size N"),
        (["wave", "--mask", __file__], "not an NPY file"),
        (["wave", "--speed", "0.5", "--size", "16,16", "--at", "99,3"], "(0, 0)…(15, 15)"),
        (["transport", "--size", "16,16", "--direction", "30", "--speed", "2"], "largest stable dt"),
    ],
)
def test_what_a_sheet_lacks_is_said(given, said, tmp_path, capsys):
    arguments = ["simulate", *given, "--spike", "0:3", "--steps", "9", "-o", str(tmp_path / "a.nc")]
    if given[-1].count(",") == 2:  # refused by the parser
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    else:
        assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode", "."], ".: is a folder, not a recording"),
        (["plot", "field.nc", "-o", "p.xyz"], "--output must end in .png, .pdf, .svg, .jpg"),
        (["plot", "field.nc", "-o", "p"], "--output must end in .png"),
        (["figure", "digit", "-o", "digit.docx"], "--output must end in .png"),
    ],
)
def test_what_cannot_be_read_or_written_is_named_at_once(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "value"), [("--size", "64y"), ("--size", "4,4,4"), ("--at", "3"), ("--at", "a,b")])
def test_sizes_and_cells_that_are_none_are_explained(flag, value, capsys):
    with pytest.raises(SystemExit):
        main(["simulate", "wave", flag, value, "-o", "x.nc"])
    assert f"is written {'N, or NY,NX' if flag == '--size' else 'Y,X'}" in capsys.readouterr().err

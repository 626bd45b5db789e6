import csv

import numpy as np
import pytest

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

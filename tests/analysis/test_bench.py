import csv

from analysis import bench


def test_every_case_is_measured_against_the_bare_transforms(tmp_path, capsys):
    bench.main(["--trials", "1", "--repeats", "1", "-o", str(tmp_path / "bench.csv")])
    with open(tmp_path / "bench.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["bare scipy.fft", "spectrum, mean over trials", "direction test"]
    assert float(rows[0]["ratio"]) == 1.0
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert "direction test" in capsys.readouterr().out

"""The benchmark measures what it says: the same field by each way, and rates that follow from its times."""

import csv

import numpy as np
import pytest

from wavefield import bench
from wavefield.loops.leapfrog import leapfrog
from wavefield.loops.sheets.leapfrog import sheet_leapfrog


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_that_is_compared_computes_the_same_field(dtype):
    rng = np.random.default_rng(1)
    now, before = rng.standard_normal((2, 1, 3, 50)).astype(dtype)
    field, level = leapfrog(now, before, taps=bench._TAPS, q=1.0, steps=25)
    for other in (bench.numpy_roll, bench.numpy_slices):
        ended = other(now[0].copy(), before[0].copy(), 25)
        for found, expected in zip(ended, (field, level), strict=True):
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected[0], atol=500 * np.finfo(dtype).eps * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_that_is_compared_computes_the_same_sheet(dtype):
    now, before = np.random.default_rng(2).standard_normal((2, 3, 1, 11, 14)).astype(dtype)
    ended = sheet_leapfrog(now, before, taps=bench._FIVE_POINT, q=1.0, steps=20)
    for other in (bench.numpy_sheet_slices, bench.scipy_correlate):
        for found, expected in zip(other(now[:, 0].copy(), before[:, 0].copy(), 20), ended, strict=True):
            assert found.dtype == dtype
            tolerance = 500 * np.finfo(dtype).eps * np.abs(expected).max()
            np.testing.assert_allclose(found, expected[:, 0], atol=tolerance)


def test_table_holds_every_case_with_rates_that_follow_from_its_times(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "SHEETS", ((2, 16), (1, 40)))
    rows = bench.bench(tmp_path / "bench.csv", updates=1e4, positions=2000, repeats=1)
    printed = capsys.readouterr().out
    with open(tmp_path / "bench.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["case"] for row in written] == [row.case for row in rows]
    assert all(row.case in printed for row in rows)
    assert all(int(row["threads"]) >= 1 and row["machine"] for row in written)
    for row in rows:
        if row.unit == "cell updates/s":
            assert row.rate == pytest.approx(row.rings * row.positions * row.steps / row.seconds)
        if row.against:
            same = [other for other in rows if (other.case, other.dtype) == (row.against, row.dtype)]
            assert any(row.ratio == pytest.approx(row.rate / other.rate) for other in same)
    started = {row.case: row.seconds for row in rows if row.unit == "1/s"}
    assert set(started) == {"import wavefield", "first call of simulate"}
    assert min(started.values()) > 0


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CASES", (lambda effort: pytest.fail("measured"),))
    with pytest.raises(OSError, match="cannot be written"):
        bench.bench(tmp_path / "no such folder" / "bench.csv")
    assert not list(tmp_path.iterdir())


def test_devito_computes_the_same_sheet():
    pytest.importorskip("devito")
    now, before = np.random.default_rng(3).standard_normal((2, 1, 1, 11, 14))
    move = bench.devito_sheet(now[0, 0], before[0, 0])
    move(7)
    ended = sheet_leapfrog(now, before, taps=bench._FIVE_POINT, q=1.0, boundary=("fixed", "fixed"), steps=13)
    np.testing.assert_allclose(move(6), ended[0][0, 0], atol=1e-12)

"""The table of what ordinary training code costs."""

import csv
from argparse import Namespace

import pytest

from experiments.benches import idioms


def options(**given):
    return Namespace(**{"case": None, "way": None, "device": "cpu", "repeats": 1, "output": None} | given)


def test_every_idiom_of_a_case_is_timed_in_every_way(tmp_path, monkeypatch):
    monkeypatch.setattr(idioms, "CASES", (idioms.Case("few", 8, 2, 3, 4, 2, 3), idioms.Case("one", 8, 1, 1, 1, 2, 3)))
    monkeypatch.setattr(idioms, "_SHORTEST", 0.0)
    path = tmp_path / "idioms.csv"
    assert idioms.main(options(output=path)) == 0
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["idiom"] for row in rows if row["case"] == "one"} == set(idioms.STEPS)
    found = {(row["idiom"], row["way"]) for row in rows if row["case"] == "few"}
    expected = {(idiom, way) for idiom in idioms.SEQUENCES for way in idioms.WAYS}
    packed = {(idiom, way) for idiom in idioms.PACKED for way in idioms.WAYS if way != idioms.LOOP}
    assert found == expected | packed | {(idioms.ALONE, "nn.Linear")}
    assert all(float(row["step_s"]) > 0 and row["commit"] and row["threads"] for row in rows)


def test_unknown_cases_and_ways_are_named():
    with pytest.raises(ValueError, match="--case must be one of adding 100"):
        idioms.main(options(case=["nothing"]))
    with pytest.raises(ValueError, match="--way must be one of WaveRNN"):
        idioms.main(options(way=["nothing"]))

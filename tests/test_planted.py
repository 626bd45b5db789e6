"""The errors that were planted by hand: each can still be planted, and the test that catches it is there."""

import csv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_planted_error_has_its_line_and_its_test():
    with open(ROOT / "experiments" / "results" / "mutants" / "planted.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    gone = []
    for row in rows:
        path, _, name = row["caught by"].partition("::")
        test = ROOT / path
        if row["old"] not in (ROOT / row["module"]).read_text():
            gone.append(f"{row['module']} holds no {row['old']!r}")
        if not test.is_file() or f"def {name.split('::')[-1].split('[')[0]}(" not in test.read_text():
            gone.append(f"there is no test {row['caught by']}")
    assert not gone, "renamed or rewritten: change the row, or plant its error anew"
    assert len({tuple(row.values()) for row in rows}) == len(rows) > 250

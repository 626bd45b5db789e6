import csv
import os
import platform
import subprocess
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).parents[1]
MEASURED = []


def pytest_addoption(parser):
    parser.addoption(
        "--full-draws",
        action="store_true",
        help="run the statistical studies with all their draws and write what they measure to "
        "experiments/results/validation/",
    )


@pytest.fixture
def draws(request):
    """`draws(reduced, full)`: how many random draws a statistical study takes in this run."""
    return lambda reduced, full: full if request.config.getoption("--full-draws") else reduced


@pytest.fixture
def measured(request):
    """`measured(quantity, value, target)`: note what a study found, for the table of validation."""

    def note(quantity, value, target):
        MEASURED.append((request.node.path.stem.removeprefix("test_"), request.node.name, quantity, value, target))

    return note


def pytest_sessionfinish(session):
    if not (MEASURED and session.config.getoption("--full-draws")):
        return
    folder = ROOT / "experiments" / "results" / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    for module in sorted({row[0] for row in MEASURED}):
        found = [row[1:] for row in MEASURED if row[0] == module]
        table = folder / f"{module}.csv"
        kept = []  # what earlier runs measured in studies that this one left out
        if table.exists():
            with open(table, newline="") as file:
                kept = [row for row in list(csv.reader(file))[1:] if row[0] not in {name for name, *_ in found}]
        where = [platform.python_version(), platform.machine()]
        with open(table, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["study", "quantity", "value", "target", "commit", "python", "machine"])
            rows.writerows(kept)
            for name, quantity, value, target in found:
                value = f"{value:.6g}" if isinstance(value, float) else value
                rows.writerow([name, quantity, value, target, commit, *where])

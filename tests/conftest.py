import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_addoption(parser):
    parser.addoption("--full-draws", action="store_true", help="run the statistical studies with all their draws")


@pytest.fixture
def draws(request):
    """`draws(reduced, full)`: how many random draws a statistical study takes in this run."""
    return lambda reduced, full: full if request.config.getoption("--full-draws") else reduced

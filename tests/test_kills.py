"""Commands that are killed leave nothing half-written; `make kills` tries a hundred of all kinds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.validate
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")
def test_nothing_half_written_is_left_by_commands_that_were_killed(draws):
    chosen = draws(["--command", "simulate", "--command", "import"], [])
    command = [sys.executable, str(ROOT / "tests" / "kills.py"), "--kills", str(draws(2, 100)), *chosen]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr

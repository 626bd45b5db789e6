"""Everything the README shows is run, in order, in an empty folder."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_python_blocks_run_and_give_what_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope = {}
    shown, found = [], []
    for block in blocks("python"):
        exec(block, scope)
        shown.append(capsys.readouterr().out.splitlines())
        found.append(scope.get("found"))
    plt.close("all")
    # what the text and the comments say of it
    assert scope["events"].onset.values.tolist() == [12, 25, 31, 40]
    np.testing.assert_allclose(scope["events"].amplitude, [1.0, 1.0, 0.5, 1.0])
    assert float(shown[1][-1]) == pytest.approx(50)  # positions hold as many steps
    assert scope["result"].verdict == "travelling to -x"
    assert scope["result"].speed.sel(estimator="radon") == pytest.approx(-1, abs=1e-3)
    x, output, h_n = (scope[name] for name in ("x", "output", "h_n"))
    assert output.shape == (len(x), 4, 6 * 100)
    assert h_n.shape == (1, 4, 6 * 100)
    assert scope["hidden"].activity.sizes["position"] == 100
    assert float(shown[-1][-1]) < 1e-6  # the hidden basis is found
    sheet = found[2].sortby("onset")
    places = list(zip(sheet.y.values, sheet.x.values, sheet.onset.values, sheet.amplitude.values, strict=True))
    np.testing.assert_allclose(places, [(40, 40, 3, 1.0), (90, 20, 20, 0.5)], atol=1e-6)
    # of a square drum: (c/2L)√(m² + n²), (1, 2) and (2, 1) alike
    frequency = np.array(shown[2][-1].strip("[]").split(), float)
    np.testing.assert_allclose(frequency / frequency[0], np.sqrt([1, 2.5, 2.5]), rtol=5e-3)


def test_shell_commands_run(tmp_path):
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python -m ")]
    assert lines
    for line in lines:
        command = shlex.split(line, comments=True)
        subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, capture_output=True)


def test_make_targets_exist():
    makefile = (README.parent / "Makefile").read_text()
    for block in blocks("sh"):
        for target in re.findall(r"^make (\w+)", block, flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_picture_is_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text(), flags=re.DOTALL):
        assert (README.parent / path).is_file()

"""Everything the README shows is run, in order, in an empty folder."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    for block in blocks("python"):
        exec(block, scope)
    plt.close("all")


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
